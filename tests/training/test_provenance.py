"""The commit that stands beside every number, and the packages that made it."""

import re
import subprocess
import sys
from importlib import metadata

import pytest

from interpretability.training import provenance


def test_this_repository():
    assert re.fullmatch(r"[0-9a-f]{40}(\+changes)?|unknown", provenance.commit())


@pytest.fixture
def elsewhere(tmp_path, monkeypatch):
    """A folder in the place of the repository."""
    monkeypatch.setattr(provenance, "__file__", str(tmp_path / "interpretability" / "training" / "provenance.py"))
    return tmp_path


def git(folder, *arguments):
    settings = ["-c", "user.name=x", "-c", "user.email=x@example.org"]
    subprocess.run(["git", "-C", str(folder), *settings, *arguments], check=True, capture_output=True)


def test_unknown_outside_a_repository_and_inside_another_one(elsewhere, monkeypatch):
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(elsewhere.parent))
    assert provenance.commit() == "unknown"


def test_changes_are_told(elsewhere):
    git(elsewhere, "init")
    (elsewhere / "a").write_text("1")
    git(elsewhere, "add", "a")
    git(elsewhere, "commit", "-m", "one")
    clean = provenance.commit()
    assert re.fullmatch("[0-9a-f]{40}", clean)
    (elsewhere / "a").write_text("2")
    assert provenance.commit() == f"{clean}+changes"


def test_the_environment_is_that_of_this_interpreter():
    lines = provenance.environment().splitlines()
    assert lines[0].startswith(f"Python {sys.version.split()[0]}")
    assert f"torch=={metadata.version('torch')}" in lines
    assert f"speechbrain=={metadata.version('speechbrain')}" in lines
