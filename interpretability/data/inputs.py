"""Sounds as users have them: paths, arrays and tensors, one or several; taken in as one padded batch.

One rule for the axes: samples are mono, time is the last axis, and two axes are a batch [B, N]. The channels of one
sound are never given as an array: average them first, or give the path of the file.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Real
from pathlib import Path
from typing import TypeAlias

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from interpretability.data.audio import Recording, Stretch, read_recording
from interpretability.errors import UserError, shown
from interpretability.files import expanded
from interpretability.frontend import FrontendSettings
from interpretability.resampling import resample

#: One sound, a batch [B, N] of them, or a sequence of sounds of any lengths.
Sound: TypeAlias = "str | Path | np.ndarray | Tensor | Sequence[str | Path | np.ndarray | Tensor]"

SHORTEST, LONGEST = 0.1, 60.0  # seconds
#: More than so many samples lie along the axis of time, and fewer channels along another.
MOST_CHANNELS = 8
_EXPECTED = "expected the path of an audio file, samples [N] or a batch [B, N] as array or tensor, or a list of sounds"


@dataclass(frozen=True)
class Origin:
    """Where a clip came from.

    Attributes
    ----------
    path : Path, optional
        Absolute path of its file; None for samples.
    label : str, optional
        What figures and descriptions call it; the name of its file if not given.
    notes : tuple of str
        What a reader of its explanation has to know about the sound.
    """

    path: Path | None = None
    label: str | None = None
    notes: tuple[str, ...] = ()

    @property
    def name(self) -> str | None:
        """What figures and descriptions call it; None if it has no name."""
        return self.label if self.label is not None or self.path is None else self.path.name


@dataclass
class Sounds:
    """A padded batch of sounds, at the rate of a front end.

    Attributes
    ----------
    wavs : Tensor [B, N]
        float32; tensors of another precision keep it if nothing had to be done to them.
    lengths : Tensor [B] or None
        Relative lengths in (0, 1]; None: all are of length N.
    origins : tuple of Origin
        B of them.
    """

    wavs: Tensor
    lengths: Tensor | None
    origins: tuple[Origin, ...]


def read_sounds(
    sounds: Sound | Sounds,
    frontend: FrontendSettings,
    lengths: Tensor | None = None,
    sample_rate: int | None = None,
    channel: str = "mean",
) -> Sounds:
    """Take in sounds: decode, scale integers, resample, pad.

    Parameters
    ----------
    sounds : path, array, tensor, or a sequence of these; Sounds
        A path names a file of any rate and any number of channels, from 0.1 to 60 s. Samples are mono, [N] or a batch
        [B, N]; in a sequence each entry is one sound, [N]. Integers of 8, 16 and 32 bits are divided by their full
        scale. Sounds that are taken in already stay as they are.
    frontend : FrontendSettings
        Gives the rate of the result and the filter for resampling.
    lengths : Tensor [B] in (0, 1], optional
        Relative lengths of a padded batch [B, N].
    sample_rate : int, optional
        Of samples that are given as arrays or tensors, in Hz; that of the front end if not given. Files know their own.
    channel : {"mean", "left", "right"}
        What is heard of a file of several channels. Where their mean cancels, a note says so.

    Returns
    -------
    Sounds

    Raises
    ------
    MissingError
        If a file is not there.
    UserError
        For a file that is no audio, or too short or too long; for anything but finite, real, mono samples; if
        ``lengths`` or ``sample_rate`` is given with what has none.
    """
    if isinstance(sounds, Sounds):
        return sounds
    if sample_rate is not None and not _is_rate(sample_rate):
        raise UserError(f"sample_rate is {shown(sample_rate)}, expected a whole number of Hz such as 16000")
    if isinstance(sounds, (list, tuple)):
        entries = list(sounds)
        if not entries:
            raise UserError(f"got no sounds, {_EXPECTED}")
    else:
        entries = [sounds]
    are_files = [isinstance(entry, (str, os.PathLike)) for entry in entries]
    if sample_rate is not None and all(are_files):
        raise UserError(f"sample_rate is {sample_rate}, for a file, which has its own: leave it out")
    if isinstance(sounds, (np.ndarray, Tensor)) and sounds.ndim == 2:
        wavs = _batch(sounds, frontend, lengths, sample_rate)
        return Sounds(wavs, lengths, (Origin(),) * len(wavs))
    if lengths is not None:
        raise UserError("lengths are given, which belong to a padded batch [B, N]: leave them out")
    wavs, origins = [], []
    for position, (entry, is_file) in enumerate(zip(entries, are_files, strict=True)):
        if is_file:
            path = expanded(entry)
            recording = _read(path, frontend, channel)
            wavs.append(recording.wav)
            origins.append(Origin(path.absolute(), notes=recording.notes))
        else:
            where = f"sound {position} of the list" if entries is not sounds and len(entries) > 1 else "the sound"
            wavs.append(_samples(entry, where, frontend, sample_rate))
            origins.append(Origin())
    counts = torch.tensor([len(wav) for wav in wavs])
    relative = None if bool((counts == counts.max()).all()) else counts / counts.max()
    return Sounds(pad_sequence(wavs, batch_first=True), relative, tuple(origins))


def read_part(path: Path, frontend: FrontendSettings, channel: str, start: float | None, end: float | None) -> Sounds:
    """Take in one sound that is a part of a file, as if the rest had been cut away; errors as of :func:`read_sounds`.

    Parameters
    ----------
    path : Path
    frontend : FrontendSettings
    channel : {"mean", "left", "right"}
    start, end : float, optional
        In seconds; the start and the end of the file if not given.
    """
    if start is None and end is None:
        return read_sounds(path, frontend, channel=channel)
    first = start or 0.0
    stretch = Stretch(first, LONGEST + 1 if end is None else end - first)
    recording = _read(path, frontend, channel, stretch)
    seconds = len(recording.wav) / frontend.sample_rate
    label = f"{path.name} ({first:.3f}-{first + seconds:.3f} s)"
    return Sounds(recording.wav[None], None, (Origin(path.absolute(), label, recording.notes),))


def _is_rate(rate: object) -> bool:
    return isinstance(rate, Real) and not isinstance(rate, bool) and rate > 0 and float(rate).is_integer()


def _read(path: Path, frontend: FrontendSettings, channel: str, stretch: Stretch | None = None) -> Recording:
    rate = frontend.sample_rate
    # One second too many is read, so that a longer sound is noticed without decoding all of it.
    recording = read_recording(path, rate, LONGEST + 1, frontend.resampling, channel, stretch)
    seconds = len(recording.wav) / rate
    if not SHORTEST <= seconds <= LONGEST:
        is_long = seconds > LONGEST
        got = f"more than {LONGEST:g} s" if is_long else f"{seconds:.4g} s"
        more = ", or call explain_recording" if is_long else ""
        raise UserError(f"{path}: lasts {got}, expected {SHORTEST:g} to {LONGEST:g} s; cut the part that matters{more}")
    return recording


def _batch(wavs: np.ndarray | Tensor, frontend: FrontendSettings, lengths: Tensor | None, rate: int | None) -> Tensor:
    """Return a batch [B, N] at the front end's rate; a tensor that is one already stays as it is."""
    if wavs.shape[1] <= MOST_CHANNELS < wavs.shape[0]:
        raise UserError(
            f"the sounds have shape {list(wavs.shape)}, which looks like [samples, channels], expected [B, N]: average "
            "the channels of one sound first, as in samples.mean(1)"
        )
    # What lies beyond the end of a clip is never heard.
    wavs = _real(wavs, "the batch", finite=lengths is None)
    if wavs.numel() == 0:
        raise UserError(f"the batch has shape {list(wavs.shape)}, expected at least one sound of at least one sample")
    return _at_rate(wavs, frontend, rate)


def _samples(samples: object, where: str, frontend: FrontendSettings, rate: int | None) -> Tensor:
    """Return one sound [N] at the front end's rate, from samples [N] or [1, N]."""
    if not isinstance(samples, (np.ndarray, Tensor)):
        raise UserError(f"{where} is {shown(samples)} ({type(samples).__name__}), {_EXPECTED}")
    if samples.ndim == 2 and len(samples) == 1:
        samples = samples[0]
    if samples.ndim != 1:
        raise UserError(
            f"{where} has shape {list(samples.shape)}, expected mono samples [N]: average the channels of a sound first"
        )
    if len(samples) == 0:
        raise UserError(f"{where} has no samples: leave it out")
    return _at_rate(_real(samples, where), frontend, rate)


def _real(samples: np.ndarray | Tensor, where: str, finite: bool = True) -> Tensor:
    """Return samples as floating point: integers divided by their full scale, other precisions than float32 as that."""
    kind = str(samples.dtype).removeprefix("torch.")
    if isinstance(samples, np.ndarray):
        if samples.dtype.kind in "fiu":
            samples = torch.from_numpy(np.ascontiguousarray(samples.astype(samples.dtype.newbyteorder("="))))
        else:
            samples = torch.empty(0, dtype=torch.bool)
    bits = {torch.int8: 8, torch.int16: 16, torch.int32: 32, torch.uint8: 8}.get(samples.dtype)
    if bits is not None:
        middle = 128 if samples.dtype is torch.uint8 else 0
        samples = (samples.double() - middle) / 2 ** (bits - 1)
    if not samples.is_floating_point():
        raise UserError(f"{where} has samples of type {kind}, expected floating point, or integers of 8, 16 or 32 bits")
    samples = samples.detach().float()
    if finite and not bool(torch.isfinite(samples).all()):
        raise UserError(
            f"{where} has samples that are NaN or infinite, expected finite ones: make it again, or leave it out"
        )
    return samples


def _at_rate(wavs: Tensor, frontend: FrontendSettings, rate: int | None) -> Tensor:
    if rate is None or rate == frontend.sample_rate:
        return wavs
    return resample(wavs, int(rate), frontend.sample_rate, frontend.resampling)
