"""The optimiser of masks: a band that is known, an objective that falls, where it stops, padding, degenerate clips."""

from dataclasses import replace

import pytest
import torch
from one_band import OneBand, analysed
from tiny import SMALL

from interpretability.classifiers.gradient import NoGradientError
from interpretability.errors import UserError
from interpretability.frontend import Frontend
from interpretability.grids import to_spectrogram_grid
from interpretability.methods.optimiser import Kept, OptimiserSettings, mask_grid, to_cells
from interpretability.methods.optimiser import optimise as optimise_by

SETTINGS = OptimiserSettings(cell_seconds=0.02, bands=12, steps=20, place="spectrogram", tolerance=0, tv_weight=0)


def optimise(batch, start, settings, classifiers):
    return optimise_by(batch, start, settings, Kept(batch, settings, classifiers), classifiers[0].title)


def half(batch):
    return torch.full_like(batch.spectrogram.magnitude, 0.5)


def test_it_keeps_the_one_band_that_counts():
    classifier = OneBand()
    batch = analysed(classifier, 2000)
    optimised = optimise(batch, half(batch), SETTINGS, [classifier])
    # Cells on the edge of the band reach beyond it.
    inside, outside = (
        optimised.mask[0, :, 9:15],
        torch.cat([optimised.mask[0, :, :6], optimised.mask[0, :, 19:]], dim=1),
    )
    assert inside.mean() > 0.8
    assert outside.mean() < 0.1
    assert optimised.steps.tolist() == [20]


@pytest.mark.parametrize(("inside_weight", "surplus_weight"), [(8.0, 0.0), (0.0, 2.0), (8.0, 1.0)])
def test_the_objective_is_what_it_says_and_falls(inside_weight, surplus_weight):
    classifier = OneBand()
    batch = analysed(classifier, 2000, 1500)
    weights = {"inside_weight": inside_weight, "surplus_weight": surplus_weight}
    settings = replace(SETTINGS, steps=5, tv_weight=0, **weights)
    masks = [optimise(batch, half(batch), replace(settings, steps=n), [classifier]) for n in (0, 5)]
    assert (masks[1].objective[:, 1] < masks[0].objective[:, 1] - 1).all()
    torch.testing.assert_close(masks[1].objective[:, 0], masks[0].objective[:, 1])
    valid = batch.spectrogram.valid[..., None]
    assert torch.equal(masks[0].mask, half(batch) * valid)  # of no steps: the start, on the grid
    magnitude, area = batch.spectrogram.magnitude, 0.5
    kept = classifier(torch.expm1(0.5 * torch.log1p(magnitude)), batch.spectrogram.valid).logits
    entropy = -kept.log_softmax(1)[:, 1]
    missing = torch.relu(batch.output.logits.diff(dim=1)[:, 0] + settings.surplus - kept.diff(dim=1)[:, 0])
    by_hand = inside_weight * entropy + surplus_weight * missing - settings.outside_weight * entropy
    by_hand = by_hand + settings.l1_weight * area
    torch.testing.assert_close(masks[0].objective[:, 1], by_hand, rtol=1e-4, atol=1e-4)


def test_masks_do_not_grow_beyond_the_goal():
    classifier = OneBand()
    batch = analysed(classifier, 2000)
    alone = replace(SETTINGS, inside_weight=0, outside_weight=0, surplus_weight=2, l1_weight=7.5)
    near, far = (
        optimise(batch, half(batch), replace(alone, surplus=surplus), [classifier]).mask for surplus in (-8.0, 0.3)
    )
    assert near.mean() < 0.5 * far.mean()


def test_a_clip_stops_when_it_stands_still_and_the_others_go_on():
    classifier = OneBand()
    batch = analysed(classifier, 2000, 1000)
    loose = replace(SETTINGS, steps=50, tolerance=0.02, patience=2)
    optimised = optimise(batch, half(batch), loose, [classifier])
    assert (optimised.steps < 50).all()
    alone = [optimise(clip, half(clip), loose, [classifier]) for clip in batch.alone()]
    assert optimised.steps.tolist() == [int(one.steps) for one in alone]
    at_once = optimise(batch, half(batch), replace(loose, tolerance=1.0, patience=1), [classifier])
    assert at_once.steps.tolist() == [1, 1]  # the second mask is the first that can have moved


def test_neither_the_batch_nor_padding_nor_the_copies_of_others_change_a_clip():
    classifier = OneBand()
    batch = analysed(classifier, 2000, 777, 1301)
    settings = replace(SETTINGS, place="waveform", copies=2, steps=6)
    optimised = optimise(batch, half(batch), settings, [classifier])
    for index, clip in enumerate(batch.alone()):
        one = optimise(clip, half(clip), settings, [classifier])
        n_frames = one.mask.shape[1]
        torch.testing.assert_close(optimised.mask[index : index + 1, :n_frames], one.mask, rtol=0, atol=1e-5)
        assert not optimised.mask[index, n_frames:].any()


def test_silence_and_a_clip_of_one_frame():
    classifier = OneBand()
    batch = analysed(classifier, 0, 20)
    assert batch.spectrogram.valid.sum(1).tolist() == [32, 1]
    optimised = optimise(batch, half(batch), SETTINGS, [classifier])
    assert optimised.undefined.tolist() == [True, False]
    assert not optimised.mask[0].any()
    assert optimised.mask[1, 0].any()
    assert optimised.steps.tolist() == [0, 20]


def test_several_classifiers_are_served_by_one_mask():
    first, second = OneBand(), OneBand(slice(22, 30), labels=("yes", "perhaps", "no"))
    batch = analysed(first, 2000)
    alone, both = (optimise(batch, half(batch), SETTINGS, some).mask[0] for some in ([first], [first, second]))
    assert alone[:, 23:29].mean() < 0.1
    assert both[:, 23:29].mean() > 0.5
    assert both[:, 9:15].mean() > 0.5


def test_what_has_no_gradient_or_no_number_is_refused_in_one_line():
    classifier = OneBand(detached=True)
    batch = analysed(classifier, 2000)
    with pytest.raises(NoGradientError, match="lets no gradient through"):
        optimise(batch, half(batch), SETTINGS, [classifier])
    classifier = OneBand()
    batch = analysed(classifier, 2000)
    classifier.gain.data.fill_(torch.inf)
    with pytest.raises(UserError, match="gives NaN or infinity for"):
        optimise(batch, half(batch), SETTINGS, [classifier])


def test_cells_are_means_of_the_mask_around_their_centres():
    grid = mask_grid(SMALL, 10, replace(SETTINGS, cell_seconds=0.016, bands=3))  # 4 frames of 4 ms
    assert grid.frames.tolist() == [1.5, 5.5, 9.5]
    assert (grid.bins.diff() > 0).all()
    valid = torch.tensor([[True] * 10, [True] * 6 + [False] * 4])
    mask = torch.zeros(2, 10, 33)
    mask[:, :2] = 1
    mask[:, 4:6] = 1
    cells = to_cells(mask, valid, grid, 4)
    assert cells[:, :, 0].tolist() == [[0.5, 0.5, 0.0], [0.5, 1.0, 0.0]]
    even = to_cells(torch.full_like(mask, 0.3), valid, grid, 4)
    torch.testing.assert_close(to_spectrogram_grid(even, grid, 10, 33)[0], torch.full((10, 33), 0.3))


def test_another_front_end_has_cells_of_the_same_time_and_bands():
    grid = mask_grid(Frontend().settings, 431, OptimiserSettings())
    assert float(grid.frames[1] - grid.frames[0]) == 4  # 46 ms
    assert len(grid.bins) == 64
    assert 0 < float(grid.bins[0]) < 2
    assert 490 < float(grid.bins[-1]) < 513
