"""UrbanSound8K: from the data set's own layout to manifests, by its ten folds.

The layout is ``metadata/UrbanSound8K.csv`` (columns slice_file_name, fold, classID, class, and others) and
``audio/fold1`` to ``audio/fold10``. Its columns ``start`` and ``end`` are times in the recordings that the clips were
cut from, not in the clips. Clips of one recording are in one fold.
"""

import csv
import io
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from interpretability.data.audio import audio_header
from interpretability.data.esc50 import folds_of_splits, refuse_unknown_folds
from interpretability.data.manifest import DATA_ROOT, SPLITS, BadClips, PreparedData, write_manifests
from interpretability.errors import MissingError, UserError, shown, user_errors
from interpretability.names import name_fault
from interpretability.reading import read_text

_CSV = "metadata/UrbanSound8K.csv"
_COLUMNS = ("slice_file_name", "fold", "classID", "class")


@dataclass(frozen=True)
class _Row:
    name: str
    fold: int
    class_id: int
    label: str


def prepare_urbansound8k(
    data_folder: str | Path,
    manifest_folder: str | Path,
    *,
    train_folds: Iterable[int] | str | int,
    valid_folds: Iterable[int] | str | int,
    test_folds: Iterable[int] | str | int,
    skip_bad_clips: bool = False,
) -> PreparedData:
    """Write the manifests of UrbanSound8K.

    Parameters
    ----------
    data_folder : path
        The folder that holds ``metadata/`` and ``audio/``.
    manifest_folder : path
        Where to write; made when needed.
    train_folds, valid_folds, test_folds : iterable of int, str or int
        Folds of each split, disjoint: ``[1, 2, 3]``, ``"1,2,3"`` or ``4``.
    skip_bad_clips : bool
        Leave out and log clips that are missing, empty or not readable, instead of raising at the first one.

    Returns
    -------
    PreparedData
        The labels are in the order of the table's ``classID``.

    Raises
    ------
    MissingError
        If the data set is not there.
    UserError
        If the table lacks columns or has impossible values; if folds overlap, are empty or are not in the table; if a
        clip is bad.
    """
    folds = folds_of_splits(train_folds, valid_folds, test_folds)
    root = Path(data_folder).expanduser().absolute()
    table = root / _CSV
    if not table.is_file():
        raise MissingError(
            f"{root}: has no {_CSV}: download UrbanSound8K from https://urbansounddataset.weebly.com, unpack it, and "
            "give the folder that holds metadata and audio as --data_folder"
        )
    rows = _rows(table)
    labels = _labels(rows, table)
    refuse_unknown_folds(folds, {row.fold for row in rows}, table)
    split_of = {fold: split for split, chosen in folds.items() for fold in chosen}
    bad, entries = BadClips(table, skip_bad_clips), {split: [] for split in SPLITS}
    names = set()
    for row in tqdm(rows, desc="UrbanSound8K: checking clips", unit="clip", disable=None, leave=False):
        if row.fold not in split_of:
            continue
        clip_id = Path(row.name).stem
        fault = name_fault(row.name) or ("duplicate name" if clip_id in names else None)
        names.add(clip_id)
        try:
            if fault:
                raise UserError(f"as an id, {fault}")
            header = audio_header(root / "audio" / f"fold{row.fold}" / row.name)
        except UserError as error:
            bad.add(clip_id, str(error))
            continue
        entries[split_of[row.fold]].append(
            {
                "id": clip_id,
                "wav": f"{DATA_ROOT}/audio/fold{row.fold}/{row.name}",
                "duration": header.duration,
                "sample_rate": header.sample_rate,
                "label": row.label,
                "fold": row.fold,
            }
        )
    bad.report(sum(map(len, entries.values())))
    description = {"name": "UrbanSound8K", "folds": folds}
    return write_manifests(manifest_folder, root, labels, entries, description, bad.skipped)


def _rows(table: Path) -> list[_Row]:
    with user_errors(f"{table}: is not a CSV file", csv.Error):
        reader = csv.DictReader(io.StringIO(read_text(table).removeprefix("\ufeff"), newline=""))
        missing = [name for name in _COLUMNS if name not in (reader.fieldnames or [])]
        if missing:
            raise UserError(f"{table}: lacks the columns {', '.join(missing)}: use the table of the data set")
        rows = []
        for record in reader:
            where = f"{table}, line {reader.line_num}"
            values = [(record[name] or "").strip() for name in _COLUMNS]
            if not all(values):
                raise UserError(
                    f"{where}: has no value for {_COLUMNS[values.index('')]}: use the table of the data set"
                )
            try:
                rows.append(_Row(values[0], int(values[1]), int(values[2]), values[3]))
            except ValueError as error:
                raise UserError(
                    f"{where}: fold is {shown(values[1])} and classID {shown(values[2])}, expected whole numbers"
                ) from error
    if not rows:
        raise UserError(f"{table}: lists no clips: use the table of the data set")
    return rows


def _labels(rows: list[_Row], table: Path) -> list[str]:
    names: dict[int, str] = {}
    for row in rows:
        if names.setdefault(row.class_id, row.label) != row.label:
            raise UserError(
                f"{table}: classID {row.class_id} is both {shown(names[row.class_id])} and {shown(row.label)}"
            )
    labels = [names[number] for number in sorted(names)]
    if len(set(labels)) < len(labels):
        raise UserError(f"{table}: a class has more than one classID: {shown(labels)}")
    return labels
