"""Dictionaries of non-negative spectra: learned, saved, and decomposed with.

Conventions. Log magnitudes X = log1p(A) [B, T, F] of levelled clips are approximated as ``X^T = W H`` with a dictionary
W [F, K] >= 0, whose columns have unit L2 norm, and activations H [B, K, T] >= 0. A frame's activations depend on that
frame alone, so padding and the length of a clip change nothing.

There are four algorithms: ``euclidean`` and ``kl`` (multiplicative updates on all frames) and ``minibatch`` (of
scikit-learn, for more frames than the updates can go through) by :func:`learn_dictionary`, and ``amortised``, where an
encoder gives H and is trained together with W (:class:`AmortisedFactorisation`).
"""

from interpretability.dictionary.amortised import AmortisedFactorisation
from interpretability.dictionary.decompose import DIVERGENCES, EPSILON, Components, component_mask, decompose
from interpretability.dictionary.file import FILE, RUN_SUBFOLDER, Dictionary, dictionary_of
from interpretability.dictionary.learning import DictionarySettings, collect_frames, learn_dictionary

__all__ = [
    "DIVERGENCES",
    "EPSILON",
    "FILE",
    "RUN_SUBFOLDER",
    "AmortisedFactorisation",
    "Components",
    "Dictionary",
    "DictionarySettings",
    "collect_frames",
    "component_mask",
    "decompose",
    "dictionary_of",
    "learn_dictionary",
]
