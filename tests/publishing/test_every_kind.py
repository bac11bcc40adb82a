"""Every method and every classifier is published and loaded again, by this package and by SpeechBrain's interface."""

import dataclasses
import sys
import types

import exported_folders
import pytest
import tiny
import torch
from exported_folders import LABELS
from speechbrain.inference.interfaces import foreign_class
from tiny import noise

from interpretability.classifiers import CLASSIFIERS, load_classifier, open_classifier, save_classifier
from interpretability.classifiers.cnn14 import Cnn14Classifier
from interpretability.classifiers.compact import CompactClassifier
from interpretability.classifiers.focalnet import FocalNetClassifier
from interpretability.classifiers.huggingface import HuggingFaceClassifier
from interpretability.classifiers.module import ModuleClassifier
from interpretability.classifiers.speechbrain import SpeechBrainClassifier
from interpretability.classifiers.vit import ViTClassifier
from interpretability.classifiers.waveform import frontend_for
from interpretability.dictionary import Dictionary
from interpretability.errors import UserError
from interpretability.frontend import FrontendSettings
from interpretability.methods import METHODS, load_interpreter, save_interpreter

#: Labels that YAML takes for something else, and tasks, are part of it.
CLASSIFIER_CASES = {
    "compact": lambda: CompactClassifier(LABELS, n_mels=16, channels=(4, 4, 8, 8), task="multi"),
    "conv2d": exported_folders.settled_conv2d,
    "cnn14": lambda: Cnn14Classifier(LABELS, base_channels=1, emb_dim=32),
    "vit": lambda: ViTClassifier(LABELS, config=tiny.VIT, image_frames=87),
    "focalnet": lambda: FocalNetClassifier(
        LABELS, config={"image_size": 32, "embed_dim": 4, "depths": [1, 1, 2]}, image_frames=87
    ),
    "torch": lambda: ModuleClassifier(LABELS, frontend_for(16000), module="someones_package:Net", arguments={}),
    "huggingface": lambda: HuggingFaceClassifier(LABELS, config=tiny.WAV2VEC2),
    "speechbrain": lambda: SpeechBrainClassifier(LABELS, hyperparams=tiny.XVECTOR),
}


def dictionary():
    bins = torch.arange(513.0)[:, None]
    matrix = torch.exp(-(((bins - torch.linspace(0, 512, 6)) / 60) ** 2))
    return Dictionary(matrix / matrix.norm(dim=0), FrontendSettings(), LABELS, "euclidean")


#: Of methods that ask for answers only.
FEW_CALLS = {"calls": 4, "times": 2, "bands": 2}
SETTINGS = {
    "piq": lambda: {"codebook_size": 12, "channels": 4, "decoder_channels": (4, 4)},
    "lmac": lambda: {"channels": 4, "decoder_channels": (4, 4)},
    "l2i": lambda: {"dictionary": dictionary(), "channels": 4},
    "nmf": lambda: {"dictionary": dictionary(), "n_iterations": 4},
    "gradients": lambda: {"n_steps": 4},
    "optimised": lambda: {"steps": 2},
    "counterfactual": lambda: {"steps": 2},
    **dict.fromkeys(("rise", "occlusion", "feature_ablation", "kernel_shap", "lime"), lambda: FEW_CALLS),
    "amt": dict,
    "constant": dict,
    "random": dict,
    "energy": dict,
}


@pytest.fixture
def package(monkeypatch):
    """A user's package, with a model of waveforms."""
    module = types.ModuleType("someones_package")
    exec(tiny.NETWORK, module.__dict__)
    monkeypatch.setitem(sys.modules, "someones_package", module)


def test_all_of_them_are_here():
    assert CLASSIFIER_CASES.keys() == CLASSIFIERS.keys()
    assert SETTINGS.keys() == METHODS.keys()


@pytest.mark.slow
@pytest.mark.parametrize("name", SETTINGS)
def test_a_method(name, tmp_path):
    classifier = CLASSIFIER_CASES["vit" if name == "amt" else "conv2d"]()
    save_classifier(classifier, tmp_path / "classifier")
    torch.manual_seed(0)
    interpreter = METHODS[name](load_classifier(tmp_path / "classifier"), **SETTINGS[name]())
    save_interpreter(interpreter, tmp_path / "run" / "interpreter")
    folder = exported_folders.publish(tmp_path / "run", tmp_path / "published")
    wavs = noise(2, 16000)
    wanted = load_interpreter(tmp_path / "run").explain(wavs)
    explanation = load_interpreter(folder).explain(wavs)
    assert torch.equal(explanation.mask, wanted.mask)
    assert explanation.model == wanted.model
    sound, _ = foreign_class(source=str(folder)).interpret_batch(wavs)
    assert torch.equal(sound, wanted.listenable)


@pytest.mark.slow
@pytest.mark.parametrize("name", CLASSIFIER_CASES)
def test_a_classifier(name, tmp_path, package, monkeypatch):
    torch.manual_seed(0)
    save_classifier(CLASSIFIER_CASES[name](), tmp_path / "classifier")
    choices = dataclasses.replace(exported_folders.CHOICES, trust_remote_code=True)
    folder = exported_folders.publish(tmp_path / "classifier", tmp_path / "published", choices)
    if name == "torch":
        monkeypatch.delitem(sys.modules, "someones_package")
        with pytest.raises(UserError, match="code that is of no installed package"):
            load_classifier(folder)
        return
    wavs = noise(2, 16000)
    wanted = load_classifier(tmp_path / "classifier").analyse(wavs).output.logits
    classifier = open_classifier(folder)
    assert torch.equal(classifier.analyse(wavs).output.logits, wanted)
    assert classifier.description["sha256"] == load_classifier(tmp_path / "classifier").description["sha256"]
    assert classifier.labels == LABELS
    _, _, index, labels = foreign_class(source=str(folder)).classify_batch(wavs)
    assert index.tolist() == wanted.argmax(1).tolist()
    assert labels == [[LABELS[one] for one in index]]
