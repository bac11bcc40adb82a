"""Explanations of the windows of a recording: a mask for each, and the events that it shows."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from interpretability.data.inputs import Origin, Sounds
from interpretability.errors import UserError
from interpretability.events import EventSettings
from interpretability.explanation import Explanation
from interpretability.methods import Interpreter
from interpretability.recordings.merging import RecordingEvent
from interpretability.recordings.timeline import in_batches, padded
from interpretability.recordings.windows import Span

#: Samples that are explained at a time, of all windows together: bounds the memory, below what classifying takes.
AT_ONCE = 1 << 17
SILENT = "it is silent"
UNDEFINED = "the method has none for this sound"


@dataclass(frozen=True)
class ExplainedWindow:
    """The explanation of one window.

    Attributes
    ----------
    span : Span
    mask : array [T, F], optional
        Values in [0, 1]; None if there is no explanation.
    events : list of RecordingEvent
        In seconds from the start of the recording.
    reason : str, optional
        Why there is no explanation.
    """

    span: Span
    mask: np.ndarray | None
    events: list[RecordingEvent]
    reason: str | None = None


def explained(
    interpreter: Interpreter,
    windows: Iterable[tuple[Span, Tensor]],
    length: int,
    target: int,
    settings: EventSettings,
) -> Iterator[list[ExplainedWindow]]:
    """Explain one class in windows of up to ``length`` samples, each as a clip of its own; yield them batch by batch.

    A window that the method has no explanation for, or cannot be run on, stops nothing: it gets a reason.
    """
    for batch in in_batches(windows, max(1, AT_ONCE // length)):
        silent = [ExplainedWindow(span, None, [], SILENT) for span, wav in batch if not bool(wav.any())]
        heard = [(span, wav) for span, wav in batch if bool(wav.any())]
        done = [*silent, *(_explained(interpreter, heard, target, settings) if heard else [])]
        yield sorted(done, key=lambda window: window.span.start)


def _explained(
    interpreter: Interpreter, windows: Sequence[tuple[Span, Tensor]], target: int, settings: EventSettings
) -> list[ExplainedWindow]:
    wavs, lengths = padded([wav for _, wav in windows], interpreter.classifier)
    try:
        explanation = interpreter.explain(Sounds(wavs, lengths, (Origin(),) * len(windows)), target=target)
        return [_of_clip(explanation, index, span, settings) for index, (span, _) in enumerate(windows)]
    except UserError as error:
        if len(windows) == 1:
            return [ExplainedWindow(windows[0][0], None, [], str(error))]
    # One of them cannot be explained; which one shows when each is explained alone.
    return [one for window in windows for one in _explained(interpreter, [window], target, settings)]


def _of_clip(explanation: Explanation, index: int, span: Span, settings: EventSettings) -> ExplainedWindow:
    if explanation.undefined is not None and bool(explanation.undefined[index]):
        return ExplainedWindow(span, None, [], UNDEFINED)
    rate = explanation.frontend.sample_rate
    start, end = span.start / rate, span.stop / rate
    events = [RecordingEvent.of(event.shifted(start), start, end) for event in explanation.events(index, settings)]
    n_frames = int(explanation.spectrogram.valid[index].sum())
    return ExplainedWindow(span, explanation.mask[index, :n_frames].detach().cpu().numpy(), events)
