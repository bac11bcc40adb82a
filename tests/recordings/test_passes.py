"""The passes over a recording: they go on from what is known, and read no further than they must."""

import numpy as np
import pytest
import torch
import whistles

from interpretability.data.streaming import SoundStream
from interpretability.errors import UserError
from interpretability.events import EventSettings
from interpretability.journal import Journal
from interpretability.methods.baselines import EnergyMask
from interpretability.recordings.passes import MOST_LEARNED, classify_windows, examples, explain_windows
from interpretability.recordings.store import Masks
from interpretability.recordings.windows import WindowPlan


@pytest.fixture
def night(tmp_path):
    return whistles.write(tmp_path / "night.wav", whistles.recording(10.0, [(4.2, 4.5)]))


def test_the_answers_are_known_again_with_the_notes_and_the_recording_is_not_read(night, tmp_path):
    classifier, stream = whistles.classifier(), SoundStream(night, whistles.RATE)
    plan = WindowPlan.of(classifier.frontend.settings, 1.0)
    first, notes = classify_windows(classifier, stream, plan, Journal(tmp_path / "a", "k"))
    second, again = classify_windows(classifier, _Unread(), plan, Journal(tmp_path / "a", "k"))
    assert notes == again == ()
    assert [window.span for window in second.windows] == [window.span for window in first.windows]
    assert np.allclose(second.probabilities, first.probabilities, atol=1e-7)


class _Unread:
    """A stream that must not be read."""

    sample_rate, promised = whistles.RATE, 10.0

    def __iter__(self):
        raise AssertionError("it was read")


def test_a_classifier_that_does_not_take_the_windows_is_named_in_one_line(night, tmp_path):
    class Refusing(whistles.WhistleClassifier):
        def forward(self, magnitude, valid=None):
            raise RuntimeError("kernel size can't be greater than the input")

    classifier = Refusing(whistles.LABELS, whistles.SMALL).freeze()
    plan = WindowPlan.of(classifier.frontend.settings, 1.0)
    with pytest.raises(UserError, match=r"night\.wav: the classifier cannot be run on 1 s of sound \(kernel size"):
        classify_windows(classifier, SoundStream(night, whistles.RATE), plan, Journal(tmp_path / "a", "k"))


def test_only_windows_that_are_missing_are_explained(night, tmp_path):
    classifier, stream = whistles.classifier(), SoundStream(night, whistles.RATE)
    plan = WindowPlan.of(classifier.frontend.settings, 1.0)
    spans = [span for span, _ in plan.cut(stream)][6:9]
    journal, masks = Journal(tmp_path / "a", "k"), Masks(tmp_path / "masks", "k")
    rest = (1, EventSettings(), journal, masks)
    first = explain_windows(EnergyMask(classifier), stream, plan, spans, *rest)
    assert [window.span for window in first] == spans
    assert explain_windows(EnergyMask(classifier), _Unread(), plan, spans[1:], *rest) == first[1:]
    masks.path(spans[1].start).unlink()
    explain_windows(EnergyMask(classifier), stream, plan, spans, *rest)
    assert masks.read(spans[1].start) is not None


def test_examples_lie_evenly_over_the_recording(night):
    classifier, stream = whistles.classifier(), SoundStream(night, whistles.RATE)
    plan = WindowPlan.of(classifier.frontend.settings, 0.4)
    timeline, _ = classify_windows(classifier, stream, plan, Journal(night.with_name("a"), "k"))
    sounds = examples(stream, plan, timeline, classifier)
    assert sounds.wavs.shape == (MOST_LEARNED, 3200)
    whole = torch.cat(list(stream))
    assert torch.equal(sounds.wavs[0], whole[:3200])
    assert torch.equal(sounds.wavs[-1][:3000], whole[timeline.windows[-1].span.start :][:3000])
