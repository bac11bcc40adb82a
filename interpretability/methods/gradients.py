"""Gradient methods through Captum: what the classifier's decision is sensitive to, bin by bin. Nothing is trained.

The input is the log magnitude X = log1p(A). The classifier gets ``expm1(X)``, so that these methods work on all
classifiers alike, including those that go back to sound (which take phase and lengths from the spectrogram). The score
s is the log odds of the explained class c: of a multi-label head its logit; of a single-label head the logit of c less
the logsumexp of the others. Unlike p it does not saturate, and unlike the logit of a single-label head it does not
change when all logits are shifted, as a log-softmax at the end of a network shifts them.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from interpretability.classifiers.base import AnalysedBatch
from interpretability.classifiers.gradient import gradient_errors
from interpretability.explanation import Interpretation
from interpretability.methods.base import Interpreter, MethodSettings, hide_invalid
from interpretability.methods.forms import FORMS, MEANING, fixed_by, form_mask
from interpretability.probabilities import log_odds
from interpretability.settings import setting

ATTRIBUTIONS = ("saliency", "input_x_gradient", "integrated_gradients", "smoothgrad")
#: Frames that go through the classifier at once, of all steps or noisy copies together: bounds the memory.
CHUNK_FRAMES = 8 * 512


@dataclass(frozen=True)
class GradientsSettings(MethodSettings):
    """Settings of :class:`Gradients`."""

    attribution: str = setting("integrated_gradients", "what is computed for each bin", choices=ATTRIBUTIONS)
    form: str = setting("top10", MEANING, choices=tuple(FORMS))
    n_steps: int = setting(32, "steps of integrated_gradients", least=1, most=10_000)
    n_copies: int = setting(16, "noisy copies of smoothgrad", least=1, most=10_000)
    noise: float = setting(
        0.15, "standard deviation of smoothgrad's noise, as a share of the clip's largest log magnitude", least=0
    )
    seed: int = setting(0, "seed of smoothgrad's noise", least=0, below=2**63)


class Gradients(Interpreter):
    """Masks from gradients of the class's score.

    The attribution of each bin is

    - ``saliency``: ``|ds/dX|`` (Simonyan et al., arXiv 1312.6034);
    - ``input_x_gradient``: ``X * ds/dX`` (Shrikumar et al., arXiv 1605.01713);
    - ``integrated_gradients``: ``X`` times the mean of ``ds/dX`` on the straight line from silence to X, by
      Gauss-Legendre quadrature (Sundararajan et al., arXiv 1703.01365). It sums to ``s(X) - s(0)``;
    - ``smoothgrad``: ``|mean of ds/dX|`` over copies of X with Gaussian noise (Smilkov et al., arXiv 1706.03825). The
      noise is the same for all clips of one length; what it makes negative is silence to the classifier.

    The mask is made of it by :func:`.form_mask`. Some networks take a logarithm or a root of what is 0
    in silence, and have no gradient there (it is infinite, or no number): such bins count as 0, and the rest is
    explained. A clip without any gradient has no explanation: it is *undefined*.

    Scores of a clip are ``without_gradient``, the share of the bins that have none, and of ``integrated_gradients``
    ``completeness_gap``: by which share of ``s(X) - s(0)`` the attributions miss that difference, because ``n_steps``
    are too few. In [0, inf); undefined where ``s(0)`` is not finite or there is no difference.

    Parameters
    ----------
    classifier : Classifier
    **settings
        Of :class:`GradientsSettings`; the mask's domain is ``apply``, attributions are always of X.

    Raises
    ------
    UserError
        If a setting does not fit.
    """

    NAME = "gradients"
    SUMMARY = "what the decision is sensitive to, bin by bin, through Captum"
    Settings = GradientsSettings
    trainable = False
    needs_gradient = True

    @property
    def title(self) -> str:
        """See :attr:`Interpreter.title`."""
        attribution, form = self.settings.attribution, self.settings.form
        return attribution if form == "soft" else f"{attribution}, {form}"

    def identity(self) -> dict[str, Any]:
        # By its own name, as on the command line: saliency does not replace a result of SmoothGrad.
        return {**super().identity(), "method": self.settings.attribution}

    @property
    def fixed_metrics(self) -> tuple[str, ...]:
        """See :attr:`Interpreter.fixed_metrics`."""
        return fixed_by(self.settings.form)

    def interpret(self, batch: AnalysedBatch) -> Interpretation:
        """See :meth:`Interpreter.interpret`."""
        attribution, valid = self.attribute(batch), batch.spectrogram.valid
        finite = attribution.isfinite()
        attribution = attribution.masked_fill(~finite, 0)
        with_gradient = (finite & valid[..., None]).sum((1, 2))  # [B]
        undefined = with_gradient == 0
        n_bins = valid.sum(1) * attribution.shape[2]
        scores = {"without_gradient": 1 - with_gradient.double() / n_bins}
        if self.settings.attribution == "integrated_gradients":
            scores["completeness_gap"] = self._completeness_gap(batch, attribution)
        return Interpretation(form_mask(attribution, valid, self.settings.form), scores=scores, undefined=undefined)

    def attribute(self, batch: AnalysedBatch) -> Tensor:
        """Return the attributions themselves, signed where the method is.

        Returns
        -------
        Tensor [B, T, F]
            In log odds (``integrated_gradients``, ``input_x_gradient``) or in log odds per unit of X; 0 in frames that
            are not valid, not finite where there is no gradient.
        """
        # Every clip alone, at its own length: a batch changes the last bits, which can reorder nearly equal bins, and
        # noise would depend on it.
        n_frames = batch.spectrogram.magnitude.shape[1]
        parts = [self._attribute(clip) for clip in batch.alone()]
        attribution = torch.cat([functional.pad(part, (0, 0, 0, n_frames - part.shape[1])) for part in parts])
        return hide_invalid(attribution, batch.spectrogram)

    @torch.no_grad()
    def _completeness_gap(self, batch: AnalysedBatch, attribution: Tensor) -> Tensor:
        """Return how far the sums of attributions [B, T, F] are from s(X) - s(0), as shares of it, [B]."""
        differences = []
        for clip in batch.alone():
            loud = clip.spectrogram.log_magnitude
            both, which = torch.cat([loud, torch.zeros_like(loud)]), torch.zeros(2, dtype=torch.int64)
            whole, silence = self._score_of(clip)(both, which.to(loud.device)).double()
            differences.append(whole - silence)
        difference = torch.stack(differences)
        gap = (attribution.sum((1, 2), dtype=torch.float64) - difference).abs() / difference.abs()
        return gap.masked_fill(~gap.isfinite(), float("nan"))

    def _attribute(self, batch: AnalysedBatch) -> Tensor:
        # imported here: slow, and only needed by this method
        from captum.attr import InputXGradient, IntegratedGradients, Saliency

        score = self._score_of(batch)
        inputs = batch.spectrogram.log_magnitude.detach().requires_grad_()
        # Which clip each row is: Captum repeats it as it repeats the inputs.
        which = torch.arange(len(batch), device=inputs.device)
        at_once = max(1, CHUNK_FRAMES // inputs.shape[1])
        with torch.enable_grad(), gradient_errors(self.classifier.title):
            if self.settings.attribution == "smoothgrad":
                return self._smooth(score, inputs, which, at_once).detach().to(inputs.dtype)
            kinds = {"saliency": Saliency, "input_x_gradient": InputXGradient}
            options = {}
            if self.settings.attribution == "integrated_gradients":
                options = {"baselines": 0.0, "n_steps": self.settings.n_steps, "internal_batch_size": at_once}
            method = kinds.get(self.settings.attribution, IntegratedGradients)(score)
            attribution = method.attribute(inputs, additional_forward_args=which, **options)
        return attribution.detach().to(inputs.dtype)

    def _smooth(self, score: Callable[[Tensor, Tensor], Tensor], inputs: Tensor, which: Tensor, at_once: int) -> Tensor:
        from captum.attr import NoiseTunnel, Saliency

        device = inputs.device
        # Captum draws from the global generator: seeded here, and restored afterwards.
        with torch.random.fork_rng(devices=[device] if device.type == "cuda" else [], device_type="cuda"):
            torch.manual_seed(self.settings.seed)
            size = {"nt_samples": self.settings.n_copies, "nt_samples_batch_size": at_once}
            deviation = self.settings.noise * float(inputs.detach().max())
            # Without abs: the absolute value is of the mean.
            options = {"stdevs": deviation, "additional_forward_args": which, "abs": False}
            return NoiseTunnel(Saliency(score)).attribute(inputs, **size, **options).abs()

    def _score_of(self, batch: AnalysedBatch) -> Callable[[Tensor, Tensor], Tensor]:
        """Return the function from X [n, T, F], and which clips they are of [n], to the scores [n]."""

        def score(log_magnitude: Tensor, which: Tensor) -> Tensor:
            # The derivative of the clamp at 0 is 1: silent bins keep their gradient.
            magnitude = torch.expm1(log_magnitude.clamp(min=0))
            spectrogram = replace(batch.spectrogram[which], magnitude=magnitude)
            logits = self.classifier.logits_for_gradient(spectrogram)
            return log_odds(logits, batch.target[which], self.classifier.task)

        return score
