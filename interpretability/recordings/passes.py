"""The passes over a recording that classify and explain its windows, each from where an earlier run has stopped."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence

import numpy as np
from torch import Tensor
from tqdm import tqdm

from interpretability.classifiers import Classifier
from interpretability.data.inputs import SHORTEST, Origin, Sounds
from interpretability.data.streaming import SoundStream
from interpretability.errors import UserError
from interpretability.events import EventSettings
from interpretability.explaining import check_classifier_runs
from interpretability.journal import Journal
from interpretability.methods import Interpreter
from interpretability.recordings.explained import explained
from interpretability.recordings.result import Explained
from interpretability.recordings.store import Masks
from interpretability.recordings.timeline import AT_ONCE, Heard, Timeline, classified, in_batches, padded
from interpretability.recordings.windows import Span, WindowPlan

#: Windows that are given to a method that learns from sounds, evenly over the recording.
MOST_LEARNED = 12


def classify_windows(
    classifier: Classifier, stream: SoundStream, plan: WindowPlan, journal: Journal, progress: bool = False
) -> tuple[Timeline, tuple[str, ...]]:
    """Classify the windows of a recording that the journal does not know yet; return all answers, and notes.

    Raises
    ------
    UserError
        If the recording is shorter than 0.1 s, or the classifier cannot be run on a window.
    """
    rate, rows = stream.sample_rate, journal.read()
    timeline = Timeline(classifier.labels, rate, plan.hop, [_heard(row) for row in rows if "peak" in row])
    windows = timeline.windows
    ended = next((row for row in rows if "notes" in row), None)
    if ended is not None:
        return timeline, tuple(ended["notes"])
    cut = itertools.islice(plan.cut(stream), len(windows), None)
    total = max(1, round((stream.promised * rate - plan.length) / plan.hop) + 1)
    with tqdm(
        total=total, initial=len(windows), desc="classifying", unit="window", disable=None if progress else True
    ) as bar:
        for batch in in_batches(_checked(classifier, cut, rate, stream), max(1, AT_ONCE // plan.length)):
            answers = classified(classifier, batch)
            journal.append([_row(answer) for answer in answers])
            windows += answers
            bar.update(len(answers))
    journal.append([{"notes": list(stream.notes)}])
    return timeline, stream.notes


def explain_windows(
    interpreter: Interpreter,
    stream: SoundStream,
    plan: WindowPlan,
    active: Sequence[Span],
    target: int,
    settings: EventSettings,
    journal: Journal,
    masks: Masks,
    progress: bool = False,
) -> list[Explained]:
    """Explain a class in those of the active windows that journal and masks do not know yet; return all."""
    known = {row["start"]: Explained.of(row) for row in journal.read()}
    known = {start: one for start, one in known.items() if one.reason is not None or masks.read(start) is not None}
    missing = {span.start for span in active if span.start not in known}
    with tqdm(
        total=len(active),
        initial=len(active) - len(missing),
        desc="explaining",
        unit="window",
        disable=None if progress else True,
    ) as bar:
        if missing:
            wanted = _wanted(plan, stream, missing)
            for batch in explained(interpreter, wanted, plan.length, target, settings):
                for window in batch:
                    if window.mask is not None:
                        masks.write(window.span.start, window.mask)
                    known[window.span.start] = Explained(window.span, window.events, window.reason)
                journal.append([known[window.span.start].row() for window in batch])
                bar.update(len(batch))
    return [known[span.start] for span in active]


def examples(stream: SoundStream, plan: WindowPlan, timeline: Timeline, classifier: Classifier) -> Sounds:
    """Return a few windows, evenly over the recording: what a method that learns from sounds learns from."""
    spans = [window.span for window in timeline.windows if window.peak > 0]
    chosen = np.unique(np.linspace(0, len(spans) - 1, min(MOST_LEARNED, len(spans))).round().astype(int))
    wanted = _wanted(plan, stream, {spans[index].start for index in chosen})
    wavs, lengths = padded([wav.clone() for _, wav in wanted], classifier)
    return Sounds(wavs, lengths, (Origin(stream.path.absolute()),) * len(wavs))


def _wanted(plan: WindowPlan, stream: SoundStream, starts: set[int]) -> Iterator[tuple[Span, Tensor]]:
    """Yield the windows that begin at the given samples; the recording is read no further than the last of them."""
    left = len(starts)
    for span, wav in plan.cut(stream):
        if span.start in starts:
            yield span, wav
            left -= 1
            if left == 0:
                return


def _checked(
    classifier: Classifier, windows: Iterator[tuple[Span, Tensor]], rate: int, stream: SoundStream
) -> Iterator[tuple[Span, Tensor]]:
    """Yield windows; refuse a recording that is too short, or of which the classifier does not take the first one."""
    for index, (span, wav) in enumerate(windows):
        if span.stop < SHORTEST * rate:
            raise UserError(
                f"{stream.path}: lasts {span.stop / rate:.4g} s, expected at least {SHORTEST:g} s: record it again"
            )
        if index == 0:
            check_classifier_runs(classifier, Sounds(wav[None], None, (Origin(stream.path.absolute()),)))
        yield span, wav


def _row(heard: Heard) -> dict:
    values = [round(float(value), 7) for value in heard.probabilities]
    return {"start": heard.span.start, "stop": heard.span.stop, "peak": heard.peak, "probabilities": values}


def _heard(row: dict) -> Heard:
    return Heard(Span(row["start"], row["stop"]), row["peak"], np.array(row["probabilities"], dtype=np.float32))
