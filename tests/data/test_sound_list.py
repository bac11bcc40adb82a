"""Sounds as a command line names them: files, folders and tables; where the results of each go."""

import json
import os
from pathlib import Path

import pytest

from interpretability.data.sound_list import is_one_sound, list_sounds
from interpretability.errors import MissingError, UserError


@pytest.fixture
def write(tmp_path, monkeypatch):
    """Write files, which are not opened here, and go to their folder."""
    monkeypatch.chdir(tmp_path)

    def make(*names):
        for name in names:
            path = Path(name)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(b"sound")

    return make


def places(*names, reserved=()):
    return [sound.place for sound in list_sounds([Path(name) for name in names], Path("out"), reserved).sounds]


def test_one_file_is_no_folder_and_no_table(write):
    write("a/b.wav", "c.csv")
    assert is_one_sound([Path("a/b.wav")])
    assert is_one_sound([Path("a/none.wav")])
    for several in (["a"], ["c.csv"], ["a/b.wav", "a/b.wav"], []):
        assert not is_one_sound([Path(name) for name in several])


def test_a_folder_is_searched_and_the_paths_in_it_are_kept(write):
    write("in/x/a.wav", "in/y/a.wav", "in/b.flac", "in/.hidden.wav", "in/notes.txt", "out/x/input.wav")
    assert places("in") == ["b", "x/a", "y/a"]
    assert places(".") == ["in/b", "in/x/a", "in/y/a"]  # not the results
    assert places("in/x", "in/y") == ["x/a", "y/a"]
    assert places("in/x/a.wav", "in/y/a.wav", "in/x") == ["x/a", "y/a"]  # each once


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["a.wav", "a.flac", "b.wav"], ["a.flac", "a.wav", "b"]),
        (["a.wav", "A.wav"], ["A.wav~", "a.wav~"]),  # one name where case is not distinguished
        (["a.wav", "a/b.wav"], ["a/b", "a.wav"]),  # the folder of one is not inside that of another
        (["summary.csv.wav"], ["summary.csv.wav"]),
    ],
)
def test_no_two_sounds_have_one_place(write, names, expected):
    write(*[f"in/{name}" for name in names])
    got = places("in", reserved=["summary.csv"])
    assert [place if "~" not in place else place[: place.index("~") + 1] for place in got] == expected
    assert len(set(map(str.casefold, got))) == len(names)


def test_a_table_lists_parts(write):
    write("rec/night.wav", "rec/day.wav")
    Path("t.csv").write_text("path,start,end\nrec/night.wav,1.5,3\nrec/night.wav,3,\nrec/day.wav,,\n")
    listing = list_sounds([Path("t.csv")], Path("out"))
    assert [(sound.place, sound.start, sound.end, sound.label) for sound in listing.sounds] == [
        ("rec/night_1.500-3.000", 1.5, 3.0, None),
        ("rec/night_3.000-", 3.0, None, None),
        ("rec/day", None, None, None),
    ]
    assert listing.sounds[0].name.endswith("night.wav (1.500-3.000 s)")


@pytest.mark.parametrize("suffix", ["tsv", "jsonl"])
def test_tables_of_other_kinds_with_labels_and_bad_rows(write, suffix):
    write("a.wav", "b.wav")
    rows = [("a.wav", 0, 1, "dog"), ("none.wav", 0, 1, "dog"), ("b.wav", 3, 2, "cat"), ("b.wav", 0, 2, "")]
    head = ("path", "start", "end", "label")
    lines = [json.dumps(dict(zip(head, row, strict=True))) for row in rows]
    if suffix == "tsv":
        lines = ["\t".join(map(str, row)) for row in (head, *rows)]
    Path(f"t.{suffix}").write_text("\n".join(lines))
    listing = list_sounds([Path(f"t.{suffix}")], Path("out"))
    assert [(sound.place, sound.label) for sound in listing.sounds] == [
        ("a_0.000-1.000", "dog"),
        ("b_0.000-2.000", None),
    ]
    first = 2 if suffix == "jsonl" else 3
    assert listing.faults == [
        (f"t.{suffix}, line {first + 1}", "start is 3 s and end 2 s, expected start before end"),
        (f"t.{suffix}, line {first}", "'none.wav': no such file"),
    ]


@pytest.mark.parametrize(
    ("paths", "kind", "words"),
    [
        (["empty"], UserError, "empty: holds no sounds (.aif, "),
        (["empty", "empty/deeper"], UserError, "none of the 2 paths holds a sound"),
        (["none.csv"], MissingError, "none.csv"),
        (["labels.csv"], UserError, "labels.csv: lacks the column path"),
        (["out"], UserError, "out: its sounds all lie in out, where the results are to go: name another folder"),
    ],
)
def test_nothing_to_explain(write, paths, kind, words):
    write("empty/deeper/notes.txt", "out/a.wav")
    Path("labels.csv").write_text("label,start\na,1\n")
    with pytest.raises(kind) as refused:
        list_sounds([Path(path) for path in paths], Path("out"))
    assert words in str(refused.value)


def test_an_empty_folder_among_others_is_a_fault(write):
    write("a.wav", "empty/notes.txt")
    listing = list_sounds([Path("a.wav"), Path("empty")], Path("out"))
    assert [sound.place for sound in listing.sounds] == ["a"]
    assert [name for name, _ in listing.faults] == ["empty"]


def test_a_missing_file_is_listed_and_found_missing_when_it_is_read(write):
    write("a.wav")
    assert places("a.wav", "none.wav") == ["a", "none"]


def test_names_that_are_not_utf8(write):
    os.makedirs("in")
    Path(os.fsdecode(b"in/ch\xe8vre.wav")).write_bytes(b"x")
    (place,) = places("in")
    assert place == "ch%E8vre"
