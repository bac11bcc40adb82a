"""Errors that the user can fix, and how they read.

A :class:`UserError` says in one line what was got, what was expected and what to do. The command line
(:mod:`interpretability.training.runner` and the tools) prints that line and exits with a non-zero status;
every other exception is a bug and keeps its traceback.
"""

import contextlib
import reprlib
from collections.abc import Iterable, Iterator
from typing import Any

from interpretability.names import printable

#: Of an error, in characters: a terminal is filled by more, and what matters stands at both ends.
LONGEST = 1000


def one_line(text: str) -> str:
    """Return a text on one line of any terminal: as :func:`printable` gives it, without its middle if it is long."""
    text = printable(" ".join(text.split()))
    return text if len(text) <= LONGEST else f"{text[: LONGEST // 2]} […] {text[-LONGEST // 2 :]}"


class UserError(ValueError):
    """Bad input: settings, data or files that do not fit. The message is one line, as :func:`one_line` gives it."""

    def __init__(self, message: str):
        super().__init__(one_line(str(message)))


class MissingError(UserError, FileNotFoundError):
    """A file or a folder that should be there is not."""

    def __str__(self) -> str:
        return ValueError.__str__(self)


@contextlib.contextmanager
def user_errors(
    message: str, *kinds: type[Exception], advice: str = "", kind: type[UserError] = UserError, whole: bool = False
) -> Iterator[None]:
    """Turn errors of other libraries within a block into one line: ``message (what they say)advice``.

    Parameters
    ----------
    message : str
    kinds : type of Exception
        Which errors; all if not given. A :class:`UserError` stays as it is.
    advice : str
        What to do, with the punctuation in front of it.
    kind : type of UserError
        What is raised.
    whole : bool
        Give all that they say, cut to 300 characters, and not its first line alone.
    """
    try:
        yield
    except Exception as error:
        if isinstance(error, UserError) or not isinstance(error, kinds or Exception):
            raise
        text = " ".join(str(error).split())[:300] if whole else ""
        raise kind(f"{message} ({text or first_line(error)}){advice}") from error


@contextlib.contextmanager
def placed(where: object, advice: str = "") -> Iterator[None]:
    """Put what the errors of the block are about in front of their line, unless it is there, and advice behind it."""
    try:
        yield
    except UserError as error:
        front = "" if not str(where) or str(error).startswith(str(where)) else f"{where}: "
        raise type(error)(f"{front}{error}{f'; {advice}' if advice else ''}") from error.__cause__


def first_line(error: BaseException) -> str:
    """Return what an error of another library says, cut to one line of at most 200 characters; its type if nothing."""
    return (str(error).strip() or type(error).__name__).splitlines()[0][:200]


def shown(value: Any, limit: int = 100) -> str:
    """Return a value as an error shows it: what Python writes for it, long ones cut, control characters escaped."""
    text = _Short(limit).repr(value)
    return text if len(text) <= limit + 2 else f"{text[: limit // 2]}...{text[-limit // 2 :]}"


def listed(names: Iterable[Any], most: int = 5, limit: int = 100) -> str:
    """Return the first names as errors show them (:func:`shown`), and a sign that there are more.

    Example
    -------
    >>> listed(["a", "b", "c"], most=2)
    "'a', 'b', …"
    """
    names = list(names)
    return ", ".join(shown(name, limit) for name in names[:most]) + (", …" if len(names) > most else "")


class _Short(reprlib.Repr):
    """Writes ten members of a container, three levels deep, and ``limit`` characters of anything else."""

    def __init__(self, limit: int):
        super().__init__()
        self.maxlevel = 3
        self.maxstring = self.maxother = self.maxlong = limit
        self.maxdict = self.maxlist = self.maxtuple = self.maxset = self.maxfrozenset = 10
