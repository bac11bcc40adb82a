"""A YAML as a tree of nodes with tags: parsed, walked and written, and nothing in it is built."""

import io
from collections.abc import Iterator, Mapping
from itertools import accumulate
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap
from ruamel.yaml.error import MarkedYAMLError, YAMLError

from interpretability.errors import UserError, first_line

#: Lists and mappings in brackets inside each other.
MAX_DEPTH = 64


def parse(text: str, where: str) -> Any:
    """Parse a YAML; a :class:`UserError` with ``where`` in front if it is not valid."""
    steps = (1 if mark in "[{" else -1 for mark in text if mark in "[]{}")
    if max(accumulate(steps), default=0) > MAX_DEPTH:
        raise UserError(f"{where}: nested deeper than {MAX_DEPTH} levels: correct it")
    try:
        return _yaml().load(text)
    except YAMLError as error:
        line = f", line {error.problem_mark.line + 1}" if getattr(error, "problem_mark", None) else ""
        problem = error.problem if isinstance(error, MarkedYAMLError) else first_line(error)
        raise UserError(f"{where}{line}: not valid YAML ({problem}): correct it") from error
    except (RecursionError, ValueError) as error:  # too deep by its indentation; a date that is none
        raise UserError(f"{where}: not valid YAML ({first_line(error)}): correct it") from error


def dump(tree: CommentedMap) -> str:
    """Return the text of a tree."""
    stream = io.StringIO()
    _yaml().dump(tree, stream)
    return stream.getvalue()


def tag_of(node: Any) -> str:
    """Return the tag of a node, such as ``!ref`` or ``!name:module.Class``; empty if it has none."""
    return getattr(getattr(node, "tag", None), "value", None) or ""


def nodes(node: Any, place: str = "") -> Iterator[tuple[str, Any]]:
    """Yield (dotted place, node) of everything in a tree."""
    yield place, node
    for key, member in _members(node):
        yield from nodes(member, f"{place}.{key}" if place else str(key))


def replace_nodes(node: Any, new: Mapping[str, Any], place: str = "") -> None:
    """Put other nodes at dotted places of a tree."""
    for key, member in list(_members(node)):
        name = f"{place}.{key}" if place else str(key)
        if name in new:
            node[key] = new[name]
        else:
            replace_nodes(member, new, name)


def _members(node: Any) -> Iterator[tuple[Any, Any]]:
    if isinstance(node, dict):
        yield from node.items()
    elif isinstance(node, list):
        yield from enumerate(node)


def _yaml() -> YAML:
    yaml = YAML()
    yaml.preserve_quotes, yaml.width = True, 4096
    return yaml
