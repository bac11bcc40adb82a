"""Networks of L2I: from feature maps to activations of a dictionary (Psi), and from those to class scores (Theta)."""

from contextlib import redirect_stdout
from dataclasses import dataclass

import torch
from speechbrain.lobes.models.L2I import CNN14PSI_stft_2d, PsiOptimized
from torch import Tensor, nn
from torch.nn import functional

from interpretability.classifiers.base import AnalysedBatch, Classifier
from interpretability.errors import UserError
from interpretability.grids import hold_last_row, interpolate_rows
from interpretability.networks.decoders import FeatureMerge, draw_each_length, pad_for_cnn14


@dataclass
class Pooled:
    """Activations pooled over time, z [B, K], and the class scores s [B, C] that follow from them."""

    activations: Tensor
    scores: Tensor


class Theta(nn.Module):
    """Attention over time, then a linear map to class scores, without bias: silence has no score.

    Parameters
    ----------
    n_components, n_classes : int
        K and C.
    centred : bool
        Subtract from each component's weights their mean over classes. Softmax ignores what all classes have in common,
        but relevance does not: without it, relevance is evidence for a class against the others.
    width : int
        Of the attention's hidden layer.
    """

    def __init__(self, n_components: int, n_classes: int, centred: bool, width: int = 32):
        super().__init__()
        self.centred = centred
        # Softmax ignores a bias at the end.
        self.attention = nn.Sequential(nn.Linear(n_components, width), nn.Tanh(), nn.Linear(width, 1, bias=False))
        self.classes = nn.Linear(n_components, n_classes, bias=False)

    @property
    def weight(self) -> Tensor:
        """Theta [C, K]."""
        weight = self.classes.weight
        return weight - weight.mean(dim=0) if self.centred else weight

    def forward(self, activations: Tensor, valid: Tensor) -> Pooled:
        """Pool activations [B, K, T] over the valid [B, T] frames, and score the classes."""
        level = self.attention(activations.transpose(1, 2))[..., 0]  # [B, T]
        attention = level.masked_fill(~valid, -float("inf")).softmax(dim=1)
        pooled = (activations * attention[:, None]).sum(2)
        return Pooled(pooled, functional.linear(pooled, self.weight))


class CompactPSI(nn.Module):
    """Psi for any classifier: feature maps merged with few channels, frequency collapsed, interpolated in time.

    Each frequency cell has its own weights, so that the frequency of a feature is not lost. Maps finer than a stride of
    ``FINEST`` are left out: they cost more than all others together. Softplus, not ReLU, makes the activations
    positive: components that a ReLU silenced early in training would stay silent.
    """

    FINEST = 4

    def __init__(self, classifier: Classifier, n_components: int, channels: int):
        super().__init__()
        strides = classifier.feature_strides
        if not strides:
            raise UserError(f"L2I: the classifier {classifier.NAME!r} has no feature maps, expected at least one")
        self.first = next((level for level, stride in enumerate(strides) if stride >= self.FINEST), len(strides) - 1)
        self.merge = FeatureMerge(classifier.feature_channels[self.first :], channels)
        n_cells = len(classifier.feature_grids(1)[self.first].bins)
        self.collapse = nn.Linear(channels * n_cells, n_components)
        # Together, a hundred components then start at about the level of a log spectrogram.
        nn.init.constant_(self.collapse.bias, -2.0)

    def forward(self, classifier: Classifier, batch: AnalysedBatch) -> Tensor:
        """Return activations [B, T, K] >= 0."""
        n_frames = batch.spectrogram.magnitude.shape[1]
        grids = classifier.feature_grids(n_frames)[self.first :]
        rows = classifier.valid_rows(batch.spectrogram.valid)[1 + self.first :]
        merged = self.merge(batch.output.feature_maps[self.first :], grids, rows)  # [B, C', T', F']
        drawn = self.collapse(merged.transpose(1, 2).flatten(2))  # [B, T', K]
        with torch.autocast(device_type=drawn.device.type, enabled=False):
            drawn = hold_last_row(drawn.float(), rows[0], axis=1)
            return functional.softplus(interpolate_rows(drawn, grids[0].frames, n_frames))


class _PublishedPSI:
    """What the published networks share: each length of clip runs alone in evaluation."""

    LEVELS: tuple[int, ...] = ()  # the feature maps it takes, counted from the coarsest: -1, -2, …

    def forward(self, classifier: Classifier, batch: AnalysedBatch) -> Tensor:
        """Return activations [B, T, K] >= 0."""
        return draw_each_length(self._draw, classifier, batch, self.LEVELS, together=self.training)

    def _draw(self, maps: tuple[Tensor, ...]) -> Tensor:
        """Return the activations [b, T'', K] of feature maps [b, C_l, T_l, F_l] of one length."""
        raise NotImplementedError


class Conv2dPSI(_PublishedPSI, PsiOptimized):
    """SpeechBrain's network behind ``conv2d``, with its parameter names. It draws 417 of 431 frames."""

    LEVELS = (-1,)

    def __init__(self, classifier: Classifier, n_components: int):
        _check_columns("conv2d", classifier, self.LEVELS, (32,))
        # SpeechBrain prints each module without weights whose name contains "Conv", as this class's does.
        with redirect_stdout(None):
            super().__init__(
                dim=classifier.feature_channels[-1], K=n_components, use_adapter=False, adapter_reduce_dim=False
            )

    def _draw(self, maps: tuple[Tensor, ...]) -> Tensor:
        return PsiOptimized.forward(self, maps[0])[0][:, 0]


class Cnn14PSI(_PublishedPSI, CNN14PSI_stft_2d):
    """SpeechBrain's network behind ``cnn14``, with its parameter names.

    It takes the last four feature maps, coarsest first, with (t, t, 2t, 4t + 1) rows: they are padded with zeros to
    the smallest t that holds them.
    """

    LEVELS = (-1, -2, -3, -4)

    def __init__(self, classifier: Classifier, n_components: int):
        _check_columns("cnn14", classifier, self.LEVELS, (2, 2, 5, 10))
        channels = tuple(classifier.feature_channels[level] for level in self.LEVELS)
        wanted = tuple(channels[0] // share for share in (1, 2, 4, 8))
        if channels != wanted:
            raise UserError(
                f"L2I's network 'cnn14' met feature maps of {channels} channels, expected {wanted}: "
                "use network: compact"
            )
        super().__init__(dim=channels[0], K=n_components)

    def _draw(self, maps: tuple[Tensor, ...]) -> Tensor:
        return CNN14PSI_stft_2d.forward(self, pad_for_cnn14(maps)).transpose(1, 2)


def _check_columns(network: str, classifier: Classifier, levels: tuple[int, ...], wanted: tuple[int, ...]) -> None:
    """Refuse feature maps of other widths than a published network was made for."""
    if len(classifier.feature_channels) >= len(wanted):
        grids = classifier.feature_grids(1)
        columns = tuple(len(grids[level].bins) for level in levels)
    else:
        columns = ()
    if columns != wanted:
        raise UserError(
            f"L2I's network {network!r} met a classifier {classifier.NAME!r} whose coarsest feature maps have "
            f"{columns} columns, expected {wanted}: use network: compact"
        )
