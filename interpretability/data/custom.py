"""Sounds of any origin: a folder per class or a table of paths and labels, and splits where there are none."""

import csv
import hashlib
import io
import json
import os
import re
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tqdm import tqdm

from interpretability.data import ffmpeg
from interpretability.data.audio import SUFFIXES, AudioHeader, audio_header, find_sounds
from interpretability.data.manifest import DATA_ROOT, SPLITS, BadClips, PreparedData, write_manifests
from interpretability.data.splits import thin_classes
from interpretability.data.splitting import ChosenFolds, choose_splits, group_names, with_folds
from interpretability.data.tables import NO_GROUPS, SPLIT_NAMES, ListedClip, read_table
from interpretability.errors import MissingError, UserError, shown, user_errors
from interpretability.files import claim, write_text
from interpretability.names import printable, safe_name, utf8_name

#: The table of the splits, beside the manifests; it can be given as ``table`` again.
SPLITS_TABLE = "splits.csv"
#: How far the end of a clip may lie behind that of its recording, s: others round it.
_ROUNDING = 0.01


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
    listing = list_clips(data_folder, table, group_by, group_pattern, skip_bad_clips)
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
        clips = _read_folder(root, bad)
    else:
        clips = read_table(source, root, group_by, bad, notes)
    clips = _grouped(clips, source, group_by, group_pattern, notes)
    named = _named(clips, root)
    good = _good_entries(named, root, bad)
    if not good:
        bad.report(0)
    return Listing(root, source, [named[entry["id"]] for entry in good], good, bad, notes)


# ---- A folder per class ----


def _read_folder(root: Path, bad: BadClips) -> list[ListedClip]:
    paths = find_sounds(root)
    if not paths:
        more = "" if ffmpeg.is_installed() else f"; files such as {', '.join(ffmpeg.SUFFIXES)}: {ffmpeg.ADVICE}"
        raise UserError(f"{root}: holds no sounds ({', '.join(SUFFIXES)}) in folders named after classes{more}")
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
        clips.append(ListedClip(path, utf8_name(place[has_splits]), str(path), split))
    return clips


# ---- Groups, names, audio ----


def _grouped(
    clips: list[ListedClip], source: Path, group_by: str | None, group_pattern: str | None, notes: list[str]
) -> list[ListedClip]:
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


def _good_entries(named: dict[str, ListedClip], root: Path, bad: BadClips) -> list[dict]:
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


def _refuse_one_class(clips: list[ListedClip], source: Path, folder: Path | None) -> None:
    labels = sorted({clip.label for clip in clips})
    if len(labels) < 2:
        inner = folder is not None and any(len(clip.path.relative_to(folder).parts) > 2 for clip in clips)
        hint = f" (if its folders are the classes, give {folder / labels[0]})" if inner else ""
        raise UserError(f"{source}: has only one class, {shown(labels[0])}, expected at least two{hint}")


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
