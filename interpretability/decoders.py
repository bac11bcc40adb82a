"""From feature maps to a mask of exactly [T, F]: grids, interpolation from known centres, decoder networks.

What lives on a coarser grid is interpolated linearly between the *known centres* of that grid, never stretched;
beyond the outermost centres the nearest value is kept. So an event moved by k strides moves the mask by k strides.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from interpretability.errors import UserError


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
    left, right, weight = _neighbours(centres, torch.arange(size, dtype=torch.float64, device=centres.device))
    matrix = torch.zeros(size, len(centres), dtype=torch.float64, device=centres.device)
    rows = torch.arange(size, device=centres.device)
    matrix[rows, left] += 1 - weight
    matrix[rows, right] += weight
    return matrix.float()


def _neighbours(centres: Tensor, positions: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return, for each position, the centres to its left and right and the weight of the right one."""
    centres = centres.double().contiguous()
    if centres.ndim != 1 or len(centres) == 0 or bool((centres.diff() <= 0).any()):
        raise ValueError(f"grid centres must ascend strictly, got {centres.tolist()}")
    positions = positions.double().contiguous()
    right = torch.searchsorted(centres, positions).clamp(0, len(centres) - 1)
    left = (right - 1).clamp(min=0)
    span = (centres[right] - centres[left]).clamp(min=1e-12)
    return left, right, ((positions - centres[left]) / span).clamp(0, 1)


def hold_last_row(values: Tensor, rows: Tensor | None, axis: int) -> Tensor:
    """Give the rows after a clip's last one its values, as interpolation does beyond the last centre of a clip alone.

    Parameters
    ----------
    values : Tensor
        A batch with rows of time along ``axis``.
    rows : Tensor [B, T'], bool, or None
        Rows that belong to the clip, from the first on; all if None.
    axis : int

    Returns
    -------
    Tensor
        Of the same shape.
    """
    if rows is None or bool(rows.all()):
        return values
    last = rows.sum(1).clamp(min=1) - 1  # [B]
    index = torch.minimum(torch.arange(rows.shape[1], device=values.device)[None], last[:, None])  # [B, T']
    shape = [len(values), *[1] * (values.ndim - 1)]
    shape[axis] = rows.shape[1]
    return values.gather(axis, index.view(shape).expand_as(values))


def to_spectrogram_grid(values: Tensor, grid: Grid, n_frames: int, n_bins: int, rows: Tensor | None = None) -> Tensor:
    """Interpolate a map from the centres of its grid to the spectrogram's grid, in full precision.

    Parameters
    ----------
    values : Tensor [B, T', F']
    grid : Grid
        Where its cells lie.
    n_frames, n_bins : int
        T and F of the spectrogram.
    rows : Tensor [B, T'], bool, optional
        Rows that belong to the clip.

    Returns
    -------
    Tensor [B, n_frames, n_bins]
    """
    with torch.autocast(device_type=values.device.type, enabled=False):
        values = hold_last_row(values, rows, axis=1)
        values = values if values.dtype == torch.float64 else values.float()
        over_time = interpolation_matrix(grid.frames, n_frames).to(values)  # [T, T']
        over_frequency = interpolation_matrix(grid.bins, n_bins).to(values)  # [F, F']
        # Time first: it works on the narrow side, before the columns are widened to F bins.
        return (over_time @ values) @ over_frequency.T  # [B, T, F]


def regrid(maps: Tensor, source: Grid, target: Grid, rows: Tensor | None = None) -> Tensor:
    """Interpolate feature maps from the centres of one grid to those of another.

    Parameters
    ----------
    maps : Tensor [B, C, T', F']
        On ``source``.
    source, target : Grid
    rows : Tensor [B, T'], bool, optional
        Rows that belong to the clip.

    Returns
    -------
    Tensor [B, C, T'', F'']
        On ``target``.
    """
    maps = hold_last_row(maps, rows, axis=2)
    for axis, centres, positions in ((2, source.frames, target.frames), (3, source.bins, target.bins)):
        if torch.equal(centres, positions):
            continue
        left, right, weight = (part.to(maps.device) for part in _neighbours(centres, positions))
        shape = [1, 1, 1, 1]
        shape[axis] = -1
        weight = weight.to(maps.dtype).view(shape)
        if torch.equal(positions[::2], centres):
            # Every other cell is there already, as on the grids of 3x3 convolutions of stride 2: copying those and
            # mixing neighbours is several times faster than looking cells up, above all backwards.
            n_odd = len(positions) // 2
            share = weight.index_select(axis, torch.arange(1, len(positions), 2, device=maps.device))
            here = maps.narrow(axis, 0, n_odd)
            last = maps.narrow(axis, maps.shape[axis] - 1, 1)
            following = torch.cat([maps, last], dim=axis).narrow(axis, 1, n_odd)
            # Beyond the last centre there is no right neighbour: weight 1 on the last cell, which is both.
            odd = torch.lerp(here, following, share)
            even = maps.narrow(axis, 0, len(positions) - n_odd)
            pairs = torch.stack([even.narrow(axis, 0, n_odd), odd], dim=axis + 1).flatten(axis, axis + 1)
            maps = pairs if even.shape[axis] == n_odd else torch.cat([pairs, even.narrow(axis, n_odd, 1)], dim=axis)
        else:
            maps = torch.lerp(maps.index_select(axis, left), maps.index_select(axis, right), weight)
    return maps


def fit_frames(values: Tensor, n_frames: int) -> Tensor:
    """Bring a map [B, T', F] of the spectrogram's own frame rate to ``n_frames``: cut, or repeat the last frame."""
    missing = n_frames - values.shape[1]
    if missing <= 0:
        return values[:, :n_frames]
    return torch.cat([values, values[:, -1:].expand(-1, missing, -1)], dim=1)


def pad_for_cnn14(maps: Sequence[Tensor]) -> list[Tensor]:
    """Pad the last four feature maps of CNN14 with zeros to rows that its published decoders accept.

    Their transposed convolutions only meet where there are t, t, 2t and 4t + 1 rows.

    Parameters
    ----------
    maps : sequence of 4 Tensor [B, C_l, T_l, F_l]
        Of strides 32, 32, 16 and 8: coarsest first.

    Returns
    -------
    list of Tensor
        With the rows of the smallest t that holds them all.
    """
    rows = [item.shape[2] for item in maps]
    t = max(rows[0], rows[1], -(-rows[2] // 2), -(-(rows[3] - 1) // 4))
    sizes = (t, t, 2 * t, 4 * t + 1)
    return [functional.pad(item, (0, 0, 0, size - item.shape[2])) for item, size in zip(maps, sizes, strict=True)]


def reassemble(indices: Sequence[Tensor], parts: Sequence[Tensor], axis: int, size: int | None = None) -> Tensor:
    """Put the groups of a batch together again that ran alone, by length.

    Parameters
    ----------
    indices : sequence of Tensor [b]
        Places in the batch of each group's clips; every place once.
    parts : sequence of Tensor
        What came of each group, [b, …], clips along the first axis; sizes may differ along ``axis`` alone.
    axis : int
        Axis of time, counted from 0.
    size : int, optional
        Wanted along it; that of the longest part if not given.

    Returns
    -------
    Tensor
        In the batch's order, with zeros after the end of shorter parts.
    """
    size = max(part.shape[axis] for part in parts) if size is None else size
    # functional.pad counts axes from the last one.
    filled = [functional.pad(part, (0, 0) * (part.ndim - 1 - axis) + (0, size - part.shape[axis])) for part in parts]
    return torch.cat(filled)[torch.cat(tuple(indices)).argsort()]


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


class FeatureMerge(nn.Module):
    """Merge feature maps coarse to fine, down to the grid of the finest map asked for.

    Parameters
    ----------
    in_channels : tuple of int
        Channels of the maps, finest first.
    channels : int
        Channels of the merged map.
    """

    def __init__(self, in_channels: tuple[int, ...], channels: int):
        super().__init__()
        self.lateral = nn.ModuleList(nn.Conv2d(count, channels, 1) for count in in_channels)
        self.smooth = nn.ModuleList(ConvBlock(channels, channels) for _ in in_channels)

    def forward(self, feature_maps: tuple[Tensor, ...], grids: tuple[Grid, ...], rows: tuple[Tensor, ...]) -> Tensor:
        """Merge maps of [B, C_l, T_l, F_l], with their grids and rows [B, T_l], to [B, channels, T_0, F_0]."""
        merged = None
        for level in reversed(range(len(feature_maps))):
            maps = self.lateral[level](feature_maps[level])
            if merged is not None:
                maps = maps + regrid(merged, grids[level + 1], grids[level], rows[level + 1])
            merged = hide_padding(self.smooth[level](hide_padding(maps, rows[level])), rows[level])
        return merged


class DecodingPath:
    """The grids of a decoder: that of the maps it is given, and a finer one for each of its steps.

    Where every level below is finer than the one above, as behind strided convolutions, the steps go over these
    levels. Where levels lie on one grid, as in a transformer, or where there are fewer than steps, the last step leads
    to the input grid, and the steps before it halve cells, in time and in frequency as far as the input grid is finer.
    A map without a frequency axis (one column) is first spread over :attr:`columns` columns.

    Parameters
    ----------
    classifier : Classifier
        Its ``input_grid``, ``feature_grids``, ``feature_strides`` and ``valid_rows`` are the levels.
    level : int
        Of the decoder's input; 0 is the input grid, 1 the finest feature map.
    steps : int

    Raises
    ------
    UserError
        If there is no such level.
    """

    COLUMNS = 8  # that a map without a frequency axis is spread over
    FRAMES = 1000  # any length does to see which grids are finer: strides do not depend on it

    def __init__(self, classifier: Any, level: int, steps: int):
        self._classifier, self._level, self._steps = (classifier,), level, steps  # a tuple: no part of a module
        grids = (classifier.input_grid(self.FRAMES), *classifier.feature_grids(self.FRAMES))
        if not 0 <= level < len(grids):
            raise UserError(
                f"the classifier {classifier.NAME!r} has {len(grids) - 1} feature maps, expected at least {level}"
            )
        sizes = [(len(grid.frames), len(grid.bins)) for grid in grids[: level + 1]]
        #: Columns that the decoder spreads its input over; None for maps that have a frequency axis.
        self.columns = self.COLUMNS if level > 0 and sizes[level][1] == 1 else None
        strided = all(fine[0] > coarse[0] and fine[1] > coarse[1] for fine, coarse in pairwise(sizes))
        #: Whether every level below is finer than the one above it, and there are enough of them.
        self.strided = self.columns is None and strided and level >= steps

    def __call__(self, n_frames: int, valid: Tensor) -> tuple[tuple[Grid, ...], tuple[Tensor, ...]]:
        """Return grids, and rows [B, T_l] that belong to the clips, of the input and of each step.

        Parameters
        ----------
        n_frames : int
        valid : Tensor [B, T], bool
        """
        classifier = self._classifier[0]
        grids = (classifier.input_grid(n_frames), *classifier.feature_grids(n_frames))
        rows = classifier.valid_rows(valid)
        if self.strided:
            levels = range(self._level, self._level - self._steps - 1, -1)
            return tuple(grids[k] for k in levels), tuple(rows[k] for k in levels)
        finest = grids[0]
        grid, own, stride = grids[self._level], rows[self._level], float(classifier.feature_strides[self._level - 1])
        if self.columns is not None:
            grid = Grid(grid.frames, _places(finest.bins, self.columns))
        path = [(grid, own)]
        for _ in range(self._steps - 1):
            frames, bins = grid.frames, grid.bins
            if stride >= 2:
                quarters = torch.tensor([-stride / 4, stride / 4], dtype=torch.float64)
                frames = (frames[:, None] + quarters).flatten()
                own, stride = own.repeat_interleave(2, dim=1), stride / 2
            if 1 < 2 * len(bins) <= len(finest.bins):
                bins = _halved(bins)
            grid = Grid(frames, bins)
            path.append((grid, own))
        if self._steps:
            path.append((finest, rows[0]))
        return tuple(grid for grid, _ in path), tuple(own for _, own in path)


def _places(positions: Tensor, count: int) -> Tensor:
    """Return the middles of ``count`` equal parts of a row of positions [n], [count]."""
    places = (torch.arange(count, dtype=torch.float64) + 0.5) * len(positions) / count - 0.5
    places = places.clamp(0, len(positions) - 1)
    below = places.floor().long()
    above = (below + 1).clamp(max=len(positions) - 1)
    return torch.lerp(positions[below], positions[above], places - below)


def _halved(centres: Tensor) -> Tensor:
    """Return the centres of the halves [2n] of n > 1 cells at ``centres``, as wide as the way to their neighbours."""
    steps = centres.diff()
    left, right = torch.cat([steps[:1], steps]), torch.cat([steps, steps[-1:]])
    return torch.stack([centres - left / 4, centres + right / 4], dim=1).flatten()


class MaskDecoder(nn.Module):
    """Low-cost decoder: a few channels, brought to finer grids step by step, one channel of logits at the end.

    Convolutions run on the coarse side of each step, where they cost a quarter.

    Parameters
    ----------
    in_channels : int
        Channels of the input map.
    channels : tuple of int
        Channels on each finer grid; as many steps as entries.
    columns : int, optional
        For maps without a frequency axis: what lies in the channels of their one column is spread over so many.
    """

    def __init__(self, in_channels: int, channels: tuple[int, ...], columns: int | None = None):
        super().__init__()
        self.columns = columns
        self.spread = None if columns is None else nn.Conv2d(in_channels, in_channels * columns, 1)
        widths = (in_channels, *channels)
        self.steps = nn.ModuleList(ConvBlock(a, b) for a, b in pairwise(widths))
        self.logits = nn.Conv2d(widths[-1], 1, 3, 1, 1)

    def forward(self, maps: Tensor, grids: tuple[Grid, ...], rows: tuple[Tensor, ...]) -> Tensor:
        """Decode to logits.

        Parameters
        ----------
        maps : Tensor [B, C, T', F']
            With hidden padding.
        grids : tuple of Grid
            Of the input (spread over columns), and of each step; one more than there are steps.
        rows : tuple of Tensor [B, T_l]
            Rows of these grids that belong to the clip.

        Returns
        -------
        Tensor [B, T'', F'']
            Logits on the last grid.
        """
        if self.spread is not None:
            maps = self.spread(maps).unflatten(1, (-1, self.columns))[..., 0]  # [B, C, columns, T']
            maps = hide_padding(maps.transpose(2, 3), rows[0])
        for level, step in enumerate(self.steps):
            maps = hide_padding(step(maps), rows[level])
            maps = hide_padding(regrid(maps, grids[level], grids[level + 1], rows[level]), rows[level + 1])
        return self.logits(maps)[:, 0]
