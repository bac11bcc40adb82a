"""``focalnet``: a focal modulation network on spectrograms, as in the published AMT and PIQ recipes."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor, nn

from interpretability.classifiers.base import ActivationMap, AnalysedBatch
from interpretability.classifiers.hooks import recorded_outputs
from interpretability.classifiers.image import ImageClassifier, ImageFeatures, Level, pair
from interpretability.classifiers.observed import ObservedLayer
from interpretability.errors import UserError

#: Stride of the stem where it is a convolution with overlap (``use_conv_embed``), whatever the patch size.
CONVOLVED_STEM = 4


class FocalNetClassifier(ImageClassifier):
    """Transformers' ``FocalNetBackbone`` (arXiv 2203.11926) on spectrograms.

    Feature maps are the outputs of the stages before they are downsampled, finest first; an image's embedding is the
    mean of the last one over its cells, as published. What it attends to is the size of its modulators: the
    channel-wise L2 norm of the output of ``projection_context`` in each layer of the last stage (arXiv 2402.02754).
    """

    NAME = "focalnet"
    ACTIVATIONS = ("last", "mean", "gradient")
    CONFIG, NETWORK = "FocalNetConfig", "FocalNetBackbone"
    SMALL = MappingProxyType(
        {"image_size": 128, "patch_size": 4, "embed_dim": 32, "depths": [1, 1, 2, 2], "drop_path_rate": 0.0}
    )

    @classmethod
    def configuration(cls, settings: Any) -> Any:
        configuration = super().configuration(settings)
        stages = len(configuration.depths)
        if not stages or min(configuration.depths) < 1:
            raise UserError(f"depths are {list(configuration.depths)}, expected at least 1 layer in each stage")
        for name in ("focal_levels", "focal_windows"):
            given = list(getattr(configuration, name))
            if len(given) < stages:
                raise UserError(f"{name} are {given}, expected one for each of {stages} stages")
        # Wrong in published configurations, where nothing reads it; it follows from the width.
        configuration.hidden_sizes = [configuration.embed_dim * 2 ** min(k + 1, stages - 1) for k in range(stages)]
        return configuration

    @classmethod
    def make_network(cls, configuration: Any) -> nn.Module:
        """Return the network. Its final normalisation is computed but not used, and gets no gradient."""
        network = super().make_network(configuration)
        network.focalnet.layernorm.requires_grad_(False)
        return network

    def find_levels(self) -> tuple[Level, ...]:
        config = self.embedding_model.config
        overlap = config.use_conv_embed
        patch = (CONVOLVED_STEM,) * 2 if overlap else pair(config.patch_size)
        coarsest = tuple(step * 2 ** (len(config.depths) - 1) for step in patch)
        if any(size % step for size, step in zip(self.image_size, coarsest, strict=True)):
            raise UserError(
                f"image_size is {self.image_size}, expected multiples of the last stage's cells, {coarsest}"
            )
        levels = []
        for stage in range(len(config.depths)):
            cell = tuple(step * 2**stage for step in patch)
            rows, columns = (size // step for size, step in zip(self.image_size, cell, strict=True))
            # The 7x7 stem, padded by 2, centres its first cell on pixel 1; the 3x3 steps after it stay there.
            first = (1.0, 1.0) if overlap else tuple((step - 1) / 2 for step in cell)
            levels.append(Level(config.embed_dim * 2**stage, rows, columns, first))
        return tuple(levels)

    def run_network(self, pixels: Tensor) -> ImageFeatures:
        ends = [stage.layers[-1] for stage in self.embedding_model.focalnet.encoder.stages[:-1]]
        with (
            recorded_outputs(dict(enumerate(ends)), lambda output: output) as states,
            self._recorded_modulators(lambda modulator: modulator.norm(dim=1)) as sizes,
        ):
            last = self.embedding_model(pixels).feature_maps[-1]  # [n, D, rows, columns]
        stages = zip(states.values(), self.levels[:-1], strict=True)
        finer = (state.transpose(1, 2).unflatten(2, (level.rows, level.columns)) for state, level in stages)
        return ImageFeatures(last.mean((2, 3)), (*finer, last), torch.stack(list(sizes.values()), dim=1))

    @property
    def layer_levels(self) -> dict[str, int]:
        """See :attr:`Classifier.layer_levels`: the last layer of each stage."""
        depths = self.embedding_model.config.depths
        place = "embedding_model.focalnet.encoder.stages.{}.layers.{}"
        return {place.format(stage, depth - 1): stage for stage, depth in enumerate(depths)}

    def observed_layer(self, name: str) -> ObservedLayer:
        """See :meth:`Classifier.observed_layer`; tokens [n, cells, C] are put on the grid of their stage."""
        layer = super().observed_layer(name)
        level = self.levels[self.layer_levels[name]]
        size = (level.rows, level.columns)
        return replace(layer, to_maps=lambda output: output.transpose(1, 2).unflatten(2, size))

    def activation_map(self, batch: AnalysedBatch, variant: str = "last") -> ActivationMap:
        """See :meth:`Classifier.activation_map`. ``last`` and ``mean``: size of the modulators of the last stage.

        ``gradient``: of the last layer's modulator m and the gradient g of the target's logit to it, the positive part
        of the sum over channels of g * m, as Grad-CAM weights activations, but cell by cell.
        """
        if variant != "gradient":
            return super().activation_map(batch, variant)
        images = self.images(*self.inputs(batch.spectrogram))
        with torch.enable_grad(), self._recorded_modulators(lambda modulator: modulator) as modulators:
            # The parameters of a frozen classifier require no gradient, so the input has to.
            last = self.embedding_model(images.pixels.detach().requires_grad_()).feature_maps[-1]
            logits = self.logits(self.embedding_of_clips(last.mean((2, 3)), images))
            score = logits.gather(1, batch.target[:, None]).sum()
            last_modulator = list(modulators.values())[-1]
            (gradient,) = torch.autograd.grad(score, last_modulator)
        values = (gradient * last_modulator.detach()).sum(1, keepdim=True).clamp(min=0)
        joined = self.side_by_side(values, images, len(self.levels) - 1)
        return ActivationMap(joined[:, 0], *self._last_level(batch.spectrogram))

    def _recorded_modulators(self, keep: Callable[[Tensor], Tensor]) -> AbstractContextManager[dict]:
        """Record something of the modulators [n, D, rows, columns] of each layer of the last stage."""
        layers = self.embedding_model.focalnet.encoder.stages[-1].layers
        return recorded_outputs(dict(enumerate(layer.modulation.projection_context for layer in layers)), keep)
