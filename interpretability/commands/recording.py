"""Sounds that are heard window by window: those that are longer than a clip can be, and those for which it is asked."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from interpretability.classifiers import Classifier
from interpretability.commands.explainers import Explainer
from interpretability.commands.models import describe_classifier
from interpretability.commands.one_sound import Result
from interpretability.commands.work import Choice, Sound, Work
from interpretability.data.audio import audio_header
from interpretability.data.inputs import LONGEST
from interpretability.errors import UserError
from interpretability.files import LISTING
from interpretability.names import printable
from interpretability.reading import read_object
from interpretability.recordings.recording import (
    RecordingRequest,
    clip_seconds,
    explain_classes,
    explain_request,
)
from interpretability.recordings.store import KNOWN
from interpretability.recordings.timeline import Timeline
from interpretability.report.destination import DESCRIPTION, REQUEST


def is_recording(work: Work, sound: Sound) -> bool:
    """Return whether a sound is heard window by window.

    Raises
    ------
    UserError
        If windows are asked for, and it is a clip of a run or a part of a file; if the file cannot be read.
    """
    is_file = sound.content.get("start", 0) is None and sound.content.get("end", 0) is None
    if work.windows.asked_for:
        if not is_file:
            raise UserError(
                f"{sound.name}: --window, --hop and --threshold go with whole files, and this is a clip: leave them out"
            )
        return True
    return is_file and sound.path.is_file() and audio_header(sound.path).duration > LONGEST


def request_of_recording(work: Work, sound: Sound, explainer: Explainer) -> dict[str, Any]:
    """Return what the explanation of a recording is made of, as :meth:`.Work.request` does."""
    windows = {"window": work.windows.window, "hop": work.windows.hop, "threshold": work.windows.threshold}
    return {**work.request(sound, explainer), **windows}


def explain_long(work: Work, sound: Sound, explainer: Explainer, folder: Path, request: dict[str, Any]) -> list[Result]:
    """Explain a recording and write it into a folder, or each of several classes into one in it.

    Errors are those of :func:`.explain_request`.
    """
    model, windows = work.model, work.windows
    asked = RecordingRequest(
        path=sound.path.absolute(),
        target=work.choice.target,
        window=clip_seconds(model.interpreter or model.classifier) if windows.window is None else windows.window,
        hop=windows.hop,
        threshold=windows.threshold,
        channel=work.channel,
        format=work.format,
    )
    facts = {"true": sound.label, "classifier": describe_classifier(model.classifier, model.source), REQUEST: request}
    settings = {"progress": True, "facts": facts}
    if work.choice.several:
        choose = partial(chosen_classes, work.choice, model.classifier, windows.threshold)
        explained = explain_classes(asked, model.classifier, explainer.make, folder, choose, **settings)
    else:
        explained = [explain_request(asked, model.classifier, explainer.make, folder, **settings)]
    results = []
    for one in explained:
        shown = [path for path in sorted(one.folder.iterdir()) if path.name not in (*KNOWN, LISTING)]
        files = [f"{path.name}/" if path.is_dir() else path.name for path in shown]
        results.append(Result(one.folder, read_object(one.folder / DESCRIPTION), files))
    return results


def chosen_classes(choice: Choice, classifier: Classifier, threshold: float | None, timeline: Timeline) -> list[int]:
    """Return the classes of a recording: the ``top_k`` with the highest mean probability, or each that is active.

    A class is active if it reaches the threshold, by default its own, in a window; if none does, the most probable one
    is returned. In the order of the mean probability.
    """
    probabilities = timeline.probabilities
    ranked = np.argsort(-probabilities.mean(0, dtype=np.float64), kind="stable").tolist()
    if not choice.every_label:
        return ranked[: choice.top_k]
    thresholds = classifier.thresholds.numpy() if threshold is None else threshold
    active = (probabilities >= thresholds).any(0)
    return [k for k in ranked if active[k]] or ranked[:1]


def words_of_recording(result: Result) -> str:
    """Return what is said of a recording, and where its results are."""
    description = result.description
    lines = [*description["sentences"], *(f"note: {note}" for note in description["notes"])]
    return "\n".join([*lines, f"written to {printable(str(result.folder))}: {', '.join(result.files)}"])
