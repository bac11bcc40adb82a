"""All tables: Markdown for files and documents, and a short one of plain text for the terminal.

A *summary* of rows is what :func:`.summarise_clips` gives for one method at one place, also when read back from JSON.
The summary of an evaluation (``summary.json``) holds one for each place and row.
"""

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from interpretability.metrics.registry import MetricInfo
from interpretability.metrics.suite import LOCALISATION, METRICS, metric_info
from interpretability.names import printable

#: The places of measurement in words.
PLACES = {"spectrogram": "masked spectrogram", "waveform": "masked sound, analysed again (what is heard)"}
#: Columns of the short table; those without a value are left out.
SHORT_METRICS = ("fid_in", "ff", "ad", "ai", "kept_area", "energy_precision")
#: Width of a terminal, in characters.
TERMINAL_WIDTH = 80

#: What :func:`clip_table` calls the measures of one clip, in its order; others go by their label.
MEANINGS = {
    "fid_in": "heard as the class (Fid-In)",
    "o": "probability of the class, alone",
    "q": "probability of the class, without it",
    "ff": "probability lost without it (FF)",
    "ff_in": "probability lost alone (FF-In)",
    "ad": "relative drop alone (AD, %)",
    "ai": "probability rises alone (AI, %)",
    "ag": "relative gain alone (AG, %)",
    "sps": "sparseness (SPS)",
    "comp": "complexity (COMP, nats)",
    "comp_rel": "complexity over its maximum",
    "kept_area": "share of the bins that is kept",
}
#: Fid-In where classes do not compete: a class that is not heard in the sound is not to be heard in its explanation.
FID_IN_OF_SEVERAL = "heard, or not, as before (Fid-In)"
#: What is measured of one clip and says nothing of its explanation.
_OF_THE_SOUND = ("p", "silent", "saturated")

#: What tables say where the truth of a summary are boxes.
OF_BOXES = (
    "The truth of energy precision, AUROC, pointing game and IoU is boxes that people drew in time and frequency, not "
    "sounds known to be there: whatever else lies in a box counts as the sound, and what of it lies outside does not. "
    "Clips in which the explained class has no box are undefined."
)

MISSING = "–"
#: Split -> in words.
SPLITS = {"test": "test", "valid": "validation"}
_ARROWS = {"high": " ↑", "low": " ↓", "none": ""}


def markdown_table(head: Sequence[str], rows: Iterable[Sequence[str]], left: Iterable[int] = (0,)) -> str:
    """Return a Markdown table; a cell may hold any text.

    Parameters
    ----------
    head : sequence of str
    rows : iterable of sequences of str
        As many cells each as the head has.
    left : iterable of int
        The columns that are aligned to the left; all others are aligned to the right.

    Examples
    --------
    >>> print(markdown_table(["method", "n"], [["a|b", "40"]]))
    | method | n |
    | :--- | ---: |
    | a\\|b | 40 |
    """
    left = set(left)
    alignment = [":---" if column in left else "---:" for column in range(len(head))]
    lines = [head, alignment, *([cell.replace("|", "\\|") for cell in row] for row in rows)]
    return "\n".join("|" + "|".join(f" {cell} " if cell else " " for cell in line) + "|" for line in lines)


def columns(summaries: Iterable[Mapping[str, Any]]) -> list[str]:
    """The metrics of a table: all of :data:`METRICS`, those of :data:`LOCALISATION` with a value, then own scores.

    Parameters
    ----------
    summaries : iterable of mappings

    Returns
    -------
    list of str
        A metric that needs the truth is included if a clip of some summary has a value; a method's own score, if some
        summary has it.

    Examples
    --------
    >>> columns([{"clips": 1, "iou": {"mean": 0.5}, "auroc": {"mean": None}, "fid_top1": {"mean": 1.0}}])[-3:]
    ['kept_area', 'iou', 'fid_top1']
    """
    summaries = list(summaries)
    located = [name for name in LOCALISATION if any(is_defined(summary.get(name)) for summary in summaries)]
    means = dict.fromkeys(name for row in summaries for name, value in row.items() if isinstance(value, Mapping))
    return [*METRICS, *located, *(name for name in means if name not in METRICS and name not in LOCALISATION)]


def metrics_table(
    rows: Sequence[tuple[str, Mapping[str, Any]]], metrics: Iterable[str] | None = None, head: str = "method"
) -> str:
    """Return a Markdown table of metrics, one row per method.

    Parameters
    ----------
    rows : sequence of (str, summary)
        Name of the method and its summary.
    metrics : iterable of str, optional
        Columns, by default those of :func:`columns`.
    head : str
        Of the first column.

    Returns
    -------
    str
        Columns: method, n (clips in the means; silent ones apart), and ``mean [low, high]`` of each metric, with the
        number of undefined clips if there are any; "–" for what a summary does not have; "fixed" for the
        metrics that a summary names under ``fixed``, those that the method's settings decide, by which it must not be
        ranked. An arrow in the head says which direction is better.

    Raises
    ------
    ValueError
        If a metric is unknown.

    Examples
    --------
    >>> ad = {"mean": 6.42, "low": 5.0, "high": 8.18, "n": 40, "undefined": 0}
    >>> print(metrics_table([("PIQ", {"clips": 40, "silent": 0, "ad": ad})], ["ad"]))
    | method | n | AD (%) ↓ |
    | :--- | ---: | ---: |
    | PIQ | 40 | 6.4 [5.0, 8.2] |
    """
    known = columns(summary for _, summary in rows)
    names = list(known if metrics is None else metrics)
    unknown = [name for name in names if name not in known and name not in LOCALISATION]
    if unknown:
        raise ValueError(f"unknown metrics {', '.join(unknown)}, expected some of {', '.join(known)}")
    lines = []
    for method, summary in rows:
        count = f"{summary['clips']} (+{summary['silent']} silent)" if summary.get("silent") else f"{summary['clips']}"
        lines.append([method, count, *(mean_cell(name, summary) for name in names)])
    return markdown_table([head, "n", *(column_head(metric_info(name)) for name in names)], lines)


def section(place: str, rows: Sequence[tuple[str, Mapping[str, Any]]]) -> str:
    """Return the table of one place of measurement under its title."""
    return titled(f"Measured on the {PLACES.get(place, place)}", metrics_table(rows))


def class_section(place: str, classes: Mapping[str, Mapping[str, Mapping[str, Any]]]) -> str:
    """Return the table of the explanations of each class at one place: the method, and its baselines beneath it.

    Parameters
    ----------
    place : str
    classes : mapping
        Class -> row -> summary, as in the ``classes`` of a summary.
    """
    rows = [
        (printable(label) if position == 0 else f"↳ {name}", summary)
        for label, members in classes.items()
        for position, (name, summary) in enumerate(members.items())
    ]
    method = next(iter(next(iter(classes.values()))))
    where = PLACES.get(place, place)
    return titled(f"{method} by explained class, measured on the {where}", metrics_table(rows, head="class"))


def difference_section(summary: Mapping[str, Any], place: str) -> str:
    """Return the table of what a method is better by, over the same explanations, than other rows.

    They are those that are made from its masks, and the methods that it is compared with.

    Parameters
    ----------
    summary : mapping
        Of an evaluation, with the baselines of the same area and the masks of another label as ``companions``, and
        other methods as ``compared``.
    place : str
    """
    method, paired = next(iter(summary["places"][place])), summary["paired"][place]
    rows = {name: paired[f"{method} - {name}"] for name in (*summary["companions"], *summary.get("compared", ()))}
    table = metrics_table(
        [(f"{method} - {name}", {**row, "clips": row["ff"]["n"]}) for name, row in rows.items()], head="difference"
    )
    where = PLACES.get(place, place)
    return titled(f"What {method} is better by, explanation by explanation, measured on the {where}", table)


def titled(title: str, text: str) -> str:
    """Return a block of a document under a bold title."""
    return f"**{title}**\n\n{text}\n"


def notes_list(notes: Mapping[str, Iterable[str]]) -> str:
    """Return the notes below tables: one line for each row that has any.

    Examples
    --------
    >>> print(notes_list({"amt": ["class-agnostic"]}), end="")
    **Notes**
    <BLANKLINE>
    - amt: class-agnostic.
    """
    return titled("Notes", "\n".join(f"- {name}: {'; '.join(remarks)}." for name, remarks in notes.items()))


def caption(
    provenance: Mapping[str, Any], n: int, accuracy: float | None, several: Mapping[str, Any] | None = None
) -> str:
    """Return the line above a table: data, fold, n, seed, classifier, commit; ``several`` as in a summary."""
    data, several, split = provenance.get("data", {}), several or {}, provenance.get("split", "test")
    folds = ", ".join(map(str, data.get("folds", {}).get(split, [])))
    known = {
        "data": data.get("name"),
        f"{SPLITS[split]} folds": folds or None,
        "clips": None if folds or split == "test" else SPLITS[split],
        "explained": _target(provenance.get("target")),
        "n": f"{n} clips, {explanations_in_words(several)}" if several else n,
        "seed": provenance.get("seed"),
        "classifier": (provenance.get("classifier") or "")[:12] or None,
        "classifier's accuracy on these clips": None if accuracy is None else f"{accuracy:.3f}",
        "classifier's mAP on these clips": _three(several.get("mean_ap")),
        "macro F1": _three(several.get("macro_f1")),
        "micro F1": _three(several.get("micro_f1")),
        "second classifier": (provenance.get("transfer_to") or "")[:12] or None,
        "commit": provenance.get("commit", "")[:12] or None,
    }
    text = "; ".join(f"{name}: {value}" for name, value in known.items() if value is not None)
    if several:
        return f"{text}. Means over explanations with 95 % bootstrap intervals over clips.\n"
    return f"{text}. Means over clips with 95 % bootstrap intervals.\n"


def _target(target: str | Mapping[str, Any] | None) -> str | None:
    """Return what is explained of every clip, if that is one thing: a class, or what is asked in place of one."""
    return target if target is None or isinstance(target, str) else target["label"]


def _three(value: float | None) -> str | None:
    return None if value is None else f"{value:.3f}"


def explanations_in_words(several: Mapping[str, Any]) -> str:
    """Return in words which classes of the clips are explained, and how many they are."""
    count, without = several["explanations"], several["without"]
    of = {
        "top": "of the most probable class of each",
        "predicted": "one of each class that is heard",
        "labels": "one of each label",
        "target": "one of each clip",
    }
    rest = {
        "predicted": f", and of the most probable one in {without} without any",
        "labels": f"; {without} clips have no label",
    }
    return f"{count} explanations, {of[several['explain']]}{rest.get(several['explain'], '') if without else ''}"


def evaluation_document(summary: Mapping[str, Any]) -> str:
    """Return the whole of an evaluation in Markdown: a caption, a table for each place, notes.

    Parameters
    ----------
    summary : mapping
        Of the evaluation, as in its ``summary.json``.
    """
    parts = [caption(summary["provenance"], summary["n"], summary["accuracy"], summary.get("several"))]
    parts += [section(place, list(rows.items())) for place, rows in summary["places"].items()]
    for place, classes in list(summary.get("classes", {}).items())[-1:]:
        parts += [difference_section(summary, place)] if summary["companions"] else []
        parts.append(class_section(place, classes))
    if summary.get("compared") and not summary.get("classes"):
        parts.append(difference_section(summary, list(summary["places"])[-1]))
    parts += truth_note(summary)
    if summary["notes"]:
        parts.append(notes_list(summary["notes"]))
    return "\n".join(parts)


def truth_note(summary: Mapping[str, Any]) -> list[str]:
    """Return the block of a document that says what the truth of a summary is, if that needs to be said."""
    return [titled("The truth", OF_BOXES)] if summary.get("truth") == "boxes" else []


def short_table(summary: Mapping[str, Any]) -> str:
    """Return the means that matter most, for the terminal: the method and its baselines of the same area.

    Parameters
    ----------
    summary : mapping
        Of an evaluation, as in its ``summary.json``. Without baselines of the same area, every row is shown.
    """
    first = next(iter(next(iter(summary["places"].values()))))
    names = [first, *summary["companions"], *summary.get("compared", ())]
    of = f"explanations of {summary['n']} clips" if summary.get("several") else "clips"
    sections = [
        short_section(place, [(name, rows[name]) for name in (names if summary["companions"] else rows)], of)
        for place, rows in summary["places"].items()
    ]
    if summary.get("truth") == "boxes":
        sections.append("Energy precision is that for boxes that people drew, not for known sources.\n")
    return "\n".join(sections)


def short_section(place: str, rows: Sequence[tuple[str, Mapping[str, Any]]], of: str = "clips") -> str:
    """Return the means of one place that matter most, for the terminal.

    Parameters
    ----------
    place : str
    rows : sequence of (str, summary)
    of : str
        What was measured, in the plural.

    Returns
    -------
    str
        A title, and a table of plain text, at most 80 characters wide. The columns are Fid-In, FF, AD, AI, kept area
        and, where the truth is known, energy precision.
    """
    names = [name for name in SHORT_METRICS if any(is_defined(row.get(name)) for _, row in rows)]
    # A long head goes on two lines.
    heads = [column_head(metric_info(name)) for name in names]
    split = [re.split(r" (?=\S+(?: [↑↓])?$)", head, maxsplit=1) if len(head) > 10 else ["", head] for head in heads]
    table = [["", *line] for line in zip(*split, strict=True) if any(line)]
    table += [[method, *(mean_cell(name, row, with_interval=False) for name in names)] for method, row in rows]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    widths[0] = min(widths[0], TERMINAL_WIDTH - sum(width + 2 for width in widths[1:]))
    lines = [f"Means over {rows[0][1]['clips']} {of}, {PLACES.get(place, place)}:"]
    for method, *cells in table:
        label = _cut(method, widths[0])
        numbers = (f"{cell:>{width}}" for cell, width in zip(cells, widths[1:], strict=True))
        lines.append("  ".join([f"{label:<{widths[0]}}", *numbers]).rstrip())
    return "\n".join([*lines, ""])


def clip_table(measured: Mapping[str, Mapping[str, float | None]], task: str = "single") -> str:
    """Return what was measured of one clip, for the terminal: each number beside those of masks that explain nothing.

    Parameters
    ----------
    measured : mapping of str to mapping
        "explanation", "energy" (the loudest bins) and "random", of the same area -> metric -> value, None: undefined.
    task : {"single", "multi"}
        Of the classifier.

    Returns
    -------
    str
        Plain text, at most 80 characters wide. Arrows say whether more or less is better.
    """
    values = measured["explanation"]
    names = [name for name in MEANINGS if name in values]
    names += [name for name in values if name not in (*MEANINGS, *_OF_THE_SOUND)]
    heads = {"explanation": "explanation", "energy": "loudest bins", "random": "random bins"}
    lines = [f"{'Measured as heard, at one area':<40}" + "".join(f"{heads[kind]:>13}" for kind in measured)]
    meanings = MEANINGS | ({"fid_in": FID_IN_OF_SEVERAL} if task == "multi" else {})
    for name in names:
        info = metric_info(name)
        label = meanings.get(name, info.label)[:37] + _ARROWS[info.better]
        cells = (_plain(by_name.get(name)) for by_name in measured.values())
        lines.append(f"{label:<40}" + "".join(f"{cell:>13}" for cell in cells))
    return "\n".join(lines)


def methods_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Return the explanations of one sound by several methods side by side, for the terminal.

    Parameters
    ----------
    rows : sequence of mapping
        Of each explanation ``method``, ``explained``, ``kept_area`` in [0, 1], ``alone`` and ``without`` (the
        probability of the explained class), and ``undefined``: see :func:`.explained.row_of`.

    Returns
    -------
    str
        Plain text, at most 80 characters wide.
    """
    heads = ("", "class", "its probability", "kept area", "alone", "without")
    lines = [heads]
    for row in rows:
        numbers = [row["kept_area"], row["alone"], row["without"]]
        cells = [MISSING] * 3 if row["undefined"] else [_plain(value) for value in numbers]
        lines.append((row["method"], printable(row["explained"]), _plain(row["explained_probability"]), *cells))
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    room = TERMINAL_WIDTH - sum(widths[2:]) - 2 * (len(heads) - 1)
    if sum(widths[:2]) > room:
        widths[:2] = [max(room - min(widths[1], room // 2), room // 2), min(widths[1], room // 2)]
    text = ["Side by side, as heard:"]
    for line in lines:
        names = (f"{_cut(cell, width):<{width}}" for cell, width in zip(line[:2], widths[:2], strict=True))
        cells = (f"{cell:>{width}}" for cell, width in zip(line[2:], widths[2:], strict=True))
        text.append("  ".join([*names, *cells]).rstrip())
    return "\n".join(text)


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else f"{text[: width - 1]}…"


def _plain(value: float | None) -> str:
    """Return a value with three significant digits."""
    return MISSING if value is None else f"{value + 0.0:.3g}"


def column_head(info: MetricInfo) -> str:
    """Return the head of a metric's column: its label, its unit, and an arrow for the better direction."""
    return f"{info.label}{f' ({info.unit})' if info.unit else ''}{_ARROWS[info.better]}"


def is_defined(value: Mapping[str, Any] | None) -> bool:
    """Return whether the mean of a metric exists: of a summary, None where it lacks the metric."""
    return value is not None and value["mean"] is not None and not math.isnan(value["mean"])


def mean_cell(name: str, summary: Mapping[str, Any], with_interval: bool = True) -> str:
    """Return the mean of a metric, with its interval and the number of undefined clips, if asked for."""
    if name not in summary:
        return MISSING
    value = summary[name]
    undefined = f" ({value['undefined']} undefined)" if with_interval and value["undefined"] else ""
    if not is_defined(value):
        return f"{MISSING}{undefined}"
    if name in summary.get("fixed", ()):
        return f"fixed{undefined}"
    digits = 1 if metric_info(name).unit == "%" else 2
    mean, low, high = (_number(value[key], digits) for key in ("mean", "low", "high"))
    return f"{mean} [{low}, {high}]{undefined}" if with_interval else mean


def _number(value: float, digits: int) -> str:
    return f"{round(value, digits) + 0.0:.{digits}f}"  # + 0.0 turns -0.0 into 0.0
