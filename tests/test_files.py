"""Files and folders appear whole or not at all."""

import hashlib
import json
import os
import re
import shutil
import stat

import pytest

from interpretability import files
from interpretability.errors import UserError
from interpretability.files import (
    LISTING,
    added_file,
    atomic_folder,
    atomic_path,
    check_replaceable,
    claim,
    is_whole,
    remove_claimed,
    remove_leftovers,
    sha256,
    write_json,
    write_text,
)


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
    assert names(tmp_path / "f") == [LISTING, "new"]


@pytest.mark.parametrize("in_one_step", [True, False])
def test_replacing_a_folder_leaves_no_moment_without_one(tmp_path, monkeypatch, in_one_step):
    """Where the system exchanges two folders in one step; elsewhere the next call puts the old one back."""
    with atomic_folder(tmp_path / "f") as temporary:
        (temporary / "a").write_text("old")
    rename, seen_whole = os.rename, []

    def killed(source, target):
        seen_whole.append((tmp_path / "f").is_dir())
        if len(seen_whole) == 2:
            raise KeyboardInterrupt  # in the place of a kill: the cleaning that follows is undone below
        rename(source, target)

    def replace():
        with atomic_folder(tmp_path / "f") as temporary:
            (temporary / "a").write_text("new")

    if in_one_step:
        monkeypatch.setattr(os, "rename", killed)
        replace()
        assert seen_whole == []  # it was exchanged, not renamed
        assert (tmp_path / "f" / "a").read_text() == "new"
    else:
        monkeypatch.setattr(files, "_exchange", lambda *paths: False)
        with monkeypatch.context() as patch:
            patch.setattr(os, "rename", killed)
            pytest.raises(KeyboardInterrupt, replace)
        assert not (tmp_path / "f").exists()
        end_processes(tmp_path)
        replace()
        assert (tmp_path / "f" / "a").read_text() == "new"
    assert names(tmp_path) == ["f"]


def end_processes(folder):
    """Make all temporary names in a folder those of a process that has ended."""
    for path in list(folder.iterdir()):
        path.rename(folder / path.name.replace(files._TOKEN, "0" * 8))


def test_a_folder_put_back_after_a_kill_is_the_old_one(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "_exchange", lambda *paths: False)
    with atomic_folder(tmp_path / "f") as temporary:
        (temporary / "a").write_text("old")
    aside = tmp_path / f"{files._prefix('replaced')}x"
    aside.mkdir()
    os.rename(tmp_path / "f", aside / "f")
    end_processes(tmp_path)
    remove_leftovers(tmp_path)
    assert names(tmp_path) == ["f"]
    assert (tmp_path / "f" / "a").read_text() == "old"


def test_what_killed_processes_left_is_removed_and_nothing_else(tmp_path):
    ours = re.compile(r"^\.partial-").match(files._prefix("partial"))
    assert ours
    host, dead = files._HOST, 999_999_999  # above any process number that Linux gives
    left = [f".partial-{host}-{dead}-01234567-abc.pt", f".partial-{host}-{os.getpid()}-00000000-abc"]
    old = f".partial-elsewhere-1-01234567-{'a' * 8}.json"
    stays = [
        f"{files._prefix('partial')}live.pt",
        f".partial-{host}-{os.getppid()}-01234567-live",
        ".partial-elsewhere-1-01234567-recent",
        ".partial",
        ".partial-notes",
        "partial-host-1-01234567-x",
        ".hidden",
        "mine.pt",
    ]
    for name in (*left, old, *stays):
        (tmp_path / name).write_text("x")
    (tmp_path / f".partial-{host}-{dead}-01234567-folder").mkdir()
    (tmp_path / f".partial-{host}-{dead}-01234567-folder" / "a").write_text("x")
    os.utime(tmp_path / old, (0, 0))
    remove_leftovers(tmp_path)
    assert names(tmp_path) == sorted(stays)
    remove_leftovers(tmp_path / "absent")


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
    assert names(tmp_path / "f") == [LISTING, "old"]


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


def test_no_file_holds_a_negative_zero(tmp_path):
    write_json(tmp_path / "a.json", {"ag": -0.0, "rows": [(-0.0, -1.0, 0, False, None)], "text": "-0.0"})
    assert "-0.0" not in (tmp_path / "a.json").read_text().replace('"-0.0"', "")
    content = json.loads((tmp_path / "a.json").read_text())
    assert content == {"ag": 0.0, "rows": [[0.0, -1.0, 0, False, None]], "text": "-0.0"}


# ---- Whose files ----


def ours(folder):
    """A folder as this package writes it: two files, one of them in a folder that was itself written whole."""
    with atomic_folder(folder) as temporary:
        (temporary / "weights.pt").write_text("weights")
        with atomic_folder(temporary / "classifier") as inner:
            (inner / "classifier.json").write_text("{}")
    return folder


def add(name, content="of the user"):
    def change(folder):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(content)

    return change


def no_listing(folder):
    (folder / LISTING).unlink()


def not_a_listing(content):
    def change(folder):
        (folder / LISTING).write_bytes(content)

    return change


def link(folder):
    (folder / "linked").symlink_to(folder.parent)


def link_in_place_of_a_file(folder):
    (folder / "weights.pt").rename(folder.parent / "moved")
    (folder / "weights.pt").symlink_to(folder.parent / "moved")


def pipe(folder):
    (folder / "weights.pt").unlink()
    os.mkfifo(folder / "weights.pt")


FOREIGN = {
    "a file beside ours": add("notes.txt"),
    "a hidden file": add(".notes"),
    "a file in an inner folder": add("classifier/notes.txt"),
    "a folder": add("mine/a.wav"),
    "a file that was changed": add("weights.pt"),
    "a description in an inner folder, changed": add("classifier/classifier.json"),
    "an inner listing, changed": add(f"classifier/{LISTING}", '{"files": {"mine.wav": null}}'),
    "no listing": no_listing,
    "a listing that is not JSON": not_a_listing(b"files"),
    "a listing that is not UTF-8": not_a_listing(b"\xff"),
    "a listing of another type": not_a_listing(b"[]"),
    "a listing of a list": not_a_listing(b'{"files": ["weights.pt"]}'),
    "a listing without digests": not_a_listing(b'{"files": {"weights.pt": null}}'),
    "a listing nested deeply": not_a_listing(b"[" * 100_000),
    "a link to a folder": link,
    "a link in the place of a file": link_in_place_of_a_file,
    "a pipe": pipe,
}


@pytest.mark.parametrize("kind", FOREIGN)
def test_a_folder_that_holds_anything_of_the_user_is_not_replaced(tmp_path, kind):
    folder = ours(tmp_path / "f")
    FOREIGN[kind](folder)
    before = {path: path.lstat().st_ino for path in tmp_path.rglob("*")}

    def replace():
        with atomic_folder(folder):
            pytest.fail("the work was done in vain")

    with pytest.raises(UserError, match=r"move that away, or name a new folder$") as refused:
        replace()
    assert "\n" not in str(refused.value)
    assert {path: path.lstat().st_ino for path in tmp_path.rglob("*")} == before


def test_what_comes_while_a_folder_is_written_stays(tmp_path):
    folder = ours(tmp_path / "f")

    def replace():
        with atomic_folder(folder):
            (folder / "notes.txt").write_text("of the user")

    with pytest.raises(UserError, match=r"holds 'notes\.txt', which this program is not known to have written"):
        replace()
    assert (folder / "notes.txt").read_text() == "of the user"
    assert (folder / "weights.pt").read_text() == "weights"


def test_what_is_absent_empty_or_written_whole_by_us_may_be_replaced(tmp_path, monkeypatch):
    check_replaceable(tmp_path / "new")
    (tmp_path / "empty" / "inner").mkdir(parents=True)
    check_replaceable(tmp_path / "empty")
    folder = ours(tmp_path / "f")
    check_replaceable(folder)
    check_replaceable(shutil.copytree(folder, tmp_path / "copied"))
    (folder / "weights.pt").unlink()  # what is gone cannot be lost
    check_replaceable(folder)
    (tmp_path / "link").symlink_to(folder)
    ours(tmp_path / "link")
    assert (tmp_path / "link").is_symlink()
    assert names(folder) == ["classifier", LISTING, "weights.pt"]
    (tmp_path / "file").write_text("text")
    with pytest.raises(UserError, match="file is a file, expected a folder"):
        check_replaceable(tmp_path / "file")
    monkeypatch.chdir(folder / "classifier")
    with pytest.raises(UserError, match="the current folder"):
        check_replaceable(folder)


def test_a_folder_is_whole_while_it_has_all_its_files(tmp_path):
    with atomic_folder(tmp_path / "out") as folder:
        (folder / "deeper").mkdir()
        (folder / "deeper" / "a").write_text("a")
    assert is_whole(tmp_path / "out")
    (tmp_path / "out" / "deeper" / "a").unlink()
    assert not is_whole(tmp_path / "out")
    assert not is_whole(tmp_path)
    assert not is_whole(tmp_path / "none")


def test_a_file_is_added_to_a_folder_that_was_written_whole(tmp_path):
    out = tmp_path / "out"
    with atomic_folder(out) as folder:
        (folder / "a").write_text("a")
    for text in ("first", "second"):
        with added_file(out, "page") as path:
            path.write_text(text)
        assert (out / "page").read_text() == text
        check_replaceable(out)
    with pytest.raises(ZeroDivisionError), added_file(out, "page") as path:
        path.write_text(f"third {1 / 0}")
    assert (out / "page").read_text() == "second"
    assert names(tmp_path) == ["out"]
    (out / "page").write_text("mine")
    with pytest.raises(UserError, match="was changed after"), added_file(out, "page"):
        raise AssertionError
    (tmp_path / "other").mkdir()
    with (
        pytest.raises(UserError, match="is not known to be written by this program"),
        added_file(tmp_path / "other", "b"),
    ):
        raise AssertionError


def test_names_are_claimed_before_they_are_written(tmp_path):
    (tmp_path / "mine.txt").write_text("of the user")
    (tmp_path / "save").mkdir()
    claim(tmp_path, ["save", "log.txt"])
    (tmp_path / "log.txt").write_text("ours")
    (tmp_path / "save" / "a").write_text("ours")
    claim(tmp_path, ["log.txt", "save", "run.json"])  # again, and more of it
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    for name in ("mine.txt", "manifests"):
        (tmp_path / "manifests").mkdir(exist_ok=True)
        (tmp_path / "manifests" / "train.json").write_text("of the user")
        with pytest.raises(UserError, match=f"holds {name}, which this program is not known to have written"):
            claim(tmp_path, ["log.txt", name])
    assert {path: path.read_bytes() for path in before} == before
    claim(tmp_path, ["manifests"], known=["manifests"])
    # A claim is for single names: the folder as a whole stays the user's, too.
    with pytest.raises(UserError, match="not known to have written"):
        check_replaceable(tmp_path)
    remove_claimed(tmp_path)
    assert names(tmp_path) == ["mine.txt"]


def test_claims_of_a_listing_that_leads_elsewhere_remove_nothing(tmp_path):
    (tmp_path / "precious").write_text("of the user")
    folder = tmp_path / "f"
    folder.mkdir()
    places = ("../precious", str(tmp_path / "precious"), "..", ".", "", "/")
    (folder / LISTING).write_text(json.dumps({"files": dict.fromkeys(places)}))
    remove_claimed(folder)
    assert (tmp_path / "precious").exists()
    (folder / LISTING).write_text("of the user")
    with pytest.raises(UserError, match="is not a list of what this program wrote there"):
        claim(folder, ["a"])


@pytest.mark.parametrize("place", ["/proc/none/result", "/proc/result", "a file/result", "x" * 300])
def test_a_folder_where_nothing_can_be_written_is_one_line(place, tmp_path):
    (tmp_path / "a file").write_text("")
    words = r"cannot be made \(.*\): name a folder in a place that can be written"
    with pytest.raises(UserError, match=words), atomic_folder(tmp_path / place):
        pytest.fail("the block ran")
    assert [entry.name for entry in tmp_path.iterdir()] == ["a file"]
