"""The compact classifier: its size, its answer to silence, where its bands lie."""

import torch

from interpretability.classifiers.compact import CompactClassifier


def test_compact_has_about_a_million_parameters_and_silence_stays_zero():
    classifier = CompactClassifier([str(i) for i in range(10)])
    assert 0.8e6 < sum(p.numel() for p in classifier.parameters()) < 1.6e6
    assert not classifier.log_mel(torch.zeros(1, 3, 513)).any()


def test_mel_centres_are_where_a_tone_excites_the_band():
    classifier = CompactClassifier(["a", "b"], n_mels=32)
    centres = classifier.mel_centres()
    for band in (3, 15, 30):
        tone = torch.zeros(1, 1, 513)
        tone[0, 0, round(float(centres[band]))] = 1
        assert abs(int(classifier.log_mel(tone).argmax()) - band) <= 1
