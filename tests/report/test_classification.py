"""Reports on a classifier for people: words, tables that come back, names of any kind."""

import csv
import json

import numpy as np
import pytest

from interpretability.metrics.classification import classification_report
from interpretability.report.classification import headline, sentences, write_report

LABELS = ["dog", 'a|b, "c"', "x\x1b[31m"]


def report_of(truth, heard, labels=LABELS):
    return classification_report(labels, np.array(truth), np.array(heard))


def test_the_words_name_what_is_confused_most():
    truth = [0] * 8 + [1] * 2 + [2]
    heard = [0] * 5 + [1] * 3 + [1, 0] + [2]
    lines = sentences(report_of(truth, heard, ["dog", "cow", "cat"]))
    assert lines == [
        "4 of 11 test clips are heard as another class:",
        "  dog is heard as cow in 3 of 8 clips",
        "  cow is heard as dog in 1 of 2 clips",
    ]
    assert sentences(report_of([0, 1], [0, 1]), "valid") == ["Every one of the 2 valid clips is heard as its class."]


def test_many_kinds_of_confusion_are_counted_and_a_single_one_is_not_left():
    labels = [str(k) for k in range(9)]
    for n, last in (
        (6, "  5 is heard as 0 in 1 of 1 clips"),
        (7, "  and 2 more pairs of classes, in 2 clips together"),
    ):
        truth = list(range(9))
        heard = [(k + 1) % n if k < n else k for k in truth]
        assert sentences(report_of(truth, heard, labels))[-1] == last


def test_what_is_written(tmp_path):
    report = report_of([0, 0, 1, 1], [0, 1, 1, 1])
    write_report(tmp_path, report, "test", "compact on x", {"classifier": "abc"})
    page = (tmp_path / "report.md").read_text("utf-8")
    assert page.startswith("compact on x: accuracy 0.750 [0.250, 1.000], macro F1 0.733, n = 4\n")
    assert '- dog is heard as a|b, "c" in 1 of 2 clips' in page
    assert '| a\\|b, "c" | 2 | 0.67 | 1.00 | 0.80 |' in page
    assert "| x\\x1b[31m | 0 | – | – | – |" in page
    matrix = list(csv.reader((tmp_path / "confusion.csv").read_text("utf-8").splitlines()))
    assert matrix[0][1:] == LABELS
    assert [row[1:] for row in matrix[1:]] == [["1", "1", "0"], ["0", "2", "0"], ["0", "0", "0"]]
    classes = list(csv.DictReader((tmp_path / "classes.csv").read_text("utf-8").splitlines()))
    assert classes[0] == {"class": "dog", "clips": "2", "precision": "1.0", "recall": "0.5", "f1": "0.6666666666666666"}
    assert classes[2] == {"class": "x\x1b[31m", "clips": "0", "precision": "", "recall": "", "f1": ""}
    numbers = json.loads((tmp_path / "report.json").read_text("utf-8"))
    assert numbers["classifier"] == "abc"
    assert numbers["accuracy"]["mean"] == 0.75
    assert (tmp_path / "confusion.png").read_bytes().startswith(b"\x89PNG")
    assert headline(report) in page


@pytest.mark.parametrize(("n_classes", "has_matrix"), [(1000, True), (1001, False)])
def test_a_table_of_all_pairs_is_written_of_a_bounded_number_of_classes(n_classes, has_matrix, tmp_path, monkeypatch):
    monkeypatch.setattr("interpretability.report.classification.save_figure", lambda *_: None)
    monkeypatch.setattr("interpretability.report.classification.plot_confusion", lambda *_: None)
    write_report(tmp_path, report_of([0], [1], [str(k) for k in range(n_classes)]), "test", "x", {})
    assert (tmp_path / "confusion.csv").exists() == has_matrix
