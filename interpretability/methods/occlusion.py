"""Occlusion through Captum: what the score loses when a window is covered that slides over time and frequency."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import ceil

import torch
from torch import Tensor

from interpretability.methods.patchwise import PatchSettings, Patchwise, Score
from interpretability.settings import setting


@dataclass(frozen=True)
class OcclusionSettings(PatchSettings):
    """Settings of :class:`Occlusion`."""

    sizes: tuple[int, ...] = setting(
        (1, 2, 4), "sizes of the windows that are covered, in patches each way; each moves by half of itself", least=1
    )


class Occlusion(Patchwise):
    """What the score loses while a window is covered (Zeiler and Fergus, arXiv 1311.2901), at several sizes of it.

    The clip is cut into ``times`` by ``bands`` patches; windows of ``sizes`` patches each way slide over them, by half
    their size. Through Captum's ``Occlusion``, which gives each patch the mean over the windows that cover it; of the
    sizes the mean is taken. Each size needs a call for each place of its window, and one for the clip.

    Parameters
    ----------
    classifier : Classifier
    **settings
        Of :class:`OcclusionSettings`.
    """

    NAME = "occlusion"
    SUMMARY = "what is lost while a window is covered, of three sizes, through Captum; asks for answers only"
    Settings = OcclusionSettings

    def windows(self, times: int, bands: int) -> Iterator[tuple[tuple[int, int], tuple[int, int]]]:
        """Yield the shape of each window and how far it moves, both in patches; the same shape once."""
        shapes = dict.fromkeys((min(size, times), min(size, bands)) for size in self.settings.sizes)
        for shape in shapes:
            yield shape, (max(1, shape[0] // 2), max(1, shape[1] // 2))

    def needed(self, times: int, bands: int) -> int:
        """See :meth:`Patchwise.needed`."""
        places = 0
        for shape, step in self.windows(times, bands):
            rows, columns = (1 + ceil((n - size) / by) for n, size, by in zip((times, bands), shape, step, strict=True))
            places += 1 + rows * columns
        return places

    def of_patches(self, score: Score, whole: Tensor, at_once: int) -> Tensor:
        """See :meth:`Patchwise.of_patches`."""
        from captum.attr import Occlusion as Covering  # slow to import, and seldom needed

        covering = Covering(score)
        values = [
            covering.attribute(whole, shape, step, perturbations_per_eval=at_once)
            for shape, step in self.windows(*whole.shape[1:])
        ]
        return torch.stack(values).mean(0)
