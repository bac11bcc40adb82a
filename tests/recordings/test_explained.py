"""Explanations of windows: those of clips of their own; one that has none stops nothing."""

import torch
import whistles

from interpretability.errors import UserError
from interpretability.events import EventSettings
from interpretability.explanation import Interpretation
from interpretability.methods.baselines import EnergyMask
from interpretability.recordings.explained import SILENT, UNDEFINED, explained
from interpretability.recordings.windows import Span, WindowPlan


def windows_of(wav, plan):
    return [(span, window.clone()) for span, window in plan.cut([torch.from_numpy(wav)])]


def test_a_window_has_the_mask_and_the_events_of_the_same_sound_alone():
    classifier = whistles.classifier()
    interpreter, plan = EnergyMask(classifier, area=0.05), WindowPlan.of(classifier.frontend.settings, 0.5)
    windows = windows_of(whistles.recording(1.3, [(0.6, 0.75)]), plan)
    got = [one for batch in explained(interpreter, windows, plan.length, 1, EventSettings()) for one in batch]
    assert [one.span for one in got] == [span for span, _ in windows]
    for one, (span, wav) in zip(got, windows, strict=True):
        alone = interpreter.explain(wav[None], target=1)
        assert torch.equal(torch.from_numpy(one.mask), alone.mask[0])
        shifted = [event.shifted(span.start / whistles.RATE) for event in alone.events()]
        assert [(e.start, e.end, e.low, e.high) for e in one.events] == [
            (e.start, e.end, e.low, e.high) for e in shifted
        ]
        assert {(e.window_start, e.window_end) for e in one.events} == {
            (span.start / whistles.RATE, span.stop / whistles.RATE)
        }


class Moody(EnergyMask):
    """It has no explanation for quiet sounds, and refuses those whose first sample is the largest."""

    def interpret(self, batch):
        if bool((batch.clips.wavs[:, 0] == 1.0).any()):
            raise UserError("too loud at the start")
        quiet = batch.clips.wavs.square().mean(1) < 0.1
        mask = self.mask(batch) * ~quiet[:, None, None]
        return Interpretation(mask, undefined=quiet if bool(quiet.any()) else None)


def test_windows_without_an_explanation_get_a_reason_and_the_others_are_explained():
    steady = torch.from_numpy(whistles.recording(0.5, [(0.0, 0.5)]))
    loud, quiet = steady.clone(), torch.zeros(4000)
    loud[0], quiet[7] = 5.0, 1.0
    wavs = [steady, loud, quiet, torch.zeros(4000), steady]
    windows = [(Span(4000 * k, 4000 * (k + 1)), wav) for k, wav in enumerate(wavs)]
    (got,) = explained(Moody(whistles.classifier()), windows, 4000, 1, EventSettings())
    assert [one.reason for one in got] == [None, "too loud at the start", UNDEFINED, SILENT, None]
    assert [one.mask is None for one in got] == [False, True, True, True, False]
    assert [bool(one.events) for one in got] == [True, False, False, False, True]
