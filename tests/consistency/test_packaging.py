"""What is installed: every dependency, every command, one version."""

import importlib.metadata
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import interpretability

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def distribution(tmp_path_factory) -> importlib.metadata.Distribution:
    """The metadata of the package, made by setuptools from a copy of it."""
    source, out = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("out")
    for name in ("pyproject.toml", "requirements.txt", "README.md", "LICENSE"):
        shutil.copy(REPOSITORY / name, source)
    shutil.copytree(REPOSITORY / "interpretability", source / "interpretability")
    command = [sys.executable, "-c", "import setuptools; setuptools.setup()", "egg_info", "--egg-base", str(out)]
    command += ["build_py", "--build-lib", str(out)]
    done = subprocess.run(command, cwd=source, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return importlib.metadata.Distribution.at(next(out.glob("*.egg-info")))


def test_it_brings_what_it_needs(distribution):
    lines = (REPOSITORY / "requirements.txt").read_text("utf-8").splitlines()
    needed = [line for line in distribution.requires if "extra ==" not in line]
    assert sorted(needed) == sorted(line for line in lines if line and not line.startswith("#"))


def test_it_has_every_file_of_the_package(distribution):
    folder = Path(distribution.locate_file("interpretability"))
    tracked = [path for path in (REPOSITORY / "interpretability").rglob("*") if path.is_file()]
    names = {str(path.relative_to(REPOSITORY / "interpretability")) for path in tracked if path.suffix != ".pyc"}
    assert "report/templates/page.html" in names
    assert {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()} >= names


def test_its_version_is_that_of_the_package(distribution):
    assert distribution.version == interpretability.__version__


def test_every_command_can_be_called_and_has_a_script(distribution):
    commands = {point.name: point for point in distribution.entry_points if point.group == "console_scripts"}
    assert "audio-interpret" in commands
    for name, point in commands.items():
        function = point.load()
        assert callable(function)
        script = (REPOSITORY / "tools" / f"{function.__name__}.py").read_text("utf-8")
        assert f"from {point.module} import {function.__name__}\n" in script, name
