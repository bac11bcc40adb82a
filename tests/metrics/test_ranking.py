"""Whatever ranks bins: neither single precision's rounding nor the batch size decides between equal bins."""

import math

import pytest
import torch
from sklearn.metrics import roc_auc_score
from tiny import listening_classifier, noise

from interpretability.methods.baselines import EnergyMask
from interpretability.methods.gradients import Gradients
from interpretability.methods.piq import PIQ
from interpretability.metrics.areas import keep_top
from interpretability.metrics.localisation import energy_weighted_auroc, intersection_over_union, pointing_game
from interpretability.metrics.ranking import rounded

#: Values of plateaus, as few as a decoder draws from few keys.
LEVELS = torch.tensor([0.0, 0.01798, 0.5, 0.98201, 1.0], dtype=torch.float64)


def plateaus(seed=0, batch=3, frames=9, bins=7):
    """Masks of plateaus, truths and magnitudes, each plateau partly true."""
    g = torch.Generator().manual_seed(seed)
    shape = (batch, frames, bins)
    mask = LEVELS[torch.randint(len(LEVELS), shape, generator=g)]
    return mask, torch.rand(shape, generator=g) < 0.5, torch.rand(shape, generator=g) + 0.1


def disturbed(values, size, seed=1):
    """Values with noise of up to ``size`` of the largest, as of single precision."""
    share = 2 * torch.rand(values.shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) - 1
    return values + size * float(values.abs().max()) * share


RANKING = {
    "pointing game": lambda mask, truth, magnitude: pointing_game(mask, truth),
    "IoU": lambda mask, truth, magnitude: intersection_over_union(mask, truth),
    "AUROC": energy_weighted_auroc,
    "top 10 %": lambda mask, truth, magnitude: keep_top(mask, torch.ones(mask.shape[:2]).bool(), 0.1),
    "loudest 20 %": lambda mask, truth, magnitude: keep_top(400 * mask, torch.ones(mask.shape[:2]).bool(), 0.2),
    "signed scores": lambda mask, truth, magnitude: keep_top(
        1e-9 * (mask - 0.5), torch.ones(mask.shape[:2]).bool(), 0.4
    ),
}


@pytest.mark.parametrize("name", RANKING)
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_rounding_of_single_precision_breaks_no_tie(name, seed):
    mask, truth, magnitude = plateaus(seed)
    exact = RANKING[name](mask, truth, magnitude)
    for noisy in (disturbed(mask, 2e-7), disturbed(mask, 2e-7, seed=2), mask.float()):
        torch.testing.assert_close(RANKING[name](noisy, truth, magnitude), exact, rtol=0, atol=1e-12, check_dtype=False)


def test_auroc_of_noisy_plateaus_is_that_of_scikit_learn_without_the_noise():
    mask, truth, magnitude = plateaus(3)
    values = energy_weighted_auroc(disturbed(mask, 2e-7), truth, magnitude)
    for i in range(len(mask)):
        m, g, a = (x[i].flatten().double().numpy() for x in (mask, truth, magnitude))
        assert values[i].item() == pytest.approx(roc_auc_score(g, m, sample_weight=a**2), abs=1e-12)


def test_known_answers_with_ties():
    """Two bins share the maximum but for the seventh decimal, and two the middle: one of each pair is true."""
    mask = torch.tensor([[[0.9, 0.9000001, 0.3], [0.3000001, 0.1, 0.1]]], dtype=torch.float64)
    truth = torch.tensor([[[True, False, False], [True, False, False]]])
    assert pointing_game(mask, truth).tolist() == [0.5]
    # Two bins are true; the top two are bins 0 and 1 of frame 0, of which one is.
    assert intersection_over_union(mask, truth).tolist() == [1 / 3]
    # Of 2 x 4 pairs, bin 0 wins 3 and ties 1, bin 3 wins 2 and ties 1.
    assert energy_weighted_auroc(mask, truth, torch.ones(1, 2, 3)).tolist() == [(3.5 + 2.5) / 8]
    # Of equal bins the earlier frame, then the lower bin.
    valid = torch.ones(1, 2, dtype=torch.bool)
    assert keep_top(mask, valid, 1 / 6).tolist() == [[[1, 0, 0], [0, 0, 0]]]
    assert keep_top(mask, valid, 3 / 6).tolist() == [[[1, 1, 1], [0, 0, 0]]]


@pytest.mark.parametrize("scale", [1e-30, 1.0, 1e30])
def test_scores_are_compared_at_any_scale_and_padding_sets_none(scale):
    scores = scale * torch.tensor([[[0.2, 0.3], [0.1, -0.4]], [[1.0, 0.0], [math.inf, math.nan]]], dtype=torch.float64)
    valid = torch.tensor([[True, True], [True, False]])
    assert keep_top(scores, valid, 0.5).tolist() == [[[1, 1], [0, 0]], [[1, 0], [0, 0]]]
    assert rounded(scores[:1], valid[:1], relative=True).tolist() == [[[0.5, 0.75], [0.25, -1.0]]]
    assert rounded(torch.zeros(1, 2, 2), relative=True).tolist() == [[[0, 0], [0, 0]]]


def test_batches_of_sixteen_and_of_one_rank_alike():
    """Masks that a network draws, and the bins that a method keeps: the same, whatever shares the batch."""
    classifier = listening_classifier(["cat", "dog", "rain"])
    torch.manual_seed(1)
    piq = PIQ(classifier, codebook_size=6, channels=4, decoder_channels=(4, 4))
    piq.psi.decoder.logits.weight.data *= 300  # from 0 to 1, as a trained one draws
    methods = {
        "piq": piq.eval(),
        "saliency": Gradients(classifier, attribution="saliency", form="top10"),
        "input x gradient": Gradients(classifier, attribution="input_x_gradient", form="top20"),
        "energy": EnergyMask(classifier, area=0.2),
    }
    batch = classifier.analyse(noise(16, 4000))
    with torch.no_grad():
        masks = {
            name: (
                method.interpret(batch).mask,
                torch.cat([method.interpret(batch[[i]]).mask for i in range(16)]),
            )
            for name, method in methods.items()
        }
    together, alone = masks.pop("piq")
    for name, (many, one) in masks.items():
        assert torch.equal(many, one), name
    assert 1e-7 < (together - alone).abs().max() < 2e-6  # rounding there is
    truth = torch.rand(together.shape, generator=torch.Generator().manual_seed(0)) < 0.3
    for name, ranks in RANKING.items():
        many, one = (ranks(mask, truth, batch.spectrogram.magnitude) for mask in (together, alone))
        # A bin that lies between two steps weighs some 1e-6 of the area.
        torch.testing.assert_close(many, one, rtol=0, atol=2e-6 if name == "AUROC" else 0, msg=name)
