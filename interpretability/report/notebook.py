"""What an explanation looks like in a notebook: its picture, sounds to play, sentences, and its events.

All of it is inside; text is taken literally, and has the notebook's own colours.
"""

from __future__ import annotations

from typing import Any, Protocol

from interpretability.events import Event
from interpretability.report.figures import figure_bytes
from interpretability.report.page import data_uri, render, sound_uri
from interpretability.report.words import Region, percent, placed_at

#: Clips that are shown of several, the first ones: each takes a picture and three sounds.
MOST_CLIPS = 3


class Explained(Protocol):
    """What is needed of an :class:`~interpretability.explanation.Explanation`."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Any: ...


def notebook_html(explanation: Explained) -> str:
    """Return an explanation as a part of a page; of several clips the first :data:`MOST_CLIPS`, and how many more."""
    count = len(explanation)
    clips = [_shown(explanation[index], index, count) for index in range(min(count, MOST_CLIPS))]
    return render("notebook.html", clips=clips, more=count - len(clips))


def _shown(clip: Any, index: int, count: int) -> dict[str, Any]:
    """Return what the template shows of a clip, an explanation of its own."""
    described, rate = clip.describe(), clip.frontend.sample_rate
    parts = {"input": clip.sound, "explanation": clip.listenable, "residual": clip.residual}
    place = f" (clip {index} of {count})" if count > 1 else ""
    return {
        "heading": f"{described['explained']}{place}: explained by {described['title']}",
        "picture": data_uri(figure_bytes(clip.figure(), "png"), "image/png"),
        "sounds": {part: sound_uri(wavs[0].detach().float().cpu().numpy(), rate) for part, wavs in parts.items()},
        "sentences": described["sentences"],
        "notes": described["notes"],
        "explained": described["explained"],
        "events": [_row(event) for event in clip.events()],
    }


def _row(event: Event) -> dict[str, Any]:
    return {
        "where": placed_at(Region(event.start, event.end, event.low, event.high)),
        "share": percent(event.share),
        "probabilities": (event.probability, event.alone, event.without),
    }
