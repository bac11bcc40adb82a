"""Decomposition with a known dictionary, and masks of its components."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from interpretability.errors import UserError

DIVERGENCES = ("euclidean", "kl")
EPSILON = 1e-10


@torch.no_grad()
def decompose(
    log_magnitude: Tensor, matrix: Tensor, n_iterations: int = 50, divergence: str = "euclidean", sparsity: float = 0.0
) -> Tensor:
    """Return the activations of spectra on a fixed dictionary, by multiplicative updates.

    Parameters
    ----------
    log_magnitude : Tensor [B, T, F]
        X >= 0.
    matrix : Tensor [F, K]
        W >= 0.
    n_iterations : int
        Each lowers the objective, or leaves it as it is.
    divergence : {"euclidean", "kl"}
        Half the squared distance, or the generalised Kullback-Leibler divergence D(X || WH).
    sparsity : float
        Weight of the L1 norm of H.

    Returns
    -------
    Tensor [B, K, T]
        H >= 0; zero in silent frames.

    References
    ----------
    Lee and Seung, "Algorithms for non-negative matrix factorization", NIPS 2000.
    """
    if divergence not in DIVERGENCES:
        raise UserError(f"divergence is {divergence!r}, expected one of {DIVERGENCES}")
    target = log_magnitude.float().transpose(1, 2)  # [B, F, T]
    matrix = matrix.to(target)
    projected = matrix.T @ target  # [B, K, T]
    # Start at the best single scale of the projection, frame by frame.
    approximation = matrix @ projected
    scale = (approximation * target).sum(1, keepdim=True) / approximation.square().sum(1, keepdim=True).clamp(
        min=EPSILON
    )
    activations = projected * scale
    gram, column_sums = matrix.T @ matrix, matrix.sum(0)[:, None]
    for _ in range(n_iterations):
        if divergence == "euclidean":
            activations = activations * projected / (gram @ activations + sparsity + EPSILON)
        else:
            ratio = target / (matrix @ activations + EPSILON)
            activations = activations * (matrix.T @ ratio) / (column_sums + sparsity + EPSILON)
    return activations


def component_mask(matrix: Tensor, activations: Tensor, kept: Tensor) -> Tensor:
    """Return ``M = sum_kept W_k H_k / (W H + eps)``, 0 where W H is 0.

    Parameters
    ----------
    matrix : Tensor [F, K]
    activations : Tensor [B, K, T]
    kept : Tensor [B, K]
        Which components: ones and zeros, or shares in [0, 1].

    Returns
    -------
    Tensor [B, T, F]
        Values in [0, 1].
    """
    whole = activations.transpose(1, 2) @ matrix.T  # [B, T, F]
    part = (activations * kept.to(activations)[..., None]).transpose(1, 2) @ matrix.T
    return (part / (whole + EPSILON)).clamp(0, 1)


@dataclass
class Components:
    """Explanation of a batch by components of a dictionary.

    Attributes
    ----------
    matrix : Tensor [F, K]
        The dictionary W.
    activations : Tensor [B, K, T]
        H; zero in frames that are not valid.
    relevance : Tensor [B, K]
        How much each component counts for the explained class: at most 1, negative if it counts against the class.
    selected : Tensor [B, K], bool
        The components that the explanation keeps.
    """

    matrix: Tensor
    activations: Tensor
    relevance: Tensor
    selected: Tensor

    def clip(self, index: int, n_frames: int) -> Components:
        """Return the components of one clip, as a batch of one, cut to its frames."""
        one = slice(index, index + 1)
        activations = self.activations[one, :, :n_frames]
        return Components(self.matrix, activations, self.relevance[one], self.selected[one])

    def ranked(self, index: int = 0) -> list[int]:
        """Return the selected components of a clip, the most relevant first."""
        order = self.relevance[index].argsort(descending=True, stable=True).tolist()
        return [k for k in order if bool(self.selected[index, k])]

    def mask_of(self, component: int) -> Tensor:
        """Return the mask [B, T, F] of one component alone."""
        kept = torch.zeros_like(self.relevance)
        kept[:, component] = 1
        return component_mask(self.matrix, self.activations, kept)
