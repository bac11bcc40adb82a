"""Audio files in and out: decode, down-mix, resample, cache, write.

Conventions
-----------
- A clip in memory is mono, float32, ``[N]``, at the sampling rate that was asked for; never ``[channels, N]``, so that
  no caller can take the channels of one file for a batch of clips.
- Nothing is levelled here. The level rule belongs to the front end and is stored with the model.
- Rates are in Hz, durations in seconds.
"""

import contextlib
import functools
import hashlib
import logging
import math
import os
import stat
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
import torch
from torch import Tensor

from interpretability.data import ffmpeg
from interpretability.data.headers import MOST_PER_BYTE, PatchedFile, correction
from interpretability.errors import MissingError, UserError
from interpretability.files import atomic_path, remove_leftovers
from interpretability.names import printable
from interpretability.resampling import DEFAULT_FILTER, FILTERS, resample, samples_needed

logger = logging.getLogger(__name__)

# Part of every key of the cache: raise it whenever read_audio gives other samples for the same file.
CACHE_FORMAT = 4
_DIGEST = 16  # bytes of an entry's checksum
_UNKNOWN = 0xFFFFFFFF  # a length that does not fit into 32 bits
_LARGEST_ENTRY = 2**31  # bytes; a longer clip, of 9 hours at 16 kHz, is decoded each time

#: Names of files that are taken for sounds when a folder is searched; with ffmpeg, those that it decodes, too.
SUFFIXES = (
    ".aif", ".aifc", ".aiff", ".au", ".caf", ".flac", ".mp3", ".oga", ".ogg", ".opus", ".rf64", ".w64", ".wav"
)  # fmt: skip
_HIDDEN_FOLDERS = ("__MACOSX",)

#: What is kept of several channels.
CHANNELS = ("mean", "left", "right")
# Decoded at a time, of all channels together: memory goes by what a file holds, and not by what its header says.
_BLOCK = 1 << 20
_RATES = (
    100,
    10_000_000,
)  # Hz, from seismic to bat recordings; others are damage, and would take memory by their ratio
# The mean of unrelated channels lies 10 lg(channels) dB below them; this many dB further down, they cancel.
_CANCELLED_DB = 17.0


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
    """Read the header of an audio file; it is decoded only if the header does not fit the size of the file.

    Parameters
    ----------
    path : str or Path
        Any file that :func:`read_audio` reads. One that needs ffmpeg is decoded, to know its length.

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
    status = path.stat()
    return _header(path, status.st_size, (status.st_mtime_ns, status.st_dev, status.st_ino))


@functools.lru_cache(maxsize=10_000)
def _header(path: Path, size: int, _state: tuple[int, ...]) -> AudioHeader:
    """Return the header of a file of so many bytes; its state, time of change and place, is part of what is cached."""
    with _opened(path) as stream:
        n_samples = stream.frames
        if not 0 < n_samples <= size * MOST_PER_BYTE:
            n_samples = sum(map(len, _blocks(stream)))
        if n_samples == 0:
            raise _zero_length(path)
        return AudioHeader(n_samples, stream.samplerate, stream.channels)


def find_sounds(folder: str | Path) -> list[Path]:
    """Return all sounds in a folder and the folders in it, sorted; hidden ones are left out and counted in the log.

    Hidden are files and folders whose names start with a dot, among them what macOS puts beside the files of an archive
    or on a foreign disk (``._name.wav``, ``__MACOSX``).

    Returns
    -------
    list of Path
        Of the files that are named as sounds are (:data:`SUFFIXES`); they are not opened.
    """
    folder = Path(folder)
    suffixes = (*SUFFIXES, *ffmpeg.SUFFIXES)
    named = sorted(path for path in folder.rglob("*") if path.suffix.lower() in suffixes and path.is_file())
    sounds = [path for path in named if not _is_hidden(path.relative_to(folder))]
    if len(sounds) < len(named):
        logger.warning("%s: %d hidden files left out", printable(str(folder)), len(named) - len(sounds))
    if ffmpeg.is_installed():
        return sounds
    read = [path for path in sounds if path.suffix.lower() not in ffmpeg.SUFFIXES]
    if len(read) < len(sounds):
        first = next(path for path in sounds if path.suffix.lower() in ffmpeg.SUFFIXES)
        logger.warning(
            "%s: %d files such as %s left out, as they need ffmpeg, which is not installed: %s",
            printable(str(folder)), len(sounds) - len(read), printable(first.name), ffmpeg.ADVICE,
        )  # fmt: skip
    return read


def hidden_folders(folder: str | Path) -> list[str]:
    """Return the folders that :func:`find_sounds` leaves out, though sounds lie in them that are not hidden themselves.

    Only those whose own names begin with a dot, in the folder or in one of its folders.
    """
    suffixes, folder = (*SUFFIXES, *ffmpeg.SUFFIXES), Path(folder)
    dotted = [path for pattern in (".*", "*/.*") for path in sorted(folder.glob(pattern)) if path.is_dir()]
    return [
        str(path.relative_to(folder))
        for path in dotted
        if not _is_hidden(path.parent.relative_to(folder))
        and any(each.suffix.lower() in suffixes and not each.name.startswith(".") for each in path.rglob("*"))
    ]


def _is_hidden(name: Path) -> bool:
    return any(part.startswith(".") or part in _HIDDEN_FOLDERS for part in name.parts)


@dataclass(frozen=True)
class Stretch:
    """The part of a recording that is a clip.

    Attributes
    ----------
    start : float
        In seconds, >= 0.
    seconds : float
        Its length, > 0.
    """

    start: float
    seconds: float

    def samples(self, rate: int) -> range:
        """Return the samples that it holds, at the rate of the recording; at least one."""
        first = round(self.start * rate)
        return range(first, max(first + 1, round((self.start + self.seconds) * rate)))


@dataclass(frozen=True)
class Recording:
    """A clip, and what a reader has to know about it.

    Attributes
    ----------
    wav : Tensor [N]
        As of :func:`read_audio`.
    notes : tuple of str
        Such as that its channels cancel; one line each.
    """

    wav: Tensor
    notes: tuple[str, ...] = ()


def read_audio(
    path: str | Path,
    sample_rate: int,
    max_seconds: float | None = None,
    resampling: str = DEFAULT_FILTER,
    channel: str = "mean",
    stretch: Stretch | None = None,
) -> Tensor:
    """Read a clip as mono samples at ``sample_rate``; what there is to note about it is logged.

    Parameters
    ----------
    path : str or Path
        Any file that libsndfile reads (wav, flac, ogg, mp3, ... of any sample format), at any rate, with any number
        of channels; m4a, aac, webm, wma and others (:data:`.ffmpeg.SUFFIXES`) where ffmpeg is installed.
    sample_rate : int
        Sampling rate of the result, in Hz.
    max_seconds : float, optional
        Keep only the first ``max_seconds`` seconds; no more than these is decoded.
    resampling : {"accurate", "published"}
        The filter, see :mod:`interpretability.resampling`.
    channel : {"mean", "left", "right"}
        What is kept of several channels: their mean, the first or the second one.
    stretch : Stretch, optional
        The part to read, as if the rest had been cut away; all by default.

    Returns
    -------
    Tensor [N]
        float32, not levelled. Silent and clipped recordings come back as they are.

    Raises
    ------
    MissingError
        If there is no such file.
    UserError
        If the file is not audio, holds no samples, holds NaN or infinite samples, has no such channel, or ends before
        the stretch; if a setting is not positive.
    """
    recording = read_recording(path, sample_rate, max_seconds, resampling, channel, stretch)
    for note in recording.notes:
        logger.warning("%s: %s", printable(str(path)), note)
    return recording.wav


def read_recording(
    path: str | Path,
    sample_rate: int,
    max_seconds: float | None = None,
    resampling: str = DEFAULT_FILTER,
    channel: str = "mean",
    stretch: Stretch | None = None,
) -> Recording:
    """Read a clip with notes about it; parameters and errors as of :func:`read_audio`."""
    _check_settings(sample_rate, max_seconds, resampling, channel)
    path = _existing_file(path)
    with _opened(path) as stream:
        native_rate, n_channels = stream.samplerate, stream.channels
        most = None if max_seconds is None else samples_needed(max_seconds, native_rate, sample_rate, resampling)
        if stretch is not None:
            part = stretch.samples(native_rate)
            most = len(part) if most is None else min(most, len(part))
            _skip(stream, part.start)
        mix, kept = Downmix(path, n_channels, channel), []
        for samples in _blocks(stream, most):  # [N', channels]
            kept.append(mix(samples))
    if mix.n_read == 0 and stretch is not None:
        raise UserError(f"{path}: ends before the clip in it, which starts at {stretch.start:g} s: correct the start")
    mix.check()
    wav = torch.from_numpy(np.concatenate(kept))  # [N']
    wav = resample(wav, native_rate, sample_rate, resampling)  # [N]
    if max_seconds is not None:
        wav = wav[: max(1, round(max_seconds * sample_rate))]
    return Recording(wav.contiguous(), mix.notes)


class Downmix:
    """From the channels of a file to the one that is heard, block by block.

    Parameters
    ----------
    path : Path
        Of the file, for errors.
    n_channels : int
    channel : {"mean", "left", "right"}
        What is kept of them.

    Raises
    ------
    UserError
        If there is no right channel.
    """

    def __init__(self, path: Path, n_channels: int, channel: str):
        if channel == "right" and n_channels < 2:
            raise UserError(f"{path}: has one channel, so there is no right one: take the left one, or the mean")
        self._path, self._n_channels, self._channel = path, n_channels, channel
        self._power, self._mean_power = 0.0, 0.0
        self.n_read, self._n_bad = 0, 0

    def __call__(self, samples: np.ndarray) -> np.ndarray:
        """Return what is kept, [N'], of the next samples [N', channels]."""
        self.n_read += len(samples)
        self._n_bad += int((~np.isfinite(samples)).any(axis=1).sum())
        mean = samples.mean(axis=1, dtype=np.float32)  # [N']
        if self._n_channels > 1 and self._n_bad == 0:
            self._power += float(np.square(samples, dtype=np.float64).mean(axis=1).sum())
            self._mean_power += float(np.square(mean, dtype=np.float64).sum())
        return mean if self._channel == "mean" else samples[:, CHANNELS.index(self._channel) - 1]

    def check(self) -> None:
        """Refuse what was read so far if there is nothing, or anything that is not finite (:class:`UserError`)."""
        if self.n_read == 0:
            raise _zero_length(self._path)
        if self._n_bad:
            raise UserError(
                f"{self._path}: {self._n_bad} of {self.n_read} samples are NaN or infinite, expected finite samples: "
                "export the sound again, or leave it out"
            )

    @property
    def notes(self) -> tuple[str, ...]:
        """What there is to note about the channels that were read."""
        if self._channel != "mean" or self._n_channels == 1:
            return ()
        return note_of_cancelling(self._power, self._mean_power, self._n_channels)


def stream_audio(path: str | Path, stretch: Stretch | None = None) -> Iterator[np.ndarray]:
    """Yield a sound as its file has it, in blocks of bounded size: float32 [N', channels] at its own rate.

    Samples may be NaN or infinite; a file that ends early just ends.

    Parameters
    ----------
    path : str or Path
        As of :func:`read_audio`.
    stretch : Stretch, optional
        The part to read.

    Raises
    ------
    MissingError, UserError
        If there is no such file, or it is not audio.
    """
    path = _existing_file(path)
    with _opened(path) as stream:
        if stretch is None:
            yield from _blocks(stream)
        else:
            part = stretch.samples(stream.samplerate)
            _skip(stream, part.start)
            yield from _blocks(stream, len(part))


class ClipCache:
    """Decoded and resampled clips on disk, so that a second epoch neither decodes nor resamples.

    One file per clip: a checksum and the samples. Its name is made from the sound's absolute path, size and time of
    change, from the settings and from the version of the format: a file or a setting that changes gets a new entry. The
    checksum is of the name, too, so that an entry which is damaged, cut or put in the place of another is made again.
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
    channel : {"mean", "left", "right"}
        What is kept of several channels.

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
        channel: str = "mean",
    ):
        _check_settings(sample_rate, max_seconds, resampling, channel)
        self.folder = None if folder is None else Path(folder)
        self.sample_rate = sample_rate
        self.max_seconds = max_seconds
        self.resampling = resampling
        self.channel = channel
        self._can_write = True
        if self.folder is not None:
            remove_leftovers(self.folder)

    def load(self, path: str | Path, stretch: Stretch | None = None) -> Tensor:
        """Return the clip ``[N]`` as :func:`read_audio` does, from the cache where it is there; the log notes silence.

        Raises
        ------
        MissingError, UserError
            As :func:`read_audio`.
        """
        if self.folder is None:
            return self._decode(path, stretch)
        entry = self.entry(path, stretch)
        wav = _read_entry(entry)
        if wav is None:
            wav = self._decode(path, stretch)
            self._write_entry(entry, wav)
        return wav

    def _decode(self, path: str | Path, stretch: Stretch | None) -> Tensor:
        wav = read_audio(path, self.sample_rate, self.max_seconds, self.resampling, self.channel, stretch)
        if not wav.any():
            place = "" if stretch is None else f" at {stretch.start:g} s"
            logger.warning("%s: the clip%s is silent", printable(str(path)), place)
        return wav

    def entry(self, path: str | Path, stretch: Stretch | None = None) -> Path:
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
        fields = (CACHE_FORMAT, *file, self.sample_rate, seconds, self.resampling, self.channel)
        if stretch is not None:
            fields += (stretch.start, stretch.seconds)
        key = hashlib.sha256(repr(fields).encode("utf-8", "surrogateescape")).hexdigest()
        return self.folder / f"{key[:40]}.clip"

    def _write_entry(self, entry: Path, wav: Tensor) -> None:
        if not self._can_write or 4 * len(wav) + _DIGEST > _LARGEST_ENTRY:
            return
        content = wav.numpy().astype("<f4").tobytes()
        try:
            with atomic_path(entry) as temporary:
                temporary.write_bytes(_entry_digest(entry, content) + content)
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
    with atomic_path(path) as temporary:
        temporary.write_bytes(wav_header(samples.numel(), sample_rate) + samples.numpy().astype("<f4").tobytes())


def wav_header(n_samples: int, sample_rate: int) -> bytes:
    """Return what stands before the samples of a mono float32 WAV file; of one above 4 GB, that of its kin RF64."""
    # The header is written here because libsndfile puts the time of day into float files (PEAK chunk).
    form = struct.pack("<4sIHHIIHH", b"fmt ", 16, 3, 1, sample_rate, 4 * sample_rate, 4, 32)  # 3: IEEE float, 1 channel
    length = 4 * n_samples
    fact = struct.pack("<4sII", b"fact", 4, min(n_samples, _UNKNOWN))
    size = len(b"WAVE" + form + fact) + 8 + length
    if size <= _UNKNOWN:
        return struct.pack("<4sI4s", b"RIFF", size, b"WAVE") + form + fact + struct.pack("<4sI", b"data", length)
    sizes = struct.pack("<4sIQQQI", b"ds64", 28, size + 36, length, n_samples, 0)
    head = struct.pack("<4sI4s", b"RF64", _UNKNOWN, b"WAVE") + sizes
    return head + form + fact + struct.pack("<4sI", b"data", _UNKNOWN)


class _SoundFile(soundfile.SoundFile):
    """A file that is read on from block to block, as it is.

    After each block, that of soundfile jumps to where it is already, in files that can be jumped in: from there on, MP3
    is decoded without the frames before it, and its first samples are wrong.
    """

    def seekable(self) -> bool:
        """Return whether it can be jumped in without harm."""
        return self.format != "MP3" and super().seekable()


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[soundfile.SoundFile | ffmpeg.DecodedStream]:
    """Open a file, with the true length in its header where that is known."""
    try:
        with contextlib.ExitStack() as stack:
            demuxer = ffmpeg.demuxer_for(path)
            if demuxer is not None:
                stream = stack.enter_context(ffmpeg.decoding(path, demuxer))
            else:
                patch = correction(path)
                # By the bytes of its name, which need not be UTF-8.
                source = os.fsencode(path) if patch is None else stack.enter_context(PatchedFile(path, *patch))
                stream = stack.enter_context(_SoundFile(source))
            if not _RATES[0] <= stream.samplerate <= _RATES[1]:
                raise UserError(
                    f"{path}: its header has a sampling rate of {stream.samplerate} Hz, expected {_RATES[0]} to "
                    f"{_RATES[1]} Hz: correct the header, or leave the file out"
                )
            yield stream
    except (soundfile.SoundFileError, ffmpeg.FfmpegError, OSError, TypeError) as error:
        if isinstance(error, UserError):
            raise
        raise _not_audio(path, error) from error


def _blocks(stream: soundfile.SoundFile | ffmpeg.DecodedStream, most: int | None = None) -> Iterator[np.ndarray]:
    """Yield the samples [N', channels], at most the first ``most`` ones, in blocks of bounded size."""
    size, left = max(1, _BLOCK // stream.channels), math.inf if most is None else most
    while left > 0:
        samples = stream.read(int(min(size, left)), dtype="float32", always_2d=True)
        if len(samples) == 0:
            return
        yield samples
        left -= len(samples)


def _skip(stream: soundfile.SoundFile | ffmpeg.DecodedStream, n_samples: int) -> None:
    """Go to a sample of a file that was just opened: of its end, if it has fewer."""
    # Compressed sounds are decoded from the start: after a jump, the first samples of some are wrong.
    if stream.format == "OGG" or not stream.seekable():
        for _ in _blocks(stream, n_samples):
            pass
    else:
        stream.seek(min(n_samples, stream.frames))


def note_of_cancelling(power: float, mean_power: float, n_channels: int) -> tuple[str, ...]:
    """Return the note that channels cancel, if their mean lies far below them; ``power`` is the mean over channels."""
    if power == 0 or mean_power > power / n_channels * 10 ** (-_CANCELLED_DB / 10):
        return ()
    level = f"{10 * math.log10(power / mean_power):.0f} dB below them" if mean_power else "silence"
    return (f"its {n_channels} channels cancel: their mean is {level}; take one of them (channel left or right)",)


def _read_entry(entry: Path) -> Tensor | None:
    """Return the cached clip, or None if it is not there or not whole."""
    try:
        with open(entry, "rb", opener=_without_waiting) as stream:
            status = os.fstat(stream.fileno())
            if not stat.S_ISREG(status.st_mode) or status.st_size > _LARGEST_ENTRY:
                raise ValueError("not an entry")
            content = stream.read()
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        logger.warning("clip cache: %s cannot be read (%s): made again", entry, error)
        return None
    digest, samples = content[:_DIGEST], content[_DIGEST:]
    if not samples or digest != _entry_digest(entry, samples):
        logger.warning("clip cache: %s is damaged: made again", entry)
        return None
    return torch.from_numpy(np.frombuffer(samples, "<f4").astype(np.float32))


def _without_waiting(path: str, flags: int) -> int:
    """Open a file, but do not wait for the other end of a pipe."""
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


def _entry_digest(entry: Path, content: bytes) -> bytes:
    return hashlib.blake2b(content, digest_size=_DIGEST, key=entry.stem.encode()).digest()


def _check_settings(sample_rate: int, max_seconds: float | None, resampling: str, channel: str) -> None:
    if isinstance(sample_rate, bool) or not isinstance(sample_rate, int) or sample_rate <= 0:
        raise UserError(f"sample_rate is {sample_rate!r}, expected a whole number of Hz such as 16000")
    if max_seconds is not None and not 0 < max_seconds < math.inf:
        raise UserError(
            f"max_seconds is {max_seconds!r}, expected a positive number of seconds, or none for whole clips"
        )
    for name, value, known in (("resampling", resampling, FILTERS), ("channel", channel, CHANNELS)):
        if value not in known:
            raise UserError(f"{name} is {value!r}, expected one of {', '.join(known)}")


def _existing_file(path: str | Path) -> Path:
    # Unlike those of Path, these functions take any name for that of no file: one that is too long, for example.
    if os.path.isdir(path):
        raise UserError(f"{path}: is a folder, expected an audio file: name a file in it")
    if not os.path.isfile(path):
        raise MissingError(f"{path}: no such audio file: check the path and the data folder")
    return Path(path)


def _not_audio(path: Path, error: Exception) -> UserError:
    reason = (
        "the file is empty" if path.stat().st_size == 0 else str(getattr(error, "error_string", error)).rstrip(". ")
    )
    return UserError(
        f"{path}: cannot be decoded ({reason}), expected an audio file such as wav, flac, ogg or mp3: "
        "convert it, or leave it out"
    )


def _zero_length(path: Path) -> UserError:
    return UserError(f"{path}: holds 0 samples, expected at least one: record it again, or leave it out")
