"""What is known of the windows of a recording, kept on disk as it comes, so that an interrupted run goes on from there.

A file of lines and a folder of masks. Each line and each mask carries what it is of; one that is cut off, damaged, or
of another recording, model or setting does not count.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from interpretability.files import atomic_path, write_text

#: Lines about windows that were classified and explained, and the folder of masks.
KNOWN = WINDOWS, EXPLAINED, MASKS = ("windows.jsonl", "explained.jsonl", "masks")
_ROW = re.compile(rb'\{"digest": "([0-9a-f]{16})", "row": (\{.*\})\}')


def identity_of(parts: Any) -> str:
    """Return 64 hex digits that identify settings and hashes: plain values."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()


class Lines:
    """A file of JSON objects, one per line, that grows.

    Parameters
    ----------
    path : Path
    identity : str
        What the lines are of: others in the file are left alone.

    Attributes
    ----------
    rows : list of dict
        The whole lines of this identity, in order; :meth:`append` adds to them.
    """

    def __init__(self, path: Path, identity: str):
        self.path, self._identity, self.rows = Path(path), identity, []
        content = self.path.read_bytes() if self.path.is_file() else b""
        for line in content.split(b"\n")[:-1]:  # a line without an end was cut off
            match = _ROW.fullmatch(line)
            if match and match[1].decode() == self._digest(match[2]):
                self.rows.append(json.loads(match[2]))
        if content and not content.endswith(b"\n"):
            write_text(self.path, content[: content.rfind(b"\n") + 1].decode("utf-8", "replace"))

    def append(self, rows: Sequence[dict[str, Any]]) -> None:
        """Add rows to the file."""
        lines = []
        for row in rows:
            text = json.dumps(row)
            lines.append(f'{{"digest": "{self._digest(text.encode())}", "row": {text}}}\n')
        with open(self.path, "a", encoding="utf-8") as stream:
            stream.write("".join(lines))
        self.rows += rows

    def _digest(self, text: bytes) -> str:
        return hashlib.sha256(self._identity.encode() + text).hexdigest()[:16]


class Masks:
    """Masks of windows, a file each: half precision, compressed.

    Parameters
    ----------
    folder : Path
    identity : str
        What they are of.
    """

    def __init__(self, folder: Path, identity: str):
        self.folder, self._identity = Path(folder), identity

    def path(self, start: int) -> Path:
        """Return the file of the window that begins at a sample."""
        return self.folder / f"{start:012d}.npz"

    def write(self, start: int, mask: np.ndarray) -> None:
        """Keep a mask [T, F]."""
        with atomic_path(self.path(start)) as temporary:
            np.savez_compressed(temporary, mask=mask.astype(np.float16), identity=np.array(self._identity))

    def read(self, start: int) -> np.ndarray | None:
        """Return a mask [T, F], float32; None if it is not there, damaged, or of something else."""
        try:
            with np.load(self.path(start), allow_pickle=False) as file:
                mask, identity = file["mask"], str(file["identity"])
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error):
            return None
        return mask.astype(np.float32) if identity == self._identity else None


def link_or_copy(source: str, target: str) -> None:
    """Give a file that is never changed another name, or copy it where the file system has one name for a file."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)
