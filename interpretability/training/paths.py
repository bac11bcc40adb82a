"""The paths in a recipe's YAML: taken literally, whatever characters they hold, and with ``~`` for the home folder."""

import os
import re
from pathlib import Path
from typing import Any

from ruamel.yaml.comments import CommentedMap, TaggedScalar
from ruamel.yaml.scalarfloat import ScalarFloat
from ruamel.yaml.scalarstring import DoubleQuotedScalarString

from interpretability.errors import UserError, shown
from interpretability.hub import is_name, local_folder
from interpretability.training.tree import dump, nodes, parse, replace_nodes, tag_of

#: Dotted names of keys that hold a path.
_PATHS = re.compile(
    r"(?:.*[._])?folder|finetune_from|transfer_to|method\.dictionary|training\.\w+\.(?:checkpoints_dir|save_file)|(?:prepare\.)?table"
)
#: Those that hold a model, which may be on a hub: ``user/name``.
_MODELS = re.compile(r"classifier_folder|finetune_from|transfer_to|method\.dictionary")
#: Keys that hold a regular expression, which is no YAML either.
_PATTERNS = ("group_pattern",)
#: How an override begins that is YAML after all: a tag, or quotes.
_YAML = ("!", '"', "'")
#: No name of a file holds the first; ruamel.yaml reads back the second, "next line", as a space.
_IMPOSSIBLE = {"\0", "\x85"}
_NULLS = ("null", "Null", "NULL", "~", "")
_REFERENCE = re.compile(r"<([^<>]*)>")
_ARITHMETIC = re.compile(r"[\d\s.+\-*/%()eE_]*")


def is_path(name: str) -> bool:
    """Return whether the key of that dotted name holds a path.

    Example
    -------
    >>> [name for name in ("data_folder", "noise.folder", "method.dictionary", "dictionary", "lr") if is_path(name)]
    ['data_folder', 'noise.folder', 'method.dictionary']
    """
    return _PATHS.fullmatch(name) is not None


def literal(text: str) -> str | None:
    """Return what was typed for a path as the node of a tree: none of its characters means anything to YAML.

    ``null`` and nothing at all are None: no folder. A folder of that name is ``./null``.
    """
    if text in _NULLS:
        return None
    # HyperPyYAML takes a text in parentheses for a tuple, quoted or not.
    return DoubleQuotedScalarString(f"./{text}" if text.startswith("(") else text)


def typed(name: str, text: str) -> Any:
    """Return the node of an override, from what was typed for it: a path or a pattern is literal, all else YAML.

    Raises
    ------
    UserError
        If it is not valid YAML.
    """
    if is_path(name) and not text.startswith(_YAML):
        return literal(text)
    if name in _PATTERNS and text not in _NULLS:
        # What stands in front of the parenthesis, for the sake of HyperPyYAML, matches nothing.
        return DoubleQuotedScalarString(f".{{0}}{text}" if text.startswith("(") else text)
    return parse(text, f"--{name}")


def place_paths(tree: CommentedMap, where: Path) -> None:
    """Make every path of a tree a text, with the home folder in place of ``~``; fetch the models of a hub.

    These are the folders in the cache from then on, whose paths say which commit they are.

    Raises
    ------
    UserError
        For a path that cannot be one; for a model that cannot be had.
    """
    new = {}
    for place, node in nodes(tree):
        if not is_path(place) or node is None or tag_of(node) not in ("", "!ref"):
            continue
        text = node.value if isinstance(node, TaggedScalar) else node
        unfit = isinstance(text, bool) or not isinstance(text, (str, int, float))
        if unfit or not _IMPOSSIBLE.isdisjoint(str(text)):
            raise UserError(f"{where}: {place} is {shown(text)}, expected a path")
        if not tag_of(node) and _MODELS.fullmatch(place) and is_name(str(text)):
            new[place] = literal(str(local_folder(str(text))))
        elif isinstance(node, TaggedScalar):
            new[place] = _referring(node, os.path.expanduser(text))
        elif not isinstance(text, str) or text.startswith("~"):
            new[place] = literal(os.path.expanduser(str(text)))
    replace_nodes(tree, new)


def anchored(text: str, folder: Path) -> str:
    """Return a YAML whose relative paths are relative to a folder, with absolute ones: it means the same anywhere."""
    tree = parse(text, "the YAML")
    new = {}
    for place, node in nodes(tree):
        if is_path(place) and isinstance(node, str) and not node.startswith("/"):
            new[place] = literal(str(folder / node))
        elif (
            is_path(place)
            and tag_of(node) == "!ref"
            and not node.value.startswith(("/", "<"))
            and "<" not in str(folder)
        ):
            new[place] = _referring(node, str(folder / node.value))
    replace_nodes(tree, new)
    return dump(tree)


def fill_references(text: str) -> str:
    """Return a YAML with the texts in place of the references to them.

    HyperPyYAML would read a text that it puts in as YAML again: a folder named ``<seed>``, or ``1/2``. What is left to
    it are references to anything but texts, and sums and products of numbers.
    """
    tree = parse(text, "the YAML")
    filled = {}
    for place, node in nodes(tree):
        if tag_of(node) == "!ref":
            value = _filled(node.value, tree, ())
            if value is None and is_path(place):  # of a number, as in !ref <seed>
                value = _value(node.value.strip("<>"), tree, ())
            if value is not None:
                filled[place] = DoubleQuotedScalarString(str(value))
    replace_nodes(tree, filled)
    return dump(tree)


def _filled(reference: str, tree: CommentedMap, trail: tuple[str, ...]) -> str | None:
    """Return the text that a reference stands for; None if it stands for something else."""
    parts = _REFERENCE.split(reference)
    values = [_value(name, tree, trail) for name in parts[1::2]]
    if len(values) == 1 and not parts[0] and not parts[2]:
        return values[0] if isinstance(values[0], str) else None
    if any(value is None for value in values):
        return None
    text = "".join(f"{outside}{inside}" for outside, inside in zip(parts[::2], [*values, ""], strict=True))
    of_numbers = not any(isinstance(value, str) for value in values) and _ARITHMETIC.fullmatch(text)
    return None if of_numbers else text


def _value(name: str, tree: CommentedMap, trail: tuple[str, ...]) -> str | int | float | None:
    """Return the text or the number at ``a[b]``; None if it is something else, or refers to itself."""
    node: Any = tree
    for part in name.split("["):
        node = node.get(part.strip("]")) if isinstance(node, dict) else None
    if tag_of(node) == "!ref" and name not in trail:
        return _filled(node.value, tree, (*trail, name))
    if tag_of(node) or not isinstance(node, (str, int, float)):
        return None
    return float(node) if isinstance(node, ScalarFloat) else node


def _referring(node: TaggedScalar, text: str) -> TaggedScalar:
    """Return a reference as another one is, with another text."""
    return TaggedScalar(value=text, style=node.style, tag=node.tag)
