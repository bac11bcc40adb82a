"""Means over the clips of a page for which there is no evaluation: from the probabilities that each of them shows."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch

from interpretability.metrics.registry import measure
from interpretability.metrics.suite import METRICS, summarise_clips
from interpretability.report.clips import Clip

#: What follows from the probabilities of the explained class, before and after the mask.
MEASURED = ("ff", "ff_in", "ad", "ai")


def clip_rows(clips: Sequence[Clip]) -> list[dict[str, Any]]:
    """Return a row for each clip, as an evaluation has them (``clips.jsonl``): measured as heard.

    Metrics are NaN where the method has no explanation.
    """
    if not clips:
        return []
    of_class = [next(known for known in clip.classes if known["label"] == clip.explained) for clip in clips]
    asked = {"p": "input", "o": "explanation", "q": "residual"}
    values = {name: torch.tensor([known[part] for known in of_class]) for name, part in asked.items()}
    measured = measure([METRICS[name] for name in MEASURED], values)
    undefined = dict.fromkeys(MEASURED, math.nan)
    return [
        {
            "clip": f"{clip.name} {clip.start} {clip.sound}",
            "method": clip.method,
            "place": "waveform",
            "true": clip.true[0] if len(clip.true) == 1 else list(clip.true),
            "predicted": clip.predicted,
            "explained": clip.explained,
            "silent": 0.0,
            "ag": math.nan,
            "kept_area": clip.kept_area,
            **(undefined if clip.undefined else {name: float(column[k]) for name, column in measured.items()}),
        }
        for k, clip in enumerate(clips)
    ]


def clip_summary(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return what a comparison needs of these rows, as of a ``summary.json``: means of each method, with intervals."""
    names = (*MEASURED, "kept_area")
    methods = dict.fromkeys(row["method"] for row in rows)
    of = {method: [row for row in rows if row["method"] == method] for method in methods}
    means = {method: summarise_clips(members, names=names, by_clip=True) for method, members in of.items()}
    return {"places": {"waveform": means}, "provenance": {}}
