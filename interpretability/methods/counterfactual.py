"""The minimal counterfactual: the least that has to be replaced by background for another decision to be heard.

Removing a part of a sound by silence makes a hole, which is itself something to hear. Here the clip's own background
takes its place: in each frequency bin the level below which the clip lies for a share of its time.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from interpretability.classifiers.base import AnalysedBatch, Classifier
from interpretability.classifiers.gradient import check_gradient
from interpretability.classifiers.second import heard_by, hears
from interpretability.explanation import Interpretation
from interpretability.frontend import Clips
from interpretability.lengths import LengthGroups
from interpretability.methods.further import WithFurther
from interpretability.methods.optimiser import Answer, StepSettings, optimise
from interpretability.metrics.areas import keep_top
from interpretability.probabilities import class_probability
from interpretability.settings import setting

#: Share of the bins, the loudest ones, that the search starts from.
LOUDEST = 0.2


@dataclass(frozen=True)
class CounterfactualSettings(StepSettings):
    """Settings of :class:`Counterfactual`."""

    background: float = setting(
        0.2, "share of the clip's time in which a frequency bin is at most as loud as its background", least=0, most=1
    )
    margin: float = setting(
        0.5, "how far the decision is pushed beyond its boundary before only the size of the mask counts", least=0
    )
    flip_weight: float = setting(2.0, "weight of what is missing to another decision", least=0)
    second: str = setting(
        "",
        "a further classifier, by its run folder or another source, that hears the clip without the mask, too: the "
        "score second_flipped says whether it decides otherwise as well",
    )


class Counterfactual(WithFurther):
    """The smallest mask found whose replacement by the clip's own background makes another decision heard.

    ``X`` becomes ``X - M max(0, X - B)`` with the background ``B`` of each frequency bin, in log magnitude; that is
    turned into sound, and analysed and classified again. Per clip the objective is ``flip_weight relu(z_c - z_o +
    margin) + l1_weight mean M + tv_weight TV``, with the logit ``z_c`` of the class and the highest other one ``z_o``;
    of a multi-label head ``z_o`` is the logit of the class's threshold. Of all steps the mask with the lowest objective
    whose decision is another one is the result.

    The score ``flipped`` is 1 where there is one and 0 where none was found; clips without one, and clips in which the
    class is not heard in the first place, are *undefined*. What is measured of the mask itself (AD, FF, …) removes by
    silence, as of every method.

    Parameters
    ----------
    classifier : Classifier
    **settings
        Of :class:`CounterfactualSettings`.

    Raises
    ------
    UserError
        If a setting does not fit, or the further classifier cannot be opened, or has another STFT.
    """

    NAME = "counterfactual"
    FURTHER = "second"
    SUMMARY = "the least that, replaced by the clip's own background, makes another decision heard"
    Settings = CounterfactualSettings
    trainable = False
    needs_gradient = True

    def interpret(self, batch: AnalysedBatch) -> Interpretation:
        """See :meth:`Interpreter.interpret`."""
        spectrogram, classifier = batch.spectrogram, self.classifier
        background = self.background(batch)
        start = keep_top(spectrogram.magnitude, spectrogram.valid, LOUDEST)

        def judge(mask: Tensor, active: Tensor) -> Answer:
            replaced = replace_by(background[active], batch.clips[active], mask)
            logits = classifier.classify_sound(replaced).logits.float()
            if mask.requires_grad:
                check_gradient(classifier.title, logits, classifier.never_a_gradient)
            classifier.check_finite(logits.detach())
            target = batch.target[active]
            excess = self._excess(logits, target)
            heard = class_probability(logits.detach(), target, classifier.task).p.float()
            missing = torch.relu(excess + self.settings.margin)
            return Answer(self.settings.flip_weight * missing, heard, excess.detach() < 0)

        optimised = optimise(batch, start, self.settings, judge, classifier.title)
        flipped = optimised.fits & hears(classifier, batch)
        mask = optimised.mask * flipped[:, None, None]
        silent_or_unheard = optimised.undefined | ~hears(classifier, batch)
        scores = {"flipped": flipped.double().masked_fill(silent_or_unheard, torch.nan)}
        for second in self.further:
            scores["second_flipped"] = self._flips(second, batch, background, mask).masked_fill(~flipped, torch.nan)
        return Interpretation(mask, scores=scores, undefined=~flipped)

    def background(self, batch: AnalysedBatch) -> Tensor:
        """Return the background of each clip, [B, 1, F], in log magnitude: a quantile over its own frames."""
        magnitude, share = batch.spectrogram.log_magnitude, self.settings.background
        groups = LengthGroups.of_frames(batch.spectrogram.valid)
        return groups.join(groups.run(lambda index, count: magnitude[index, :count].quantile(share, 1, keepdim=True)))

    def _excess(self, logits: Tensor, target: Tensor) -> Tensor:
        """Return by how much the class is still heard, [b]; below 0 it is not."""
        its = logits.gather(1, target[:, None])[:, 0]
        if self.classifier.task == "multi":
            return its - self.classifier.thresholds.to(its)[target].logit()
        return its - logits.scatter(1, target[:, None], -torch.inf).amax(1)

    @torch.no_grad()
    def _flips(self, second: Classifier, batch: AnalysedBatch, background: Tensor, mask: Tensor) -> Tensor:
        """Return 1 where a further classifier does not hear the class any more, [B]; NaN where it never did."""
        before = heard_by(second, self.classifier, batch)
        replaced = replace_by(background, batch.clips, mask)
        logits = second.classify_sound(Clips(replaced.wavs, replaced.lengths, second.frontend)).logits
        after = second.heard(logits).gather(1, before.target[:, None])[:, 0]
        return (~after).double().masked_fill(~hears(second, before), torch.nan)


def replace_by(background: Tensor, clips: Clips, mask: Tensor) -> Clips:
    """Return clips as sound in which a background [B, 1, F] takes the place of what masks [B, T, F] cover."""
    loud = clips.spectrogram.log_magnitude
    magnitude = torch.expm1(loud - mask * (loud - background).clamp(min=0))
    wavs = clips.frontend.resynthesise(clips.spectrogram, magnitude)
    return Clips(wavs, clips.lengths, clips.frontend, magnitude_only=True)
