"""Files of TensorFlow Lite, run by LiteRT."""

from __future__ import annotations

import sys

import numpy as np
import pytest
import torch

from interpretability import explain
from interpretability.classifiers.check import check_classifier, noise
from interpretability.classifiers.sources import open_classifier
from interpretability.errors import MissingError, UserError

pytest.importorskip("ai_edge_litert", reason="LiteRT is not installed (pip install ai-edge-litert)")
import tflite_files
from tflite_files import meant

LABELS = ["a", "b", "c"]
KNOWN = {"labels": LABELS, "sample_rate": 8000}


@pytest.mark.parametrize("shape", [(-1, -1), (-1, 1, -1), (-1, -1, 1), (-1,), (1, -1)])
def test_a_tflite_of_every_layout(tmp_path, shape):
    path = tflite_files.save_power(tmp_path / "power.tflite", shape)
    classifier = open_classifier(f"tflite:{path}", **KNOWN)
    for n_samples in (5000, 3000):
        wavs = noise(3, n_samples)
        output = classifier.checked_logits(wavs, torch.full((3,), n_samples))
        torch.testing.assert_close(output, meant(wavs), rtol=1e-4, atol=1e-5)
    assert bool(classifier.settings.one_by_one) == (shape in ((-1,), (1, -1)))


def test_a_fixed_length_is_run_over_windows(tmp_path):
    names = ["audio", "scores"]
    path = tflite_files.save_power(tmp_path / "power.tflite", (-1, 4000), names=names)
    wavs = torch.cat([noise(2, 4000), 3 * noise(2, 3000)], dim=1)  # 7000 samples: windows at 0, 2000 and 3000
    parts = torch.stack([meant(wavs[:, start : start + 4000]) for start in (0, 2000, 3000)], 1)
    classifier = open_classifier(f"tflite:{path}", entry="scores", **KNOWN)
    got = classifier.checked_logits(wavs, torch.full((2,), 7000)).softmax(1)
    torch.testing.assert_close(got, parts.softmax(2).mean(1), rtol=1e-4, atol=1e-5)
    frames = classifier.classify_sound(classifier.frontend.clips(wavs)).frames
    assert (frames.start[0] * 8000).tolist() == [0, 2000, 3000]
    explanation = explain(classifier, noise(1, 4000))
    assert explanation.mask.any()
    assert "a file of TensorFlow Lite, whose layers cannot be observed" in " ".join(classifier.notes)


def test_scaled_integers_stand_for_samples(tmp_path):
    path = tflite_files.save_power(tmp_path / "power.tflite", (1, 4000), np.int8, scale=1 / 64)
    wavs = noise(2, 4000)
    rounded = torch.round(wavs * 64) / 64
    output = open_classifier(f"tflite:{path}", **KNOWN).checked_logits(wavs, torch.full((2,), 4000))
    torch.testing.assert_close(output, meant(rounded), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("dtype", "output"), [(np.float32, "next"), (np.int8, "kept")])
def test_a_state_goes_from_window_to_window_and_is_reset_for_each_sound(dtype, output, tmp_path):
    path = tflite_files.save_counter(tmp_path / "counter.tflite", dtype)
    settings = {"labels": ["event"], "sample_rate": 8000, "output": "probabilities", "windows": "max"}
    classifier = open_classifier(f"tflite:{path}", states={"memory": output}, **settings)
    for n_samples, windows in ((100, 1), (900, 9), (450, 5)):
        logits = classifier.checked_logits(noise(2, n_samples), torch.full((2,), n_samples))
        assert logits.sigmoid().flatten().tolist() == pytest.approx([windows / 1000] * 2, abs=1e-5)
    assert check_classifier(classifier).spread == 0


@pytest.mark.parametrize(
    ("make", "settings", "message"),
    [
        ({"operator": "FlexErf"}, {}, "cannot be opened by LiteRT .*Select TensorFlow op.*no SELECT_TF_OPS"),
        ({"operator": "Nonsense"}, {}, "cannot be opened by LiteRT .*Nonsense.*whose operators LiteRT has"),
        ({"shape": (1, 64, 100, 3)}, {}, r"takes sound \[1, 64, 100, 3\], expected a waveform \[B, N\]"),
        ({"shape": (1, 96, 64)}, {}, r"takes sound \[1, 96, 64\], expected a waveform"),
        ({"shape": (4, -1)}, {}, r"takes 4 sounds at once, neither more nor less, as sound \[4, \?\]"),
        ({"dtype": np.int16}, {}, "takes sound of int16, expected samples of float32, or of integers with a scale"),
        ({}, {"labels": ["a", "b"]}, r"gave logits \(1, 3\) for 1 sound, expected logits \(1, 2\)"),
        ({}, {"inputs": {"rate": 3}}, "has no input 'rate': it has 'sound'"),
        ({}, {"states": {"sound": "next"}}, "has no output 'next', named in states: it has 'logits'"),
        ({}, {"layers": ["conv"]}, "takes no layers, expected among labels"),
        ({}, {"output": "probabilities"}, "output=probabilities says that they lie in .0, 1.: give output=logits"),
    ],
)
def test_files_that_do_not_fit(tmp_path, make, settings, message):
    path = tflite_files.save_power(tmp_path / "power.tflite", **make)
    with pytest.raises(UserError, match=message) as raised:
        open_classifier(f"tflite:{path}", **{**KNOWN, **settings})
    assert "\n" not in str(raised.value)


def test_which_of_two_inputs_is_the_sound(tmp_path):
    path = tflite_files.save_counter(tmp_path / "counter.tflite")
    message = r"takes sound \[1, 100\], memory \[1, 1\]: which is the sound\? .*it gives probability \[1, 1\], next"
    with pytest.raises(UserError, match=message):
        open_classifier(f"tflite:{path}", labels=["event"], sample_rate=8000)


def test_no_file_no_model_and_no_runtime(tmp_path, monkeypatch):
    with pytest.raises(MissingError, match="no such file: give the path of the model's file"):
        open_classifier(f"tflite:{tmp_path / 'none.tflite'}", **KNOWN)
    for content in (b"", b"no model at all", b"\x20\x00\x00\x00TFL3" + bytes(40)):
        (tmp_path / "odd.tflite").write_bytes(content)
        with pytest.raises(UserError, match="cannot be opened by LiteRT") as raised:
            open_classifier(f"tflite:{tmp_path / 'odd.tflite'}", **KNOWN)
        assert "\n" not in str(raised.value)
    for name in ("ai_edge_litert.interpreter", "tflite_runtime.interpreter"):
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(MissingError, match=r"needs LiteRT, which is not installed: pip install ai-edge-litert"):
        open_classifier(f"tflite:{tmp_path / 'odd.tflite'}", **KNOWN)
