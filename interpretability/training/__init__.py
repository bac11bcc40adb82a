"""Training: the Brains, and the one runner behind every recipe script."""
