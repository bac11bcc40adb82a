"""What was explained of many sounds: one row per explanation, as JSON for pipes and as CSV beside the results."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from interpretability.files import csv_text, place_in
from interpretability.names import printable
from interpretability.report.destination import REQUEST

#: Files of a folder of results of many sounds: the table of all, what they were made with, and a page of them.
SUMMARY, RECORD, REPORT = "summary.csv", "explained_by.json", "report.html"
#: Columns of the table. ``alone`` and ``without`` are the probability of the explained class.
COLUMNS = (
    "sound",
    "start",
    "end",
    "method",
    "true",
    "predicted",
    "predicted_probability",
    "explained",
    "explained_probability",
    "alone",
    "without",
    "kept_area",
    "undefined",
    "folder",
    "error",
)


def row_of(description: Mapping[str, Any], sound: str | Path, folder: str | Path) -> dict[str, Any]:
    """Return what a saved explanation says, in short, as plain values.

    Parameters
    ----------
    description : mapping
        As in ``explanation.json``, with what it was made of (:data:`.destination.REQUEST`).
    sound : str or path
        The file that it is of.
    folder : str or path
        Where it is.

    Returns
    -------
    dict
        Of :data:`COLUMNS` all but ``error``; ``events`` (as of ``Event.to_dict()``), ``sentences`` and ``notes``.
    """
    made_of, parts = description[REQUEST], description["probabilities"][description["explained"]]
    return {
        "sound": printable(str(sound)),
        "start": made_of["sound"].get("start"),
        "end": made_of["sound"].get("end"),
        "method": made_of["method"],
        **{name: description[name] for name in ("true", "predicted", "predicted_probability")},
        **{name: description[name] for name in ("explained", "explained_probability")},
        "alone": parts["explanation"],
        "without": parts["residual"],
        **{name: description[name] for name in ("kept_area", "undefined", "events", "sentences", "notes")},
        "folder": printable(str(folder)),
    }


def failed_row(sound: str, error: str, method: str | None = None) -> dict[str, Any]:
    """Return the row of a sound that could not be explained, or not by one method: ``error`` says why."""
    return {"sound": sound, "method": method, "error": error}


def json_line(row: Mapping[str, Any]) -> str:
    """Return a row as one line of JSON, in ASCII: any terminal and any program takes it."""
    return json.dumps(row, allow_nan=False)


def summary_csv(rows: Iterable[Mapping[str, Any]], root: str | Path) -> str:
    """Return rows as CSV, with a line of :data:`COLUMNS` first; folders start from the folder ``root``."""
    lines = [COLUMNS]
    for row in rows:
        place = {"folder": place_in(row["folder"], root)} if "folder" in row else {}
        lines.append([_cell((row | place).get(name)) for name in COLUMNS])
    return csv_text(lines)


def _cell(value: Any) -> str:
    return "" if value is None else str(value)
