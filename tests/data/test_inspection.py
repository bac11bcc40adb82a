"""What is measured in a clip: known answers, at any length, and a reason for what cannot be read."""

import numpy as np
import pytest
import soundfile

from interpretability.data import audio
from interpretability.data.audio import Stretch
from interpretability.data.inspection import ListedSound, inspect_clip, inspect_clips

RATE = 8000


def facts(path, wav=None, stretch=None, rate=RATE, **options):
    """Write a sound, if one is given, and measure it."""
    if wav is not None:
        soundfile.write(path, wav, rate, **options)
    return inspect_clip(ListedSound("x", str(path), ("a",), "train", stretch))


def tone(amplitude=0.5, seconds=1.0):
    return amplitude * np.sin(2 * np.pi * 200 * np.arange(int(RATE * seconds)) / RATE)


def test_a_sound_of_known_level(tmp_path):
    clip = facts(tmp_path / "x.wav", np.stack([tone(), tone()], 1), subtype="FLOAT")
    assert (clip.seconds, clip.sample_rate, clip.channels) == (1.0, RATE, 2)
    assert clip.peak_db == pytest.approx(-6.0, abs=0.05)
    assert clip.level_db == pytest.approx(-9.0, abs=0.05)
    assert (clip.not_finite, clip.clipped, clip.missing, clip.cancels, clip.fault) == (0, 0, 0, None, None)
    assert clip.zeros < 0.02
    assert clip.usable
    assert not clip.silent


def test_silence_of_both_kinds(tmp_path):
    digital = facts(tmp_path / "x.wav", np.zeros(800))
    assert (digital.peak_db, digital.level_db, digital.zeros) == (None, None, 1.0)
    assert digital.silent
    assert facts(tmp_path / "x.wav", tone(9e-5), subtype="FLOAT").silent
    assert not facts(tmp_path / "x.wav", tone(2e-4), subtype="FLOAT").silent


@pytest.mark.parametrize("block", [1 << 20, 7, 3, 2, 1])
def test_runs_at_full_scale_are_clipped_however_they_are_read(tmp_path, monkeypatch, block):
    monkeypatch.setattr(audio, "_BLOCK", 2 * block)
    wav = np.zeros((60, 2), np.float32)
    wav[5:7, 0] = 1.0  # two alone are a peak
    wav[10:13, 0] = -1.0
    wav[20:40, 1] = 0.9995
    wav[55:60, 1] = 1.5
    clip = facts(tmp_path / "x.wav", wav, subtype="FLOAT")
    assert clip.clipped == pytest.approx((3 + 20 + 5) / 120)


def test_samples_that_are_not_finite_are_counted_and_the_rest_is_measured(tmp_path):
    wav = np.full(100, 0.5)
    wav[[3, 4]] = np.nan, np.inf
    clip = facts(tmp_path / "x.wav", wav, subtype="FLOAT")
    assert clip.not_finite == 2
    assert clip.peak_db == -6.0
    assert not clip.usable


def test_the_same_sound_has_the_same_content_whatever_holds_it(tmp_path):
    wav = np.round(tone() * 32768) / 32768  # as 16 bits have it
    first = facts(tmp_path / "x.wav", wav).content
    assert facts(tmp_path / "y.flac", wav).content == first
    assert facts(tmp_path / "y.aiff", np.stack([wav, wav], 1)).content == first
    assert facts(tmp_path / "long.wav", np.concatenate([tone(), wav]), Stretch(1.0, 1.0)).content == first
    assert facts(tmp_path / "x.wav", wav, rate=2 * RATE).content != first
    assert facts(tmp_path / "x.wav", wav[:-1]).content != first
    assert facts(tmp_path / "x.wav", 0.9 * wav).content != first


def test_channels_that_cancel(tmp_path):
    assert "its 2 channels cancel" in facts(tmp_path / "x.wav", np.stack([tone(), -tone()], 1)).cancels


def test_a_part_of_a_recording(tmp_path):
    clip = facts(tmp_path / "x.wav", np.concatenate([np.zeros(RATE), tone()]), Stretch(0.5, 1.0))
    assert (clip.start, clip.seconds) == (0.5, 1.0)
    assert clip.zeros == pytest.approx(0.5, abs=0.03)
    assert "holds no samples there" in facts(tmp_path / "x.wav", stretch=Stretch(3.0, 1.0)).fault


@pytest.mark.parametrize("name", ["x.wav", "x.flac", "x.mp3"])
def test_a_file_that_was_cut(tmp_path, name):
    rng = np.random.default_rng(0)
    assert facts(tmp_path / name, 0.1 * rng.standard_normal(4 * RATE)).missing < 0.001
    content = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(content[: len(content) // 2])
    clip = facts(tmp_path / name)
    # libsndfile may refuse the rest of a FLAC file.
    assert clip.fault is not None or 0.4 < clip.missing < 0.6
    assert name == "x.flac" or clip.fault is None


def test_what_cannot_be_read_has_a_reason_and_stops_nothing(tmp_path):
    (tmp_path / "x.wav").write_text("hello")
    soundfile.write(tmp_path / "y.wav", tone(), RATE)
    names = ("x.wav", "gone.wav", "y.wav")
    first, second, third = inspect_clips(ListedSound(name, str(tmp_path / name), ("a",)) for name in names)
    assert "cannot be decoded" in first.fault
    assert "no such audio file" in second.fault
    assert not first.usable
    assert not first.silent
    assert third.fault is None
