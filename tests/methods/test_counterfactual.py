"""The minimal counterfactual: the one sound that counts is replaced by background, and nothing where nothing helps."""

import math

import pytest
import torch
from one_band import BAND, OneBand
from tiny import noise

from interpretability.classifiers import save_classifier
from interpretability.classifiers.compact import CompactClassifier
from interpretability.errors import UserError
from interpretability.methods.counterfactual import Counterfactual, replace_by

RATE = 8000  # Hz; bins of 125 Hz
SETTINGS = {"cell_seconds": 0.02, "bands": 16}


def tones(*frequencies, n_samples=4000):
    """Faint noise, with tones in its middle half: [1, N]."""
    time = torch.arange(n_samples) / RATE
    middle = (time >= 0.25 * time[-1]) & (time < 0.75 * time[-1])
    return 0.002 * noise(1, n_samples) + sum(torch.sin(2 * math.pi * f * time) * middle for f in frequencies)[None]


def test_it_covers_the_sound_that_counts_and_leaves_the_other():
    classifier = OneBand(gain=40.0, threshold=0.1)
    batch = classifier.analyse(tones(1500, 3200), target="yes")
    assert batch.output.predicted.tolist() == [1]
    interpretation = Counterfactual(classifier, **SETTINGS).interpret(batch)
    assert interpretation.undefined.tolist() == [False]
    assert interpretation.scores["flipped"].tolist() == [1.0]
    mask = interpretation.mask[0]
    middle = slice(round(0.35 * len(mask)), round(0.65 * len(mask)))
    assert mask[middle, 11:14].mean() > 3 * mask[middle, 24:28].mean()
    assert mask.mean() < 0.2


def test_the_decision_is_another_one_as_heard_and_background_is_no_hole():
    classifier = OneBand(gain=40.0, threshold=0.1)
    method = Counterfactual(classifier, **SETTINGS)
    batch = classifier.analyse(tones(1500), target="yes")
    mask, background = method.interpret(batch).mask, method.background(batch)
    replaced = replace_by(background, batch.clips, mask)
    assert classifier.classify_sound(replaced).predicted.tolist() == [0]
    nothing = replace_by(background, batch.clips, torch.zeros_like(mask))
    torch.testing.assert_close(nothing.wavs, batch.clips.wavs, rtol=0, atol=1e-4)
    everything = replace_by(background, batch.clips, torch.ones_like(mask)).spectrogram.magnitude
    assert 0 < everything[0, :, BAND].mean() < 0.05 * batch.spectrogram.magnitude[0, :, BAND].mean()


def test_what_is_not_heard_silence_and_what_cannot_be_changed_are_undefined():
    method = Counterfactual(OneBand(gain=40.0, threshold=0.1), **SETTINGS)
    wavs = torch.cat([tones(3200), torch.zeros(1, 4000), tones(1500)])
    batch = method.classifier.analyse(wavs, target="yes")
    interpretation = method.interpret(batch)
    assert interpretation.undefined.tolist() == [True, True, False]
    assert interpretation.scores["flipped"].isnan().tolist() == [True, True, False]
    assert not interpretation.mask[:2].any()
    stationary = method.classifier.analyse(noise(1, 4000), target="yes")  # its background is what is heard
    stuck = Counterfactual(OneBand(gain=40.0, threshold=0.1), **SETTINGS, background=1.0).interpret(stationary)
    assert stuck.scores["flipped"].tolist() == [0.0]
    assert stuck.undefined.tolist() == [True]


def test_a_second_classifier_says_whether_it_decides_otherwise_too(tmp_path, monkeypatch):
    first = OneBand(gain=40.0, threshold=0.1)
    batch = first.analyse(tones(1500, 3200), target="yes")
    for band, wanted in ((BAND, [1.0]), (slice(22, 30), [0.0]), (slice(0, 2), [math.nan])):
        other = OneBand(band, gain=40.0, threshold=0.1)
        monkeypatch.setattr("interpretability.methods.further.open_second", lambda *_, other=other: other)
        scores = Counterfactual(first, **SETTINGS, second="other").interpret(batch).scores
        torch.testing.assert_close(scores["second_flipped"].tolist(), wanted, equal_nan=True)
    monkeypatch.undo()
    save_classifier(CompactClassifier(["a", "b"], n_mels=8, channels=(4, 4)), tmp_path / "other")
    with pytest.raises(UserError, match="has sample_rate 16000, the explained classifier 8000"):
        Counterfactual(first, second=str(tmp_path / "other"))
