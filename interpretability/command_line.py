"""What every command of the project does with errors, logs and devices: one line for the user, the rest to a file.

Nothing that is slow to import is imported here: what a command does is imported in the care of :func:`guarded`.
"""

import argparse
import contextlib
import errno
import logging
import os
import pkgutil
import re
import select
import sys
from collections.abc import Callable, Iterator, Sequence
from logging.handlers import MemoryHandler
from pathlib import Path
from typing import Any, TextIO

from tqdm import tqdm

from interpretability import processes
from interpretability.errors import UserError, one_line, shown, user_errors
from interpretability.names import printable

logger = logging.getLogger(__name__)

DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
NO_ACCESS = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ENAMETOOLONG)


def command(
    parser: argparse.ArgumentParser, action: str, argv: Sequence[str] | None = None, others: bool = False
) -> int:
    """Parse a command line, import what it is for, and call that; return the exit status of :func:`guarded`.

    Parameters
    ----------
    parser : ArgumentParser
        It answers ``--help``, and refuses what it does not understand, by itself (``SystemExit``).
    action : str
        ``package.module:function``, which takes the parsed arguments. Paths among them have the home folder in place
        of ``~``, which a shell leaves in ``--out=~/x``.
    argv : sequence of str, optional
        Defaults to ``sys.argv[1:]``.
    others : bool
        Take options that the parser does not know, too: they are the list ``others`` of the parsed arguments.
    """

    def run() -> None:
        known, unknown = _without_others(parser, sys.argv[1:] if argv is None else argv) if others else (argv, [])
        arguments = parser.parse_intermixed_args(known)
        if others:
            arguments = argparse.Namespace(**vars(arguments), others=unknown)
        for name, value in vars(arguments).items():
            if isinstance(value, list):
                setattr(arguments, name, [_as_typed(name, member) for member in value])
            else:
                setattr(arguments, name, _as_typed(name, value))
        pkgutil.resolve_name(action)(arguments)

    return guarded(run)


def _without_others(parser: argparse.ArgumentParser, argv: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return what a parser knows of a command line, and the options that it does not, with the values behind them."""
    names = {"help", *vars(parser.parse_known_intermixed_args([])[0])}
    known: list[str] = []
    unknown: list[str] = []
    into = known
    for word in argv:
        if word.startswith("--") and len(word) > 2:
            into = known if word[2:].partition("=")[0] in names else unknown
        into.append(word)
    return known, unknown


def _as_typed(name: str, value: Any) -> Any:
    """Return what was typed for an option: of a path, with the home folder in place of ``~``."""
    if "\0" in str(value):
        raise UserError(f"{name} is {shown(str(value))}, with a character that no option takes: leave it out")
    return Path(os.path.expanduser(value)) if isinstance(value, Path) else value


def guarded(action: Callable[[], Any]) -> int:
    """Call an action; turn an error that the user can fix into one line on stderr and a non-zero exit status.

    Meanwhile, what libraries log and warn of stays off the screen: it goes to the file that :func:`log_to` names. What
    is printed can be shown by any terminal (:class:`_Screen`). Of several processes (:mod:`interpretability.processes`)
    the main one prints, and the first that fails says why.

    Returns
    -------
    int
        0; 2 after an error; 130 after an interruption; 141 if whoever read the output stopped reading.
    """
    try:
        with processes.at_work(), _kept_off_screen(), _screen():
            try:
                status = _outcome(action)
            finally:
                sys.stdout.flush()
        return status
    except BrokenPipeError:
        if not any([_is_closed(sys.stdout), _is_closed(sys.stderr)]):
            raise  # another pipe, such as that of a data loader
        return 141  # as a shell reports it of other commands


def _outcome(action: Callable[[], Any]) -> int:
    """Call an action; say what the user can fix, or that it was interrupted; return the status."""
    try:
        action()
        return 0
    except KeyboardInterrupt as error:
        line, status = "interrupted: run the same command again; finished parts are kept, no file is half-written", 130
        if processes.was_ended(error):
            line, status = f"error: {processes.ENDED}", 143
    except BrokenPipeError:
        raise
    except Exception as error:
        message = processes.ENDED if processes.was_ended(error) else _fixable(error)
        if message is None:
            logger.exception("stopped by a bug")
            processes.last_word()
            raise
        line, status = f"error: {one_line(message)}", 2
    logger.info(line)
    if processes.last_word():
        print(line, file=sys.stderr)
    return status


@contextlib.contextmanager
def _screen() -> Iterator[None]:
    """Let the main process print, on any terminal; what another one prints is dropped."""
    with contextlib.ExitStack() as stack:
        if processes.is_main():
            stack.enter_context(contextlib.redirect_stdout(_Screen(sys.stdout)))
        else:
            nowhere = stack.enter_context(open(os.devnull, "w", encoding="utf-8"))
            stack.enter_context(contextlib.redirect_stdout(nowhere))
        yield


class _Screen:
    """Standard output that takes any text: control characters, and what its encoding lacks, are written out."""

    #: What tables and sentences have, and a narrow encoding may lack.
    REPLACED = str.maketrans({"↑": "^", "↓": "v", "↳": ">", "…": "...", "–": "-", "×": "x", "±": "+-"})

    def __init__(self, stream: TextIO):
        self._stream = stream

    def write(self, text: str) -> int:
        """Write a text; only its lines and tabs steer the terminal."""
        shown = "".join(part if part in "\n\t" else printable(part) for part in re.split("([\n\t])", text))
        encoding = self._stream.encoding or "utf-8"
        try:
            shown.encode(encoding)
        except UnicodeEncodeError:
            shown = shown.translate(self.REPLACED).encode(encoding, "backslashreplace").decode(encoding)
        return self._stream.write(shown)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def _is_closed(stream: TextIO) -> bool:
    """Return whether a stream has no reader any more; what is left of its text is then dropped."""
    try:
        number = stream.fileno()
    except (OSError, AttributeError):  # no file
        return False
    poll = select.poll()
    poll.register(number, 0)
    closed = any(event & (select.POLLERR | select.POLLHUP) for _, event in poll.poll(0))
    if closed:
        # Python flushes once more when it ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), number)
    return closed


def log_to(path: Path) -> None:
    """Append the log to a file from now on, with what was kept off the screen before there was one."""
    file = logging.FileHandler(path, encoding="utf-8")
    file.setFormatter(logging.Formatter("%(asctime)s - %(name)s - %(levelname)s - %(message)s"))
    root = logging.getLogger()
    for handler in [handler for handler in root.handlers if isinstance(handler, MemoryHandler)]:
        handler.setTarget(file)
        handler.flush()
        root.removeHandler(handler)
    root.addHandler(file)


class _Warnings(logging.Handler):
    """Shows the package's own warnings, each in a line on stderr, above a progress bar if there is one."""

    def __init__(self):
        super().__init__(logging.WARNING)
        self.addFilter(logging.Filter("interpretability"))

    def emit(self, record: logging.LogRecord) -> None:
        if record.exc_info is None and processes.says_first(record.getMessage()):
            tqdm.write(f"warning: {one_line(record.getMessage())}", file=sys.stderr)


@contextlib.contextmanager
def _kept_off_screen() -> Iterator[None]:
    """Send log records and Python warnings to memory; only the package's own warnings reach the screen."""
    root = logging.getLogger()
    handlers, level, raising = list(root.handlers), root.level, logging.raiseExceptions
    # On a full disk the log file cannot be written either; logging's own tracebacks would bury the one line.
    logging.raiseExceptions = False
    logging.captureWarnings(True)
    root.setLevel(logging.INFO)
    root.addHandler(MemoryHandler(capacity=1000, flushOnClose=False))
    root.addHandler(_Warnings())
    try:
        yield
    finally:
        for handler in [handler for handler in root.handlers if handler not in handlers]:
            root.removeHandler(handler)
            handler.close()
        root.setLevel(level)
        logging.captureWarnings(False)
        logging.raiseExceptions = raising


def _fixable(error: Exception) -> str | None:
    """Return the line for an error that the user can fix; None for a bug."""
    if isinstance(error, UserError):
        # An error in a data loader's worker process comes with the worker's traceback in front of the message.
        return re.split(r"interpretability\.errors\.\w+: ", str(error))[-1]
    if not isinstance(error, OSError):
        return None
    if error.errno in DISK_FULL:
        written = error.filename2 or error.filename  # of a copy, the second
        where = f" while writing {written}" if written else ""
        return f"the disk is full{where} ({error.strerror}): make room, then run it again"
    if error.errno in NO_ACCESS and error.filename is not None:
        return f"{error.filename}: {error.strerror}: give a folder that can be written, or files that can be read"
    return None


def check_device(device: str | None) -> None:
    """Raise a :class:`UserError` if PyTorch cannot use a device (None: the best that is there)."""
    import torch  # slow to import

    # It has no type of its own for it.
    with user_errors(f"device {device!r} cannot be used", RuntimeError, AssertionError, advice="; try --device cpu"):
        torch.zeros(1, device=device).item()  # one that computes nothing, such as meta, has no values
