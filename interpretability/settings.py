"""Settings, each stated once: name, type, default, unit, allowed values and meaning in one line of a dataclass.

A method or a classifier declares its settings as a subclass of :class:`Settings`. Everything that names them comes from
there: the check of what a YAML or a command line gives, the error when it does not fit, the saved JSON, what
``--list_settings`` prints and the documentation::

    @dataclass(frozen=True)
    class EnergySettings(Settings):
        area: float = setting(0.2, "share of the bins that is kept", least=0, most=1)
"""

import dataclasses
import difflib
import math
import operator
import textwrap
import types
import typing
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from interpretability.errors import UserError, shown

Kind = TypeVar("Kind", bound="Settings")
_SIGNS = {">=": operator.ge, ">": operator.gt, "<=": operator.le, "<": operator.lt}
_WORDS = {
    int: "a whole number",
    float: "a number",
    bool: "True or False",
    str: "text",
    dict: "a mapping",
    type(None): "null",
}
#: Bounds that several settings share, far above what networks have: of a layer's channels, and of layers in a row.
WIDEST, DEEPEST = 2**16, 1000
#: Of mel bands.
MOST_BANDS = 2048
_PLURAL = {int: "whole numbers", float: "numbers", str: "texts"}


@dataclass(frozen=True)
class SettingInfo:
    """What a reader has to know about a setting.

    Attributes
    ----------
    name : str
    default : object
        Plain value; ``None`` also where the setting has to be given (``required``).
    required : bool
    meaning : str
    unit : str
    expected : str
        Its type and what is allowed, in words: "a list of whole numbers >= 1", "one of soft, hard", …
    """

    name: str
    default: Any
    required: bool
    meaning: str
    unit: str
    expected: str


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
    limits = dict(zip(_SIGNS, (least, above, most, below), strict=True))
    known = {"meaning": meaning, "unit": unit, "choices": choices}
    known["limits"] = {sign: limit for sign, limit in limits.items() if limit is not None}
    if isinstance(default, dict):
        return field(default_factory=default.copy, metadata=known)
    return field(default=default, metadata=known)


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
        for name, value in self.checked(vars(self)).items():
            object.__setattr__(self, name, value)

    @classmethod
    def checked(cls, given: Mapping[str, Any]) -> dict[str, Any]:
        """Return those of the settings that are given, checked and converted; other keys are ignored.

        Raises
        ------
        UserError
            If a value has another type than its field, or lies outside what is allowed.
        """
        hints, values = typing.get_type_hints(cls), {}
        for item in dataclasses.fields(cls):
            if item.name not in given:
                continue
            values[item.name] = value = _converted(given[item.name], hints[item.name])
            if not (_is(value, hints[item.name]) and _allowed(value, item.metadata)):
                raise UserError(f"{item.name} is {shown(value)}, expected {_expected(hints[item.name], item.metadata)}")
        return values

    @classmethod
    def make(cls: type[Kind], owner: str, given: Mapping[str, Any]) -> Kind:
        """Make the settings of ``owner`` (whose name goes in front of errors) from what was given.

        Raises
        ------
        UserError
            For an unknown name, with the nearest known ones; for a missing one; for values that do not fit.
        """
        infos = {info.name: info for info in cls.infos()}
        refuse_unknown(owner, given, infos)
        for name, info in infos.items():
            if info.required and name not in given:
                raise UserError(f"{owner} needs the setting {name!r}: give it ({info.meaning})")
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
        hints, infos = typing.get_type_hints(cls), []
        for item in dataclasses.fields(cls):
            has_factory = item.default_factory is not dataclasses.MISSING
            default = item.default_factory() if has_factory else item.default
            required = default is dataclasses.MISSING
            expected = _expected(hints[item.name], item.metadata)
            plain = None if required else _plain(default)
            infos.append(
                SettingInfo(item.name, plain, required, item.metadata["meaning"], item.metadata["unit"], expected)
            )
        return infos


def refuse_unknown(owner: str, given: Iterable[str], known: Iterable[str]) -> None:
    """Refuse names of settings that ``owner`` does not have.

    Raises
    ------
    UserError
        For the first one, with the nearest known ones.
    """
    known = list(known)
    for name in given:
        if name not in known:
            close = difflib.get_close_matches(str(name), known, n=2)
            hint = f"did you mean {' or '.join(close)}? It" if close else "it"
            raise UserError(f"{owner} has no setting {shown(name)}: {hint} has {', '.join(known) or 'none'}")


def list_settings(kind: type[Settings]) -> str:
    """Return the settings as lines of text: name = default, what it is, unit and what is allowed.

    Example
    -------
    >>> @dataclass(frozen=True)
    ... class EnergySettings(Settings):
    ...     area: float = setting(0.2, "share of the bins that is kept", least=0, most=1)
    >>> print(list_settings(EnergySettings))
    area = 0.2  (a number >= 0 and <= 1)
        share of the bins that is kept
    """
    lines = []
    for info in kind.infos():
        value = "required" if info.required else f"= {_text(info.default)}"
        unit = f"{', in' if info.required else ''} {info.unit}" if info.unit else ""
        meaning = textwrap.fill(info.meaning, 100, initial_indent="    ", subsequent_indent="    ")
        lines.append(f"{info.name} {value}{unit}  ({info.expected})\n{meaning}")
    return "\n".join(lines)


def _expected(hint: Any, known: Mapping[str, Any]) -> str:
    """Return in words what fits a setting: its type and its limits, or its choices."""
    if known["choices"] is not None:
        return f"one of {', '.join(map(_text, known['choices']))}"
    limits = " and ".join(f"{sign} {limit}" for sign, limit in known["limits"].items())
    return f"{' or '.join(map(_type_in_words, _options(hint)))} {limits}".rstrip()


def _text(value: Any) -> str:
    return "null" if value is None else str(value)


def _type_in_words(option: Any) -> str:
    if typing.get_origin(option) is tuple:
        return f"a list of {_PLURAL.get(typing.get_args(option)[0], 'values')}"
    return _WORDS.get(option, "a value")


def _options(hint: Any) -> tuple:
    union = typing.get_origin(hint) in (typing.Union, types.UnionType)
    return typing.get_args(hint) if union else (hint,)


def _converted(value: Any, hint: Any) -> Any:
    """Return a list as a tuple and a whole number as a float where that is what is asked for."""
    options = _options(hint)
    for option in options:
        if typing.get_origin(option) is tuple and isinstance(value, (list, tuple)):
            member = typing.get_args(option)[0]
            return tuple(_converted(part, member) for part in value)
    return float(value) if type(value) is int and float in options and int not in options else value


def _is(value: Any, hint: Any) -> bool:
    """Return whether a value is of a type; numbers have to be finite, and True is not a number."""
    options = _options(hint)
    if len(options) > 1:
        return any(_is(value, option) for option in options)
    if typing.get_origin(hint) is tuple:
        return isinstance(value, tuple) and all(_is(part, typing.get_args(hint)[0]) for part in value)
    if hint in (int, float):
        return isinstance(value, hint) and not isinstance(value, bool) and math.isfinite(value)
    return hint is Any or isinstance(value, hint)


def _allowed(value: Any, known: Mapping[str, Any]) -> bool:
    if isinstance(value, tuple):
        return all(_allowed(part, known) for part in value)
    if known["choices"] is not None:
        return value in known["choices"]
    limits = known["limits"] if isinstance(value, (int, float)) else {}
    return all(_SIGNS[sign](value, limit) for sign, limit in limits.items())


def _plain(value: Any) -> Any:
    if isinstance(value, (tuple, list)):
        return [_plain(part) for part in value]
    if isinstance(value, Mapping):
        return {key: _plain(part) for key, part in value.items()}
    return value
