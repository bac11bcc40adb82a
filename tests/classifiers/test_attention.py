"""Rollout and gradient-weighted attention, by hand."""

import torch

from interpretability.classifiers.attention import gradient_weighted, rollout


def test_rollout_of_a_hand_made_case():
    first = torch.tensor([[[0.5, 0.5], [0.0, 1.0]]])
    second = torch.tensor([[[0.0, 1.0], [1.0, 0.0]]])
    # 0.5 A + 0.5 I: [[.75, .25], [0, 1]] and [[.5, .5], [.5, .5]]; the later layer stands on the left.
    wanted = torch.tensor([[[0.375, 0.625], [0.375, 0.625]]])
    torch.testing.assert_close(rollout([first, second]), wanted)
    assert not torch.allclose(rollout([second, first]), wanted)


def test_gradient_weighted_attention_of_a_hand_made_case():
    attention = [torch.tensor([[[[0.5, 0.5], [1.0, 0.0]], [[0.2, 0.8], [0.0, 1.0]]]])] * 2  # one clip, two heads
    gradients = [torch.tensor([[[[1.0, -1.0], [2.0, 5.0]], [[0.0, 1.0], [3.0, -4.0]]]])] * 2
    step = torch.tensor([[0.25, 0.4], [1.0, 0.0]])  # positive part of the products, mean over heads
    wanted = step + step @ (torch.eye(2) + step)  # R - I behind two layers
    torch.testing.assert_close(gradient_weighted(attention, gradients), wanted[None])
