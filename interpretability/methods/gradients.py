"""Gradient methods through Captum: what the classifier's decision is sensitive to, bin by bin. Nothing is trained.

The input is the log magnitude X = log1p(A). The classifier gets ``expm1(X)``, so that these methods work on all
classifiers alike, including those that go back to sound (which take phase and lengths from the spectrogram). The score
s is the log odds of the explained class c: of a multi-label head its logit; of a single-label head the logit of c less
the logsumexp of the others. Unlike p it does not saturate, and unlike the logit of a single-label head it does not
change when all logits are shifted, as a log-softmax at the end of a network shifts them.

Some replace the gradient of the network's ReLUs, or look at one of its layers: they take only networks that have these.
"""

import warnings
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from interpretability.classifiers.base import AnalysedBatch, Classifier
from interpretability.classifiers.check import SHORT, noise
from interpretability.classifiers.gradient import gradient_errors
from interpretability.errors import UserError
from interpretability.explanation import Interpretation
from interpretability.methods.attributions import (
    ATTRIBUTIONS,
    COMPLETE,
    OF_A_LAYER,
    OF_RELUS,
    GradientsSettings,
    Score,
    Scored,
)
from interpretability.methods.base import Interpreter, hide_invalid
from interpretability.methods.class_activation import choose_layer
from interpretability.methods.forms import fixed_by, form_mask
from interpretability.methods.nonlinearities import check_relus, check_rules
from interpretability.probabilities import log_odds


class Gradients(Interpreter):
    """Masks from gradients of the class's score.

    The attribution of each bin is

    - ``saliency``: ``|ds/dX|`` (Simonyan et al., arXiv 1312.6034);
    - ``input_x_gradient``: ``X * ds/dX`` (Shrikumar et al., arXiv 1605.01713);
    - ``integrated_gradients``: ``X`` times the mean of ``ds/dX`` on the straight line from silence to X, by
      Gauss-Legendre quadrature (Sundararajan et al., arXiv 1703.01365). It sums to ``s(X) - s(0)``;
    - ``smoothgrad``: ``|mean of ds/dX|`` over copies of X with Gaussian noise (Smilkov et al., arXiv 1706.03825). The
      noise is the same for all clips of one length; what it makes negative is silence to the classifier;
    - ``gradient_shap``: the mean of ``X'`` times ``ds/dX`` at a random point between silence and ``X'``, over copies X'
      with SmoothGrad's noise (Lundberg & Lee, arXiv 1705.07874);
    - ``deeplift``: X times ds/dX where each non-linear module counts by its slope between silence and X (rescale rule,
      Shrikumar et al., arXiv 1704.02685);
    - ``guided_backprop``: ``ds/dX`` where each ReLU passes positive gradients alone (Springenberg et al., arXiv
      1412.6806);
    - ``gradcam``: of a layer's maps the sum over channels, each times its mean gradient, interpolated from the centres
      of their cells (Selvaraju et al., arXiv 1610.02391);
    - ``guided_gradcam``: ``guided_backprop`` times the positive part of ``gradcam``.

    The mask is made of it by :func:`.form_mask`. Some networks take a logarithm or a root of what is 0
    in silence, and have no gradient there (it is infinite, or no number): such bins count as 0, and the rest is
    explained. A clip without any gradient has no explanation: it is *undefined*.

    Scores of a clip are ``without_gradient``, the share of the bins that have none, and of ``integrated_gradients``,
    ``gradient_shap`` and ``deeplift`` ``completeness_gap``: by which share of ``s(X) - s(0)`` the attributions miss
    that difference, because ``n_steps`` or ``n_copies`` are too few, or DeepLift has no rule for what the network
    computes outside of modules. In [0, inf); undefined where ``s(0)`` is not finite or there is no difference.

    Parameters
    ----------
    classifier : Classifier
    **settings
        Of :class:`GradientsSettings`; the mask's domain is ``apply``, attributions are always of X.

    Raises
    ------
    UserError
        If a setting does not fit; if the classifier has not what the attribution needs, which a second of noise shows:
        a layer with maps, ReLUs that are modules, non-linear modules that are called once.
    """

    NAME = "gradients"
    SUMMARY = "what the decision is sensitive to, bin by bin, through Captum"
    Settings = GradientsSettings
    trainable = False
    needs_gradient = True

    def __init__(self, classifier: Classifier, **settings: Any):
        super().__init__(classifier, **settings)
        attribution, layer = self.settings.attribution, self.settings.layer
        if layer is not None and attribution not in OF_A_LAYER:
            raise UserError(f"{self.NAME}: layer is {layer!r}, and {attribution} looks at none: leave it out")
        self._layer = None
        if attribution in (*OF_A_LAYER, *OF_RELUS, "deeplift"):
            self._look_at_network()

    def _look_at_network(self) -> None:
        """Refuse a network that the attribution cannot be had of, and find the layer; by a run on noise."""
        attribution, classifier = self.settings.attribution, self.classifier
        rate = classifier.frontend.settings.sample_rate
        batch = classifier.analyse(noise(1, round(SHORT * rate), classifier.device))
        score, twice = self._score_of(batch), attribution == "deeplift"
        inputs = batch.spectrogram.log_magnitude.detach()
        which = torch.zeros(1 + twice, dtype=torch.int64, device=inputs.device)

        def run() -> Tensor:
            return score(inputs.expand(1 + twice, -1, -1).clone().requires_grad_(), which)

        with torch.enable_grad(), gradient_errors(classifier.title):
            if attribution in OF_RELUS:
                check_relus(attribution, classifier.title, classifier, run)
            if attribution == "deeplift":
                check_rules(attribution, classifier.title, classifier, run)
            if attribution in OF_A_LAYER:
                self._layer = choose_layer(attribution, classifier, run, self.settings.layer)
                self.settings = replace(self.settings, layer=self._layer.name)

    @classmethod
    def remark_on(cls, classifier: Classifier, attribution: str) -> str:
        """Return what a user has to know about an attribution of a classifier, as :meth:`Interpreter.remark` does."""
        try:
            layer = cls(classifier, attribution=attribution).settings.layer
        except UserError as error:
            return f"unavailable: {error}"
        return "" if layer is None else f"of the layer {layer}"

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
        if self.settings.attribution in COMPLETE:
            scores["completeness_gap"] = self._completeness_gap(batch, attribution)
        mask = self.masks_of(attribution, batch, self.settings.form)
        return Interpretation(mask, scores=scores, undefined=undefined)

    def masks_of(self, values: Tensor, batch: AnalysedBatch, form: str) -> Tensor:
        """Return the masks [B, T, F] of a form that attributions [B, T, F] give; what is not finite counts as 0."""
        return form_mask(values.masked_fill(~values.isfinite(), 0), batch.spectrogram.valid, form)

    def attribute(self, batch: AnalysedBatch) -> Tensor:
        """Return the attributions themselves, signed where the method is.

        Returns
        -------
        Tensor [B, T, F]
            In log odds (``input_x_gradient``, ``integrated_gradients``, ``gradient_shap``, ``deeplift``), in log odds
            per unit of X, or in those of a layer's maps; 0 in frames that are not valid, not finite where there is no
            gradient.
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
        inputs = batch.spectrogram.log_magnitude.detach().requires_grad_()
        scored = Scored(self._score_of(batch), inputs, self.classifier, self.settings, self._layer)
        with torch.enable_grad(), gradient_errors(self.classifier.title), warnings.catch_warnings():
            # Captum says that it sets hooks, and removes them.
            warnings.filterwarnings("ignore", "Setting (backward|forward, backward) hooks", UserWarning)
            attribution = ATTRIBUTIONS[self.settings.attribution](scored)
        return attribution.detach().to(inputs.dtype)

    def _score_of(self, batch: AnalysedBatch) -> Score:
        """Return the function from X [n, T, F], and which clips they are of [n], to the scores [n]."""

        def score(log_magnitude: Tensor, which: Tensor) -> Tensor:
            # The derivative of the clamp at 0 is 1: silent bins keep their gradient.
            magnitude = torch.expm1(log_magnitude.clamp(min=0))
            spectrogram = replace(batch.spectrogram[which], magnitude=magnitude)
            logits = self.classifier.logits_for_gradient(spectrogram)
            return log_odds(logits, batch.target[which], self.classifier.task)

        return score
