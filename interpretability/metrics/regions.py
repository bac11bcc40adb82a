"""How well boxes around sounds fit the boxes where they are known to be: in the picture, in time, frame by frame.

Conventions: boxes are [n, 4], each ``(start, end, low, high)`` in s and Hz, with start < end and low < high. What
several boxes hold together is their *union*: nothing counts twice, neither of the truth nor of the events. Values lie
in [0, 1], higher is better. Where there is no true box there is nothing to compare with, and values are NaN
(*undefined*); where there is one but no event, they are 0.
"""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

#: A box: start and end in s, low and high in Hz.
Bounds = tuple[float, float, float, float]


def box_iou(events: Sequence[Bounds], truth: Sequence[Bounds]) -> float:
    """Area that lies in an event and in a true box, by the area that lies in any of them, in s times Hz.

    Exact: the edges of all boxes cut the plane into cells that lie in a box as a whole, or not at all.

    Parameters
    ----------
    events, truth : sequence of (start, end, low, high)

    Returns
    -------
    float
        In [0, 1]; NaN without a true box.

    Raises
    ------
    ValueError
        If a box has no extent, or is not finite.

    Examples
    --------
    >>> box_iou([(0, 2, 0, 100)], [(1, 3, 0, 100)])
    0.3333333333333333
    >>> box_iou([(0, 1, 0, 100), (0, 1, 0, 100)], [(0, 1, 0, 200)])
    0.5
    """
    events, truth = _boxes(events), _boxes(truth)
    edges = [
        np.unique(np.concatenate([part[:, axes].ravel() for part in (events, truth)])) for axes in ((0, 1), (2, 3))
    ]
    areas = np.outer(*(np.diff(axis) for axis in edges))
    return _iou(_cells(events, edges), _cells(truth, edges), areas, len(truth))


def time_iou(events: Sequence[Bounds], truth: Sequence[Bounds]) -> float:
    """Time in which there is an event and a true box, by the time in which there is any of them.

    As :func:`box_iou`, of boxes that reach over all frequencies.

    Examples
    --------
    >>> time_iou([(0, 2, 0, 100)], [(1, 3, 5000, 6000)])
    0.3333333333333333
    """
    return box_iou(*([(start, end, 0.0, 1.0) for start, end, _, _ in _boxes(boxes)] for boxes in (events, truth)))


def frame_f1(events: Sequence[Bounds], truth: Sequence[Bounds], times: ArrayLike) -> float:
    """F1 of the frames: those whose centre lies in an event, for those whose centre lies in a true box.

    ``2 TP / (2 TP + FP + FN)``; both limits of a box count as inside.

    Parameters
    ----------
    events, truth : sequence of (start, end, low, high)
    times : array [T]
        Centres of the frames, in s.

    Returns
    -------
    float
        In [0, 1]; NaN where no frame is in a true box.

    Examples
    --------
    >>> frame_f1([(0, 2, 0, 100)], [(1, 3, 0, 100)], [0.0, 1.0, 2.0, 3.0])
    0.6666666666666666
    """
    times = np.asarray(times, dtype=np.float64)
    heard, true = (
        np.any((times >= boxes[:, :1]) & (times <= boxes[:, 1:2]), axis=0) for boxes in (_boxes(events), _boxes(truth))
    )
    return float(2 * (heard & true).sum() / (heard.sum() + true.sum())) if true.any() else math.nan


def shortest_run(values: np.ndarray, share: float) -> tuple[int, int]:
    """Return the first and the last index of the shortest run of values that holds a share of their sum.

    Of runs of equal length, the one with the largest sum is taken, then the first.

    Parameters
    ----------
    values : array [n]
        >= 0, and not all 0.
    share : float
        In (0, 1].

    Example
    -------
    >>> shortest_run(np.array([1.0, 0.0, 5.0, 3.0, 1.0]), 0.8)
    (2, 3)
    """
    before = np.concatenate([[0.0], np.cumsum(values)])
    # A little less than asked for, so that rounding does not make the run longer by one.
    wanted = share * before[-1] * (1 - 1e-9)
    first = np.arange(len(values))
    last = np.searchsorted(before, before[:-1] + wanted)  # exclusive
    fits = last < len(before)
    lengths = np.where(fits, last - first, len(values) + 1)
    held = before[np.minimum(last, len(values))] - before[:-1]
    best = int(np.lexsort((-held, lengths))[0])
    return best, int(last[best]) - 1


def _boxes(boxes: Sequence[Bounds]) -> np.ndarray:
    """The boxes as an array [n, 4] in float64, or a ValueError."""
    array = np.asarray(boxes, dtype=np.float64).reshape(-1, 4)
    wrong = ~(np.isfinite(array).all(1) & (array[:, 0] < array[:, 1]) & (array[:, 2] < array[:, 3]))
    if wrong.any():
        raise ValueError(f"box {array[wrong][0].tolist()}: expected start < end in s and low < high in Hz, all finite")
    return array


def _cells(boxes: np.ndarray, edges: Sequence[np.ndarray]) -> np.ndarray:
    """Return which cells between neighbouring edges lie in a box, [n, m]."""
    inside = np.zeros([max(len(axis) - 1, 0) for axis in edges], dtype=bool)
    for box in boxes:
        first, last = np.searchsorted(edges[0], box[:2])
        lowest, highest = np.searchsorted(edges[1], box[2:])
        inside[first:last, lowest:highest] = True
    return inside


def _iou(first: np.ndarray, other: np.ndarray, areas: np.ndarray, n_truth: int) -> float:
    return float(areas[first & other].sum() / areas[first | other].sum()) if n_truth else math.nan
