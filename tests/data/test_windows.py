"""Windows around selections: how long, where at the ends of a recording, and which boxes lie in them."""

from pathlib import Path

import pytest

from interpretability.data.audio import AudioHeader
from interpretability.data.manifest import BadClips
from interpretability.data.tables import ListedClip
from interpretability.data.windows import cut_windows, usual_window
from interpretability.errors import UserError

NIGHT, DAY = Path("night.wav"), Path("day.wav")
HEADERS = {NIGHT: AudioHeader(80000, 8000, 1), DAY: AudioHeader(8000, 8000, 1)}  # 10 s and 1 s


def selection(start, end, label="owl", low=None, high=None, path=NIGHT, line=2):
    return ListedClip(path, label, f"x.txt, line {line}", start=start, end=end, low=low, high=high)


def cut(clips, seconds, skip=False):
    bad, notes = BadClips("data", skip), []
    return cut_windows(clips, seconds, HEADERS, bad, notes), bad.skipped, notes


@pytest.mark.parametrize(
    ("start", "end", "seconds", "expected"),
    [
        (4.0, 4.5, 2.0, (3.25, 5.25)),
        (0.2, 0.4, 2.0, (0.0, 1.3)),
        (9.5, 9.9, 2.0, (8.7, 10.0)),
        (4.0, 7.0, 2.0, (4.0, 7.0)),
        (4.0, 4.5, 20, (0.0, 10.0)),
        (9.5, 10.008, 0.1, (9.5, 10.0)),
        (None, None, 1.0, None),
        (9.0, None, 0.5, (9.0, 10.0)),
    ],
)
def test_where_a_window_lies(start, end, seconds, expected):
    ((clip,), _, _) = cut([selection(start, end)], seconds)
    assert (clip.start, clip.end) == (expected or (None, None))
    if expected:
        (box,) = clip.boxes
        assert box["start"] == pytest.approx(start - clip.start)
        assert box["end"] == pytest.approx(min(end or 10.0, 10.0) - clip.start)


def test_a_clip_has_the_boxes_of_all_that_lie_in_it():
    clips = [
        selection(4.0, 4.5, "owl", 300, 900),
        selection(4.8, 9.0, "frog", 100.0, 700.0),
        selection(5.2, 5.3, "owl"),
        selection(4.1, 4.4, "frog", high=5000, path=DAY),
    ]
    clips[3] = selection(0.1, 0.4, "frog", high=5000, path=DAY)
    cuts, _, notes = cut(clips, 1.5)
    assert [(clip.path, clip.start, clip.end, clip.label) for clip in cuts] == [
        (NIGHT, 3.5, 5.0, "owl"), (NIGHT, 4.8, 9.0, "frog"), (NIGHT, 4.5, 6.0, "owl"), (DAY, 0.0, 1.0, "frog")
    ]  # fmt: skip
    assert cuts[0].boxes == [
        {"label": "owl", "start": 0.5, "end": 1.0, "low": 300, "high": 900},
        {"label": "frog", "start": 1.3, "end": 1.5, "low": 100.0, "high": 700.0},
    ]
    assert [box["label"] for box in cuts[1].boxes] == ["frog", "owl"]
    assert [box["label"] for box in cuts[2].boxes] == ["frog", "owl"]
    # Above half the sampling rate there is nothing.
    assert cuts[3].boxes == [{"label": "frog", "start": 0.1, "end": 0.4, "high": 4000.0}]
    assert "1 selections reach above half the sampling rate of their recording, and end there" in notes
    assert "in 3 of 4 clips lies also a part of a selection with another label" in notes


def test_the_window_that_suits():
    assert usual_window([selection(0, 0.05)]) == 0.5
    assert usual_window([selection(0, 1.0)] * 20 + [selection(0, 9.0)]) == 1.5
    assert usual_window([selection(0, 100.0)]) == 30.0
    assert usual_window([selection(0, 2.01)]) == 3.1
    cuts, _, notes = cut([selection(3.0, 4.0), selection(6.0, 6.4)], "auto")
    assert [clip.end - clip.start for clip in cuts] == [1.5, 1.5]
    assert notes == ["window_seconds 1.5: the selections have 0.4 to 1 s, and are cut out with what lies around them"]


def test_points_in_time_have_no_box():
    cuts, _, notes = cut([selection(3.0, 3.0), selection(3.2, 3.3)], 1.0)
    assert [(clip.start, clip.end, len(clip.boxes)) for clip in cuts] == [(2.5, 3.5, 1), (2.75, 3.75, 1)]
    assert "1 labels mark a point in time: they have no box" in notes


def test_selections_of_one_time():
    same = [selection(3.0, 4.0, low=100), selection(3.0, 4.0, low=500, line=3)]
    ((clip,), _, notes) = cut(same, 1.0)
    assert [box["low"] for box in clip.boxes] == [100, 500]
    assert "1 selections cover the time of another one of the same label; they are one clip" in notes
    # What would share a window with another label is cut out alone: nothing is said twice, and differently.
    cuts, _, notes = cut([selection(0.1, 0.4, path=DAY), selection(0.5, 0.8, "frog", path=DAY)], 9.0)
    assert [(clip.start, clip.end, clip.label, len(clip.boxes)) for clip in cuts] == [
        (0.1, 0.4, "owl", 1), (0.5, 0.8, "frog", 1)
    ]  # fmt: skip
    assert any("2 selections are cut out without what lies around them" in note for note in notes)
    other = [*same[:1], selection(3.0, 4.0, "frog", line=3), selection(5.0, 6.0)]
    with pytest.raises(UserError, match="line 3: 'frog' covers the same time as 'owl' in line 2: a clip has one label"):
        cut(other, 1.0)
    cuts, skipped, _ = cut(other, 1.0, skip=True)
    assert [clip.start for clip in cuts] == [5.0]
    assert len(skipped) == 1


@pytest.mark.parametrize(
    ("clip", "reason"),
    [
        (selection(9.0, 10.02), "x.txt, line 2: 9 to 10.02 s lies beyond its recording of 10 s"),
        (selection(10.0, 10.005), "lies beyond its recording"),
        (
            selection(1.0, 2.0, low=4000.0, high=5000.0),
            "band begins at 4000 Hz, but its recording of 8000 Hz",
        ),
    ],
)
def test_selections_outside_of_their_recording(clip, reason):
    with pytest.raises(UserError) as caught:
        cut([clip, selection(1.0, 2.0)], 1.0)
    assert reason in str(caught.value)
    cuts, ((_, skipped),), _ = cut([clip, selection(1.0, 2.0)], 1.0, skip=True)
    assert len(cuts) == 1
    assert reason in skipped


@pytest.mark.parametrize("seconds", [0, -1.0, True, "long", float("nan")])
def test_windows_that_are_none(seconds):
    with pytest.raises(UserError, match="expected a number of seconds above 0, or auto"):
        cut([selection(1.0, 2.0)], seconds)


def test_clips_that_were_cut_before():
    with pytest.raises(UserError, match="is a clip with boxes, cut before: leave out --window_seconds 2"):
        cut([ListedClip(NIGHT, "owl", "x.csv, line 2", start=0.0, end=1.0, boxes=[])], 2)
