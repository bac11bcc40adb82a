"""The probability metrics against plain arithmetic, clip by clip."""

import pytest
import torch

from interpretability.metrics import faithfulness as ff
from interpretability.probabilities import class_probability, predicted_class


def oracle(p, o, q):
    """The formulas for one clip, in Python floats."""
    return {
        "ff": p - q,
        "ff_in": p - o,
        "ad": 100 * max(0.0, p - o) / p if p > 0 else 0.0,
        "ai": 100.0 if o > p + 1e-6 else 0.0,
        "ag": 100 * max(0.0, o - p) / (1 - p) if p < 1 else 0.0,
    }


def measure(p, o, q):
    return {
        "ff": ff.faithfulness(p, q),
        "ff_in": ff.faithfulness_in(p, o),
        "ad": ff.average_drop(p, o),
        "ai": ff.average_increase(p, o),
        "ag": ff.average_gain(p, o, 1 - p),
    }


@pytest.mark.parametrize("seed", [0, 1, 2])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_formulas_clip_by_clip(seed, dtype):
    p, o, q = torch.rand(3, 50, generator=torch.Generator().manual_seed(seed), dtype=dtype)
    values = measure(p, o, q)
    for i in range(50):
        for name, expected in oracle(p[i].item(), o[i].item(), q[i].item()).items():
            assert values[name].shape == (50,)
            assert values[name][i].item() == pytest.approx(expected, rel=1e-5, abs=1e-9), name


def test_golden_values():
    p, o, q = torch.tensor([[0.8, 0.5, 0.2], [0.2, 0.75, 0.2], [0.1, 0.5, 0.6]], dtype=torch.float64)
    expected = {
        "ff": [0.7, 0.0, -0.4],
        "ff_in": [0.6, -0.25, 0.0],
        "ad": [75.0, 0.0, 0.0],
        "ai": [0.0, 100.0, 0.0],
        "ag": [0.0, 50.0, 0.0],
    }
    for name, values in measure(p, o, q).items():
        assert values.tolist() == pytest.approx(expected[name], abs=1e-12), name


def test_drop_reaches_one_hundred():
    """Probabilities that are softmaxed a second time cap the drop at 100 * (1 - 1/e) = 63.2."""
    target = torch.tensor([0])
    p = class_probability(torch.tensor([[30.0, 0.0, 0.0]]), target).p
    o = class_probability(torch.tensor([[-30.0, 0.0, 0.0]]), target).p
    assert ff.average_drop(p, o).item() == pytest.approx(100.0, abs=1e-6)
    assert ff.faithfulness_in(p, o).item() == pytest.approx(1.0, abs=1e-6)


def test_swapping_in_and_out_swaps_the_two_faithfulnesses_exactly():
    p, o, q = torch.rand(3, 100, generator=torch.Generator().manual_seed(0))
    assert torch.equal(ff.faithfulness(p, q), ff.faithfulness_in(p, o=q))
    assert torch.equal(ff.faithfulness(p, q=o), ff.faithfulness_in(p, o))


def test_noise_of_rounding_is_no_increase_and_no_gain():
    p = torch.tensor([0.3, 0.9999998, 0.5], dtype=torch.float64)
    o = p + torch.tensor([1e-7, 1e-7, 2e-6], dtype=torch.float64)
    assert ff.average_increase(p, o).tolist() == [0.0, 0.0, 100.0]
    assert ff.average_gain(p, o, 1 - p).tolist() == pytest.approx([0.0, 0.0, 4e-4], rel=1e-6)
    # The bare formulas are there on request.
    assert ff.average_increase(p, o, tolerance=0.0).tolist() == [100.0] * 3
    assert ff.average_gain(p, o, 1 - p, tolerance=0.0)[1].item() == pytest.approx(50.0, rel=1e-6)


def test_certain_and_impossible_classes():
    one, zero = torch.ones(1), torch.zeros(1)
    assert ff.average_gain(one, one, zero).item() == 0.0
    assert ff.average_drop(zero, zero).item() == 0.0
    assert ff.average_drop(one, zero).item() == 100.0
    assert ff.average_gain(zero, one, one).item() == 100.0


def test_fidelity_and_ties():
    scores = torch.tensor([[1.0, 3.0, 2.0], [5.0, 5.0, 1.0], [0.0, 0.0, 0.0], [0.0, 1.0, 1.0]])
    assert predicted_class(scores).tolist() == [1, 0, 0, 1]
    assert ff.input_fidelity(scores, torch.tensor([1, 1, 0, 2])).tolist() == [1.0, 0.0, 1.0, 0.0]


def test_fidelity_refuses_a_column_of_targets():
    """[B, 1] against [B] would compare every clip with every target."""
    with pytest.raises(ValueError, match=r"target has shape \[3, 1\], expected \[3\]"):
        ff.input_fidelity(torch.eye(3), torch.arange(3)[:, None])


@pytest.mark.parametrize(
    ("target", "message"),
    [
        (torch.tensor([0, 3]), "classes 0 to 3, the classifier has 0 to 2"),
        (torch.tensor([-1, 0]), "classes -1 to 0"),
        (torch.tensor([0.0, 1.0]), "expected integer"),
        (torch.tensor(0), "expected .2.: one class per clip"),
        (torch.tensor([0, 1, 2]), "expected .2.: one class per clip"),
    ],
)
def test_bad_targets(target, message):
    for call in (ff.input_fidelity, class_probability):
        with pytest.raises(ValueError, match=message):
            call(torch.zeros(2, 3), target)


def test_bad_scores_and_task():
    target = torch.tensor([0])
    with pytest.raises(ValueError, match="not finite"):
        class_probability(torch.tensor([[float("nan"), 0.0]]), target)
    with pytest.raises(ValueError, match=r"expected \[B, C\]"):
        predicted_class(torch.zeros(3))
    with pytest.raises(ValueError, match="task is 'both'"):
        class_probability(torch.zeros(1, 2), target, task="both")


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (torch.tensor([0.5, float("nan")]), "not finite"),
        (torch.tensor([0.5, float("inf")]), "not finite"),
        (torch.tensor([0.5, 1.1]), r"expected probabilities in \[0, 1\]"),
        (torch.tensor([0.5, -0.1]), r"expected probabilities in \[0, 1\]"),
        (torch.tensor([0.5]), "has 1 clips, p has 2"),
        (torch.tensor([[0.5], [0.5]]), r"expected \[B\]"),
    ],
)
def test_bad_probabilities(bad, message):
    p = torch.tensor([0.5, 0.5])
    for call in (ff.faithfulness, ff.faithfulness_in, ff.average_drop, ff.average_increase):
        with pytest.raises(ValueError, match=message):
            call(p, bad)
    with pytest.raises(ValueError, match=message):
        ff.average_gain(p, bad, 1 - p)


def test_a_rest_that_is_not_the_rest_and_a_negative_tolerance():
    p = torch.tensor([0.5])
    with pytest.raises(ValueError, match="p_rest is not 1 - p"):
        ff.average_gain(p, p, torch.tensor([0.2]))
    with pytest.raises(ValueError, match="tolerance"):
        ff.average_increase(p, p, tolerance=-1.0)


def test_rounding_beyond_one_is_forgiven():
    p, o = torch.tensor([1.0], dtype=torch.float64) + 1e-8, torch.tensor([0.0], dtype=torch.float64) - 1e-8
    assert ff.average_drop(p, o).item() == 100.0


def test_callers_tensors_are_left_alone():
    p, o, rest = torch.tensor([0.5, 1.0]), torch.tensor([0.7, 0.9]), torch.tensor([0.5, 0.0])
    logits, target = torch.randn(2, 3), torch.tensor([0, 2])
    copies = [x.clone() for x in (p, o, rest, logits, target)]
    ff.average_gain(p, o, rest), ff.average_drop(p, o), ff.faithfulness(p, o)
    class_probability(logits, target), ff.input_fidelity(logits, target)
    for before, after in zip(copies, (p, o, rest, logits, target), strict=True):
        assert torch.equal(before, after)
