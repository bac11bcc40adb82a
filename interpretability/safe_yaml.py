"""YAML of others in HyperPyYAML's syntax: read as data, and built only from what is on a list.

HyperPyYAML runs whatever code a file names, in its tags and in the text of its tuples. Here a file becomes a tree of
:class:`Node` first, with nothing imported. What it refers to is looked up in that tree, its arithmetic has bounds, and
so have the size and the depth of what results. Only then is it built, by constructors that the caller hands out one by
one::

    document = parse(text, "hyperparams.yaml", packages=("torch.nn.",))
    model = build(document.get("model"), find_class, "hyperparams.yaml")

It understands ``!ref`` and ``!copy`` with arithmetic, ``!PLACEHOLDER``, ``(tuples)``, ``!new:``, ``!name:``,
``!module:`` and ``!apply:``, anchors and merge keys. Includes, ``!applyref:`` and the tags of Python are refused.
"""

from __future__ import annotations

import ast
import json
import math
import operator
import re
import warnings
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from functools import partial
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.events import (
    AliasEvent,
    DocumentStartEvent,
    MappingEndEvent,
    MappingStartEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
)

from interpretability.errors import UserError, first_line, shown, user_errors

#: Of a file. Published ones have less than 20 kB.
MAX_BYTES = 256 * 1024
#: Nodes of a tree, counted wherever an alias or a reference repeats them, and how deep they lie in each other.
MAX_NODES, MAX_DEPTH = 10_000, 32
#: Characters of a text that is put together of references, and of one that is arithmetic.
MAX_TEXT, MAX_ARITHMETIC = 4096, 200
#: Largest result of arithmetic, and largest exponent in it.
MAX_NUMBER, MAX_EXPONENT = 2**63, 64

#: Kinds of tags that name code: ``!new:package.Class``.
CODE = ("!new", "!name", "!module", "!apply")
REFERENCES = ("!ref", "!copy")
PLACEHOLDER = "!PLACEHOLDER"
_TUPLE = "!tuple"
_STANDARD = "tag:yaml.org,2002:"
_COLLECTIONS, _SCALARS = ("map", "seq"), ("str", "int", "float", "bool", "null", "timestamp")
_CONSTANTS = {
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
    **dict.fromkeys(("null", "Null", "NULL", "~", ""), None),
}
_INTEGER = re.compile(r"[-+]?(0b[01_]+|0o[0-7_]+|0x[0-9a-fA-F_]+|[0-9][0-9_]*)")
_FLOAT = re.compile(r"[-+]?([0-9][0-9_]*\.[0-9_]*|\.[0-9][0-9_]*|[0-9][0-9_]*(?=[eE]))([eE][-+]?[0-9]+)?")
_NOT_FINITE = re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")
_REFERENCE = re.compile(r"<[^>]*>")
_PLACE = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*")
_OPERATORS: dict[type[ast.operator], Callable] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
    ast.Pow: operator.pow,
}


class Node:
    """A part of a YAML.

    Parameters
    ----------
    value : object
        A plain value; or a dict, list or tuple of nodes.
    tag : str
        Empty for plain values; ``!new:package.Class`` and the like, ``!ref``, ``!copy`` or ``!PLACEHOLDER``.

    Attributes
    ----------
    size : int
        Nodes in it, itself included; those that it repeats are counted again.
    height : int
        How many nodes lie in each other.

    Raises
    ------
    UserError
        If it is larger or deeper than it may be.
    """

    __slots__ = ("height", "size", "tag", "value")

    def __init__(self, value: Any, tag: str = ""):
        self.value, self.tag = value, tag
        members = list(self.members())
        self.size = 1 + sum(member.size for member in members)
        self.height = 1 + max((member.height for member in members), default=0)
        if self.size > MAX_NODES:
            raise UserError(f"more than {MAX_NODES} values, counted where they are repeated: make it smaller")
        if self.height > MAX_DEPTH:
            raise _too_deep()

    def members(self) -> Iterator[Node]:
        """Yield the nodes in it."""
        if isinstance(self.value, dict):
            yield from self.value.values()
        elif isinstance(self.value, (list, tuple)):
            yield from self.value

    def with_members(self, change: Callable[[Node], Node]) -> Node:
        """Return the same with its members changed."""
        if isinstance(self.value, dict):
            return Node({key: change(member) for key, member in self.value.items()}, self.tag)
        if isinstance(self.value, (list, tuple)):
            return Node(type(self.value)(map(change, self.value)), self.tag)
        return Node(self.value, self.tag)

    def walk(self) -> Iterator[Node]:
        """Yield it and all nodes in it, each once."""
        waiting, visited = [self], set()
        while waiting:
            node = waiting.pop()
            if id(node) not in visited:
                visited.add(id(node))
                yield node
                waiting += node.members()


class Document:
    """The keys and values of a YAML; references are looked up when a value is asked for.

    Parameters
    ----------
    root : Node
    where : str
        Goes in front of errors: the path of the file.
    """

    def __init__(self, root: Node, where: str):
        if not isinstance(root.value, dict) or root.tag:
            raise UserError(f"{where}: expected keys and values, got {shown(type(root.value).__name__)}")
        self.where = where
        self._root = root
        self._resolved: dict[int, Node] = {}
        self._open: set[int] = set()
        self._depth = 0

    def __contains__(self, name: str) -> bool:
        return name in self._root.value

    def get(self, name: str) -> Node | None:
        """Return the value of a key without references, which share their nodes; None if there is no such key.

        Raises
        ------
        UserError
            For a reference to what is not there, or to itself; for a placeholder; for arithmetic out of bounds.
        """
        return self._get(self._root.value[name]) if name in self else None

    def whole(self) -> Node:
        """Return all keys and values; errors as of :meth:`get`."""
        return self._get(self._root)

    def plain(self, name: str, default: Any = None) -> Any:
        """Return the value of a key that is plain.

        Raises
        ------
        UserError
            If it is not; and as :meth:`get`.
        """
        node = self.get(name)
        if node is None:
            return default
        if any(member.tag for member in node.walk()):
            raise UserError(f"{self.where}: {name} has to be a plain value, got one that is built")
        return build(node, _refuse_all, self.where)

    def _get(self, node: Node) -> Node:
        with user_errors(self.where, UserError):  # it is in front of those that the parts raise
            try:
                return self._resolve(node)
            except UserError as error:
                raise UserError(f"{self.where}: {error}") from None

    def _resolve(self, node: Node) -> Node:
        known = self._resolved.get(id(node))
        if known is not None:
            return known
        if id(node) in self._open:
            raise UserError("a reference leads to itself: correct it")
        if self._depth > 2 * MAX_DEPTH:
            raise _too_deep()
        self._open.add(id(node))
        self._depth += 1
        try:
            if node.tag == PLACEHOLDER:
                raise UserError(f"a value is a {PLACEHOLDER}: fill it in")
            result = self._referred(node) if node.tag in REFERENCES else node.with_members(self._resolve)
        finally:
            self._open.discard(id(node))
            self._depth -= 1
        self._resolved[id(node)] = result
        return result

    def _referred(self, node: Node) -> Node:
        text = str(node.value)
        if _REFERENCE.fullmatch(text):
            target = self._resolve(self._find(text[1:-1]))
            return _copy(target, {}) if node.tag == "!copy" else target
        if not _REFERENCE.search(text):
            return Node(text)
        length = len(text)

        def part(match: re.Match) -> str:
            nonlocal length
            target = self._resolve(self._find(match[0][1:-1]))
            if target.tag or isinstance(target.value, (dict, list, tuple)):
                raise UserError(f"{match[0]} stands in the text {shown(text)}: expected a number or a text there")
            length += len(str(target.value))
            if length > MAX_TEXT:
                raise UserError(f"the text {shown(text)} gets longer than {MAX_TEXT} characters")
            return str(target.value)

        whole = _REFERENCE.sub(part, text)
        return _tuple_of(whole) if _is_tuple(whole) else Node(_calculated(whole))

    def _find(self, reference: str) -> Node:
        """Return the node at ``name[key][key]``; with ``.attribute`` behind it, one that takes it from the object."""
        name, dot, attribute = reference.partition(".")
        node = self._root
        for key in name.split("["):
            if node.tag in REFERENCES:
                node = self._resolve(node)
            key = key.strip("]")
            if not isinstance(node.value, dict) or key not in node.value:
                raise UserError(f"there is no {shown(reference)}, to which a value refers: correct it")
            node = node.value[key]
        return Node([node, Node(attribute)], "!apply:getattr") if dot else node


def parse(content: str | bytes, where: str, packages: Collection[str] = ()) -> Document:
    """Parse a YAML; nothing is imported and nothing built.

    Parameters
    ----------
    content : str or bytes
        In UTF-8.
    where : str
        Goes in front of errors: the path of the file.
    packages : collection of str
        What its tags may name: ``"torch.nn."`` for all of that package.

    Raises
    ------
    UserError
        For what is no YAML, no text in UTF-8, longer than :data:`MAX_BYTES`, larger or deeper than a node may be; for a
        tag that is unknown or names something else.
    """
    if len(content) > MAX_BYTES:
        raise UserError(f"{where}: longer than {MAX_BYTES} bytes: expected the YAML of one model")
    if isinstance(content, bytes):
        try:
            content = content.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            raise UserError(f"{where}: not text in UTF-8 (byte {error.start}): save it as UTF-8") from error
    try:
        return Document(_compose(content, packages), where)
    except UserError as error:
        text = str(error)
        raise UserError(text if text.startswith(f"{where}: ") else f"{where}: {text}") from None


def build(node: Node, find: Callable[[str], Any], where: str) -> Any:
    """Build what a node describes. A node that is shared becomes one object.

    Parameters
    ----------
    node : Node
        Without references, as :meth:`Document.get` returns it.
    find : callable
        Returns the class or function that a tag (``"!new:torch.nn.ReLU"``) stands for, or raises a
        :class:`UserError`. It is asked about all tags before anything is built.
    where : str
        Goes in front of errors.

    Raises
    ------
    UserError
        What ``find`` raises; for ``!apply:``, which would run a function; for whatever the constructors raise.
    """
    targets = {}
    for tag in dict.fromkeys(part.tag for part in node.walk() if part.tag):
        targets[tag] = find(tag)
        if tag.partition(":")[0] not in ("!new", "!name", "!module"):
            raise UserError(f"{where}: {tag!r} is refused where it would be built: it runs a function")
    with user_errors(f"{where}: its modules cannot be built", whole=True):  # constructors raise anything
        return _Builder(where, targets).value(node)


def dump(content: Mapping[str, Node]) -> str:
    """Return keys and values as a YAML that :func:`parse` reads; shared nodes stay shared."""
    uses: dict[int, int] = {}
    for node in content.values():
        _count(node, uses)
    names = {key: f"n{number}" for number, key in enumerate(key for key, count in uses.items() if count > 1)}
    written: set[int] = set()
    return "".join(f"{_scalar(key)}: {_written(node, names, written)}\n" for key, node in content.items())


# ------------------------------------------------------------------------------------------------------------ parsing


class _Open:
    """A list or a mapping whose end is not reached yet."""

    def __init__(self, event: SequenceStartEvent | MappingStartEvent, tag: str):
        self.is_mapping, self.anchor, self.tag = isinstance(event, MappingStartEvent), event.anchor, tag
        self.items: list[Node] = []

    def close(self) -> Node:
        if self.is_mapping:
            return Node(self._mapping(), self.tag)
        return Node(tuple(self.items)) if self.tag == _TUPLE else Node(self.items, self.tag)

    def _mapping(self) -> dict[Any, Node]:
        content: dict[Any, Node] = {}
        merged: dict[Any, Node] = {}
        for key, value in zip(self.items[::2], self.items[1::2], strict=True):
            if key.tag or isinstance(key.value, (dict, list, tuple)):
                raise UserError("a key is a list, a mapping or a tag, expected a text or a number")
            if key.value == "<<":
                for other in value.value if isinstance(value.value, list) else [value]:
                    if not isinstance(other.value, dict):
                        raise UserError("<< merges what is no mapping")
                    merged = {**other.value, **merged}
            elif key.value in content:
                raise UserError(f"the key {shown(key.value)} is given twice")
            else:
                content[key.value] = value
        return {**merged, **content}


def _compose(text: str, packages: Collection[str], tags: bool = True) -> Node:
    """Return the tree of a YAML; ``tags``: whether there may be any."""
    anchors: dict[str, Node] = {}
    opened: list[_Open] = []
    root, n_nodes = None, 0
    for event in _events(text):
        if isinstance(event, DocumentStartEvent) and root is not None:
            raise UserError("several documents (---), expected one")
        if isinstance(event, (SequenceStartEvent, MappingStartEvent)):
            if len(opened) >= MAX_DEPTH:
                raise _too_deep()
            opened.append(_Open(event, _tag(event, packages, tags)))
            continue
        anchor = getattr(event, "anchor", None)
        if isinstance(event, AliasEvent):
            node, anchor = anchors.get(event.anchor), None
            if node is None:
                raise UserError(f"the alias *{event.anchor} stands in front of its anchor or inside of it")
        elif isinstance(event, ScalarEvent):
            node = _scalar_node(event, _tag(event, packages, tags), in_tuple=not tags)
        elif isinstance(event, (SequenceEndEvent, MappingEndEvent)):
            anchor, node = opened[-1].anchor, opened.pop().close()
        else:
            continue
        n_nodes += 1
        if n_nodes > MAX_NODES:
            raise UserError(f"more than {MAX_NODES} values: make it smaller")
        if anchor is not None:
            anchors[anchor] = node
        if opened:
            opened[-1].items.append(node)
        else:
            root = node
    return Node(None) if root is None else root


def _events(text: str) -> Iterator[Any]:
    """Yield what the parser of ruamel.yaml reads, which builds nothing and does not call itself."""
    events = YAML(typ="safe", pure=True).parse(text)
    while True:
        with user_errors("not valid YAML"):  # besides its own errors, those of characters that there are not
            try:
                event = next(events)
            except StopIteration:
                return
        yield event


def _tag(event: Any, packages: Iterable[str], allowed: bool) -> str:
    """Return the tag of an event; a :class:`UserError` for one that is not known, or not among the packages."""
    tag = str(event.tag or "")
    standard = tag.removeprefix(_STANDARD) if tag.startswith(_STANDARD) else ""
    kind, _, place = tag.partition(":")
    is_scalar = isinstance(event, ScalarEvent)
    if tag in ("", "!"):
        return ""
    if allowed and standard in (_SCALARS if is_scalar else _COLLECTIONS):
        return tag if is_scalar else ""
    if allowed and tag == _TUPLE and not isinstance(event, MappingStartEvent):
        return tag
    if allowed and is_scalar and tag in (*REFERENCES, PLACEHOLDER):
        return tag
    if allowed and kind in CODE and _PLACE.fullmatch(place) and place.startswith(tuple(packages)):
        return tag
    raise UserError(
        f"the tag {shown(tag)} is refused: it could run any code. Expected plain values, and "
        f"{', '.join(f'{kind}:' for kind in CODE)} of {', '.join(package + '*' for package in packages) or 'nothing'}"
    )


def _scalar_node(event: ScalarEvent, tag: str, in_tuple: bool) -> Node:
    text, is_plain = event.value, event.style is None
    if tag.startswith(CODE):
        return Node(None, tag)  # HyperPyYAML passes no such text on, either
    if tag == PLACEHOLDER or tag in REFERENCES:
        return Node(text, tag)
    if in_tuple and is_plain and (text.startswith("(") or text.endswith(")")):
        raise UserError("a tuple stands in a tuple: write the inner one as a list")
    if tag == _TUPLE or (tag == "" and is_plain and _is_tuple(text)):
        return _tuple_of(text)
    if tag == "":
        return Node(_resolved(text) if is_plain else text)
    kind = tag.removeprefix(_STANDARD)
    if kind in ("str", "timestamp"):
        return Node(text)
    value = _resolved(text)
    value = float(value) if kind == "float" and type(value) is int else value
    if type(value).__name__ != {"null": "NoneType"}.get(kind, kind):
        raise UserError(f"!!{kind} {shown(text)}: that is no {kind}")
    return Node(value)


def _is_tuple(text: str) -> bool:
    return text.startswith("(") and text.endswith(")")


def _tuple_of(text: str) -> Node:
    """Return ``(a, b)`` as a node: plain values, and lists of them."""
    if not _is_tuple(text):
        raise UserError(f"!tuple {shown(text)}: expected (a, b)")
    try:
        node = _compose(f"[{text[1:-1]}]", (), tags=False)
    except UserError as error:
        raise UserError(f"the tuple {shown(text)}: {error}") from None
    if not isinstance(node.value, list):
        raise UserError(f"the tuple {shown(text)} cannot be read: expected (a, b)")
    return Node(tuple(node.value))


def _resolved(text: str) -> Any:
    """Return what a plain scalar means in YAML 1.2: a truth value, null, a number, or else text."""
    if text in _CONSTANTS:
        return _CONSTANTS[text]
    if _INTEGER.fullmatch(text):
        digits = text.replace("_", "").lower()
        with user_errors(f"{shown(text)} is not a number", ValueError):  # Python has a limit of digits
            return int(digits, 0) if digits.lstrip("+-")[:2] in ("0b", "0o", "0x") else int(digits)
    if _FLOAT.fullmatch(text):
        return float(text.replace("_", ""))
    if _NOT_FINITE.fullmatch(text):
        return float(text.replace(".", "").lower())
    return text


def _too_deep() -> UserError:
    return UserError(f"more than {MAX_DEPTH} lists and mappings in each other: make it flatter")


# --------------------------------------------------------------------------------------------------------- references


def _copy(node: Node, copies: dict[int, Node]) -> Node:
    if id(node) not in copies:
        copies[id(node)] = node.with_members(lambda member: _copy(member, copies))
    return copies[id(node)]


def _calculated(text: str) -> Any:
    """Return what arithmetic gives, a constant as such, and anything else as the text that it is."""
    if len(text) > MAX_ARITHMETIC:
        return text
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of texts that look like odd Python
            tree = ast.parse(text, mode="eval").body
    except (SyntaxError, ValueError, MemoryError, RecursionError):
        return text
    if isinstance(tree, ast.Constant) and isinstance(tree.value, (int, float, str, type(None))):
        return tree.value
    if not isinstance(tree, ast.BinOp) or not all(map(_is_arithmetic, ast.walk(tree))):
        return text
    try:
        return _evaluated(tree)
    except (ArithmeticError, ValueError) as error:
        raise UserError(
            f"the arithmetic {shown(text)} cannot be done ({first_line(error)}): write its result"
        ) from error


def _is_arithmetic(node: ast.AST) -> bool:
    if isinstance(node, ast.Constant):
        return isinstance(node.value, (int, float))
    return isinstance(node, ast.BinOp) or type(node) in _OPERATORS


def _evaluated(node: ast.expr) -> int | float:
    if isinstance(node, ast.Constant):
        result = node.value
    else:
        left, right = _evaluated(node.left), _evaluated(node.right)
        if isinstance(node.op, ast.Pow) and abs(right) > MAX_EXPONENT:
            raise OverflowError(f"an exponent above {MAX_EXPONENT}")
        result = _OPERATORS[type(node.op)](left, right)
    if isinstance(result, complex) or not math.isfinite(result) or abs(result) > MAX_NUMBER:
        raise OverflowError("a result that is not finite, or above 2 ** 63")
    return result


# ----------------------------------------------------------------------------------------------- building and writing


def _refuse_all(tag: str) -> Any:
    raise UserError(f"the tag {tag!r} is refused: expected plain values")


class _Builder:
    """Builds nodes with what their tags stand for; one that is met again gives the same object."""

    def __init__(self, where: str, targets: Mapping[str, Any]):
        self.where, self.targets = where, targets
        self._built: dict[int, Any] = {}

    def value(self, node: Node) -> Any:
        if id(node) not in self._built:
            content = node.value
            if isinstance(content, dict):
                content = {key: self.value(member) for key, member in content.items()}
            elif isinstance(content, (list, tuple)):
                content = type(content)(map(self.value, content))
            self._built[id(node)] = self._called(node.tag, content) if node.tag else content
        return self._built[id(node)]

    def _called(self, tag: str, content: Any) -> Any:
        values = content if isinstance(content, (list, tuple)) else ()
        names = content if isinstance(content, dict) else {}
        if not all(isinstance(name, str) for name in names):
            raise UserError(f"{self.where}: {tag}: its settings have to have names")
        if tag.startswith("!new:"):
            return self.targets[tag](*values, **names)
        return partial(self.targets[tag], *values, **names) if values or names else self.targets[tag]


def _count(node: Node, uses: dict[int, int]) -> None:
    """Count the uses of every node that may not be written twice: of what is built, and of what holds that."""
    if node.tag or isinstance(node.value, (dict, list, tuple)):
        uses[id(node)] = uses.get(id(node), 0) + 1
        if uses[id(node)] > 1:
            return
    for member in node.members():
        _count(member, uses)


def _written(node: Node, names: Mapping[int, str], written: set[int]) -> str:
    name = names.get(id(node))
    if name is not None and id(node) in written:
        return f"*{name}"
    written.add(id(node))
    if isinstance(node.value, dict):
        pairs = (f"{_scalar(key)}: {_written(member, names, written)}" for key, member in node.value.items())
        text = f"{{{', '.join(pairs)}}}"
    elif isinstance(node.value, (list, tuple)):
        text = f"[{', '.join(_written(member, names, written) for member in node.value)}]"
    else:
        text = '""' if node.tag else _scalar(node.value)
    tag = _TUPLE if isinstance(node.value, tuple) and not node.tag else node.tag
    return " ".join(part for part in (f"&{name}" if name else "", tag, text) if part)


def _scalar(value: Any) -> str:
    if isinstance(value, bool) or value is None:
        return {True: "true", False: "false", None: "null"}[value]
    if isinstance(value, float) and not math.isfinite(value):
        return ".nan" if math.isnan(value) else f"{'-' if value < 0 else ''}.inf"
    if isinstance(value, str):
        text = json.dumps(value, ensure_ascii=False)
        return "".join(char if char.isprintable() else f"\\U{ord(char):08x}" for char in text)
    return repr(value)
