"""Masks of an exact area against a stable sort, clip by clip."""

import math

import pytest
import torch

from interpretability.metrics.areas import keep_count, keep_top


def case(seed, levels=None, dtype=torch.float32):
    """Scores [3, 5, 4] of clips of 5, 2 and 1 frames; few levels give many ties."""
    g = torch.Generator().manual_seed(seed)
    scores = torch.rand(3, 5, 4, generator=g).to(dtype)
    if levels:
        scores = (scores * levels).floor() / levels - 0.5  # negative scores too
    return scores, torch.arange(5)[None] < torch.tensor([5, 2, 1])[:, None]


def by_sorting(scores, valid, counts):
    """The ``count`` highest valid bins by Python's stable sort, lower bins first."""
    kept = torch.zeros_like(scores)
    for b, count in enumerate(counts):
        frames = int(valid[b].sum())
        bins = scores[b, :frames].flatten().tolist()
        for i in sorted(range(len(bins)), key=lambda i: -bins[i])[:count]:
            kept[b].view(-1)[i] = 1.0
    return kept


@pytest.mark.parametrize("levels", [None, 1, 2, 4])
@pytest.mark.parametrize("counts", [(0, 0, 0), (1, 1, 1), (7, 3, 2), (20, 8, 4)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_the_highest_and_of_ties_the_lower_bins(levels, counts, dtype):
    scores, valid = case(0, levels, dtype)
    kept = keep_count(scores, valid, torch.tensor(counts))
    assert kept.dtype == dtype
    assert torch.equal(kept, by_sorting(scores, valid, counts))


def test_an_area_for_all_clips_or_one_for_each():
    scores, valid = case(1)
    for area in (0.0, 0.013, 0.2, 0.5, 1.0):
        counts = [math.ceil(round(area * n, 6)) for n in (20, 8, 4)]
        expected = by_sorting(scores, valid, counts)
        assert torch.equal(keep_top(scores, valid, area), expected)
        assert torch.equal(keep_top(scores, valid, torch.full((3,), area, dtype=torch.float64)), expected)
        assert torch.equal(keep_top(scores, valid, torch.tensor(area, dtype=torch.float64)), expected)
    areas = torch.tensor([0.1, 0.5, 1.0], dtype=torch.float64)
    assert keep_top(scores, valid, areas).sum((1, 2)).tolist() == [2, 4, 4]


@pytest.mark.parametrize("n_bins", [7, 513])
def test_every_count_comes_back_from_its_own_share(n_bins):
    """count / n is rounded, and its product with n must not be one bin more."""
    scores = torch.rand(1, 10, n_bins)
    valid = torch.ones(1, 10, dtype=torch.bool)
    for count in range(0, 10 * n_bins + 1, n_bins // 7):
        share = torch.tensor([count / (10 * n_bins)], dtype=torch.float64)
        assert int(keep_top(scores, valid, share).sum()) == count


def test_padding_batch_and_the_caller_are_left_alone():
    scores, valid = case(2, levels=3)
    scores.requires_grad_()
    before = scores.detach().clone()
    areas = torch.tensor([0.3, 0.4, 0.6])
    whole = keep_top(scores, valid, areas)
    for b, frames in enumerate((5, 2, 1)):
        alone = keep_top(scores[b : b + 1, :frames], valid[b : b + 1, :frames], areas[b : b + 1])
        assert torch.equal(alone[0], whole[b, :frames])
        assert not whole[b, frames:].any()
    assert torch.equal(scores.detach(), before)
    assert scores.grad is None
    assert not whole.requires_grad


@pytest.mark.parametrize("area", [-0.1, 1.1, torch.tensor([0.5, 0.5]), torch.tensor([0.5, 0.5, float("nan")])])
def test_bad_areas(area):
    with pytest.raises(ValueError, match=r"expected 3 numbers in \[0, 1\]"):
        keep_top(*case(0), area)
