"""Where a result may be written: never over the sound that it is of, nor over the result of another sound or model."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from interpretability.errors import UserError
from interpretability.files import check_replaceable, expanded, place_errors
from interpretability.reading import read_object

#: The file of a result that says what it is of.
DESCRIPTION = "explanation.json"
ADVICE = "name another folder, one for each sound, model and method"


def check_destination(folder: str | Path, sources: Iterable[Path]) -> None:
    """Refuse a folder for a result before anything is computed or written.

    Parameters
    ----------
    folder : path
        Will be replaced as a whole.
    sources : iterable of Path
        Files that must stay, the explained sounds.

    Raises
    ------
    UserError
        If a source lies in the folder, by whatever path, or is a link to a file there; if the folder holds anything but
        an earlier result.
    """
    folder = expanded(folder)
    with place_errors(folder):
        exists = folder.exists()
    for source in sources:
        if exists and any(os.path.samefile(folder, parent) for parent in source.resolve().parents):
            raise UserError(f"{folder} holds the sound {source.name}, and would be replaced: name another folder")
    if not (folder / DESCRIPTION).exists() and any(folder.glob(f"*/{DESCRIPTION}")):
        raise UserError(f"{folder} holds folders of explanations, this is one: name another folder")
    check_replaceable(folder)
    # It holds few files: they are this program's.
    for path in sorted(folder.rglob("*")) if folder.is_dir() else ():
        for source in sources:
            if path.is_file() and source.exists() and os.path.samefile(path, source):
                raise UserError(f"{path} is the sound {source}, and would be replaced: name another folder")


def check_same(folder: str | Path, description: Mapping[str, Any]) -> None:
    """Refuse to replace a result, unless it is of the same sound by the same model.

    Parameters
    ----------
    folder : path
        Past :func:`check_destination`.
    description : mapping
        What will be written as :data:`DESCRIPTION`: ``source`` and ``sound_sha256`` identify the sound, ``model`` the
        model.

    Raises
    ------
    UserError
        If the folder holds the result of another sound or another model, or something else.
    """
    folder = Path(folder)
    if not folder.is_dir() or not any(folder.iterdir()):
        return
    if not (folder / DESCRIPTION).is_file():
        raise UserError(f"{folder} holds no explanation that could be replaced: name another folder")
    older = read_object(folder / DESCRIPTION)
    name = Path(description["source"] or "this sound").name
    same_file = description["source"] is not None and older.get("source") == description["source"]
    if not same_file and older.get("sound_sha256") != description["sound_sha256"]:
        other = older.get("source") or "another sound"
        raise UserError(f"{folder} holds the explanation of {other}, not of {name}: {ADVICE}")
    if older.get("model") != description["model"]:
        raise UserError(f"{folder} holds the explanation of {name} by another model or method: {ADVICE}")
