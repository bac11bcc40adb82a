"""Feature extractors of transformers in PyTorch: batched, differentiable, and equal to the originals.

The originals work on arrays and pass no gradient.
"""

import math
from collections.abc import Mapping
from typing import ClassVar

import torch
import torchaudio
from torch import Tensor, nn
from torch.nn import functional

from interpretability.errors import UserError, shown
from interpretability.frontend import LARGEST_FFT
from interpretability.grids import hertz_from_mel, mel_from_hertz
from interpretability.settings import MOST_BANDS

#: What sizes may be at most, far above those that models have.
MOST = {
    "sampling_rate": 10_000_000,
    "num_mel_bins": MOST_BANDS,
    "feature_size": MOST_BANDS,
    "max_length": 2**20,
    "chunk_length": 3600,
    "hop_length": 2**20,
    "n_fft": LARGEST_FFT,
}


class Extractor(nn.Module):
    """From waveforms [B, N] to what a model takes, as a feature extractor of Transformers makes it.

    Attributes
    ----------
    KIND : str
        Name of the class in Transformers.
    DEFAULTS : dict
        Its settings that matter, with its defaults.
    """

    KIND = ""
    DEFAULTS: ClassVar[dict] = {}

    def __init__(self, settings: Mapping):
        super().__init__()
        unknown = sorted(set(settings) - set(self.DEFAULTS))
        if unknown:
            raise UserError(
                f"extractor: {self.KIND} has no setting {unknown[0]!r}, expected among {sorted(self.DEFAULTS)}"
            )
        for name, value in settings.items():
            default, most = self.DEFAULTS[name], MOST.get(name, math.inf)
            numbers = (int, float) if isinstance(default, float) else type(default)
            fits = isinstance(value, numbers) and isinstance(value, bool) == isinstance(default, bool)
            if not fits or (not isinstance(value, bool) and not -most <= value <= most):
                kind = {bool: "True or False", int: f"a whole number up to {most}"}.get(type(default), "a number")
                raise UserError(f"extractor: {name} is {shown(value)}, expected {kind}")
        self.settings = {**self.DEFAULTS, **settings}
        self.sample_rate = int(self.settings["sampling_rate"])

    def _apply(self, function, recurse: bool = True):
        """Follow the model to its device, and stay in single precision, in which features are computed."""
        for name, buffer in self._buffers.items():
            self._buffers[name] = buffer.to(function(buffer).device)
        return self

    @property
    def longest(self) -> int | None:
        """Samples that the model takes; None if there is no limit."""
        return None

    def forward(self, wavs: Tensor, lengths: Tensor) -> dict[str, Tensor]:
        """Return the model's arguments.

        Parameters
        ----------
        wavs : Tensor [B, N]
            Zero beyond the clips' ends.
        lengths : Tensor [B]
            In samples.
        """
        raise NotImplementedError


class AstExtractor(Extractor):
    """Kaldi's log-mel filter bank: frames of 25 ms every 10 ms, brought to one number of frames, scaled.

    A sound shorter than a frame, which Transformers refuses, is padded with zeros to one.
    """

    KIND = "ASTFeatureExtractor"
    DEFAULTS: ClassVar[dict] = {
        "sampling_rate": 16000,
        "num_mel_bins": 128,
        "max_length": 1024,
        "do_normalize": True,
        "mean": -4.2677393,
        "std": 4.5689974,
    }
    LOWEST_HERTZ = 20.0
    PREEMPHASIS = 0.97

    def __init__(self, settings: Mapping):
        super().__init__(settings)
        if self.settings["do_normalize"] and not self.settings["std"] > 0:
            raise UserError(
                f"extractor: std is {self.settings['std']}, expected a number above 0: features are divided by it"
            )
        self.window_length, self.hop = int(self.sample_rate * 0.025), int(self.sample_rate * 0.010)
        self.n_fft = 2 ** (self.window_length - 1).bit_length()
        banks, _ = torchaudio.compliance.kaldi.get_mel_banks(
            self.settings["num_mel_bins"], self.n_fft, self.sample_rate, self.LOWEST_HERTZ, 0.0, 100.0, -500.0, 1.0
        )
        # Kaldi leaves out the bin at half the sampling rate.
        self.register_buffer("mel_weights", functional.pad(banks, (0, 1)).T.contiguous(), persistent=False)
        self.register_buffer("window", torch.hann_window(self.window_length, periodic=False), persistent=False)

    @property
    def size(self) -> tuple[int, int]:
        """Frames and mel bands of the features."""
        return self.settings["max_length"], self.settings["num_mel_bins"]

    @property
    def longest(self) -> int:
        """Samples that the model takes."""
        return (self.settings["max_length"] - 1) * self.hop + self.window_length

    def mel_centres(self) -> Tensor:
        """Return the centres of the mel bands in Hz [num_mel_bins], float64."""
        low, high = mel_from_hertz(self.LOWEST_HERTZ), mel_from_hertz(self.sample_rate / 2)
        bands = torch.arange(1, self.settings["num_mel_bins"] + 1, dtype=torch.float64)
        return hertz_from_mel(low + bands * (high - low) / (len(bands) + 1))

    def forward(self, wavs: Tensor, lengths: Tensor) -> dict[str, Tensor]:
        """Return ``input_values`` [B, max_length, num_mel_bins]."""
        size = self.settings["max_length"]
        with torch.autocast(device_type=wavs.device.type, enabled=False):
            wavs = wavs[:, : self.longest].float()
            wavs = functional.pad(wavs, (0, max(0, self.window_length - wavs.shape[1])))
            frames = wavs.unfold(1, self.window_length, self.hop)  # [B, M, window]
            frames = frames - frames.mean(dim=2, keepdim=True)
            frames = frames - self.PREEMPHASIS * torch.cat([frames[..., :1], frames[..., :-1]], dim=2)
            spectrum = torch.fft.rfft(frames * self.window, n=self.n_fft)
            energy = torch.view_as_real(spectrum).square().sum(3) @ self.mel_weights  # [B, M, mels]
            features = energy.clamp(min=torch.finfo(torch.float32).eps).log()
            # Frames that do not lie wholly in the clip count as zero, before scaling.
            counts = 1 + (lengths - self.window_length).clamp(min=0) // self.hop  # [B]
            places = torch.arange(features.shape[1], device=wavs.device)
            features = features.masked_fill((places[None] >= counts[:, None])[..., None], 0.0)
            features = functional.pad(features, (0, 0, 0, size - features.shape[1]))
            if self.settings["do_normalize"]:
                features = (features - self.settings["mean"]) / (2 * self.settings["std"])
        return {"input_values": features}


class RawExtractor(Extractor):
    """The waveform itself, brought to mean 0 and variance 1 over the clip if ``do_normalize``."""

    KIND = "Wav2Vec2FeatureExtractor"
    DEFAULTS: ClassVar[dict] = {"sampling_rate": 16000, "do_normalize": True, "return_attention_mask": False}

    def forward(self, wavs: Tensor, lengths: Tensor) -> dict[str, Tensor]:
        """Return ``input_values`` [B, N]; of a padded batch also ``attention_mask``, if the model was made for it."""
        inside = torch.arange(wavs.shape[1], device=wavs.device)[None] < lengths[:, None]  # [B, N]
        if self.settings["do_normalize"]:
            count = lengths[:, None].to(wavs.dtype)
            centred = (wavs - (wavs * inside).sum(1, keepdim=True) / count) * inside
            wavs = centred / (centred.square().sum(1, keepdim=True) / count + 1e-7).sqrt()
        if self.settings["return_attention_mask"] and not bool(inside.all()):
            return {"input_values": wavs, "attention_mask": inside.long()}
        return {"input_values": wavs}


class WhisperExtractor(Extractor):
    """Whisper's log-mel spectrogram: padded with silence or cut to one length, at most 80 dB deep, scaled."""

    KIND = "WhisperFeatureExtractor"
    DEFAULTS: ClassVar[dict] = {
        "sampling_rate": 16000,
        "feature_size": 80,
        "hop_length": 160,
        "chunk_length": 30,
        "n_fft": 400,
        "dither": 0.0,
    }

    def __init__(self, settings: Mapping):
        from transformers.audio_utils import mel_filter_bank

        super().__init__(settings)
        if self.settings["dither"]:
            raise UserError(f"extractor: dither is {self.settings['dither']}, expected 0.0: it is random")
        self.n_fft, self.hop = self.settings["n_fft"], self.settings["hop_length"]
        filters = mel_filter_bank(
            num_frequency_bins=1 + self.n_fft // 2,
            num_mel_filters=self.settings["feature_size"],
            min_frequency=0.0,
            max_frequency=8000.0,
            sampling_rate=self.sample_rate,
            norm="slaney",
            mel_scale="slaney",
        )
        self.register_buffer("mel_weights", torch.from_numpy(filters).float(), persistent=False)  # [F, mels]
        self.register_buffer("window", torch.hann_window(self.n_fft), persistent=False)

    @property
    def size(self) -> tuple[float, int]:
        """Frames and mel bands of the features."""
        return self.longest / self.hop, self.settings["feature_size"]

    @property
    def longest(self) -> int:
        """Samples that the model takes."""
        return self.settings["chunk_length"] * self.sample_rate

    def forward(self, wavs: Tensor, lengths: Tensor) -> dict[str, Tensor]:
        """Return ``input_features`` [B, feature_size, frames]."""
        with torch.autocast(device_type=wavs.device.type, enabled=False):
            wavs = wavs[:, : self.longest].float()
            wavs = functional.pad(wavs, (0, self.longest - wavs.shape[1]))
            spectrum = torch.stft(wavs, self.n_fft, self.hop, window=self.window, return_complex=True)
            power = torch.view_as_real(spectrum[..., :-1]).square().sum(3)  # [B, F, frames]
            features = (self.mel_weights.T @ power).clamp(min=1e-10).log10()
            features = torch.maximum(features, features.amax(dim=(1, 2), keepdim=True) - 8.0)
            return {"input_features": (features + 4.0) / 4.0}


EXTRACTORS: dict[str, type[Extractor]] = {kind.KIND: kind for kind in (AstExtractor, RawExtractor, WhisperExtractor)}
