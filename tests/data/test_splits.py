"""Splits: shares are kept in every class, no group is split, the seed decides, and too little data is refused."""

import random
from collections import Counter

import pytest

from interpretability.data.splits import assign, refuse_shared_groups, thin_classes
from interpretability.errors import UserError

SHARES = {"test": 0.2, "valid": 0.2, "train": 0.6}


def each_alone(labels, seed=0, **options):
    """The part of every clip, each of which is a group of its own."""
    return assign([f"clip{i}" for i in range(len(labels))], labels, SHARES, seed, home="train", **options)


@pytest.mark.parametrize("n", [5, 10, 50])
def test_each_class_is_split_by_the_shares(n):
    labels = ["cat"] * n + ["dog"] * 2 * n
    parts = Counter(zip(labels, each_alone(labels), strict=True))
    for label, size in (("cat", n), ("dog", 2 * n)):
        assert [parts[label, part] for part in SHARES] == [size // 5, size // 5, size * 3 // 5]


@pytest.mark.parametrize(("n", "parts"), [(1, {"train"}), (3, {"train", "valid", "test"})])
def test_a_small_class_trains_first_and_then_is_in_every_split(n, parts):
    labels = ["rare"] * n + ["common"] * 20
    assert set(each_alone(labels)[:n]) == parts
    two = each_alone(["rare"] * 2 + ["common"] * 20)[:2]
    assert len(set(two)) == 2
    assert "train" in two


@pytest.mark.parametrize("seed", range(60))
def test_no_group_is_split_and_no_split_is_empty(seed):
    """Whatever the sizes of groups and classes; the order of the clips does not count."""
    drawn = random.Random(seed)
    clips = [(drawn.choice("abcdefgh"[: 1 + seed % 8]), drawn.choice("xyz")) for _ in range(drawn.randint(1, 60))]
    groups, labels = zip(*clips, strict=True)
    try:
        parts = assign(groups, labels, SHARES, seed)
    except UserError:
        assert len(set(groups)) < 3
        return
    part_of = dict(zip(groups, parts, strict=True))
    assert [part_of[group] for group in groups] == parts
    assert set(parts) == set(SHARES)
    assert assign(groups[::-1], labels[::-1], SHARES, seed) == parts[::-1]


def test_the_seed_decides_which_group_tests():
    groups = [f"speaker{i % 5}" for i in range(60)]
    labels = ["yes", "no"] * 30
    tested = set()
    for seed in range(10):
        parts = assign(groups, labels, SHARES, seed)
        assert parts == assign(groups, labels, SHARES, seed)
        assert sorted(Counter(parts).values()) == [12, 12, 36]
        tested |= {group for group, part in zip(groups, parts, strict=True) if part == "test"}
    assert len(tested) > 1


def test_groups_that_are_chosen_are_the_whole_of_their_split():
    groups = [f"speaker{i % 5}" for i in range(50)]
    shares = {part: SHARES[part] for part in ("valid", "train")}
    parts = assign(groups, ["yes", "no"] * 25, shares, 0, fixed={"speaker3": "test"})
    assert {group for group, part in zip(groups, parts, strict=True) if part == "test"} == {"speaker3"}
    assert Counter(parts) == {"test": 10, "valid": 10, "train": 30}


def test_a_group_that_alone_has_a_class_trains():
    groups = [f"site{i % 5}" for i in range(50)]
    labels = ["bird"] * 50
    for place, group in enumerate(groups):
        labels[place] = "owl" if group == "site2" else "bird"
    for seed in range(5):
        parts = assign(groups, labels, SHARES, seed, home="train")
        assert {part for part, label in zip(parts, labels, strict=True) if label == "owl"} == {"train"}


def test_equal_shares_make_folds_of_equal_size():
    labels = [f"class{i % 7}" for i in range(70)]
    folds = assign([str(i) for i in range(70)], labels, {str(k): 1.0 for k in range(1, 6)}, 0)
    assert Counter(folds) == dict.fromkeys("12345", 14)
    assert set(Counter(zip(folds, labels, strict=True)).values()) == {2}


def test_too_few_groups_are_refused_in_one_line():
    with pytest.raises(UserError) as caught:
        assign(["anna"] * 5 + ["ben"] * 5, ["yes", "no"] * 5, SHARES, 0)
    assert str(caught.value).startswith("2 groups of clips ('anna', 'ben') cannot be split into test, valid, train")
    assert "\n" not in str(caught.value)


def test_a_group_in_two_given_splits_is_refused():
    refuse_shared_groups(["a", "a", "b"], ["train", "train", "test"], "x.csv")
    with pytest.raises(UserError) as caught:
        refuse_shared_groups(["a", "a", "b", "b", "b"], ["train", "test", "test", "train", "train"], "x.csv")
    message = str(caught.value)
    assert message.startswith(
        "x.csv: the group 'a' has clips in train (1 clips) and test (1 clips), and so have 1 other"
    )


def test_classes_that_are_not_in_all_splits_are_listed():
    assert thin_classes(["a", "a"], ["train", "test"], ["train", "test"]) is None
    assert thin_classes(["a", "a", "b"], ["train", "test", "train"], ["train", "test"]) == (
        "1 of 2 classes have too few clips or groups for all splits: 'b' (1 in train)"
    )
    many = [f"class{i}" for i in range(1000)]
    assert thin_classes(many, ["train"] * 1000, ["train", "test"]).endswith("'class101' (1 in train), … 995 more")


def test_every_part_has_its_share_of_each_label_also_where_clips_have_several():
    rng = random.Random(0)
    frequency = {"common": 0.5, "usual": 0.2, "rare": 0.05}
    labels = [[name for name, share in frequency.items() if rng.random() < share] for _ in range(400)]
    shares = {"train": 0.6, "valid": 0.2, "test": 0.2}
    parts = assign([str(k) for k in range(400)], labels, shares, seed=1)
    for name in (*frequency, None):  # None: clips without a label
        has = [name in members if name else not members for members in labels]
        for part, share in shares.items():
            count = sum(is_in and chosen == part for is_in, chosen in zip(has, parts, strict=True))
            assert abs(count - share * sum(has)) <= max(2, 0.03 * sum(has)), (name, part)


def test_one_label_in_the_form_of_several_is_split_the_same():
    labels = [("a", "b", "b", "c")[k % 4] for k in range(40)]
    groups = [str(k // 2) for k in range(40)]
    shares = {"train": 0.6, "valid": 0.2, "test": 0.2}
    assert assign(groups, labels, shares, 3) == assign(groups, [[label] for label in labels], shares, 3)
    assert thin_classes([["a", "b"], ["b"], []], ["train", "test", "test"], ["train", "test"]) == (
        "1 of 2 classes have too few clips or groups for all splits: 'a' (1 in train)"
    )
