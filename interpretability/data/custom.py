"""Sounds of any origin: a folder per class or a table of paths and labels, and splits where there are none."""

import hashlib
import json
import math
import os
import re
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tqdm import tqdm

from interpretability.data import ffmpeg
from interpretability.data.annotations import kind_of
from interpretability.data.audio import SUFFIXES, AudioHeader, audio_header, find_sounds, hidden_folders
from interpretability.data.boxes import ROUNDING, boxes_fault
from interpretability.data.manifest import DATA_ROOT, SPLITS, BadClips, PreparedData, labels_of, write_manifests
from interpretability.data.selections import find_tracks, read_selection_table, read_tracks
from interpretability.data.splits import thin_classes
from interpretability.data.splitting import ChosenFolds, choose_splits, group_names, with_folds
from interpretability.data.tables import NO_GROUPS, SPLIT_NAMES, ListedClip, read_table, table_text
from interpretability.data.windows import cut_windows
from interpretability.errors import MissingError, UserError, listed, shown, user_errors
from interpretability.files import claim, csv_text, place_in, write_text
from interpretability.names import join_labels, printable, safe_name, utf8_name

#: The table of the splits, beside the manifests; it can be given as ``table`` again.
SPLITS_TABLE = "splits.csv"


def prepare_custom(
    data_folder: str | Path | None,
    manifest_folder: str | Path,
    *,
    table: str | Path | None = None,
    label_folder: str | Path | None = None,
    label_column: str | None = None,
    window_seconds: float | str = "auto",
    group_by: str | None = None,
    group_pattern: str | None = None,
    valid_share: float = 0.2,
    test_share: float = 0.2,
    valid_groups: Iterable[Any] | Any = None,
    test_groups: Iterable[Any] | Any = None,
    folds: int | None = None,
    valid_folds: Iterable[int] | str | int | None = None,
    test_folds: Iterable[int] | str | int | None = None,
    split_seed: int = 1234,
    skip_bad_clips: bool = False,
) -> PreparedData:
    """Write the manifests of a folder or a table of sounds, and ``splits.csv``: the splits, as a table.

    Parameters
    ----------
    data_folder : path, optional
        Without a table: ``CLASS/…`` or ``{train,valid,test}/CLASS/…``, nested at will; or recordings, with label
        tracks of Raven or Audacity beside them (:mod:`.selections`). With one, where relative paths start that do not
        start from the table's own folder, which is also the default.
    manifest_folder : path
        Where to write; made when needed.
    table : path, optional
        CSV (any of comma, semicolon, tabulator, bar) or JSON lines with ``path`` and ``label`` (:data:`COLUMNS`); and
        optionally ``split``, ``fold``, ``group``, ``start`` and ``end`` in seconds, which cut clips from their
        recordings, and ``low`` and ``high``, the band of the sound in Hz. Or a selection table of Raven that names its
        recordings.
    label_folder : path, optional
        Where the label tracks lie, if not beside the recordings.
    label_column : str, optional
        The column with the labels, of selection tables or of the table.
    window_seconds : float or "auto"
        The selections of label tracks are cut out with what lies around them, so that each clip has so many seconds, or
        more where the selection is longer (:func:`.cut_windows`). A number does so for a table with times, too.
    group_by : str, optional
        The column whose clips stay together when splits are made: speaker, site … By default ``group`` or, of clips
        that are cut from recordings, the recording. ``none``: each clip by itself.
    group_pattern : str, optional
        A regular expression for the file name: its first group, or all that it matches, is the group of the clip.
    valid_share, test_share : float
        Of the clips, where splits are made.
    valid_groups, test_groups : str or list of str, optional
        The groups of these splits, in place of the shares.
    folds : int, optional
        Make so many folds, of equal size.
    valid_folds, test_folds : list of int, str or int, optional
        Which folds select and test; by default the last but one, and the last.
    split_seed : int
    skip_bad_clips : bool
        Leave out and log bad clips instead of raising at the first one.

    Returns
    -------
    PreparedData
        The labels in the order of their names.

    Raises
    ------
    MissingError
        If the folder, the table or paths in it do not exist.
    UserError
        If there are no sounds, fewer than two classes, or too few groups for the splits; if the table is not one, or a
        row has impossible values; if a label track is none; if a clip is bad, or its class has no training clips; if
        given splits share a group.
    """
    marked = {"label_folder": label_folder, "label_column": label_column, "window_seconds": window_seconds}
    listing = list_clips(data_folder, table, group_by, group_pattern, skip_bad_clips, **marked)
    root, source, bad, notes = listing.root, listing.source, listing.bad, listing.notes
    clips, good = listing.clips, listing.entries
    _refuse_one_class(clips, source, root if table is None else None)
    settings = {
        "valid_share": valid_share,
        "test_share": test_share,
        "valid_groups": group_names(valid_groups),
        "test_groups": group_names(test_groups),
        "seed": split_seed,
    }
    if folds is not None:
        clips = with_folds(clips, source, folds, split_seed)
    chosen = ChosenFolds(valid_folds, test_folds)
    splits, origin = choose_splits(clips, source, settings, chosen, notes)
    for entry, clip in zip(good, clips, strict=True):
        entry |= {} if clip.fold is None else {"fold": clip.fold}
        entry |= {} if clip.group is None else {"group": clip.group}
    trained = {label for clip, split in zip(clips, splits, strict=True) if split == "train" for label in clip.names}
    for entry, split in zip(good, splits, strict=True):
        unknown = [label for label in labels_of(entry) if label not in trained]
        if unknown:
            bad.add(entry["id"], f"its label {shown(unknown[0])} has no clip in train, but is in {split}")
    known = [trained.issuperset(labels_of(entry)) for entry in good]
    bad.report(sum(known))
    kept = [(entry, split) for entry, split, is_known in zip(good, splits, known, strict=True) if is_known]
    by_split: dict[str, list[dict]] = {
        split: [entry for entry, chosen_split in kept if chosen_split == split] for split in SPLITS
    }
    thin = thin_classes([labels_of(entry) for entry, _ in kept], [split for _, split in kept], SPLITS)
    if thin:
        notes.append(f"{thin}; they are trained on, and measured where they can be")
    description = {"name": "Custom", "clips": _identity([entry for entry, _ in kept]), "splits": origin}
    if "folds" in origin:
        description["folds"] = origin.pop("folds")
    prepared = write_manifests(manifest_folder, root, sorted(trained), by_split, description, bad.skipped)
    _write_splits(Path(manifest_folder), kept)
    notes.append(f"the splits are listed in {Path(manifest_folder) / SPLITS_TABLE}")
    return replace(prepared, notes=notes)


@dataclass(frozen=True)
class Listing:
    """The clips of a folder or a table, before they are split.

    Attributes
    ----------
    root : Path
        Where the paths of the entries start.
    source : Path
        The folder or the table, for messages.
    clips : list of ListedClip
    entries : list of dict
        The entry of each clip in a manifest, from the header of its file.
    bad : BadClips
        The others.
    notes : list of str
        What was decided about them.
    """

    root: Path
    source: Path
    clips: list[ListedClip]
    entries: list[dict[str, Any]]
    bad: BadClips
    notes: list[str]


def list_clips(
    data_folder: str | Path | None,
    table: str | Path | None = None,
    group_by: str | None = None,
    group_pattern: str | None = None,
    skip_bad_clips: bool = False,
    label_folder: str | Path | None = None,
    label_column: str | None = None,
    window_seconds: float | str = "auto",
) -> Listing:
    """Return the clips of a folder or a table; parameters and errors as of :func:`prepare_custom`."""
    if data_folder is None and table is None:
        raise UserError("there are no data: give --data_folder DIR with a folder per class, or --table FILE")
    root = Path(Path(table).parent if data_folder is None else data_folder).expanduser().absolute()
    if root.is_file():
        raise UserError(f"{root}: is a file, expected a folder: give a table as --table {root}")
    if not root.is_dir():
        raise MissingError(f"{root}: no such data folder: correct --data_folder")
    source = root if table is None else Path(table).expanduser().absolute()
    bad, notes = BadClips(source, skip_bad_clips), []
    if table is None:
        if group_by not in (None, NO_GROUPS):
            raise UserError(f"group_by is {shown(group_by)}, a column, but there is no table: give --group_pattern")
        clips, are_selections = _read_folder(root, label_folder, label_column, bad, notes)
    else:
        if label_folder is not None:
            raise UserError("both label_folder and table are given: give the one or the other")
        text = table_text(source)
        are_selections = kind_of(text) is not None
        read = read_selection_table if are_selections else read_table
        clips = read(source, text, root, group_by, bad, notes, label_column)
    headers = _Headers()
    if are_selections or window_seconds != "auto":
        clips = cut_windows(clips, window_seconds, headers, bad, notes)
    clips = _grouped(clips, source, root, group_by, group_pattern, notes)
    named = _named(clips, root)
    good = _good_entries(named, root, headers, bad)
    if not good:
        bad.report(0)
    return Listing(root, source, [named[entry["id"]] for entry in good], good, bad, notes)


# ---- A folder per class, or recordings with label tracks ----


def _read_folder(
    root: Path, label_folder: str | Path | None, label_column: str | None, bad: BadClips, notes: list[str]
) -> tuple[list[ListedClip], bool]:
    """Return the sounds in a folder, and whether they are selections, around which clips are to be cut."""
    paths = find_sounds(root)
    hidden = hidden_folders(root)
    if hidden:
        notes.append(
            f"left out, as hidden, are the sounds in {listed(hidden)}: if these are classes, rename them, or give a "
            "--table, whose labels may begin with a dot"
        )
    place_of_tracks = root if label_folder is None else Path(label_folder).expanduser().absolute()
    if not place_of_tracks.is_dir():
        raise MissingError(f"{place_of_tracks}: no such folder of label tracks: correct --label_folder")
    tracks = find_tracks(place_of_tracks, paths, root) if paths else None
    if tracks:
        splits = _given_splits(root, paths)
        selections = read_tracks(tracks, paths, root, label_column, bad, notes)
        return [replace(selection, split=splits.get(selection.path)) for selection in selections], True
    for option, value in (("label_folder", label_folder), ("label_column", label_column)):
        if value is not None:
            raise UserError(
                f"{option} is {shown(str(value))}, but {place_of_tracks} has no label tracks: expected text files of "
                "Raven or Audacity, named after the recordings, NAME.txt or NAME.Table.1.selections.txt"
            )
    return _read_classes(root, paths, bad), False


def _hidden_words(root: Path) -> str:
    """Return what an error says of folders that are left out; "" if none are."""
    hidden = hidden_folders(root)
    return f"; left out, as hidden, are the sounds in {listed(hidden)}: rename them" if hidden else ""


def _given_splits(root: Path, paths: list[Path]) -> dict[Path, str]:
    """Return the split of each sound, where all lie in folders of splits; nothing if they do not."""
    tops = {path: path.relative_to(root).parts[0].lower() for path in paths}
    kinds = {SPLIT_NAMES.get(top) for top in tops.values()}
    if None in kinds or "train" not in kinds or len(kinds) < 2:
        return {}
    return {path: SPLIT_NAMES[top] for path, top in tops.items()}


def _read_classes(root: Path, paths: list[Path], bad: BadClips) -> list[ListedClip]:
    if not paths:
        more = "" if ffmpeg.is_installed() else f"; files such as {', '.join(ffmpeg.SUFFIXES)}: {ffmpeg.ADVICE}"
        raise UserError(
            f"{root}: holds no sounds ({', '.join(SUFFIXES)}) in folders named after classes{_hidden_words(root)}{more}"
        )
    splits = _given_splits(root, paths)
    has_splits, clips = bool(splits), []
    for path in paths:
        place = path.relative_to(root).parts
        if len(place) < 2 + has_splits:
            where = "/".join(place[:-1]) or str(root)
            bad.add(safe_name(path.stem), f"lies directly in {where}, expected it in a folder named after its class")
            continue
        clips.append(ListedClip(path, utf8_name(place[has_splits]), str(path), splits.get(path)))
    return clips


# ---- Groups, names, audio ----


def _grouped(
    clips: list[ListedClip],
    source: Path,
    root: Path,
    group_by: str | None,
    group_pattern: str | None,
    notes: list[str],
) -> list[ListedClip]:
    """Return the clips with the groups that were asked for; those cut from recordings stay together by default."""
    if group_pattern is None:
        if any(clip.group is not None for clip in clips):
            lacking = [clip for clip in clips if clip.group is None]
            if lacking and group_by is not None:
                raise UserError(f"{lacking[0].where}: {group_by} is empty, expected the group of every clip")
        elif group_by is None and any(clip.is_part for clip in clips):
            notes.append("the clips of one recording stay together in one split (--group_by none: they need not)")
            return [replace(clip, group=utf8_name(place_in(clip.path, root))) for clip in clips]
        return clips
    if group_by is not None:
        raise UserError("both group_by and group_pattern are given: give one of them")
    with user_errors(f"group_pattern is {shown(group_pattern)}, which is no regular expression", re.error):
        pattern = re.compile(str(group_pattern))
    matches = [pattern.search(clip.path.name) for clip in clips]
    unmatched = [clip.path.name for clip, match in zip(clips, matches, strict=True) if not match]
    if unmatched:
        raise UserError(
            f"{source}: group_pattern {shown(group_pattern)} does not match {len(unmatched)} of {len(clips)} file "
            f"names, such as {shown(unmatched[0])}: correct it"
        )
    groups = [(match[1] or "") if pattern.groups else match[0] for match in matches]
    return [replace(clip, group=utf8_name(group)) for clip, group in zip(clips, groups, strict=True)]


def _named(clips: list[ListedClip], root: Path) -> dict[str, ListedClip]:
    """Return the clips by their ids: the path in the data folder, and the times of a clip that is cut from a file."""
    names: dict[str, list[ListedClip]] = defaultdict(list)
    for clip in clips:
        place = clip.path.relative_to(root) if clip.path.is_relative_to(root) else clip.path.relative_to("/")
        name = re.sub(r"[/\\]", "_", printable(utf8_name(str(place.with_suffix("")))))
        times = "-".join(f"{time:.3f}" for time in (clip.start, clip.end) if time is not None)
        names[safe_name(f"{name}_{times}" if clip.is_part else name, 200)].append(clip)
    named = {}
    for name, members in names.items():
        for clip in members:
            key = repr((os.fsencode(clip.path), clip.start, clip.end)).encode()
            named[name if len(members) == 1 else f"{name}~{hashlib.sha256(key).hexdigest()[:8]}"] = clip
    return named


class _Headers(dict):
    """Path of a sound -> its header, or why it cannot be read; each is opened once."""

    def __missing__(self, path: Path) -> AudioHeader | UserError:
        try:
            self[path] = audio_header(path)
        except UserError as fault:
            self[path] = fault
        return self[path]


def _good_entries(named: dict[str, ListedClip], root: Path, headers: _Headers, bad: BadClips) -> list[dict]:
    """Return the manifest entries of the clips whose audio is there and long enough; add the others to ``bad``."""
    entries = []
    for clip_id, clip in tqdm(named.items(), desc="checking clips", unit="clip", disable=None, leave=False):
        header = headers[clip.path]
        if isinstance(header, UserError):
            bad.add(clip_id, str(header))
            continue
        within = clip.path.is_relative_to(root)
        entry = {
            "id": clip_id,
            "wav": f"{DATA_ROOT}/{place_in(clip.path, root)}" if within else str(clip.path),
            "duration": header.duration,
            "sample_rate": header.sample_rate,
            **({"label": clip.label} if clip.labels is None else {"labels": list(clip.labels)}),
        }
        if clip.is_part:
            start, end = clip.start or 0.0, header.duration if clip.end is None else clip.end
            if end > header.duration + ROUNDING or start >= header.duration:
                bad.add(
                    clip_id, f"{clip.where}: {start:g} to {end:g} s lies beyond its recording of {header.duration:g} s"
                )
                continue
            entry |= {"start": start, "duration": min(end, header.duration) - start}
        boxes = clip.boxes
        if boxes is None and (clip.low, clip.high) != (None, None):
            band = {name: value for name, value in (("low", clip.low), ("high", clip.high)) if value is not None}
            boxes = [{"label": label, "start": 0.0, "end": entry["duration"], **band} for label in clip.names]
        if boxes:
            fault = boxes_fault(boxes, entry["duration"])
            if fault:
                bad.add(clip_id, f"{clip.where}: {fault}")
                continue
            entry["boxes"] = boxes
        entries.append(entry)
    return entries


def _refuse_one_class(clips: list[ListedClip], source: Path, folder: Path | None) -> None:
    labels = sorted({label for clip in clips for label in clip.names})
    if not labels:
        raise UserError(f"{source}: no clip has a label: fill the column labels, with a;b for a clip of two")
    # Of clips that may have none, one class is there or not.
    if len(labels) < 2 and clips[0].labels is None:
        inner = folder is not None and any(len(clip.path.relative_to(folder).parts) > 2 for clip in clips)
        hint = f" (if its folders are the classes, give {folder / labels[0]})" if inner else ""
        hint += "" if folder is None else _hidden_words(folder)
        raise UserError(f"{source}: has only one class, {shown(labels[0])}, expected at least two{hint}")


def _identity(entries: list[dict]) -> str:
    """Return what tells sets of clips apart, however they are split."""
    keys = ("wav", "start", "duration", "labels" if any("labels" in entry for entry in entries) else "label")
    lines = sorted(json.dumps([entry.get(key) for key in keys]) for entry in entries)
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def _end(start: float, duration: float) -> float:
    """Return the time that lies exactly ``duration`` after ``start``, also when it is subtracted again."""
    end = start + duration
    near = (end, math.nextafter(end, math.inf), math.nextafter(end, 0.0))
    return next((time for time in near if time - start == duration), end)


def _write_splits(folder: Path, kept: list[tuple[dict, str]]) -> None:
    """Write the table of the splits: path, label, split, and what else clips have."""
    optional = [name for name in ("fold", "group", "start") if any(name in entry for entry, _ in kept)]
    further = [name for name, of in (("end", "start"), ("boxes", "boxes")) if any(of in entry for entry, _ in kept)]
    column = "labels" if any("labels" in entry for entry, _ in kept) else "label"
    rows = [["path", column, "split", *optional, *further]]
    for entry, split in kept:
        values = {**entry, "boxes": json.dumps(entry["boxes"], ensure_ascii=False) if "boxes" in entry else ""}
        values |= {"end": repr(_end(entry["start"], entry["duration"]))} if "start" in entry else {}
        path = entry["wav"].removeprefix(f"{DATA_ROOT}/")
        label = entry["label"] if column == "label" else join_labels(entry["labels"])
        rows.append([path, label, split, *(values.get(name, "") for name in (*optional, *further))])
    path, text = folder / SPLITS_TABLE, csv_text(rows)
    same = path.is_file() and path.read_bytes() == text.encode("utf-8", "backslashreplace")
    claim(folder, [SPLITS_TABLE], known=[SPLITS_TABLE] if same else [])
    if not same:
        write_text(path, text)
