"""What a classifier gets wrong on a split, for people: in words, as tables and as a picture."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from interpretability.files import csv_text, write_json, write_text
from interpretability.metrics.classification import ClassificationReport
from interpretability.names import printable
from interpretability.report.confusion import plot_confusion
from interpretability.report.figures import save_figure
from interpretability.report.tables import MISSING, markdown_table, titled

#: At most so many kinds of confusion, or classes, are put in words.
MOST_IN_WORDS = 5
#: Classifiers of more classes have no table of all pairs, which would have millions of cells.
MOST_IN_MATRIX = 1000
TABLE, NUMBERS, CLASSES, MATRIX, PICTURE = "report.md", "report.json", "classes.csv", "confusion.csv", "confusion.png"


def sentences(report: ClassificationReport, split: str = "test", most: int = MOST_IN_WORDS) -> list[str]:
    """Say in words which classes are confused most.

    Parameters
    ----------
    report : ClassificationReport
    split : str
        Which clips they are.
    most : int
        At most this many kinds of confusion; the others are counted.

    Examples
    --------
    >>> from interpretability.metrics.classification import classification_report
    >>> print(*sentences(classification_report(["cat", "dog"], [0, 0, 1], [0, 1, 1])), sep="\\n")
    1 of 3 test clips is heard as another class:
      cat is heard as dog in 1 of 2 clips
    """
    confusions = report.confusions
    if not confusions:
        return [f"Every one of the {report.n} {split} clips is heard as its class."]
    if len(confusions) == most + 1:
        most += 1
    wrong, left = (sum(each.count for each in some) for some in (confusions, confusions[most:]))
    lines = [f"{wrong} of {report.n} {split} clips {'are' if wrong != 1 else 'is'} heard as another class:"]
    lines += [
        f"  {printable(each.true)} is heard as {printable(each.predicted)} in {each.count} of {each.n} clips"
        for each in confusions[:most]
    ]
    if left:
        lines.append(f"  and {len(confusions) - most} more pairs of classes, in {left} clips together")
    return lines


def headline(report: ClassificationReport) -> str:
    """Return the numbers over all classes, in one line."""
    accuracy = report.accuracy
    return (
        f"accuracy {accuracy.mean:.3f} [{accuracy.low:.3f}, {accuracy.high:.3f}], macro F1 {report.macro_f1:.3f}, "
        f"n = {report.n}"
    )


def write_report(
    folder: str | Path, report: ClassificationReport, split: str, title: str, facts: dict[str, Any]
) -> None:
    """Write a report into a folder that exists: a page, tables, a picture and all numbers.

    Parameters
    ----------
    folder : path
        Gets ``report.md`` (words and tables), ``classes.csv`` (precision, recall and F1 of each class),
        ``confusion.csv`` (the confusion matrix; of at most :data:`MOST_IN_MATRIX` classes), ``confusion.png`` and
        ``report.json``.
    report : ClassificationReport
    split : str
    title : str
        What was classified by what.
    facts : dict
        Put in front of the numbers in ``report.json``.
    """
    folder = Path(folder)
    rows = [[printable(c.label), str(c.n), *map(number, (c.precision, c.recall, c.f1))] for c in report.classes]
    confusions = [
        [printable(each.true), printable(each.predicted), str(each.count), str(each.n), f"{each.count / each.n:.2f}"]
        for each in report.confusions
    ]
    parts = [
        f"{printable(title)}: {headline(report)}\n",
        "".join(f"{line}\n" for line in sentences(report, split)).replace("\n  ", "\n- "),
        titled("Classes", markdown_table(["class", "clips", "precision", "recall", "F1"], rows)),
    ]
    if confusions:
        head = ["class", "heard as", "clips", "of", "share"]
        parts.append(titled("What is heard as another class", markdown_table(head, confusions, left=(0, 1))))
    write_text(folder / TABLE, "\n".join(parts))
    members = [["class", "clips", "precision", "recall", "f1"]]
    members += [
        [c.label, c.n, *("" if x is None else x for x in (c.precision, c.recall, c.f1))] for c in report.classes
    ]
    write_text(folder / CLASSES, csv_text(members))
    if len(report.labels) <= MOST_IN_MATRIX:
        cells = report.matrix().tolist()
        matrix = [[label, *row] for label, row in zip(report.labels, cells, strict=True)]
        write_text(folder / MATRIX, csv_text([["class \\ heard as", *report.labels], *matrix]))
    save_figure(plot_confusion(report, f"{title}\n{headline(report)}"), folder / PICTURE)
    write_json(folder / NUMBERS, {"title": title, "split": split, **facts, **report.as_dict()})


def number(value: float | None, digits: int = 2) -> str:
    """Return a number of a table; a dash where there is none."""
    return MISSING if value is None else f"{value:.{digits}f}"
