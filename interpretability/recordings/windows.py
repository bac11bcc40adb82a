"""Windows of a recording: where they lie, how they are cut while it is read, and how what they say is blended.

Windows begin on the grid of the front end's frames, so that frame i of a window is a frame of the whole recording. The
last one ends with the recording. Where two windows overlap, the first quarter of the overlap belongs to the earlier one
alone and the last quarter to the later one; in between, the weight passes from one to the other in a straight line. So
whatever a window says within a quarter of the overlap from its edges, where it lacks what lies beyond, is not used.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from interpretability.data.inputs import LONGEST, SHORTEST
from interpretability.errors import UserError
from interpretability.frontend import FrontendSettings

#: Length of a window in seconds, where the model does not say how long the clips of its training were.
DEFAULT_SECONDS = 5.0


@dataclass(frozen=True)
class Span:
    """The samples ``start`` to ``stop`` of a recording."""

    start: int
    stop: int

    def __len__(self) -> int:
        return self.stop - self.start

    def overlaps(self, other: Span) -> bool:
        """Return whether they have a sample in common."""
        return self.start < other.stop and other.start < self.stop


@dataclass(frozen=True)
class WindowPlan:
    """How long windows are, and how far apart.

    Attributes
    ----------
    length : int
        Samples.
    hop : int
        Samples, a multiple of ``unit``, at most ``length``.
    unit : int
        Hop of the front end, in samples: windows begin at multiples of it.
    """

    length: int
    hop: int
    unit: int

    @classmethod
    def of(cls, frontend: FrontendSettings, seconds: float, hop_seconds: float | None = None) -> WindowPlan:
        """Make a plan; the hop is half a window if none is given.

        Raises
        ------
        UserError
            For a window outside 0.1 to 60 s, or a hop outside 0.01 s to the length of a window.
        """
        if not SHORTEST <= seconds <= LONGEST:
            raise UserError(f"window is {seconds:g} s, expected {SHORTEST:g} to {LONGEST:g} s")
        hop_seconds = seconds / 2 if hop_seconds is None else hop_seconds
        if not 0.01 <= hop_seconds <= seconds:
            raise UserError(f"hop is {hop_seconds:g} s, expected 0.01 s to the length of a window, {seconds:g} s")
        unit, rate = frontend.hop_length, frontend.sample_rate
        length = round(seconds * rate)
        hop = max(1, round(hop_seconds * rate / unit)) * unit
        return cls(length, hop if hop <= length else length // unit * unit or unit, unit)

    def cut(self, blocks: Iterable[Tensor]) -> Iterator[tuple[Span, Tensor]]:
        """Yield the windows of a recording that comes in blocks [n], with their samples [N].

        A recording that is shorter than a window is one window. The last window is up to ``unit - 1`` samples shorter
        than the others.
        """
        held, origin, begin, covered = torch.empty(0), 0, 0, 0
        for block in blocks:
            held = torch.cat([held, block])
            total = origin + len(held)
            while begin + self.length <= total:
                covered = begin + self.length
                yield Span(begin, covered), held[begin - origin : covered - origin]
                begin += self.hop
            # The recording may end before the next window is full: the last one then reaches back.
            first = max(origin, min(begin, total - self.length))
            held, origin = held[first - origin :].clone(), first
        total = origin + len(held)
        if covered < total:
            begin = math.ceil(max(0, total - self.length) / self.unit) * self.unit
            yield Span(begin, total), held[begin - origin :]


class Blend:
    """How much each window counts at a place; between two that do not overlap there is nothing.

    Parameters
    ----------
    spans : sequence of Span
        In order.
    """

    def __init__(self, spans: Sequence[Span]):
        self.spans = list(spans)

    def weight(self, index: int, places: np.ndarray) -> np.ndarray:
        """Return the weight of a window at places [P] in samples, in [0, 1]; 0 outside of it."""
        span = self.spans[index]
        weight = ((places >= span.start) & (places <= span.stop)).astype(np.float64)
        for other in self.spans[max(0, index - 1) : index]:
            overlap = other.stop - span.start
            if overlap > 0:
                weight *= np.clip((places - span.start - overlap / 4) / (overlap / 2), 0, 1)
        for other in self.spans[index + 1 : index + 2]:
            overlap = span.stop - other.start
            if overlap > 0:
                weight *= np.clip((span.stop - overlap / 4 - places) / (overlap / 2), 0, 1)
        return weight

    def near(self, start: int, stop: int) -> list[int]:
        """Return the windows that reach into the samples ``start`` to ``stop``."""
        return [index for index, span in enumerate(self.spans) if span.overlaps(Span(start, stop))]

    def average(self, values: np.ndarray, places: np.ndarray) -> np.ndarray:
        """Return the weighted mean [P, C] of what windows say, [W, C], at places [P]; NaN where there is no window."""
        total, sums = np.zeros(len(places)), np.zeros((len(places), values.shape[1]))
        for index, span in enumerate(self.spans):
            first, last = np.searchsorted(places, [span.start, span.stop + 1])
            weight = self.weight(index, places[first:last])
            total[first:last] += weight
            sums[first:last] += weight[:, None] * values[index]
        with np.errstate(invalid="ignore"):
            return sums / total[:, None]
