"""Events as files: JSON, CSV, a selection table of Raven and a label track of Audacity.

Every function takes events with the name of the sound that each is in, so that the events of many sounds can go into
one file. A selection table and a label track are about one sound; :mod:`interpretability.data.annotations` reads both.
"""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from interpretability.events import Event
from interpretability.files import csv_text, json_text, write_errors, write_together
from interpretability.names import printable

#: Of a selection table, before its labels and measures.
RAVEN_COLUMNS = (
    "Selection", "View", "Channel", "Begin Time (s)", "End Time (s)", "Low Freq (Hz)", "High Freq (Hz)", "Begin File",
    "Annotation",
)  # fmt: skip
MEASURES = ("share", "probability", "alone", "without", "effect")
#: What is written -> the end of its file's name.
SUFFIXES = {
    "events": ".json",
    "events_csv": ".csv",
    "selections": ".selections.txt",
    "label_track": ".labels.txt",
}
#: An event and the name of the sound that it is in.
Row = tuple[Event, str]


def write_events(folder: str | Path, rows: Sequence[Row], name: str = "events") -> dict[str, Path]:
    """Write events into files of a folder, all of them or none.

    Parameters
    ----------
    folder : path
        Made if absent. Files of these names are replaced.
    rows : sequence of (Event, str)
        Each with the name of its sound; may be empty.
    name : str
        Of the files, without suffix.

    Returns
    -------
    dict of str to Path
        ``events`` (``events.json``) and ``events_csv``; and, unless the rows name several sounds, ``selections``
        (``events.selections.txt``, for Raven) and ``label_track`` (``events.labels.txt``, for Audacity).
        :func:`write_events_of_many` has these for several, too.

    Raises
    ------
    UserError
        If they cannot be written.
    """
    texts = {"events": events_json(rows), "events_csv": events_csv(rows)}
    if len({sound for _, sound in rows}) <= 1:
        texts |= {"selections": raven_table(rows), "label_track": audacity_labels(rows)}
    return _written(Path(folder), name, texts)


def write_events_of_many(
    folder: str | Path, rows: Sequence[Row], seconds: Mapping[str, float], name: str = "events"
) -> dict[str, Path]:
    """Write the events of several files as :func:`write_events` does; for Raven and Audacity the files lie in a row.

    Parameters
    ----------
    folder, name
        As of :func:`write_events`.
    rows, seconds
        As of :func:`raven_table_of_many`.
    """
    starts = starts_in_a_row(seconds)
    in_a_row = [(event.shifted(starts[path]), "") for event, path in rows]
    texts = (events_json(rows), events_csv(rows), raven_table_of_many(rows, seconds), audacity_labels(in_a_row))
    return _written(Path(folder), name, dict(zip(SUFFIXES, texts, strict=True)))


def _written(folder: Path, name: str, texts: Mapping[str, str]) -> dict[str, Path]:
    """Write a text for each of some of :data:`SUFFIXES`, and return the paths."""
    paths = {key: folder / f"{name}{SUFFIXES[key]}" for key in texts}
    with write_errors(folder / f"{name}.*"):
        write_together({paths[key]: text for key, text in texts.items()})
    return paths


def events_json(rows: Sequence[Row]) -> str:
    """Return events as JSON: ``{"events": [{"sound", "label", "start", …, "effect"}, …]}``, in s, Hz and shares."""
    return json_text({"events": [{"sound": printable(sound), **event.to_dict()} for event, sound in rows]})


def events_csv(rows: Sequence[Row]) -> str:
    """Return events as CSV with a head: sound, label, start and end in s, low and high in Hz, …; to 6 decimals."""
    columns = (*(field.name for field in fields(Event)), "effect")
    lines = [[printable(sound), *(_cell(event.to_dict()[column]) for column in columns)] for event, sound in rows]
    return csv_text([["sound", *columns], *lines])


def raven_table(rows: Sequence[Row]) -> str:
    """Return events as a selection table of Raven, with the class in the column Annotation, and what was measured.

    Raises
    ------
    ValueError
        If the events are in several sounds: a table gives times in one.
    """
    _check_one_sound(rows)
    return _raven_text([(event, [printable(sound)]) for event, sound in rows], [])


def raven_table_of_many(rows: Sequence[Row], seconds: Mapping[str, float]) -> str:
    """Return events in several files as one selection table: Raven opens a list of files as if they lay in a row.

    Parameters
    ----------
    rows : sequence of (Event, str)
        Each with the path of its file.
    seconds : mapping of str to float
        Path of each file -> its length in s, in the order in which they lie.
    """
    starts = starts_in_a_row(seconds)
    lines = []
    for event, path in rows:
        names = [printable(part) for part in (Path(path).name, path)]
        lines.append((event.shifted(starts[path]), [*names, _cell(event.start)]))
    return _raven_text(lines, ["Begin Path", "File Offset (s)"])


def starts_in_a_row(seconds: Mapping[str, float]) -> dict[str, float]:
    """Return where each of several sounds starts if they lie in a row, in s.

    >>> starts_in_a_row({"a.wav": 1.5, "b.wav": 2.0})
    {'a.wav': 0.0, 'b.wav': 1.5}
    """
    return dict(zip(seconds, itertools.accumulate(seconds.values(), initial=0.0), strict=False))


def _raven_text(lines: Sequence[tuple[Event, list[str]]], columns: list[str]) -> str:
    """Return a selection table of events, with the names of the file, and what else is said of its place."""
    head = [*RAVEN_COLUMNS[:-1], *columns, RAVEN_COLUMNS[-1], *(name.capitalize() for name in MEASURES)]
    table = [
        [
            number,
            "Spectrogram 1",
            1,
            *(_cell(value) for value in (event.start, event.end, event.low, event.high)),
            *places,
            printable(event.label),
            *(_cell(event.to_dict()[name]) for name in MEASURES),
        ]
        for number, (event, places) in enumerate(lines, 1)
    ]
    return csv_text([head, *table], "\t")


def audacity_labels(rows: Sequence[Row]) -> str:
    r"""Return events as a label track of Audacity: start, end and class, and below it the band, after a backslash.

    Raises
    ------
    ValueError
        If the events are in several sounds: a track belongs to one.

    Example
    -------
    >>> event = Event("dog", 1.2, 1.85, 600, 2400, share=0.7, probability=0.87, alone=0.8, without=0.12)
    >>> audacity_labels([(event, "night.wav")])
    '1.200000\t1.850000\tdog\n\\\t600.000000\t2400.000000\n'
    """
    _check_one_sound(rows)
    return "".join(
        f"{e.start:.6f}\t{e.end:.6f}\t{printable(e.label)}\n\\\t{e.low:.6f}\t{e.high:.6f}\n" for e, _ in rows
    )


def _check_one_sound(rows: Sequence[Row]) -> None:
    sounds = sorted({sound for _, sound in rows})
    if len(sounds) > 1:
        raise ValueError(f"the events are in {len(sounds)} sounds ({sounds[0]}, {sounds[1]} …): expected those of one")


def _cell(value: Any) -> str:
    return f"{value:.6f}" if isinstance(value, float | int) else printable(value)
