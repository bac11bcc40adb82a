"""Resampling: tones of every rate against the exact sine, by both filters, and where the filter comes from."""

import math

import pytest
import torch
import torchaudio

from interpretability.classifiers.waveform import frontend_for
from interpretability.data.audio import ClipCache, read_audio, write_wav
from interpretability.errors import UserError
from interpretability.frontend import FrontendSettings
from interpretability.resampling import FILTERS, resample, resample_blocks

PAIRS = [(44100, 16000), (48000, 16000), (22050, 16000), (8000, 16000), (16000, 44100), (96000, 32000), (11025, 8000)]


def tone(rate, hz, seconds=0.5):
    return torch.sin(2 * math.pi * hz * torch.arange(round(rate * seconds)).double() / rate)


def accuracy(native, rate, hz, kind):
    """Level of the exact sine over the error, in dB, away from the two ends."""
    got, exact = resample(tone(native, hz).float(), native, rate, kind).double(), tone(rate, hz)
    assert len(got) == math.ceil(native // 2 * rate / native)
    middle = slice(len(exact) // 4, 3 * len(exact) // 4)
    return 10 * math.log10(exact[middle].square().mean() / (got[middle] - exact[middle]).square().mean())


@pytest.mark.parametrize(("native", "rate"), PAIRS)
def test_a_tone_of_any_rate_becomes_the_exact_tone_of_another_in_both_directions(native, rate):
    highest = min(native, rate) / 2
    for share, least in ((0.1, 100), (0.5, 100), (0.8, 94), (0.9, 72)):
        assert accuracy(native, rate, share * highest, "accurate") > least, share


def test_the_published_filter_is_the_default_one_of_torchaudio():
    noise = torch.randn(2, 4410, generator=torch.Generator().manual_seed(0))
    expected = torchaudio.transforms.Resample(44100, 16000)(noise)
    assert torch.equal(resample(noise, 44100, 16000, "published"), expected)
    for hz, least, most in ((4000, 54, 55), (6400, 24, 25), (7200, 12, 13)):
        assert least < accuracy(44100, 16000, hz, "published") < most


@pytest.mark.parametrize("kind", FILTERS)
def test_what_the_lower_rate_cannot_hold_is_gone_not_folded_back(kind):
    folded = resample(tone(48000, 12000.0).float(), 48000, 16000, kind)[2000:-2000]
    assert folded.abs().max() < (1e-5 if kind == "accurate" else 2e-3)


def test_equal_rates_change_nothing():
    wav = torch.randn(10)
    assert resample(wav, 16000, 16000) is wav


def test_a_clip_is_kept_apart_for_each_filter(tmp_path):
    path = tmp_path / "a.wav"
    write_wav(path, tone(44100, 7200.0).float(), 44100)
    clips = {}
    for kind in FILTERS:
        cache = ClipCache(tmp_path / "cache", 16000, resampling=kind)
        clips[kind] = cache.load(path)
        assert torch.equal(cache.load(path), clips[kind])
        assert torch.equal(read_audio(path, 16000, resampling=kind), clips[kind])
    assert (clips["accurate"] - clips["published"]).abs().max() > 0.1
    with pytest.raises(UserError, match="expected one of accurate, published"):
        read_audio(path, 16000, resampling="best")


def test_the_filter_belongs_to_the_front_end_and_is_saved_with_it():
    assert FrontendSettings().resampling == frontend_for(44100).resampling == "accurate"
    saved = FrontendSettings(resampling="published").to_dict()
    assert FrontendSettings.of_saved(saved).resampling == "published"
    assert FrontendSettings.of_saved(FrontendSettings().to_dict()).resampling == "accurate"
    older = {name: value for name, value in saved.items() if name != "resampling"}
    assert FrontendSettings.of_saved(older).resampling == "published"


@pytest.mark.parametrize("kind", FILTERS)
@pytest.mark.parametrize(("native", "rate"), [*PAIRS, (44101, 16000), (16000, 16000)])
def test_blocks_of_any_lengths_are_resampled_as_the_whole(native, rate, kind):
    wav = torch.randn(12_345, generator=torch.Generator().manual_seed(0))
    for sizes in ([12_345], [1, 5000, 44, 7000, 300], [1000] * 12 + [345]):
        got = torch.cat(list(resample_blocks(wav.split(sizes), native, rate, kind)))
        expected = resample(wav, native, rate, kind)
        assert got.shape == expected.shape
        assert torch.allclose(got, expected, atol=2e-6)
    assert list(resample_blocks([], native, rate, kind)) == []
    assert (
        torch.cat(list(resample_blocks([wav[:3]], native, rate, kind))).shape == resample(wav[:3], native, rate).shape
    )
