"""What is found out about a model that is given as it runs."""

from __future__ import annotations

import sys

import pytest
import tiny

from interpretability.classifiers.sources import open_classifier
from interpretability.commands.main import import_classifier
from interpretability.commands.probe import probe_classifier

MODELS = """
import numpy as np
import torch

W = np.array([[2.0, -1.0, 0.5]], np.float32)
heard = 0

def power(wavs):
    return (wavs**2).sum(1, keepdims=True) @ W / 100

def softmax(wavs):
    values = np.exp(power(wavs))
    return values / values.sum(1, keepdims=True)

def fixed(wavs):
    assert wavs.shape[1] == 15600, wavs.shape
    return {"embedding": np.repeat(power(wavs), 8, axis=1) - 1, "scores": softmax(wavs)}

def alone(wavs):
    assert wavs.shape == (1, wavs.size)
    return power(wavs)

def single(wav):
    assert wav.ndim == 1
    return power(wav[None])[0]

def framewise(wavs):
    return 1 / (1 + np.exp(-wavs[:, : wavs.shape[1] // 400 * 400].reshape(len(wavs), -1, 400) @ np.ones((400, 3))))

def random(wavs):
    return power(wavs) + np.random.default_rng().normal(size=(len(wavs), 3))

def nan(wavs):
    return power(wavs) * np.nan

def words(wavs):
    return "dog"

def raises(wavs):
    raise RuntimeError("the cable is out")
"""


@pytest.fixture
def source(tmp_path, monkeypatch):
    (tmp_path / "models_to_probe.py").write_text(MODELS)
    monkeypatch.syspath_prepend(tmp_path)
    yield "python:models_to_probe:"
    sys.modules.pop("models_to_probe", None)


@pytest.mark.parametrize(
    ("name", "lines", "card"),
    [
        ("power", ["takes [B, N] of any length that was tried", "the same sound twice: the same answer"], []),
        ("power", ["two sounds at once: as each alone", "no gradient reaches the sound"], ['input_layout: "batch"']),
        ("softmax", ["[1, 3], 3 values", "they sum to 1"], ['output: "probabilities"', "labels: null"]),
        ("fixed", ["takes [B, N] of 15600 samples alone", "output scores: [1, 3]"], ["input_length: 15600"]),
        ("alone", ["two sounds at once: it does not take them"], ["one_by_one: true"]),
        ("single", ["takes [N] of any length"], ['input_layout: "single"']),
        ("framewise", ["one for each frame", "of several labels (task=multi), or logits"], ["output: null"]),
        ("random", ["the same sound twice: another answer: it draws random numbers"], []),
        ("nan", ["NaN or infinity: it is no answer"], ["output: null"]),
    ],
)
def test_what_is_found_out(source, capsys, name, lines, card):
    assert import_classifier([source + name, "--probe", "--sample_rate", "16000"]) == 0
    printed = capsys.readouterr().out
    for text in (*lines, *card, "one call takes", "sample_rate: 16000", "complete what is null"):
        assert text in printed


def test_the_card_opens_the_model(source, capsys, tmp_path):
    assert (
        import_classifier([f"{source}fixed", "--probe", "--labels", '["a", "b", "c"]', "--sample_rate", "16000"]) == 0
    )
    printed = capsys.readouterr().out
    assert 'entry: "scores"' in printed
    (tmp_path / "card.yaml").write_text(printed.partition("# model.yaml")[2].partition("\n")[2])
    classifier = open_classifier(f"{source}fixed", card=tmp_path / "card.yaml")
    assert (classifier.labels, classifier.settings.output) == (["a", "b", "c"], "probabilities")
    assert classifier.settings.input_length == 15600


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("python:models_to_probe:raises", "runs on none of the sounds that were tried (the cable is out): if it takes"),
        ("python:models_to_probe:words", "runs on none of the sounds that were tried (it gave no numbers)"),
        ("a/folder", "has no card to find out: expected python:package.module:function, onnx:FILE, tflite:FILE"),
    ],
)
def test_what_cannot_be_probed(source, capsys, name, message):
    assert import_classifier([name, "--probe"]) == 2
    assert message in capsys.readouterr().err


def test_a_class_of_pytorch_gets_settings_in_place_of_a_card(source, capsys, tmp_path):
    code = """
class Net(torch.nn.Module):
    def forward(self, wavs):
        assert wavs.shape[1] >= 400
        return {"logits": (wavs**2).sum(1, keepdim=True) @ torch.tensor([[2.0, -1.0]]), "wavs": wavs[:, :100]}
"""
    (tmp_path / "models_to_probe.py").write_text(MODELS + code)
    assert import_classifier(["torch:models_to_probe:Net", "--probe", "--labels", '["a", "b"]']) == 0
    printed = capsys.readouterr().out
    for text in ("from 400 to 32000 samples", "a gradient reaches the sound", "output logits: [1, 2], 2 values"):
        assert text in printed
    assert "--classifier_settings 'labels=" in printed
    for text in ("model.yaml", "entry", "input_layout"):
        assert text not in printed


def test_an_open_folder_of_another_library_needs_no_card():
    probe = probe_classifier(tiny.listening_classifier(["a", "b"]).freeze())
    assert probe.card == {}
    text = "\n".join(probe.lines)
    for words in ("takes sounds at 16000 Hz", "has 2 classes (single-label)", "a gradient reaches the sound"):
        assert words in text


def test_states_of_an_onnx_are_found(capsys, tmp_path):
    pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    import onnx_files

    path = onnx_files.save_counter(tmp_path / "counter.onnx")
    assert import_classifier([f"onnx:{path}", "--probe"]) == 0
    printed = capsys.readouterr().out
    assert "memory gets next (states)" in printed
    assert 'states: {"memory": "next"}' in printed
    assert "input_length: 100" in printed
    assert "no_grad" not in printed
