"""Clips of a page of explanations, made up."""

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
