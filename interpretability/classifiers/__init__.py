"""Classifiers: one contract (:mod:`.base`), one file each, one saved form (:mod:`.folder`)."""

from interpretability.classifiers.base import Classifier, ClassifierOutput, MaskedLogits
from interpretability.classifiers.folder import CLASSIFIERS, load_classifier, save_classifier

__all__ = ["CLASSIFIERS", "Classifier", "ClassifierOutput", "MaskedLogits", "load_classifier", "save_classifier"]
