"""Padded batches, where a clip gives what it gives alone: clips of one length at a time, means over valid frames."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch
from torch import Tensor
from torch.nn import functional


def groups_of_equal_length(valid: Tensor | None, batch_size: int) -> Iterator[tuple[Tensor, int | None]]:
    """Yield (indices of clips, their number of valid frames) for each length in the batch.

    Networks that cannot hide padding layer by layer run once for each length, so that a padded clip gives what it
    gives alone.
    """
    if valid is None or bool(valid.all()):
        yield torch.arange(batch_size, device=None if valid is None else valid.device), None
        return
    counts = valid.sum(dim=1)
    for count in counts.unique().tolist():
        yield (counts == count).nonzero()[:, 0], int(count)


def reassemble(indices: Sequence[Tensor], parts: Sequence[Tensor], axis: int, size: int | None = None) -> Tensor:
    """Put the groups of a batch together again that ran alone, by length.

    Parameters
    ----------
    indices : sequence of Tensor [b]
        Places in the batch of each group's clips; every place once.
    parts : sequence of Tensor
        What came of each group, [b, …], clips along the first axis; sizes may differ along ``axis`` alone.
    axis : int
        Axis of time, counted from 0.
    size : int, optional
        Wanted along it; that of the longest part if not given.

    Returns
    -------
    Tensor
        In the batch's order, with zeros after the end of shorter parts.
    """
    size = max(part.shape[axis] for part in parts) if size is None else size
    # functional.pad counts axes from the last one.
    filled = [functional.pad(part, (0, 0) * (part.ndim - 1 - axis) + (0, size - part.shape[axis])) for part in parts]
    return torch.cat(filled)[torch.cat(tuple(indices)).argsort()]


def mean_over_valid(values: Tensor, valid: Tensor) -> Tensor:
    """Return the mean of [B, T, F] over the valid bins of each clip, [B]."""
    weights = valid[..., None].to(values.dtype)
    return (values * weights).sum((1, 2)) / (weights.sum((1, 2)) * values.shape[2])
