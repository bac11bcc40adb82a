"""Attention of Transformers' networks as maps: from the tokens that the head reads to the patches."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from interpretability.classifiers.hooks import recorded_outputs
from interpretability.errors import UserError

#: Variants of activation maps that attention gives.
VARIANTS = ("last", "mean", "rollout", "gradient")


@dataclass(frozen=True)
class Attention:
    """The attention layers of one network.

    Attributes
    ----------
    network : torch.nn.Module
        With a ``config`` of Transformers.
    modules : tuple of torch.nn.Module
        The module that computes the attention of each layer, first to last: its second output holds the weights [n,
        heads, tokens, tokens].
    n_special : int
        Tokens in front of those of the patches: class token, distillation token.
    place : str
        Name of the network in its classifier, for errors.
    reads_all : bool
        Whether the head reads the mean of all tokens, not of the special ones.
    """

    network: nn.Module
    modules: tuple[nn.Module, ...]
    n_special: int
    place: str
    reads_all: bool = False

    def check(self) -> None:
        """Refuse kinds of attention that do not return their weights (:class:`UserError`)."""
        kind = self.network.config._attn_implementation
        if kind != "eager":
            raise UserError(
                f"the model's attention is {kind!r}, which gives no weights, expected 'eager': call "
                f"{self.place}.set_attn_implementation('eager')"
            )

    def recorded(self, keep: Callable[[Tensor], Tensor]) -> AbstractContextManager[dict[Any, Tensor]]:
        """Record, layer by layer, what ``keep`` makes of the weights [n, heads, tokens, tokens]."""
        self.check()
        return recorded_outputs(dict(enumerate(self.modules)), lambda output: keep(output[1]))

    def to_patches(self, weights: Tensor) -> Tensor:
        """Return attention of the special tokens to the patches, mean over heads and tokens, [n, patches]."""
        return weights[:, :, : self.n_special, self.n_special :].mean((1, 2))

    @torch.no_grad()
    def rollout(self, run: Callable[[], Any]) -> Tensor:
        """Return the attention rollout from the special tokens to the patches.

        Parameters
        ----------
        run : callable
            Runs the network.

        Returns
        -------
        Tensor [n, patches]
        """
        with self.recorded(lambda weights: weights.mean(1)) as layers:
            run()
        return rollout(list(layers.values()))[:, : self.n_special, self.n_special :].mean(1)

    def gradient_weighted(self, run: Callable[[], Tensor], target: Tensor) -> Tensor:
        """Return the gradient-weighted attention of what the head reads to the patches.

        Parameters
        ----------
        run : callable
            Runs the network on an input that requires a gradient, and returns the logits [B, C].
        target : Tensor [B]
            Explained class.

        Returns
        -------
        Tensor [n, patches]
        """
        with torch.enable_grad(), self.recorded(lambda weights: weights) as recorded:
            logits = run()
            layers = list(recorded.values())
            gradients = torch.autograd.grad(logits.gather(1, target[:, None]).sum(), layers)
        with torch.no_grad():
            total = gradient_weighted([weights.detach() for weights in layers], gradients)  # [n, tokens, tokens]
            rows = total if self.reads_all else total[:, : self.n_special]
            return rows.mean(1)[:, self.n_special :]


def rollout(layers: Sequence[Tensor]) -> Tensor:
    """Return the attention rollout (arXiv 2005.00928).

    Parameters
    ----------
    layers : sequence of Tensor [n, N, N]
        Attention of each layer, mean over heads, from the first to the last; rows sum to one.

    Returns
    -------
    Tensor [n, N, N]
        Rows sum to one.

    Example
    -------
    >>> rollout([torch.tensor([[[0.0, 1.0], [1.0, 0.0]]])])
    tensor([[[0.5000, 0.5000],
             [0.5000, 0.5000]]])
    """
    identity = torch.eye(layers[0].shape[-1], dtype=layers[0].dtype, device=layers[0].device)
    product = identity
    for attention in layers:
        product = (0.5 * attention + 0.5 * identity) @ product
    return product


def gradient_weighted(layers: Sequence[Tensor], gradients: Sequence[Tensor]) -> Tensor:
    """Return how much each token takes from every other one, attention weighted by gradients (arXiv 2103.15679).

    Parameters
    ----------
    layers, gradients : sequence of Tensor [n, heads, N, N]
        Attention of each layer, and the gradient of the explained logit to it, from the first to the last.

    Returns
    -------
    Tensor [n, N, N]
        >= 0; without the identity that the rule starts from.
    """
    identity = torch.eye(layers[0].shape[-1], dtype=layers[0].dtype, device=layers[0].device)
    total = torch.zeros_like(layers[0][:, 0])  # R - I
    for attention, gradient in zip(layers, gradients, strict=True):
        total = total + (attention * gradient).clamp(min=0).mean(1) @ (identity + total)
    return total
