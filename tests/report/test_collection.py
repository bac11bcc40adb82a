"""Clips for a page that come one by one: wrong ones first, no more than asked for, and still there after a stop."""

import pytest
from page_clips import clip_of

from interpretability.journal import Journal
from interpretability.report.collection import Collection

#: Sounds in the order in which they come; capital letters are classified wrongly.
COMING = "abCdEFgH"


def clips_of(names):
    return [(f"id {n}", clip_of(n, predicted="cat" if n.isupper() else "dog")) for n in names]


def shown(collection):
    return "".join(clip.name for clip in collection.clips([f"id {n}" for n in COMING]))


@pytest.mark.parametrize(
    ("most", "expected"), [(0, ""), (1, "C"), (2, "CE"), (3, "CEF"), (5, "CEFHa"), (8, "CEFHabdg"), (99, "CEFHabdg")]
)
@pytest.mark.parametrize("step", [1, 3, 8])
def test_wrong_ones_come_first_and_there_are_no_more_than_asked_for(most, expected, step, tmp_path):
    collection = Collection(Journal(tmp_path / "clips.jsonl", "x"), most)
    collection.resume(())
    for start in range(0, len(COMING), step):
        collection.add(clips_of(COMING[start : start + step]))
    assert shown(collection) == expected
    assert len(collection.journal.read()) <= 2 * most
    assert collection.journal.path.exists() == (most > 0)


def test_what_was_not_chosen_need_not_be_made(tmp_path):
    collection = Collection(Journal(tmp_path / "clips.jsonl", "x"), 2)
    collection.resume(())
    sounds = [(name, name.islower()) for name in COMING]
    assert collection.chosen(sounds) == {"a", "b", "C", "E"}
    collection.add(clips_of("aC"))
    assert collection.chosen([("id g", True), ("id H", False), ("id C", False)]) == {"id H"}


def test_several_explanations_of_a_sound_are_one_of_those_asked_for(tmp_path):
    collection = Collection(Journal(tmp_path / "clips.jsonl", "x"), 1)
    collection.resume(())
    collection.add([(sound, clip) for sound, clip in clips_of("ab") for _ in range(2)])
    assert shown(collection) == "aa"


def test_it_goes_on_with_the_sounds_that_are_known(tmp_path):
    first = Collection(Journal(tmp_path / "clips.jsonl", "x"), 3)
    first.resume(())
    first.add(clips_of("abC"))
    again = Collection(Journal(tmp_path / "clips.jsonl", "x"), 3)
    again.resume(["id a", "id C", "id z"])
    assert shown(again) == "Ca"
    again.add(clips_of("bdE"))
    assert shown(again) == "CEa"
    of_another_job = Collection(Journal(tmp_path / "clips.jsonl", "y"), 3)
    of_another_job.resume(["id a", "id C"])
    assert shown(of_another_job) == ""
