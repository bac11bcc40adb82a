"""Files of JSON are bounded and strict: whatever is wrong with one is one line that names it, in bounded time."""

import dataclasses
import json
import os
import time
from dataclasses import dataclass

import pytest

from interpretability.errors import MissingError, UserError, shown
from interpretability.reading import (
    MAX_DEPTH,
    checked,
    parse_json,
    read_checked,
    read_description,
    read_json,
    read_object,
    read_text,
)
from interpretability.settings import Settings, setting


@dataclass(frozen=True)
class Parcel(Settings):
    """What the file of the tests holds."""

    weight: float = setting(dataclasses.MISSING, "of the parcel", unit="kg", above=0, most=30)
    labels: tuple[str, ...] = setting((), "what stands on it")


GOOD = '{"weight": 2, "labels": ["this side up"], "sender": "me"}'
#: What a file holds -> what the one line says, besides the path.
WRONG = {
    "nothing": (b"", "not valid JSON"),
    "words": (b"hello", "not valid JSON"),
    "a cut object": (GOOD[:-3].encode(), "not valid JSON"),
    "two objects": (GOOD.encode() * 2, "not valid JSON"),
    "zeros": (bytes(100), "not valid JSON"),
    "Latin-1": ('{"weight": 1, "labels": ["\xe9t\xe9"]}'.encode("latin-1"), "not text in UTF-8 (byte 0xe9"),
    "UTF-16": (GOOD.encode("utf-16"), "not text in UTF-8"),
    "NaN": (b'{"weight": NaN}', "NaN is not a JSON number"),
    "minus infinity": (b'{"weight": -Infinity}', "-Infinity is not a JSON number"),
    "a number beyond floats": (b'{"weight": 1e999}', "1e999 is too large"),
    "a number of many digits": (b'{"weight": ' + b"9" * 10000 + b"}", "not valid JSON"),
    "a member twice": (b'{"weight": 1, "weight": 2}', "'weight' appears twice"),
    "a member twice, deep": (b'{"weight": 1, "x": [{"a\\u001b": 1, "a\\u001b": 2}]}', r"'a\x1b' appears twice"),
    "deep lists": (b"[" * 100_000 + b"]" * 100_000, f"nested deeper than {MAX_DEPTH}"),
    "lists without an end": (b"[" * 100_000, f"nested deeper than {MAX_DEPTH}"),
    "deep objects": (b'{"a":' * 100_000 + b"1" + b"}" * 100_000, f"nested deeper than {MAX_DEPTH}"),
    "deep objects behind brackets in a text": (
        b'{"t": "' + b"]" * 100_000 + b'\\"", "a": ' + b"[" * 100_000,
        f"nested deeper than {MAX_DEPTH}",
    ),
    "a list": (b"[1]", "expected a JSON object, got [1]"),
    "a number": (b"5", "expected a JSON object, got 5"),
    "null": (b"null", "expected a JSON object, got None"),
    "no weight": (b"{}", "lacks 'weight', expected a number > 0 and <= 30 (of the parcel); pack it again"),
    "a text for a number": (b'{"weight": "heavy"}', "weight is 'heavy', expected a number > 0 and <= 30"),
    "a switch for a number": (b'{"weight": true}', "weight is True, expected a number"),
    "a number outside": (b'{"weight": -1}', "weight is -1.0, expected a number > 0 and <= 30"),
    "a list of numbers for texts": (b'{"weight": 1, "labels": [1, 2]}', "labels is (1, 2), expected a list of texts"),
    "a long text": (b'{"weight": "' + b"x" * 100_000 + b'"}', "xxx...xxx"),
}


@pytest.mark.parametrize(("content", "words"), WRONG.values(), ids=WRONG)
def test_whatever_is_wrong_with_a_file_is_one_short_line_that_names_it(tmp_path, content, words):
    path = tmp_path / "parcel.json"
    path.write_bytes(content)
    began = time.perf_counter()
    with pytest.raises(UserError) as caught:
        read_checked(Parcel, path, "pack it again")
    assert time.perf_counter() - began < 2
    text = str(caught.value)
    assert text.startswith(f"{path}: ")
    assert words in text
    assert len(text) < len(str(path)) + 300
    assert text.isprintable()


def test_a_good_file_is_read_and_checked_and_keeps_its_other_members(tmp_path):
    (tmp_path / "parcel.json").write_text(GOOD)
    assert read_checked(Parcel, tmp_path / "parcel.json") == Parcel(2.0, ("this side up",))
    content = read_description(tmp_path, "parcel.json", "parcel", "send one", Parcel)
    assert content == read_object(tmp_path / "parcel.json") == json.loads(GOOD)
    with pytest.raises(MissingError, match=r"no letter in .*: letter.json not found; write one, or pass"):
        read_description(tmp_path, "letter.json", "letter", "write one", Parcel)
    (tmp_path / "parcel.json").write_text('{"weight": 0}')
    with pytest.raises(UserError, match=r"parcel.json: weight is 0.0, .*; save the parcel again"):
        read_description(tmp_path, "parcel.json", "parcel", "send one", Parcel)


def test_what_is_no_regular_file_or_too_large_is_not_read(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for place in (tmp_path, tmp_path / "absent", tmp_path / "pipe", "/dev/zero", "nul\0"):
        with pytest.raises(MissingError, match="no such file"):
            read_json(place)
    with pytest.raises(UserError, match="cannot be read"):
        read_json(tmp_path / ("x" * 300))
    (tmp_path / "large.json").write_text(" " * 1000)
    with pytest.raises(UserError, match="has 1000 bytes, expected at most 999"):
        read_text(tmp_path / "large.json", limit=999)


def test_depth_is_counted_outside_of_texts_and_what_is_allowed_is_parsed():
    deep = "[" * MAX_DEPTH + r'"[[[[\"[[", "\\"' + "]" * MAX_DEPTH
    assert parse_json(deep, "text") == json.loads(deep)
    many = json.dumps([{"[": ["]", "{"]}] * 1000)
    assert parse_json(many, "text") == json.loads(many)
    with pytest.raises(UserError, match="--option: not valid JSON"):
        parse_json(f"[{deep}]", "--option")


def test_repeated_members_can_be_left_to_the_caller():
    assert parse_json('{"a": 1, "a": 2}', "text", pairs=list) == [("a", 1), ("a", 2)]


def test_a_schema_names_the_place_and_the_member():
    with pytest.raises(UserError, match=r"^here: lacks 'weight', .*\)$"):
        checked(Parcel, {}, "here")


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("a\x1b[31m\n", r"'a\x1b[31m\n'"),
        (list(range(1000)), "[0, 1, 2, 3, 4, 5, 6, 7, 8, 9, ...]"),
        (1.5, "1.5"),
        ([[[[[1]]]]], "[[[[...]]]]"),
    ],
)
def test_values_are_shown_short_and_escaped(value, text):
    assert shown(value) == text
    assert len(shown({str(n) * 1000: "y" * 10**6 for n in range(100)})) <= 110
