"""KernelSHAP through Captum: how the patches share the score among them."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from interpretability.methods.patchwise import PatchSettings, Patchwise, Score
from interpretability.methods.perturbation import bands_setting, times_setting
from interpretability.methods.seeding import seeded
from interpretability.settings import setting


@dataclass(frozen=True)
class KernelSHAPSettings(PatchSettings):
    """Settings of :class:`KernelSHAP`."""

    times: int = times_setting(10)
    bands: int = bands_setting(8)
    seed: int = setting(0, "seed of what is removed, the same for every clip", least=0, below=2**63)


class KernelSHAP(Patchwise):
    """Shapley values of the patches, by the regression of Lundberg and Lee (arXiv 1705.07874).

    Through Captum's ``KernelShap``. They sum to the score of the clip less that with all patches removed. There are at
    least two calls for each patch: with fewer the regression has no one solution.

    Parameters
    ----------
    classifier : Classifier
    **settings
        Of :class:`KernelSHAPSettings`.
    """

    NAME = "kernel_shap"
    SUMMARY = "Shapley values of patches, through Captum; asks for answers only"
    Settings = KernelSHAPSettings

    def needed(self, times: int, bands: int) -> int:
        """See :meth:`Patchwise.needed`."""
        return 2 * times * bands

    def of_patches(self, score: Score, whole: Tensor, at_once: int) -> Tensor:
        """See :meth:`Patchwise.of_patches`."""
        from captum.attr import KernelShap  # slow to import, and seldom needed

        numbers = torch.arange(whole.numel(), device=whole.device).view_as(whole)
        size = {"n_samples": self.settings.calls, "perturbations_per_eval": at_once}
        with seeded(self.settings.seed, whole.device):
            return KernelShap(score).attribute(whole, feature_mask=numbers, **size)
