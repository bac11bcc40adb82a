"""Baselines of another mask's area: to the bin, clip by clip, whatever the batch."""

import math

import pytest
import torch

from interpretability.errors import UserError
from interpretability.frontend import Frontend
from interpretability.matched import MATCHED_KINDS, MatchedBaseline, of_another_label
from interpretability.metrics.sparsity import kept_area


@pytest.fixture
def spectrogram():
    wavs = torch.randn(3, 4000, generator=torch.Generator().manual_seed(0))
    return Frontend().analyse(wavs, torch.tensor([1.0, 0.5, 0.8]))


@pytest.fixture
def studied(spectrogram):
    """A soft mask, a hard one, and one that keeps nothing."""
    mask = torch.rand(spectrogram.magnitude.shape, generator=torch.Generator().manual_seed(1)) ** 4
    mask[1] = (mask[1] > 0.3).float()
    mask[2] = 0.0
    return mask * spectrogram.valid[..., None]


def test_each_clip_keeps_as_much_as_the_studied_mask(spectrogram, studied):
    areas = kept_area(studied, spectrogram.valid)
    assert len(set(areas.tolist())) == 3
    n_bins = spectrogram.valid.sum(1) * 513
    for kind in MATCHED_KINDS:
        baseline = MatchedBaseline(kind)
        mask = baseline(spectrogram, studied)
        assert mask.shape == studied.shape
        assert not mask[~spectrogram.valid].any()
        if baseline.kind == "constant":
            for b in range(3):
                assert set(mask[b][spectrogram.valid[b]].unique().tolist()) == {areas[b].float().item()}
            continue
        assert set(mask.unique().tolist()) == {0.0, 1.0}, kind
        # To the bin: the sum of the mask, rounded up.
        counts = [math.ceil(round(total, 6)) for total in (areas * n_bins).tolist()]
        assert mask.sum((1, 2)).int().tolist() == counts
        assert counts[1] == int(studied[1].sum())


def test_they_do_not_depend_on_the_batch_and_change_nothing(spectrogram, studied):
    before = studied.clone()
    for baseline in map(MatchedBaseline, MATCHED_KINDS):
        whole = baseline(spectrogram, studied)
        assert torch.equal(baseline(spectrogram[[1]], studied[[1]])[0], whole[1])
        assert torch.equal(baseline(spectrogram[[2, 0]], studied[[2, 0]]), whole[[2, 0]])
    assert torch.equal(studied, before)


def test_settings_of_matched_baselines():
    assert [MatchedBaseline(kind, seed=3).settings for kind in MATCHED_KINDS] == [
        {"method": "energy", "area": "same"},
        {"method": "random", "area": "same", "seed": 3},
        {"method": "constant", "area": "same"},
    ]
    with pytest.raises(UserError, match="kind is 'loud', expected one of energy, random, constant"):
        MatchedBaseline("loud")


def test_another_label_is_of_the_same_clip_and_each_mask_is_used_once():
    clips = ["a", "b", "a", "c", "b", "a"]
    other = of_another_label(clips)
    assert [clips[row] for row in other] == clips
    assert sorted(other.tolist()) == list(range(6))
    assert [row for row in range(6) if other[row] == row] == [3]
    assert other.tolist() == [2, 4, 5, 3, 1, 0]
    assert of_another_label([]).shape == (0,)
