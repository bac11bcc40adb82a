"""Loss terms against hand-worked values and plain loops; none depends on the batch size or on padding."""

import math

import pytest
import torch

from interpretability.lengths import mean_over_valid
from interpretability.methods.objectives import (
    loud_bins,
    mask_from,
    masked_cross_entropy,
    missing_surplus,
    reconstruction,
    squared_distance,
    total_variation,
)
from interpretability.probabilities import MaskedLogits

VALID = torch.tensor([[True, True, True, False], [True, True, False, False]])


def test_a_stretched_mask_by_hand():
    logits = torch.tensor([-math.inf, -20.0, math.log(1 / 9), 0.0, math.log(3), math.log(9), 20.0])
    assert mask_from(logits, 0.0).tolist() == logits.sigmoid().tolist()
    stretched = mask_from(logits, 0.1)  # 1.2 sigmoid - 0.1
    assert stretched.tolist() == pytest.approx([0, 0, 0.02, 0.5, 0.8, 0.98, 1], abs=1e-6)
    assert (stretched == 0).tolist() == [True, True, *[False] * 5]
    assert float(stretched[-1]) == 1
    inner = torch.tensor([0.0, 30.0], requires_grad=True)
    mask_from(inner, 0.1).sum().backward()
    assert inner.grad.tolist() == pytest.approx([1.2 / 4, 0.0])


def test_cross_entropies_by_hand():
    masked = MaskedLogits(torch.tensor([[math.log(3), 0.0]]), torch.tensor([[0.0, math.log(7)]]))
    pair = masked_cross_entropy(masked, torch.tensor([0]), "single", cap=None)
    assert float(pair.inside) == pytest.approx(-math.log(3 / 4))
    assert float(pair.outside) == pytest.approx(-math.log(1 / 8), rel=1e-6)
    multi = masked_cross_entropy(masked, torch.tensor([1]), "multi", cap=None)
    assert float(multi.inside) == pytest.approx(math.log(2), rel=1e-6)  # -log sigmoid(0)
    assert float(multi.outside) == pytest.approx(-math.log(7 / 8), rel=1e-6)


def test_the_outside_term_is_capped_and_saturated_logits_stay_finite():
    logits = torch.tensor([[-200.0, 200.0]], requires_grad=True)
    pair = masked_cross_entropy(MaskedLogits(logits, logits), torch.tensor([0]), "single", cap=10.0)
    assert pair.inside.tolist() == [400.0]
    assert pair.outside.tolist() == [10.0]
    (pair.inside - pair.outside).backward()
    assert torch.isfinite(logits.grad).all()


@pytest.mark.parametrize("task", ["single", "multi"])
def test_what_is_missing_to_the_surplus_by_hand(task):
    inside = torch.tensor([[2.0, 0.0], [2.0, 0.0], [60.0, -60.0]], requires_grad=True)  # of two classes: odds 2, 2, 120
    odds = {"single": [2.0, 2.0, 120.0], "multi": [2.0, 2.0, 60.0]}[task]
    whole = torch.tensor([1.0, 3.0, odds[2]])
    masked = MaskedLogits(inside, torch.zeros(3, 2))
    missing = missing_surplus(masked, torch.tensor([0, 0, 0]), task, whole, 0.3)
    assert missing.tolist() == pytest.approx([0.0, 1.3, 0.3], abs=1e-4)
    missing.sum().backward()
    # Also where the class is certain, and its cross-entropy has no gradient left.
    assert inside.grad[:, 0].tolist() == pytest.approx([0.0, -1.0, -1.0])


def test_total_variation_against_loops():
    mask = torch.rand(2, 4, 3)
    for b, n in enumerate(VALID.sum(1).tolist()):
        m = mask[b, :n]
        time = [(m[t + 1, f] - m[t, f]) ** 2 for t in range(n - 1) for f in range(3)]
        frequency = [(m[t, f + 1] - m[t, f]) ** 2 for t in range(n) for f in range(2)]
        wanted = sum(time) / len(time) + sum(frequency) / len(frequency)
        assert float(total_variation(mask, VALID)[b]) == pytest.approx(float(wanted), rel=1e-5)
    one_frame = torch.tensor([[[0.2, 0.5]]])
    assert float(total_variation(one_frame, torch.ones(1, 1, dtype=torch.bool))) == pytest.approx(0.09)


def test_loud_bins_by_hand_and_silence_has_none():
    log_magnitude = torch.tensor([[[1.0, 0.36, 0.34]], [[0.0, 0.0, 0.0]]])
    assert loud_bins(log_magnitude, torch.ones(2, 1, dtype=torch.bool), 0.35).tolist() == [[[1, 1, 0]], [[0, 0, 0]]]
    # What lies in the padding sets no threshold.
    padded = torch.tensor([[[1.0, 0.36], [9.0, 9.0]]])
    assert loud_bins(padded, torch.tensor([[True, False]]), 0.35).tolist() == [[[1, 1], [0, 0]]]


def test_reconstruction_by_hand_and_at_saturation():
    log_magnitude = torch.tensor([[[1.0, 0.1]]])
    valid = torch.ones(1, 1, dtype=torch.bool)
    logits = torch.tensor([[[0.0, math.log(3)]]])
    wanted = (math.log(2) + math.log(4)) / 2  # -log sigmoid(0) and -log(1 - sigmoid(log 3))
    assert float(reconstruction(logits, log_magnitude, valid, 0.35)) == pytest.approx(wanted, rel=1e-6)
    assert torch.isfinite(reconstruction(torch.tensor([[[-1e4, 1e4]]]), log_magnitude, valid, 0.35)).all()


def test_squared_distance_by_hand():
    first, second = torch.zeros(1, 2, 2, 1), torch.ones(1, 2, 2, 1)
    second[0, :, 1] = 3
    assert float(squared_distance(first, second)) == 5.0
    assert float(squared_distance(first, second, torch.tensor([[True, False]]))) == 1.0


@pytest.mark.parametrize("term", [total_variation, mean_over_valid])
def test_independent_of_batch_and_padding(term):
    mask = torch.rand(2, 4, 3)
    together = term(mask, VALID)
    for b, n in enumerate(VALID.sum(1).tolist()):
        alone = term(mask[b : b + 1, :n], VALID[b : b + 1, :n])
        torch.testing.assert_close(together[b : b + 1], alone)
