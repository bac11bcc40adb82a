"""Sounds and data sets: audio files, the one manifest schema, one prepare function per data set, noise, batches."""
