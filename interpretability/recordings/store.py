"""What is known of the windows of a recording, kept on disk as it comes, so that an interrupted run goes on from there.

Two journals and a folder of masks. Each row and each mask carries what it is of; one that is cut off, damaged, or of
another recording, model or setting does not count.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from interpretability.files import atomic_path

#: Journals of the windows that were classified and explained, and the folder of masks.
KNOWN = WINDOWS, EXPLAINED, MASKS = ("windows.jsonl", "explained.jsonl", "masks")


def identity_of(parts: Any) -> str:
    """Return 64 hex digits that identify settings and hashes: plain values."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode()).hexdigest()


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
