"""How small and how concentrated a mask is. No classifier is involved.

Conventions: ``mask`` [B, T, F] is taken by absolute value, ``m = |M|``, in float64, over the ``n`` bins of the valid
frames (``valid`` [B, T], True where the clip is and False where padding is; None: all frames). One value per clip,
which depends neither on padding nor on the other clips of the batch.

A mask that is 0 everywhere has no distribution: its sparseness and complexity are NaN, which means *undefined*. Reports
count such clips; they neither drop them silently nor take them for 0.
"""

import numpy as np
import torch
from torch import Tensor

from interpretability.metrics.registry import metric


@metric("sps", "SPS", better="high", range="[0, 1 - 1/n]")
def sparseness(mask: Tensor, valid: Tensor | None = None) -> Tensor:
    """Sparseness (SPS): the Gini index of the mask.

    ``sum_i (2i - n - 1) m_(i) / (n sum m)``, with ``m_(1) <= ... <= m_(n)``. In [0, 1 - 1/n], higher is better: 0 for
    a constant mask, ``1 - 1/n`` for a single bin. Source: Chalasani et al., arXiv 1810.06583; used in arXiv 2403.13086.

    Parameters
    ----------
    mask : Tensor [B, T, F]
        Any finite values, also in the padding.
    valid : Tensor [B, T] of bool, optional
        The frames that belong to the clip.

    Returns
    -------
    Tensor [B], float64
        NaN where the mask is 0 on all valid bins.

    Raises
    ------
    ValueError
        If the mask is not finite, a shape does not fit, or a clip has no valid frame.

    Examples
    --------
    >>> sparseness(torch.tensor([[[0.0, 0.0, 0.0, 1.0]], [[0.5, 0.5, 0.5, 0.5]]])).tolist()
    [0.75, 0.0]
    """
    m, n = _flat(mask, valid)
    bins = m.shape[1]
    m = ascending(m).double()
    # Invalid bins are zeros and so come first: they add nothing, but shift every rank by their number.
    rank = torch.arange(1, bins + 1, dtype=torch.float64, device=m.device)
    total = m.sum(dim=1)
    weighted = 2.0 * (m @ rank) - (2.0 * (bins - n) + n + 1.0) * total
    gini = weighted / (n * _defined(total))
    return torch.minimum(gini.clamp(min=0.0), 1.0 - 1.0 / n)  # rounding can leave the range by 1e-16; NaN stays NaN


@metric("comp", "COMP", better="low", range="[0, ln n]", unit="nats")
def complexity(mask: Tensor, valid: Tensor | None = None) -> Tensor:
    """Complexity (COMP): the entropy of the mask taken as a distribution over bins, in nats.

    ``-sum_i P_i ln P_i`` with ``P = m / sum m``. In [0, ln n], lower is better: 0 for a single bin, ``ln n`` for a
    constant mask. Source: Bhatt et al., arXiv 2005.00631; used in arXiv 2403.13086.

    Parameters
    ----------
    mask : Tensor [B, T, F]
        Any finite values, also in the padding.
    valid : Tensor [B, T] of bool, optional
        The frames that belong to the clip.

    Returns
    -------
    Tensor [B], float64
        NaN where the mask is 0 on all valid bins.

    Raises
    ------
    ValueError
        If the mask is not finite, a shape does not fit, or a clip has no valid frame.

    Examples
    --------
    >>> complexity(torch.tensor([[[0.0, 0.0, 0.0, 1.0]], [[0.5, 0.5, 0.5, 0.5]]])).numpy().round(4).tolist()
    [0.0, 1.3863]
    """
    m, n = _flat(mask, valid)
    return _entropy(m, n)


@metric("comp_rel", "COMP / ln n", better="low", range="[0, 1]")
def relative_complexity(mask: Tensor, valid: Tensor | None = None) -> Tensor:
    """Complexity as a share of the largest possible one, so that clips of different lengths compare.

    ``COMP / ln n``, in [0, 1], lower is better; 0 for n = 1, where COMP is 0 whatever the mask.

    Parameters
    ----------
    mask : Tensor [B, T, F]
        Any finite values, also in the padding.
    valid : Tensor [B, T] of bool, optional
        The frames that belong to the clip.

    Returns
    -------
    Tensor [B], float64
        NaN where the mask is 0 on all valid bins.

    Raises
    ------
    ValueError
        If the mask is not finite, a shape does not fit, or a clip has no valid frame.

    Examples
    --------
    >>> relative_complexity(torch.tensor([[[0.5, 0.5, 0.0, 0.0]]])).tolist()
    [0.5]
    """
    m, n = _flat(mask, valid)
    return _relative(_entropy(m, n), n)


@metric("kept_area", "kept area", better="none", range="[0, 1]")
def kept_area(mask: Tensor, valid: Tensor | None = None) -> Tensor:
    """Kept area: the mean of the mask over the valid bins.

    In [0, 1]; neither direction is better. It says at which size the other metrics were measured.

    Parameters
    ----------
    mask : Tensor [B, T, F]
        Values in [0, 1] on the valid bins.
    valid : Tensor [B, T] of bool, optional
        The frames that belong to the clip.

    Returns
    -------
    Tensor [B], float64
        0 for a mask of zeros.

    Raises
    ------
    ValueError
        If the mask is not finite or leaves [0, 1], a shape does not fit, or a clip has no valid frame.

    Examples
    --------
    >>> kept_area(torch.tensor([[[1.0, 0.0], [1.0, 1.0]]]), torch.tensor([[True, False]])).tolist()
    [0.5]
    """
    check_range(mask, valid)
    m, n = _flat(mask, valid)
    return (m.sum(dim=1, dtype=torch.float64) / n).clamp(max=1.0)


def check_range(mask: Tensor, valid: Tensor | None = None) -> None:
    """Raise ValueError unless the mask is finite, and within [0, 1] (to 1e-6) on the valid bins.

    Examples
    --------
    >>> check_range(torch.tensor([[[2.0]]]))
    Traceback (most recent call last):
        ...
    ValueError: mask lies in [2, 2], expected [0, 1]: scale it per clip first
    """
    valid = check_mask(mask, valid)
    low, high = (extreme.item() for extreme in torch.aminmax(hide_padding(mask, valid, 0.5)))
    if low < -1e-6 or high > 1 + 1e-6:
        raise ValueError(f"mask lies in [{low:.4g}, {high:.4g}], expected [0, 1]: scale it per clip first")


def _entropy(m: Tensor, n: Tensor) -> Tensor:
    m = m.double()
    share = m / _defined(m.sum(dim=1))[:, None]
    entropy = torch.special.entr(share).sum(dim=1)  # entr(0) = 0
    return torch.minimum(entropy.clamp(min=0.0), torch.log(n))


def _relative(entropy: Tensor, n: Tensor) -> Tensor:
    """COMP / ln n; the divisor 1 in place of ln 1 = 0 leaves COMP = 0 (or undefined) as it is."""
    return entropy / torch.log(n).masked_fill(n == 1, 1.0)


def _defined(total: Tensor) -> Tensor:
    return total.masked_fill(total == 0, float("nan"))


def _flat(mask: Tensor, valid: Tensor | None) -> tuple[Tensor, Tensor]:
    """``|M|`` with 0 on invalid bins [B, T*F], float32 or float64, and the number of valid bins [B], float64."""
    valid = check_mask(mask, valid)
    m = mask.detach()
    if m.dtype not in (torch.float32, torch.float64):
        m = m.float()
    m = m.abs()
    batch, frames, bands = m.shape
    if valid is None:
        n = torch.full((batch,), float(frames * bands), dtype=torch.float64, device=m.device)
    else:
        m = hide_padding(m, valid)
        n = valid.sum(dim=1).double() * bands
    return m.reshape(batch, frames * bands), n  # [B, T*F], [B]


def check_mask(mask: Tensor, valid: Tensor | None = None, name: str = "mask") -> Tensor | None:
    """Return ``valid`` if it and the mask (or another [B, T, F]) fit, and the mask is finite; ValueError otherwise."""
    if mask.ndim != 3 or 0 in mask.shape:
        raise ValueError(f"{name} has shape {list(mask.shape)}, expected [B, T, F] with no empty axis")
    # A mask with a value that is not finite has an extreme that is not finite, found in a twentieth of the time.
    if not all(bool(torch.isfinite(extreme)) for extreme in torch.aminmax(mask.detach())):
        bad = (~torch.isfinite(mask)).flatten(1).any(dim=1).nonzero()[:, 0].tolist()
        raise ValueError(f"{name} is not finite in clips {bad} of the batch: the method that produced it failed")
    if valid is None:
        return None
    if valid.dtype != torch.bool or valid.shape != mask.shape[:2]:
        raise ValueError(
            f"valid is {valid.dtype} of shape {list(valid.shape)}, expected bool of shape {list(mask.shape[:2])}"
        )
    if not bool(valid.any(dim=1).all()):
        empty = (~valid.any(dim=1)).nonzero()[:, 0].tolist()
        raise ValueError(f"clips {empty} of the batch have no valid frame")
    return valid


def hide_padding(values: Tensor, valid: Tensor | None, fill: float = 0.0) -> Tensor:
    """Return values [B, T, F] with ``fill`` on the frames that are not valid; the same tensor if all are.

    Examples
    --------
    >>> hide_padding(torch.ones(1, 2, 1), torch.tensor([[True, False]])).tolist()
    [[[1.0], [0.0]]]
    """
    if valid is None or bool(valid.all()):
        return values
    return values.masked_fill(~valid[:, :, None], fill)


def ascending(rows: Tensor) -> Tensor:
    """Return each row of [B, n] in ascending order.

    On the CPU, NumPy sorts values some 20 times faster than torch does with indices.

    Examples
    --------
    >>> ascending(torch.tensor([[2.0, 1.0, 3.0]])).tolist()
    [[1.0, 2.0, 3.0]]
    """
    if rows.device.type == "cpu" and rows.dtype != torch.bfloat16:
        return torch.from_numpy(np.sort(rows.numpy(), axis=1))
    return torch.sort(rows, dim=1).values
