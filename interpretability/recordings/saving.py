"""The folder of a recording's explanation: timeline, events, and what is kept of it as sound; written whole."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from interpretability.data.streaming import SoundStream, WavFile
from interpretability.errors import UserError
from interpretability.files import atomic_folder, check_replaceable, csv_text, write_json, write_text
from interpretability.names import printable, safe_name
from interpretability.reading import read_object
from interpretability.recordings.cuts import Cut
from interpretability.recordings.result import RecordingExplanation
from interpretability.recordings.stitching import Stitcher
from interpretability.recordings.store import KNOWN, Masks, link_or_copy
from interpretability.recordings.windows import Span
from interpretability.report.destination import DESCRIPTION, check_same
from interpretability.report.event_files import write_events
from interpretability.report.figures import save_figure
from interpretability.report.timeline import plot_timeline

#: Folder of the events' sounds; so many events have them, those with the largest effect.
SOUNDS, MOST_SOUNDS = "events", 100
#: What is heard before and after an event in its sound, and the longest sound, in s.
AROUND, LONGEST_SOUND = 0.25, 30.0


def save(
    result: RecordingExplanation,
    stream: SoundStream,
    work: Path,
    masks: Masks | None,
    identity: str,
    facts: Mapping[str, Any],
    progress: bool = False,
    format: str = "png",
) -> None:
    """Write the folder of a result, unless it is there already.

    It gets ``explanation.json`` (:meth:`.RecordingExplanation.describe`), ``timeline.csv`` (the probability of each
    class at each step), ``timeline.json`` (each window), ``timeline.png``, the events as :func:`.write_events` writes
    them, and what is known of windows: ``windows.jsonl``, ``explained.jsonl``, ``masks/``. Where there is an
    explanation also ``explanation.wav`` (what is kept, silent where nothing is explained) and ``residual.wav`` (the
    rest): both have the time axis of the recording, and add up to what is heard of it, divided by its peak if the front
    end levels clips. ``events/`` has two sounds of each of the 100 events with the largest effect: the recording around
    it, and what is kept of that, at the level of the window in which the effect was measured.

    Parameters
    ----------
    result : RecordingExplanation
    stream : SoundStream
        Of the recording.
    work : Path
        The folder with what is known of windows.
    masks : Masks, optional
        Those of the windows; None if there are none.
    identity : str
        Of recording, model and settings.
    facts : mapping
        Added to the description.
    progress : bool
    format : {"png", "svg", "pdf"}
        Of the figure.

    Raises
    ------
    UserError
        If the folder holds the result of another recording, model or method.
    """
    folder, description = result.folder, {**result.describe(), "identity": identity, **facts}
    rate = result.timeline.sample_rate
    for event, (heard, kept) in zip(description["events"], event_sounds(result), strict=False):
        event |= {"sound": heard, "explanation": kept, "sound_start": _first_sample(event["start"], rate) / rate}
    check_same(folder, description)
    if _is_finished(folder, identity):
        return
    with atomic_folder(folder) as temporary:
        _write_timeline(temporary, result, format)
        write_events(temporary, [(event, result.path.name) for event in result.events])
        if masks is not None and any(window.reason is None for window in result.windows):
            _write_sounds(temporary, result, stream, masks, progress)
        for name in KNOWN:
            for source in sorted((work / name).rglob("*")) if (work / name).is_dir() else [work / name]:
                if source.is_file():
                    (temporary / source.relative_to(work)).parent.mkdir(exist_ok=True)
                    link_or_copy(source, temporary / source.relative_to(work))
        write_json(temporary / DESCRIPTION, description)


def event_sounds(result: RecordingExplanation) -> list[tuple[str, str]]:
    """Return, for each event that has sounds, the names of that of the recording and of what is kept of it."""
    names = []
    for rank, event in enumerate(result.events[:MOST_SOUNDS], 1):
        stem = f"{SOUNDS}/{rank:03d}-{safe_name(event.label)}-{event.start:.2f}s"
        names.append((f"{stem}.wav", f"{stem}-explanation.wav"))
    return names


def _first_sample(start: float, rate: int) -> int:
    """Return where the sound of an event begins that begins at a time, in s."""
    return max(0, round((start - AROUND) * rate))


def _is_finished(folder: Path, identity: str) -> bool:
    """Return whether a folder holds just this result, unchanged."""
    if not (folder / DESCRIPTION).is_file() or read_object(folder / DESCRIPTION).get("identity") != identity:
        return False
    check_replaceable(folder)
    return True


def _write_timeline(folder: Path, result: RecordingExplanation, format: str) -> None:
    timeline, target = result.timeline, result.target
    times, lines = timeline.stitched()
    rows = [[f"{time:.3f}", *(f"{value:.4f}" for value in line)] for time, line in zip(times, lines, strict=True)]
    write_text(folder / "timeline.csv", csv_text([["time", *map(printable, timeline.labels)], *rows]))
    states = {window.span.start: window.reason for window in result.windows}
    windows = []
    for window in timeline.windows:
        start, end = timeline.seconds_of(window.span)
        best = int(window.probabilities.argmax())
        active = window.span.start in states
        windows.append(
            {
                "start": start,
                "end": end,
                "peak": window.peak,
                "predicted": timeline.labels[best],
                "predicted_probability": float(window.probabilities[best]),
                "probability": float(window.probabilities[target]),
                "active": active,
                "explained": active and states[window.span.start] is None,
            }
        )
    content = {"explained": result.label, "threshold": result.threshold, "seconds": timeline.seconds}
    write_json(folder / "timeline.json", {**content, "windows": windows})
    title = f"{printable(result.path.name)}: {printable(result.label)}, explained where it is active"
    figure = plot_timeline(times, lines, timeline.labels, target, result.threshold, result.stretches, result.events,
                           title)  # fmt: skip
    save_figure(figure, folder / f"timeline.{format}")


def _write_sounds(
    folder: Path, result: RecordingExplanation, stream: SoundStream, masks: Masks, progress: bool
) -> None:
    """Write explanation and residual, and the sounds of events, block by block."""
    frontend, rate = result.classifier.frontend, stream.sample_rate
    levels = frontend.settings.level != "none"
    peaks = {window.span.start: window.peak for window in result.timeline.windows}
    spans = [window.span for window in result.windows if window.reason is None]
    gains = [peaks[span.start] if levels else 1.0 for span in spans]
    peak = max(peaks.values()) if levels else 1.0

    def mask_of(index: int) -> np.ndarray:
        mask = masks.read(spans[index].start)
        if mask is None:
            raise UserError(f"{masks.path(spans[index].start)} was damaged meanwhile: run it again")
        return mask

    assert result.interpreter is not None  # something was explained
    stitcher = Stitcher(frontend, result.interpreter.settings.apply, spans, gains, mask_of)
    n_samples = result.timeline.windows[-1].span.stop
    cuts = []
    for (heard, kept), event in zip(event_sounds(result), result.events, strict=False):
        first = _first_sample(event.start, rate)
        last = min(n_samples, round(min(event.end + AROUND, event.start + LONGEST_SOUND) * rate))
        gain = peaks[round(event.window_start * rate)] if levels else 1.0
        cuts.append(Cut(Span(first, last), gain, folder / heard, folder / kept, rate))
    (folder / SOUNDS).mkdir()
    with (
        WavFile(folder / "explanation.wav", n_samples, rate) as explanation,
        WavFile(folder / "residual.wav", n_samples, rate) as residual,
        tqdm(total=round(n_samples / rate), desc="writing", unit="s", disable=None if progress else True) as bar,
    ):
        for block in stitcher.blocks(stream, n_samples):
            explanation.write(block.explanation / peak)
            residual.write((block.input - block.explanation) / peak)
            for cut in cuts:
                cut.add(block)
            bar.update(round(len(block.span) / rate))
