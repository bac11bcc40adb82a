"""Waveform <-> spectrogram: analyse, apply_mask, resynthesise. The only inverse STFT of the project.

Conventions (all modules follow them)
-------------------------------------
- Waveforms are ``[B, N]`` float, mono; relative lengths ``[B]`` lie in (0, 1], as SpeechBrain passes them. Where sounds
  come in, :meth:`Frontend.clips` counts lengths and zeroes padding, once; from there on they travel as :class:`Clips`.
- Spectrograms are ``[B, T, F]``: time first, then frequency; ``magnitude`` is linear, ``log_magnitude`` is ``log1p``.
- ``valid [B, T]`` marks frames that belong to the clip; a clip of n samples has ``1 + n // hop`` frames, whatever
  the padding of the batch. Frames that are not valid hold zeros.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import torch
from speechbrain.processing.features import STFT
from torch import Tensor

from interpretability.errors import UserError
from interpretability.lengths import none_hidden
from interpretability.resampling import DEFAULT_FILTER, FILTERS
from interpretability.settings import Settings, setting

APPLY_DOMAINS = ("log", "linear")
LEVEL_RULES = ("peak", "none")
#: Where In and Out are measured: as masked magnitudes, or as the sounds made of them (what is heard).
PLACES = ("spectrogram", "waveform")

#: Bounds what a file or a command line can ask for.
LARGEST_FFT = 2**18


@dataclass(frozen=True)
class FrontendSettings(Settings):
    """What a classifier, its interpreters and their dictionaries must have in common.

    Once made, ``n_fft`` is a number, also where none was given.

    Raises
    ------
    UserError
        If the settings cannot be inverted: a hop of more than half a window, or a window longer than the FFT.
    """

    sample_rate: int = setting(16000, "sampling rate", unit="Hz", least=1, most=10_000_000)
    n_fft: int | None = setting(
        None,
        "size of the FFT; there are n_fft // 2 + 1 frequency bins. null: 1024, or the next power of two that holds the "
        "window",
        unit="samples",
        least=1,
        most=LARGEST_FFT,
    )
    win_length_ms: float = setting(23.2199, "Hamming window, rounded to whole samples", unit="ms", above=0)
    hop_length_ms: float = setting(
        11.6099, "hop, rounded to whole samples; half a window stays half a window, rounded down", unit="ms", above=0
    )
    level: str = setting("peak", "peak: a clip is divided by max|x|, when that is > 0", choices=LEVEL_RULES)
    resampling: str = setting(
        DEFAULT_FILTER,
        "filter for sounds of another rate: accurate to 94 dB at 0.8 of the Nyquist frequency, or as published "
        "SpeechBrain checkpoints have it (25 dB)",
        choices=tuple(FILTERS),
    )

    def __post_init__(self):
        super().__post_init__()
        if self.n_fft is None:
            object.__setattr__(self, "n_fft", min(max(1024, 2 ** (self.win_length - 1).bit_length()), LARGEST_FFT))
        # With a longer hop the last samples of a clip can lie beyond its last window, and are lost.
        if not 0 < 2 * self.hop_length <= self.win_length <= self.n_fft:
            raise UserError(
                f"front end: hop {self.hop_length}, window {self.win_length}, FFT {self.n_fft} samples; "
                "expected 0 < hop <= window / 2 and window <= FFT: change hop_length_ms, win_length_ms or n_fft"
            )

    @classmethod
    def of_saved(cls, values: dict[str, Any], owner: str = "front end") -> FrontendSettings:
        """Make the settings that a saved file states; one without a filter is older than the choice: ``published``.

        Errors begin with ``owner``, and are those of :meth:`Settings.make`.
        """
        return cls.make(owner, {"resampling": "published", **values})

    @property
    def win_length(self) -> int:
        """Window length in samples."""
        return round(self.sample_rate / 1000.0 * self.win_length_ms)

    @property
    def hop_length(self) -> int:
        """Hop in samples."""
        hop = round(self.sample_rate / 1000.0 * self.hop_length_ms)
        # Rounded apart, two hops can be one sample longer than a window of twice their duration.
        return hop - 1 if 2 * hop == self.win_length + 1 else hop

    @property
    def n_bins(self) -> int:
        """Number of frequency bins F."""
        return self.n_fft // 2 + 1


@dataclass
class Spectrogram:
    """A batch of analysed clips.

    Attributes
    ----------
    magnitude : Tensor [B, T, F]
        Linear magnitude, >= 0; zero in frames that are not valid.
    phase : Tensor [B, T, F], or None
        Phase in radians; None where only magnitudes were asked for.
    valid : Tensor [B, T], bool
        Frames that belong to the clip.
    lengths : Tensor [B], int64
        Length of each clip in samples.
    n_samples : int
        Length N of the padded batch in samples.
    """

    magnitude: Tensor
    phase: Tensor | None
    valid: Tensor
    lengths: Tensor
    n_samples: int

    @property
    def log_magnitude(self) -> Tensor:
        """``X = log1p(A)``, [B, T, F]."""
        return torch.log1p(self.magnitude)

    @cached_property
    def turns(self) -> tuple[Tensor, Tensor]:
        """Cosine and sine of the phase, each [B, T, F] float32: one clip is often resynthesised with many masks.

        Raises
        ------
        ValueError
            If there is no phase.
        """
        if self.phase is None:
            raise ValueError("a spectrogram without a phase cannot become sound: analyse the sound with its phase")
        turns = torch.polar(torch.ones_like(self.phase, dtype=torch.float32), self.phase.float())
        return turns.real.contiguous(), turns.imag.contiguous()

    def __len__(self) -> int:
        return self.magnitude.shape[0]

    def __getitem__(self, index) -> Spectrogram:
        """Select clips of the batch; the padded size stays."""
        index = [index] if isinstance(index, int) else index
        phase = None if self.phase is None else self.phase[index]
        return Spectrogram(self.magnitude[index], phase, self.valid[index], self.lengths[index], self.n_samples)

    def clip(self, index: int) -> Spectrogram:
        """Return clip ``index`` alone, cut to its own length."""
        index = range(len(self))[index]
        one, frames = self[index : index + 1], int(self.valid[index].sum())
        phase = None if one.phase is None else one.phase[:, :frames]
        return Spectrogram(one.magnitude[:, :frames], phase, one.valid[:, :frames], one.lengths, int(one.lengths))


@dataclass
class Clips:
    """A padded batch of sounds (of :meth:`Frontend.clips`); analysed when first asked for.

    Attributes
    ----------
    wavs : Tensor [B, N]
        Zero beyond each clip's end.
    lengths : Tensor [B], int64
        Of each clip, in samples.
    frontend : Frontend
    analysed : Spectrogram, optional
        Their spectrogram, if it is already known.
    magnitude_only : bool
        Whether their spectrogram is made without its phase: of sounds that are only heard, and never masked again.
    """

    wavs: Tensor
    lengths: Tensor
    frontend: Frontend
    analysed: Spectrogram | None = None
    magnitude_only: bool = False

    @property
    def spectrogram(self) -> Spectrogram:
        """Spectrogram of the sounds, analysed once."""
        if self.analysed is None:
            self.analysed = self.frontend._transform(self)
        return self.analysed

    @property
    def gain(self) -> Tensor:
        """What the level rule divides each clip by, [B, 1]: max|x|; 1 for silence, or without a rule."""
        if self.frontend.settings.level == "none":
            return self.wavs.new_ones(len(self.wavs), 1)
        peak = self.wavs.abs().amax(dim=1, keepdim=True)  # [B, 1]
        return torch.where(peak > 0, peak, torch.ones_like(peak))

    def levelled(self) -> Clips:
        """Apply the level rule: with ``peak``, max|x| is then 1, or 0 for silence. Idempotent."""
        return Clips(self.wavs / self.gain, self.lengths, self.frontend)

    def __len__(self) -> int:
        return len(self.wavs)

    def __getitem__(self, index) -> Clips:
        """Select clips of the batch (an index tensor, a slice or a list); the padded size stays."""
        analysed = None if self.analysed is None else self.analysed[index]
        return replace(self, wavs=self.wavs[index], lengths=self.lengths[index], analysed=analysed)

    def clip(self, index: int) -> Clips:
        """Return clip ``index`` alone, cut to its own length."""
        index = range(len(self))[index]
        one = slice(index, index + 1)
        analysed = None if self.analysed is None else self.analysed.clip(index)
        wavs = self.wavs[one, : int(self.lengths[index])]
        return replace(self, wavs=wavs, lengths=self.lengths[one], analysed=analysed)


class Frontend:
    """The one front end: STFT analysis, masks, inverse STFT, levels.

    Parameters
    ----------
    settings : FrontendSettings
        Defaults to the published setting: 16 kHz, FFT 1024, 23.2199 ms window, 11.6099 ms hop (5 s -> [431, 513]).

    Example
    -------
    >>> frontend = Frontend()
    >>> spectrogram = frontend.analyse(torch.randn(2, 80000), torch.tensor([1.0, 0.5]))
    >>> tuple(spectrogram.magnitude.shape), spectrogram.valid.sum(1).tolist()
    ((2, 431, 513), [431, 216])
    >>> frontend.resynthesise(spectrogram, spectrogram.magnitude).shape
    torch.Size([2, 80000])
    """

    def __init__(self, settings: FrontendSettings | None = None):
        self.settings = settings or FrontendSettings()
        rate = self.settings.sample_rate
        # In milliseconds, which SpeechBrain rounds to samples by itself: to these.
        window, hop = (1000.0 * n / rate for n in (self.settings.win_length, self.settings.hop_length))
        self._stft = STFT(sample_rate=rate, win_length=window, hop_length=hop, n_fft=self.settings.n_fft)

    def n_frames(self, n_samples: int | Tensor) -> int | Tensor:
        """Return the number of frames T of a clip of ``n_samples`` samples."""
        return 1 + n_samples // self.settings.hop_length

    def clips(self, wavs: Tensor, lengths: Tensor | None = None) -> Clips:
        """Take in a padded batch: count its lengths and zero its padding.

        Parameters
        ----------
        wavs : Tensor [B, N]
        lengths : Tensor [B] in (0, 1], optional
            Relative lengths; all ones if not given.

        Raises
        ------
        ValueError
            If ``wavs`` is not [B, N] with N >= 1, or a length is outside (0, 1].
        """
        counts = sample_counts(wavs, lengths)
        return Clips(_zero_padding(wavs, counts), counts, self)

    def analyse(self, wavs: Tensor, lengths: Tensor | None = None) -> Spectrogram:
        """Short-time Fourier analysis of a padded batch, at the level it has: the spectrogram of :meth:`clips`.

        Parameters
        ----------
        wavs, lengths
            As in :meth:`clips`.

        Returns
        -------
        Spectrogram
            Each clip's valid frames are those it would have without padding.
        """
        return self.clips(wavs, lengths).spectrogram

    def _transform(self, clips: Clips) -> Spectrogram:
        # Half precision has no FFT on CPUs, and phases need the full one.
        with torch.autocast(device_type=clips.wavs.device.type, enabled=False):
            stft = torch.view_as_complex(self._stft(clips.wavs.float()).contiguous())  # [B, T, F]
        frames = torch.arange(stft.shape[1], device=stft.device)
        valid = frames[None] < self.n_frames(clips.lengths)[:, None]  # [B, T]
        stft = _of_valid(stft, valid)
        phase = None if clips.magnitude_only else stft.angle()
        return Spectrogram(stft.abs(), phase, valid, clips.lengths, clips.wavs.shape[1])

    def resynthesise(self, spectrogram: Spectrogram, masked_magnitude: Tensor) -> Tensor:
        """Turn a magnitude with the spectrogram's phase into sound: windowed overlap-add, differentiable.

        The overlap is normalised by each clip's own valid frames, so that a padded clip sounds as it does alone,
        and the output has exactly the length of the input.

        Parameters
        ----------
        spectrogram : Spectrogram
            Gives phase, valid frames and lengths.
        masked_magnitude : Tensor [B, T, F]
            Linear magnitude, >= 0.

        Returns
        -------
        Tensor [B, N]
            Zero beyond each clip's length.

        Raises
        ------
        ValueError
            If the shapes differ.
        """
        if masked_magnitude.shape != spectrogram.magnitude.shape:
            raise ValueError(
                f"resynthesise: magnitude is {tuple(masked_magnitude.shape)}, "
                f"expected the spectrogram's {tuple(spectrogram.magnitude.shape)}"
            )
        n_fft, hop = self.settings.n_fft, self.settings.hop_length
        with torch.autocast(device_type=masked_magnitude.device.type, enabled=False):
            magnitude = _of_valid(masked_magnitude.float(), spectrogram.valid)
            # What is silent has no phase, so that a gradient counts 0 times there; one that is not finite remains so.
            magnitude = magnitude * (magnitude != 0)
            frames = torch.fft.irfft(torch.complex(*(magnitude * turn for turn in spectrogram.turns)), n=n_fft)
            # The window is zero beyond its own length, and so is what would be added there.
            left = (n_fft - self.settings.win_length) // 2
            window = self._stft.window.to(frames)  # [win_length]
            signal = _overlap_add(frames[..., left : left + len(window)] * window, hop)
            valid = spectrogram.valid
            if bool((valid == valid[:1]).all()):
                valid = valid[:1]  # one envelope for all clips
            envelope = _overlap_add(window.square() * valid[..., None].to(frames.dtype), hop)
            start = n_fft // 2 - left  # analysis pads by half an FFT on both sides
            signal = signal[:, start : start + spectrogram.n_samples]
            envelope = envelope[:, start : start + spectrogram.n_samples]
            signal = signal / torch.where(envelope > 1e-8, envelope, torch.ones_like(envelope))
        missing = spectrogram.n_samples - signal.shape[1]
        signal = torch.nn.functional.pad(signal, (0, max(0, missing)))
        return _zero_padding(signal, spectrogram.lengths)


def apply_mask(magnitude: Tensor, mask: Tensor, domain: str = "log") -> Tensor:
    """Apply a mask to a linear magnitude.

    Parameters
    ----------
    magnitude : Tensor [B, T, F]
        Linear magnitude ``A`` >= 0.
    mask : Tensor [B, T, F]
        Values in [0, 1].
    domain : {"log", "linear"}
        ``log``: ``expm1(M * log1p(A))``, the published recipes' choice; ``linear``: ``M * A``.

    Returns
    -------
    Tensor [B, T, F]
        The masked linear magnitude. M = 1 gives A back, M = 0 gives 0.

    Raises
    ------
    ValueError
        If the shapes differ or the domain is unknown.

    Example
    -------
    >>> apply_mask(torch.tensor([[[3.0]]]), torch.tensor([[[0.5]]]))
    tensor([[[1.]]])
    """
    if magnitude.shape != mask.shape:
        raise ValueError(f"apply_mask: mask is {tuple(mask.shape)}, expected {tuple(magnitude.shape)}")
    if domain == "log":
        return torch.expm1(mask * torch.log1p(magnitude))
    if domain == "linear":
        return mask * magnitude
    raise ValueError(f"apply_mask: domain is {domain!r}, expected one of {APPLY_DOMAINS}")


@dataclass
class MaskedPair:
    """What a mask keeps of a batch of clips (In) and what it removes (Out), as magnitudes and as sound.

    The sounds are made when first asked for, and only once.

    Attributes
    ----------
    whole : Clips
        The clips that were masked.
    magnitudes : Tensor [2B, T, F]
        Of In, then of Out.
    sounds : Clips, optional
        Of In, then of Out, if they are already made.
    """

    whole: Clips
    magnitudes: Tensor
    sounds: Clips | None = None

    @classmethod
    def of(cls, clips: Clips, mask: Tensor, apply: str = "log") -> MaskedPair:
        """Mask clips.

        Parameters
        ----------
        clips : Clips
        mask : Tensor [B, T, F] in [0, 1]
        apply : {"log", "linear"}
            Domain of the mask.

        Raises
        ------
        ValueError
            For an unknown domain, or a mask of another shape.
        """
        magnitude = clips.spectrogram.magnitude
        return cls(clips, torch.cat([apply_mask(magnitude, part, apply) for part in (mask, 1 - mask)]))

    @property
    def inside(self) -> Tensor:
        """Magnitude of In, [B, T, F]."""
        return self.magnitudes[: len(self.magnitudes) // 2]

    @property
    def outside(self) -> Tensor:
        """Magnitude of Out, [B, T, F]."""
        return self.magnitudes[len(self.magnitudes) // 2 :]

    @cached_property
    def spectrogram(self) -> Spectrogram:
        """In, then Out, with phase, frames and lengths of the clips: 2B of them."""
        whole, twice = self.whole.spectrogram, torch.arange(len(self.whole), device=self.magnitudes.device).repeat(2)
        return Spectrogram(
            self.magnitudes, whole.phase[twice], whole.valid[twice], whole.lengths[twice], whole.n_samples
        )

    @property
    def clips(self) -> Clips:
        """In, then Out, as sound at the level it has: what is heard; 2B clips."""
        if self.sounds is None:
            whole, frontend = self.whole.spectrogram, self.whole.frontend
            wavs = torch.cat([frontend.resynthesise(whole, part) for part in (self.inside, self.outside)])
            self.sounds = Clips(wavs, whole.lengths.repeat(2), frontend, magnitude_only=True)
        return self.sounds

    @property
    def listenable(self) -> Tensor:
        """In as sound [B, N]: ``istft(In e^{j phase})``."""
        return self.clips.wavs[: len(self.whole)]

    @property
    def residual(self) -> Tensor:
        """Out as sound [B, N]."""
        return self.clips.wavs[len(self.whole) :]

    def clip(self, index: int) -> MaskedPair:
        """Return the pair of clip ``index`` alone, cut to its own length."""
        whole = self.whole.clip(index)
        both = torch.tensor([index % len(self.whole), index % len(self.whole) + len(self.whole)])
        sounds = None
        if self.sounds is not None:
            wavs, lengths = self.sounds.wavs[both, : whole.wavs.shape[1]], self.sounds.lengths[both]
            sounds = Clips(wavs, lengths, whole.frontend, magnitude_only=True)
        return MaskedPair(whole, self.magnitudes[both, : whole.spectrogram.magnitude.shape[1]], sounds)


def sample_counts(wavs: Tensor, lengths: Tensor | None) -> Tensor:
    """Return the clips' lengths in samples [B] (int64, at least 1) from relative lengths.

    Raises
    ------
    ValueError
        If ``wavs`` is not [B, N] with N >= 1, or ``lengths`` is not [B] in (0, 1].
    """
    if wavs.ndim != 2 or wavs.shape[1] == 0:
        raise ValueError(f"waveforms have shape {tuple(wavs.shape)}, expected [B, N] with N >= 1")
    if lengths is None:
        return torch.full((wavs.shape[0],), wavs.shape[1], dtype=torch.int64, device=wavs.device)
    lengths = torch.as_tensor(lengths, device=wavs.device)
    if lengths.shape != wavs.shape[:1]:
        raise ValueError(f"lengths have shape {tuple(lengths.shape)}, expected [{wavs.shape[0]}]")
    if bool((lengths <= 0).any()) or bool((lengths > 1).any()):
        raise ValueError(f"relative lengths must lie in (0, 1], got {lengths.tolist()}")
    return (lengths.double() * wavs.shape[1]).round().long().clamp(min=1)


def _zero_padding(wavs: Tensor, counts: Tensor) -> Tensor:
    positions = torch.arange(wavs.shape[1], device=wavs.device)
    return wavs.masked_fill(positions[None] >= counts[:, None], 0.0)


def _of_valid(values: Tensor, valid: Tensor) -> Tensor:
    """Return values [B, T, F] with zeros in frames that are not valid."""
    return values if none_hidden(valid) else values * valid[..., None]


def _overlap_add(frames: Tensor, hop: int) -> Tensor:
    """Sum frames [B, T, n] at distance ``hop`` -> [B, (T - 1) * hop + n]."""
    n_frames, size = frames.shape[1:]
    total = (n_frames - 1) * hop + size
    folded = torch.nn.functional.fold(
        frames.transpose(1, 2), output_size=(1, total), kernel_size=(1, size), stride=(1, hop)
    )  # [B, 1, 1, total]
    return folded[:, 0, 0]
