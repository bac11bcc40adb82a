"""The command line: one line for what the user can fix, a traceback for a bug, logs in a file."""

import argparse
import errno
import io
import logging
import os
import sys
import warnings

import pytest

from interpretability.command_line import check_device, command, guarded, log_to
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


@pytest.mark.parametrize(
    ("encoding", "line"),
    [
        ("utf-8", "\\x1b[31mred\\x07\\xe8 AD ↑ 1 – 2\té 猫\n"),
        ("latin-1", "\\x1b[31mred\\x07\\xe8 AD ^ 1 - 2\té \\u732b\n"),
        ("ascii", "\\x1b[31mred\\x07\\xe8 AD ^ 1 - 2\t\\xe9 \\u732b\n"),
    ],
)
def test_any_text_can_be_printed_on_any_terminal_and_none_of_it_steers_it(monkeypatch, encoding, line):
    written = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written, encoding=encoding))
    assert guarded(lambda: print("\x1b[31mred\x07\udce8 AD ↑ 1 – 2\té 猫")) == 0
    assert written.getvalue().decode(encoding) == line
    monkeypatch.undo()


@pytest.mark.parametrize("length", [10, 100_000])
@pytest.mark.parametrize("failing", ["stdout", "stderr"])
def test_whoever_stops_reading_the_output_gets_no_traceback(monkeypatch, capsys, failing, length):
    reader, writer = os.pipe()
    os.close(reader)
    actions = {"stdout": lambda: print("x" * length), "stderr": raising(UserError("got a"))}
    with (
        open(writer, "w", encoding="utf-8", buffering=1 if failing == "stderr" else -1) as stream,
        monkeypatch.context() as patch,
    ):
        patch.setattr(sys, failing, stream)
        assert guarded(actions[failing]) == 141
    assert capsys.readouterr() == ("", "")


def test_another_broken_pipe_is_a_bug():
    with pytest.raises(BrokenPipeError):
        guarded(raising(BrokenPipeError(errno.EPIPE, "Broken pipe")))


def test_lines_on_the_screen_are_short_and_plain(capsys):
    """Whatever a name holds: of an error, of a file, in a warning."""
    name = "\x1b[2J" + "n" * 100_000
    for error in (UserError(f"no class {name}: try {name} again"), OSError(errno.ENAMETOOLONG, "too long", name)):
        assert guarded(raising(error)) == 2
        line = capsys.readouterr().err
        assert len(line) < 1100
        assert " […] " in line
        assert "\x1b" not in line
        assert "\\x1b[2J" in line
    assert guarded(lambda: logging.getLogger("interpretability").warning("left out: %s", name)) == 0
    line = capsys.readouterr().err
    assert len(line) < 1100
    assert "\x1b" not in line


def test_a_command_that_is_interrupted_while_it_imports(capsys, tmp_path, monkeypatch):
    """What is slow is imported in the same care as what is done with it."""
    (tmp_path / "slow_to_import.py").write_text("raise KeyboardInterrupt", "utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert command(argparse.ArgumentParser(), "slow_to_import:act", []) == 130
    assert capsys.readouterr().err.startswith("interrupted: ")


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


@pytest.mark.parametrize(
    ("line", "source", "out", "others"),
    [
        ("dir --out x --table t.csv", "dir", "x", ["--table", "t.csv"]),
        ("--table t.csv --out=x dir", "dir", "x", ["--table", "t.csv"]),
        ("dir --groups a b --lr=0.1 --out x", "dir", "x", ["--groups", "a", "b", "--lr=0.1"]),
        ("--seed -1", None, None, ["--seed", "-1"]),
        ("", None, None, []),
    ],
)
def test_options_that_only_the_action_knows(monkeypatch, line, source, out, others):
    parser = argparse.ArgumentParser()
    parser.add_argument("source", nargs="?")
    parser.add_argument("--out")
    parsed = []
    monkeypatch.setattr("interpretability.command_line.pkgutil.resolve_name", lambda name: parsed.append)
    assert command(parser, "module:function", line.split(), others=True) == 0
    assert vars(parsed[0]) == {"source": source, "out": out, "others": others}
