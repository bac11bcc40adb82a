"""Recordings for a page: what is heard when, where a class is active, and its events, to look at and to hear.

They are made from the folders that :mod:`interpretability.recordings` writes.
"""

from __future__ import annotations

import csv
import dataclasses
import io
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.image import imsave

from interpretability.errors import user_errors
from interpretability.files import expanded
from interpretability.frontend import Frontend, FrontendSettings
from interpretability.names import printable
from interpretability.report.clips import extent_of, magnitude_of, read_described, read_wav
from interpretability.report.page import data_uri, levels_uri, mask_uri, sound_uri
from interpretability.report.timeline import MOST_ROWS

#: Steps of the line over time, and events that have sounds on a page: those with the largest effect.
MOST_STEPS, MOST_EVENTS = 800, 20
#: Below so much of its loudest bin, what is kept of a sound is not told from nothing.
FAINT = 1e-4
#: What the description of a recording must hold.
_NEEDED = (
    *("name", "title", "predicted", "predicted_probability", "explained", "seconds", "sample_rate", "frontend"),
    *("windows", "active_windows", "threshold", "stretches", "events", "sentences", "notes", "sound_sha256"),
)


@dataclass(frozen=True)
class Recording:
    """The explanation of one class in a recording by one method, ready for a page.

    Attributes
    ----------
    name, sound, method, true, predicted, explained, sample_rate, sentences, notes
        As of :class:`~interpretability.report.clips.Clip`. ``predicted`` is the class with the highest mean probability
        over all windows.
    probability : float
        That mean.
    seconds : float
        Length of the recording.
    windows, active : int
        How many there are, and in how many of them the explained class is active.
    threshold : float
        Probability from which on it is.
    line : tuple of int
        The probability of the explained class over the recording, in thousandths: the highest of each step.
    labels : tuple of str
        The classes of ``picture``: the explained one, and those that reach the highest probabilities.
    picture : str
        Address of the picture of their probabilities: a row for each class, time to the right.
    stretches : tuple of (float, float)
        Start and end, in s, of where the class is active.
    marks : tuple of (float, float, float)
        Start, end, in s, and effect of every event, the one with the largest effect first.
    events : tuple of dict
        The first of them, as of ``RecordingEvent.to_dict()``, each with its ``clip``: ``start``, in s, ``seconds``,
        ``extent``, and the addresses of ``spectrogram``, ``mask``, ``input``, ``explanation`` and ``residual``, as of a
        :class:`~interpretability.report.clips.Clip`. The mask is what is kept of each bin of the sound.
    """

    name: str
    sound: str
    method: str
    true: tuple[str, ...]
    predicted: str
    probability: float
    explained: str
    sample_rate: int
    seconds: float
    windows: int
    active: int
    threshold: float
    line: tuple[int, ...]
    labels: tuple[str, ...]
    picture: str
    stretches: tuple[tuple[float, float], ...]
    marks: tuple[tuple[float, float, float], ...]
    events: tuple[dict[str, Any], ...]
    sentences: tuple[str, ...]
    notes: tuple[str, ...]

    @classmethod
    def of_folder(
        cls,
        folder: str | Path,
        name: str | None = None,
        true: str | None = None,
        method: str | None = None,
        most_events: int = MOST_EVENTS,
        most_bytes: int | None = None,
    ) -> Recording:
        """Make it of a folder of a recording's explanation.

        Parameters
        ----------
        folder : path
        name, true : str, optional
            That of the sound, and its label, if not given.
        method : str, optional
            What the page calls the method if nothing was explained, and none is named.
        most_events : int
            Events that have sounds.
        most_bytes : int, optional
            Of their pictures and sounds together: the events that do not fit have none.

        Raises
        ------
        MissingError
            If a file is missing.
        UserError
            If one is damaged.
        """
        folder = expanded(folder)
        described = read_described(folder, _NEEDED, "recording")
        true = described.get("true") if true is None else true
        # Whatever is wrong with a file that was changed: of libsndfile, or a value of another type.
        with user_errors(f"{folder}: is no whole explanation of a recording", advice=": explain the recording again"):
            steps = _steps(folder / "timeline.csv", float(described["seconds"]), printable(str(described["explained"])))
            marks = tuple(
                (round(e["start"], 3), round(e["end"], 3), round(e["effect"], 4)) for e in described["events"]
            )
            return cls(
                name=printable(str(name or described["name"])),
                sound=str(described["sound_sha256"]),
                method=printable(str(described["title"] or method or "")),
                true=() if true is None else (printable(str(true)),),
                predicted=printable(str(described["predicted"])),
                probability=float(described["predicted_probability"]),
                explained=printable(str(described["explained"])),
                sample_rate=int(described["sample_rate"]),
                seconds=float(described["seconds"]),
                windows=int(described["windows"]),
                active=int(described["active_windows"]),
                threshold=float(described["threshold"]),
                line=tuple(np.round(1000 * steps[1][0]).astype(int).tolist()),
                labels=steps[0],
                picture=probabilities_uri(steps[1]),
                stretches=tuple((float(part["start"]), float(part["end"])) for part in described["stretches"]),
                marks=marks,
                events=_events(folder, described, most_events, most_bytes),
                sentences=tuple(map(str, described["sentences"])),
                notes=tuple(map(str, described["notes"])),
            )

    def to_dict(self) -> dict[str, Any]:
        """Return all of it as plain values, for JSON."""
        return dataclasses.asdict(self)


def _steps(path: Path, seconds: float, explained: str) -> tuple[tuple[str, ...], np.ndarray]:
    """Return the classes of a timeline that are shown, the explained one first, and their probabilities [K, steps]."""
    with open(path, encoding="utf-8", newline="") as stream:
        lines = csv.reader(stream)
        _, *labels = next(lines)
        table = np.full((MOST_STEPS, len(labels)), np.nan, np.float32)
        for time, *values in lines:
            step = min(int(float(time) / seconds * MOST_STEPS), MOST_STEPS - 1)
            table[step] = np.fmax(table[step], np.array(values, dtype=np.float32))
    for step in range(1, MOST_STEPS):  # a short recording has fewer lines than steps
        table[step] = np.where(np.isnan(table[step]), table[step - 1], table[step])
    table = np.nan_to_num(table.T)
    first = labels.index(explained)
    order = [first, *(k for k in np.argsort(-table.max(1), kind="stable").tolist() if k != first)][:MOST_ROWS]
    return tuple(labels[k] for k in order), table[order]


def probabilities_uri(rows: np.ndarray) -> str:
    """Return the picture of probabilities [K, steps], a row of dots for each class: dark is 0, bright is 1. PNG."""
    stream = io.BytesIO()
    imsave(stream, rows, cmap="viridis", vmin=0, vmax=1, format="png")
    return data_uri(stream.getvalue(), "image/png")


def _events(
    folder: Path, described: Mapping[str, Any], most_events: int, most_bytes: int | None
) -> tuple[dict[str, Any], ...]:
    frontend = Frontend(FrontendSettings.of_saved({**described["frontend"], "level": "none"}))
    events, size = [], 0
    for event in described["events"][:most_events]:
        if "sound" not in event:
            break
        shown = {key: value for key, value in event.items() if key not in ("sound", "explanation", "sound_start")}
        sounds = [read_wav(folder / str(event[part])) for part in ("sound", "explanation")]
        shown |= {
            "label": printable(str(event["label"])),
            "clip": _clip(*sounds, frontend, float(event["sound_start"])),
        }
        size += len(json.dumps(shown))
        if most_bytes is not None and size > most_bytes:
            break
        events.append(shown)
    return tuple(events)


def _clip(heard: np.ndarray, kept: np.ndarray, frontend: Frontend, start: float) -> dict[str, Any]:
    """Return what a page shows and plays of an event: the sound around it [N], and what is kept of that [N]."""
    settings, rate = frontend.settings, frontend.settings.sample_rate
    whole, part = (magnitude_of(frontend, wav) for wav in (heard, kept))
    share = np.clip(part / np.maximum(whole, max(FAINT * float(whole.max()), 1e-12)), 0, 1)
    hop, step = settings.hop_length / rate, rate / settings.n_fft
    return {
        "start": start,
        "seconds": len(heard) / rate,
        "extent": extent_of(whole, hop, step),
        "spectrogram": levels_uri(whole),
        "mask": mask_uri(share),
        "input": sound_uri(heard, rate),
        "explanation": sound_uri(kept, rate),
        "residual": sound_uri(heard - kept, rate),
    }
