"""The method *optimised*: its starts, further classifiers, its notes, and real clips."""

import pytest
import torch
from tiny import LABELS, SMALL, noise

from interpretability.classifiers import save_classifier
from interpretability.classifiers.compact import CompactClassifier
from interpretability.errors import MissingError, UserError
from interpretability.methods.optimised import OptimisedMask
from interpretability.metrics.suite import MetricSuite


def compact(seed=0):
    torch.manual_seed(seed)
    return CompactClassifier(LABELS, SMALL, n_mels=8, channels=(4, 4, 4, 4))


def test_it_starts_from_the_loudest_bins_or_from_an_even_mask():
    batch = compact().freeze().analyse(noise(1, 4000))
    loudest, even = (
        OptimisedMask(compact(), steps=0, start=start).interpret(batch).mask for start in ("energy", "even")
    )
    torch.testing.assert_close(even, torch.full_like(even, 0.5))
    loud = batch.spectrogram.magnitude > batch.spectrogram.magnitude.median()
    assert loudest[loud].mean() > loudest[~loud].mean() + 0.02


@torch.no_grad()
def test_its_explanation_keeps_more_of_the_class_than_its_start():
    classifier = compact().freeze()
    batch = classifier.analyse(noise(3, 4000), target=0)
    suite = MetricSuite(classifier)

    def kept(steps):
        interpretation = OptimisedMask(classifier, steps=steps, l1_weight=1.0).interpret(batch)
        return suite(batch, interpretation.mask, ("waveform",))["waveform"]["o"]

    assert (kept(10) > kept(0)).all()


def test_a_further_classifier_has_its_say_and_moves_along(tmp_path):
    save_classifier(compact(1), tmp_path / "second")
    source = str(tmp_path / "second")
    wavs = noise(1, 4000)
    alone, both = (OptimisedMask(compact(), steps=3, also=also) for also in ((), (source,)))
    assert not torch.equal(alone.explain(wavs).mask, both.explain(wavs).mask)
    assert both.settings.to_dict()["also"] == [source]
    both.double()
    assert all(value.dtype == torch.float64 for one in both.classifiers for value in one.parameters())
    assert not list(both.parameters())
    with pytest.raises(MissingError):
        OptimisedMask(compact(), also=(str(tmp_path / "nothing"),))


def test_wrong_settings_are_refused_and_its_notes_say_how_to_judge_it():
    with pytest.raises(UserError, match=r"^optimised: steps is -1, expected a whole number >= 0 and <= 10000$"):
        OptimisedMask(compact(), steps=-1)
    with pytest.raises(UserError, match=r"^optimised: start is 'loud', expected one of gradient, energy, even$"):
        OptimisedMask(compact(), start="loud")
    assert "judge it by another classifier" in OptimisedMask(compact()).notes[-1]
