"""``conv2d``: SpeechBrain's ``Conv2dEncoder_v2`` and its ``Classifier`` head, as in the published PIQ recipe."""

from dataclasses import dataclass

import torch
from speechbrain.lobes.models.ECAPA_TDNN import Classifier as CosineHead
from speechbrain.lobes.models.PIQ import Conv2dEncoder_v2
from torch import Tensor
from torch.nn import functional

from interpretability.classifiers.base import Classifier, ClassifierOutput
from interpretability.grids import Grid, whole_windows, window_centres
from interpretability.settings import DEEPEST, WIDEST, Settings, setting

# Four strided convolutions and the interpreters' halving need this many frames; shorter clips are padded with zeros.
MIN_FRAMES = 64


@dataclass(frozen=True)
class Conv2dSettings(Settings):
    """Settings of ``conv2d``."""

    dim: int = setting(256, "channels of the encoder; published: 256", least=1, most=WIDEST)
    lin_blocks: int = setting(1, "hidden layers of the head; published: 1", least=0, most=DEEPEST)
    lin_neurons: int = setting(192, "width of the head's hidden layers; published: 192", least=1, most=WIDEST)
    logit_scale: float = setting(30.0, "factor of the head's cosines, as in the softmax of training; published: 30")


class Conv2dClassifier(Classifier):
    """The classifier of PIQ (arXiv 2303.12659) on ``log1p`` magnitudes.

    Parameter names are those of SpeechBrain's modules under ``embedding_model`` and ``classifier``, so that the
    files ``embedding_model.ckpt`` and ``classifier.ckpt`` of published checkpoints load as they are.

    The head gives cosines in [-1, 1]; logits are cosines times ``logit_scale``. Published models are trained with an
    (angular-margin) softmax of scale 30: with the same scale, probabilities are those of training.
    """

    NAME = "conv2d"
    Settings = Conv2dSettings
    HEAD = ("classifier",)

    def build(self) -> None:
        dim = self.settings.dim
        self.feature_channels = (dim,) * 4
        self.feature_strides = (2, 4, 8, 16)
        self.embedding_model = Conv2dEncoder_v2(dim=dim)
        blocks, neurons = self.settings.lin_blocks, self.settings.lin_neurons
        self.classifier = CosineHead(dim, lin_blocks=blocks, lin_neurons=neurons, out_neurons=len(self.labels))

    @property
    def layer_levels(self) -> dict[str, int]:
        """See :attr:`Classifier.layer_levels`; the first three are the maps before their ReLU."""
        names = ("bn1", "bn2", "bn3", "resblock")
        return {f"embedding_model.{name}": level for level, name in enumerate(names)}

    def forward(self, magnitude: Tensor, valid: Tensor | None = None) -> ClassifierOutput:
        """See :meth:`Classifier.forward`. In training mode a batch is one padded whole (batch norm needs it)."""
        return self.each_length_alone(self._forward, magnitude, valid)

    def feature_grids(self, n_frames: int) -> tuple[Grid, ...]:
        """Return the centres: a 4x4 convolution of stride 2 and padding 1 centres cell i on 2i + 0.5."""
        n_bins = self.frontend.settings.n_bins
        rows = self.feature_rows(n_frames)[1:]
        cells = zip(rows, self.feature_strides, strict=True)
        return tuple(Grid(window_centres(n, stride), window_centres(n_bins // stride, stride)) for n, stride in cells)

    def feature_rows(self, n_frames: int | Tensor) -> tuple[int | Tensor, ...]:
        """See :meth:`Classifier.feature_rows`; a short clip is padded to ``MIN_FRAMES``."""
        return whole_windows(n_frames, self.feature_strides, MIN_FRAMES)

    def input_grid(self, n_frames: int) -> Grid:
        """Return the spectrogram's own grid."""
        n_bins = self.frontend.settings.n_bins
        return Grid(*(torch.arange(size, dtype=torch.float64) for size in (n_frames, n_bins)))

    def _forward(self, magnitude: Tensor) -> ClassifierOutput:
        missing = max(0, MIN_FRAMES - magnitude.shape[1])
        maps = functional.pad(torch.log1p(magnitude), (0, 0, 0, missing))[:, None]  # [B, 1, T, F]
        encoder = self.embedding_model
        feature_maps = []
        for number in (1, 2, 3, 4):
            conv, norm = getattr(encoder, f"conv{number}"), getattr(encoder, f"bn{number}")
            maps = encoder.nonl(norm(conv(maps)))
            feature_maps.append(maps)
        feature_maps[-1] = encoder.resblock(maps)
        embedding = feature_maps[-1].mean(dim=(2, 3))  # [B, dim]
        logits = self.settings.logit_scale * self.classifier(embedding)[:, 0]
        return ClassifierOutput(logits, embedding, tuple(feature_maps))
