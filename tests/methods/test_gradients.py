"""Gradient methods: known gradients, quadrature by hand, completeness, sound in between, padding, forms of the mask."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch
from tiny import SMALL, listening_classifier, noise

from interpretability.classifiers.base import AnalysedBatch, Classifier, ClassifierOutput
from interpretability.errors import UserError
from interpretability.methods.attributions import COMPLETE
from interpretability.methods.forms import FORMS
from interpretability.methods.gradients import Gradients
from interpretability.metrics.sparsity import sparseness
from interpretability.probabilities import log_odds

EDGES = (0, 8, 16, 24, 33)
BANDS = ["low", "middle", "high", "top"]
#: Those that need nothing of a network but its gradient; the others are tried in test_attributions.py.
ATTRIBUTIONS = ("saliency", "input_x_gradient", "integrated_gradients", "smoothgrad", "gradient_shap")


class BandClassifier(Classifier):
    """The logit of class k is the mean over valid bins of band k of X to some power: linear in X at 1."""

    NAME = "bands"

    def __init__(self, task="multi", gain=4.0, power=1):
        super().__init__(BANDS, SMALL, task)
        self.gain, self.power = torch.nn.Parameter(torch.tensor(gain)), power

    def forward(self, magnitude, valid=None):
        valid = torch.ones(magnitude.shape[:2]) if valid is None else valid
        log_magnitude = torch.log1p(magnitude) ** self.power
        loudness = torch.stack([log_magnitude[..., a:b].mean(2) for a, b in pairwise(EDGES)], dim=2)  # [B, T, 4]
        logits = self.gain * (loudness * valid[..., None]).sum(1) / valid.sum(1, keepdim=True)
        return ClassifierOutput(logits, logits, (magnitude[:, None],))


class SoundClassifier(Classifier):
    """Takes the sound: the logits are energies of the waveform against fixed patterns."""

    NAME = "sound"

    def __init__(self):
        super().__init__(BANDS, SMALL)
        self.register_buffer("pattern", torch.randn(4, 50, generator=torch.Generator().manual_seed(3)))

    def classify(self, spectrogram):
        wavs = self.frontend.resynthesise(spectrogram, spectrogram.magnitude)  # [B, N], zero beyond a clip's end
        filtered = torch.nn.functional.conv1d(wavs[:, None], self.pattern[:, None], padding=49)  # [B, 4, N + 49]
        logits = filtered.square().sum(2) / spectrogram.lengths[:, None]
        return ClassifierOutput(logits, logits, ())


def analysed(classifier, target, wavs=None, lengths=None):
    """Clips at the level they have, of 47 frames if not given."""
    clips = classifier.frontend.clips(noise(len(target), 1500) if wavs is None else wavs, lengths)
    with torch.no_grad():
        return AnalysedBatch(clips, classifier.classify_sound(clips), torch.as_tensor(target))


def attribute(classifier, batch, attribution, **settings):
    return Gradients(classifier, attribution=attribution, **settings).attribute(batch)


def band(k, like):
    wanted = torch.zeros_like(like)
    wanted[..., EDGES[k] : EDGES[k + 1]] = 1
    return wanted


def plain_gradient(classifier, batch, log_magnitude):
    """ds/dX in plain terms, s being ln p - ln(1 - p)."""
    log_magnitude = log_magnitude.detach().requires_grad_()
    logits = classifier.classify(replace(batch.spectrogram, magnitude=torch.expm1(log_magnitude))).logits.double()
    p = logits.softmax(1) if classifier.task == "single" else logits.sigmoid()
    p = p[torch.arange(len(batch)), batch.target]
    return torch.autograd.grad((p.log() - (1 - p).log()).sum(), log_magnitude)[0].float()


class TestKnownGradients:
    """A multi-label head that is linear in X: the gradient is the same constant in all bins of the class's band."""

    SLOPE = tuple(4.0 / (47 * (b - a)) for a, b in pairwise(EDGES))  # 47 frames

    @pytest.mark.parametrize("attribution", ["saliency", "smoothgrad"])
    def test_of_the_gradient_itself(self, attribution):
        classifier = BandClassifier()
        result = attribute(classifier, analysed(classifier, [1, 3]), attribution, noise=0.0)
        for clip, k in enumerate((1, 3)):
            expected = self.SLOPE[k] * band(k, result[clip])
            torch.testing.assert_close(result[clip], expected, rtol=1e-5, atol=1e-8)

    @pytest.mark.parametrize("attribution", ["input_x_gradient", "integrated_gradients"])
    def test_times_the_input(self, attribution):
        classifier = BandClassifier()
        batch = analysed(classifier, [1, 3])
        result = attribute(classifier, batch, attribution, n_steps=3)
        for clip, k in enumerate((1, 3)):
            expected = self.SLOPE[k] * band(k, result[clip]) * batch.spectrogram.log_magnitude[clip]
            torch.testing.assert_close(result[clip], expected, rtol=1e-4, atol=1e-7)

    def test_other_classes_of_a_single_label_head_count_against(self):
        classifier = BandClassifier("single")
        batch = analysed(classifier, [2, 2])
        result = attribute(classifier, batch, "input_x_gradient")
        others = batch.output.logits.clone()
        others[:, 2] = -float("inf")
        share = others.softmax(1)  # what each other class has of 1 - p
        for k in range(4):
            factor = torch.ones(2) if k == 2 else -share[:, k]
            expected = self.SLOPE[k] * factor[:, None, None] * batch.spectrogram.log_magnitude * band(k, result)
            torch.testing.assert_close(result * band(k, result), expected, rtol=1e-4, atol=1e-7)

    def test_quadratic_integrated_gradients(self):
        """Of X² the gradient 2X integrates to X on the way from silence: half of input x gradient."""
        classifier = BandClassifier(power=2)
        batch = analysed(classifier, [0, 1])
        result = attribute(classifier, batch, "integrated_gradients", n_steps=2)
        twice = attribute(classifier, batch, "input_x_gradient")
        torch.testing.assert_close(result, twice / 2, rtol=1e-4, atol=1e-7)

    def test_quadratic_smoothgrad(self):
        """Of X² it is 2X plus twice the mean of the noise, whose size is known."""
        classifier, slope = BandClassifier(power=2), self.SLOPE[2]
        batch = analysed(classifier, [2])
        log_magnitude = batch.spectrogram.log_magnitude[0]
        loud = log_magnitude > 0.5 * log_magnitude.max()
        loud &= band(2, loud).bool()
        result = attribute(classifier, batch, "smoothgrad", noise=0.02, n_copies=100)[0]
        deviation = (result / slope - 2 * log_magnitude)[loud]
        expected = 2 * 0.02 * float(log_magnitude.max()) / 100**0.5
        assert len(deviation) > 30
        assert float(deviation.std()) == pytest.approx(expected, rel=0.35)

    def test_smoothgrad_takes_the_absolute_value_of_the_mean(self):
        """A gradient whose sign the noise decides all but cancels; the mean of absolute values would not."""

        class Kink(BandClassifier):
            def forward(self, magnitude, valid=None):
                distance = (torch.log1p(magnitude) - 1.0).abs()
                logits = distance.mean((1, 2))[:, None] * torch.ones(4)
                return ClassifierOutput(logits, logits, ())

        classifier = Kink()
        batch = analysed(classifier, [0])
        batch.spectrogram.magnitude.fill_(np.e - 1)  # X = 1, at the kink
        result = attribute(classifier, batch, "smoothgrad", noise=0.1, n_copies=64)
        slope = 1 / batch.spectrogram.magnitude[0].numel()
        assert float(result.mean()) < 0.2 * slope
        assert float(result.max()) > 0


class TestAgainstPlainGradients:
    @pytest.fixture(params=["single", "multi"])
    def classifier(self, request):
        return listening_classifier(["cat", "dog", "rain"], task=request.param)

    @pytest.fixture
    def batch(self, classifier):
        return analysed(classifier, [2, 0], noise(2, 9000))

    def test_saliency_and_input_x_gradient(self, classifier, batch):
        log_magnitude = batch.spectrogram.log_magnitude
        gradient = plain_gradient(classifier, batch, log_magnitude)
        scale = float(gradient.abs().max())
        result = attribute(classifier, batch, "saliency")
        torch.testing.assert_close(result, gradient.abs(), rtol=1e-3, atol=1e-4 * scale)
        result = attribute(classifier, batch, "input_x_gradient")
        torch.testing.assert_close(result, gradient * log_magnitude, rtol=1e-3, atol=1e-4 * scale)

    def test_integrated_gradients_by_gauss_legendre(self, classifier, batch):
        log_magnitude = batch.spectrogram.log_magnitude
        nodes, weights = np.polynomial.legendre.leggauss(5)
        mean = sum(
            0.5 * weight * plain_gradient(classifier, batch, log_magnitude * 0.5 * (1 + node))
            for node, weight in zip(nodes, weights, strict=True)
        )
        result = attribute(classifier, batch, "integrated_gradients", n_steps=5)
        scale = float(result.abs().max())
        torch.testing.assert_close(result, (mean * log_magnitude).float(), rtol=1e-3, atol=1e-3 * scale)

    @pytest.mark.parametrize("task", ["single", "multi"])
    def test_completeness(self, task):
        """The attributions of integrated gradients sum to s(X) - s(silence)."""
        classifier = BandClassifier(task, gain=8.0, power=3)
        batch = analysed(classifier, [1, 2])
        spectrogram = batch.spectrogram

        def score(magnitude):
            return log_odds(classifier(magnitude, spectrogram.valid).logits, batch.target, task)

        result = attribute(classifier, batch, "integrated_gradients", n_steps=16)
        scores = Gradients(classifier, attribution="integrated_gradients", n_steps=16).interpret(batch).scores
        assert float(scores["completeness_gap"].max()) < 1e-4
        gap = score(spectrogram.magnitude) - score(torch.zeros_like(spectrogram.magnitude))
        assert float(gap.abs().min()) > 1
        torch.testing.assert_close(result.sum((1, 2)), gap, rtol=1e-4, atol=1e-4)


class TestCompletenessGap:
    def test_it_is_what_is_missing_of_the_difference(self):
        """Of X^5 one step, at half of X, gives 5 / 16 in place of 1; more steps than 2 are exact."""
        classifier = BandClassifier(power=5)
        batch = analysed(classifier, [0, 3], lengths=torch.tensor([1.0, 0.6]))
        for n_steps, gap in ((1, 11 / 16), (3, 0.0)):
            method = Gradients(classifier, attribution="integrated_gradients", n_steps=n_steps)
            scores = method.interpret(batch).scores
            assert scores["completeness_gap"].tolist() == pytest.approx([gap] * 2, abs=1e-4)

    def test_it_stands_in_the_description_of_a_clip(self):
        method = Gradients(BandClassifier(power=5), attribution="integrated_gradients", n_steps=1)
        scores = method.explain(noise(2, 1500)).describe(1)["scores"]
        assert scores == {"without_gradient": 0, "completeness_gap": pytest.approx(11 / 16, abs=1e-4)}

    def test_where_there_is_no_difference_there_is_no_share_of_it(self):
        method = Gradients(BandClassifier(), attribution="integrated_gradients")
        scores = method.interpret(analysed(method.classifier, [0], torch.zeros(1, 1500))).scores
        assert scores["completeness_gap"].isnan().all()

    @pytest.mark.parametrize("attribution", [name for name in ATTRIBUTIONS if name not in COMPLETE])
    def test_others_have_none(self, attribution):
        method = Gradients(BandClassifier(), attribution=attribution, n_copies=2)
        assert list(method.interpret(analysed(method.classifier, [0])).scores) == ["without_gradient"]


class TestSound:
    """A classifier that goes back to sound."""

    @pytest.mark.parametrize("attribution", ATTRIBUTIONS)
    def test_padding_batch_and_order(self, attribution):
        classifier = SoundClassifier().freeze()
        lengths = torch.tensor([1.0, 0.53, 0.8])
        wavs = noise(3, 1500)
        method = Gradients(classifier, attribution=attribution, n_steps=4, n_copies=3)
        target = torch.tensor([0, 1, 2])
        together = method.attribute(analysed(classifier, target, wavs, lengths))
        flipped = method.attribute(analysed(classifier, target.flip(0), wavs.flip(0), lengths.flip(0)))
        for i, length in enumerate(lengths.tolist()):
            clip = wavs[i : i + 1, : round(length * 1500)]
            alone = method.attribute(analysed(classifier, target[i : i + 1], clip))[0]
            frames = len(alone)
            tolerance = 1e-4 * float(alone.abs().max())
            torch.testing.assert_close(together[i, :frames], alone, rtol=1e-3, atol=tolerance)
            torch.testing.assert_close(flipped[2 - i, :frames], alone, rtol=1e-3, atol=tolerance)
            assert not together[i, frames:].any()

    @pytest.mark.parametrize("attribution", ATTRIBUTIONS)
    def test_the_rest_of_a_batch_does_not_change_the_last_bit(self, attribution):
        """Else nearly equal bins change places, and a thresholded mask with them."""
        classifier = listening_classifier(["cat", "dog", "rain"])
        batch = analysed(classifier, [2, 0, 1], noise(3, 9000), torch.tensor([0.4, 1.0, 0.7]))
        method = Gradients(classifier, attribution=attribution, n_steps=2, n_copies=2)
        together = method.attribute(batch)
        for i, clip in enumerate(batch.alone()):
            alone = method.attribute(clip)[0]
            assert alone.any()
            assert torch.equal(together[i, : len(alone)], alone)

    def test_against_plain_gradients(self):
        classifier = SoundClassifier().freeze()
        batch = analysed(classifier, [3, 0])
        gradient = plain_gradient(classifier, batch, batch.spectrogram.log_magnitude)
        result = attribute(classifier, batch, "saliency")
        torch.testing.assert_close(result, gradient.abs(), rtol=1e-3, atol=1e-4 * float(gradient.abs().max()))


class TestMasks:
    @pytest.mark.parametrize("attribution", ATTRIBUTIONS)
    def test_soft_is_the_positive_part_scaled_per_clip(self, attribution):
        classifier = BandClassifier("single")
        batch = analysed(classifier, [0, 3], lengths=torch.tensor([1.0, 0.6]))
        method = Gradients(classifier, attribution=attribution, form="soft", n_steps=4, n_copies=4)
        mask, raw = method.interpret(batch).mask, method.attribute(batch)
        assert mask.amax((1, 2)).tolist() == [1.0, 1.0]
        assert torch.equal(mask > 0, raw > 0)
        for clip in range(2):
            expected = raw[clip].clamp(min=0) / raw[clip].max()
            torch.testing.assert_close(mask[clip], expected)

    @pytest.mark.parametrize(("form", "percent"), [("top10", 10), ("top20", 20)])
    @pytest.mark.parametrize("attribution", ATTRIBUTIONS)
    def test_top_keeps_an_exact_area_of_the_highest(self, attribution, form, percent):
        classifier = BandClassifier("single")
        batch = analysed(classifier, [0, 3], lengths=torch.tensor([1.0, 0.6]))
        method = Gradients(classifier, attribution=attribution, form=form, n_steps=4, n_copies=4)
        mask, raw = method.interpret(batch).mask, method.attribute(batch)
        assert set(mask.unique().tolist()) == {0.0, 1.0}
        for clip in range(2):
            valid = batch.spectrogram.valid[clip]
            n = int(valid.sum()) * 33
            assert int(mask[clip].sum()) == -(-n * percent // 100)
            assert not mask[clip][~valid].any()
            kept = mask[clip][valid].bool()
            step = 1e-5 * raw[clip].abs().max()  # closer values are ties
            assert raw[clip][valid][kept].min() >= raw[clip][valid][~kept].max() - step

    @pytest.mark.parametrize("form", FORMS)
    @pytest.mark.parametrize("attribution", ATTRIBUTIONS)
    def test_nothing_to_attribute_is_an_empty_mask(self, attribution, form):
        classifier = BandClassifier(gain=0.0)
        method = Gradients(classifier, attribution=attribution, form=form, n_steps=2, n_copies=2)
        assert not method.explain(noise(2, 1500)).mask.any()

    def test_the_mask_finds_the_band_of_the_class(self):
        for attribution in ATTRIBUTIONS:
            method = Gradients(BandClassifier(), attribution=attribution, form="soft", n_copies=4)
            for k, name in enumerate(BANDS):
                explanation = method.explain(noise(1, 1500), target=name)
                assert explanation.mask[band(k, explanation.mask) == 0].max() < 1e-6
                assert explanation.mask[band(k, explanation.mask) == 1].max() == 1

    def test_silence_has_no_input_to_be_multiplied_with(self):
        for attribution in ("input_x_gradient", "integrated_gradients", "gradient_shap"):
            assert not Gradients(BandClassifier(), attribution=attribution).explain(torch.zeros(1, 1500)).mask.any()
        # A gradient there is even of silence.
        assert Gradients(BandClassifier(), attribution="saliency").explain(torch.zeros(1, 1500)).mask.any()

    @pytest.mark.parametrize("form", FORMS)
    @pytest.mark.parametrize("attribution", ATTRIBUTIONS)
    def test_where_there_is_no_gradient_there_is_no_explanation(self, attribution, form):
        class Root(BandClassifier):
            """A root of the energy: at silence its gradient is infinite, and 0 times that is no number."""

            def forward(self, magnitude, valid=None):
                logits = magnitude.square().sum((1, 2)).sqrt()[:, None] * torch.tensor([[1.0, 2.0, 3.0, 4.0]])
                return ClassifierOutput(logits, logits, ())

        wavs = noise(2, 1500)
        wavs[1] = 0
        method = Gradients(Root(), attribution=attribution, form=form, n_steps=2, n_copies=2)
        interpretation = method.interpret(analysed(method.classifier, [0, 0], wavs))
        assert interpretation.undefined.tolist() == [False, True]
        assert interpretation.mask[0].any()
        assert not interpretation.mask[1].any()
        assert method.explain(wavs).undefined.tolist() == [False, True]

    @pytest.mark.parametrize("form", FORMS)
    @pytest.mark.parametrize("attribution", ATTRIBUTIONS)
    @pytest.mark.parametrize("root", ["of a frame", "of a bin"])
    def test_silent_frames_without_a_gradient_leave_the_rest_explained(self, attribution, form, root):
        """Networks that take roots of energies, and clips of which no frame, some, half and all are exactly silent."""

        class Root(BandClassifier):
            def forward(self, magnitude, valid=None):
                valid = torch.ones(magnitude.shape[:2]) if valid is None else valid
                energy = magnitude.square()
                level = energy.sum(2).sqrt() if root == "of a frame" else energy.sqrt().sum(2)
                logits = ((level * valid).sum(1) / valid.sum(1))[:, None] * torch.tensor([[1.0, 2.0, 3.0, 4.0]])
                return ClassifierOutput(logits, logits, (magnitude[:, None],))

        wavs = noise(1, 1500).repeat(4, 1)
        wavs[1, 400:560], wavs[2, 700:], wavs[3] = 0, 0, 0
        method = Gradients(Root(), attribution=attribution, form=form, n_steps=4, n_copies=3, noise=0.0)
        batch = analysed(method.classifier, [3, 3, 3, 3], wavs)
        interpretation = method.interpret(batch)
        silent = ~batch.spectrogram.magnitude.any(2)  # [B, T]
        assert silent.sum(1).tolist() == [0, 3, 24, 47]
        assert interpretation.undefined.tolist() == [False, False, False, True]
        share = interpretation.scores["without_gradient"]
        torch.testing.assert_close(share, silent.double().mean(1))
        # Frame by frame this classifier is the same whatever lies beside it, and so is the explanation of what is loud.
        whole, gap = method.attribute(batch)[:2]
        assert torch.equal(gap.isfinite().all(1), ~silent[1])
        untouched = torch.ones(47, dtype=torch.bool)
        untouched[10:20] = False  # the silent frames, and those that overlap them
        torch.testing.assert_close(gap[untouched], whole[untouched], rtol=1e-4, atol=1e-6)
        if form == "soft":
            assert not interpretation.mask[1][silent[1]].any()
        assert interpretation.mask[:3].any(2).any(1).all()
        assert method.explain(wavs[1:2]).describe()["undefined"] is False

    @pytest.mark.parametrize("attribution", ATTRIBUTIONS)
    def test_no_gradient_in_the_padding_takes_no_explanation_away(self, attribution):
        class Root(BandClassifier):
            """A root of each frame's energy: of padding, which is silent, it has no gradient."""

            def forward(self, magnitude, valid=None):
                valid = torch.ones(magnitude.shape[:2]) if valid is None else valid
                energy = magnitude.square().sum(2).sqrt() * valid
                logits = (energy.sum(1) / valid.sum(1))[:, None] * torch.tensor([[1.0, 2.0, 3.0, 4.0]])
                return ClassifierOutput(logits, logits, ())

        wavs = noise(2, 1500)
        wavs[1, 600:] = 0
        method = Gradients(Root(), attribution=attribution, form="soft", n_steps=2, n_copies=2)
        alone = method.explain(wavs[1:, :600])
        assert alone.undefined.tolist() == [False]
        together = method.explain(wavs, torch.tensor([1.0, 0.4]))
        assert together.undefined.tolist() == [False, False]
        torch.testing.assert_close(together[1].mask, alone.mask, rtol=1e-4, atol=1e-5)

    def test_noise_never_makes_a_magnitude_negative(self):
        lowest = []

        class Recording(BandClassifier):
            def forward(self, magnitude, valid=None):
                lowest.append(float(magnitude.detach().min()))
                return super().forward(magnitude, valid)

        classifier = Recording()
        batch = analysed(classifier, [0])
        lowest.clear()
        attribute(classifier, batch, "smoothgrad", noise=0.5, n_copies=4)
        assert lowest
        assert min(lowest) == 0.0

    def test_what_a_threshold_decides_is_said(self):
        classifier = BandClassifier()
        wavs = noise(1, 1500)
        for form in FORMS:
            method = Gradients(classifier, attribution="saliency", form=form)
            masks = [method.explain(wavs, target=name).mask for name in BANDS]
            values = {round(float(sparseness(mask)), 6) for mask in masks}
            assert ("sps" in method.fixed_metrics) == (form != "soft") == (len(values) == 1)


class TestSettings:
    def test_long_clips_in_small_chunks_give_the_same(self, monkeypatch):
        classifier = BandClassifier(power=3)
        batch = analysed(classifier, [0, 1])
        whole = attribute(classifier, batch, "integrated_gradients", n_steps=7)
        monkeypatch.setattr("interpretability.methods.attributions.CHUNK_FRAMES", 2 * 47)
        chunked = attribute(classifier, batch, "integrated_gradients", n_steps=7)
        torch.testing.assert_close(chunked, whole, rtol=1e-4, atol=1e-8)

    @pytest.mark.parametrize("attribution", ["smoothgrad", "gradient_shap"])
    def test_a_seed_decides_and_the_generators_are_left_alone(self, attribution):
        classifier = BandClassifier(power=2)
        batch = analysed(classifier, [0, 1])
        torch.manual_seed(5)
        np.random.seed(5)
        before, state = torch.get_rng_state(), np.random.get_state()
        results = [attribute(classifier, batch, attribution, seed=seed) for seed in (1, 1, 2)]
        assert torch.equal(torch.get_rng_state(), before)
        assert all(map(np.array_equal, np.random.get_state(), state))
        assert torch.equal(results[0], results[1])
        assert not torch.allclose(results[0], results[2])

    @pytest.mark.parametrize("attribution", ATTRIBUTIONS)
    def test_gradients_reach_the_input_alone(self, attribution):
        classifier = BandClassifier()
        explanation = Gradients(classifier, attribution=attribution, n_copies=2).explain(noise(1, 1500))
        assert classifier.gain.grad is None
        assert not classifier.gain.requires_grad
        assert not explanation.mask.requires_grad
        assert not explanation.spectrogram.magnitude.requires_grad

    @pytest.mark.parametrize(
        ("settings", "words"),
        [
            ({"attribution": "guess"}, "attribution is 'guess', expected one of .*saliency"),
            ({"form": "top30"}, "form is 'top30', expected one of .*top20"),
            ({"n_steps": 0}, "n_steps is 0, expected a whole number >= 1"),
            ({"n_steps": 2.5}, "n_steps is 2.5"),
            ({"n_copies": True}, "n_copies is True"),
            ({"noise": -0.1}, "noise is -0.1, expected a number >= 0"),
            ({"noise": float("nan")}, "noise is nan"),
            ({"apply": "mel"}, "apply is 'mel'"),
            ({"seed": -1}, "seed is -1, expected a whole number >= 0"),
            ({"seed": 10**30}, "seed is 10"),
            ({"layer": "x"}, "layer is 'x', and integrated_gradients looks at none: leave it out"),
        ],
    )
    def test_settings_that_do_not_fit(self, settings, words):
        with pytest.raises(UserError, match=f"gradients: {words}"):
            Gradients(BandClassifier(), **settings)


@pytest.mark.parametrize("task", ["single", "multi"])
def test_log_odds(task):
    logits = noise(5, 3).double()
    target = torch.tensor([0, 2, 1, 1, 0])
    p = (logits.softmax(1) if task == "single" else logits.sigmoid()).gather(1, target[:, None])[:, 0]
    torch.testing.assert_close(log_odds(logits, target, task), (p / (1 - p)).log())


def test_log_odds_of_a_log_softmax_head_are_those_of_its_logits():
    logits, target = noise(5, 3), torch.tensor([0, 2, 1, 1, 0])
    torch.testing.assert_close(log_odds(logits.log_softmax(1), target, "single"), log_odds(logits, target, "single"))
