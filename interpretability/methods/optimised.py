"""A mask that is optimised for each clip by itself: nothing is trained; the classifier is asked again and again.

It keeps what the classifier needs and removes what it would miss, which is what several metrics measure: by those alone
it cannot be compared with other methods. What else it is worth says another classifier that hears the same masks
(``transfer_to`` of an evaluation), and where they lie (localisation).
"""

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from interpretability.classifiers.base import AnalysedBatch, Classifier
from interpretability.classifiers.gradient import gradient_errors
from interpretability.explanation import Interpretation
from interpretability.methods.further import WithFurther
from interpretability.methods.optimiser import Kept, OptimiserSettings, optimise
from interpretability.metrics.areas import keep_top
from interpretability.probabilities import log_odds
from interpretability.settings import setting

#: Share of the bins that the starts ``energy`` and ``gradient`` keep.
STARTING = 0.2


@dataclass(frozen=True)
class OptimisedSettings(OptimiserSettings):
    """Settings of :class:`OptimisedMask`."""

    start: str = setting(
        "gradient",
        "mask that it starts from. gradient: the fifth of the bins whose log magnitude times the gradient of the "
        "class's log odds is highest; energy: the loudest fifth; even: 0.5 everywhere. Masks of another method are "
        "refined by --refine_steps",
        choices=("gradient", "energy", "even"),
    )
    also: tuple[str, ...] = setting(
        (),
        "further classifiers that the same mask has to convince, so that it carries over: their run folders, or other "
        "sources; with the same classes by name, and the same STFT",
    )


class OptimisedMask(WithFurther):
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
    FURTHER = "also"
    SUMMARY = "a mask optimised for each clip, by the classifier's answers to what it keeps and removes"
    Settings = OptimisedSettings
    trainable = False
    needs_gradient = True

    @property
    def classifiers(self) -> tuple[Classifier, ...]:
        """See :attr:`Interpreter.classifiers`: the further ones follow."""
        return (self.classifier, *self.further)

    @property
    def notes(self) -> tuple[str, ...]:
        """See :attr:`Interpreter.notes`."""
        return (
            *super().notes,
            "it optimises what Fid-In, AD, AI and FF measure: judge it by another classifier and by where it lies",
        )

    def interpret(self, batch: AnalysedBatch) -> Interpretation:
        """See :meth:`Interpreter.interpret`."""
        judge = Kept(batch, self.settings, self.classifiers)
        optimised = optimise(batch, self._start(batch), self.settings, judge, self.classifier.title)
        return Interpretation(optimised.mask, scores={"steps": optimised.steps.double()}, undefined=optimised.undefined)

    def _start(self, batch: AnalysedBatch) -> Tensor:
        spectrogram = batch.spectrogram
        if self.settings.start == "even":
            return torch.full_like(spectrogram.magnitude, 0.5)
        if self.settings.start == "gradient":
            return keep_top(self._input_x_gradient(batch), spectrogram.valid, STARTING)
        return keep_top(spectrogram.magnitude, spectrogram.valid, STARTING)

    def _input_x_gradient(self, batch: AnalysedBatch) -> Tensor:
        """Return the log magnitude times the gradient of the class's log odds, [B, T, F]; 0 where there is none."""
        loud = batch.spectrogram.log_magnitude.requires_grad_()
        with torch.enable_grad(), gradient_errors(self.classifier.title):
            spectrogram = replace(batch.spectrogram, magnitude=torch.expm1(loud))
            score = log_odds(self.classifier.logits_for_gradient(spectrogram), batch.target, self.classifier.task)
            (gradient,) = torch.autograd.grad(score.sum(), loud)
        return (loud.detach() * gradient).nan_to_num(0.0, 0.0, 0.0)
