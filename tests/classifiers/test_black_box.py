"""Models given as a function, a file of ONNX or a file of TorchScript: asked, and not looked into."""

from __future__ import annotations

import logging
import sys

import pytest
import torch
from torch import nn

from interpretability import explain
from interpretability.classifiers.black_box import FunctionClassifier
from interpretability.classifiers.check import check_classifier, noise
from interpretability.classifiers.gradient import NoGradientError
from interpretability.classifiers.sources import open_classifier
from interpretability.errors import UserError
from interpretability.explaining import DEFAULT_BY_ANSWERS
from interpretability.methods.counterfactual import Counterfactual
from interpretability.weights import fingerprint

LABELS = ["a", "b", "c"]
WEIGHTS = torch.tensor([[2.0, -1.0, 0.5]])
KNOWN = {"labels": LABELS, "sample_rate": 8000}

FUNCTIONS = """
import time
import numpy as np
import torch

W = np.array([[2.0, -1.0, 0.5]], np.float32)

def logits(wavs):
    assert isinstance(wavs, np.ndarray) and wavs.dtype == np.float32
    return (wavs**2).sum(1, keepdims=True) @ W / 100

def probabilities(wavs):
    values = np.exp(logits(wavs))
    return values / values.sum(1, keepdims=True)

def rows(wavs):
    return logits(wavs).tolist()

def ragged(wavs):
    return [[1.0, 2.0], [3.0]]

def words(wavs):
    return ["dog"] * len(wavs)

def raises(wavs):
    raise RuntimeError("the cable is out\\nsecond line")

def greedy(wavs):
    answer = logits(wavs)
    wavs *= 0
    return answer

def random(wavs):
    return logits(wavs) + np.random.default_rng().normal(size=(len(wavs), 3)).astype("float32")

def nan(wavs):
    return logits(wavs) * np.nan

def too_large(wavs):
    return logits(wavs) + 7

def alone(wavs):
    assert len(wavs) == 1
    return logits(wavs)

def scaled(wavs, factor):
    return {"scores": logits(wavs) * factor, "others": logits(wavs)}

def slow(wavs):
    time.sleep(0.02)
    return logits(wavs)

number = 3

class Net(torch.nn.Module):
    pass
"""


@pytest.fixture
def functions(tmp_path, monkeypatch):
    (tmp_path / "functions_of_anybody.py").write_text(FUNCTIONS)
    monkeypatch.syspath_prepend(tmp_path)
    yield "python:functions_of_anybody"
    sys.modules.pop("functions_of_anybody", None)


def meant(wavs):
    """The logits [B, 3] of the models that are known by hand."""
    return (wavs**2).sum(1, keepdim=True) @ WEIGHTS / 100


def answers(classifier, wavs):
    return classifier.scores_of(wavs, torch.full((len(wavs),), wavs.shape[1])).logits


# ---------------------------------------------------------------------------------------------------------- functions


def test_a_function_of_numpy_is_explained_by_what_needs_no_gradient(functions):
    classifier = open_classifier(f"{functions}:logits", **KNOWN)
    assert (classifier.NAME, classifier.title, classifier.frozen) == ("python", f"{functions}:logits", True)
    wavs = noise(3, 4000)
    torch.testing.assert_close(answers(classifier, wavs), meant(wavs))
    check = check_classifier(classifier)
    assert (check.spread, check.gradient) == (0, False)
    explanation = explain(classifier, noise(1, 4000))
    assert explanation.method == DEFAULT_BY_ANSWERS
    torch.testing.assert_close(explanation.probabilities, meant(noise(1, 4000)).softmax(1), atol=1e-5, rtol=1e-4)
    assert explanation.mask.any()


def test_a_model_without_tensors_is_known_by_what_it_is(functions, tmp_path):
    def identity(name, **settings):
        return fingerprint(open_classifier(f"{functions}:{name}", **{**KNOWN, **settings}))

    first = identity("logits")
    assert identity("logits") == first
    others = [identity("rows"), identity("logits", task="multi"), identity("logits", labels=["x", "y", "z"])]
    (tmp_path / "functions_of_anybody.py").write_text(FUNCTIONS.replace("/ 100", "/ 10"))
    sys.modules.pop("functions_of_anybody")
    others.append(identity("logits"))
    assert len({first, *others}) == 5


def test_a_counterfactual_needs_a_gradient(functions):
    method = Counterfactual(open_classifier(f"{functions}:logits", **KNOWN))
    with pytest.raises(NoGradientError, match="lets no gradient through"):
        method.explain(noise(1, 4000))


def test_probabilities_lists_and_entries_are_the_same_answer(functions):
    wavs = noise(2, 4000)
    stated = open_classifier(f"{functions}:probabilities", output="probabilities", **KNOWN)
    torch.testing.assert_close(answers(stated, wavs).softmax(1), meant(wavs).softmax(1))
    torch.testing.assert_close(answers(open_classifier(f"{functions}:rows", **KNOWN), wavs), meant(wavs))
    for entry in ("scores", 0):
        scaled = open_classifier(f"{functions}:scaled", inputs={"factor": 3}, entry=entry, **KNOWN)
        torch.testing.assert_close(answers(scaled, wavs), 3 * meant(wavs))
    other = open_classifier(f"{functions}:scaled", inputs={"factor": 3}, entry="others", **KNOWN)
    torch.testing.assert_close(answers(other, wavs), meant(wavs))


def test_what_a_function_does_is_said(functions, caplog):
    wavs = noise(2, 4000)
    greedy = open_classifier(f"{functions}:greedy", **KNOWN)
    torch.testing.assert_close(answers(greedy, wavs), meant(noise(2, 4000)))
    assert torch.equal(wavs, noise(2, 4000))
    assert "changes the sound that it is given, and gets a copy each time" in "; ".join(greedy.notes)
    random = open_classifier(f"{functions}:random", **KNOWN)
    assert check_classifier(random).spread > 0.01
    assert "draws random numbers" in "; ".join(random.notes)
    alone = open_classifier(f"{functions}:alone", **KNOWN)
    assert "takes one sound at a time" in "; ".join(alone.notes)


def test_a_slow_function_says_what_to_expect_at_its_first_call(functions, caplog, monkeypatch):
    monkeypatch.setattr("interpretability.classifiers.black_box.SLOW", 0.01)
    with caplog.at_level(logging.WARNING):
        open_classifier(f"{functions}:slow", **KNOWN)
    lines = [record.getMessage() for record in caplog.records if "one call took" in record.getMessage()]
    assert len(lines) == 1
    assert "for 1 s of sound: opening the model makes about 20 calls" in lines[0]
    assert "an explanation without gradients about 500" in lines[0]
    assert "or fewer with --settings calls=N" in lines[0]


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("raises", {}, r"cannot be run on 1 s of sound \(the cable is out\): expected a model from waveforms"),
        ("ragged", {}, "gave list for 1 sound, expected logits .1, 3.: one for each of the 3 classes"),
        ("words", {}, "gave list for 1 sound, expected logits"),
        (
            "too_large",
            {"output": "probabilities"},
            "output=probabilities says that they lie in .0, 1.: give output=log",
        ),
        ("logits", {"labels": ["a", "b"]}, r"gave \(1, 3\) for 1 sound, expected logits .1, 2.: one for each of the 2"),
        ("logits", {"labels": None}, "does not say what its classes are: give labels"),
        ("logits", {"entry": "scores"}, "has no output 'scores' .entry.: it gives one"),
        ("scaled", {"inputs": {"factor": 1}, "entry": 4}, "has no output 4 .entry.: it has scores, others"),
        ("scaled", {}, "cannot be run on 1 s of sound .scaled.. missing 1 required positional argument: 'factor'"),
        ("logits", {"states": {"a": "b"}}, "states is .'a': 'b'., which goes with onnx:FILE and tflite:FILE"),
        ("logits", {"hop_length": 5}, "hop_length is 5, expected at most input_length, which is None"),
        ("number", {}, "is int, expected a function from waveforms"),
        ("Net", {}, "is a class, expected a function .*is opened as torch:package.module:Class"),
        ("nothing", {}, "cannot be imported .module 'functions_of_anybody' has no attribute 'nothing'"),
    ],
)
def test_functions_that_do_not_fit(functions, name, settings, message):
    with pytest.raises(UserError, match=message) as raised:
        open_classifier(f"{functions}:{name}", **{**KNOWN, **settings})
    assert "\n" not in str(raised.value)


def test_answers_that_are_no_numbers(functions):
    with pytest.raises(UserError, match="functions_of_anybody:nan gives NaN or infinity for 1 of 1 sounds"):
        check_classifier(open_classifier(f"{functions}:nan", **KNOWN))


def test_a_source_alone_runs_no_code_of_a_saved_description(functions):
    """What a run's YAML may name takes no name of code."""
    with pytest.raises(UserError, match="the model is str, expected a module of PyTorch"):
        FunctionClassifier(LABELS, module="functions_of_anybody:Net", source="x")
    assert "functions_of_anybody" not in sys.modules


def test_it_cannot_be_saved(functions):
    with pytest.raises(UserError, match="cannot be saved as a folder: name it as the source each time"):
        open_classifier(f"{functions}:logits", **KNOWN).architecture()


# -------------------------------------------------------------------------------------------------------- TorchScript


class Power(nn.Module):
    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(WEIGHTS.clone())

    def forward(self, wavs, factor: float = 1.0):
        return (wavs**2).sum(1, keepdim=True) @ self.weight * factor / 100


def test_torchscript_lets_gradients_through(tmp_path):
    torch.jit.script(Power()).save(str(tmp_path / "power.pt"))
    wavs = noise(2, 4000)
    classifier = open_classifier(f"jit:{tmp_path / 'power.pt'}", **KNOWN)
    torch.testing.assert_close(answers(classifier, wavs), meant(wavs))
    assert check_classifier(classifier).gradient
    assert explain(classifier, noise(1, 4000)).method == "gradients"
    doubled = open_classifier(f"jit:{tmp_path / 'power.pt'}", inputs={"factor": 2.0}, **KNOWN)
    torch.testing.assert_close(answers(doubled, wavs), 2 * meant(wavs))
    windows = open_classifier(f"jit:{tmp_path / 'power.pt'}", input_length=1000, **KNOWN)
    assert check_classifier(windows).gradient
    frozen = torch.jit.freeze(torch.jit.script(Power().eval()))
    frozen.save(str(tmp_path / "frozen.pt"))
    torch.testing.assert_close(answers(open_classifier(f"jit:{tmp_path / 'frozen.pt'}", **KNOWN), wavs), meant(wavs))
