"""The command line: one line for what the user can fix, a traceback for a bug, logs in a file."""

import errno
import logging
import warnings

import pytest

from interpretability.command_line import check_device, guarded, log_to
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
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith(line)
    assert captured.err.count("\n") == 1


@pytest.mark.parametrize("error", [ValueError("ours"), OSError(errno.EIO, "Input/output error"), RuntimeError("ours")])
def test_faults_of_ours_keep_their_traceback(error):
    with pytest.raises(type(error)):
        guarded(raising(error))


def test_success():
    assert guarded(lambda: None) == 0


def test_logs_and_warnings_go_to_the_file_and_only_our_own_warnings_to_the_screen(capsys, tmp_path):
    def action():
        logging.getLogger("somewhere").warning("early")
        warnings.warn("odd")
        log_to(tmp_path / "log.txt")
        logging.getLogger("somewhere.else").error("late")
        logging.getLogger("interpretability.data").info("well")
        logging.getLogger("interpretability.data").warning("one clip left out")
        raise UserError("that is all")

    before = list(logging.getLogger().handlers)
    assert guarded(action) == 2
    assert logging.getLogger().handlers == before
    captured = capsys.readouterr()
    assert (captured.out, captured.err) == ("", "warning: one clip left out\nerror: that is all\n")
    log = (tmp_path / "log.txt").read_text("utf-8")
    messages = ("early", "UserWarning: odd", "late", "well", "one clip left out", "error: that is all")
    positions = [log.index(message) for message in messages]
    assert positions == sorted(positions)


def test_a_fault_of_ours_is_in_the_log_with_its_traceback(tmp_path):
    def action():
        log_to(tmp_path / "log.txt")
        raise ValueError("ours")

    with pytest.raises(ValueError, match="ours"):
        guarded(action)
    assert "Traceback" in (tmp_path / "log.txt").read_text("utf-8")


def test_devices():
    check_device("cpu")
    with pytest.raises(UserError, match="try --device cpu"):
        check_device("abacus")
