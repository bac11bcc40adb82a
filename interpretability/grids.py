"""Grids of cells in a spectrogram, and interpolation between them.

What lives on a coarser grid is interpolated linearly between the *known centres* of that grid, never stretched;
beyond the outermost centres the nearest value is kept. So an event moved by k strides moves the mask by k strides.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from interpretability.lengths import none_hidden

#: Rows of time that are interpolated at once, by one matrix: some ten seconds.
ROWS_AT_ONCE = 1024


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


def window_centres(count: int, stride: float) -> Tensor:
    """Return the middles of ``count`` windows of ``stride`` positions side by side, the first one starting at 0.

    Example
    -------
    >>> window_centres(3, 4)
    tensor([1.5000, 5.5000, 9.5000], dtype=torch.float64)
    """
    return torch.arange(count, dtype=torch.float64) * stride + (stride - 1) / 2


def whole_windows(n_frames: int | Tensor, strides: Sequence[int], min_frames: int) -> tuple[int | Tensor, ...]:
    """Return the rows of the input grid and of maps that have one row for each *whole* window of ``stride`` frames.

    Parameters
    ----------
    n_frames : int or Tensor
    strides : sequence of int
    min_frames : int
        Shorter clips are padded to this many frames.

    Returns
    -------
    tuple
        One entry more than there are strides; the first is ``n_frames``.

    Example
    -------
    >>> whole_windows(75, (2, 4, 32), 32), whole_windows(5, (2, 4, 32), 32)
    ((75, 37, 18, 2), (5, 16, 8, 1))
    """
    padded = n_frames.clamp(min=min_frames) if isinstance(n_frames, Tensor) else max(n_frames, min_frames)
    return (n_frames, *(padded // stride for stride in strides))


def mel_from_hertz(hertz: float) -> float:
    """Return a frequency on the mel scale (HTK's and Kaldi's).

    Example
    -------
    >>> round(mel_from_hertz(1000.0), 1)
    1000.0
    """
    return 2595 * math.log10(1 + hertz / 700)


def hertz_from_mel(mels: Tensor) -> Tensor:
    """Return positions on the mel scale as frequencies in Hz; the inverse of :func:`mel_from_hertz`."""
    return 700 * (10 ** (mels / 2595) - 1)


def interpolation_matrix(centres: Tensor, size: int) -> Tensor:
    """Return the matrix [size, n] that interpolates n values at ``centres`` to positions 0 … size-1.

    Parameters
    ----------
    centres : Tensor [n]
        Ascending positions.
    size : int
        Number of positions.

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
    return _neighbours(centres, torch.arange(size, dtype=torch.float64, device=centres.device)).matrix(len(centres))


def interpolate_rows(values: Tensor, centres: Tensor, size: int) -> Tensor:
    """Interpolate rows at ``centres`` to positions 0 … size-1; memory grows with the length, not with its square.

    Parameters
    ----------
    values : Tensor [B, n, m]
    centres : Tensor [n]
        Ascending positions.
    size : int

    Returns
    -------
    Tensor [B, size, m]
    """
    near = _neighbours(centres, torch.arange(size, dtype=torch.float64, device=centres.device))
    parts = []
    for start in range(0, size, ROWS_AT_ONCE):
        here = near.between(start, start + ROWS_AT_ONCE)
        # Positions of one stretch of time need a stretch of the rows, and of a short clip all of them.
        first, last = (0, len(centres) - 1) if size <= ROWS_AT_ONCE else (int(here.left[0]), int(here.right[-1]))
        matrix = _Neighbours(here.left - first, here.right - first, here.weight).matrix(last + 1 - first)
        parts.append(matrix.to(values) @ values[:, first : last + 1])
    return parts[0] if len(parts) == 1 else torch.cat(parts, dim=1)


@dataclass(frozen=True)
class _Neighbours:
    """For each position the indices of the centres to its left and right, and the weight of the right one."""

    left: Tensor
    right: Tensor
    weight: Tensor

    def between(self, start: int, stop: int) -> "_Neighbours":
        """Return those of some positions."""
        return _Neighbours(self.left[start:stop], self.right[start:stop], self.weight[start:stop])

    def matrix(self, n_centres: int) -> Tensor:
        """Return the interpolation as a matrix [positions, n_centres], float32."""
        matrix = torch.zeros(len(self.left), n_centres, dtype=torch.float64, device=self.left.device)
        rows = torch.arange(len(self.left), device=self.left.device)
        matrix[rows, self.left] += 1 - self.weight
        matrix[rows, self.right] += self.weight
        return matrix.float()


def _neighbours(centres: Tensor, positions: Tensor) -> _Neighbours:
    centres = centres.double().contiguous()
    if centres.ndim != 1 or len(centres) == 0 or bool((centres.diff() <= 0).any()):
        raise ValueError(f"grid centres must ascend strictly, got {centres.tolist()}")
    positions = positions.double().contiguous()
    right = torch.searchsorted(centres, positions).clamp(0, len(centres) - 1)
    left = (right - 1).clamp(min=0)
    span = (centres[right] - centres[left]).clamp(min=1e-12)
    return _Neighbours(left, right, ((positions - centres[left]) / span).clamp(0, 1))


def hold_last_row(values: Tensor, rows: Tensor | None, axis: int) -> Tensor:
    """Repeat a clip's last row beyond its end, as interpolation does beyond the last centre of an unpadded clip.

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


def hide_padding(maps: Tensor, rows: Tensor | None) -> Tensor:
    """Zero the rows of ``maps`` [B, C, T', F'] that belong to padding, so that a padded clip equals the clip alone.

    Convolutions see zeros beyond the end of a clip; after a bias or a normalisation padding is no longer zero, and
    would leak into the clip with every layer. ``rows`` [B, T'] says which rows belong to the clip; all if None.
    """
    return maps if none_hidden(rows) else maps * rows[:, None, :, None].to(maps.dtype)


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
        over_frequency = interpolation_matrix(grid.bins, n_bins).to(values)  # [F, F']
        # Time first, while there are few columns; then the columns are interpolated to F bins.
        return interpolate_rows(values, grid.frames, n_frames) @ over_frequency.T  # [B, T, F]


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
        near = _neighbours(centres.to(maps.device), positions.to(maps.device))
        shape = [1, 1, 1, 1]
        shape[axis] = -1
        weight = near.weight.to(maps.dtype).view(shape)
        if torch.equal(positions[::2], centres):
            # Every other cell is a cell of the source, as on the grids of 3x3 convolutions of stride 2: copying those
            # and mixing neighbours is several times faster than indexing, above all in the backward pass.
            n_odd = len(positions) // 2
            share = weight.index_select(axis, torch.arange(1, len(positions), 2, device=maps.device))
            here = maps.narrow(axis, 0, n_odd)
            last = maps.narrow(axis, maps.shape[axis] - 1, 1)
            following = torch.cat([maps, last], dim=axis).narrow(axis, 1, n_odd)
            # Beyond the last centre there is no right neighbour: the last cell stands for both.
            odd = torch.lerp(here, following, share)
            even = maps.narrow(axis, 0, len(positions) - n_odd)
            pairs = torch.stack([even.narrow(axis, 0, n_odd), odd], dim=axis + 1).flatten(axis, axis + 1)
            maps = pairs if even.shape[axis] == n_odd else torch.cat([pairs, even.narrow(axis, n_odd, 1)], dim=axis)
        else:
            maps = torch.lerp(maps.index_select(axis, near.left), maps.index_select(axis, near.right), weight)
    return maps


def fit_frames(values: Tensor, n_frames: int) -> Tensor:
    """Bring a map [B, T', F] of the spectrogram's own frame rate to ``n_frames``: cut, or repeat the last frame."""
    missing = n_frames - values.shape[1]
    if missing <= 0:
        return values[:, :n_frames]
    return torch.cat([values, values[:, -1:].expand(-1, missing, -1)], dim=1)
