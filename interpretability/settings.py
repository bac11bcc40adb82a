"""Settings, each stated once: name, type, default, unit, allowed values and meaning in one line of a dataclass.

A method or a classifier declares its settings as a subclass of :class:`Settings`. Everything that names them comes from
there: the check of what a YAML or a command line gives, the error when it does not fit, the saved JSON, what
``--list_settings`` prints and the documentation::

    @dataclass(frozen=True)
    class EnergySettings(Settings):
        area: float = setting(0.2, "share of the bins that is kept", least=0, most=1)
"""

from __future__ import annotations

import dataclasses
import difflib
import math
import types
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from interpretability.errors import UserError

Kind = TypeVar("Kind", bound="Settings")
_META = "setting"


@dataclass(frozen=True)
class SettingInfo:
    """What a reader has to know about a setting.

    Attributes
    ----------
    name : str
    type : str
        In words: "a number", "a list of whole numbers", …
    default : object
        Plain value; ``None`` also where the setting has to be given (``required``).
    required : bool
    meaning : str
    unit : str
    allowed : str
        In words; empty where every value of the type is.
    """

    name: str
    type: str
    default: Any
    required: bool
    meaning: str
    unit: str
    allowed: str


@dataclass(frozen=True)
class _Bounds:
    meaning: str
    unit: str
    choices: tuple | None
    least: float | None
    above: float | None
    most: float | None
    below: float | None


def setting(
    default: Any,
    meaning: str,
    *,
    unit: str = "",
    choices: Sequence | None = None,
    least: float | None = None,
    above: float | None = None,
    most: float | None = None,
    below: float | None = None,
) -> Any:
    """Declare a field of a :class:`Settings` dataclass.

    Parameters
    ----------
    default : object
        ``dataclasses.MISSING`` for a setting that has to be given.
    meaning : str
        What it is, for a reader who does not know the code.
    unit : str
        "Hz", "s", "nats", "frames" …
    choices : sequence, optional
        The allowed values; of a list, the allowed members.
    least, above, most, below : float, optional
        Bounds of a number, or of each number of a list: ``least <= value <= most``, ``above < value < below``.
    """
    bounds = _Bounds(meaning, unit, None if choices is None else tuple(choices), least, above, most, below)
    if isinstance(default, (list, dict)):
        return field(default_factory=lambda: type(default)(default), metadata={_META: bounds})
    return field(default=default, metadata={_META: bounds})


@dataclass(frozen=True)
class Settings:
    """Base class of the settings of a method or a classifier: a frozen dataclass whose fields are :func:`setting` s.

    Making one checks every value. A whole number is taken for a number, a list for a tuple; nothing else is converted.

    Raises
    ------
    UserError
        If a value has another type than its field, or lies outside what is allowed.
    """

    def __post_init__(self):
        hints = typing.get_type_hints(type(self))
        for item in dataclasses.fields(self):
            value = _converted(getattr(self, item.name), hints[item.name])
            object.__setattr__(self, item.name, value)
            if not (_is(value, hints[item.name]) and _allowed(value, item.metadata[_META])):
                raise UserError(f"{item.name} is {value!r}, expected {_expected(item, hints[item.name])}")

    @classmethod
    def make(cls: type[Kind], owner: str, given: Mapping[str, Any]) -> Kind:
        """Make the settings of ``owner`` (whose name goes in front of errors) from what was given.

        Raises
        ------
        UserError
            For an unknown name, with the nearest known ones; for a missing one; for values that do not fit.
        """
        known = [item.name for item in dataclasses.fields(cls)]
        for name in given:
            if name not in known:
                close = difflib.get_close_matches(str(name), known, n=2)
                hint = f"did you mean {' or '.join(close)}? It" if close else "it"
                has = f"has {', '.join(known)}" if known else "has none"
                raise UserError(f"{owner} has no setting {name!r}: {hint} {has}")
        missing = [info.name for info in cls.infos() if info.required and info.name not in given]
        if missing:
            raise UserError(f"{owner} needs the setting {missing[0]!r}: give it ({cls._info(missing[0]).meaning})")
        try:
            return cls(**given)
        except UserError as error:
            raise UserError(f"{owner}: {error}") from None

    def to_dict(self) -> dict[str, Any]:
        """Return all settings as plain values, tuples as lists: what is saved as JSON, and gives the same again."""
        return {item.name: _plain(getattr(self, item.name)) for item in dataclasses.fields(self)}

    @classmethod
    def infos(cls) -> list[SettingInfo]:
        """Return what a reader has to know about each setting, in the order of their declaration."""
        hints = typing.get_type_hints(cls)
        return [_describe(item, hints[item.name]) for item in dataclasses.fields(cls)]

    @classmethod
    def _info(cls, name: str) -> SettingInfo:
        return next(info for info in cls.infos() if info.name == name)


def list_settings(kind: type[Settings]) -> str:
    """Return the settings as lines of text: name = default, what it is, unit and what is allowed.

    Example
    -------
    >>> @dataclass(frozen=True)
    ... class EnergySettings(Settings):
    ...     area: float = setting(0.2, "share of the bins that is kept", least=0, most=1)
    >>> print(list_settings(EnergySettings))
    area = 0.2  share of the bins that is kept (a number >= 0 and <= 1)
    """
    lines = []
    for info in kind.infos():
        value = "(required)" if info.required else f"= {_text(info.default)}"
        unit = f" [{info.unit}]" if info.unit else ""
        allowed = f" ({info.allowed if info.allowed.startswith('one of') else _join(info.type, info.allowed)})"
        lines.append(f"{info.name} {value}  {info.meaning}{unit}{allowed}")
    return "\n".join(lines)


def _text(value: Any) -> str:
    return "null" if value is None else str(value)


def _join(kind: str, allowed: str) -> str:
    return f"{kind} {allowed}" if allowed else kind


def _describe(item: dataclasses.Field, hint: Any) -> SettingInfo:
    bounds: _Bounds = item.metadata[_META]
    required = item.default is dataclasses.MISSING and item.default_factory is dataclasses.MISSING
    default = item.default if item.default is not dataclasses.MISSING else None
    if item.default_factory is not dataclasses.MISSING:
        default = item.default_factory()
    return SettingInfo(
        item.name, _type_in_words(hint), _plain(default), required, bounds.meaning, bounds.unit, _range_in_words(bounds)
    )


def _expected(item: dataclasses.Field, hint: Any) -> str:
    info = _describe(item, hint)
    return info.allowed if info.allowed.startswith("one of") else _join(info.type, info.allowed)


def _range_in_words(bounds: _Bounds) -> str:
    if bounds.choices is not None:
        return f"one of {', '.join(_text(choice) for choice in bounds.choices)}"
    limits = ((">=", bounds.least), (">", bounds.above), ("<=", bounds.most), ("<", bounds.below))
    return " and ".join(f"{sign} {limit:g}" for sign, limit in limits if limit is not None)


_WORDS = {int: "a whole number", float: "a number", bool: "True or False", str: "text", dict: "a mapping"}
_PLURAL = {int: "whole numbers", float: "numbers", str: "texts", Any: "values"}


def _type_in_words(hint: Any) -> str:
    options = _options(hint)
    words = []
    for option in options:
        origin = typing.get_origin(option) or option
        if option is type(None):
            words.append("null")
        elif origin in (tuple, list):
            members = [part for part in typing.get_args(option) if part is not Ellipsis] or [Any]
            words.append(f"a list of {_PLURAL.get(members[0], 'values')}")
        else:
            words.append(_WORDS.get(origin, "a value"))
    return " or ".join(words)


def _options(hint: Any) -> tuple:
    union = typing.get_origin(hint) in (typing.Union, types.UnionType)
    return typing.get_args(hint) if union else (hint,)


def _converted(value: Any, hint: Any) -> Any:
    """Return a list as a tuple and a whole number as a float where that is what is asked for."""
    for option in _options(hint):
        if typing.get_origin(option) is tuple and isinstance(value, (list, tuple)):
            member = typing.get_args(option)[0]
            return tuple(_converted(part, member) for part in value)
        if option is float and type(value) is int and int not in _options(hint):
            return float(value)
    return value


def _is(value: Any, hint: Any) -> bool:
    for option in _options(hint):
        origin = typing.get_origin(option) or option
        if option is Any:
            return True
        if origin is tuple and isinstance(value, tuple):
            member = typing.get_args(option)[0]
            if all(_is(part, member) for part in value):
                return True
        elif origin is float:
            if isinstance(value, float) and math.isfinite(value):
                return True
        elif origin is int:
            if isinstance(value, int) and not isinstance(value, bool):
                return True
        elif origin is not tuple and isinstance(value, origin):
            return True
    return False


def _allowed(value: Any, bounds: _Bounds) -> bool:
    if isinstance(value, tuple):
        return all(_allowed(part, bounds) for part in value)
    if bounds.choices is not None:
        return value in bounds.choices
    if value is None or isinstance(value, (str, bool, dict)):
        return True
    checks = (
        (bounds.least, lambda limit: value >= limit),
        (bounds.above, lambda limit: value > limit),
        (bounds.most, lambda limit: value <= limit),
        (bounds.below, lambda limit: value < limit),
    )
    return all(limit is None or fits(limit) for limit, fits in checks)


def _plain(value: Any) -> Any:
    if isinstance(value, (tuple, list)):
        return [_plain(part) for part in value]
    if isinstance(value, Mapping):
        return {key: _plain(part) for key, part in value.items()}
    return value
