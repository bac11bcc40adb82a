"""NMF interpretation of a classifier: which components of a dictionary carry its decision.

The clip is decomposed on a dictionary learned beforehand, ``X^T ≈ W H``. Each component is scored by what the
classifier loses without it, the most relevant ones are kept, and ``M = sum_kept W_k H_k / (W H + eps)``. Nothing is
trained here.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional

from interpretability.classifiers.base import Classifier, ClassifierOutput
from interpretability.dictionary import (
    DIVERGENCES,
    EPSILON,
    Components,
    Dictionary,
    component_mask,
    decompose,
    dictionary_of,
)
from interpretability.errors import UserError
from interpretability.explanation import Interpretation
from interpretability.frontend import Spectrogram, apply_mask
from interpretability.methods.base import Interpreter
from interpretability.probabilities import class_probability, log_odds

RELEVANCES = ("removal", "gradient")
KEEPS = ("fidelity", "threshold")
#: Masked clips that go through the classifier at once: few enough for the caches of a CPU.
CHUNK = 8
#: Frames of all of them together, so that long clips do not take more memory.
CHUNK_FRAMES = 8 * 512


class NMF(Interpreter):
    """Interpretation by non-negative matrix factorisation.

    Every clip is looked at alone and at its own length. With p the probability of the explained class c, and
    ``share_k = W_k H_k / (W H + eps)`` in [0, 1] what component k has of each bin, its relevance is

    - ``removal``: p of the clip less p of what is left of it under the mask ``1 - share_k``;
    - ``gradient``: gradient times component, the sum over bins of ``ds/dM * share_k`` at M = 1, from one backward
      pass; in the log domain ``ds/dM`` is ``X * ds/dX``. It is ``removal`` to first order, of s, the log odds of c
      (multi-label: its logit), which unlike p do not saturate;

    divided by its largest absolute value (0 if that is 0). Components without any activation have relevance 0.

    Kept are

    - ``fidelity``: the fewest, in order of relevance, with which ``p(In) >= rho * p``; if no number of them does, the
      number that comes closest;
    - ``threshold``: those with a relevance above ``threshold``.

    A clip in which the dictionary finds nothing, like silence, has an all-zero mask.

    Parameters
    ----------
    classifier : Classifier
    dictionary : Dictionary, path or dict
        The dictionary, its file, or the run folder it lies in. A saved interpreter brings the matrix with its weights
        and gives its description here.
    relevance : {"removal", "gradient"}
    keep : {"fidelity", "threshold"}
    rho : float in (0, 1]
        Share of p that is to be kept.
    threshold : float in [0, 1)
        On the relevance.
    n_iterations : int
        Multiplicative updates of the activations.
    divergence : {"euclidean", "kl"}
        What they minimise.
    sparsity : float
        Weight of the L1 norm of the activations.
    apply : {"log", "linear"}

    Raises
    ------
    MissingError, UserError
        If there is no dictionary, or one of another front end; for settings out of range.
    """

    NAME = "nmf"
    trainable = False

    def __init__(
        self,
        classifier: Classifier,
        dictionary: Dictionary | str | Path | dict,
        relevance: str = "removal",
        keep: str = "fidelity",
        rho: float = 0.9,
        threshold: float = 0.2,
        n_iterations: int = 50,
        divergence: str = "euclidean",
        sparsity: float = 0.0,
        apply: str = "log",
    ):
        matrix, description = dictionary_of(dictionary, classifier.frontend.settings, "NMF")
        super().__init__(
            classifier,
            apply,
            dictionary=description,
            relevance=relevance,
            keep=keep,
            rho=rho,
            threshold=threshold,
            n_iterations=n_iterations,
            divergence=divergence,
            sparsity=sparsity,
        )
        for name, value, known in (
            ("relevance", relevance, RELEVANCES),
            ("keep", keep, KEEPS),
            ("divergence", divergence, DIVERGENCES),
        ):
            if value not in known:
                raise UserError(f"NMF: {name} is {value!r}, expected one of {known}")
        for name, value, fits, expected in (
            ("rho", rho, 0 < rho <= 1, "a number in (0, 1]"),
            ("threshold", threshold, 0 <= threshold < 1, "a number in [0, 1)"),
            ("n_iterations", n_iterations, n_iterations >= 1, "a whole number >= 1"),
            ("sparsity", sparsity, sparsity >= 0, "a number >= 0"),
        ):
            if not fits:
                raise UserError(f"NMF: {name} is {value}, expected {expected}")
        self.relevance, self.keep, self.rho, self.threshold = relevance, keep, float(rho), float(threshold)
        self.n_iterations, self.divergence, self.sparsity = int(n_iterations), divergence, float(sparsity)
        self.register_buffer("dictionary", matrix)  # W [F, K]: saved with the rest

    def interpret(self, spectrogram: Spectrogram, output: ClassifierOutput, target: Tensor) -> Interpretation:
        """See :meth:`Interpreter.interpret`; ``n_components``, how many were kept, goes into the scores."""
        found = [
            self._explain_clip(clip, output[slice(i, i + 1)], target[i : i + 1])
            for i, clip in enumerate(spectrogram.clips())
        ]
        n_frames = spectrogram.magnitude.shape[1]
        activations = torch.cat([functional.pad(one[0], (0, n_frames - one[0].shape[2])) for one in found])
        relevance, selected = (torch.cat([one[i] for one in found]) for i in (1, 2))
        # Where there are no activations, beyond a clip's end, its mask is 0.
        matrix = self.dictionary.to(activations)
        mask = component_mask(matrix, activations, selected).to(spectrogram.magnitude)
        return Interpretation(
            mask, Components(matrix, activations, relevance, selected), {"n_components": selected.sum(1).double()}
        )

    def _explain_clip(
        self, clip: Spectrogram, output: ClassifierOutput, target: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return activations [1, K, T], relevance [1, K] and what is selected [1, K] of a clip alone."""
        activations = decompose(
            clip.log_magnitude, self.dictionary, self.n_iterations, self.divergence, self.sparsity
        )  # [1, K, T]
        active = activations[0].any(1).nonzero()[:, 0]
        relevance = activations.new_zeros(self.dictionary.shape[1])
        selected = torch.zeros_like(relevance, dtype=torch.bool)
        if len(active) == 0:
            return activations, relevance[None], selected[None]
        parts = _Shares(self.dictionary, activations[0])
        probability = self._probability(output.logits, target)  # [1]
        if self.relevance == "removal":
            left = torch.cat(
                [self._probability_of(clip, 1 - parts.of(some), target) for some in active.split(_chunk(clip))]
            )
            raw = probability - left
        else:
            raw = self._gradient(clip, target, parts)[active]
        largest = raw.abs().max()
        if largest > 0:
            relevance[active] = (raw / largest).to(relevance)
        if self.keep == "threshold":
            selected = relevance > self.threshold
        else:
            order = active[relevance[active].argsort(descending=True, stable=True)]
            selected[order[: self._fewest(clip, target, parts, order, float(probability))]] = True
        return activations, relevance[None], selected[None]

    def _fewest(self, clip: Spectrogram, target: Tensor, parts: _Shares, order: Tensor, probability: float) -> int:
        """Return how many components of an order are needed for ``rho`` of the probability."""
        mask, reached = torch.zeros_like(clip.magnitude[0]), []
        for some in order.split(_chunk(clip)):
            masks = mask + parts.of(some).cumsum(0)  # [n, T, F]
            reached += self._probability_of(clip, masks.clamp(max=1), target).tolist()
            for count, value in enumerate(reached, 1):
                if value >= self.rho * probability:
                    return count
            mask = masks[-1]
        return 1 + max(range(len(reached)), key=lambda count: reached[count])

    def _gradient(self, clip: Spectrogram, target: Tensor, parts: _Shares) -> Tensor:
        """Return gradient times component, [K]."""
        with torch.enable_grad():
            mask = torch.ones_like(clip.magnitude, requires_grad=True)
            score = log_odds(self._logits(clip, mask).double(), target, self.classifier.task).sum()
            (gradient,) = torch.autograd.grad(score, mask)  # [1, T, F]
        return parts.weigh(gradient[0])

    def _probability_of(self, clip: Spectrogram, masks: Tensor, target: Tensor) -> Tensor:
        """Return the class's probability under each of the masks [n, T, F] of one clip, [n] float64."""
        return self._probability(self._logits(clip, masks), target.expand(len(masks)))

    def _logits(self, clip: Spectrogram, masks: Tensor) -> Tensor:
        count = len(masks)

        def repeated(values: Tensor) -> Tensor:
            return values.expand(count, *values.shape[1:])

        masked = Spectrogram(
            apply_mask(repeated(clip.magnitude), masks, self.apply_domain),
            repeated(clip.phase),
            repeated(clip.valid),
            repeated(clip.lengths),
            clip.n_samples,
        )
        return self.classifier.classify(masked).logits.float()

    def _probability(self, logits: Tensor, target: Tensor) -> Tensor:
        return class_probability(logits, target, self.classifier.task).p


class _Shares:
    """What each component has of every bin of a clip: ``W_k H_k / (W H + eps)``.

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
        """Return the sum of values [T, F] over bins, weighed with the shares of each component, [K]."""
        per_bin = values.to(self.whole) / self.whole
        return ((per_bin @ self.dictionary).T * self.activations).sum(1)


def _chunk(clip: Spectrogram) -> int:
    """Return how many masked versions of a clip are classified at once."""
    return max(1, min(CHUNK, CHUNK_FRAMES // clip.magnitude.shape[1]))
