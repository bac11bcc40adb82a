"""What a second classifier hears in the masks of a first one: a mask that convinces one alone is about that model."""

from __future__ import annotations

import math
from dataclasses import dataclass

from torch import Tensor

from interpretability.classifiers.base import AnalysedBatch, Classifier
from interpretability.classifiers.second import heard_by, hears
from interpretability.metrics.suite import TRANSFER, TRANSFERRED, MetricSuite


@dataclass(frozen=True)
class SecondOpinion:
    """A batch as a second classifier hears it.

    Attributes
    ----------
    classifier : Classifier
        The second one.
    batch : AnalysedBatch
        Its own answer, with the same explained classes.
    agreed : Tensor [B], bool
        Clips in which both classifiers hear the explained class: of others there is nothing to carry over.
    """

    classifier: Classifier
    batch: AnalysedBatch
    agreed: Tensor

    @classmethod
    def of(cls, second: Classifier, first: Classifier, batch: AnalysedBatch) -> SecondOpinion:
        """Let a second classifier hear a batch that the first one has analysed."""
        heard = heard_by(second, first, batch)
        agreed = hears(first, batch) & hears(second, heard)
        return cls(second, heard, agreed)

    def measure(
        self, mask: Tensor, apply: str, places: tuple[str, ...], undefined: Tensor | None
    ) -> dict[str, dict[str, Tensor]]:
        """Return Fid-In, AD and FF of masks [B, T, F] by the second classifier, [B], for each place.

        NaN of clips in which the classifiers do not both hear the class, or that have no explanation.
        """
        without = ~self.agreed if undefined is None else ~self.agreed | undefined
        measured = MetricSuite(self.classifier, apply)(self.batch, mask, places, undefined=without)
        return {
            place: {f"{TRANSFER}{name}": values[name].masked_fill(without, math.nan) for name in TRANSFERRED}
            for place, values in measured.items()
        }
