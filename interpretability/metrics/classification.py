"""How well a classifier does on a split, class by class: precision, recall, F1, and what is heard as what."""

from __future__ import annotations

import warnings
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from interpretability.metrics.statistics import Interval, bootstrap_mean


@dataclass(frozen=True)
class ClassScores:
    """One class.

    Attributes
    ----------
    label : str
    n : int
        Clips of the class.
    precision : float or None
        Share of the clips heard as the class that are of it; None if none is heard as it.
    recall : float or None
        Share of the clips of the class that are heard as it; None if it has none.
    f1 : float or None
        Harmonic mean of the two: ``2 right / (n + heard)``; None if no clip is of the class or heard as it.
    """

    label: str
    n: int
    precision: float | None
    recall: float | None
    f1: float | None


@dataclass(frozen=True)
class Confusion:
    """``count`` of the ``n`` clips of the class ``true`` are heard as ``predicted``."""

    true: str
    predicted: str
    count: int
    n: int


@dataclass(frozen=True)
class ClassificationReport:
    """A classifier on a split.

    Attributes
    ----------
    labels : tuple of str
        The classifier's C classes.
    n : int
        Clips.
    accuracy : Interval
        Share of the clips that are heard as their class, with its 95 % bootstrap interval over clips.
    macro_f1 : float
        Mean of F1 over the classes that have a clip or are heard in one.
    classes : list of ClassScores [C]
    pairs : dict
        (index of the true class, index of the predicted class) -> number of clips; pairs without a clip are left out.
    """

    labels: tuple[str, ...]
    n: int
    accuracy: Interval
    macro_f1: float
    classes: list[ClassScores]
    pairs: dict[tuple[int, int], int]

    def matrix(self, classes: Sequence[int] | None = None) -> np.ndarray:
        """Return the confusion matrix [C, C]: rows are true classes, columns predicted ones.

        Parameters
        ----------
        classes : sequence of int, optional
            Indices of the classes that it is of, in this order; of all if not given.
        """
        classes = range(len(self.labels)) if classes is None else classes
        place = {index: k for k, index in enumerate(classes)}
        matrix = np.zeros((len(place), len(place)), dtype=np.int64)
        for (true, predicted), count in self.pairs.items():
            if true in place and predicted in place:
                matrix[place[true], place[predicted]] = count
        return matrix

    def most_confused(self, number: int) -> list[int]:
        """Return the indices of the classes with the most wrong clips, as either class; in ascending order."""
        mistakes = np.zeros(len(self.labels), dtype=np.int64)
        for (true, predicted), count in self.pairs.items():
            if true != predicted:
                mistakes[true] += count
                mistakes[predicted] += count
        return sorted(np.argsort(-mistakes, kind="stable")[:number].tolist())

    @property
    def confusions(self) -> list[Confusion]:
        """What is heard as another class: the most clips first, and of equally many the largest share of the class."""
        wrong = [
            (-count, -count / self.classes[true].n, true, predicted)
            for (true, predicted), count in self.pairs.items()
            if true != predicted
        ]
        return [
            Confusion(self.labels[true], self.labels[predicted], -count, self.classes[true].n)
            for count, _, true, predicted in sorted(wrong)
        ]

    def as_dict(self) -> dict[str, Any]:
        """Return everything as plain values, for JSON."""
        return {
            "n": self.n,
            "accuracy": self.accuracy.as_dict(),
            "macro_f1": self.macro_f1,
            "classes": [asdict(scores) for scores in self.classes],
            "confusions": [asdict(confusion) for confusion in self.confusions],
        }


def classification_report(labels: Sequence[str], truth: np.ndarray, predicted: np.ndarray) -> ClassificationReport:
    """Compare what clips are heard as with what they are, one class per clip; by scikit-learn.

    Parameters
    ----------
    labels : sequence of str
        The classifier's C classes.
    truth, predicted : array [N] of int
        Indices of classes.

    Returns
    -------
    ClassificationReport

    Raises
    ------
    ValueError
        If there is no clip, or the two differ in length.

    Examples
    --------
    >>> report = classification_report(["cat", "dog"], np.array([0, 0, 1]), np.array([0, 1, 1]))
    >>> report.classes[0]
    ClassScores(label='cat', n=2, precision=1.0, recall=0.5, f1=0.6666666666666666)
    >>> report.confusions
    [Confusion(true='cat', predicted='dog', count=1, n=2)]
    """
    from sklearn.metrics import precision_recall_fscore_support  # slow to import

    truth, predicted = np.asarray(truth), np.asarray(predicted)
    if not len(truth) or truth.shape != predicted.shape:
        raise ValueError(f"got {truth.shape} true and {predicted.shape} predicted classes, expected [N] of each, N > 0")
    with warnings.catch_warnings():
        # That so many classes might be values of a regression.
        warnings.simplefilter("ignore", UserWarning)
        scores = precision_recall_fscore_support(truth, predicted, labels=range(len(labels)), zero_division=np.nan)
    classes = [
        ClassScores(label, int(n), *(None if np.isnan(value) else float(value) for value in values))
        for label, n, *values in zip(labels, scores[3], *scores[:3], strict=True)
    ]
    return ClassificationReport(
        labels=tuple(labels),
        n=len(truth),
        accuracy=bootstrap_mean((truth == predicted).astype(float)),
        macro_f1=float(np.nanmean(scores[2])),
        classes=classes,
        pairs=dict(Counter(zip(truth.tolist(), predicted.tolist(), strict=True))),
    )
