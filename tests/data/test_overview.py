"""A data set as plain values: the numbers add up, and JSON takes them."""

import json

from interpretability.data.inspection import ClipFacts
from interpretability.data.overview import UNLABELLED, overview


def clip(name, labels, split, seconds=1.0, **values):
    known = {"sample_rate": 8000, "channels": 1, "peak_db": -3.0, "level_db": -20.0, "content": name}
    return ClipFacts(name, f"{name}.wav", labels, split, seconds=seconds, **{**known, **values})


def test_the_numbers_add_up():
    clips = [
        clip("a", ("dog",), "train", 1.0),
        clip("b", ("dog",), "train", 2.0, level_db=-30.0),
        clip("c", ("cat", "dog"), "test", 4.0, sample_rate=16000),
        clip("d", (), "test", 0.5),
        clip("e", ("cat",), "train", not_finite=1),
        ClipFacts("f", "f.wav", ("cat",), "train", fault="cannot be decoded"),
    ]
    data = overview("mine", clips, [("g", "no such file")], ["a note"])
    assert json.loads(json.dumps(data, allow_nan=False))["counts"] == {
        "clips": 7,
        "usable": 4,
        "classes": 2,
        "seconds": 7.5,
        "splits": {"train": 2, "test": 2},
    }
    assert data["summary"] == (
        "mine: 7 clips of 2 classes, of which 4 can be used (train 2, test 2); "
        "7.5 s in all, 0.5 to 4 s, 8000 to 16000 Hz."
    )
    cat, none, dog = sorted(data["classes"], key=lambda entry: (entry["label"] == "dog", entry["label"] != "cat"))
    assert (cat["clips"], cat["bad"], cat["splits"]["test"]) == (3, 2, 1)
    assert (none["label"], none["clips"]) == (UNLABELLED, 1)
    assert dog["durations"] == {"least": 1.0, "median": 2.0, "largest": 4.0}
    assert data["spreads"]["sample_rate"] == {"8000": 3, "16000": 1}
    assert data["spreads"]["level_db"] == {"least": -30.0, "median": -20.0, "largest": -20.0}
    assert [entry["id"] for entry in data["unusable"]] == ["f", "g"]
    assert data["findings"][0]["kind"] == "unusable"
    assert len(data["clips"]) == 6


def test_no_clip_that_can_be_used():
    data = overview("mine", [ClipFacts("f", "f.wav", ("cat",), None, fault="cannot be decoded")])
    assert data["summary"] == "mine: 1 clips of 1 classes, of which 0 can be used."
    assert data["spreads"]["seconds"] is None
