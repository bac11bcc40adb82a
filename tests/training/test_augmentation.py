"""Augmentation: within each clip's length, random, and with nothing changed but what is meant to be."""

import pytest
import torch

from interpretability.training.augmentation import (
    AugmentationSettings,
    crop_in_time,
    mask_stripes,
    mix_up,
    shift_in_time,
)


def test_shift_rolls_within_each_clips_own_length():
    torch.manual_seed(0)
    wavs = torch.zeros(64, 10)
    wavs[:, :6] = torch.arange(1.0, 7.0)
    shifted = shift_in_time(wavs, torch.full((64,), 0.6), 0.5)
    assert not shifted[:, 6:].any()
    first = shifted[:, 0].long()
    for row, start in zip(shifted[:, :6], first.tolist(), strict=True):
        assert row.tolist() == [float((start - 1 + i) % 6 + 1) for i in range(6)]
    assert len(first.unique()) >= 5  # up to half the clip, both ways
    assert torch.equal(shift_in_time(wavs, torch.full((64,), 0.6), 0.0), wavs)


def test_crops_are_random_stretches_of_each_clips_own_length():
    torch.manual_seed(0)
    wavs = torch.zeros(300, 10)
    wavs[:, :6] = torch.arange(1.0, 7.0)
    wavs[0, :2], wavs[0, 2:] = torch.tensor([1.0, 2.0]), 0.0
    lengths = torch.full((300,), 0.6)
    lengths[0] = 0.2
    cropped, kept = crop_in_time(wavs, lengths, 4)
    assert cropped.shape == (300, 4)
    assert cropped[0].tolist() == [1.0, 2.0, 0.0, 0.0]  # shorter ones stay whole
    assert kept.tolist() == [0.5] + [1.0] * 299
    starts = cropped[1:, 0]
    assert sorted(starts.unique().tolist()) == [1.0, 2.0, 3.0]  # never beyond the clip's own end
    assert torch.equal(cropped[1:] - starts[:, None], torch.arange(4.0).expand(299, 4))
    whole, same = crop_in_time(wavs, lengths, 20)
    assert torch.equal(whole, wavs)
    torch.testing.assert_close(same, lengths)


def test_mix_up_mixes_sound_shares_and_length_alike():
    torch.manual_seed(0)
    wavs = torch.eye(8)
    batch = mix_up(wavs, torch.linspace(0.3, 1.0, 8), torch.eye(8), 0.4)
    torch.testing.assert_close(batch.wavs, batch.shares)  # the same shares of the same partners
    torch.testing.assert_close(batch.shares.sum(1), torch.ones(8))
    for row, length in zip(batch.shares, batch.lengths, strict=True):
        assert float(length) == pytest.approx(float(torch.linspace(0.3, 1.0, 8)[row > 0].max()))
    assert mix_up(wavs, torch.ones(8), torch.eye(8), 0.0).wavs is wavs


def test_mask_stripes_silences_stripes_and_nothing_else():
    torch.manual_seed(0)
    magnitude = torch.rand(4, 50, 40) + 1
    settings = AugmentationSettings(time_masks=2, time_mask_frames=8, frequency_masks=1, frequency_mask_bins=6)
    before = magnitude.clone()
    augmented = mask_stripes(magnitude, settings)
    assert torch.equal(magnitude, before)
    changed = augmented != magnitude
    assert changed.any()
    assert not augmented[changed].any()
    for clip in changed:
        frames, bins = clip.all(1), clip.all(0)
        assert frames.sum() <= 16
        assert bins.sum() <= 6
        assert torch.equal(clip, frames[:, None] | bins[None])
    assert len({tuple(clip.all(1).tolist()) for clip in changed}) > 1  # each clip its own stripes
