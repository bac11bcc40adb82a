"""Recordings with label tracks: which track belongs to which recording, and what it says about it."""

import re
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from interpretability.data.annotations import (
    AUDACITY,
    Selection,
    Track,
    kind_of,
    label_column,
    read_track,
    selections_of,
)
from interpretability.data.manifest import BadClips
from interpretability.data.tables import (
    NO_GROUPS,
    ListedClip,
    decoded,
    leave_out_missing,
    located,
    named_column,
    table_text,
)
from interpretability.errors import UserError, shown
from interpretability.names import safe_name

#: What the name of a selection table has behind that of its recording.
_TABLE_NAMES = re.compile(r"((\.Table\.?\d+)?\.selections|(\.BirdNET)?\.selection\.table)$", re.IGNORECASE)
#: Of a text file, in bytes: enough to see what it is.
_ENOUGH = 4096


def find_tracks(folder: Path, recordings: Sequence[Path], root: Path) -> dict[Path, list[Path]]:
    """Return the label tracks in a folder, each with the recordings that it may belong to.

    A text file is a label track if it looks like one, or is named as a selection table is. If there are any, then so is
    each text file that is named after a recording: ``NAME.txt``, ``NAME.wav.txt``, ``NAME.selections.txt`` or
    ``NAME.Table.1.selections.txt``, in the same folder; or, where the tracks have a folder of their own, at the same
    place in it, or anywhere if only one recording has the name.

    Parameters
    ----------
    folder : Path
        Where to look for them: ``root``, or their own folder.
    recordings : sequence of Path
    root : Path
        The folder of the recordings.
    """
    by_place, by_name = defaultdict(list), defaultdict(list)
    for path in recordings:
        for name in (path.stem, path.name):
            by_place[path.relative_to(root).parent, name].append(path)
            by_name[name].append(path)
    belongs, is_track = {}, {}
    for text in sorted(folder.rglob("*.txt")):
        if not text.is_file() or any(part.startswith((".", "__MACOSX")) for part in text.relative_to(folder).parts):
            continue
        name = _TABLE_NAMES.sub("", text.stem)
        beside = by_place[text.relative_to(folder).parent, name]
        belongs[text] = beside or (by_name[name] if folder != root else [])
        is_track[text] = name != text.stem or _looks_like_a_track(text)
    # A recording that lies in no folder is of no class: what is named after it can only be about it.
    loose = any(path.parent == root for members in belongs.values() for path in members)
    if folder == root and not loose and not any(is_track.values()):
        return {}
    return {text: members for text, members in belongs.items() if members or is_track[text]}


def _looks_like_a_track(path: Path) -> bool:
    with open(path, "rb") as stream:
        return kind_of(decoded(stream.read(_ENOUGH), "ignore")) is not None


def read_tracks(
    tracks: Mapping[Path, Sequence[Path]],
    recordings: Sequence[Path],
    root: Path,
    column: str | None,
    bad: BadClips,
    notes: list[str],
) -> list[ListedClip]:
    """Return the selections in recordings, each as a clip from its beginning to its end.

    Parameters
    ----------
    tracks : mapping
        Of :func:`find_tracks`; at least one.
    recordings : sequence of Path
    root : Path
        The folder of the recordings.
    column : str, optional
        Of selection tables, the column with the labels; by default as :func:`.label_column` finds it.
    bad : BadClips
        Gets the selections that cannot be used.
    notes : list of str
        Gets what was read, and what was left out.

    Raises
    ------
    MissingError
        If a table names recordings of which some do not exist, unless bad clips are skipped.
    UserError
        If a track is none, fits several recordings, or differs from another one of its recording; if the column has to
        be chosen; if there are no selections.
    """
    by_name = defaultdict(list)
    for path in recordings:
        by_name[path.name].append(path)
    read = {path: read_track(table_text(path), path) for path in tracks}
    column = label_column(list(read.values()), column)
    clips: dict[Path, dict[Path, list[ListedClip]]] = defaultdict(dict)  # of each recording, by track
    alone, empty, missing = [], [], []
    for path, members in tracks.items():
        if len(members) > 1:
            listed = " and ".join(str(member) for member in members[:3])
            raise UserError(f"{path}: fits {len(members)} recordings, {listed}: rename it, or leave one of them")

        def locate(selection: Selection, beside: Path = path.parent) -> Path | None:
            same_name = by_name[selection.file]
            return located(selection.file, beside) or (same_name[0] if len(same_name) == 1 else None)

        recording = members[0] if members else None
        placed, unplaced = (
            ([], []) if not (members or _named(read[path])) else _placed(read[path], column, recording, locate, bad)
        )
        if recording is None and not placed:
            alone.append(path)
            continue
        missing += unplaced
        if not placed and not unplaced:
            empty.append(path)
            clips[recording].setdefault(path, [])
        for clip in placed:
            clips[clip.path].setdefault(path, []).append(clip)
    n_placed = sum(len(members) for by_track in clips.values() for members in by_track.values())
    leave_out_missing(missing, len(missing) + n_placed, root, root, bad)
    selected = [clip for recording, by_track in clips.items() for clip in _agreed(recording, by_track)]
    kinds = [track.kind for path, track in read.items() if path not in alone]
    counted = ", ".join(f"{kinds.count(kind)} of {kind}" for kind in dict.fromkeys(kinds))
    notes.append(f"label tracks: {counted}; {len(selected)} selections in {len(clips)} recordings")
    without = [path for path in recordings if path not in clips]
    for paths, what in (
        (without, "recordings have no label track, and are left out"),
        (alone, "label tracks have no recording, and are left out"),
        (empty, "label tracks are empty"),
    ):
        if paths:
            notes.append(f"{len(paths)} {what}, such as {shown(paths[0].name)}")
    if not selected and not bad.skipped:
        raise UserError(f"{root}: there are no selections ({'; '.join(notes)}): add labels to the recordings")
    return selected


def read_selection_table(
    table: Path,
    text: str,
    root: Path,
    group_by: str | None,
    bad: BadClips,
    notes: list[str],
    column: str | None = None,
) -> list[ListedClip]:
    """Return the selections of one table in the recordings that it names.

    Parameters
    ----------
    table, text, root, group_by, bad, notes
        As of :func:`.read_table`.
    column : str, optional
        With the labels.

    Raises
    ------
    MissingError
        If recordings do not exist, unless bad clips are skipped.
    UserError
        If it is no selection table, or does not say which recordings it is about.
    """
    track = read_track(text, table)
    if track.kind == AUDACITY:
        raise UserError(
            f"{table}: is a label track of Audacity, which names no recording: put it beside its recording, as "
            "NAME.txt, and give the folder as --data_folder"
        )
    if not track.rows:
        raise UserError(f"{table}: lists no selections: add a line for each")
    if not _named(track):
        raise UserError(
            f"{table}: does not say which recordings it is about: save it from Raven with the columns Begin File and "
            "File Offset (s), or put it beside its recording and give the folder as --data_folder"
        )
    group_by = None if group_by in (None, NO_GROUPS) else named_column("group_by", group_by, table, track.head)

    def locate(selection: Selection) -> Path | None:
        places = (located(name, table.parent, root) for name in (selection.path, selection.file) if name)
        return next((place for place in places if place is not None), None)

    clips, missing = _placed(track, label_column([track], column), None, locate, bad, group_by)
    leave_out_missing(missing, len(missing) + len(clips), table, root, bad)
    notes.append(f"selection table: {len(clips)} selections in {len({clip.path for clip in clips})} recordings")
    return clips


def _named(track: Track) -> set[str]:
    """Return the recordings that the rows of a selection table name."""
    rows = [] if track.kind == AUDACITY else track.rows
    return {(row.get("begin file") or row.get("begin path") or "").strip() for _, row in rows} - {""}


def _placed(
    track: Track,
    column: str | None,
    recording: Path | None,
    locate: Callable[[Selection], Path | None],
    bad: BadClips,
    group_by: str | None = None,
) -> tuple[list[ListedClip], list[tuple[str, str]]]:
    """Return the selections of a track as clips of their recordings, and (place, name) of recordings that are absent.

    A track that is named after its recording is about this one, unless it names several.
    """
    names = _named(track)
    if len(names) > 1 and "file offset (s)" not in track.head:
        raise UserError(
            f"{track.source}: is about {len(names)} recordings, such as {shown(min(names))}, but has no column File "
            "Offset (s), which says when each selection begins in its own: add this measurement in Raven"
        )
    if recording is not None and len(names) == 1:
        other = located(next(iter(names)), track.source.parent)
        if other is not None and other != recording:
            raise UserError(
                f"{track.source}: is named after {recording.name}, but its selections are of {other.name}: rename it"
            )
    selections, faults = selections_of(track, column, group_by)
    for reason in faults:
        bad.add(safe_name(track.source.stem), reason)
    clips, missing = [], []
    for selection in selections:
        path = recording if recording is not None and len(names) <= 1 else selection.file and locate(selection)
        if not path:
            missing.append((selection.where, selection.file or "no recording"))
            continue
        members = {name: getattr(selection, name) for name in ("start", "end", "low", "high", "group")}
        clips.append(ListedClip(path, selection.label, selection.where, **members))
    return clips, missing


def _agreed(recording: Path, by_track: Mapping[Path, list[ListedClip]]) -> list[ListedClip]:
    """Return the selections in one recording, if its tracks have the same."""
    (first, clips), *others = by_track.items()

    def content(members: list[ListedClip]) -> set[tuple]:
        return {(clip.start, clip.end, clip.low, clip.high, clip.label) for clip in members}

    for other, members in others:
        if content(members) != content(clips):
            raise UserError(
                f"{recording}: has two label tracks that differ, {first.name} and {other.name}: put all labels into "
                "one, or remove the other"
            )
    return clips
