"""Files and folders appear whole or not at all."""

import hashlib
import os
import stat

import pytest

from interpretability.errors import UserError
from interpretability.files import atomic_folder, atomic_path, check_replaceable, sha256, write_json, write_text


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_file_is_replaced_at_the_end(tmp_path):
    path = tmp_path / "deep" / "a.txt"
    write_text(path, "old")
    with atomic_path(path) as temporary:
        temporary.write_text("new")
        assert path.read_text() == "old"
        assert temporary.suffix == ".txt"
    assert path.read_text() == "new"
    assert names(path.parent) == ["a.txt"]


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path, error):
    write_text(tmp_path / "a.txt", "old")

    def fail():
        with atomic_path(tmp_path / "a.txt") as temporary:
            temporary.write_text("half")
            raise error

    with pytest.raises(type(error)):
        fail()
    assert (tmp_path / "a.txt").read_text() == "old"
    assert names(tmp_path) == ["a.txt"]


def test_a_folder_is_replaced_as_a_whole(tmp_path):
    for content in ("old", "new"):
        with atomic_folder(tmp_path / "f") as temporary:
            (temporary / content).write_text(content)
    assert names(tmp_path) == ["f"]
    assert names(tmp_path / "f") == ["new"]


def test_a_failed_folder_leaves_the_old_one(tmp_path):
    with atomic_folder(tmp_path / "f") as temporary:
        (temporary / "old").write_text("old")

    def fail():
        with atomic_folder(tmp_path / "f") as temporary:
            (temporary / "new").write_text("new")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert names(tmp_path) == ["f"]
    assert names(tmp_path / "f") == ["old"]


def test_others_may_read_what_was_written(tmp_path):
    mask = os.umask(0o022)
    try:
        write_text(tmp_path / "a.txt", "x")
        with atomic_folder(tmp_path / "f"):
            pass
    finally:
        os.umask(mask)
    assert stat.S_IMODE((tmp_path / "a.txt").stat().st_mode) == 0o644
    assert stat.S_IMODE((tmp_path / "f").stat().st_mode) == 0o755


def test_json_has_no_nan(tmp_path):
    write_json(tmp_path / "a.json", {"ä": 1})
    assert (tmp_path / "a.json").read_text(encoding="utf-8") == '{\n  "ä": 1\n}\n'
    with pytest.raises(ValueError, match="JSON compliant"):
        write_json(tmp_path / "a.json", {"x": float("nan")})
    assert "ä" in (tmp_path / "a.json").read_text(encoding="utf-8")


def test_sha256(tmp_path):
    (tmp_path / "a").write_bytes(b"x" * 3_000_000)
    assert sha256(tmp_path / "a") == hashlib.sha256(b"x" * 3_000_000).hexdigest()


def test_only_what_is_empty_or_of_the_same_kind_may_be_replaced(tmp_path):
    check_replaceable(tmp_path / "new", "a.json")
    (tmp_path / "empty").mkdir()
    check_replaceable(tmp_path / "empty", "a.json")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "b.json").write_text("{}")
    check_replaceable(tmp_path / "full", "a.json", "b.json")
    (tmp_path / "file").write_text("text")
    for other in ("full", "file"):
        with pytest.raises(UserError, match=f"{other} holds something other .* name a new one"):
            check_replaceable(tmp_path / other, "a.json")
