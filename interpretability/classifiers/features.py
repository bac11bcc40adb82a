"""What a model takes in place of a waveform, as steps that a card names: a mel spectrogram, windows, another file."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torchaudio
from torch import Tensor, nn
from torch.nn import functional

from interpretability.classifiers.card import existing_file
from interpretability.classifiers.graph_file import GraphModule
from interpretability.classifiers.onnx_file import OnnxModule
from interpretability.classifiers.outputs import entry_of
from interpretability.classifiers.tflite_file import TfliteModule
from interpretability.errors import UserError, listed, shown, user_errors
from interpretability.files import sha256
from interpretability.settings import MOST_BANDS, Settings, setting

#: Ending of a file of a step -> what runs it.
RUNTIMES: dict[str, type[GraphModule]] = {".onnx": OnnxModule, ".tflite": TfliteModule}
#: Most samples, or frames, of a window, of a transform and of what is added to a sound.
LONGEST = 2**24
#: Seconds of silence that a file which is run on the whole is measured with.
MEASURING = 2.0
#: Least standard deviation by which a window is divided.
LEAST_DEVIATION = 1e-10


class Step(Settings):
    """One step: from values [B, T, …], time second, to such values.

    After ``frames`` time is a row of windows, each with its values: [B, W, size, …]. A model runs on each of them.
    """

    #: Places in time without which it cannot be taken.
    shortest = 1

    def needs(self, count: int) -> int:
        """Return how many places in time it takes to give so many: 0 or less where it adds them itself."""
        return count


@dataclass(frozen=True)
class Pad(Step):
    """``pad``: zeros before and after."""

    before: int = setting(0, "places", least=0, most=LONGEST)
    after: int = setting(0, "places", least=0, most=LONGEST)

    def __call__(self, values: Tensor) -> Tensor:
        return functional.pad(values, [0, 0] * (values.ndim - 2) + [self.before, self.after])

    def needs(self, count: int) -> int:
        return count - self.before - self.after


@dataclass(frozen=True)
class Scale(Step):
    """``scale``: times a factor, plus an offset."""

    factor: float = setting(1.0, "of every value")
    offset: float = setting(0.0, "added to it")

    def __call__(self, values: Tensor) -> Tensor:
        return values * self.factor + self.offset


@dataclass(frozen=True)
class Mel(Step):
    """``mel``: the mel spectrogram [B, T, n_mels] of a sound, of torchaudio, and its logarithm."""

    n_fft: int = setting(dataclasses.MISSING, "size of the transform", unit="samples", least=2, most=2**16)
    hop_length: int = setting(dataclasses.MISSING, "step between frames", unit="samples", least=1, most=LONGEST)
    n_mels: int = setting(dataclasses.MISSING, "bands", least=1, most=MOST_BANDS)
    win_length: int | None = setting(None, "Hann window; null: n_fft", unit="samples", least=1, most=LONGEST)
    f_min: float = setting(0.0, "lowest edge", unit="Hz", least=0)
    f_max: float | None = setting(None, "highest edge; null: half the sampling rate", unit="Hz", above=0)
    power: float = setting(2.0, "of the magnitude", above=0)
    mel_scale: str = setting("htk", "formula of the scale", choices=("htk", "slaney"))
    norm: str | None = setting(None, "slaney: each band by its width", choices=(None, "slaney"))
    center: bool = setting(True, "whether frames are centred on their place, the sound padded by half a transform")
    pad_mode: str = setting("reflect", "what it is padded with then", choices=("reflect", "constant"))
    log: str = setting("none", "logarithm of the bands", choices=("none", "ln", "log10", "db"))
    add: float = setting(0.0, "added to the bands before the logarithm", least=0)
    least: float = setting(1e-10, "of the bands, before the logarithm", above=0)

    def transform(self, sample_rate: int) -> nn.Module:
        """Return what makes the bands, [B, n_mels, T]."""
        return torchaudio.transforms.MelSpectrogram(
            sample_rate,
            self.n_fft,
            self.win_length,
            self.hop_length,
            self.f_min,
            self.f_max,
            n_mels=self.n_mels,
            power=self.power,
            center=self.center,
            pad_mode=self.pad_mode,
            norm=self.norm,
            mel_scale=self.mel_scale,
        )

    def __call__(self, values: Tensor, transform: nn.Module) -> Tensor:
        bands = transform.to(values)(values).transpose(1, 2)
        if self.log == "none":
            return bands
        bands = (bands + self.add).clamp(min=self.least)
        return {"ln": torch.log, "log10": torch.log10, "db": _decibels}[self.log](bands)

    @property
    def shortest(self) -> int:
        """See :attr:`Step.shortest`: reflection needs more than the half of a transform that it pads with."""
        return self.n_fft // 2 + 1 if self.center else self.n_fft

    def needs(self, count: int) -> int:
        return (count - 1) * self.hop_length + (0 if self.center else self.n_fft)


@dataclass(frozen=True)
class Frames(Step):
    """``frames``: windows that follow each other, [B, W, size, …]."""

    size: int = setting(dataclasses.MISSING, "places in time of a window", least=1, most=LONGEST)
    hop: int | None = setting(None, "from one window to the next; null: size", least=1, most=LONGEST)
    standardise: bool = setting(False, "whether each window is brought to a mean of 0 and a standard deviation of 1")

    def __call__(self, values: Tensor) -> Tensor:
        windows = values.unfold(1, self.size, self.hop or self.size).movedim(-1, 2)
        if self.standardise:
            axes = tuple(range(2, windows.ndim))
            windows = windows - windows.mean(axes, keepdim=True)
            # As of a variance, which has a gradient where all values are equal.
            variance = windows.square().sum(axes, keepdim=True) / max(1, windows[0, 0].numel() - 1)
            windows = windows / variance.clamp(min=LEAST_DEVIATION**2).sqrt()
        return windows

    def needs(self, count: int) -> int:
        return (count - 1) * (self.hop or self.size) + self.size


@dataclass(frozen=True)
class Shape(Step):
    """``shape``: the shape of each window, or of the whole, without the axis of the batch."""

    sizes: tuple[int, ...] = setting(dataclasses.MISSING, "of its axes; -1: what is left", least=-1, most=LONGEST)


@dataclass(frozen=True)
class Run(Step):
    """``model``: another file of ONNX or of TensorFlow Lite, which is run on each window, or on the whole."""

    file: str = setting(dataclasses.MISSING, "its path, from the folder of the model")
    entry: str | int | None = setting(None, "name or number of its output; null: the only one")


#: Name of a step in a card -> its settings.
STEPS: dict[str, type[Step]] = {
    "pad": Pad,
    "scale": Scale,
    "mel": Mel,
    "frames": Frames,
    "shape": Shape,
    "model": Run,
}


def read_steps(given: Sequence[Mapping[str, Any]], where: str) -> list[Step]:
    """Return the steps that a card names, checked.

    Parameters
    ----------
    given : sequence of mapping
        Each the name of a step with its settings: ``{"frames": {"size": 96, "hop": 48}}``.
    where : str
        In front of errors.

    Raises
    ------
    UserError
        If one is none of :data:`STEPS`, or its settings do not fit.
    """
    steps = []
    for number, step in enumerate(given, 1):
        place = f"{where}: features, step {number}"
        if not isinstance(step, Mapping) or len(step) != 1:
            raise UserError(f"{place} is {shown(step)}, expected one of {listed(STEPS)} with its settings")
        ((name, settings),) = step.items()
        if name not in STEPS:
            raise UserError(f"{place} is {shown(name)}, expected one of {listed(STEPS)}")
        if settings is not None and not isinstance(settings, Mapping):
            raise UserError(f"{place}: {name} is {shown(settings)}, expected its settings by their names")
        steps.append(STEPS[name].make(f"{place}, {name}", settings or {}))
    return steps


class FeatureModule(nn.Module):
    """A model behind the steps that make what it takes of a waveform.

    Parameters
    ----------
    model : torch.nn.Module
        From what the steps give.
    steps : sequence of mapping
        As of :func:`read_steps`.
    sample_rate : int
        Of the sounds, in Hz.
    folder : path, optional
        Of the files that steps name; they may not name any if it is not given.
    title : str
        What errors call the model.
    alone : bool
        Whether the model takes one item at a time.

    Raises
    ------
    UserError
        If a step does not fit, or a file of one cannot be opened.
    """

    def __init__(
        self,
        model: nn.Module,
        steps: Sequence[Mapping[str, Any]],
        sample_rate: int,
        folder: Path | None = None,
        title: str = "the model",
        alone: bool = False,
    ):
        super().__init__()
        self.model, self._rate, self._title = model, sample_rate, title
        self._alone = alone or bool(getattr(model, "alone", False))
        self.steps = read_steps(steps, title)
        # Of each step, and of the model behind them: whether it is taken of each window.
        self._framed = [False]
        for step in self.steps:
            self._framed.append(isinstance(step, Frames) or (self._framed[-1] and not isinstance(step, Run)))
        content = json.dumps(list(steps), sort_keys=True).encode()
        self._runs: dict[int, GraphModule] = {}
        self._mel: tuple[nn.Module, ...] = ()  # a tuple: its tables are no part of the state
        for number, step in enumerate(self.steps):
            if isinstance(step, Mel) and any(isinstance(before, (Mel, Frames, Run)) for before in self.steps[:number]):
                raise UserError(f"{title}: features, step {number + 1}: mel takes a sound: put it before the others")
            if isinstance(step, Mel):
                self._mel = (step.transform(sample_rate),)
            if isinstance(step, Run):
                self._runs[number] = self._opened(step, number, folder)
                content += sha256(folder / step.file).encode()
        # In the state, which identifies a model.
        digest = hashlib.sha256(content).digest()
        self.register_buffer("steps_sha256", torch.tensor(list(digest), dtype=torch.uint8))
        numbers = [number for number, step in enumerate(self.steps) if isinstance(step, Frames)]
        whole = max((number for number in self._runs if not self._framed[number]), default=-1)
        for number, step in enumerate(self.steps):
            if isinstance(step, Shape) and whole < number < max(numbers, default=-1) and not self._framed[number]:
                raise UserError(
                    f"{title}: features, step {number + 1}: shape before frames would change what time is: give "
                    "frames first, or in its place"
                )
        self._whole, self._pads = whole, bool(numbers)
        self._measured: tuple[float, float] | None = None  # of a file that is run on the whole: hop and span

    def _opened(self, step: Run, number: int, folder: Path | None) -> GraphModule:
        place = f"{self._title}: features, step {number + 1}, model"
        if folder is None:
            raise UserError(f"{place}: a file goes before onnx:FILE and tflite:FILE alone: leave it out")
        path = folder / step.file
        if Path(step.file).is_absolute() or ".." in Path(step.file).parts:
            raise UserError(f"{place}: file is {step.file!r}, expected one beside the model, or in a folder beside it")
        kind = RUNTIMES.get(path.suffix.lower())
        if kind is None:
            raise UserError(f"{place}: file is {step.file!r}, expected a file that ends in {' or '.join(RUNTIMES)}")
        existing_file(str(path), path.suffix[1:])
        module = kind(str(path), {}, {}, features=True)
        if getattr(module, "keeps_state", False):
            raise UserError(f"{place}: {step.file} keeps a state from one sound to the next, which a step may not")
        return module

    def forward(self, sound: Tensor, **inputs: Any) -> Any:
        """Return what the model answers to sounds [B, N].

        Of windows that is [B, W, C], one row each; zeros follow a sound that ends within a window.
        """
        values = functional.pad(sound, (0, self._length(sound.shape[1]) - sound.shape[1]))
        values = self._after(len(self.steps), values)
        if not self.has_windows:
            return self._each(lambda part: self.model(part, **inputs), values, self._alone)
        answer = self._each(lambda part: self.model(part, **inputs), values.flatten(0, 1), self._alone)
        return self._unflattened(answer, *values.shape[:2])

    @property
    def has_windows(self) -> bool:
        """Whether the model answers for windows."""
        return self._framed[-1]

    def times(self, count: int) -> Tensor:
        """Return where so many windows lie in the sound, [count, 2] float64: start and end, in samples.

        Before the sound they are negative. Of a window of frames the end is that of its last frame.
        """
        first, hop, size = 0.0, 1.0, 1.0
        for number, step in enumerate(self.steps):
            if number == self._whole:
                hop, span = self._span()
                first, size = span - self._measured_size(), self._measured_size()
            if isinstance(step, Pad):
                first -= step.before * hop
            elif isinstance(step, Mel):
                first -= step.n_fft / 2 if step.center else 0
                hop, size = hop * step.hop_length, float(step.n_fft)
            elif isinstance(step, Frames):
                size += (step.size - 1) * hop
                hop *= step.hop or step.size
        starts = first + hop * torch.arange(count, dtype=torch.float64)
        return torch.stack([starts, starts + size], 1)

    def _after(self, count: int, values: Tensor) -> Tensor:
        """Take the first so many steps."""
        for number in range(count):
            values = self._step(number, values)
        return values

    def _step(self, number: int, values: Tensor) -> Tensor:
        """Take one step; a :class:`UserError` if the values do not fit it."""
        step, lead = self.steps[number], 1 + self._framed[number]
        place = f"{self._title}: features, step {number + 1}"
        with user_errors(f"{place} cannot be taken of values of {list(values.shape)}", RuntimeError, ValueError):
            if isinstance(step, Mel):
                return step(values, *self._mel)
            if isinstance(step, Shape):
                return values.reshape(*values.shape[:lead], *step.sizes)
            if isinstance(step, Run):
                return self._run(number, step, values)
            return step(values)

    def _run(self, number: int, step: Run, values: Tensor) -> Tensor:
        model, framed = self._runs[number], self._framed[number]
        items = values.flatten(0, 1) if framed else values
        outputs = self._each(model, items, not framed or model.alone)
        name = f"{self._title}: features, step {number + 1}: {step.file}"
        if step.entry is None and len(outputs) > 1:
            raise UserError(f"{name} gives {listed(outputs)}: which? Give entry")
        output = entry_of(outputs, 0 if step.entry is None else step.entry, name)
        if framed:
            return output.flatten(1).unflatten(0, values.shape[:2])
        while output.ndim > 3 and 1 in output.shape[1:]:
            output = output.squeeze(1 + list(output.shape[1:]).index(1))
        return output[..., None] if output.ndim == 2 else output

    @staticmethod
    def _each(run: Callable[[Tensor], Any], items: Tensor, alone: bool) -> Any:
        """Run a model on items [n, …]: at once, or one by one."""
        if len(items) == 1 or not alone:
            return run(items)
        return _joined([run(item) for item in items.split(1)])

    def _length(self, n_samples: int) -> int:
        """Return the samples of the windows that hold a sound of so many; without windows those that it takes."""
        least = max(n_samples, *(step.shortest for step in self.steps), 1)
        if not self._pads:
            return least
        one, two = self.needs(1), self.needs(2)
        count = 1 + max(0, -(-(n_samples - one) // (two - one)))
        return max(least, self.needs(count))

    def needs(self, count: int) -> int:
        """Return how many samples it takes for so many windows: 0 or less where steps add them themselves."""
        for number in reversed(range(len(self.steps))):
            if number == self._whole:  # measured with all that comes before
                hop, span = self._span()
                return math.ceil(span + hop * (count - 1))
            count = self.steps[number].needs(count)
        return count

    def _span(self) -> tuple[float, float]:
        """Return of the last file that is run on the whole how far apart its frames are, and what the first one takes.

        In samples of the sound: it is run behind the steps before it, on silence of several lengths.
        """
        if self._measured is None:
            length = round(MEASURING * self._rate)
            few = self._count(length)
            many = few + max(1, few // 2)
            if self._count(2 * length) < many:
                raise UserError(
                    f"{self._title}: features, step {self._whole + 1} gives {few} frames for {MEASURING:g} s of sound, "
                    "and no more of twice that: expected more of a longer one"
                )
            short, long = (self._shortest_of(frames, 2 * length) for frames in (few, many))
            hop = (long - short) / (many - few)
            self._measured = (hop, short - hop * (few - 1))
        return self._measured

    def _measured_size(self) -> float:
        """Return what the first frame of that file spans, as far as it can be told: its hop, or more."""
        hop, span = self._span()
        return max(hop, min(span, 2 * hop))

    @torch.no_grad()
    def _count(self, n_samples: int) -> int:
        """Return how many frames the last file that is run on the whole gives of so many samples; 0 of too few."""
        try:
            return self._after(self._whole + 1, torch.zeros(1, n_samples)).shape[1]
        except UserError:
            return 0

    def _shortest_of(self, frames: int, works: int) -> int:
        """Return the fewest samples that give so many frames, by halving what is between."""
        fails = 0
        while works - fails > 1:
            middle = (works + fails) // 2
            works, fails = (middle, fails) if self._count(middle) >= frames else (works, middle)
        return works

    def _unflattened(self, answer: Any, n_clips: int, n_windows: int) -> Any:
        """Return answers to windows [B W, C] as [B, W, C], in mappings and tuples, too."""
        if isinstance(answer, Mapping):
            return {name: self._unflattened(value, n_clips, n_windows) for name, value in answer.items()}
        if isinstance(answer, (tuple, list)):
            return [self._unflattened(value, n_clips, n_windows) for value in answer]
        if isinstance(answer, np.ndarray) and answer.dtype.kind in "fiu":
            answer = torch.from_numpy(answer)
        if not (isinstance(answer, Tensor) and answer.ndim and len(answer) == n_clips * n_windows):
            return answer
        if answer.shape[1:].numel() != answer.shape[-1] and answer.ndim > 1:
            raise UserError(
                f"{self._title} gives {list(answer.shape[1:])} for each window, expected one value for each class: "
                "frames within windows are not kept apart"
            )
        return answer.flatten(1).unflatten(0, (n_clips, n_windows)) if answer.ndim > 1 else answer.view(n_clips, -1, 1)


def _decibels(bands: Tensor) -> Tensor:
    return 10 * torch.log10(bands)


def _joined(answers: list[Any]) -> Any:
    """Join answers to one item each: tensors, or mappings and tuples of them."""
    first = answers[0]
    if isinstance(first, Mapping):
        return {name: _joined([answer[name] for answer in answers]) for name in first}
    if isinstance(first, (tuple, list)):
        return [_joined(list(parts)) for parts in zip(*answers, strict=True)]
    if isinstance(first, np.ndarray):
        return np.concatenate(answers)
    return torch.cat(answers) if isinstance(first, Tensor) else first
