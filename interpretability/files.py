"""Writing files so that nothing is ever left half-written, and nothing of the user's is lost.

Results, models, manifests and sounds go through :func:`atomic_path` or :func:`atomic_folder`: to a temporary name
beside the target first, then one step that puts it in its place. A crash, a kill or a full disk leaves the old file, or
none; a temporary name that a killed process left is removed by :func:`remove_leftovers`.

What is replaced or removed is only what this package is known to have written. A folder that it writes whole carries a
listing of its files, :data:`LISTING`, and is replaced only if it holds just those, unchanged. In a folder that may also
hold others' files, such as that of a run, the names that are written are claimed first (:func:`claim`).

Two kinds of files are written in another way. Those that grow are appended to: logs, TensorBoard's events, and the
measured clips of a running evaluation, of which only whole lines count when it is resumed. SpeechBrain's checkpoints
are folders that are renamed when they are complete (:mod:`interpretability.training.checkpoints`).
"""

import contextlib
import csv
import ctypes
import hashlib
import io
import json
import os
import re
import secrets
import shutil
import socket
import tempfile
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from interpretability.errors import UserError, user_errors
from interpretability.reading import read_object

#: What this package wrote in the folder that holds it: ``{"files": {name: SHA-256, or null if it may change}}``.
LISTING = "contents.json"

#: Temporary names are ``.partial-HOST-PID-TOKEN-…``, or ``.replaced-…``: they say which process made them.
_HOST = re.sub(r"[^A-Za-z0-9]", "", socket.gethostname())[:24] or "localhost"
_TOKEN = secrets.token_hex(4)
_TEMPORARY = re.compile(r"\.(?P<kind>partial|replaced)-(?P<host>[A-Za-z0-9]+)-(?P<pid>\d{1,9})-(?P<token>[0-9a-f]{8})-")
_DAY = 86_400  # s


@contextlib.contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path of the same suffix; rename it to ``path`` when the block ends well.

    The parent folder is made. If the block raises, the temporary file is removed and ``path`` is untouched.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=_prefix("partial"), suffix=path.suffix, dir=path.parent)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        os.chmod(temporary, 0o666 & ~_umask())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


@contextlib.contextmanager
def atomic_folder(path: str | Path, listed: bool = True) -> Iterator[Path]:
    """Yield a temporary folder; when the block ends well it takes the place of ``path``, in one step.

    An older folder of that name is replaced if this function wrote all that it holds. If ``path`` is a link, what it
    points at is replaced.

    Parameters
    ----------
    path : path
        Its parent folders are made.
    listed : bool
        Whether the folder gets a :data:`LISTING`, by which it may be replaced later.

    Raises
    ------
    UserError
        If there is something else (:func:`check_replaceable`): before the block, or after it if that came meanwhile. If
        nothing can be written there.
    """
    path = Path(path).resolve()
    check_replaceable(path)
    with place_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        remove_leftovers(path.parent)
        temporary = Path(tempfile.mkdtemp(prefix=_prefix("partial"), dir=path.parent))
    try:
        yield temporary
        if listed:
            write_json(temporary / LISTING, {"files": {name: sha256(temporary / name) for name in _walk(temporary)}})
        os.chmod(temporary, 0o777 & ~_umask())
        check_replaceable(path)
        _put_in_place(temporary, path)
    finally:
        # What was there before, or what could not be finished.
        shutil.rmtree(temporary, ignore_errors=True)


def check_replaceable(folder: str | Path) -> None:
    """Refuse to replace a folder unless it is absent or empty, or holds just what :func:`atomic_folder` wrote there.

    Raises
    ------
    UserError
        If it holds anything else, or a file that was changed; if it is a file, or the current folder.
    """
    folder = Path(folder)
    with place_errors(folder):
        if not folder.exists():
            return
    if not folder.is_dir():
        raise UserError(f"{folder} is a file, expected a folder or a new name: move it away, or name a new folder")
    if folder.resolve() in (Path.cwd(), *Path.cwd().parents):
        raise UserError(f"{folder} holds the current folder, which cannot be replaced: name a new folder")
    listing = _listing(folder)
    ours = {} if listing is None else {**listing, LISTING: ""}
    names = list(_walk(folder))
    foreign = [name for name in names if ours.get(name) is None or not _is_plain(folder / name)]
    advice = "move that away, or name a new folder"
    if foreign:
        more = f" and {len(foreign) - 1} more" if len(foreign) > 1 else ""
        raise UserError(
            f"{folder} holds {foreign[0]!r}{more}, which this program is not known to have written there: {advice}"
        )
    for name in names:
        if name != LISTING and sha256(folder / name) != ours[name]:
            raise UserError(f"{folder / name} was changed after this program wrote it, and would be replaced: {advice}")


@contextlib.contextmanager
def added_file(folder: str | Path, name: str) -> Iterator[Path]:
    """Yield a temporary path; when the block ends well, it becomes a file of a folder that :func:`atomic_folder` wrote.

    An older file of that name is replaced if it is among those that were written there, unchanged.

    Parameters
    ----------
    folder : path
    name : str
        Directly inside it.

    Raises
    ------
    UserError
        If the folder was not written as a whole, or holds anything else.
    """
    folder = Path(folder)
    check_replaceable(folder)
    listing = _listing(folder)
    if listing is None:
        raise UserError(f"{folder} is not known to be written by this program: name another folder")
    with tempfile.TemporaryDirectory(prefix=_prefix("partial"), dir=folder.parent) as temporary:
        path = Path(temporary) / name
        yield path
        # Listed first: a file that is listed and not there keeps nothing from being replaced.
        (folder / name).unlink(missing_ok=True)
        write_json(folder / LISTING, {"files": {**listing, name: sha256(path)}})
        os.replace(path, folder / name)


def is_whole(folder: str | Path) -> bool:
    """Return whether a folder that :func:`atomic_folder` wrote still has all its files; their content is not read."""
    listing = _listing(Path(folder))
    return listing is not None and all((Path(folder) / name).is_file() for name in listing)


def claim(folder: str | Path, names: Iterable[str], known: Iterable[str] = ()) -> None:
    """Note that files or folders of these names are this program's, in a folder that may also hold others'.

    From then on they may be replaced. To be called before any of them is written.

    Parameters
    ----------
    folder : path
        Exists.
    names : iterable of str
        Directly inside it.
    known : iterable of str
        Those that the caller knows to be this program's, though they were never claimed.

    Raises
    ------
    UserError
        If one of them is there and was not claimed. Empty folders do not count.
    """
    folder, names = Path(folder), list(dict.fromkeys(names))
    listing = _listing(folder)
    if listing is None and _holds_something(folder / LISTING):
        raise UserError(
            f"{folder / LISTING} is not a list of what this program wrote there: move it away, or give another folder"
        )
    listing = listing or {}
    taken = [name for name in names if name not in {*listing, *known} and _holds_something(folder / name)]
    if taken:
        raise UserError(
            f"{folder} holds {', '.join(taken)}, which this program is not known to have written there and would "
            "replace: move that away, or give another folder"
        )
    if not listing.keys() >= set(names):
        write_json(folder / LISTING, {"files": {**dict.fromkeys(names), **listing}})


def remove_claimed(folder: str | Path) -> None:
    """Remove what was claimed in a folder (:func:`claim`), and the note of it; what else is there stays."""
    folder = Path(folder)
    for name, digest in (_listing(folder) or {}).items():
        path = folder / name
        if digest is not None or path.name != name or name == "..":
            continue
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)
    if _listing(folder) is not None:
        (folder / LISTING).unlink()


def remove_leftovers(folder: str | Path) -> None:
    """Remove what killed processes left directly inside a folder under a temporary name, and nothing else.

    A folder that was being replaced, where the system cannot do that in one step, is put back if nothing has come in
    its place. What another machine left is removed when it is a day old.
    """
    try:
        paths = list(Path(folder).iterdir())
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return  # nothing of this package's can be there, or be removed
    for path in paths:
        made_by = _TEMPORARY.match(path.name)
        if made_by is None or _may_be_at_work(path, made_by["host"], int(made_by["pid"]), made_by["token"]):
            continue
        if made_by["kind"] == "replaced":
            for child in path.iterdir():
                if not (path.parent / child.name).exists():
                    os.rename(child, path.parent / child.name)
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def expanded(path: str | Path) -> Path:
    """Return a path that was given, with the home folder in place of ``~``: the shell leaves it in ``--out=~/x``."""
    return Path(os.path.expanduser(path))


def place_in(path: str | Path, root: str | Path) -> str:
    """Return where a file lies in a folder, with slashes; of one that lies elsewhere the whole path."""
    path = Path(path)
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else str(path)


def new_folder(path: str | Path, what: str) -> Path:
    """Return a folder that is absent or empty; a :class:`UserError` for any other: it was to be for ``what``."""
    path = Path(path)
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise UserError(f"{path}: holds other files, expected a new folder for the {what}")
    return path


def place_errors(folder: str | Path) -> contextlib.AbstractContextManager[None]:
    """Turn what the system says of a folder that cannot be made or asked for into a one-line :class:`UserError`."""
    return user_errors(f"{folder} cannot be made", OSError, advice=": name a folder in a place that can be written")


def write_errors(path: str | Path, advice: str = "then run it again") -> contextlib.AbstractContextManager[None]:
    """Turn a write that fails within the block into a one-line :class:`UserError`, which ends with the advice."""
    # torch reports a failed write as RuntimeError.
    return user_errors(f"could not write {path}", OSError, RuntimeError, advice=f"; make room on the disk, {advice}")


def write_text(path: str | Path, text: str) -> None:
    """Write ``text`` as UTF-8, atomically; bytes of file names that are not UTF-8 as ``\\udcXX``, as JSON has them."""
    with atomic_path(path) as temporary:
        temporary.write_bytes(_encoded(text))


def write_together(texts: Mapping[Path, str]) -> None:
    """Write files that belong together, as UTF-8: all are written before the first takes the place of an older one."""
    with contextlib.ExitStack() as stack:
        for path, temporary in [(path, stack.enter_context(atomic_path(path))) for path in texts]:
            temporary.write_bytes(_encoded(texts[path]))


def json_text(content: Any) -> str:
    """Return ``content`` as indented JSON with an end of line; errors as of :func:`write_json`."""
    return json.dumps(without_negative_zeros(content), indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def csv_text(rows: Iterable[Iterable[Any]], delimiter: str = ",") -> str:
    """Return rows as CSV; values that hold the delimiter, a quote or an end of line are quoted."""
    stream = io.StringIO()
    csv.writer(stream, delimiter=delimiter, lineterminator="\n").writerows(rows)
    return stream.getvalue()


def write_json(path: str | Path, content: Any) -> None:
    """Write ``content`` as indented JSON, atomically. NaN and infinities are refused (``ValueError``)."""
    write_text(path, json_text(content))


def write_json_if_changed(path: str | Path, content: Any) -> bool:
    """Write ``content`` as JSON, atomically, unless the file already holds just that.

    Returns
    -------
    bool
        Whether the file was written.

    Raises
    ------
    ValueError
        If ``content`` holds NaN or infinities.
    """
    if holds_json(path, content):
        return False
    write_json(path, content)
    return True


def holds_json(path: str | Path, content: Any) -> bool:
    """Return whether a file holds just what :func:`write_json` would write; errors as there."""
    return Path(path).is_file() and Path(path).read_bytes() == _encoded(json_text(content))


def without_negative_zeros(content: Any) -> Any:
    """Return a copy of JSON-compatible content with 0.0 in place of -0.0."""
    if isinstance(content, dict):
        return {name: without_negative_zeros(value) for name, value in content.items()}
    if isinstance(content, (list, tuple)):
        return [without_negative_zeros(value) for value in content]
    return content + 0.0 if isinstance(content, float) else content


def sha256(path: str | Path) -> str:
    """Return the SHA-256 of a file as 64 hex digits."""
    digest = hashlib.sha256()
    with open(path, "rb") as stream:
        for block in iter(lambda: stream.read(1 << 20), b""):
            digest.update(block)
    return digest.hexdigest()


def _encoded(text: str) -> bytes:
    return text.encode("utf-8", "backslashreplace")


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _prefix(kind: str) -> str:
    return f".{kind}-{_HOST}-{os.getpid()}-{_TOKEN}-"


def _may_be_at_work(path: Path, host: str, pid: int, token: str) -> bool:
    """Return whether the process that made a temporary name may still be at work on it."""
    if host != _HOST:
        try:
            return time.time() - path.lstat().st_mtime < _DAY
        except FileNotFoundError:  # removed meanwhile
            return True
    if pid == os.getpid():
        return token == _TOKEN  # else of an earlier process that had this number
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _walk(folder: Path) -> Iterator[str]:
    """Yield the names of all files below a folder, relative to it, and of links, pipes and the like."""
    for path in sorted(folder.iterdir()):
        if path.is_dir() and not path.is_symlink():
            yield from (f"{path.name}/{name}" for name in _walk(path))
        else:
            yield path.name


def _is_plain(path: Path) -> bool:
    return path.is_file() and not path.is_symlink()


def _listing(folder: Path) -> dict[str, str | None] | None:
    """Return what the listing of a folder says; None if it has none, or a file of that name which is no listing."""
    try:
        files = read_object(folder / LISTING).get("files")
    except UserError:
        return None
    if not isinstance(files, dict) or not all(digest is None or isinstance(digest, str) for digest in files.values()):
        return None
    return files


def _holds_something(path: Path) -> bool:
    """Return whether a path exists, other than as an empty folder."""
    return path.is_symlink() or (any(path.iterdir()) if path.is_dir() else path.exists())


def _put_in_place(temporary: Path, path: Path) -> None:
    """Rename a folder to ``path``; an older one is then where the new one was, or gone."""
    if not path.exists():
        os.rename(temporary, path)
    elif not _exchange(temporary, path):
        aside = Path(tempfile.mkdtemp(prefix=_prefix("replaced"), dir=path.parent))
        os.rename(path, aside / path.name)
        try:
            os.rename(temporary, path)
        except OSError:
            os.rename(aside / path.name, path)
            raise
        shutil.rmtree(aside, ignore_errors=True)


def _exchange(first: Path, second: Path) -> bool:
    """Exchange two paths in one step; return False where the system or the file system cannot."""
    at_current_folder, exchange = -100, 2  # AT_FDCWD, RENAME_EXCHANGE
    renameat2 = getattr(ctypes.CDLL(None), "renameat2", None)
    if renameat2 is None:
        return False
    return renameat2(at_current_folder, os.fsencode(first), at_current_folder, os.fsencode(second), exchange) == 0
