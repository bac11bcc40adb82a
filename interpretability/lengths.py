"""Padded batches in which each clip gives what it gives alone: groups of one length, means over valid frames."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional


class LengthGroups:
    """The clips of a batch, grouped by length: what runs group by group sees no padding.

    Parameters
    ----------
    lengths : Tensor [B], integer
        Length of each clip, in the unit that :meth:`run` cuts by. If all are equal, the batch itself is the one group.

    Example
    -------
    >>> groups = LengthGroups(torch.tensor([3, 2, 3]))
    >>> values = torch.ones(3, 4)
    >>> groups.join(groups.run(lambda index, length: values[index, :length]), axis=1, size=4)
    tensor([[1., 1., 1., 0.],
            [1., 1., 0., 0.],
            [1., 1., 1., 0.]])
    """

    def __init__(self, lengths: Tensor):
        sizes = lengths.unique().tolist()
        if len(sizes) == 1:
            self._groups: list[tuple[Tensor | slice, int]] = [(slice(None), sizes[0])]
        else:
            self._groups = [((lengths == size).nonzero()[:, 0], size) for size in sizes]

    @classmethod
    def of_frames(cls, valid: Tensor, together: bool = False) -> LengthGroups:
        """Group clips by their valid frames [B, T]; ``together``: as one group of T frames, as training needs it."""
        return cls(valid.new_full(valid.shape[:1], valid.shape[1], dtype=torch.int64) if together else valid.sum(1))

    def run(self, function: Callable[[Tensor | slice, int], Any]) -> list[Any]:
        """Call ``function(index, length)`` for each group; ``index`` selects its clips from the batch."""
        return [function(index, length) for index, length in self._groups]

    def join(self, parts: Sequence[Tensor], axis: int = 0, size: int | None = None) -> Tensor:
        """Join the results of the groups, in the order of the batch.

        Parameters
        ----------
        parts : sequence of Tensor [b, …]
            One for each group, clips along the first axis; sizes may differ along ``axis`` alone.
        axis : int
            Axis of time, counted from 0; 0 where there is none.
        size : int, optional
            Size along ``axis``; that of the longest part if not given.

        Returns
        -------
        Tensor [B, …]
            With zeros after the end of shorter parts.
        """
        if axis:
            size = max(part.shape[axis] for part in parts) if size is None else size
            parts = [_padded(part, axis, size) for part in parts]
        if len(self._groups) == 1:
            return parts[0]
        return torch.cat(list(parts))[torch.cat([index for index, _ in self._groups]).argsort()]


def _padded(values: Tensor, axis: int, size: int) -> Tensor:
    # functional.pad counts axes from the last one.
    return functional.pad(values, (0, 0) * (values.ndim - 1 - axis) + (0, size - values.shape[axis]))


def none_hidden(valid: Tensor | None) -> bool:
    """Return whether it is known that no position of a batch is padding, so that hiding it can be left out.

    On other devices than the CPU the answer would have to be waited for, and while a graph is traced it would become
    part of it: there only None says so.
    """
    if valid is None:
        return True
    if valid.device.type != "cpu" or torch.jit.is_tracing() or torch.compiler.is_compiling():
        return False
    return bool(valid.all())


def mean_over_valid(values: Tensor, valid: Tensor) -> Tensor:
    """Return the mean of [B, T, F] over the valid bins of each clip, [B]."""
    weights = valid[..., None].to(values.dtype)
    return (values * weights).sum((1, 2)) / (weights.sum((1, 2)) * values.shape[2])
