"""Weights taken over: by name and size, and rows of classes by the names of the classes."""

import torch
from torch import nn

from interpretability.transfer import SHARED, ClassRows, Transfer, take_over


class Net(nn.Module):
    def __init__(self, n_rows, width=3, n_in=2):
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(n_in, width), nn.BatchNorm1d(width))
        self.rows = nn.Parameter(torch.randn(n_rows, width))


def nets(ours, theirs, **sizes):
    torch.manual_seed(0)
    source, target = Net(theirs), Net(ours, **sizes)
    source.encoder[1].running_mean.fill_(7.0)
    return target, source


def rows_of(classes, new="built"):
    return {"rows": ClassRows(torch.tensor(classes), new)}


def test_rows_follow_the_names_of_the_classes():
    target, source = nets(3, 2)
    built = target.rows.detach().clone()
    result = take_over(target, source, ["c", "b", "a"], ["a", "b"], rows_of([0, 1, 2]), rows_of([0, 1]))
    assert torch.equal(target.rows[2], source.rows[0])
    assert torch.equal(target.rows[1], source.rows[1])
    assert torch.equal(target.rows[0], built[0])
    for name, value in source.encoder.state_dict().items():
        assert torch.equal(target.encoder.state_dict()[name], value), name
    assert (result.classes, result.new_classes) == (["b", "a"], ["c"])
    assert result.parts(1) == {"rows": "by class", "encoder": "kept"}
    assert result.remade == []


def test_a_class_with_more_rows_keeps_what_there_is_and_shared_rows_are_no_class():
    target, source = nets(6, 4)
    result = take_over(
        target,
        source,
        ["a", "n"],
        ["a"],
        rows_of([0, 0, 0, 1, SHARED, SHARED], "drawn"),
        rows_of([0, 0, SHARED, SHARED]),
    )
    assert torch.equal(target.rows[:2], source.rows[:2])
    assert torch.equal(target.rows[4:], source.rows[2:])
    # The others are rows of the source, drawn at random.
    for row in (target.rows[2], target.rows[3]):
        assert any(torch.equal(row, given) for given in source.rows)
    assert result.by_class == ["rows"]


def test_drawn_rows_differ_as_long_as_there_are_others_and_follow_the_seed():
    results = []
    for seed in (1, 1, 2):
        target, source = nets(8, 8)
        take_over(target, source, list("ab"), list("cd"), rows_of([0] * 8, "drawn"), rows_of([1] * 8), seed)
        results.append(target.rows.detach())
        assert sorted(target.rows.tolist()) == sorted(source.rows.tolist())
    assert torch.equal(results[0], results[1])
    assert not torch.equal(results[0], results[2])


def test_the_mean_of_the_rows():
    target, source = nets(2, 3)
    take_over(target, source, ["b", "n"], list("abc"), rows_of([0, 1], "mean"), rows_of([0, 1, 2]))
    assert torch.equal(target.rows[0], source.rows[1])
    torch.testing.assert_close(target.rows[1], source.rows.mean(0))


def test_what_has_another_size_stays_as_it_was_built():
    target, source = nets(2, 2, n_in=5)
    before = target.encoder[0].weight.detach().clone()
    result = take_over(target, source, ["a", "b"], ["x", "y"], rows_of([0, 1]), rows_of([0, 1]))
    assert torch.equal(target.encoder[0].weight, before)
    assert torch.equal(target.encoder[0].bias, source.encoder[0].bias)
    # No class in common, and rows that stay as built: the rows are new.
    assert result.remade == ["rows", "encoder.0.weight"]
    assert result.parts(1) == {"encoder": "kept in part", "rows": "made new"}
    wider, narrow = nets(2, 2, width=4)
    assert take_over(wider, narrow, ["a"], ["a"], rows_of([0, 0]), rows_of([0, 0])).kept == [
        "encoder.1.num_batches_tracked"
    ]
    assert Transfer(kept=["encoder.1.num_batches_tracked"]).parts() == {}
