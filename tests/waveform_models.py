"""Toy models from waveforms to logits whose windows are known by hand."""

from __future__ import annotations

import torch
import torchaudio
from torch import nn

from interpretability.classifiers.module import ModuleClassifier
from interpretability.classifiers.waveform import frontend_for

LABELS = ["a", "b", "c"]
RATE = 8000


class MelCnn(nn.Module):
    """A model with features of its own: log-mel, three strided convolutions."""

    def __init__(self, classes=3, width=4):
        super().__init__()
        self.mel = torchaudio.transforms.MelSpectrogram(RATE, n_fft=256, hop_length=80, n_mels=16)
        self.stem = nn.Conv2d(1, width, 3, padding=1)
        self.blocks = nn.Sequential(
            *(nn.Sequential(nn.Conv2d(width, width, 3, stride=2, padding=1), nn.BatchNorm2d(width)) for _ in range(3))
        )
        self.head = nn.Linear(width, classes)

    def forward(self, wavs):
        maps = torch.log(self.mel(wavs) + 1e-4)[:, None]
        return self.head(self.blocks(self.stem(maps)).mean((2, 3)))


class Windows(nn.Module):
    """From windows [n, 20, 16] of a mel spectrogram to logits [n, 3]."""

    def __init__(self):
        super().__init__()
        self.head = nn.Linear(20 * 16, 3)

    def forward(self, windows):
        assert windows.shape[1:] == (20, 16)
        return self.head(windows.flatten(1))


class Chain(nn.Module):
    """Convolutions on the waveform, without padding: the size of every window is known by hand."""

    def __init__(self, sizes=((8, 4), (5, 5)), channels_first=True, classes=3):
        super().__init__()
        self.channels_first = channels_first
        widths = (1, *[6] * len(sizes))
        self.convs = nn.ModuleList(nn.Conv1d(a, 6, k, s) for a, (k, s) in zip(widths, sizes, strict=False))
        self.tokens = nn.Identity()
        self.head = nn.Linear(6, classes)

    def forward(self, wavs):
        maps = wavs[:, None]
        for conv in self.convs:
            maps = torch.relu(conv(maps))
        tokens = self.tokens(maps.transpose(1, 2))
        return {"logits": self.head(tokens.mean(1))}["logits"]


class Blocks(nn.Module):
    """A stack of equal blocks on frames, as a transformer has them; each returns a tuple."""

    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.linear = nn.Linear(5, 5)

        def forward(self, tokens):
            return tokens + torch.tanh(self.linear(tokens)), None

    def __init__(self, n=6):
        super().__init__()
        self.front = nn.Conv1d(1, 5, 40, 40)
        self.layers = nn.ModuleList(self.Block() for _ in range(n))
        self.head = nn.Linear(5, 3)

    def forward(self, wavs):
        tokens = self.front(wavs[:, None]).transpose(1, 2)
        for layer in self.layers:
            tokens, _ = layer(tokens)
        return self.head(tokens.mean(1))


class Recurrent(nn.Module):
    """Time first, clips second; features that are channels-last."""

    def __init__(self):
        super().__init__()
        self.last = nn.Linear(3, 4)  # on [B, T, F, C]
        self.rnn = nn.GRU(10 * 4, 6)
        self.head = nn.Linear(6, 3)

    def forward(self, wavs):
        frames = wavs.unfold(1, 30, 30).unflatten(2, (10, 3))  # [B, T, 10, 3]
        maps = self.last(frames)
        rows, _ = self.rnn(maps.flatten(2).transpose(0, 1))  # [T, B, 6]
        return self.head(rows.mean(0))


def hooks(module):
    return sum(len(part._forward_hooks) for part in module.modules())


def make(module, **settings):
    torch.manual_seed(0)
    return ModuleClassifier(LABELS, frontend_for(RATE), module=module, **settings).freeze()
