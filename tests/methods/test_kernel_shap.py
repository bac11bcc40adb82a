"""KernelSHAP against Captum called directly, against exact Shapley values, and by what they sum to."""

import itertools
import math
from dataclasses import replace

import torch
from captum.attr import KernelShap
from tiny import LABELS, SMALL, LoudnessDetector, listening_classifier, noise

from interpretability.methods.kernel_shap import KernelSHAP
from interpretability.probabilities import log_odds


def answers(classifier, batch, patches):
    """From what is kept of each patch to the log odds, in plain terms."""

    def score(kept):
        rows, columns = torch.tensor(patches.time_edges).diff(), torch.tensor(patches.band_edges).diff()
        mask = kept.repeat_interleave(rows, 1).repeat_interleave(columns, 2)
        clip = batch.spectrogram[torch.zeros(len(kept), dtype=torch.int64)]
        logits = classifier.classify(replace(clip, magnitude=torch.expm1(mask * clip.log_magnitude))).logits.double()
        return log_odds(logits, batch.target.expand(len(logits)), classifier.task)

    return score


@torch.no_grad()
def test_equals_captum():
    classifier = listening_classifier(LABELS)
    batch = classifier.analyse(noise(1, 9000), target=1)
    method = KernelSHAP(classifier, calls=60, times=4, bands=3, seed=7)
    patches = method.patches(batch.clip(0))
    torch.manual_seed(7)
    shap = KernelShap(answers(classifier, batch, patches))
    expected = shap.attribute(torch.ones(1, 4, 3), feature_mask=torch.arange(12).view(1, 4, 3), n_samples=60)
    result = method.attribute(batch)[0]
    torch.testing.assert_close(result, patches.smooth(expected[0].double()).float(), rtol=1e-3, atol=1e-4)


class Product(LoudnessDetector):
    """Hears the sum, and the square of the sum: what patches do together counts, too."""

    def forward(self, magnitude, valid=None):
        output = super().forward(magnitude, valid)
        return replace(output, logits=output.logits + output.logits**2)


@torch.no_grad()
def test_shapley_values_and_their_sum():
    """Of six patches all subsets are asked about; the sum is the score of the clip less that of silence."""
    weights = torch.zeros(38, SMALL.n_bins)
    weights[5:25] = 2e-3
    classifier = Product(weights).freeze()
    batch = classifier.analyse(noise(1, 1200), target=0)
    method = KernelSHAP(classifier, calls=1500, times=3, bands=2)
    patches = method.patches(batch.clip(0))
    score = answers(classifier, batch, patches)
    subsets = torch.tensor(list(itertools.product([0.0, 1.0], repeat=6)))
    scores = dict(zip(map(tuple, subsets.tolist()), score(subsets.view(-1, 3, 2)).tolist(), strict=True))
    expected = torch.zeros(6, dtype=torch.float64)
    for k in range(6):
        for kept in scores:
            if kept[k] == 0:
                size = int(sum(kept))
                weight = math.factorial(size) * math.factorial(5 - size) / math.factorial(6)
                expected[k] += weight * (scores[(*kept[:k], 1.0, *kept[k + 1 :])] - scores[kept])
    result = method.attribute(batch)[0].double()
    torch.testing.assert_close(result, patches.smooth(expected.view(3, 2)).double(), rtol=0.02, atol=0.02)
    whole, nothing = scores[(1.0,) * 6], scores[(0.0,) * 6]
    assert abs(float(expected.sum()) - (whole - nothing)) < 1e-9
    frames, bins = (centres.round().long() for centres in (patches.grid.frames, patches.grid.bins))
    few = KernelSHAP(classifier, calls=16, times=3, bands=2).attribute(batch)[0].double()
    for values in (result, few):  # efficiency holds with any budget
        assert abs(float(values[frames][:, bins].sum()) - (whole - nothing)) < 0.05 * (whole - nothing)
