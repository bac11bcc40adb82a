"""Floors: masks that explain nothing, for every table. A method that is not above them explains nothing either."""

from __future__ import annotations

import math
import zlib

import torch
from torch import Tensor

from interpretability.classifiers.base import Classifier, ClassifierOutput
from interpretability.errors import UserError
from interpretability.frontend import Spectrogram
from interpretability.methods.base import Interpreter, hide_invalid


class ConstantMask(Interpreter):
    """M = ``value`` everywhere; 1 keeps all and 0.5 halves the log magnitude."""

    NAME = "constant"
    trainable = False

    def __init__(self, classifier: Classifier, value: float = 1.0, apply: str = "log"):
        super().__init__(classifier, apply, value=value)
        self.value = _fraction("value", value)

    def mask(self, spectrogram: Spectrogram, output: ClassifierOutput, target: Tensor) -> Tensor:
        """See :meth:`Interpreter.mask`."""
        return hide_invalid(torch.full_like(spectrogram.magnitude, self.value), spectrogram)


class RandomMask(Interpreter):
    """A random ``area`` of the bins; the choice depends on the seed and on the clip, not on the batch it is in."""

    NAME = "random"
    trainable = False

    def __init__(self, classifier: Classifier, area: float = 0.2, seed: int = 0, apply: str = "log"):
        super().__init__(classifier, apply, area=area, seed=seed)
        self.area, self.seed = _fraction("area", area), int(seed)

    def mask(self, spectrogram: Spectrogram, output: ClassifierOutput, target: Tensor) -> Tensor:
        """See :meth:`Interpreter.mask`."""
        scores = torch.zeros_like(spectrogram.magnitude)
        for clip, count in enumerate(spectrogram.valid.sum(1).tolist()):
            magnitude = spectrogram.magnitude[clip, :count]
            # Rounded, so that the last bit of a batched transform does not choose another mask.
            # (A generator takes 32 bits of its seed: the seed goes into the checksum.)
            fingerprint = zlib.crc32(f"{self.seed} {count} {float(magnitude.max()):.3e}".encode())
            generator = torch.Generator().manual_seed(fingerprint)
            scores[clip, :count] = torch.rand(magnitude.shape, generator=generator).to(scores)
        return keep_top(scores, spectrogram.valid, self.area)


class EnergyMask(Interpreter):
    """The loudest ``area`` of the bins: what any explanation has to beat at the same kept area."""

    NAME = "energy"
    trainable = False

    def __init__(self, classifier: Classifier, area: float = 0.2, apply: str = "log"):
        super().__init__(classifier, apply, area=area)
        self.area = _fraction("area", area)

    def mask(self, spectrogram: Spectrogram, output: ClassifierOutput, target: Tensor) -> Tensor:
        """See :meth:`Interpreter.mask`."""
        return keep_top(spectrogram.magnitude, spectrogram.valid, self.area)


def keep_top(scores: Tensor, valid: Tensor, area: float) -> Tensor:
    """Return a mask of ones on exactly ceil(area * n) of the n valid bins with the highest scores.

    Parameters
    ----------
    scores : Tensor [B, T, F]
    valid : Tensor [B, T], bool
    area : float in [0, 1]

    Returns
    -------
    Tensor [B, T, F]
        Zeros and ones; the count is exact on ties too (lower bins first).

    Example
    -------
    >>> keep_top(torch.ones(1, 2, 5), torch.ones(1, 2, dtype=torch.bool), 0.25).sum()
    tensor(3.)
    """
    n_bins = scores.shape[2]
    flat = scores.masked_fill(~valid[..., None], -float("inf")).flatten(1)
    order = flat.argsort(dim=1, descending=True, stable=True)
    # Rounding before the ceiling: 0.2 * 10 is 2, not the next integer after 2.0000000001.
    kept = [math.ceil(round(area * count * n_bins, 6)) for count in valid.sum(1).tolist()]
    first = torch.arange(flat.shape[1], device=scores.device)[None] < torch.tensor(kept, device=scores.device)[:, None]
    return torch.zeros_like(flat).scatter(1, order, first.to(flat.dtype)).view_as(scores)


def floors(classifier: Classifier, seed: int, apply: str = "log") -> dict[str, Interpreter]:
    """Return the floors of every table, by the name of their row."""
    rows: dict[str, Interpreter] = {f"M = {v:g}": ConstantMask(classifier, v, apply) for v in (1.0, 0.5)}
    rows |= {f"random {a:.0%}": RandomMask(classifier, a, seed, apply) for a in (0.1, 0.2, 0.5)}
    return rows | {f"energy top {a:.0%}": EnergyMask(classifier, a, apply) for a in (0.1, 0.2)}


def _fraction(name: str, value: float) -> float:
    if not 0 <= float(value) <= 1:
        raise UserError(f"{name} is {value}, expected a number in [0, 1]")
    return float(value)
