"""A data set as plain values, for JSON, for a page and for the screen: counts, spreads, classes, findings, clips."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from interpretability.data.findings import findings
from interpretability.data.inspection import ClipFacts
from interpretability.data.manifest import SPLITS
from interpretability.data.summary import spread, time_words

#: What clips without any label are listed under.
UNLABELLED = "(no label)"


def overview(
    name: str,
    clips: Sequence[ClipFacts],
    unusable: Sequence[tuple[str, str]] = (),
    notes: Sequence[str] = (),
    no_splits: str | None = None,
) -> dict[str, Any]:
    """Return all that is known of a data set, JSON-compatible.

    Parameters
    ----------
    name : str
        What it is called.
    clips : sequence of ClipFacts
    unusable : sequence of (str, str)
        Clips that could not even be listed, as (id, reason).
    notes : sequence of str
        What was decided about it.
    no_splits : str, optional
        Why there are no splits.

    Returns
    -------
    dict
        ``name``; ``summary``, one sentence; ``findings``, the most serious first (level, kind, text, clips); ``counts``
        (clips, usable, classes, seconds, and clips of each split); ``spreads``: least, median and largest duration (s)
        and level (dB of full scale), and the number of clips of each sampling_rate (Hz), number of channels and format;
        ``classes``, in the order of their names; ``unusable`` (id, reason); ``notes``; and ``clips``.
    """
    good = [clip for clip in clips if clip.usable]
    reasons = [{"id": clip.id, "reason": clip.fault} for clip in clips if clip.fault is not None]
    reasons += [{"id": clip, "reason": reason} for clip, reason in unusable]
    splits = {split: n for split in SPLITS if (n := sum(clip.split == split for clip in good))}
    members: dict[str, list[ClipFacts]] = defaultdict(list)
    for clip in clips:
        for label in clip.labels or (UNLABELLED,):
            members[label].append(clip)
    counts = {
        "clips": len(clips) + len(unusable),
        "usable": len(good),
        "classes": len(members.keys() - {UNLABELLED}),
        "seconds": round(sum(clip.seconds for clip in good), 3),
        "splits": splits,
    }
    return {
        "name": name,
        "summary": _summary(name, counts, good),
        "findings": [asdict(finding) for finding in findings(clips, unusable, no_splits)],
        "counts": counts,
        "spreads": {
            "seconds": _middle([clip.seconds for clip in good]),
            "level_db": _middle([clip.level_db for clip in good if clip.level_db is not None]),
            "sample_rate": _numbers(clip.sample_rate for clip in good),
            "channels": _numbers(clip.channels for clip in good),
            "format": _numbers(Path(clip.path).suffix.lower().lstrip(".") for clip in good),
        },
        "classes": [_class(label, members[label]) for label in sorted(members)],
        "unusable": reasons,
        "notes": list(notes),
        "clips": [{**asdict(clip), "usable": clip.usable, "silent": clip.silent} for clip in clips],
    }


def _class(label: str, clips: Sequence[ClipFacts]) -> dict[str, Any]:
    good = [clip for clip in clips if clip.usable]
    return {
        "label": label,
        "clips": len(clips),
        "splits": {split: sum(clip.split == split for clip in good) for split in SPLITS},
        "seconds": round(sum(clip.seconds for clip in good), 3),
        "durations": _middle([clip.seconds for clip in good]),
        "level_db": _middle([clip.level_db for clip in good if clip.level_db is not None]),
        "bad": len(clips) - len(good) + sum(clip.silent for clip in good),
    }


def _summary(name: str, counts: dict[str, Any], good: Sequence[ClipFacts]) -> str:
    """Return one sentence of what the data set holds."""
    text = f"{name}: {counts['clips']} clips of {counts['classes']} classes"
    if counts["usable"] < counts["clips"]:
        text += f", of which {counts['usable']} can be used"
    if counts["splits"]:
        text += f" ({', '.join(f'{split} {n}' for split, n in counts['splits'].items())})"
    if not good:
        return f"{text}."
    lengths = spread([clip.seconds for clip in good], "s")
    rates = spread([clip.sample_rate for clip in good], "Hz")
    return f"{text}; {time_words(counts['seconds'])} in all, {lengths}, {rates}."


def _middle(values: Sequence[float]) -> dict[str, float] | None:
    """Return the least, the median and the largest value; None if there are none."""
    ranked = sorted(values)
    if not ranked:
        return None
    median = (ranked[(len(ranked) - 1) // 2] + ranked[len(ranked) // 2]) / 2
    return {"least": round(ranked[0], 4), "median": round(median, 4), "largest": round(ranked[-1], 4)}


def _numbers(values: Any) -> dict[str, int]:
    return {str(value): n for value, n in Counter(values).most_common()}
