"""What a classifier hears in a recording: its answer to each window, and one line of it over time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from interpretability.classifiers.base import Classifier
from interpretability.probabilities import probabilities
from interpretability.recordings.windows import Blend, Span

#: Samples that are classified at a time, of all windows together: bounds the memory. Larger blocks are no faster, and
#: freed ones of their size are not always found room for again: the process grew with the recording.
AT_ONCE = 1 << 18
#: Of the stitched line: so many steps for each hop of a window.
STEPS = 4


@dataclass(frozen=True)
class Heard:
    """The classifier's answer to one window.

    Attributes
    ----------
    span : Span
    peak : float
        Largest absolute sample: 0 for silence.
    probabilities : array [C], float32
        As of a clip of its own, at the level that the front end's rule gives it.
    """

    span: Span
    peak: float
    probabilities: np.ndarray


@dataclass(frozen=True)
class Timeline:
    """The answers to all windows, in order.

    Attributes
    ----------
    labels : list of str [C]
    sample_rate : int
        In Hz.
    hop : int
        Between windows, in samples.
    windows : list of Heard [W]
    """

    labels: list[str]
    sample_rate: int
    hop: int
    windows: list[Heard] = field(default_factory=list)

    @property
    def seconds(self) -> float:
        """Length of the recording."""
        return self.windows[-1].span.stop / self.sample_rate if self.windows else 0.0

    @property
    def probabilities(self) -> np.ndarray:
        """Of each window and class, [W, C]."""
        return np.stack([window.probabilities for window in self.windows])

    def overall(self) -> int:
        """Return the class that the classifier says of the recording as a whole: the highest mean probability."""
        return int(self.probabilities.mean(0, dtype=np.float64).argmax())

    def stitched(self) -> tuple[np.ndarray, np.ndarray]:
        """Return one line for each class: times [P] in s, and probabilities [P, C], windows blended into each other."""
        end = self.windows[-1].span.stop
        places = np.arange(0, end + 1, max(1, self.hop // STEPS))
        blend = Blend([window.span for window in self.windows])
        return places / self.sample_rate, blend.average(self.probabilities, places)

    def seconds_of(self, span: Span) -> tuple[float, float]:
        """Return start and end of a span, in s."""
        return span.start / self.sample_rate, span.stop / self.sample_rate


@torch.no_grad()
def classified(classifier: Classifier, batch: Sequence[tuple[Span, Tensor]]) -> list[Heard]:
    """Classify a batch of windows, each as a clip of its own; return the answers in order."""
    output = classifier.analyse(*padded([wav for _, wav in batch], classifier)).output
    answers = probabilities(output.logits.float(), classifier.task).cpu().numpy()
    return [Heard(span, float(wav.abs().max()), answer) for (span, wav), answer in zip(batch, answers, strict=True)]


def in_batches(windows: Iterable[tuple[Span, Tensor]], size: int) -> Iterator[list[tuple[Span, Tensor]]]:
    """Yield windows, ``size`` at a time."""
    batch: list[tuple[Span, Tensor]] = []
    for window in windows:
        batch.append(window)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch


def padded(wavs: Sequence[Tensor], classifier: Classifier) -> tuple[Tensor, Tensor | None]:
    """Return samples as a batch [B, N] where the classifier is, and relative lengths if they differ."""
    counts = torch.tensor([len(wav) for wav in wavs])
    relative = None if bool((counts == counts.max()).all()) else counts / counts.max()
    return pad_sequence(list(wavs), batch_first=True).to(classifier.device), relative
