"""Events: a mask as a short list of regions in time and frequency, and what each is worth to the classifier.

A region is a box: where the mask keeps much of the sound, close together. What it is worth is measured, not read off
the mask: the class's probability when the sound has this box alone, and when the box is taken out of it, both as heard.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Protocol

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor

from interpretability.frontend import Clips, FrontendSettings, MaskedPair
from interpretability.metrics.regions import shortest_run
from interpretability.metrics.suite import MaskedClassifier
from interpretability.probabilities import class_probability
from interpretability.settings import Settings, setting

#: Bins of all masks that are classified at a time: bounds the memory, whatever the number and length of clips.
MOST_BINS = 2**25


@dataclass(frozen=True)
class EventSettings(Settings):
    """How a mask becomes events.

    All but ``most`` were chosen on the validation split of Synthetic (``tools/measure_events.py --choose``).
    """

    smooth_seconds: float = setting(0.02, "width (sigma) over which the kept energy is averaged", unit="s", least=0)
    smooth_hertz: float = setting(160.0, "the same, in frequency", unit="Hz", least=0)
    held_share: float = setting(0.6, "share of the averaged energy that the regions hold together", above=0, most=1)
    gap_seconds: float = setting(0.3, "regions that are no further apart are one", unit="s", least=0)
    gap_hertz: float = setting(150.0, "the same, in frequency", unit="Hz", least=0)
    core: float = setting(0.99, "share of a region's energy that its interval and its band each hold", above=0, most=1)
    least_share: float = setting(0.1, "share of all kept energy below which a region is left out", least=0, most=1)
    most: int = setting(5, "most events of a clip: those with the largest share", least=1)


@dataclass(frozen=True)
class Event:
    """A region of a sound that the explanation of a class points to, and what it is worth to the classifier.

    Attributes
    ----------
    label : str
        The explained class.
    start, end : float
        Seconds from the start of the sound.
    low, high : float
        Hz.
    share : float
        Of the energy that the explanation keeps, in [0, 1].
    probability : float
        Of the class, for the whole sound, in [0, 1].
    alone : float
        The same, when only this region of the sound is kept.
    without : float
        The same, when only this region of the sound is removed.
    """

    label: str
    start: float
    end: float
    low: float
    high: float
    share: float
    probability: float
    alone: float
    without: float

    @property
    def effect(self) -> float:
        """What the class loses when the region is removed, in [-1, 1]."""
        return self.probability - self.without

    def to_dict(self) -> dict[str, Any]:
        """Return all values and the effect, as plain ones for JSON."""
        return {**asdict(self), "effect": self.effect}

    def shifted(self, seconds: float) -> Event:
        """Return the event with other times: of a part of a recording that begins at ``seconds``."""
        return replace(self, start=self.start + seconds, end=self.end + seconds)


@dataclass(frozen=True)
class Cells:
    """A box on the grid of a spectrogram.

    Attributes
    ----------
    frames, bins : slice
        Which frames and frequency bins are in it.
    share : float
        Of the kept energy.
    """

    frames: slice
    bins: slice
    share: float

    def bounds(self, frontend: FrontendSettings, seconds: float) -> dict[str, float]:
        """Return start and end in s, low and high in Hz, within a sound of ``seconds``.

        Frame i is centred on i hops, and a frequency bin on its frequency: each reaches half a step to both sides.
        """
        hop, width = frontend.hop_length / frontend.sample_rate, frontend.sample_rate / frontend.n_fft
        return {
            "start": max(0.0, (self.frames.start - 0.5) * hop),
            "end": min(seconds, (self.frames.stop - 0.5) * hop),
            "low": max(0.0, (self.bins.start - 0.5) * width),
            "high": min(frontend.sample_rate / 2, (self.bins.stop - 0.5) * width),
        }


class ExplainedBatch(Protocol):
    """What is needed of analysed clips: the sounds, and the class [B] of each that is explained."""

    clips: Clips
    target: Tensor
    output: Any


def find_regions(kept: np.ndarray, frontend: FrontendSettings, settings: EventSettings) -> list[Cells]:
    """Find the few regions in which most of what a mask keeps lies.

    The energy that the mask keeps is averaged over a small width, so that a speckled mask has regions, too. The fewest
    bins that hold ``held_share`` of it are joined to connected regions, across small gaps; the boxes around these are
    joined where they overlap. Averaging makes them wider than the sound, so that each is cut to the shortest interval
    and the narrowest band that hold ``core`` of its energy.

    Parameters
    ----------
    kept : array [T, F]
        Linear magnitude of what the mask keeps of one clip.
    frontend : FrontendSettings
        Of the spectrogram.
    settings : EventSettings

    Returns
    -------
    list of Cells
        Boxes that do not overlap, those with the largest share first: at least one, and at most ``settings.most``; none
        if the mask keeps nothing.
    """
    energy = np.square(kept, dtype=np.float64)
    total = energy.sum()
    if not total > 0:
        return []
    steps = np.array([frontend.hop_length / frontend.sample_rate, frontend.sample_rate / frontend.n_fft])  # s, Hz
    widths = np.array([settings.smooth_seconds, settings.smooth_hertz]) / steps
    smooth = ndimage.gaussian_filter(energy, widths, mode="constant")
    descending = np.sort(smooth, axis=None)[::-1]
    held = np.cumsum(descending)
    strong = smooth >= descending[np.searchsorted(held, settings.held_share * held[-1])]
    strong &= smooth > 0
    gaps = np.floor(np.array([settings.gap_seconds, settings.gap_hertz]) / steps).astype(int)
    # Grown by half the gap to each side, parts that are as near as this touch.
    grown = ndimage.maximum_filter(strong, size=tuple(gaps + 1), mode="constant")
    parts, _ = ndimage.label(grown, structure=np.ones((3, 3)))
    boxes = _joined([box for box in ndimage.find_objects(np.where(strong, parts, 0)) if box is not None])
    boxes = [_core(energy, box, settings.core) for box in boxes if energy[box].any()]
    regions = [Cells(frames, bins, float(energy[frames, bins].sum() / total)) for frames, bins in boxes]
    regions.sort(key=lambda region: (-region.share, region.frames.start, region.bins.start))
    return [r for i, r in enumerate(regions[: settings.most]) if i == 0 or r.share >= settings.least_share]


def _core(energy: np.ndarray, box: tuple[slice, slice], share: float) -> tuple[slice, slice]:
    """Return the part of a box whose frames, and whose bins, hold a share of its energy."""
    runs = (shortest_run(energy[box].sum(axis=axis), share) for axis in (1, 0))
    frames, bins = (slice(s.start + first, s.start + last + 1) for s, (first, last) in zip(box, runs, strict=True))
    return frames, bins


def _joined(boxes: Sequence[tuple[slice, slice]]) -> list[tuple[slice, slice]]:
    """Return boxes that do not overlap: those that do are replaced by the box around both."""
    separate: list[tuple[slice, slice]] = []
    for box in boxes:
        overlapping = [other for other in separate if _overlap(box, other)]
        while overlapping:
            separate = [other for other in separate if other not in overlapping]
            box = _around([box, *overlapping])
            overlapping = [other for other in separate if _overlap(box, other)]
        separate.append(box)
    return separate


def _overlap(first: tuple[slice, slice], other: tuple[slice, slice]) -> bool:
    return all(a.start < b.stop and b.start < a.stop for a, b in zip(first, other, strict=True))


def _around(boxes: Sequence[tuple[slice, slice]]) -> tuple[slice, slice]:
    frames, bins = (slice(min(s.start for s in axis), max(s.stop for s in axis)) for axis in zip(*boxes, strict=True))
    return frames, bins


@torch.no_grad()
def measured_events(
    classifier: MaskedClassifier,
    labels: Sequence[str],
    batch: ExplainedBatch,
    apply: str,
    regions: Sequence[Sequence[Cells]],
) -> list[list[Event]]:
    """Ask the classifier what each region is worth: one batched pass over all regions of all clips.

    A region is kept, or removed, as a mask is: ``apply(R)`` and ``apply(1 - R)`` with R = 1 in the region, as sound
    (what a person hears), which is analysed and classified again.

    Parameters
    ----------
    classifier : MaskedClassifier
    labels : sequence of str [C]
        The classifier's class names.
    batch : AnalysedBatch
        The clips, the classifier's answer to them, and the explained classes.
    apply : {"log", "linear"}
        Domain in which masks multiply.
    regions : sequence [B] of sequences of Cells
        Of each clip.

    Returns
    -------
    list [B] of list of Event
        Of each clip, those whose removal costs the class most first; of equal ones, the larger share first.
    """
    clips, target, task = batch.clips, batch.target, classifier.task
    frontend, (_, n_frames, n_bins) = clips.frontend.settings, clips.spectrogram.magnitude.shape
    whole = class_probability(batch.output.logits, target, task).p.tolist()
    asked = [(clip, region) for clip, members in enumerate(regions) for region in members]
    events: list[list[Event]] = [[] for _ in regions]
    at_once = max(1, MOST_BINS // (2 * n_frames * n_bins))
    for start in range(0, len(asked), at_once):
        part = asked[start : start + at_once]
        rows = torch.tensor([clip for clip, _ in part], device=target.device)
        masks = torch.zeros(len(part), n_frames, n_bins, device=target.device)
        for mask, (_, region) in zip(masks, part, strict=True):
            mask[region.frames, region.bins] = 1
        heard = classifier.classify_pair(MaskedPair.of(clips[rows], masks, apply), "waveform")
        alone, without = (class_probability(x, target[rows], task).p.tolist() for x in (heard.inside, heard.outside))
        for (clip, region), kept, left in zip(part, alone, without, strict=True):
            seconds = int(clips.lengths[clip]) / frontend.sample_rate
            place, label = region.bounds(frontend, seconds), labels[int(target[clip])]
            events[clip].append(
                Event(label, **place, share=region.share, probability=whole[clip], alone=kept, without=left)
            )
    return [sorted(members, key=lambda event: (-event.effect, -event.share, event.start)) for members in events]
