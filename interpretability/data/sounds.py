"""Synthesised sounds whose true explanation is known: one clip of the Synthetic data set.

Every clip is one *target* event of one of ten classes, laid at a random time, in a random band and at a random
level over a *rest*: coloured noise of random slope and one or two distractor sounds that belong to no class. The
target is kept on its own as well, so that the bins in which it dominates are known, and an explanation can be compared
with them.

Conventions. Frequencies in hertz, times in seconds, levels in decibels, amplitudes with full scale at 1. All events
draw their band and their duration from the same distributions whatever their class, so neither time nor the average
spectrum alone gives the class away: rising and falling chirps differ only in the order of their frames, a buzz is a
harmonic stack whose level throbs.

Samples lie on the grid of 24-bit audio (multiples of 2**-23), on which sums and differences of 32-bit floats are
exact: ``mixture == target + rest`` and ``mixture - target == rest`` hold to the last bit, in memory and on disk.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from interpretability.data.manifest import SPLITS
from interpretability.errors import UserError

SHORTCUT_HZ = 6000.0
# Relative to the RMS of the whole clip. Faint to the ear, yet a line in the spectrogram: in its own bin (23 ms windows)
# it stands some 12 dB above the rest in the median, and 3 dB to 23 dB from the whitest backgrounds to the darkest.
SHORTCUT_DB = -24.0
#: Steps of 24-bit audio from 0 to full scale.
GRID = 2.0**23

_MIN_SAMPLE_RATE = 16000
_MIN_SECONDS = 1.0
#: From which the level of a target over the rest is drawn, in dB, while the target lasts.
SNR_DB = (-3.0, 12.0)
#: From which the peak of a mixture is drawn,
# before the hum, which adds at most 9 % (its amplitude is sqrt(2) * 10**(SHORTCUT_DB / 20) of an RMS that is at most
# the peak): the clip with the hum stays below 0.9, and is the clip without it plus the hum, sample by sample.
PEAK = (0.1, 0.82)


@dataclass(frozen=True)
class SyntheticClip:
    """One clip and the parts that it is the sum of.

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


def log_uniform(rng: np.random.Generator, low: float, high: float) -> float:
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
    fundamental = min(log_uniform(rng, 180.0, 400.0), (high - low) / 3)
    numbers = np.arange(math.ceil(low / fundamental), math.floor(high / fundamental) + 1)
    return sum(rng.uniform(0.5, 1.0) * _oscillator(rng, k * fundamental, n, sample_rate) for k in numbers)


# ------------------------------------------------------------------------------------------------ the ten classes
# Each gets a generator, the number of samples, the band and the rate, and returns [n] at any level.


def _chirp(rng: np.random.Generator, n: int, low: float, high: float, sample_rate: int) -> np.ndarray:
    progress = np.linspace(0.0, 1.0, n) ** math.exp(rng.uniform(-0.3, 0.3))
    return _oscillator(rng, low * (high / low) ** progress, n, sample_rate)


def _chirp_down(rng: np.random.Generator, n: int, low: float, high: float, sample_rate: int) -> np.ndarray:
    # Played backwards: the same magnitudes on average, in the opposite order.
    return _chirp(rng, n, low, high, sample_rate)[::-1]


def _tone_bursts(rng: np.random.Generator, n: int, low: float, high: float, sample_rate: int) -> np.ndarray:
    return _oscillator(rng, log_uniform(rng, low, high), n, sample_rate) * _bursts(rng, n, sample_rate)


def _click_train(rng: np.random.Generator, n: int, low: float, high: float, sample_rate: int) -> np.ndarray:
    period = sample_rate / log_uniform(rng, 10.0, 25.0)
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
    modes = [log_uniform(rng, low, high) for _ in range(3)]
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
    centre = log_uniform(rng, low, high)
    return _oscillator(rng, centre * 2.0 ** (octaves * swing), n, sample_rate)


_Generator = Callable[[np.random.Generator, int, float, float, int], np.ndarray]
_EVENTS: dict[str, _Generator] = {
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
#: The classes, in the order of their indices.
LABELS: tuple[str, ...] = tuple(_EVENTS)


# ------------------------------------------------------------------------------------------------ distractors
# Sounds of no class. Each gets a generator, the samples of the clip and the rate, and returns [n] of peak about 1.


def _placed(rng: np.random.Generator, x: np.ndarray, n: int) -> np.ndarray:
    out = np.zeros(n)
    start = int(rng.integers(0, n - len(x) + 1))
    out[start : start + len(x)] = x
    return out


def _steady_tone(rng: np.random.Generator, n: int, sample_rate: int) -> np.ndarray:
    return _faded(_oscillator(rng, log_uniform(rng, 150.0, 5000.0), n, sample_rate), sample_rate, 0.05)


def _thump(rng: np.random.Generator, n: int, sample_rate: int) -> np.ndarray:
    m = int(rng.uniform(0.1, 0.3) * sample_rate)
    noise = _coloured_noise(rng, m, sample_rate, rng.uniform(0.0, 6.0))
    return _placed(rng, 0.5 * noise * np.exp(-6.0 * np.arange(m) / m) * np.minimum(np.arange(m) / 40.0, 1.0), n)


def _noise_swell(rng: np.random.Generator, n: int, sample_rate: int) -> np.ndarray:
    m = int(rng.uniform(0.4, 0.9) * n)
    low = log_uniform(rng, 300.0, 3000.0)
    noise = _band_limited(rng.standard_normal(m), low, low * 2.0 ** rng.uniform(0.3, 1.0), sample_rate)
    swell = np.sin(math.pi * np.arange(m) / m) ** 2
    return _placed(rng, 0.4 * swell * noise / math.sqrt(float(np.mean(noise**2))), n)


def _blip(rng: np.random.Generator, n: int, sample_rate: int) -> np.ndarray:
    m = int(rng.uniform(0.06, 0.18) * sample_rate)
    tone = _oscillator(rng, log_uniform(rng, 300.0, 5000.0), m, sample_rate)
    return _placed(rng, _faded(tone, sample_rate, 0.015), n)


def _bell(rng: np.random.Generator, n: int, sample_rate: int) -> np.ndarray:
    m = int(rng.uniform(0.4, 0.9) * n)
    decay = rng.uniform(0.15, 0.35)
    modes = [log_uniform(rng, 400.0, 5000.0) for _ in range(4)]
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
    check_format(sample_rate, seconds)
    of_event, of_background, of_level, of_hum = generators(seed, split, index, 4)
    label = LABELS[index % len(LABELS)] if label is None else label
    check_label(label, "label")

    n = round(seconds * sample_rate)

    event = make_event(of_event, label, n, sample_rate)
    rest, background = make_rest(of_background, n, sample_rate)
    snr_db = of_level.uniform(*SNR_DB)
    target = event.over(rest, snr_db)
    mixture = target + rest
    peak = log_uniform(of_level, *PEAK)
    gain = peak / float(np.max(np.abs(mixture)))
    target, rest = target * gain, rest * gain
    if shortcut:
        rms = math.sqrt(float(np.mean((mixture * gain) ** 2))) * 10 ** (SHORTCUT_DB / 20)
        rest = rest + math.sqrt(2) * rms * _oscillator(of_hum, SHORTCUT_HZ, n, sample_rate)

    level = {"snr_db": round(snr_db, 2), "peak": round(peak, 4), "shortcut": bool(shortcut)}
    parameters = {**event.parameters, **background, **level}
    target, rest = on_grid(target), on_grid(rest)
    return SyntheticClip(mixture=target + rest, target=target, rest=rest, label=label, parameters=parameters)


def generators(seed: int, split: str, index: int, count: int) -> tuple[np.random.Generator, ...]:
    """Return independent generators of one clip; the first ones are the same however many are asked for."""
    check_whole_numbers(seed=seed, index=index)
    if split not in SPLITS:
        raise UserError(f"Unknown split {split!r} of the Synthetic data: expected one of {', '.join(SPLITS)}.")
    sequence = np.random.SeedSequence([seed, SPLITS.index(split), index])
    return tuple(np.random.default_rng(child) for child in sequence.spawn(count))


@dataclass(frozen=True)
class Event:
    """The event alone [n], the samples it lasts for, and what was drawn."""

    sound: np.ndarray
    span: slice
    parameters: dict[str, Any]

    def over(self, rest: np.ndarray, snr_db: float) -> np.ndarray:
        """Return the event [n] at a level in dB relative to that of the rest [n] while it lasts."""
        wanted = math.sqrt(float(np.mean(rest[self.span] ** 2))) * 10 ** (snr_db / 20)
        return self.sound * (wanted / math.sqrt(float(np.mean(self.sound[self.span] ** 2))))


def make_event(rng: np.random.Generator, label: str, n: int, sample_rate: int, beside: slice | None = None) -> Event:
    """Draw an event: from one distribution for all classes; ``beside`` another one, half of the shorter together."""
    duration = rng.uniform(0.7, min(1.3, n / sample_rate - 0.1))
    length = round(duration * sample_rate)
    earliest, latest = 0, n - length
    if beside is not None:
        shared = min(length, beside.stop - beside.start) // 2
        earliest, latest = max(0, beside.start + shared - length), min(latest, beside.stop - shared)
    start = int(rng.integers(earliest, latest + 1))
    centre, octaves = log_uniform(rng, 650.0, 2200.0), rng.uniform(1.0, 2.0)
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
    return Event(target, span, drawn)


def make_rest(rng: np.random.Generator, n: int, sample_rate: int) -> tuple[np.ndarray, dict[str, Any]]:
    """Coloured noise of RMS 1 and one or two different distractors [n], and what was drawn."""
    slope = rng.uniform(-1.0, 6.0)
    rest = _coloured_noise(rng, n, sample_rate, slope)
    names = [str(name) for name in rng.choice(list(_DISTRACTORS), size=rng.integers(1, 3), replace=False)]
    for name in names:
        sound = _DISTRACTORS[name](rng, n, sample_rate)
        rest = rest + sound * 10 ** (rng.uniform(-3.0, 9.0) / 20)
    return rest, {"noise_slope": round(slope, 2), "distractors": names}


def on_grid(x: np.ndarray) -> np.ndarray:
    return (np.round(x * GRID) / GRID).astype(np.float32)


def check_whole_numbers(**numbers: int) -> None:
    """Refuse what is not a whole number >= 0."""
    for name, value in numbers.items():
        if not isinstance(value, (int, np.integer)) or isinstance(value, bool) or value < 0:
            raise UserError(f"{name} must be a whole number >= 0, got {value!r}.")


def check_format(sample_rate: int, seconds: float) -> None:
    """Refuse a rate (Hz) or a length (s) that is too small."""
    if not isinstance(sample_rate, (int, np.integer)) or sample_rate < _MIN_SAMPLE_RATE:
        raise UserError(
            f"sample_rate of the Synthetic data must be a whole number >= {_MIN_SAMPLE_RATE} Hz, got {sample_rate!r}."
        )
    if not isinstance(seconds, (int, float)) or not _MIN_SECONDS <= seconds < math.inf:
        raise UserError(f"seconds of the Synthetic data must be >= {_MIN_SECONDS:g}, got {seconds!r}.")


def check_label(label: str, name: str) -> None:
    """Refuse what is not a class; ``name`` is that of the setting."""
    if label not in _EVENTS:
        raise UserError(f"{name} {label!r} is not a class of the Synthetic data: expected one of {', '.join(LABELS)}.")
