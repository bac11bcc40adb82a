"""A module of PyTorch as a classifier: saved by the name of its class, loaded without running it."""

import pytest
import torch

from interpretability.classifiers import load_classifier, save_classifier
from interpretability.classifiers.importing import imported_class
from interpretability.classifiers.layers import Layout
from interpretability.classifiers.module import ModuleClassifier
from interpretability.classifiers.waveform import frontend_for
from interpretability.errors import UserError

LABELS = ["a", "b", "c"]
RATE = 8000


def test_saved_and_loaded_it_gives_the_same(package, tmp_path):
    classifier = ModuleClassifier(
        LABELS,
        frontend_for(RATE, "peak"),
        "multi",
        module=f"{package}:Net",
        arguments={"width": 6},
        layers=["conv"],
        scale="linear",
    )
    save_classifier(classifier, tmp_path / "saved")
    loaded = load_classifier(tmp_path / "saved", trust_remote_code=True)
    assert loaded.architecture() == classifier.architecture()
    assert loaded.layers == classifier.layers
    assert (loaded.task, loaded.labels, loaded.settings.scale) == ("multi", LABELS, "linear")
    assert loaded.frontend.settings == classifier.frontend.settings
    spectrogram = loaded.frontend.analyse(torch.randn(1, 3000, generator=torch.Generator().manual_seed(0)))
    first, second = loaded.classify(spectrogram), classifier.freeze().classify(spectrogram)
    assert torch.equal(first.logits, second.logits)
    assert torch.equal(first.feature_maps[0], second.feature_maps[0])


def test_how_a_model_is_run_is_saved_with_it(package, tmp_path, monkeypatch):
    """What its outputs are, the thresholds of its classes, and what was found out when it was opened."""
    settings = {"output": "logits", "pool": "max", "thresholds": [0.2, 0.5, 0.9], "one_by_one": True}
    classifier = ModuleClassifier(LABELS, frontend_for(RATE), "multi", module=f"{package}:Net", **settings)
    save_classifier(classifier, tmp_path / "saved")
    monkeypatch.setattr(ModuleClassifier, "checked_logits", None)  # it is not run again to find out
    loaded = load_classifier(tmp_path / "saved", trust_remote_code=True)
    assert loaded.settings.to_dict().items() >= settings.items()
    assert loaded.thresholds.tolist() == [0.2, 0.5, 0.9]
    assert loaded.layers == ()
    assert loaded.notes == classifier.notes


@pytest.mark.parametrize(
    ("task", "thresholds", "words"),
    [
        ("multi", [0.5, 0.5], "got 2 thresholds and task 'multi', expected none, or one for each of the 3 classes"),
        ("single", [0.5] * 3, "got 3 thresholds and task 'single'"),
        ("multi", [0.5, 0.5, 1.0], "expected a list of numbers or null > 0 and < 1"),
    ],
)
def test_thresholds_that_do_not_fit(package, task, thresholds, words):
    with pytest.raises(UserError, match=words):
        ModuleClassifier(LABELS, frontend_for(RATE), task, module=f"{package}:Net", thresholds=thresholds)


def test_a_module_says_which_sampling_rate_is_assumed(package, caplog):
    assert ModuleClassifier(LABELS, module=f"{package}:Net", sample_rate=RATE).frontend.settings.sample_rate == RATE
    assert "assumed" not in caplog.text
    assert ModuleClassifier(LABELS, module=f"{package}:Net").frontend.settings.sample_rate == 16000
    assert "a sampling rate of 16000 Hz is assumed; give sample_rate" in caplog.text
    with pytest.raises(UserError, match="got a front end and a sampling rate: give one of them"):
        ModuleClassifier(LABELS, frontend_for(RATE), module=f"{package}:Net", sample_rate=RATE)


def test_loading_does_not_run_the_model_to_find_its_layers(package, monkeypatch):
    classifier = ModuleClassifier(LABELS, frontend_for(RATE), module=f"{package}:Net")
    monkeypatch.setattr(Layout, "shapes", None)
    again = ModuleClassifier(LABELS, frontend_for(RATE), **classifier.architecture())
    assert again.layers == classifier.layers


def test_an_instance_without_arguments_cannot_be_saved(package, tmp_path):
    kind = imported_class(f"{package}:Net")
    with pytest.raises(UserError, match="pass arguments="):
        save_classifier(ModuleClassifier(LABELS, frontend_for(RATE), module=kind()), tmp_path / "saved")
    assert not (tmp_path / "saved").exists()

    class Local(kind):
        pass

    with pytest.raises(UserError, match="cannot be imported"):
        ModuleClassifier(LABELS, frontend_for(RATE), module=Local(), arguments={}).architecture()
