"""The page of explanations, ``report.html``: what was explained, how methods compare, and clips to look at and hear.

It is one file. Pictures, sounds, style and script are inside, and it asks for nothing else.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from interpretability.files import expanded, write_errors, write_text
from interpretability.report.clip_means import clip_rows, clip_summary
from interpretability.report.clips import Clip
from interpretability.report.comparison import LEAST_CLIPS, class_table, comparison, meanings
from interpretability.report.page import render
from interpretability.report.recordings import Recording
from interpretability.report.tables import OF_BOXES, SPLITS, explanations_in_words
from interpretability.report.words import long_time

#: Of a page, in bytes: clips that do not fit are left out.
MOST_BYTES = 25_000_000
#: What a page needs beside its clips, at most.
_REST = 500_000


def write_report(
    path: str | Path,
    clips: Iterable[Clip | Recording],
    title: str,
    about: Mapping[str, Any] | None = None,
    summary: Mapping[str, Any] | None = None,
    rows: Sequence[Mapping[str, Any]] = (),
    clips_in_all: int | None = None,
    most_bytes: int = MOST_BYTES,
) -> Path:
    """Write the page.

    Parameters
    ----------
    path : path
        Of the page; replaced if it exists.
    clips : iterable of Clip or Recording
        In any order: those of one sound are shown beside each other, and sounds that are classified wrongly come first.
    title : str
    about : mapping, optional
        What was explained -> its value: model, data, settings. With a summary, :func:`about_evaluation`.
    summary : mapping, optional
        Of an evaluation (``summary.json``): its means are compared. If there is none, those of the clips are, of which
        there have to be several.
    rows : sequence of mappings, optional
        The lines of the evaluation (``clips.jsonl``): for its classes, and for what is best in the comparison.
    clips_in_all : int, optional
        Sounds there are, if these are some of them; the page says so.
    most_bytes : int
        The page gets no larger: sounds that do not fit, the last ones, are left out, and the page says how many.

    Returns
    -------
    Path
        Of the page.

    Raises
    ------
    UserError
        If the page cannot be written; what was there is left as it was.
    """
    path, clips = expanded(path), list(clips)
    about = about if about is not None or summary is None else about_evaluation(summary)
    cards = _cards(clips)
    alone = [clip for clip in clips if isinstance(clip, Clip)]
    if summary is None and len({(clip.name, clip.sound, clip.start) for clip in alone}) > 1:
        rows = clip_rows(alone)
        summary = clip_summary(rows)
    shown, size = [], _REST
    for card in cards:
        size += len(json.dumps(card["data"]))
        if size > most_bytes:
            break
        shown.append(card)
    method = next(iter(next(iter(summary["places"].values())))) if summary else None
    seed = ((summary or {}).get("provenance") or {}).get("seed") or 0
    text = render(
        "report.html",
        title=title,
        about=dict(about or {}),
        tables=comparison(summary, rows) if summary else [],
        meanings=meanings(summary) if summary else [],
        least=LEAST_CLIPS,
        truth=OF_BOXES if (summary or {}).get("truth") == "boxes" else "",
        notes=(summary or {}).get("notes", {}),
        classes=class_table(rows, method, seed) if rows and method else None,
        cards=shown,
        labels=sorted({label for card in shown for label in card["labels"]}),
        methods=list(dict.fromkeys(view["method"] for card in shown for view in card["views"])),
        judged=any(card["correct"] is not None for card in shown),
        in_all=max(clips_in_all or 0, len(cards)),
        too_large=len(cards) - len(shown),
    )
    with write_errors(path):
        write_text(path, text)
    return path


def about_evaluation(summary: Mapping[str, Any]) -> dict[str, str]:
    """Return what an evaluation has explained, and where its numbers come from: what -> in words."""
    provenance, several = summary["provenance"], summary.get("several") or {}
    data = provenance.get("data") or {}
    split = provenance.get("split", "test")
    folds = (data.get("folds") or {}).get(split)
    training = provenance.get("training") or {}
    accuracy = summary.get("accuracy")
    known = {
        "Method": provenance.get("method"),
        "Data": data.get("name"),
        f"{SPLITS[split].capitalize()} clips": f"{summary['n']}"
        + (f", folds {', '.join(map(str, folds))}" if folds else ""),
        "Accuracy of the classifier": None if accuracy is None else f"{accuracy:.1%} of these clips",
        "Explained": explanations_in_words(several) if several else None,
        "mAP of the classifier": _three(several.get("mean_ap")),
        "Macro F1, micro F1": _pair(several.get("macro_f1"), several.get("micro_f1")),
        "Classifier": (provenance.get("classifier") or "")[:12] or None,
        "Training": _training(training),
        "Seed": provenance.get("seed"),
        "Commit": (provenance.get("commit") or "")[:12] or None,
        "Settings": _settings(provenance.get("settings") or {}),
    }
    return {name: str(value) for name, value in known.items() if value is not None}


def _three(value: float | None) -> str | None:
    return None if value is None else f"{value:.3f}"


def _pair(first: float | None, second: float | None) -> str | None:
    return None if first is None or second is None else f"{first:.3f}, {second:.3f}"


def _training(training: Mapping[str, Any]) -> str | None:
    if training.get("epochs") is None:
        return None
    best = training.get("best_epoch")
    return f"{training['epochs']} epochs" + (f", of which {best} is kept" if best is not None else "")


def _settings(settings: Mapping[str, Any]) -> str | None:
    return ", ".join(f"{name} {json.dumps(value)}" for name, value in settings.items()) or None


def _cards(clips: Iterable[Clip | Recording]) -> list[dict[str, Any]]:
    """Return what the page shows of each sound: those that are classified wrongly first, else in the order of clips."""
    of_sounds: dict[tuple[Any, ...], list[Any]] = {}
    for clip in clips:
        kind, start = type(clip), clip.start if isinstance(clip, Clip) else 0.0
        of_sounds.setdefault((kind, clip.name, clip.sound, start), []).append(clip)
    cards = [(_card if kind is Clip else _recording_card)(members) for (kind, *_), members in of_sounds.items()]
    return sorted(cards, key=lambda card: card["correct"] is not False)


def _card(members: list[Clip]) -> dict[str, Any]:
    first = members[0]
    views = []
    for clip in members:
        view = {key: value for key, value in clip.to_dict().items() if key not in _OF_SOUND}
        if clip.spectrogram != first.spectrogram:
            view["spectrogram"] = clip.spectrogram
        views.append(view)
    data = {
        "name": first.name,
        "seconds": first.seconds,
        "start": first.start,
        "rate": first.sample_rate,
        "extent": first.extent,
        "spectrogram": first.spectrogram,
        "input": first.input,
        "views": views,
    }
    labels = {*first.true, first.predicted, *(clip.explained for clip in members)}
    return {
        "name": first.name,
        "true": list(first.true),
        "predicted": first.predicted,
        "correct": first.correct,
        "labels": sorted(labels),
        "probability": next((k["input"] for k in first.classes if k["label"] == first.predicted), None),
        "recording": None,
        "views": views,
        "data": data,
    }


def _recording_card(members: list[Recording]) -> dict[str, Any]:
    first = members[0]
    of_sound = ("name", "sound", "true", "predicted", "probability", "sample_rate", "seconds", "windows")
    views = [{key: value for key, value in clip.to_dict().items() if key not in of_sound} for clip in members]
    data = {"name": first.name, "seconds": first.seconds, "rate": first.sample_rate, "windows": first.windows}
    return {
        "name": first.name,
        "true": list(first.true),
        "predicted": first.predicted,
        "correct": None,  # one label of a whole recording says little
        "labels": sorted({*first.true, first.predicted, *(clip.explained for clip in members)}),
        "probability": first.probability,
        "recording": {"length": long_time(first.seconds), "windows": first.windows},
        "views": views,
        "data": {**data, "recording": True, "views": views},
    }


#: Members of a clip that are the same for all explanations of its sound.
_OF_SOUND = (
    "name",
    "sound",
    "true",
    "predicted",
    "correct",
    "seconds",
    "start",
    "sample_rate",
    "extent",
    "spectrogram",
    "input",
)
