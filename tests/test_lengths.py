"""Clips of one length at a time, put together again."""

import pytest
import torch

from interpretability.lengths import groups_of_equal_length, mean_over_valid, reassemble


def test_groups_of_equal_length():
    valid = torch.arange(6)[None] < torch.tensor([4, 6, 4])[:, None]
    groups = {count: index.tolist() for index, count in groups_of_equal_length(valid, 3)}
    assert groups == {4: [0, 2], 6: [1]}
    assert [(i.tolist(), n) for i, n in groups_of_equal_length(None, 2)] == [([0, 1], None)]


@pytest.mark.parametrize("axis", [1, 2])
def test_groups_are_put_together_again_in_the_batchs_order_padded_with_zeros(axis):
    batch = torch.randn(4, 5, 5)
    counts, indices = (3, 5), (torch.tensor([2, 0]), torch.tensor([3, 1]))
    parts = [batch[index].narrow(axis, 0, count) for index, count in zip(indices, counts, strict=True)]
    for size in (None, 5, 7):
        whole = reassemble(indices, parts, axis, size)
        assert whole.shape[axis] == (size or 5)
        for index, count in zip(indices, counts, strict=True):
            torch.testing.assert_close(whole[index].narrow(axis, 0, count), batch[index].narrow(axis, 0, count))
            assert not whole[index].narrow(axis, count, whole.shape[axis] - count).any()


def test_a_single_group_of_flags():
    flags = torch.tensor([[True, True], [False, True]])
    whole = reassemble([torch.tensor([1, 0])], [flags], axis=1, size=3)
    assert whole.tolist() == [[False, True, False], [True, True, False]]


def test_means_against_loops():
    values, valid = torch.randn(2, 4, 3), torch.arange(4)[None] < torch.tensor([3, 2])[:, None]
    wanted = [values[b][valid[b]].mean() for b in range(2)]
    torch.testing.assert_close(mean_over_valid(values, valid), torch.stack(wanted))
