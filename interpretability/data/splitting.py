"""The splits of clips: those that were given, those that folds make, or those that are drawn."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from interpretability.data.esc50 import parse_folds
from interpretability.data.splits import assign, refuse_shared_groups
from interpretability.data.tables import ListedClip
from interpretability.errors import UserError, listed, placed, shown


@dataclass(frozen=True)
class ChosenFolds:
    """Which folds select and test."""

    valid: Any
    test: Any


def choose_splits(
    clips: list[ListedClip], source: Path, settings: dict[str, Any], chosen: ChosenFolds, notes: list[str]
) -> tuple[list[str], dict[str, Any]]:
    """Return the split of every clip, and what the results say about how they were made.

    They are those that were given, or made of folds, or made; groups are never split.

    Parameters
    ----------
    clips : list of ListedClip
    source : Path
        Where they come from, for messages.
    settings : dict
        ``valid_share``, ``test_share``, ``valid_groups``, ``test_groups`` and ``seed``, as of
        :func:`.custom.prepare_custom`.
    chosen : ChosenFolds
    notes : list of str
        Gets a line about what was decided.

    Raises
    ------
    UserError
        If settings are impossible or do not fit the clips; if given splits share a group or lack training clips; if
        there are too few groups.
    """
    groups = _groups(clips)
    labels = [clip.names for clip in clips]
    shares = {"test": settings["test_share"], "valid": settings["valid_share"]}
    for split, share in shares.items():
        if isinstance(share, bool) or not isinstance(share, int | float) or not 0 < share < 1:
            raise UserError(f"{split}_share is {shown(share)}, expected a number between 0 and 1")
    if sum(shares.values()) >= 1:
        raise UserError(f"valid_share and test_share are {sum(shares.values()):g} together, expected less than 1")
    shares["train"] = 1 - sum(shares.values())
    seed, given = settings["seed"], [clip.split for clip in clips]
    picked = {split: settings[f"{split}_groups"] for split in ("valid", "test") if settings[f"{split}_groups"]}
    by_folds = any(clip.fold is not None for clip in clips)
    if picked and (by_folds or any(given)):
        raise UserError(f"{source}: splits or folds are given, so that {'_groups, '.join(picked)}_groups cannot be")
    if any(given):
        return _given_splits(clips, source, groups, shares, seed, notes)
    if by_folds:
        return _splits_of_folds(clips, source, groups, chosen, notes)
    fixed = _picked_groups(picked, {clip.group for clip in clips if clip.group is not None}, source)
    shares = {split: share for split, share in shares.items() if split not in picked}
    with placed(source):
        splits = assign(groups, labels, shares, seed, fixed, home="train")
    notes.append(f"splits are made, with the seed {seed}{_which_groups(clips, splits)}")
    return splits, {"by": "seed", **settings}


def _which_groups(clips: list[ListedClip], splits: list[str]) -> str:
    """Return in words the groups that select and test."""
    places = {clip.group: split for clip, split in zip(clips, splits, strict=True) if clip.group is not None}
    words = []
    for split in ("valid", "test"):
        names = sorted(group for group, chosen_split in places.items() if chosen_split == split)
        if names:
            words.append(f"{split} is the group{'s' if len(names) > 1 else ''} {listed(names, limit=40)}")
    return f": {'; '.join(words)}" if words else ""


def _picked_groups(picked: dict[str, list[str]], known: set[str], source: Path) -> dict[str, str]:
    fixed: dict[str, str] = {}
    for split, names in picked.items():
        for name in names:
            if name not in known:
                few = ", ".join(shown(group, 40) for group in sorted(known)[:10]) or "none: give --group_by"
                raise UserError(f"{split}_groups names {shown(name)}, but the groups of {source} are {few}")
            if name in fixed:
                raise UserError(f"valid_groups and test_groups both name {shown(name)}: a group belongs to one split")
            fixed[name] = split
    return fixed


def _given_splits(
    clips: list[ListedClip], source: Path, groups: list[str], shares: dict[str, float], seed: int, notes: list[str]
) -> tuple[list[str], dict[str, Any]]:
    """Return the splits that were given, and take valid or test from train if it was not."""
    lacking = next((clip for clip in clips if clip.split is None), None)
    if lacking is not None:
        raise UserError(f"{lacking.where}: has no split, though other clips have: expected train, valid or test")
    splits = [clip.split for clip in clips]
    refuse_shared_groups(groups, splits, str(source))
    if "train" not in splits:
        raise UserError(f"{source}: the given splits have no clip in train, expected some in train, valid and test")
    absent = [split for split in ("valid", "test") if split not in splits]
    if absent:
        places = [place for place, split in enumerate(splits) if split == "train"]
        chosen_groups, labels = [groups[place] for place in places], [clips[place].names for place in places]
        few = {split: shares[split] for split in (*absent, "train")}
        with placed(source):
            parts = assign(chosen_groups, labels, few, seed, home="train")
        for place, part in zip(places, parts, strict=True):
            splits[place] = part
        notes.append(f"there is no {' and no '.join(absent)} split, so it is taken from train, with the seed {seed}")
    return splits, {"by": "given", **({"taken": absent, "seed": seed} if absent else {})}


def _splits_of_folds(
    clips: list[ListedClip], source: Path, groups: list[str], chosen: ChosenFolds, notes: list[str]
) -> tuple[list[str], dict[str, Any]]:
    """Return the splits that folds make."""
    folds = [clip.fold for clip in clips]
    lacking = next((clip for clip in clips if clip.fold is None), None)
    if lacking is not None:
        raise UserError(f"{lacking.where}: has no fold, though other clips have: expected a whole number")
    available = sorted(set(folds))
    if len(available) < 3:
        raise UserError(f"{source}: has the folds {available} alone, expected at least three")
    test = available[-1:] if chosen.test is None else parse_folds(chosen.test, "test_folds")
    left = [fold for fold in available if fold not in test]
    valid = left[-1:] if chosen.valid is None else parse_folds(chosen.valid, "valid_folds")
    used = {"train": [fold for fold in left if fold not in valid], "valid": valid, "test": test}
    shared, unknown = set(valid) & set(test), {*valid, *test} - {*available}
    if shared or unknown or not used["train"]:
        raise UserError(
            f"{source}: valid_folds {valid} and test_folds {test} do not fit the folds {available}: expected different "
            "ones of these, and one that is left to train on"
        )
    split_of = {fold: split for split, members in used.items() for fold in members}
    splits = [split_of[fold] for fold in folds]
    refuse_shared_groups(groups, splits, str(source))
    notes.append(f"folds: {', '.join(f'{split} {members}' for split, members in used.items())}")
    return splits, {"by": "folds", "folds": used}


def with_folds(clips: list[ListedClip], source: Path, number: int, seed: int) -> list[ListedClip]:
    """Return the clips in so many folds, of equal size and with equal shares of the classes."""
    if any(clip.fold is not None or clip.split is not None for clip in clips):
        raise UserError(f"{source}: has folds or splits of its own, so that none are made: leave out --folds")
    if isinstance(number, bool) or not isinstance(number, int) or not 3 <= number <= 1000:
        raise UserError(f"folds is {shown(number)}, expected a whole number from 3 to 1000")
    names = {str(fold): 1.0 for fold in range(1, number + 1)}
    with placed(source):
        folds = assign(_groups(clips), [clip.names for clip in clips], names, seed)
    return [replace(clip, fold=int(fold)) for clip, fold in zip(clips, folds, strict=True)]


def _groups(clips: list[ListedClip]) -> list[str]:
    """Return the group of every clip: of one without, the clip itself."""
    return [clip.group if clip.group is not None else f"clip {place}" for place, clip in enumerate(clips)]


def group_names(value: Any) -> list[str]:
    """Return one name or several as a list of texts."""
    if value is None:
        return []
    return [str(name) for name in (value if isinstance(value, list | tuple) else [value])]
