"""Where the explained sound is known to be, for the measures of localisation: its source alone, or boxes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from speechbrain.dataio.batch import PaddedBatch
from torch import Tensor

from interpretability.errors import UserError
from interpretability.frontend import Frontend, Spectrogram
from interpretability.metrics.localisation import box_mask, true_mask

#: Members of an item or a batch with the sounds of sources: of the one label of a clip, or of each of several.
SOURCES = ("target_signal", "target_signals")


@dataclass
class Truth:
    """The bins that a perfect explanation would keep.

    Attributes
    ----------
    bins : Tensor [B, T, F], bool
    known : Tensor [B], bool
        Clips of which they are known; of the others, nothing about the place of an explanation can be said.
    """

    bins: Tensor
    known: Tensor


def known_truth(
    frontend: Frontend, batch: PaddedBatch, wavs: Tensor, spectrogram: Spectrogram, explained: Sequence[str]
) -> Truth | None:
    """Return where the explained sounds are, if the batch says it; None otherwise.

    Parameters
    ----------
    frontend : Frontend
    batch : PaddedBatch
        With ``target_signal``, the sound of the labelled source alone, or ``target_signals``, that of each label: true
        are the bins in which it dominates; a clip without the explained label is not known. Or with ``boxes``, those
        of each clip (:mod:`.data.boxes`): true are the bins in those of the explained label; a clip without one, or
        whose boxes the front end does not hear, is not known.
    wavs : Tensor [B, N]
        The clips.
    spectrogram : Spectrogram
        Of the clips.
    explained : sequence of str
        The label that is explained, of each clip.

    Raises
    ------
    UserError
        If a clip and its target differ in length.
    """
    if hasattr(batch, "target_signal"):
        targets = batch.target_signal.data.to(wavs)
        same = targets.shape == wavs.shape and torch.equal(batch.target_signal.lengths, batch.signal.lengths)
        return _of_sources(frontend, batch, wavs, targets if same else None)
    if hasattr(batch, "target_signals"):
        sources = [sounds.get(label) for sounds, label in zip(batch.target_signals, explained, strict=True)]
        counts, targets = spectrogram.lengths.tolist(), torch.zeros_like(wavs)
        for position, (source, count) in enumerate(zip(sources, counts, strict=True)):
            if source is not None and len(source) == count:
                targets[position, :count] = source.to(wavs)
        same = all(source is None or len(source) == count for source, count in zip(sources, counts, strict=True))
        known = torch.tensor([source is not None for source in sources], device=wavs.device)
        return replace(_of_sources(frontend, batch, wavs, targets if same else None), known=known)
    if hasattr(batch, "boxes"):
        matching = [
            [box for box in boxes if box["label"] == label] for boxes, label in zip(batch.boxes, explained, strict=True)
        ]
        return boxed(frontend, matching, spectrogram)
    return None


def boxed(frontend: Frontend, boxes: Sequence[Sequence[Mapping[str, Any]]], spectrogram: Spectrogram) -> Truth:
    """Return the bins that lie in the boxes of each clip of a batch."""
    settings, (_, n_frames, n_bins) = frontend.settings, spectrogram.magnitude.shape
    like = {"dtype": torch.float64, "device": spectrogram.magnitude.device}
    times = torch.arange(n_frames, **like) * settings.hop_length / settings.sample_rate  # [T], s
    hertz = torch.arange(n_bins, **like) * settings.sample_rate / settings.n_fft  # [F]
    bins = torch.stack([box_mask(clip, times, hertz) for clip in boxes]) & spectrogram.valid[..., None]
    return Truth(bins, bins.flatten(1).any(dim=1))


def _of_sources(frontend: Frontend, batch: PaddedBatch, wavs: Tensor, targets: Tensor | None) -> Truth:
    """Return the bins in which the sources ``targets`` [B, N] dominate; None: they are of other lengths."""
    if targets is None:
        raise UserError(
            f"among the clips {', '.join(batch.id)} a target has another length than its mixture: "
            "make the targets as long as their clips"
        )
    # The rest is exactly the mixture on disk less the target; target, rest and mixture get the same gain.
    lengths = batch.signal.lengths.to(wavs.device)
    gain = frontend.clips(wavs, lengths).gain  # [B, 1]
    parts = [frontend.analyse(part / gain, lengths).magnitude for part in (targets, wavs - targets)]
    return Truth(true_mask(*parts), torch.ones(len(wavs), dtype=torch.bool, device=wavs.device))
