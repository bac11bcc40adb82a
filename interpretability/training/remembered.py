"""What a run remembers of its data: later commands take them from its folder, and name only what differs."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ruamel.yaml.comments import CommentedMap
from ruamel.yaml.scalarstring import DoubleQuotedScalarString

from interpretability.classifiers.folder import RUN_SUBFOLDERS
from interpretability.errors import MissingError, UserError
from interpretability.files import expanded
from interpretability.reading import read_text
from interpretability.training.archive import ARCHIVED, find_yaml
from interpretability.training.composition import compose
from interpretability.training.paths import fill_references
from interpretability.training.tree import parse, tag_of

#: Keys beside those of ``prepare`` that decide what is heard of a clip, whatever is done with it.
_OF_CLIPS = ("clip_seconds", "channel")
#: Options of ``prepare`` that name files, which may lie among the data.
_BESIDE_DATA = ("table", "label_folder")
#: Of data sets that are made where they are absent.
_MADE_IF_ABSENT = ("prepare_synthetic",)


@dataclass(frozen=True)
class Archive:
    """The YAML that a run keeps in its folder.

    Attributes
    ----------
    folder : Path
        Of the run.
    yaml : Path
    written : CommentedMap
        As it stands there.
    filled : CommentedMap
        With the texts in place of the references to them.
    """

    folder: Path
    yaml: Path
    written: CommentedMap
    filled: CommentedMap

    @classmethod
    def of_run(cls, folder: Path, parts: tuple[str, ...], trust_remote_code: bool = False) -> "Archive":
        """Read it; parameters and errors as of :func:`~interpretability.training.archive.find_yaml`."""
        yaml, known = find_yaml(folder, parts, trust_remote_code)
        text = compose(yaml, known)
        return cls(folder, yaml, parse(text, str(yaml)), parse(fill_references(text), str(yaml)))

    @property
    def data_root(self) -> Path:
        """Where the paths of its manifests start: the data folder, or that of its table."""
        prepare = self.filled.get("prepare") or {}
        folder, table = prepare.get("data_folder"), prepare.get("table")
        if isinstance(folder, str):
            return expanded(folder)
        if isinstance(table, str):
            return expanded(table).parent
        raise UserError(f"{self.yaml}: names no data folder: give --data_folder DIR")

    def check_data(self) -> None:
        """Refuse data that are not there any more, in a line that says what to do."""
        is_generated = tag_of(self.filled.get("prepare")).endswith(_MADE_IF_ABSENT)
        if not is_generated and not self.data_root.is_dir():
            raise moved_data(self.folder, self.data_root)


def moved_data(run: Path, place: Path) -> MissingError:
    """Return the error for data that are not where a run had them."""
    return MissingError(
        f"the data of {run} were in {place}, which is not there: if they were moved, give --data_folder with their new "
        "place, which is enough"
    )


def moved_paths(archive: Archive, data_folder: str) -> dict[str, Path]:
    """Return where the table and the labels of a run lie now, as overrides, if they were moved together with the data.

    Parameters
    ----------
    archive : Archive
    data_folder : str
        The new one.
    """
    root, prepare, places = archive.data_root, archive.filled.get("prepare") or {}, {}
    for name in _BESIDE_DATA:
        before = prepare.get(name)
        if isinstance(before, str) and not expanded(before).exists() and expanded(before).is_relative_to(root):
            now = expanded(data_folder) / expanded(before).relative_to(root)
            places |= {name: now} if now.exists() else {}
    return places


def data_of_classifier(
    path: Path, overrides: Mapping[str, Any], parts: tuple[str, ...], trust_remote_code: bool
) -> tuple[dict[str, Any], Path | None]:
    """Return the data of the classifier that is to be explained, as overrides, where a command names none.

    They are the options of the data set with which the run trained it, and the length and the channel of clips. With a
    ``data_folder`` alone they are also those, if the one of the run is not there any more: the data were moved.

    Parameters
    ----------
    path : Path
        The YAML of the command.
    overrides : mapping
        Of the command line.
    parts : tuple of str
        Folders inside a run's that may keep a YAML of their own.
    trust_remote_code : bool
        Whether the YAML of a run may name anything.

    Returns
    -------
    dict
        Empty if the command names its data, the classifier is in no run, or its run is of another data set.
    Path or None
        The folder of the run.
    """
    if "data_folder" in overrides and _has_its_data(_run_of(overrides.get("classifier_folder"))):
        return {}, None
    tree = parse(fill_references(compose(path, overrides, complete=False)), str(path))
    run = _run_of(tree.get("classifier_folder"))
    given = not _is_open(tree.get("data_folder")) or not _is_open(tree.get("table"))
    if run is None or (given and "data_folder" not in overrides):
        return {}, None
    archive = Archive.of_run(run, parts, trust_remote_code)
    if tag_of(archive.filled.get("prepare")) != tag_of(tree.get("prepare")):
        return {}, None
    values = _data_options(archive)
    if given and (archive.data_root.is_dir() or any(name in overrides for name in values if name != "data_folder")):
        return {}, None
    if given:
        values |= moved_paths(archive, str(overrides["data_folder"]))
    else:
        archive.check_data()
    known = {name: value for name, value in values.items() if name.startswith("prepare.") or name in tree}
    return known, run


def _data_options(archive: Archive) -> dict[str, Any]:
    """Return the options of a run's data, by the names that a command line has for them."""
    options = {}
    for name, node in archive.written["prepare"].items():
        key = re.fullmatch(r"<(\w+)>", str(node.value)) if tag_of(node) == "!ref" else None
        if key is not None and key[1] in archive.filled:
            options[key[1]] = archive.filled[key[1]]
        elif name != "manifest_folder" and key is None:
            options[f"prepare.{name}"] = archive.filled["prepare"][name]
    options |= {name: archive.filled[name] for name in _OF_CLIPS if name in archive.filled}
    # What is a text in the YAML is one here, whatever it would mean on a command line.
    return {
        name: DoubleQuotedScalarString(value) if isinstance(value, str) else value for name, value in options.items()
    }


def _run_of(classifier_folder: Any) -> Path | None:
    """Return the folder of the run that a classifier's folder is, or lies in; None if there is none."""
    if not isinstance(classifier_folder, str):
        return None
    folder = expanded(classifier_folder)
    places = [folder, *(folder.parents[name.count("/")] for name in RUN_SUBFOLDERS if folder.match(name))]
    return next(filter(_is_run, places), None)


def _is_run(folder: Path) -> bool:
    """Return whether a folder has the YAML of a run, and not that of a model that SpeechBrain loads."""
    path = folder / ARCHIVED
    return path.is_file() and re.search(r"^pretrainer:", read_text(path), re.MULTILINE) is None


def _has_its_data(run: Path | None) -> bool:
    """Return whether the data of a run are where it had them, as far as its YAML says so without being put together."""
    text = "" if run is None else read_text(run / ARCHIVED)
    return any(Path(place).is_dir() for place in re.findall(r'^data_folder: "?(.+?)"?$', text, re.MULTILINE))


def _is_open(node: Any) -> bool:
    """Return whether a key has no value yet."""
    return node is None or tag_of(node) == "!PLACEHOLDER"
