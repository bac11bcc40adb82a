"""Label tracks: what Raven (as selection tables) and Audacity write about the sounds in a recording.

A *selection* is one entry of them: when it begins and ends, in which band, and what it is. One of Audacity may be a
point in time, and then ends where it begins.
"""

import math
import ntpath
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from interpretability.data.tables import BadRow, csv_rows, named_column
from interpretability.errors import UserError, shown
from interpretability.names import utf8_name

RAVEN, AUDACITY = "Raven", "Audacity"
#: What is read of a selection table, apart from the labels -> how its columns are named, in small letters.
COLUMNS = {
    "start": ("begin time (s)",),
    "end": ("end time (s)",),
    "low": ("low freq (hz)",),
    "high": ("high freq (hz)",),
    "selection": ("selection",),
    "view": ("view",),
    "file": ("begin file",),
    "path": ("begin path",),
    "offset": ("file offset (s)",),
}
#: What a column with labels may be called: where several are there and do not say the same, one has to be chosen.
LABELS = (
    "annotation", "annotations", "label", "labels", "species", "common name", "class", "category", "call type", "call",
    "sound type", "type", "tag", "tags", "species code",
)  # fmt: skip
#: Columns that Raven and other programs write, and that hold no labels; those with a unit do not either.
_OTHERS = (
    "channel", "end file", "end path", "begin date", "end date", "begin clock time", "end clock time",
    "begin date time", "end date time", "begin hour", "occupancy", "confidence", "score", "rank", "notes", "note",
    "comment", "comments", "annotator", "observer", "id",
)  # fmt: skip


@dataclass(frozen=True)
class Selection:
    """A sound in a recording.

    Attributes
    ----------
    where : str
        The place of its entry, for messages.
    start, end : float
        Seconds from the start of the recording.
    low, high : float or None
        Hz; None: not known.
    label : str
    file : str or None
        The name of its recording, where the entry has it.
    path : str or None
        The path of its recording, where the entry has it.
    group : str or None
        What a further column of the entry says.
    """

    where: str
    start: float
    end: float
    low: float | None
    high: float | None
    label: str
    file: str | None = None
    path: str | None = None
    group: str | None = None


@dataclass
class Track:
    """A label track as text, and what kind it is.

    Attributes
    ----------
    source : Path
    kind : str
        :data:`RAVEN` or :data:`AUDACITY`.
    head : list of str
        Of a selection table, its columns.
    rows : list
        Of a selection table, (place, column -> text); of a label track, its selections.
    """

    source: Path
    kind: str
    head: list[str]
    rows: list[Any]


def kind_of(text: str) -> str | None:
    """Return which kind of label track a text is, by its first line; None if it is none."""
    first = next((line for line in text.splitlines() if line.strip()), "")
    lowered = first.lower()
    if any(name in lowered for column in ("start", "end") for name in COLUMNS[column]):
        return RAVEN
    fields = first.split("\t")
    return AUDACITY if len(fields) >= 2 and all(_as_number(field) is not None for field in fields[:2]) else None


def read_track(text: str, source: Path) -> Track:
    """Read a label track; what it says about the labels is checked by :func:`selections_of`.

    Raises
    ------
    UserError
        If it is none, or not all of it is.
    """
    kind = kind_of(text)
    if kind == AUDACITY or not text.strip():
        return Track(source, AUDACITY, [], _audacity_selections(text, source))
    if kind is None:
        raise UserError(
            f"{source}: is no label track: expected a selection table of Raven (columns 'Begin Time (s)', 'End Time "
            "(s)' …), or a label track of Audacity (start, end and label in each line, separated by tabs)"
        )
    head, rows = csv_rows(text, source, COLUMNS)
    lacking = [column for column in ("start", "end") if COLUMNS[column][0] not in head]
    if lacking:
        raise UserError(
            f"{source}: lacks the column {' and '.join(shown(COLUMNS[column][0]) for column in lacking)}; its first "
            f"line has {', '.join(head[:20])}: save the selection table with Begin Time (s) and End Time (s)"
        )
    return Track(source, RAVEN, head, rows)


def label_column(tracks: Sequence[Track], given: str | None) -> str | None:
    """Return the column of selection tables that has the labels; None if there are no such tables.

    It is the one that was given; or the only one called as in :data:`LABELS`, or the first of several that name the
    same things; or the only one besides those that Raven writes.

    Raises
    ------
    UserError
        If there is none, or it has to be chosen.
    """
    tables = [track for track in tracks if track.kind == RAVEN]
    if not tables:
        return None
    head = list(dict.fromkeys(name for track in tables for name in track.head))
    if given is not None:
        return named_column("label_column", given, tables[0].source, head)
    rows = [row for track in tables for _, row in track.rows]
    filled = [name for name in head if any((row.get(name) or "").strip() for row in rows)]
    names = [name for name in LABELS if name in (filled or head)]
    if not names:
        known = {name for column in COLUMNS.values() for name in column}
        names = [name for name in filled if name not in known and name not in _OTHERS and not name.endswith(")")]
    if len(names) == 1 or (names and _say_the_same(rows, names)):
        return names[0]
    which = f"any of {', '.join(map(shown, names))}" if names else f"none is known among {', '.join(map(shown, head))}"
    raise UserError(f"{tables[0].source}: the column with the labels may be {which}: name it, --label_column NAME")


def _say_the_same(rows: Sequence[dict[str, str]], names: Sequence[str]) -> bool:
    """Return whether each value of one column goes with one value of the others."""
    values = [tuple((row.get(name) or "").strip() for name in names) for row in rows]
    return all(len(set(values)) == len({value[place] for value in values}) for place in range(len(names)))


def selections_of(track: Track, labels: str | None, group_by: str | None = None) -> tuple[list[Selection], list[str]]:
    """Return the selections of a track, each once, and why other entries of it cannot be used.

    Parameters
    ----------
    track : Track
    labels : str or None
        Of a selection table, the column with the labels (:func:`label_column`).
    group_by : str, optional
        Of a selection table, a column whose values become the groups.
    """
    selections, faults = [], []
    entries = _without_second_views(track.rows) if track.kind == RAVEN else track.rows
    for entry in entries:
        try:
            selection = entry if isinstance(entry, Selection) else _raven_selection(*entry, labels, group_by)
            _check(selection, track.kind)
        except BadRow as fault:
            faults.append(str(fault))
        else:
            selections.append(replace(selection, label=utf8_name(selection.label)))
    return selections, faults


def _without_second_views(rows: Iterable[tuple[str, dict[str, str]]]) -> list[tuple[str, dict[str, str]]]:
    """Return the rows without those of a second view: Raven writes one for the waveform and one for the spectrogram."""
    kept: dict[tuple, tuple[str, dict[str, str]]] = {}
    for place, (where, row) in enumerate(rows):
        selection = (row.get("selection") or "").strip() or f"row {place}"
        key = (selection, *(row.get(COLUMNS[column][0]) for column in ("file", "path", "start", "end")))
        if key not in kept or (_is_spectrogram(row) and not _is_spectrogram(kept[key][1])):
            kept[key] = (where, row)
    return list(kept.values())


def _is_spectrogram(row: dict[str, str]) -> bool:
    return "spectrogram" in (row.get("view") or "").lower()


def _raven_selection(where: str, row: dict[str, str], labels: str, group_by: str | None) -> Selection:
    value = {column: (row.get(names[0]) or "").strip() for column, names in COLUMNS.items()}
    number = {}
    for column in ("start", "end", "low", "high", "offset"):
        number[column] = _as_number(value[column])
        if number[column] is None and (value[column] or column in ("start", "end")):
            raise BadRow(f"{where}: {COLUMNS[column][0]} is {shown(value[column])}, expected a number")
    file = value["file"] or ntpath.basename(value["path"]) or None
    start, end = number["start"], number["end"]
    if file and number["offset"] is not None:
        # In a table about several recordings the times go on from one to the next; the offset starts with each.
        start, end = number["offset"], number["offset"] + end - start
    group = (row.get(group_by) or "").strip() or None if group_by else None
    label = (row.get(labels) or "").strip()
    return Selection(where, start, end, number["low"], number["high"], label, file, value["path"] or None, group)


def _audacity_selections(text: str, source: Path) -> list[Selection]:
    """Return the labels of a track; a line that begins with a backslash has the band of the one before it."""
    selections: list[Selection] = []
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip():
            continue
        where = f"{source}, line {number}"
        fields = line.split("\t", 2)
        is_band = fields[0].strip() == "\\" and bool(selections)
        values = [_as_number(field) for field in (fields[1:3] if is_band else fields[:2])]
        if len(values) < 2 or None in values:
            raise UserError(
                f"{where}: is {shown(line, 60)}, expected start and end in seconds and the label, separated by tabs, "
                "as in a label track of Audacity"
            )
        if is_band:
            # -1: not known; a point in the spectrogram has no band.
            low, high = (value if value >= 0 else None for value in values)
            low, high = (None, None) if low == high else (low, high)
            selections[-1] = replace(selections[-1], low=low, high=high)
        else:
            label = fields[2].strip() if len(fields) > 2 else ""
            selections.append(Selection(where, *values, None, None, label))
    return selections


def _check(selection: Selection, kind: str) -> None:
    """Refuse a selection whose numbers make no sense, or that has no label."""
    if not selection.label:
        raise BadRow(f"{selection.where}: the label is empty, expected one")
    if selection.start < 0 or selection.end < selection.start or (selection.end == selection.start and kind == RAVEN):
        raise BadRow(
            f"{selection.where}: begins at {selection.start:g} s and ends at {selection.end:g} s, expected a beginning "
            ">= 0 and an end after it"
        )
    low, high = selection.low or 0.0, math.inf if selection.high is None else selection.high
    if not 0 <= low < high:
        raise BadRow(f"{selection.where}: its band is {low:g} to {high:g} Hz, expected low before high")


def _as_number(text: str) -> float | None:
    """Return a number, also one with a decimal comma; None if it is none."""
    text = text.strip()
    if text.count(",") == 1 and "." not in text:
        text = text.replace(",", ".")
    try:
        number = float(text)
    except ValueError:
        return None
    return number if math.isfinite(number) else None
