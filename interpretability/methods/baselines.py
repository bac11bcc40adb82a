"""Baselines: masks that explain nothing, for every table. A method that does not beat them explains nothing."""

from dataclasses import dataclass

import torch
from torch import Tensor

from interpretability.classifiers.base import AnalysedBatch, Classifier
from interpretability.matched import MATCHED_KINDS, MatchedBaseline, random_scores
from interpretability.methods.base import Interpreter, MethodSettings, hide_invalid
from interpretability.metrics.areas import keep_top
from interpretability.settings import setting


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


def baselines(classifier: Classifier, seed: int, apply: str = "log") -> dict[str, Interpreter]:
    """Return the baselines of every table, by the name of their row."""
    rows: dict[str, Interpreter] = {f"M = {v:g}": ConstantMask(classifier, value=v, apply=apply) for v in (1.0, 0.5)}
    rows |= {f"random {a:.0%}": RandomMask(classifier, area=a, seed=seed, apply=apply) for a in (0.1, 0.2, 0.5)}
    return rows | {f"energy top {a:.0%}": EnergyMask(classifier, area=a, apply=apply) for a in (0.1, 0.2)}


def matched_baselines(seed: int) -> dict[str, MatchedBaseline]:
    """Return the baselines at the studied method's own area, by the name of their row."""
    return {f"{kind}, same area": MatchedBaseline(kind, seed) for kind in MATCHED_KINDS}
