"""Boxes of a clip: what is one, and what is not."""

import pytest

from interpretability.data.boxes import boxes_fault, utf8_boxes

BOX = {"label": "wren", "start": 0.2, "end": 0.7, "low": 2000.0, "high": 5500.0}


def test_boxes_that_are_good():
    whole = {"label": "wren", "start": 0, "end": 1.0}
    assert boxes_fault([], 1.0) is None
    assert boxes_fault([BOX, whole, {**BOX, "end": 1.005}, {**whole, "low": 50.0}, {**whole, "high": 50}], 1.0) is None


@pytest.mark.parametrize(
    ("boxes", "reason"),
    [
        (BOX, "expected a list of objects with label, start, end and, if known, low and high"),
        (["wren"], "expected a list of objects"),
        ([BOX, {"label": "wren", "start": 0.1}], "lacks end"),
        ([{**BOX, "hihg": 3.0}], "has 'hihg', expected label, start, end"),
        ([{**BOX, "label": ""}], "has no label"),
        ([{**BOX, "start": "0"}], "has the start '0', expected a number >= 0"),
        ([{**BOX, "low": -1.0}], "has the low -1.0"),
        ([{**BOX, "end": float("inf")}], "has the end inf"),
        ([{**BOX, "high": True}], "has the high True"),
        ([{**BOX, "end": 0.2}], "does not lie in its clip of 1 s, expected start before end"),
        ([{**BOX, "end": 1.2}], "does not lie in its clip of 1 s"),
        ([{**BOX, "high": 2000.0}], "has low above high"),
    ],
)
def test_what_is_no_box_is_named(boxes, reason):
    assert reason in boxes_fault(boxes, 1.0)


def test_labels_of_boxes_become_utf8():
    assert utf8_boxes([{**BOX, "label": "ch\udce8vre"}]) == [{**BOX, "label": "ch%E8vre"}]
