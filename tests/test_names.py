"""Names: whatever a file, a clip or a class is called, it is shown on one line, and stays inside its folder."""

import json
import os

import pytest

from interpretability.errors import MissingError, UserError
from interpretability.files import write_json, write_json_if_changed, write_text
from interpretability.names import LONGEST_NAME, name_fault, printable, safe_name, utf8_name

NOT_UTF8 = os.fsdecode(b"ch\xe8vre.wav")
ODD = [
    NOT_UTF8,
    "../x",
    "/etc/x",
    "a/../../b",
    "..",
    ".",
    "a\\b",
    "a\nb",
    "\x1b[2Jx",
    "a\x00b",
    "\u202egnp.wav",
    "n" * (LONGEST_NAME + 1),
    "",
]
ORDINARY = ["1-100032-A-0", "a b", "ch\u00e8vre", "\u72ac", "50%", "a.b", "x" * 100, "\u00a0y", "(1)", "-", "~"]


@pytest.mark.parametrize("name", ORDINARY)
def test_plain_names_stay_as_they_are(name):
    assert name_fault(name) is None
    assert printable(name) == utf8_name(name) == safe_name(name) == name


@pytest.mark.parametrize("name", ODD, ids=ascii)
def test_any_name_can_be_shown_and_is_one_file_in_its_folder(tmp_path, name):
    assert name_fault(name) is not None
    shown = printable(name)
    assert bool(shown.encode()) == bool(name)
    assert not any(ord(character) < 32 for character in shown)
    path = tmp_path / f"{safe_name(name)}_residual.wav"
    path.write_text("x")
    assert [item.resolve() for item in tmp_path.iterdir()] == [path.resolve()]
    assert not path.name.startswith(".")


def test_different_names_give_different_files():
    names = [*ODD, *ORDINARY, "x" * 300, "x" * 299, "\u72ac" * 200, "_x", ".x", "x.", "a_b", "ch_vre.wav"]
    safe = [safe_name(name) for name in names]
    assert len(set(safe)) == len(names)
    assert max(len(name.encode()) for name in safe) <= 100


def test_errors_and_files_hold_names_that_are_not_utf8(tmp_path):
    for kind in (UserError, MissingError):
        assert str(kind(f"{NOT_UTF8}: \x1b[31mnot there\n twice")) == r"ch\xe8vre.wav: \x1b[31mnot there twice"
    write_text(tmp_path / "a.csv", f"{NOT_UTF8},1\n")
    assert (tmp_path / "a.csv").read_text(encoding="utf-8") == "ch\\udce8vre.wav,1\n"
    content = {"wav": NOT_UTF8, "label": "ch\u00e8vre"}
    write_json(tmp_path / "a.json", content)
    assert json.loads((tmp_path / "a.json").read_text(encoding="utf-8")) == content
    assert not write_json_if_changed(tmp_path / "a.json", content)


def test_bytes_of_a_name_become_plain_characters():
    assert utf8_name(NOT_UTF8) == "ch%E8vre.wav"
    assert name_fault(utf8_name(NOT_UTF8)) is None
    for nothing in (None, 3, ["a"]):
        assert "non-empty text" in name_fault(nothing)
