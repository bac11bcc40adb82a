"""The summary of an evaluation: read back as it was written; whatever does not fit is one line that names it."""

import json

import pytest

from interpretability.errors import UserError
from interpretability.report.summary import read_summary


def mean(value=0.5):
    return {"mean": value, "low": 0.4, "high": 0.6, "n": 8, "undefined": 0}


def summary():
    row = {"ad": mean(), "sps": mean(None) | {"low": None, "high": None}, "clips": 8, "silent": 0, "median_ag": 1.0}
    rows = {"piq": {**row, "fixed": ["sps"]}, "energy": row}
    return {
        "provenance": {
            "commit": "e" * 40,
            "seed": 1,
            "classifier": "f" * 64,
            "data": {"name": "ESC-10", "folds": {"test": [5]}, "n_clips": {"test": 8}},
            "training": {"epochs": 2, "best_epoch": 1, "seconds": 3.5, "commit": "c" * 40, "dictionary": None},
            "suite": "clean",
        },
        "n": 8,
        "accuracy": 0.75,
        "companions": ["energy"],
        "notes": {"piq": ["not ranked"]},
        "seconds_per_clip": {"piq": 0.1, "energy": None},
        "calls_per_clip": {"piq": 2.5, "energy": None},
        "places": {"spectrogram": rows, "waveform": rows},
        "paired": {},
    }


#: Path of a member, what takes its place, and what the error says. ``...``: it is taken out.
WRONG = [
    ((), [], "expected a JSON object, got []"),
    (("provenance",), 5, "provenance is 5, expected a mapping"),
    (("provenance",), ..., "lacks 'provenance'"),
    (("provenance", "commit"), 7, "provenance: commit is 7, expected text"),
    (("provenance", "data"), [], "provenance: data is [], expected a mapping or null"),
    (("provenance", "data", "folds"), 5, "data: folds is 5, expected a mapping"),
    (("provenance", "data", "folds", "test"), 5, "folds: test is 5, expected a list"),
    (("provenance", "training"), "much", "training is 'much'"),
    (("provenance", "training", "seconds"), "long", "training: seconds is 'long', expected a number"),
    (("provenance", "training", "dictionary"), 5, "dictionary is 5"),
    (("n",), -1, "n is -1, expected a whole number >= 1"),
    (("n",), 1.5, "n is 1.5"),
    (("accuracy",), 2, "accuracy is 2.0"),
    (("companions",), "energy", "companions is 'energy', expected a list of texts"),
    (("companions",), ["pink"], "a place lacks the row 'pink'"),
    (("notes",), [], "notes is []"),
    (("notes", "piq"), 5, "notes of piq: notes is 5"),
    (("seconds_per_clip",), 3, "seconds_per_clip is 3"),
    (("seconds_per_clip", "piq"), "3", "seconds_per_clip of piq: seconds is '3'"),
    (("calls_per_clip",), 3, "calls_per_clip is 3"),
    (("calls_per_clip", "piq"), -1, "calls_per_clip of piq: calls is -1.0"),
    (("places",), {}, "places is empty"),
    (("places",), 5, "places is 5"),
    (("places", "waveform"), {}, "waveform has no rows"),
    (("places", "waveform"), {"amt": {"clips": 1}, "energy": {"clips": 1}}, "a place lacks the row 'piq'"),
    (("places", "waveform", "piq"), [], "waveform: piq: expected a JSON object"),
    (("places", "waveform", "piq", "clips"), "8", "piq: clips is '8'"),
    (("places", "waveform", "piq", "ad", "mean"), "x", "piq: ad: mean is 'x', expected a number or null"),
    (("places", "waveform", "piq", "ad", "low"), ..., "piq: ad: lacks 'low'"),
]


def changed(content, place, value):
    if not place:
        return value
    name, *rest = place
    members = {**content, name: changed(content[name], rest, value)}
    if not rest and value is ...:
        del members[name]
    return members


@pytest.mark.parametrize(("place", "value", "words"), WRONG, ids=lambda value: str(value)[:30])
def test_a_member_of_another_kind_is_one_line_that_names_it(tmp_path, place, value, words):
    path = tmp_path / "summary.json"
    path.write_text(json.dumps(changed(summary(), place, value)))
    with pytest.raises(UserError) as caught:
        read_summary(path)
    assert str(caught.value).startswith(str(path))
    assert words in str(caught.value)


def test_what_was_written_is_read_back(tmp_path):
    (tmp_path / "summary.json").write_text(json.dumps(summary()))
    assert read_summary(tmp_path / "summary.json") == summary()
