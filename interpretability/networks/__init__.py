"""Networks of the trained methods, from a classifier's feature maps to what their objectives need.

:mod:`.decoders` has what they share; the others are named after their method.
"""
