"""Floors: exact areas, ties, independence of the batch."""

import math

import pytest
import torch

from interpretability.classifiers.compact import CompactClassifier
from interpretability.errors import UserError
from interpretability.methods.floors import (
    ConstantMask,
    EnergyMask,
    MatchedFloor,
    RandomMask,
    floors,
    keep_top,
    matched_floors,
)
from interpretability.metrics import kept_area


@pytest.fixture
def classifier():
    return CompactClassifier(["a", "b"], n_mels=16, channels=(2, 2, 2, 2))


@pytest.fixture
def batch(classifier):
    wavs = torch.randn(3, 4000, generator=torch.Generator().manual_seed(0))
    return classifier.frontend.analyse(wavs, torch.tensor([1.0, 0.5, 0.8]))


def masks(interpreter, spectrogram):
    output = interpreter.classifier(spectrogram.magnitude, spectrogram.valid)
    return interpreter.mask(spectrogram, output, output.predicted)


@pytest.mark.parametrize("area", [0.0, 0.013, 0.1, 0.2, 0.5, 1.0])
@pytest.mark.parametrize("kind", [RandomMask, EnergyMask])
def test_exact_area_over_valid_bins(classifier, batch, kind, area):
    mask = masks(kind(classifier, area), batch)
    assert set(mask.unique().tolist()) <= {0.0, 1.0}
    for b, frames in enumerate(batch.valid.sum(1).tolist()):
        assert int(mask[b].sum()) == math.ceil(round(area * frames * 513, 6))
        assert not mask[b, frames:].any()


def test_ties_are_kept_exactly_and_from_below():
    kept = keep_top(torch.ones(1, 3, 4), torch.tensor([[True, True, False]]), 0.3)
    assert kept.flatten().tolist() == [1, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0]


def test_energy_keeps_the_loudest(classifier, batch):
    mask = masks(EnergyMask(classifier, 0.2), batch).bool()
    for b in range(3):
        valid = batch.valid[b][:, None].expand_as(mask[b])
        assert batch.magnitude[b][mask[b]].min() >= batch.magnitude[b][valid & ~mask[b]].max()


def test_random_depends_on_seed_and_clip_but_not_on_the_batch(classifier, batch):
    mask = masks(RandomMask(classifier, 0.2, seed=1), batch)
    assert torch.equal(masks(RandomMask(classifier, 0.2, seed=1), batch), mask)
    assert not torch.equal(masks(RandomMask(classifier, 0.2, seed=2), batch), mask)
    assert not torch.equal(mask[0], mask[2])
    alone = masks(RandomMask(classifier, 0.2, seed=1), batch[[2]])
    assert torch.equal(alone[0], mask[2])


def test_constant(classifier, batch):
    mask = masks(ConstantMask(classifier, 0.5), batch)
    assert set(mask[batch.valid].unique().tolist()) == {0.5}
    assert not mask[~batch.valid].any()


def test_the_rows_of_every_table(classifier):
    assert list(floors(classifier, seed=0)) == [
        "M = 1",
        "M = 0.5",
        "random 10%",
        "random 20%",
        "random 50%",
        "energy top 10%",
        "energy top 20%",
    ]


@pytest.mark.parametrize("make", [lambda c: ConstantMask(c, 1.5), lambda c: EnergyMask(c, -0.1)])
def test_fractions_only(classifier, make):
    with pytest.raises(UserError, match="\\[0, 1\\]"):
        make(classifier)


# ---- At another mask's own area ----


@pytest.fixture
def studied(batch):
    """A soft mask, a hard one, and one that keeps nothing."""
    mask = torch.rand(batch.magnitude.shape, generator=torch.Generator().manual_seed(1)) ** 4
    mask[1] = (mask[1] > 0.3).float()
    mask[2] = 0.0
    return mask * batch.valid[..., None]


def test_each_clip_keeps_as_much_as_the_studied_mask(batch, studied):
    areas = kept_area(studied, batch.valid)
    assert len(set(areas.tolist())) == 3
    n_bins = batch.valid.sum(1) * 513
    for name, floor in matched_floors(seed=0).items():
        mask = floor(batch, studied)
        assert mask.shape == studied.shape
        assert not mask[~batch.valid].any()
        if floor.kind == "constant":
            for b in range(3):
                assert set(mask[b][batch.valid[b]].unique().tolist()) == {areas[b].float().item()}
            continue
        assert set(mask.unique().tolist()) == {0.0, 1.0}, name
        # To the bin: the sum of the mask, rounded up.
        counts = [math.ceil(round(total, 6)) for total in (areas * n_bins).tolist()]
        assert mask.sum((1, 2)).int().tolist() == counts
        assert counts[1] == int(studied[1].sum())


def test_matched_floors_are_the_floors_at_that_area(classifier, batch):
    studied = masks(EnergyMask(classifier, 0.3), batch)
    rows = matched_floors(seed=5)
    assert list(rows) == ["energy, same area", "random, same area", "constant, same area"]
    assert torch.equal(rows["energy, same area"](batch, studied), studied)
    random = masks(RandomMask(classifier, 0.3, seed=5), batch)
    assert torch.equal(rows["random, same area"](batch, studied), random)
    assert not torch.equal(matched_floors(seed=6)["random, same area"](batch, studied), random)


def test_matched_floors_do_not_depend_on_the_batch_and_change_nothing(batch, studied):
    before = studied.clone()
    for floor in matched_floors(seed=0).values():
        whole = floor(batch, studied)
        assert torch.equal(floor(batch[[1]], studied[[1]])[0], whole[1])
        assert torch.equal(floor(batch[[2, 0]], studied[[2, 0]]), whole[[2, 0]])
    assert torch.equal(studied, before)


def test_settings_of_matched_floors():
    assert [floor.settings for floor in matched_floors(seed=3).values()] == [
        {"method": "energy", "area": "same"},
        {"method": "random", "area": "same", "seed": 3},
        {"method": "constant", "area": "same"},
    ]
    with pytest.raises(UserError, match="kind is 'loud', expected one of energy, random, constant"):
        MatchedFloor("loud")
