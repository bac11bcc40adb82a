"""The commands of docs/any_classifier.md and docs/models.md run as they stand, on models that packages carry."""

from __future__ import annotations

import json
import re
import shlex
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from interpretability.commands.main import interpret
from interpretability.explaining import DEFAULT_BY_ANSWERS

DOCS = Path(__file__).resolve().parents[2] / "docs"
SECONDS, RATE = 1, 16000


def commands(name: str) -> list[list[str]]:
    """Return the command lines of ``tools/interpret.py`` in a document, each as its words."""
    text = (DOCS / name).read_text("utf-8").replace("\\\n", " ")
    lines = [line for block in re.findall(r"```\n(.*?)```", text, re.DOTALL) for line in block.splitlines()]
    return [shlex.split(line)[2:] for line in lines if "tools/interpret.py" in line]


@pytest.fixture
def sound(tmp_path):
    """A second of a chirp from low to high, after a quarter of silence."""
    time = np.arange(SECONDS * RATE) / RATE
    soundfile.write(tmp_path / "sound.wav", 0.3 * np.sin(2 * np.pi * (200 + 1500 * time) * time) * (time > 0.25), RATE)
    return tmp_path / "sound.wav"


def run(words: list[str], tmp_path: Path) -> dict:
    """Run a documented command on the sound of the test; return the description of the explanation."""
    words = [str(tmp_path / word) if word == "sound.wav" or word.startswith("results/") else word for word in words]
    assert interpret(words) == 0
    (out,) = [word for word in words if "results/" in word]
    return json.loads((Path(out) / "explanation.json").read_text("utf-8"))


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["onnx", "jit"])
def test_silero_vad(kind, sound, tmp_path):
    package = pytest.importorskip("silero_vad")
    if kind == "onnx":
        pytest.importorskip("onnxruntime")
    (words,) = [words for words in commands("models.md") if words[0].startswith(f"{kind}:")]
    site = str(Path(package.__file__).parents[1])
    description = run([word.replace("$SITE", site) for word in words], tmp_path)
    assert description["method"] == ("gradients" if kind == "jit" else DEFAULT_BY_ANSWERS)
    assert "the probability of a class is their highest (windows=max)" in json.dumps(description)


def test_a_plain_function(sound, tmp_path, monkeypatch):
    text = (DOCS / "any_classifier.md").read_text("utf-8")
    (code,) = re.findall(r"```python\n# my_model.py\n(.*?)```", text, re.DOTALL)
    (tmp_path / "my_model.py").write_text(code, "utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    try:
        (words,) = [words for words in commands("any_classifier.md") if words[0].startswith("python:")]
        assert run(words, tmp_path)["method"] == DEFAULT_BY_ANSWERS
    finally:
        sys.modules.pop("my_model", None)


def test_an_onnx_file(sound, tmp_path, monkeypatch):
    torch = pytest.importorskip("torch")
    pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    model = torch.nn.Sequential(torch.nn.Unflatten(1, (1, -1)), torch.nn.Conv1d(1, 2, 400, 160), torch.nn.ReLU())
    model = torch.nn.Sequential(model, torch.nn.AdaptiveAvgPool1d(1), torch.nn.Flatten())
    path, axes = tmp_path / "net.onnx", {"sound": {0: "batch", 1: "samples"}}
    torch.onnx.export(
        model, torch.zeros(1, RATE), path, input_names=["sound"], dynamic_axes=axes, dynamo=False, opset_version=17
    )
    (words,) = [words for words in commands("any_classifier.md") if words[0].startswith("onnx:")]
    assert run([f"onnx:{path}", *words[1:]], tmp_path)["method"] == DEFAULT_BY_ANSWERS
