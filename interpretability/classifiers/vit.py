"""``vit``: a vision transformer on spectrograms, as in the published AMT and PIQ recipes, with its attention."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor, nn

from interpretability.classifiers.base import ActivationMap, ClassifierOutput
from interpretability.classifiers.image import (
    ImageClassifier,
    Images,
    ImageSettings,
    Level,
    Seen,
    check_eager,
    pair,
    relevance,
    rollout,
    watching,
)
from interpretability.errors import UserError
from interpretability.frontend import FrontendSettings, Spectrogram
from interpretability.settings import setting

#: Feature maps at most.
MAPS = 4


@dataclass(frozen=True)
class ViTSettings(ImageSettings):
    """Settings of ``vit``."""

    pooling: str = setting(
        "mean",
        "embedding of an image: mean of all tokens, the class token included (published), or the class token alone",
        choices=("mean", "cls"),
    )


class ViTClassifier(ImageClassifier):
    """Transformers' ``ViTModel`` (arXiv 2010.11929) on spectrograms.

    Feature maps are the patch tokens behind four layers that are evenly spaced up to the last one, all on one grid; the
    last map has passed the final layer normalisation, as published. The pooler of published checkpoints is left out:
    nothing uses it. Attention is eager: faster kinds do not give their weights.

    Parameters
    ----------
    labels, frontend, task
        As in :class:`~interpretability.classifiers.base.Classifier`.
    **settings
        Fields of :class:`ViTSettings`.

    Raises
    ------
    UserError
        For settings that do not fit together.
    """

    NAME = "vit"
    Settings = ViTSettings
    ACTIVATIONS = ("last", "mean", "rollout", "gradient")
    CONFIG, NETWORK = "ViTConfig", "ViTModel"
    BUILD = MappingProxyType({"add_pooling_layer": False})
    SMALL = MappingProxyType(
        {
            "image_size": 128,
            "patch_size": 8,
            "hidden_size": 128,
            "num_hidden_layers": 4,
            "num_attention_heads": 4,
            "intermediate_size": 256,
        }
    )

    def __init__(
        self,
        labels: Sequence[str],
        frontend: FrontendSettings | dict | None = None,
        task: str = "single",
        **settings: Any,
    ):
        super().__init__(labels, frontend, task, **settings)
        self._check_attention()

    @classmethod
    def build(cls, configuration: Any) -> nn.Module:
        """Return the network with eager attention, whatever this version of Transformers would choose."""
        configuration._attn_implementation = "eager"
        return super().build(configuration)

    def find_levels(self) -> tuple[Level, ...]:
        """See :meth:`ImageClassifier.find_levels`."""
        config = self.embedding_model.config
        patch = pair(config.patch_size)
        if any(size % step for size, step in zip(self.image_size, patch, strict=True)):
            raise UserError(f"image_size is {self.image_size}, expected whole patches of {patch} pixels")
        if config.hidden_size % config.num_attention_heads:
            raise UserError(
                f"hidden_size is {config.hidden_size}, expected a multiple of num_attention_heads, "
                f"{config.num_attention_heads}"
            )
        rows, columns = (size // step for size, step in zip(self.image_size, patch, strict=True))
        level = Level(config.hidden_size, rows, columns, tuple((step - 1) / 2 for step in patch))
        n_layers = config.num_hidden_layers
        self.map_layers = sorted({-(-n_layers * (k + 1) // MAPS) for k in range(MAPS)})  # counted from 1
        return (level,) * len(self.map_layers)

    def see(self, pixels: Tensor) -> Seen:
        """Run the network on images; see :meth:`ImageClassifier.see`."""
        layers = [self.embedding_model.layers[number - 1] for number in self.map_layers[:-1]]
        with watching(layers, keep=lambda output: output) as states, self._watching_attention(class_row) as rows:
            last = self.embedding_model(pixels).last_hidden_state  # [n, 1 + patches, D]
        embedding = last.mean(1) if self.settings.pooling == "mean" else last[:, 0]
        maps = tuple(self._on_grid(state[:, 1:].transpose(1, 2)) for state in (*states, last))
        return Seen(embedding, maps, self._on_grid(torch.stack(rows, dim=1)))

    def activation_map(
        self, spectrogram: Spectrogram, output: ClassifierOutput, target: Tensor, variant: str = "last"
    ) -> ActivationMap:
        """See :meth:`Classifier.activation_map`. ``last`` and ``mean``: attention of the class token to the patches.

        ``rollout`` (arXiv 2005.00928): with A_l the mean over heads of layer l's attention, the class token's row of
        the product of 0.5 A_l + 0.5 I over the layers, from the last to the first.

        ``gradient`` (arXiv 2103.15679, the rule for self-attention): with G_l the gradient of the target's logit,
        R = I, then R <- R + mean over heads of (G_l * A_l)^+ R, from the first layer to the last. Of R - I it is what
        the embedding is read from: the class token's row, or the mean of all rows with mean pooling.
        """
        if variant not in ("rollout", "gradient"):
            return super().activation_map(spectrogram, output, target, variant)
        images = self.images(*self.inputs(spectrogram))
        values = self._rollout(images) if variant == "rollout" else self._relevance(images, target)
        joined = self.side_by_side(self._on_grid(values[:, None]), images, len(self.levels) - 1)
        return ActivationMap(joined[:, 0], *self._last_level(spectrogram))

    @torch.no_grad()
    def _rollout(self, images: Images) -> Tensor:
        """Return the attention rollout of the class token to the patches of each image, [n, patches]."""
        with self._watching_attention(lambda weights: weights.mean(1)) as layers:
            self.embedding_model(images.pixels)
        return rollout(layers)[:, 0, 1:]

    def _relevance(self, images: Images, target: Tensor) -> Tensor:
        """Return the gradient-weighted attention of the explained class to the patches of each image, [n, patches]."""
        with torch.enable_grad(), self._watching_attention(lambda weights: weights) as layers:
            # Something has to want a gradient: the parameters of a frozen classifier do not.
            last = self.embedding_model(images.pixels.detach().requires_grad_()).last_hidden_state
            embedding = last.mean(1) if self.settings.pooling == "mean" else last[:, 0]
            logits = self.logits(self.embedding_of_clips(embedding, images))
            score = logits.gather(1, target[:, None]).sum()
            gradients = torch.autograd.grad(score, layers)
        with torch.no_grad():
            found = relevance([weights.detach() for weights in layers], gradients)  # [n, tokens, tokens]
            return (found.mean(1) if self.settings.pooling == "mean" else found[:, 0])[:, 1:]

    def check_activation(self, variant: str) -> None:
        """See :meth:`Classifier.check_activation`; attention has to be eager, too."""
        super().check_activation(variant)
        self._check_attention()

    def _on_grid(self, values: Tensor) -> Tensor:
        """Bring [n, C, patches] to the grid of patches, [n, C, rows, columns]."""
        level = self.levels[-1]
        return values.unflatten(2, (level.rows, level.columns))

    def _watching_attention(self, keep: Any) -> AbstractContextManager[list]:
        """Collect something of every layer's attention weights [n, heads, tokens, tokens]."""
        self._check_attention()
        return watching((layer.attention for layer in self.embedding_model.layers), lambda output: keep(output[1]))

    def _check_attention(self) -> None:
        """Refuse kinds of attention that do not give their weights."""
        check_eager(self.embedding_model, "the ViT's", "embedding_model")


def class_row(weights: Tensor) -> Tensor:
    """Return the attention of the class token to the patches, mean over heads: [n, heads, N, N] to [n, N - 1]."""
    return weights[:, :, 0, 1:].mean(1)
