"""Reading the JSON files that this package writes, or reads of others: bounded, strict, and checked by type.

A file may come from anywhere, and may be damaged. :func:`read_json` limits its size and its depth before it is parsed,
and takes no NaN, no infinity, no name twice and nothing but UTF-8. What the file has to hold is a
:class:`~interpretability.settings.Settings` dataclass, :func:`checked` against it: the same that states defaults and
ranges elsewhere. Whatever is wrong becomes one :class:`UserError`, which names the file, the member, what was got and
what was expected.
"""

import json
import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from interpretability.errors import MissingError, UserError, placed, shown, user_errors
from interpretability.settings import Settings

#: Of a file, in bytes: our largest descriptions have some kB, tables and class lists up to a few MB.
MAX_BYTES = 64 * 2**20
#: Objects and lists inside each other.
MAX_DEPTH = 64

_ESCAPES = re.compile(r"\\.", re.DOTALL)
#: What a JSON text without escapes holds besides its structure: texts, ended or not, and all that is no bracket.
_NO_BRACKETS = re.compile(r'"[^"]*"?|[^][{}"]+')

Schema = TypeVar("Schema", bound=Settings)
Members = list[tuple[str, Any]]


def read_bytes(path: str | Path, limit: int = MAX_BYTES) -> bytes:
    """Read a regular file of at most ``limit`` bytes.

    Raises
    ------
    MissingError
        If there is none. A pipe, a socket or a device is none.
    UserError
        If it is larger, or cannot be read.
    """
    path = Path(path)
    with user_errors(f"{path}: cannot be read", OSError, ValueError):
        if not path.is_file():
            raise MissingError(f"{path}: no such file")
        with open(path, "rb") as stream:
            content = stream.read(limit + 1)
    if len(content) > limit:
        raise UserError(f"{path}: has {path.stat().st_size} bytes, expected at most {limit}")
    return content


def read_text(path: str | Path, limit: int = MAX_BYTES) -> str:
    """Read a file of text in UTF-8; errors as of :func:`read_bytes`, and a :class:`UserError` for another encoding."""
    content = read_bytes(path, limit)
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise UserError(
            f"{path}: not text in UTF-8 (byte 0x{content[error.start]:02x} at {error.start}): save it as UTF-8"
        ) from error


def parse_json(text: str, where: str | Path, pairs: Callable[[Members], Any] | None = None, advice: str = "") -> Any:
    """Parse a JSON text.

    Parameters
    ----------
    text : str
    where : str or path
        What it is, in front of errors: the path of its file, or an option.
    pairs : callable, optional
        Makes an object of its (name, value) pairs. By default a dict, and a name that comes twice is refused.
    advice : str
        What to do, behind errors.

    Raises
    ------
    UserError
        If it is not JSON; if it is nested deeper than :data:`MAX_DEPTH`; if it holds NaN, an infinite number or a name
        twice in an object.
    """
    with placed(where, advice), user_errors(f"{where}: not valid JSON", ValueError):
        if _depth(text) > MAX_DEPTH:
            raise ValueError(f"nested deeper than {MAX_DEPTH} levels")
        return json.loads(
            text, object_pairs_hook=pairs or _unique, parse_constant=_refuse_constant, parse_float=_finite
        )


def read_json(
    path: str | Path,
    pairs: Callable[[Members], Any] | None = None,
    limit: int = MAX_BYTES,
) -> Any:
    """Read a JSON file; parameters and errors as of :func:`read_text` and :func:`parse_json`."""
    return parse_json(read_text(path, limit), path, pairs)


def read_object(path: str | Path) -> dict[str, Any]:
    """Read a JSON file that holds an object; errors as of :func:`read_json`."""
    return as_object(read_json(path), path)


def as_object(content: Any, where: str | Path, advice: str = "") -> dict[str, Any]:
    """Return parsed JSON that has to be an object; a :class:`UserError` with the advice if it is something else."""
    if not isinstance(content, dict):
        with placed(where, advice):
            raise UserError(f"{where}: expected a JSON object, got {shown(content)}")
    return content


def checked(schema: type[Schema], content: Any, where: str | Path, advice: str = "") -> Schema:
    """Check an object against the settings that it has to hold; other members are left alone.

    Parameters
    ----------
    schema : type of Settings
    content : object
        Parsed JSON.
    where : str or path
        In front of errors.
    advice : str
        What to do, behind them.

    Raises
    ------
    UserError
        If it is no object, if a member without a default is missing, or if one has another type or lies outside of what
        is allowed.
    """
    with placed(where, advice):
        members = as_object(content, where)
        infos = schema.infos()
        for info in infos:
            if info.required and info.name not in members:
                raise UserError(f"{where}: lacks {info.name!r}, expected {info.expected} ({info.meaning})")
        return schema(**{info.name: members[info.name] for info in infos if info.name in members})


def read_checked(schema: type[Schema], path: str | Path, advice: str = "") -> Schema:
    """Read a JSON file and check it: :func:`read_json` and :func:`checked`; the advice stands behind all errors."""
    with placed(path, advice):
        return checked(schema, read_json(path), path)


def read_description(folder: str | Path, name: str, what: str, advice: str, schema: type[Settings]) -> dict[str, Any]:
    """Read and check the JSON description of a saved folder.

    Parameters
    ----------
    folder : path
    name : str
        Of the file in it.
    what : str
        What the folder holds: "classifier", "run".
    advice : str
        What to do if it is absent.
    schema : type of Settings
        What it has to hold.

    Returns
    -------
    dict
        The whole object.

    Raises
    ------
    MissingError
        If it is absent, with the advice.
    UserError
        As :func:`read_json` and :func:`checked`.
    """
    path = Path(folder) / name
    if not path.is_file():
        raise MissingError(f"no {what} in {folder}: {name} not found; {advice}, or pass another folder")
    with placed(path, f"save the {what} again or copy its folder again"):
        content = read_object(path)
        checked(schema, content, path)
    return content


def _depth(text: str) -> int:
    """Return how deep brackets stand inside each other, without those in texts; in linear time, without recursion."""
    if text.count("[") + text.count("{") <= MAX_DEPTH:
        return 0  # cannot be deeper than that
    depth = deepest = 0
    for bracket in _NO_BRACKETS.sub("", _ESCAPES.sub("", text)):
        depth += 1 if bracket in "[{" else -1
        deepest = max(deepest, depth)
    return deepest


def _unique(pairs: Members) -> dict[str, Any]:
    content: dict[str, Any] = {}
    for name, value in pairs:
        if name in content:
            raise ValueError(f"the member {shown(name)} appears twice")
        content[name] = value
    return content


def _refuse_constant(constant: str) -> None:
    raise ValueError(f"{constant} is not a JSON number")


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text[:20]} is too large for a number")
    return value
