"""``tools/interpret.py``: any sound in, three sounds of the same length, a figure and metrics out; or one line."""

import importlib.util
import json
import math
import os
import shutil

import numpy as np
import pytest
import soundfile
import tiny

from interpretability.metrics import METRICS

SCRIPT = tiny.REPOSITORY / "tools" / "interpret.py"
RESULTS = ["explanation.json", "explanation.wav", "figure.png", "input.wav", "residual.wav"]


@pytest.fixture(scope="module")
def interpret():
    """Call the tool in this process."""
    spec = importlib.util.spec_from_file_location("interpret_tool", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return lambda *arguments: tiny.call(module.main, [str(argument) for argument in arguments])


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


def check_results(out, n_samples):
    """Check the files of an explained sound; return its description."""
    assert sorted(path.name for path in out.iterdir()) == RESULTS
    sounds = {}
    for name in ("input", "explanation", "residual"):
        wav, rate = soundfile.read(out / f"{name}.wav", dtype="float32")
        assert rate == tiny.RATE
        assert wav.shape == (n_samples,)
        assert np.isfinite(wav).all()
        sounds[name] = wav
    # NaN is no JSON, though Python would read it.
    description = json.loads((out / "explanation.json").read_text("utf-8"), parse_constant=pytest.fail)
    for values in description["metrics"].values():
        assert {*METRICS, "p", "o", "q", "silent", "saturated"} <= values.keys()
        assert all(value is not None for value in values.values())
    assert set(description["metrics"]) == {"spectrogram", "waveform"}
    assert (out / "figure.png").read_bytes().startswith(b"\x89PNG")
    assert description["seconds"] == n_samples / tiny.RATE
    return description, sounds


# ---- Sounds that work ----


@pytest.mark.parametrize(
    ("suffix", "rate", "channels", "subtype", "scale"),
    [
        (".wav", 8000, 1, "PCM_U8", 0.3),
        (".wav", 44100, 2, "PCM_24", 0.3),
        (".wav", 48000, 6, "PCM_16", 0.3),
        (".wav", 192000, 1, "PCM_16", 0.3),
        (".wav", 16000, 1, "PCM_16", 10.0),  # clipped
        (".wav", 11025, 1, "FLOAT", 1000.0),  # far beyond full scale
        (".wav", 8000, 1, "DOUBLE", 1e-30),  # all but silent
        (".flac", 22050, 1, "PCM_16", 0.3),
    ],
)
def test_formats(interpret, tiny_piq_run, tmp_path, out, suffix, rate, channels, subtype, scale):
    n_samples = int(0.4321 * rate)
    path = tmp_path / f"sound{suffix}"
    soundfile.write(path, np.stack([noise(n_samples, scale)] * channels, axis=1), rate, subtype=subtype)
    outcome = interpret(tiny_piq_run, path, "--out", out)
    assert outcome.code == 0, outcome.err
    description, sounds = check_results(out, math.ceil(n_samples * tiny.RATE / rate))
    assert np.abs(sounds["input"]).max() == pytest.approx(1.0)  # levelled, as the classifier hears it
    assert description["metrics"]["waveform"]["silent"] == 0.0
    assert f"predicted: {description['predicted']} (p = " in outcome.out
    assert tiny.leftovers(out) == []


@pytest.mark.parametrize("n_samples", [800, 801, 12345, 480000])  # 0.1 s to 60 s
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


# ---- Sounds that do not ----


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


def write_too_long(path):
    soundfile.write(path, noise(480001), tiny.RATE)


def write_far_too_long(path):
    soundfile.write(path, noise(70 * tiny.RATE), tiny.RATE)


def write_folder(path):
    path.mkdir()


@pytest.mark.parametrize(
    ("write", "words"),
    [
        (lambda path: None, ["no such audio file"]),
        (write_folder, ["is a folder, expected an audio file"]),
        (write_text, ["cannot be decoded", "expected an audio file"]),
        (write_nothing, ["the file is empty"]),
        (write_no_samples, ["holds 0 samples", "record it again"]),
        (write_nan, ["1 of 4000 samples are NaN or infinite", "export the sound again"]),
        (write_infinity, ["1 of 4000 samples are NaN or infinite"]),
        (write_too_short, ["lasts 0.09988 s", "expected 0.1 to 60 s", "cut the part"]),
        (write_too_long, ["more than 60 s", "expected 0.1 to 60 s"]),
        (write_far_too_long, ["more than 60 s", "expected 0.1 to 60 s"]),
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
        (lambda folder: os.truncate(folder / "weights.pt", 1000), ["weights.pt", "SHA-256"]),
        (lambda folder: (folder / "weights.pt").unlink(), ["no weights at", "weights.pt"]),
        (lambda folder: shutil.rmtree(folder / "classifier"), ["no classifier in", "classifier.json not found"]),
        (lambda folder: os.truncate(folder / "classifier" / "weights.pt", 1000), ["classifier/weights.pt", "SHA-256"]),
        (edit("classifier/classifier.json", '"labels": [', '"labels": ["more",'), ["damaged or changed", "classifier"]),
        (edit("interpreter.json", '"codebook_size": 12', '"codebook_size": 13'), ["weights do not fit PIQ"]),
        (edit("interpreter.json", '"method": "piq"', '"method": "pig"'), ["method is 'pig'", "piq"]),
        (edit("interpreter.json", '"settings"', '"setings"'), ["not a complete interpreter description"]),
        (lambda folder: os.truncate(folder / "interpreter.json", 10), ["interpreter.json: not valid JSON"]),
    ],
)
def test_a_damaged_or_ill_fitting_run(interpret, tiny_piq_run, tmp_path, sound, out, damage, words):
    run = shutil.copytree(tiny_piq_run, tmp_path / "run")
    damage(run / "interpreter")
    refuse(interpret(run, sound, "--out", out), out, *words)


# ---- As a process ----


def test_the_tool_says_one_line_and_gives_its_status(tiny_piq_run, tmp_path, out):
    missing = tmp_path / "none.wav"
    outcome = tiny.run_process([str(SCRIPT), str(tiny_piq_run), str(missing), "--out", str(out)], cwd=tmp_path)
    assert outcome.code == 2
    assert "no such audio file" in outcome.line
    assert str(missing) in outcome.line
    assert not out.exists()
