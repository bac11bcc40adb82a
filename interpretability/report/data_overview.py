"""A look at a data set, in words: on the screen, and as a page with players and pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from interpretability.report.page import Picture, render
from interpretability.report.tables import MISSING, markdown_table

#: How serious a finding is, in words.
LEVELS = {"serious": "Serious: results would be wrong", "doubtful": "To be looked at", "noted": "Good to know"}
#: Clips and classes that the screen lists at a place.
FEW, FEW_CLASSES = 5, 30
#: Those that the page lists.
MOST_LISTED, MOST_CLASSES = 100, 500


@dataclass(frozen=True)
class Example:
    """A clip that the page plays.

    Attributes
    ----------
    name, caption : str
        Its id, and what there is to say about it.
    end : str
        Where the sound ends: "5 s".
    picture : Picture
    sound : str
        For a player (:func:`.page.sound_uri`).
    """

    name: str
    caption: str
    end: str
    picture: Picture
    sound: str


def overview_text(data: Mapping[str, Any]) -> str:
    """Return what the screen says of a data set (:func:`.overview.overview`): first what needs attention."""
    reasons = {entry["id"]: entry["reason"] for entry in data["unusable"]}
    lines = [data["summary"], *data["notes"], ""]
    level = None
    for number, finding in enumerate(data["findings"], 1):
        if finding["level"] != level:
            level = finding["level"]
            lines += [*([""] if number > 1 else []), f"{LEVELS[level]}:"]
        lines.append(f"{number:3d}. {finding['text']}")
        for clip in finding["clips"][:FEW]:
            lines.append(f"       {clip}" + (f": {reasons[clip]}" if clip in reasons else ""))
        if len(finding["clips"]) > FEW:
            lines.append(f"       … {len(finding['clips']) - FEW} more")
    if level is None:
        lines.append("Nothing needs attention: every clip can be read, and no check has found anything.")
    lines += ["", *(f"{name}: {value}" for name, value in facts(data)), ""]
    classes = data["classes"]
    lines.append(markdown_table(head(data), [cells(data, entry) for entry in classes[:FEW_CLASSES]]))
    if len(classes) > FEW_CLASSES:
        lines.append(f"… {len(classes) - FEW_CLASSES} more classes")
    return "\n".join(lines)


def overview_page(
    data: Mapping[str, Any], players: Mapping[str, Example], chosen: Mapping[str, Sequence[str]], most_shown: int = 4
) -> str:
    """Return the page of a data set.

    Parameters
    ----------
    data : mapping
        As of :func:`.overview.overview`.
    players : mapping
        Id of a clip -> what is played of it.
    chosen : mapping
        Class -> ids of its examples, all of which have a player.
    most_shown : int
        Clips that are played beside a finding, of those that have a player.
    """
    classes = data["classes"]
    largest = max((entry["clips"] for entry in classes), default=1)
    shown = [
        [players[clip] for clip in finding["clips"] if clip in players][:most_shown] for finding in data["findings"]
    ]
    return render(
        "data.html",
        title=f"Data: {data['name']}",
        data=data,
        words=LEVELS,
        shown=shown,
        reasons={entry["id"]: entry["reason"] for entry in data["unusable"]} | _none_of(data),
        most_listed=MOST_LISTED,
        facts=facts(data),
        head=head(data),
        rows=[(cells(data, entry), round(100 * entry["clips"] / largest, 1)) for entry in classes[:MOST_CLASSES]],
        more_classes=max(0, len(classes) - MOST_CLASSES),
        examples=[(label, [players[clip] for clip in clips]) for label, clips in chosen.items() if clips],
        without_examples=len(classes) - sum(bool(clips) for clips in chosen.values()),
    )


def _none_of(data: Mapping[str, Any]) -> dict[str, None]:
    bad = {entry["id"] for entry in data["unusable"]}
    return {clip: None for finding in data["findings"] for clip in finding["clips"] if clip not in bad}


def facts(data: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Return (what, value in words) of the clips together."""
    spreads = data["spreads"]
    lines = [("Length", _spread(spreads["seconds"], "s")), ("Level", _spread(spreads["level_db"], "dB of full scale"))]
    for name, key, unit in (
        ("Sampling rate", "sample_rate", " Hz"),
        ("Channels", "channels", ""),
        ("Format", "format", ""),
    ):
        numbers = list(spreads[key].items())
        more = f", … {len(numbers) - 8} more" if len(numbers) > 8 else ""
        lines.append((name, ", ".join(f"{value}{unit} ({n})" for value, n in numbers[:8]) + more))
    return [(name, value) for name, value in lines if value]


def head(data: Mapping[str, Any]) -> list[str]:
    """Return the head of the table of classes."""
    return ["class", "clips", *data["counts"]["splits"], "length (s)", "in all (s)", "level (dB)", "bad"]


def cells(data: Mapping[str, Any], entry: Mapping[str, Any]) -> list[str]:
    """Return the row of a class: medians of length and level; bad are those that are silent or cannot be used."""
    durations, levels = entry["durations"], entry["level_db"]
    return [
        entry["label"],
        str(entry["clips"]),
        *(str(entry["splits"][split]) for split in data["counts"]["splits"]),
        f"{durations['median']:.3g}" if durations else MISSING,
        f"{entry['seconds']:.4g}",
        f"{levels['median']:.0f}" if levels else MISSING,
        str(entry["bad"]) if entry["bad"] else "",
    ]


def _spread(values: Mapping[str, float] | None, unit: str) -> str:
    if values is None:
        return ""
    if values["least"] == values["largest"]:
        return f"{values['least']:.4g} {unit}, all"
    return f"{values['least']:.4g} to {values['largest']:.4g} {unit}, median {values['median']:.4g}"
