"""Explanation: one clip of a batch at its own length, sounds that say what the mask says, saved as a whole."""

import json
import math

import pytest
import soundfile
import torch

from interpretability.classifiers.compact import CompactClassifier
from interpretability.methods.floors import EnergyMask

RATE = 16000


@pytest.fixture
def interpreter():
    torch.manual_seed(0)
    return EnergyMask(CompactClassifier(["cat", "dog", "rain"], n_mels=16, channels=(4, 4, 8, 8)), 0.2)


def noise(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


def snr_db(reference, signal):
    return 20 * math.log10(float(reference.norm()) / max(float((reference - signal).norm()), 1e-12))


def test_one_clip_of_a_batch_at_its_own_length(interpreter):
    explanation = interpreter.explain(noise(3, 8000), torch.tensor([1.0, 0.5, 0.8]))
    assert len(explanation) == 3
    clip = explanation[1]
    assert len(clip) == 1
    assert clip.sound.shape == clip.listenable.shape == clip.residual.shape == (1, 4000)
    assert clip.mask.shape == clip.spectrogram.magnitude.shape == (1, 1 + 4000 // 186, 513)
    assert clip.describe() == explanation.describe(1)
    assert torch.equal(explanation[-1].mask, explanation[2].mask)
    with pytest.raises(IndexError):
        explanation[3]


def test_a_binary_mask_splits_the_sound_in_two(interpreter):
    explanation = interpreter.explain(noise(1, 8000))
    assert snr_db(explanation.sound, explanation.listenable + explanation.residual) > 100
    # The loudest fifth of the bins has more than a fifth of the energy.
    assert explanation.listenable.square().sum() > 0.3 * explanation.sound.square().sum()


def test_saved_sounds_have_the_length_and_the_level_of_the_input(interpreter, tmp_path):
    wavs = noise(2, 16000)
    explanation = interpreter.explain(wavs, torch.tensor([1.0, 0.7]))
    paths = explanation.save(tmp_path / "clip", index=1, true_label="dog")
    assert sorted(path.name for path in (tmp_path / "clip").iterdir()) == sorted(
        ["input.wav", "explanation.wav", "residual.wav", "figure.png", "explanation.json"]
    )
    wav, rate = soundfile.read(paths["input"], dtype="float32")
    assert rate == RATE
    assert wav.shape == (11200,)
    reference = wavs[1, :11200] / wavs[1, :11200].abs().max()
    assert snr_db(reference, torch.tensor(wav)) > 100
    parts = [torch.tensor(soundfile.read(paths[name], dtype="float32")[0]) for name in ("explanation", "residual")]
    assert snr_db(reference, parts[0] + parts[1]) > 100  # all three at one scale
    said = json.loads(paths["description"].read_text())
    assert said["true"] == "dog"
    assert said["explained"] == said["predicted"] in explanation.labels
    assert said["kept_area"] == pytest.approx(0.2, abs=1e-3)
    assert said["seconds"] == 0.7
    assert paths["figure"].read_bytes()[:4] == b"\x89PNG"
