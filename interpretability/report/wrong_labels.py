"""Labels that are heard and not there, or there and not heard: why, in words, and tables of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from interpretability.errors import user_errors
from interpretability.files import csv_text
from interpretability.names import join_labels, printable
from interpretability.report.tables import markdown_table
from interpretability.report.words import Region, percent, placed_at

FIGURE = "figure.png"


@dataclass(frozen=True)
class WrongLabel:
    """A wrong answer about one label of a clip.

    Attributes
    ----------
    clip, path, split : str
    true : tuple of str
        The labels of the clip.
    label : str
        The one that is missed or, if it is not among these, a false alarm.
    probability, threshold : float
        Of the label: for the sound, and from which on it is heard.
    area : float
        Share of the bins that its explanation keeps.
    region : Region, optional
        Where most of it lies; None if it keeps nothing, or there is none.
    masked, loudest, random : float
        Probability of a missed label for what its explanation keeps alone, of a false alarm for the sound without it;
        and the same with as many of the loudest bins, and of random ones, in place of the explanation.
    folder : str
        Where its sounds and its figure are.
    """

    clip: str
    path: str
    split: str
    true: tuple[str, ...]
    label: str
    probability: float
    threshold: float
    area: float
    region: Region | None
    masked: float
    loudest: float
    random: float
    folder: str

    @property
    def is_missed(self) -> bool:
        """Whether the clip has the label."""
        return self.label in self.true

    @classmethod
    def of(cls, described: Mapping[str, Any], region: Region | None, true: Sequence[str], **place: Any) -> WrongLabel:
        """Make it of what :meth:`.Explanation.describe` says, and of where the explanation lies."""
        label = described["explained"]
        part, kind = ("explanation", "alone") if label in true else ("residual", "without")
        return cls(
            true=tuple(true),
            label=label,
            probability=described["explained_probability"],
            area=described["kept_area"],
            region=None if described["undefined"] else region,
            masked=described["probabilities"][label][part],
            loudest=described["baselines"]["energy"][kind],
            random=described["baselines"]["random"][kind],
            **place,
        )

    @classmethod
    def of_saved(cls, content: Any, where: object) -> WrongLabel:
        """Make it of what ``dataclasses.asdict`` gave; a :class:`UserError` if that is damaged."""
        advice = ": remove its folder, and run the command again"
        with user_errors(f"{where}: is damaged", KeyError, TypeError, ValueError, advice=advice):
            region = content["region"]
            region = None if region is None else Region(**region)
            return cls(**{**content, "true": tuple(content["true"]), "region": region})

    def sentences(self) -> list[str]:
        """Say in words what is wrong, and why, with the measured effect of the explanation."""
        label, labels = printable(self.label), "; ".join(map(printable, self.true)) or "no label"
        numbers = f"{self.probability:.2f}, heard from {self.threshold:.2f} on"
        if self.is_missed:
            lines = [f"It has {label}, which is not heard ({numbers})."]
        else:
            lines = [f"Heard as {label} ({numbers}), but it has {labels}."]
        if self.region is None:
            return [*lines, f"Nothing is kept as an explanation of {label}."]
        area, heard = percent(self.area), "is heard" if self.masked >= self.threshold else "is not heard"
        change = "alone, " if self.is_missed else "without it "
        others = (
            f"the loudest {area} alone give {self.loudest:.2f}, a random {area} {self.random:.2f}"
            if self.is_missed
            else f"without the loudest {area} it has {self.loudest:.2f}, without a random {area} {self.random:.2f}"
        )
        lines += [
            f"What speaks for {label} lies mostly at {placed_at(self.region)}; {change}{label} {heard} "
            f"({self.masked:.2f}).",
            f"That is {area} of the area; for comparison, {others}.",
        ]
        return lines


HEAD_OF_COUNTS = ["label", "clips with it", "missed", "false alarms"]


def wrong_labels_csv(answers: Sequence[WrongLabel]) -> str:
    """Return a CSV file of wrong answers, one row each, in their order."""
    places = ("start", "stop", "low", "high")
    head = ["rank", "id", "path", "split", "label", "kind", "labels", "p", "threshold", "p_alone", "p_without_it"]
    rows = [[*head, "p_loudest", "p_random", *places, "folder", "words"]]
    for rank, each in enumerate(answers, 1):
        masked = f"{each.masked:.6g}"
        numbers = [f"{value:.6g}" for value in (each.probability, each.threshold)]
        row = [rank, each.clip, each.path, each.split, each.label, "missed" if each.is_missed else "false alarm"]
        row += [join_labels(each.true), *numbers, *((masked, "") if each.is_missed else ("", masked))]
        row += [f"{value:.6g}" for value in (each.loudest, each.random)]
        row += ["" if each.region is None else f"{getattr(each.region, place):.6g}" for place in places]
        rows.append([*row, each.folder, " ".join(each.sentences())])
    return csv_text(rows)


def wrong_labels_page(answers: Sequence[WrongLabel], title: str, counts: Sequence[Sequence[str]]) -> str:
    """Return a Markdown page of wrong answers, with links.

    ``counts``: a row for each label, with what :data:`HEAD_OF_COUNTS` names.
    """
    rows = [
        [
            str(rank),
            f"[{printable(each.clip)}](<{each.folder}/{FIGURE}>)",
            printable(each.label),
            "missed" if each.is_missed else "false alarm",
            f"{each.probability:.2f}",
            " ".join(each.sentences()),
        ]
        for rank, each in enumerate(answers, 1)
    ]
    head = ["", "clip", "label", "", "p", "why"]
    tables = markdown_table(HEAD_OF_COUNTS, counts), markdown_table(head, rows, left=(1, 2, 3, 5))
    return "\n\n".join([printable(title), *tables]) + "\n"
