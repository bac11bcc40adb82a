"""NMF interpretation of a classifier: which components of a dictionary carry its decision.

The clip is decomposed on a dictionary learned beforehand, ``X^T ≈ W H``. Each component is scored by what the
classifier loses without it, the most relevant ones are kept, and ``M = sum_kept W_k H_k / (W H + eps)``. Nothing is
trained here.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional

from interpretability.classifiers.base import AnalysedBatch, Classifier
from interpretability.classifiers.gradient import gradient_errors
from interpretability.dictionary import (
    DIVERGENCES,
    EPSILON,
    Components,
    Dictionary,
    component_mask,
    decompose,
    dictionary_of,
)
from interpretability.explanation import Interpretation
from interpretability.frontend import Spectrogram, apply_mask
from interpretability.methods.base import ComponentSettings, Interpreter
from interpretability.probabilities import class_probability, log_odds
from interpretability.settings import setting

#: Masked clips that go through the classifier at once: few enough for the caches of a CPU.
CHUNK = 8
#: Frames of all of them together, so that long clips do not take more memory.
CHUNK_FRAMES = 8 * 512


@dataclass(frozen=True)
class NMFSettings(ComponentSettings):
    """Settings of :class:`NMF`."""

    relevance: str = setting(
        "removal",
        "relevance of a component. removal: what the class's probability loses without it, one forward pass each; "
        "gradient: gradient x component, one backward pass in all",
        choices=("removal", "gradient"),
    )
    keep: str = setting(
        "fidelity",
        "components that are kept, of those that support the class. fidelity: the fewest that keep rho of the "
        "probability; threshold: those above it",
        choices=("fidelity", "threshold"),
    )
    rho: float = setting(0.9, "share of the probability that keep: fidelity has to keep", above=0, most=1)
    threshold: float = setting(
        0.2, "relevance above which keep: threshold keeps a component; the maximum is 1", least=0, below=1
    )
    n_iterations: int = setting(50, "multiplicative updates of the activations", least=1, most=10**5)
    divergence: str = setting("euclidean", "what the updates minimise", choices=DIVERGENCES)
    sparsity: float = setting(0.0, "weight of the L1 norm of the activations", least=0)


class NMF(Interpreter):
    """Interpretation by non-negative matrix factorisation.

    Every clip is processed alone and at its own length. With p the probability of the explained class c, and
    ``share_k = W_k H_k / (W H + eps)`` in [0, 1] the share of component k in each bin, its relevance is

    - ``removal``: p of the clip less p of the clip under the mask ``1 - share_k``;
    - ``gradient``: gradient times component, the sum over bins of ``ds/dM * share_k`` at M = 1, from one backward
      pass; in the log domain ``ds/dM`` is ``X * ds/dX``. It is ``removal`` to first order, of s, the log odds of c
      (multi-label: its logit), which unlike p do not saturate;

    divided by its largest absolute value (0 if that is 0). Components without any activation have relevance 0.

    Kept are, of those that support the class (a relevance above 0),

    - ``fidelity``: the fewest, in order of relevance, with which ``p(In) >= rho * p``; if no number of them suffices,
      the number that comes closest;
    - ``threshold``: those with a relevance above ``threshold``.

    A clip without any activation, such as silence, or without a component that supports the class, has an all-zero
    mask.

    Parameters
    ----------
    classifier : Classifier
    dictionary : Dictionary, path or dict
        As in :class:`NMFSettings`; or a dictionary itself.
    **settings
        Of :class:`NMFSettings`.

    Raises
    ------
    MissingError, UserError
        If there is no dictionary, or one of another front end; for settings that do not fit.
    """

    NAME = "nmf"
    SUMMARY = "components that carry the decision, of a dictionary or of the sound itself"
    Settings = NMFSettings
    trainable = False

    def __init__(self, classifier: Classifier, dictionary: Dictionary | str | Path | dict | None = None, **settings):
        matrix, description = dictionary_of(dictionary, classifier.frontend.settings, "NMF")
        super().__init__(classifier, dictionary=description, **settings)
        self.register_buffer("dictionary", matrix)  # W [F, K]: saved with the rest

    def interpret(self, batch: AnalysedBatch) -> Interpretation:
        """See :meth:`Interpreter.interpret`; ``n_components``, how many were kept, goes into the scores."""
        n_frames = batch.spectrogram.magnitude.shape[1]
        matrix, spread = self.dictionary.to(batch.spectrogram.magnitude), []
        for clip in batch.alone():
            of_clip = self._explain_clip(clip)
            missing = n_frames - of_clip.activations.shape[2]
            # Where there are no activations, beyond a clip's end, its mask is 0.
            spread.append(replace(of_clip, activations=functional.pad(of_clip.activations, (0, missing))))
        activations, relevance, selected = (
            torch.cat([getattr(one, name) for one in spread]) for name in ("activations", "relevance", "selected")
        )
        mask = component_mask(matrix, activations, selected).to(batch.spectrogram.magnitude)
        return Interpretation(
            mask, Components(matrix, activations, relevance, selected), {"n_components": selected.sum(1).double()}
        )

    def _explain_clip(self, batch: AnalysedBatch) -> Components:
        """Return the components of a clip alone."""
        clip, target, settings = batch.spectrogram, batch.target, self.settings
        activations = decompose(
            clip.log_magnitude, self.dictionary, settings.n_iterations, settings.divergence, settings.sparsity
        )  # [1, K, T]
        active = activations[0].any(1).nonzero()[:, 0]
        relevance = activations.new_zeros(self.dictionary.shape[1])
        selected = torch.zeros_like(relevance, dtype=torch.bool)
        components = Components(self.dictionary, activations, relevance[None], selected[None])  # filled in place
        if len(active) == 0:
            return components
        parts = _Shares(self.dictionary, activations[0])
        probability = self._probability(batch.output.logits, target)  # [1]
        if settings.relevance == "removal":
            left = torch.cat(
                [self._probability_of(clip, 1 - parts.of(some), target) for some in active.split(_chunk(clip))]
            )
            raw = probability - left
        else:
            raw = self._gradient(clip, target, parts)[active]
        largest = raw.abs().max()
        if largest > 0:
            relevance[active] = (raw / largest).to(relevance)
        if settings.keep == "threshold":
            selected[relevance > settings.threshold] = True
        else:
            order = active[relevance[active].argsort(descending=True, stable=True)]
            order = order[relevance[order] > 0]
            if len(order):
                selected[order[: self._fewest(clip, target, parts, order, float(probability))]] = True
        return components

    def _fewest(self, clip: Spectrogram, target: Tensor, parts: _Shares, order: Tensor, probability: float) -> int:
        """Return how many components of an order are needed for ``rho`` of the probability."""
        mask, reached = torch.zeros_like(clip.magnitude[0]), []
        for some in order.split(_chunk(clip)):
            masks = mask + parts.of(some).cumsum(0)  # [n, T, F]
            reached += self._probability_of(clip, masks.clamp(max=1), target).tolist()
            for count, value in enumerate(reached, 1):
                if value >= self.settings.rho * probability:
                    return count
            mask = masks[-1]
        return 1 + max(range(len(reached)), key=lambda count: reached[count])

    def _gradient(self, clip: Spectrogram, target: Tensor, parts: _Shares) -> Tensor:
        """Return gradient times component, [K]."""
        with torch.enable_grad(), gradient_errors(self.classifier.title):
            mask = torch.ones_like(clip.magnitude, requires_grad=True)
            logits = self.classifier.logits_for_gradient(self._masked(clip, mask))
            score = log_odds(logits.double(), target, self.classifier.task).sum()
            (gradient,) = torch.autograd.grad(score, mask)  # [1, T, F]
        # No component sounds in silence, where some networks have no gradient.
        gradient = gradient.masked_fill(~gradient.isfinite(), 0)
        return parts.weigh(gradient[0])

    def _probability_of(self, clip: Spectrogram, masks: Tensor, target: Tensor) -> Tensor:
        """Return the class's probability under each of the masks [n, T, F] of one clip, [n] float64."""
        logits = self.classifier.classify(self._masked(clip, masks)).logits.float()
        return self._probability(logits, target.expand(len(masks)))

    def _masked(self, clip: Spectrogram, masks: Tensor) -> Spectrogram:
        """Return one clip under each of the masks [n, T, F]."""
        repeated = clip[torch.zeros(len(masks), dtype=torch.int64, device=masks.device)]
        return replace(repeated, magnitude=apply_mask(repeated.magnitude, masks, self.settings.apply))

    def _probability(self, logits: Tensor, target: Tensor) -> Tensor:
        return class_probability(logits, target, self.classifier.task).p


class _Shares:
    """The share of each component in every bin of a clip: ``W_k H_k / (W H + eps)``.

    Parameters
    ----------
    matrix : Tensor [F, K]
    activations : Tensor [K, T]
    """

    def __init__(self, matrix: Tensor, activations: Tensor):
        self.dictionary, self.activations = matrix.to(activations), activations
        self.whole = activations.T @ self.dictionary.T + EPSILON  # [T, F]

    def of(self, components: Tensor) -> Tensor:
        """Return the shares of some components [n], as masks [n, T, F]."""
        outer = self.activations[components][:, :, None] * self.dictionary.T[components][:, None, :]
        return (outer / self.whole).clamp(max=1)

    def weigh(self, values: Tensor) -> Tensor:
        """Return the sum of values [T, F] over bins, weighted by the shares of each component, [K]."""
        per_bin = values.to(self.whole) / self.whole
        return ((per_bin @ self.dictionary).T * self.activations).sum(1)


def _chunk(clip: Spectrogram) -> int:
    """Return how many masked versions of a clip are classified at once."""
    return max(1, min(CHUNK, CHUNK_FRAMES // clip.magnitude.shape[1]))
