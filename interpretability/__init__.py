"""Explaining audio classifiers: which time-frequency regions made a classifier decide, seen and heard."""

__version__ = "0.1.0"
