"""Boxes that people drew around sounds, in time and frequency: ``boxes`` of a clip in its manifest, and their checks.

A box is ``{"label": "wren", "start": 0.2, "end": 0.7, "low": 2000.0, "high": 5500.0}``: seconds from the start of the
clip, and Hz. Without ``low`` it reaches down to 0 Hz, without ``high`` up to the highest frequency of the clip.
"""

import math
from collections.abc import Sequence
from typing import Any

from interpretability.errors import shown
from interpretability.names import utf8_name

NEEDED = ("label", "start", "end")
OPTIONAL = ("low", "high")
#: How far the end of a box may lie behind that of its clip, s, and its upper limit above half the sampling rate, as a
#: share of it: others round them.
ROUNDING = 0.01


def boxes_fault(boxes: Any, duration: float) -> str | None:
    """Return what is wrong with the boxes of a clip of ``duration`` seconds, or None.

    Parameters
    ----------
    boxes : object
        Parsed JSON.
    duration : float
        Of the clip, in seconds.
    """
    expected = f"a list of objects with {', '.join(NEEDED)} and, if known, {' and '.join(OPTIONAL)}"
    if not isinstance(boxes, list) or not all(isinstance(box, dict) for box in boxes):
        return f"boxes is {shown(boxes)}, expected {expected}"
    for box in boxes:
        fault = _fault(box, duration)
        if fault:
            return f"boxes: {shown(box, 200)} {fault}"
    return None


def _fault(box: dict[str, Any], duration: float) -> str | None:
    missing = [name for name in NEEDED if name not in box]
    unknown = [name for name in box if name not in (*NEEDED, *OPTIONAL)]
    if missing or unknown:
        which = f"lacks {', '.join(missing)}" if missing else f"has {shown(unknown[0])}"
        return f"{which}, expected {', '.join(NEEDED)} and, if known, {' and '.join(OPTIONAL)}"
    if not isinstance(box["label"], str) or not box["label"]:
        return "has no label, expected a non-empty text"
    for name in ("start", "end", *OPTIONAL):
        value = box.get(name, 0)
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < math.inf:
            return f"has the {name} {shown(value)}, expected a number >= 0"
    if not box["start"] < box["end"] <= duration + ROUNDING:
        return f"does not lie in its clip of {duration:g} s, expected start before end, in seconds from its start"
    if not box.get("low", 0.0) < box.get("high", math.inf):
        return "has low above high, expected low before high, in Hz"
    return None


def utf8_boxes(boxes: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return boxes with their labels as UTF-8 (:func:`.names.utf8_name`)."""
    return [{**box, "label": utf8_name(box["label"])} for box in boxes]
