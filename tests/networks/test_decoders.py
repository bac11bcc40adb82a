"""Decoders: any length, padding without effect, paths from every kind of grid to the finest."""

import pytest
import torch

from interpretability.classifiers.compact import CompactClassifier
from interpretability.errors import UserError
from interpretability.grids import Grid, hide_padding
from interpretability.networks.decoders import DecodingPath, FeatureMerge, MaskDecoder, pad_for_cnn14


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
        grids = [
            Grid(torch.arange(r.shape[1], dtype=torch.float64) * s, torch.arange(16 // s, dtype=torch.float64) * s)
            for r, s in zip(rows, (1, 2, 4, 8), strict=True)
        ]
        merged = merge(tuple(maps), tuple(grids[2:]), (rows[2], rows[3]))
        return decoder(merged, (grids[2], grids[1], grids[0]), (rows[2], rows[1], rows[0]))

    torch.testing.assert_close(decode(frames + 13)[:, :frames], decode(frames), rtol=0, atol=1e-5)


@pytest.mark.parametrize(("n_frames", "t"), [(431, 13), (40, 1), (32, 1), (63, 2), (200, 6), (223, 7)])
def test_maps_are_padded_to_the_rows_that_cnn14s_published_decoders_accept(n_frames, t):
    maps = [torch.ones(1, 2, n_frames // stride, 3) for stride in (32, 32, 16, 8)]
    padded = pad_for_cnn14(maps)
    assert [item.shape[2] for item in padded] == [t, t, 2 * t, 4 * t + 1]
    for before, after in zip(maps, padded, strict=True):
        assert torch.equal(after[:, :, : before.shape[2]], before)
        assert not after[:, :, before.shape[2] :].any()


class Tokens:
    """Grids of a transformer: several levels on one grid of ``columns`` columns, ``stride`` frames apart."""

    NAME = "tokens"

    def __init__(self, stride, columns, levels=3):
        self.stride, self.columns, self.levels = stride, columns, levels
        self.feature_strides = (stride,) * levels

    def input_grid(self, n_frames):
        return Grid(torch.arange(n_frames, dtype=torch.float64), torch.arange(64, dtype=torch.float64) * 8 + 3.5)

    def feature_grids(self, n_frames):
        rows, width = self.feature_rows(n_frames)[1], 512 / self.columns
        frames = (torch.arange(rows, dtype=torch.float64) + 0.5) * self.stride - 0.5
        bins = (torch.arange(self.columns, dtype=torch.float64) + 0.5) * width - 0.5
        return (Grid(frames, bins),) * self.levels

    def feature_rows(self, n_frames):
        count = -(-n_frames // self.stride)
        count = count.long() if isinstance(count, torch.Tensor) else int(count)
        return (n_frames, *(count,) * self.levels)

    def valid_rows(self, valid):
        counts, sizes = self.feature_rows(valid.sum(1)), self.feature_rows(valid.shape[1])
        return tuple(torch.arange(n)[None] < count[:, None] for n, count in zip(sizes, counts, strict=True))


class TestDecodingPath:
    valid = torch.arange(50)[None] < torch.tensor([50, 23])[:, None]

    def test_behind_strided_convolutions_it_goes_down_the_levels(self):
        compact = CompactClassifier(["a", "b"], n_mels=32, channels=(2, 2, 2, 2))
        path = DecodingPath(compact, 2, 2)
        assert path.strided
        assert path.columns is None
        grids, rows = path(50, self.valid)
        wanted = [compact.feature_grids(50)[1], compact.feature_grids(50)[0], compact.input_grid(50)]
        for grid, other in zip(grids, wanted, strict=True):
            assert torch.equal(grid.frames, other.frames)
            assert torch.equal(grid.bins, other.bins)
        assert [row.sum(1).tolist() for row in rows] == [[13, 6], [25, 12], [50, 23]]

    def test_from_tokens_it_halves_cells_and_ends_on_the_input_grid(self):
        path = DecodingPath(Tokens(stride=8, columns=16), 2, 3)
        grids, rows = path(50, self.valid)
        assert [(len(grid.frames), len(grid.bins)) for grid in grids] == [(7, 16), (14, 32), (28, 64), (50, 64)]
        # The halves of a cell of 8 frames, and its quarters, lie inside of it.
        torch.testing.assert_close(grids[1].frames[:3], torch.tensor([1.5, 5.5, 9.5], dtype=torch.float64))
        torch.testing.assert_close(grids[2].frames[:3], torch.tensor([0.5, 2.5, 4.5], dtype=torch.float64))
        torch.testing.assert_close(grids[1].bins, (torch.arange(32, dtype=torch.float64) + 0.5) * 16 - 0.5)
        assert [row.sum(1).tolist() for row in rows] == [[7, 3], [14, 6], [28, 12], [50, 23]]

    def test_cells_are_halved_no_further_than_the_input_grid(self):
        grids, _ = DecodingPath(Tokens(stride=1.5, columns=64), 1, 3)(50, self.valid)
        assert [(len(grid.frames), len(grid.bins)) for grid in grids] == [(34, 64)] * 3 + [(50, 64)]

    def test_a_map_without_a_frequency_axis_is_spread_over_columns(self):
        path = DecodingPath(Tokens(stride=4, columns=1), 1, 2)
        assert path.columns == 8
        grids, rows = path(50, self.valid)
        assert [(len(grid.frames), len(grid.bins)) for grid in grids] == [(13, 8), (26, 16), (50, 64)]
        torch.testing.assert_close(grids[0].bins, (torch.arange(8, dtype=torch.float64) + 0.5) * 64 - 0.5)
        decoder = MaskDecoder(5, (4, 3), path.columns).eval()
        values = decoder(torch.randn(2, 5, 13, 1) * rows[0][:, None, :, None], grids, rows)
        assert values.shape == (2, 50, 64)
        assert values[0].std(dim=1).min() > 0, "nothing is drawn along frequency"
        alone = DecodingPath(Tokens(stride=4, columns=1), 1, 2)(23, torch.ones(1, 23, dtype=torch.bool))
        maps = torch.randn(2, 5, 13, 1) * rows[0][:, None, :, None]
        torch.testing.assert_close(
            decoder(maps, grids, rows)[1:, :23], decoder(maps[1:, :, :6], *alone), rtol=0, atol=1e-5
        )

    def test_one_row_is_enough(self):
        grids, rows = DecodingPath(Tokens(stride=8, columns=16), 1, 2)(1, torch.ones(1, 1, dtype=torch.bool))
        assert [(len(grid.frames), row.shape[1]) for grid, row in zip(grids, rows, strict=True)] == [
            (1, 1),
            (2, 2),
            (1, 1),
        ]

    def test_without_steps_it_stays_where_it_is(self):
        grids, _ = DecodingPath(Tokens(stride=8, columns=16), 3, 0)(50, self.valid)
        assert [len(grid.frames) for grid in grids] == [7]

    def test_a_level_that_is_not_there(self):
        with pytest.raises(UserError, match="has 3 feature maps, expected at least 4"):
            DecodingPath(Tokens(stride=8, columns=16), 4, 1)
