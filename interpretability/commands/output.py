"""What a command prints about results: sentences for people, or one line of JSON per result and nothing else."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator, Mapping
from typing import Any, TextIO

from tqdm import tqdm

from interpretability.report.explained import json_line


class Output:
    """Standard output of a command.

    Parameters
    ----------
    json_lines : TextIO, optional
        Where rows go, each as one line; without it sentences are printed, and rows are not.
    """

    def __init__(self, json_lines: TextIO | None = None):
        self._json_lines = json_lines

    def say(self, text: str) -> None:
        """Print sentences, unless rows are printed."""
        if self._json_lines is None:
            print(text)

    def emit(self, row: Mapping[str, Any]) -> None:
        """Print a row at once, if rows are printed: whoever reads it need not wait for the next."""
        if self._json_lines is not None:
            with tqdm.external_write_mode():
                print(json_line(row), file=self._json_lines, flush=True)


@contextlib.contextmanager
def output(as_json: bool) -> Iterator[Output]:
    """Give the standard output to rows of JSON alone, if that is asked for: whatever else prints goes to stderr."""
    if not as_json:
        yield Output()
        return
    stream = sys.stdout
    with contextlib.redirect_stdout(sys.stderr):
        yield Output(stream)
