"""One explanation in plain sentences: what is heard, what the explanation retains, when and in which band.

Example: "Heard as chirp_down (0.97). The explanation alone is heard as chirp_down (0.93); without it chirp_down falls
to 0.08. It keeps 12% of the area. For comparison, the loudest 12% alone give chirp_down 0.85 and leave 0.31; a random
12% give 0.02 and leave 0.95. Most of the explanation lies at 0.42–0.81 s, 600–2400 Hz."
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass, field, replace

import numpy as np

from interpretability.events import Event
from interpretability.metrics.regions import shortest_run
from interpretability.names import printable
from interpretability.targets import Phrases

#: Share of the explanation's energy within the named interval, and likewise within the named band.
SHARE = 0.8
#: Begin the sentence about a class that is not the one that is heard, and about what is asked in place of a class.
_EXPLAINED, _ASKED = "The explained class is", "Asked"
#: At most this many classes are named; the others are counted.
MOST_CLASSES = 8


@dataclass(frozen=True)
class Region:
    """When and in which band a sound lies.

    Attributes
    ----------
    start, stop : float
        Seconds.
    low, high : float
        Hz.
    """

    start: float
    stop: float
    low: float
    high: float


@dataclass(frozen=True)
class Remainder:
    """Probability of the explained class for what a mask keeps (``alone``) and for what it removes (``without``)."""

    alone: float
    without: float


@dataclass(frozen=True)
class Heard:
    """Probabilities of the C classes of a classifier.

    Attributes
    ----------
    labels : sequence of str [C]
    probabilities : sequence of float [C]
    task : {"single", "multi"}
        One class is heard, or all whose probability is at least their threshold.
    thresholds : sequence of float [C]
        Of a multi-label classifier.
    """

    labels: Sequence[str]
    probabilities: Sequence[float]
    task: str
    thresholds: Sequence[float]

    @property
    def classes(self) -> list[int]:
        """The classes that are heard, the most probable first; of equal ones, the lowest index first."""
        ranked = sorted(range(len(self.labels)), key=lambda k: -self.probabilities[k])
        if self.task == "single":
            return ranked[:1]
        return [k for k in ranked if self.probabilities[k] >= self.thresholds[k]]

    def named(self, indices: Sequence[int]) -> str:
        """Return classes with their probabilities, in words."""
        shown = [f"{printable(self.labels[k])} ({self.probabilities[k]:.2f})" for k in indices[:MOST_CLASSES]]
        if len(indices) > MOST_CLASSES:
            return f"{', '.join(shown)} and {len(indices) - MOST_CLASSES} more"
        return " and ".join(filter(None, [", ".join(shown[:-1]), shown[-1]]))

    def sentence(self) -> str:
        """Say what is heard."""
        if heard := self.classes:
            return f"Heard as {self.named(heard)}."
        highest = max(range(len(self.labels)), key=lambda k: self.probabilities[k])
        return f"No class is heard; the most probable is {self.named([highest])}."


@dataclass(frozen=True)
class Asked:
    """What is asked in place of a class: how it is spoken of, and the classes of the sound if the model has any."""

    phrases: Phrases
    heard: Heard | None


@dataclass(frozen=True)
class Findings:
    """The facts about one explanation.

    Attributes
    ----------
    labels : sequence of str
        Names of the C classes.
    target : int
        Index of the explained class.
    whole, inside, outside : sequence of float [C]
        Probabilities of the classes for the sound, for the explanation alone, and for the sound without it.
    task : {"single", "multi"}
        Of the classifier: one class is heard, or all whose probability is at least their threshold.
    region : Region, optional
        Where most of the explanation lies (:func:`locate`); None if it keeps nothing.
    silent : bool
        The sound itself is silent.
    undefined : bool
        The method has no explanation for the sound.
    area : float
        Share of the bins that the explanation keeps.
    thresholds : sequence of float [C]
        Of a multi-label classifier.
    baselines : mapping of str to Remainder
        Of masks that keep as much and explain nothing: ``energy`` (the loudest bins) and ``random``; or empty.
    events : sequence of Event
        The one with the largest effect first.
    asked : Asked, optional
        What is asked, where that is not a class of the classifier: the classes here are then those of the answer.
    """

    labels: Sequence[str]
    target: int
    whole: Sequence[float]
    inside: Sequence[float]
    outside: Sequence[float]
    task: str = "single"
    region: Region | None = None
    silent: bool = False
    undefined: bool = False
    area: float = 0.0
    thresholds: Sequence[float] = ()
    baselines: Mapping[str, Remainder] = field(default_factory=dict)
    events: Sequence[Event] = ()
    asked: Asked | None = None

    def heard(self, probabilities: Sequence[float]) -> Heard:
        """Return what is heard where the classes have these probabilities."""
        return Heard(self.labels, probabilities, self.task, self.thresholds)

    @property
    def phrases(self) -> Phrases:
        """How the explained class, or what is asked, is spoken of."""
        label = self.labels[self.target]
        given = Phrases("", "", label) if self.asked is None else self.asked.phrases
        holds, fails = given.holds or f"is heard as {label}", given.fails or f"is not heard as {label}"
        return Phrases(*map(printable, astuple(replace(given, holds=holds, fails=fails))))


def sentences(findings: Findings) -> list[str]:
    """Return the findings in plain words, one sentence per entry.

    Examples
    --------
    >>> dog = Findings(["cat", "dog"], 1, [0.1, 0.9], [0.2, 0.8], [0.75, 0.25], region=Region(0.5, 0.9, 300, 2300))
    >>> print(*sentences(dog), sep="\\n")
    Heard as dog (0.90).
    The explanation alone is heard as dog (0.80); without it dog falls to 0.25.
    Most of the explanation lies at 0.50–0.90 s, 300–2300 Hz.
    """
    target, phrases = findings.target, findings.phrases
    if findings.asked is None:
        whole = findings.heard(findings.whole)
        lines = [whole.sentence()]
        if whole.classes != [target]:
            lines.append(f"{_EXPLAINED} {whole.named([target])}.")
    else:
        lines = [] if findings.asked.heard is None else [findings.asked.heard.sentence()]
        lines.append(f"{_ASKED} {phrases.asks}: {findings.whole[target]:.2f} ({phrases.scale}).")
    if findings.silent:
        return [*lines, "The sound is silent: there is nothing to explain."]
    if findings.undefined:
        no_events = "the empty mask means nothing, and there are no events"
        return [*lines, f"The method has no explanation for this sound; {no_events}."]
    if findings.region is None:
        return [*lines, "The explanation keeps nothing of the sound."]
    inside = findings.heard(findings.inside)
    recognised = target in inside.classes
    alone = f"{phrases.holds if recognised else phrases.fails} ({findings.inside[target]:.2f})"
    if not recognised and inside.classes:
        alone += f", but as {inside.named(inside.classes)}"
    lines.append(f"The explanation alone {alone}; without it {phrases.subject} {_change(findings)}.")
    if not recognised and phrases.holds != phrases.fails:
        lines.append(_warning(findings))
    if findings.baselines:
        lines.append(_compared(findings))
    lines.append(f"Most of the explanation lies at {placed_at(findings.region)}.")
    return [*lines, *(f"{event_sentence(event)}." for event in findings.events[:1])]


def opening(lines: Sequence[str]) -> str:
    """Return the first of :func:`sentences`: what is heard, what is explained if that is something else, and it alone.

    Example
    -------
    >>> opening(["Heard as dog (0.90).", "The explained class is cat (0.10).", "The explanation …", "It keeps …"])
    'Heard as dog (0.90). The explained class is cat (0.10). The explanation …'
    """
    return " ".join(lines[: 3 if lines[1].startswith((_EXPLAINED, _ASKED)) else 2])


def event_sentence(event: Event) -> str:
    """Return in words what an event is worth to the classifier.

    Example
    -------
    >>> event_sentence(Event("dog", 1.2, 1.85, 600, 2400, share=0.7, probability=0.87, alone=0.8, without=0.12))
    'dog: 87 % -> 12 % without 1.20–1.85 s, 600–2400 Hz'
    """
    before, after = (percent(share).replace("%", " %") for share in (event.probability, event.without))
    place = placed_at(Region(event.start, event.end, event.low, event.high))
    return f"{printable(event.label)}: {before} -> {after} without {place}"


def placed_at(region: Region) -> str:
    """Return an interval of time and a band in words.

    Example
    -------
    >>> placed_at(Region(0.5, 0.9, 300, 2300))
    '0.50–0.90 s, 300–2300 Hz'
    """
    return f"{_span(region.start, region.stop, 's')}, {_span(region.low, region.high, 'Hz')}"


def locate(
    magnitude: np.ndarray, hop_seconds: float, bin_hz: float, seconds: float, share: float = SHARE
) -> Region | None:
    """Find when and in which band most of a sound lies.

    The interval is the shortest run of frames that holds ``share`` of the energy (the squared magnitude), the band the
    narrowest run of bins that does; both together hold at least ``2 * share - 1`` of it. Of runs of equal length, the
    one with the most energy is taken, then the first.

    Parameters
    ----------
    magnitude : array [T, F]
        Linear magnitude. Frame i is centred on i hops and bin k on k times ``bin_hz``; each reaches half a step to both
        sides.
    hop_seconds, bin_hz : float
        Steps of time and frequency.
    seconds : float
        Length of the sound; the interval ends there at the latest.
    share : float
        In (0, 1].

    Returns
    -------
    Region or None
        None for silence.

    Examples
    --------
    >>> magnitude = np.zeros((10, 5))
    >>> magnitude[4:6, 2] = 1.0
    >>> locate(magnitude, hop_seconds=0.5, bin_hz=100.0, seconds=4.5)
    Region(start=1.75, stop=2.75, low=150.0, high=250.0)
    """
    energy = np.square(magnitude, dtype=np.float64)
    if not energy.any():
        return None
    (first, last), (lowest, highest) = (shortest_run(energy.sum(axis=axis), share) for axis in (1, 0))
    start, stop = max(0.0, (first - 0.5) * hop_seconds), min(seconds, (last + 0.5) * hop_seconds)
    low, high = max(0.0, (lowest - 0.5) * bin_hz), min((len(energy[0]) - 1) * bin_hz, (highest + 0.5) * bin_hz)
    return Region(start, stop, low, high)


def long_time(seconds: float) -> str:
    """Return how long a recording is: ``41.5 s`` or ``10 min 0 s``."""
    return f"{seconds:.3g} s" if seconds < 60 else f"{int(seconds) // 60} min {int(seconds) % 60} s"


def percent(share: float) -> str:
    """Return a share in percent, with two significant digits where it is small.

    Examples
    --------
    >>> percent(0.204), percent(0.0473), percent(0.00512), percent(0.0)
    ('20%', '4.7%', '0.51%', '0%')
    """
    value = 100 * share
    if value == 0 or value >= 9.95:
        return f"{value:.0f}%"
    return f"{value:.1f}%" if value >= 0.995 else f"{value:.2g}%"


def _warning(findings: Findings) -> str:
    label, fails = printable(findings.labels[findings.target]), findings.phrases.fails
    if findings.asked is None or not findings.asked.phrases.fails:
        return f"Warning: the classifier does not recognise {label} in what this explanation keeps."
    return f"Warning: what this explanation keeps {fails}."


def _change(findings: Findings) -> str:
    """Return what becomes of the explained class when the explanation is taken away."""
    before, after = (round(x[findings.target], 2) for x in (findings.whole, findings.outside))
    verb = "falls to" if after < before else "rises to" if after > before else "stays at"
    return f"{verb} {after:.2f}"


def _compared(findings: Findings) -> str:
    """Return what masks give that keep as much and explain nothing."""
    label, area = findings.phrases.subject, percent(findings.area)
    given = {kind: f"{x.alone:.2f} and leave {x.without:.2f}" for kind, x in findings.baselines.items()}
    return (
        f"It keeps {area} of the area. For comparison, the loudest {area} alone give {label} {given['energy']}; "
        f"a random {area} give {given['random']}."
    )


def _span(low: float, high: float, unit: str) -> str:
    """Return an interval, rounded to a power of ten that is at most a tenth of its length."""
    exponent = math.floor(math.log10(max(high - low, 1e-6) / 10))
    texts = (f"{round(value, -exponent):.{max(0, -exponent)}f}" for value in (low, high))
    return f"{'–'.join(texts)} {unit}"
