"""docs/shell.md: every command of the page runs, in the order in which it stands, on a tiny method and few sounds."""

import glob
import json
import os
import shlex
import shutil

import pages
import pytest
import soundfile
import tiny

from interpretability.report import figures

pytestmark = pytest.mark.slow

PAGE = tiny.REPOSITORY / "docs" / "shell.md"


@pytest.fixture(scope="module")
def folder(tmp_path_factory, tiny_piq_run):
    """A folder with what the demo leaves."""
    copy = tmp_path_factory.mktemp("shell")
    shutil.copytree(tiny.REPOSITORY / "tools", copy / "tools", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(tiny_piq_run, copy / "results" / "demo" / "piq")
    audio = copy / "results" / "demo" / "data" / "audio"
    audio.mkdir(parents=True)
    for number in range(2):
        soundfile.write(audio / f"test-0000{number}.wav", tiny.noise(16000, seed=number).numpy() / 10, tiny.RATE)
    return copy


def run(line: str) -> tiny.Outcome:
    """Run a command of the page in this process, after the shell's part of it, with classes of the tiny data."""
    line = line.replace("chirp_up", "high").replace("chirp_down", "low")
    words = [path for word in shlex.split(line) for path in sorted(glob.glob(word)) or [word]]
    if words[1] == "-c":
        exec(words[2], {})
        return tiny.Outcome(0, "", "")
    return pages.run(shlex.join(words), {})


def test_every_command_of_the_page_succeeds(folder, monkeypatch):
    # Figures take most of the time, and are tested elsewhere.
    monkeypatch.setattr(figures, "plot_explanation", lambda *arguments, **settings: None)
    monkeypatch.setattr(figures, "save_figure", lambda figure, path, *more, **settings: path.write_bytes(b"figure"))
    before = os.getcwd()
    os.chdir(folder)
    try:
        outcomes = {line: run(line) for line in pages.commands(PAGE)}
    finally:
        os.chdir(before)
    assert {line: outcome.err for line, outcome in outcomes.items() if outcome.code} == {}
    *_, methods, _, contrast, piped = outcomes.values()
    assert len(outcomes) == 7
    assert "Side by side, as heard:" in methods.out
    assert "\nAsked why high and not low: " in contrast.out
    assert len(list((folder / "results" / "classes").glob("*/explanation.json"))) == 3
    rows = [json.loads(line) for line in piped.out.splitlines()]
    assert [row["folder"] for row in rows] == [f"results/many/test-0000{number}" for number in range(2)]
    names = {path.name for path in (folder / "results" / "many").iterdir() if path.is_file()}
    of_page = {name for name in names if f"`{name}`" in PAGE.read_text("utf-8")}
    assert names - of_page == {"contents.json", "explained_by.json"}
    places = {path.parent.name for path in (folder / "results" / "parts").rglob("explanation.json")}
    assert places == {"test-00000_0.500-1.500", "test-00001"}
