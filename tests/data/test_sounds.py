"""The sounds of the Synthetic data set: what every clip guarantees, its parts and the classes."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from interpretability.data.sounds import LABELS, SHORTCUT_DB, SHORTCUT_HZ, make_clip
from interpretability.errors import UserError
from interpretability.metrics.localisation import true_mask

RATE = 16000


def spectrogram(x: np.ndarray, n_fft: int = 1024, hop: int = 256) -> np.ndarray:
    """Magnitudes [T, F], by numpy alone."""
    frames = np.lib.stride_tricks.sliding_window_view(x.astype(np.float64), n_fft)[::hop]
    return np.abs(np.fft.rfft(frames * np.hanning(n_fft)))


def hum_excess_db(rest: np.ndarray) -> float:
    """Level of the 6 kHz bin over the bins around it, in dB, from medians over time."""
    power = np.median(spectrogram(rest) ** 2, axis=0)  # [F]
    b = round(SHORTCUT_HZ * 1024 / RATE)
    around = np.median(np.concatenate([power[b - 40 : b - 8], power[b + 9 : b + 41]]))
    return 10 * np.log10(power[b] / around)


@pytest.fixture(scope="module")
def clips():
    return [make_clip(5, "train", index) for index in range(100)]


def test_same_arguments_same_samples():
    one, other = make_clip(1, "test", 13), make_clip(1, "test", 13)
    assert one.parameters == other.parameters
    for part in ("mixture", "target", "rest"):
        assert np.array_equal(getattr(one, part), getattr(other, part))


@pytest.mark.parametrize("arguments", [(2, "test", 13), (1, "valid", 13), (1, "test", 23)])
def test_other_seed_split_or_index_other_samples(arguments):
    assert not np.array_equal(make_clip(1, "test", 13).mixture, make_clip(*arguments).mixture)
    assert not np.array_equal(make_clip(1, "test", 13).rest, make_clip(*arguments).rest)


def test_global_random_state_plays_no_part():
    np.random.seed(0)
    torch.manual_seed(0)
    one = make_clip(1, "train", 4)
    np.random.seed(1)
    before = np.random.get_state()[1].copy()
    assert np.array_equal(one.mixture, make_clip(1, "train", 4).mixture)
    assert np.array_equal(before, np.random.get_state()[1])


def test_classes_take_turns_and_can_be_named(clips):
    assert [clip.label for clip in clips] == list(LABELS) * 10
    assert make_clip(5, "train", 0, label="siren").label == "siren"


def test_another_class_keeps_the_background():
    one, other = make_clip(5, "train", 0), make_clip(5, "train", 0, label="siren")
    assert one.parameters["distractors"] == other.parameters["distractors"]
    for key in ("event_start", "event_stop", "low_hz", "high_hz", "snr_db"):
        assert one.parameters[key] == other.parameters[key]
    cosine = np.dot(one.rest, other.rest) / np.linalg.norm(one.rest) / np.linalg.norm(other.rest)
    assert cosine == pytest.approx(1.0, abs=1e-6)


def test_parts_add_up_exactly(clips):
    for clip in clips:
        assert clip.mixture.dtype == clip.target.dtype == clip.rest.dtype == np.float32
        assert np.array_equal(clip.mixture, clip.target + clip.rest)
        assert np.array_equal(clip.rest, clip.mixture - clip.target)


@pytest.mark.parametrize(("rate", "seconds"), [(16000, 2.0), (22050, 1.3), (44100, 1.0), (16000, 5.0)])
@pytest.mark.parametrize("label", LABELS)
def test_every_class_at_other_rates_and_lengths(label, rate, seconds):
    clip = make_clip(0, "valid", 3, label=label, shortcut=True, sample_rate=rate, seconds=seconds)
    assert clip.mixture.shape == clip.target.shape == clip.rest.shape == (round(seconds * rate),)
    assert np.isfinite(clip.mixture).all()
    assert np.abs(clip.mixture).max() <= 0.9


def test_levels(clips):
    peaks = np.array([np.abs(clip.mixture).max() for clip in clips])
    assert peaks.min() >= 0.0999
    assert peaks.max() <= 0.9
    assert peaks.min() < 0.15
    assert peaks.max() > 0.6
    assert all(np.abs(make_clip(5, "train", i, shortcut=True).mixture).max() <= 0.9 for i in range(20))


def test_target_is_where_and_as_loud_as_it_says(clips):
    for clip in clips:
        drawn = clip.parameters
        start, stop = round(drawn["event_start"] * RATE), round(drawn["event_stop"] * RATE)
        assert not clip.target[: start - 1].any()
        assert not clip.target[stop + 1 :].any()
        ratio = np.mean(clip.target[start:stop] ** 2.0) / np.mean(clip.rest[start:stop] ** 2.0)
        assert 10 * np.log10(ratio) == pytest.approx(drawn["snr_db"], abs=0.1)
        assert -3.01 <= drawn["snr_db"] <= 12.01


def test_times_and_levels_are_spread(clips):
    starts = np.array([clip.parameters["event_start"] for clip in clips])
    levels = 10 * np.log10([np.mean(clip.target**2.0) for clip in clips])
    assert starts.min() < 0.1
    assert starts.max() > 0.9
    assert starts.std() > 0.2
    assert levels.std() > 4.0
    # For no class does the time say which it is: each has early and late events.
    by_class = starts.reshape(10, 10)
    assert (by_class.max(0) - by_class.min(0)).min() > 0.3


def chirp_centroids(label: str, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Slope of the spectral centroid in octaves per second [n], and mean power spectrum of the targets [n, F]."""
    slopes, spectra = [], []
    for index in range(n):
        clip = make_clip(8, "train", index, label=label)
        power = spectrogram(clip.target) ** 2
        active = power.sum(1) > 0.05 * power.sum(1).max()
        centroid = np.log2(power[active] @ np.fft.rfftfreq(1024, 1 / RATE) / power[active].sum(1))
        slopes.append(np.polyfit(np.flatnonzero(active) * 256 / RATE, centroid, 1)[0])
        spectra.append(power.sum(0) / power.sum())
    return np.array(slopes), np.array(spectra)


def test_chirps_differ_in_order_only():
    up, spectra_up = chirp_centroids("chirp_up", 30)
    down, spectra_down = chirp_centroids("chirp_down", 30)
    assert up.min() > 0.5
    assert down.max() < -0.5
    assert np.allclose(up, -down, rtol=0.1)
    overlap = np.minimum(spectra_up.mean(0), spectra_down.mean(0)).sum()
    assert overlap > 0.97


@pytest.mark.slow
def test_bands_overlap_between_all_classes():
    centroids = np.empty((10, 20))
    for c, label in enumerate(LABELS):
        for index in range(20):
            power = (spectrogram(make_clip(9, "train", index, label=label).target) ** 2).sum(0)
            centroids[c, index] = np.log2(power @ np.fft.rfftfreq(1024, 1 / RATE) / power.sum())
    # Octaves: the classes' means lie closer together than the clips of one class.
    assert centroids.mean(1).std() < 0.5 * centroids.std(1).min()


@pytest.mark.parametrize(
    "arguments",
    [
        {"split": "dev"},
        {"label": "violin"},
        {"index": -1},
        {"seed": -1},
        {"seed": 1.5},
        {"sample_rate": 8000},
        {"seconds": 0.2},
        {"seconds": float("nan")},
    ],
)
def test_clip_refuses(arguments):
    with pytest.raises(UserError, match=str(next(iter(arguments)))):
        make_clip(**{"seed": 1, "split": "train", "index": 0, **arguments})


# ------------------------------------------------------------------------------------------------ the true mask


def test_true_mask_lies_in_the_event(clips):
    shares = []
    for clip in clips:
        target, rest = (torch.from_numpy(spectrogram(part)) for part in (clip.target, clip.rest))
        mask = true_mask(target, rest)
        frames = torch.nonzero(mask.any(1)).flatten()
        assert frames[0] * 256 + 1024 >= clip.parameters["event_start"] * RATE
        assert frames[-1] * 256 <= clip.parameters["event_stop"] * RATE
        shares.append(mask.double().mean().item())
    # There is something to find in every clip, and it is the smaller part of the picture.
    assert min(shares) > 0.001
    assert max(shares) < 0.5


# ------------------------------------------------------------------------------------------------ the shortcut


def test_hum_is_all_that_the_shortcut_adds():
    plain, humming = make_clip(4, "train", 7), make_clip(4, "train", 7, shortcut=True)
    assert np.array_equal(plain.target, humming.target)
    assert not plain.parameters["shortcut"]
    assert humming.parameters["shortcut"]
    hum = (humming.rest - plain.rest).astype(np.float64)
    level = np.sqrt(np.mean(hum**2) / np.mean(plain.mixture.astype(np.float64) ** 2))
    assert 20 * np.log10(level) == pytest.approx(SHORTCUT_DB, abs=0.1)
    spectrum = np.abs(np.fft.rfft(hum)) ** 2
    at = np.argmax(spectrum)
    assert np.fft.rfftfreq(len(hum), 1 / RATE)[at] == pytest.approx(SHORTCUT_HZ, abs=1.0)
    assert spectrum[at - 1 : at + 2].sum() > 0.999 * spectrum.sum()


def test_hum_can_be_seen_in_the_rest():
    excess = np.array([hum_excess_db(make_clip(4, "train", i, shortcut=True).rest) for i in range(40)])
    without = np.array([hum_excess_db(make_clip(4, "train", i).rest) for i in range(40)])
    assert np.median(excess) > 8.0
    assert excess.min() > 2.0
    assert np.median(np.abs(without)) < 1.5
