"""Probabilities of classes against plain arithmetic."""

import math

import pytest
import torch

from interpretability.probabilities import class_probability, most_probable


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_class_probability_single_label(seed):
    logits = 3 * torch.randn(6, 5, generator=torch.Generator().manual_seed(seed))
    target = torch.tensor([0, 1, 2, 3, 4, 0])
    result = class_probability(logits, target)
    for i in range(6):
        e = [math.exp(v) for v in logits[i].tolist()]
        c = int(target[i])
        assert result.p[i].item() == pytest.approx(e[c] / sum(e), rel=1e-12)
        assert result.rest[i].item() == pytest.approx(sum(e[:c] + e[c + 1 :]) / sum(e), rel=1e-12)


def test_class_probability_multi_label():
    result = class_probability(torch.tensor([[0.0, 2.0], [50.0, 0.0]]), torch.tensor([1, 0]), task="multi")
    assert result.p.tolist() == pytest.approx([1 / (1 + math.exp(-2)), 1.0])
    assert result.rest.tolist() == pytest.approx([1 / (1 + math.exp(2)), math.exp(-50)])


def test_rest_keeps_its_digits_where_p_rounds_to_one():
    logits = torch.tensor([[60.0, 0.0, 0.0]])
    result = class_probability(logits, torch.tensor([0]))
    assert result.p.item() == 1.0
    assert result.rest.item() == pytest.approx(2 * math.exp(-60), rel=1e-6)


def test_extreme_logits_and_one_class_stay_finite():
    result = class_probability(torch.tensor([[3e38, -3e38], [-3e38, 3e38]]), torch.tensor([0, 0]))
    assert result.p.tolist() == [1.0, 0.0]
    assert result.rest.tolist() == [0.0, 1.0]
    single = class_probability(torch.tensor([[4.0]]), torch.tensor([0]))
    assert (single.p.item(), single.rest.item()) == (1.0, 0.0)


def test_half_precision_logits_are_computed_in_more():
    result = class_probability(torch.tensor([[12.0, 0.0]], dtype=torch.float16), torch.tensor([0]))
    assert result.p.dtype == torch.float64
    assert result.rest.item() == pytest.approx(1 / (1 + math.exp(12)), rel=1e-9)


def test_the_most_probable_classes_come_in_order_and_ties_by_index():
    scores = torch.tensor([[0.5, 2.0, -1.0, 2.0], [3.0, 3.0, 3.0, 3.0]])
    assert most_probable(scores, 3).tolist() == [[1, 3, 0], [0, 1, 2]]
    with pytest.raises(ValueError, match="not finite"):
        most_probable(torch.tensor([[float("nan"), 1.0]]), 1)
