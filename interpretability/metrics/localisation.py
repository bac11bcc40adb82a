"""Where an explanation lies, compared with where the labelled sound is known to be.

Conventions: ``truth`` [B, T, F] is ``G = 1[|S_target| > |S_rest|]``, True in the bins where the labelled source is
louder than everything else together (:func:`true_mask`); or those in boxes that people drew (:func:`box_mask`).
``mask`` [B, T, F] is the explanation, and ``valid`` [B, T] is True where the clip is and False where padding is (None:
all frames): what mask, truth and magnitude hold in the padding does not count. One value per clip in float64, in
[0, 1], higher is better; it depends neither on padding nor on the other clips of the batch. NaN means *undefined*. What
ranks bins compares the mask rounded to 5 decimals (:mod:`.ranking`).

These measures do not ask the classifier: an explanation can be faithful to a classifier that listens to something other
than the labelled sound, and is then elsewhere for a good reason.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from interpretability.metrics.areas import keep_count
from interpretability.metrics.ranking import rounded
from interpretability.metrics.registry import metric
from interpretability.metrics.sparsity import check_mask, hide_padding


def true_mask(target_magnitude: Tensor, rest_magnitude: Tensor) -> Tensor:
    """Return the bins in which the target dominates, ``G = 1[|S_target| > |S_rest|]``.

    Parameters
    ----------
    target_magnitude, rest_magnitude : Tensor
        Linear magnitudes [..., T, F] of the target alone and of everything else, of the same shape.

    Returns
    -------
    Tensor
        [..., T, F], bool. Where both are equal (silence) it is False.

    Raises
    ------
    ValueError
        If the shapes differ.

    Examples
    --------
    >>> true_mask(torch.tensor([[2.0, 1.0, 0.0]]), torch.tensor([[1.0, 2.0, 0.0]]))
    tensor([[ True, False, False]])
    """
    if target_magnitude.shape != rest_magnitude.shape:
        raise ValueError(
            f"The magnitudes of target and rest must have one shape, got {tuple(target_magnitude.shape)} and "
            f"{tuple(rest_magnitude.shape)}: analyse both with the same front end."
        )
    return target_magnitude > rest_magnitude


def box_mask(boxes: Iterable[Mapping[str, Any]], times: Tensor, hertz: Tensor) -> Tensor:
    """Return the bins whose centre lies in a box.

    Parameters
    ----------
    boxes : iterable of mappings
        ``start`` and ``end`` in s, ``low`` and ``high`` in Hz; what is absent does not bound it.
    times : Tensor [T]
        Centres of the frames, in s; ascending.
    hertz : Tensor [F]
        Centres of the frequency bins, in Hz; ascending.

    Returns
    -------
    Tensor
        [T, F], bool. A box too thin to hold the centre of a frame, or of a frequency bin, has the nearest one. One that
        lies wholly outside of the frames or bins has none.

    Examples
    --------
    >>> box_mask([{"start": 0.9, "end": 2.1, "low": 110}], torch.arange(4.0), 100 * torch.arange(3.0)).int()
    tensor([[0, 0, 0],
            [0, 0, 1],
            [0, 0, 1],
            [0, 0, 0]], dtype=torch.int32)
    """
    bins = torch.zeros(len(times), len(hertz), dtype=torch.bool, device=times.device)
    for box in boxes:
        rows = _between(times, box.get("start"), box.get("end"))
        bins |= rows[:, None] & _between(hertz, box.get("low"), box.get("high"))
    return bins


def _between(centres: Tensor, low: float | None, high: float | None) -> Tensor:
    """Return which centres lie in a range: of one that lies between two of them, the nearest."""
    low, high = -np.inf if low is None else low, np.inf if high is None else high
    inside = (centres >= low) & (centres <= high)
    if not inside.any() and centres[0] <= high and low <= centres[-1]:
        inside[(centres - (low + high) / 2).abs().argmin()] = True
    return inside


@metric("energy_precision", "energy precision", better="high", range="[0, 1]")
def energy_precision(inside_magnitude: Tensor, truth: Tensor, valid: Tensor | None = None) -> Tensor:
    """Energy precision: the share of the kept energy that lies in the true bins.

    ``sum(In^2 G) / sum(In^2)``, in [0, 1], higher is better; 0 where no bin is true.

    Parameters
    ----------
    inside_magnitude : Tensor [B, T, F]
        Linear magnitude of In, what the mask keeps.
    truth : Tensor [B, T, F] of bool
    valid : Tensor [B, T] of bool, optional
        The frames that belong to the clip.

    Returns
    -------
    Tensor [B], float64
        NaN where nothing is kept.

    Raises
    ------
    ValueError
        If the magnitude is not finite, a shape does not fit, or a clip has no valid frame.

    Examples
    --------
    >>> energy_precision(torch.tensor([[[3.0, 1.0]]]), torch.tensor([[[True, False]]])).tolist()
    [0.9]
    """
    truth, valid = _truth(inside_magnitude, truth, valid, "inside_magnitude")
    energy = _energy(inside_magnitude, valid)
    total = energy.sum(dim=1)
    return (energy * truth.flatten(1)).sum(dim=1) / total.masked_fill(total == 0, float("nan"))


@metric("auroc", "AUROC", better="high", range="[0, 1]")
def energy_weighted_auroc(mask: Tensor, truth: Tensor, magnitude: Tensor, valid: Tensor | None = None) -> Tensor:
    """Energy-weighted AUROC: how well the mask ranks true bins above the others, each bin weighing its energy.

    ``sum_ij w_i w_j (1[m_i > m_j] + 1[m_i = m_j] / 2) / (sum_i w_i sum_j w_j)`` over true bins i and other bins j, with
    ``w = A^2``: the area under the receiver operating characteristic, exact on ties. In [0, 1], higher is better; 0.5
    for a constant mask.

    Parameters
    ----------
    mask : Tensor [B, T, F]
        Any finite values; rounded to 5 decimals, the order is all that counts.
    truth : Tensor [B, T, F] of bool
    magnitude : Tensor [B, T, F]
        Linear magnitude ``A`` of the unmasked input.
    valid : Tensor [B, T] of bool, optional
        The frames that belong to the clip.

    Returns
    -------
    Tensor [B], float64
        NaN where the true bins, or all others, have no energy.

    Raises
    ------
    ValueError
        If mask or magnitude is not finite, a shape does not fit, or a clip has no valid frame.

    Examples
    --------
    >>> mask, truth = torch.tensor([[[0.9, 0.4, 0.4]]]), torch.tensor([[[True, True, False]]])
    >>> energy_weighted_auroc(mask, truth, torch.ones(1, 1, 3)).tolist()
    [0.75]
    """
    if magnitude.shape != mask.shape:
        raise ValueError(f"magnitude has shape {list(magnitude.shape)}, the mask has {list(mask.shape)}")
    check_mask(magnitude, valid, "magnitude")
    truth, valid = _truth(mask, truth, valid)
    weight = _energy(magnitude, valid).cpu().numpy()
    true = truth.flatten(1).cpu().numpy()
    scores = rounded(mask).flatten(1).cpu().numpy()  # [B, T*F]
    areas = [_area_under_curve(*clip) for clip in zip(scores, weight * true, weight * ~true, strict=True)]
    return torch.tensor(areas, dtype=torch.float64, device=mask.device)


@metric("pointing_game", "pointing game", better="high", range="[0, 1]")
def pointing_game(mask: Tensor, truth: Tensor, valid: Tensor | None = None) -> Tensor:
    """Pointing game: does the maximum of the mask lie in the true bins?

    1 or 0 per clip; where several bins share the maximum, the share of them that are true. Higher is better; a constant
    mask gets the share of true bins in the clip. Source: Zhang et al., arXiv 1608.00507.

    Parameters
    ----------
    mask : Tensor [B, T, F]
        Any finite values, rounded to 5 decimals.
    truth : Tensor [B, T, F] of bool
    valid : Tensor [B, T] of bool, optional
        The frames that belong to the clip.

    Returns
    -------
    Tensor [B], float64
        NaN where no bin is true.

    Raises
    ------
    ValueError
        If the mask is not finite, a shape does not fit, or a clip has no valid frame.

    Examples
    --------
    >>> truth = torch.tensor([[[True, False, False]]])
    >>> [pointing_game(torch.tensor([[m]]), truth).item() for m in ([0.9, 0.1, 0.2], [0.5, 0.5, 0.2])]
    [1.0, 0.5]
    """
    truth, valid = _truth(mask, truth, valid)
    scores = hide_padding(rounded(mask), valid, -float("inf")).flatten(1)  # [B, T*F]
    top = scores == scores.amax(dim=1, keepdim=True)
    hits = (top & truth.flatten(1)).sum(dim=1).double() / top.sum(dim=1)
    return hits.masked_fill(~truth.flatten(1).any(dim=1), float("nan"))


@metric("iou", "IoU", better="high", range="[0, 1]")
def intersection_over_union(mask: Tensor, truth: Tensor, valid: Tensor | None = None) -> Tensor:
    """Intersection over union (IoU) at matched area: the bins the mask ranks highest, as many as are true.

    ``|top & G| / |top | G|``, with as many bins in ``top`` as in ``G``: no threshold has to be chosen. In [0, 1],
    higher is better. Of equal mask values, earlier frames come first, then lower bins.

    Parameters
    ----------
    mask : Tensor [B, T, F]
        Any finite values; rounded to 5 decimals, the order is all that counts.
    truth : Tensor [B, T, F] of bool
    valid : Tensor [B, T] of bool, optional
        The frames that belong to the clip.

    Returns
    -------
    Tensor [B], float64
        NaN where no bin is true.

    Raises
    ------
    ValueError
        If the mask is not finite, a shape does not fit, or a clip has no valid frame.

    Examples
    --------
    >>> mask, truth = torch.tensor([[[0.9, 0.1, 0.5, 0.0]]]), torch.tensor([[[True, True, False, False]]])
    >>> round(intersection_over_union(mask, truth).item(), 4)
    0.3333
    """
    truth, valid = _truth(mask, truth, valid)
    true = truth.flatten(1)
    top = keep_count(rounded(mask), valid, true.sum(dim=1)).flatten(1).bool()
    union = (top | true).sum(dim=1).double()
    return (top & true).sum(dim=1) / union.masked_fill(union == 0, float("nan"))


def _area_under_curve(scores: np.ndarray, positive: np.ndarray, negative: np.ndarray) -> float:
    """Area under the ROC of scores [n] for weights [n] of the two classes; NaN if one has none."""
    total = positive.sum() * negative.sum()
    if total == 0:
        return float("nan")
    # Stable: equal scores stay in the order of the bins, so that their sum is the same on every CPU. For a mask of
    # zeros and ones it is also some 15 times faster than quicksort.
    order = np.argsort(scores, kind="stable")
    ranked = scores[order]
    # Equal scores are one step of the curve.
    steps = np.flatnonzero(np.concatenate([[True], ranked[1:] != ranked[:-1]]))
    positive, negative = (np.add.reduceat(weight[order], steps) for weight in (positive, negative))
    below = np.cumsum(negative) - negative
    return float(min((positive * (below + 0.5 * negative)).sum() / total, 1.0))  # rounding can exceed 1 by 1e-16


def _energy(magnitude: Tensor, valid: Tensor) -> Tensor:
    """``A^2`` with 0 on invalid bins, [B, T*F], float64."""
    return hide_padding(magnitude.detach().double(), valid).square().flatten(1)


def _truth(values: Tensor, truth: Tensor, valid: Tensor | None, name: str = "mask") -> tuple[Tensor, Tensor]:
    """The truth, False on invalid bins, and ``valid``, never None; or a ValueError."""
    valid = check_mask(values, valid, name)
    if truth.dtype != torch.bool or truth.shape != values.shape:
        raise ValueError(
            f"truth is {truth.dtype} of shape {list(truth.shape)}, expected bool of shape {list(values.shape)}"
        )
    if valid is None:
        valid = torch.ones(values.shape[:2], dtype=torch.bool, device=values.device)
    return truth & valid[..., None], valid
