"""Every classifier: any length, padding without effect, grids that say where the cells lie, names that load."""

import pytest
import torch
from speechbrain.lobes.models.ECAPA_TDNN import Classifier as CosineHead
from speechbrain.lobes.models.PIQ import Conv2dEncoder_v2

from interpretability.classifiers.compact import CompactClassifier
from interpretability.classifiers.conv2d import Conv2dClassifier

LABELS = [f"class {i}" for i in range(5)]


def compact():
    return CompactClassifier(LABELS, n_mels=32, channels=(4, 8, 8, 16))


def conv2d():
    return Conv2dClassifier(LABELS, dim=6, lin_neurons=8)


KINDS = pytest.mark.parametrize("make", [compact, conv2d])


def settled(make):
    """A classifier in eval mode whose batch statistics are not the initial ones."""
    torch.manual_seed(0)
    classifier = make()
    classifier(torch.rand(4, 80, 513) * 3)
    return classifier.freeze()


@KINDS
@pytest.mark.parametrize("frames", [1, 5, 64, 87, 200])
def test_any_length_and_padding_without_effect(make, frames):
    classifier = settled(make)
    magnitude = torch.rand(3, 260, 513, generator=torch.Generator().manual_seed(0)) * 5
    counts = torch.tensor([260, frames, 131])
    valid = torch.arange(260)[None] < counts[:, None]
    magnitude = magnitude * valid[..., None]
    together = classifier(magnitude, valid)
    alone = classifier(magnitude[1:2, :frames])
    torch.testing.assert_close(together.logits[1:2], alone.logits, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(together.embedding[1:2], alone.embedding, rtol=1e-4, atol=1e-5)
    sizes = classifier.feature_rows(frames)
    for level, (padded, single) in enumerate(zip(together.feature_maps, alone.feature_maps, strict=True)):
        rows = sizes[level + 1]
        assert single.shape[2] == rows
        torch.testing.assert_close(padded[1:2, :, :rows], single, rtol=1e-4, atol=1e-5)
        assert not padded[1:2, :, rows:].any()
    shuffled = classifier(magnitude.flip(0), valid.flip(0))
    torch.testing.assert_close(shuffled.logits.flip(0), together.logits, rtol=1e-4, atol=1e-5)


@KINDS
@pytest.mark.parametrize("frames", [87, 431])
def test_grids_have_the_shape_of_the_maps(make, frames):
    classifier = settled(make)
    output = classifier(torch.rand(1, frames, 513))
    assert tuple(m.shape[1] for m in output.feature_maps) == classifier.feature_channels
    for maps, grid in zip(output.feature_maps, classifier.feature_grids(frames), strict=True):
        assert maps.shape[2:] == (len(grid.frames), len(grid.bins))
        assert (grid.frames.diff() > 0).all()
        assert (grid.bins.diff() > 0).all()
    valid = torch.ones(1, frames, dtype=torch.bool)
    assert [rows.shape[1] for rows in classifier.valid_rows(valid)] == list(classifier.feature_rows(frames))


@KINDS
def test_cells_lie_where_the_grid_says(make):
    """The gradient of a cell is centred on the grid's centre: the receptive field, measured."""
    classifier = settled(make)
    magnitude = (torch.rand(1, 192, 513, generator=torch.Generator().manual_seed(1)) * 3).requires_grad_()
    output = classifier(magnitude)
    for level in (0, 1, 2):
        maps, grid = output.feature_maps[level], classifier.feature_grids(192)[level]
        row, column = maps.shape[2] // 2, maps.shape[3] // 2
        # Input differences are what a cell sees of the whole grid of clips: average the field over many columns.
        (gradient,) = torch.autograd.grad(maps[0, :, row, :].sum(), magnitude, retain_graph=True)
        weight = gradient.abs().sum(2)[0]
        reach = weight.nonzero()[:, 0]
        centre = (int(reach.min()) + int(reach.max())) / 2
        assert abs(centre - float(grid.frames[row])) <= 1.0, (level, centre, float(grid.frames[row]))
        assert column < len(grid.bins)


def test_conv2d_loads_published_names():
    """State saved from SpeechBrain's own modules loads, and gives their cosines times the scale."""
    torch.manual_seed(0)
    encoder, head = Conv2dEncoder_v2(dim=6), CosineHead(6, lin_blocks=1, lin_neurons=8, out_neurons=5)
    classifier = Conv2dClassifier(LABELS, dim=6, lin_neurons=8, logit_scale=30.0)
    classifier.embedding_model.load_state_dict(encoder.state_dict())
    classifier.classifier.load_state_dict(head.state_dict())
    classifier.eval(), encoder.eval(), head.eval()
    magnitude = torch.rand(2, 431, 513) * 4
    wanted = head(encoder(torch.log1p(magnitude)).mean((-1, -2)))[:, 0]
    torch.testing.assert_close(classifier(magnitude).logits, 30.0 * wanted)
    names = set(classifier.state_dict())
    assert {"embedding_model.conv1.weight", "embedding_model.resblock.block.0.weight", "classifier.weight"} <= names


def test_compact_has_about_a_million_parameters_and_silence_stays_zero():
    classifier = CompactClassifier([str(i) for i in range(10)])
    assert 0.8e6 < sum(p.numel() for p in classifier.parameters()) < 1.6e6
    assert not classifier.log_mel(torch.zeros(1, 3, 513)).any()


def test_mel_centres_are_where_a_tone_excites_the_band():
    classifier = compact()
    centres = classifier.mel_centres()
    for band in (3, 15, 30):
        tone = torch.zeros(1, 1, 513)
        tone[0, 0, round(float(centres[band]))] = 1
        assert abs(int(classifier.log_mel(tone).argmax()) - band) <= 1


@KINDS
def test_feature_maps_carry_gradient_to_the_input(make):
    classifier = settled(make)
    magnitude = torch.rand(1, 80, 513, requires_grad=True)
    sum(m.square().sum() for m in classifier(magnitude).feature_maps).backward()
    assert torch.isfinite(magnitude.grad).all()
    assert magnitude.grad.abs().sum() > 0
