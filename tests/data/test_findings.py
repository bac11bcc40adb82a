"""What needs attention: each fault is found, where it is, and nothing else."""

import pytest

from interpretability.data.findings import findings
from interpretability.data.inspection import ClipFacts

ORDER = ("serious", "doubtful", "noted")


def clip(name, label="dog", split="train", **values):
    """Return a clip in which nothing is wrong, but for what is given."""
    known = {"seconds": 1.0, "sample_rate": 8000, "channels": 1, "peak_db": -3.0, "level_db": -20.0, "content": name}
    labels = (label,) if isinstance(label, str) else label
    return ClipFacts(name, f"{name}.wav", labels, split, **{**known, **values})


def good_clips():
    """Return two classes of clips in which nothing is wrong."""
    return [
        clip(f"{label}-{split}-{i}", label, split)
        for label in ("dog", "cat")
        for split, n in (("train", 12), ("valid", 2), ("test", 2))
        for i in range(n)
    ]


def kinds(clips, *rest):
    return {finding.kind: finding for finding in findings(clips, *(rest or ((),)))}


def test_good_clips_have_no_findings():
    assert findings(good_clips(), []) == []
    assert findings([], []) == []


@pytest.mark.parametrize(
    ("values", "kind", "level"),
    [
        ({"fault": "cannot be decoded"}, "unusable", "serious"),
        ({"not_finite": 3}, "not finite", "serious"),
        ({"peak_db": None, "level_db": None}, "silent", "serious"),
        ({"peak_db": -81.0}, "silent", "serious"),
        ({"missing": 0.5}, "cut", "doubtful"),
        ({"clipped": 0.01}, "clipped", "doubtful"),
        ({"cancels": "its 2 channels cancel"}, "cancels", "doubtful"),
        ({"zeros": 0.6}, "zeros", "noted"),
        ({"level_db": -60.0}, "quiet", "noted"),
        ({"sample_rate": 16000}, "rates", "noted"),
    ],
)
def test_a_bad_clip_among_good_ones_is_named(values, kind, level):
    result = kinds([*good_clips(), clip("odd", **values)])
    assert set(result) == {kind}
    assert result[kind].level == level
    assert result[kind].clips == (() if kind == "rates" else ("odd",))


def test_the_same_sound_in_two_splits_under_two_labels_and_twice():
    clips = [
        *good_clips(),
        clip("leak", split="test", content="dog-train-0"),
        clip("disputed", "cat", content="dog-train-1"),
        clip("again", content="dog-train-2"),
        clip("s1", content="silence", peak_db=None, level_db=None),
        clip("s2", split="test", content="silence", peak_db=None, level_db=None),
    ]
    result = kinds(clips)
    assert result["leak"].clips == ("dog-train-0", "leak")
    assert result["two labels"].clips == ("dog-train-1", "disputed")
    assert result["twice"].clips == ("dog-train-2", "again")
    assert "One sound is in more than one split: what is measured was trained on" in result["leak"].text
    assert result["silent"].clips == ("s1", "s2")
    assert len(result) == 4


def test_parts_of_a_recording_that_overlap_across_splits():
    parts = [
        clip("a", start=0.0, seconds=3.0),
        clip("b", start=1.0, seconds=1.0),
        clip("c", split="test", start=2.5, seconds=1.0),
        clip("d", split="valid", start=3.5, seconds=1.0),
    ]
    for part in parts:
        part.path = "recording.wav"
    assert kinds([*good_clips(), *parts])["overlap"].clips == ("a", "c")


def test_labels_that_look_alike():
    result = findings([*good_clips(), clip("x", "Dog"), clip("y", "dgo")], [])
    texts = [finding.text for finding in result if finding.kind == "alike"]
    assert (
        texts[0]
        == "The classes 'Dog' (1) and 'dog' (16) differ only by case, spaces or punctuation: " + texts[0].split(": ")[1]
    )
    assert [finding.clips for finding in result if finding.kind == "alike"] == [
        ("x", "dog-train-0"),
        ("y", "dog-train-0"),
    ]
    assert texts[1] == "The classes 'dgo' (1) and 'dog' (16) differ by one letter: if it is a typing error, correct it."


def test_uneven_small_and_absent_classes():
    result = kinds([*good_clips(), clip("x", "bird"), clip("y", ("bird", "dog"), "test")])
    assert "the class 'dog' has 12 training clips and 'bird' 1" in result["imbalance"].text
    assert "1 of 3 classes has fewer than 10 training clips: 'bird' (1)" in result["small"].text
    assert "1 of 3 classes has no clip in valid: 'bird'" in result["absent"].text


@pytest.mark.parametrize(
    ("values", "words"),
    [({"sample_rate": 44100}, "sampling rate alone"), ({"channels": 2}, "number of channels alone")],
)
def test_what_gives_a_class_away(values, words):
    clips = [clip(c.id, c.labels, c.split, **(values if c.labels == ("cat",) else {})) for c in good_clips()]
    text = kinds(clips)["gives away"].text
    assert f"The {words} gives classes away: 'cat' (" in text
    # Of two classes, the other one is given away by it, too.
    assert "'dog'" in text
    mixed = [clip(c.id, c.labels, c.split, **(values if place % 2 else {})) for place, c in enumerate(good_clips())]
    assert "gives away" not in kinds(mixed)


def test_a_format_of_its_own():
    clips = good_clips()
    for each in clips:
        each.path = f"{each.id}.{'mp3' if each.labels == ('cat',) else 'wav'}"
    assert "The file format alone gives classes away: 'cat' (mp3), 'dog' (wav)." in kinds(clips)["gives away"].text


def test_the_most_serious_comes_first():
    clips = [*good_clips(), clip("z", zeros=0.9), clip("c", clipped=0.5), clip("n", not_finite=1)]
    result = findings(clips, [("gone", "no such file")], "only one class")
    assert [finding.level for finding in result] == sorted((f.level for f in result), key=ORDER.index)
    assert [finding.kind for finding in result] == ["no splits", "unusable", "not finite", "clipped", "zeros"]
    assert result[1].clips == ("gone",)
    assert "only one class" in result[0].text
