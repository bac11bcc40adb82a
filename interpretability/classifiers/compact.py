"""``compact``: a log-mel CNN of about a million parameters, strided, feature maps at four scales, made for CPUs."""

from dataclasses import dataclass
from itertools import pairwise

import torch
import torchaudio
from torch import Tensor, nn

from interpretability.blocks import ConvBlock
from interpretability.classifiers.base import Classifier, ClassifierOutput
from interpretability.errors import UserError
from interpretability.grids import Grid, hide_padding
from interpretability.settings import MOST_BANDS, WIDEST, Settings, setting


@dataclass(frozen=True)
class CompactSettings(Settings):
    """Settings of ``compact``."""

    n_mels: int = setting(64, "mel bands", least=1, most=MOST_BANDS)
    channels: tuple[int, ...] = setting(
        (32, 64, 128, 256), "channels of the stages, whose strides are 2, 4, 8, …", least=1, most=WIDEST
    )
    gain: float = setting(100.0, "factor of the mel energies before log1p; the higher it is, the softer sounds count")
    dropout: float = setting(0.2, "dropout on the embedding in training", least=0, most=1)

    def __post_init__(self):
        super().__post_init__()
        if not 1 <= len(self.channels) <= 16:
            raise UserError(f"channels has {len(self.channels)} numbers, expected one for each of 1 to 16 stages")


class CompactClassifier(Classifier):
    """Four strided stages of two 3x3 convolutions on a log-mel spectrogram, pooled over valid frames.

    Notes
    -----
    Silence stays zero through ``log1p``, so a masked-out region looks like silence, not like an unseen value.
    """

    NAME = "compact"
    Settings = CompactSettings
    HEAD = ("drop", "head")

    def build(self) -> None:
        self.feature_channels = self.settings.channels
        self.feature_strides = tuple(2 ** (level + 1) for level in range(len(self.feature_channels)))
        n_mels, rate = self.settings.n_mels, self.frontend.settings.sample_rate
        n_bins = self.frontend.settings.n_bins
        weights = torchaudio.functional.melscale_fbanks(n_bins, 0.0, rate / 2, n_mels, rate, mel_scale="slaney")
        self.register_buffer("mel_weights", weights, persistent=False)  # [F, n_mels]
        self.input_norm = nn.BatchNorm1d(n_mels)
        widths = (1, *self.feature_channels)
        self.stages = nn.ModuleList(
            nn.Sequential(ConvBlock(a, b, stride=2), ConvBlock(b, b)) for a, b in pairwise(widths)
        )
        self.drop = nn.Dropout(self.settings.dropout)
        self.head = nn.Linear(2 * self.feature_channels[-1], len(self.labels))

    @property
    def layer_levels(self) -> dict[str, int]:
        """See :attr:`Classifier.layer_levels`: the second block of each stage."""
        return {f"stages.{level}.1": level for level in range(len(self.stages))}

    def log_mel(self, magnitude: Tensor) -> Tensor:
        """Return ``log1p(gain * mel(A))``, [B, T, n_mels]."""
        return torch.log1p(self.settings.gain * (magnitude @ self.mel_weights))

    def forward(self, magnitude: Tensor, valid: Tensor | None = None) -> ClassifierOutput:
        maps = self.input_norm(self.log_mel(magnitude).transpose(1, 2)).transpose(1, 2)[:, None]  # [B, 1, T, n_mels]
        rows = (None,) * (1 + len(self.stages)) if valid is None else self.valid_rows(valid)
        maps = hide_padding(maps, rows[0])
        feature_maps = []
        for stage, stage_rows in zip(self.stages, rows[1:], strict=True):
            for block in stage:
                maps = hide_padding(block(maps), stage_rows)
            feature_maps.append(maps)
        embedding = self._pool(maps, rows[-1])
        return ClassifierOutput(self.head(self.drop(embedding)), embedding, tuple(feature_maps))

    def feature_grids(self, n_frames: int) -> tuple[Grid, ...]:
        """Return the centres of the feature maps: cell i of stride s lies on frame s*i and on mel band s*i."""
        grid = self.input_grid(n_frames)
        return tuple(Grid(grid.frames[::stride], grid.bins[::stride]) for stride in self.feature_strides)

    def input_grid(self, n_frames: int) -> Grid:
        """Return the grid of the log-mel spectrogram."""
        return Grid(torch.arange(n_frames, dtype=torch.float64), self.mel_centres())

    def feature_rows(self, n_frames: int | Tensor) -> tuple[int | Tensor, ...]:
        return tuple((n_frames + stride - 1) // stride for stride in (1, *self.feature_strides))

    def mel_centres(self) -> Tensor:
        """Return the centre of each mel band in (fractional) frequency bins [n_mels]: its filter's mean bin."""
        weights = self.mel_weights.double().cpu()
        bins = torch.arange(weights.shape[0], dtype=torch.float64)
        return (bins @ weights) / weights.sum(0).clamp(min=1e-12)

    def _pool(self, maps: Tensor, rows: Tensor | None) -> Tensor:
        """Mean and maximum over time of the mean over frequency, [B, 2 * channels]."""
        over_time = maps.mean(dim=3)  # [B, C, T']
        if rows is None:
            return torch.cat([over_time.mean(2), over_time.amax(2)], dim=1)
        # Maps are >= 0 after ReLU, so hidden rows (zeros) never win the maximum.
        count = rows.sum(1, keepdim=True).to(maps.dtype)  # [B, 1]
        return torch.cat([over_time.sum(2) / count, over_time.amax(2)], dim=1)
