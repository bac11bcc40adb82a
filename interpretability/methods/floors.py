"""Floors: masks that explain nothing, for every table. A method that is not above them explains nothing either."""

from __future__ import annotations

import zlib
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from interpretability.classifiers.base import Classifier, ClassifierOutput
from interpretability.errors import UserError
from interpretability.frontend import Spectrogram
from interpretability.methods.base import Interpreter, hide_invalid
from interpretability.metrics.areas import keep_top
from interpretability.metrics.sparsity import kept_area

MATCHED_KINDS = ("energy", "random", "constant")


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
        return keep_top(random_scores(spectrogram, self.seed), spectrogram.valid, self.area)


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


@dataclass(frozen=True)
class MatchedFloor:
    """A floor at another mask's own area, clip by clip: what that mask has to beat, whatever it keeps.

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
        """What results say of it."""
        return {"method": self.kind, "area": "same"} | ({"seed": self.seed} if self.kind == "random" else {})

    def __call__(self, spectrogram: Spectrogram, mask: Tensor) -> Tensor:
        """Return a mask [B, T, F] that keeps as much of each clip as ``mask`` [B, T, F] does.

        Of n valid bins, ``energy`` and ``random`` keep the sum of the mask, rounded up to whole bins.
        """
        area = kept_area(mask, spectrogram.valid)  # [B]
        if self.kind == "constant":
            return hide_invalid(area.to(mask.dtype)[:, None, None].expand_as(mask), spectrogram)
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


def floors(classifier: Classifier, seed: int, apply: str = "log") -> dict[str, Interpreter]:
    """Return the floors of every table, by the name of their row."""
    rows: dict[str, Interpreter] = {f"M = {v:g}": ConstantMask(classifier, v, apply) for v in (1.0, 0.5)}
    rows |= {f"random {a:.0%}": RandomMask(classifier, a, seed, apply) for a in (0.1, 0.2, 0.5)}
    return rows | {f"energy top {a:.0%}": EnergyMask(classifier, a, apply) for a in (0.1, 0.2)}


def matched_floors(seed: int) -> dict[str, MatchedFloor]:
    """Return the floors at the studied method's own area, by the name of their row."""
    return {f"{kind}, same area": MatchedFloor(kind, seed) for kind in MATCHED_KINDS}


def _fraction(name: str, value: float) -> float:
    if not 0 <= float(value) <= 1:
        raise UserError(f"{name} is {value}, expected a number in [0, 1]")
    return float(value)
