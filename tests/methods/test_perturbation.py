"""Parts that are removed, and answers to the rest: patches, budgets, removal, padding, classifiers of all kinds."""

import io
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from tiny import SMALL, LoudnessDetector, noise

from interpretability.classifiers import open_classifier
from interpretability.classifiers.base import Classifier, ClassifierOutput
from interpretability.errors import UserError
from interpretability.frontend import FrontendSettings, apply_mask
from interpretability.methods import METHODS
from interpretability.methods.perturbation import Patches, Perturbation, background
from interpretability.methods.rise import RISE

KINDS = [kind for kind in METHODS.values() if issubclass(kind, Perturbation)]
FEW = {"calls": 12, "times": 3, "bands": 2}


def detector(n_frames=40, low=8, high=16):
    """Hears the bins low to high of all frames."""
    weights = torch.zeros(n_frames, SMALL.n_bins)
    weights[:, low:high] = 0.02
    return LoudnessDetector(weights, offset=1.0).freeze()


def analysed(classifier, *sizes, seed=0):
    """Analyse noise of so many samples each, padded to the longest."""
    lengths = torch.tensor(sizes) / max(sizes)
    return classifier.analyse(noise(len(sizes), max(sizes), seed=seed), lengths, target=0)


class TestPatches:
    def test_every_bin_is_in_one_patch(self):
        patches = Patches.of(20, SMALL, 3, 4)
        numbers = torch.arange(patches.count).view(1, *patches.shape)
        spread = patches.spread(numbers)[0]
        assert spread.shape == (20, SMALL.n_bins)
        assert spread.unique().tolist() == list(range(patches.count))
        assert (spread.diff(dim=0) >= 0).all()
        assert (spread.diff(dim=1) >= 0).all()

    def test_bands_are_equally_high_in_mel(self):
        settings = FrontendSettings()
        edges = torch.tensor(Patches.of(10, settings, 2, 8).band_edges)
        hertz = edges * settings.sample_rate / settings.n_fft
        mels = 2595 * torch.log10(1 + hertz / 700)
        assert mels.diff() == pytest.approx(torch.full((8,), 2840.02 / 8), abs=15)  # a bin is 16 Hz

    def test_no_more_than_frames_and_bins(self):
        assert Patches.of(1, SMALL, 16, 12).shape[0] == 1
        patches = Patches.of(5, SMALL, 16, 1000)
        assert patches.shape[0] == 5
        assert patches.shape[1] <= SMALL.n_bins
        assert all(a < b for a, b in zip(patches.band_edges, patches.band_edges[1:], strict=False))

    def test_loudness_is_relative_to_the_highest_of_each_patch(self):
        patches = Patches((0, 2, 3), (0, 1, 3))
        loud = torch.tensor([[1.0, 4.0, 2.0], [2.0, 0.0, 1.0], [0.0, 3.0, 6.0]])
        expected = [[0.5, 1.0, 0.5], [1.0, 0.0, 0.25], [0.0, 0.5, 1.0]]  # bin 0 of frame 2: a silent patch
        assert patches.loudness(loud).tolist() == expected

    def test_values_lie_at_the_centres_and_are_interpolated_between_them(self):
        patches = Patches((0, 5, 10), (0, 3, 6))
        smooth = patches.smooth(torch.tensor([[0.0, 6.0], [10.0, 16.0]]))
        assert smooth[2, 1] == 0
        assert smooth[7, 4] == 16
        assert smooth[3, 1] == pytest.approx(2)
        assert smooth[2, 2] == pytest.approx(2)
        assert smooth[9, 0] == 10


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.NAME)
class TestEveryMethod:
    def test_finds_the_band_that_is_heard(self, kind):
        """Loudness in one band is all that counts: there the mask is, with a budget that suffices for any of them."""
        classifier = detector()
        batch = analysed(classifier, 1200)
        settings = {"sizes": [1]} if kind.NAME == "occlusion" else {}  # larger windows reach farther
        values = kind(classifier, calls=300, times=3, bands=5, **settings).attribute(batch)[0].mean(0)  # [F]
        assert 8 <= int(values.argmax()) < 16
        assert values[9:15].mean() > 5 * values[24:].abs().mean()

    def test_keeps_its_budget_in_batches_that_bound_the_memory(self, kind):
        classifier = detector(2000)
        batch = analysed(classifier, 32 * 1500)  # 1501 frames: two at once
        classifier.asked.clear()
        kind(classifier, **FEW).interpret(batch)
        assert 0 < sum(classifier.asked) <= 12
        assert max(classifier.asked) <= 2

    @pytest.mark.parametrize("calls", [2, 3, 5])
    def test_a_budget_below_the_number_of_patches(self, kind, calls):
        classifier = detector()
        batch = analysed(classifier, 1200)
        classifier.asked.clear()
        mask = kind(classifier, calls=calls, times=4, bands=4, form="soft").interpret(batch).mask
        assert sum(classifier.asked) <= calls
        assert mask.isfinite().all()

    def test_one_frame(self, kind):
        explanation = kind(detector(), **FEW).explain(noise(1, 20))
        assert explanation.mask.shape == (1, 1, SMALL.n_bins)

    def test_silence_is_not_asked_about(self, kind):
        classifier = detector()
        batch = analysed(classifier, 1200)
        silent = classifier.analyse(torch.zeros(1, 1200), target=0)
        classifier.asked.clear()
        assert not kind(classifier, **FEW).interpret(silent).mask.any()
        assert not classifier.asked
        assert kind(classifier, **FEW).interpret(batch).mask.any()

    @pytest.mark.parametrize("form", ["top10", "soft"])
    def test_batch_and_padding_change_no_mask(self, kind, form):
        batch = analysed(detector(), 1200, 700, 20)
        method = kind(detector(), **FEW, form=form)
        together = method.interpret(batch).mask
        for number, clip in enumerate(batch.alone()):
            alone = method.interpret(clip).mask[0]
            assert torch.equal(together[number, : len(alone)], alone)
            assert not together[number, len(alone) :].any()

    @pytest.mark.parametrize("form", ["top10", "soft"])
    def test_what_counts_in_a_patch_is_where_its_sound_is(self, kind, form):
        """A patch that counts is mostly silence: weighted, the mask keeps the sound in it, else all of it alike."""
        classifier = detector(200, 0, SMALL.n_bins)
        wavs = torch.zeros(1, 6400)
        wavs[:, 3200:3360] = noise(1, 160)
        batch = classifier.analyse(wavs, target=0)
        loud = batch.spectrogram.magnitude > 0.01 * batch.spectrogram.magnitude.max()
        shares = {}
        for weighting in ("loudness", "none"):
            method = kind(classifier, calls=100, times=3, bands=2, weighting=weighting, form=form)
            mask = method.interpret(batch).mask
            assert mask.isfinite().all()
            shares[weighting] = float(mask[loud].sum() / mask.sum())
        if form == "soft":  # it multiplies the log magnitude anyway
            assert shares["loudness"] == shares["none"]
        else:
            assert shares["loudness"] > 1.5 * shares["none"]

    def test_batch_and_padding_change_nothing_to_the_last_bit(self, kind):
        classifier = detector()
        batch = analysed(classifier, 1200, 700, 20)
        method = kind(classifier, **FEW)
        together = method.attribute(batch)
        for number, clip in enumerate(batch.alone()):
            alone = method.attribute(clip)[0]
            assert torch.equal(together[number, : len(alone)], alone)
            assert not together[number, len(alone) :].any()

    def test_removal_by_background_asks_about_other_sounds(self, kind):
        batch = analysed(detector(), 1200)
        results = [kind(detector(), **FEW, removal=removal).attribute(batch) for removal in ("silence", "background")]
        assert not torch.allclose(*results)

    def test_the_score_is_a_setting(self, kind):
        batch = analysed(detector(), 1200)
        odds, probability = (kind(detector(), **FEW, score=s).attribute(batch) for s in ("log_odds", "probability"))
        assert not torch.allclose(odds, probability)
        assert probability.abs().max() <= 1

    def test_needs_no_gradient(self, kind):
        assert not kind.needs_gradient

    def test_bad_settings(self, kind):
        for name, value, expected in (
            ("calls", 1, "a whole number >= 2"),
            ("times", 0, "a whole number >= 1"),
            ("removal", "noise", "one of silence, background"),
            ("score", "logit", "one of log_odds, probability"),
            ("form", "top5", "one of soft, top10, top20"),
        ):
            with pytest.raises(UserError, match=f"^{kind.NAME}: {name} is .*, expected {expected}"):
                kind(detector(), **{name: value})


class TestAnswers:
    def test_background_takes_the_place_of_what_is_removed(self):
        """With everything removed the classifier hears the background, and with nothing the clip."""
        heard = []

        class Listening(LoudnessDetector):
            def forward(self, magnitude, valid=None):
                heard.append(magnitude)
                return super().forward(magnitude, valid)

        class Both(RISE):
            def values(self, clip, answers):
                loud = clip.spectrogram.magnitude[0]
                answers(torch.stack([torch.zeros_like(loud), torch.ones_like(loud), torch.full_like(loud, 0.5)]))
                return torch.zeros_like(loud)

        for domain in ("log", "linear"):
            classifier = Listening(torch.ones(40, SMALL.n_bins)).freeze()
            batch = analysed(classifier, 1200)
            magnitude = batch.spectrogram.magnitude
            under = background(magnitude)
            Both(classifier, removal="background", apply=domain).interpret(batch)
            nothing, everything, half = heard[-1].split(1)
            torch.testing.assert_close(nothing, under, rtol=1e-4, atol=1e-5)
            torch.testing.assert_close(everything, magnitude, rtol=1e-4, atol=1e-5)
            expected = (magnitude + under) / 2 if domain == "linear" else ((1 + magnitude) * (1 + under)).sqrt() - 1
            torch.testing.assert_close(half, expected, rtol=1e-4, atol=1e-5)
            Both(classifier, apply=domain).interpret(batch)
            assert not heard[-1][0].any()

    def test_background_is_what_a_fifth_of_the_frames_stay_below(self):
        magnitude = torch.arange(11.0)[None, :, None].expand(1, 11, 3).clone()
        assert background(magnitude)[0, :, 0].tolist() == [0, 1, *[2] * 9]

    def test_an_answer_that_is_not_finite_is_refused(self):
        class Failing(LoudnessDetector):
            def forward(self, magnitude, valid=None):
                output = super().forward(magnitude, valid)
                silent = ~magnitude.flatten(1).all(1)
                return replace(output, logits=output.logits.masked_fill(silent[:, None], float("nan")))

        classifier = Failing(torch.ones(40, SMALL.n_bins)).freeze()
        with pytest.raises(UserError, match="gives NaN or infinity for"):
            RISE(classifier, **FEW).interpret(analysed(classifier, 1200))

    def test_single_label_heads_are_asked_about_the_explained_class(self):
        class Two(Classifier):
            NAME = "two"

            def __init__(self):
                super().__init__(["low", "high"], SMALL)

            def forward(self, magnitude, valid=None):
                loud = torch.log1p(magnitude)
                logits = torch.stack([loud[..., :16].mean((1, 2)), loud[..., 16:].mean((1, 2))], 1)
                return ClassifierOutput(logits, logits, ())

        classifier = Two().freeze()
        for target in (0, 1):
            batch = classifier.analyse(noise(1, 1200), target=target)
            values = RISE(classifier, calls=200, times=2, bands=4).attribute(batch)[0].mean(0)
            assert int(values.argmax()) // 16 == target


class TestSounds:
    """A function of waveforms: the masked magnitude reaches it as sound."""

    @pytest.fixture
    def classifier(self, tmp_path, monkeypatch):
        (tmp_path / "a_function_of_sounds.py").write_text(
            "import numpy as np\n"
            "def scores(wavs):\n"
            "    power = np.abs(np.fft.rfft(wavs, n=8000)) ** 2\n"
            "    return np.log(np.stack([power[:, :1500].mean(1), power[:, 1500:].mean(1)], axis=1) + 1e-6)\n",
            encoding="utf-8",
        )
        monkeypatch.syspath_prepend(str(tmp_path))
        yield open_classifier("python:a_function_of_sounds:scores", labels=["low", "high"], sample_rate=8000).freeze()
        sys.modules.pop("a_function_of_sounds", None)

    def test_the_band_is_found(self, classifier):
        seconds = np.arange(8000) / 8000
        sound = np.sin(2 * np.pi * 600 * seconds) + 0.5 * np.sin(2 * np.pi * 3000 * seconds)
        for kind in KINDS:
            explanation = kind(classifier, calls=60, times=2, bands=4).explain(sound.astype(np.float32), target="high")
            edge = round(1500 / 4000 * (explanation.mask.shape[2] - 1))
            assert explanation.mask[0, :, edge:].sum() > 0.9 * explanation.mask.sum(), kind.NAME


def test_what_speaks_against_the_class_comes_last_however_quiet_it_is():
    """One patch for the class, with little sound in it, and one against it."""
    method = RISE(detector(20), times=2, bands=1, form="top10")
    batch = analysed(method.classifier, 1900)
    magnitude = batch.spectrogram.magnitude
    n_frames, half = magnitude.shape[1], magnitude.shape[1] // 2
    magnitude[:, :half, 1:] = 0  # silence in the patch that speaks against
    magnitude[:, half:] = 0
    magnitude[:, half + 1] = 1.0
    values = torch.ones_like(magnitude)
    values[:, :half] = -1
    mask = method.masks_of(values, batch, "top10")[0]
    assert mask[half + 1].sum() == magnitude.shape[2]
    assert mask[:half].sum() == 0
    assert mask.sum() == round(0.1 * n_frames * magnitude.shape[2])


def test_a_progress_bar_on_a_terminal_alone(monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    classifier = detector()
    batch = analysed(classifier, 1200)
    for stream, shows, expected in ((Terminal(), True, True), (Terminal(), False, False), (io.StringIO(), True, False)):
        monkeypatch.setattr(sys, "stderr", stream)
        RISE(classifier, **FEW).show_progress(shows).interpret(batch)
        assert ("12/12" in stream.getvalue() or "rise" in stream.getvalue()) == expected


def test_masks_act_in_the_methods_own_domain():
    """In the linear domain half a mask is half of the magnitude."""
    classifier = LoudnessDetector(torch.ones(40, SMALL.n_bins)).freeze()
    batch = analysed(classifier, 1200)
    logarithmic, linear = (RISE(classifier, **FEW, apply=apply).attribute(batch) for apply in ("log", "linear"))
    assert not torch.allclose(logarithmic, linear)
    half = torch.full_like(batch.spectrogram.magnitude, 0.5)
    assert not torch.allclose(*(apply_mask(batch.spectrogram.magnitude, half, domain) for domain in ("log", "linear")))
