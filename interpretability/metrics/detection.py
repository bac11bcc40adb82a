"""How well a classifier tells which of several classes are in a clip: thresholds, F1 and average precision.

The numbers are those of scikit-learn. A class that no clip has, has no average precision and no recall; one that is
neither there nor heard has no F1. Both are *undefined*: None for the class, and left out of the means over classes.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike


@dataclass(frozen=True)
class ClassDetection:
    """How well one class is detected.

    Attributes
    ----------
    label : str
    threshold : float
        Probability from which on it is heard.
    n : int
        Clips that have it.
    heard : int
        Clips in which it is heard.
    missed : int
        Clips that have it, in which it is not heard.
    false : int
        Clips that do not have it, in which it is heard.
    ap : float or None
        Average precision; it does not depend on the threshold.
    precision, recall, f1 : float or None
        Of hearing it at the threshold.
    """

    label: str
    threshold: float
    n: int
    heard: int
    missed: int
    false: int
    ap: float | None
    precision: float | None
    recall: float | None
    f1: float | None


@dataclass(frozen=True)
class Detection:
    """How well a classifier tells which classes are in a clip.

    Attributes
    ----------
    n : int
        Clips.
    exact : int
        Clips in which exactly the classes that they have are heard.
    mean_ap : float or None
        Mean average precision (mAP): the mean over classes that some clip has.
    macro_f1 : float or None
        Mean F1 of the classes.
    micro_f1 : float or None
        F1 of all decisions together: common classes count more.
    classes : tuple of ClassDetection
    """

    n: int
    exact: int
    mean_ap: float | None
    macro_f1: float | None
    micro_f1: float | None
    classes: tuple[ClassDetection, ...]

    def as_dict(self) -> dict[str, Any]:
        """Return the numbers as plain values, for JSON."""
        return asdict(self)


def detection(
    labels: Sequence[str], truth: ArrayLike, probabilities: ArrayLike, thresholds: Sequence[float]
) -> Detection:
    """Measure which of C classes are heard in N clips.

    Parameters
    ----------
    labels : sequence of str [C]
    truth : array_like [N, C]
        True, or 1, where the clip has the class.
    probabilities : array_like [N, C]
        In [0, 1].
    thresholds : sequence of float [C]
        A class is heard where its probability is at least this.

    Returns
    -------
    Detection

    Raises
    ------
    ValueError
        If shapes do not fit or a probability is not one.

    Examples
    --------
    >>> both = detection(["cat", "dog"], [[1, 0], [1, 1]], [[0.9, 0.2], [0.4, 0.8]], [0.5, 0.5])
    >>> both.mean_ap, round(both.macro_f1, 3), both.classes[0].recall
    (1.0, 0.833, 0.5)
    """
    from sklearn.metrics import f1_score, precision_recall_fscore_support

    truth, probabilities = _checked(truth, probabilities, len(labels))
    if len(thresholds) != len(labels):
        raise ValueError(f"there are {len(thresholds)} thresholds and {len(labels)} classes")
    heard = probabilities >= np.asarray(thresholds, dtype=np.float64)
    # NaN where a number is undefined; scikit-learn leaves it out of its means.
    options = {"zero_division": np.nan}
    members = []
    for k, label in enumerate(labels):
        numbers = precision_recall_fscore_support(truth[:, k], heard[:, k], average="binary", **options)[:3]
        precision, recall, f1 = map(_defined, numbers)
        ap = average_precision(truth[:, k], probabilities[:, k])
        missed, false = truth[:, k] & ~heard[:, k], heard[:, k] & ~truth[:, k]
        counts = [int(which.sum()) for which in (truth[:, k], heard[:, k], missed, false)]
        members.append(ClassDetection(label, float(thresholds[k]), *counts, ap, precision, recall, f1))
    f1s = [member.f1 for member in members if member.f1 is not None]
    return Detection(
        n=len(truth),
        exact=int((truth == heard).all(axis=1).sum()),
        mean_ap=mean_average_precision(truth, probabilities),
        macro_f1=float(np.mean(f1s)) if f1s else None,
        micro_f1=_defined(f1_score(truth.ravel(), heard.ravel(), **options)),
        classes=tuple(members),
    )


def average_precision(truth: np.ndarray, probabilities: np.ndarray) -> float | None:
    """Return the average precision of one class over N clips; None if no clip has it."""
    from sklearn.metrics import average_precision_score

    return float(average_precision_score(truth, probabilities)) if truth.any() else None


def mean_average_precision(truth: ArrayLike, probabilities: ArrayLike) -> float | None:
    """Return the mean of the average precisions of the classes that some clip has; None if none has any.

    Parameters
    ----------
    truth : array_like [N, C]
    probabilities : array_like [N, C]

    Examples
    --------
    >>> mean_average_precision([[1, 0], [0, 0]], [[0.2, 0.3], [0.4, 0.1]])  # no clip has the second class
    0.5
    """
    truth, probabilities = _checked(truth, probabilities)
    values = [average_precision(truth[:, k], probabilities[:, k]) for k in range(truth.shape[1])]
    defined = [value for value in values if value is not None]
    return float(np.mean(defined)) if defined else None


def choose_thresholds(truth: ArrayLike, probabilities: ArrayLike, default: float = 0.5) -> list[float]:
    """Return for each class the threshold with the highest F1.

    A threshold lies half-way between the lowest probability that counts as heard and the next lower one (or 0). Of
    those with the same F1, the one nearest to one half is taken.

    Parameters
    ----------
    truth : array_like [N, C]
        Of clips that neither train nor test.
    probabilities : array_like [N, C]
    default : float
        Of a class that no clip has: nothing can be chosen by its F1.

    Returns
    -------
    list of float [C]
        Each in (0, 1).

    Examples
    --------
    >>> choose_thresholds([[1, 0], [1, 0], [0, 0]], [[0.9, 0.9], [0.3, 0.9], [0.1, 0.9]])
    [0.2, 0.5]
    """
    truth, probabilities = _checked(truth, probabilities)
    return [
        _best_threshold(truth[:, k], probabilities[:, k]) if truth[:, k].any() else default
        for k in range(truth.shape[1])
    ]


def _best_threshold(truth: np.ndarray, probabilities: np.ndarray) -> float:
    from sklearn.metrics import precision_recall_curve

    precision, recall, lowest = precision_recall_curve(truth, probabilities)  # the lowest probability that is heard
    precision, recall = precision[:-1], recall[:-1]  # the last point hears nothing
    f1 = 2 * precision * recall / np.maximum(precision + recall, sys.float_info.min)
    below = np.concatenate([[0.0], lowest[:-1]])
    half_way = (lowest + below) / 2
    best = f1 >= f1.max() - 1e-12
    chosen = min(half_way[best], key=lambda value: abs(value - 0.5))
    return float(np.clip(chosen, sys.float_info.min, np.nextafter(1.0, 0.0)))


def _checked(truth: ArrayLike, probabilities: ArrayLike, n_classes: int | None = None) -> tuple[np.ndarray, np.ndarray]:
    truth, probabilities = np.asarray(truth).astype(bool), np.asarray(probabilities, dtype=np.float64)
    if (
        truth.ndim != 2
        or truth.shape != probabilities.shape
        or n_classes not in (None, truth.shape[1])
        or not truth.size
    ):
        raise ValueError(
            f"truth has shape {list(truth.shape)}, probabilities {list(probabilities.shape)}, expected [N, C] of both, "
            "of at least one clip"
        )
    if not bool(((probabilities >= 0) & (probabilities <= 1)).all()):
        raise ValueError("a probability is not in [0, 1]")
    return truth, probabilities


def _defined(value: float) -> float | None:
    return None if math.isnan(value) else float(value)
