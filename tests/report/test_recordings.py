"""Recordings on a page: the line, the picture and the events are those of the folder, and there is a bound."""

import base64
import io
import json
import shutil

import numpy as np
import pytest
import soundfile
import whistles
from PIL import Image

from interpretability import explain_recording
from interpretability.errors import UserError
from interpretability.methods.baselines import EnergyMask
from interpretability.recordings import saving
from interpretability.report.html_report import write_report
from interpretability.report.recordings import MOST_STEPS, Recording

WHISTLES, SECONDS = [(7.3, 7.6), (21.0, 21.4)], 30.0


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The explanation of half a minute with two whistles."""
    place = tmp_path_factory.mktemp("night")
    path = whistles.write(place / "night.wav", whistles.recording(SECONDS, WHISTLES))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(saving, "plot_timeline", lambda *_: None)
        patch.setattr(saving, "save_figure", lambda _, path: path.touch())
        method = EnergyMask(whistles.classifier(), area=0.02)
        return explain_recording(method, path, place / "out", target="whistle", window=2.0).folder


@pytest.fixture(scope="module")
def recording(folder):
    return Recording.of_folder(folder)


def content(uri):
    return io.BytesIO(base64.b64decode(uri.split(",")[1]))


def test_the_line_is_high_where_the_class_is(recording):
    line = np.array(recording.line)
    assert len(line) == MOST_STEPS
    times = (np.arange(MOST_STEPS) + 0.5) / MOST_STEPS * SECONDS
    near = np.min([np.abs(times - (start + end) / 2) for start, end in WHISTLES], axis=0)
    assert line[near < 0.25].min() > 500 > line[near > 2].max()
    # The picture has a row for each class, the explained one on top.
    assert recording.labels == ("whistle", "hum")
    picture = np.asarray(Image.open(content(recording.picture)))[..., :3].astype(int)
    assert picture.shape[:2] == (2, MOST_STEPS)
    assert picture[0][near < 0.25].sum(1).min() > picture[0][near > 2].sum(1).max()
    assert picture[1][near < 0.25].sum(1).max() < picture[1][near > 2].sum(1).min()


def test_events_are_at_the_times_of_the_recording_with_their_sounds(folder, recording):
    known = json.loads((folder / "explanation.json").read_text("utf-8"))["events"]
    assert [(event["start"], event["without"]) for event in recording.events] == [
        (event["start"], event["without"]) for event in known
    ]
    assert [mark[0] for mark in recording.marks] == [round(event["start"], 3) for event in known]
    night, _ = soundfile.read(folder.parent / "night.wav")
    for event in recording.events:
        clip = event["clip"]
        assert clip["start"] <= event["start"] < event["end"] <= clip["start"] + clip["seconds"]
        # What lies at that place of the recording.
        first = round(clip["start"] * whistles.RATE)
        heard, _ = soundfile.read(folder / next(e["sound"] for e in known if e["start"] == event["start"]))
        part = night[first : first + len(heard)]
        assert np.corrcoef(part, heard)[0, 1] > 0.9999
        sounds = [soundfile.read(content(clip[part]))[0] for part in ("input", "explanation", "residual")]
        assert all(len(sound) == pytest.approx(len(heard), abs=3000) for sound in sounds)
        # The mask is clear at the whistle, and opaque between it and the hum, where the loudest bins never are.
        mask = np.asarray(Image.open(content(clip["mask"])))[..., 3] / 255
        row = round((1 - whistles.HERTZ / (whistles.RATE / 2)) * len(mask))
        middle = (event["start"] + event["end"]) / 2 - clip["start"]
        column = round(middle / clip["seconds"] * mask.shape[1])
        assert mask[row - 1 : row + 2, column].min() < 0.3
        assert mask[len(mask) // 2 - 2 : len(mask) // 2 + 2].mean() > 0.9


def test_events_that_do_not_fit_have_no_sounds_and_are_marked_all_the_same(folder, recording, tmp_path):
    size = len(json.dumps(recording.events[0]))
    bounded = Recording.of_folder(folder, most_bytes=size + 10)
    assert len(bounded.events) == 1 < len(bounded.marks) == len(recording.marks)
    assert Recording.of_folder(folder, most_bytes=10).events == ()
    page = write_report(tmp_path / "report.html", [recording], "A title").read_text("utf-8")
    assert "30 s in 29 windows. Heard most:" in " ".join(page.split())
    assert len(page) > 2 * size


def test_a_class_that_is_active_nowhere_has_its_line_alone(folder, tmp_path):
    method = EnergyMask(whistles.classifier(), area=0.02)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(saving, "plot_timeline", lambda *_: None)
        patch.setattr(saving, "save_figure", lambda _, path: path.touch())
        settings = {"target": "whistle", "window": 2.0, "threshold": 1.0}
        result = explain_recording(method, folder.parent / "night.wav", tmp_path / "out", **settings)
    recording = Recording.of_folder(result.folder, true="whistle", method="energy")
    assert (recording.events, recording.stretches, recording.true) == ((), (), ("whistle",))
    assert max(recording.line) > 500


def test_a_damaged_folder_is_said_in_one_line(folder, tmp_path):
    shutil.copytree(folder, tmp_path / "copy")
    (tmp_path / "copy" / "timeline.csv").write_text("time,hum,whistle\nx,y\n")
    with pytest.raises(UserError, match="is no whole explanation of a recording"):
        Recording.of_folder(tmp_path / "copy")
    (tmp_path / "copy" / "explanation.json").write_text("{}")
    with pytest.raises(UserError, match="lacks name, title"):
        Recording.of_folder(tmp_path / "copy")
