"""Random changes of training clips: time shift, crop and mixup of waveforms, stripes of spectrograms."""

from dataclasses import dataclass

import torch
import torchaudio
from torch import Tensor

from interpretability.frontend import sample_counts
from interpretability.settings import Settings, setting


@dataclass(frozen=True)
class AugmentationSettings(Settings):
    """Augmentation of a classifier's training."""

    mixup_alpha: float = setting(0.4, "clips are mixed by shares drawn from Beta(alpha, alpha); 0: not at all", least=0)
    time_shift: float = setting(
        0.5, "largest share of its length by which a clip is rolled, either way", least=0, most=1
    )
    time_masks: int = setting(2, "number of silenced stripes of time", least=0, most=1000)
    time_mask_frames: int = setting(40, "longest stripe of time", unit="frames", least=0)
    frequency_masks: int = setting(2, "number of silenced stripes of frequency", least=0, most=1000)
    frequency_mask_bins: int = setting(60, "widest stripe of frequency", unit="frequency bins", least=0)
    label_smoothing: float = setting(0.1, "share of the label that is spread evenly over the classes", least=0, most=1)

    @property
    def masks_stripes(self) -> bool:
        """Whether stripes of spectrograms are silenced; if not, sounds alone are changed."""
        return self.time_masks > 0 or self.frequency_masks > 0


def shift_in_time(wavs: Tensor, lengths: Tensor, share: float) -> Tensor:
    """Roll each clip of [B, N] within its length by up to ``share`` of it, either way, at random."""
    if share <= 0:
        return wavs
    counts = sample_counts(wavs, lengths)  # [B]
    shift = ((torch.rand(len(wavs)) * 2 - 1) * share).to(counts.device) * counts
    positions = torch.arange(wavs.shape[1], device=wavs.device)[None].expand_as(wavs)
    rolled = (positions - shift.long()[:, None]) % counts[:, None]
    return wavs.gather(1, torch.where(positions < counts[:, None], rolled, positions))


def crop_in_time(wavs: Tensor, lengths: Tensor, n_samples: int) -> tuple[Tensor, Tensor]:
    """Keep a random stretch of at most ``n_samples`` samples of each clip of [B, N].

    Returns
    -------
    wavs : Tensor [B, min(N, n_samples)]
    lengths : Tensor [B] in (0, 1]
        Shorter clips are kept whole.
    """
    n_samples = min(n_samples, wavs.shape[1])
    counts = sample_counts(wavs, lengths)  # [B]
    start = (torch.rand(len(wavs)).to(counts.device) * ((counts - n_samples).clamp(min=0) + 1)).long()
    positions = start[:, None] + torch.arange(n_samples, device=wavs.device)[None]
    return wavs.gather(1, positions), counts.clamp(max=n_samples) / n_samples


@dataclass(frozen=True)
class MixedBatch:
    """Clips mixed in pairs: ``wavs`` [B, N], ``lengths`` [B] and the ``shares`` [B, C] of the classes in each."""

    wavs: Tensor
    lengths: Tensor
    shares: Tensor


def mix_up(wavs: Tensor, lengths: Tensor, shares: Tensor, alpha: float) -> MixedBatch:
    """Mix each clip with another of the batch, sound and class shares alike, by a weight from Beta(alpha, alpha)."""
    if alpha <= 0:
        return MixedBatch(wavs, lengths, shares)
    weight = torch.distributions.Beta(alpha, alpha).sample((len(wavs),)).to(wavs)[:, None]  # [B, 1]
    partner = torch.randperm(len(wavs)).to(wavs.device)
    return MixedBatch(
        weight * wavs + (1 - weight) * wavs[partner],
        torch.maximum(lengths, lengths[partner]),
        weight * shares + (1 - weight) * shares[partner],
    )


def mask_stripes(magnitude: Tensor, settings: AugmentationSettings) -> Tensor:
    """Silence random stripes of time and of frequency of [B, T, F] (SpecAugment, arXiv 1904.08779)."""
    spectra = magnitude[:, None].transpose(2, 3)  # [B, 1, F, T]
    for _ in range(settings.time_masks):
        spectra = torchaudio.functional.mask_along_axis_iid(spectra, settings.time_mask_frames, 0.0, axis=3)
    for _ in range(settings.frequency_masks):
        spectra = torchaudio.functional.mask_along_axis_iid(spectra, settings.frequency_mask_bins, 0.0, axis=2)
    return spectra[:, 0].transpose(1, 2)
