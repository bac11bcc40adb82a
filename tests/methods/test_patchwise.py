"""Methods on patches: how many there are, and what is removed."""

import pytest
import torch
from tiny import SMALL, LoudnessDetector, noise

from interpretability.methods import METHODS
from interpretability.methods.feature_ablation import FeatureAblation
from interpretability.methods.kernel_shap import KernelSHAP
from interpretability.methods.patchwise import Patchwise

KINDS = [kind for kind in METHODS.values() if issubclass(kind, Patchwise)]
WEIGHTS = torch.zeros(38, SMALL.n_bins)
WEIGHTS[20:30, 10:18] = 0.1


def detector(offset=0.0):
    return LoudnessDetector(WEIGHTS, offset).freeze()


def analysed(classifier, n_samples=1200):
    return classifier.analyse(noise(1, n_samples), target=0)


def shares(method, batch):
    """What each patch adds to the logit of a detector that sums X: the sum of its bins."""
    patches = method.patches(batch.clip(0))
    parts = torch.eye(patches.count).view(-1, *patches.shape)
    loudness = WEIGHTS * batch.spectrogram.log_magnitude[0]
    return (patches.spread(parts) * loudness).sum((1, 2)).view(patches.shape), patches


@pytest.mark.parametrize("kind", [FeatureAblation, KernelSHAP], ids=lambda kind: kind.NAME)
@pytest.mark.parametrize("grid", ["patches", "segments"])
def test_of_a_sum_each_patch_has_its_part(kind, grid):
    """The Shapley value of what is added up is what it adds, and so is what is lost without it."""
    classifier = detector()
    batch = analysed(classifier)
    method = kind(classifier, calls=120, times=5, bands=4, grid=grid)
    expected, patches = shares(method, batch)
    assert patches.shape == (5, 4 if grid == "patches" else 1)
    result = method.attribute(batch)[0].double()
    torch.testing.assert_close(result, patches.smooth(expected.double()).double(), rtol=1e-3, atol=2e-3)


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.NAME)
class TestBudget:
    def test_the_budget_decides_how_many_patches_there_are(self, kind):
        classifier = detector()
        batch = analysed(classifier)
        counts = []
        for calls in (2, 10, 60, 400):
            method = kind(classifier, calls=calls, times=8, bands=6)
            times, bands = method.patches(batch.clip(0)).shape
            assert (times, bands) == (1, 1) or method.needed(times, bands) <= calls
            counts.append(times * bands)
        assert counts == sorted(counts)
        assert counts[0] == 1
        assert counts[-1] == 48

    def test_fewer_patches_keep_their_proportion(self, kind):
        patches = kind(detector(), calls=100, times=30, bands=15).patches(analysed(detector()).clip(0))
        times, bands = patches.shape
        assert 1.4 < times / bands < 2.7

    def test_one_patch_is_the_score_with_it_less_the_score_without(self, kind):
        classifier = detector(offset=3.0)
        batch = analysed(classifier)
        for score, expected in (
            ("log_odds", batch.output.logits[0, 0] + 3.0),
            ("probability", batch.output.logits[0, 0].sigmoid() - torch.tensor(-3.0).sigmoid()),
        ):
            method = kind(classifier, calls=20, times=1, bands=1, score=score)
            result = method.attribute(batch)[0]
            torch.testing.assert_close(result, torch.full_like(result, float(expected)), rtol=1e-4, atol=1e-5)

    def test_segments_have_all_frequencies(self, kind):
        result = kind(detector(), calls=60, times=5, grid="segments").attribute(analysed(detector()))[0]
        torch.testing.assert_close(result, result[:, :1].expand_as(result))
        assert 18 <= int(result[:, 0].argmax()) < 32
