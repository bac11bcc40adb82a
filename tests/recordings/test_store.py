"""What is known of windows: it survives whatever stops a run; what is damaged or of something else does not count."""

import os

import numpy as np
import pytest

from interpretability.recordings.store import Masks, identity_of, link_or_copy


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
