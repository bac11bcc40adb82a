"""Baselines: masks that explain nothing, for every table. A method that does not beat them explains nothing."""

import zlib
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from interpretability.classifiers.base import AnalysedBatch, Classifier
from interpretability.errors import UserError
from interpretability.frontend import Spectrogram
from interpretability.methods.base import Interpreter, MethodSettings, hide_invalid
from interpretability.metrics.areas import keep_top
from interpretability.metrics.sparsity import kept_area
from interpretability.settings import setting

MATCHED_KINDS = ("energy", "random", "constant")


@dataclass(frozen=True)
class ConstantSettings(MethodSettings):
    """Settings of :class:`ConstantMask`."""

    value: float = setting(
        1.0, "value of the mask in every bin: 1 keeps all, 0.5 halves the log magnitude", least=0, most=1
    )


class ConstantMask(Interpreter):
    """M = ``value`` everywhere."""

    NAME = "constant"
    SUMMARY = "a baseline, which explains nothing: one value everywhere"
    Settings = ConstantSettings
    trainable = False

    def mask(self, batch: AnalysedBatch) -> Tensor:
        """See :meth:`Interpreter.mask`."""
        spectrogram = batch.spectrogram
        return hide_invalid(torch.full_like(spectrogram.magnitude, self.settings.value), spectrogram)


@dataclass(frozen=True)
class EnergySettings(MethodSettings):
    """Settings of :class:`EnergyMask`."""

    area: float = setting(0.2, "share of the valid bins that is kept", least=0, most=1)


@dataclass(frozen=True)
class RandomSettings(EnergySettings):
    """Settings of :class:`RandomMask`."""

    seed: int = setting(0, "seed of the random choice")


class RandomMask(Interpreter):
    """A random ``area`` of the bins; the choice depends on the seed and on the clip, not on the batch it is in."""

    NAME = "random"
    SUMMARY = "a baseline, which explains nothing: random bins"
    Settings = RandomSettings
    trainable = False

    def mask(self, batch: AnalysedBatch) -> Tensor:
        """See :meth:`Interpreter.mask`."""
        scores = random_scores(batch.spectrogram, self.settings.seed)
        return keep_top(scores, batch.spectrogram.valid, self.settings.area)


class EnergyMask(Interpreter):
    """The loudest ``area`` of the bins: what any explanation has to beat at the same kept area."""

    NAME = "energy"
    SUMMARY = "a baseline, which explains nothing: the loudest bins"
    Settings = EnergySettings
    trainable = False

    def mask(self, batch: AnalysedBatch) -> Tensor:
        """See :meth:`Interpreter.mask`."""
        return keep_top(batch.spectrogram.magnitude, batch.spectrogram.valid, self.settings.area)


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


def baselines(classifier: Classifier, seed: int, apply: str = "log") -> dict[str, Interpreter]:
    """Return the baselines of every table, by the name of their row."""
    rows: dict[str, Interpreter] = {f"M = {v:g}": ConstantMask(classifier, value=v, apply=apply) for v in (1.0, 0.5)}
    rows |= {f"random {a:.0%}": RandomMask(classifier, area=a, seed=seed, apply=apply) for a in (0.1, 0.2, 0.5)}
    return rows | {f"energy top {a:.0%}": EnergyMask(classifier, area=a, apply=apply) for a in (0.1, 0.2)}


def matched_baselines(seed: int) -> dict[str, MatchedBaseline]:
    """Return the baselines at the studied method's own area, by the name of their row."""
    return {f"{kind}, same area": MatchedBaseline(kind, seed) for kind in MATCHED_KINDS}
