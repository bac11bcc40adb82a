"""``vit``: a vision transformer on spectrograms, as in the published AMT and PIQ recipes, with its attention."""

from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor, nn

from interpretability.classifiers.attention import VARIANTS, Attention
from interpretability.classifiers.base import ActivationMap, AnalysedBatch
from interpretability.classifiers.hooks import recorded_outputs
from interpretability.classifiers.image import ImageClassifier, ImageFeatures, ImageSettings, Level, pair
from interpretability.errors import UserError
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
    nothing uses it. Attention is eager: faster kinds do not return their weights.

    Raises
    ------
    UserError
        For settings that do not fit together.
    """

    NAME = "vit"
    Settings = ViTSettings
    ACTIVATIONS = VARIANTS
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

    def build(self) -> None:
        super().build()
        self.attention.check()

    @classmethod
    def make_network(cls, configuration: Any) -> nn.Module:
        """Return the network with eager attention, whatever this version of Transformers would choose."""
        configuration._attn_implementation = "eager"
        return super().make_network(configuration)

    def find_levels(self) -> tuple[Level, ...]:
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

    def run_network(self, pixels: Tensor) -> ImageFeatures:
        layers = {number: self.embedding_model.layers[number - 1] for number in self.map_layers[:-1]}
        attention = self.attention
        with (
            recorded_outputs(layers, lambda output: output) as states,
            attention.recorded(attention.to_patches) as rows,
        ):
            last = self.embedding_model(pixels).last_hidden_state  # [n, 1 + patches, D]
        maps = tuple(self._on_grid(state[:, 1:].transpose(1, 2)) for state in (*states.values(), last))
        return ImageFeatures(self._pool(last), maps, self._on_grid(torch.stack(list(rows.values()), dim=1)))

    @property
    def layer_levels(self) -> dict[str, int]:
        """See :attr:`Classifier.layer_levels`: the layers that give feature maps, before the final normalisation."""
        return {f"embedding_model.layers.{number - 1}": level for level, number in enumerate(self.map_layers)}

    def maps_of_layer(self, output: Tensor) -> Tensor:
        """See :meth:`Classifier.maps_of_layer`: the patches' tokens, without the class token."""
        return self._on_grid(output[:, 1:].transpose(1, 2))

    def activation_map(self, batch: AnalysedBatch, variant: str = "last") -> ActivationMap:
        """See :meth:`Classifier.activation_map`. ``last`` and ``mean``: attention of the class token to the patches.

        ``rollout`` (arXiv 2005.00928): with A_l the mean over heads of layer l's attention, the class token's row of
        the product of 0.5 A_l + 0.5 I over the layers, from the last to the first.

        ``gradient`` (arXiv 2103.15679, the rule for self-attention): with G_l the gradient of the target's logit,
        R = I, then R <- R + mean over heads of (G_l * A_l)^+ R, from the first layer to the last. The map is the row of
        R - I from which the embedding is read: the class token's, or with mean pooling the mean of all rows.
        """
        if variant not in ("rollout", "gradient"):
            return super().activation_map(batch, variant)
        images = self.images(*self.inputs(batch.spectrogram))

        def logits() -> Tensor:
            # The parameters of a frozen classifier require no gradient, so the input has to.
            last = self.embedding_model(images.pixels.detach().requires_grad_()).last_hidden_state
            return self.logits(self.embedding_of_clips(self._pool(last), images))

        if variant == "rollout":
            values = self.attention.rollout(lambda: self.embedding_model(images.pixels))  # [n, patches]
        else:
            values = self.attention.gradient_weighted(logits, batch.target)
        joined = self.side_by_side(self._on_grid(values[:, None]), images, len(self.levels) - 1)
        return ActivationMap(joined[:, 0], *self._last_level(batch.spectrogram))

    def check_activation(self, variant: str) -> None:
        """See :meth:`Classifier.check_activation`; attention has to be eager, too."""
        super().check_activation(variant)
        self.attention.check()

    @property
    def attention(self) -> Attention:
        """Its attention layers."""
        layers = tuple(layer.attention for layer in self.embedding_model.layers)
        return Attention(self.embedding_model, layers, 1, "embedding_model", reads_all=self.settings.pooling == "mean")

    def _pool(self, tokens: Tensor) -> Tensor:
        """Return the embedding [n, D] that the head reads from tokens [n, 1 + patches, D]."""
        return tokens.mean(1) if self.settings.pooling == "mean" else tokens[:, 0]

    def _on_grid(self, values: Tensor) -> Tensor:
        """Bring [n, C, patches] to the grid of patches, [n, C, rows, columns]."""
        level = self.levels[-1]
        return values.unflatten(2, (level.rows, level.columns))
