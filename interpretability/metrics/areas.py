"""Masks of an exact area: the highest scores of each clip, as many as are asked for."""

import math

import torch
from torch import Tensor

from interpretability.metrics.ranking import rounded
from interpretability.metrics.sparsity import ascending, hide_padding


def keep_top(scores: Tensor, valid: Tensor, area: float | Tensor) -> Tensor:
    """Return a mask of ones on exactly ceil(area * n) of the n valid bins with the highest scores.

    Parameters
    ----------
    scores : Tensor [B, T, F]
        On any scale; compared relative to the clip's largest absolute value, as :mod:`.ranking` says.
    valid : Tensor [B, T], bool
    area : float or Tensor [B], in [0, 1]
        One for all clips, or one for each.

    Returns
    -------
    Tensor [B, T, F]
        Zeros and ones; the count is exact on ties too (earlier frames first, then lower bins).

    Raises
    ------
    ValueError
        If an area lies outside [0, 1], or there are not as many as clips.

    Examples
    --------
    >>> keep_top(torch.ones(1, 2, 5), torch.ones(1, 2, dtype=torch.bool), 0.25).sum()
    tensor(3.)
    """
    areas = area.tolist() if isinstance(area, Tensor) and area.ndim else [float(area)] * len(scores)
    if len(areas) != len(scores) or not all(0 <= a <= 1 for a in areas):
        raise ValueError(f"areas are {areas}, expected {len(scores)} numbers in [0, 1]: one for each clip")
    n_valid = (valid.sum(dim=1) * scores.shape[2]).tolist()
    # Rounding before the ceiling: 0.2 * 10 is 2, not the next integer after 2.0000000001.
    counts = [math.ceil(round(a * n, 6)) for a, n in zip(areas, n_valid, strict=True)]
    ranked = rounded(scores, valid, relative=True)
    return keep_count(ranked, valid, torch.tensor(counts, device=scores.device)).to(scores.dtype)


def keep_count(scores: Tensor, valid: Tensor, count: Tensor) -> Tensor:
    """Return a mask of ones on exactly ``count`` of the valid bins of each clip, those with the highest scores.

    Parameters
    ----------
    scores : Tensor [B, T, F]
        As :func:`.rounded` gives them: compared as they are.
    valid : Tensor [B, T], bool
    count : Tensor [B], int64
        From 0 to the number of valid bins of the clip.

    Returns
    -------
    Tensor [B, T, F]
        Zeros and ones; of equal scores, earlier frames first, then lower bins.

    Examples
    --------
    >>> keep_count(torch.tensor([[[1.0, 3.0, 1.0]]]), torch.tensor([[True]]), torch.tensor([2])).tolist()
    [[[1.0, 1.0, 0.0]]]
    """
    flat = hide_padding(scores.detach(), valid, -float("inf")).flatten(1)  # [B, T*F]
    last = flat.shape[1] - 1
    # Sorting values and filling up the ties is some ten times faster than a stable sort of indices.
    threshold = ascending(flat).gather(1, (last + 1 - count).clamp(max=last)[:, None])  # [B, 1]
    above, tied = flat > threshold, flat == threshold
    missing = count[:, None] - above.sum(dim=1, keepdim=True)  # [B, 1]
    kept = above | (tied & (tied.cumsum(dim=1, dtype=torch.int32) <= missing))
    return kept.to(scores.dtype).view_as(scores)
