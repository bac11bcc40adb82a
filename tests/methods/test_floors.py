"""Floors: exact areas, ties, independence of the batch."""

import math

import pytest
import torch

from interpretability.classifiers.compact import CompactClassifier
from interpretability.errors import UserError
from interpretability.methods.floors import ConstantMask, EnergyMask, RandomMask, floors, keep_top


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
