"""What a folder holds of many sounds together, and beside one: events of all, and the page."""

import csv
import io
import json
import shutil

import pytest
import soundfile
import tiny

from interpretability.classifiers import save_classifier
from interpretability.commands import main
from interpretability.data.annotations import read_track
from interpretability.explanation import Explanation
from interpretability.report import figures


@pytest.fixture
def at(tmp_path, monkeypatch):
    """A model and a folder of two sounds; the current folder is the one around them."""
    monkeypatch.chdir(tmp_path)
    # Figures and metrics take most of the time, and are tested elsewhere.
    kinds = ("explanation", "energy", "random")
    monkeypatch.setattr(Explanation, "measure", lambda self, index=0: {kind: {"waveform": {}} for kind in kinds})
    monkeypatch.setattr(figures, "plot_explanation", lambda *arguments, **settings: None)
    monkeypatch.setattr(figures, "save_figure", lambda figure, path, *more, **settings: path.write_bytes(b"figure"))
    save_classifier(tiny.listening_classifier(tiny.LABELS, frontend={"sample_rate": tiny.RATE}), tmp_path / "model")
    (tmp_path / "in").mkdir()
    for name, n_samples in (("a", 4000), ("b", 6000)):
        soundfile.write(f"in/{name}.wav", tiny.noise(n_samples).numpy() / 10, tiny.RATE)
    return tmp_path


def interpret(*line, method="energy"):
    outcome = tiny.call(main.interpret, ["model", *line, "--out", "out", "--method", method])
    assert outcome.code == 0, outcome.err
    return outcome


def summary(at):
    with open(at / "out" / "summary.csv", encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def test_the_events_of_all_sounds(at):
    (at / "t.csv").write_text("path,start,end\nin/b.wav,0.25,0.75\nin/a.wav,,\n")
    interpret("t.csv")
    rows = json.loads((at / "out" / "events.json").read_text("utf-8"))["events"]
    single = {
        path: json.loads((at / "out" / path / "explanation.json").read_text("utf-8"))["events"]
        for path in ("in/b_0.250-0.750", "in/a")
    }
    assert {row["sound"] for row in rows} == {"in/a.wav", "in/b.wav"}
    assert len(rows) == sum(map(len, single.values())) > 0
    # In a part of a file they are at the times of the file.
    first = next(row for row in rows if row["sound"] == "in/b.wav")
    assert first["start"] == pytest.approx(single["in/b_0.250-0.750"][0]["start"] + 0.25)
    with open(at / "out" / "events.csv", encoding="utf-8", newline="") as stream:
        assert [row["sound"] for row in csv.DictReader(stream)] == [row["sound"] for row in rows]
    # What Raven and Audacity open is read back: the files lie in a row, the first lasts 0.75 s.
    raven = list(csv.DictReader(io.StringIO((at / "out" / "events.selections.txt").read_text("utf-8")), delimiter="\t"))
    last = raven[-1]
    assert (last["Begin File"], last["Begin Path"]) == ("a.wav", "in/a.wav")
    assert float(last["Begin Time (s)"]) == pytest.approx(0.75 + float(last["File Offset (s)"]), abs=2e-6)
    assert float(last["File Offset (s)"]) == pytest.approx(rows[-1]["start"], abs=2e-6)
    track = read_track((at / "out" / "events.labels.txt").read_text("utf-8"), at / "out" / "events.labels.txt")
    assert len(track.rows) == len(rows)


def test_each_of_several_methods_has_its_events_and_all_are_on_the_page(at):
    outcome = interpret("in", "--report", method="energy,random")
    assert "report.html" in outcome.out
    names = {path.name for path in (at / "out").glob("events*.csv")}
    assert names == {"events-energy.csv", "events-random.csv"}
    page = (at / "out" / "report.html").read_text("utf-8")
    assert "model, explained by energy, random" in page
    assert all(method in page for method in ("loudest", "random"))
    # From what is finished the page can be made again.
    (at / "out" / "report.html").unlink()
    interpret("in", "--report", method="energy,random")
    assert (at / "out" / "report.html").is_file()


def test_the_page_of_one_sound_is_among_its_files_and_may_be_replaced(at):
    interpret("in/a.wav", "--report")
    first = (at / "out" / "report.html").read_text("utf-8")
    assert "a.wav" in first
    interpret("in/a.wav", "--report")
    interpret("in/a.wav")  # without the page
    assert not (at / "out" / "report.html").exists()
    shutil.rmtree("out")
    interpret("in/a.wav", "--report", "--top_k", "2")
    assert (at / "out" / "report.html").is_file()


def test_what_earlier_calls_have_explained_is_listed_with_the_rest(at):
    soundfile.write("in/c.wav", tiny.noise(5000).numpy() / 10, tiny.RATE)
    interpret("in/a.wav", "in/b.wav")
    before = summary(at)
    (at / "in" / "b.wav").unlink()
    line = ["model", "in/c.wav", "in/none.wav", "--out", "out", "--method", "energy", "--report"]
    outcome = tiny.call(main.interpret, line)
    assert "The folder holds 2 more explanations, listed with them." in outcome.out
    after = summary(at)
    assert [row["sound"] for row in after] == ["in/c.wav", "in/none.wav", "in/a.wav", "in/b.wav"]
    assert after[2:] == before
    events = json.loads((at / "out" / "events.json").read_text("utf-8"))["events"]
    assert {event["sound"] for event in events} == {"in/a.wav", "in/b.wav", "in/c.wav"}
    assert (at / "out" / "report.html").read_text("utf-8").count("<article") == 3


def test_a_page_that_is_not_this_programs_stays(at):
    (at / "out").mkdir()
    (at / "out" / "report.html").write_text("mine")
    outcome = tiny.call(main.interpret, ["model", "in", "--out", "out", "--method", "energy", "--report"])
    assert "out holds report.html" in outcome.line
    assert (at / "out" / "report.html").read_text() == "mine"
    assert len(list((at / "out").iterdir())) == 1


def test_wrong_predictions_come_first_on_the_page(at):
    label = json.loads(interpret("in/a.wav", "--json").out)["predicted"]
    shutil.rmtree("out")
    other = next(name for name in tiny.LABELS if name != label)
    (at / "t.csv").write_text(f"path,label\nin/a.wav,{label}\nin/b.wav,{other}\n")
    rows = [json.loads(line) for line in interpret("t.csv", "--json", "--report").out.splitlines()]
    assert [row["true"] for row in rows] == [label, other]
    page = (at / "out" / "report.html").read_text("utf-8")
    wrong = [row["predicted"] != row["true"] for row in rows]
    expected = ["in/b", "in/a"] if wrong == [False, True] else ["in/a", "in/b"]
    places = [page.index(name) for name in expected]
    assert places == sorted(places)
