"""A mask that is optimised for each clip by itself: nothing is trained; the classifier is asked again and again.

It keeps what the classifier needs and removes what it would miss, which is what several metrics measure: by those alone
it cannot be compared with other methods. What else it is worth says another classifier that hears the same masks
(``transfer_to`` of an evaluation), and where they lie (localisation).
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from interpretability.classifiers.base import AnalysedBatch, Classifier
from interpretability.classifiers.second import open_second
from interpretability.explanation import Interpretation
from interpretability.methods.base import Interpreter
from interpretability.methods.optimiser import OptimiserSettings, optimise
from interpretability.metrics.areas import keep_top
from interpretability.settings import setting

#: Share of the bins, the loudest ones, that the start ``energy`` keeps.
LOUDEST = 0.2


@dataclass(frozen=True)
class OptimisedSettings(OptimiserSettings):
    """Settings of :class:`OptimisedMask`."""

    start: str = setting(
        "energy",
        "mask that it starts from. energy: the loudest fifth of the bins; even: 0.5 everywhere. Another method's mask "
        "is refined by --refine_steps",
        choices=("energy", "even"),
    )
    also: tuple[str, ...] = setting(
        (),
        "further classifiers that the same mask has to convince, so that it carries over: their run folders, or other "
        "sources; with the same classes by name, and the same STFT",
    )


class OptimisedMask(Interpreter):
    """The mask of each clip with the lowest objective (:func:`.optimise`) that a few steps of Adam find.

    Clips are optimised together, each by itself: the result of a clip depends neither on the others nor on padding.
    Silence, and a clip at which the classifier has no gradient, are *undefined*. The score ``steps`` counts the steps
    that a clip took until it stood still; each asks the classifier about In and about Out, and follows the gradient.

    Parameters
    ----------
    classifier : Classifier
    **settings
        Of :class:`OptimisedSettings`.

    Raises
    ------
    UserError
        If a setting does not fit, or a further classifier cannot be opened, or has another STFT.
    """

    NAME = "optimised"
    SUMMARY = "a mask optimised for each clip, by the classifier's answers to what it keeps and removes"
    Settings = OptimisedSettings
    trainable = False
    needs_gradient = True

    def __init__(self, classifier: Classifier, **settings: Any):
        super().__init__(classifier, **settings)
        # In a tuple, as the one that is explained.
        self._further = tuple(open_second(source, classifier) for source in self.settings.also)

    @property
    def classifiers(self) -> tuple[Classifier, ...]:
        """The classifier that is explained, and the further ones."""
        return (self.classifier, *self._further)

    @property
    def notes(self) -> tuple[str, ...]:
        """See :attr:`Interpreter.notes`."""
        return (
            *super().notes,
            "it optimises what Fid-In, AD, AI and FF measure: judge it by another classifier and by where it lies",
        )

    def _apply(self, function, *args, **kwargs):
        for classifier in self._further:
            classifier._apply(function, *args, **kwargs)
        return super()._apply(function, *args, **kwargs)

    def interpret(self, batch: AnalysedBatch) -> Interpretation:
        """See :meth:`Interpreter.interpret`."""
        optimised = optimise(batch, self._start(batch), self.settings, self.classifiers)
        return Interpretation(optimised.mask, scores={"steps": optimised.steps.double()}, undefined=optimised.undefined)

    def _start(self, batch: AnalysedBatch) -> Tensor:
        spectrogram = batch.spectrogram
        if self.settings.start == "even":
            return torch.full_like(spectrogram.magnitude, 0.5)
        return keep_top(spectrogram.magnitude, spectrogram.valid, LOUDEST)
