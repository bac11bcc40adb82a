"""Boxes against boxes: known answers, and a count of points on a fine grid that knows nothing of edges."""

import math

import numpy as np
import pytest

from interpretability.metrics.regions import box_iou, frame_f1, time_iou

TIMES = np.arange(0.0, 4.0, 0.05)


def drawn(rng, most):
    """Return up to so many boxes whose edges lie on a grid of 1/20 s and 10 Hz."""
    corners = rng.integers(0, 40, size=(rng.integers(0, most + 1), 2, 2))
    return [(t / 20, (t + 1 + dt % 20) / 20, 10.0 * f, 10.0 * (f + 1 + df % 20)) for (t, f), (dt, df) in corners]


def rastered(boxes):
    """Return which of many small squares have their centre in a box, [80, 60]."""
    times, hertz = (np.arange(80) + 0.5) / 20, 10 * (np.arange(60) + 0.5)
    inside = np.zeros((80, 60), dtype=bool)
    for start, end, low, high in boxes:
        inside |= ((times > start) & (times < end))[:, None] & (hertz > low) & (hertz < high)
    return inside


def counted(a, b):
    return (a & b).sum() / (a | b).sum() if b.any() else math.nan


def test_unions_of_any_boxes_against_a_count_on_a_grid():
    rng = np.random.default_rng(0)
    values = []
    for _ in range(100):
        events, truth = drawn(rng, 4), drawn(rng, 3)
        a, b = rastered(events), rastered(truth)
        values.append(box_iou(events, truth))
        assert values[-1] == pytest.approx(counted(a, b), nan_ok=True)
        assert time_iou(events, truth) == pytest.approx(counted(a.any(1), b.any(1)), nan_ok=True)
        if truth and events:
            assert box_iou(truth, events) == pytest.approx(values[-1])
    assert len({round(value, 3) for value in values if value == value}) > 20


def test_frames_against_those_counted_one_by_one():
    rng = np.random.default_rng(1)
    for _ in range(100):
        events, truth = drawn(rng, 4), drawn(rng, 3)
        hit = missed = wrong = 0
        for time in TIMES:
            heard, true = (any(start <= time <= end for start, end, *_ in boxes) for boxes in (events, truth))
            hit, missed, wrong = hit + (heard and true), missed + (true and not heard), wrong + (heard and not true)
        expected = 2 * hit / (2 * hit + missed + wrong) if hit + missed else math.nan
        assert frame_f1(events, truth, TIMES) == pytest.approx(expected, nan_ok=True)


BOX = (1.0, 2.0, 100.0, 300.0)


@pytest.mark.parametrize(
    ("events", "box", "time", "frames"),
    [
        ([BOX], 1.0, 1.0, 1.0),
        ([], 0.0, 0.0, 0.0),
        ([(3.0, 4.0, 100.0, 300.0)], 0.0, 0.0, 0.0),
        ([(1.0, 2.0, 300.0, 500.0)], 0.0, 1.0, 1.0),  # beside it, at the same time
        ([(0.0, 4.0, 0.0, 800.0)], 1 / 16, 1 / 4, 42 / 101),  # 21 of 80 frames are true
        ([BOX, BOX, (1.2, 1.5, 150.0, 200.0)], 1.0, 1.0, 1.0),  # nothing counts twice
        ([(1.0, 1.5, 100.0, 300.0), (1.5, 2.0, 100.0, 300.0)], 1.0, 1.0, 1.0),  # in two parts
    ],
)
def test_known_answers(events, box, time, frames):
    assert box_iou(events, [BOX]) == pytest.approx(box)
    assert time_iou(events, [BOX]) == pytest.approx(time)
    assert frame_f1(events, [BOX], TIMES) == pytest.approx(frames)


def test_without_a_truth_they_are_undefined():
    for events in ([], [BOX]):
        assert math.isnan(box_iou(events, []))
        assert math.isnan(time_iou(events, []))
        assert math.isnan(frame_f1(events, [], TIMES))
    # A true box between two frames has none.
    assert math.isnan(frame_f1([BOX], [(1.01, 1.04, 0.0, 10.0)], TIMES))


@pytest.mark.parametrize("box", [(1.0, 1.0, 0.0, 1.0), (0.0, 1.0, 5.0, 1.0), (0.0, math.inf, 0.0, 1.0)])
def test_what_is_no_box_is_refused(box):
    for call in (lambda: box_iou([box], [BOX]), lambda: frame_f1([BOX], [box], TIMES)):
        with pytest.raises(ValueError, match="expected start < end"):
            call()
