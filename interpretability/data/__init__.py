"""Sounds and data sets: reading and caching audio, the one manifest schema, one prepare function per data set."""
