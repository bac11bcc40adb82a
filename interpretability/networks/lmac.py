"""Decoders of L-MAC: a compact one for any classifier, and SpeechBrain's published one behind CNN14."""

from functools import partial

from speechbrain.lobes.models.Cnn14 import CNN14PSI_stft
from torch import Tensor, nn

from interpretability.classifiers.base import AnalysedBatch, Classifier
from interpretability.errors import UserError
from interpretability.grids import to_spectrogram_grid
from interpretability.networks.decoders import DecodingPath, FeatureMerge, MaskDecoder, draw_each_length, pad_for_cnn14


class CompactDecoder(nn.Module):
    """All feature maps merged coarse to fine, then up to the input grid with a few channels; see :class:`.LMAC`."""

    def __init__(self, classifier: Classifier, channels: int, decoder_channels: tuple[int, ...], class_gains: bool):
        super().__init__()
        self.path = DecodingPath(classifier, 1, len(decoder_channels))
        self.merge = FeatureMerge(classifier.feature_channels, channels)
        self.decoder = MaskDecoder(channels, decoder_channels, self.path.columns)
        self.gains = None
        if class_gains:
            self.gains = nn.Embedding(len(classifier.labels), sum(classifier.feature_channels))
            nn.init.zeros_(self.gains.weight)

    def forward(self, classifier: Classifier, batch: AnalysedBatch) -> Tensor:
        """Return mask logits [B, T, F]."""
        n_frames, n_bins = batch.spectrogram.magnitude.shape[1:]
        maps = batch.output.feature_maps
        if self.gains is not None:
            gains = (1 + self.gains(batch.target)).split([item.shape[1] for item in maps], dim=1)
            maps = tuple(item * gain[..., None, None] for item, gain in zip(maps, gains, strict=True))
        rows = classifier.valid_rows(batch.spectrogram.valid)[1:]
        merged = self.merge(maps, classifier.feature_grids(n_frames), rows)
        path, path_rows = self.path(n_frames, batch.spectrogram.valid)
        values = self.decoder(merged, path, path_rows)
        return to_spectrogram_grid(values, path[-1], n_frames, n_bins, path_rows[-1])


class PublishedDecoder(CNN14PSI_stft):
    """SpeechBrain's network with its parameter names, for any length of clip.

    It accepts maps of t, t, 2t and 4t + 1 rows and draws 32t + 9 frames: others are padded with zeros to the next such
    size, and what is drawn beyond the clip is cut.
    """

    def __init__(self, classifier: Classifier):
        feature_channels = classifier.feature_channels
        dim = feature_channels[-1] if feature_channels else 0
        wanted = (dim // 8, dim // 4, dim // 2, dim)
        if tuple(feature_channels[-4:]) != wanted:
            raise UserError(
                f"L-MAC: network cnn14 needs feature maps of {wanted} channels, got {tuple(feature_channels[-4:])}: "
                "it was made for the cnn14 classifier; use network: compact"
            )
        super().__init__(dim=dim)

    def forward(self, classifier: Classifier, batch: AnalysedBatch) -> Tensor:
        """Return mask logits [B, T, F]. The class is not an input: the feature maps depend on the predicted one."""
        decode = partial(self._decode, n_bins=batch.spectrogram.magnitude.shape[2])
        return draw_each_length(decode, classifier, batch, (-1, -2, -3, -4), together=self.training)

    def _decode(self, maps: tuple[Tensor, ...], n_bins: int) -> Tensor:
        drawn = super().forward(pad_for_cnn14(maps))[:, 0]  # [B, 32 * t + 9, F]
        if drawn.shape[2] < n_bins:
            raise UserError(
                f"L-MAC's published decoder draws {drawn.shape[2]} frequency bins, expected at least {n_bins}: it was "
                "made for 80 mel bands and an FFT of 1024; use network: compact"
            )
        return drawn[..., :n_bins]
