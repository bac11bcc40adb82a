"""What a classifier of several labels misses, in words and in files."""

import csv
import json

import numpy as np

from interpretability.metrics.detection import detection
from interpretability.report.detection import headline, sentences, write_report

LABELS = ["rain", 'a "dog", wet', "car"]


def test_known_words_and_files(tmp_path):
    truth = np.array([[1, 0, 0], [1, 1, 0], [0, 0, 0], [0, 1, 0]])
    answers = np.array([[0.9, 0.1, 0.2], [0.8, 0.2, 0.1], [0.7, 0.1, 0.2], [0.1, 0.9, 0.2]])
    report = detection(LABELS, truth, answers, [0.5, 0.5, 0.5])
    assert sentences(report) == [
        "In 2 of 4 test clips exactly the labels are heard.",
        '  a "dog", wet is missed in 1 of the 2 clips that have it, and heard in 0 of the 2 others',
        "  rain is missed in 0 of the 2 clips that have it, and heard in 1 of the 2 others",
    ]
    assert sentences(report, most=1)[-1] == "  and 1 more class with such clips"
    assert headline(report) == "mAP 1.000, macro F1 0.733, micro F1 0.750"
    write_report(tmp_path, report, "test", "compact on the test clips of X", {"classifier": "abc"})
    with open(tmp_path / "classes.csv", encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [row["class"] for row in rows] == LABELS
    assert (rows[0]["clips"], rows[0]["heard"], rows[0]["recall"], rows[2]["ap"]) == ("2", "3", "1.0", "")
    numbers = json.loads((tmp_path / "report.json").read_text())
    assert (numbers["classifier"], numbers["split"], numbers["exact"]) == ("abc", "test", 2)
    page = (tmp_path / "report.md").read_text("utf-8")
    assert "| car | 0 | 0 | 0.500 | – | – | – | – |" in page
    assert "confusion" not in page
