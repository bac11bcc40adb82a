"""What ``tools/results_table.py`` does: one table of several evaluated runs, if they were measured alike."""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from interpretability.errors import MissingError, UserError
from interpretability.files import write_text
from interpretability.matched import ANOTHER_LABEL
from interpretability.methods.baselines import matched_baselines
from interpretability.metrics.suite import metric_info
from interpretability.names import named
from interpretability.reading import read_text
from interpretability.report.summary import read_summary
from interpretability.report.tables import (
    MISSING,
    PLACES,
    caption,
    column_head,
    markdown_table,
    mean_cell,
    notes_list,
    section,
    short_section,
    titled,
    truth_note,
)

SUMMARY = Path("evaluation") / "summary.json"
#: Of the last table, and of brief ones, by which a document of this command is known.
LAST_TITLE, BRIEF_TITLE = "What each method took", "What matters most"
#: The rows of an evaluation that stand beneath its method.
BENEATH = (next(iter(matched_baselines(seed=0))), ANOTHER_LABEL)
#: Columns of a brief table, of those that were measured.
MATTER_MOST = ("fid_in", "ad", "ai", "ff", "kept_area", "energy_precision", "auroc")


@dataclass(frozen=True)
class Measured:
    """An evaluated method.

    Attributes
    ----------
    name : str
        In the tables.
    row : str
        Name of the method's row in the evaluation.
    folder : Path
        Of the run.
    summary : dict
        ``evaluation/summary.json``.
    """

    name: str
    row: str
    folder: Path
    summary: dict[str, Any]

    @property
    def provenance(self) -> dict[str, Any]:
        """Where the results come from."""
        return self.summary["provenance"]

    @property
    def training(self) -> dict[str, Any]:
        """The record of the training; nearly empty if the method is not trained."""
        return self.provenance.get("training") or {}


def read_run(text: str) -> Measured:
    """Read the evaluation of ``RUN`` or ``NAME=RUN``.

    Raises
    ------
    MissingError
        If there is no evaluation.
    UserError
        If the file is not the summary of one.
    """
    name, run = named(text)
    path = Path(run).expanduser() / SUMMARY
    if not path.is_file():
        raise MissingError(
            f"{path}: no such file; give the output folder of a run, and evaluate it first (evaluate.py)"
        )
    summary = read_summary(path)
    row = next(iter(next(iter(summary["places"].values()))))
    return Measured(name or row, row, path.parents[1], summary)


def conditions(run: Measured) -> dict[str, Any]:
    """Return what has to be the same in two evaluations for their rows to share a table."""
    data = dict(run.provenance.get("data") or {})
    folds = dict(data.pop("folds", None) or {})
    # The number of clips to train on follows from the rest; n counts those that were measured.
    rest = {key: value for key, value in data.items() if key not in ("name", "n_clips", "n_skipped")}
    return {
        "data": data.get("name"),
        "test folds": folds.pop("test", None),
        "other folds": folds,
        "split": run.provenance.get("split"),
        "settings of the data": rest,
        "n": run.summary["n"],
        "suite": run.provenance.get("suite"),
        "seed": run.provenance.get("seed"),
        "classifier": run.provenance.get("classifier"),
        "second classifier": run.provenance.get("transfer_to"),
        "clip_seconds": run.provenance.get("clip_seconds"),
        "fixed_length": run.provenance.get("fixed_length"),
        "places": list(run.summary["places"]),
        "explained": {key: (run.summary.get("several") or {}).get(key) for key in ("explain", "explanations")},
    }


def check_comparable(runs: Sequence[Measured], any_classifier: bool = False) -> None:
    """Refuse runs that cannot share a table; ``any_classifier``: they may explain different ones.

    Raises
    ------
    UserError
        If a condition differs, or two runs have one name; the message says which.
    """
    first = runs[0]
    expected = conditions(first)
    for run in runs[1:]:
        actual = conditions(run)
        different = [
            f"{name}: {_short(expected[name])} and {_short(actual[name])}"
            for name in expected
            if expected[name] != actual[name] and not (any_classifier and name == "classifier")
        ]
        if different:
            raise UserError(
                f"{first.folder} and {run.folder} were not measured alike ({'; '.join(different)}): give runs of the "
                "same data, classifier, seed and clip length"
            )
    names = [run.name for run in runs]
    duplicates = sorted({name for name in names if names.count(name) > 1})
    if duplicates:
        raise UserError(f"two runs are called {', '.join(duplicates)}: give each a name, NAME=RUN")


def document(runs: Sequence[Measured], any_classifier: bool = False, brief: bool = False) -> str:
    """Return the tables of runs that are comparable, as Markdown; ``brief``: of each place what matters most."""
    first = runs[0]
    # The commit may differ between runs, and is in the last table, which a brief document has not.
    left_out = {"classifier"} if any_classifier else set()
    if not brief or len({run.provenance.get("commit") for run in runs}) > 1:
        left_out.add("commit")
    shared = {key: value for key, value in first.provenance.items() if key not in left_out}
    accuracy, several = first.summary["accuracy"], first.summary.get("several")
    if any_classifier and several:
        several = {key: several[key] for key in ("explain", "explanations", "without")}
    parts = [caption(shared, first.summary["n"], None if any_classifier else accuracy, several)]
    if any_classifier:
        parts.append(f"{_classifiers(runs)}\n")
    for place in first.summary["places"]:
        if brief:
            parts.append(_brief_section(runs, place, baselines=not any_classifier))
        else:
            parts.append(section(place, _rows(runs, place, baselines=not any_classifier)))
    parts += truth_note(first.summary)
    notes = {run.name: remarks for run in runs if (remarks := (run.summary.get("notes") or {}).get(run.row))}
    if notes:
        parts.append(notes_list(notes))
    if not brief:
        parts.append(titled(LAST_TITLE, _costs(runs)))
    return "\n".join(parts)


def _classifiers(runs: Sequence[Measured]) -> str:
    """Return the table of the classifiers that are explained: how well they hear the clips, and by which runs."""
    by_hash: dict[str, list[Measured]] = {}
    for run in runs:
        by_hash.setdefault(run.provenance.get("classifier") or MISSING, []).append(run)
    several = runs[0].summary.get("several")

    def score(run: Measured) -> str:
        value = run.summary["several"].get("mean_ap") if several else run.summary["accuracy"]
        return _cell(value, lambda number: f"{number:.3f}")

    rows = [[digest[:12], score(group[0]), ", ".join(run.name for run in group)] for digest, group in by_hash.items()]
    measure = "mAP" if several else "accuracy"
    return markdown_table(["classifier", f"{measure} on these clips", "explained by"], rows, left=(0, 2))


def _rows(runs: Sequence[Measured], place: str, baselines: bool = True) -> list[tuple[str, dict]]:
    """Return the rows of one place: each method with its baseline of the same area, then those common to all."""
    rows = []
    for run in runs:
        measured = run.summary["places"][place]
        rows.append((run.name, measured[run.row]))
        rows += [(f"↳ {name}", measured[name]) for name in BENEATH if name in measured]
    return rows + [(name, row.measured(place)) for name, row in _common(runs, place).items()] if baselines else rows


@dataclass(frozen=True)
class _Row:
    """A row of an evaluation: of which run, and by which name there."""

    run: Measured
    key: str

    def measured(self, place: str) -> dict:
        """Return what was measured."""
        return self.run.summary["places"][place][self.key]

    def costs(self, name: str) -> float | None:
        """Return ``seconds_per_clip`` or ``calls_per_clip``, if it is known."""
        return (self.run.summary.get(name) or {}).get(self.key)


def _common(runs: Sequence[Measured], place: str) -> dict[str, _Row]:
    """Return the baselines that are common to all runs, by their names in a table."""
    domains = {run.provenance.get("apply") for run in runs}
    beside = {name for run in runs for name in run.summary.get("compared") or ()}
    common: dict[str, _Row] = {}
    for run in runs:
        # A baseline has the same mask in every run, but another effect in another domain.
        domain = f" ({run.provenance.get('apply')} masks)" if len(domains) > 1 else ""
        for name in run.summary["places"][place]:
            if name not in (run.row, *run.summary.get("companions", ()), *beside):
                common.setdefault(f"{name}{domain}", _Row(run, name))
    return common


def _brief_section(runs: Sequence[Measured], place: str, baselines: bool) -> str:
    """Return the table of one place with what matters most, and with what it takes to explain a clip.

    Also of the methods that a run compares with its own; then the baselines, those of the same area first.
    """
    rows: list[tuple[str, _Row]] = []
    for run in runs:
        rows.append((run.name, _Row(run, run.row)))
        rows += [(f"↳ {name}", _Row(run, name)) for name in run.summary.get("companions", ())]
        there = {row.key for _, row in rows}
        rows += [(name, _Row(run, name)) for name in run.summary.get("compared") or () if name not in there]
    rows += _common(runs, place).items() if baselines else ()
    metrics = [name for name in MATTER_MOST if any(name in row.measured(place) for _, row in rows)]
    lines = []
    for name, row in rows:
        took = [_cell(row.costs("calls_per_clip"), lambda c: f"{c:.0f}")]
        took.append(_cell(row.costs("seconds_per_clip"), lambda s: f"{1000 * s:.1f}"))
        lines.append([name, *took, *(mean_cell(metric, row.measured(place)) for metric in metrics)])
    head = ["method", "calls a clip", "ms a clip", *(column_head(metric_info(metric)) for metric in metrics)]
    return titled(f"{BRIEF_TITLE}, measured on the {PLACES.get(place, place)}", markdown_table(head, lines))


def _costs(runs: Sequence[Measured]) -> str:
    """Return the table of what each method took to train and to explain."""
    head = ["method", "epochs", "best epoch", "training (s)", "explaining a clip (ms)", "kept area"]
    head += ["commit of training", "commit of evaluation"]
    rows = []
    for run in runs:
        training = run.training
        seconds = (run.summary.get("seconds_per_clip") or {}).get(run.row)
        area = next(iter(run.summary["places"].values()))[run.row]["kept_area"]["mean"]
        rows.append(
            [
                run.name,
                _cell(training.get("epochs"), str),
                _cell(training.get("best_epoch"), str),
                _training_time(training),
                _cell(seconds, lambda s: f"{1000 * s:.1f}"),
                _cell(area, lambda a: f"{a:.2f}"),
                _cell(training.get("commit"), lambda c: c[:12]),
                _cell(run.provenance.get("commit"), lambda c: c[:12]),
            ]
        )
    return markdown_table(head, rows, left=(0, len(head) - 2, len(head) - 1))


def _training_time(training: dict[str, Any]) -> str:
    """Return the seconds of training, after those of the dictionary or of the training that was continued."""
    parts = [
        (training.get(name) or {}).get("seconds", MISSING)
        for name in ("dictionary", "finetuned_from")
        if training.get(name) is not None
    ]
    if training.get("seconds") is not None or not parts:
        parts.append(training.get("seconds", MISSING))
    return " + ".join(_cell(part, lambda s: s if isinstance(s, str) else f"{s:.0f}") for part in parts)


def _cell(value: Any, write: Callable[[Any], str]) -> str:
    return MISSING if value is None else write(value)


def _short(value: Any, limit: int = 40) -> str:
    text = value if isinstance(value, str) else json.dumps(value)
    return text if len(text) <= limit else text[: limit - 1] + "…"


def _is_ours(text: str) -> bool:
    """Return whether a text is a document of this command."""
    return any(f"**{title}" in text for title in (LAST_TITLE, BRIEF_TITLE))


def results_table(options: argparse.Namespace) -> None:
    """Print, and write if asked to, the document of several runs; on a terminal too narrow for it, what matters most.

    Raises
    ------
    UserError
        If a run has no evaluation, or they cannot share a table; if the file to write is there and is no such document.
    """
    out = options.out
    if out is not None and out.exists() and (not out.is_file() or not _is_ours(read_text(out))):
        raise UserError(f"{out} is there and is no table of this command: name a new file")
    measured = [read_run(text) for text in options.runs]
    check_comparable(measured, options.any_classifier)
    text = document(measured, options.any_classifier, options.brief)
    # A brief document has what nothing shorter has: the compared methods, times and calls.
    too_wide = not options.brief and max(map(len, text.splitlines())) > shutil.get_terminal_size().columns
    if too_wide and sys.stdout.isatty():
        for place in measured[0].summary["places"]:
            print(short_section(place, _rows(measured, place, baselines=not options.any_classifier)))
        print(
            f"All metrics, with intervals: {out}" if out else "All metrics, with intervals, go into a file: --out FILE"
        )
    else:
        print(text)
    if out is not None:
        write_text(out, text)
