"""What lies in a folder that the client of Xet takes for a store, ``local://FOLDER``: its shard files say it."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path

#: Bytes of a shard's header, and of whatever follows; what ends the part about files.
_HEADER, _ENTRY, _END = 48, 48, b"\xff" * 32
#: Of a file: a check of each of its segments follows; its SHA-256 follows.
_CHECKED, _HASHED = 1 << 31, 1 << 30


def stored_files(store: Path) -> dict[str, tuple[str, int]]:
    """Return SHA-256 -> hash that Xet gives a file, and its size in bytes."""
    return {key: known for path in store.rglob("shards/*.mdb") for key, known in _files_of(path.read_bytes())}


def _files_of(shard: bytes) -> Iterator[tuple[str, tuple[str, int]]]:
    place = _HEADER
    while (name := shard[place : place + 32]) != _END:
        flags, segments = struct.unpack("<II", shard[place + 32 : place + 40])
        place += _ENTRY
        size = sum(
            struct.unpack("<I", shard[start + 36 : start + 40])[0]
            for start in range(place, place + segments * _ENTRY, _ENTRY)
        )
        place += segments * _ENTRY * (2 if flags & _CHECKED else 1)
        if flags & _HASHED:
            yield _hexadecimal(shard[place : place + 32]), (_hexadecimal(name), size)
            place += _ENTRY


def _hexadecimal(name: bytes) -> str:
    return "".join(f"{word:016x}" for word in struct.unpack("<4Q", name))
