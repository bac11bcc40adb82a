"""From manifests to batches: clips of fixed or native length, grouped by length, padded, with relative lengths."""

import math
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from speechbrain.dataio.batch import PaddedBatch
from speechbrain.dataio.dataset import DynamicItemDataset
from speechbrain.dataio.sampler import ReproducibleRandomSampler
from torch import Tensor
from torch.nn import functional
from torch.utils.data import Sampler

from interpretability.data.audio import ClipCache, Stretch
from interpretability.data.manifest import PreparedData, decodable, read_manifest, speechbrain_dataset
from interpretability.errors import UserError
from interpretability.resampling import DEFAULT_FILTER

#: Clips that are padded to one length differ by this factor at most, but for those that would fill no batch.
ALIKE = 1.25
#: Where no bound is given: how much longer a batch may be than as many clips of mean length.
LONGER = 2.0


def make_datasets(
    prepared: PreparedData,
    labels: list[str],
    sample_rate: int,
    clip_seconds: float | None = None,
    fixed_length: bool = False,
    cache_folder: str | Path | None = None,
    skip_bad_clips: bool = False,
    splits: tuple[str, ...] = ("train", "valid", "test"),
    with_targets: bool = False,
    progress: bool = True,
    resampling: str = DEFAULT_FILTER,
    channel: str = "mean",
) -> dict[str, DynamicItemDataset]:
    """Return a data set for each split.

    Parameters
    ----------
    prepared : PreparedData
        Of a ``prepare_*`` function.
    labels : list of str
        The classifier's classes; a clip of another class is an error.
    sample_rate : int
        Hz.
    clip_seconds : float, optional
        Longer clips are cut to their first ``clip_seconds``.
    fixed_length : bool
        Pad shorter clips with silence, which then belongs to the clip; otherwise clips keep their native length, and a
        batch is padded with relative lengths.
    cache_folder : path, optional
        Where decoded clips are kept; no cache if not given.
    skip_bad_clips : bool
        Leave out, count and log bad clips instead of stopping. Every clip is then decoded once in advance, into the
        cache if there is one; otherwise damaged audio stops the run when it is reached.
    splits : tuple of str
    with_targets : bool
        Also load the sounds of the labelled sources alone, as ``target_signal`` or ``target_signals``; of data sets
        that have them.
    progress : bool
        Show a progress bar while every clip is decoded, on a terminal.
    resampling : {"accurate", "published"}
        The filter, see :mod:`interpretability.resampling`.
    channel : {"mean", "left", "right"}
        What is kept of a clip of several channels.

    Raises
    ------
    UserError
        If a fixed length is asked for without ``clip_seconds``, or a manifest or a clip is bad (or all clips of a split
        are); if targets are asked for that the data set does not have.
    """
    if fixed_length and not clip_seconds:
        raise UserError("fixed_length is True but clip_seconds is not set: give the length of the clips")
    cache = ClipCache(cache_folder, sample_rate, clip_seconds, resampling, channel)
    n_fixed = round(clip_seconds * sample_rate) if fixed_length else None

    def load(path: str, *stretch: Stretch) -> Tensor:
        wav = cache.load(path, *stretch)
        return wav if n_fixed is None else functional.pad(wav, (0, n_fixed - len(wav)))

    datasets = {}
    for split in splits:
        manifest = read_manifest(prepared.manifests[split], prepared.data_root, labels, skip_bad_clips)
        if skip_bad_clips:
            manifest = decodable(manifest, cache.load, with_targets, progress)
        datasets[split] = speechbrain_dataset(manifest, load, with_targets)
        for clip in datasets[split].data.values():
            longest = math.inf if clip_seconds is None else clip_seconds
            clip["seconds"] = longest if fixed_length else min(clip["duration"], longest)
    return datasets


def seconds_of(dataset: DynamicItemDataset) -> list[float]:
    """Return how long each clip of a data set is, in seconds, without decoding it; all 0 if the data set says nothing.

    Of one that :func:`make_datasets` made, or of a selection of its clips.
    """
    clips = getattr(getattr(dataset, "dataset", dataset), "data", {})
    return [float(clips.get(name, {}).get("seconds", 0.0)) for name in dataset.data_ids]


def labels_at(batch: PaddedBatch, position: int) -> list[str]:
    """Return the labels of a clip of a batch, which has ``label`` or ``labels``."""
    return list(batch.labels[position]) if hasattr(batch, "labels") else [batch.label[position]]


class LengthBatches(Sampler[list[int]]):
    """Batches of clips of similar length, for a data loader: bounded, the same for the same seed and epoch.

    Where no clip is longer than another by more than :data:`ALIKE`, batches are cut from one order of all clips.
    Otherwise each batch holds neighbours in length, and those left over are joined to the next longer ones.

    Parameters
    ----------
    seconds : sequence of float
        Length of each clip, in s.
    batch_size : int
        Most clips of a batch.
    batch_seconds : float, optional
        Most seconds of a batch, padding included; a longer clip is a batch of its own. If not given, :data:`LONGER`
        times what ``batch_size`` clips of mean length have.
    seed : int, optional
        Clips are shuffled, anew in each epoch (:meth:`set_epoch`). Of clips of one length, a last batch that is not
        full is left out. None: all clips in their order; of clips of several lengths, the longest first.
    part : (int, int)
        Position of a process and the number of processes: only its share of the batches.

    Example
    -------
    >>> list(LengthBatches([1.0, 9.0, 1.1, 8.5, 1.0], batch_size=2, batch_seconds=20.0))
    [[3], [4, 1], [0, 2]]
    """

    def __init__(
        self,
        seconds: Sequence[float],
        batch_size: int,
        batch_seconds: float | None = None,
        seed: int | None = None,
        part: tuple[int, int] = (0, 1),
    ):
        self._order = range(len(seconds)) if seed is None else ReproducibleRandomSampler(range(len(seconds)), seed)
        self._seed, self._part, self._batch_size = seed, part, batch_size
        if batch_seconds is None:
            batch_seconds = LONGER * batch_size * sum(seconds) / max(len(seconds), 1)
        self._pool = [0] * len(seconds)
        self._sizes: list[int] = []  # of the batches of each pool
        shortest = longest = 0.0
        for index in sorted(range(len(seconds)), key=seconds.__getitem__):
            if not self._sizes or seconds[index] > ALIKE * shortest:
                shortest = seconds[index]
                self._sizes.append(batch_size)
            longest = seconds[index]
            fitting = int(batch_seconds / longest) if longest else batch_size
            self._pool[index] = len(self._sizes) - 1
            self._sizes[-1] = max(1, min(batch_size, fitting))

    @property
    def alike(self) -> bool:
        """Whether batches are cut from one order of all clips, ``batch_size`` at a time."""
        return self._sizes in ([], [self._batch_size])

    def set_epoch(self, epoch: int) -> None:
        """Choose the order of an epoch."""
        if self._seed is not None:
            self._order.set_epoch(epoch)

    def _batches(self) -> list[list[int]]:
        pools: list[list[int]] = [[] for _ in self._sizes]
        for index in self._order:
            pools[self._pool[index]].append(index)
        batches, left = [], []
        for pool, size in zip(pools, self._sizes, strict=True):
            clips = left + pool
            full = len(clips) - len(clips) % size
            batches += [clips[start : start + size] for start in range(0, full, size)]
            left = clips[full:]
        # Batch statistics of one leftover clip would be noise. Of clips of several lengths it is always a long one.
        if left and (self._seed is None or len(self._sizes) > 1 or not batches):
            batches.append(left)
        if len(self._sizes) < 2:
            return batches
        if self._seed is None:
            return batches[::-1]
        generator = torch.Generator().manual_seed(self._seed + self._order.epoch)
        return [batches[place] for place in torch.randperm(len(batches), generator=generator).tolist()]

    def __iter__(self) -> Iterator[list[int]]:
        position, count = self._part
        return iter(self._batches()[position::count])

    def __len__(self) -> int:
        position, count = self._part
        return len(self._batches()[position::count])
