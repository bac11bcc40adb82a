"""Classifiers: one contract (:mod:`.base`), one file each, one saved form (:mod:`.folder`), many :mod:`.sources`."""

from interpretability.classifiers.base import Classifier
from interpretability.classifiers.folder import CLASSIFIERS, load_classifier, save_classifier
from interpretability.classifiers.sources import open_classifier

__all__ = ["CLASSIFIERS", "Classifier", "load_classifier", "open_classifier", "save_classifier"]
