"""Rows of a table become clips: what each column says, and which rows count once or are left out."""

import pytest

from interpretability.data.manifest import BadClips
from interpretability.data.tables import NO_GROUPS, ListedClip, read_table
from interpretability.errors import UserError


@pytest.fixture
def read(tmp_path):
    """Return what reads a text as the table beside two files."""
    for name in ("a.wav", "b.wav"):
        (tmp_path / name).touch()

    def reader(text, group_by=None, skip=False, label_column=None):
        table, notes = tmp_path / "t.csv", []
        table.write_text(text)
        bad = BadClips(table, skip)
        return read_table(table, text, tmp_path / "elsewhere", group_by, bad, notes, label_column), bad.skipped, notes

    return reader


def test_every_column_is_read(read, tmp_path):
    text = "Label;filename;split;fold;group;start;end;site\n dog ;a.wav;Dev;2;x;0.5;1;north\ncat;b.wav;train;1;;;;\n"
    place = f"{tmp_path / 't.csv'}, line "
    clips, skipped, notes = read(text)
    assert clips == [
        ListedClip(tmp_path / "a.wav", "dog", f"{place}2", "valid", 2, "x", 0.5, 1.0),
        ListedClip(tmp_path / "b.wav", "cat", f"{place}3", "train", 1),
    ]
    assert [clip.is_part for clip in clips] == [True, False]
    assert not skipped
    assert not notes
    assert [clip.group for clip in read(text, group_by="SITE")[0]] == ["north", None]
    assert [clip.group for clip in read(text, group_by=NO_GROUPS)[0]] == [None, None]


def test_rows_that_say_the_same_count_once(read):
    clips, _, notes = read("path,label\na.wav,dog\n./a.wav,dog\nb.wav,cat\n")
    assert [clip.label for clip in clips] == ["dog", "cat"]
    assert notes == ["1 rows list a clip once more, with the same label; it counts once"]


def test_rows_that_cannot_be_used_are_left_out_when_asked_for(read):
    text = "path,label,start,end\na.wav,dog,2,1\ngone.wav,dog,,\nb.wav,cat,,\n"
    clips, skipped, _ = read(text, skip=True)
    assert [clip.path.name for clip in clips] == ["b.wav"]
    assert [name for name, _ in skipped] == ["a", "gone"]
    with pytest.raises(UserError, match="start is 2 s and end 1 s, expected start before end"):
        read(text)


def test_bands_and_boxes_of_a_clip(read, tmp_path):
    boxes = '"[{""label"": ""x"", ""start"": 0, ""end"": 1}]"'
    clips, _, _ = read(f"path,label,low,high,boxes\na.wav,dog,100,,\nb.wav,cat,,2e3,{boxes}\n")
    assert [(clip.low, clip.high) for clip in clips] == [(100.0, None), (None, 2000.0)]
    assert [clip.boxes for clip in clips] == [None, [{"label": "x", "start": 0, "end": 1}]]
    for row, message in (
        ("a.wav,dog,200,100,", "low is 200 Hz and high 100 Hz, expected low before high"),
        ("a.wav,dog,deep,100,", "low is 'deep', expected a number of Hz >= 0"),
        ("a.wav,dog,,,[", "line 2: boxes: not valid JSON"),
    ):
        with pytest.raises(UserError, match=message):
            read(f"path,label,low,high,boxes\n{row}\n")


def test_another_column_may_have_the_labels(read):
    clips, _, _ = read("path,label,Species\na.wav,x,wren\n", label_column="species ")
    assert [clip.label for clip in clips] == ["wren"]
    with pytest.raises(UserError, match=r"label_column is 'bird', but .* has no such column; it has path, label"):
        read("path,label\na.wav,x\n", label_column="bird")


@pytest.mark.parametrize(
    ("cell", "labels"),
    [
        ("rain;dog", ("dog", "rain")),
        (" dog ; dog;", ("dog",)),
        ("", ()),
        ('"[""a;b"", ""犬""]"', ("a;b", "犬")),
        ("[]", ()),
        ("5", ("5",)),
    ],
)
def test_a_column_named_labels_has_several_for_each_clip(read, cell, labels):
    (clip,), _, _ = read(f"path,labels\na.wav,{cell}\n")
    assert (clip.labels, clip.names) == (labels, labels)


def test_lists_of_json_lines_and_both_columns(read):
    text = '{"path": "a.wav", "label": "main", "labels": ["rain", "dog"]}\n{"path": "b.wav", "labels": null}\n'
    assert [clip.names for clip in read(text)[0]] == [("dog", "rain"), ()]
    with pytest.raises(UserError, match="a label is"):
        read('{"path": "a.wav", "labels": [["dog"]]}\n')
    with pytest.raises(UserError, match="expected a JSON list, or a;b"):
        read("path,labels\na.wav,[dog\n")
    with pytest.raises(UserError, match="give all labels of a clip in one row"):
        read("path,labels\na.wav,dog\na.wav,dog;rain\n")
    assert len(read("path,labels\na.wav,dog;rain\na.wav,rain;dog\n")[0]) == 1
