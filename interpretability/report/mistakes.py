"""Clips that are heard as another class: why, in words, and tables of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from interpretability.errors import user_errors
from interpretability.files import csv_text
from interpretability.names import printable
from interpretability.report.tables import markdown_table
from interpretability.report.words import Region, percent, placed_at

#: Explanations of two classes with at least this much in common are said to lie in the same place.
ALIKE = 0.5


@dataclass(frozen=True)
class Support:
    """The explanation of one class of a clip.

    Attributes
    ----------
    label : str
        The class.
    probability : float
        Of the class, for the whole sound.
    area : float
        Share of the bins that the explanation keeps.
    region : Region, optional
        Where most of it lies; None if it keeps nothing, or there is none.
    alone, without : mapping of str to float
        Probability of every class for what the explanation keeps alone, and for the sound without it.
    loudest, random : float
        Probability of the class without as many of the loudest bins, and of random ones.
    """

    label: str
    probability: float
    area: float
    region: Region | None
    alone: Mapping[str, float]
    without: Mapping[str, float]
    loudest: float
    random: float

    @classmethod
    def of(cls, described: Mapping[str, Any], region: Region | None) -> Support:
        """Make it of what :meth:`.Explanation.describe` says of a clip, and of where its explanation lies."""
        classes, baselines = described["probabilities"], described["baselines"]
        return cls(
            label=described["explained"],
            probability=described["explained_probability"],
            area=described["kept_area"],
            region=None if described["undefined"] else region,
            alone={label: parts["explanation"] for label, parts in classes.items()},
            without={label: parts["residual"] for label, parts in classes.items()},
            loudest=baselines["energy"]["without"],
            random=baselines["random"]["without"],
        )


@dataclass(frozen=True)
class Mistake:
    """A clip that is heard as another class.

    Attributes
    ----------
    clip, path, split : str
    predicted, true : Support
        What speaks for the class that is heard, and for the one that is right.
    common : float
        Share of the two explanations that is in both: the sum of the smaller mask values over that of the larger ones.
    folder : str
        Where its sounds and its figure are.
    """

    clip: str
    path: str
    split: str
    predicted: Support
    true: Support
    common: float
    folder: str

    @classmethod
    def of_saved(cls, content: Any, where: object) -> Mistake:
        """Make it of what ``dataclasses.asdict`` gave; a :class:`UserError` if that is damaged."""
        advice = ": remove its folder, and run the command again"
        with user_errors(f"{where}: is damaged", KeyError, TypeError, ValueError, advice=advice):
            supports = {}
            for name in ("predicted", "true"):
                region = content[name]["region"]
                supports[name] = Support(**{**content[name], "region": None if region is None else Region(**region)})
            return cls(**{**content, **supports})

    def sentences(self) -> list[str]:
        """Say in words why it is heard as it is, with the measured effect of each explanation."""
        predicted, true = self.predicted, self.true
        heard, right = printable(predicted.label), printable(true.label)
        lines = [f"Heard as {heard} ({predicted.probability:.2f}), but it is {right} ({true.probability:.2f})."]
        if predicted.region is None:
            lines.append(f"Nothing is kept as an explanation of {heard}.")
        else:
            lines.append(
                f"What speaks for {heard} lies mostly at {placed_at(predicted.region)}; without it the sound is "
                f"{_heard_as(predicted.without, self)}."
            )
            area = percent(predicted.area)
            lines.append(
                f"That takes away {area} of the area, and leaves {heard} {predicted.without[predicted.label]:.2f}; for "
                f"comparison, without the loudest {area} it has {predicted.loudest:.2f}, without a random {area} "
                f"{predicted.random:.2f}."
            )
        if true.region is None:
            lines.append(f"Nothing is kept as an explanation of {right}.")
        else:
            lines.append(
                f"What speaks for {right} lies mostly at {placed_at(true.region)}; alone it is "
                f"{_heard_as(true.alone, self)}."
            )
        if self.common >= ALIKE:
            lines.append(f"Both lie in the same place: they have {percent(self.common)} in common.")
        return lines


def mistakes_csv(mistakes: Sequence[Mistake]) -> str:
    """Return a CSV file of wrongly classified clips, one row each, in their order."""
    places = ("start", "stop", "low", "high")
    head = ["rank", "id", "path", "split", "true", "predicted", "p_true", "p_predicted"]
    head += ["p_predicted_without_it", "p_true_without_it", "heard_without_it", "p_true_alone", "heard_alone", "common"]
    head += [f"{which}_{place}" for which in ("predicted", "true") for place in places]
    rows = [[*head, "folder", "words"]]
    for rank, each in enumerate(mistakes, 1):
        predicted, true = each.predicted, each.true
        numbers = [true.probability, predicted.probability, *(predicted.without[x.label] for x in (predicted, true))]
        row = [rank, each.clip, each.path, each.split, true.label, predicted.label, *map(_six, numbers)]
        row += [_top(predicted.without), _six(true.alone[true.label]), _top(true.alone), _six(each.common)]
        for part in (predicted, true):
            row += ["" if part.region is None else _six(getattr(part.region, place)) for place in places]
        rows.append([*row, each.folder, " ".join(each.sentences())])
    return csv_text(rows)


def mistakes_page(mistakes: Sequence[Mistake], title: str) -> str:
    """Return a Markdown page of wrongly classified clips: a table, with a link to the folder of each."""
    rows = [
        [
            str(rank),
            f"[{printable(each.clip)}](<{each.folder}/figure.png>)",
            printable(each.true.label),
            f"{each.true.probability:.2f}",
            printable(each.predicted.label),
            f"{each.predicted.probability:.2f}",
            " ".join(each.sentences()[1:]),
        ]
        for rank, each in enumerate(mistakes, 1)
    ]
    head = ["", "clip", "it is", "p", "heard as", "p", "why"]
    return f"{printable(title)}\n\n{markdown_table(head, rows, left=(1, 2, 4, 6))}\n"


def _heard_as(probabilities: Mapping[str, float], mistake: Mistake) -> str:
    """Return what is heard, and beside another class how probable the true one is."""
    top, right = _top(probabilities), mistake.true.label
    words = f"heard as {printable(top)} ({probabilities[top]:.2f})"
    if top == mistake.predicted.label:
        words = f"still {words}"
    return words if top == right else f"{words}, {printable(right)} having {probabilities[right]:.2f}"


def _top(probabilities: Mapping[str, float]) -> str:
    return max(probabilities, key=lambda label: probabilities[label])


def _six(value: float) -> str:
    return f"{value:.6g}"
