"""Calls are counted by sound, also of a classifier beneath another one, and of nothing but the block."""

import pytest
import torch
from tiny import LABELS, listening_classifier, noise
from waveform_models import Blocks, make

from interpretability.classifiers.calls import counted
from interpretability.classifiers.targeted import targeted
from interpretability.frontend import Clips


@pytest.fixture(scope="module")
def classifier():
    return listening_classifier(LABELS)


@torch.no_grad()
def test_each_sound_of_a_batch_is_a_call(classifier):
    spectrogram = classifier.frontend.analyse(noise(3, 4000))
    with counted(classifier) as calls:
        classifier.classify(spectrogram)
        classifier.classify(spectrogram[[0]])
        with counted(classifier) as inner:
            classifier.classify(spectrogram[[0, 1]])
    classifier.classify(spectrogram)
    assert (calls.count, inner.count) == (6, 2)


@torch.no_grad()
def test_a_model_that_takes_waveforms_is_asked_about_spectrograms_and_sounds():
    model = make(Blocks())
    clips = Clips(noise(3, 4000), torch.full((3,), 4000), model.frontend)
    with counted(model) as calls:
        model.classify(clips.spectrogram)
        model.classify_sound(clips)
    model.classify_sound(clips)
    assert calls.count == 6


@torch.no_grad()
def test_a_derived_classifier_asks_the_one_beneath_it_once(classifier):
    contrast = targeted(classifier, "cat - dog")
    with counted(contrast) as calls:
        contrast.classify(contrast.frontend.analyse(noise(3, 4000)))
    assert calls.count == 3


def test_an_error_ends_the_counting(classifier):
    with pytest.raises(KeyError), counted(classifier):
        raise KeyError
    assert not classifier._forward_hooks
