"""Tables of clips, one a row: CSV of any separator or JSON lines, their columns, and what a row may say."""

import codecs
import csv
import functools
import io
import math
import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from interpretability.data.manifest import BadClips
from interpretability.errors import MissingError, UserError, shown, user_errors
from interpretability.names import join_labels, safe_name, utf8_name
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
    "label": ("label", "class", "category"),
    "labels": ("labels",),
    **{name: (name,) for name in ("split", "fold", "group", "start", "end", "low", "high", "boxes")},
}
#: The columns that are read where clips need no labels.
OF_A_SOUND = ("path", "start", "end", "label", "labels")
_DELIMITERS = ",\t;|"
_MOST_BYTES = 2**28  # of a table: two million clips and more
#: In place of a column: each clip is a group of its own.
NO_GROUPS = "none"


@dataclass(frozen=True)
class ListedClip:
    """A row of a table, or a sound in a folder.

    ``where`` is its place, for messages; what is not given is None. ``labels`` are those of a clip that may have
    several, of which ``label`` is then the text. ``start`` and ``end`` are in seconds; ``low`` and
    ``high``, in Hz, are the band of what was marked; ``boxes`` are those of a clip, as of :mod:`.boxes`.
    """

    path: Path
    label: str
    where: str
    split: str | None = None
    fold: int | None = None
    group: str | None = None
    start: float | None = None
    end: float | None = None
    low: float | None = None
    high: float | None = None
    boxes: list[dict[str, Any]] | None = None
    labels: tuple[str, ...] | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """Its labels, whether it may have several or not."""
        return (self.label,) if self.labels is None else self.labels

    @property
    def is_part(self) -> bool:
        return self.start is not None or self.end is not None


def table_text(table: Path) -> str:
    """Return the text of a table in UTF-8 or, with a byte order mark, in UTF-16.

    Raises
    ------
    MissingError
        If there is no such file.
    UserError
        If it is too large, or not text.
    """
    content = read_bytes(table, _MOST_BYTES)
    with user_errors(f"{table}: not text in UTF-8", UnicodeDecodeError, advice=": save it as UTF-8"):
        return decoded(content)


def decoded(content: bytes, errors: str = "strict") -> str:
    """Return bytes as text: UTF-8 or, with a byte order mark, UTF-16; ``errors`` as of :meth:`bytes.decode`."""
    wide = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    return content.decode("utf-16" if wide else "utf-8-sig", errors)


def read_table(
    table: Path,
    text: str,
    root: Path,
    group_by: str | None,
    bad: BadClips,
    notes: list[str],
    label_column: str | None = None,
    labelled: bool = True,
) -> list[ListedClip]:
    """Return the clips of a table, each once, in its order.

    Parameters
    ----------
    table : Path
    text : str
        What it holds: CSV of any of the separators or JSON lines; its columns are :data:`COLUMNS`.
    root : Path
        Where paths start that do not start from the table's own folder.
    group_by : str, optional
        The column with the groups, in place of ``group``; :data:`NO_GROUPS`: none.
    bad : BadClips
        Gets the clips whose file does not exist, whose times make no sense, or that have two labels.
    notes : list of str
        Gets a line about rows that say the same again.
    label_column : str, optional
        The column with the labels, in place of ``label``.
    labelled : bool
        Whether clips must have labels. Otherwise only ``path``, ``start``, ``end`` and, if there are any, labels are
        read: the label of a clip without one is "".

    Returns
    -------
    list of ListedClip

    Raises
    ------
    MissingError
        If paths in it do not exist, unless bad clips are skipped.
    UserError
        If it is not a table, lacks a column, or a row has impossible values.
    """
    is_json = table.suffix.lower() in (".json", ".jsonl", ".ndjson") or text.lstrip().startswith("{")
    head, rows = ([], _json_rows(text, table)) if is_json else csv_rows(text, table)
    if not rows and not is_json and _n_known(head) < 1 + labelled:
        raise _lacking(table, head, labelled)
    if not rows:
        raise UserError(f"{table}: lists no clips: add a line for each clip")
    names = _columns(rows, table, group_by, label_column, labelled)
    locate = functools.cache(lambda name: located(name, table.parent, root))
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
            clip = _clip(path, value, where, labelled)
        except BadRow as fault:
            bad.add(safe_name(Path(name).stem), str(fault))
            continue
        known = clips.setdefault((path, clip.start, clip.end), clip)
        if known.label != clip.label:
            contradictory.add((path, clip.start, clip.end))
            bad.add(
                safe_name(Path(name).stem),
                f"{where}: {shown(name)} is {shown(clip.label)} here and {shown(known.label)} in "
                f"{known.where.removeprefix(f'{table}, ')}: "
                + ("a clip has one label" if clip.labels is None else "give all labels of a clip in one row")
                + "; correct one of them",
            )
        n_again += known is not clip and known.label == clip.label
    leave_out_missing(missing, len(rows), table, root, bad)
    if n_again:
        notes.append(f"{n_again} rows list a clip once more, with the same label; it counts once")
    return [clip for key, clip in clips.items() if key not in contradictory]


def leave_out_missing(missing: list[tuple[str, str]], n_rows: int, table: Path, root: Path, bad: BadClips) -> None:
    """Add the rows whose files do not exist to the bad clips; if these are not skipped, say how many there are.

    Parameters
    ----------
    missing : list of (str, str)
        Place and path of each.
    n_rows : int
        Of the table.
    table, root, bad
        As of :func:`read_table`.

    Raises
    ------
    MissingError
        If there are any, and bad clips are not skipped.
    """
    if missing and not bad.skip:
        first = ", ".join(f"{shown(name)} ({where.removeprefix(f'{table}, ')})" for where, name in missing[:3])
        raise MissingError(
            f"{table}: {len(missing)} of {n_rows} paths do not exist, the first {first}: paths start from "
            f"{table.parent} or from {root} (--data_folder), or are absolute (to leave them out: --skip_bad_clips True)"
        )
    for where, name in missing:
        bad.add(safe_name(Path(name).stem), f"{where}: {shown(name)}: no such file")


class BadRow(UserError):
    """A row whose clip is left out when bad clips are skipped."""


def csv_rows(
    text: str, table: Path, columns: Mapping[str, Sequence[str]] = COLUMNS
) -> tuple[list[str], list[tuple[str, dict[str, Any]]]]:
    """Return the names in the first line, in small letters, and (place, name -> text) of every row after it.

    Parameters
    ----------
    text : str
    table : Path
        Where it comes from, for messages.
    columns : mapping
        Column -> names that it may have: the separator is the one that finds most of them in the first line.

    Raises
    ------
    UserError
        If it is no table, a column comes twice, or a row has another number of values.
    """

    def read(delimiter: str) -> csv.reader:
        return csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, skipinitialspace=True, strict=True)

    with user_errors(f"{table}: is not a table", csv.Error, advice=": check its quotes"):
        heads = {}
        for delimiter in _DELIMITERS:
            heads[delimiter] = [name.strip().lower() for name in next(read(delimiter), [])]
        delimiter = max(_DELIMITERS, key=lambda each: (_n_known(heads[each], columns), len(heads[each])))
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
    return head, rows


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


def _columns(
    rows: list[tuple[str, dict[str, Any]]],
    table: Path,
    group_by: str | None,
    label_column: str | None,
    labelled: bool,
) -> dict[str, str]:
    """Return which name each of :data:`COLUMNS` has in the table, of those that it has and that are read."""
    present = dict.fromkeys(name for _, row in rows for name in row)
    names = {}
    for column, known in COLUMNS.items():
        name = next((name for name in known if name in present), None)
        if name is not None:
            names[column] = name
    if label_column is not None:
        named = named_column("label_column", label_column, table, present)
        names.pop("labels", None)
        names["labels" if named in COLUMNS["labels"] else "label"] = named
    if "path" not in names or (labelled and not {"label", "labels"} & names.keys()):
        raise _lacking(table, present, labelled)
    if "labels" in names:
        names.pop("label", None)
    if not labelled:
        return {column: name for column, name in names.items() if column in OF_A_SOUND}
    if group_by == NO_GROUPS:
        names.pop("group", None)
    elif group_by is not None:
        names["group"] = named_column("group_by", group_by, table, present)
    return names


def named_column(option: str, name: Any, table: Path, present: Iterable[str]) -> str:
    """Return the column that an option names, in small letters; a :class:`UserError` if the table lacks it."""
    if str(name).strip().lower() not in present:
        raise UserError(f"{option} is {shown(name)}, but {table} has no such column; it has {', '.join(present)}")
    return str(name).strip().lower()


def _n_known(head: Sequence[str], columns: Mapping[str, Sequence[str]] = COLUMNS) -> int:
    return sum(any(name in known for name in head) for known in columns.values())


def _lacking(table: Path, present: Iterable[str], labelled: bool) -> UserError:
    present = list(present)
    known = {"path": COLUMNS["path"], "label": (*COLUMNS["label"], *COLUMNS["labels"])}
    needed = "path, label (or labels, several a clip), and if needed split, fold, group, start, end, low, high"
    if not labelled:
        known, needed = {"path": COLUMNS["path"]}, "path, and if needed start and end in seconds"
    lacks = [column for column, names in known.items() if not any(name in present for name in names)]
    has = ", ".join(shown(name, 40) for name in present[:20]) or "nothing"
    return UserError(
        f"{table}: lacks the column{'s' if len(lacks) > 1 else ''} {' and '.join(lacks)}; its first line has {has}: "
        f"name the columns there: {needed}"
    )


def _clip(path: Path, value: dict[str, Any], where: str, labelled: bool = True) -> ListedClip:
    """Return what a row says; a :class:`BadRow` if its times make no sense."""
    labels = _several(value["labels"], where) if "labels" in value else None
    if labels is None:
        label = _text(_single(value.get("label", ""), where), "label", where, optional=not labelled) or ""
    else:
        label = join_labels(labels)
    split = _text(value.get("split"), "split", where, optional=True)
    if split is not None and split.lower() not in SPLIT_NAMES:
        raise UserError(f"{where}: split is {shown(split)}, expected train, valid or test")
    fold = _fold(_text(value.get("fold"), "fold", where, optional=True), where)
    start, end = (_number(value.get(name), name, "seconds", where) for name in ("start", "end"))
    low, high = (_number(value.get(name), name, "Hz", where) for name in ("low", "high"))
    if end is not None and not (start or 0.0) < end:
        raise BadRow(f"{where}: start is {start or 0.0:g} s and end {end:g} s, expected start before end")
    if not (low or 0.0) < (math.inf if high is None else high):
        raise BadRow(f"{where}: low is {low or 0.0:g} Hz and high {high:g} Hz, expected low before high")
    if len(labels or ()) > 1 and (low, high) != (None, None):
        raise BadRow(
            f"{where}: has one band, low to high, and {len(labels)} labels: give boxes, with the label of each"
        )
    group = _text(value.get("group"), "group", where, optional=True)
    boxes = value.get("boxes") or None
    if isinstance(boxes, str):
        boxes = parse_json(boxes, f"{where}: boxes", advice="expected a JSON list")
    split = split and SPLIT_NAMES[split.lower()]
    return ListedClip(path, utf8_name(label), where, split, fold, group, start, end, low, high, boxes, labels)


def _fold(text: str | None, where: str) -> int | None:
    """Return the number of a fold; 1.0 is 1, as it is written where other rows of the column are empty."""
    try:
        number = None if text is None else float(text)
        fold = None if number is None else int(number)
    except (ValueError, OverflowError):
        number, fold = math.nan, None
    if number != fold:
        raise UserError(f"{where}: fold is {shown(text)}, expected a whole number")
    return fold


def _single(label: Any, where: str) -> Any:
    several = label if isinstance(label, list) else str(label).split(";") if isinstance(label, str) else [label]
    several = [part for part in several if not isinstance(part, str) or part.strip()]
    if len(several) > 1:
        raise UserError(
            f"{where}: the clip has {len(several)} labels, {shown(label)}, and the column is of one label a clip: call "
            "it labels if clips may have several, or give each clip its main one (it must not hold a semicolon)"
        )
    return several[0] if several else ""


def _several(labels: Any, where: str) -> tuple[str, ...]:
    """Return the labels of a clip that may have several, or none, in the order of their names: ``a;b``, or a list."""
    if isinstance(labels, str) and labels.lstrip().startswith("["):
        labels = parse_json(labels, f"{where}: labels", advice="expected a JSON list, or a;b")
    members = labels if isinstance(labels, list) else str(labels).split(";") if labels is not None else []
    texts = [_text(member, "a label", where, optional=True) for member in members]
    return tuple(sorted({utf8_name(text) for text in texts if text is not None}))


def _text(value: Any, name: str, where: str, optional: bool = False) -> str | None:
    """Return a value as text without spaces around it; a number of a JSON line as Python writes it."""
    if value is None or (isinstance(value, str) and not value.strip()):
        if optional:
            return None
        raise UserError(f"{where}: {name} is empty, expected a value in every line")
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise UserError(f"{where}: {name} is {shown(value)}, expected a text")
    return str(value).strip()


def _number(value: Any, name: str, unit: str, where: str) -> float | None:
    text = _text(value, name, where, optional=True)
    try:
        number = None if text is None else float(text)
    except ValueError:
        number = math.nan
    if number is not None and not 0 <= number < math.inf:
        raise BadRow(f"{where}: {name} is {shown(text)}, expected a number of {unit} >= 0, with a decimal point")
    return number


def located(name: str, *folders: Path) -> Path | None:
    """Return the file of a path in a table, which may have the separators of Windows; None if there is none."""
    for text in dict.fromkeys((name, name.replace("\\", "/"))):
        for folder in folders:
            path = os.path.normpath(folder / Path(text).expanduser())
            if os.path.isfile(path):
                return Path(path)
    return None
