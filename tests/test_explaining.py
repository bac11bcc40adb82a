"""One call from a model and a sound to an explanation: every kind of model, the same result, and one line otherwise."""

import numpy as np
import pytest
import soundfile
import tiny
import torch

from interpretability import explain, load_interpreter, open_classifier
from interpretability.classifiers.compact import CompactClassifier
from interpretability.errors import UserError
from interpretability.methods.baselines import EnergyMask


@pytest.fixture
def classifier():
    torch.manual_seed(0)
    return CompactClassifier(tiny.LABELS, tiny.SMALL, n_mels=8, channels=(2, 2, 2, 2))


@pytest.fixture
def sound(tmp_path):
    path = tmp_path / "sound.wav"
    soundfile.write(path, 0.1 * tiny.noise(2000).numpy(), tiny.RATE, subtype="FLOAT")
    return path


def test_every_kind_of_trained_model(tiny_piq_run, sound):
    """A run's folder, the interpreter's own, as path or text, and what was loaded from it."""
    interpreter = load_interpreter(tiny_piq_run)
    expected = interpreter.explain(torch.from_numpy(soundfile.read(sound, dtype="float32")[0])[None])
    for model in (interpreter, tiny_piq_run, str(tiny_piq_run / "interpreter")):
        explanation = explain(model, sound)
        assert explanation.method == "piq"
        assert torch.equal(explanation.mask, expected.mask)
        assert explanation.origins[0].path == sound


def test_every_kind_of_classifier(tiny_classifier_folder, sound):
    expected = explain(open_classifier(tiny_classifier_folder), sound, method="saliency")
    for model in (str(tiny_classifier_folder), tiny_classifier_folder):
        assert torch.equal(explain(model, sound, method="saliency").mask, expected.mask)


def test_every_form_of_sound_method_target_and_settings(classifier, sound):
    samples = soundfile.read(sound, dtype="float32")[0]
    expected = EnergyMask(classifier, area=0.1).explain(torch.from_numpy(samples)[None], target="rain")
    settings = {"method": "energy", "settings": {"area": 0.1}, "target": "rain"}
    for form in (sound, samples, torch.from_numpy(samples), [samples], samples[None]):
        explanation = explain(classifier, form, **settings)
        assert torch.equal(explanation.mask, expected.mask)
        assert explanation.describe()["explained"] == "rain"
    assert len(explain(classifier, [sound, samples[:900]], **settings)) == 2
    assert explain(classifier, np.repeat(samples, 2), 2 * tiny.RATE, **settings).sound.shape == (1, 2000)


def test_nmf_learns_from_all_the_sounds(classifier, sound):
    explanation = explain(classifier, [sound, tiny.noise(900, seed=1)], method="nmf", settings={"n_components": 3})
    assert explanation.components.matrix.shape == (33, 3)
    assert len(explanation) == 2


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"method": "magic"}, "no method 'magic', expected one of"),
        ({"method": "piq"}, "piq has to be trained"),
        ({"settings": {"area": 1}}, "has no setting 'area'"),
        ({"target": "zebra"}, "zebra"),
        ({"sounds": "none.wav"}, "no such audio file"),
        ({"model": torch.nn.Linear(1, 1)}, "the model is of type Linear, expected an interpreter, a classifier"),
        ({"model": "nowhere"}, "nowhere"),
        ({"method": "nmf", "sounds": np.zeros(800)}, "the sound: silence, from which no dictionary can be learned"),
    ],
)
def test_what_cannot_be_explained_is_one_line(arguments, words, classifier, sound):
    with pytest.raises(UserError, match=words):
        explain(**{"model": classifier, "sounds": sound, **arguments})


@pytest.mark.parametrize("given", [{"method": "saliency"}, {"settings": {"area": 0.1}}])
def test_a_trained_method_takes_no_other_and_no_settings(given, classifier, sound):
    with pytest.raises(UserError, match=f"{next(iter(given))} goes with a classifier"):
        explain(EnergyMask(classifier), sound, **given)


def test_a_model_that_refuses_the_sound(classifier, sound, monkeypatch):
    monkeypatch.setattr(classifier, "analyse", lambda *_: 1 / 0)
    with pytest.raises(
        UserError, match=r"sound.wav: the classifier cannot be run on 0.25 s of sound \(division by zero"
    ):
        explain(classifier, sound)
