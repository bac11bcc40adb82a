"""The Synthetic data set: sounds made on the spot, for which the true explanation is known.

Every clip is one *target* event of one of ten classes, laid at a random time, in a random band and at a random
level over a *rest*: coloured noise of random slope and one or two distractor sounds that belong to no class. The
target is kept on its own as well, so that the bins in which it dominates (:func:`true_mask`) are known, and an
explanation can be held against them.

Conventions. Frequencies in hertz, times in seconds, levels in decibels, amplitudes with full scale at 1. All events
draw their band and their duration from the same distributions whatever their class, so neither time nor the average
spectrum alone gives the class away: rising and falling chirps differ only in the order of their frames, a buzz is a
harmonic stack whose level throbs.

Samples lie on the grid of 24-bit audio (multiples of 2**-23), on which sums and differences of 32-bit floats are
exact: ``mixture == target + rest`` and ``mixture - target == rest`` hold to the last bit, in memory and on disk.
"""

from __future__ import annotations

import json
import math
import wave
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from interpretability.data.audio import audio_header
from interpretability.data.manifest import DATA_ROOT, BadClips, PreparedData, write_manifest
from interpretability.errors import UserError
from interpretability.files import atomic_folder, write_json, write_json_if_changed

LABELS: tuple[str, ...] = (
    "chirp_up",
    "chirp_down",
    "tone_bursts",
    "click_train",
    "harmonic_stack",
    "am_buzz",
    "noise_bursts",
    "siren",
    "decaying_knocks",
    "fm_trill",
)
SPLITS: tuple[str, ...] = ("train", "valid", "test")

SHORTCUT_HZ = 6000.0
# Relative to the RMS of the whole clip. Faint to the ear, yet a line in the spectrogram: in its own bin (23 ms windows)
# it stands some 12 dB above the rest in the median, and 3 dB to 23 dB from the whitest backgrounds to the darkest.
SHORTCUT_DB = -24.0
SHORTCUT_IN_TEST_FRACTION = 0.5

# Raised whenever the same settings would give other samples, so that an older folder is refused, not mixed in.
_VERSION = 1
_SETTINGS_FILE = "synthetic.json"
_GRID = 2.0**23
_MIN_SAMPLE_RATE = 16000
_MIN_SECONDS = 1.0
_SNR_DB = (-3.0, 12.0)
# Before the hum, which adds at most 9 % (its amplitude is sqrt(2) * 10**(SHORTCUT_DB / 20) of an RMS that is at most
# the peak): the clip with the hum stays below 0.9, and is the clip without it plus the hum, sample by sample.
_PEAK = (0.1, 0.82)


@dataclass(frozen=True)
class SyntheticClip:
    """One clip and the parts it was added up from.

    Attributes
    ----------
    mixture, target, rest : np.ndarray
        [N], float32, full scale at 1. ``mixture == target + rest`` exactly.
    label : str
        One of :data:`LABELS`.
    parameters : dict
        What was drawn for this clip, ready for JSON: ``event_start`` and ``event_stop`` (seconds), ``low_hz`` and
        ``high_hz`` of the event's band, ``snr_db`` of target over rest while the event lasts, ``noise_slope`` (dB per
        octave), ``distractors`` (names), ``peak`` of the mixture before any hum, ``shortcut`` (hum present or not).
    """

    mixture: np.ndarray
    target: np.ndarray
    rest: np.ndarray
    label: str
    parameters: dict[str, Any] = field(default_factory=dict)


# ------------------------------------------------------------------------------------------------ building blocks


def _log_uniform(rng: np.random.Generator, low: float, high: float) -> float:
    return math.exp(rng.uniform(math.log(low), math.log(high)))


def _oscillator(rng: np.random.Generator, frequency: np.ndarray | float, n: int, sample_rate: int) -> np.ndarray:
    """Sine of constant or moving frequency [n] in hertz, starting at a random phase."""
    steps = np.broadcast_to(np.asarray(frequency, dtype=np.float64), (n,)) / sample_rate
    return np.sin(2 * math.pi * (np.cumsum(steps) + rng.uniform()))


def _faded(x: np.ndarray, sample_rate: int, seconds: float = 0.01) -> np.ndarray:
    """Raised-cosine fade at both ends, so that an event does not begin and end with a click of its own."""
    n = min(int(seconds * sample_rate), len(x) // 2)
    ramp = 0.5 - 0.5 * np.cos(math.pi * (np.arange(n) + 0.5) / max(n, 1))
    x = x.copy()
    x[:n] *= ramp
    x[len(x) - n :] *= ramp[::-1]
    return x


def _band_limited(x: np.ndarray, low: float, high: float, sample_rate: int) -> np.ndarray:
    """Keep ``low``..``high`` hertz, with skirts of a third of an octave; zero phase."""
    octaves = np.log2(np.maximum(np.fft.rfftfreq(len(x), 1 / sample_rate), 1.0))
    outside = np.maximum(np.maximum(math.log2(low) - octaves, octaves - math.log2(high)), 0.0)
    gain = np.cos(np.minimum(outside * 3, 1.0) * math.pi / 2) ** 2
    return np.fft.irfft(np.fft.rfft(x) * gain, len(x))


def _coloured_noise(rng: np.random.Generator, n: int, sample_rate: int, db_per_octave: float) -> np.ndarray:
    """Gaussian noise whose power falls by ``db_per_octave`` above 100 Hz; RMS 1."""
    frequency = np.maximum(np.fft.rfftfreq(n, 1 / sample_rate), 100.0)
    gain = (frequency / 100.0) ** (-db_per_octave / (20 * math.log10(2)))
    noise = np.fft.irfft(np.fft.rfft(rng.standard_normal(n)) * gain, n)
    return noise / math.sqrt(float(np.mean(noise**2)))


def _bursts(rng: np.random.Generator, n: int, sample_rate: int) -> np.ndarray:
    """Envelope [n] of regular bursts, 3.5 to 7 a second, each on for 35 to 60 % of its period."""
    rate, duty = rng.uniform(3.5, 7.0), rng.uniform(0.35, 0.6)
    phase = (np.arange(n) / sample_rate * rate) % 1.0
    edge = 0.008 * rate
    return np.clip(np.minimum(phase, duty - phase) / edge, 0.0, 1.0)


def _stack(rng: np.random.Generator, n: int, low: float, high: float, sample_rate: int) -> np.ndarray:
    """Steady harmonics, at least three, of a fundamental of 180 to 400 Hz; those that fall into the band."""
    fundamental = min(_log_uniform(rng, 180.0, 400.0), (high - low) / 3)
    numbers = np.arange(math.ceil(low / fundamental), math.floor(high / fundamental) + 1)
    return sum(rng.uniform(0.5, 1.0) * _oscillator(rng, k * fundamental, n, sample_rate) for k in numbers)


# ------------------------------------------------------------------------------------------------ the ten classes
# Each gets a generator, the number of samples, the band and the rate, and returns [n] at any level.


def _chirp(rng: np.random.Generator, n: int, low: float, high: float, sample_rate: int) -> np.ndarray:
    progress = np.linspace(0.0, 1.0, n) ** math.exp(rng.uniform(-0.3, 0.3))
    return _oscillator(rng, low * (high / low) ** progress, n, sample_rate)


def _chirp_down(rng: np.random.Generator, n: int, low: float, high: float, sample_rate: int) -> np.ndarray:
    # Played backwards: the very same magnitudes on average, in the opposite order.
    return _chirp(rng, n, low, high, sample_rate)[::-1]


def _tone_bursts(rng: np.random.Generator, n: int, low: float, high: float, sample_rate: int) -> np.ndarray:
    return _oscillator(rng, _log_uniform(rng, low, high), n, sample_rate) * _bursts(rng, n, sample_rate)


def _click_train(rng: np.random.Generator, n: int, low: float, high: float, sample_rate: int) -> np.ndarray:
    period = sample_rate / _log_uniform(rng, 10.0, 25.0)
    impulses = np.zeros(n)
    impulses[np.arange(period / 2, n, period).astype(int)] = 1.0
    return _band_limited(impulses, low, high, sample_rate)


def _am_buzz(rng: np.random.Generator, n: int, low: float, high: float, sample_rate: int) -> np.ndarray:
    throb = 0.5 + 0.5 * np.sin(2 * math.pi * (np.arange(n) / sample_rate * rng.uniform(10.0, 22.0) + rng.uniform()))
    return _stack(rng, n, low, high, sample_rate) * throb**1.5


def _noise_bursts(rng: np.random.Generator, n: int, low: float, high: float, sample_rate: int) -> np.ndarray:
    noise = _band_limited(rng.standard_normal(n), low, high, sample_rate)
    return noise * _bursts(rng, n, sample_rate)


def _siren(rng: np.random.Generator, n: int, low: float, high: float, sample_rate: int) -> np.ndarray:
    swing = np.sin(2 * math.pi * (np.arange(n) / sample_rate * rng.uniform(2.0, 4.5) + rng.uniform()))
    return _oscillator(rng, low * (high / low) ** (0.5 + 0.5 * swing), n, sample_rate)


def _decaying_knocks(rng: np.random.Generator, n: int, low: float, high: float, sample_rate: int) -> np.ndarray:
    """Three to seven knocks a second, unevenly spaced, each three free modes that die away in some 30 to 80 ms."""
    modes = [_log_uniform(rng, low, high) for _ in range(3)]
    decay = rng.uniform(0.012, 0.03)
    m = min(int(8 * decay * sample_rate), n)
    time = np.arange(m) / sample_rate
    knock = sum(_oscillator(rng, mode, m, sample_rate) for mode in modes) * np.exp(-time / decay)
    knock *= np.minimum(time / 0.001, 1.0)
    period = sample_rate / rng.uniform(3.0, 7.0)
    out = np.zeros(n + m)
    at = 0.1 * period * rng.uniform()
    while at < n - 0.1 * period:
        out[int(at) : int(at) + m] += rng.uniform(0.6, 1.0) * knock
        at += period * rng.uniform(0.75, 1.25)
    return out[:n]


def _fm_trill(rng: np.random.Generator, n: int, low: float, high: float, sample_rate: int) -> np.ndarray:
    rate, octaves = rng.uniform(9.0, 16.0), rng.uniform(0.12, 0.3)
    swing = np.sin(2 * math.pi * (np.arange(n) / sample_rate * rate + rng.uniform()))
    centre = _log_uniform(rng, low, high)
    return _oscillator(rng, centre * 2.0 ** (octaves * swing), n, sample_rate)


_Event = Callable[[np.random.Generator, int, float, float, int], np.ndarray]
_EVENTS: dict[str, _Event] = {
    "chirp_up": _chirp,
    "chirp_down": _chirp_down,
    "tone_bursts": _tone_bursts,
    "click_train": _click_train,
    "harmonic_stack": _stack,
    "am_buzz": _am_buzz,
    "noise_bursts": _noise_bursts,
    "siren": _siren,
    "decaying_knocks": _decaying_knocks,
    "fm_trill": _fm_trill,
}


# ------------------------------------------------------------------------------------------------ distractors
# Sounds of no class. Each gets a generator, the samples of the clip and the rate, and returns [n] of peak about 1.


def _placed(rng: np.random.Generator, x: np.ndarray, n: int) -> np.ndarray:
    out = np.zeros(n)
    start = int(rng.integers(0, n - len(x) + 1))
    out[start : start + len(x)] = x
    return out


def _steady_tone(rng: np.random.Generator, n: int, sample_rate: int) -> np.ndarray:
    return _faded(_oscillator(rng, _log_uniform(rng, 150.0, 5000.0), n, sample_rate), sample_rate, 0.05)


def _thump(rng: np.random.Generator, n: int, sample_rate: int) -> np.ndarray:
    m = int(rng.uniform(0.1, 0.3) * sample_rate)
    noise = _coloured_noise(rng, m, sample_rate, rng.uniform(0.0, 6.0))
    return _placed(rng, 0.5 * noise * np.exp(-6.0 * np.arange(m) / m) * np.minimum(np.arange(m) / 40.0, 1.0), n)


def _noise_swell(rng: np.random.Generator, n: int, sample_rate: int) -> np.ndarray:
    m = int(rng.uniform(0.4, 0.9) * n)
    low = _log_uniform(rng, 300.0, 3000.0)
    noise = _band_limited(rng.standard_normal(m), low, low * 2.0 ** rng.uniform(0.3, 1.0), sample_rate)
    swell = np.sin(math.pi * np.arange(m) / m) ** 2
    return _placed(rng, 0.4 * swell * noise / math.sqrt(float(np.mean(noise**2))), n)


def _blip(rng: np.random.Generator, n: int, sample_rate: int) -> np.ndarray:
    m = int(rng.uniform(0.06, 0.18) * sample_rate)
    tone = _oscillator(rng, _log_uniform(rng, 300.0, 5000.0), m, sample_rate)
    return _placed(rng, _faded(tone, sample_rate, 0.015), n)


def _bell(rng: np.random.Generator, n: int, sample_rate: int) -> np.ndarray:
    m = int(rng.uniform(0.4, 0.9) * n)
    decay = rng.uniform(0.15, 0.35)
    modes = [_log_uniform(rng, 400.0, 5000.0) for _ in range(4)]
    tone = sum(_oscillator(rng, mode, m, sample_rate) for mode in modes) / len(modes)
    return _placed(rng, _faded(tone * np.exp(-np.arange(m) / sample_rate / decay), sample_rate, 0.003), n)


_DISTRACTORS: dict[str, Callable[[np.random.Generator, int, int], np.ndarray]] = {
    "steady_tone": _steady_tone,
    "thump": _thump,
    "noise_swell": _noise_swell,
    "blip": _blip,
    "bell": _bell,
}


# ------------------------------------------------------------------------------------------------ one clip


def make_clip(
    seed: int,
    split: str,
    index: int,
    label: str | None = None,
    shortcut: bool = False,
    *,
    sample_rate: int = 16000,
    seconds: float = 2.0,
) -> SyntheticClip:
    """Make one clip; the same arguments always give the same samples, whatever else is made.

    The event, the background and the level are drawn from generators of their own: with another ``label`` the same
    background stays, and with ``shortcut`` the same clip gets the hum and nothing else changes.

    Parameters
    ----------
    seed : int
        Of the data set, >= 0.
    split : str
        "train", "valid" or "test".
    index : int
        Number of the clip within its split, >= 0.
    label : str, optional
        One of :data:`LABELS`; by default the classes take turns (``LABELS[index % 10]``).
    shortcut : bool
        Add the faint 6 kHz hum (:data:`SHORTCUT_HZ`, at :data:`SHORTCUT_DB` re the RMS of the clip) to the rest.
    sample_rate : int
        In hertz, >= 16000.
    seconds : float
        Length of the clip, >= 1.

    Returns
    -------
    SyntheticClip
        [N] each with N = round(seconds * sample_rate). Peak of the mixture between 0.1 and 0.9.

    Raises
    ------
    UserError
        For a split, label, number, rate or length outside the ranges above.

    Examples
    --------
    >>> clip = make_clip(seed=1234, split="train", index=7)
    >>> clip.label, clip.mixture.shape, bool((clip.mixture == clip.target + clip.rest).all())
    ('siren', (32000,), True)
    """
    _check_numbers(seed=seed, index=index)
    _check_format(sample_rate, seconds)
    if split not in SPLITS:
        raise UserError(f"Unknown split {split!r} of the Synthetic data: expected one of {', '.join(SPLITS)}.")
    label = LABELS[index % len(LABELS)] if label is None else label
    _check_label(label, "label")

    n = round(seconds * sample_rate)
    sequence = np.random.SeedSequence([seed, SPLITS.index(split), index])
    of_event, of_background, of_level, of_hum = (np.random.default_rng(child) for child in sequence.spawn(4))

    target, span, parameters = _make_target(of_event, label, n, sample_rate)
    rest, described = _make_rest(of_background, n, sample_rate)
    parameters.update(described)

    # The level of the event is set against what there is to hear while it lasts.
    snr_db = of_level.uniform(*_SNR_DB)
    wanted = math.sqrt(float(np.mean(rest[span] ** 2))) * 10 ** (snr_db / 20)
    target *= wanted / math.sqrt(float(np.mean(target[span] ** 2)))
    mixture = target + rest
    peak = _log_uniform(of_level, *_PEAK)
    gain = peak / float(np.max(np.abs(mixture)))
    target, rest = target * gain, rest * gain
    if shortcut:
        level = math.sqrt(float(np.mean((mixture * gain) ** 2))) * 10 ** (SHORTCUT_DB / 20)
        rest = rest + math.sqrt(2) * level * _oscillator(of_hum, SHORTCUT_HZ, n, sample_rate)

    parameters.update(snr_db=round(snr_db, 2), peak=round(peak, 4), shortcut=bool(shortcut))
    target, rest = _on_grid(target), _on_grid(rest)
    return SyntheticClip(mixture=target + rest, target=target, rest=rest, label=label, parameters=parameters)


def _make_target(
    rng: np.random.Generator, label: str, n: int, sample_rate: int
) -> tuple[np.ndarray, slice, dict[str, Any]]:
    """The event alone [n], the samples it lasts for, and what was drawn. One distribution for all classes."""
    duration = rng.uniform(0.7, min(1.3, n / sample_rate - 0.1))
    length = round(duration * sample_rate)
    start = int(rng.integers(0, n - length + 1))
    centre, octaves = _log_uniform(rng, 650.0, 2200.0), rng.uniform(1.0, 2.0)
    low, high = centre * 2.0 ** (-octaves / 2), centre * 2.0 ** (octaves / 2)
    span = slice(start, start + length)
    target = np.zeros(n)
    target[span] = _faded(_EVENTS[label](rng, length, low, high, sample_rate), sample_rate)
    drawn = {
        "event_start": round(start / sample_rate, 4),
        "event_stop": round((start + length) / sample_rate, 4),
        "low_hz": round(low, 1),
        "high_hz": round(high, 1),
    }
    return target, span, drawn


def _make_rest(rng: np.random.Generator, n: int, sample_rate: int) -> tuple[np.ndarray, dict[str, Any]]:
    """Coloured noise of RMS 1 and one or two different distractors [n], and what was drawn."""
    slope = rng.uniform(-1.0, 6.0)
    rest = _coloured_noise(rng, n, sample_rate, slope)
    names = [str(name) for name in rng.choice(list(_DISTRACTORS), size=rng.integers(1, 3), replace=False)]
    for name in names:
        sound = _DISTRACTORS[name](rng, n, sample_rate)
        rest = rest + sound * 10 ** (rng.uniform(-3.0, 9.0) / 20)
    return rest, {"noise_slope": round(slope, 2), "distractors": names}


def _on_grid(x: np.ndarray) -> np.ndarray:
    return (np.round(x * _GRID) / _GRID).astype(np.float32)


# ------------------------------------------------------------------------------------------------ the data set


def prepare_synthetic(
    data_folder: str | Path,
    manifest_folder: str | Path,
    seed: int = 1234,
    n_train: int = 800,
    n_valid: int = 200,
    n_test: int = 200,
    shortcut_class: str | None = None,
    shortcut_fraction: float = 0.95,
    shortcut_in_test: bool = False,
    sample_rate: int = 16000,
    seconds: float = 2.0,
    skip_bad_clips: bool = False,
) -> PreparedData:
    """Make the data set where it does not exist yet, and write its manifests.

    On disk it looks like any other: ``audio/{split}-{index:05d}.wav``, ``targets/`` with the event of each clip alone
    under the same name (both 24-bit), and ``synthetic.json`` with the settings and what was drawn for each clip. The
    folder appears as a whole or not at all, and is left as it is when it was made with the same settings.

    The *shortcut* variant plants something to be found out: a faint 6 kHz hum in ``shortcut_fraction`` of the training
    clips of one class (see :data:`SHORTCUT_DB`), nowhere else, so that a classifier may come to listen to the hum.

    Parameters
    ----------
    data_folder : path
        Where the sounds are, or are to be made.
    manifest_folder : path
        Gets ``train.json``, ``valid.json``, ``test.json`` and ``labels.json``; files that would not change are not
        touched. The entries carry, beyond what every manifest has, ``target_wav`` and the drawn parameters of
        :class:`SyntheticClip`, among them ``shortcut`` (hum or not).
    seed : int
        Of the sounds. Clip i of a split depends on the seed only, not on how many clips are made.
    n_train, n_valid, n_test : int
        Clips per split, >= 10; balanced over the classes to within one clip.
    shortcut_class : str, optional
        One of :data:`LABELS`: make the shortcut variant with this class.
    shortcut_fraction : float
        Of the training clips of ``shortcut_class`` that get the hum, in [0, 1].
    shortcut_in_test : bool
        Add the hum to half of the test clips of every class, to audit a classifier that was trained on the variant.
    sample_rate : int
        In hertz, >= 16000.
    seconds : float
        Length of every clip, >= 1.
    skip_bad_clips : bool
        Leave out and log clips that have gone missing or unreadable since the folder was made, instead of raising.

    Returns
    -------
    PreparedData
        The manifests by split, the data root, the class list and a description (JSON-ready).

    Raises
    ------
    UserError
        If a setting is out of range; if the folder was made with other settings, holds something else, or cannot be
        written; if a clip of an existing folder is missing or unreadable.
    """
    root, manifest_folder = Path(data_folder).expanduser().absolute(), Path(manifest_folder)
    counts = {"train": n_train, "valid": n_valid, "test": n_test}
    _check_numbers(seed=seed)
    _check_format(sample_rate, seconds)
    for split, count in counts.items():
        if not isinstance(count, int) or isinstance(count, bool) or count < len(LABELS):
            raise UserError(f"n_{split} must be a whole number >= {len(LABELS)} (one clip per class), got {count!r}.")
    if shortcut_class is not None:
        _check_label(shortcut_class, "shortcut_class")
    elif shortcut_in_test:
        raise UserError("shortcut_in_test is for the shortcut variant: give shortcut_class as well.")
    if not 0.0 <= shortcut_fraction <= 1.0:
        raise UserError(f"shortcut_fraction must lie between 0 and 1, got {shortcut_fraction!r}.")

    settings: dict[str, Any] = {
        "version": _VERSION,
        "seed": int(seed),
        "n_train": n_train,
        "n_valid": n_valid,
        "n_test": n_test,
        "sample_rate": int(sample_rate),
        "seconds": float(seconds),
        "shortcut_class": shortcut_class,
        # Without a class the fraction has no meaning, and must not make two equal data sets look different.
        "shortcut_fraction": float(shortcut_fraction) if shortcut_class is not None else None,
        "shortcut_in_test": bool(shortcut_in_test),
    }
    clips = _existing_clips(root, settings)
    if clips is None:
        clips = _make_folder(root, settings, counts)

    bad = BadClips(root / _SETTINGS_FILE, skip_bad_clips)
    entries = {split: _good_entries(clips[split], root, settings, bad) for split in SPLITS}
    bad.report(sum(len(members) for members in entries.values()))
    for split, members in entries.items():
        if not members:
            raise UserError(f"{root}: no good clip is left in the {split} split: delete it to have it made again")
    manifests = {split: manifest_folder / f"{split}.json" for split in SPLITS}
    for split, members in entries.items():
        write_manifest(manifests[split], members)
    write_json_if_changed(manifest_folder / "labels.json", list(LABELS))
    description = {
        "name": "Synthetic" if shortcut_class is None else "Synthetic, shortcut",
        "settings": settings,
        "n_clips": {split: len(members) for split, members in entries.items()},
        "n_skipped": len(bad.skipped),
    }
    return PreparedData(
        manifests=manifests, data_root=root, labels=list(LABELS), description=description, skipped=bad.skipped
    )


def _good_entries(
    clips: list[dict[str, Any]], root: Path, settings: dict[str, Any], bad: BadClips
) -> list[dict[str, Any]]:
    """Return the manifest entries of the clips whose two files are there and readable; tell ``bad`` of the others."""
    entries = []
    for clip in clips:
        name = f"{clip['id']}.wav"
        try:
            header = audio_header(root / "audio" / name)
            audio_header(root / "targets" / name)
        except UserError as fault:
            bad.add(clip["id"], f"{fault}; or delete {root} to have it made again")
            continue
        entries.append(
            {
                **clip,
                "wav": f"{DATA_ROOT}/audio/{name}",
                "target_wav": f"{DATA_ROOT}/targets/{name}",
                "duration": header.duration,
                "sample_rate": header.sample_rate,
            }
        )
    return entries


def _has_shortcut(split: str, index: int, settings: dict[str, Any]) -> bool:
    """Whether a clip gets the hum: spread evenly over the clips of its class, so the share does not hang on luck."""
    turn = index // len(LABELS)  # number of the clip within its class
    if settings["shortcut_class"] is None:
        return False
    if split == "train" and LABELS[index % len(LABELS)] == settings["shortcut_class"]:
        return _due(turn, settings["shortcut_fraction"])
    return split == "test" and settings["shortcut_in_test"] and _due(turn, SHORTCUT_IN_TEST_FRACTION)


def _due(turn: int, fraction: float) -> bool:
    # The small number is for products such as 20 * 0.95 that may fall a rounding error short of a whole.
    return math.floor((turn + 1) * fraction + 1e-9) > math.floor(turn * fraction + 1e-9)


def _existing_clips(data_folder: Path, settings: dict[str, Any]) -> dict[str, list[dict[str, Any]]] | None:
    """Return what is known of the clips in the folder, None if there is nothing yet; refuse any other content."""
    if not data_folder.exists():
        return None
    if not data_folder.is_dir():
        raise UserError(f"{data_folder} is a file: give a folder for the Synthetic data.")
    path = data_folder / _SETTINGS_FILE
    if not path.is_file():
        if any(data_folder.iterdir()):
            raise UserError(
                f"{data_folder} holds other files and no {_SETTINGS_FILE}: give a new or an empty folder for the "
                "Synthetic data."
            )
        return None
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        found, clips = dict(content["settings"]), content["clips"]
        clips = {split: list(clips[split]) for split in SPLITS}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path} cannot be read ({error!r}): give another data folder, or delete this one.") from error
    differences = [
        f"{key}={found.get(key)!r} instead of {settings.get(key)!r}"
        for key in sorted(settings.keys() | found.keys())
        if found.get(key) != settings.get(key)
    ]
    if differences:
        raise UserError(
            f"The Synthetic data in {data_folder} were made with {', '.join(differences)}: give another data folder, "
            "or delete this one to have it made again."
        )
    return clips


def _make_folder(
    data_folder: Path, settings: dict[str, Any], counts: dict[str, int]
) -> dict[str, list[dict[str, Any]]]:
    """Make all clips and ``synthetic.json``, as a whole; return what was drawn for each clip, by split."""
    clips: dict[str, list[dict[str, Any]]] = {split: [] for split in SPLITS}
    total = sum(counts.values())
    sample_rate, seconds = settings["sample_rate"], settings["seconds"]
    try:
        with (
            # A link to an empty folder on a larger disk is meant: the folder is replaced, not the link.
            atomic_folder(data_folder.resolve()) as folder,
            tqdm(total=total, desc="Synthetic: making clips", unit="clip", disable=None) as progress,
        ):
            (folder / "audio").mkdir()
            (folder / "targets").mkdir()
            for split, count in counts.items():
                for index in range(count):
                    clip = make_clip(
                        settings["seed"],
                        split,
                        index,
                        shortcut=_has_shortcut(split, index, settings),
                        sample_rate=sample_rate,
                        seconds=seconds,
                    )
                    clip_id = f"{split}-{index:05d}"
                    _write_wav(folder / "audio" / f"{clip_id}.wav", clip.mixture, sample_rate)
                    _write_wav(folder / "targets" / f"{clip_id}.wav", clip.target, sample_rate)
                    clips[split].append({"id": clip_id, "label": clip.label, **clip.parameters})
                    progress.update()
            write_json(folder / _SETTINGS_FILE, {"settings": settings, "clips": clips})
    except OSError as error:
        megabytes = math.ceil(total * 2 * 3 * seconds * sample_rate / 1e6)
        raise UserError(
            f"The Synthetic data could not be written to {data_folder} ({error.strerror or error}): it needs "
            f"{megabytes} MB in a folder that can be written; nothing was left there."
        ) from error
    return clips


def _write_wav(path: Path, x: np.ndarray, sample_rate: int) -> None:
    """Write [N] on the grid as mono 24-bit PCM, without loss.

    By the standard library: it says so when the disk is full, and equal samples give equal bytes (a float file of
    libsndfile carries the time it was written).
    """
    codes = np.round(x.astype(np.float64) * _GRID).astype("<i4")
    with open(path, "wb") as stream, wave.open(stream, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(3)
        file.setframerate(sample_rate)
        file.writeframes(codes.view(np.uint8).reshape(-1, 4)[:, :3].tobytes())


def _check_numbers(**numbers: int) -> None:
    for name, value in numbers.items():
        if not isinstance(value, (int, np.integer)) or isinstance(value, bool) or value < 0:
            raise UserError(f"{name} must be a whole number >= 0, got {value!r}.")


def _check_format(sample_rate: int, seconds: float) -> None:
    if not isinstance(sample_rate, (int, np.integer)) or sample_rate < _MIN_SAMPLE_RATE:
        raise UserError(
            f"sample_rate of the Synthetic data must be a whole number >= {_MIN_SAMPLE_RATE} Hz, got {sample_rate!r}."
        )
    if not isinstance(seconds, (int, float)) or not _MIN_SECONDS <= seconds < math.inf:
        raise UserError(f"seconds of the Synthetic data must be >= {_MIN_SECONDS:g}, got {seconds!r}.")


def _check_label(label: str, name: str) -> None:
    if label not in _EVENTS:
        raise UserError(f"{name} {label!r} is not a class of the Synthetic data: expected one of {', '.join(LABELS)}.")
