"""The mask metrics against plain loops, and against Quantus one clip at a time."""

import math
import sys

import numpy as np
import pytest
import torch

from interpretability.metrics.sparsity import check_range, complexity, kept_area, relative_complexity, sparseness

ALL = (sparseness, complexity, relative_complexity, kept_area)


def gini(bins):
    """Mean absolute difference over twice the mean: a definition of the Gini index without ranks."""
    n = len(bins)
    return sum(abs(a - b) for a in bins for b in bins) / (2 * n * sum(bins))


def entropy(bins):
    return -sum(m / sum(bins) * math.log(m / sum(bins)) for m in bins if m > 0)


def random_masks(seed, batch=4, frames=7, bands=5, dtype=torch.float64):
    return torch.rand(batch, frames, bands, generator=torch.Generator().manual_seed(seed), dtype=dtype) ** 3


def frames_valid(lengths, frames):
    return torch.arange(frames)[None] < torch.tensor(lengths)[:, None]


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_plain_loops_with_padding(seed, dtype):
    mask, lengths = random_masks(seed, dtype=dtype), [7, 1, 4, 6]
    mask[2, 1] = 0.0  # zeros among the valid bins must not be taken for padding
    valid = frames_valid(lengths, 7)
    values = {metric.__name__: metric(mask, valid) for metric in ALL}
    for i, length in enumerate(lengths):
        bins = mask[i, :length].double().flatten().tolist()
        expected = {
            "sparseness": gini(bins),
            "complexity": entropy(bins),
            "relative_complexity": entropy(bins) / math.log(len(bins)),
            "kept_area": sum(bins) / len(bins),
        }
        for name, value in expected.items():
            assert values[name].dtype == torch.float64
            assert values[name][i].item() == pytest.approx(value, rel=1e-11, abs=1e-12), name


def test_golden_values():
    mask = torch.tensor([[[1.0, 2.0], [3.0, 4.0]]], dtype=torch.float64) / 4
    # (-3*1 - 1*2 + 1*3 + 3*4) / (4 * 10) = 0.25
    assert sparseness(mask).item() == pytest.approx(0.25, abs=1e-12)
    shares = (0.1, 0.2, 0.3, 0.4)
    assert complexity(mask).item() == pytest.approx(-sum(s * math.log(s) for s in shares), abs=1e-12)
    assert complexity(mask).item() == pytest.approx(1.2798542258336676, abs=1e-12)
    assert kept_area(mask).item() == pytest.approx(0.625, abs=1e-12)


@pytest.mark.parametrize("level", [1.0, 0.5, 0.1, 1e-30])
def test_constant_mask(level):
    mask = torch.full((2, 431, 513), level)
    valid = frames_valid([431, 100], 431)
    assert sparseness(mask, valid).tolist() == pytest.approx([0.0, 0.0], abs=1e-12)
    assert complexity(mask, valid).tolist() == pytest.approx([math.log(431 * 513), math.log(51300)], abs=1e-12)
    assert relative_complexity(mask, valid).tolist() == pytest.approx([1.0, 1.0], abs=1e-12)
    assert kept_area(mask, valid).tolist() == pytest.approx([torch.tensor(level).item()] * 2, rel=1e-12)


def test_empty_mask_is_undefined():
    """Undefined is NaN, for the clip concerned only; also where only the padding is not 0."""
    mask = torch.rand(3, 4, 2).clamp(min=0.1)
    mask[1] = 0.0
    mask[2, :2] = 0.0
    valid = frames_valid([4, 4, 2], 4)
    for metric in (sparseness, complexity, relative_complexity):
        assert torch.isnan(metric(mask, valid)).tolist() == [False, True, True]
    assert kept_area(mask, valid)[1:].tolist() == [0.0, 0.0]


def test_single_bin():
    mask = torch.zeros(1, 4, 5)
    mask[0, 2, 3] = 0.3
    assert sparseness(mask).item() == pytest.approx(1 - 1 / 20, abs=1e-12)
    assert complexity(mask).item() == 0.0
    assert relative_complexity(mask).item() == 0.0


def test_clip_of_one_bin():
    mask = torch.tensor([[[0.3]], [[0.0]]])
    assert relative_complexity(mask)[0].item() == 0.0
    assert complexity(mask)[0].item() == 0.0
    assert sparseness(mask)[0].item() == 0.0
    assert torch.isnan(relative_complexity(mask)[1])


def test_binary_mask_depends_on_its_area_only():
    mask = torch.zeros(1, 10, 10)
    mask.view(-1)[:20] = 1.0
    assert sparseness(mask).item() == pytest.approx(0.8, abs=1e-12)
    assert complexity(mask).item() == pytest.approx(math.log(20), abs=1e-12)


def test_sign_and_scale_do_not_matter():
    mask = random_masks(0)
    signed = 0.25 * mask * torch.where(random_masks(1) > 0.1, 1.0, -1.0)
    for metric in (sparseness, complexity, relative_complexity):
        assert torch.allclose(metric(mask), metric(signed), rtol=1e-12, atol=1e-12)


def test_padding_batch_and_order_do_not_matter():
    mask, lengths = random_masks(0, batch=5), [7, 3, 5, 1, 7]
    valid = frames_valid(lengths, 7)
    padded = torch.cat([mask, torch.full((5, 6, 5), 0.9, dtype=mask.dtype)], dim=1)
    padded_valid = torch.cat([valid, torch.zeros(5, 6, dtype=torch.bool)], dim=1)
    order = torch.tensor([3, 0, 4, 1, 2])
    for metric in ALL:
        whole = metric(mask, valid)
        assert torch.allclose(whole, metric(padded, padded_valid), rtol=1e-12, atol=1e-13)
        assert torch.allclose(whole[order], metric(mask[order], valid[order]), rtol=1e-12, atol=1e-13)
        for i, length in enumerate(lengths):
            assert torch.allclose(whole[i], metric(mask[i : i + 1, :length])[0], rtol=1e-12, atol=1e-13)


def test_holes_in_valid():
    mask = random_masks(3, batch=1)
    valid = torch.tensor([[True, False, True, True, False, False, True]])
    for metric in ALL:
        assert metric(mask, valid).item() == pytest.approx(metric(mask[:, valid[0]]).item(), rel=1e-12)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.bool, torch.int64])
def test_other_types_of_mask(dtype):
    mask = torch.tensor([[[0.0, 1.0], [1.0, 1.0]]]).to(dtype)
    assert sparseness(mask).item() == pytest.approx(0.25, abs=1e-12)
    assert complexity(mask).item() == pytest.approx(math.log(3), abs=1e-12)
    assert kept_area(mask).item() == 0.75


@pytest.mark.parametrize("metric", ALL)
def test_bad_input(metric):
    good, valid = torch.rand(2, 3, 4), torch.ones(2, 3, dtype=torch.bool)
    for value in (float("nan"), float("inf"), -float("inf")):
        bad = good.clone()
        bad[1, 0, 0] = value
        with pytest.raises(ValueError, match=r"not finite in clips \[1\]"):
            metric(bad, valid)
    with pytest.raises(ValueError, match=r"expected \[B, T, F\]"):
        metric(good[0])
    with pytest.raises(ValueError, match=r"expected \[B, T, F\]"):
        metric(good[:, :0])
    with pytest.raises(ValueError, match="expected bool of shape"):
        metric(good, valid.float())
    with pytest.raises(ValueError, match="expected bool of shape"):
        metric(good, valid[:, :2])
    with pytest.raises(ValueError, match=r"clips \[0\] of the batch have no valid frame"):
        metric(good, frames_valid([0, 3], 3))


def test_area_needs_a_mask_in_range():
    with pytest.raises(ValueError, match=r"expected \[0, 1\]"):
        kept_area(torch.full((1, 2, 2), -0.1))
    padded = torch.tensor([[[0.5, 0.5], [7.0, 7.0]]])
    check_range(padded, torch.tensor([[True, False]]))  # what lies in the padding does not matter
    with pytest.raises(ValueError, match=r"expected \[0, 1\]"):
        check_range(padded)


def test_callers_tensors_and_gradients_are_left_alone():
    mask = torch.rand(2, 3, 4, requires_grad=True)
    valid = frames_valid([3, 2], 3)
    before = mask.detach().clone()
    for metric in ALL:
        assert not metric(mask, valid).requires_grad
    assert mask.requires_grad
    assert mask.grad is None
    assert torch.equal(mask.detach(), before)
    assert valid.tolist() == [[True] * 3, [True, True, False]]


def quantus_masks():
    rng = np.random.default_rng(0)
    soft = rng.random((3, 31, 17))
    binary = (rng.random((2, 31, 17)) > 0.8).astype(float)
    peaked = rng.random((2, 31, 17)) ** 8
    nearly_constant = np.full((1, 31, 17), 0.5)  # a constant one it refuses
    nearly_constant[0, 3, 4] = 0.500001
    return np.concatenate([soft, binary, peaked, nearly_constant])


def quantus_score(name, bins, **settings):
    """Quantus on one clip: as a batch it would normalise all clips together and count the padding."""
    quantus = pytest.importorskip("quantus", reason="Quantus is not installed: nothing to compare with")
    metric = getattr(quantus, name)(disable_warnings=True, display_progressbar=False, abs=True, **settings)
    bins = bins[None, None]  # [1, 1, T, F]
    score = metric(model=None, x_batch=bins.copy(), y_batch=np.zeros(1, dtype=int), a_batch=bins.copy(), device="cpu")
    return float(score[0])


@pytest.mark.parametrize("normalise", [False, True])
@pytest.mark.parametrize("clip", range(len(quantus_masks())))
def test_quantus_clip_by_clip(clip, normalise):
    bins = quantus_masks()[clip]
    mask = torch.from_numpy(bins)[None]
    # The whole clip, and the clip inside a padded batch.
    padded = torch.cat([mask, torch.full((1, 4, 17), 0.7, dtype=mask.dtype)], dim=1)
    valid = frames_valid([31], 35)
    theirs = quantus_score("Complexity", bins, normalise=normalise)
    assert complexity(mask).item() == pytest.approx(theirs, rel=1e-10)
    assert complexity(padded, valid).item() == pytest.approx(theirs, rel=1e-10)
    theirs = quantus_score("Sparseness", bins, normalise=normalise)
    # Quantus adds 1e-7 to every bin against 0/0, which shrinks its index by a known factor.
    mean = (bins / bins.max() if normalise else bins).mean()
    assert sparseness(mask).item() == pytest.approx(theirs * (mean + 1e-7) / mean, rel=1e-10, abs=1e-12)
    assert sparseness(padded, valid).item() == pytest.approx(theirs, rel=1e-5, abs=1e-12)


def calls_of(function, *arguments):
    """The number of calls, of Python and of C functions, that a call makes."""
    calls = []
    sys.setprofile(lambda frame, event, argument: calls.append(event) if event in ("call", "c_call") else None)
    try:
        function(*arguments)
    finally:
        sys.setprofile(None)
    return len(calls)


@pytest.mark.parametrize("metric", ALL)
def test_there_is_no_loop_over_clips_frames_or_bins(metric):
    small, large = (
        calls_of(metric, torch.rand(clips, frames, bins), frames_valid([frames - i % 2 for i in range(clips)], frames))
        for clips, frames, bins in ((2, 3, 4), (16, 43, 51))
    )
    assert small == large
