"""Where the explained sound is known to be, for the measures of localisation: its source alone, or boxes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from speechbrain.dataio.batch import PaddedBatch
from torch import Tensor

from interpretability.errors import UserError
from interpretability.frontend import Frontend, Spectrogram
from interpretability.metrics.localisation import box_mask, true_mask


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
        With ``target_signal``, the sound of the labelled source alone: true are the bins in which it dominates. Or with
        ``boxes``, those of each clip (:mod:`.data.boxes`): true are the bins in those of the explained label; a clip
        without one, or whose boxes the front end does not hear, is not known.
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
        return _of_sources(frontend, batch, wavs)
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


def _of_sources(frontend: Frontend, batch: PaddedBatch, wavs: Tensor) -> Truth:
    lengths = batch.signal.lengths.to(wavs.device)
    target = batch.target_signal.data.to(wavs)
    if target.shape != wavs.shape or not torch.equal(batch.target_signal.lengths, batch.signal.lengths):
        raise UserError(
            f"among the clips {', '.join(batch.id)} a target has another length than its mixture: "
            "make the targets as long as their clips"
        )
    # The rest is exactly the mixture on disk less the target; target, rest and mixture get the same gain.
    gain = frontend.clips(wavs, lengths).gain  # [B, 1]
    parts = [frontend.analyse(part / gain, lengths).magnitude for part in (target, wavs - target)]
    return Truth(true_mask(*parts), torch.ones(len(wavs), dtype=torch.bool, device=wavs.device))
