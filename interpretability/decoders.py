"""From feature maps to a mask of exactly [T, F]: grids, interpolation from known centres, decoder networks.

What lives on a coarser grid is interpolated linearly between the *known centres* of that grid, never stretched;
beyond the outermost centres the nearest value is kept. So an event moved by k strides moves the mask by k strides.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional


@dataclass(frozen=True)
class Grid:
    """Where the cells of a [T', F'] map lie in the spectrogram.

    Attributes
    ----------
    frames : Tensor [T']
        Centre of each row, in frames of the spectrogram; ascending.
    bins : Tensor [F']
        Centre of each column, in frequency bins of the spectrogram; ascending.
    """

    frames: Tensor
    bins: Tensor


def interpolation_matrix(centres: Tensor, size: int) -> Tensor:
    """Return the matrix [size, n] that interpolates n values at ``centres`` to positions 0 … size-1.

    Parameters
    ----------
    centres : Tensor [n]
        Ascending positions.
    size : int
        Number of positions wanted.

    Returns
    -------
    Tensor [size, n]
        Rows sum to one, with at most two weights that are not zero.

    Raises
    ------
    ValueError
        If the centres are not strictly ascending.

    Example
    -------
    >>> interpolation_matrix(torch.tensor([0.0, 2.0]), 4) @ torch.tensor([0.0, 1.0])
    tensor([0.0000, 0.5000, 1.0000, 1.0000])
    """
    centres = centres.double().contiguous()
    if centres.ndim != 1 or len(centres) == 0 or bool((centres.diff() <= 0).any()):
        raise ValueError(f"grid centres must ascend strictly, got {centres.tolist()}")
    positions = torch.arange(size, dtype=torch.float64, device=centres.device)
    matrix = torch.zeros(size, len(centres), dtype=torch.float64, device=centres.device)
    rows = torch.arange(size, device=centres.device)
    right = torch.searchsorted(centres, positions).clamp(0, len(centres) - 1)
    left = (right - 1).clamp(min=0)
    span = (centres[right] - centres[left]).clamp(min=1e-12)
    weight = ((positions - centres[left]) / span).clamp(0, 1)
    weight = torch.where(left == right, torch.ones_like(weight), weight)
    matrix[rows, right] += weight
    matrix[rows, left] += 1 - weight
    return matrix.float()


def to_spectrogram_grid(values: Tensor, grid: Grid, n_frames: int, n_bins: int, rows: Tensor | None = None) -> Tensor:
    """Interpolate a map from the centres of its grid to the spectrogram's grid.

    Parameters
    ----------
    values : Tensor [B, T', F']
    grid : Grid
        Where its cells lie.
    n_frames, n_bins : int
        T and F of the spectrogram.
    rows : Tensor [B, T'], bool, optional
        Rows that belong to the clip. Those after a clip's last one count as equal to it, as they do beyond the last
        centre of a clip alone.

    Returns
    -------
    Tensor [B, n_frames, n_bins]
    """
    if rows is not None:
        last = rows.sum(1).clamp(min=1) - 1  # [B]
        index = torch.minimum(torch.arange(values.shape[1], device=values.device)[None], last[:, None])
        values = values.gather(1, index[..., None].expand_as(values))
    over_time = interpolation_matrix(grid.frames, n_frames).to(values)  # [T, T']
    over_frequency = interpolation_matrix(grid.bins, n_bins).to(values)  # [F, F']
    # Time first: it works on the narrow side, before the columns are widened to F bins.
    return (over_time @ values) @ over_frequency.T  # [B, T, F]


def fit_frames(values: Tensor, n_frames: int) -> Tensor:
    """Bring a map [B, T', F] of the spectrogram's own frame rate to ``n_frames``: cut, or repeat the last frame."""
    missing = n_frames - values.shape[1]
    if missing <= 0:
        return values[:, :n_frames]
    return torch.cat([values, values[:, -1:].expand(-1, missing, -1)], dim=1)


def hide_padding(maps: Tensor, rows: Tensor | None) -> Tensor:
    """Zero the rows of ``maps`` [B, C, T', F'] that belong to padding, so that a padded clip equals the clip alone.

    Convolutions see zeros beyond the end of a clip; after a bias or a normalisation padding is no longer zero, and
    would leak into the clip with every layer. ``rows`` [B, T'] says which rows belong to the clip; all if None.
    """
    return maps if rows is None else maps * rows[:, None, :, None].to(maps.dtype)


class ConvBlock(nn.Module):
    """3x3 convolution, batch normalisation, ReLU; with ``stride`` 2, output cell i is centred on input cell 2i."""

    def __init__(self, in_channels: int, out_channels: int, stride: int = 1):
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, 3, stride, 1, bias=False)
        self.norm = nn.BatchNorm2d(out_channels)

    def forward(self, maps: Tensor) -> Tensor:
        """Map [B, C, T', F'] to [B, C', ceil(T'/stride), ceil(F'/stride)]."""
        return functional.relu(self.norm(self.conv(maps)))


def double_grid(maps: Tensor, size: tuple[int, int]) -> Tensor:
    """Double the resolution of [B, C, T', F'] to ``size``: cell 2i is cell i, odd cells lie half-way between.

    This is the grid of a stride-2 convolution with 3x3 kernels and padding 1, walked backwards. Beyond the last row
    there is silence (zeros), as for a convolution, so that the end of a clip is the same with and without padding.
    """
    for axis, wanted in ((2, size[0]), (3, size[1])):
        nothing = torch.zeros_like(maps.narrow(axis, 0, 1))
        following = torch.cat([maps.narrow(axis, 1, maps.shape[axis] - 1), nothing], dim=axis)
        maps = torch.stack([maps, (maps + following) / 2], dim=axis + 1).flatten(axis, axis + 1)
        if wanted > maps.shape[axis]:  # grids of even kernels can be one cell longer than twice the coarser one
            maps = torch.cat([maps, torch.zeros_like(maps.narrow(axis, 0, 1))], dim=axis)
        maps = maps.narrow(axis, 0, wanted)
    return maps


class FeatureMerge(nn.Module):
    """Merge feature maps coarse to fine, down to the grid of the finest map asked for.

    Parameters
    ----------
    in_channels : tuple of int
        Channels of the maps, finest first, each of twice the stride of the one before.
    channels : int
        Channels of the merged map.
    """

    def __init__(self, in_channels: tuple[int, ...], channels: int):
        super().__init__()
        self.lateral = nn.ModuleList(nn.Conv2d(count, channels, 1) for count in in_channels)
        self.smooth = nn.ModuleList(ConvBlock(channels, channels) for _ in in_channels)

    def forward(self, feature_maps: tuple[Tensor, ...], rows: tuple[Tensor, ...]) -> Tensor:
        """Merge maps of [B, C_l, T_l, F_l], with their rows [B, T_l], to [B, channels, T_0, F_0]."""
        merged = None
        for level in reversed(range(len(feature_maps))):
            maps = self.lateral[level](feature_maps[level])
            if merged is not None:
                maps = maps + double_grid(merged, maps.shape[2:])
            merged = hide_padding(self.smooth[level](hide_padding(maps, rows[level])), rows[level])
        return merged


class MaskDecoder(nn.Module):
    """Low-cost decoder: a few channels, doubled in resolution step by step, one channel of logits at the end.

    Convolutions run on the coarse side of each doubling, where they cost a quarter.

    Parameters
    ----------
    in_channels : int
        Channels of the input map.
    channels : tuple of int
        Channels after each doubling; as many doublings as entries.
    """

    def __init__(self, in_channels: int, channels: tuple[int, ...]):
        super().__init__()
        widths = (in_channels, *channels)
        self.steps = nn.ModuleList(ConvBlock(a, b) for a, b in pairwise(widths))
        self.logits = nn.Conv2d(widths[-1], 1, 3, 1, 1)

    def forward(self, maps: Tensor, sizes: tuple[tuple[int, int], ...], rows: tuple[Tensor, ...]) -> Tensor:
        """Decode to logits.

        Parameters
        ----------
        maps : Tensor [B, C, T', F']
            With hidden padding.
        sizes : tuple of (T_l, F_l)
            Sizes of the grids after each doubling.
        rows : tuple of Tensor [B, T_l]
            Rows that belong to the clip: of the input, and of the grids after each doubling; one more than ``sizes``.

        Returns
        -------
        Tensor [B, T'', F'']
            Logits on the last grid.
        """
        for step, size, before, after in zip(self.steps, sizes, rows[:-1], rows[1:], strict=True):
            maps = hide_padding(step(maps), before)
            maps = hide_padding(double_grid(maps, size), after)
        return self.logits(maps)[:, 0]
