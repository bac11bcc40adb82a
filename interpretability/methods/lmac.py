"""L-MAC, listenable maps for audio classifiers (arXiv 2403.13086).

A decoder draws the mask from the classifier's feature maps, ``M = sigmoid(D(h_1 … h_4))``, and is trained on what the
classifier says of what the mask keeps and of what it removes. A second training makes the explanation sound better:
clips whose explanation is already close to the clean sound are drawn towards it, the others keep their regulariser.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from speechbrain.lobes.models.Cnn14 import CNN14PSI_stft
from torch import Tensor, nn

from interpretability.classifiers.base import Classifier, ClassifierOutput, MaskedLogits
from interpretability.errors import UserError
from interpretability.frontend import Spectrogram
from interpretability.grids import fit_frames, to_spectrogram_grid
from interpretability.lengths import groups_of_equal_length, mean_over_valid, reassemble
from interpretability.methods.base import Interpreter, hide_invalid
from interpretability.methods.objectives import batch_mean, masked_cross_entropy, reconstruction, total_variation
from interpretability.networks.decoders import DecodingPath, FeatureMerge, MaskDecoder, pad_for_cnn14

GUIDANCE = (None, "binary", "magnitude")


@dataclass
class LMACPrediction:
    """What L-MAC's decoder makes of a batch.

    Attributes
    ----------
    mask_logits, mask : Tensor [B, T, F]
    """

    mask_logits: Tensor
    mask: Tensor


class LMAC(Interpreter):
    """Listenable maps for audio classifiers.

    Per clip the loss is ``inside_weight * CE(f(In), c) - outside_weight * min(CE(f(Out), c), cap) + R`` with the
    regulariser ``R = l1_weight * mean M + tv_weight * (mean Δ_t M² + mean Δ_f M²)``. With ``guidance`` a clip whose
    explanation resembles the clean sound (``cosine(X_c, M X) >= gate``) has ``guidance_weight * G`` in place of R.

    Parameters
    ----------
    classifier : Classifier
    network : {"compact", "cnn14"}
        ``compact``: all feature maps merged coarse to fine with few channels, decoded to the classifier's own input
        grid and interpolated to [T, F]. ``cnn14``: SpeechBrain's ``CNN14PSI_stft`` on the last four feature maps of
        CNN14, with its parameter names.
    channels : int
        Of the merged maps of the compact network.
    decoder_channels : sequence of int
        Channels of the compact network on each finer grid, from that of the finest feature map up to the input grid
        (:class:`~interpretability.decoders.DecodingPath`): one behind strided convolutions, two to four from tokens.
    class_gains : bool
        Of the compact network, and ours: the explained class scales each channel of the feature maps by a learned
        gain, so that the decoder knows which of two likely classes it is to explain. The published one does not.
    inside_weight, outside_weight : float
    l1_weight, tv_weight : float
        The published L1 weight of 0.4 was multiplied by the batch size of 16.
    cap : float or None
        Bound of the outside term in nats; the published one has none.
    guidance : {None, "binary", "magnitude"}
        G of the fine-tuning: the mean binary cross-entropy of the mask against ``X_c >= loud_fraction * max X_c``, or
        the mean of ``(M X - X_c)²``. X_c is the clean sound's log magnitude where noise was mixed in, else X.
    guidance_weight, gate, loud_fraction : float
    apply : {"log", "linear"}

    Raises
    ------
    UserError
        If a setting is unknown, or the published network meets feature maps that do not fit.
    """

    NAME = "lmac"
    uses_masked_logits = True

    def __init__(
        self,
        classifier: Classifier,
        network: str = "compact",
        channels: int = 32,
        decoder_channels: tuple[int, ...] = (16,),
        class_gains: bool = False,
        inside_weight: float = 4.0,
        outside_weight: float = 0.2,
        l1_weight: float = 6.4,
        tv_weight: float = 0.0,
        cap: float | None = 10.0,
        guidance: str | None = None,
        guidance_weight: float = 4.0,
        gate: float = 0.6,
        loud_fraction: float = 0.35,
        apply: str = "log",
    ):
        super().__init__(
            classifier,
            apply,
            network=network,
            channels=channels,
            decoder_channels=list(decoder_channels),
            class_gains=bool(class_gains),
            inside_weight=inside_weight,
            outside_weight=outside_weight,
            l1_weight=l1_weight,
            tv_weight=tv_weight,
            cap=cap,
            guidance=guidance,
            guidance_weight=guidance_weight,
            gate=gate,
            loud_fraction=loud_fraction,
        )
        if guidance not in GUIDANCE:
            raise UserError(f"L-MAC: guidance is {guidance!r}, expected one of {GUIDANCE}")
        self.inside_weight, self.outside_weight = float(inside_weight), float(outside_weight)
        self.l1_weight, self.tv_weight = float(l1_weight), float(tv_weight)
        self.cap = None if cap is None else float(cap)
        self.guidance, self.guidance_weight = guidance, float(guidance_weight)
        self.gate, self.loud_fraction = float(gate), float(loud_fraction)
        if network == "compact":
            self.psi = CompactDecoder(classifier, int(channels), tuple(decoder_channels), bool(class_gains))
        elif network == "cnn14":
            self.psi = PublishedDecoder(classifier.feature_channels)
        else:
            raise UserError(f"L-MAC: network is {network!r}, expected 'compact' or 'cnn14'")

    def forward(self, spectrogram: Spectrogram, output: ClassifierOutput, target: Tensor) -> LMACPrediction:
        """Draw the masks of a batch."""
        logits = self.psi(self.classifier, spectrogram, output, target)
        return LMACPrediction(logits, hide_invalid(torch.sigmoid(logits.float()), spectrogram))

    def mask(self, spectrogram: Spectrogram, output: ClassifierOutput, target: Tensor) -> Tensor:
        """See :meth:`Interpreter.mask`."""
        return self(spectrogram, output, target).mask

    def objective(
        self,
        prediction: LMACPrediction,
        spectrogram: Spectrogram,
        output: ClassifierOutput,
        target: Tensor,
        masked: MaskedLogits | None,
        clean: Spectrogram | None = None,
    ) -> dict[str, Tensor]:
        """See :meth:`Interpreter.objective`: the in/out pair and the regulariser; the gate and G when fine-tuning."""
        valid, mask = spectrogram.valid, prediction.mask.float()
        pair = masked_cross_entropy(masked, target, self.classifier.task, self.cap)
        terms = {
            "ce_inside": pair.inside,
            "ce_outside": pair.outside,
            "area": mean_over_valid(mask, valid),
            "variation": total_variation(mask, valid),
        }
        regulariser = self.l1_weight * terms["area"] + self.tv_weight * terms["variation"]
        if self.guidance is not None:
            clean_log = (spectrogram if clean is None else clean).log_magnitude
            passed = (similarity(clean_log, mask * spectrogram.log_magnitude) >= self.gate).to(mask.dtype)  # [B]
            if self.guidance == "binary":
                guided = reconstruction(prediction.mask_logits, clean_log, valid, self.loud_fraction, inclusive=True)
            else:
                guided = mean_over_valid((mask * spectrogram.log_magnitude - clean_log).square(), valid)
            regulariser = passed * self.guidance_weight * guided + (1 - passed) * regulariser
            terms |= {"gate": passed, "guidance": guided}
        loss = self.inside_weight * pair.inside - self.outside_weight * pair.outside + regulariser
        return batch_mean({"loss": loss, **terms})


@torch.no_grad()
def similarity(first: Tensor, second: Tensor) -> Tensor:
    """Return the cosine of two maps [B, T, F] of each clip, [B]; 0 where one of them is all zero. No gradient."""
    first, second = first.flatten(1).double(), second.flatten(1).double()
    norms = first.norm(dim=1) * second.norm(dim=1)
    return torch.where(norms > 0, (first * second).sum(1) / norms.clamp(min=1e-300), torch.zeros_like(norms))


class CompactDecoder(nn.Module):
    """All feature maps merged coarse to fine, then up to the input grid with a few channels; see :class:`LMAC`."""

    def __init__(self, classifier: Classifier, channels: int, decoder_channels: tuple[int, ...], class_gains: bool):
        super().__init__()
        self.path = DecodingPath(classifier, 1, len(decoder_channels))
        self.merge = FeatureMerge(classifier.feature_channels, channels)
        self.decoder = MaskDecoder(channels, decoder_channels, self.path.columns)
        self.gains = None
        if class_gains:
            self.gains = nn.Embedding(len(classifier.labels), sum(classifier.feature_channels))
            nn.init.zeros_(self.gains.weight)

    def forward(
        self, classifier: Classifier, spectrogram: Spectrogram, output: ClassifierOutput, target: Tensor
    ) -> Tensor:
        """Return mask logits [B, T, F]."""
        n_frames, n_bins = spectrogram.magnitude.shape[1:]
        maps = output.feature_maps
        if self.gains is not None:
            gains = (1 + self.gains(target)).split([item.shape[1] for item in maps], dim=1)
            maps = tuple(item * gain[..., None, None] for item, gain in zip(maps, gains, strict=True))
        rows = classifier.valid_rows(spectrogram.valid)[1:]
        merged = self.merge(maps, classifier.feature_grids(n_frames), rows)
        path, path_rows = self.path(n_frames, spectrogram.valid)
        values = self.decoder(merged, path, path_rows)
        return to_spectrogram_grid(values, path[-1], n_frames, n_bins, path_rows[-1])


class PublishedDecoder(CNN14PSI_stft):
    """SpeechBrain's network with its parameter names, for any length of clip.

    It accepts maps of t, t, 2t and 4t + 1 rows and draws 32t + 9 frames: others are padded with zeros to the next such
    size, and what is drawn beyond the clip is cut.
    """

    def __init__(self, feature_channels: tuple[int, ...]):
        dim = feature_channels[-1]
        wanted = (dim // 8, dim // 4, dim // 2, dim)
        if tuple(feature_channels[-4:]) != wanted:
            raise UserError(
                f"L-MAC: network cnn14 needs feature maps of {wanted} channels, got {tuple(feature_channels[-4:])}: "
                "it was made for the cnn14 classifier; use network: compact"
            )
        super().__init__(dim=dim)

    def forward(
        self, classifier: Classifier, spectrogram: Spectrogram, output: ClassifierOutput, target: Tensor
    ) -> Tensor:
        """Return mask logits [B, T, F]. The class does not enter: the feature maps speak of the predicted one."""
        n_frames, n_bins = spectrogram.magnitude.shape[1:]
        coarse_first = output.feature_maps[:-5:-1]
        if self.training or bool(spectrogram.valid.all()):
            return self._decode(coarse_first, n_frames, n_bins)
        # Transposed convolutions would carry padding into the clip: each length runs alone.
        indices, parts = [], []
        for index, count in groups_of_equal_length(spectrogram.valid, len(spectrogram)):
            rows = classifier.feature_rows(count)[:-5:-1]
            own = tuple(maps[index, :, :size] for maps, size in zip(coarse_first, rows, strict=True))
            indices.append(index)
            parts.append(self._decode(own, count, n_bins))
        return reassemble(indices, parts, axis=1, size=n_frames)

    def _decode(self, maps: tuple[Tensor, ...], n_frames: int, n_bins: int) -> Tensor:
        drawn = super().forward(pad_for_cnn14(maps))[:, 0]  # [B, 32 * t + 9, F]
        if drawn.shape[2] < n_bins:
            raise UserError(
                f"L-MAC's published decoder draws {drawn.shape[2]} frequency bins, expected at least {n_bins}: it was "
                "made for 80 mel bands and an FFT of 1024; use network: compact"
            )
        return fit_frames(drawn[..., :n_bins], n_frames)
