"""Sounds that libsndfile does not read (m4a, aac, webm, wma, …): decoded by the program ffmpeg, where it is installed.

The first bytes of a file say what it is, and the program is told: it never guesses, so that it takes no file for a
playlist. It may open local files only, decodes no picture, and is stopped when it takes too long or gives more samples
than such a file can hold.
"""

from __future__ import annotations

import contextlib
import os
import re
import select
import shutil
import struct
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import numpy as np

from interpretability.data.headers import MOST_PER_BYTE, after_id3

PROGRAM = "ffmpeg"
#: Names of files that it decodes.
SUFFIXES = (
    ".3gp", ".aac", ".ac3", ".amr", ".ape", ".m4a", ".m4b", ".mka", ".mkv", ".mov", ".mp4", ".weba", ".webm", ".wma",
    ".wv",
)  # fmt: skip
#: What to do where it is not installed.
ADVICE = "install ffmpeg, or convert them to wav, flac, ogg or mp3"
#: Demuxer of the program -> (place in the file, bytes there), any of them.
_STARTS = {
    "mov": tuple((4, name) for name in (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip")),
    "matroska": ((0, b"\x1aE\xdf\xa3"),),
    "asf": ((0, b"\x30\x26\xb2\x75\x8e\x66\xcf\x11"),),
    "amr": ((0, b"#!AMR"),),
    "ac3": ((0, b"\x0b\x77"),),
    "wv": ((0, b"wvpk"),),
    "ape": ((0, b"MAC "),),
}
_AU_HEAD = struct.Struct(">4s5I")  # name, place of the sound, its length, encoding, rate, channels
_AU_FLOAT = 6  # encoding: 32 bits, big-endian
_MOST_CHANNELS = 255
#: Seconds that it may take: so many, and one for each 100 kB, of which it usually decodes some MB in a second.
_SECONDS, _BYTES_PER_SECOND = 60.0, 100_000
_LARGEST_BLOCK = 2**29  # bytes that it may ask for at a time


class FfmpegError(Exception):
    """The file cannot be decoded; the message is the reason."""


def demuxer_for(path: str | Path) -> str | None:
    """Return what ffmpeg calls the format of a file that libsndfile does not read, by its first bytes; None of others.

    Raises
    ------
    OSError
        If the file cannot be read.
    """
    with open(path, "rb") as stream:
        stream.seek(after_id3(stream))
        head = stream.read(16)
    for name, starts in _STARTS.items():
        if any(head[place : place + len(start)] == start for place, start in starts):
            return name
    # ADTS: 12 bits that are set, and layer 0, which no MP3 has.
    return "aac" if len(head) >= 7 and head[0] == 0xFF and head[1] & 0xF6 == 0xF0 else None


def is_installed() -> bool:
    """Return whether the program can be called."""
    return shutil.which(PROGRAM) is not None


@contextlib.contextmanager
def decoding(path: str | Path, demuxer: str) -> Iterator[DecodedStream]:
    """Open a file as :func:`demuxer_for` says; the program ends with the block.

    Raises
    ------
    FfmpegError
        Also while the samples are read: if the program is not installed; if the file is damaged, is something else, or
        has no sound; if it takes too long.
    """
    program = shutil.which(PROGRAM)
    if program is None:
        raise FfmpegError("it needs ffmpeg, which is not installed: install it")
    # The file is named as such: no other protocol, and no option, begins with "file:".
    source = [b"-f", demuxer, b"-i", b"file:" + os.fsencode(os.path.abspath(path))]
    bounds = ["-protocol_whitelist", "file", "-max_alloc", str(_LARGEST_BLOCK), "-threads", "1"]
    result = ["-map", "0:a:0", "-c:a", "pcm_f32be", "-f", "au", "pipe:1"]
    command = [program, "-nostdin", "-hide_banner", "-loglevel", "error", "-xerror", *bounds, *source, *result]
    with (
        tempfile.TemporaryFile() as messages,
        subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=messages) as process,
    ):
        try:
            yield DecodedStream(process, messages, os.path.getsize(path))
        finally:
            process.kill()


class DecodedStream:
    """The sound that a program writes, read once from its start to its end: what readers use of a ``SoundFile``.

    Attributes
    ----------
    samplerate, channels : int
    frames : int
        0: the number of samples is known at the end.
    format : str
    """

    format = "FFMPEG"
    frames = 0

    def __init__(self, process: subprocess.Popen, messages: IO[bytes], size: int):
        self._process, self._messages = process, messages
        # What whoever reads does between two reads, such as explaining what was read, does not count.
        self._patience = _SECONDS + size / _BYTES_PER_SECOND
        self._left = size * MOST_PER_BYTE
        head = self._take(_AU_HEAD.size)
        name, start, _, encoding, self.samplerate, self.channels = _AU_HEAD.unpack(head)
        if name != b".snd" or encoding != _AU_FLOAT or not 0 < self.channels <= _MOST_CHANNELS:
            raise FfmpegError("ffmpeg does not give samples")
        self._take(start - _AU_HEAD.size)

    def seekable(self) -> bool:
        """Return False."""
        return False

    def read(self, frames: int, dtype: str = "float32", always_2d: bool = True) -> np.ndarray:
        """Return the next samples [N', channels], fewer than ``frames`` only at the end.

        Raises
        ------
        FfmpegError
            As of :func:`decoding`.
        """
        content = self._take(frames * 4 * self.channels, whole=False)
        content = content[: len(content) - len(content) % (4 * self.channels)]
        samples = np.frombuffer(content, ">f4").astype(dtype).reshape(-1, self.channels)  # [N', channels]
        self._left -= len(samples)
        if self._left < 0:
            raise FfmpegError("it holds more samples than a file of its size can")
        return samples

    def _take(self, count: int, whole: bool = True) -> bytes:
        """Return so many bytes; at the end of them fewer, unless they have to be whole."""
        content = bytearray()
        while len(content) < count:
            start = time.monotonic()
            ready, _, _ = select.select([self._process.stdout], [], [], max(0.0, self._patience))
            self._patience -= time.monotonic() - start
            if not ready:
                raise FfmpegError("ffmpeg takes too long")
            part = os.read(self._process.stdout.fileno(), count - len(content))
            if not part:
                self._finish(may_be_over=not whole)
                break
            content += part
        return bytes(content)

    def _finish(self, may_be_over: bool) -> None:
        """Wait for the program, which has closed its output, and raise what it complained of."""
        try:
            status = self._process.wait(max(0.0, self._patience))
        except subprocess.TimeoutExpired:
            raise FfmpegError("ffmpeg takes too long") from None
        if status or not may_be_over:
            raise FfmpegError(self._complaint())

    def _complaint(self) -> str:
        self._messages.seek(0)
        lines = self._messages.read(10_000).decode("utf-8", "replace").splitlines()
        if any("matches no streams" in line for line in lines):
            return "it has no sound"
        text = re.sub(r"^\[.*? @ 0x[0-9a-f]+\] ", "", lines[0]) if lines else "no reason given"
        return f"ffmpeg: {text[:200]}"
