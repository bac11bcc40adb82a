"""Streams: block by block they are what reading the whole file gives; memory and disk take no more than they must."""

import os

import numpy as np
import pytest
import soundfile
import torch

from interpretability.data import audio
from interpretability.data.audio import read_audio, read_recording, wav_header
from interpretability.data.streaming import SoundStream, WavFile
from interpretability.errors import MissingError, UserError


def noise(n_samples, channels=1):
    return np.random.default_rng(0).uniform(-0.5, 0.5, (n_samples, channels))


@pytest.fixture(autouse=True)
def _small_blocks(monkeypatch):
    """Many blocks of few samples."""
    monkeypatch.setattr(audio, "_BLOCK", 3000)


@pytest.mark.parametrize(
    ("name", "rate", "channel"),
    [("a.wav", 16000, "mean"), ("a.wav", 44100, "right"), ("a.flac", 22050, "left"), ("a.mp3", 44100, "mean"),
     ("a.ogg", 8000, "mean")],
)  # fmt: skip
def test_a_stream_is_what_the_file_is_when_it_is_read_at_once(tmp_path, name, rate, channel):
    soundfile.write(tmp_path / name, noise(20_011, 2), rate)
    stream = SoundStream(tmp_path / name, 16000, channel=channel)
    blocks = list(stream)
    assert len(blocks) > 5
    whole = read_audio(tmp_path / name, 16000, channel=channel)
    assert torch.cat(blocks).shape == whole.shape
    assert torch.allclose(torch.cat(blocks), whole, atol=1e-6)
    assert torch.equal(torch.cat(list(stream)), torch.cat(blocks)), "it can be read again"


def test_what_there_is_to_note_is_known_at_the_end(tmp_path):
    wav = noise(20_000)
    soundfile.write(tmp_path / "a.wav", np.concatenate([wav, -wav], 1), 16000, subtype="FLOAT")
    stream = SoundStream(tmp_path / "a.wav", 16000)
    assert stream.notes == ()
    list(stream)
    assert stream.notes == read_recording(tmp_path / "a.wav", 16000).notes
    assert "channels cancel" in stream.notes[0]


def test_a_header_that_promises_more_than_there_is(tmp_path):
    soundfile.write(tmp_path / "a.wav", noise(40_000), 16000)
    os.truncate(tmp_path / "a.wav", 44 + 2 * 16_000)
    stream = SoundStream(tmp_path / "a.wav", 16000)
    assert sum(map(len, stream)) == 16_000
    assert stream.notes == ("its header promises 2.5 s, and it holds 1 s: the rest is missing",)


def test_samples_that_are_not_finite_are_refused_where_they_are_met(tmp_path):
    wav = noise(20_000)
    wav[15_000] = np.nan
    soundfile.write(tmp_path / "a.wav", wav, 16000, subtype="FLOAT")
    stream = iter(SoundStream(tmp_path / "a.wav", 16000))
    assert len(next(stream)) == 3000
    with pytest.raises(UserError, match="1 of 18000 samples are NaN"):
        list(stream)


def test_what_cannot_be_read_is_refused_at_once(tmp_path):
    with pytest.raises(MissingError, match="no such audio file"):
        SoundStream(tmp_path / "a.wav", 16000)
    soundfile.write(tmp_path / "a.wav", noise(100), 16000)
    with pytest.raises(UserError, match="no right one"):
        SoundStream(tmp_path / "a.wav", 16000, channel="right")


def test_a_file_written_in_blocks_is_the_same_as_one_written_at_once(tmp_path):
    wav = torch.from_numpy(noise(5000)[:, 0]).float()
    wav[1000:3000] = 0
    wav[4000:] = 0
    audio.write_wav(tmp_path / "whole.wav", wav, 8000)
    with WavFile(tmp_path / "blocks.wav", len(wav), 8000) as file:
        for block in wav.split(500):
            file.write(block)
    assert (tmp_path / "blocks.wav").read_bytes() == (tmp_path / "whole.wav").read_bytes()


def test_silence_takes_no_room_and_files_above_4_gb_can_be_read(tmp_path):
    n_samples = 2**30 + 5
    with WavFile(tmp_path / "long.wav", n_samples, 16000) as file:
        file.write(torch.ones(10))
    status = os.stat(tmp_path / "long.wav")
    assert status.st_size == len(wav_header(n_samples, 16000)) + 4 * n_samples > 2**32
    assert status.st_blocks * 512 < 2**20
    with soundfile.SoundFile(tmp_path / "long.wav") as read:
        assert (read.format, read.subtype, read.samplerate, read.frames) == ("RF64", "FLOAT", 16000, n_samples)
        assert read.read(12).tolist() == [1] * 10 + [0, 0]
