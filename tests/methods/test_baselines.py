"""Baselines: exact areas, independence of the batch."""

import math

import pytest
import torch

from interpretability.classifiers.compact import CompactClassifier
from interpretability.errors import UserError
from interpretability.methods.baselines import (
    ConstantMask,
    EnergyMask,
    RandomMask,
    baselines,
    matched_baselines,
)


@pytest.fixture
def classifier():
    return CompactClassifier(["a", "b"], n_mels=16, channels=(2, 2, 2, 2))


@pytest.fixture
def batch(classifier):
    wavs = torch.randn(3, 4000, generator=torch.Generator().manual_seed(0))
    return classifier.analyse(wavs, torch.tensor([1.0, 0.5, 0.8]))


@pytest.mark.parametrize("area", [0.0, 0.013, 0.1, 0.2, 0.5, 1.0])
@pytest.mark.parametrize("kind", [RandomMask, EnergyMask])
def test_exact_area_over_valid_bins(classifier, batch, kind, area):
    spectrogram = batch.spectrogram
    mask = kind(classifier, area=area).mask(batch)
    assert set(mask.unique().tolist()) <= {0.0, 1.0}
    for b, frames in enumerate(spectrogram.valid.sum(1).tolist()):
        assert int(mask[b].sum()) == math.ceil(round(area * frames * 513, 6))
        assert not mask[b, frames:].any()


def test_energy_keeps_the_loudest(classifier, batch):
    mask, spectrogram = EnergyMask(classifier, area=0.2).mask(batch).bool(), batch.spectrogram
    for b in range(3):
        valid = spectrogram.valid[b][:, None].expand_as(mask[b])
        assert spectrogram.magnitude[b][mask[b]].min() >= spectrogram.magnitude[b][valid & ~mask[b]].max()


def test_random_depends_on_seed_and_clip_but_not_on_the_batch(classifier, batch):
    mask = RandomMask(classifier, area=0.2, seed=1).mask(batch)
    assert torch.equal(RandomMask(classifier, area=0.2, seed=1).mask(batch), mask)
    assert not torch.equal(RandomMask(classifier, area=0.2, seed=2).mask(batch), mask)
    assert not torch.equal(mask[0], mask[2])
    alone = RandomMask(classifier, area=0.2, seed=1).mask(batch[[2]])
    assert torch.equal(alone[0], mask[2])


def test_constant(classifier, batch):
    mask, valid = ConstantMask(classifier, value=0.5).mask(batch), batch.spectrogram.valid
    assert set(mask[valid].unique().tolist()) == {0.5}
    assert not mask[~valid].any()


def test_the_rows_of_every_table(classifier):
    assert list(baselines(classifier, seed=0)) == [
        "M = 1",
        "M = 0.5",
        "random 10%",
        "random 20%",
        "random 50%",
        "energy top 10%",
        "energy top 20%",
    ]


@pytest.mark.parametrize(
    ("kind", "name", "value"), [(ConstantMask, "value", 1.5), (EnergyMask, "area", -0.1), (RandomMask, "area", 1.01)]
)
def test_fractions_only(classifier, kind, name, value):
    with pytest.raises(UserError, match=f"{kind.NAME}: {name} is {value}, expected a number >= 0 and <= 1"):
        kind(classifier, **{name: value})


# ---- At another mask's own area ----


@pytest.fixture
def spectrogram(batch):
    return batch.spectrogram


def test_at_a_known_area_they_are_the_baselines_of_that_area(classifier, batch, spectrogram):
    studied = EnergyMask(classifier, area=0.3).mask(batch)
    rows = matched_baselines(seed=5)
    assert list(rows) == ["energy, same area", "random, same area", "constant, same area"]
    assert torch.equal(rows["energy, same area"](spectrogram, studied), studied)
    random = RandomMask(classifier, area=0.3, seed=5).mask(batch)
    assert torch.equal(rows["random, same area"](spectrogram, studied), random)
    assert not torch.equal(matched_baselines(seed=6)["random, same area"](spectrogram, studied), random)
