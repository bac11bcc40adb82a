"""Sounds as users have them: all forms of the same sound give the same samples; everything else is one clear line."""

import re

import numpy as np
import pytest
import soundfile
import torch
from tiny import SMALL, noise

from interpretability.data.inputs import Sounds, read_sounds
from interpretability.errors import MissingError, UserError
from interpretability.resampling import resample

RATE = SMALL.sample_rate
N = 1600


@pytest.fixture
def wav():
    """A sound whose samples are whole multiples of 1 / 128, so that every format holds it exactly."""
    return (noise(N).clamp(-0.9, 0.9) * 128).round() / 128


def file(wav, path, rate=RATE, **more):
    soundfile.write(path, wav.numpy(), rate, **more)
    return path


#: Form of one sound -> how it is made of samples [N] and a folder.
FORMS = {
    "path": lambda wav, folder: file(wav, folder / "a.wav"),
    "text": lambda wav, folder: str(file(wav, folder / "a.wav")),
    "stereo file": lambda wav, folder: file(torch.stack([wav, wav], 1), folder / "a.flac"),
    "float32": lambda wav, folder: wav.numpy(),
    "float64": lambda wav, folder: wav.double().numpy(),
    "float16": lambda wav, folder: wav.half().numpy(),
    "big-endian": lambda wav, folder: wav.numpy().astype(">f4"),
    "every second": lambda wav, folder: wav.repeat_interleave(2).numpy()[::2],
    "backwards": lambda wav, folder: wav.flip(0).numpy()[::-1],
    "int16": lambda wav, folder: (wav * 2**15).short().numpy(),
    "int32": lambda wav, folder: (wav.double() * 2**31).int().numpy(),
    "int8": lambda wav, folder: (wav * 2**7).to(torch.int8).numpy(),
    "uint8": lambda wav, folder: (wav * 2**7 + 128).to(torch.uint8).numpy(),
    "tensor": lambda wav, folder: wav,
    "tensor of int16": lambda wav, folder: (wav * 2**15).short(),
    "tensor of bfloat16": lambda wav, folder: wav.bfloat16(),
    "tensor with a gradient": lambda wav, folder: wav.clone().requires_grad_(),
    "batch": lambda wav, folder: wav[None],
    "array of a batch": lambda wav, folder: wav[None].numpy(),
    "list": lambda wav, folder: [wav.numpy()],
    "tuple of a path": lambda wav, folder: (file(wav, folder / "a.wav"),),
    "list of [1, N]": lambda wav, folder: [wav[None]],
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_gives_the_same_samples(form, wav, tmp_path):
    taken = read_sounds(FORMS[form](wav, tmp_path), SMALL)
    assert taken.wavs.dtype == torch.float32
    assert torch.equal(taken.wavs, wav[None])
    assert taken.lengths is None
    assert not taken.wavs.requires_grad
    (origin,) = taken.origins
    is_file = form in ("path", "text", "stereo file", "tuple of a path")
    assert origin.path == (tmp_path / ("a.flac" if "flac" in str(origin.path) else "a.wav") if is_file else None)


def test_a_batch_at_the_rate_of_the_model_stays_as_it_is(wav):
    batch, lengths = torch.stack([wav, wav]), torch.tensor([1.0, 0.5])
    batch[1, N // 2 :] = torch.nan  # beyond the end of the clip
    taken = read_sounds(batch, SMALL, lengths)
    assert taken.wavs.data_ptr() == batch.data_ptr()
    assert taken.lengths is lengths
    assert read_sounds(taken, SMALL) is taken


def test_sounds_of_different_lengths_are_padded(wav, tmp_path):
    path = file(wav[:1000], tmp_path / "a.wav")
    taken = read_sounds([wav, path, wav[:400].numpy()], SMALL)
    assert taken.wavs.shape == (3, N)
    assert (taken.lengths * N).round().tolist() == [N, 1000, 400]
    assert torch.equal(taken.wavs[1, :1000], wav[:1000])
    assert not taken.wavs[1, 1000:].any()
    assert [origin.name for origin in taken.origins] == [None, "a.wav", None]


@pytest.mark.parametrize("rate", [RATE, 16000, 44100, np.int64(6000), 22050.0])
def test_another_rate_is_resampled(rate, wav, tmp_path):
    """The same samples, whether they come from a file or with the rate named, alone or in a batch."""
    wav = wav.repeat(4)
    expected = resample(wav, int(rate), RATE, SMALL.resampling)
    taken = [read_sounds(form, SMALL, sample_rate=rate).wavs for form in (wav, wav[None], [wav.numpy()])]
    taken.append(read_sounds(file(wav, tmp_path / "a.wav", int(rate), subtype="FLOAT"), SMALL).wavs)
    for wavs in taken:
        assert torch.allclose(wavs, expected[None], atol=1e-6)


REFUSED = {
    "none": (None, "NoneType"),
    "a number": (3, "expected the path of an audio file"),
    "a dict": ({"array": np.zeros(9), "sampling_rate": 8000}, "(dict)"),
    "nothing": ([], "got no sounds"),
    "samples and rate": ((np.zeros(N), 8000), "sound 1 of the list is 8000 (int)"),
    "numbers": ([0.1, 0.2], "sound 0 of the list is 0.1 (float)"),
    "no samples": (np.zeros(0), "the sound has no samples"),
    "no sounds": (np.zeros((0, 9)), "at least one sound"),
    "a scalar": (np.float32(1.0), "(float32)"),
    "an array of no axis": (np.zeros(()), "has shape [], expected mono samples [N]"),
    "[samples, channels]": (np.zeros((N, 2)), "looks like [samples, channels]"),
    "[B, channels, samples]": (np.zeros((3, 2, N)), "has shape [3, 2, 1600], expected mono samples [N]"),
    "channels in a list": ([np.zeros((2, N))], "expected mono samples [N]: average the channels"),
    "NaN": (np.array([0.0, np.nan]), "NaN or infinite"),
    "infinity in a list": ([np.zeros(9), torch.tensor([np.inf])], "sound 1 of the list has samples that are NaN"),
    "int64": (np.zeros(9, np.int64), "type int64"),
    "bool": (np.zeros(9, bool), "type bool"),
    "complex": (np.zeros(9, complex), "type complex128"),
    "text": (np.array(["a"]), "type <U1"),
    "objects": (np.array([{}], object), "type object"),
    "complex tensor": (torch.zeros(9, dtype=torch.complex64), "type complex64"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_no_sound_is_one_line(case):
    sounds, words = REFUSED[case]
    with pytest.raises(UserError, match=re.escape(words)):
        read_sounds(sounds, SMALL)


@pytest.mark.parametrize("rate", [0, -1, True, "16000", 8000.5, np.nan])
def test_a_rate_that_is_none(rate, wav):
    with pytest.raises(UserError, match="sample_rate is "):
        read_sounds(wav, SMALL, sample_rate=rate)


def test_what_belongs_to_other_sounds(wav, tmp_path):
    path = file(wav, tmp_path / "a.wav")
    with pytest.raises(UserError, match="sample_rate is 8000, for a file, which has its own"):
        read_sounds([path], SMALL, sample_rate=8000)
    with pytest.raises(UserError, match="lengths are given"):
        read_sounds([wav], SMALL, torch.tensor([1.0]))
    with pytest.raises(MissingError, match="no such audio file"):
        read_sounds(tmp_path / "none.wav", SMALL)


@pytest.mark.parametrize(("n_samples", "got"), [(799, "0.09988 s"), (480001, "more than 60 s")])
def test_a_file_that_is_too_short_or_too_long(n_samples, got, tmp_path):
    path = file(torch.zeros(n_samples), tmp_path / "a.wav")
    with pytest.raises(UserError, match=f"lasts {got}, expected 0.1 to 60 s; cut the part"):
        read_sounds(path, SMALL)


def test_a_channel_is_chosen_and_channels_that_cancel_are_noted(wav, tmp_path):
    path = file(torch.stack([wav, -wav], 1), tmp_path / "a.wav")
    taken = read_sounds([path, wav], SMALL)
    assert not taken.wavs[0].any()
    (note,) = taken.origins[0].notes
    assert "cancel" in note
    assert taken.origins[1].notes == ()
    for channel, expected in (("left", wav), ("right", -wav)):
        taken = read_sounds(path, SMALL, channel=channel)
        assert torch.equal(taken.wavs[0], expected)
        assert taken.origins[0].notes == ()
    with pytest.raises(UserError, match="channel is 'middle', expected one of"):
        read_sounds(path, SMALL, channel="middle")


def test_the_home_folder(wav, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    file(wav, tmp_path / "a.wav")
    assert isinstance(read_sounds("~/a.wav", SMALL), Sounds)
