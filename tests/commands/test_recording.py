"""Recordings on the command line: long sounds by themselves, others where windows are asked for, and among many."""

import json

import numpy as np
import pytest
import soundfile
import tiny
import whistles

from interpretability.classifiers import save_classifier
from interpretability.commands import main, recording
from interpretability.data.annotations import kind_of
from interpretability.recordings import recording as recording_module
from interpretability.recordings import saving
from interpretability.report import figures


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """The folder of a classifier that was not trained but distinguishes sounds."""
    place = tmp_path_factory.mktemp("models") / "one"
    save_classifier(tiny.listening_classifier(tiny.LABELS, frontend={"sample_rate": tiny.RATE}), place)
    return place


@pytest.fixture
def interpret(model, tmp_path, monkeypatch):
    """Explain sounds by the loudest bins, which is quick, with no figures."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(saving, "plot_timeline", lambda *_: None)
    monkeypatch.setattr(saving, "save_figure", lambda _, path: path.touch())
    monkeypatch.setattr(figures, "plot_explanation", lambda *_, **settings: None)
    monkeypatch.setattr(figures, "save_figure", lambda _, path, **settings: path.touch())
    monkeypatch.setattr(recording, "LONGEST", 2.5)  # s
    whistles.write(tmp_path / "long.wav", whistles.recording(4.0, [(1.2, 1.5)]))
    whistles.write(tmp_path / "short.wav", whistles.recording(1.0, [(0.2, 0.5)]))

    def call(*arguments, method="energy"):
        line = [model, *arguments, "--out", "out", "--method", method]
        return tiny.call(main.interpret, [str(word) for word in line])

    return call


def test_a_sound_of_more_than_a_minute_goes_this_way_by_itself(interpret, tmp_path):
    done = interpret("long.wav", "--target", "dog", "--threshold", "0")
    assert done.code == 0, done.err
    assert done.out.startswith("4 s in 1 window. Heard most: ")
    assert "dog is active (at least 0) in 1 of them: 0.0–4.0 s." in done.out
    assert "written to out: events/, events.csv, events.json, events.labels.txt, events.selections.txt, exp" in done.out
    assert "explained.jsonl" not in done.out
    wav, rate = soundfile.read(tmp_path / "out" / "explanation.wav")
    assert (len(wav), rate) == (4 * tiny.RATE, tiny.RATE)
    known = json.loads((tmp_path / "out" / "explanation.json").read_text("utf-8"))
    assert (known["explained"], known["classes"], known["true"]) == ("dog", ["dog"], None)
    assert known["request"]["threshold"] == 0
    again = interpret("long.wav", "--target", "dog", "--threshold", "0")
    assert again.out == done.out


def test_a_short_one_does_when_windows_are_asked_for(interpret, tmp_path):
    done = interpret("short.wav", "--window", "0.5", "--hop", "0.25", "--threshold", "0")
    assert done.code == 0, done.err
    assert done.out.startswith("1 s in 3 windows.")


def test_rows_and_files_of_all_have_recordings_among_other_sounds(interpret, tmp_path):
    (tmp_path / "in").mkdir()
    for name in ("long.wav", "short.wav"):
        (tmp_path / name).rename(tmp_path / "in" / name)
    (tmp_path / "in" / "bad.wav").write_bytes(b"no sound")
    done = interpret("in", "--target", "dog", "--json", "--channel", "left")
    assert done.code == 2
    rows = {row["sound"]: row for row in map(json.loads, done.out.splitlines())}
    assert "cannot be decoded" in rows["in/bad.wav"]["error"]
    long, short = rows["in/long.wav"], rows["in/short.wav"]
    assert long.keys() == short.keys()
    assert long["kept_area"] is None
    assert short["kept_area"] > 0
    assert {event["label"] for event in long["events"] + short["events"]} <= {"dog"}
    assert (tmp_path / "out" / "long" / "timeline.csv").is_file()
    assert (tmp_path / "out" / "short" / "mask.npz").is_file()
    before = (tmp_path / "out" / "long" / "explanation.json").stat().st_mtime_ns
    again = interpret("in", "--target", "dog", "--json", "--channel", "left")
    assert again.out == done.out
    assert (tmp_path / "out" / "long" / "explanation.json").stat().st_mtime_ns == before
    assert kind_of((tmp_path / "out" / "events.selections.txt").read_text("utf-8")) == "Raven"


@pytest.mark.slow
def test_the_page_has_a_recording_by_itself_and_among_other_sounds(interpret, tmp_path):
    options = ["--target", "dog", "--threshold", "0", "--window", "1", "--report"]
    done = interpret("long.wav", *options, method="energy,random")
    assert done.code == 0, done.err
    assert "the page of it: out/report.html" in done.out
    page = (tmp_path / "out" / "report.html").read_text("utf-8")
    (card,) = [json.loads(part.split("</script>")[0]) for part in page.split('<script type="application/json">')[1:]]
    assert (card["name"], card["recording"], len(card["views"])) == ("long.wav", True, 2)
    assert all(view["explained"] == "dog" and len(view["marks"]) >= len(view["events"]) for view in card["views"])
    (tmp_path / "in").mkdir()
    for name in ("long.wav", "short.wav"):
        (tmp_path / name).rename(tmp_path / "in" / name)
    (tmp_path / "out").rename(tmp_path / "one")
    done = interpret("in", "--target", "dog", "--report")
    assert done.code == 0, done.err
    page = (tmp_path / "out" / "report.html").read_text("utf-8")
    cards = [json.loads(part.split("</script>")[0]) for part in page.split('<script type="application/json">')[1:]]
    assert {card["name"]: card.get("recording", False) for card in cards} == {"long": True, "short": False}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--threshold", "2"], "threshold is 2, expected a probability from 0 to 1"),
        (["--window", "0"], "window is 0 s, expected 0.1 to 60 s"),
        (["--target", "dgo"], "no class 'dgo': did you mean 'dog'?"),
    ],
)
def test_what_does_not_go_with_windows_is_one_line(interpret, tmp_path, arguments, message):
    assert message in interpret("long.wav", *arguments).line
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_several_classes_have_a_folder_each_and_are_heard_once(interpret, tmp_path, monkeypatch):
    function, heard = recording_module.classify_windows, []

    def classify_windows(classifier, stream, plan, journal, progress):
        heard.append(len(journal.read()))
        return function(classifier, stream, plan, journal, progress)

    monkeypatch.setattr(recording_module, "classify_windows", classify_windows)
    options = ["--window", "1", "--threshold", "0", "--report"]
    done = interpret("long.wav", "--top_k", "2", *options)
    assert done.code == 0, done.err
    assert heard == [0]
    known = [json.loads(path.read_text("utf-8")) for path in (tmp_path / "out").glob("*/explanation.json")]
    ranked = sorted(known[0]["probabilities"], key=lambda label: -known[0]["probabilities"][label]["input"])
    assert {each["explained"] for each in known} == set(ranked[:2])
    assert [each["classes"] for each in known] == [ranked[:2]] * 2
    single = tmp_path / "out" / ranked[1]
    page = (tmp_path / "out" / "report.html").read_text("utf-8")
    (card,) = [json.loads(part.split("</script>")[0]) for part in page.split('<script type="application/json">')[1:]]
    assert [view["explained"] for view in card["views"]] == ranked[:2]
    # Again: nothing is heard again. Each is what it is alone.
    assert interpret("long.wav", "--top_k", "2", *options).out == done.out
    assert heard[1] > 4
    events = (single / "events.csv").read_bytes()
    (tmp_path / "out").rename(tmp_path / "several")
    assert interpret("long.wav", "--target", ranked[1], *options).code == 0
    assert (tmp_path / "out" / "events.csv").read_bytes() == events


def test_the_classes_that_are_active_somewhere_are_explained(interpret, tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "long.wav").rename(tmp_path / "in" / "long.wav")
    line = ["in", "--every_label", "--window", "1", "--threshold", "0.3", "--json"]
    rows = [json.loads(text) for text in interpret(*line).out.splitlines()]
    place = tmp_path / "out" / "long" / rows[0]["explained"] / "timeline.csv"
    highest = np.genfromtxt(place, delimiter=",", skip_header=1)[:, 1:].max(0)
    labels = place.read_text("utf-8").splitlines()[0].split(",")[1:]
    active = {label for label, value in zip(labels, highest, strict=True) if value >= 0.3}
    assert {row["explained"] for row in rows} == active != set()
    assert [json.loads(text) for text in interpret(*line).out.splitlines()] == rows


def test_a_part_of_a_file_is_not_cut_into_windows(interpret, tmp_path):
    (tmp_path / "parts.csv").write_text("path,start,end\nlong.wav,1,2\n")
    done = interpret("parts.csv", "--threshold", "0.2")
    assert done.code == 2
    assert "--window, --hop and --threshold go with whole files, and this is a clip" in done.err


def test_several_methods_have_a_folder_each(interpret, tmp_path):
    done = interpret("short.wav", "--window", "0.5", "--threshold", "0", method="energy,random")
    assert done.code == 0, done.err
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["energy", "random"]
    sounds = [np.fromfile(tmp_path / "out" / name / "explanation.wav") for name in ("energy", "random")]
    assert not np.array_equal(*sounds)
