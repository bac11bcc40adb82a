"""Decoders: from feature maps, merged coarse to fine, to a mask on the spectrogram's grid."""

from collections.abc import Callable, Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

from interpretability.blocks import ConvBlock
from interpretability.classifiers.base import AnalysedBatch, Classifier
from interpretability.errors import UserError
from interpretability.grids import Grid, fit_frames, hide_padding, regrid
from interpretability.lengths import LengthGroups


def pad_for_cnn14(maps: Sequence[Tensor]) -> list[Tensor]:
    """Pad the last four feature maps of CNN14 with zeros to rows that its published decoders accept.

    Their transposed convolutions only fit together for t, t, 2t and 4t + 1 rows.

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


def draw_each_length(
    draw: Callable, classifier: Classifier, batch: AnalysedBatch, levels: Sequence[int], together: bool
) -> Tensor:
    """Draw from feature maps with a published network, clips of one length at a time.

    Its transposed convolutions have biases, and would carry padding into a clip.

    Parameters
    ----------
    draw : callable
        From the maps [b, C_l, T_l, F_l] of clips of one length to what is drawn of them, [b, T'', n].
    classifier : Classifier
    batch : AnalysedBatch
    levels : sequence of int
        The maps it takes, counted from the coarsest: -1, -2, …
    together : bool
        Draw from the padded batch as one whole, as in training.

    Returns
    -------
    Tensor [B, T, n]
        Brought to the frames of each clip.
    """
    maps = [batch.output.feature_maps[level] for level in levels]

    def of_one_length(index: Tensor | slice, count: int) -> Tensor:
        rows = classifier.feature_rows(count)
        cut = tuple(item[index, :, : rows[level]] for item, level in zip(maps, levels, strict=True))
        return fit_frames(draw(cut), count)

    groups = LengthGroups.of_frames(batch.spectrogram.valid, together=together)
    return groups.join(groups.run(of_one_length), axis=1, size=batch.spectrogram.magnitude.shape[1])


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
    """The grids of a decoder: that of its input maps, and a finer one for each of its steps.

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

    COLUMNS = 8  # over which a map without a frequency axis is spread
    FRAMES = 1000  # any length shows which grids are finer: strides do not depend on it

    def __init__(self, classifier: Classifier, level: int, steps: int):
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
        grid, belong, stride = grids[self._level], rows[self._level], float(classifier.feature_strides[self._level - 1])
        if self.columns is not None:
            grid = Grid(grid.frames, _places(finest.bins, self.columns))
        path = [(grid, belong)]
        for _ in range(self._steps - 1):
            frames, bins = grid.frames, grid.bins
            if stride >= 2:
                quarters = torch.tensor([-stride / 4, stride / 4], dtype=torch.float64)
                frames = (frames[:, None] + quarters).flatten()
                belong, stride = belong.repeat_interleave(2, dim=1), stride / 2
            if 1 < 2 * len(bins) <= len(finest.bins):
                bins = _halved(bins)
            grid = Grid(frames, bins)
            path.append((grid, belong))
        if self._steps:
            path.append((finest, rows[0]))
        return tuple(grid for grid, _ in path), tuple(belong for _, belong in path)


def _places(positions: Tensor, count: int) -> Tensor:
    """Return the middles of ``count`` equal parts of a row of positions [n], [count]."""
    places = (torch.arange(count, dtype=torch.float64) + 0.5) * len(positions) / count - 0.5
    places = places.clamp(0, len(positions) - 1)
    below = places.floor().long()
    above = (below + 1).clamp(max=len(positions) - 1)
    return torch.lerp(positions[below], positions[above], places - below)


def _halved(centres: Tensor) -> Tensor:
    """Return the centres of the halves [2n] of n > 1 cells at ``centres``, which reach half-way to their neighbours."""
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
        For maps without a frequency axis: the channels of their one column are spread over this many columns.
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
