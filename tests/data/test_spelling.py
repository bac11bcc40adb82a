"""Labels that may be one: what is a typing error, and what is another class."""

import time

import pytest

from interpretability.data.spelling import one_letter_apart, same_words


@pytest.mark.parametrize(
    "labels",
    [
        ("Dog", "dog"),
        ("STRASSE", "straße"),
        ("sea waves", "sea_waves"),
        ("caf\u00e9", "cafe\u0301"),
        ("a-b", "a b", "ab"),
    ],
)
def test_labels_of_the_same_letters(labels):
    assert same_words([*labels, "cat", "bird"]) == [sorted(labels)]


def test_labels_of_no_letters_stay_apart():
    assert same_words(["?", "!", "", "cat", "1", "2"]) == []


@pytest.mark.parametrize("slip", ["dgo", "do", "dogg", "dig", "doog", "odg", "Dgo"])
def test_a_rare_label_one_letter_away_is_a_typing_error(slip):
    assert one_letter_apart({"dog": 10, slip: 2, "bird": 10}) == [(slip, "dog")]
    assert one_letter_apart({"dog": 3, slip: 1}) == [(slip, "dog")]


@pytest.mark.parametrize(
    ("first", "second"), [("dog", "gdo"), ("dog", "cat"), ("dog", "Dog"), ("dog", "dog b"), ("a", "b"), ("x1", "x2")]
)
def test_labels_that_are_no_typing_errors(first, second):
    assert one_letter_apart({first: 10, second: 1}) == []


def test_two_classes_of_some_size_are_two_classes():
    assert one_letter_apart({"cat": 40, "bat": 9, "hen": 40, "pen": 40}) == []


def test_every_pair_is_listed_once_whatever_their_number():
    counts = {f"class {a}{b}{c}": 1 for a in "abcdefghij" for b in "klmnopqrst" for c in "uvwxyz0123456789"}
    counts["class aku"] = 10
    started = time.process_time()
    pairs = one_letter_apart(counts)
    # 9 others for each of the first two letters; of the third place, five letters, as digits are none.
    assert len(pairs) == len(set(pairs)) == 9 + 9 + 5
    assert {frequent for _, frequent in pairs} == {"class aku"}
    assert time.process_time() - started < 5
