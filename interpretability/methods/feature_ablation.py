"""Feature ablation through Captum: what the score loses when one patch is removed."""

from __future__ import annotations

from torch import Tensor

from interpretability.methods.patchwise import PatchSettings, Patchwise, Score


class FeatureAblation(Patchwise):
    """The score of the clip less that without a patch, for each of ``times`` by ``bands`` patches that do not overlap.

    Through Captum's ``FeatureAblation``. It needs a call for each patch, and one for the clip.

    Parameters
    ----------
    classifier : Classifier
    **settings
        Of :class:`.PatchSettings`.
    """

    NAME = "feature_ablation"
    SUMMARY = "what is lost without each patch, through Captum; asks for answers only"
    Settings = PatchSettings

    def needed(self, times: int, bands: int) -> int:
        """See :meth:`Patchwise.needed`."""
        return times * bands + 1

    def of_patches(self, score: Score, whole: Tensor, at_once: int) -> Tensor:
        """See :meth:`Patchwise.of_patches`."""
        from captum.attr import FeatureAblation as Ablation  # slow to import, and seldom needed

        return Ablation(score).attribute(whole, perturbations_per_eval=at_once)
