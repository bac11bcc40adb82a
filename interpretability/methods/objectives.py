"""Scores and loss terms that several methods share: one value per clip, [B], independent of the batch size."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from interpretability.lengths import mean_over_valid
from interpretability.probabilities import MaskedLogits, log_odds
from interpretability.settings import setting


@dataclass
class MaskedCrossEntropy:
    """Cross-entropies of the explained class: of what the mask keeps and of what it removes, each [B], in nats."""

    inside: Tensor
    outside: Tensor


def masked_cross_entropy(masked: MaskedLogits, target: Tensor, task: str, cap: float | None) -> MaskedCrossEntropy:
    """Return CE(f(In), c) and min(CE(f(Out), c), cap), the in/out pair of L-MAC (arXiv 2403.13086).

    Parameters
    ----------
    masked : MaskedLogits
        Logits [B, C] of In and Out.
    target : Tensor [B]
        Explained class c.
    task : {"single", "multi"}
        Softmax over classes, or the sigmoid of the class's logit.
    cap : float or None
        Bound in nats of the second term, which is unbounded by itself.

    Returns
    -------
    MaskedCrossEntropy
    """

    def cross_entropy(logits: Tensor) -> Tensor:
        if task == "single":
            return functional.cross_entropy(logits.float(), target, reduction="none")
        chosen = logits.float().gather(1, target[:, None])[:, 0]
        return functional.softplus(-chosen)

    outside = cross_entropy(masked.outside)
    return MaskedCrossEntropy(cross_entropy(masked.inside), outside if cap is None else outside.clamp(max=cap))


def mask_from(logits: Tensor, stretch: float) -> Tensor:
    """Return a mask of its logits: a sigmoid, stretched by ``stretch`` on both sides and cut to [0, 1].

    The stretch is that of the hard concrete distribution (arXiv 1712.01312).
    """
    return ((1 + 2 * stretch) * logits.sigmoid() - stretch).clamp(0, 1)


def surplus_setting() -> Any:
    """Declare by how much In is to convince more than the whole clip."""
    return setting(
        0.3,
        "how far the log odds of In are to exceed those of the whole clip; what is missing to that counts, and what "
        "goes beyond it does not",
        unit="nats",
    )


def surplus_weight_setting(default: float) -> Any:
    """Declare what that counts."""
    return setting(default, "weight of what is missing to the surplus", least=0)


def missing_surplus(masked: MaskedLogits, target: Tensor, task: str, whole: Tensor, surplus: float) -> Tensor:
    """Return ``relu(z(X) + surplus - z(In))``, what In is less convincing than it is to be, [B] in nats.

    Where a class is certain its cross-entropy says nothing any more; log odds z go on.

    Parameters
    ----------
    masked, target, task
        As in :func:`masked_cross_entropy`.
    whole : Tensor [B]
        Log odds of the class for the whole clip.
    surplus : float
    """
    return torch.relu(whole + surplus - log_odds(masked.inside.float(), target, task))


def total_variation(mask: Tensor, valid: Tensor) -> Tensor:
    """Return mean Δ_t M² + mean Δ_f M² over pairs of valid bins, [B]; 0 where there is no pair."""
    both = (valid[:, 1:] & valid[:, :-1])[..., None].to(mask.dtype)
    over_time = (mask.diff(dim=1).square() * both).sum((1, 2)) / (both.sum((1, 2)) * mask.shape[2]).clamp(min=1)
    return over_time + mean_over_valid(mask.diff(dim=2).square(), valid)


def loud_bins(log_magnitude: Tensor, valid: Tensor, fraction: float, inclusive: bool = False) -> Tensor:
    """Return 1[X > fraction * max X] of each clip as float, [B, T, F]; 1[X >= …] if ``inclusive``.

    What PIQ's decoder, and L-MAC's in fine-tuning, learn to draw. A silent clip has no loud bins.
    """
    hidden = log_magnitude * valid[..., None]
    bound = fraction * hidden.amax(dim=(1, 2), keepdim=True)
    loud = hidden >= bound if inclusive else hidden > bound
    return (loud & (hidden > 0)).to(log_magnitude.dtype)


def reconstruction(
    mask_logits: Tensor, log_magnitude: Tensor, valid: Tensor, fraction: float, inclusive: bool = False
) -> Tensor:
    """Return the mean binary cross-entropy with logits of the mask against the loud bins, [B] in nats."""
    loud = loud_bins(log_magnitude, valid, fraction, inclusive)
    loss = functional.binary_cross_entropy_with_logits(mask_logits.float(), loud.float(), reduction="none")
    return mean_over_valid(loss, valid)


def squared_distance(first: Tensor, second: Tensor, valid: Tensor | None = None) -> Tensor:
    """Return mean (a - b)² over channels and positions of [B, D, T', F'], [B]; over valid rows [B, T'] if given."""
    per_position = (first - second).square().mean(dim=1)  # [B, T', F']
    if valid is None:
        return per_position.mean(dim=(1, 2))
    return mean_over_valid(per_position, valid)


def batch_mean(terms: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return the mean over the batch of each per-clip term."""
    return {name: torch.mean(value) for name, value in terms.items()}
