"""Recordings, from a file to a folder: what is heard when, what speaks for it, and what stops nothing."""

import csv
import errno
import json
import os
from itertools import pairwise

import numpy as np
import pytest
import soundfile
import whistles

from interpretability import explain_recording
from interpretability.data.annotations import label_column, read_track, selections_of
from interpretability.data.audio import wav_header
from interpretability.errors import MissingError, UserError
from interpretability.explaining import explain
from interpretability.methods.baselines import EnergyMask
from interpretability.recordings import explained as explained_module
from interpretability.recordings import passes, saving
from interpretability.recordings.recording import UNFINISHED, clip_seconds
from interpretability.recordings.store import Masks

WHISTLES = [(7.3, 7.6), (21.0, 21.4)]
SECONDS = 30.0
SETTINGS = {"window": 2.0, "target": "whistle"}


@pytest.fixture(scope="module")
def classifier():
    return whistles.classifier()


@pytest.fixture(scope="module")
def method(classifier):
    return EnergyMask(classifier, area=0.02)


@pytest.fixture(scope="module")
def night(tmp_path_factory):
    """A recording of half a minute with two whistles."""
    return whistles.write(tmp_path_factory.mktemp("night") / "night.wav", whistles.recording(SECONDS, WHISTLES))


@pytest.fixture(scope="module")
def result(method, night, tmp_path_factory):
    return explain_recording(method, night, tmp_path_factory.mktemp("results") / "night", **SETTINGS)


@pytest.fixture(autouse=True)
def _no_figures(result, monkeypatch):
    """Figures take longer than all else; that of ``result`` is drawn."""
    monkeypatch.setattr(saving, "plot_timeline", lambda *_: None)
    monkeypatch.setattr(saving, "save_figure", lambda _, path: path.touch())


def content(folder):
    """Return all files of a folder, and when each was changed."""
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}


def read(folder, name):
    return json.loads((folder / name).read_text("utf-8"))


def test_it_finds_which_second_made_the_classifier_say_its_class(result):
    assert [(e.label, round(e.start, 1), round(e.end, 1)) for e in sorted(result.events, key=lambda e: e.start)] == [
        ("whistle", start, end) for start, end in WHISTLES
    ]
    for event in result.events:
        assert event.low < whistles.HERTZ < event.high < event.low + 1000
        assert event.effect > 0.4
        assert event.window_start <= event.start < event.end <= event.window_end <= event.window_start + 2
    for (start, end), (first, last) in zip(result.stretches, WHISTLES, strict=True):
        assert start <= first < last <= end < start + 4
    lines = "\n".join(result.sentences())
    assert "30 s in 29 windows. Heard most: hum" in lines
    assert "whistle is active (at least 0.5) in 4 of them" in lines
    assert "2 events; those that matter most:" in lines


def test_the_files_say_the_same(result, night):
    folder, known = result.folder, read(result.folder, "explanation.json")
    assert known["explained"] == "whistle"
    assert known["sentences"] == result.sentences()
    assert known["events"][0]["start"] == result.events[0].start
    events = read(folder, "events.json")["events"]
    assert [event["sound"] for event in events] == ["night.wav"] * 2
    for name in ("events.selections.txt", "events.labels.txt"):
        track = read_track((folder / name).read_text("utf-8"), folder / name)
        rows, _ = selections_of(track, label_column([track], None))
        assert sorted(round(row.start, 4) for row in rows) == sorted(round(e.start, 4) for e in result.events)
    windows = read(folder, "timeline.json")["windows"]
    assert len(windows) == 29
    assert sum(window["active"] for window in windows) == 4
    with open(folder / "timeline.csv", encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    peak = max(rows, key=lambda row: float(row["whistle"]))
    assert any(start - 2 <= float(peak["time"]) <= end + 2 for start, end in WHISTLES)
    steps = {round(float(b["time"]) - float(a["time"]), 3) for a, b in pairwise(rows)}
    assert steps <= {0.248, 0.249, 0.25}
    assert (folder / "timeline.png").stat().st_size > 10_000
    assert not (folder.parent / f"{folder.name}{UNFINISHED}").exists()


def test_explanation_and_residual_add_up_to_the_recording_on_its_own_axis(result, night):
    wav, rate = soundfile.read(night, dtype="float32")
    parts = {
        name: soundfile.read(result.folder / f"{name}.wav", dtype="float32") for name in ("explanation", "residual")
    }
    assert {part[1] for part in parts.values()} == {rate}
    explanation, residual = (parts[name][0] for name in ("explanation", "residual"))
    assert np.abs(explanation + residual - wav / np.abs(wav).max()).max() < 1e-6
    energy = np.square(explanation)
    inside = np.zeros(len(wav), dtype=bool)
    for start, end in WHISTLES:
        inside[round((start - 0.05) * rate) : round((end + 0.05) * rate)] = True
    assert energy[inside].sum() > 0.99 * energy.sum()
    active = np.zeros(len(wav), dtype=bool)
    for start, end in result.stretches:
        active[round((start - 0.02) * rate) : round((end + 0.02) * rate)] = True
    assert not explanation[~active].any()


def test_each_event_can_be_heard(result, night):
    wav, rate = soundfile.read(night, dtype="float32")
    for event in read(result.folder, "explanation.json")["events"]:
        start = round((event["start"] - saving.AROUND) * rate)
        sound, _ = soundfile.read(result.folder / event["sound"], dtype="float32")
        kept, _ = soundfile.read(result.folder / event["explanation"], dtype="float32")
        window = wav[round(event["window_start"] * rate) : round(event["window_end"] * rate)]
        assert np.allclose(sound, wav[start : start + len(sound)] / np.abs(window).max(), atol=1e-6)
        assert len(kept) == len(sound) == pytest.approx((event["end"] - event["start"] + 0.5) * rate, abs=2)
        assert np.square(kept).sum() > 0.9 * np.square(sound).sum()


def test_each_window_says_what_the_same_sound_says_alone(result, method, night):
    """What a window's level is: its own, as that of a clip."""
    wav, _ = soundfile.read(night, dtype="float32")
    masks = sorted((result.folder / "masks").iterdir())
    assert len(masks) == 4
    starts = {window.span.start for window in result.windows}
    for window in result.timeline.windows:
        alone = explain(method, wav[window.span.start : window.span.stop], target="whistle")
        assert window.probabilities == pytest.approx(alone.probabilities[0].numpy(), abs=1e-5)
        if window.span.start in starts:
            with np.load(result.folder / "masks" / f"{window.span.start:012d}.npz") as file:
                assert file["mask"] == pytest.approx(alone.mask[0].numpy(), abs=5e-4)


def test_the_same_again_does_nothing(result, method, night, monkeypatch):
    before = content(result.folder)
    monkeypatch.setattr(passes, "classified", None)
    monkeypatch.setattr(passes, "explained", None)
    again = explain_recording(method, night, result.folder, **SETTINGS)
    assert again.events == result.events
    assert content(result.folder) == before


def test_another_threshold_explains_what_is_missing_alone(classifier, method, night, tmp_path, monkeypatch):
    first = explain_recording(method, night, tmp_path / "x", threshold=0.999, **SETTINGS)
    monkeypatch.setattr(passes, "classified", None)
    spans = []

    def explained(interpreter, windows, *rest):
        for batch in explained_module.explained(interpreter, windows, *rest):
            spans.extend(window.span for window in batch)
            yield batch

    monkeypatch.setattr(passes, "explained", explained)
    second = explain_recording(method, night, tmp_path / "x", threshold=0.0, **SETTINGS)
    assert len(second.windows) == 29
    known = {window.span for window in first.windows}
    assert set(spans) == {window.span for window in second.windows} - known
    assert read(tmp_path / "x", "explanation.json")["threshold"] == 0.0


@pytest.mark.slow
@pytest.mark.parametrize("moment", ["classified", "explained", "written"])
@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError(errno.ENOSPC, "No space left on device")])
def test_whatever_stops_it_nothing_is_half_written_and_it_goes_on(
    method, night, result, tmp_path, monkeypatch, moment, error
):
    monkeypatch.setattr(passes, "AT_ONCE", 1 << 16)  # of four windows each
    monkeypatch.setattr(explained_module, "AT_ONCE", 1 << 14)
    folder, work = tmp_path / "x", tmp_path / f"x{UNFINISHED}"
    with monkeypatch.context() as patch:
        place = {"classified": passes, "explained": passes, "written": saving}[moment]
        name = "write_events" if moment == "written" else moment
        function, calls = getattr(place, name), []

        def stopping(*arguments):
            calls.append(1)
            if moment == "explained":
                for number, batch in enumerate(function(*arguments)):
                    if number:
                        raise error
                    yield batch
            elif moment == "written" or len(calls) == 3:
                raise error
            else:
                yield from function(*arguments)

        answers = {"classified": list, "explained": iter, "written": next}[moment]
        patch.setattr(place, name, lambda *a: answers(stopping(*a)))
        with pytest.raises((KeyboardInterrupt, OSError)):
            explain_recording(method, night, folder, **SETTINGS)
    assert not folder.exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == [work.name]
    # A line that a kill has cut off, and a mask that is damaged.
    with open(work / "windows.jsonl", "ab") as stream:
        stream.write(b'{"digest": "00')
    for path in list((work / "masks").glob("*.npz"))[:1]:
        path.write_bytes(path.read_bytes()[:100])
    explain_recording(method, night, folder, **SETTINGS)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["x"]
    for name in ("explanation.wav", "residual.wav", "events.csv", "timeline.csv"):
        assert (folder / name).read_bytes() == (result.folder / name).read_bytes(), name


def test_nothing_is_classified_twice(method, night, tmp_path, monkeypatch):
    monkeypatch.setattr(passes, "AT_ONCE", 1 << 16)
    classified_at = []
    function = passes.classified

    def classified(classifier, windows):
        windows = list(windows)
        if len(classified_at) == 8:
            raise KeyboardInterrupt
        classified_at.extend(span.start for span, _ in windows)
        return function(classifier, windows)

    monkeypatch.setattr(passes, "classified", classified)
    with pytest.raises(KeyboardInterrupt):
        explain_recording(method, night, tmp_path / "x", **SETTINGS)
    classified_at.append(-1)
    explain_recording(method, night, tmp_path / "x", **SETTINGS)
    starts = [start for start in classified_at if start >= 0]
    assert len(starts) == len(set(starts)) == 29


def test_where_the_class_is_active_nowhere_that_is_said_with_the_highest_probability(method, night, tmp_path):
    result = explain_recording(method, night, tmp_path / "x", threshold=1.0, **SETTINGS)
    assert result.windows == result.events == []
    text = "\n".join(result.sentences())
    assert "whistle is active nowhere: its probability is below 1 in all windows. The highest is 0.9" in text
    assert "--threshold 0.88 would explain it there" in text
    assert sorted(path.name for path in (tmp_path / "x").glob("*.wav")) == []
    assert read(tmp_path / "x", "events.json") == {"events": []}
    again = explain_recording(method, night, tmp_path / "x", **SETTINGS)
    assert len(again.events) == 2


def test_without_a_target_it_is_the_class_that_is_heard_most(method, night, tmp_path):
    result = explain_recording(method, night, tmp_path / "x", window=2.0)
    assert result.label == "hum"
    assert "Also heard: whistle in 4 windows. --target NAME explains another one." in result.sentences()


def test_a_classifier_is_explained_by_a_method_that_needs_no_training(classifier, night, tmp_path):
    """A dictionary of NMF is learned from windows over the whole recording."""
    chosen = {"n_components": 3, "n_iterations": 5}
    result = explain_recording(classifier, night, tmp_path / "x", method="nmf", settings=chosen, **SETTINGS)
    assert result.interpreter.NAME == "nmf"
    assert len(result.windows) == 4
    assert result.events
    with pytest.raises(UserError, match=r"holds the explanation of night\.wav by another model or method"):
        explain_recording(EnergyMask(classifier), night, tmp_path / "x", **SETTINGS)


def test_a_recording_of_silence_and_one_shorter_than_a_window(method, tmp_path):
    silent = whistles.write(tmp_path / "silent.wav", np.zeros(8000 * 5, dtype=np.float32))
    result = explain_recording(method, silent, tmp_path / "silent", threshold=0.0, **SETTINGS)
    assert result.windows == []
    short = whistles.write(tmp_path / "short.wav", whistles.recording(0.7, [(0.2, 0.4)]))
    result = explain_recording(method, short, tmp_path / "short", **SETTINGS)
    assert [window.span.stop for window in result.windows] == [5600]
    assert len(result.events) == 1


@pytest.mark.parametrize(
    ("seconds", "settings", "message"),
    [
        (0.05, {}, r"short.wav: lasts 0.05 s, expected at least 0.1 s"),
        (3.0, {"threshold": 1.5}, "threshold is 1.5, expected a probability from 0 to 1"),
        (3.0, {"target": "wistle"}, "no class 'wistle': did you mean 'whistle'"),
        (3.0, {"window": 90.0}, "window is 90 s, expected 0.1 to 60 s"),
        (3.0, {"hop": 5.0}, "hop is 5 s, expected 0.01 s to the length of a window, 2 s"),
        (3.0, {"channel": "right"}, "has one channel"),
        (3.0, {"method": "saliency"}, "method goes with a classifier"),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing(method, tmp_path, seconds, settings, message):
    path = whistles.write(tmp_path / "short.wav", whistles.recording(seconds, []))
    with pytest.raises(UserError, match=message):
        explain_recording(method, path, tmp_path / "x", **{**SETTINGS, **settings})
    assert list(tmp_path.iterdir()) == [path]


def test_folders_of_others_and_the_recording_itself_are_never_replaced(method, night, result, tmp_path):
    with pytest.raises(MissingError):
        explain_recording(method, tmp_path / "no.wav", tmp_path / "x")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work")
    with pytest.raises(UserError, match=r"holds 'thesis\.txt'"):
        explain_recording(method, night, tmp_path / "mine", **SETTINGS)
    with pytest.raises(UserError, match="holds the sound"):
        explain_recording(method, night, night.parent, **SETTINGS)
    other = whistles.write(tmp_path / "other.wav", whistles.recording(3.0, WHISTLES))
    with pytest.raises(UserError, match="holds the explanation of"):
        explain_recording(method, other, result.folder, **SETTINGS)
    work = tmp_path / f"y{UNFINISHED}"
    work.mkdir()
    (work / "windows.jsonl").write_text("of someone else")
    with pytest.raises(UserError, match=r"holds windows\.jsonl, which this program is not known to have written"):
        explain_recording(method, night, tmp_path / "y", **SETTINGS)


def test_a_long_recording_is_read_as_it_comes(method, tmp_path, monkeypatch):
    """Of a file that takes no room: what is decoded before the first window is classified is a block, not the file."""
    path = tmp_path / "long.wav"
    n_samples = 3 * 3600 * whistles.RATE // 8
    path.write_bytes(wav_header(n_samples, whistles.RATE))
    os.truncate(path, len(wav_header(n_samples, whistles.RATE)) + 4 * n_samples)
    function, calls = passes.classified, []

    def classified(classifier, windows):
        calls.append(len(windows))
        if len(calls) > 2:
            raise KeyboardInterrupt
        return function(classifier, windows)

    monkeypatch.setattr(passes, "classified", classified)
    with pytest.raises(KeyboardInterrupt):
        explain_recording(method, path, tmp_path / "x", **SETTINGS)
    assert calls == [16, 16, 16]


def test_a_window_is_as_long_as_the_clips_that_the_model_was_trained_on(classifier):
    assert clip_seconds(classifier) == 5.0
    trained = whistles.classifier().keep_description({"training": {"clip_seconds": 2.0}})
    assert clip_seconds(trained) == 2.0
    assert clip_seconds(EnergyMask(trained)) == 2.0
    assert clip_seconds(EnergyMask(trained).keep_description({"training": {"clip_seconds": 3.0}})) == 3.0


def test_masks_that_are_damaged_meanwhile_are_said(method, night, tmp_path, monkeypatch):
    """After the windows are explained; nothing is written then."""
    monkeypatch.setattr(Masks, "read", lambda *_: None)
    with pytest.raises(UserError, match="was damaged meanwhile"):
        explain_recording(method, night, tmp_path / "x", **SETTINGS)
    assert not (tmp_path / "x").exists()
