"""Audio files in and out: decode, down-mix, resample, cache, write.

Conventions
-----------
- A clip in memory is mono, float32, ``[N]``, at the sampling rate that was asked for; never ``[channels, N]``, so that
  no caller can take the channels of one file for a batch of clips.
- Nothing is levelled here. The level rule belongs to the front end and is stored with the model.
- Rates are in Hz, durations in seconds.
"""

import hashlib
import logging
import math
import os
import struct
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
import torch
from torch import Tensor

from interpretability.errors import MissingError, UserError
from interpretability.files import atomic_path
from interpretability.resampling import DEFAULT_FILTER, FILTERS, resample, samples_needed

logger = logging.getLogger(__name__)

# Part of every key of the cache: raise it whenever read_audio gives other samples for the same file.
CACHE_FORMAT = 2


@dataclass(frozen=True)
class AudioHeader:
    """What the header of an audio file says.

    Attributes
    ----------
    n_samples : int
        Samples per channel, at the file's own rate.
    sample_rate : int
        Sampling rate in Hz.
    channels : int
        Number of channels.
    """

    n_samples: int
    sample_rate: int
    channels: int

    @property
    def duration(self) -> float:
        """Duration in seconds."""
        return self.n_samples / self.sample_rate


def audio_header(path: str | Path) -> AudioHeader:
    """Read the header of an audio file, without decoding the file.

    Parameters
    ----------
    path : str or Path
        Any file that libsndfile reads.

    Returns
    -------
    AudioHeader

    Raises
    ------
    MissingError
        If there is no such file.
    UserError
        If the file is not audio, or holds no samples.
    """
    path = _existing_file(path)
    try:
        info = soundfile.info(os.fsencode(path))
    except (soundfile.SoundFileError, TypeError) as error:
        raise _not_audio(path, error) from error
    if info.frames <= 0:
        raise _zero_length(path)
    return AudioHeader(int(info.frames), int(info.samplerate), int(info.channels))


def read_audio(
    path: str | Path, sample_rate: int, max_seconds: float | None = None, resampling: str = DEFAULT_FILTER
) -> Tensor:
    """Read a clip as mono samples at ``sample_rate``.

    Parameters
    ----------
    path : str or Path
        Any file that libsndfile reads (wav, flac, ogg, mp3, ... of any sample format), at any rate, with any number
        of channels. The channels are averaged.
    sample_rate : int
        Sampling rate of the result, in Hz.
    max_seconds : float, optional
        Keep only the first ``max_seconds`` seconds; no more than these is decoded.
    resampling : {"accurate", "published"}
        The filter, see :mod:`interpretability.resampling`.

    Returns
    -------
    Tensor [N]
        float32, not levelled. Silent and clipped recordings come back as they are.

    Raises
    ------
    MissingError
        If there is no such file.
    UserError
        If the file is not audio, holds no samples, or holds NaN or infinite samples; if a setting is not positive.
    """
    _check_settings(sample_rate, max_seconds, resampling)
    path = _existing_file(path)
    try:
        with soundfile.SoundFile(os.fsencode(path)) as stream:
            native_rate = stream.samplerate
            frames = -1
            if max_seconds is not None:
                frames = samples_needed(max_seconds, native_rate, sample_rate, resampling)
            samples = stream.read(frames, dtype="float32", always_2d=True)  # [N', channels]
    except (soundfile.SoundFileError, TypeError) as error:
        raise _not_audio(path, error) from error
    if samples.shape[0] == 0:
        raise _zero_length(path)
    if not np.isfinite(samples).all():
        bad = int((~np.isfinite(samples)).any(axis=1).sum())
        raise UserError(
            f"{path}: {bad} of {samples.shape[0]} samples are NaN or infinite, expected finite samples: "
            "export the sound again, or leave it out"
        )
    wav = torch.from_numpy(samples.mean(axis=1, dtype=np.float32))  # [N']
    wav = resample(wav, native_rate, sample_rate, resampling)  # [N]
    if max_seconds is not None:
        wav = wav[: max(1, round(max_seconds * sample_rate))]
    return wav.contiguous()


class ClipCache:
    """Decoded and resampled clips on disk, so that a second epoch neither decodes nor resamples.

    One ``.npy`` per clip. Its name is made from the file's absolute path, size and time of change, from the settings
    and from the version of the format: a file or a setting that changes gets a new entry, and no entry is ever wrong.
    Entries appear by one rename, so several processes may share a folder. Old entries are not removed: the folder
    can be deleted at any time. It takes 4 bytes per sample (64 kB per second of sound at 16 kHz).

    Parameters
    ----------
    folder : str, Path or None
        Where to keep the clips; made when needed. None: no cache, every load decodes.
    sample_rate : int
        Sampling rate of the clips, in Hz.
    max_seconds : float, optional
        Keep only the first ``max_seconds`` seconds of a clip.
    resampling : {"accurate", "published"}
        The filter, see :mod:`interpretability.resampling`.

    Raises
    ------
    UserError
        If a setting is not positive.
    """

    def __init__(
        self,
        folder: str | Path | None,
        sample_rate: int,
        max_seconds: float | None = None,
        resampling: str = DEFAULT_FILTER,
    ):
        _check_settings(sample_rate, max_seconds, resampling)
        self.folder = None if folder is None else Path(folder)
        self.sample_rate = sample_rate
        self.max_seconds = max_seconds
        self.resampling = resampling
        self._can_write = True

    def load(self, path: str | Path) -> Tensor:
        """Return the clip ``[N]`` as :func:`read_audio` does, from the cache where it is there.

        Raises
        ------
        MissingError, UserError
            As :func:`read_audio`.
        """
        if self.folder is None:
            return read_audio(path, self.sample_rate, self.max_seconds, self.resampling)
        entry = self.entry(path)
        wav = _read_entry(entry)
        if wav is None:
            wav = read_audio(path, self.sample_rate, self.max_seconds, self.resampling)
            self._write_entry(entry, wav)
        return wav

    def entry(self, path: str | Path) -> Path:
        """Return where the clip is kept, whether or not it is there yet.

        Raises
        ------
        MissingError
            If there is no such audio file.
        """
        if self.folder is None:
            raise ValueError("this cache has no folder, so it has no entries")
        status = _existing_file(path).stat()
        seconds = None if self.max_seconds is None else float(self.max_seconds)
        file = (os.path.abspath(path), status.st_size, status.st_mtime_ns)
        fields = (CACHE_FORMAT, *file, self.sample_rate, seconds, self.resampling)
        key = hashlib.sha256(repr(fields).encode("utf-8", "surrogateescape")).hexdigest()
        return self.folder / f"{key[:40]}.npy"

    def _write_entry(self, entry: Path, wav: Tensor) -> None:
        if not self._can_write:
            return
        try:
            with atomic_path(entry) as temporary, open(temporary, "wb") as stream:
                np.save(stream, wav.numpy())
        except OSError as error:
            # The clip itself is in memory: a full or read-only disk makes the run slower, but does not end it.
            self._can_write = False
            logger.warning("clip cache %s cannot be written (%s): going on without it", self.folder, error)


def write_wav(path: str | Path, wav: Tensor, sample_rate: int) -> None:
    """Write a mono clip as a float32 WAV file, atomically. The same clip always gives the same bytes.

    Parameters
    ----------
    path : str or Path
        Where to; the folder is made.
    wav : Tensor [N]
        Samples; they are neither scaled nor clipped.
    sample_rate : int
        Sampling rate in Hz.

    Raises
    ------
    ValueError
        If ``wav`` is not one-dimensional, is empty, or is not finite.
    """
    if wav.ndim != 1 or wav.numel() == 0:
        raise ValueError(f"{path}: got samples of shape {list(wav.shape)}, expected one clip [N] with N > 0")
    samples = wav.detach().to("cpu", torch.float32)
    if not bool(torch.isfinite(samples).all()):
        raise ValueError(f"{path}: the samples to write are not all finite")
    data = samples.numpy().astype("<f4").tobytes()
    # The header is written here because libsndfile puts the time of day into float files (PEAK chunk).
    form = struct.pack("<4sIHHIIHH", b"fmt ", 16, 3, 1, sample_rate, 4 * sample_rate, 4, 32)  # 3: IEEE float, 1 channel
    fact = struct.pack("<4sII", b"fact", 4, samples.numel())
    body = b"WAVE" + form + fact + struct.pack("<4sI", b"data", len(data)) + data
    with atomic_path(path) as temporary:
        temporary.write_bytes(struct.pack("<4sI", b"RIFF", len(body)) + body)


def _read_entry(entry: Path) -> Tensor | None:
    """Return the cached clip, or None if it is not there or not whole."""
    try:
        with open(entry, "rb") as stream:
            samples = np.load(stream, allow_pickle=False)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, EOFError, SyntaxError) as error:
        logger.warning("clip cache: %s is damaged (%s): made again", entry, error)
        return None
    whole = isinstance(samples, np.ndarray) and samples.dtype == np.float32 and samples.ndim == 1 and samples.size > 0
    if not whole or not np.isfinite(samples).all():
        logger.warning("clip cache: %s does not hold a clip: made again", entry)
        return None
    return torch.from_numpy(samples)


def _check_settings(sample_rate: int, max_seconds: float | None, resampling: str) -> None:
    if isinstance(sample_rate, bool) or not isinstance(sample_rate, int) or sample_rate <= 0:
        raise UserError(f"sample_rate is {sample_rate!r}, expected a whole number of Hz such as 16000")
    if max_seconds is not None and not 0 < max_seconds < math.inf:
        raise UserError(
            f"max_seconds is {max_seconds!r}, expected a positive number of seconds, or none for whole clips"
        )
    if resampling not in FILTERS:
        raise UserError(f"resampling is {resampling!r}, expected one of {', '.join(FILTERS)}")


def _existing_file(path: str | Path) -> Path:
    # Unlike those of Path, these functions take any name for that of no file: one that is too long, for example.
    if os.path.isdir(path):
        raise UserError(f"{path}: is a folder, expected an audio file: name a file in it")
    if not os.path.isfile(path):
        raise MissingError(f"{path}: no such audio file: check the path and the data folder")
    return Path(path)


def _not_audio(path: Path, error: Exception) -> UserError:
    reason = (
        "the file is empty" if path.stat().st_size == 0 else getattr(error, "error_string", str(error)).rstrip(". ")
    )
    return UserError(
        f"{path}: cannot be decoded ({reason}), expected an audio file such as wav, flac, ogg or mp3: "
        "convert it, or leave it out"
    )


def _zero_length(path: Path) -> UserError:
    return UserError(f"{path}: holds 0 samples, expected at least one: record it again, or leave it out")
