"""What is in a clip: every sound of a data set is decoded once and measured; one that cannot be is described, too."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
from tqdm import tqdm

from interpretability.data.audio import Stretch, audio_header, note_of_cancelling, stream_audio
from interpretability.data.headers import missing_share
from interpretability.errors import UserError

#: Of full scale; samples from there on, at least so many beside each other, are cut off at the top.
FULL_SCALE, CLIPPED_RUN = 0.999, 3
#: A clip whose loudest sample lies below is silent, dB of full scale.
SILENT_DB = -80.0


@dataclass(frozen=True)
class ListedSound:
    """A clip that is to be looked at.

    Attributes
    ----------
    id : str
    path : str
    labels : tuple of str
    split : str, optional
    stretch : Stretch, optional
        The part of the file that is the clip; None: all of it.
    """

    id: str
    path: str
    labels: tuple[str, ...]
    split: str | None = None
    stretch: Stretch | None = None


@dataclass
class ClipFacts:
    """What was measured in a clip.

    Attributes
    ----------
    id, path, labels, split
        As of :class:`ListedSound`.
    start : float, optional
        Of a clip that is a part of its file, s.
    fault : str, optional
        Why the file cannot be read; nothing below is then known.
    seconds : float
        Decoded, s.
    sample_rate : int
        Hz.
    channels : int
    peak_db : float, optional
        Of the loudest sample of all channels, dB of full scale; None for digital silence, and if none is finite.
    level_db : float, optional
        Root mean square of the mean of the channels, dB of full scale; None for digital silence.
    not_finite : int
        Samples that are NaN or infinite.
    clipped : float
        Share of the samples, of all channels, that lie in a stretch at full scale (:data:`FULL_SCALE`).
    zeros : float
        Share of the samples in which all channels are exactly zero.
    missing : float
        Share of the sound that the header promises and the file has not.
    cancels : str, optional
        That its channels cancel each other.
    content : str
        The same for the same samples, whatever the format, the name and the number of equal channels.
    """

    id: str
    path: str
    labels: tuple[str, ...]
    split: str | None
    start: float | None = None
    fault: str | None = None
    seconds: float = 0.0
    sample_rate: int = 0
    channels: int = 0
    peak_db: float | None = None
    level_db: float | None = None
    not_finite: int = 0
    clipped: float = 0.0
    zeros: float = 0.0
    missing: float = 0.0
    cancels: str | None = None
    content: str = ""

    @property
    def usable(self) -> bool:
        """Whether a training could read it."""
        return self.fault is None and self.not_finite == 0

    @property
    def silent(self) -> bool:
        """Whether it has no sample above :data:`SILENT_DB`."""
        return self.usable and (self.peak_db is None or self.peak_db < SILENT_DB)


def inspect_clips(sounds: Iterable[ListedSound]) -> list[ClipFacts]:
    """Decode and measure clips, with a progress bar on a terminal; one that cannot be read has the reason."""
    sounds = list(sounds)
    return [inspect_clip(sound) for sound in tqdm(sounds, "listening", unit="clip", disable=None, leave=False)]


def inspect_clip(sound: ListedSound) -> ClipFacts:
    """Decode and measure one clip, in blocks: the memory that is needed does not grow with it."""
    start = None if sound.stretch is None else sound.stretch.start
    known = {"id": sound.id, "path": sound.path, "labels": sound.labels, "split": sound.split, "start": start}
    try:
        header = audio_header(sound.path)
        tally = _Tally(header.channels, header.sample_rate)
        for samples in stream_audio(sound.path, sound.stretch):
            tally.add(samples)
        missing = 0.0 if sound.stretch is not None else missing_share(sound.path)
    except UserError as fault:
        return ClipFacts(**known, fault=str(fault).removeprefix(f"{sound.path}: "))
    if tally.count == 0:
        return ClipFacts(**known, fault="holds no samples there")
    cancels = () if tally.not_finite else note_of_cancelling(tally.power, tally.mean_power, header.channels)
    return ClipFacts(
        **known,
        seconds=tally.count / header.sample_rate,
        sample_rate=header.sample_rate,
        channels=header.channels,
        peak_db=_decibels(tally.peak),
        level_db=_decibels(math.sqrt(tally.mean_power / tally.count)),
        not_finite=tally.not_finite,
        clipped=tally.clipped / (tally.count * header.channels),
        zeros=tally.zeros / tally.count,
        missing=missing if sound.stretch is not None else max(missing, 1 - tally.count / header.n_samples),
        cancels=cancels[0] if header.channels > 1 and cancels else None,
        content=tally.digest.hexdigest(),
    )


def _decibels(value: float) -> float | None:
    return round(20 * math.log10(value), 1) if value > 0 else None


@dataclass
class _Tally:
    """Counts what passes, block by block."""

    channels: int
    rate: int
    count: int = 0
    not_finite: int = 0
    peak: float = 0.0
    power: float = 0.0
    mean_power: float = 0.0
    clipped: int = 0
    zeros: int = 0
    digest: hashlib.blake2b = field(default_factory=lambda: hashlib.blake2b(digest_size=16))

    def __post_init__(self):
        self.digest.update(str(self.rate).encode())
        self._open = [0] * self.channels  # samples at full scale that the last block ended with

    def add(self, samples: np.ndarray) -> None:
        """Count a block [N', channels]."""
        finite = np.isfinite(samples)
        self.not_finite += int((~finite).any(axis=1).sum())
        samples = np.where(finite, samples, 0.0).astype(np.float32)
        mean = samples.mean(axis=1, dtype=np.float32)  # [N']
        magnitude = np.abs(samples)
        self.count += len(samples)
        self.peak = max(self.peak, float(magnitude.max(initial=0.0)))
        self.power += float(np.square(samples, dtype=np.float64).mean(axis=1).sum())
        self.mean_power += float(np.square(mean, dtype=np.float64).sum())
        self.zeros += int((magnitude == 0).all(axis=1).sum())
        self._count_clipped(magnitude >= FULL_SCALE)
        self.digest.update(mean.tobytes())

    def _count_clipped(self, full: np.ndarray) -> None:
        """Count samples [N', channels] in runs at full scale, also in those that began in the block before."""
        for channel in range(self.channels if full.any() else 0):
            steps = np.diff(full[:, channel].astype(np.int8), prepend=0, append=0)
            starts, ends = np.nonzero(steps == 1)[0], np.nonzero(steps == -1)[0]
            lengths = ends - starts
            before = self._open[channel] if len(starts) and starts[0] == 0 else 0
            if before:
                lengths[0] += before
            self.clipped += int(lengths[lengths >= CLIPPED_RUN].sum())
            if before >= CLIPPED_RUN:  # counted with the block before
                self.clipped -= before
            self._open[channel] = int(lengths[-1]) if len(ends) and ends[-1] == len(full) else 0
        if not full.any():
            self._open = [0] * self.channels
