"""The timeline: each window is heard as a clip of its own, and one line passes through their answers."""

import numpy as np
import pytest
import torch
import whistles
from tiny import noise

from interpretability.probabilities import probabilities
from interpretability.recordings.timeline import Heard, Timeline, classified, in_batches
from interpretability.recordings.windows import Span, WindowPlan


@pytest.mark.parametrize("at_once", [1, 5000, 1 << 20])
def test_windows_are_classified_as_clips_of_their_own_whatever_the_batch(at_once):
    classifier, wav = whistles.classifier(), torch.from_numpy(whistles.recording(3.3, [(1.0, 1.2)]))
    wav[:8000] *= 0.01  # a quiet window is levelled like any other
    plan = WindowPlan.of(classifier.frontend.settings, 0.5)
    windows = list(plan.cut(wav.split(1000)))
    batches = in_batches(windows, max(1, at_once // plan.length))
    answers = [answer for batch in batches for answer in classified(classifier, batch)]
    assert [answer.span for answer in answers] == [span for span, _ in windows]
    for answer, (_, window) in zip(answers, windows, strict=True):
        alone = probabilities(classifier.analyse(window[None]).output.logits, "single")[0]
        assert answer.probabilities == pytest.approx(alone.numpy(), abs=1e-5)
        assert answer.peak == float(window.abs().max())


def test_batches_hold_all_windows_in_order():
    windows = [(Span(k, k + 1), noise(1)) for k in range(7)]
    assert [len(batch) for batch in in_batches(windows, 3)] == [3, 3, 1]
    assert [span.start for batch in in_batches(windows, 3) for span, _ in batch] == list(range(7))


def test_one_line_passes_through_the_answers_of_windows():
    spans, values = [Span(0, 100), Span(50, 150), Span(100, 200)], [(0.2, 0.8), (0.6, 0.4), (0.9, 0.1)]
    heard = [Heard(span, 1.0, np.array(value)) for span, value in zip(spans, values, strict=True)]
    timeline = Timeline(["a", "b"], 100, 50, heard)
    times, line = timeline.stitched()
    assert times[0] == 0
    assert times[-1] == pytest.approx(2.0, abs=0.13)
    at = [int(np.argmin(np.abs(times - time))) for time in (0.0, 1.0, 1.92)]
    assert line[at, 0] == pytest.approx([0.2, 0.6, 0.9], abs=1e-6)
    assert line.sum(1) == pytest.approx(np.ones(len(times)))
    assert timeline.overall() == 0
    assert timeline.seconds == 2.0
