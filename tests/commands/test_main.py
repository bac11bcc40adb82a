"""The commands' options: help without delay, and what is no command line at all."""

import subprocess
import sys

import pytest
import tiny

from interpretability.commands import main

COMMANDS = (main.interpret, main.import_classifier, main.import_published, main.results_table)
SLOW_TO_IMPORT = ("torch", "speechbrain", "numpy", "transformers", "matplotlib")


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.__name__)
def test_help_says_what_the_command_does(command, capsys):
    with pytest.raises(SystemExit) as stopped:
        command(["--help"])
    assert stopped.value.code == 0
    out = capsys.readouterr().out
    assert command.__doc__.splitlines()[0] in out
    assert "--out OUT" in out


def test_every_script_and_recipe_starts_without_waiting_for_libraries():
    """What is slow to import is imported after the command line is understood: help comes at once."""
    modules = ["interpretability", "interpretability.commands.main", "interpretability.training.runner"]
    code = "import importlib, sys\nfor name in sys.argv[1:]: importlib.import_module(name)\nprint(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code, *modules], cwd=tiny.REPOSITORY, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert set(modules) <= set(done.stdout.split())
    assert not set(SLOW_TO_IMPORT) & set(done.stdout.split())
