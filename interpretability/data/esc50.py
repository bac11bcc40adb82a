"""ESC-50 and its 10-class part: from the data set's own layout to manifests.

The layout is ``meta/esc50.csv`` (columns filename, fold, target, category, esc10) and ``audio/``. The audio may have
any extension that the CSV names, any rate, and any duration.
"""

import contextlib
import csv
import http.client
import io
import itertools
import logging
import operator
import os
import shutil
import stat
import urllib.error
import urllib.request
import zipfile
import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import BinaryIO

from tqdm import tqdm

from interpretability.data.audio import audio_header
from interpretability.data.manifest import DATA_ROOT, SPLITS, BadClips, PreparedData, write_manifests
from interpretability.errors import MissingError, UserError, shown, user_errors
from interpretability.files import atomic_folder, sha256
from interpretability.names import name_fault

logger = logging.getLogger(__name__)

ARCHIVE_URL = "https://github.com/karolpiczak/ESC-50/archive/master.zip"
_CSV = PurePosixPath("meta/esc50.csv")
_TIMEOUT = 30  # seconds without a byte
# The archive has 600 MB, a clip 0.4 MB, the table 0.1 MB: what is much larger is not ESC-50.
_MOST_BYTES = 16 * 2**20  # of the table, and of each other member
_MOST_ARCHIVE_BYTES = 4 * 2**30


@dataclass(frozen=True)
class _Row:
    filename: str
    fold: int
    target: int
    category: str
    in_esc10: bool


def prepare_esc50(
    data_folder: str | Path,
    manifest_folder: str | Path,
    *,
    esc10_only: bool,
    train_folds: Iterable[int] | str | int,
    valid_folds: Iterable[int] | str | int,
    test_folds: Iterable[int] | str | int,
    skip_bad_clips: bool = False,
    download: bool = True,
    archive_url: str = ARCHIVE_URL,
    archive_sha256: str | None = None,
) -> PreparedData:
    """Write ``train.json``, ``valid.json``, ``test.json`` and ``labels.json`` for ESC-50 or ESC-10.

    Files that would not change are not touched.

    Parameters
    ----------
    data_folder : str or Path
        The folder that holds ``meta/`` and ``audio/``. Absent or empty: the data set is downloaded to it.
    manifest_folder : str or Path
        Where to write; made when needed.
    esc10_only : bool
        Only the clips that the CSV marks as ESC-10.
    train_folds, valid_folds, test_folds : iterable of int, str or int
        Folds of each split, disjoint: ``[1, 2, 3]``, ``"1,2,3"`` or ``4``.
    skip_bad_clips : bool
        Leave out and log clips that are missing, empty or not readable, instead of raising at the first one.
    download : bool
        Whether the data set may be downloaded.
    archive_url : str
        Where to download from: a zip of the data set's repository.
    archive_sha256 : str, optional
        What the archive's SHA-256 has to be, as 64 hex digits.

    Returns
    -------
    PreparedData
        The labels are in the order of the CSV's ``target``, over all folds. Targets need not be consecutive (those
        of ESC-10 are not): a class index is a position in this list.

    Raises
    ------
    MissingError
        If the data is not there and cannot be downloaded: the message says what to put where.
    UserError
        If the folder holds something else; if the CSV lacks columns or has impossible values; if folds overlap, are
        empty or are not in the CSV; if a clip is bad; if the archive is damaged, unsafe or not ESC-50.
    """
    # Settings are checked first: a typing error should not cost a download.
    if not isinstance(esc10_only, bool):
        raise UserError(f"esc10_only is {esc10_only!r}, expected True or False")
    folds = folds_of_splits(train_folds, valid_folds, test_folds)
    root = Path(data_folder).expanduser().absolute()
    _find_or_download(root, download, archive_url, archive_sha256)
    table = root / _CSV
    rows = _read_csv(table, esc10_only)
    labels = _labels(rows, table)
    refuse_unknown_folds(folds, {row.fold for row in rows}, table)
    split_of = {fold: split for split, chosen in folds.items() for fold in chosen}
    bad = BadClips(table, skip_bad_clips)
    entries = _good_entries([row for row in rows if row.fold in split_of], root, bad)
    by_split = {split: [entry for entry in entries if split_of[entry["fold"]] == split] for split in SPLITS}
    description = {"name": "ESC-10" if esc10_only else "ESC-50", "folds": folds}
    return write_manifests(manifest_folder, root, labels, by_split, description, bad.skipped)


def parse_folds(value: Iterable[int] | str | int, name: str = "folds") -> list[int]:
    """Return folds as a sorted list without repeats, from what a YAML file or a command line gives.

    Raises
    ------
    UserError
        If there is no fold, or one is not a whole number.

    Examples
    --------
    >>> parse_folds("1,2,3"), parse_folds([3, 1]), parse_folds(4)
    ([1, 2, 3], [1, 3], [4])
    """
    try:
        if isinstance(value, str):
            folds = [int(part) for part in value.strip("[]() ").split(",") if part.strip()]
        else:
            folds = [_whole(part) for part in (value if isinstance(value, Iterable) else [value])]
    except (TypeError, ValueError) as error:
        raise UserError(f"{name} is {value!r}, expected whole numbers such as [1, 2, 3] or 1,2,3") from error
    if not folds:
        raise UserError(f"{name} is empty, expected at least one fold such as [1, 2, 3] or 1,2,3")
    return sorted(set(folds))


def folds_of_splits(*folds: Iterable[int] | str | int) -> dict[str, list[int]]:
    """Return split -> its folds, of those of train, valid and test.

    Raises
    ------
    UserError
        As of :func:`parse_folds`; if a fold is given to two splits.
    """
    named = zip(SPLITS, folds, strict=True)
    chosen = {split: parse_folds(value, f"{split}_folds") for split, value in named}
    _refuse_overlap(chosen)
    return chosen


def refuse_unknown_folds(folds: dict[str, list[int]], available: Iterable[int], table: Path) -> None:
    """Refuse folds of splits that a table does not have."""
    for split, chosen in folds.items():
        unknown = sorted(set(chosen) - set(available))
        if unknown:
            raise UserError(f"{split}_folds names {unknown}, but {table} has only the folds {sorted(available)}")


def _whole(value: int | str) -> int:
    if isinstance(value, bool):
        raise TypeError("a fold is a number")
    return int(value) if isinstance(value, str) else operator.index(value)


def _refuse_overlap(folds: dict[str, list[int]]) -> None:
    for first, second in itertools.combinations(folds, 2):
        shared = sorted(set(folds[first]) & set(folds[second]))
        if shared:
            raise UserError(
                f"{first}_folds {folds[first]} and {second}_folds {folds[second]} share {shared}; "
                "splits must not overlap: give each fold to one split"
            )


# ---- The table ----


def _read_csv(table: Path, esc10_only: bool) -> list[_Row]:
    with open(table, "rb") as stream:
        return _read_table(stream, str(table), esc10_only)


def _read_table(source: BinaryIO, name: str, esc10_only: bool) -> list[_Row]:
    needed = ["filename", "fold", "target", "category"] + (["esc10"] if esc10_only else [])
    advice = ": use the meta/esc50.csv of the data set"
    content = source.read(_MOST_BYTES + 1)
    if len(content) > _MOST_BYTES:
        raise UserError(f"{name}: has more than {_MOST_BYTES} bytes{advice}")
    with user_errors(f"{name}: is not a CSV file", UnicodeDecodeError, csv.Error, advice=advice):
        reader = csv.DictReader(io.StringIO(content.decode("utf-8-sig"), newline=""), skipinitialspace=True)
        columns = reader.fieldnames or []
        missing = [column for column in needed if column not in columns]
        if missing:
            present = ", ".join(map(shown, columns[:20])) or "none"
            raise UserError(f"{name}: lacks the columns {', '.join(missing)}; it has {present}{advice}")
        rows = [_row(record, f"{name}, line {reader.line_num}", needed) for record in reader]
    kept = [row for row in rows if row.in_esc10 or not esc10_only]
    if not kept:
        which = "lists no clip that is part of ESC-10" if rows else "lists no clips"
        raise UserError(f"{name}: {which}{advice}")
    return kept


def _row(record: dict[str, str | None], where: str, needed: list[str]) -> _Row:
    value = {column: (record[column] or "").strip() for column in needed}
    empty = [column for column in needed if not value[column]]
    if empty:
        raise UserError(f"{where}: {', '.join(empty)} is empty, expected a value in every column")
    numbers = {}
    for column in ("fold", "target"):
        try:
            numbers[column] = int(value[column])
        except ValueError as error:
            raise UserError(f"{where}: {column} is {shown(value[column])}, expected a whole number") from error
    filename = value["filename"]
    # The name is joined to audio/: it must not lead out of it.
    if filename in (".", "..") or "/" in filename or "\\" in filename:
        raise UserError(f"{where}: filename is {shown(filename)}, expected the plain name of a file in audio/")
    in_esc10 = value.get("esc10", "false").lower()
    if in_esc10 not in ("true", "false", "1", "0"):
        raise UserError(f"{where}: esc10 is {shown(value['esc10'])}, expected True or False")
    return _Row(filename, numbers["fold"], numbers["target"], value["category"], in_esc10 in ("true", "1"))


def _labels(rows: list[_Row], table: Path) -> list[str]:
    """Return the class names in the order of their targets."""
    names: dict[int, str] = {}
    for row in rows:
        if names.setdefault(row.target, row.category) != row.category:
            both = f"{shown(names[row.target])} and {shown(row.category)}"
            raise UserError(f"{table}: target {shown(row.target)} is both {both}; correct it")
    labels = [names[target] for target in sorted(names)]
    twice = sorted({label for label in labels if labels.count(label) > 1})
    if twice:
        raise UserError(f"{table}: the category {shown(twice[0])} has more than one target; correct it")
    return labels


def _good_entries(rows: list[_Row], root: Path, bad: BadClips) -> list[dict]:
    """Return the manifest entries of all good clips; add the others to ``bad``."""
    if not (root / "audio").is_dir():
        raise MissingError(f"{root}: has {_CSV} but no audio folder; put the clips in {root / 'audio'}")
    entries: dict[str, dict] = {}
    for row in tqdm(rows, desc="ESC-50: checking clips", unit="clip", disable=None, leave=False):
        clip_id = Path(row.filename).stem
        if clip_id in entries:
            bad.add(clip_id, "duplicate id; every clip needs a file name of its own")
            continue
        fault = name_fault(clip_id)
        if fault:
            bad.add(clip_id, f"as an id, {fault}")
            continue
        try:
            header = audio_header(root / "audio" / row.filename)
        except UserError as fault:
            bad.add(clip_id, str(fault))
            continue
        entries[clip_id] = {
            "id": clip_id,
            "wav": f"{DATA_ROOT}/audio/{row.filename}",
            "duration": header.duration,
            "sample_rate": header.sample_rate,
            "label": row.category,
            "fold": row.fold,
        }
    bad.report(len(entries))
    return list(entries.values())


# ---- The download ----


def _find_or_download(root: Path, download: bool, url: str, checksum: str | None) -> None:
    """Make sure that ``root`` holds ESC-50; download it only to a folder that is absent or empty."""
    if (root / _CSV).is_file():
        return
    if root.exists() and not root.is_dir():
        raise UserError(f"{root}: is a file, expected the folder that holds {_CSV} and audio/")
    if root.is_dir() and any(root.iterdir()):
        inner = next((folder for folder in sorted(root.iterdir()) if (folder / _CSV).is_file()), None)
        advice = (
            f"give {inner}" if inner else f"give another --data_folder, or an empty one to download to (from {url})"
        )
        raise MissingError(f"{root}: has no {_CSV}, and holds other things, so nothing is downloaded to it; {advice}")
    if not download:
        raise _not_available(root, url, "and downloading is switched off")
    # If it is a link (to a larger disk, say), its target is replaced, not the link.
    folder = root.resolve()
    if os.path.ismount(folder):
        # A mount point cannot be renamed, so the data could not take its place in one step.
        raise UserError(f"{folder}: is a mount point; give a folder inside it, such as {folder / 'ESC-50'}")
    _download(folder, root, url, checksum)


def _download(folder: Path, root: Path, url: str, checksum: str | None) -> None:
    logger.info("downloading ESC-50 from %s to %s", url, folder)
    try:
        response = urllib.request.urlopen(url, timeout=_TIMEOUT)
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise _not_available(root, url, f"and cannot be downloaded ({_reason(error)})") from error
    with response, _without_empty_parents(folder), atomic_folder(folder, listed=False) as temporary:
        archive = temporary / "archive.zip"
        _fetch(response, archive, root, url)
        # GitHub packs 'master' anew now and then, so that its archive has no fixed hash: without one in the
        # settings, only the checksums inside the zip and the table that it has to hold are verified.
        if checksum is not None and sha256(archive) != checksum.strip().lower():
            raise UserError(
                f"{url}: its SHA-256 is {sha256(archive)}, expected {checksum}: try again, or correct archive_sha256"
            )
        _unpack(archive, temporary, folder, url)
        archive.unlink()


@contextlib.contextmanager
def _without_empty_parents(folder: Path) -> Iterator[None]:
    """Remove the parent folders that the block made, if it fails."""
    missing = [parent for parent in folder.parents if not parent.exists()]
    try:
        yield
    except BaseException:
        for parent in missing:
            with contextlib.suppress(OSError):
                parent.rmdir()
        raise


def _fetch(response: http.client.HTTPResponse, archive: Path, root: Path, url: str) -> None:
    length = response.headers.get("Content-Length")
    total = int(length) if length and length.isdigit() else None
    with (
        open(archive, "wb") as stream,
        tqdm(desc="ESC-50: download", total=total, unit="B", unit_scale=True, disable=None) as progress,
    ):
        while True:
            # Only errors of the network are handled here: a full disk has a message of its own.
            try:
                block = response.read(1 << 16)
            except (OSError, http.client.HTTPException) as error:
                raise _not_available(root, url, f"and the download broke off ({_reason(error)})") from error
            if not block:
                break
            progress.update(stream.write(block))
            if stream.tell() > _MOST_ARCHIVE_BYTES:
                raise UserError(
                    f"{url}: has more than {_MOST_ARCHIVE_BYTES} bytes, so it is not ESC-50: correct archive_url"
                )
        got = stream.tell()
    if total is not None and got != total:
        raise _not_available(root, url, f"and the download broke off ({got} of {total} bytes)")


def _unpack(archive: Path, temporary: Path, folder: Path, url: str) -> None:
    """Unpack the table, the clips that it names, and the licence; nothing else, whatever the archive holds."""
    # Encrypted members raise RuntimeError, unknown compressions NotImplementedError (which is one).
    faults = (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError)
    broken = user_errors(f"{url}: the archive is damaged or not a zip file", *faults, advice=": try the download again")
    with broken, zipfile.ZipFile(archive) as content:
        members = _members_to_unpack(content, url)
        size = sum(member.file_size for member in members.values())
        free = shutil.disk_usage(temporary).free
        if size > free:
            raise UserError(f"{folder}: ESC-50 needs {size} bytes and the disk has {free} left; make room")
        for name, member in members.items():
            target = temporary / name
            target.parent.mkdir(parents=True, exist_ok=True)
            # It yields no more than the size that was checked, and verifies the checksum at the end.
            with content.open(member) as source, open(target, "wb") as sink:
                shutil.copyfileobj(source, sink)


def _members_to_unpack(content: zipfile.ZipFile, url: str) -> dict[PurePosixPath, zipfile.ZipInfo]:
    """Return the members to unpack, by their paths below the data folder; refuse an archive that is not safe."""
    members = [member for member in content.infolist() if not member.is_dir()]
    for member in members:
        _refuse_unsafe(member, url)
    paths = [PurePosixPath(member.filename) for member in members]
    # The archive of a repository has one folder around everything.
    roots = [path.parent.parent for path in paths if path.parts[-2:] == _CSV.parts and len(path.parts) <= 3]
    if not roots:
        raise UserError(f"{url}: holds no {_CSV}, so it is not ESC-50: correct archive_url")
    root = min(roots, key=lambda path: len(path.parts))
    named = zip(members, paths, strict=True)
    inside = {path.relative_to(root): member for member, path in named if path.is_relative_to(root)}
    with content.open(inside[_CSV]) as table:
        clips = {row.filename for row in _read_table(table, f"{url}: {_CSV}", esc10_only=False)}
    wanted = {name: member for name, member in inside.items() if _is_part_of_esc50(name, clips)}
    for name, member in wanted.items():
        if member.file_size > _MOST_BYTES:
            raise UserError(
                f"{url}: {name} has {member.file_size} bytes, expected at most {_MOST_BYTES}, so it is not ESC-50: "
                "correct archive_url"
            )
    return wanted


def _is_part_of_esc50(name: PurePosixPath, clips: set[str]) -> bool:
    if len(name.parts) == 1:
        return name.name.upper().startswith(("LICENSE", "README"))
    return name == _CSV or (len(name.parts) == 2 and name.parts[0] == "audio" and name.name in clips)


def _refuse_unsafe(member: zipfile.ZipInfo, url: str) -> None:
    name = member.filename
    windows = PureWindowsPath(name)
    kind = stat.S_IFMT(member.external_attr >> 16)
    if name.startswith("/") or "\\" in name or windows.drive or ".." in PurePosixPath(name).parts:
        raise UserError(f"{url}: the archive has a member {name!r} that leads out of the folder: do not use it")
    if kind not in (0, stat.S_IFREG):
        raise UserError(f"{url}: the archive has a member {name!r} that is a link or not a regular file: do not use it")


def _not_available(root: Path, url: str, reason: str) -> MissingError:
    return MissingError(
        f"ESC-50 is not in {root} {reason}: download {url}, unpack it, and put its meta and audio folders in {root}"
    )


def _reason(error: Exception) -> str:
    if isinstance(error, urllib.error.HTTPError):
        return f"HTTP {error.code} {error.reason}"
    if isinstance(error, urllib.error.URLError):
        return str(error.reason)
    return str(error) or type(error).__name__
