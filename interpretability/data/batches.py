"""From manifests to batches: clips of fixed or native length, padded, with relative lengths."""

from pathlib import Path

from speechbrain.dataio.dataset import DynamicItemDataset
from torch import Tensor
from torch.nn import functional

from interpretability.data.audio import ClipCache, Stretch
from interpretability.data.manifest import PreparedData, decodable, read_manifest, speechbrain_dataset
from interpretability.errors import UserError
from interpretability.resampling import DEFAULT_FILTER


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
    return datasets
