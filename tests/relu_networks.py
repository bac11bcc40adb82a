"""A model from waveforms to logits whose ReLUs are modules, functions, or one module that runs twice."""

from __future__ import annotations

import torch
import torchaudio
from tiny import LABELS
from torch import nn
from torch.nn import functional

from interpretability.classifiers.module import ModuleClassifier
from interpretability.classifiers.waveform import frontend_for


class ReluNet(nn.Module):
    """A model with features of its own, and a module for each ReLU."""

    def __init__(self, functions=False, twice=False):
        super().__init__()
        self.mel = torchaudio.transforms.MelSpectrogram(8000, n_fft=256, hop_length=80, n_mels=16)
        self.convs = nn.ModuleList(nn.Conv2d(a, 6, 3, stride=2, padding=1) for a in (1, 6))
        relus = (functional.relu, nn.ReLU()) if functions else (nn.ReLU(), nn.ReLU())
        self.first, self.second = relus if not twice else relus[1:] * 2
        self.head = nn.Linear(6, 3)

    def forward(self, wavs):
        maps = torch.log1p(100 * self.mel(wavs))[:, None]
        maps = self.second(self.convs[1](self.first(self.convs[0](maps))))
        return self.head(maps.mean((2, 3)))


def wrapped(**kind):
    torch.manual_seed(0)
    return ModuleClassifier(LABELS, frontend_for(8000), module=ReluNet(**kind), arguments={}).freeze()
