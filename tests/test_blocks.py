"""Building blocks: strides and centres."""

import pytest
import torch

from interpretability.blocks import ConvBlock


@pytest.mark.parametrize(("stride", "size"), [(1, 7), (2, 4)])
def test_a_cell_of_the_output_sees_the_cell_of_the_input_that_it_is_centred_on(stride, size):
    torch.manual_seed(0)
    block = ConvBlock(1, 4, stride).eval()
    maps = torch.rand(1, 1, 7, 7)
    assert block(maps).shape == (1, 4, size, size)
    changed = maps.clone()
    changed[..., 4, 4] += 1
    moved = (block(changed) - block(maps)).abs().sum(1)[0]  # [size, size]
    assert moved[4 // stride, 4 // stride] > 0
    near = 1 if stride == 2 else 2
    assert moved[: 4 // stride - near].abs().max() == 0
