"""Grids: interpolation from known centres, doubling, padding that never leaks."""

import numpy as np
import pytest
import torch

from interpretability.decoders import (
    FeatureMerge,
    Grid,
    MaskDecoder,
    double_grid,
    fit_frames,
    hide_padding,
    interpolation_matrix,
    to_spectrogram_grid,
)


@pytest.mark.parametrize("centres", [[0.0, 2.0, 4.0], [0.5, 2.5, 4.5, 6.5], [1.2, 1.9, 7.3], [3.0]])
def test_interpolation_is_numpys(centres):
    values = np.random.default_rng(0).normal(size=len(centres))
    matrix = interpolation_matrix(torch.tensor(centres), 9)
    wanted = np.interp(np.arange(9), centres, values)  # which keeps the outer values too
    np.testing.assert_allclose(matrix.double().numpy() @ values, wanted, atol=1e-6)
    torch.testing.assert_close(matrix.sum(1), torch.ones(9))


@pytest.mark.parametrize("centres", [[], [1.0, 1.0], [2.0, 1.0]])
def test_centres_have_to_ascend(centres):
    with pytest.raises(ValueError, match="ascend"):
        interpolation_matrix(torch.tensor(centres), 4)


def test_a_plane_stays_a_plane():
    grid = Grid(torch.tensor([0.0, 4.0, 8.0]), torch.tensor([1.0, 3.0, 9.0]))
    values = (grid.frames[:, None] + 10 * grid.bins)[None].float()
    wide = to_spectrogram_grid(values, grid, 9, 10)
    assert wide.shape == (1, 9, 10)
    inside = torch.arange(9.0)[:, None] + 10 * torch.arange(1.0, 10.0)
    torch.testing.assert_close(wide[0, :, 1:], inside)
    torch.testing.assert_close(wide[0, :, 0], wide[0, :, 1])  # beyond the first centre: the nearest value


def test_doubling_is_interpolation_on_the_doubled_grid():
    maps = torch.randn(1, 2, 4, 5)
    doubled = double_grid(maps, (7, 9))
    grid = Grid(torch.arange(4.0) * 2, torch.arange(5.0) * 2)
    torch.testing.assert_close(doubled[0], to_spectrogram_grid(maps[0], grid, 7, 9))
    assert double_grid(maps, (8, 10)).shape == (1, 2, 8, 10)
    assert double_grid(maps, (9, 11)).shape == (1, 2, 9, 11)


def test_fit_frames_cuts_or_repeats_the_last():
    values = torch.arange(6.0).view(1, 3, 2)
    assert torch.equal(fit_frames(values, 2), values[:, :2])
    assert fit_frames(values, 5)[0, :, 0].tolist() == [0.0, 2.0, 4.0, 4.0, 4.0]


def test_hidden_rows_are_zero():
    maps = hide_padding(torch.ones(1, 1, 3, 2), torch.tensor([[True, True, False]]))
    assert maps[0, 0].sum(1).tolist() == [2.0, 2.0, 0.0]
    assert torch.equal(hide_padding(maps, None), maps)


@pytest.mark.parametrize("frames", [1, 2, 7, 16, 21])
def test_a_padded_clip_is_decoded_as_it_is_alone(frames):
    torch.manual_seed(0)
    merge, decoder = FeatureMerge((3, 4), 5).eval(), MaskDecoder(5, (4, 2)).eval()

    def decode(n_total):
        rows = [torch.arange(-(-n_total // s))[None] < -(-frames // s) for s in (1, 2, 4, 8)]
        generator = torch.Generator().manual_seed(1)
        maps = []
        for channels, r, width in ((3, rows[2], 4), (4, rows[3], 2)):
            whole = torch.randn(1, channels, 30, width, generator=generator)[:, :, : r.shape[1]]
            maps.append(hide_padding(whole, r))
        merged = merge(tuple(maps), (rows[2], rows[3]))
        sizes = ((rows[1].shape[1], 8), (rows[0].shape[1], 16))
        return decoder(merged, sizes, (rows[2], rows[1], rows[0]))

    torch.testing.assert_close(decode(frames + 13)[:, :frames], decode(frames), rtol=0, atol=1e-5)
