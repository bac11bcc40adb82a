"""Sounds of any origin: a folder per class or a table of paths and labels, and splits where there are none."""

import codecs
import csv
import functools
import hashlib
import io
import json
import math
import os
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tqdm import tqdm

from interpretability.data.audio import SUFFIXES, AudioHeader, audio_header, find_sounds
from interpretability.data.esc50 import parse_folds
from interpretability.data.manifest import DATA_ROOT, SPLITS, BadClips, PreparedData, write_manifests
from interpretability.data.splits import assign, refuse_shared_groups, thin_classes
from interpretability.errors import MissingError, UserError, placed, shown, user_errors
from interpretability.files import claim, write_text
from interpretability.names import printable, safe_name, utf8_name
from interpretability.reading import parse_json, read_bytes

#: The table of the splits, beside the manifests; it can be given as ``table`` again.
SPLITS_TABLE = "splits.csv"
#: What a split may be called.
SPLIT_NAMES = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("valid", "validation", "val", "dev"), "valid"),
    **dict.fromkeys(("test", "testing", "eval"), "test"),
}
#: Column -> the names that it may have, in any case.
COLUMNS = {
    "path": ("path", "file", "filename", "file_name", "wav", "audio"),
    "label": ("label", "class", "category", "labels"),
    **{name: (name,) for name in ("split", "fold", "group", "start", "end")},
}
_DELIMITERS = ",\t;|"
_MOST_BYTES = 2**28  # of a table: two million clips and more
#: Names of sounds that libsndfile does not read.
_UNREADABLE = (".aac", ".amr", ".m4a", ".mp4", ".webm", ".wma")
#: How far the end of a clip may lie behind that of its recording, s: others round it.
_ROUNDING = 0.01
#: In place of a column: each clip is a group of its own.
NO_GROUPS = "none"


@dataclass(frozen=True)
class _Clip:
    """A row of a table, or a sound in a folder.

    ``where`` is its place, for messages; what is not given is None.
    """

    path: Path
    label: str
    where: str
    split: str | None = None
    fold: int | None = None
    group: str | None = None
    start: float | None = None
    end: float | None = None

    @property
    def is_part(self) -> bool:
        return self.start is not None or self.end is not None


def prepare_custom(
    data_folder: str | Path | None,
    manifest_folder: str | Path,
    *,
    table: str | Path | None = None,
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
        Without a table: ``CLASS/…`` or ``{train,valid,test}/CLASS/…``, nested at will. With one, where relative paths
        start that do not start from the table's own folder, which is also the default.
    manifest_folder : path
        Where to write; made when needed.
    table : path, optional
        CSV (any of comma, semicolon, tabulator, bar) or JSON lines with ``path`` and ``label`` (:data:`COLUMNS`); and
        optionally ``split``, ``fold``, ``group``, and ``start`` and ``end`` in seconds, which cut clips from their
        recordings.
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
        row has impossible values; if a clip is bad, or its class has no training clips; if given splits share a group.
    """
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
        clips = _read_folder(root, bad, notes)
    else:
        clips = _read_table(source, root, group_by, bad, notes)
    clips = _grouped(clips, source, group_by, group_pattern, notes)
    named = _named(clips, root)
    good = _good_entries(named, root, bad)
    if not good:
        bad.report(0)
    clips = [named[entry["id"]] for entry in good]
    _note_classes(clips, source, root if table is None else None, notes)
    settings = {
        "valid_share": valid_share,
        "test_share": test_share,
        "valid_groups": _names(valid_groups),
        "test_groups": _names(test_groups),
        "seed": split_seed,
    }
    if folds is not None:
        clips = _with_folds(clips, source, folds, split_seed)
    chosen = _Folds(valid_folds, test_folds)
    splits, origin = _split(clips, source, settings, chosen, notes)
    for entry, clip in zip(good, clips, strict=True):
        entry |= {} if clip.fold is None else {"fold": clip.fold}
        entry |= {} if clip.group is None else {"group": clip.group}
    trained = {clip.label for clip, split in zip(clips, splits, strict=True) if split == "train"}
    for entry, split in zip(good, splits, strict=True):
        if split != "train" and entry["label"] not in trained:
            bad.add(entry["id"], f"its label {shown(entry['label'])} has no clip in train, but is in {split}")
    bad.report(sum(entry["label"] in trained for entry in good))
    kept = [(entry, split) for entry, split in zip(good, splits, strict=True) if entry["label"] in trained]
    by_split: dict[str, list[dict]] = {
        split: [entry for entry, chosen_split in kept if chosen_split == split] for split in SPLITS
    }
    thin = thin_classes([entry["label"] for entry, _ in kept], [split for _, split in kept], SPLITS)
    if thin:
        notes.append(f"{thin}; they are trained on, and measured where they can be")
    description = {"name": "Custom", "clips": _identity([entry for entry, _ in kept]), "splits": origin}
    if "folds" in origin:
        description["folds"] = origin.pop("folds")
    prepared = write_manifests(manifest_folder, root, sorted(trained), by_split, description, bad.skipped)
    _write_splits(Path(manifest_folder), kept)
    counts = ", ".join(f"{split} {len(members)}" for split, members in by_split.items())
    notes.append(f"{len(trained)} classes; clips: {counts}; listed in {Path(manifest_folder) / SPLITS_TABLE}")
    return replace(prepared, notes=notes)


# ---- A folder per class ----


def _read_folder(root: Path, bad: BadClips, notes: list[str]) -> list[_Clip]:
    paths = find_sounds(root)
    unread = sum(1 for path in root.rglob("*") if path.suffix.lower() in _UNREADABLE)
    advice = f"convert them first: ffmpeg -i NAME{_UNREADABLE[2]} NAME.wav"
    if not paths:
        more = f"; its {unread} files such as {_UNREADABLE[2]} cannot be read: {advice}" if unread else ""
        raise UserError(f"{root}: holds no sounds ({', '.join(SUFFIXES)}) in folders named after classes{more}")
    if unread:
        notes.append(f"{unread} files ({', '.join(_UNREADABLE)}) are left out, as they cannot be read: {advice}")
    places = {path: path.relative_to(root).parts for path in paths}
    kinds = {SPLIT_NAMES.get(place[0].lower()) for place in places.values()}
    has_splits = None not in kinds and "train" in kinds and len(kinds) > 1
    clips = []
    for path, place in places.items():
        if len(place) < 2 + has_splits:
            where = "/".join(place[:-1]) or str(root)
            bad.add(safe_name(path.stem), f"lies directly in {where}, expected it in a folder named after its class")
            continue
        split = SPLIT_NAMES[place[0].lower()] if has_splits else None
        clips.append(_Clip(path, utf8_name(place[has_splits]), str(path), split))
    return clips


# ---- A table ----


def _read_table(table: Path, root: Path, group_by: str | None, bad: BadClips, notes: list[str]) -> list[_Clip]:
    content = read_bytes(table, _MOST_BYTES)
    wide = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    with user_errors(f"{table}: not text in UTF-8", UnicodeDecodeError, advice=": save it as UTF-8"):
        text = content.decode("utf-16" if wide else "utf-8-sig")
    is_json = table.suffix.lower() in (".json", ".jsonl", ".ndjson") or text.lstrip().startswith("{")
    rows = _json_rows(text, table) if is_json else _csv_rows(text, table)
    if not rows:
        raise UserError(f"{table}: lists no clips: add a line for each clip")
    names = _columns(rows, table, group_by)
    locate = functools.cache(lambda name: _located(name, table.parent, root))
    clips: dict[tuple, _Clip] = {}
    missing: list[tuple[str, str]] = []
    n_again = 0
    for where, row in rows:
        value = {column: row.get(name) for column, name in names.items()}
        name = _text(value["path"], "path", where)
        path = locate(name)
        if path is None:
            missing.append((where, name))
            continue
        try:
            clip = _clip(path, value, where)
        except _BadRow as fault:
            bad.add(safe_name(Path(name).stem), str(fault))
            continue
        known = clips.setdefault((path, clip.start, clip.end), clip)
        if known.label != clip.label:
            raise UserError(
                f"{where}: {shown(name)} is {shown(clip.label)} here and {shown(known.label)} in "
                f"{known.where.removeprefix(f'{table}, ')}: a clip has one label; correct one of them"
            )
        n_again += known is not clip
    if missing and not bad.skip:
        first = ", ".join(f"{shown(name)} ({where.removeprefix(f'{table}, ')})" for where, name in missing[:3])
        raise MissingError(
            f"{table}: {len(missing)} of {len(rows)} paths do not exist, the first {first}: paths start from "
            f"{table.parent} or from {root} (--data_folder), or are absolute (to leave them out: --skip_bad_clips True)"
        )
    for where, name in missing:
        bad.add(safe_name(Path(name).stem), f"{where}: {shown(name)}: no such file")
    if n_again:
        notes.append(f"{n_again} rows list a clip once more, with the same label; it counts once")
    return list(clips.values())


class _BadRow(UserError):
    """A row whose clip is left out when bad clips are skipped."""


def _csv_rows(text: str, table: Path) -> list[tuple[str, dict[str, Any]]]:
    """Return (place, column -> text) of every row; the delimiter is the one that finds columns in the first line."""

    def read(delimiter: str) -> csv.reader:
        return csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, skipinitialspace=True, strict=True)

    with user_errors(f"{table}: is not a table", csv.Error, advice=": check its quotes"):
        heads = {}
        for delimiter in _DELIMITERS:
            heads[delimiter] = [name.strip().lower() for name in next(read(delimiter), [])]
        delimiter = max(_DELIMITERS, key=lambda each: (_n_known(heads[each]), len(heads[each])))
        head = heads[delimiter]
        twice = [name for name, n in Counter(head).items() if n > 1]
        if twice:
            raise UserError(f"{table}: has the column {shown(twice[0])} twice: rename one")
        rows, reader = [], read(delimiter)
        next(reader, None)
        for row in reader:
            if not any(value.strip() for value in row):
                continue
            where = f"{table}, line {reader.line_num}"
            if len(row) != len(head):
                raise UserError(
                    f"{where}: has {len(row)} values, expected {len(head)} separated by {shown(delimiter)}, as in the "
                    "first line: use one separator, and put quotes around a value that holds it"
                )
            rows.append((where, dict(zip(head, row, strict=True))))
    if not rows and _n_known(head) < 2:
        raise _lacking(table, head)
    return rows


def _json_rows(text: str, table: Path) -> list[tuple[str, dict[str, Any]]]:
    rows = []
    for number, line in enumerate(text.splitlines(), 1):
        if line.strip():
            where = f"{table}, line {number}"
            row = parse_json(line, where, advice="expected one JSON object per line")
            if not isinstance(row, dict):
                raise UserError(f"{where}: is {shown(row)}, expected a JSON object with path and label")
            rows.append((where, {name.strip().lower(): value for name, value in row.items()}))
    return rows


def _columns(rows: list[tuple[str, dict[str, Any]]], table: Path, group_by: str | None) -> dict[str, str]:
    """Return which name each of :data:`COLUMNS` has in the table, of those that it has."""
    present = dict.fromkeys(name for _, row in rows for name in row)
    names = {}
    for column, known in COLUMNS.items():
        name = next((name for name in known if name in present), None)
        if name is not None:
            names[column] = name
    if not {"path", "label"} <= names.keys():
        raise _lacking(table, present)
    if group_by == NO_GROUPS:
        names.pop("group", None)
    elif group_by is not None:
        if str(group_by).lower() not in present:
            raise UserError(
                f"group_by is {shown(group_by)}, but {table} has no such column; it has {', '.join(present)}"
            )
        names["group"] = str(group_by).lower()
    return names


def _n_known(head: Sequence[str]) -> int:
    return sum(any(name in known for name in head) for known in COLUMNS.values())


def _lacking(table: Path, present: Iterable[str]) -> UserError:
    present = list(present)
    lacks = [column for column in ("path", "label") if not any(name in present for name in COLUMNS[column])]
    has = ", ".join(shown(name, 40) for name in present[:20]) or "nothing"
    return UserError(
        f"{table}: lacks the column{'s' if len(lacks) > 1 else ''} {' and '.join(lacks)}; its first line has {has}: "
        "name the columns there: path, label, and if needed split, fold, group, start, end"
    )


def _clip(path: Path, value: dict[str, Any], where: str) -> _Clip:
    """Return what a row says; a :class:`_BadRow` if its times make no sense."""
    label = _text(_single(value["label"], where), "label", where)
    split = _text(value.get("split"), "split", where, optional=True)
    if split is not None and split.lower() not in SPLIT_NAMES:
        raise UserError(f"{where}: split is {shown(split)}, expected train, valid or test")
    fold = _text(value.get("fold"), "fold", where, optional=True)
    try:
        fold = None if fold is None else int(fold)
    except ValueError as error:
        raise UserError(f"{where}: fold is {shown(fold)}, expected a whole number") from error
    start, end = (_seconds(value.get(name), name, where) for name in ("start", "end"))
    if end is not None and not (start or 0.0) < end:
        raise _BadRow(f"{where}: start is {start or 0.0:g} s and end {end:g} s, expected start before end")
    group = _text(value.get("group"), "group", where, optional=True)
    return _Clip(path, utf8_name(label), where, split and SPLIT_NAMES[split.lower()], fold, group, start, end)


def _single(label: Any, where: str) -> Any:
    several = label if isinstance(label, list) else str(label).split(";") if isinstance(label, str) else [label]
    several = [part for part in several if not isinstance(part, str) or part.strip()]
    if len(several) > 1:
        raise UserError(
            f"{where}: the clip has {len(several)} labels, {shown(label)}: classifiers are trained on one label per "
            "clip so far; give each clip its main one (a label must not hold a semicolon)"
        )
    return several[0] if several else ""


def _text(value: Any, name: str, where: str, optional: bool = False) -> str | None:
    """Return a value as text without spaces around it; a number of a JSON line as Python writes it."""
    if value is None or (isinstance(value, str) and not value.strip()):
        if optional:
            return None
        raise UserError(f"{where}: {name} is empty, expected a value in every line")
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise UserError(f"{where}: {name} is {shown(value)}, expected a text")
    return str(value).strip()


def _seconds(value: Any, name: str, where: str) -> float | None:
    text = _text(value, name, where, optional=True)
    try:
        seconds = None if text is None else float(text)
    except ValueError:
        seconds = math.nan
    if seconds is not None and not 0 <= seconds < math.inf:
        raise _BadRow(f"{where}: {name} is {shown(text)}, expected a number of seconds >= 0, with a decimal point")
    return seconds


def _located(name: str, *folders: Path) -> Path | None:
    """Return the file of a path in a table, which may have the separators of Windows; None if there is none."""
    for text in dict.fromkeys((name, name.replace("\\", "/"))):
        for folder in folders:
            path = os.path.normpath(folder / Path(text).expanduser())
            if os.path.isfile(path):
                return Path(path)
    return None


# ---- Groups, names, audio ----


def _grouped(
    clips: list[_Clip], source: Path, group_by: str | None, group_pattern: str | None, notes: list[str]
) -> list[_Clip]:
    """Return the clips with the groups that were asked for; those cut from recordings stay together by default."""
    if group_pattern is None:
        if any(clip.group is not None for clip in clips):
            lacking = [clip for clip in clips if clip.group is None]
            if lacking and group_by is not None:
                raise UserError(f"{lacking[0].where}: {group_by} is empty, expected the group of every clip")
        elif group_by is None and any(clip.is_part for clip in clips):
            notes.append("the clips of one recording stay together in one split (--group_by none: they need not)")
            return [replace(clip, group=str(clip.path)) for clip in clips]
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


def _named(clips: list[_Clip], root: Path) -> dict[str, _Clip]:
    """Return the clips by their ids: the path in the data folder, and the times of a clip that is cut from a file."""
    names: dict[str, list[_Clip]] = defaultdict(list)
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


def _good_entries(named: dict[str, _Clip], root: Path, bad: BadClips) -> list[dict]:
    """Return the manifest entries of the clips whose audio is there and long enough; add the others to ``bad``."""
    headers: dict[Path, AudioHeader | UserError] = {}
    entries = []
    for clip_id, clip in tqdm(named.items(), desc="checking clips", unit="clip", disable=None, leave=False):
        if clip.path not in headers:
            try:
                headers[clip.path] = audio_header(clip.path)
            except UserError as fault:
                headers[clip.path] = fault
        header = headers[clip.path]
        if isinstance(header, UserError):
            bad.add(clip_id, str(header))
            continue
        within = clip.path.is_relative_to(root)
        entry = {
            "id": clip_id,
            "wav": f"{DATA_ROOT}/{clip.path.relative_to(root).as_posix()}" if within else str(clip.path),
            "duration": header.duration,
            "sample_rate": header.sample_rate,
            "label": clip.label,
        }
        if clip.is_part:
            start, end = clip.start or 0.0, header.duration if clip.end is None else clip.end
            if end > header.duration + _ROUNDING or start >= header.duration:
                bad.add(
                    clip_id, f"{clip.where}: {start:g} to {end:g} s lies beyond its recording of {header.duration:g} s"
                )
                continue
            entry |= {"start": start, "duration": min(end, header.duration) - start}
        entries.append(entry)
    return entries


def _note_classes(clips: list[_Clip], source: Path, folder: Path | None, notes: list[str]) -> None:
    """Refuse a single class, and note classes whose names differ only by case."""
    labels = sorted({clip.label for clip in clips})
    if len(labels) < 2:
        inner = folder is not None and any(len(clip.path.relative_to(folder).parts) > 2 for clip in clips)
        hint = f" (if its folders are the classes, give {folder / labels[0]})" if inner else ""
        raise UserError(f"{source}: has only one class, {shown(labels[0])}, expected at least two{hint}")
    alike: dict[str, list[str]] = defaultdict(list)
    for label in labels:
        alike[label.casefold()].append(label)
    for names in [names for names in alike.values() if len(names) > 1][:5]:
        notes.append(f"the classes {' and '.join(map(shown, names))} differ only by case; they are kept apart")


# ---- Splits ----


@dataclass(frozen=True)
class _Folds:
    """Which folds select and test."""

    valid: Any
    test: Any


def _split(
    clips: list[_Clip], source: Path, settings: dict[str, Any], chosen: _Folds, notes: list[str]
) -> tuple[list[str], dict[str, Any]]:
    """Return the split of every clip, and what the results say about how they were made.

    They are those that were given, or made of folds, or made; groups are never split.
    """
    groups = _groups(clips)
    labels = [clip.label for clip in clips]
    shares = {"test": settings["test_share"], "valid": settings["valid_share"]}
    for split, share in shares.items():
        if isinstance(share, bool) or not isinstance(share, int | float) or not 0 < share < 1:
            raise UserError(f"{split}_share is {shown(share)}, expected a number between 0 and 1")
    if sum(shares.values()) >= 1:
        raise UserError(f"valid_share and test_share are {sum(shares.values()):g} together, expected less than 1")
    shares["train"] = 1 - sum(shares.values())
    seed, given = settings["seed"], [clip.split for clip in clips]
    picked = {split: settings[f"{split}_groups"] for split in ("valid", "test") if settings[f"{split}_groups"]}
    by_folds = any(clip.fold is not None for clip in clips)
    if picked and (by_folds or any(given)):
        raise UserError(f"{source}: splits or folds are given, so that {'_groups, '.join(picked)}_groups cannot be")
    if any(given):
        return _given_splits(clips, source, groups, shares, seed, notes)
    if by_folds:
        return _splits_of_folds(clips, source, groups, chosen, notes)
    fixed = _picked_groups(picked, {clip.group for clip in clips if clip.group is not None}, source)
    shares = {split: share for split, share in shares.items() if split not in picked}
    with placed(source):
        splits = assign(groups, labels, shares, seed, fixed, home="train")
    notes.append(f"splits are made, with the seed {seed}{_which_groups(clips, splits)}")
    return splits, {"by": "seed", **settings}


def _which_groups(clips: list[_Clip], splits: list[str]) -> str:
    """Return in words the groups that select and test."""
    places = {clip.group: split for clip, split in zip(clips, splits, strict=True) if clip.group is not None}
    words = []
    for split in ("valid", "test"):
        names = sorted(group for group, chosen_split in places.items() if chosen_split == split)
        if names:
            listed = ", ".join(shown(name, 40) for name in names[:5]) + (", …" if len(names) > 5 else "")
            words.append(f"{split} is the group{'s' if len(names) > 1 else ''} {listed}")
    return f": {'; '.join(words)}" if words else ""


def _picked_groups(picked: dict[str, list[str]], known: set[str], source: Path) -> dict[str, str]:
    fixed: dict[str, str] = {}
    for split, names in picked.items():
        for name in names:
            if name not in known:
                few = ", ".join(shown(group, 40) for group in sorted(known)[:10]) or "none: give --group_by"
                raise UserError(f"{split}_groups names {shown(name)}, but the groups of {source} are {few}")
            if name in fixed:
                raise UserError(f"valid_groups and test_groups both name {shown(name)}: a group belongs to one split")
            fixed[name] = split
    return fixed


def _given_splits(
    clips: list[_Clip], source: Path, groups: list[str], shares: dict[str, float], seed: int, notes: list[str]
) -> tuple[list[str], dict[str, Any]]:
    """Return the splits that were given, and take valid or test from train if it was not."""
    lacking = next((clip for clip in clips if clip.split is None), None)
    if lacking is not None:
        raise UserError(f"{lacking.where}: has no split, though other clips have: expected train, valid or test")
    splits = [clip.split for clip in clips]
    refuse_shared_groups(groups, splits, str(source))
    if "train" not in splits:
        raise UserError(f"{source}: the given splits have no clip in train, expected some in train, valid and test")
    absent = [split for split in ("valid", "test") if split not in splits]
    if absent:
        places = [place for place, split in enumerate(splits) if split == "train"]
        chosen_groups, labels = [groups[place] for place in places], [clips[place].label for place in places]
        few = {split: shares[split] for split in (*absent, "train")}
        with placed(source):
            parts = assign(chosen_groups, labels, few, seed, home="train")
        for place, part in zip(places, parts, strict=True):
            splits[place] = part
        notes.append(f"there is no {' and no '.join(absent)} split, so it is taken from train, with the seed {seed}")
    return splits, {"by": "given", **({"taken": absent, "seed": seed} if absent else {})}


def _splits_of_folds(
    clips: list[_Clip], source: Path, groups: list[str], chosen: _Folds, notes: list[str]
) -> tuple[list[str], dict[str, Any]]:
    """Return the splits that folds make."""
    folds = [clip.fold for clip in clips]
    lacking = next((clip for clip in clips if clip.fold is None), None)
    if lacking is not None:
        raise UserError(f"{lacking.where}: has no fold, though other clips have: expected a whole number")
    available = sorted(set(folds))
    if len(available) < 3:
        raise UserError(f"{source}: has the folds {available} alone, expected at least three")
    test = available[-1:] if chosen.test is None else parse_folds(chosen.test, "test_folds")
    left = [fold for fold in available if fold not in test]
    valid = left[-1:] if chosen.valid is None else parse_folds(chosen.valid, "valid_folds")
    used = {"train": [fold for fold in left if fold not in valid], "valid": valid, "test": test}
    shared, unknown = set(valid) & set(test), {*valid, *test} - {*available}
    if shared or unknown or not used["train"]:
        raise UserError(
            f"{source}: valid_folds {valid} and test_folds {test} do not fit the folds {available}: expected different "
            "ones of these, and one that is left to train on"
        )
    split_of = {fold: split for split, members in used.items() for fold in members}
    splits = [split_of[fold] for fold in folds]
    refuse_shared_groups(groups, splits, str(source))
    notes.append(f"folds: {', '.join(f'{split} {members}' for split, members in used.items())}")
    return splits, {"by": "folds", "folds": used}


def _with_folds(clips: list[_Clip], source: Path, number: int, seed: int) -> list[_Clip]:
    """Return the clips in so many folds, of equal size and with equal shares of the classes."""
    if any(clip.fold is not None or clip.split is not None for clip in clips):
        raise UserError(f"{source}: has folds or splits of its own, so that none are made: leave out --folds")
    if isinstance(number, bool) or not isinstance(number, int) or not 3 <= number <= 1000:
        raise UserError(f"folds is {shown(number)}, expected a whole number from 3 to 1000")
    names = {str(fold): 1.0 for fold in range(1, number + 1)}
    with placed(source):
        folds = assign(_groups(clips), [clip.label for clip in clips], names, seed)
    return [replace(clip, fold=int(fold)) for clip, fold in zip(clips, folds, strict=True)]


def _groups(clips: list[_Clip]) -> list[str]:
    """Return the group of every clip: of one without, the clip itself."""
    return [clip.group if clip.group is not None else f"clip {place}" for place, clip in enumerate(clips)]


def _names(value: Any) -> list[str]:
    """Return one name or several as a list of texts."""
    if value is None:
        return []
    return [str(name) for name in (value if isinstance(value, list | tuple) else [value])]


def _identity(entries: list[dict]) -> str:
    """Return what tells sets of clips apart, however they are split."""
    keys = ("wav", "start", "duration", "label")
    lines = sorted(json.dumps([entry.get(key) for key in keys]) for entry in entries)
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def _write_splits(folder: Path, kept: list[tuple[dict, str]]) -> None:
    """Write the table of the splits: path, label, split, and what else clips have."""
    optional = [name for name in ("fold", "group", "start") if any(name in entry for entry, _ in kept)]
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(["path", "label", "split", *optional, *(["end"] if "start" in optional else [])])
    for entry, split in kept:
        end = [repr(entry["start"] + entry["duration"]) if "start" in entry else ""] if "start" in optional else []
        path = entry["wav"].removeprefix(f"{DATA_ROOT}/")
        writer.writerow([path, entry["label"], split, *(entry.get(name, "") for name in optional), *end])
    path, text = folder / SPLITS_TABLE, stream.getvalue()
    same = path.is_file() and path.read_bytes() == text.encode("utf-8", "backslashreplace")
    claim(folder, [SPLITS_TABLE], known=[SPLITS_TABLE] if same else [])
    if not same:
        write_text(path, text)
