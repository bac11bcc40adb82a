"""Occlusion against Captum called directly, and against differences of probability computed by hand."""

from dataclasses import replace

import pytest
import torch
from captum.attr import Occlusion as Covering
from tiny import LABELS, listening_classifier, noise

from interpretability.errors import UserError
from interpretability.methods.occlusion import Occlusion
from interpretability.probabilities import log_odds


@pytest.fixture(scope="module")
def classifier():
    return listening_classifier(LABELS)


@pytest.fixture
def batch(classifier):
    return classifier.analyse(noise(1, 9000), target=1)


@torch.no_grad()
def test_equals_captum_of_each_size(classifier, batch):
    method = Occlusion(classifier, calls=80, times=6, bands=4)
    patches = method.patches(batch.clip(0))
    assert patches.shape == (6, 4)

    def score(kept):
        rows, columns = torch.tensor(patches.time_edges).diff(), torch.tensor(patches.band_edges).diff()
        mask = kept.repeat_interleave(rows, 1).repeat_interleave(columns, 2)
        clip = batch.spectrogram[torch.zeros(len(kept), dtype=torch.int64)]
        logits = classifier.classify(replace(clip, magnitude=torch.expm1(mask * clip.log_magnitude))).logits.double()
        return log_odds(logits, batch.target.expand(len(logits)), "single")

    each = [
        Covering(score).attribute(torch.ones(1, 6, 4), shape, step, baselines=0, perturbations_per_eval=3)
        for shape, step in (((1, 1), (1, 1)), ((2, 2), (1, 1)), ((4, 4), (2, 2)))
    ]
    expected = patches.smooth(torch.stack(each).mean(0)[0])
    torch.testing.assert_close(method.attribute(batch)[0], expected.float(), rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_one_size_is_the_probability_that_is_lost(classifier, batch):
    """With windows of one patch, that do not overlap: p of the clip less p without the patch."""
    method = Occlusion(classifier, calls=20, times=3, bands=2, sizes=[1], score="probability")
    patches = method.patches(batch.clip(0))
    whole, lost = batch.output.logits.softmax(1)[0, 1], torch.zeros(3, 2)
    for row in range(3):
        for column in range(2):
            magnitude = batch.spectrogram.magnitude.clone()
            frames = slice(*patches.time_edges[row : row + 2])
            bins = slice(*patches.band_edges[column : column + 2])
            magnitude[:, frames, bins] = 0
            without = classifier.classify(replace(batch.spectrogram, magnitude=magnitude)).logits.softmax(1)[0, 1]
            lost[row, column] = whole - without
    assert lost.abs().max() > 0.05
    torch.testing.assert_close(method.attribute(batch)[0], patches.smooth(lost), rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize(
    ("sizes", "times", "bands"), [((1, 2, 4), 8, 6), ((1, 2, 4), 3, 2), ((3,), 5, 5), ((9, 8), 4, 4)]
)
def test_the_calls_that_are_needed_are_those_that_are_made(classifier, batch, sizes, times, bands):
    asked = []
    handle = classifier.register_forward_hook(lambda module, given, output: asked.append(len(output.logits)))
    method = Occlusion(classifier, times=times, bands=bands, sizes=sizes)
    method.interpret(batch)
    handle.remove()
    assert sum(asked) == method.needed(times, bands) <= 500


@pytest.mark.parametrize("sizes", [[0], [1.5], "large"])
def test_bad_sizes(classifier, sizes):
    with pytest.raises(UserError, match=r"^occlusion: sizes is .*, expected a list of whole numbers >= 1"):
        Occlusion(classifier, sizes=sizes)
