"""Clips of one length at a time, put together again."""

import pytest
import torch

from interpretability.lengths import LengthGroups, mean_over_valid, none_hidden


def test_clips_of_one_length_run_together():
    groups = LengthGroups(torch.tensor([4, 6, 4]))
    assert groups.run(lambda index, length: (index.tolist(), length)) == [([0, 2], 4), ([1], 6)]


def test_clips_of_equal_length_are_the_batch_itself():
    batch = torch.randn(3, 5)
    groups = LengthGroups(torch.tensor([5, 5, 5]))
    parts = groups.run(lambda index, length: batch[index, :length])
    assert len(parts) == 1
    assert parts[0].data_ptr() == batch.data_ptr()  # not copied
    assert torch.equal(groups.join(parts), batch)


def test_frames_are_cut_by_their_number_or_taken_together():
    valid = torch.arange(6)[None] < torch.tensor([4, 5, 4])[:, None]
    assert LengthGroups.of_frames(valid).run(lambda index, count: count) == [4, 5]
    assert LengthGroups.of_frames(valid, together=True).run(lambda index, count: count) == [6]
    assert LengthGroups.of_frames(valid[[0, 2]]).run(lambda index, count: count) == [4]


@pytest.mark.parametrize("axis", [1, 2])
def test_groups_are_put_together_again_in_the_batchs_order_padded_with_zeros(axis):
    batch, lengths = torch.randn(4, 5, 5), torch.tensor([3, 5, 3, 5])
    groups = LengthGroups(lengths)
    parts = groups.run(lambda index, length: batch[index].narrow(axis, 0, length))
    for size in (None, 5, 7):
        whole = groups.join(parts, axis, size)
        assert whole.shape[axis] == (size or 5)
        for clip, length in enumerate(lengths.tolist()):
            part = whole[clip]
            torch.testing.assert_close(part.narrow(axis - 1, 0, length), batch[clip].narrow(axis - 1, 0, length))
            assert not part.narrow(axis - 1, length, part.shape[axis - 1] - length).any()


def test_one_group_of_flags_is_padded_too():
    flags = torch.tensor([[True, True], [False, True]])
    whole = LengthGroups(torch.tensor([2, 2])).join([flags], axis=1, size=3)
    assert whole.tolist() == [[True, True, False], [False, True, False]]


def test_means_against_loops():
    values, valid = torch.randn(2, 4, 3), torch.arange(4)[None] < torch.tensor([3, 2])[:, None]
    wanted = [values[b][valid[b]].mean() for b in range(2)]
    torch.testing.assert_close(mean_over_valid(values, valid), torch.stack(wanted))


def test_whether_nothing_is_hidden_is_not_asked_while_a_graph_is_traced():
    whole, cut = torch.ones(2, 3, dtype=torch.bool), torch.tensor([[True, True, False]])
    assert none_hidden(None)
    assert none_hidden(whole)
    assert not none_hidden(cut)
    assert not none_hidden(whole.to("meta"))  # it would have to be waited for
    answers = []
    torch.jit.trace(lambda valid: (answers.append(none_hidden(valid)), valid + 0)[1], whole, check_trace=False)
    assert answers == [False]
