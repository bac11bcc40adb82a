"""L-MAC, listenable maps for audio classifiers (arXiv 2403.13086).

A decoder draws the mask from the classifier's feature maps, ``M = sigmoid(D(h_1 … h_4))``, and is trained on the
classifier's answers to what the mask keeps and to what it removes. A second training makes the explanation sound
better: clips whose explanation is already close to the clean sound are pulled towards it, the others keep their
regulariser.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from interpretability.classifiers.base import AnalysedBatch, Classifier
from interpretability.lengths import mean_over_valid
from interpretability.methods.base import Interpreter, MethodSettings, hide_invalid
from interpretability.methods.objectives import (
    batch_mean,
    mask_from,
    masked_cross_entropy,
    missing_surplus,
    reconstruction,
    surplus_setting,
    surplus_weight_setting,
    total_variation,
)
from interpretability.networks.lmac import CompactDecoder, PublishedDecoder
from interpretability.probabilities import MaskedLogits, log_odds
from interpretability.settings import WIDEST, setting
from interpretability.transfer import ClassRows

#: What is true of its mask where something else is asked.
PREDICTED = (
    "the mask is that of the class that is heard, whatever the target: it is drawn from the classifier's feature maps"
)


@dataclass(frozen=True)
class LMACSettings(MethodSettings):
    """Settings of :class:`LMAC`."""

    network: str = setting(
        "compact",
        "compact: all feature maps of any classifier, decoded up to its input grid. cnn14: SpeechBrain's CNN14PSI_stft "
        "on the last four feature maps of CNN14, with its parameter names",
        choices=("compact", "cnn14"),
    )
    channels: int = setting(32, "channels of the merged maps of the compact network", least=1, most=WIDEST)
    decoder_channels: tuple[int, ...] = setting(
        (16,),
        "channels of the compact network on each finer grid, from that of the finest feature map up to the input grid: "
        "one number behind strided convolutions, two to four from tokens",
        least=1,
        most=WIDEST,
    )
    class_gains: bool = setting(
        False,
        "whether the explained class scales each channel of the feature maps by a learned gain, so that the compact "
        "network knows which of two likely classes it is to explain; the published one does not",
    )
    stretch: float = setting(
        0.0,
        "s of M = min(max((1 + 2 s) sigmoid - s, 0), 1): what is nearly 0 or 1 becomes it, so that what is not kept "
        "takes no area; not published",
        least=0,
        most=1,
    )
    inside_weight: float = setting(4.0, "weight of CE(f(In), c)", least=0)
    surplus: float = surplus_setting()
    surplus_weight: float = surplus_weight_setting(0.0)
    outside_weight: float = setting(0.2, "weight of min(CE(f(Out), c), cap)", least=0)
    l1_weight: float = setting(
        6.4, "weight of the mean of the mask; the published 0.4 was multiplied by the batch size of 16", least=0
    )
    tv_weight: float = setting(0.0, "weight of the mask's squared differences in time and in frequency", least=0)
    cap: float | None = setting(10.0, "bound of Out's cross-entropy; the published one has none", unit="nats", above=0)
    guidance: str | None = setting(
        None,
        "what pulls clips towards the clean sound X_c in fine-tuning. binary: the cross-entropy of the mask against "
        "X_c >= loud_fraction * max X_c; magnitude: the mean of (M X - X_c)²",
        choices=(None, "binary", "magnitude"),
    )
    guidance_weight: float = setting(4.0, "weight of the guidance", least=0)
    gate: float = setting(
        0.6, "least cosine of explanation and clean sound at which a clip gets the guidance", least=-1, most=1
    )
    loud_fraction: float = setting(
        0.35, "share of the clean sound's largest log magnitude that is loud", least=0, most=1
    )


@dataclass
class LMACPrediction:
    """What L-MAC's decoder computes for a batch: the mask [B, T, F], and its logits."""

    mask: Tensor
    mask_logits: Tensor


class LMAC(Interpreter):
    """Listenable maps for audio classifiers.

    Per clip the loss is ``inside_weight * CE(f(In), c) - outside_weight * min(CE(f(Out), c), cap) + R`` with the
    regulariser ``R = l1_weight * mean M + tv_weight * (mean Δ_t M² + mean Δ_f M²)``. With a ``surplus_weight``, which
    is not published, ``surplus_weight * relu(z(X) + surplus - z(In))`` is added, z being the log odds of the class.
    With ``guidance`` a clip whose explanation resembles the clean sound (``cosine(X_c, M X) >= gate``) has
    ``guidance_weight * G`` in place of R; X_c is the clean sound's log magnitude where noise was mixed in, else X.

    Parameters
    ----------
    classifier : Classifier
    **settings
        Of :class:`LMACSettings`.

    Raises
    ------
    UserError
        If a setting does not fit, or the published network meets feature maps that do not fit.
    """

    NAME = "lmac"
    SUMMARY = "a mask that keeps the decision, and without which it is lost"
    Settings = LMACSettings
    uses_masked_logits = True
    needs_gradient = True

    def __init__(self, classifier: Classifier, **settings):
        super().__init__(classifier, **settings)
        chosen: LMACSettings = self.settings
        if chosen.network == "compact":
            self.psi = CompactDecoder(classifier, chosen.channels, chosen.decoder_channels, chosen.class_gains)
        else:
            self.psi = PublishedDecoder(classifier)

    @property
    def _class_gains(self) -> bool:
        return self.settings.class_gains and self.settings.network == "compact"

    @property
    def classes_only(self) -> str:
        """See :attr:`Interpreter.classes_only`."""
        return "its gains (class_gains) belong to the classes that it was trained on" if self._class_gains else ""

    @property
    def notes(self) -> tuple[str, ...]:
        """See :attr:`Interpreter.notes`."""
        return (*super().notes, *(() if self.classifier.question is None else (PREDICTED,)))

    def class_rows(self) -> dict[str, ClassRows]:
        """See :meth:`Interpreter.class_rows`: the gains. Those of a new class start from the mean of the others'."""
        if not self._class_gains:
            return {}
        return {"psi.gains.weight": ClassRows(torch.arange(len(self.classifier.labels)), "mean")}

    def forward(self, batch: AnalysedBatch) -> LMACPrediction:
        """Draw the masks of a batch."""
        logits = self.psi(self.classifier, batch)
        mask = mask_from(logits.float(), self.settings.stretch)
        return LMACPrediction(hide_invalid(mask, batch.spectrogram), logits)

    def objective(
        self, batch: AnalysedBatch, prediction: LMACPrediction, masked: MaskedLogits | None
    ) -> dict[str, Tensor]:
        """See :meth:`Interpreter.objective`: the in/out pair and the regulariser; the gate and G when fine-tuning."""
        settings, spectrogram = self.settings, batch.spectrogram
        valid, mask = spectrogram.valid, prediction.mask.float()
        pair = masked_cross_entropy(masked, batch.target, self.classifier.task, settings.cap)
        terms = {
            "ce_inside": pair.inside,
            "ce_outside": pair.outside,
            "area": mean_over_valid(mask, valid),
            "variation": total_variation(mask, valid),
        }
        regulariser = settings.l1_weight * terms["area"] + settings.tv_weight * terms["variation"]
        if settings.guidance is not None:
            clean = (spectrogram if batch.clean is None else batch.clean).log_magnitude
            passed = (similarity(clean, mask * spectrogram.log_magnitude) >= settings.gate).to(mask.dtype)  # [B]
            if settings.guidance == "binary":
                guided = reconstruction(prediction.mask_logits, clean, valid, settings.loud_fraction, inclusive=True)
            else:
                guided = mean_over_valid((mask * spectrogram.log_magnitude - clean).square(), valid)
            regulariser = passed * settings.guidance_weight * guided + (1 - passed) * regulariser
            terms |= {"gate": passed, "guidance": guided}
        loss = settings.inside_weight * pair.inside - settings.outside_weight * pair.outside + regulariser
        if settings.surplus_weight:
            whole = log_odds(batch.output.logits.float(), batch.target, self.classifier.task)
            missing = missing_surplus(masked, batch.target, self.classifier.task, whole, settings.surplus)
            loss, terms["missing"] = loss + settings.surplus_weight * missing, missing
        return batch_mean({"loss": loss, **terms})


@torch.no_grad()
def similarity(first: Tensor, second: Tensor) -> Tensor:
    """Return the cosine of two maps [B, T, F] of each clip, [B]; 0 where one of them is all zero. No gradient."""
    first, second = first.flatten(1).double(), second.flatten(1).double()
    norms = first.norm(dim=1) * second.norm(dim=1)
    return torch.where(norms > 0, (first * second).sum(1) / norms.clamp(min=1e-300), torch.zeros_like(norms))
