"""RISE against its formula, mask by mask, and against what is known to be heard."""

import pytest
import torch
from tiny import SMALL, LoudnessDetector, noise

from interpretability.errors import UserError
from interpretability.frontend import apply_mask
from interpretability.methods.rise import RISE


def detector(weights=None):
    return LoudnessDetector(torch.ones(40, SMALL.n_bins) if weights is None else weights).freeze()


def test_it_is_the_weighted_mean_of_the_scores_less_their_mean(monkeypatch):
    """The masks are those that the classifier was asked about, and the scores those that it gave."""
    classifier = detector()
    batch = classifier.analyse(noise(1, 1200), target=0)
    answered = []
    forward = classifier.forward

    def listen(magnitude, valid=None):
        output = forward(magnitude, valid)
        answered.append((magnitude, output.logits[:, 0]))
        return output

    monkeypatch.setattr(classifier, "forward", listen)
    result = RISE(classifier, calls=30, times=4, bands=3).attribute(batch)[0]
    magnitudes, scores = (torch.cat(parts).double() for parts in zip(*answered, strict=True))
    assert len(scores) == 30
    masks = torch.log1p(magnitudes) / torch.log1p(batch.spectrogram.magnitude.double())
    assert masks.min() >= -1e-6
    assert masks.max() <= 1 + 1e-4
    assert masks.mean() == pytest.approx(0.5, abs=0.08)
    weighted = torch.einsum("n,ntf->tf", scores, masks) / masks.sum(0)
    torch.testing.assert_close(result.double(), weighted - scores.mean(), rtol=1e-3, atol=1e-3)


def test_the_masks_are_smooth_and_all_different():
    heard = []

    class Listening(LoudnessDetector):
        def forward(self, magnitude, valid=None):
            heard.append(magnitude)
            return super().forward(magnitude, valid)

    classifier = Listening(torch.ones(400, SMALL.n_bins)).freeze()
    batch = classifier.analyse(noise(1, 32 * 200), target=0)
    batch.spectrogram.magnitude.fill_(torch.e - 1)  # X = 1: the masked X is the mask
    heard.clear()
    RISE(classifier, calls=20, times=5, bands=4).interpret(batch)
    masks = torch.log1p(torch.cat(heard))
    assert len(masks.flatten(1).unique(dim=0)) == 20
    assert masks.diff(dim=1).abs().max() < 5 / 201 + 1e-3  # from 0 to 1 in one cell at the soonest
    assert all(mask.std() > 0.02 for mask in masks)
    expected = apply_mask(batch.spectrogram.magnitude, masks[:1], "log")
    torch.testing.assert_close(torch.cat(heard)[:1], expected, rtol=1e-4, atol=1e-4)


def test_a_patch_that_is_heard_is_found():
    weights = torch.zeros(38, SMALL.n_bins)
    weights[20:30, 10:18] = 1.0
    batch = detector(weights).analyse(noise(1, 1200), target=0)
    mask = RISE(detector(weights), calls=400, times=8, bands=6).interpret(batch).mask[0]
    assert mask[19:31, 8:20].sum() > 0.7 * mask.sum()


def test_the_seed_decides():
    batch = detector().analyse(noise(1, 1200), target=0)
    first, again, other = (RISE(detector(), calls=10, seed=seed).attribute(batch) for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.allclose(first, other)


def test_keep_is_the_share_of_the_sound_that_is_there():
    scores = []

    class Listening(LoudnessDetector):
        def forward(self, magnitude, valid=None):
            scores.append(torch.log1p(magnitude).mean())
            return super().forward(magnitude, valid)

    classifier = Listening(torch.ones(40, SMALL.n_bins)).freeze()
    batch = classifier.analyse(noise(1, 1200), target=0)
    whole = float(torch.log1p(batch.spectrogram.magnitude).mean())
    for keep in (0.2, 0.8):
        scores.clear()
        RISE(classifier, calls=60, keep=keep).interpret(batch)
        assert float(torch.stack(scores).mean()) / whole == pytest.approx(keep, abs=0.05)


@pytest.mark.parametrize(("name", "value", "expected"), [("keep", 1.0, "a number > 0"), ("seed", -1, "a whole")])
def test_bad_settings(name, value, expected):
    with pytest.raises(UserError, match=f"^rise: {name} is {value}, expected {expected}"):
        RISE(detector(), **{name: value})
