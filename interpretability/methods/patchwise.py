"""What methods share that Captum computes on patches of a clip: it asks which of them are kept, and gets the answers.

What Captum explains is not the sound but a grid of ones, one for each patch of it: 1 where the patch is there, and 0,
which is Captum's baseline, where it is removed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from interpretability.classifiers.base import AnalysedBatch
from interpretability.methods.perturbation import Answers, Patches, Perturbation, PerturbationSettings
from interpretability.settings import setting

#: From what is kept of each patch [n, times, bands] to the scores [n].
Score = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class PatchSettings(PerturbationSettings):
    """Settings of methods on patches, which may be stretches of time."""

    grid: str = setting(
        "patches",
        "what is removed at a time. patches: one of times x bands; segments: a stretch of time, of times, with all of "
        "its frequencies",
        choices=("patches", "segments"),
    )


class Patchwise(Perturbation):
    """Base class of methods that Captum computes on patches; the result is interpolated between their centres.

    Where the budget does not suffice for ``times`` by ``bands`` patches there are fewer (:meth:`patches`). Of a single
    patch all methods say the same: the score with it, less the score without it.
    """

    def needed(self, times: int, bands: int) -> int:
        """Return how many calls so many stretches and bands need at least."""
        raise NotImplementedError

    def of_patches(self, score: Score, whole: Tensor, at_once: int) -> Tensor:
        """Return Captum's attribution of the patches, [1, times, bands].

        Parameters
        ----------
        score : callable
        whole : Tensor [1, times, bands]
            Ones.
        at_once : int
            How many masked versions are classified at once.
        """
        raise NotImplementedError

    def patches(self, clip: AnalysedBatch) -> Patches:
        """Cut one clip into as many patches as the budget suffices for."""
        settings, n_frames = self.settings, clip.spectrogram.magnitude.shape[1]
        most = min(settings.times, n_frames), settings.bands if settings.grid == "patches" else 1
        times, bands = most
        while self.needed(times, bands) > settings.calls and times * bands > 1:
            # Keep their proportion.
            if bands == 1 or (times > 1 and times * most[1] >= bands * most[0]):
                times -= 1
            else:
                bands -= 1
        return Patches.of(n_frames, self.frontend.settings, times, bands)

    def values(self, clip: AnalysedBatch, answers: Answers) -> Tensor:
        """See :meth:`Perturbation.values`."""
        patches = self.patches(clip)
        whole = torch.ones(1, *patches.shape, device=clip.spectrogram.magnitude.device)

        def score(kept: Tensor) -> Tensor:
            return answers(patches.spread(kept))

        if patches.count == 1:
            values = (score(whole) - score(torch.zeros_like(whole))).view_as(whole)
        else:
            values = self.of_patches(score, whole, answers.at_once)
        return patches.smooth(values[0].double())
