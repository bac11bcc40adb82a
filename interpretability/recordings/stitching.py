"""Masks of windows as one sound: blended in the spectrogram, made into sound block by block, without seams.

What a window's mask keeps depends on the window's level, as that of a clip does; it is brought back to the level of the
recording before windows are blended. A block is analysed with so much of what lies around it that its samples are those
of one inverse transform of the whole recording.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from interpretability.errors import UserError
from interpretability.frontend import Frontend, apply_mask
from interpretability.recordings.windows import Blend, Span

#: Length of a block that is made into sound at a time, in s.
BLOCK_SECONDS = 10.0


@dataclass(frozen=True)
class Block:
    """A part of a recording: ``span``, its samples ``input`` [n], and what is kept of them, ``explanation`` [n]."""

    span: Span
    input: Tensor
    explanation: Tensor


class Stitcher:
    """One explanation of a recording from those of its windows.

    Parameters
    ----------
    frontend : Frontend
    apply : {"log", "linear"}
        Domain of the masks.
    spans : sequence of Span [W]
        The windows that have an explanation, in order.
    gains : sequence of float [W]
        What the level rule divided each by.
    mask_of : callable
        From the position of a window in ``spans`` to its mask [T, F].
    """

    def __init__(
        self,
        frontend: Frontend,
        apply: str,
        spans: Sequence[Span],
        gains: Sequence[float],
        mask_of: Callable[[int], np.ndarray],
    ):
        self._frontend, self._apply, self._blend = frontend, apply, Blend(spans)
        self._gains, self._mask_of = list(gains), mask_of
        self._masks: dict[int, Tensor] = {}
        settings = frontend.settings
        self._unit = settings.hop_length
        # Frames whose window leaves the block have another spectrum, and every sample is made of those around it.
        self._around = (math.ceil(settings.n_fft / self._unit) + 1) * self._unit
        self._length = max(1, round(BLOCK_SECONDS * settings.sample_rate / self._unit)) * self._unit

    def blocks(self, samples: Iterable[Tensor], n_samples: int) -> Iterator[Block]:
        """Yield the recording, which comes in blocks [n] of ``n_samples`` in all, with its explanation, in order.

        Raises
        ------
        UserError
            If there are fewer samples: the recording was changed meanwhile.
        """
        held, origin, begin = torch.empty(0), 0, 0
        for part in samples:
            held = torch.cat([held, part])
            while begin < n_samples:
                end = min(begin + self._length, n_samples)
                reach = min(end + self._around, n_samples)
                if origin + len(held) < reach:
                    break
                first = max(0, begin - self._around)
                yield self._block(Span(begin, end), held[first - origin : reach - origin], first)
                begin = end
            kept = min(max(origin, begin - self._around), origin + len(held))
            held, origin = held[kept - origin :].clone(), kept
        if begin < n_samples:
            raise UserError("the recording has become shorter while it was read: run it again when it is complete")

    def _block(self, span: Span, wav: Tensor, first: int) -> Block:
        """Explain the samples of ``span`` from ``wav``, which begins at sample ``first`` and reaches around them."""
        inner = slice(span.start - first, span.stop - first)
        near = self._blend.near(first, first + len(wav))
        self._masks = {index: mask for index, mask in self._masks.items() if index in near}
        if not near:
            return Block(span, wav[inner], torch.zeros(len(span)))
        spectrogram = self._frontend.analyse(wav[None])
        kept = self._kept(spectrogram.magnitude[0], near, first)
        return Block(span, wav[inner], self._frontend.resynthesise(spectrogram, kept[None])[0, inner])

    def _kept(self, magnitude: Tensor, near: Sequence[int], first: int) -> Tensor:
        """Return what the masks keep of a magnitude [T, F] whose frames begin at sample ``first``."""
        places = first + self._unit * np.arange(len(magnitude))
        kept, total = torch.zeros_like(magnitude), torch.zeros(len(magnitude), 1)
        for index in near:
            if index not in self._masks:
                self._masks[index] = torch.from_numpy(self._mask_of(index))
            mask, start = self._masks[index], (self._blend.spans[index].start - first) // self._unit
            here = slice(max(0, start), min(len(magnitude), start + len(mask)))
            if here.start >= here.stop:
                continue
            weight = torch.from_numpy(self._blend.weight(index, places[here])).float()[:, None]
            part = mask[here.start - start : here.stop - start]
            gain = self._gains[index]
            kept[here] += weight * gain * apply_mask(magnitude[here] / gain, part, self._apply)
            total[here] += weight
        return torch.where(total > 0, kept / total.clamp(min=1e-12), torch.zeros_like(kept))
