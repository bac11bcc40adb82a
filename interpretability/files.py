"""Writing files so that nothing is ever left half-written.

Results, models, manifests and sounds go through :func:`atomic_path` or :func:`atomic_folder`: to a temporary name
beside the target first, then one rename. A crash, a kill or a full disk leaves the old file, or none.

Two kinds of files are written in another way. Those that grow are appended to: logs, TensorBoard's events, and the
measured clips of a running evaluation, which drops a line that was cut off when it is resumed. SpeechBrain's
checkpoints are folders that are renamed when they are complete (:mod:`interpretability.training.checkpoints`).
"""

import contextlib
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from interpretability.errors import UserError, user_errors


@contextlib.contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path of the same suffix; rename it to ``path`` when the block ends well.

    The parent folder is made. If the block raises, the temporary file is removed and ``path`` is untouched.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{path.stem}.", suffix=path.suffix, dir=path.parent)
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
def atomic_folder(path: str | Path) -> Iterator[Path]:
    """Yield a temporary folder; when the block ends well it takes the place of ``path``.

    An older folder of that name is moved aside, replaced and then removed.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
    try:
        yield temporary
        os.chmod(temporary, 0o777 & ~_umask())
        if path.exists():
            aside = Path(tempfile.mkdtemp(prefix=f".{path.name}.old.", dir=path.parent)) / path.name
            os.rename(path, aside)
            os.rename(temporary, path)
            shutil.rmtree(aside.parent, ignore_errors=True)
        else:
            os.rename(temporary, path)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise


def expanded(path: str | Path) -> Path:
    """Return a path that was given, with the home folder in place of ``~``: the shell leaves it in ``--out=~/x``."""
    return Path(os.path.expanduser(path))


def write_errors(path: str | Path, advice: str = "then run it again") -> contextlib.AbstractContextManager[None]:
    """Turn a write that fails within the block into a one-line :class:`UserError`, which ends with the advice."""
    # torch reports a failed write as RuntimeError.
    return user_errors(f"could not write {path}", OSError, RuntimeError, advice=f"; make room on the disk, {advice}")


def check_replaceable(folder: str | Path, *marks: str) -> None:
    """Refuse to replace a folder that is not empty and has none of these files, such as a home folder.

    Raises
    ------
    UserError
        If it holds something other than that.
    """
    folder = Path(folder)
    ours = any((folder / mark).is_file() for mark in marks) or (folder.is_dir() and not any(folder.iterdir()))
    if folder.exists() and not ours:
        raise UserError(
            f"{folder} holds something other than what would replace it ({' or '.join(marks)}): name a new one"
        )


def write_text(path: str | Path, text: str) -> None:
    """Write ``text`` as UTF-8, atomically; bytes of file names that are not UTF-8 as ``\\udcXX``, as JSON has them."""
    with atomic_path(path) as temporary:
        temporary.write_bytes(_encoded(text))


def write_json(path: str | Path, content: Any) -> None:
    """Write ``content`` as indented JSON, atomically. NaN and infinities are refused (``ValueError``)."""
    write_text(path, _json_text(content))


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
    path = Path(path)
    text = _json_text(content)
    if path.is_file() and path.read_bytes() == _encoded(text):
        return False
    write_text(path, text)
    return True


def sha256(path: str | Path) -> str:
    """Return the SHA-256 of a file as 64 hex digits."""
    digest = hashlib.sha256()
    with open(path, "rb") as stream:
        for block in iter(lambda: stream.read(1 << 20), b""):
            digest.update(block)
    return digest.hexdigest()


def _json_text(content: Any) -> str:
    return json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def _encoded(text: str) -> bytes:
    return text.encode("utf-8", "backslashreplace")


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
