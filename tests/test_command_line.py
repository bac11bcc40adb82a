"""Errors on the command line: one line for what the user can mend, a traceback for what is our fault."""

import errno

import pytest

from interpretability.command_line import check_device, guarded
from interpretability.errors import MissingError, UserError


def raising(error):
    def action():
        raise error

    return action


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (UserError("got\n  a, expected b"), 2, "error: got a, expected b\n"),
        (MissingError("no file at x"), 2, "error: no file at x\n"),
        (KeyboardInterrupt(), 130, "interrupted: run the same command again"),
        (OSError(errno.ENOSPC, "No space left on device", "a.pt"), 2, "error: the disk is full while writing a.pt"),
        (PermissionError(errno.EACCES, "Permission denied", "/a"), 2, "error: /a: Permission denied"),
    ],
)
def test_one_line_and_a_status(capsys, error, code, line):
    assert guarded(raising(error)) == code
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith(line)
    assert said.err.count("\n") == 1


@pytest.mark.parametrize("error", [ValueError("ours"), OSError(errno.EIO, "Input/output error"), RuntimeError("ours")])
def test_faults_of_ours_keep_their_traceback(error):
    with pytest.raises(type(error)):
        guarded(raising(error))


def test_success():
    assert guarded(lambda: None) == 0


def test_devices():
    check_device("cpu")
    with pytest.raises(UserError, match="try --device cpu"):
        check_device("abacus")
