"""The front end: exact inversion, masks, levels, padding, gradients."""

import math

import numpy as np
import pytest
import torch
from tiny import noise

from interpretability.errors import UserError
from interpretability.frontend import Frontend, FrontendSettings, MaskedPair, apply_mask

RATE = 16000


def snr_db(reference, signal):
    """Signal-to-noise ratio in dB, over everything."""
    noise = (reference - signal).double().square().sum()
    return 10 * math.log10(reference.double().square().sum() / max(float(noise), 1e-300))


@pytest.mark.parametrize("seconds", [0.05, 1.0, 3.3, 5.0, 12.0])
@pytest.mark.parametrize("domain", ["log", "linear"])
def test_a_mask_of_ones_gives_the_sound_back(seconds, domain):
    wav = noise(2, round(seconds * RATE))
    frontend = Frontend()
    spectrogram = frontend.analyse(wav)
    kept = apply_mask(spectrogram.magnitude, torch.ones_like(spectrogram.magnitude), domain)
    sound = frontend.resynthesise(spectrogram, kept)
    assert sound.shape == wav.shape
    assert snr_db(wav, sound) >= 100
    # The last samples are where a window ends, and where published code loses some.
    assert snr_db(wav[:, -186:], sound[:, -186:]) >= 100


@pytest.mark.parametrize("extra", range(0, 186, 37))
def test_every_length_between_two_hops(extra):
    wav = noise(1, 16000 + extra)
    frontend = Frontend()
    spectrogram = frontend.analyse(wav)
    assert snr_db(wav, frontend.resynthesise(spectrogram, spectrogram.magnitude)) >= 100


def test_padding_changes_nothing():
    frontend = Frontend()
    lengths = torch.tensor([80000, 40013, 880, 1])
    batch = noise(4, 80000)
    spectrogram = frontend.analyse(batch, lengths / 80000)
    sound = frontend.resynthesise(spectrogram, spectrogram.magnitude)
    assert spectrogram.lengths.tolist() == lengths.tolist()
    for i, n in enumerate(lengths.tolist()):
        alone = frontend.analyse(batch[i : i + 1, :n])
        frames = alone.magnitude.shape[1]
        assert int(spectrogram.valid[i].sum()) == frames == 1 + n // 186
        torch.testing.assert_close(spectrogram.magnitude[i, :frames], alone.magnitude[0], rtol=0, atol=1e-5)
        assert not spectrogram.magnitude[i, frames:].any()
        assert snr_db(batch[i, :n], sound[i, :n]) >= 100
        assert not sound[i, n:].any()
        mask = torch.rand(1, frames, 513, generator=torch.Generator().manual_seed(i))
        whole = torch.zeros_like(spectrogram.magnitude[i : i + 1])
        whole[:, :frames] = mask
        padded = frontend.resynthesise(spectrogram[[i]], spectrogram.magnitude[[i]] * whole)
        single = frontend.resynthesise(alone, alone.magnitude * mask)
        torch.testing.assert_close(padded[:, :n], single, rtol=0, atol=1e-5)


def test_published_shape():
    assert Frontend().analyse(torch.zeros(1, 80000)).magnitude.shape == (1, 431, 513)
    assert FrontendSettings().win_length == 372
    assert FrontendSettings().hop_length == 186


def test_a_tone_lies_on_its_bin_and_frames_on_their_hops():
    time = torch.arange(RATE) / RATE
    magnitude = Frontend().analyse(torch.sin(2 * math.pi * 3000 * time)[None]).magnitude[0]
    assert (magnitude[5:-5].argmax(1) == round(3000 / (RATE / 1024))).all()
    click = torch.zeros(1, RATE)
    click[0, 40 * 186] = 1
    assert int(Frontend().analyse(click).magnitude[0].sum(1).argmax()) == 40


def test_gradients_reach_the_mask_through_the_sound_even_in_silence():
    frontend = Frontend()
    wav = torch.cat([noise(1, 8000), torch.zeros(1, 8000)])
    spectrogram = frontend.analyse(wav)
    mask = torch.full_like(spectrogram.magnitude, 0.5, requires_grad=True)
    again = frontend.analyse(frontend.resynthesise(spectrogram, apply_mask(spectrogram.magnitude, mask)))
    again.magnitude.sum().backward()
    assert torch.isfinite(mask.grad).all()
    assert mask.grad[0].abs().sum() > 0


def test_inverse_gradient_is_the_numerical_one():
    frontend = Frontend(FrontendSettings(n_fft=64, win_length_ms=3.0, hop_length_ms=1.5))
    spectrogram = frontend.analyse(noise(1, 200))
    direction = noise(*spectrogram.magnitude.shape, seed=1)
    weights = noise(1, 200, seed=2)
    magnitude = spectrogram.magnitude.clone().requires_grad_()
    (frontend.resynthesise(spectrogram, magnitude) * weights).sum().backward()

    def value(step):
        return float((frontend.resynthesise(spectrogram, spectrogram.magnitude + step * direction) * weights).sum())

    numerical = value(0.5) - value(-0.5)  # linear in the magnitude, so any step will do
    assert numerical == pytest.approx(float((magnitude.grad * direction).sum()), rel=1e-4)


class TestApplyMask:
    def test_hand_worked(self):
        magnitude = torch.tensor([[[3.0, 8.0, 0.0]]])
        mask = torch.tensor([[[0.5, 0.0, 0.7]]])
        # (1 + 3) ** 0.5 - 1 = 1
        torch.testing.assert_close(apply_mask(magnitude, mask, "log"), torch.tensor([[[1.0, 0.0, 0.0]]]))
        torch.testing.assert_close(apply_mask(magnitude, mask, "linear"), torch.tensor([[[1.5, 0.0, 0.0]]]))

    def test_against_numpy(self):
        magnitude, mask = noise(2, 5, 7).abs() * 30, torch.rand(2, 5, 7)
        wanted = np.power(1 + magnitude.double().numpy(), mask.double().numpy()) - 1
        np.testing.assert_allclose(apply_mask(magnitude, mask).numpy(), wanted, rtol=1e-5, atol=1e-6)

    def test_callers_tensors_unchanged(self):
        magnitude, mask = torch.rand(1, 2, 3), torch.rand(1, 2, 3)
        before = magnitude.clone(), mask.clone()
        apply_mask(magnitude, mask)
        assert torch.equal(magnitude, before[0])
        assert torch.equal(mask, before[1])

    def test_bad_input(self):
        with pytest.raises(ValueError, match="expected \\(1, 2, 3\\)"):
            apply_mask(torch.rand(1, 2, 3), torch.rand(1, 2, 2))
        with pytest.raises(ValueError, match="domain is 'mel'"):
            apply_mask(torch.rand(1, 2, 3), torch.rand(1, 2, 3), "mel")


class TestLevel:
    def test_peak_is_one_negative_peaks_too_and_silence_stays(self):
        wavs = torch.tensor([[0.1, -0.5, 0.2], [0.0, 0.0, 0.0], [4.0, 1.0, -2.0]])
        levelled = Frontend().clips(wavs).levelled()
        torch.testing.assert_close(levelled.wavs, torch.tensor([[0.2, -1.0, 0.4], [0.0, 0.0, 0.0], [1.0, 0.25, -0.5]]))
        assert torch.equal(levelled.levelled().wavs, levelled.wavs)

    def test_what_lies_beyond_the_clip_does_not_count(self):
        levelled = Frontend().clips(torch.tensor([[0.5, 0.25, 9.0, 9.0]]), torch.tensor([0.5])).levelled()
        assert levelled.wavs.tolist() == [[1.0, 0.5, 0.0, 0.0]]

    def test_none(self):
        assert Frontend(FrontendSettings(level="none")).clips(torch.tensor([[0.5]])).levelled().wavs.tolist() == [[0.5]]


@pytest.mark.parametrize(
    ("wavs", "lengths", "words"),
    [
        (torch.zeros(3), None, "expected \\[B, N\\]"),
        (torch.zeros(1, 0), None, "N >= 1"),
        (torch.zeros(2, 9), torch.tensor([1.0]), "lengths have shape"),
        (torch.zeros(1, 9), torch.tensor([0.0]), "\\(0, 1\\]"),
        (torch.zeros(1, 9), torch.tensor([1.5]), "\\(0, 1\\]"),
    ],
)
def test_malformed_batches(wavs, lengths, words):
    with pytest.raises(ValueError, match=words):
        Frontend().analyse(wavs, lengths)


def test_resynthesise_refuses_another_shape():
    spectrogram = Frontend().analyse(torch.zeros(1, 1600))
    with pytest.raises(ValueError, match="resynthesise"):
        Frontend().resynthesise(spectrogram, spectrogram.magnitude[:, :-1])


#: In common use, and 200 others from 4 to 192 kHz.
RATES = [4000, 8000, 11025, 12000, 16000, 22050, 24000, 32000, 37800, 44056, 44100, 47250, 48000, 50000, 64000]
RATES += [88200, 96000, 128000, 176400, 192000]
OTHERS = np.random.default_rng(0).integers(4000, 192000, 200).tolist()


@pytest.mark.parametrize("rates", [RATES, OTHERS], ids=["common", "random"])
def test_at_every_sampling_rate_analysis_and_back_is_exact(rates):
    """Window and hop are of one duration, in whole samples of any rate, and no rate is refused."""
    for rate in rates:
        settings = FrontendSettings(sample_rate=rate)
        assert abs(settings.win_length - 0.0232199 * rate) <= 0.5
        assert abs(settings.hop_length - 0.0116099 * rate) <= 1
        assert 2 * settings.hop_length <= settings.win_length <= settings.n_fft < max(1025, 2 * settings.win_length)
        frontend, hop = Frontend(settings), settings.hop_length
        # Shorter than a window, and ends just before, at, just after and between the centres of windows.
        for n in (
            (1, hop - 1, 9 * hop - 1, 9 * hop, 9 * hop + 1, 9 * hop + hop // 2) if rates is RATES else (7 * hop + 5,)
        ):
            wav = noise(1, n)
            spectrogram = frontend.analyse(wav)
            assert spectrogram.magnitude.shape == (1, 1 + n // hop, settings.n_bins)
            sound = frontend.resynthesise(spectrogram, spectrogram.magnitude)
            torch.testing.assert_close(sound, wav, rtol=0, atol=1e-5, msg=f"{rate} Hz, {n} samples")
            again = frontend.analyse(sound).magnitude
            torch.testing.assert_close(again, spectrogram.magnitude, rtol=0, atol=1e-4, msg=f"{rate} Hz, {n} samples")


@pytest.mark.parametrize("window", [10.0, 20.0, 23.2199, 32.0, 46.4399])
def test_half_a_window_is_a_hop_at_every_sampling_rate(window):
    for rate in RATES + OTHERS:
        settings = FrontendSettings(sample_rate=rate, win_length_ms=window, hop_length_ms=window / 2)
        assert settings.win_length - 2 * settings.hop_length in (0, 1)


def test_the_fft_holds_the_window_unless_its_size_is_given():
    sizes = {4000: 1024, 16000: 1024, 44100: 1024, 48000: 2048, 88200: 2048, 96000: 4096, 192000: 8192}
    assert {rate: FrontendSettings(sample_rate=rate).n_fft for rate in sizes} == sizes
    assert FrontendSettings(win_length_ms=100.0).n_fft == 2048
    settings = FrontendSettings(sample_rate=48000)
    assert FrontendSettings(**settings.to_dict()) == settings
    for bad in ({"sample_rate": 48000, "n_fft": 1024}, {"win_length_ms": 1e9}, {"win_length_ms": 1e-3}):
        with pytest.raises(UserError, match=r"front end: hop \d+, window \d+, FFT \d+ samples"):
            FrontendSettings(**bad)


@pytest.mark.parametrize("settings", [{}, {"win_length_ms": 20.0, "hop_length_ms": 10.0}, {"sample_rate": 44100}])
def test_the_end_of_a_clip_is_not_lost_whatever_the_hop(settings):
    frontend = Frontend(FrontendSettings(**settings))
    hop = frontend.settings.hop_length
    for n in range(44 * hop - 11, 44 * hop + hop, 29):
        wav = noise(1, n)
        spectrogram = frontend.analyse(wav)
        assert snr_db(wav, frontend.resynthesise(spectrogram, spectrogram.magnitude)) >= 100, n


@pytest.mark.parametrize(
    ("bad", "words"),
    [
        ({"hop_length_ms": 30.0}, "front end: hop 480"),
        ({"hop_length_ms": 15.0}, "front end: hop 240"),
        ({"n_fft": 256}, "FFT 256"),
        ({"level": "rms"}, "level is 'rms', expected one of peak, none"),
        ({"hop_length_ms": 0.0}, "hop_length_ms is 0.0, expected a number > 0"),
    ],
)
def test_settings_that_cannot_be_inverted_are_refused(bad, words):
    with pytest.raises(UserError, match=words):
        FrontendSettings(**bad)


def test_half_precision_around_it_does_not_matter():
    wav = noise(1, 4000)
    frontend = Frontend()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        spectrogram = frontend.analyse(wav)
        sound = frontend.resynthesise(spectrogram, spectrogram.magnitude)
    assert snr_db(wav, sound) >= 100


def test_the_gain_is_what_the_level_rule_divides_by():
    wavs = torch.tensor([[0.5, -2.0, 8.0], [0.0, 0.0, 0.0]])
    lengths = torch.tensor([0.67, 1.0])
    assert Frontend().clips(wavs, lengths).gain.tolist() == [[2.0], [1.0]]  # what is padding does not count
    assert Frontend(FrontendSettings(level="none")).clips(wavs).gain.tolist() == [[1.0], [1.0]]


def test_each_clip_alone_is_what_it_is_without_its_padding():
    frontend, wavs = Frontend(), torch.randn(2, 4000, generator=torch.Generator().manual_seed(0))
    batch = frontend.analyse(wavs, torch.tensor([1.0, 0.5]))
    assert [clip.n_samples for clip in map(batch.clip, (0, 1))] == [4000, 2000]
    for index, n_samples in ((0, 4000), (1, 2000), (-1, 2000)):
        clip, alone = batch.clip(index), frontend.analyse(wavs[index][None, :n_samples])
        assert len(clip) == 1
        assert clip.valid.all()
        torch.testing.assert_close(clip.magnitude, alone.magnitude)
        assert clip.lengths.tolist() == [n_samples]
    with pytest.raises(IndexError):
        batch.clip(2)


@pytest.mark.parametrize("analysed", [False, True])
def test_clips_are_selected_and_cut_with_what_is_known_of_them(analysed):
    frontend = Frontend()
    clips = frontend.clips(noise(3, 4000), torch.tensor([1.0, 0.5, 0.5]))
    if analysed:
        assert clips.spectrogram is clips.spectrogram  # once
    selected, alone = clips[[2, 0]], clips.clip(-1)
    assert torch.equal(selected.wavs, clips.wavs[[2, 0]])
    assert selected.lengths.tolist() == [2000, 4000]
    torch.testing.assert_close(selected.spectrogram.magnitude, clips.spectrogram.magnitude[[2, 0]])
    assert alone.wavs.shape == (1, 2000)
    torch.testing.assert_close(
        alone.spectrogram.magnitude, frontend.analyse(clips.wavs[2:, :2000]).magnitude, rtol=0, atol=1e-5
    )


class TestMaskedPair:
    def clips(self):
        return Frontend().clips(noise(2, 4000), torch.tensor([1.0, 0.6]))

    @pytest.mark.parametrize("domain", ["log", "linear"])
    def test_in_and_out_are_what_the_mask_keeps_and_removes(self, domain):
        clips = self.clips()
        magnitude, mask = clips.spectrogram.magnitude, torch.rand(2, 22, 513)
        pair = MaskedPair.of(clips, mask, domain)
        assert torch.equal(pair.inside, apply_mask(magnitude, mask, domain))
        assert torch.equal(pair.magnitudes[2:], apply_mask(magnitude, 1 - mask, domain))
        frontend, spectrogram = clips.frontend, clips.spectrogram
        for sound, magnitude in ((pair.listenable, pair.inside), (pair.residual, pair.magnitudes[2:])):
            torch.testing.assert_close(sound, frontend.resynthesise(spectrogram, magnitude), rtol=0, atol=1e-6)
        assert pair.clips.lengths.tolist() == [4000, 2400] * 2

    def test_sounds_are_made_when_asked_for_and_once(self, monkeypatch):
        calls = []
        resynthesise = Frontend.resynthesise
        monkeypatch.setattr(Frontend, "resynthesise", lambda *args: calls.append(1) or resynthesise(*args))
        pair = MaskedPair.of(self.clips(), torch.rand(2, 22, 513))
        assert calls == []
        first, _, _ = pair.listenable, pair.residual, pair.clips.spectrogram
        alone = pair.clip(1)
        assert torch.equal(alone.listenable, first[1:, :2400])
        assert torch.equal(alone.residual, pair.residual[1:, :2400])
        assert calls == [1, 1]  # of In, and of Out

    def test_what_is_silent_takes_no_gradient(self):
        spectrogram = self.clips().spectrogram
        magnitude = spectrogram.magnitude.clone()
        magnitude[:, 3:6] = 0
        magnitude.requires_grad_()
        Frontend().resynthesise(spectrogram, magnitude).square().sum().backward()
        assert not magnitude.grad[:, 3:6].any()
        assert magnitude.grad[:, 7:12].any()

    def test_what_is_only_heard_has_magnitudes_and_no_phase(self):
        clips = self.clips()
        heard = MaskedPair.of(clips, torch.rand(2, 22, 513)).clips
        again = clips.frontend.clips(heard.wavs, heard.lengths / heard.wavs.shape[1]).spectrogram
        for some in (heard, heard[[0, 3]], heard.clip(3)):
            assert some.spectrogram.phase is None
        assert torch.equal(heard.spectrogram.magnitude, again.magnitude)
        assert torch.equal(heard.clip(3).spectrogram.magnitude, again.magnitude[3:, :13])
        assert again.phase is not None

    def test_a_clip_of_it_that_was_never_heard(self):
        pair, whole = (MaskedPair.of(self.clips(), torch.full((2, 22, 513), 0.3)) for _ in range(2))
        for index in (0, 1, -1):
            torch.testing.assert_close(
                pair.clip(index).listenable[0], whole.clip(index).listenable[0], rtol=0, atol=1e-6
            )
        assert pair.clip(-1).listenable.shape == (1, 2400)

    def test_another_shape_or_domain_is_refused(self):
        with pytest.raises(ValueError, match="apply_mask: mask is"):
            MaskedPair.of(self.clips(), torch.rand(2, 21, 513))
        with pytest.raises(ValueError, match="domain is 'mel'"):
            MaskedPair.of(self.clips(), torch.rand(2, 22, 513), "mel")
