"""Where a result may be written: never over the sound that it is of, nor over the result of another sound or model."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from interpretability.errors import UserError
from interpretability.files import check_replaceable, expanded, is_whole, place_errors
from interpretability.reading import read_object

#: The file of a result that says what it is of.
DESCRIPTION = "explanation.json"
#: Members of a description that say what it was made of, and which classes were explained of the sound.
REQUEST, CLASSES = "request", "classes"
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


def finished(folder: str | Path, request: Mapping[str, Any], several: bool) -> dict[Path, dict[str, Any]]:
    """Return the results of a request that are there already, all of them or none.

    Parameters
    ----------
    folder : path
        Of the result, or of the results, one for each class.
    request : mapping
        What they would be made of, as plain values: the content of the sound, model, method, settings. They are kept
        in a description as :data:`REQUEST`; :data:`CLASSES` are those that were explained of the sound.
    several : bool
        Whether each class has a folder of its own.

    Returns
    -------
    dict of Path to dict
        Folder -> its description, in the order of the classes; empty unless all are there, with all their files.
    """
    known: dict[str, tuple[Path, dict[str, Any]]] = {}
    for path in sorted(Path(folder).glob(f"*/{DESCRIPTION}" if several else DESCRIPTION)):
        try:
            description = read_object(path)
        except UserError:  # damaged: made again, unless that would replace what is not known to be this program's
            continue
        if description.get(REQUEST) == request and is_whole(path.parent):
            known[description["explained"]] = (path.parent, description)
    classes = next((description[CLASSES] for _, description in known.values()), [])
    return dict(known[label] for label in classes) if known.keys() >= set(classes) else {}
