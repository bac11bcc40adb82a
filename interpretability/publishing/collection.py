"""A whole table of runs: every model that a folder holds, each classifier once, with cards that name each other."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from interpretability.classifiers.folder import DESCRIPTION as OF_CLASSIFIER
from interpretability.classifiers.folder import check_classifier
from interpretability.errors import MissingError
from interpretability.files import expanded
from interpretability.methods.folder import CLASSIFIER, RUN_SUBFOLDER, check_interpreter
from interpretability.methods.folder import DESCRIPTION as OF_INTERPRETER


@dataclass(frozen=True)
class Member:
    """A model of a collection.

    Attributes
    ----------
    repo_id : str
    source : Path
        The folder that it is read from.
    about : str
        What it is.
    classifier : str
        Hash of the classifier that it is, or explains.
    is_classifier : bool
    """

    repo_id: str
    source: Path
    about: str
    classifier: str
    is_classifier: bool


def members(folder: str | Path, prefix: str) -> list[Member]:
    """Return the models below a folder, classifiers first; a classifier that several runs explain is there once.

    Parameters
    ----------
    folder : path
        Holds runs, in folders of any depth.
    prefix : str
        ``user`` or ``user/name``: names on the hub are that and the run's path.

    Raises
    ------
    MissingError
        If there are none.
    """
    top = expanded(folder)
    user, _, stem = prefix.partition("/")
    models: list[Member] = []
    known: set[str] = set()
    interpreters = sorted(path.parent for path in top.rglob(f"{RUN_SUBFOLDER}/{OF_INTERPRETER}"))
    trained = sorted(path.parent for path in top.rglob(f"{CLASSIFIER}/{OF_CLASSIFIER}"))
    # Those of a training first: their runs have names of their own.
    trained.sort(key=lambda path: path.parent.name == RUN_SUBFOLDER)
    for path in trained:
        description = check_classifier(path)
        if description["sha256"] in known:
            continue
        known.add(description["sha256"])
        about = f"the classifier {description['classifier']}"
        is_explained = path.parent.name == RUN_SUBFOLDER
        parts = [stem, *_parts(path.parents[1] if is_explained else path.parent, top)]
        parts += ["classifier"] if is_explained else []
        models.append(Member(_name(user, parts), path, about, description["sha256"], True))
    for path in interpreters:
        description = check_interpreter(path)
        about, name = f"the interpreter {description['method']}", _name(user, [stem, *_parts(path.parent, top)])
        models.append(Member(name, path, about, description["classifier_sha256"], False))
    if not models:
        raise MissingError(f"no runs below {top}: pass the folder that holds the output folders of finished runs")
    return list(_named_apart(models))


def _parts(run: Path, top: Path) -> list[str]:
    return list(run.relative_to(top).parts) or [top.resolve().name]


def _name(user: str, parts: list[str]) -> str:
    plain = [re.sub(r"[^A-Za-z0-9_.]+", "-", part).strip("-.") for part in parts]
    return f"{user}/{'-'.join(part for part in plain if part)[:90]}"


def _named_apart(models: list[Member]) -> Iterator[Member]:
    taken: set[str] = set()
    for member in models:
        name, number = member.repo_id, 2
        while name in taken:
            name, number = f"{member.repo_id}-{number}", number + 1
        taken.add(name)
        yield Member(name, member.source, member.about, member.classifier, member.is_classifier)
