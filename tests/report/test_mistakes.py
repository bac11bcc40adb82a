"""Wrongly classified clips in words and in tables: each claim beside what was measured."""

import csv
import dataclasses
import json

import pytest

from interpretability.errors import UserError
from interpretability.report.mistakes import Mistake, Support, mistakes_csv, mistakes_page
from interpretability.report.words import Region


@pytest.fixture
def cow() -> Mistake:
    predicted = Support(
        label="cow",
        probability=0.81,
        area=0.1,
        region=Region(0.4, 0.9, 500, 1500),
        alone={"cow": 0.9, "dog": 0.05, "cat": 0.05},
        without={"cow": 0.2, "dog": 0.7, "cat": 0.1},
        loudest=0.3,
        random=0.8,
    )
    true = Support(
        label="dog",
        probability=0.12,
        area=0.1,
        region=Region(1.2, 1.6, 300, 900),
        alone={"cow": 0.1, "dog": 0.85, "cat": 0.05},
        without={"cow": 0.9, "dog": 0.05, "cat": 0.05},
        loudest=0.1,
        random=0.1,
    )
    return Mistake("a,b", "x/a,b.wav", "test", predicted, true, 0.25, "a,b")


def test_the_words_say_what_each_class_rests_on_and_what_is_left_without_it(cow):
    assert cow.sentences() == [
        "Heard as cow (0.81), but it is dog (0.12).",
        "What speaks for cow lies mostly at 0.40–0.90 s, 500–1500 Hz; without it the sound is heard as dog (0.70).",
        "That takes away 10% of the area, and leaves cow 0.20; for comparison, without the loudest 10% it has 0.30, "
        "without a random 10% 0.80.",
        "What speaks for dog lies mostly at 1.20–1.60 s, 300–900 Hz; alone it is heard as dog (0.85).",
    ]


@pytest.mark.parametrize(
    ("without", "words"),
    [
        ({"cow": 0.6, "dog": 0.3, "cat": 0.1}, "without it the sound is still heard as cow (0.60), dog having 0.30."),
        ({"cow": 0.1, "dog": 0.3, "cat": 0.6}, "without it the sound is heard as cat (0.60), dog having 0.30."),
    ],
)
def test_what_is_heard_without_it_may_be_wrong_too(cow, without, words):
    changed = dataclasses.replace(cow, predicted=dataclasses.replace(cow.predicted, without=without))
    assert changed.sentences()[1].endswith(words)


def test_what_is_not_there_is_not_claimed(cow):
    nothing = {name: dataclasses.replace(getattr(cow, name), region=None, area=0.0) for name in ("predicted", "true")}
    lines = dataclasses.replace(cow, **nothing, common=0.6).sentences()
    assert lines[1:3] == ["Nothing is kept as an explanation of cow.", "Nothing is kept as an explanation of dog."]
    assert lines[3] == "Both lie in the same place: they have 60% in common."


def test_the_tables(cow):
    other = dataclasses.replace(cow, clip="c|d\x1b", predicted=dataclasses.replace(cow.predicted, region=None))
    rows = list(csv.DictReader(mistakes_csv([cow, other]).splitlines()))
    assert [row["rank"] for row in rows] == ["1", "2"]
    first = rows[0]
    assert (first["id"], first["path"], first["true"], first["predicted"]) == ("a,b", "x/a,b.wav", "dog", "cow")
    assert (first["p_true"], first["p_predicted"], first["p_predicted_without_it"]) == ("0.12", "0.81", "0.2")
    assert (first["heard_without_it"], first["heard_alone"], first["true_low"]) == ("dog", "dog", "300")
    assert rows[1]["predicted_start"] == ""
    page = mistakes_page([cow, other], "2 of 9 clips")
    assert page.startswith("2 of 9 clips\n\n|")
    assert "| 1 | [a,b](<a,b/figure.png>) | dog | 0.12 | cow | 0.81 | What speaks for cow" in page
    assert "c\\|d\\x1b" in page


def test_it_comes_back_from_its_file(cow):
    content = json.loads(json.dumps(dataclasses.asdict(cow)))
    assert Mistake.of_saved(content, "clip.json") == cow
    for damage in (None, {}, {**content, "true": {"label": "dog"}}, {**content, "more": 1}):
        with pytest.raises(UserError, match=r"clip.json: is damaged .*: remove its folder"):
            Mistake.of_saved(damage, "clip.json")
