"""Localisation against scikit-learn, against pairs of bins counted one by one, and where the answer is known."""

import math

import pytest
import torch
from sklearn.metrics import roc_auc_score

from interpretability.metrics.localisation import (
    energy_precision,
    energy_weighted_auroc,
    intersection_over_union,
    pointing_game,
    true_mask,
)

LENGTHS = [7, 1, 4, 6]


def case(seed, levels=None, dtype=torch.float32, frames=7, bands=5, lengths=LENGTHS):
    """Mask, truth, magnitude and valid of a padded batch; with few levels, the mask has many ties."""
    g = torch.Generator().manual_seed(seed)
    shape = (len(lengths), frames, bands)
    mask = torch.rand(shape, generator=g, dtype=torch.float64)
    if levels:
        mask = (mask * levels).round() / levels
    truth = torch.rand(shape, generator=g) < 0.4
    truth[:, 0, 0], truth[:, 0, 1] = True, False  # both classes in every clip
    magnitude = torch.rand(shape, generator=g, dtype=torch.float64) * 3
    return mask.to(dtype), truth, magnitude.to(dtype), torch.arange(frames)[None] < torch.tensor(lengths)[:, None]


def measure(mask, truth, magnitude, valid=None):
    return {
        "energy_precision": energy_precision(mask * magnitude, truth, valid),
        "auroc": energy_weighted_auroc(mask, truth, magnitude, valid),
        "pointing_game": pointing_game(mask, truth, valid),
        "iou": intersection_over_union(mask, truth, valid),
    }


def clip_of(i, length, *tensors):
    return [x[i, :length].flatten().tolist() for x in tensors]


def area_by_pairs(scores, truth, weights):
    won = total = 0.0
    for score, true, weight in zip(scores, truth, weights, strict=True):
        for other, other_true, other_weight in zip(scores, truth, weights, strict=True):
            if true and not other_true:
                won += weight * other_weight * ((score > other) + 0.5 * (score == other))
                total += weight * other_weight
    return won / total


# ---- Independent oracles ----


@pytest.mark.parametrize("levels", [None, 4, 1])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("seed", [0, 1])
def test_plain_loops_and_scikit_learn(seed, levels, dtype):
    mask, truth, magnitude, valid = case(seed, levels, dtype)
    magnitude[0, 2] = 0.0  # a silent frame weighs nothing
    values = measure(mask, truth, magnitude, valid)
    assert all(value.dtype == torch.float64 and value.shape == (4,) for value in values.values())
    for i, length in enumerate(LENGTHS):
        m, g, a = clip_of(i, length, mask, truth, magnitude)
        weights = [x * x for x in a]
        assert values["auroc"][i].item() == pytest.approx(area_by_pairs(m, g, weights), abs=1e-12)
        assert values["auroc"][i].item() == pytest.approx(roc_auc_score(g, m, sample_weight=weights), abs=1e-12)
        kept = [x * x for x in clip_of(i, length, mask * magnitude)[0]]
        expected = sum(e for e, true in zip(kept, g, strict=True) if true) / sum(kept)
        assert values["energy_precision"][i].item() == pytest.approx(expected, abs=1e-12)
        tied = [j for j, score in enumerate(m) if score == max(m)]
        assert values["pointing_game"][i].item() == pytest.approx(sum(g[j] for j in tied) / len(tied), abs=1e-12)
        top = set(sorted(range(len(m)), key=lambda j: -m[j])[: sum(g)])  # stable: lower bins first
        true = {j for j, x in enumerate(g) if x}
        assert values["iou"][i].item() == pytest.approx(len(top & true) / len(top | true), abs=1e-12)


def test_scikit_learn_at_the_size_of_a_clip():
    mask, truth, magnitude, valid = case(3, frames=431, bands=513, lengths=[431, 300])
    values = energy_weighted_auroc(mask, truth, magnitude, valid)
    for i, length in enumerate((431, 300)):
        m, g, a = (x[i, :length].flatten().double().numpy() for x in (mask, truth, magnitude))
        m = m.round(5)
        assert values[i].item() == pytest.approx(roc_auc_score(g, m, sample_weight=a**2), abs=1e-10)


def test_golden_values():
    """Weights 4, 1, 1, 4: of the pairs (true, other), those of bin 0 are won, that of bin 2 with bin 1 tied."""
    mask = torch.tensor([[[0.9, 0.4], [0.4, 0.7]]])
    truth = torch.tensor([[[True, False], [True, False]]])
    magnitude = torch.tensor([[[2.0, 1.0], [1.0, 2.0]]])
    values = measure(mask, truth, magnitude)
    assert values["auroc"].item() == pytest.approx((4 * 1 + 4 * 4 + 0.5 * 1 * 1 + 0) / (5 * 5), abs=1e-12)
    energies = [1.8**2, 0.4**2, 0.4**2, 1.4**2]
    assert values["energy_precision"].item() == pytest.approx((energies[0] + energies[2]) / sum(energies), abs=1e-6)
    assert values["pointing_game"].item() == 1.0
    assert values["iou"].item() == pytest.approx(1 / 3)


# ---- Known answers ----


def test_the_truth_itself_its_complement_and_a_constant():
    _, truth, magnitude, valid = case(0)
    perfect = measure(truth.float(), truth, magnitude, valid)
    assert all(value.tolist() == [1.0] * 4 for value in perfect.values())
    wrong = measure((~truth).float(), truth, magnitude, valid)
    for name in ("energy_precision", "auroc", "pointing_game"):
        assert wrong[name].tolist() == [0.0] * 4
    constant = measure(torch.full_like(magnitude, 0.3), truth, magnitude, valid)
    assert constant["auroc"].tolist() == pytest.approx([0.5] * 4, abs=1e-12)
    whole = measure(torch.ones_like(magnitude), truth, magnitude, valid)
    for i, length in enumerate(LENGTHS):
        g, a = truth[i, :length], magnitude[i, :length].double() ** 2
        assert constant["pointing_game"][i].item() == pytest.approx(g.double().mean().item())
        assert whole["energy_precision"][i].item() == pytest.approx((a[g].sum() / a.sum()).item(), abs=1e-6)


def test_only_the_order_counts_for_three_of_them():
    mask, truth, magnitude, valid = case(1, levels=6, dtype=torch.float64)
    here = measure(mask, truth, magnitude, valid)
    there = measure((mask**3) * 0.2, truth, magnitude, valid)
    for name in ("auroc", "pointing_game", "iou"):
        assert torch.equal(here[name], there[name])
    turned = energy_weighted_auroc(1 - mask, truth, magnitude, valid)
    assert torch.allclose(here["auroc"] + turned, torch.ones(4, dtype=torch.float64), atol=1e-12)


def test_level_does_not_count():
    mask, truth, magnitude, valid = case(2, dtype=torch.float64)
    for gain in (1e-20, 1e6):
        quiet = measure(mask, truth, gain * magnitude, valid)
        for name, value in measure(mask, truth, magnitude, valid).items():
            assert torch.allclose(quiet[name], value, atol=1e-12), name


# ---- Degenerate input ----


def test_silence_and_nothing_kept_are_undefined():
    mask, truth, magnitude, valid = case(0)
    magnitude[1] = 0.0
    truth[1] = False  # as the truth of silence is
    mask[2] = 0.0
    values = measure(mask, truth, magnitude, valid)
    assert torch.isnan(values["energy_precision"]).tolist() == [False, True, True, False]
    assert torch.isnan(values["auroc"]).tolist() == [False, True, False, False]
    assert torch.isnan(values["pointing_game"]).tolist() == [False, True, False, False]
    assert torch.isnan(values["iou"]).tolist() == [False, True, False, False]
    assert values["auroc"][2].item() == pytest.approx(0.5, abs=1e-12)  # a mask of zeros ranks nothing


def test_no_bin_is_true_or_all_are():
    mask, truth, magnitude, valid = case(0)
    truth[0] = False
    truth[1] = True
    truth[2, :4] = False  # true in the padding only
    values = measure(mask, truth, magnitude, valid)
    assert torch.isnan(values["auroc"]).tolist() == [True, True, True, False]
    for name in ("pointing_game", "iou"):
        assert torch.isnan(values[name]).tolist() == [True, False, True, False]
        assert values[name][1].item() == 1.0
    assert values["energy_precision"][:3].tolist() == [0.0, 1.0, 0.0]


def test_a_class_without_energy_is_undefined():
    mask, truth, magnitude, valid = case(0)
    magnitude = magnitude.masked_fill(truth, 0.0)
    assert torch.isnan(energy_weighted_auroc(mask, truth, magnitude, valid)).all()


def test_one_frame_of_one_bin():
    one = torch.ones(1, 1, 1)
    values = measure(one, one.bool(), one)
    assert math.isnan(values.pop("auroc").item())
    assert all(value.item() == 1.0 for value in values.values())


# ---- Padding, batches, the caller's tensors ----


@pytest.mark.parametrize("levels", [None, 3])
def test_padding_batch_and_order_do_not_matter(levels):
    mask, truth, magnitude, valid = case(0, levels)
    whole = measure(mask, truth, magnitude, valid)
    order = torch.tensor([3, 0, 2, 1])
    shuffled = measure(mask[order], truth[order], magnitude[order], valid[order])
    garbage = (torch.ones(4, 3, 5), torch.ones(4, 3, 5, dtype=torch.bool), 9 * torch.ones(4, 3, 5))
    longer = [torch.cat([x, more], dim=1) for x, more in zip((mask, truth, magnitude), garbage, strict=True)]
    padded = measure(*longer, torch.cat([valid, torch.zeros(4, 3, dtype=torch.bool)], dim=1))
    for name, value in whole.items():
        assert torch.allclose(shuffled[name], value[order], atol=1e-12), name
        assert torch.allclose(padded[name], value, atol=1e-12), name
    for i, length in enumerate(LENGTHS):
        alone = measure(*(x[i : i + 1, :length] for x in (mask, truth, magnitude)))
        for name, value in whole.items():
            assert alone[name].item() == pytest.approx(value[i].item(), abs=1e-12), name


def test_nothing_of_the_callers_is_changed():
    tensors = case(0, levels=3)
    tensors[0].requires_grad_()
    before = [x.detach().clone() for x in tensors]
    values = measure(*tensors)
    assert not any(value.requires_grad for value in values.values())
    assert tensors[0].grad is None
    assert all(torch.equal(x.detach(), y) for x, y in zip(tensors, before, strict=True))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision(dtype):
    mask, truth, magnitude, valid = case(0, levels=4)
    exact = measure(mask, truth, magnitude, valid)
    half = measure(mask.to(dtype), truth, magnitude.to(dtype), valid)
    for name, value in exact.items():
        assert torch.allclose(half[name], value, atol=0.02), name


def test_bad_input():
    mask, truth, magnitude, valid = case(0)
    for metric in (energy_precision, pointing_game, intersection_over_union):
        with pytest.raises(ValueError, match=r"truth is torch.float32 of shape \[4, 7, 5\], expected bool"):
            metric(mask, truth.float(), valid)
        with pytest.raises(ValueError, match=r"expected bool of shape \[4, 7, 5\]"):
            metric(mask, truth[:, :6], valid)
        with pytest.raises(ValueError, match=r"expected bool of shape \[4, 7\]"):
            metric(mask, truth, valid[:, :6])
        with pytest.raises(ValueError, match=r"not finite in clips \[2\]"):
            metric(mask.index_fill(0, torch.tensor([2]), math.nan), truth, valid)
        with pytest.raises(ValueError, match=r"clips \[1\] of the batch have no valid frame"):
            metric(mask, truth, valid & (torch.arange(4) != 1)[:, None])
    with pytest.raises(ValueError, match="magnitude has shape"):
        energy_weighted_auroc(mask, truth, magnitude[:, :6], valid)
    with pytest.raises(ValueError, match=r"magnitude is not finite in clips \[0\]"):
        energy_weighted_auroc(mask, truth, magnitude.index_fill(0, torch.tensor([0]), math.inf), valid)
    with pytest.raises(ValueError, match="truth is"):
        energy_weighted_auroc(mask, truth.long(), magnitude, valid)


def test_true_mask_is_strict_and_keeps_shape():
    target, rest = torch.rand(2, 5, 7), torch.rand(2, 5, 7)
    rest[0, 0] = target[0, 0]
    mask = true_mask(target, rest)
    assert mask.dtype == torch.bool
    assert torch.equal(mask, torch.from_numpy(target.numpy() > rest.numpy()))
    assert not mask[0, 0].any()
    with pytest.raises(ValueError, match="one shape"):
        true_mask(target, rest[:, :4])
