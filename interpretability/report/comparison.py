"""Tables of an evaluation for a page: means with their intervals, and which row is the best beyond chance."""

from __future__ import annotations

import inspect
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from interpretability.metrics.statistics import paired_difference
from interpretability.metrics.suite import metric_info, summarise_clips
from interpretability.report.tables import MISSING, PLACES, column_head, columns, is_defined, mean_cell

#: Columns of the table of classes; those without a value are left out.
OF_CLASSES = ("fid_in", "ff", "ad", "ai", "kept_area", "energy_precision")

#: Clips of a difference below which nothing is said to be the best: intervals over a few are too narrow.
LEAST_CLIPS = 10

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Cell:
    """A mean with its interval.

    Attributes
    ----------
    text : str
        As in any table: "0.99 [0.97, 1.00]".
    value : float, optional
        The mean, by which the table is sorted; None if there is none.
    left, width, at : float, optional
        The interval and the mean on the scale of the column, in percent of its width.
    best : bool
        The best of the compared rows, and better than each other one beyond chance.
    """

    text: str
    value: float | None = None
    left: float | None = None
    width: float | None = None
    at: float | None = None
    best: bool = False


@dataclass(frozen=True)
class Table:
    """A table of means.

    Attributes
    ----------
    title : str
    heads : tuple of str
    rows : tuple of (str, tuple of Cell)
        Name of the row, and its cells.
    compared : tuple of str
        The rows of which the best is marked.
    """

    title: str
    heads: tuple[str, ...]
    rows: tuple[tuple[str, tuple[Cell, ...]], ...]
    compared: tuple[str, ...] = field(default=())


def comparison(summary: Mapping[str, Any], rows: Sequence[Row] = ()) -> list[Table]:
    """Return the table of each place of measurement, that of what is heard first.

    The best is marked among the first method and the rows that were made from its masks, which keep as much; among all
    rows where there are none of these. It is marked only where the paired difference to each of them, over the same
    clips and at least :data:`LEAST_CLIPS` of them, excludes zero.

    Parameters
    ----------
    summary : mapping
        Of an evaluation (``summary.json``).
    rows : sequence of mappings
        Its lines (``clips.jsonl``): needed to find out whether another row than the first is the best beyond chance.
    """
    tables = []
    for place, methods in reversed(summary["places"].items()):
        names = _columns(methods)
        compared = [next(iter(methods)), *summary["companions"]] if summary.get("companions") else list(methods)
        best = {name: _best(name, place, compared, summary, rows) for name in names}
        tables.append(
            Table(
                f"Measured on the {PLACES.get(place, place)}",
                tuple(column_head(metric_info(name)) for name in names),
                _with_scales(list(methods.items()), names, best),
                tuple(compared),
            )
        )
    return tables


def _columns(methods: Mapping[str, Row]) -> list[str]:
    """Return the metrics of a table: those that were measured."""
    return [name for name in columns(methods.values()) if any(name in row for row in methods.values())]


def meanings(summary: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return the label of each metric of a comparison, and what it is, in a sentence; a method's own scores apart."""
    names = dict.fromkeys(name for methods in summary["places"].values() for name in _columns(methods))
    infos = [metric_info(name) for name in names]
    documented = [(info.label, inspect.getdoc(info.function)) for info in infos if info.function]
    return [(label, text.splitlines()[0]) for label, text in documented if text]


def _best(name: str, place: str, compared: list[str], summary: Mapping[str, Any], rows: Sequence[Row]) -> str | None:
    """Return the row that is the best by a metric beyond chance, if there is one."""
    methods, info = summary["places"][place], metric_info(name)
    ranked = [m for m in compared if name not in methods[m].get("fixed", ()) and is_defined(methods[m].get(name))]
    if info.better == "none" or len(ranked) < 2:
        return None
    sign = 1 if info.better == "high" else -1
    best, *others = sorted(ranked, key=lambda method: -sign * methods[method][name]["mean"])
    for other in others:
        difference = _difference(name, place, best, other, summary, rows)
        if difference is None or not min(sign * end for end in difference) > 0:
            return None
    return best


def _difference(
    name: str, place: str, method: str, other: str, summary: Mapping[str, Any], rows: Sequence[Row]
) -> tuple[float, float] | None:
    """Return the ends of the interval of the difference of two rows; None if it is not known."""
    paired = summary.get("paired", {}).get(place, {})
    for key, sign in ((f"{method} - {other}", 1), (f"{other} - {method}", -1)):
        if key in paired:
            known = paired[key].get(name)
            enough = is_defined(known) and known["n"] >= LEAST_CLIPS
            return tuple(sign * known[end] for end in ("low", "high")) if enough else None
    of = {
        each: {(row["clip"], row["explained"]): row for row in rows if (row["method"], row["place"]) == (each, place)}
        for each in (method, other)
    }
    shared = [key for key in of[method] if key in of[other] and not of[method][key]["silent"]]
    values = [np.array([of[each][key][name] for key in shared], dtype=float) for each in (method, other)]
    seed = summary["provenance"].get("seed") or 0
    difference = paired_difference(*values, seed=seed, clips=[clip for clip, _ in shared])
    return (difference.low, difference.high) if difference.n >= LEAST_CLIPS else None


def _with_scales(
    rows: Sequence[tuple[str, Row]], names: Sequence[str], best: Mapping[str, str | None]
) -> tuple[tuple[str, tuple[Cell, ...]], ...]:
    """Return the cells of all rows, with the places of means and intervals on the scale of each column."""
    scales = {}
    for name in names:
        ends = [row[name][end] for _, row in rows if is_defined(row.get(name)) for end in ("low", "high")]
        scales[name] = (min(ends), max(ends)) if ends else (0.0, 0.0)
    return tuple(
        (method, tuple(_cell(name, row, scales[name], best.get(name) == method) for name in names))
        for method, row in rows
    )


def _cell(name: str, row: Row, scale: tuple[float, float], best: bool) -> Cell:
    text = mean_cell(name, row)
    if not is_defined(row.get(name)) or name in row.get("fixed", ()):
        return Cell(text)
    low, high = scale
    mean = row[name]
    at, left, right = (
        50.0 if high == low else round(100 * (mean[key] - low) / (high - low), 2) for key in ("mean", "low", "high")
    )
    return Cell(text, mean["mean"], left, round(right - left, 2), at, best)


def class_table(rows: Sequence[Row], method: str, seed: int = 0) -> Table | None:
    """Return how the explanations of each explained class fare, and what the classifier hears instead of it.

    Parameters
    ----------
    rows : sequence of mappings
        Lines of an evaluation (``clips.jsonl``).
    method : str
        The row whose explanations are meant.
    seed : int
        Of the intervals.

    Returns
    -------
    Table or None
        None without rows of the method. ``heard as`` is the share of the clips of the class that are heard as it, where
        each clip has one label.
    """
    measured = [row for row in rows if row["method"] == method]
    if not measured:
        return None
    place = measured[-1]["place"]
    here = [row for row in measured if row["place"] == place]
    classes = sorted({row["explained"] for row in here} | {row["true"] for row in here if isinstance(row["true"], str)})
    names = [name for name in OF_CLASSES if any(row.get(name) is not None for row in here)]
    single = isinstance(here[0]["true"], str)
    summaries, counts = [], []
    for label in classes:
        of_class = [row for row in here if row["explained"] == label]
        summaries.append((label, summarise_clips(of_class, seed=seed, names=[*names, "ag"]) if of_class else {}))
        true = [row["predicted"] for row in here if row["true"] == label] if single else []
        wrong = Counter(heard for heard in true if heard != label).most_common(1)
        right = len(true) - sum(heard != label for heard in true)
        first = [Cell(str(len(of_class)), len(of_class))]
        if single:
            text = f"{right} of {len(true)}" if true else MISSING
            if wrong:
                text += f", else mostly {wrong[0][0]}"
            first.append(Cell(text, right / len(true) if true else None))
        counts.append(first)
    cells = _with_scales(summaries, names, {})
    heads = ("explained", *(("heard as it",) if single else ()), *(column_head(metric_info(name)) for name in names))
    lines = tuple((label, (*first, *rest)) for (label, rest), first in zip(cells, counts, strict=True))
    return Table(f"{method}, measured on the {PLACES.get(place, place)}", heads, lines)
