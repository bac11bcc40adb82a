"""Recipe YAMLs: one text made of a file, the files that it extends and the command line, for HyperPyYAML to load.

``extends: FILE`` or ``extends: [FILE, FILE]`` (paths relative to the file itself) lays the keys of a file over those of
others: a later one over an earlier one, each file once. Mappings are laid over each other key by key, all else is
replaced. Settings may be laid over ``!new:CLASS`` or ``!name:CLASS`` without naming it again; another class starts
without settings.
"""

import difflib
import inspect
import os
import pydoc
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ruamel.yaml.comments import Comment, CommentedMap
from ruamel.yaml.tag import Tag

from interpretability.errors import MissingError, UserError, shown
from interpretability.settings import refuse_unknown
from interpretability.training.archive import ARCHIVED, OLDER
from interpretability.training.paths import literal, place_paths, typed
from interpretability.training.tree import dump, nodes, parse, tag_of

EXTENDS = "extends"
#: Stands for the default of a setting that has none.
REQUIRED = inspect.Parameter.empty
_OBJECTS = ("!new:", "!name:", "!apply:")
#: Arguments that the job gives to what a YAML names with ``!name:``: not settings of the YAML.
_GIVEN_BY_JOBS = ("classifier", "labels", "frontend", "sample_rate")


def compose(path: str | Path, overrides: Mapping[str, Any] | None = None, complete: bool = True) -> str:
    """Return the whole YAML of a recipe: without ``extends``, without comments, with the overrides in place.

    Parameters
    ----------
    path : path
    overrides : dict, optional
        Dotted name of a key -> its value, as the text of a YAML or as a plain value:
        ``{"method.codebook_size": "64"}`` or ``{"method": "{codebook_size: 64}"}``. The text of a path, and a ``Path``,
        are taken literally (:mod:`.paths`).
    complete : bool
        Whether every placeholder has to be filled.

    Raises
    ------
    MissingError
        If the file, or one that it extends, is absent.
    UserError
        In one line: for a file that is not YAML or not UTF-8, that gives a key twice or extends itself; for an override
        of a key that is not there; for a key that what it configures does not take, with the nearest ones; for a
        placeholder that is not filled.
    """
    path = Path(os.path.abspath(path))
    tree = CommentedMap()
    for layer in _layers(path).values():
        tree = _lay(layer, tree)
    for name, value in OLDER.items() if path.name == ARCHIVED else ():
        tree.setdefault(name, value)
    for name, value in (overrides or {}).items():
        upper = literal(str(value)) if isinstance(value, Path) else value
        upper = typed(name, upper) if type(upper) is str else upper
        for part in reversed(name.split(".")):
            upper = CommentedMap({part: upper})
        _check_override(upper, tree, path, tree)
        tree = _lay(upper, tree)
    _check_settings(tree, path)
    place_paths(tree, path)
    for place, node in nodes(tree):
        if tag_of(node) == "!PLACEHOLDER" and complete:
            raise UserError(f"{path}: {place} has to be given: --{place} VALUE")
        if tag_of(node).startswith("!include:"):
            raise UserError(
                f"{path}: {place} includes a file, which HyperPyYAML cannot find: use extends: FILE instead"
            )
        if hasattr(node, Comment.attrib):
            delattr(node, Comment.attrib)
    # HyperPyYAML resolves in order: a section that refers to a key that is itself a reference has to come after it.
    return dump(CommentedMap(sorted(tree.items(), key=lambda item: isinstance(item[1], dict))))


def list_yamls(folder: str | Path) -> dict[str, Path]:
    """Return the YAMLs of a recipe: name -> the file that holds its choices.

    Where the folder has a ``data.yaml``, every method and classifier of the shared folder ``hparams`` is among them:
    a name that the recipe has no file for stands for its ``data.yaml`` with the shared file laid over it.

    Parameters
    ----------
    folder : path
        ``recipes/NAME/hparams``.
    """
    folder = Path(os.path.abspath(folder))
    yamls = {}
    if (folder / "data.yaml").is_file():
        for part, prefix in (("classifiers", "classifier_"), ("methods", "")):
            for path in (folder.parents[2] / "hparams" / part).glob("*.yaml"):
                yamls[f"{prefix}{path.name}"] = path
    return dict(sorted({**yamls, **{path.name: path for path in folder.glob("*.yaml")}}.items()))


@dataclass(frozen=True)
class Key:
    """A key that may be overridden.

    Attributes
    ----------
    name : str
        Dotted.
    value : str
        As written in a YAML; empty for a mapping.
    given : bool
        Whether the YAML has it; otherwise it is a setting, and ``value`` its default.
    target : str
        The tag of a mapping: ``!name:`` and the class that is configured.
    """

    name: str
    value: str = ""
    given: bool = True
    target: str = ""


def list_keys(text: str) -> list[Key]:
    """Return all keys of a whole YAML, and the further settings of what it configures."""
    return _keys(parse(text, "the YAML"))


def settings_taken_by(target: str) -> dict[str, Any] | None:
    """Return what a class or function takes from a YAML: name -> default; None if it takes anything, or does not exist.

    Example
    -------
    >>> settings_taken_by("interpretability.classifiers.conv2d.Conv2dClassifier")["dim"]
    256
    """
    thing = pydoc.locate(target)
    try:
        parameters = inspect.signature(thing).parameters.values()
    except (TypeError, ValueError):  # not callable, which HyperPyYAML reports; or a built-in
        return None
    known = {p.name: p.default for p in parameters if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)}
    settings = getattr(getattr(thing, "__self__", thing), "Settings", None)  # of a class method: those of its class
    if settings is not None:
        return known | {info.name: REQUIRED if info.required else info.default for info in settings.infos()}
    return None if any(p.kind is p.VAR_KEYWORD for p in parameters) else known


def _keys(tree: Mapping, place: str = "") -> list[Key]:
    keys = []
    for name, node in tree.items():
        if isinstance(node, dict):
            keys += [Key(f"{place}{name}", target=tag_of(node)), *_keys(node, f"{place}{name}.")]
        else:
            keys.append(Key(f"{place}{name}", _written(node)))
    rest = {name: default for name, default in (_taken(tree) or {}).items() if name not in tree}
    return keys + [Key(f"{place}{name}", _written(default), given=False) for name, default in rest.items()]


def _written(node: Any) -> str:
    """Return a value as it is written in a YAML."""
    if node is REQUIRED:
        return ""
    if isinstance(node, (list, tuple)):
        return f"{tag_of(node)} [{', '.join(map(_written, node))}]".strip()
    return f"{tag_of(node)} {getattr(node, 'value', 'null' if node is None else node)}".strip()


def _taken(node: Any) -> dict[str, Any] | None:
    """Return the settings that the class or function of a node's tag takes; None if that is unknown."""
    kind, _, target = tag_of(node).partition(":")
    known = settings_taken_by(target) if f"{kind}:" in _OBJECTS else None
    return known and {name: known[name] for name in known if kind != "!name" or name not in _GIVEN_BY_JOBS}


def _layers(path: Path, above: tuple[Path, ...] = ()) -> dict[Path, CommentedMap]:
    """Return a file and those that it extends, each once, the lowest first."""
    if path in above:
        raise UserError(f"{path} extends itself, by way of {above[-1]}: remove one extends")
    if not path.is_file():
        if above:
            raise MissingError(f"{above[-1]} extends {path}, which is not there: correct the path")
        shared = list_yamls(path.parent).get(path.name)
        if shared is None:
            raise MissingError(
                f"no YAML file at {path}: run the script inside its recipe folder, with hparams/NAME.yaml, or give "
                "the output folder of a run"
            )
        return _layers(path.with_name("data.yaml"), (path,)) | _layers(shared, (path,))
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is not UTF-8 (byte {error.start}): save it as UTF-8") from error
    tree = parse(text, str(path))
    if not isinstance(tree, dict):
        raise UserError(f"{path} holds {type(tree).__name__}, expected keys with values: write key: value")
    extended = tree.pop(EXTENDS, [])
    extended = [extended] if isinstance(extended, str) else extended
    if not isinstance(extended, list) or not all(isinstance(name, str) for name in extended):
        raise UserError(f"{path}: extends is {extended!r}, expected a path or a list of paths")
    layers: dict[Path, CommentedMap] = {}
    for name in extended:
        layers |= _layers(Path(os.path.abspath(path.parent / name)), (*above, path))
    return layers | {path: tree}


def _lay(upper: Any, lower: Any) -> Any:
    """Return one node laid over another; neither is changed."""
    tag = tag_of(upper) or (tag_of(lower) if isinstance(upper, dict) else "")
    if tag == "!PLACEHOLDER" and lower is not None:
        return lower
    if not isinstance(upper, dict) and not (tag.startswith(_OBJECTS) and not getattr(upper, "value", True)):
        return upper
    same = isinstance(lower, dict) and tag_of(lower) in ("", tag)
    result = CommentedMap(lower.items() if same else ())
    for key, value in upper.items() if isinstance(upper, dict) else ():
        result[key] = _lay(value, result.get(key))
    if tag:
        result.yaml_set_ctag(Tag(suffix=tag))
    return result


def _check_override(upper: Any, lower: Mapping, path: Path, tree: Mapping, place: str = "") -> None:
    """Refuse overrides of unknown keys; what a class or function takes is checked later."""
    for key, value in upper.items():
        if key not in lower:
            raise UserError(f"--{place}{key}: {path} has no such key{_hint(key, tree)} (--help lists the keys)")
        known, name = lower[key], f"{place}{key}"
        if isinstance(value, dict) and isinstance(known, dict) and not tag_of(known):
            _check_override(value, known, path, tree, f"{name}.")
        elif isinstance(value, dict) and not isinstance(known, dict) and known is not None and not tag_of(known):
            inside = next(iter(value), "")
            raise UserError(
                f"--{name}.{inside}: {name} of {path} is {shown(known)}, which has no keys: give --{name} VALUE"
            )
        elif isinstance(known, dict) and value is not None and not isinstance(value, dict) and not tag_of(value):
            raise UserError(
                f"--{name} is {shown(value)}, expected settings: give --{name}.KEY VALUE (--help lists the keys)"
            )


def _hint(key: str, tree: Mapping) -> str:
    names = [key.name for key in _keys(tree)]
    close = [name for name in names if name.split(".")[-1] == key]
    close = close or difflib.get_close_matches(key, names, n=2)
    if not close:
        last = {name.split(".")[-1]: name for name in names}
        close = [last[name] for name in difflib.get_close_matches(key, last, n=2)]
    return f": did you mean {' or '.join(close)}?" if close else ""


def _check_settings(tree: Mapping, path: Path) -> None:
    """Refuse settings that their class or function does not take."""
    for place, node in nodes(tree):
        known = _taken(node) if isinstance(node, dict) else None
        if known is not None:
            refuse_unknown(f"{path}: {place} ({tag_of(node).split('.')[-1]})", node, known)
