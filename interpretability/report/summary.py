"""The summary of an evaluation (``summary.json``): what it holds, read and checked."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from interpretability.errors import UserError
from interpretability.reading import checked, read_object
from interpretability.settings import Settings, setting

ADVICE = "evaluate the run again"


@dataclass(frozen=True)
class SummaryFile(Settings):
    """The members of the file that tables are made of."""

    provenance: dict = setting(dataclasses.MISSING, "where the results come from")
    n: int = setting(dataclasses.MISSING, "clips that were measured", least=1)
    places: dict = setting(dataclasses.MISSING, "place of measurement -> row -> means over clips")
    accuracy: float | None = setting(None, "of the classifier on these clips", least=0, most=1)
    companions: tuple[str, ...] = setting((), "rows that were made from the masks of the first one")
    compared: tuple[str, ...] = setting((), "rows of other methods, with which the first one is compared")
    notes: dict = setting({}, "row -> what a reader has to know")
    several: dict | None = setting(None, "which classes of clips were explained, where there may be several")
    classes: dict = setting({}, "place of measurement -> class -> row -> means over its explanations")
    truth: str = setting("sources", "what localisation is measured by, where it is", choices=("sources", "boxes"))
    seconds_per_clip: dict = setting({}, "row -> what explaining a clip takes")
    calls_per_clip: dict = setting({}, "row -> how often the classifier is asked for that, beside the clip itself")


@dataclass(frozen=True)
class CallFacts(Settings):
    """A member of ``calls_per_clip``."""

    calls: float | None = setting(None, "how often the classifier is asked to explain a clip", least=0)


@dataclass(frozen=True)
class Several(Settings):
    """The members of ``several``: what was explained of clips that may have several labels."""

    explain: str = setting(dataclasses.MISSING, "which classes", choices=("top", "predicted", "labels"))
    explanations: int = setting(dataclasses.MISSING, "how many there are", least=1)
    without: int = setting(dataclasses.MISSING, "clips without such a class", least=0)
    mean_ap: float | None = setting(None, "mean average precision of the classifier on these clips", least=0, most=1)
    macro_f1: float | None = setting(None, "its mean F1 over classes", least=0, most=1)
    micro_f1: float | None = setting(None, "its F1 over all decisions", least=0, most=1)


@dataclass(frozen=True)
class Provenance(Settings):
    """The members of ``provenance`` that tables show."""

    commit: str = setting("", "of the evaluation")
    seed: int | None = setting(None, "of the run")
    classifier: str | None = setting(None, "hash of the classifier")
    split: str = setting("test", "clips that were measured", choices=("test", "valid"))
    suite: str | None = setting(None, "the clips as they are, or how they were changed")
    apply: str | None = setting(None, "domain in which masks act")
    data: dict | None = setting(None, "data set, folds and number of clips")
    training: dict | None = setting(None, "how the method was trained")


@dataclass(frozen=True)
class DataDescription(Settings):
    """The members of ``data`` that tables show."""

    name: str | None = setting(None, "of the data set")
    folds: dict | None = setting(None, "split -> its folds")


@dataclass(frozen=True)
class Folds(Settings):
    """The folds of the data."""

    test: tuple[Any, ...] | None = setting(None, "folds that are measured")
    valid: tuple[Any, ...] | None = setting(None, "folds on which settings are chosen")


@dataclass(frozen=True)
class TrainingFacts(Settings):
    """The members of ``training`` that tables show."""

    epochs: int | None = setting(None, "epochs of the training")
    best_epoch: int | None = setting(None, "epoch that was kept")
    seconds: float | None = setting(None, "time that the training took", unit="s")
    commit: str | None = setting(None, "of the training")
    dictionary: dict | None = setting(None, "how the dictionary was learned")
    finetuned_from: dict | None = setting(None, "the training that was continued")


@dataclass(frozen=True)
class Notes(Settings):
    """The notes on a row."""

    notes: tuple[str, ...] = setting(dataclasses.MISSING, "one sentence each")


@dataclass(frozen=True)
class Row(Settings):
    """The members of a row that are no means."""

    clips: int = setting(dataclasses.MISSING, "clips in the means", least=0)
    silent: int = setting(0, "clips left out", least=0)
    fixed: tuple[str, ...] = setting((), "metrics that the settings decide")


@dataclass(frozen=True)
class Mean(Settings):
    """A mean over clips with its interval."""

    mean: float | None = setting(dataclasses.MISSING, "over the clips")
    low: float | None = setting(dataclasses.MISSING, "lower end of the interval")
    high: float | None = setting(dataclasses.MISSING, "upper end of the interval")
    undefined: int = setting(0, "clips without a value", least=0)


def read_summary(path: str | Path) -> dict[str, Any]:
    """Read the summary of an evaluation; every place has the same first row.

    Raises
    ------
    MissingError
        If there is no such file.
    UserError
        If it is damaged, or not the summary of an evaluation; the message names the member.
    """
    content = read_object(path)
    known = checked(SummaryFile, content, path, ADVICE)
    if known.several is not None:
        checked(Several, known.several, f"{path}: several", ADVICE)
    where = f"{path}: provenance"
    origin = checked(Provenance, known.provenance, where, ADVICE)
    data = checked(DataDescription, origin.data or {}, f"{where}: data", ADVICE)
    checked(Folds, data.folds or {}, f"{where}: data: folds", ADVICE)
    training = checked(TrainingFacts, origin.training or {}, f"{where}: training", ADVICE)
    for name in ("dictionary", "finetuned_from"):
        checked(TrainingFacts, getattr(training, name) or {}, f"{where}: training: {name}", ADVICE)
    for name, seconds in known.seconds_per_clip.items():
        checked(TrainingFacts, {"seconds": seconds}, f"{path}: seconds_per_clip of {name}", ADVICE)
    for name, calls in known.calls_per_clip.items():
        checked(CallFacts, {"calls": calls}, f"{path}: calls_per_clip of {name}", ADVICE)
    for name, remarks in known.notes.items():
        checked(Notes, {"notes": remarks}, f"{path}: notes of {name}", ADVICE)
    first = _check_places(known.places, path)
    unknown = [
        name for name in (*known.companions, *known.compared) for rows in known.places.values() if name not in rows
    ]
    if unknown or any(first not in rows for rows in known.places.values()):
        raise UserError(f"{path}: places: a place lacks the row {(unknown or [first])[0]!r}; {ADVICE}")
    return content


def _check_places(places: Mapping[str, Any], path: str | Path) -> str:
    """Check all rows; return the name of the first one."""
    for place, rows in places.items():
        if not isinstance(rows, dict) or not rows:
            raise UserError(f"{path}: places: {place} has no rows; {ADVICE}")
        for name, row in rows.items():
            where = f"{path}: places: {place}: {name}"
            checked(Row, row, where, ADVICE)
            for metric, value in row.items():
                if isinstance(value, dict):
                    checked(Mean, value, f"{where}: {metric}", ADVICE)
    if not places:
        raise UserError(f"{path}: places is empty, expected at least one place of measurement; {ADVICE}")
    return next(iter(next(iter(places.values()))))
