"""What a job that may be interrupted has done so far: lines of JSON, each recognised as one of this very job."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from interpretability.files import write_text

#: A line without its end.
_LINE = re.compile(rb'\{"digest": "([0-9a-f]{16})", "row": (\{.*\})\}')


class Journal:
    """A file of rows that is appended to.

    Parameters
    ----------
    path : path
    identity : str
        Of the job: rows of another one do not count.
    """

    def __init__(self, path: str | Path, identity: str):
        self.path, self.identity = Path(path), identity

    def read(self) -> list[dict[str, Any]]:
        """Return the rows in the file; a line that is cut off, damaged, or of another job is none."""
        if not self.path.is_file():
            return []
        *whole, _ = self.path.read_bytes().split(b"\n")  # a line without an end was cut off
        matches = [match for match in map(_LINE.fullmatch, whole) if match]
        return [json.loads(match[2]) for match in matches if match[1].decode() == self._digest(match[2])]

    def write(self, rows: Iterable[dict[str, Any]]) -> None:
        """Put these rows in the place of all others, atomically."""
        write_text(self.path, "".join(map(self._line, rows)))

    def append(self, rows: Iterable[dict[str, Any]]) -> None:
        """Add rows at the end; a line that was cut off there goes."""
        with open(self.path, "ab+") as stream:
            if stream.tell():
                stream.seek(-1, os.SEEK_END)
                if stream.read(1) != b"\n":
                    stream.truncate(self.path.read_bytes().rfind(b"\n") + 1)
            stream.write("".join(map(self._line, rows)).encode())

    def remove(self) -> None:
        """Remove the file, if there is one."""
        self.path.unlink(missing_ok=True)

    def _line(self, row: dict[str, Any]) -> str:
        text = json.dumps(row)
        return f'{{"digest": "{self._digest(text.encode())}", "row": {text}}}\n'

    def _digest(self, text: bytes) -> str:
        return hashlib.sha256(self.identity.encode() + text).hexdigest()[:16]
