"""L-MAC: the objective against hand-worked values, the gate, gradients, class gains."""

import math

import numpy as np
import pytest
import torch
from tiny import LABELS, listening_classifier, noise, training_step

from interpretability.classifiers.base import AnalysedBatch, ClassifierOutput
from interpretability.classifiers.cnn14 import Cnn14Classifier
from interpretability.errors import UserError
from interpretability.frontend import Clips, Spectrogram
from interpretability.methods.lmac import LMAC, LMACPrediction, similarity
from interpretability.networks.lmac import CompactDecoder, PublishedDecoder
from interpretability.probabilities import MaskedLogits


def small(**settings):
    torch.manual_seed(0)
    return LMAC(listening_classifier(LABELS), **{"channels": 8, "decoder_channels": (4,), **settings})


def by_hand(interpreter, mask_logits, log_magnitude, inside, outside, target=(0,), clean=None):
    """Call the objective on made-up values; X and masks [B, T][F] as nested lists."""
    logits = torch.tensor(mask_logits, dtype=torch.float64)
    magnitude = torch.expm1(torch.tensor(log_magnitude, dtype=torch.float64))
    valid = torch.ones(magnitude.shape[:2], dtype=torch.bool)

    def spectrogram(values):
        return Spectrogram(values, torch.zeros_like(values), valid, torch.tensor([1] * len(values)), 1)

    clips = Clips(torch.zeros(len(magnitude), 1), torch.tensor([1] * len(magnitude)), interpreter.frontend)
    clips.analysed = spectrogram(magnitude)
    clean = None if clean is None else spectrogram(torch.expm1(torch.tensor(clean, dtype=torch.float64)))
    output = ClassifierOutput(torch.zeros(len(magnitude), 2), torch.zeros(len(magnitude), 1), ())
    batch = AnalysedBatch(clips, output, torch.tensor(target), clean)
    masked = MaskedLogits(torch.tensor(inside), torch.tensor(outside))
    terms = interpreter.objective(batch, LMACPrediction(torch.sigmoid(logits), logits), masked)
    return {name: float(value) for name, value in terms.items()}


def logit(probability):
    return math.log(probability / (1 - probability))


MASK = [[[0.5, 0.25], [0.75, 0.5]]]  # [1, 2, 2]
LOGITS = [[[logit(m) for m in row] for row in MASK[0]]]


class TestObjective:
    def test_terms_by_hand(self):
        lmac = small(inside_weight=2.0, outside_weight=0.5, l1_weight=3.0, tv_weight=7.0, cap=None)
        # p(In) = 3/4, p(Out) = 1/8 of class 0.
        terms = by_hand(lmac, LOGITS, [[[1.0, 2.0], [3.0, 0.5]]], [[math.log(3), 0.0]], [[0.0, math.log(7)]])
        inside, outside = -math.log(3 / 4), -math.log(1 / 8)
        # Over time: 0.25² twice; over frequency: 0.25² twice.
        variation = (0.25**2 + 0.25**2) / 2 + (0.25**2 + 0.25**2) / 2
        assert terms["ce_inside"] == pytest.approx(inside, rel=1e-6)
        assert terms["ce_outside"] == pytest.approx(outside, rel=1e-6)
        assert terms["area"] == pytest.approx(0.5)
        assert terms["variation"] == pytest.approx(variation)
        assert terms["loss"] == pytest.approx(2 * inside - 0.5 * outside + 3 * 0.5 + 7 * variation, rel=1e-6)
        assert terms.keys() == {"loss", "ce_inside", "ce_outside", "area", "variation"}

    def test_what_in_lacks_to_convince_more_than_the_clip_counts_if_it_has_a_weight(self):
        values = (LOGITS, [[[1.0, 2.0], [3.0, 0.5]]], [[math.log(3), 0.0]], [[0.0, 0.0]])
        plain = by_hand(small(), *values)
        # The clip's log odds are 0 by construction, In's are log 3.
        for surplus, missing in ((0.3, 0.0), (2.0, 2.0 - math.log(3))):
            terms = by_hand(small(surplus=surplus, surplus_weight=5.0), *values)
            assert terms["missing"] == pytest.approx(missing, abs=1e-6)
            assert terms["loss"] == pytest.approx(plain["loss"] + 5 * missing, rel=1e-6)

    def test_the_outside_term_is_capped(self):
        values = (LOGITS, [[[1.0, 2.0], [3.0, 0.5]]], [[0.0, 0.0]], [[-50.0, 50.0]])
        assert by_hand(small(cap=10.0), *values)["ce_outside"] == 10.0
        assert by_hand(small(cap=None), *values)["ce_outside"] == pytest.approx(100.0)

    @pytest.mark.parametrize("guidance", ["binary", "magnitude"])
    @pytest.mark.parametrize("gate", [0.0, 0.999])
    def test_the_gate_chooses_between_guidance_and_regulariser(self, guidance, gate):
        settings = {"inside_weight": 1.0, "outside_weight": 0.0, "l1_weight": 3.0, "tv_weight": 0.0}
        lmac = small(guidance=guidance, guidance_weight=4.0, gate=gate, **settings)
        log_magnitude, clean = np.array([[1.0, 2.0], [3.0, 0.5]]), np.array([[0.7, 2.0], [2.0, 0.0]])
        terms = by_hand(lmac, LOGITS, [log_magnitude.tolist()], [[0.0, 0.0]], [[0.0, 0.0]], clean=[clean.tolist()])
        mask = np.array(MASK[0])
        kept = mask * log_magnitude
        cosine = (kept * clean).sum() / np.linalg.norm(kept) / np.linalg.norm(clean)
        assert 0.6 < cosine < 0.999
        if guidance == "binary":
            loud = clean >= 0.35 * 2.0  # 0.7 lies on the bound and counts as loud
            assert loud.tolist() == [[True, True], [True, False]]
            guided = -(np.log(mask) * loud + np.log(1 - mask) * ~loud).mean()
        else:
            guided = ((kept - clean) ** 2).mean()
        regulariser = 4 * guided if cosine >= gate else 3 * mask.mean()
        assert terms["gate"] == float(cosine >= gate)
        assert terms["guidance"] == pytest.approx(guided, rel=1e-5)
        assert terms["loss"] == pytest.approx(math.log(2) + regulariser, rel=1e-5)

    def test_without_noise_the_clean_sound_is_the_sound_itself(self):
        lmac = small(guidance="binary")
        values = (LOGITS, [[[1.0, 2.0], [3.0, 0.5]]], [[0.0, 0.0]], [[0.0, 0.0]])
        assert by_hand(lmac, *values) == by_hand(lmac, *values, clean=values[1])

    def test_independent_of_the_batch_size(self):
        lmac = small(guidance="binary", gate=0.5, tv_weight=1.0).eval()
        wavs = noise(4, 6000)
        with torch.no_grad():
            whole = training_step(lmac, wavs)[1]
            single = [training_step(lmac, wavs[i : i + 1])[1] for i in range(4)]
        for name, value in whole.items():
            assert float(value) == pytest.approx(sum(float(s[name]) for s in single) / 4, rel=1e-4), name

    def test_padding_changes_no_term(self):
        lmac = small(guidance="magnitude", tv_weight=1.0).eval()
        wav = noise(1, 4000)
        alone = training_step(lmac, wav)[1]
        padded = training_step(lmac, torch.nn.functional.pad(wav, (0, 4000)), torch.tensor([0.5]))[1]
        for name, value in alone.items():
            assert float(padded[name]) == pytest.approx(float(value), rel=1e-3), name

    @pytest.mark.parametrize("guidance", [None, "binary", "magnitude"])
    def test_gradients_reach_every_parameter_but_the_classifiers(self, guidance):
        lmac = small(guidance=guidance, gate=0.0, tv_weight=1.0)
        training_step(lmac, noise(4, 6000), torch.tensor([1.0, 0.5, 0.8, 1.0]))[1]["loss"].backward()
        for name, parameter in lmac.named_parameters():
            assert parameter.grad is not None, name
            assert torch.isfinite(parameter.grad).all(), name
            assert parameter.grad.abs().sum() > 0, name
        assert all(parameter.grad is None for parameter in lmac.classifier.parameters())

    def test_silence_gives_a_finite_loss_and_passes_no_gate(self):
        prediction, terms = training_step(small(guidance="binary", gate=0.0001), torch.zeros(2, 6000))
        assert torch.isfinite(prediction.mask).all()
        assert torch.isfinite(terms["loss"])
        assert terms["gate"].item() == 0.0


def test_similarity_by_hand():
    first = torch.tensor([[[3.0, 0.0]], [[1.0, 1.0]], [[0.0, 0.0]]], requires_grad=True)
    second = torch.tensor([[[3.0, 4.0]], [[2.0, 2.0]], [[1.0, 2.0]]])
    cosine = similarity(first, second)
    torch.testing.assert_close(cosine, torch.tensor([0.6, 1.0, 0.0], dtype=torch.float64))
    assert not cosine.requires_grad


def test_class_gains_begin_as_none_and_let_the_class_decide():
    plain, gained = small().eval(), small(class_gains=True).eval()
    gained.load_state_dict(plain.state_dict() | {"psi.gains.weight": gained.psi.gains.weight})
    wavs = noise(2, 6000)
    for target in range(3):
        assert torch.equal(gained.explain(wavs, target=target).mask, plain.explain(wavs, target=target).mask)
    with torch.no_grad():
        gained.psi.gains.weight[1] = noise(24)
    assert torch.equal(gained.explain(wavs, target=0).mask, plain.explain(wavs).mask)
    assert not torch.equal(gained.explain(wavs, target=1).mask, plain.explain(wavs).mask)
    # Clip by clip: each with the gains of its own class.
    mixed = gained.explain(wavs, target=torch.tensor([1, 0])).mask
    assert torch.equal(mixed[0], gained.explain(wavs, target=1).mask[0])
    assert torch.equal(mixed[1], plain.explain(wavs).mask[1])


def test_it_learns_what_the_classifier_listens_to():
    """A few steps raise what is kept of the answer and lower the area: the signs of the terms are right."""
    torch.manual_seed(0)
    lmac = small(l1_weight=1.0).train()
    wavs = torch.cat([torch.sin(torch.arange(8000) * f)[None] for f in (0.1, 0.4, 1.1, 2.2)]) + 0.1 * noise(4, 8000)
    optimizer = torch.optim.Adam(lmac.parameters(), lr=0.01)
    losses = []
    for _ in range(30):
        terms = training_step(lmac, wavs)[1]
        optimizer.zero_grad()
        terms["loss"].backward()
        optimizer.step()
        losses.append(terms["loss"].item())
    assert losses[-1] < losses[0] - 0.3


def test_a_stretched_mask_leaves_out_what_is_nearly_nothing():
    plain, stretched = small(), small(stretch=0.2)
    stretched.load_state_dict(plain.state_dict())
    batch = plain.classifier.analyse(noise(2, 4000))
    with torch.no_grad():
        for method in (plain, stretched):
            method.eval().psi.decoder.logits.bias -= 2.0  # about an eighth of each bin
        masks = [method(batch).mask for method in (plain, stretched)]
    torch.testing.assert_close(masks[1], (1.4 * masks[0] - 0.2).clamp(0, 1))
    assert float((masks[1] == 0).double().mean()) > 0
    assert float((masks[0] == 0).double().mean()) == 0


def test_the_network_is_that_of_the_settings():
    assert isinstance(small().psi, CompactDecoder)
    assert isinstance(LMAC(Cnn14Classifier(LABELS, base_channels=1, emb_dim=32), network="cnn14").psi, PublishedDecoder)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"network": "big"}, "lmac: network is 'big', expected one of compact, cnn14"),
        ({"guidance": "oracle"}, "lmac: guidance is 'oracle', expected one of null, binary, magnitude"),
    ],
)
def test_bad_settings(settings, message):
    with pytest.raises(UserError, match=message):
        LMAC(listening_classifier(LABELS), **settings)
