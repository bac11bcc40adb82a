"""PIQ, post-hoc interpretation via quantisation (arXiv 2303.12659).

``u = Adapter(h)`` is quantised with a codebook whose keys are split among the classes, each position taking the
nearest key *of the explained class*; a decoder draws the mask from the keys alone, ``M = sigmoid(Dec(e))``.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from interpretability.classifiers.base import AnalysedBatch, Classifier
from interpretability.methods.base import Interpreter, MethodSettings, hide_invalid
from interpretability.methods.objectives import batch_mean, masked_cross_entropy, reconstruction, squared_distance
from interpretability.networks.piq import IMAGE_NETWORKS, CompactPSI, Drawing, PublishedPSI
from interpretability.probabilities import MaskedLogits
from interpretability.settings import WIDEST, setting
from interpretability.transfer import ClassRows


@dataclass(frozen=True)
class PIQSettings(MethodSettings):
    """Settings of :class:`PIQ`."""

    network: str = setting(
        "compact",
        "compact: for any classifier with feature maps. published (behind conv2d), vit and focalnet: SpeechBrain's "
        "networks on the last feature map, with their parameter names",
        choices=("compact", "published", *IMAGE_NETWORKS),
    )
    codebook_size: int = setting(320, "keys in all, split among the classes", least=1, most=2**20)
    shared_keys: int = setting(0, "keys that every class may use, among those in all", least=0, most=2**20)
    partition: str = setting(
        "even",
        "keys of each class. even: their numbers differ by at most one; published: by the rounding of the published "
        "code, which imported checkpoints keep",
        choices=("even", "published"),
    )
    channels: int = setting(
        64, "values of a key of the compact network; the published ones take the classifier's", least=1, most=WIDEST
    )
    decoder_channels: tuple[int, ...] = setting(
        (32, 16),
        "channels of the compact decoder on each finer grid: strides 2 and 1 behind strided convolutions; from tokens "
        "one number for each halving, the last one for the input grid",
        least=1,
        most=WIDEST,
    )
    rec_weight: float = setting(1.0, "weight of the reconstruction of the loud bins", least=0)
    commitment: float = setting(1.0, "weight of the distance of the features to their keys", least=0)
    faithfulness_weight: float = setting(
        0.0,
        "weight of the faithfulness term, the classifier's answer to In and Out; 0 in the published objective",
        least=0,
    )
    outside_weight: float = setting(0.05, "weight of Out within the faithfulness term", least=0)
    cap: float | None = setting(10.0, "bound of Out's cross-entropy", unit="nats", above=0)
    loud_fraction: float = setting(
        0.35,
        "the decoder draws the bins whose log magnitude is above this share of the clip's largest",
        least=0,
        most=1,
    )


@dataclass
class PIQPrediction:
    """What PIQ computes for a batch: the mask [B, T, F], and what it was drawn from."""

    mask: Tensor
    drawing: Drawing


class PIQ(Interpreter):
    """Post-hoc interpretation via quantisation.

    Per clip the loss is ``rec_weight * BCE(M, 1[X > loud_fraction * max X]) + mean|sg(u) - e|² + commitment *
    mean|u - sg(e)|²``, plus ``faithfulness_weight * (CE(f(In), c) - outside_weight * min(CE(f(Out), c), cap))``.

    Parameters
    ----------
    classifier : Classifier
        Its number of classes and its feature maps set the sizes.
    **settings
        Of :class:`PIQSettings`.

    Raises
    ------
    UserError
        If a setting does not fit, a class has no key, or a published network meets feature maps that do not fit.
    """

    NAME = "piq"
    SUMMARY = "a mask drawn from keys of the explained class"
    Settings = PIQSettings

    def __init__(self, classifier: Classifier, **settings):
        super().__init__(classifier, **settings)
        chosen: PIQSettings = self.settings
        n_classes = len(classifier.labels)
        sizes = (chosen.codebook_size, n_classes, chosen.shared_keys)
        if chosen.network == "compact":
            self.psi = CompactPSI(classifier, *sizes, chosen.channels, chosen.decoder_channels, chosen.partition)
        else:
            network = PublishedPSI if chosen.network == "published" else IMAGE_NETWORKS[chosen.network]
            self.psi = network(classifier, *sizes, chosen.partition)

    @property
    def classes_only(self) -> str:
        """See :attr:`Interpreter.classes_only`."""
        return "its keys belong to the classes that it was trained on"

    def class_rows(self) -> dict[str, ClassRows]:
        """See :meth:`Interpreter.class_rows`: the keys. Those of a new class start from other classes' keys."""
        return {"psi.codebook.embedding.weight": ClassRows(self._key_classes, "drawn")}

    @property
    def _key_classes(self) -> Tensor:
        """Class of each key [K], of whichever network."""
        return (self.psi.codebook if self.settings.network == "compact" else self.psi).classes

    @property
    def uses_masked_logits(self) -> bool:
        """See :attr:`Interpreter.uses_masked_logits`."""
        return self.settings.faithfulness_weight > 0

    def forward(self, batch: AnalysedBatch) -> PIQPrediction:
        """Draw the masks of a batch, with everything the objective needs."""
        drawing = self.psi(self.classifier, batch)
        return PIQPrediction(hide_invalid(torch.sigmoid(drawing.mask_logits.float()), batch.spectrogram), drawing)

    def objective(
        self, batch: AnalysedBatch, prediction: PIQPrediction, masked: MaskedLogits | None
    ) -> dict[str, Tensor]:
        """See :meth:`Interpreter.objective`: reconstruction, codebook and commitment, optional faithfulness."""
        settings, drawing, spectrogram = self.settings, prediction.drawing, batch.spectrogram
        adapted, quantised = drawing.adapted.float(), drawing.quantised.float()
        terms = {
            "reconstruction": reconstruction(
                drawing.mask_logits, spectrogram.log_magnitude, spectrogram.valid, settings.loud_fraction
            ),
            "codebook": squared_distance(adapted.detach(), quantised, drawing.rows),
            "commitment": squared_distance(adapted, quantised.detach(), drawing.rows),
        }
        loss = (
            settings.rec_weight * terms["reconstruction"]
            + terms["codebook"]
            + settings.commitment * terms["commitment"]
        )
        if self.uses_masked_logits:
            pair = masked_cross_entropy(masked, batch.target, self.classifier.task, settings.cap)
            terms |= {"ce_inside": pair.inside, "ce_outside": pair.outside}
            loss = loss + settings.faithfulness_weight * (pair.inside - settings.outside_weight * pair.outside)
        return batch_mean({"loss": loss, **terms})
