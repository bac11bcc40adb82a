"""Headers of audio files that do not say how long the sound is: what to read in their place.

Programs that write to a pipe cannot go back to the start of a file: they leave a length of 0 or the largest possible
one, and a file that was cut keeps the length it had. libsndfile believes what it reads. Here the length is found in the
file itself, without decoding it, for the three formats that need it:

- WAV: a ``data`` chunk of 0 bytes, with sound behind it, reaches to the end of the file;
- FLAC: the last frame has its own number, and so says how many samples there are;
- MP3: frames are counted from header to header, and compared with the Xing or Info tag of the first one.
"""

import functools
import io
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

#: Samples that one byte can stand for: a frame of FLAC takes at least 11 bytes, and holds at most 65,535 samples.
MOST_PER_BYTE = 8192

#: From so many bytes on, the length of a WAV file stands for one that was not known when the header was written.
_UNKNOWN_LENGTH = 0x7FFFF000
_MOST_CHUNKS = 1000  # of a RIFF file
_LARGEST_FLAC_FRAME = 1 << 21  # bytes that are searched for the last frame
_BITRATES = {  # kbit/s of layer III, by version: 1, and 2 or 2.5
    True: (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    False: (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
_RATES = {3: (44100, 48000, 32000), 2: (22050, 24000, 16000), 0: (11025, 12000, 8000)}  # Hz, by bits of the version


class PatchedFile(io.RawIOBase):
    """A file, read with other bytes at one place.

    Parameters
    ----------
    path : path
    offset : int
        Of the place.
    patch : bytes
    """

    def __init__(self, path: str | Path, offset: int, patch: bytes):
        super().__init__()
        self._stream = open(path, "rb")  # noqa: SIM115, closed with this one
        self._offset, self._patch = offset, patch

    def readable(self) -> bool:
        """Return True."""
        return True

    def seekable(self) -> bool:
        """Return True."""
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Go to a place; return it."""
        return self._stream.seek(offset, whence)

    def tell(self) -> int:
        """Return the place that is read next."""
        return self._stream.tell()

    def readinto(self, buffer: memoryview) -> int:
        """Read into a buffer; return the number of bytes."""
        start = self.tell()
        count = self._stream.readinto(buffer)
        first = max(start, self._offset)
        last = min(start + count, self._offset + len(self._patch))
        if first < last:
            memoryview(buffer)[first - start : last - start] = self._patch[first - self._offset : last - self._offset]
        return count

    def close(self) -> None:
        """Close the file."""
        self._stream.close()
        super().close()


def correction(path: str | Path) -> tuple[int, bytes] | None:
    """Return the place in a file, and the bytes, that make its header say the length of the sound.

    None if there is nothing to correct, or nothing is known to correct it by.
    """
    with open(path, "rb") as stream:
        size = stream.seek(0, io.SEEK_END)
        kind, start = _kind(stream)
        if kind == "wav":
            return _of_wav(stream, size)
        if kind == "flac":
            return _of_flac(stream, start, size)
        return _of_mp3(stream, start) if kind == "mp3" else None


def missing_share(path: str | Path) -> float:
    """Return the share of a sound, in [0, 1), that the header of its file promises beyond the end of the file.

    Of WAV and MP3, which are then read up to the end as if nothing were missing; 0 of other formats.

    Raises
    ------
    OSError
        If the file cannot be read.
    """
    with open(path, "rb") as stream:
        size = stream.seek(0, io.SEEK_END)
        kind, start = _kind(stream)
        if kind == "wav":
            data = next((chunk for chunk in _chunks(stream, 12, size) if chunk.name == b"data"), None)
            if data is None or data.length >= _UNKNOWN_LENGTH or data.start + data.length <= size:
                return 0.0
            return 1 - (size - data.start) / data.length
        patch = _of_mp3(stream, start) if kind == "mp3" else None
        if patch is None:
            return 0.0
        stream.seek(patch[0])
        told, count = int.from_bytes(stream.read(4), "big"), int.from_bytes(patch[1], "big")
        return max(0.0, 1 - count / told) if told else 0.0


def _kind(stream: BinaryIO) -> tuple[str | None, int]:
    """Return what a file is by its first bytes ("wav", "flac", "mp3"; None: something else), and where it starts."""
    start = after_id3(stream)
    stream.seek(start)
    head = stream.read(12)
    if head[:4] == b"RIFF" and head[8:] == b"WAVE":
        return "wav", start
    if head[:4] == b"fLaC":
        return "flac", start
    return ("mp3" if len(head) == 12 and _mp3_frame(head[:4]) is not None else None), start


def after_id3(stream: BinaryIO) -> int:
    """Return where the sound starts: behind a tag of ID3v2, if there is one."""
    stream.seek(0)
    head = stream.read(10)
    if len(head) < 10 or head[:3] != b"ID3":
        return 0
    length = 0
    for byte in head[6:]:
        length = length << 7 | byte & 0x7F
    return 10 + length + (10 if head[5] & 0x10 else 0)


# ---- WAV ----


def _of_wav(stream: BinaryIO, size: int) -> tuple[int, bytes] | None:
    data = next((chunk for chunk in _chunks(stream, 12, size) if chunk.name == b"data"), None)
    # An empty sound may be followed by other chunks, which then reach just to the end of the file.
    if data is None or data.length or data.start >= size or _ends_with_chunks(stream, data.start, size):
        return None
    return data.start - 4, struct.pack("<I", min(size - data.start, 0xFFFFFFFE))


@dataclass(frozen=True)
class _Chunk:
    name: bytes
    start: int  # of what it holds
    length: int

    @property
    def end(self) -> int:
        return self.start + self.length + self.length % 2


def _chunks(stream: BinaryIO, place: int, size: int) -> Iterator[_Chunk]:
    """Yield the first chunks of a RIFF file from a place on."""
    for _ in range(_MOST_CHUNKS):
        if place + 8 > size:
            return
        stream.seek(place)
        chunk = _Chunk(stream.read(4), place + 8, int.from_bytes(stream.read(4), "little"))
        yield chunk
        place = chunk.end


def _ends_with_chunks(stream: BinaryIO, place: int, size: int) -> bool:
    chunks = list(_chunks(stream, place, size))
    named = all(chunk.name.isascii() and chunk.name.decode("ascii").isprintable() for chunk in chunks)
    return bool(chunks) and named and chunks[-1].end in (size, size + 1)


# ---- FLAC ----


def _of_flac(stream: BinaryIO, start: int, size: int) -> tuple[int, bytes] | None:
    stream.seek(start + 8)
    info = stream.read(34)
    if len(info) < 34:
        return None
    told = int.from_bytes(info[13:18], "big") & 0xFFFFFFFFF  # the other 4 bits belong to the sample size
    if 0 < told <= size * MOST_PER_BYTE:
        return None
    stream.seek(max(start + 42, size - _LARGEST_FLAC_FRAME))
    total = _last_sample_of_flac(stream.read(), int.from_bytes(info[2:4], "big"))
    if total is None or total > size * MOST_PER_BYTE:
        return None
    return start + 21, bytes([info[13] & 0xF0 | total >> 32]) + (total & 0xFFFFFFFF).to_bytes(4, "big")


def _last_sample_of_flac(tail: bytes, block_size: int) -> int | None:
    """Return the number of samples up to the end of the last frame, which ``tail`` ends with; None if it has none."""
    if tail[-128:-125] == b"TAG":  # ID3v1
        tail = tail[:-128]
    place, left = len(tail), 2 * len(tail)
    while left > 0 and (place := tail.rfind(b"\xff", 0, place)) >= 0:
        end = _end_of_flac_frame(tail[place : place + 16], block_size)
        if end is None:
            continue
        # What looks like a header can be sound: the checksum of the whole frame decides.
        if _crc(tail[place:], 0x8005, 16) == 0:
            return end
        left -= len(tail) - place
    return None


def _end_of_flac_frame(head: bytes, block_size: int) -> int | None:
    """Return the number of samples up to the end of the frame that starts here; None if none does."""
    if len(head) < 16 or head[1] & 0xFE != 0xF8 or head[2] >> 4 == 0 or head[2] & 0xF == 0xF or head[3] & 1:
        return None
    ones = next((bit for bit in range(8) if not head[4] & 0x80 >> bit), 8)  # of a number as UTF-8 has it
    if ones in (1, 8) or any(byte & 0xC0 != 0x80 for byte in head[5 : 4 + ones]):
        return None
    number = head[4] & 0x7F >> ones
    for byte in head[5 : 4 + ones]:
        number = number << 6 | byte & 0x3F
    place, code = 4 + max(ones, 1), head[2] >> 4
    if code in (6, 7):
        length = int.from_bytes(head[place : place + code - 5], "big") + 1
        place += code - 5
    else:
        length = 192 if code == 1 else 576 << code - 2 if code < 6 else 256 << code - 8
    place += {12: 1, 13: 2, 14: 2}.get(head[2] & 0xF, 0)
    if place >= len(head) or _crc(head[: place + 1], 0x07, 8) != 0:
        return None
    variable = head[1] & 1
    return (number if variable else number * block_size) + length


def _crc(content: bytes, polynomial: int, width: int) -> int:
    """Return a checksum, most significant bit first, from 0; with the checksum at its end, content gives 0."""
    table, mask, crc = _crc_table(polynomial, width), (1 << width) - 1, 0
    for byte in content:
        crc = (crc << 8 & mask) ^ table[crc >> width - 8 ^ byte]
    return crc


@functools.cache
def _crc_table(polynomial: int, width: int) -> list[int]:
    mask, top = (1 << width) - 1, 1 << width - 1
    table = []
    for byte in range(256):
        value = byte << width - 8
        for _ in range(8):
            value = (value << 1 ^ polynomial if value & top else value << 1) & mask
        table.append(value)
    return table


# ---- MP3 ----


def _of_mp3(stream: BinaryIO, start: int) -> tuple[int, bytes] | None:
    stream.seek(start)
    content = stream.read()
    length = _mp3_frame(content[:4])
    first = content[:length]
    tag = next((place for place in map(first.find, (b"Xing", b"Info")) if 0 <= place <= 40), None)
    if tag is None or len(first) < tag + 12 or not first[tag + 7] & 1:  # no number of frames
        return None
    count, place = 0, length  # the first one holds the tag and no sound
    while (length := _mp3_frame(content[place : place + 4])) is not None and place + length <= len(content):
        count, place = count + 1, place + length
    if length is None and not _ends_mp3(content[place:]):
        return None  # something else stands between the frames, behind which there may be more of them
    told = int.from_bytes(first[tag + 8 : tag + 12], "big")
    if count == 0 or told == count:
        return None
    return start + tag + 8, struct.pack(">I", count)


def _ends_mp3(rest: bytes) -> bool:
    return not rest.strip(b"\0") or len(rest) < 4 or rest.startswith((b"TAG", b"APETAGEX", b"LYRICSBEGIN"))


def _mp3_frame(head: bytes) -> int | None:
    """Return the length in bytes of the frame of layer III that starts here; None if none does."""
    if len(head) < 4 or head[0] != 0xFF or head[1] & 0xE6 != 0xE2:
        return None
    version, bitrate, rate, padding = head[1] >> 3 & 3, head[2] >> 4, head[2] >> 2 & 3, head[2] >> 1 & 1
    if version == 1 or bitrate in (0, 15) or rate == 3:  # 0: a length that the header does not say
        return None
    is_first = version == 3
    return (144 if is_first else 72) * _BITRATES[is_first][bitrate] * 1000 // _RATES[version][rate] + padding
