"""A recording with whistles at known times, and a classifier that hears them: what tests of recordings stand on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import soundfile
import torch
from tiny import SMALL
from torch import Tensor

from interpretability.classifiers.base import Classifier, ClassifierOutput

RATE = SMALL.sample_rate
HERTZ = 3000.0
LABELS = ["hum", "whistle"]


class WhistleClassifier(Classifier):
    """The louder of two bands: below and above 2 kHz."""

    NAME = "whistles"

    def forward(self, magnitude: Tensor, valid: Tensor | None = None) -> ClassifierOutput:
        energy = magnitude.square()
        bands = torch.stack([energy[..., :16].sum(2), energy[..., 16:].sum(2)], dim=2).mean(1)  # [B, 2]
        return ClassifierOutput((bands + 1e-6).log(), bands, ())


def classifier(**settings) -> WhistleClassifier:
    """Return a frozen classifier at 8 kHz."""
    return WhistleClassifier(LABELS, settings.pop("frontend", SMALL), **settings).freeze()


def recording(seconds: float, whistles: list[tuple[float, float]], peak: float = 0.4) -> np.ndarray:
    """Return a hum in a faint noise [N], float32, and whistles from and to the given times, in s."""
    times = np.arange(round(seconds * RATE)) / RATE
    rng = np.random.default_rng(0)
    wav = 0.05 * np.sin(2 * np.pi * 300 * times) + 0.002 * rng.standard_normal(len(times))
    for start, end in whistles:
        wav += peak * np.sin(2 * np.pi * HERTZ * times) * ((times >= start) & (times < end))
    return wav.astype(np.float32)


def write(path: Path, wav: np.ndarray, rate: int = RATE) -> Path:
    """Write a sound as a file of 32-bit floats."""
    soundfile.write(path, wav, rate, subtype="FLOAT")
    return path
