"""What a classifier of several labels hears and misses on a split, for people: in words and as tables."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from interpretability.files import csv_text, write_json, write_text
from interpretability.metrics.detection import Detection
from interpretability.names import printable
from interpretability.report.classification import CLASSES, MOST_IN_WORDS, NUMBERS, TABLE, number
from interpretability.report.tables import markdown_table, titled


def sentences(report: Detection, split: str = "test", most: int = MOST_IN_WORDS) -> list[str]:
    """Say in words which classes are missed, or heard where they are not.

    Examples
    --------
    >>> from interpretability.metrics.detection import detection
    >>> answers = [[0.9, 0.2], [0.4, 0.8]]
    >>> print(*sentences(detection(["cat", "dog"], [[1, 0], [1, 1]], answers, [0.5, 0.5])), sep="\\n")
    In 1 of 2 test clips exactly the labels are heard.
      cat is missed in 1 of the 2 clips that have it, and heard in 0 of the 0 others
    """
    lines = [f"In {report.exact} of {report.n} {split} clips exactly the labels are heard."]
    wrong = sorted(
        (member for member in report.classes if member.missed or member.false),
        key=lambda member: (-(member.missed + member.false), member.label),
    )
    lines += [
        f"  {printable(member.label)} is missed in {member.missed} of the {member.n} clips that have it, and heard in "
        f"{member.false} of the {report.n - member.n} others"
        for member in wrong[:most]
    ]
    if len(wrong) > most:
        left = len(wrong) - most
        lines.append(f"  and {left} more class{'es' * (left != 1)} with such clips")
    return lines


def headline(report: Detection) -> str:
    """Return the numbers over all classes, in one line."""
    values = (("mAP", report.mean_ap), ("macro F1", report.macro_f1), ("micro F1", report.micro_f1))
    return ", ".join(f"{name} {number(value, 3)}" for name, value in values)


def write_report(folder: str | Path, report: Detection, split: str, title: str, facts: dict[str, Any]) -> None:
    """Write a report into a folder that exists: ``report.md``, ``classes.csv`` and all numbers as ``report.json``."""
    folder = Path(folder)
    head = ["class", "clips", "heard in", "threshold", "AP", "precision", "recall", "F1"]
    rows = [
        [printable(c.label), str(c.n), str(c.heard), f"{c.threshold:.3f}"]
        + [number(value) for value in (c.ap, c.precision, c.recall, c.f1)]
        for c in report.classes
    ]
    parts = [
        f"{printable(title)}: {headline(report)}, n = {report.n}\n",
        "".join(f"{line}\n" for line in sentences(report, split)).replace("\n  ", "\n- "),
        titled("Classes", markdown_table(head, rows)),
    ]
    write_text(folder / TABLE, "\n".join(parts))
    members: list[list[Any]] = [["class", "clips", "heard", "threshold", "ap", "precision", "recall", "f1"]]
    for c in report.classes:
        values = (c.ap, c.precision, c.recall, c.f1)
        members.append([c.label, c.n, c.heard, c.threshold, *("" if x is None else x for x in values)])
    write_text(folder / CLASSES, csv_text(members))
    write_json(folder / NUMBERS, {"title": title, "split": split, **facts, **report.as_dict()})
