"""The rows of what was explained of many sounds: as JSON lines and as a table."""

import csv
import io
import json

from interpretability.report.explained import COLUMNS, failed_row, json_line, row_of, summary_csv

DESCRIPTION = {
    "request": {"sound": {"start": 1.5, "end": None, "sha256": "0"}, "method": "saliency"},
    "true": None,
    "predicted": "dog",
    "predicted_probability": 0.75,
    "explained": "犬",
    "explained_probability": 0.25,
    "probabilities": {"犬": {"input": 0.25, "explanation": 0.5, "residual": 0.125}},
    "kept_area": 0.1,
    "undefined": False,
    "events": [{"label": "犬", "start": 0.5}],
    "sentences": ['Heard as "dog".'],
    "notes": [],
}


def rows():
    return [row_of(DESCRIPTION, "in/a,b.wav", "out/x/a"), failed_row("in/c.wav", 'in/c.wav: "bad"', "nmf")]


def test_a_line_of_json_is_ascii_and_gives_the_row_back():
    for row in rows():
        line = json_line(row)
        assert line.isascii()
        assert "\n" not in line
        assert json.loads(line) == row
    assert (rows()[0]["alone"], rows()[0]["without"], rows()[0]["start"]) == (0.5, 0.125, 1.5)


def test_the_table_has_a_line_for_each_row():
    head, first, second = csv.reader(io.StringIO(summary_csv(rows(), "out")))
    assert tuple(head) == COLUMNS
    assert dict(zip(head, first, strict=True)) == {
        "sound": "in/a,b.wav",
        "start": "1.5",
        "end": "",
        "method": "saliency",
        "true": "",
        "predicted": "dog",
        "predicted_probability": "0.75",
        "explained": "犬",
        "explained_probability": "0.25",
        "alone": "0.5",
        "without": "0.125",
        "kept_area": "0.1",
        "undefined": "False",
        "folder": "x/a",
        "error": "",
    }
    assert (second[0], second[3], second[-2], second[-1]) == ("in/c.wav", "nmf", "", 'in/c.wav: "bad"')
