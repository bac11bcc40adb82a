"""Scores of a classifier for parts of a sound, with their times: what is pooled to one answer, or within a range."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

import torch
from torch import Tensor
from torch.nn import functional

from interpretability.errors import UserError
from interpretability.lengths import LengthGroups

#: How the scores of frames become one: the mean of their probabilities, the highest, or a mean that the model weights.
POOLS = ("mean", "max", "attention")
_ROUNDING = 1e-6


@dataclass(frozen=True)
class FrameScores:
    """What a classifier says of each frame, or each window, of its sounds.

    Attributes
    ----------
    logits : Tensor [B, T', C]
        ``task="single"``: log probabilities; ``"multi"``: log odds. With a gradient where the model has one.
    start, end : Tensor [B, T'], float64
        Of the stretch of sound that each frame is about, in seconds; within the clip.
    valid : Tensor [B, T'], bool
        Frames that belong to the clip; the others are padding.
    task : {"single", "multi"}
    pool : {"mean", "max", "attention"}
        How they become one (:func:`pooled`).
    weights : Tensor [B, T', C] or None
        Of ``attention``: >= 0, not normalised.
    """

    logits: Tensor
    start: Tensor
    end: Tensor
    valid: Tensor
    task: str
    pool: str
    weights: Tensor | None = None

    @classmethod
    def of(
        cls, logits: Tensor, times: Tensor, lengths: Tensor, rate: float, task: str, pool: str, weights: Tensor | None
    ) -> FrameScores:
        """Make it from times in samples.

        Parameters
        ----------
        logits : Tensor [B, T', C]
        times : Tensor [T', 2], float64
            Start and end of each frame.
        lengths : Tensor [B]
            Of the clips.
        rate : float
            In Hz.
        task, pool, weights
            As the attributes.
        """
        ends = lengths[:, None].to(torch.float64)
        start, end = (edge[None].to(ends.device).clamp(min=0).minimum(ends) / rate for edge in times.unbind(1))
        return cls(logits, start, end, end > start, task, pool, weights)

    def __getitem__(self, index) -> FrameScores:
        """Select clips of the batch (an index tensor, a slice or a list)."""
        return self._each(lambda value: value[index])

    def _each(self, function) -> FrameScores:
        tensors = {field.name: getattr(self, field.name) for field in fields(self)}
        return replace(self, **{name: function(value) for name, value in tensors.items() if isinstance(value, Tensor)})

    @classmethod
    def join(cls, parts: Sequence[FrameScores | None], groups: LengthGroups | None = None) -> FrameScores | None:
        """Join parts of a batch, in the order of ``groups`` if it is given; None if one of them has no frames."""
        if any(part is None for part in parts):
            return None
        if len(parts) == 1:
            return parts[0]
        joined = {}
        for field in fields(cls):
            values = [getattr(part, field.name) for part in parts]
            if isinstance(values[0], Tensor):
                joined[field.name] = torch.cat(values) if groups is None else groups.join(values, axis=1)
        return replace(parts[0], **joined)

    def owned(self) -> FrameScores:
        """Return it without tensors of inference mode, which take part in no gradient."""
        return self._each(lambda value: value.clone() if value.is_inference() else value)

    def inside(self, start: float, end: float) -> Tensor:
        """Return which frames are about a range: it has half of the frame, or the frame half of it; [B, T'], bool.

        Parameters
        ----------
        start, end : float
            In seconds; ``start < end``.

        Raises
        ------
        UserError
            If a clip has no such frame.
        """
        overlap = self.end.clamp(max=end) - self.start.clamp(min=start)
        needed = (self.end - self.start).clamp(max=end - start) / 2
        inside = self.valid & (overlap > 0) & (overlap >= needed - _ROUNDING)
        without = ~inside.any(1)
        if bool(without.any()):
            last = float(self.end.masked_fill(~self.valid, 0)[without].amax(1).min())
            raise UserError(
                f"no frame lies at {start:g} to {end:g} s of a sound whose frames end at {last:.4g} s: give a range "
                "within the sound"
            )
        return inside

    def within(self, start: float, end: float) -> Tensor:
        """Return logits [B, C] of the frames of a range alone, pooled as the model's answer is.

        Parameters, errors: see :meth:`inside`.
        """
        return pooled(self.logits, self.task, self.pool, self.weights, self.inside(start, end))


def even_times(count: int, n_samples: int, hop: float | None = None) -> Tensor:
    """Return where frames of equal length lie, that follow each other in the middle of a sound.

    Parameters
    ----------
    count : int
        Frames T'.
    n_samples : int
        Of the sound.
    hop : float, optional
        Samples from frame to frame; if not given, the frames fill the sound.

    Returns
    -------
    Tensor [T', 2], float64
        Start and end, in samples.
    """
    hop = n_samples / count if hop is None else hop
    starts = (n_samples - count * hop) / 2 + hop * torch.arange(count, dtype=torch.float64)
    return torch.stack([starts, starts + hop], 1)


def scores_as_logits(values: Tensor, task: str, probabilities: bool) -> Tensor:
    """Return scores [B, T', C] of frames as log probabilities (``single``) or log odds (``multi``)."""
    values = in_single(values)
    if task == "single":
        return values.clamp(min=least(values)).log() if probabilities else values.log_softmax(2)
    return log_odds_of(values) if probabilities else values


def pooled(logits: Tensor, task: str, pool: str, weights: Tensor | None = None, inside: Tensor | None = None) -> Tensor:
    """Pool frames as probabilities.

    Parameters
    ----------
    logits : Tensor [B, T', C]
        As of :func:`scores_as_logits`.
    task : {"single", "multi"}
    pool : {"mean", "max", "attention"}
        The mean of the probabilities, the highest of each class, or the mean weighted by ``weights``.
    weights : Tensor [B, T', C], optional
        >= 0.
    inside : Tensor [B, T'], bool, optional
        Frames that count; all if not given.

    Returns
    -------
    Tensor [B, C]
        Logits: their softmax or sigmoid is the pooled probability.
    """

    def only(values: Tensor) -> Tensor:
        return values if inside is None else values.masked_fill(~inside[..., None], -math.inf)

    if pool == "max":
        return only(logits).amax(1)
    shift = weights.clamp(min=least(weights)).log() if pool == "attention" else 0
    if task == "single":
        if pool == "attention":
            return only(logits + shift).logsumexp(1) - only(shift).logsumexp(1)
        count = logits.shape[1] if inside is None else inside.sum(1, keepdim=True)
        return only(logits).logsumexp(1) - (math.log(count) if inside is None else count.to(logits.dtype).log())
    # ln of the mean of p less ln of the mean of 1 - p, without a probability that is rounded to 0 or 1.
    yes, no = functional.logsigmoid(logits) + shift, functional.logsigmoid(-logits) + shift
    return only(yes).logsumexp(1) - only(no).logsumexp(1)


def in_single(values: Tensor) -> Tensor:
    """Return values of half precision in single precision."""
    return values.float() if values.dtype in (torch.float16, torch.bfloat16) else values


def log_odds_of(values: Tensor) -> Tensor:
    """Return ``ln p - ln (1 - p)``, of a p of 0 or 1 that of the nearest one that can be told from it."""
    rest = (1 - values).clamp(min=torch.finfo(values.dtype).eps / 4)
    return values.clamp(min=least(values)).log() - rest.log()


def least(values: Tensor) -> float:
    """Return the smallest positive number of a tensor's type, below which no logarithm is taken."""
    return torch.finfo(values.dtype).tiny
