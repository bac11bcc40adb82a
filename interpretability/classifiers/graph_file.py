"""What models in files of ONNX and of TensorFlow Lite share: inputs and outputs with names, shapes and types."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from interpretability.errors import UserError, listed


@dataclass(frozen=True)
class Port:
    """An input or an output of a model.

    Attributes
    ----------
    name : str
    shape : tuple
        A whole number, or the name of an axis of any size (None if it has none).
    kind : str
        Its type, as the format calls it.
    dtype : numpy type or None
        None if NumPy has none for it.
    takes_samples : bool
        Whether samples in [-1, 1] can be brought to this type.
    """

    name: str
    shape: tuple[int | str | None, ...]
    kind: str
    dtype: Any
    takes_samples: bool

    def __str__(self) -> str:
        sizes = ", ".join("?" if size is None else str(size) for size in self.shape)
        return f"{self.name} [{sizes}]"


@dataclass(frozen=True)
class Scaling:
    """What integers stand for: ``(integer - zero) scale``; a scale of 0: themselves."""

    scale: float = 0.0
    zero: int = 0

    def integers(self, value: np.ndarray, dtype: Any) -> np.ndarray:
        """Return numbers in a type: the nearest integers that stand for them, if that is one of integers."""
        dtype = np.dtype(dtype)
        if dtype.kind in "iu" and value.dtype.kind == "f" and self.scale > 0:
            limits = np.iinfo(dtype)
            value = np.clip(np.round(value / self.scale) + self.zero, limits.min, limits.max)
        return np.asarray(value, dtype=dtype, order="C")

    def numbers(self, value: np.ndarray) -> np.ndarray:
        """Return the numbers that integers stand for; what has no scale as it is."""
        if value.dtype.kind in "iu" and self.scale > 0:
            return (value.astype(np.float32) - self.zero) * np.float32(self.scale)
        return value


class GraphModule(nn.Module):
    """A model in a file, run by its own runtime, as a module without a gradient.

    Parameters
    ----------
    title : str
        What it is called.
    inputs, outputs : sequence of Port
    given : collection of str
        Names of inputs that :meth:`forward` gets beside the sound.
    states : mapping of str to str
        Input -> the output that it gets at the next call; zeros after :meth:`reset_states`. An axis of an open size is
        that of the batch.
    features : bool
        Whether it takes anything in place of a waveform: of any number of axes, the first one that of the batch.

    Attributes
    ----------
    layout : str
        Shape of the sound, of :data:`~interpretability.classifiers.black_box.LAYOUTS`.
    input_length : int or None
        Samples of the sound, if they are fixed.
    alone : bool
        Whether the batch is of one sound.

    Raises
    ------
    UserError
        If the model takes anything but one waveform, without ``features``.
    """

    #: What the user can do about a type of input that takes no samples.
    SAMPLES = "expected samples of float32, in [-1, 1]: export it with an input of float32"

    def __init__(
        self,
        title: str,
        inputs: Sequence[Port],
        outputs: Sequence[Port],
        given: Mapping,
        states: Mapping[str, str],
        features: bool = False,
    ):
        super().__init__()
        self._title = title
        self._inputs = {port.name: port for port in inputs}
        self._outputs = [port.name for port in outputs]
        self._states_of = dict(states)
        for name in (*given, *states):
            if name not in self._inputs:
                raise UserError(f"{title} has no input {name!r}: it has {listed(self._inputs)}")
        for name in states.values():
            if name not in self._outputs:
                raise UserError(f"{title} has no output {name!r}, named in states: it has {listed(self._outputs)}")
        self._sound = self._find_sound(
            [port for port in inputs if port.name not in given and port.name not in states], outputs, features
        )
        shape = self._sound.shape
        self.layout = "batch" if features else _layout(shape)
        size = shape[1] if self.layout == "last" else shape[-1]
        self.input_length = size if isinstance(size, int) and not features else None
        self.alone = len(shape) == 1 or isinstance(shape[0], int)
        self._values: dict[str, np.ndarray] = {}

    def _find_sound(self, left: Sequence[Port], outputs: Sequence[Port], features: bool) -> Port:
        """Return the input that takes the sound, or what is made of it."""
        if len(left) != 1:
            taken = ", ".join(map(str, self._inputs.values())) or "nothing"
            raise UserError(
                f"{self._title} takes {taken}: which is the sound? Give the others as inputs={{NAME: VALUE}}, or as "
                "states={INPUT: OUTPUT} where an output goes back into the model; it gives "
                f"{', '.join(map(str, outputs))}"
            )
        (sound,) = left
        shape = sound.shape
        is_channel = len(shape) == 3 and (shape[1] == 1 or not isinstance(shape[1], int))
        if len(shape) not in (1, 2) and not is_channel and not _is_last(shape) and not features:
            raise UserError(
                f"{self._title} takes {sound}, expected a waveform [B, N], [N], [B, 1, N] or [B, N, 1]: say in its "
                "card what is made of the sound before (features), export the model together with that, or call both "
                "in a function of Python (python:package.module:function)"
            )
        if not sound.takes_samples:
            raise UserError(f"{self._title} takes {sound.name} of {sound.kind}, {self.SAMPLES}")
        if len(shape) > 1 and isinstance(shape[0], int) and shape[0] != 1:
            raise UserError(
                f"{self._title} takes {shape[0]} sounds at once, neither more nor less, as {sound}: export it "
                "with a dynamic axis of the batch, or a batch of 1"
            )
        return sound

    def reset_states(self) -> None:
        """Forget what was heard."""
        self._values = {}

    def forward(self, sound: Tensor, **inputs: Any) -> dict[str, Any]:
        """Run the model on a sound; returns its outputs by name, without those that are states."""
        feed = {self._sound.name: sound.detach().cpu().numpy()}
        for name, value in inputs.items():
            port = self._inputs[name]
            array = np.asarray(value, dtype=port.dtype)
            feed[name] = array.reshape([1] * len(port.shape)) if array.ndim == 0 else array
        n_clips = 1 if sound.ndim == 1 else len(sound)
        for name in self._states_of:
            feed[name] = self._values.get(name, self._start(name, n_clips))
        outputs = self.run(feed)
        self._values = {name: outputs.pop(output) for name, output in self._states_of.items()}
        return {name: _tensor(value) for name, value in outputs.items()}

    def run(self, feed: Mapping[str, np.ndarray]) -> dict[str, Any]:
        """Run the model once: inputs by name, samples as float32, to outputs by name."""
        raise NotImplementedError

    def _start(self, name: str, n_clips: int) -> np.ndarray:
        port = self._inputs[name]
        return np.zeros([size if isinstance(size, int) else n_clips for size in port.shape], port.dtype)


#: Names that inputs of sound, and of its sampling rate, usually have.
SOUND_NAMES = ("sound", "audio", "wav", "speech", "signal", "input", "samples", "x")
RATE_NAMES = ("sr", "sample_rate", "sampling_rate", "rate")


def guessed_ports(inputs: Sequence[Port], outputs: Sequence[Port], rate: int) -> tuple[dict[str, Any], dict[str, str]]:
    """Guess which inputs beside the sound are states, and which is the sampling rate.

    A state is an input with an axis whose shape an output has, which then goes back into it.

    Parameters
    ----------
    inputs, outputs : sequence of Port
    rate : int
        In Hz.

    Returns
    -------
    inputs : dict
        Values of further inputs, as the setting of that name.
    states : dict
        As the setting of that name.
    """
    waveforms = [port for port in inputs if port.takes_samples and 1 <= len(port.shape) <= 3]
    order = {name: number for number, name in enumerate(SOUND_NAMES)}

    def rank(port: Port) -> int:
        return min((order[name] for name in order if port.name.lower().startswith(name)), default=len(order))

    sound = min(waveforms, key=rank, default=None)
    given, states, free = {}, {}, list(outputs[1:])  # the first one is the answer, by custom
    for port in inputs:
        if port is sound:
            continue
        if len(port.shape) == 0 or port.shape == (1,):
            if port.name.lower() in RATE_NAMES:
                given[port.name] = rate
            continue
        match = next((output for output in free if _same_shape(port.shape, output.shape)), None)
        if match is not None:
            states[port.name] = match.name
            free.remove(match)
    return given, states


def _same_shape(one: Sequence, other: Sequence) -> bool:
    sizes = zip(one, other, strict=True) if len(one) == len(other) else [(0, 1)]
    return all(not isinstance(a, int) or not isinstance(b, int) or a == b for a, b in sizes)


def _layout(shape: Sequence) -> str:
    return "last" if _is_last(shape) else ("single", "batch", "channel")[len(shape) - 1]


def _is_last(shape: Sequence) -> bool:
    return len(shape) == 3 and shape[2] == 1 and shape[1] != 1


def _tensor(value: Any) -> Any:
    """Return an output as a tensor, unless it holds no numbers."""
    return torch.from_numpy(value) if isinstance(value, np.ndarray) and value.dtype.kind in "fiub" else value
