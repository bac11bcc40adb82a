"""``cnn14``: SpeechBrain's ``Cnn14`` (PANNs, arXiv 1912.10211) on log-mel spectrograms, with a linear head."""

from dataclasses import dataclass
from itertools import pairwise

import torch
from speechbrain.lobes.models.Cnn14 import Cnn14, ConvBlock
from speechbrain.lobes.models.ECAPA_TDNN import Classifier as CosineHead
from speechbrain.processing.features import Filterbank
from torch import Tensor, nn
from torch.nn import functional

from interpretability.classifiers.base import Classifier, ClassifierOutput
from interpretability.errors import UserError
from interpretability.grids import Grid, whole_windows, window_centres
from interpretability.settings import MOST_BANDS, WIDEST, Settings, setting

# Five halvings need this many frames, and as many mel bands; shorter clips are padded with silence.
MIN_FRAMES = 32
# Fixed in SpeechBrain's network: dropout after every block, channels of the first one.
DROPOUT = 0.2
PUBLISHED_CHANNELS = 64
# Of SpeechBrain's Filterbank in decibels: smallest magnitude, and range below a clip's loudest value.
SMALLEST, RANGE = 1e-10, 80.0


@dataclass(frozen=True)
class Cnn14Settings(Settings):
    """Settings of ``cnn14``."""

    n_mels: int = setting(80, "mel bands, halved five times; published: 80", least=MIN_FRAMES, most=MOST_BANDS)
    emb_dim: int = setting(
        2048, "channels of the last block, and size of the embedding; published: 2048", least=1, most=WIDEST
    )
    base_channels: int = setting(
        PUBLISHED_CHANNELS,
        "channels of the first block; each of the next four has twice as many",
        least=1,
        most=WIDEST // 16,
    )
    features: str = setting(
        "log1p",
        "what the network sees of mel magnitudes: log1p, as in SpeechBrain's recipes since July 2024; db: decibels, at "
        "most 80 below the loudest, as in its published model before",
        choices=("log1p", "db"),
    )
    f_max: float | None = setting(
        None, "upper end of the mel bands, at most half the sampling rate, which is the default", unit="Hz", above=0
    )
    head: str = setting(
        "linear", "the last layer: linear, or cosine, SpeechBrain's for speakers", choices=("linear", "cosine")
    )
    logit_scale: float = setting(1.0, "factor of the head's output; 1 is right for training with cross-entropy")


class Cnn14Classifier(Classifier):
    """Six blocks of two 3x3 convolutions, the first five halved by average pooling, on log mel magnitudes.

    Parameter names are those of SpeechBrain's ``Cnn14`` and of the head under ``embedding_model`` and
    ``classifier``, so that the files ``embedding_model.ckpt`` and ``classifier.ckpt`` of published checkpoints load as
    they are. Feature maps are the outputs of the blocks, before dropout; the last four, coarsest first, are what the
    published interpreters take. The published checkpoint was trained with a softmax of scale 30: its ``logit_scale`` is
    30.
    """

    NAME = "cnn14"
    Settings = Cnn14Settings
    HEAD = ("classifier",)

    def build(self) -> None:
        n_mels, emb_dim = self.settings.n_mels, self.settings.emb_dim
        self.feature_channels = (*(self.settings.base_channels * 2**block for block in range(5)), emb_dim)
        self.feature_strides = (2, 4, 8, 16, 32, 32)
        rate = self.frontend.settings.sample_rate
        n_fft = self.frontend.settings.n_fft
        f_max = rate // 2 if self.settings.f_max is None else self.settings.f_max
        if f_max > rate / 2:
            raise UserError(f"f_max is {f_max:g}, expected at most {rate / 2:g} Hz, half the sampling rate")
        filters = Filterbank(n_mels=n_mels, f_max=f_max, n_fft=n_fft, sample_rate=rate, log_mel=False)
        # SpeechBrain builds its matrix in every call, on the CPU. It is linear: its output for the unit vectors is that
        # matrix, which is not part of the published state.
        weights = filters(torch.eye(self.frontend.settings.n_bins)[None])[0]  # [F, n_mels]
        self.register_buffer("mel_weights", weights, persistent=False)
        self._mel_hertz = filters.f_central.double()
        self.embedding_model = Cnn14(mel_bins=n_mels, emb_dim=emb_dim, norm_type="bn", return_reps=True)
        if self.settings.base_channels != PUBLISHED_CHANNELS:
            for number, (before, after) in enumerate(pairwise((1, *self.feature_channels)), 1):
                setattr(self.embedding_model, f"conv_block{number}", ConvBlock(before, after, "bn"))
        if self.settings.head == "linear":
            self.classifier: nn.Module = nn.Linear(emb_dim, len(self.labels))
        else:
            self.classifier = CosineHead(emb_dim, lin_blocks=1, lin_neurons=192, out_neurons=len(self.labels))

    @property
    def layer_levels(self) -> dict[str, int]:
        """See :attr:`Classifier.layer_levels`: the blocks."""
        return {f"embedding_model.conv_block{level + 1}": level for level in range(len(self.feature_channels))}

    def log_mel(self, magnitude: Tensor) -> Tensor:
        """Return ``log1p(mel(A))``, or mel(A) in dB, [B, T, n_mels]."""
        mel = magnitude @ self.mel_weights
        if self.settings.features == "log1p":
            return torch.log1p(mel)
        levels = 10 * mel.clamp(min=SMALLEST).log10()
        return torch.maximum(levels, levels.amax(dim=(1, 2), keepdim=True) - RANGE)

    def forward(self, magnitude: Tensor, valid: Tensor | None = None) -> ClassifierOutput:
        """See :meth:`Classifier.forward`. In training mode a batch is one padded whole (batch norm needs it)."""
        return self.each_length_alone(self._forward, magnitude, valid)

    def feature_grids(self, n_frames: int) -> tuple[Grid, ...]:
        """Return the centres: pooling puts a cell in the middle of its window, in frames and in mel bands."""
        bands = self.mel_centres()
        rows = self.feature_rows(n_frames)[1:]
        grids = []
        for count, stride in zip(rows, self.feature_strides, strict=True):
            places = window_centres(self.settings.n_mels // stride, stride)  # in mel bands, half-way between two
            below = places.floor().long()
            bins = torch.lerp(bands[below], bands[below + 1], places - below)
            grids.append(Grid(window_centres(count, stride), bins))
        return tuple(grids)

    def input_grid(self, n_frames: int) -> Grid:
        """Return the grid of the log-mel spectrogram."""
        return Grid(torch.arange(n_frames, dtype=torch.float64), self.mel_centres())

    def feature_rows(self, n_frames: int | Tensor) -> tuple[int | Tensor, ...]:
        """See :meth:`Classifier.feature_rows`; a short clip is padded to ``MIN_FRAMES``."""
        return whole_windows(n_frames, self.feature_strides, MIN_FRAMES)

    def mel_centres(self) -> Tensor:
        """Return the centre of each mel band in (fractional) frequency bins [n_mels], strictly ascending.

        It is the nominal one, the tip of the triangle, and not its mean bin: low bands can be narrower than a bin, and
        then two of them share their only bin or have none.
        """
        settings = self.frontend.settings
        return self._mel_hertz * (settings.n_fft / settings.sample_rate)

    def _forward(self, magnitude: Tensor) -> ClassifierOutput:
        encoder = self.embedding_model
        magnitude = functional.pad(magnitude, (0, 0, 0, max(0, MIN_FRAMES - magnitude.shape[1])))
        mel = self.log_mel(magnitude)  # [B, T, n_mels]
        maps = encoder.norm0(mel.transpose(1, 2)[..., None])  # [B, n_mels, T, 1]: normalised band by band
        maps = maps.transpose(1, 3)  # [B, 1, T, n_mels]
        feature_maps = []
        for number, pool in enumerate((2, 2, 2, 2, 2, 1), 1):
            block = getattr(encoder, f"conv_block{number}")
            feature_maps.append(block(maps, pool_size=(pool, pool), pool_type="avg"))
            maps = functional.dropout(feature_maps[-1], DROPOUT, self.training)
        over_time = maps.mean(dim=3)  # [B, emb_dim, T']
        embedding = over_time.amax(dim=2) + over_time.mean(dim=2)  # [B, emb_dim]
        scores = self.classifier(embedding)
        logits = self.settings.logit_scale * (scores[:, 0] if scores.ndim == 3 else scores)
        return ClassifierOutput(logits, embedding, tuple(feature_maps))
