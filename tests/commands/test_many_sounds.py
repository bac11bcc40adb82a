"""Many sounds: a folder for each, bad ones are reported and the rest is done, what is finished is not done again."""

import contextlib
import csv
import errno
import io
import json
import os
import shutil
import signal

import numpy as np
import pytest
import soundfile
import tiny
import torch

from interpretability.classifiers import save_classifier
from interpretability.commands import main
from interpretability.explanation import Explanation, Interpretation
from interpretability.methods.baselines import EnergyMask
from interpretability.report import figures

SETTINGS = {"sample_rate": tiny.RATE}
EVENTS = [f"events.{kind}" for kind in ("csv", "json", "labels.txt", "selections.txt")]
SOUNDS = ["explanation.wav", "input.wav", "residual.wav"]
FILES = sorted(["contents.json", "explanation.json", "figure.png", "mask.npz", *SOUNDS, *EVENTS])


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """Folders of two classifiers, which were not trained but distinguish sounds."""
    folder = tmp_path_factory.mktemp("models")
    save_classifier(tiny.listening_classifier(tiny.LABELS, frontend=SETTINGS), folder / "one")
    save_classifier(tiny.listening_classifier([*tiny.LABELS, "wind"], frontend=SETTINGS), folder / "other")
    return folder


@pytest.fixture(autouse=True)
def quick_results(monkeypatch):
    """Figures and metrics take most of the time, and are tested elsewhere."""
    kinds = ("explanation", "energy", "random")
    monkeypatch.setattr(Explanation, "measure", lambda self, index=0: {kind: {"waveform": {}} for kind in kinds})
    monkeypatch.setattr(figures, "plot_explanation", lambda *arguments, **settings: None)
    monkeypatch.setattr(figures, "save_figure", lambda figure, path, *more, **settings: path.write_bytes(b"figure"))


@pytest.fixture
def at(tmp_path, monkeypatch):
    """A folder with sounds, two of the same name; the current folder is the one around it."""
    monkeypatch.chdir(tmp_path)
    for number, name in enumerate(("dogs/a", "rain/a", "rain/b")):
        write(tmp_path / "in" / f"{name}.wav", 2000, number)
    return tmp_path


@pytest.fixture
def interpret(models, at):
    """Explain sounds by the loudest bins, which is quick."""

    def call(*arguments, model="one", out="out", method="energy"):
        line = [models / model, *(arguments or ["in"]), "--out", out, "--method", method]
        return tiny.call(main.interpret, [str(word) for word in line])

    return call


def write(path, n_samples, seed=0, rate=tiny.RATE):
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, 0.3 * np.random.default_rng(seed).standard_normal(n_samples), rate)


def table(at):
    with open(at / "out" / "summary.csv", encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def times(folder):
    return {path: path.stat().st_mtime_ns for path in folder.rglob("explanation.json")}


def places(folder, depth="**"):
    return sorted(str(path.parent.relative_to(folder)) for path in folder.glob(f"{depth}/explanation.json"))


def check_whole(folder):
    assert tiny.leftovers(folder) == []
    for place in places(folder):
        assert sorted(path.name for path in (folder / place).iterdir()) == FILES


def test_bad_sounds_are_reported_and_the_rest_is_done_once(interpret, at):
    (at / "in" / "rain" / "a2.wav").write_text("no sound")
    write(at / "in" / "short.wav", 400)  # 0.05 s
    outcome = interpret("in", "none.wav")
    assert outcome.code == 2
    warnings = [line for line in outcome.err.splitlines() if line.startswith("warning: ")]
    assert [line.split(": ")[1] for line in warnings] == ["in/rain/a2.wav", "in/short.wav", "none.wav"]
    assert "cannot be decoded" in warnings[0]
    assert "lasts 0.05 s, expected 0.1 to 60 s" in warnings[1]
    assert outcome.line.startswith("error: 3 of 6 sounds could not be explained")
    assert "3 sounds are explained by energy." in outcome.out
    assert places(at / "out") == ["in/dogs/a", "in/rain/a", "in/rain/b"]
    check_whole(at / "out")
    rows = table(at)
    assert [(row["sound"], bool(row["error"])) for row in rows] == [
        ("in/dogs/a.wav", False),
        ("in/rain/a.wav", False),
        ("in/rain/a2.wav", True),
        ("in/rain/b.wav", False),
        ("in/short.wav", True),
        ("none.wav", True),
    ]
    assert rows[0]["folder"] == "in/dogs/a"
    # Again: nothing is explained; then one that is new, one that was changed, and one of which a file is gone.
    before = times(at / "out")
    again = interpret("in", "none.wav")
    assert again.code == 2
    assert "3 sounds are explained by energy; 3 of them were already." in again.out
    assert times(at / "out") == before
    write(at / "in" / "rain" / "a2.wav", 2000, 7)
    write(at / "in" / "short.wav", 1600)
    write(at / "in" / "rain" / "b.wav", 2000, 8)
    (at / "out" / "in" / "dogs" / "a" / "mask.npz").unlink()
    last = interpret("in", "none.wav")
    assert "5 sounds are explained by energy; 1 of them was already." in last.out
    check_whole(at / "out")
    assert [row["sound"] for row in table(at) if row["error"]] == ["none.wav"]


def test_what_is_finished_goes_by_method_settings_and_class(interpret, at):
    shutil.rmtree(at / "in" / "rain")
    assert interpret().code == 0
    before = times(at / "out")
    for arguments, changes in (
        (["in"], False),
        (["in", "--target", "rain"], True),
        (["in", "--target", "2"], False),  # the same class
        (["in", "--target", "rain", "--settings", "area=0.5"], True),
        (["in", "--target", "rain", "--settings", "area=0.5", "--channel", "left"], True),
        (["in", "--target", "rain", "--settings", "area=0.5", "--channel", "left", "--format", "svg"], True),
        (
            ["in", "--target", "rain", "--settings", "area=0.5", "--channel", "left", "--format", "svg", "--column"],
            True,
        ),
    ):
        outcome = interpret(*arguments)
        assert outcome.code == 0, outcome.err
        after = times(at / "out")
        assert (set(before.items()) & set(after.items()) == set()) == changes, arguments
        before = after
    assert [path.name for path in (at / "out" / "dogs" / "a").glob("figure.*")] == ["figure.svg"]


def test_results_of_another_model_or_method_stay(interpret, at, models):
    assert interpret().code == 0
    before = {path: path.read_bytes() for path in (at / "out").rglob("*") if path.is_file()}
    for arguments, settings, words in (
        (["in"], {"model": "other"}, "which is another model than"),
        (["in"], {"method": "random"}, f"by energy of {models / 'one'}, and these are by random"),
        (["in"], {"method": "energy,random"}, "and these are by energy, random: name another folder for these methods"),
        (["in", "--top_k", "2"], {}, "of one class of each sound, and these are of several classes of each sound"),
        (["in/dogs/a.wav"], {}, "out holds "),
    ):
        outcome = interpret(*arguments, **settings)
        assert outcome.code == 2
        assert words in outcome.line
        assert {path: path.read_bytes() for path in (at / "out").rglob("*") if path.is_file()} == before


def test_a_folder_of_one_sound_and_what_others_keep_there_stay(interpret, at):
    assert interpret("in/dogs/a.wav").code == 0
    assert "holds the explanation of one sound: name another folder for many" in interpret().line
    assert "holds one explanation, these are several" in interpret("in/dogs/a.wav", "--top_k", "2").line
    (at / "mine").mkdir()
    (at / "mine" / "summary.csv").write_text("mine")
    assert "mine holds summary.csv" in interpret(out="mine").line
    assert os.listdir(at / "mine") == ["summary.csv"]
    (at / "third" / "rain" / "a").mkdir(parents=True)
    (at / "third" / "rain" / "a" / "notes.txt").write_text("mine")
    outcome = interpret(out="third")
    assert "1 of 3 sounds could not be explained" in outcome.line
    assert "third/rain/a holds 'notes.txt'" in outcome.err
    assert places(at / "third") == ["dogs/a", "rain/b"]


def test_methods_and_classes_have_folders_of_their_own(interpret, at):
    outcome = interpret("in/dogs", "--top_k", "2", method="energy,random")
    assert outcome.code == 0, outcome.err
    rows = table(at)
    folders = [
        f"a/{method}/{row['explained']}" for method, row in zip(["energy"] * 2 + ["random"] * 2, rows, strict=True)
    ]
    assert [row["folder"] for row in rows] == folders
    assert places(at / "out") == sorted(folders)
    assert [row["method"] for row in rows] == ["energy", "energy", "random", "random"]
    probabilities = [float(row["explained_probability"]) for row in rows[:2]]
    assert probabilities == sorted(probabilities, reverse=True)
    assert rows[0]["explained"] == rows[0]["predicted"] != rows[1]["explained"]
    before = times(at / "out")
    again = interpret("in/dogs", "--top_k", "2", "--json", method="energy,random")
    assert times(at / "out") == before
    assert [json.loads(line)["explained"] for line in again.out.splitlines()] == [row["explained"] for row in rows]


def test_parts_that_a_table_lists(interpret, at):
    write(at / "night.wav", 3 * tiny.RATE, 3)
    (at / "t.csv").write_text("path,start,end,label\nnight.wav,0.5,1,dog\nnight.wav,1,,rain\nnight.wav,5,6,cat\n")
    outcome = interpret("t.csv")
    assert "night.wav: ends before the clip in it, which starts at 5 s" in outcome.err
    assert "1 of 3 sounds" in outcome.line
    assert places(at / "out") == ["night_0.500-1.000", "night_1.000-"]
    description = json.loads((at / "out" / "night_0.500-1.000" / "explanation.json").read_text("utf-8"))
    assert (description["seconds"], description["true"]) == (0.5, "dog")
    assert description["name"] == "night.wav (0.500-1.000 s)"
    expected, _ = soundfile.read(at / "night.wav", start=4000, stop=8000, dtype="float32")
    got, _ = soundfile.read(at / "out" / "night_0.500-1.000" / "input.wav", dtype="float32")
    np.testing.assert_allclose(got, expected / np.abs(expected).max(), atol=1e-6)


def test_a_method_that_has_no_explanation_for_one_sound(interpret, at):
    """One that cannot be made for it, and one that gives none: both are said, and the rest is done."""
    shutil.rmtree(at / "in" / "rain")
    soundfile.write(at / "in" / "b.wav", np.zeros(2000), tiny.RATE)
    outcome = interpret("in", "--settings", "nmf.n_components=2", method="energy,nmf")
    assert outcome.line.startswith("error: 1 of 2 sounds could not be explained, or not by every method")
    assert "in/b.wav: silence, from which no dictionary can be learned" in outcome.err
    assert places(at / "out") == ["b/energy", "dogs/a/energy", "dogs/a/nmf"]


def test_an_undefined_explanation_is_reported_and_kept(interpret, at, monkeypatch):
    def none_of_short_ones(self, batch):
        undefined = batch.clips.lengths < 2000
        return Interpretation(torch.zeros_like(batch.spectrogram.magnitude), undefined=undefined)

    monkeypatch.setattr(EnergyMask, "interpret", none_of_short_ones)
    write(at / "in" / "b.wav", 1000)
    outcome = interpret()
    assert outcome.code == 0, outcome.err
    assert outcome.err == "warning: in/b.wav: energy has no explanation of it\n"
    assert "Undefined, as the method has no explanation there: 1." in outcome.out
    assert [row["undefined"] for row in table(at)] == ["True", "False", "False", "False"]


# ---- Interruptions ----


@pytest.fixture
def second_write(monkeypatch):
    """Let something happen in the middle of writing the second result."""

    def arrange(event):
        write_mask, calls = np.savez_compressed, []

        def savez(path, **arrays):
            calls.append(path)
            write_mask(path, **arrays)
            if len(calls) == 2:
                event(path)

        monkeypatch.setattr(np, "savez_compressed", savez)

    return arrange


def full_disk(path):
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))


def test_a_full_disk(interpret, at, second_write, monkeypatch):
    with monkeypatch.context():
        second_write(full_disk)
        outcome = interpret()
    assert outcome.code == 2
    assert outcome.line.startswith("error: the disk is full while writing ")
    assert outcome.line.endswith("make room, then run it again")
    assert places(at / "out") == ["dogs/a"]
    check_whole(at / "out")


def test_a_full_disk_on_which_not_even_a_folder_can_be_made(interpret, at, monkeypatch):
    def mkdtemp(*arguments, **settings):
        full_disk("out/rain")

    assert interpret("in/dogs", "in/dogs/a.wav").code == 0
    monkeypatch.setattr("tempfile.mkdtemp", mkdtemp)
    outcome = interpret("in/dogs", "in/rain", out="more")
    assert outcome.line.startswith("error: the disk is full while writing ")
    assert len(outcome.err.strip().splitlines()) == 1


def test_an_interruption(interpret, at, second_write):
    signals = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        second_write(lambda path: signal.raise_signal(signal.SIGINT))
        outcome = interpret()
    finally:
        signal.signal(signal.SIGINT, signals)
    assert outcome.code == 130
    assert outcome.line.startswith("interrupted: run the same command again; finished parts are kept")
    assert places(at / "out") == ["dogs/a"]
    check_whole(at / "out")
    before = times(at / "out")
    outcome = interpret()
    assert outcome.code == 0, outcome.err
    assert before.items() <= times(at / "out").items()
    assert len(table(at)) == 3


# ---- Pipes ----


def test_json_lines_and_nothing_else(interpret, at):
    (at / "in" / "bad.wav").write_text("no sound")
    outcome = interpret("in", "--json")
    assert outcome.code == 2
    rows = [json.loads(line) for line in outcome.out.splitlines()]
    assert [row.get("folder") for row in rows] == [None, "out/dogs/a", "out/rain/a", "out/rain/b"]
    assert "cannot be decoded" in rows[0]["error"]
    assert rows[1]["sentences"][0].startswith(f"Heard as {rows[1]['predicted']} (")
    (row,) = map(json.loads, interpret("in/dogs/a.wav", "--json", out="one").out.splitlines())
    assert row == {**rows[1], "folder": "one"}


def test_whoever_reads_may_stop(models, at):
    reader, writer = os.pipe()
    os.close(reader)
    errors = io.StringIO()
    line = [str(models / "one"), "in", "--out", "out", "--method", "energy", "--json"]
    with open(writer, "w") as stream, contextlib.redirect_stdout(stream), contextlib.redirect_stderr(errors):
        code = main.interpret(line)
    assert (code, errors.getvalue()) == (141, "")
    assert places(at / "out") == ["dogs/a"]
    check_whole(at / "out")
