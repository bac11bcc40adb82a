"""What is said of a recording: times, windows, other classes, and what has no explanation."""

from pathlib import Path

import numpy as np
import pytest
import whistles

from interpretability.recordings.merging import RecordingEvent
from interpretability.recordings.result import Explained, RecordingExplanation
from interpretability.recordings.timeline import Heard, Timeline
from interpretability.recordings.windows import Span

EVENT = RecordingEvent("whistle", 312.4, 312.9, 2900, 3100, 0.8, 0.97, 0.9, 0.12, 310.0, 314.0, 312.4, 312.9)
RATE = whistles.RATE


def result(probabilities, reasons=(), threshold=0.5, events=()):
    """Return a result with windows of 4 s, every 2 s; ``reasons`` has an entry for each active one."""
    spans = [Span(2 * k * RATE, (2 * k + 4) * RATE) for k in range(len(probabilities))]
    heard = [Heard(span, 1.0, np.array([1 - p, p])) for span, p in zip(spans, probabilities, strict=True)]
    active = [span for span, p in zip(spans, probabilities, strict=True) if p >= threshold]
    windows = [
        Explained(span, [], reason) for span, reason in zip(active, reasons or [None] * len(active), strict=True)
    ]
    timeline, classifier = Timeline(whistles.LABELS, RATE, 2 * RATE, heard), whistles.classifier()
    place = Path("night.wav"), Path("out")
    return RecordingExplanation(*place, classifier, None, timeline, 1, threshold, windows, list(events), (), "0" * 64)


def test_times_are_those_of_a_player():
    probabilities = [0.0] * 200
    probabilities[155:157] = [0.97, 0.6]
    lines = result(probabilities, events=[EVENT]).sentences()
    assert lines[0] == "6 min 42 s in 200 windows. Heard most: hum (mean probability 0.99)."
    assert lines[1] == (
        "whistle is active (at least 0.5) in 2 of them: 310.0 (5:10)–316.0 (5:16) s. The highest is 0.97 at "
        "310.0 (5:10)–314.0 (5:14) s."
    )
    assert lines[2] == "1 event; the one that matters most:"
    assert lines[3] == "  whistle: 97 % -> 12 % without 312.40–312.90 s, 2900–3100 Hz"


def test_windows_that_overlap_are_one_stretch():
    got = result([0, 0.9, 0.9, 0, 0.9, 0, 0, 0.9])
    assert got.stretches == [(2, 12), (14, 18)]


def test_a_threshold_that_would_explain_something_is_named():
    text = result([0.1, 0.3, 0.2]).sentences()[1]
    assert "whistle is active nowhere" in text
    assert "The highest is 0.30 at 2.0–6.0 s: --threshold 0.28 would explain it there." in text


def test_windows_without_an_explanation_are_said_with_the_reason():
    got = result([0.9, 0.1, 0.9], reasons=["it is silent", None])
    assert "No explanation for the windows that begin at 0.0 s (it is silent)." in got.sentences()
    assert got.describe()["without_explanation"] == [{"start": 0.0, "end": 4.0, "reason": "it is silent"}]


def test_a_window_is_the_same_as_plain_values():
    one = Explained(Span(0, 9), [EVENT], None)
    assert Explained.of(one.row()) == one


@pytest.mark.parametrize("value", [0.97, 0.5, 0.013, 1e-5, 0.0])
def test_the_named_threshold_lies_below_the_probability(value):
    text = result([value], threshold=0.999).sentences()[1]
    threshold = float(text.split("--threshold ")[1].split()[0])
    assert 0 <= threshold <= value
