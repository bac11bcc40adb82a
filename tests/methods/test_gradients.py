"""Gradient methods: known gradients, quadrature by hand, completeness, sound in between, padding, forms of the mask."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch
from tiny import listening_classifier

from interpretability.classifiers.base import Classifier, ClassifierOutput
from interpretability.errors import UserError
from interpretability.frontend import Frontend, FrontendSettings
from interpretability.methods.gradients import ATTRIBUTIONS, FORMS, Gradients
from interpretability.metrics.sparsity import sparseness
from interpretability.probabilities import log_odds

SMALL = FrontendSettings(sample_rate=8000, n_fft=64, win_length_ms=8.0, hop_length_ms=4.0)  # 33 bins, hop 32
EDGES = (0, 8, 16, 24, 33)
BANDS = ["low", "middle", "high", "top"]


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


def noise(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def analysed(n_clips=2, n_samples=1500, lengths=None):
    return Frontend(SMALL).analyse(noise(n_clips, n_samples), lengths)


def attribute(classifier, spectrogram, target, attribution, **settings):
    return Gradients(classifier, attribution, **settings).attribute(spectrogram, torch.as_tensor(target))


def band(k, like):
    wanted = torch.zeros_like(like)
    wanted[..., EDGES[k] : EDGES[k + 1]] = 1
    return wanted


def plain_gradient(classifier, spectrogram, log_magnitude, target):
    """ds/dX in plain terms, s being ln p - ln(1 - p)."""
    log_magnitude = log_magnitude.detach().requires_grad_()
    logits = classifier.classify(replace(spectrogram, magnitude=torch.expm1(log_magnitude))).logits.double()
    p = logits.softmax(1) if classifier.task == "single" else logits.sigmoid()
    p = p[torch.arange(len(target)), target]
    return torch.autograd.grad((p.log() - (1 - p).log()).sum(), log_magnitude)[0].float()


class TestKnownGradients:
    """A multi-label head that is linear in X: the gradient is the same constant in all bins of the class's band."""

    SLOPE = tuple(4.0 / (47 * (b - a)) for a, b in pairwise(EDGES))  # 47 frames

    @pytest.mark.parametrize("attribution", ["saliency", "smoothgrad"])
    def test_of_the_gradient_itself(self, attribution):
        spectrogram = analysed()
        found = attribute(BandClassifier(), spectrogram, [1, 3], attribution, noise=0.0)
        for clip, k in enumerate((1, 3)):
            expected = self.SLOPE[k] * band(k, found[clip])
            torch.testing.assert_close(found[clip], expected, rtol=1e-5, atol=1e-8)

    @pytest.mark.parametrize("attribution", ["input_x_gradient", "integrated_gradients"])
    def test_times_the_input(self, attribution):
        spectrogram = analysed()
        found = attribute(BandClassifier(), spectrogram, [1, 3], attribution, n_steps=3)
        for clip, k in enumerate((1, 3)):
            expected = self.SLOPE[k] * band(k, found[clip]) * spectrogram.log_magnitude[clip]
            torch.testing.assert_close(found[clip], expected, rtol=1e-4, atol=1e-7)

    def test_other_classes_of_a_single_label_head_count_against(self):
        classifier, spectrogram = BandClassifier("single"), analysed()
        found = attribute(classifier, spectrogram, [2, 2], "input_x_gradient")
        logits = classifier.classify(spectrogram).logits
        others = logits.clone()
        others[:, 2] = -float("inf")
        share = others.softmax(1)  # what each other class has of 1 - p
        for k in range(4):
            factor = torch.ones(2) if k == 2 else -share[:, k]
            expected = self.SLOPE[k] * factor[:, None, None] * spectrogram.log_magnitude * band(k, found)
            torch.testing.assert_close(found * band(k, found), expected, rtol=1e-4, atol=1e-7)

    def test_quadratic_integrated_gradients(self):
        """Of X² the gradient 2X integrates to X on the way from silence: half of input x gradient."""
        spectrogram = analysed()
        classifier = BandClassifier(power=2)
        found = attribute(classifier, spectrogram, [0, 1], "integrated_gradients", n_steps=2)
        twice = attribute(classifier, spectrogram, [0, 1], "input_x_gradient")
        torch.testing.assert_close(found, twice / 2, rtol=1e-4, atol=1e-7)

    def test_quadratic_smoothgrad(self):
        """Of X² it is 2X plus twice the mean of the noise, whose size is known."""
        spectrogram = analysed(1)
        loud = spectrogram.log_magnitude[0] > 0.5 * spectrogram.log_magnitude.max()
        loud &= band(2, loud).bool()
        classifier, slope = BandClassifier(power=2), self.SLOPE[2]
        found = attribute(classifier, spectrogram, [2], "smoothgrad", noise=0.02, n_copies=100)[0]
        deviation = (found / slope - 2 * spectrogram.log_magnitude[0])[loud]
        expected = 2 * 0.02 * float(spectrogram.log_magnitude.max()) / 100**0.5
        assert len(deviation) > 30
        assert float(deviation.std()) == pytest.approx(expected, rel=0.35)

    def test_smoothgrad_takes_the_absolute_value_of_the_mean(self):
        """A gradient whose sign the noise decides all but cancels; the mean of absolute values would not."""

        class Kink(BandClassifier):
            def forward(self, magnitude, valid=None):
                distance = (torch.log1p(magnitude) - 1.0).abs()
                logits = distance.mean((1, 2))[:, None] * torch.ones(4)
                return ClassifierOutput(logits, logits, ())

        spectrogram = analysed(1)
        spectrogram.magnitude.fill_(np.e - 1)  # X = 1, at the kink
        found = attribute(Kink(), spectrogram, [0], "smoothgrad", noise=0.1, n_copies=64)
        slope = 1 / spectrogram.magnitude[0].numel()
        assert float(found.mean()) < 0.2 * slope
        assert float(found.max()) > 0


class TestAgainstPlainGradients:
    @pytest.fixture(params=["single", "multi"])
    def classifier(self, request):
        return listening_classifier(["cat", "dog", "rain"], task=request.param)

    @pytest.fixture
    def spectrogram(self, classifier):
        return classifier.frontend.analyse(noise(2, 9000))

    def test_saliency_and_input_x_gradient(self, classifier, spectrogram):
        log_magnitude, target = spectrogram.log_magnitude, torch.tensor([2, 0])
        gradient = plain_gradient(classifier, spectrogram, log_magnitude, target)
        scale = float(gradient.abs().max())
        found = attribute(classifier, spectrogram, target, "saliency")
        torch.testing.assert_close(found, gradient.abs(), rtol=1e-3, atol=1e-4 * scale)
        found = attribute(classifier, spectrogram, target, "input_x_gradient")
        torch.testing.assert_close(found, gradient * log_magnitude, rtol=1e-3, atol=1e-4 * scale)

    def test_integrated_gradients_by_gauss_legendre(self, classifier, spectrogram):
        log_magnitude, target = spectrogram.log_magnitude, torch.tensor([2, 0])
        nodes, weights = np.polynomial.legendre.leggauss(5)
        mean = sum(
            0.5 * weight * plain_gradient(classifier, spectrogram, log_magnitude * 0.5 * (1 + node), target)
            for node, weight in zip(nodes, weights, strict=True)
        )
        found = attribute(classifier, spectrogram, target, "integrated_gradients", n_steps=5)
        scale = float(found.abs().max())
        torch.testing.assert_close(found, (mean * log_magnitude).float(), rtol=1e-3, atol=1e-3 * scale)

    @pytest.mark.parametrize("task", ["single", "multi"])
    def test_completeness(self, task):
        """The attributions of integrated gradients sum to s(X) - s(silence)."""
        classifier, spectrogram, target = BandClassifier(task, gain=8.0, power=3), analysed(), torch.tensor([1, 2])

        def score(magnitude):
            return log_odds(classifier(magnitude, spectrogram.valid).logits, target, task)

        found = attribute(classifier, spectrogram, target, "integrated_gradients", n_steps=16)
        gap = score(spectrogram.magnitude) - score(torch.zeros_like(spectrogram.magnitude))
        assert float(gap.abs().min()) > 1
        torch.testing.assert_close(found.sum((1, 2)), gap, rtol=1e-4, atol=1e-4)


class TestSound:
    """A classifier that goes back to sound."""

    @pytest.mark.parametrize("attribution", ATTRIBUTIONS)
    def test_padding_batch_and_order(self, attribution):
        classifier = SoundClassifier().freeze()
        lengths = torch.tensor([1.0, 0.53, 0.8])
        wavs = noise(3, 1500)
        method = Gradients(classifier, attribution, n_steps=4, n_copies=3)
        target = torch.tensor([0, 1, 2])
        together = method.attribute(classifier.frontend.analyse(wavs, lengths), target)
        flipped = method.attribute(classifier.frontend.analyse(wavs.flip(0), lengths.flip(0)), target.flip(0))
        for i, length in enumerate(lengths.tolist()):
            clip = classifier.frontend.analyse(wavs[i : i + 1, : round(length * 1500)])
            alone = method.attribute(clip, target[i : i + 1])[0]
            frames = len(alone)
            tolerance = 1e-4 * float(alone.abs().max())
            torch.testing.assert_close(together[i, :frames], alone, rtol=1e-3, atol=tolerance)
            torch.testing.assert_close(flipped[2 - i, :frames], alone, rtol=1e-3, atol=tolerance)
            assert not together[i, frames:].any()

    def test_against_plain_gradients(self):
        classifier, spectrogram = SoundClassifier().freeze(), analysed()
        target = torch.tensor([3, 0])
        gradient = plain_gradient(classifier, spectrogram, spectrogram.log_magnitude, target)
        found = attribute(classifier, spectrogram, target, "saliency")
        torch.testing.assert_close(found, gradient.abs(), rtol=1e-3, atol=1e-4 * float(gradient.abs().max()))


class TestMasks:
    @pytest.mark.parametrize("attribution", ATTRIBUTIONS)
    def test_soft_is_the_positive_part_scaled_per_clip(self, attribution):
        classifier, spectrogram = BandClassifier("single"), analysed(lengths=torch.tensor([1.0, 0.6]))
        method = Gradients(classifier, attribution, n_steps=4, n_copies=4)
        target = torch.tensor([0, 3])
        mask = method.interpret(spectrogram, None, target).mask
        raw = method.attribute(spectrogram, target)
        assert mask.amax((1, 2)).tolist() == [1.0, 1.0]
        assert torch.equal(mask > 0, raw > 0)
        for clip in range(2):
            expected = raw[clip].clamp(min=0) / raw[clip].max()
            torch.testing.assert_close(mask[clip], expected)

    @pytest.mark.parametrize(("form", "percent"), [("top10", 10), ("top20", 20)])
    @pytest.mark.parametrize("attribution", ATTRIBUTIONS)
    def test_top_keeps_an_exact_area_of_the_highest(self, attribution, form, percent):
        classifier = BandClassifier("single")
        spectrogram = analysed(lengths=torch.tensor([1.0, 0.6]))
        method = Gradients(classifier, attribution, form, n_steps=4, n_copies=4)
        target = torch.tensor([0, 3])
        mask, raw = method.interpret(spectrogram, None, target).mask, method.attribute(spectrogram, target)
        assert set(mask.unique().tolist()) == {0.0, 1.0}
        for clip in range(2):
            valid = spectrogram.valid[clip]
            n = int(valid.sum()) * 33
            assert int(mask[clip].sum()) == -(-n * percent // 100)
            assert not mask[clip][~valid].any()
            kept = mask[clip][valid].bool()
            assert raw[clip][valid][kept].min() >= raw[clip][valid][~kept].max()

    @pytest.mark.parametrize("form", FORMS)
    @pytest.mark.parametrize("attribution", ATTRIBUTIONS)
    def test_nothing_to_attribute_is_an_empty_mask(self, attribution, form):
        classifier = BandClassifier(gain=0.0)
        mask = Gradients(classifier, attribution, form, n_steps=2, n_copies=2).explain(noise(2, 1500)).mask
        assert not mask.any()

    def test_the_mask_finds_the_band_of_the_class(self):
        for attribution in ATTRIBUTIONS:
            for k, name in enumerate(BANDS):
                explanation = Gradients(BandClassifier(), attribution, n_copies=4).explain(noise(1, 1500), target=name)
                assert explanation.mask[band(k, explanation.mask) == 0].max() < 1e-6
                assert explanation.mask[band(k, explanation.mask) == 1].max() == 1

    def test_silence_has_no_input_to_be_multiplied_with(self):
        for attribution in ("input_x_gradient", "integrated_gradients"):
            assert not Gradients(BandClassifier(), attribution).explain(torch.zeros(1, 1500)).mask.any()
        # A gradient there is even of silence.
        assert Gradients(BandClassifier(), "saliency").explain(torch.zeros(1, 1500)).mask.any()

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
        method = Gradients(Root(), attribution, form, n_steps=2, n_copies=2)
        interpretation = method.interpret(method.frontend.analyse(wavs), None, torch.tensor([0, 0]))
        assert interpretation.undefined.tolist() == [False, True]
        assert interpretation.mask[0].any()
        assert not interpretation.mask[1].any()
        assert method.explain(wavs).undefined.tolist() == [False, True]

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
        method = Gradients(Root(), attribution, n_steps=2, n_copies=2)
        alone = method.explain(wavs[1:, :600])
        assert alone.undefined.tolist() == [False]
        together = method.explain(wavs, torch.tensor([1.0, 0.4]))
        assert together.undefined.tolist() == [False, False]
        torch.testing.assert_close(together[1].mask, alone.mask, rtol=1e-4, atol=1e-5)

    def test_noise_never_makes_a_magnitude_negative(self):
        lowest = []

        class Seen(BandClassifier):
            def forward(self, magnitude, valid=None):
                lowest.append(float(magnitude.detach().min()))
                return super().forward(magnitude, valid)

        attribute(Seen(), analysed(1), [0], "smoothgrad", noise=0.5, n_copies=4)
        assert lowest
        assert min(lowest) == 0.0

    def test_what_a_threshold_decides_is_said(self):
        classifier = BandClassifier()
        wavs = noise(1, 1500)
        for form in FORMS:
            masks = [Gradients(classifier, "saliency", form).explain(wavs, target=name).mask for name in BANDS]
            found = {round(float(sparseness(mask)), 6) for mask in masks}
            assert ("sps" in Gradients(classifier, form=form).fixed_metrics) == (form != "soft") == (len(found) == 1)


class TestSettings:
    def test_long_clips_in_small_chunks_give_the_same(self, monkeypatch):
        classifier, spectrogram = BandClassifier(power=3), analysed()
        whole = attribute(classifier, spectrogram, [0, 1], "integrated_gradients", n_steps=7)
        monkeypatch.setattr("interpretability.methods.gradients.CHUNK_FRAMES", 2 * 47)
        chunked = attribute(classifier, spectrogram, [0, 1], "integrated_gradients", n_steps=7)
        torch.testing.assert_close(chunked, whole, rtol=1e-4, atol=1e-8)

    def test_smoothgrad_has_a_seed_and_leaves_the_generator_alone(self):
        classifier, spectrogram = BandClassifier(power=2), analysed()
        torch.manual_seed(5)
        before = torch.get_rng_state()
        found = [attribute(classifier, spectrogram, [0, 1], "smoothgrad", seed=seed) for seed in (1, 1, 2)]
        assert torch.equal(torch.get_rng_state(), before)
        assert torch.equal(found[0], found[1])
        assert not torch.allclose(found[0], found[2])

    @pytest.mark.parametrize("attribution", ATTRIBUTIONS)
    def test_gradients_reach_the_input_alone(self, attribution):
        classifier = BandClassifier()
        explanation = Gradients(classifier, attribution, n_copies=2).explain(noise(1, 1500))
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
            ({"seed": -1}, "seed is -1, expected a whole number from 0"),
            ({"seed": 10**30}, "seed is 10"),
        ],
    )
    def test_settings_that_do_not_fit(self, settings, words):
        with pytest.raises(UserError, match=words):
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
