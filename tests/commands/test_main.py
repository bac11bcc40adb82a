"""The commands' options: help without delay, and what is no command line at all."""

import runpy
import subprocess
import sys

import pytest
import tiny

from interpretability.commands import main

COMMANDS = (main.interpret, main.import_classifier, main.import_published, main.publish, main.results_table)
COMMANDS += (main.inspect_data, main.wrong_predictions)
SLOW_TO_IMPORT = ("torch", "speechbrain", "numpy", "transformers", "matplotlib")


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.__name__)
def test_help_says_what_the_command_does(command, capsys):
    with pytest.raises(SystemExit) as stopped:
        command(["--help"])
    assert stopped.value.code == 0
    out = capsys.readouterr().out
    assert command.__doc__.splitlines()[0] in out
    assert "--out OUT" in out


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.__name__)
def test_its_script_is_the_command(command, capsys, monkeypatch):
    script = str(tiny.REPOSITORY / "tools" / f"{command.__name__}.py")
    monkeypatch.setattr(sys, "argv", [script, "--help"])
    with pytest.raises(SystemExit) as stopped:
        runpy.run_path(script, run_name="__main__")
    assert stopped.value.code == 0
    assert command.__doc__.splitlines()[0] in capsys.readouterr().out


def test_every_script_and_recipe_starts_without_waiting_for_libraries():
    """What is slow to import is imported after the command line is understood: help comes at once."""
    modules = ["interpretability", "interpretability.commands.main", "interpretability.training.runner"]
    code = "import importlib, sys\nfor name in sys.argv[1:]: importlib.import_module(name)\nprint(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code, *modules], cwd=tiny.REPOSITORY, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert set(modules) <= set(done.stdout.split())
    assert not set(SLOW_TO_IMPORT) & set(done.stdout.split())


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (["run", "sound.wav", "--out", "a\0b"], "out is 'a\\x00b', with a character that no option takes"),
        (["run\0", "sound.wav", "--out", "b"], "paths is 'run\\x00', with a character that no option takes"),
        (["run", "sound.wav", "--out", "b", "--device", "meta"], "device 'meta' cannot be used"),
        (["--list_settings", "amt", "sound.wav"], "--list_settings takes one name, and got 'sound.wav', too"),
        (["--list_settings", "x" * 100_000], "--list_settings is 'xxx"),
    ],
    ids=range(5),
)
def test_what_no_command_line_can_hold(line, words):
    outcome = tiny.call(main.interpret, line)
    assert outcome.code == 2
    assert words in outcome.line
    assert len(outcome.line) < 1100


def test_the_home_folder_is_expanded_in_every_path(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    for command, line in (
        (main.interpret, ["~/run", "sound.wav", "--out=~/x"]),
        (main.import_classifier, ["~/run", "--out=~/x"]),
        (main.results_table, ["~/run"]),
        (main.results_table, ["name=~/run"]),
    ):
        assert f"{tmp_path}/run" in tiny.call(command, line).line
