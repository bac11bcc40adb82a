"""``tools/interpret.py``: any sound in, three sounds of the same length, a figure and metrics out; or one line.

By a trained run first, then by methods that need no training, on saved classifiers and on those of other libraries.
"""

import json
import math
import os
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
import tiny
import torch

from interpretability.classifiers import load_classifier, save_classifier
from interpretability.classifiers.compact import CompactClassifier
from interpretability.classifiers.focalnet import FocalNetClassifier
from interpretability.classifiers.vit import ViTClassifier
from interpretability.commands import main
from interpretability.explaining import DEFAULT_BY_ANSWERS
from interpretability.files import LISTING
from interpretability.frontend import Frontend, FrontendSettings
from interpretability.methods import METHODS
from interpretability.methods.attributions import ATTRIBUTIONS
from interpretability.methods.gradients import Gradients
from interpretability.metrics.suite import METRICS

SCRIPT = tiny.REPOSITORY / "tools" / "interpret.py"
RESULTS = ["explanation.json", "explanation.wav", "figure.png", "input.wav", "mask.npz", "residual.wav", LISTING]
RESULTS += ["events.json", "events.csv", "events.selections.txt", "events.labels.txt"]


@pytest.fixture(scope="module")
def interpret():
    """Call the tool in this process."""
    return lambda *arguments: tiny.call(main.interpret, [str(argument) for argument in arguments])


@pytest.fixture
def out(tmp_path):
    return tmp_path / "out"


@pytest.fixture
def sound(tmp_path):
    path = tmp_path / "sound.wav"
    soundfile.write(path, noise(4000), tiny.RATE)
    return path


def noise(n_samples, scale=0.3):
    return scale * np.random.default_rng(0).standard_normal(n_samples)


def check_results(out, n_samples, more=(), undefined=()):
    """Check the files of an explained sound; return its description."""
    assert sorted(path.name for path in out.iterdir()) == sorted([*RESULTS, *more])
    sounds = {}
    for name in ("input", "explanation", "residual"):
        wav, rate = soundfile.read(os.fsencode(out / f"{name}.wav"), dtype="float32")
        assert rate == tiny.RATE
        assert wav.shape == (n_samples,)
        assert np.isfinite(wav).all()
        sounds[name] = wav
    # NaN is no JSON, though Python would read it.
    description = json.loads((out / "explanation.json").read_text("utf-8"), parse_constant=pytest.fail)
    for values in description["metrics"].values():
        assert {*METRICS, "p", "o", "q", "silent", "saturated"} <= values.keys()
        assert {name for name, value in values.items() if value is None} <= set(undefined)
    assert set(description["metrics"]) == {"spectrogram", "waveform"}
    assert set(description["baseline_metrics"]) == set(description["baselines"]) == {"energy", "random"}
    assert (out / "figure.png").read_bytes().startswith(b"\x89PNG")
    assert description["seconds"] == n_samples / tiny.RATE
    return description, sounds


# ---- Sounds that work ----


@pytest.mark.parametrize(
    ("suffix", "rate", "channels", "subtype", "scale"),
    [
        (".wav", 8000, 1, "PCM_U8", 0.3),
        (".wav", 48000, 6, "PCM_16", 0.3),
        (".wav", 192000, 2, "PCM_24", 10.0),  # clipped
        (".wav", 11025, 1, "FLOAT", 1000.0),  # far beyond full scale
        (".wav", 8000, 1, "DOUBLE", 1e-30),  # all but silent
        (".flac", 22050, 1, "PCM_16", 0.3),
    ],
)
@pytest.mark.slow
def test_formats(interpret, tiny_piq_run, tmp_path, out, suffix, rate, channels, subtype, scale):
    n_samples = int(0.4321 * rate)
    path = tmp_path / f"sound{suffix}"
    soundfile.write(path, np.stack([noise(n_samples, scale)] * channels, axis=1), rate, subtype=subtype)
    outcome = interpret(tiny_piq_run, path, "--out", out)
    assert outcome.code == 0, outcome.err
    description, sounds = check_results(out, math.ceil(n_samples * tiny.RATE / rate))
    assert np.abs(sounds["input"]).max() == pytest.approx(1.0)  # levelled, as the classifier hears it
    assert description["metrics"]["waveform"]["silent"] == 0.0
    assert outcome.out.startswith(f"Heard as {description['predicted']} (")
    assert "\n".join(description["sentences"]) in outcome.out
    assert tiny.leftovers(out) == []


@pytest.mark.parametrize("n_samples", [800, 801, 12345, pytest.param(240000, marks=pytest.mark.slow)])  # 0.1 s to 30 s
def test_lengths(interpret, tiny_piq_run, tmp_path, out, n_samples):
    soundfile.write(tmp_path / "sound.wav", noise(n_samples), tiny.RATE)
    outcome = interpret(tiny_piq_run, tmp_path / "sound.wav", "--out", out)
    assert outcome.code == 0, outcome.err
    check_results(out, n_samples)


def test_silence_is_flagged(interpret, tiny_piq_run, tmp_path, out):
    soundfile.write(tmp_path / "silence.wav", np.zeros(4000), tiny.RATE)
    outcome = interpret(tiny_piq_run, tmp_path / "silence.wav", "--out", out)
    assert outcome.code == 0, outcome.err
    description, sounds = check_results(out, 4000)
    assert not any(wav.any() for wav in sounds.values())
    for values in description["metrics"].values():
        assert values["silent"] == 1.0
        assert [values[name] for name in ("ff", "ff_in", "ad", "ai", "ag")] == [0.0] * 5


@pytest.mark.parametrize("target", ["high", "2"])
def test_another_target(interpret, tiny_piq_run, sound, out, target):
    outcome = interpret(tiny_piq_run, sound, "--out", out, "--target", target)
    assert outcome.code == 0, outcome.err
    assert check_results(out, 4000)[0]["explained"] == "high"


def test_the_interpreter_folder_alone_is_enough(interpret, tiny_piq_run, tmp_path, sound, out):
    alone = shutil.copytree(tiny_piq_run / "interpreter", tmp_path / "alone")
    for folder, result in ((tiny_piq_run, out), (alone, tmp_path / "second")):
        outcome = interpret(folder, sound, "--out", result)
        assert outcome.code == 0, outcome.err
    for name in ("explanation.wav", "residual.wav"):
        assert (out / name).read_bytes() == (tmp_path / "second" / name).read_bytes()


def test_the_classes_are_listed_with_their_indices(interpret, tiny_piq_run, tmp_path):
    outcomes = [
        interpret(tiny_piq_run, "--list_classes"),
        interpret("--classifier", tiny_piq_run / "interpreter" / "classifier", "--list_classes"),
    ]
    for outcome in outcomes:
        assert outcome.code == 0, outcome.err
        assert outcome.out.splitlines() == ["0\tlow", "1\tmiddle", "2\thigh"]
    refuse(interpret("--list_classes"), tmp_path / "out", "no model: name it first")


def test_every_number_stands_beside_those_of_masks_of_the_same_area(interpret, tiny_piq_run, sound, out):
    outcome = interpret(tiny_piq_run, sound, "--out", out)
    description, _ = check_results(out, 4000)
    assert "For comparison, the loudest " in outcome.out
    head = next(line for line in outcome.out.splitlines() if line.endswith("random bins"))
    rows = outcome.out.split(head)[1].strip().split("\n\n")[0].splitlines()
    assert len(rows) == len(METRICS) + 2  # and both probabilities
    assert all(len(line) <= 80 for line in (head, *rows))
    heard = [places["waveform"] for places in (description["metrics"], *description["baseline_metrics"].values())]
    area = next(row for row in rows if row.startswith("share of the bins"))
    assert area.split()[-3:] == [f"{values['kept_area']:.3g}" for values in heard]


@pytest.mark.slow
def test_names_that_are_not_utf8(interpret, tiny_piq_run, sound, tmp_path):
    path, out = (tmp_path / os.fsdecode(name) for name in (b"ch\xe8vre.wav", b"r\xe9sultat"))
    sound.rename(path)
    assert interpret(tiny_piq_run, path, "--out", out).code == 0
    description, _ = check_results(out, 4000)
    assert description["source"].endswith("ch\\xe8vre.wav")
    path.unlink()
    assert "ch\\xe8vre.wav: no such audio file" in interpret(tiny_piq_run, path, "--out", out).line


@pytest.mark.slow
def test_channels_that_cancel_are_noted_and_one_can_be_chosen(interpret, tiny_piq_run, tmp_path, out):
    wav = noise(4000)
    soundfile.write(tmp_path / "a.wav", np.stack([wav, -wav], 1), tiny.RATE)
    outcome = interpret(tiny_piq_run, tmp_path / "a.wav", "--out", out)
    assert "note: its 2 channels cancel" in outcome.out
    assert "its 2 channels cancel" in check_results(out, 4000, undefined=METRICS)[0]["notes"][-1]
    outcome = interpret(tiny_piq_run, tmp_path / "a.wav", "--out", out, "--channel", "left")
    assert outcome.code == 0, outcome.err
    assert "note: " not in outcome.out
    assert check_results(out, 4000)[1]["input"].any()


# ---- Sounds that do not ----


@pytest.mark.slow
def test_the_sound_and_the_results_of_others_are_never_replaced(interpret, tiny_piq_run, sound, tmp_path, monkeypatch):
    """Nothing is written, and the sound is as it was: whatever it is called, and from wherever."""
    (tmp_path / "mine").mkdir()
    mine = shutil.copy(sound, tmp_path / "mine" / "input.wav")
    monkeypatch.chdir(tmp_path / "mine")
    assert interpret(tiny_piq_run, sound, "--out", "../out").code == 0
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    soundfile.write(tmp_path / "other.wav", noise(2000)[::-1], tiny.RATE)
    for path, folder, words in (
        ("input.wav", ".", "holds the sound input.wav, and would be replaced: name another folder"),
        (mine, tmp_path / "mine", "holds the sound input.wav, and would be replaced: name another folder"),
        (tmp_path / "other.wav", "../out", f"holds the explanation of {sound}, not of other.wav: name another folder"),
    ):
        outcome = interpret(tiny_piq_run, path, "--out", folder)
        assert outcome.code == 2
        assert words in outcome.line
    assert {path: path.read_bytes() for path in before} == before
    assert sorted(os.listdir(tmp_path / "mine")) == ["input.wav"]
    assert interpret(tiny_piq_run, sound, "--out", "../out").code == 0


def refuse(outcome, out, *words):
    assert outcome.code == 2, outcome.err
    assert outcome.line == outcome.err.strip()
    assert outcome.line.startswith("error: ")
    for word in words:
        assert str(word) in outcome.line
    assert not out.exists()


def write_text(path):
    path.write_text("this is no sound", "utf-8")


def write_nothing(path):
    path.write_bytes(b"")


def write_no_samples(path):
    soundfile.write(path, np.zeros(0), tiny.RATE)


def write_nan(path):
    wav = noise(4000)
    wav[7] = np.nan
    soundfile.write(path, wav, tiny.RATE, subtype="FLOAT")


def write_infinity(path):
    wav = noise(4000)
    wav[7] = -np.inf
    soundfile.write(path, wav, tiny.RATE, subtype="FLOAT")


def write_too_short(path):
    soundfile.write(path, noise(799), tiny.RATE)


def write_folder(path):
    path.mkdir()


@pytest.mark.parametrize(
    ("write", "words"),
    [
        (lambda path: None, ["no such audio file"]),
        (write_folder, ["holds no sounds (.aif, "]),
        (write_text, ["cannot be decoded", "expected an audio file"]),
        (write_nothing, ["the file is empty"]),
        (write_no_samples, ["holds 0 samples", "record it again"]),
        (write_nan, ["1 of 4000 samples are NaN or infinite", "export the sound again"]),
        (write_infinity, ["1 of 4000 samples are NaN or infinite"]),
        (write_too_short, ["lasts 0.09988 s", "expected 0.1 to 60 s", "cut the part"]),
    ],
)
def test_a_sound_that_cannot_be_used(interpret, tiny_piq_run, tmp_path, out, write, words):
    path = tmp_path / "sound.wav"
    write(path)
    refuse(interpret(tiny_piq_run, path, "--out", out), out, path, *words)


@pytest.mark.parametrize("target", ["zebra", "3", "-1"])
def test_an_unknown_target(interpret, tiny_piq_run, sound, out, target):
    outcome = interpret(tiny_piq_run, sound, "--out", out, f"--target={target}")
    refuse(outcome, out, f"no class '{target}'", "low, middle, high")


def test_a_device_that_is_not_there(interpret, tiny_piq_run, sound, out):
    refuse(interpret(tiny_piq_run, sound, "--out", out, "--device", "abacus"), out, "'abacus'", "--device cpu")


def test_results_that_cannot_be_written(interpret, tiny_piq_run, sound):
    outcome = interpret(tiny_piq_run, sound, "--out", sound)
    assert outcome.code == 2
    assert str(sound) in outcome.line


# ---- Run folders ----


def test_a_run_folder_that_is_not_there(interpret, tmp_path, sound, out):
    refuse(interpret(tmp_path / "none", sound, "--out", out), out, f"no run folder at {tmp_path / 'none'}", "finished")


def test_a_run_folder_without_a_checkpoint(interpret, tmp_path, sound, out):
    (tmp_path / "run" / "save").mkdir(parents=True)
    words = [f"no trained interpreter in {tmp_path / 'run'}", "finish training (run the same command again to resume)"]
    refuse(interpret(tmp_path / "run", sound, "--out", out), out, *words)


def change_a_byte(folder):
    content = bytearray((folder / "weights.pt").read_bytes())
    content[len(content) // 2] ^= 1
    (folder / "weights.pt").write_bytes(content)


def edit(name, old, new):
    def change(folder):
        text = (folder / name).read_text("utf-8")
        assert old in text
        (folder / name).write_text(text.replace(old, new), "utf-8")

    return change


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (change_a_byte, ["weights.pt", "SHA-256"]),
        (lambda folder: os.truncate(folder / "weights.pt", 1000), ["weights.pt", "damaged"]),
        (lambda folder: (folder / "weights.pt").unlink(), ["no weights at", "weights.pt"]),
        (lambda folder: shutil.rmtree(folder / "classifier"), ["no classifier in", "classifier.json not found"]),
        (lambda folder: os.truncate(folder / "classifier" / "weights.pt", 1000), ["classifier/weights.pt", "SHA-256"]),
        (edit("classifier/classifier.json", '"labels": [', '"labels": ["more",'), ["damaged or changed", "classifier"]),
        (edit("interpreter.json", '"codebook_size": 12', '"codebook_size": 13'), ["weights do not fit PIQ"]),
        (edit("interpreter.json", '"method": "piq"', '"method": "pig"'), ["method is 'pig'", "piq"]),
        (
            edit("interpreter.json", '"settings"', '"setings"'),
            ["lacks 'settings'", "save the trained interpreter again"],
        ),
        (lambda folder: os.truncate(folder / "interpreter.json", 10), ["interpreter.json: not valid JSON"]),
    ],
)
def test_a_damaged_or_ill_fitting_run(interpret, tiny_piq_run, tmp_path, sound, out, damage, words):
    run = shutil.copytree(tiny_piq_run, tmp_path / "run")
    damage(run / "interpreter")
    refuse(interpret(run, sound, "--out", out), out, *words)


# ---- Without training ----


@pytest.fixture
def explain(interpret, tiny_classifier_folder, sound, out):
    """Explain the sound with the tiny classifier and no run."""
    return lambda *arguments: interpret("--classifier", tiny_classifier_folder, sound, "--out", out, *arguments)


@pytest.mark.parametrize(
    ("method", "settings", "recorded"),
    [
        ("saliency", [], {"attribution": "saliency", "form": "top10"}),
        ("input_x_gradient", ["form=top20"], {"attribution": "input_x_gradient", "form": "top20"}),
        ("integrated_gradients", ["n_steps=4", "apply=linear"], {"n_steps": 4, "apply": "linear"}),
        ("smoothgrad", ["n_copies=3", "noise=2e-1"], {"attribution": "smoothgrad", "n_copies": 3, "noise": 0.2}),
        ("gradients", ["attribution=saliency"], {"attribution": "saliency"}),
        ("deeplift", [], {"attribution": "deeplift", "layer": None}),
        ("gradcam", [], {"attribution": "gradcam", "layer": "stages.3.1"}),
        ("guided_gradcam", ["layer=stages.1.1"], {"attribution": "guided_gradcam", "layer": "stages.1.1"}),
        ("optimised", ["steps=2", "start=even"], {"steps": 2, "start": "even"}),
        ("counterfactual", ["steps=2"], {"steps": 2}),
        ("energy", ["area=0.1"], {"area": 0.1}),
        ("random", ["seed=7"], {"area": 0.2, "seed": 7}),
        ("constant", ["value=0.3"], {"value": 0.3}),
        ("rise", ["calls=9", "times=2", "removal=background"], {"calls": 9, "bands": 12, "removal": "background"}),
    ],
)
@pytest.mark.slow
def test_methods_without_training(explain, out, tiny_classifier_folder, sound, method, settings, recorded):
    outcome = explain("--method", method, *(["--settings", *settings] if settings else []))
    assert outcome.code == 0, outcome.err
    # A classifier of one epoch may decide alike whatever is replaced: then there is no counterfactual.
    undefined = (*METRICS, "o", "q") if method == "counterfactual" else ()
    description, _ = check_results(out, 4000, undefined=undefined)
    assert recorded.items() <= description["settings"].items()
    known = json.loads((tiny_classifier_folder / "classifier.json").read_text("utf-8"))
    assert description["classifier"] == {
        "source": str(tiny_classifier_folder),
        "kind": "compact",
        "sha256": known["sha256"],
        "task": "single",
        "n_classes": 3,
        "frontend": known["frontend"],
    }
    assert description["source"] == str(sound)
    assert outcome.out.startswith(f"Heard as {description['predicted']} (")
    assert "The explained class is" not in outcome.out


def test_every_method_without_training_is_tried_here():
    tried = {"energy", "random", "constant", "gradients", "nmf", "amt", "optimised", "counterfactual"}
    tried |= {"rise", "occlusion", "feature_ablation", "kernel_shap", "lime"}
    assert {name for name, kind in METHODS.items() if not kind.trainable} == tried


@pytest.mark.slow
def test_the_default_is_integrated_gradients(explain, out, tiny_classifier_folder, sound):
    outcome = explain("--target", "high")
    assert outcome.code == 0, outcome.err
    description, sounds = check_results(out, 4000)
    assert (description["method"], description["explained"]) == ("gradients", "high")
    assert description["settings"]["attribution"] == "integrated_gradients"
    assert description["kept_area"] == pytest.approx(0.1, abs=1e-4)  # what can be heard, and keeps the decision
    # What the library gives is what the tool writes.
    wav = torch.from_numpy(soundfile.read(sound, dtype="float32")[0])[None]
    expected = Gradients(load_classifier(tiny_classifier_folder)).explain(wav, target="high")
    np.testing.assert_allclose(sounds["explanation"], expected.listenable[0].numpy(), atol=1e-4)


@pytest.mark.slow
def test_nmf_learns_from_the_sound_itself(explain, out, sound):
    outcome = explain("--method", "nmf", "--settings", "n_components=5", "keep=threshold", "threshold=0.0")
    assert outcome.code == 0, outcome.err
    assert "no dictionary given: 5 components were learned from the sound itself" in outcome.out
    description, _ = check_results(out, 4000, ["components", "components.png"])
    assert description["settings"]["dictionary"]["n_components"] == 5
    assert description["settings"]["dictionary_training"]["data"]["sources"] == [str(sound)]
    assert (description["settings"]["keep"], description["settings"]["threshold"]) == ("threshold", 0.0)
    assert 1 <= len(description["components"]) <= 5


def test_nmf_of_few_frames_has_few_components(interpret, tiny_classifier_folder, tmp_path, out):
    soundfile.write(tmp_path / "short.wav", noise(800), tiny.RATE)
    classifier = load_classifier(tiny_classifier_folder)
    frames = Frontend(classifier.frontend.settings).n_frames(800)
    outcome = interpret("--classifier", tiny_classifier_folder, tmp_path / "short.wav", "--method", "nmf", "--out", out)
    assert outcome.code == 0, outcome.err
    assert f"no dictionary given: {min(16, frames)} components" in outcome.out
    assert frames < 16


def test_nmf_with_a_dictionary(explain, out, tiny_classifier_folder, tmp_path):
    from interpretability.dictionary import Dictionary

    settings = load_classifier(tiny_classifier_folder).frontend.settings
    matrix = torch.rand(settings.n_bins, 3) + 0.01
    path = Dictionary(matrix / matrix.norm(dim=0), settings, ["a"], "by hand").save(tmp_path / "dictionary.pt")
    outcome = explain("--method", "nmf", "--settings", f"dictionary={path}")
    assert outcome.code == 0, outcome.err
    assert "learned" not in outcome.out
    description, _ = check_results(out, 4000, ["components", "components.png"])
    assert description["settings"]["dictionary"]["algorithm"] == "by hand"
    again = explain("--method", "nmf", "--settings", f"dictionary={path}", "n_components=3")
    assert again.code == 2
    assert "nmf has no setting 'n_components'" in again.line


class TestClassifiers:
    SETTINGS = FrontendSettings(sample_rate=tiny.RATE, n_fft=512)

    @pytest.mark.parametrize("bias", [4.0, -4.0])
    def test_several_labels(self, interpret, tmp_path, sound, out, bias):
        torch.manual_seed(0)
        labels = [f"class {k}" for k in range(12)]
        classifier = CompactClassifier(labels, self.SETTINGS, "multi", n_mels=16, channels=(4, 4, 8, 8))
        classifier.head.bias.data = bias + torch.linspace(0, 1, 12)
        save_classifier(classifier, tmp_path / "classifier")
        arguments = ["--classifier", tmp_path / "classifier", sound, "--out", out, "--method", "saliency"]
        outcome = interpret(*arguments, "--target", "class 3")
        assert outcome.code == 0, outcome.err
        first, second = outcome.out.splitlines()[:2]
        if bias > 0:
            assert first.count(" (0.9") == 8
            assert first.endswith(" and 4 more.")
        else:
            assert first.startswith("No class is heard; the most probable is class ")
        assert second.startswith("The explained class is class 3 (0.")
        assert check_results(out, 4000)[0]["classifier"]["task"] == "multi"

    @pytest.fixture
    def vit(self, tmp_path):
        config = {
            "image_size": 32,
            "patch_size": 8,
            "hidden_size": 16,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "intermediate_size": 32,
        }
        torch.manual_seed(0)
        classifier = ViTClassifier(["low", "middle", "high"], self.SETTINGS, config=config)
        save_classifier(classifier, tmp_path / "vit")
        return tmp_path / "vit"

    def test_activation_maps(self, interpret, vit, sound, out):
        outcome = interpret(
            "--classifier", vit, sound, "--out", out, "--method", "amt", "--settings", "variant=rollout", "quantile=0.9"
        )
        assert outcome.code == 0, outcome.err
        description, _ = check_results(out, 4000)
        assert description["settings"] == {"apply": "log", "variant": "rollout", "quantile": 0.9}
        assert description["kept_area"] == pytest.approx(0.1, abs=0.001)
        assert "note: class-agnostic" in outcome.out

    def test_no_explanation_of_a_sound_is_said_and_not_measured(self, interpret, tmp_path, out):
        torch.manual_seed(0)
        config = {"image_size": 32, "embed_dim": 8, "depths": [1, 1], "focal_levels": [1, 1], "focal_windows": [3, 3]}
        classifier = FocalNetClassifier(["low", "middle", "high"], self.SETTINGS, config=config)
        save_classifier(classifier, tmp_path / "focalnet")
        path = tmp_path / "silence.wav"  # its modulator is the same everywhere
        soundfile.write(path, np.zeros(4000), tiny.RATE)
        outcome = interpret("--classifier", tmp_path / "focalnet", path, "--out", out, "--method", "amt")
        assert outcome.code == 0, outcome.err
        assert "The sound is silent: there is nothing to explain." in outcome.out
        description, _ = check_results(out, 4000, undefined=(*METRICS, "o", "q"))
        assert description["undefined"] is True
        for values in description["metrics"].values():
            assert {name for name, value in values.items() if value is None} == {*METRICS, "o", "q"}

    def test_no_activation_maps(self, explain, out):
        refuse(explain("--method", "amt"), out, "'compact' has no activation maps")

    @pytest.mark.slow
    def test_hugging_face(self, interpret, tmp_path, out):
        transformers = pytest.importorskip("transformers")
        config = transformers.Wav2Vec2Config(
            hidden_size=16,
            num_hidden_layers=2,
            num_attention_heads=2,
            intermediate_size=16,
            conv_dim=(8, 8),
            conv_stride=(10, 8),
            conv_kernel=(20, 8),
            num_feat_extract_layers=2,
            num_conv_pos_embeddings=4,
            num_conv_pos_embedding_groups=2,
            classifier_proj_size=8,
            id2label={0: "yes", 1: "no"},
            label2id={"yes": 0, "no": 1},
        )
        torch.manual_seed(0)
        transformers.Wav2Vec2ForSequenceClassification(config).save_pretrained(tmp_path / "model")
        transformers.Wav2Vec2FeatureExtractor(sampling_rate=16000).save_pretrained(tmp_path / "model")
        soundfile.write(tmp_path / "sound.wav", noise(22050)[:9000], 22050)
        source = f"hf:{tmp_path / 'model'}"
        outcome = interpret("--classifier", source, tmp_path / "sound.wav", "--out", out, "--method", "saliency")
        assert outcome.code == 0, outcome.err
        description = json.loads((out / "explanation.json").read_text("utf-8"))
        assert description["classifier"]["source"] == source
        assert description["classifier"]["kind"] == "huggingface"
        assert description["sample_rate"] == 16000
        assert description["predicted"] in ("yes", "no")
        assert soundfile.info(out / "explanation.wav").frames == math.ceil(9000 * 16000 / 22050)

    MODEL = """
import torch


class Model(torch.nn.Module):
    def __init__(self, classes):
        super().__init__()
        self.first = torch.nn.Conv1d(1, 4, 64, 32)
        self.head = torch.nn.Linear(4, classes)

    def forward(self, wavs):
        if wavs.shape[1] < 2000:
            raise RuntimeError("too short for me")
        return self.head(self.first(wavs[:, None]).relu().mean(2))
"""

    @pytest.fixture
    def module(self, tmp_path, monkeypatch):
        """A third-party model, on the path, and its settings."""
        (tmp_path / "modules").mkdir()
        (tmp_path / "modules" / "model_of_anybody.py").write_text(self.MODEL, "utf-8")
        monkeypatch.syspath_prepend(str(tmp_path / "modules"))
        settings = ["labels=['cat', 'dog']", "arguments={'classes': 2}", f"sample_rate={tiny.RATE}"]
        settings += ["weights=none", "output=logits"]
        return ["--classifier", "torch:model_of_anybody:Model", "--classifier_settings", *settings]

    def test_a_module_of_pytorch(self, interpret, module, sound, out):
        outcome = interpret(sound, "--out", out, *module)
        assert outcome.code == 0, outcome.err
        assert check_results(out, 4000)[0]["predicted"] in ("cat", "dog")

    def test_a_model_without_gradient_gets_a_method_that_works(self, interpret, module, sound, out):
        """By default, and as the only ones that are listed; the others say why not."""
        path = next(path for path in sys.path if path.endswith("modules"))
        model = self.MODEL.replace("return self.head(", "with torch.no_grad(): return self.head(")
        (Path(path) / "model_without_gradient.py").write_text(model, "utf-8")
        module = [part.replace("model_of_anybody", "model_without_gradient") for part in module]
        outcome = interpret(sound, "--out", out, *module)
        assert outcome.code == 0, outcome.err
        assert json.loads((out / "explanation.json").read_text("utf-8"))["method"] == DEFAULT_BY_ANSWERS
        assert "note: lets no gradient through (torch.no_grad, detach or NumPy in it)" in outcome.out
        listed = interpret(*module, "--list_methods").out
        assert [line.split(":")[0].strip() for line in listed.splitlines() if line.endswith("; the default")] == [
            DEFAULT_BY_ANSWERS
        ]
        for name in (*ATTRIBUTIONS, "gradients", "lmac"):
            assert f"  {name}: " not in listed
        assert "lets no gradient through" in listed
        shutil.rmtree(out)
        refused = interpret(sound, "--out", out, *module, "--method", "saliency")
        refuse(refused, out, "lets no gradient through", "asks for answers only: lime, rise")

    def test_a_sound_that_the_model_refuses(self, interpret, module, tmp_path, out):
        soundfile.write(tmp_path / "short.wav", noise(1500), tiny.RATE)
        outcome = interpret(tmp_path / "short.wav", "--out", out, *module)
        refuse(outcome, out, "cannot be run on 0.188 s", "too short for me", "give a longer one")

    def test_what_is_possible_is_listed(self, interpret, tiny_classifier_folder, vit, module, out):
        for arguments in (["--classifier", tiny_classifier_folder], ["--classifier", vit], module):
            outcome = interpret(*arguments, "--list_methods")
            assert outcome.code == 0, outcome.err
            lines = outcome.out.splitlines()
            for name in (*METHODS, *ATTRIBUTIONS):
                assert sum(line.startswith(f"  {name}: ") for line in lines) == 1
            assert ("variant=last|mean|rollout|gradient" in outcome.out) == (vit in arguments)
            assert ("no activation maps" in outcome.out) == (vit not in arguments)
            assert "  piq: a mask drawn from keys" in outcome.out
            assert "train_NAME.py" in outcome.out
        assert not out.exists()


@pytest.mark.parametrize("name", [*METHODS, *ATTRIBUTIONS])
def test_the_settings_of_every_method_are_listed(interpret, name):
    outcome = interpret("--list_settings", name)
    assert outcome.code == 0, outcome.err
    kind = METHODS["gradients" if name in ATTRIBUTIONS else name]
    heads = [line.split()[0] for line in outcome.out.splitlines()[1:] if not line.startswith("   ")]
    assert heads == [info.name for info in kind.Settings.infos()]
    assert "apply = log" in outcome.out


def test_settings_of_a_method_that_is_not_there(interpret):
    assert "--list_settings is 'magic', expected one of" in interpret("--list_settings", "magic").line


# ---- Commands that cannot be followed ----


@pytest.mark.parametrize("method", ["piq", "lmac", "l2i"])
def test_a_method_that_has_to_be_trained(explain, out, method):
    words = [f"{method} has to be trained", f"run train_{method}.py", "--classifier_folder", "saliency"]
    refuse(explain("--method", method), out, *words)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--method", "magic"], ["no method 'magic'", "saliency", "nmf", "--list_methods"]),
        (["--settings", "n_stps=3"], ["gradients has no setting 'n_stps': did you mean n_steps"]),
        (["--settings", "n_steps"], ["setting 'n_steps', expected KEY=VALUE"]),
        (["--settings", "n_steps=0"], ["n_steps is 0"]),
        (["--method", "energy", "--settings", "area=all"], ["energy: area is 'all', expected a number >= 0 and <= 1"]),
        (["--method", "nmf", "--settings", "n_components=0"], ["n_components is 0"]),
        (["--method", "gradcam", "--settings", "layer=head"], ["no layer 'head'", "expected one of stages.0.1"]),
        (["--method", "nmf", "--settings", "dictionary=nowhere"], ["no dictionary at nowhere"]),
        (["--target", "zebra"], ["no class 'zebra'", "low, middle, high"]),
        (["--classifier_settings", "task=multi"], ["takes no task"]),
        (["--settings", "saliency.form=soft"], ["--settings name the method 'saliency', which --method does not"]),
        (["--top_k", "4"], ["top_k is 4, expected a number from 1 to 3, of classes"]),
        (["--top_k", "2", "--target", "low"], ["--target and --top_k are given, which choose classes in different"]),
        (["--method", "saliency,saliency"], ["--method names saliency twice"]),
        (["--format", "jpeg"], ["format is 'jpeg', expected one of png, svg, pdf"]),
        (["--scale", "bark"], ["scale is 'bark'"]),
    ],
)
def test_commands_with_a_classifier(explain, out, arguments, words):
    refuse(explain(*arguments), out, *words)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--settings", "a=1"], ["--settings go with a method that needs no training: piq has its own"]),
        (["--classifier_settings", "a=1"], ["--classifier_settings go with a source such as hf:FOLDER"]),
        (["--list_methods"], ["got 1 sound with --list_methods, expected the model alone"]),
        (["--method", "piq,lmac"], ["lmac has to be trained"]),
    ],
)
def test_commands_with_a_run_folder(interpret, tiny_piq_run, sound, out, arguments, words):
    refuse(interpret(tiny_piq_run, sound, *arguments, "--out", out), out, *words)


@pytest.mark.slow
def test_a_clip_of_the_run_is_explained_by_its_id(interpret, tiny_piq_run, tiny_classifier_folder, out, tmp_path):
    """By the method of the run, or by one without training on the classifier of a run; the same as its file."""
    given = (["middle-2"], ["--clip", "middle-2"])
    saliency = ["--method", "saliency"]
    for run, more in ((tiny_piq_run, []), (tiny_classifier_folder.parent, saliency)):
        for k, words in enumerate(given[: 1 + (run == tiny_piq_run)]):
            outcome = interpret(run, *words, *more, "--out", out / f"{run.name}{k}{len(more)}")
            assert outcome.code == 0, outcome.err
            assert outcome.out.startswith("The clip middle-2 of the test split, which is middle:\nHeard as ")
        path = tiny.make_data(tmp_path / f"data{len(more)}") / "audio" / "middle-2.wav"
        of_file = interpret(run, path, *more, "--out", tmp_path / f"of_file{len(more)}")
        assert of_file.code == 0, of_file.err
        assert outcome.out.splitlines()[1:-1] == of_file.out.splitlines()[:-1]
    description = json.loads((out / "run00" / "explanation.json").read_text("utf-8"))
    assert (description["name"], description["true"]) == ("middle-2", "middle")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["low-9"], ["low-9: no such file", "has no clip 'low-9' among its 18: did you mean low-"]),
        (["--clip", "low-9"], ["has no clip 'low-9'"]),
        (["a.wav", "--clip", "low-2"], ["got 1 sound and --clip: name a sound, or a clip"]),
        (["low-2", "--channel", "left"], ["--channel is 'left', but a clip of a run is heard as the run heard it"]),
        (["low-2", "--data_folder", "/nowhere"], ["/nowhere: no such data folder"]),
        (["x/low-2.wav", "--data_folder", "/nowhere"], ["--data_folder goes with a clip of a run"]),
    ],
    ids=range(6),
)
def test_what_is_no_clip_of_the_run(interpret, tiny_piq_run, out, arguments, words):
    refuse(interpret(tiny_piq_run, *arguments, "--out", out), out, *words)


def test_nowhere_to_write(interpret, tiny_piq_run, tiny_classifier_folder, sound):
    for arguments in ([tiny_piq_run, sound], ["--classifier", tiny_classifier_folder, sound]):
        outcome = interpret(*arguments)
        assert outcome.code == 2
        assert "no --out: name the folder" in outcome.line


def test_a_classifier_that_is_not_there(interpret, tmp_path, sound, out):
    outcome = interpret("--classifier", tmp_path / "none", sound, "--out", out)
    refuse(outcome, out, f"no classifier in {tmp_path / 'none'}")


def test_a_dictionary_of_silence(interpret, tiny_classifier_folder, tmp_path, out):
    path = tmp_path / "silence.wav"
    soundfile.write(path, np.zeros(4000), tiny.RATE)
    outcome = interpret("--classifier", tiny_classifier_folder, path, "--out", out, "--method", "nmf")
    refuse(outcome, out, path, "silence", "dictionary")
    # Other methods explain it: that there is nothing to explain.
    outcome = interpret("--classifier", tiny_classifier_folder, path, "--out", out)
    assert outcome.code == 0, outcome.err
    description, sounds = check_results(out, 4000, undefined=("sps", "comp", "comp_rel"))
    assert description["kept_area"] == 0
    assert not any(wav.any() for wav in sounds.values())


# ---- As a process ----


@pytest.mark.slow
def test_the_tool_says_one_line_and_gives_its_status(tiny_piq_run, tmp_path, out):
    missing = tmp_path / "none.wav"
    outcome = tiny.run_process([str(SCRIPT), str(tiny_piq_run), str(missing), "--out", str(out)], cwd=tmp_path)
    assert outcome.code == 2
    assert "no such audio file" in outcome.line
    assert str(missing) in outcome.line
    assert not out.exists()


@pytest.mark.slow
def test_every_class_that_is_heard_has_a_folder_of_its_own(interpret, sound, tmp_path, out):
    classifier = CompactClassifier(
        ["a/b", "dog", "rain"], {"sample_rate": tiny.RATE}, "multi", n_mels=16, channels=(4, 4, 8, 8)
    )
    save_classifier(classifier.use_thresholds([1e-6, 1e-6, 1 - 1e-6]), tmp_path / "model")
    given = ("--classifier", tmp_path / "model", sound, "--out", out)
    outcome = interpret(*given, "--every_label")
    assert outcome.code == 0, outcome.err
    explained = [json.loads(path.read_text("utf-8"))["explained"] for path in sorted(out.glob("*/explanation.json"))]
    assert sorted(explained) == ["a/b", "dog"]
    assert len(list(out.iterdir())) == 2
    assert interpret(*given, "--every_label").code == 0  # the same again is replaced
    assert "--target and --every_label are given" in interpret(*given, "--every_label", "--target", "dog").line
    one = interpret(*given[:-1], tmp_path / "one")
    assert "explained is the most probable of the 2 classes that are heard" in one.out
    assert (tmp_path / "one" / "explanation.json").is_file()
