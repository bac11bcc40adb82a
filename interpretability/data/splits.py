"""Splits where a data set has none: stratified by class, seeded, and never through a group of clips.

A group is what must not be on both sides: the clips of one speaker, one recording, one site. Without groups, every clip
is one of its own.
"""

import random
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence

from interpretability.errors import UserError, listed, shown


def assign(
    groups: Sequence[str],
    labels: Sequence[str | Sequence[str]],
    shares: Mapping[str, float],
    seed: int,
    fixed: Mapping[str, str] | None = None,
    home: str | None = None,
) -> list[str]:
    """Return the part of every clip.

    The groups are given away one after the other, the largest first and those of one size in a random order, each to
    the part that is then nearest to its share of every class. For clips without groups this is the method of
    Sainte-Laguë within each class.

    Parameters
    ----------
    groups : sequence of str
        One per clip; the order of the clips does not count.
    labels : sequence of str, or of sequences of str
        One per clip, or several; those without any are spread over the parts as if they were a class.
    shares : dict
        Part -> its share of the clips, > 0.
    seed : int
    fixed : dict, optional
        Group -> its part, for groups that are given away beforehand; also a part that has no share.
    home : str, optional
        The part that groups get which alone have the clips of a class.

    Raises
    ------
    UserError
        If there are too few groups to give each part one.
    """
    counts: dict[str, Counter[str]] = defaultdict(Counter)  # of the classes in each group
    holders: dict[str, set[str]] = defaultdict(set)
    for group, named in zip(groups, labels, strict=True):
        for label in each_label(named) or ("",):
            counts[group][label] += 1
            holders[label].add(group)
    part_of = dict(fixed or {})
    if home is not None:
        alone = {next(iter(members)) for members in holders.values() if len(members) == 1}
        part_of |= {group: home for group in alone if group not in part_of}
    free = sorted(counts.keys() - part_of.keys())
    random.Random(seed).shuffle(free)
    free.sort(key=lambda group: -counts[group].total())
    totals: Counter[str] = Counter()  # of the classes, over the parts that have a share
    filled: dict[str, Counter[str]] = {part: Counter() for part in shares}
    for group, classes in counts.items():
        part = part_of.get(group)
        if part is None or part in shares:
            totals.update(classes)
        if part in shares:
            filled[part].update(classes)
    sizes = {part: classes.total() for part, classes in filled.items()}
    whole = sum(shares.values())
    empty = [part for part in shares if not filled[part]]
    if len(empty) > len(free):
        groups_of_clips = f"{len(counts)} {'groups' if len(counts) > 1 else 'group'} of clips"
        raise UserError(
            f"{groups_of_clips} ({listed(sorted(counts), limit=40)}) cannot be split into {', '.join(shares)}, so that "
            "each has clips and no group is split: add sounds of other groups, or group the clips by something else"
        )

    def distance(part: str, classes: Counter[str]) -> list[float]:
        """Return by how much a group takes a part away from its share of each of its classes, or nearer to it."""
        share = shares[part] / whole
        moved = sum(n * (2 * filled[part][label] + n) / (share * totals[label]) for label, n in classes.items())
        # Of equally near parts, the one that has fewer clips of these classes, and then the one that is emptier.
        fewer, emptier = sum(filled[part][label] for label in classes), sizes[part] / share
        return [round(moved, 9), fewer, round(emptier, 9)]

    for n_left, group in zip(range(len(free), 0, -1), free, strict=True):
        empty = [part for part in shares if not sizes[part]]
        candidates = empty if len(empty) >= n_left else list(shares)

        part_of[group] = chosen = min(candidates, key=lambda part: distance(part, counts[group]))
        filled[chosen].update(counts[group])
        sizes[chosen] += counts[group].total()
    return [part_of[group] for group in groups]


def refuse_shared_groups(groups: Sequence[str], splits: Sequence[str], what: str) -> None:
    """Refuse splits that were given and have clips of one group on both sides; ``what`` in front of the error."""
    places: dict[str, Counter[str]] = defaultdict(Counter)
    for group, split in zip(groups, splits, strict=True):
        places[group][split] += 1
    shared = sorted(group for group, counts in places.items() if len(counts) > 1)
    if shared:
        counts = places[shared[0]]
        where = " and ".join(f"{split} ({n} clips)" for split, n in counts.items())
        more = f", and so have {len(shared) - 1} other groups" if len(shared) > 1 else ""
        raise UserError(
            f"{what}: the group {shown(shared[0])} has clips in {where}{more}: a group belongs to one split; correct "
            "the splits, or group the clips by something else"
        )


def each_label(named: str | Sequence[str]) -> Sequence[str]:
    """Return the labels of a clip of which one or several are given."""
    return (named,) if isinstance(named, str) else named


def thin_classes(labels: Sequence[str | Sequence[str]], splits: Sequence[str], wanted: Sequence[str]) -> str | None:
    """Return in words which classes are not in all of the splits, and where their clips are; None if all are."""
    counts: dict[str, Counter[str]] = defaultdict(Counter)
    for named, split in zip(labels, splits, strict=True):
        for label in each_label(named):
            counts[label][split] += 1
    thin = {label: places for label, places in sorted(counts.items()) if any(split not in places for split in wanted)}
    if not thin:
        return None
    listed = [
        f"{shown(label, 40)} ({', '.join(f'{n} in {split}' for split, n in places.items())})"
        for label, places in list(thin.items())[:5]
    ]
    more = f", … {len(thin) - 5} more" if len(thin) > 5 else ""
    return (
        f"{len(thin)} of {len(counts)} classes have too few clips or groups for all splits: {', '.join(listed)}{more}"
    )
