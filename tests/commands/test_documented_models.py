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
#: The page, and the file that shows the same in short.
PAGES = ("any_classifier.md", "../README.md")
SECONDS, RATE = 1, 16000


def commands(name: str) -> list[list[str]]:
    """Return the command lines of ``tools/interpret.py`` in a document, each as its words."""
    text = (DOCS / name).read_text("utf-8").replace("\\\n", " ")
    blocks = re.findall(r"^```(\w*)\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    lines = [line for language, block in blocks if not language for line in block.splitlines()]
    return [shlex.split(line)[2:] for line in lines if "tools/interpret.py" in line]


@pytest.fixture
def sound(tmp_path, monkeypatch):
    """A second of a chirp from low to high, after a quarter of silence."""
    time = np.arange(SECONDS * RATE) / RATE
    monkeypatch.chdir(tmp_path)
    soundfile.write("sound.wav", 0.3 * np.sin(2 * np.pi * (200 + 1500 * time) * time) * (time > 0.25), RATE)
    return tmp_path / "sound.wav"


def run(words: list[str], folder: Path) -> dict:
    """Run a documented command on the sound of the test; return the description of the explanation."""
    words = [str(folder / word) if word.startswith("results/") else word for word in words]
    assert interpret(words) == 0
    (out,) = [word for word in words if "results/" in word]
    return json.loads((Path(out) / "explanation.json").read_text("utf-8"))


def run_all(kind: str, source: str | None, tmp_path: Path) -> None:
    """Run what the pages show of a kind of source: the default, and other methods with fewer calls."""
    lines = [words for page in PAGES for words in commands(page) if words and words[0].startswith(kind)]
    assert len(lines) == 3
    for number, words in enumerate(lines):
        description = run([source or words[0], *words[1:]], tmp_path / str(number))
        method = words[words.index("--method") + 1] if "--method" in words else DEFAULT_BY_ANSWERS
        assert description["method"] == method
        assert description["settings"]["calls"] == (100 if "calls=100" in words else 500)


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


@pytest.mark.slow
def test_a_plain_function(sound, tmp_path, monkeypatch):
    text = (DOCS / "any_classifier.md").read_text("utf-8")
    (code,) = re.findall(r"```python\n# my_model.py\n(.*?)```", text, re.DOTALL)
    (tmp_path / "my_model.py").write_text(code, "utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    try:
        run_all("python:", None, tmp_path)
    finally:
        sys.modules.pop("my_model", None)


@pytest.mark.slow
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
    run_all("onnx:", f"onnx:{path}", tmp_path)
