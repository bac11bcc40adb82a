"""What is known of windows: it survives whatever stops a run; what is damaged or of something else does not count."""

import os

import numpy as np
import pytest

from interpretability.recordings.store import Lines, Masks, identity_of, link_or_copy

ROWS = [{"start": 0, "x": 0.1}, {"start": 5, "text": "é"}, {"start": 9}]


def test_lines_are_known_again(tmp_path):
    lines = Lines(tmp_path / "a.jsonl", "k")
    assert lines.rows == []
    lines.append(ROWS[:1])
    lines.append(ROWS[1:])
    assert lines.rows == Lines(tmp_path / "a.jsonl", "k").rows == ROWS


def test_lines_of_something_else_do_not_count_and_stay(tmp_path):
    Lines(tmp_path / "a.jsonl", "k").append(ROWS[:1])
    other = Lines(tmp_path / "a.jsonl", "other")
    assert other.rows == []
    other.append(ROWS[1:])
    assert Lines(tmp_path / "a.jsonl", "k").rows == ROWS[:1]


@pytest.mark.parametrize("cut", range(1, 30, 4))
def test_a_line_that_was_cut_off_does_not_count_and_the_next_ones_do(tmp_path, cut):
    path = tmp_path / "a.jsonl"
    Lines(path, "k").append(ROWS)
    os.truncate(path, path.stat().st_size - cut)
    lines = Lines(path, "k")
    assert lines.rows == ROWS[:2]
    lines.append(ROWS[2:])
    assert Lines(path, "k").rows == ROWS


@pytest.mark.parametrize(
    "garbage", [b"\0" * 50 + b"\n", b"{}\n", b'{"digest": "0123456789abcdef", "row": {}}\n', b"\xff\n"]
)
def test_damaged_lines_do_not_count(tmp_path, garbage):
    path = tmp_path / "a.jsonl"
    Lines(path, "k").append(ROWS[:2])
    path.write_bytes(path.read_bytes() + garbage)
    assert Lines(path, "k").rows == ROWS[:2]
    changed = path.read_bytes().replace(b'"x": 0.1', b'"x": 0.2')
    path.write_bytes(changed)
    assert Lines(path, "k").rows == ROWS[1:2]


def test_masks_are_known_again_to_half_precision(tmp_path):
    masks, mask = Masks(tmp_path / "masks", "k"), np.random.default_rng(0).random((40, 33)).astype(np.float32)
    masks.write(32, mask)
    assert masks.read(32) == pytest.approx(mask, abs=2.5e-4)
    assert masks.read(64) is None
    assert Masks(tmp_path / "masks", "other").read(32) is None


@pytest.mark.parametrize(
    "damage", [lambda x: x[:-20], lambda x: x[:40], lambda x: b"", lambda x: x[:99] + b"?" + x[100:]]
)
def test_damaged_masks_do_not_count(tmp_path, damage):
    masks = Masks(tmp_path, "k")
    masks.write(0, np.random.default_rng(0).random((40, 33)))
    masks.path(0).write_bytes(damage(masks.path(0).read_bytes()))
    assert masks.read(0) is None


def test_identities_differ_where_anything_does():
    first = {"a": 1, "b": [1, 2]}
    assert identity_of(first) == identity_of({"b": [1, 2], "a": 1})
    assert len({identity_of(x) for x in (first, {**first, "a": 2}, {**first, "b": [2, 1]}, {**first, "c": None})}) == 4


def test_a_file_gets_another_name_or_is_copied(tmp_path, monkeypatch):
    (tmp_path / "a").write_text("x")
    link_or_copy(tmp_path / "a", tmp_path / "b")
    assert os.path.samefile(tmp_path / "a", tmp_path / "b")

    def refuse(*_):
        raise OSError("no links here")

    monkeypatch.setattr(os, "link", refuse)
    link_or_copy(tmp_path / "a", tmp_path / "c")
    assert (tmp_path / "c").read_text() == "x"
    assert not os.path.samefile(tmp_path / "a", tmp_path / "c")
