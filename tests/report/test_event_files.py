"""Events in files: what other programs get, and what the reader of their files makes of it again."""

import csv
import io
import json
from pathlib import Path

import pytest

from interpretability.data.annotations import AUDACITY, RAVEN, label_column, read_track, selections_of
from interpretability.data.manifest import BadClips
from interpretability.data.selections import read_selection_table
from interpretability.errors import UserError
from interpretability.events import Event
from interpretability.report.event_files import (
    audacity_labels,
    events_csv,
    events_json,
    raven_table,
    write_events,
    write_events_of_many,
)

DOG = Event("dog", 1.2, 1.85, 600.0, 2400.0, share=0.7, probability=0.87, alone=0.8, without=0.12)
EVENTS = [DOG, Event('a "b", c; é\u732b', 0.0, 1 / 3, 0.0, 7812.5, 0.25, 0.5, 1e-9, 0.75)]
ROWS = [(event, "night.wav") for event in EVENTS]
#: What a class or a file may be called, and no line of a table can hold.
HOSTILE = "a\tb\nc"


def read_back(text, name):
    """Return the selections of a label track as the package's reader has them."""
    track = read_track(text, Path(name))
    selections, faults = selections_of(track, label_column([track], None))
    assert faults == []
    return track, selections


@pytest.mark.parametrize(("write", "kind"), [(raven_table, RAVEN), (audacity_labels, AUDACITY)])
def test_the_reader_of_label_tracks_gives_the_same_events_again(write, kind):
    track, selections = read_back(write(ROWS), "events.txt")
    assert track.kind == kind
    assert [s.label for s in selections] == [event.label for event in EVENTS]
    for selection, event in zip(selections, EVENTS, strict=True):
        known = (selection.start, selection.end, selection.low, selection.high)
        assert known == pytest.approx((event.start, event.end, event.low, event.high), abs=1e-6)
    if kind == RAVEN:
        assert {s.file for s in selections} == {"night.wav"}


@pytest.mark.parametrize("write", [raven_table, audacity_labels])
def test_names_cannot_break_the_lines(write):
    hostile = Event(HOSTILE, *list(vars(DOG).values())[1:])
    track, selections = read_back(write([(hostile, HOSTILE)]), "events.txt")
    assert [s.label for s in selections] == [r"a\tb\nc"]
    assert len(track.rows) == 1


@pytest.mark.parametrize(("write", "kind"), [(raven_table, RAVEN), (audacity_labels, AUDACITY)])
def test_of_no_events_there_are_no_selections(write, kind):
    track = read_track(write([]), Path("events.txt"))
    assert (track.kind, track.rows) == (kind, [])


def test_a_table_of_raven_has_its_columns_and_what_was_measured():
    head, first, _ = csv.reader(io.StringIO(raven_table(ROWS)), delimiter="\t")
    assert head[:7] == [
        "Selection", "View", "Channel", "Begin Time (s)", "End Time (s)", "Low Freq (Hz)", "High Freq (Hz)",
    ]  # fmt: skip
    row = dict(zip(head, first, strict=True))
    assert row["Selection"] == row["Channel"] == "1"
    assert row["View"] == "Spectrogram 1"
    assert {name: float(row[name]) for name in ("Share", "Probability", "Alone", "Without", "Effect")} == pytest.approx(
        {"Share": 0.7, "Probability": 0.87, "Alone": 0.8, "Without": 0.12, "Effect": 0.75}
    )


def test_csv_and_json_have_the_events_of_many_sounds():
    rows = [*ROWS, (DOG, "other.wav"), (DOG.shifted(60.0), HOSTILE)]
    read = list(csv.DictReader(io.StringIO(events_csv(rows))))
    listed = json.loads(events_json(rows))["events"]
    assert [row["sound"] for row in read] == [row["sound"] for row in listed]
    assert [row["sound"] for row in read] == ["night.wav", "night.wav", "other.wav", r"a\tb\nc"]
    for row, entry, (event, _) in zip(read, listed, rows, strict=True):
        expected = event.to_dict()
        assert {name: entry[name] for name in expected} == expected
        assert row.keys() == entry.keys()
        assert row["label"] == event.label
        assert [float(row[n]) for n in expected if n != "label"] == pytest.approx(
            [expected[n] for n in expected if n != "label"], abs=1e-6
        )


def test_label_tracks_are_of_one_sound(tmp_path):
    rows = [(DOG, "a.wav"), (DOG, "b.wav")]
    for write in (raven_table, audacity_labels):
        with pytest.raises(ValueError, match="in 2 sounds"):
            write(rows)
    written = write_events(tmp_path / "many", rows)
    assert {key: path.name for key, path in written.items()} == {"events": "events.json", "events_csv": "events.csv"}
    one = write_events(tmp_path / "one", rows[:1], "night")
    assert sorted(path.name for path in (tmp_path / "one").iterdir()) == sorted(path.name for path in one.values())
    assert [path.name for path in one.values()] == [
        "night.json",
        "night.csv",
        "night.selections.txt",
        "night.labels.txt",
    ]


def test_a_selection_table_of_many_sounds_names_the_place_in_each(tmp_path):
    """Read back as the selections of several recordings, from the time in each."""
    for name in ("a.wav", "b.wav"):
        (tmp_path / name).write_bytes(b"sound")
    event = Event("dog", 0.5, 1.25, 100.0, 900.0, 0.7, 0.9, 0.8, 0.1)
    rows = [(event, str(tmp_path / name)) for name in ("b.wav", "a.wav")]
    paths = write_events_of_many(tmp_path, rows, {path: 2.5 for _, path in rows})
    assert set(paths) == {"events", "events_csv", "selections", "label_track"}
    text = paths["selections"].read_text("utf-8")
    starts = [line.split("\t")[3] for line in text.splitlines()[1:]]
    assert starts == ["0.500000", "3.000000"]
    clips = read_selection_table(paths["selections"], text, tmp_path, None, BadClips("t", False), [])
    assert [(clip.path.name, clip.start, clip.end, clip.low, clip.label) for clip in clips] == [
        ("b.wav", 0.5, 1.25, 100.0, "dog"),
        ("a.wav", 0.5, 1.25, 100.0, "dog"),
    ]
    assert [line.split("\t")[0] for line in paths["label_track"].read_text("utf-8").splitlines()[::2]] == starts


def test_what_cannot_be_written_is_said_in_one_line_and_nothing_is_left(tmp_path):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(UserError, match=r"could not write .*make room on the disk") as caught:
        write_events(tmp_path / "file", ROWS)
    assert "\n" not in str(caught.value)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
    assert (tmp_path / "file").read_text() == "mine"
