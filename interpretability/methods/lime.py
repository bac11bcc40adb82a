"""LIME through Captum: a linear model of the score, from which patches are there."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from interpretability.methods.patchwise import PatchSettings, Patchwise, Score
from interpretability.methods.perturbation import bands_setting, times_setting
from interpretability.methods.seeding import seeded
from interpretability.settings import setting


@dataclass(frozen=True)
class LIMESettings(PatchSettings):
    """Settings of :class:`LIME`."""

    kernel_width: float = setting(
        0.25, "what is kept counts by exp(-d² / (2 kernel_width²)), d the cosine distance to all patches", above=0
    )
    alpha: float = setting(1.0, "weight of the squared norm of the linear model's coefficients", above=0)
    times: int = times_setting(10)
    bands: int = bands_setting(8)
    seed: int = setting(0, "seed of what is removed, the same for every clip", least=0, below=2**63)


class LIME(Patchwise):
    """Coefficients of a linear model that is fitted around the clip (Ribeiro et al., arXiv 1602.04938).

    Through Captum's ``Lime``: half of the patches are removed at random, ``calls`` times, and a ridge regression of the
    scores is fitted, as in the authors' own package, where what is nearer to the whole clip counts more.

    Parameters
    ----------
    classifier : Classifier
    **settings
        Of :class:`LIMESettings`.
    """

    NAME = "lime"
    SUMMARY = "a linear model of the score, from patches, through Captum; asks for answers only"
    Settings = LIMESettings

    def needed(self, times: int, bands: int) -> int:
        """See :meth:`Patchwise.needed`."""
        return 2 * times * bands

    def of_patches(self, score: Score, whole: Tensor, at_once: int) -> Tensor:
        """See :meth:`Patchwise.of_patches`."""
        # imported here: slow, and seldom needed
        from captum._utils.models.linear_model import SkLearnRidge
        from captum.attr import Lime
        from captum.attr._core.lime import get_exp_kernel_similarity_function

        near = get_exp_kernel_similarity_function("cosine", self.settings.kernel_width)
        numbers = torch.arange(whole.numel(), device=whole.device).view_as(whole)
        size = {"n_samples": self.settings.calls, "perturbations_per_eval": at_once}
        with seeded(self.settings.seed, whole.device):
            method = Lime(score, SkLearnRidge(alpha=self.settings.alpha), similarity_func=near)
            return method.attribute(whole, feature_mask=numbers, **size)
