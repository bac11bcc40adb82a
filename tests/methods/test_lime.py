"""LIME against Captum called directly, and against scikit-learn's ridge regression of what was asked and answered."""

import math
from dataclasses import replace

import pytest
import torch
from captum._utils.models.linear_model import SkLearnRidge
from captum.attr import Lime
from captum.attr._core.lime import get_exp_kernel_similarity_function
from sklearn.linear_model import Ridge
from tiny import LABELS, listening_classifier, noise

from interpretability.errors import UserError
from interpretability.methods.lime import LIME
from interpretability.probabilities import log_odds


@pytest.fixture(scope="module")
def classifier():
    return listening_classifier(LABELS)


@torch.no_grad()
@pytest.mark.parametrize("grid", ["patches", "segments"])
def test_equals_captum_and_a_ridge_regression(classifier, grid):
    batch = classifier.analyse(noise(1, 9000), target=1)
    method = LIME(classifier, calls=60, times=4, bands=3, seed=7, alpha=0.5, kernel_width=0.4, grid=grid)
    patches = method.patches(batch.clip(0))
    kept, scores = [], []

    def score(grid):
        rows, columns = torch.tensor(patches.time_edges).diff(), torch.tensor(patches.band_edges).diff()
        mask = grid.repeat_interleave(rows, 1).repeat_interleave(columns, 2)
        clip = batch.spectrogram[torch.zeros(len(grid), dtype=torch.int64)]
        logits = classifier.classify(replace(clip, magnitude=torch.expm1(mask * clip.log_magnitude))).logits.double()
        kept.append(grid.flatten(1))
        scores.append(log_odds(logits, batch.target.expand(len(logits)), "single"))
        return scores[-1]

    near = get_exp_kernel_similarity_function("cosine", 0.4)
    numbers = torch.arange(patches.count).view(1, *patches.shape)
    torch.manual_seed(7)
    lime = Lime(score, SkLearnRidge(alpha=0.5), similarity_func=near)
    expected = lime.attribute(torch.ones(1, *patches.shape), feature_mask=numbers, n_samples=60)
    result = method.attribute(batch)[0]
    torch.testing.assert_close(result, patches.smooth(expected[0].double()).float(), rtol=1e-3, atol=1e-4)
    asked, answered = torch.cat(kept)[-60:], torch.cat(scores)[-60:]
    assert asked.mean() == pytest.approx(0.5, abs=0.1)
    distance = 1 - asked.sum(1) / (asked.sum(1) * patches.count).sqrt().clamp(min=1e-8)
    weights = [math.exp(-(d**2) / (2 * 0.4**2)) for d in distance.tolist()]
    ridge = Ridge(alpha=0.5).fit(asked.numpy(), answered.numpy(), weights)
    coefficients = torch.tensor(ridge.coef_).view(patches.shape)
    torch.testing.assert_close(expected[0].double(), coefficients.double(), rtol=1e-2, atol=1e-3)
    assert coefficients.abs().max() > 0.01


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("kernel_width", 0.0, "a number > 0"),
        ("alpha", -1.0, "a number > 0"),
        ("grid", "bands", "one of patches, segments"),
    ],
)
def test_bad_settings(classifier, name, value, expected):
    with pytest.raises(UserError, match=f"^lime: {name} is .*, expected {expected}"):
        LIME(classifier, **{name: value})
