"""What Raven and Audacity write becomes selections; what is no such text is one clear line."""

import pytest

from interpretability.data.annotations import (
    AUDACITY,
    RAVEN,
    Selection,
    kind_of,
    label_column,
    read_track,
    selections_of,
)
from interpretability.errors import UserError

HEAD = "Selection\tView\tChannel\tBegin Time (s)\tEnd Time (s)\tLow Freq (Hz)\tHigh Freq (Hz)"
#: As Raven Pro writes it, with a row for each view.
TABLE = f"""{HEAD}\tSpecies
1\tWaveform 1\t1\t1.897648165\t4.110570810\t1326.3\t3266.5\tWOTH
1\tSpectrogram 1\t1\t1.897648165\t4.110570810\t1326.3\t3266.5\tWOTH
2\tSpectrogram 1\t1\t3.182493230\t4.542066620\t3030.8\t6196.3\tEATO
"""
#: As Audacity writes it, with the bands of spectral selections.
LABELS = """2.150000\t2.150000\ta point
\\\t6928.456055\t6928.456055
3.400000\t6.100000\tits "own" label, with\ta tab
7.000000\t8.500000\thigh end alone
\\\t-1.000000\t6334.588867
9.0\t9.5\tboth
\\\t1484.669312\t2969.338523
"""


def read(text, given=None, group_by=None, source="x.txt"):
    track = read_track(text, source)
    return selections_of(track, label_column([track], given), group_by)


def table_of(columns, rows):
    """Return a selection table with further columns, and their values in each row."""
    lines = [f"{n}\tSpectrogram\t1\t{n}\t{n + 1}\t1\t2\t{row}" for n, row in enumerate(rows)]
    return "\n".join([f"{HEAD}\t{columns}", *lines])


def test_a_selection_table():
    selections, faults = read(TABLE)
    assert selections == [
        Selection("x.txt, line 3", 1.897648165, 4.11057081, 1326.3, 3266.5, "WOTH"),
        Selection("x.txt, line 4", 3.18249323, 4.54206662, 3030.8, 6196.3, "EATO"),
    ]
    assert faults == []


def test_a_table_of_several_recordings_says_when_each_selection_begins_in_its_own():
    head = f"{HEAD}\tBegin Path\tFile Offset (s)\tCall\tSite"
    text = f"{head}\n7\tSpectrogram 1\t1\t61.5\t62\t\t\tC:\\night\\b.wav\t1.5\ttrill\tmoor\n"
    assert read(text, group_by="site")[0] == [
        Selection("x.txt, line 2", 1.5, 2.0, None, None, "trill", "b.wav", "C:\\night\\b.wav", "moor")
    ]


def test_a_label_track():
    selections, _ = read(LABELS)
    assert [(each.start, each.end, each.low, each.high, each.label) for each in selections] == [
        (2.15, 2.15, None, None, "a point"),
        (3.4, 6.1, None, None, 'its "own" label, with\ta tab'),
        (7.0, 8.5, None, 6334.588867, "high end alone"),
        (9.0, 9.5, 1484.669312, 2969.338523, "both"),
    ]


def test_decimal_commas_line_ends_and_commas_between_columns():
    assert read("0,5\t1,25\tx\r\n\r\n")[0] == [Selection("x.txt, line 1", 0.5, 1.25, None, None, "x")]
    for text in (TABLE.replace(".", ",").replace(",txt", ".txt"), TABLE.replace("\t", ";"), TABLE.replace("\t", ",")):
        assert [each.start for each in read(text)[0]] == [1.897648165, 3.18249323]


def test_kinds():
    assert kind_of(TABLE) == RAVEN
    assert kind_of(LABELS) == AUDACITY
    assert kind_of(f"\n{HEAD}") == RAVEN
    for text in ("", "path,label\na.wav,b\n", "the words that are spoken\n", "1\t2\n"[:1], "0.5 1.0 dog\n"):
        assert kind_of(text) is None


@pytest.mark.parametrize(
    ("columns", "rows", "expected"),
    [
        ("Annotation", ["x"], "annotation"),
        ("Notes\tType", ["n\tx"], "type"),
        # Two names of the same things; a column that is empty; what only the user can have added.
        ("Species Code\tCommon Name\tConfidence", ["w1\twren\t0.3", "r1\trobin\t0.2", "w1\twren\t0.9"], "common name"),
        ("Label\tSpecies", ["\tx", "\ty"], "species"),
        ("Peak Freq (Hz)\tOccupancy\tWhat it is", ["800\t1\tx"], "what it is"),
    ],
)
def test_the_column_with_the_labels(columns, rows, expected):
    text = table_of(columns, rows)
    assert label_column([read_track(text, "x.txt")], None) == expected
    assert label_column([read_track(text, "x.txt")], columns.split("\t")[0].upper()) == columns.split("\t")[0].lower()
    assert label_column([read_track(LABELS, "y.txt")], None) is None


@pytest.mark.parametrize(
    ("columns", "rows", "given", "reason"),
    [
        (
            "Species\tType",
            ["wren\tsong", "wren\tcall"],
            None,
            "any of 'species', 'type': name it, --label_column",
        ),
        ("Channels", ["1"], "Species", "label_column is 'Species', but x.txt has no such column; it has selection"),
        ("Notes", ["n"], None, "none is known among 'selection', 'view'"),
        ("A\tB", ["n\tm"] * 2 + ["n\to"], None, "may be any of 'a', 'b'"),
    ],
)
def test_a_column_that_has_to_be_chosen(columns, rows, given, reason):
    text = table_of(columns, rows)
    with pytest.raises(UserError) as caught:
        label_column([read_track(text, "x.txt")], given)
    assert reason in str(caught.value)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("some words\n", "x.txt: is no label track: expected a selection table of Raven"),
        (
            "Selection\tView\tBegin Time (s)\tSpecies\n",
            "lacks the column 'end time (s)'; its first line has",
        ),
        (f"{TABLE}3.0\t4.0\tdog\n", "x.txt, line 5: has 3 values, expected 8"),
        (f"{LABELS}{TABLE}", "x.txt, line 8: is 'Selection"),
        ("\\\t100\t200\n0\t1\tx\n", "is no label track"),
        ("0\t1\tx\n\\\t100\n", "x.txt, line 2: is '\\\\\\t100', expected start and end in seconds and the label"),
        ("0\t1\tx\n0.5 1.0 dog\n", "x.txt, line 2: is '0.5 1.0 dog'"),
    ],
)
def test_what_is_no_label_track_or_is_only_in_part(text, reason):
    with pytest.raises(UserError) as caught:
        read_track(text, "x.txt")
    assert reason in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ("1\tS\t1\t2\t1\t100\t200\tx", "begins at 2 s and ends at 1 s"),
        ("1\tS\t1\t2\t2\t100\t200\tx", "begins at 2 s and ends at 2 s, expected a beginning >= 0 and an end after it"),
        ("1\tS\t1\t-1\t2\t100\t200\tx", "begins at -1 s"),
        ("1\tS\t1\t1\t2\t300\t200\tx", "its band is 300 to 200 Hz, expected low before high"),
        ("1\tS\t1\t1\t2\t-5\t200\tx", "its band is -5 to 200 Hz"),
        ("1\tS\t1\t1\t2\t100\t200\t ", "the label is empty"),
        ("1\tS\t1\t\t2\t100\t200\tx", "begin time (s) is '', expected a number"),
        ("1\tS\t1\t1\tnan\t100\t200\tx", "end time (s) is 'nan', expected a number"),
        ("1\tS\t1\t1\t2\t1,000.5\t200\tx", "low freq (hz) is '1,000.5', expected a number"),
    ],
)
def test_a_selection_that_makes_no_sense_is_left_alone(row, reason):
    selections, (fault,) = read(f"{HEAD}\tSpecies\n{row}\n9\tS\t1\t1\t2\t100\t200\tgood\n")
    assert [each.label for each in selections] == ["good"]
    assert fault.startswith("x.txt, line 2: ")
    assert reason in fault
