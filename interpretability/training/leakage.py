"""What a model has seen: the clips that trained it and chose its epoch, recorded with it, which may not measure it.

A clip is known by the content of its file, and by its times where it is a part of it; its name, its label and its place
do not count. What the source of a fine-tuning had seen, the fine-tuned model has seen too.
"""

from __future__ import annotations

import functools
import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tqdm import tqdm

from interpretability import processes
from interpretability.data.manifest import PreparedData, read_manifest
from interpretability.errors import UserError, shown, user_errors
from interpretability.files import sha256
from interpretability.reading import checked
from interpretability.settings import Settings, setting

#: The member of the facts about a training.
SEEN_CLIPS = "seen_clips"
#: Hexadecimal digits of a hash: in a million clips, two alike come by chance once in ten million times.
_DIGITS = 16
#: s; parts of a recording that share less do not overlap.
_ROUNDING = 0.002


@dataclass(frozen=True)
class SeenClips(Settings):
    """The clips that a model has seen: a word for each, ``HASH``, or ``HASH@START-END`` in s for a part of a file."""

    train: str = setting("", "those that trained it")
    valid: str = setting("", "those that chose its epoch")
    complete: bool = setting(True, "whether these are all, also of the models that it started from")

    @classmethod
    def of(cls, training: Mapping[str, Any], where: str) -> SeenClips:
        """Return what the facts about a training say, in which it may be missing; ``where``: in front of errors."""
        known = (training or {}).get(SEEN_CLIPS)
        return UNKNOWN if known is None else checked(cls, known, f"{where}: {SEEN_CLIPS}")

    @classmethod
    def of_data(cls, prepared: PreparedData, splits: Sequence[str] = ("train", "valid")) -> SeenClips:
        """Return the clips of data that train a model, and choose its epoch; a :class:`UserError` if a file is gone."""
        words = {split: {word for _, word in _clips(prepared, split)} for split in splits}
        return cls(**{split: " ".join(sorted(of_split)) for split, of_split in words.items()})

    def __or__(self, other: SeenClips) -> SeenClips:
        both = {name: {*getattr(self, name).split(), *getattr(other, name).split()} for name in ("train", "valid")}
        texts = {name: " ".join(sorted(words)) for name, words in both.items()}
        return SeenClips(**texts, complete=self.complete and other.complete)

    def among(self, prepared: PreparedData) -> list[tuple[str, str]]:
        """Return the clips, as (split, id), that may not measure the model: seen in training, or tests that chose it.

        Raises
        ------
        UserError
            If a file of the data is gone, or the times of a part cannot be read.
        """
        leaked = []
        for split, texts in (("valid", (self.train,)), ("test", (self.train, self.valid))):
            if split not in prepared.manifests or not any(texts):
                continue
            known = defaultdict(list)
            for word in " ".join(texts).split():
                name, times = _parsed(word)
                known[name].append(times)
            for clip, word in _clips(prepared, split):
                name, (start, end) = _parsed(word)
                if any(min(end, last) - max(start, first) > _ROUNDING for first, last in known.get(name, ())):
                    leaked.append((split, clip))
        return leaked


#: Of a model that does not say what it has seen.
UNKNOWN = SeenClips(complete=False)


def without_seen(training: Mapping[str, Any]) -> dict[str, Any]:
    """Return the facts about a training, and about that of a dictionary among them, without the clips."""
    return {
        name: without_seen(value) if isinstance(value, Mapping) else value
        for name, value in training.items()
        if name != SEEN_CLIPS
    }


def refuse_seen_clips(training: Mapping[str, Any], prepared: PreparedData, what: str) -> None:
    """Refuse a model that would be measured on clips that it has seen.

    Parameters
    ----------
    training : mapping
        Facts about the training of the model, as it has recorded them.
    prepared : PreparedData
        What selects and tests here.
    what : str
        The model, in front of the error.

    Raises
    ------
    UserError
        If it was trained on folds of this data set, or on clips, which select or test here, or selected by clips that
        test; if, without a record of the clips, it was trained on other splits of them.
    """
    learned, here = (training or {}).get("data", {}), prepared.description
    if learned.get("content") is not None and learned["content"] == here.get("content"):
        return  # the same splits
    shared = shared_folds(learned, here)
    if shared:
        raise UserError(
            f"{what} was trained on folds {shared} of {here['name']}, which are validation or test folds here: take "
            "the same folds, or another one"
        )
    seen_clips = SeenClips.of(training, what)
    leaked = processes.of_main(lambda: seen_clips.among(prepared))
    if leaked:
        counts = {split: sum(place == split for place, _ in leaked) for split in ("valid", "test")}
        numbers = " and ".join(f"{n} of {split}" for split, n in counts.items() if n)
        raise UserError(
            f"{what} has seen clips in its training that would measure it here ({numbers}, such as "
            f"{shown(leaked[0][1])}): keep the splits of its run (the same options, or --table with its "
            "manifests/splits.csv, to which new clips can be added), leave those clips out, or take another one"
        )
    if not seen_clips.train and "clips" in here and learned.get("clips") == here["clips"]:
        raise UserError(
            f"{what} was trained on other splits of these clips ({shown(learned.get('splits'))}, now "
            f"{shown(here['splits'])}), and would be measured on clips that it was trained on: give the same options, "
            "or --table with the manifests/splits.csv of its run"
        )


def shared_folds(learned: Mapping[str, Any], here: Mapping[str, Any]) -> list[int]:
    """Return the folds that something was learned from and that select or test here, of the same data set."""
    if learned.get("name") != here.get("name") or learned.get("clips") != here.get("clips"):
        return []
    kept = {fold for split in ("valid", "test") for fold in here.get("folds", {}).get(split, [])}
    return sorted(kept & set(learned.get("folds", {}).get("train", [])))


def _clips(prepared: PreparedData, split: str) -> Iterator[tuple[str, str]]:
    """Yield the id and the word of each clip of a split."""
    hashed = functools.cache(_hash)  # a recording may hold many clips
    clips = read_manifest(prepared.manifests[split], prepared.data_root, check_audio=False).entries
    for clip, members in tqdm(clips.items(), desc="comparing clips", unit="clip", disable=None, leave=False):
        start = members.get("start")
        times = "" if start is None else f"@{start:.3f}-{start + members['duration']:.3f}"
        yield clip, f"{hashed(members['wav'])}{times}"


def _hash(path: str) -> str:
    with user_errors(f"{path}: cannot be read", OSError):
        return sha256(Path(path))[:_DIGITS]


def _parsed(word: str) -> tuple[str, tuple[float, float]]:
    """Return the hash of a word, and its times; of a whole file all there are."""
    name, is_part, times = word.partition("@")
    if not is_part:
        return name, (0.0, math.inf)
    with user_errors(f"{shown(word)} in the record of the clips that a model has seen", ValueError):
        start, end = map(float, times.split("-"))
    return name, (start, end)
