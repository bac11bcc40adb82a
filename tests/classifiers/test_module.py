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
