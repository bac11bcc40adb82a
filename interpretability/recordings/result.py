"""What is known of a recording: what is heard when, where a class is active, and what speaks for it there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from interpretability.classifiers import Classifier
from interpretability.methods import Interpreter
from interpretability.names import printable
from interpretability.recordings.merging import RecordingEvent
from interpretability.recordings.timeline import Timeline
from interpretability.recordings.windows import Span
from interpretability.report.destination import CLASSES
from interpretability.report.words import event_sentence, long_time

#: Stretches, events and other classes that are named; the rest is counted.
MOST_NAMED = 5


@dataclass(frozen=True)
class Explained:
    """A window in which the class is active: its events, and why it has no explanation, if it has none."""

    span: Span
    events: list[RecordingEvent]
    reason: str | None = None

    def row(self) -> dict[str, Any]:
        """Return it as plain values."""
        events = [asdict(event) for event in self.events]
        return {"start": self.span.start, "stop": self.span.stop, "events": events, "reason": self.reason}

    @classmethod
    def of(cls, row: dict[str, Any]) -> Explained:
        """Return what :meth:`row` gave."""
        events = [RecordingEvent(**event) for event in row["events"]]
        return cls(Span(row["start"], row["stop"]), events, row["reason"])


@dataclass(frozen=True)
class RecordingExplanation:
    """The explanation of one class in a recording.

    Attributes
    ----------
    path : Path
        Of the recording.
    folder : Path
        Where the results are.
    classifier : Classifier
    interpreter : Interpreter, optional
        The method; None if the class is active nowhere.
    timeline : Timeline
        What is heard in each window.
    target : int
        The explained class.
    threshold : float
        Probability from which on it is active.
    windows : list of Explained
        Those in which it is active, in order.
    events : list of RecordingEvent
        Of all of them, in seconds from the start of the recording, the one with the largest effect first.
    notes : tuple of str
        What a reader has to know.
    sound_sha256 : str
        Of the file.
    took : dict of str to float
        Seconds that this run has classified and explained for.
    """

    path: Path
    folder: Path
    classifier: Classifier
    interpreter: Interpreter | None
    timeline: Timeline
    target: int
    threshold: float
    windows: list[Explained]
    events: list[RecordingEvent]
    notes: tuple[str, ...]
    sound_sha256: str
    took: dict[str, float] = field(default_factory=dict)

    @property
    def label(self) -> str:
        """The explained class."""
        return self.classifier.labels[self.target]

    @property
    def stretches(self) -> list[tuple[float, float]]:
        """Start and end, in s, of the stretches in which the class is active: windows that overlap or touch are one."""
        return _stretches([window.span for window in self.windows], self.timeline.sample_rate)

    @property
    def without(self) -> list[Explained]:
        """Windows in which the class is active, and that have no explanation."""
        return [window for window in self.windows if window.reason is not None]

    def sentences(self) -> list[str]:
        """Say in words what is heard, when the class is active, and what speaks for it."""
        timeline, label = self.timeline, printable(self.label)
        probabilities = timeline.probabilities
        overall = probabilities.mean(0)
        first = int(overall.argmax())
        count = len(timeline.windows)
        question = self.classifier.question
        if question is None:
            heard = f"Heard most: {printable(timeline.labels[first])} (mean probability {overall[first]:.2f})"
        else:
            phrases, mean = question.phrases, overall[self.target]
            heard = f"Asked {printable(phrases.asks)}: {mean:.2f} on average ({phrases.scale})"
        lines = [f"{long_time(timeline.seconds)} in {count} window{'s' * (count != 1)}. {heard}."]
        highest = int(probabilities[:, self.target].argmax())
        start, end = timeline.seconds_of(timeline.windows[highest].span)
        peak = f"{probabilities[highest, self.target]:.2f} at {_time(start)}–{_time(end)} s"
        if not self.windows:
            lines.append(
                f"{label} is active nowhere: its probability is below {self.threshold:g} in all windows. The highest "
                f"is {peak}: --threshold {_below(probabilities[highest, self.target])} would explain it there."
            )
        else:
            stretches = [f"{_time(a)}–{_time(b)} s" for a, b in self.stretches]
            lines.append(
                f"{label} is active (at least {self.threshold:g}) in {len(self.windows)} of them: "
                f"{_some(stretches)}. The highest is {peak}."
            )
        if others := self._others(first):
            lines.append(f"Also heard: {_some(others)}. --target NAME explains another one.")
        if self.without:
            reasons = [f"{_time(w.span.start / timeline.sample_rate)} s ({w.reason})" for w in self.without]
            lines.append(f"No explanation for the windows that begin at {_some(reasons)}.")
        if self.events:
            several = len(self.events) != 1
            lines.append(f"{len(self.events)} event{'s' * several}; {'those' if several else 'the one'} that "
                         f"matter{'s' * (not several)} most:")  # fmt: skip
            lines += [f"  {event_sentence(event)}" for event in self.events[:MOST_NAMED]]
        return lines

    def _others(self, first: int) -> list[str]:
        """Return the other classes that are active somewhere, in words, by the number of windows."""
        thresholds = self.classifier.thresholds.numpy()
        active = self.timeline.probabilities >= thresholds
        ranked = sorted(range(len(self.timeline.labels)), key=lambda k: -active[:, k].sum())
        return [
            f"{printable(self.timeline.labels[k])} in {int(active[:, k].sum())} windows"
            for k in ranked
            if active[:, k].any() and k not in (first, self.target)
        ]

    def describe(self) -> dict[str, Any]:
        """Return all of it as plain values: what ``explanation.json`` holds.

        What is said of the whole recording is the mean over its windows (``probabilities``, ``predicted``);
        ``explained_probability`` is the highest of any window. Nothing is measured of the explanation as a whole.
        """
        timeline, frontend = self.timeline, self.classifier.frontend.settings
        mean = timeline.probabilities.mean(0, dtype=np.float64)
        first = int(mean.argmax())
        return {
            "name": printable(self.path.name),
            "source": printable(str(self.path)),
            "method": None if self.interpreter is None else self.interpreter.identity()["method"],
            "title": None if self.interpreter is None else self.interpreter.title,
            "settings": None if self.interpreter is None else self.interpreter.recorded_settings(),
            "true": None,
            "predicted": timeline.labels[first],
            "predicted_probability": float(mean[first]),
            "explained": self.label,
            **({} if self.classifier.question is None else {"question": self.classifier.question.identity()}),
            "explained_probability": float(timeline.probabilities[:, self.target].max()),
            "kept_area": None,
            "undefined": bool(self.windows) and len(self.without) == len(self.windows),
            "probabilities": {
                label: {"input": float(value), "explanation": None, "residual": None}
                for label, value in zip(timeline.labels, mean, strict=True)
            },
            CLASSES: [self.label],
            "threshold": self.threshold,
            "seconds": timeline.seconds,
            "sample_rate": frontend.sample_rate,
            "frontend": frontend.to_dict(),
            "windows": len(timeline.windows),
            "active_windows": len(self.windows),
            "stretches": [{"start": a, "end": b} for a, b in self.stretches],
            "without_explanation": [
                {**dict(zip(("start", "end"), timeline.seconds_of(w.span), strict=True)), "reason": w.reason}
                for w in self.without
            ],
            "events": [event.to_dict() for event in self.events],
            "notes": list(self.notes),
            "sentences": self.sentences(),
            "took": self.took,
            "sound_sha256": self.sound_sha256,
            "model": None if self.interpreter is None else self.interpreter.identity(),
        }


def _stretches(spans: Sequence[Span], rate: int) -> list[tuple[float, float]]:
    joined: list[Span] = []
    for span in spans:
        if joined and span.start <= joined[-1].stop:
            joined[-1] = Span(joined[-1].start, max(span.stop, joined[-1].stop))
        else:
            joined.append(span)
    return [(span.start / rate, span.stop / rate) for span in joined]


def _time(seconds: float) -> str:
    """Return a time as it is typed into a player: ``31.5``, or of more than a minute ``312.5 (5:12)``."""
    seconds = round(seconds, 1)
    return f"{seconds:.1f}" if seconds < 60 else f"{seconds:.1f} ({int(seconds) // 60}:{int(seconds) % 60:02d})"


def _below(value: float) -> str:
    """Return a threshold just below a probability, with two digits."""
    return f"{max(0.0, float(f'{value:.2g}') * 0.95):.2g}"


def _some(texts: Sequence[str]) -> str:
    more = len(texts) - MOST_NAMED
    return ", ".join(texts[:MOST_NAMED]) + (f" and {more} more" if more > 0 else "")
