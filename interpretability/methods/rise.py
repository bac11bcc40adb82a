"""RISE: which bins were there when the classifier heard the class, of many random masks."""

from dataclasses import dataclass

import torch
from torch import Tensor

from interpretability.classifiers.base import AnalysedBatch
from interpretability.grids import mel_from_hertz
from interpretability.methods.perturbation import Answers, Perturbation, PerturbationSettings
from interpretability.settings import setting


@dataclass(frozen=True)
class RISESettings(PerturbationSettings):
    """Settings of :class:`RISE`."""

    keep: float = setting(0.5, "probability with which a random mask keeps what lies around a point", above=0, below=1)
    seed: int = setting(0, "seed of the random masks, the same for every clip", least=0, below=2**63)


class RISE(Perturbation):
    """Randomised input sampling for explanation (Petsiuk et al., arXiv 1806.07421).

    Each of ``calls`` masks is 0 or 1 at random on a grid of ``times`` by ``bands`` points (evenly spaced in time and in
    mel), shifted by a random part of a cell, and interpolated in between. With s_i the score under mask M_i, the
    attribution of a bin is the mean of s weighted by its M, less the plain mean of s: above 0 where the class is heard
    more readily when the bin is there, 0 where it makes no difference.

    Parameters
    ----------
    classifier : Classifier
    **settings
        Of :class:`RISESettings`.
    """

    NAME = "rise"
    SUMMARY = "which bins are there when the class is heard, of random masks; asks for answers only"
    Settings = RISESettings

    def values(self, clip: AnalysedBatch, answers: Answers) -> Tensor:
        """See :meth:`Perturbation.values`."""
        count, device = self.settings.calls, clip.spectrogram.magnitude.device
        n_frames, n_bins = clip.spectrogram.magnitude.shape[1:]
        times, bands = min(self.settings.times, n_frames), self.settings.bands
        generator = torch.Generator().manual_seed(self.settings.seed)
        points = torch.rand(count, times + 2, bands + 2, generator=generator) < self.settings.keep
        shifts = torch.rand(count, 2, generator=generator, dtype=torch.float64)
        frames = (torch.arange(n_frames, dtype=torch.float64) + 0.5) / n_frames * times
        nyquist = self.frontend.settings.sample_rate / 2
        hertz = torch.linspace(0, nyquist, n_bins, dtype=torch.float64).tolist()
        mels = torch.tensor([mel_from_hertz(each) for each in hertz], dtype=torch.float64)
        heights = mels / mel_from_hertz(nyquist) * bands
        kept = torch.zeros(n_frames, n_bins, dtype=torch.float64, device=device)
        heard, total = torch.zeros_like(kept), 0.0
        for start in range(0, count, answers.at_once):
            some = slice(start, start + answers.at_once)
            rows, columns = (
                _between(positions + shifts[some, axis : axis + 1], points.shape[1 + axis])
                for axis, positions in enumerate((frames, heights))
            )
            masks = (rows @ points[some].float() @ columns.transpose(1, 2)).clamp(0, 1).to(device)  # [n, T, F]
            scores = answers(masks)
            kept += masks.sum(0)
            heard += torch.einsum("n,ntf->tf", scores, masks.double())
            total += float(scores.sum())
        return (heard / kept).masked_fill(kept == 0, total / count) - total / count


def _between(positions: Tensor, n_points: int) -> Tensor:
    """Return matrices [n, m, n_points] that interpolate values at 0 … n_points - 1 to positions [n, m], float32."""
    left = positions.floor().long().clamp(0, n_points - 2)
    weight = (positions - left).float()
    matrix = torch.zeros(*positions.shape, n_points)
    matrix.scatter_(2, left[..., None], 1 - weight[..., None])
    return matrix.scatter_(2, left[..., None] + 1, weight[..., None])
