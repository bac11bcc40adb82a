"""Splits that are given, made of folds or drawn: which they are, and what is said about them."""

from pathlib import Path

import pytest

from interpretability.data.splitting import ChosenFolds, choose_splits, group_names, with_folds
from interpretability.data.tables import ListedClip
from interpretability.errors import UserError

SETTINGS = {"valid_share": 0.2, "test_share": 0.2, "valid_groups": [], "test_groups": [], "seed": 1}
CLIPS = [ListedClip(Path(f"{place}.wav"), "ab"[place % 2], f"line {place}") for place in range(10)]


def with_members(name, values):
    """Return a clip of each value, of two classes."""
    return [ListedClip(Path("x.wav"), "ab"[place % 2], "x", **{name: value}) for place, value in enumerate(values)]


def split(clips, folds=(None, None), **settings):
    notes = []
    splits, origin = choose_splits(clips, Path("data"), {**SETTINGS, **settings}, ChosenFolds(*folds), notes)
    return splits, origin, notes


def test_drawn_given_and_folds():
    splits, origin, notes = split(CLIPS)
    assert sorted(splits) == ["test"] * 2 + ["train"] * 6 + ["valid"] * 2
    assert origin == {"by": "seed", **SETTINGS}
    assert notes == ["splits are made, with the seed 1"]
    given = ["train", "train", "valid", "valid", "test", "test"]
    assert split(with_members("split", given)) == (given, {"by": "given"}, [])
    splits, origin, _ = split(with_members("fold", [1, 1, 2, 2, 3, 3]), (1, "2"))
    assert splits == ["valid", "valid", "test", "test", "train", "train"]
    assert origin == {"by": "folds", "folds": {"train": [3], "valid": [1], "test": [2]}}


def test_folds_are_made_of_equal_size_and_kept_where_they_are_given():
    folds = [clip.fold for clip in with_folds(CLIPS, Path("data"), 5, seed=3)]
    assert sorted(folds) == [1, 1, 2, 2, 3, 3, 4, 4, 5, 5]
    with pytest.raises(UserError, match="data: has folds or splits of its own"):
        with_folds(with_members("fold", [1]), Path("data"), 3, 0)


def test_names_of_groups():
    assert group_names(None) == []
    assert group_names("dora") == ["dora"]
    assert group_names([1, "b"]) == ["1", "b"]
