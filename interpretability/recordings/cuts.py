"""Short sounds that are cut out of a recording while it passes by."""

from __future__ import annotations

from pathlib import Path

import torch

from interpretability.data.audio import write_wav
from interpretability.recordings.stitching import Block
from interpretability.recordings.windows import Span


class Cut:
    """The recording in a span, and what is kept of it, as two sounds.

    Parameters
    ----------
    span : Span
        At least one sample.
    gain : float
        What both are divided by.
    input_path, explanation_path : Path
        Where to; written when the last sample has passed.
    sample_rate : int
        In Hz.
    """

    def __init__(self, span: Span, gain: float, input_path: Path, explanation_path: Path, sample_rate: int):
        self.span, self._gain, self._rate = span, gain, sample_rate
        self._paths, self._parts = (input_path, explanation_path), ([], [])
        self._left = len(span)

    def add(self, block: Block) -> None:
        """Take what the next block of the recording has of it."""
        if self._left == 0 or not self.span.overlaps(block.span):
            return
        here = slice(
            max(self.span.start, block.span.start) - block.span.start,
            min(self.span.stop, block.span.stop) - block.span.start,
        )
        for parts, wav in zip(self._parts, (block.input, block.explanation), strict=True):
            parts.append(wav[here].clone())
        self._left -= here.stop - here.start
        if self._left == 0:
            for path, parts in zip(self._paths, self._parts, strict=True):
                write_wav(path, torch.cat(parts) / self._gain, self._rate)
                parts.clear()
