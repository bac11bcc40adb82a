"""What is on a page of explanations, made up: clips, and an evaluation."""

from collections.abc import Mapping, Sequence

from interpretability.metrics.statistics import paired_difference
from interpretability.metrics.suite import summarise_clips
from interpretability.report.clips import Clip


def clip_of(name: str, method: str = "piq", true: str = "dog", predicted: str = "dog", **more) -> Clip:
    """Return an explanation of one sound; what is not given has no meaning."""
    classes = tuple({"label": label, "input": 0.5, "explanation": 0.6, "residual": 0.1} for label in ("dog", "cat"))
    members = {
        "name": name,
        "sound": f"hash of {name}",
        "method": method,
        "true": (true,),
        "predicted": predicted,
        "explained": predicted,
        "correct": true == predicted,
        "seconds": 1.0,
        "start": 0.0,
        "sample_rate": 8000,
        "extent": (-0.01, 1.01, -8.0, 4008.0),
        "classes": classes,
        "kept_area": 0.1,
        "undefined": False,
        "sentences": ("Heard.",),
        "notes": (),
        "events": (),
        **dict.fromkeys(("spectrogram", "mask"), "data:image/webp;base64,AA"),
        **dict.fromkeys(("input", "explanation", "residual"), f"data:audio/mpeg;base64,{'A' * 1000}"),
    }
    return Clip(**{**members, **more})


METRICS = ("fid_in", "ff", "ff_in", "ad", "ai", "ag", "sps", "comp", "comp_rel", "kept_area")


def lines_of(values: Mapping[str, Sequence[float]]) -> list[dict]:
    """Return the lines of an evaluation in which methods have these values of FF, one for each clip."""
    base = dict.fromkeys(METRICS, 0.5) | {"place": "waveform", "silent": 0.0}
    return [
        {
            **base,
            "clip": f"clip-{k}",
            "method": method,
            "ff": value,
            "explained": f"class {k % 3}",
            "predicted": f"class {k % 3}",
            "true": f"class {k % 2}",
        }
        for method, column in values.items()
        for k, value in enumerate(column)
    ]


def summary_of(rows: Sequence[dict], companions: Sequence[str] = (), fixed: Mapping[str, list] | None = None) -> dict:
    """Return the summary of these lines; those of both places are the same."""
    methods = list(dict.fromkeys(row["method"] for row in rows))
    of = {method: [row for row in rows if row["method"] == method] for method in methods}
    means = {method: summarise_clips(of[method], by_clip=True) for method in methods}
    for method in methods:
        means[method] |= {"fixed": fixed[method]} if method in (fixed or {}) else {}
    first, *others = methods
    paired = {
        f"{first} - {other}": {
            name: paired_difference([r[name] for r in of[first]], [r[name] for r in of[other]]).as_dict()
            for name in METRICS
        }
        for other in others
    }
    return {
        "places": {"spectrogram": means, "waveform": means},
        "paired": {"spectrogram": paired, "waveform": paired},
        "companions": list(companions),
        "provenance": {"seed": 0},
    }
