"""Tables of clips, one a row: CSV of any separator or JSON lines, their columns, and what a row may say."""

import codecs
import csv
import functools
import io
import math
import os
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from interpretability.data.manifest import BadClips
from interpretability.errors import MissingError, UserError, shown, user_errors
from interpretability.names import safe_name, utf8_name
from interpretability.reading import parse_json, read_bytes

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
#: In place of a column: each clip is a group of its own.
NO_GROUPS = "none"


@dataclass(frozen=True)
class ListedClip:
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


def read_table(table: Path, root: Path, group_by: str | None, bad: BadClips, notes: list[str]) -> list[ListedClip]:
    """Return the clips of a table, each once, in its order.

    Parameters
    ----------
    table : Path
        CSV of any of the separators or JSON lines, in UTF-8 or UTF-16; its columns are :data:`COLUMNS`.
    root : Path
        Where paths start that do not start from the table's own folder.
    group_by : str, optional
        The column with the groups, in place of ``group``; :data:`NO_GROUPS`: none.
    bad : BadClips
        Gets the clips whose file does not exist, whose times make no sense, or that have two labels.
    notes : list of str
        Gets a line about rows that say the same again.

    Returns
    -------
    list of ListedClip

    Raises
    ------
    MissingError
        If the table or paths in it do not exist, unless bad clips are skipped.
    UserError
        If it is not a table, lacks a column, or a row has impossible values.
    """
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
    clips: dict[tuple, ListedClip] = {}
    missing: list[tuple[str, str]] = []
    contradictory: set[tuple] = set()
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
            contradictory.add((path, clip.start, clip.end))
            bad.add(
                safe_name(Path(name).stem),
                f"{where}: {shown(name)} is {shown(clip.label)} here and {shown(known.label)} in "
                f"{known.where.removeprefix(f'{table}, ')}: a clip has one label; correct one of them",
            )
        n_again += known is not clip and known.label == clip.label
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
    return [clip for key, clip in clips.items() if key not in contradictory]


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


def _clip(path: Path, value: dict[str, Any], where: str) -> ListedClip:
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
    return ListedClip(path, utf8_name(label), where, split and SPLIT_NAMES[split.lower()], fold, group, start, end)


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
