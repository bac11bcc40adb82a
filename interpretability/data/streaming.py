"""Recordings of any length: mono samples at one rate, block by block, in memory that does not grow with the length."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor

from interpretability.data.audio import Downmix, audio_header, stream_audio, wav_header
from interpretability.data.headers import missing_share
from interpretability.files import expanded
from interpretability.resampling import DEFAULT_FILTER, resample_blocks


class SoundStream:
    """A recording that can be read again and again, each time from its start.

    Parameters
    ----------
    path : str or Path
        As of :func:`.read_audio`.
    sample_rate : int
        Of the samples, in Hz.
    resampling : {"accurate", "published"}
        The filter, see :mod:`interpretability.resampling`.
    channel : {"mean", "left", "right"}
        What is heard of several channels.

    Attributes
    ----------
    promised : float
        Its length in seconds as its header has it; that of the sound may differ.
    notes : tuple of str
        What a reader has to know about it, once it was read to its end.

    Raises
    ------
    MissingError, UserError
        As of :func:`.read_audio`; also while it is read. Of samples that are not finite when they are met.
    """

    def __init__(self, path: str | Path, sample_rate: int, resampling: str = DEFAULT_FILTER, channel: str = "mean"):
        self.path = expanded(path)
        self.sample_rate, self.notes = sample_rate, ()
        self._resampling, self._channel = resampling, channel
        self._header = audio_header(self.path)
        self.promised = self._header.duration
        Downmix(self.path, self._header.channels, channel)  # which refuses a channel that there is not

    def __iter__(self) -> Iterator[Tensor]:
        """Yield the samples in blocks [n], float32: together what :func:`.read_audio` gives, to rounding."""
        yield from resample_blocks(self._mono(), self._header.sample_rate, self.sample_rate, self._resampling)

    def _mono(self) -> Iterator[Tensor]:
        mix = Downmix(self.path, self._header.channels, self._channel)
        for samples in stream_audio(self.path):
            mono = mix(samples)
            mix.check()
            yield torch.from_numpy(mono)
        mix.check()
        share, held = missing_share(self.path), mix.n_read / self._header.sample_rate
        cut = f"its header promises {held / (1 - share):.4g} s, and it holds {held:.4g} s: the rest is missing"
        self.notes = (*mix.notes, *((cut,) if share > 0 else ()))


class WavFile:
    """A mono float32 WAV file that is written block by block; stretches of silence take no room on the disk.

    Parameters
    ----------
    path : str or Path
        Where to. Not in one step: in a folder that :func:`~interpretability.files.atomic_folder` puts in its place.
    n_samples : int
        How many samples there will be.
    sample_rate : int
        In Hz.
    """

    def __init__(self, path: str | Path, n_samples: int, sample_rate: int):
        self._stream = open(path, "wb")  # noqa: SIM115, closed by the with statement
        head = wav_header(n_samples, sample_rate)
        self._stream.write(head)
        self._size = len(head) + 4 * n_samples

    def write(self, wav: Tensor) -> None:
        """Write the next samples [n]."""
        if bool(wav.any()):
            self._stream.write(wav.detach().cpu().numpy().astype("<f4").tobytes())
        else:
            self._stream.seek(4 * len(wav), os.SEEK_CUR)

    def __enter__(self) -> WavFile:
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self._stream.truncate(self._size)
        finally:
            self._stream.close()
