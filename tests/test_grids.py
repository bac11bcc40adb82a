"""Grids: interpolation from known centres, doubling, padding that never leaks."""

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from interpretability.classifiers.compact import CompactClassifier
from interpretability.classifiers.conv2d import Conv2dClassifier
from interpretability.grids import (
    Grid,
    fit_frames,
    hide_padding,
    hold_last_row,
    interpolate_rows,
    interpolation_matrix,
    regrid,
    to_spectrogram_grid,
    whole_windows,
    window_centres,
)

CLASSIFIERS = (
    CompactClassifier(["a", "b"], n_mels=32, channels=(2, 2, 2, 2)),
    Conv2dClassifier(["a", "b"], dim=2, lin_neurons=4),
)


@pytest.mark.parametrize("centres", [[0.0, 2.0, 4.0], [0.5, 2.5, 4.5, 6.5], [1.2, 1.9, 7.3], [3.0]])
def test_interpolation_is_numpys(centres):
    values = np.random.default_rng(0).normal(size=len(centres))
    matrix = interpolation_matrix(torch.tensor(centres), 9)
    wanted = np.interp(np.arange(9), centres, values)  # which keeps the outer values too
    np.testing.assert_allclose(matrix.double().numpy() @ values, wanted, atol=1e-6)
    torch.testing.assert_close(matrix.sum(1), torch.ones(9))


@pytest.mark.parametrize(("size", "stride"), [(1023, 1), (1024, 4), (1025, 8), (4100, 1), (4100, 2.5)])
def test_long_clips_are_interpolated_in_stretches_as_short_ones_are_at_once(size, stride):
    centres = window_centres(round(size / stride) - 3, stride)
    values = torch.randn(2, len(centres), 3)
    at_once = interpolation_matrix(centres, size) @ values
    in_stretches = interpolate_rows(values, centres, size)
    if size <= 1024:
        assert torch.equal(in_stretches, at_once)
    torch.testing.assert_close(in_stretches, at_once, rtol=1e-6, atol=1e-6)


class Sizes(TorchDispatchMode):
    """Counts the bytes of the largest tensor that is made."""

    largest = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        answer = function(*args, **(kwargs or {}))
        for item in answer if isinstance(answer, (list, tuple)) else (answer,):
            if isinstance(item, torch.Tensor):
                self.largest = max(self.largest, item.untyped_storage().nbytes())
        return answer


@pytest.mark.parametrize("stride", [1, 4])
def test_memory_grows_with_the_length_and_not_with_its_square(stride):
    """Counted, not timed: the largest tensor on the way from a map to a spectrogram."""
    largest = []
    for n_frames in (5000, 20000):
        grid = Grid(window_centres(n_frames // stride, stride), torch.tensor([0.0, 4.0]))
        with Sizes() as sizes:
            to_spectrogram_grid(torch.zeros(1, n_frames // stride, 2), grid, n_frames, 5)
        largest.append(sizes.largest)
    assert largest[1] <= 4 * largest[0]
    assert largest[1] <= 8 * 1024 * 1100


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


@pytest.mark.parametrize(("offset", "size"), [(0.0, (8, 10)), (0.0, (7, 9)), (0.0, (8, 9)), (0.5, (8, 10))])
@pytest.mark.parametrize("warp", [1.0, 1.5])
def test_regrid_against_numpy(offset, size, warp):
    """On grids with every other cell in common (also uneven ones, as mel bands are), and on grids with none."""
    maps = torch.randn(2, 3, 4, 5)
    source = Grid(torch.arange(4.0) * 2 + offset, (torch.arange(5.0) * 2 + offset) ** warp)
    target = Grid(torch.arange(float(size[0])), torch.arange(float(size[1])) ** warp)
    wanted = np.apply_along_axis(lambda v: np.interp(target.frames, source.frames, v), 2, maps.numpy())
    wanted = np.apply_along_axis(lambda v: np.interp(target.bins, source.bins, v), 3, wanted)
    np.testing.assert_allclose(regrid(maps, source, target).numpy(), wanted, atol=1e-5)


@pytest.mark.parametrize("classifier", CLASSIFIERS, ids=lambda c: c.NAME)
def test_features_stay_where_they_are_from_the_coarsest_grid_to_the_finest(classifier):
    """The coordinates themselves, pushed through the grids as if they were features, come out as coordinates."""
    grids = (classifier.input_grid(160), *classifier.feature_grids(160))
    frames, bins = grids[-1].frames.float(), grids[-1].bins.float()
    maps = torch.stack([frames[:, None].expand(-1, len(bins)), bins[None].expand(len(frames), -1)])[None]
    for coarse, fine in zip(grids[:0:-1], grids[-2::-1], strict=True):
        maps = regrid(maps, coarse, fine)
    inside = slice(16, 120)
    wanted = grids[0].frames.float()[inside, None].expand_as(maps[0, 0, inside])
    torch.testing.assert_close(maps[0, 0, inside], wanted, rtol=0, atol=1e-3)
    middle = slice(len(grids[0].bins) // 4, len(grids[0].bins) // 2)
    moved = maps[0, 1, :, middle] - grids[0].bins.float()[middle]
    assert moved.abs().max() <= 0.05 * float(grids[0].bins[-1])  # mel bands are not evenly spaced


def test_regrid_to_the_same_grid_copies():
    maps, grid = torch.randn(1, 2, 3, 4), Grid(torch.arange(3.0), torch.arange(4.0))
    assert regrid(maps, grid, grid) is maps


def test_hold_last_row():
    values = torch.arange(8.0).view(2, 4, 1)
    held = hold_last_row(values, torch.tensor([[True, True, False, False], [True] * 4]), axis=1)
    assert held[:, :, 0].tolist() == [[0.0, 1.0, 1.0, 1.0], [4.0, 5.0, 6.0, 7.0]]
    assert hold_last_row(values, None, axis=1) is values


def test_fit_frames_cuts_or_repeats_the_last():
    values = torch.arange(6.0).view(1, 3, 2)
    assert torch.equal(fit_frames(values, 2), values[:, :2])
    assert fit_frames(values, 5)[0, :, 0].tolist() == [0.0, 2.0, 4.0, 4.0, 4.0]


def test_hidden_rows_are_zero():
    maps = hide_padding(torch.ones(1, 1, 3, 2), torch.tensor([[True, True, False]]))
    assert maps[0, 0].sum(1).tolist() == [2.0, 2.0, 0.0]
    assert torch.equal(hide_padding(maps, None), maps)


def test_rows_and_centres_of_windows_side_by_side():
    counts = torch.tensor([5, 75, 32])
    rows = whole_windows(counts, (2, 32), 32)
    assert [part.tolist() for part in rows] == [[5, 75, 32], [16, 37, 16], [1, 2, 1]]
    assert [tuple(int(part[i]) for part in rows) for i in range(3)] == [
        whole_windows(int(count), (2, 32), 32) for count in counts
    ]
    for stride in (1, 2, 8):
        windows = torch.arange(3 * stride, dtype=torch.float64).view(3, stride)
        assert torch.equal(window_centres(3, stride), windows.mean(1))
