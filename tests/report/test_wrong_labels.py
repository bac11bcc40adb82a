"""Missed labels and false alarms: what is said of one, and the tables of them."""

import csv
import dataclasses
from dataclasses import asdict

import pytest

from interpretability.errors import UserError
from interpretability.report.words import Region
from interpretability.report.wrong_labels import (
    WrongLabel,
    wrong_labels_csv,
    wrong_labels_page,
)

MISSED = WrongLabel(
    clip="a", path="a.wav", split="test", true=("cat", "x;y"), label="cat", probability=0.1, threshold=0.5, area=0.1,
    region=Region(0.5, 1.0, 500.0, 900.0), masked=0.7, loudest=0.2, random=0.05, folder="a/cat",
)  # fmt: skip
ALARM = dataclasses.replace(MISSED, label="dog", probability=0.9, threshold=0.4, masked=0.3, true=(), folder="a/dog")


def test_what_is_said():
    assert MISSED.sentences() == [
        "It has cat, which is not heard (0.10, heard from 0.50 on).",
        "What speaks for cat lies mostly at 0.50–1.00 s, 500–900 Hz; alone, cat is heard (0.70).",
        "That is 10% of the area; for comparison, the loudest 10% alone give 0.20, a random 10% 0.05.",
    ]
    assert ALARM.sentences() == [
        "Heard as dog (0.90, heard from 0.40 on), but it has no label.",
        "What speaks for dog lies mostly at 0.50–1.00 s, 500–900 Hz; without it dog is not heard (0.30).",
        "That is 10% of the area; for comparison, without the loudest 10% it has 0.20, without a random 10% 0.05.",
    ]
    assert dataclasses.replace(ALARM, region=None, true=("owl",)).sentences() == [
        "Heard as dog (0.90, heard from 0.40 on), but it has owl.",
        "Nothing is kept as an explanation of dog.",
    ]


def test_tables_have_all_of_them():
    answers = [MISSED, dataclasses.replace(ALARM, region=None)]
    first, second = csv.DictReader(wrong_labels_csv(answers).splitlines())
    assert (first["kind"], first["labels"], first["p_alone"], first["p_without_it"]) == (
        "missed",
        '["cat", "x;y"]',
        "0.7",
        "",
    )
    assert (first["start"], second["start"]) == ("0.5", "")
    assert (second["kind"], second["labels"], second["p_alone"], second["p_without_it"]) == (
        "false alarm",
        "",
        "",
        "0.3",
    )
    page = wrong_labels_page(answers, "a title", [["dog", "1", "1", "2"]])
    assert page.startswith("a title\n\n| label | clips with it | missed | false alarms |\n")
    assert "| dog | 1 | 1 | 2 |" in page
    assert "| [a](<a/cat/figure.png>) | cat | missed | 0.10 | It has cat" in page


def test_what_was_saved_comes_back():
    assert WrongLabel.of_saved({**asdict(MISSED), "true": ["cat", "x;y"]}, "a.json") == MISSED
    with pytest.raises(UserError, match=r"a\.json: is damaged"):
        WrongLabel.of_saved({"region": None}, "a.json")
