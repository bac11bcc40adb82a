"""Baselines that are made from the masks of a method, clip by clip: what those masks have to beat."""

import zlib
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from interpretability.errors import UserError
from interpretability.frontend import Spectrogram
from interpretability.metrics.areas import keep_top
from interpretability.metrics.sparsity import kept_area

MATCHED_KINDS = ("energy", "random", "constant")
#: Row of the masks that explain another label of the same clip.
ANOTHER_LABEL = "another label's mask"


@dataclass(frozen=True)
class MatchedBaseline:
    """A baseline at another mask's area, clip by clip: what that mask has to beat.

    Parameters
    ----------
    kind : {"energy", "random", "constant"}
        The loudest bins, random bins, or the area itself in every bin.
    seed : int
        Of the random bins.

    Raises
    ------
    UserError
        For an unknown kind.
    """

    kind: str
    seed: int = 0

    def __post_init__(self):
        if self.kind not in MATCHED_KINDS:
            raise UserError(f"kind is {self.kind!r}, expected one of {', '.join(MATCHED_KINDS)}")

    @property
    def settings(self) -> dict[str, Any]:
        """What results record about it."""
        return {"method": self.kind, "area": "same"} | ({"seed": self.seed} if self.kind == "random" else {})

    def __call__(self, spectrogram: Spectrogram, mask: Tensor) -> Tensor:
        """Return a mask [B, T, F] that keeps as much of each clip as ``mask`` [B, T, F] does.

        Of n valid bins, ``energy`` and ``random`` keep the sum of the mask, rounded up to whole bins.
        """
        area = kept_area(mask, spectrogram.valid)  # [B]
        if self.kind == "constant":
            constant = area.to(mask.dtype)[:, None, None].expand_as(mask)
            return constant.masked_fill(~spectrogram.valid[..., None], 0)
        scores = spectrogram.magnitude if self.kind == "energy" else random_scores(spectrogram, self.seed)
        return keep_top(scores, spectrogram.valid, area)


def random_scores(spectrogram: Spectrogram, seed: int) -> Tensor:
    """Return random numbers [B, T, F] that depend on the seed and on the clip, not on the batch it is in."""
    scores = torch.zeros_like(spectrogram.magnitude)
    for clip, count in enumerate(spectrogram.valid.sum(1).tolist()):
        magnitude = spectrogram.magnitude[clip, :count]
        # Rounded, so that the last bit of a batched transform does not choose another mask.
        # (A generator takes 32 bits of its seed: the seed goes into the checksum.)
        fingerprint = zlib.crc32(f"{seed} {count} {float(magnitude.max()):.3e}".encode())
        generator = torch.Generator().manual_seed(fingerprint)
        scores[clip, :count] = torch.rand(magnitude.shape, generator=generator).to(scores)
    return scores


def of_another_label(clips: Sequence[Hashable]) -> Tensor:
    """Return which mask of a batch explains another label of the same clip: what each label's own mask has to beat.

    Parameters
    ----------
    clips : sequence [B]
        The clip of each row of the batch, which explains one of its labels.

    Returns
    -------
    Tensor [B], int64
        The row of the clip's next label, of its last label that of the first one; its own row where there is no other.

    Examples
    --------
    >>> of_another_label(["a", "a", "b", "c", "c", "c"]).tolist()
    [1, 0, 2, 4, 5, 3]
    """
    rows: dict[Hashable, list[int]] = {}
    for row, clip in enumerate(clips):
        rows.setdefault(clip, []).append(row)
    other = torch.empty(len(clips), dtype=torch.int64)
    for same in rows.values():
        other[same] = torch.tensor(same[1:] + same[:1])
    return other
