"""Networks of the trained methods: from a classifier's feature maps to what their objectives need."""
