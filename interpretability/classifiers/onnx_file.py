"""``onnx``: a model in a file of ONNX, run by onnxruntime on the CPU. Such a file is data, and no code."""

from __future__ import annotations

from collections.abc import Mapping
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from interpretability.classifiers.black_box import BlackBoxClassifier, existing_file
from interpretability.errors import MissingError, UserError, listed, user_errors

#: Types of ONNX that have one in NumPy.
_TYPES = {
    "tensor(float)": np.float32,
    "tensor(double)": np.float64,
    "tensor(float16)": np.float16,
    "tensor(int32)": np.int32,
    "tensor(int64)": np.int64,
    "tensor(bool)": np.bool_,
}
_REAL = ("tensor(float)", "tensor(double)", "tensor(float16)")


class OnnxModule(nn.Module):
    """A session of onnxruntime as a module without a gradient.

    Parameters
    ----------
    place : str
        The file.
    inputs : collection of str
        Names of inputs that :meth:`forward` gets beside the sound.
    states : mapping of str to str
        Input -> the output that it gets at the next call; zeros after :meth:`reset_states`. An axis of an open size is
        that of the batch.

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
        If onnxruntime is not there or does not take the file; if the model takes anything but one waveform.
    """

    def __init__(self, place: str, inputs: Mapping[str, Any], states: Mapping[str, str]):
        super().__init__()
        self._name = f"onnx:{place}"
        self._session = _session(place)
        self._inputs = {node.name: node for node in self._session.get_inputs()}
        self._outputs = [node.name for node in self._session.get_outputs()]
        self._given = dict.fromkeys(inputs)
        self._states_of = dict(states)
        for name in (*inputs, *states):
            if name not in self._inputs:
                raise UserError(f"{self._name} has no input {name!r}: it has {listed(self._inputs)}")
        for name in states.values():
            if name not in self._outputs:
                raise UserError(f"{self._name} has no output {name!r}, named in states: it has {listed(self._outputs)}")
        self._sound = self._find_sound()
        shape = self._sound.shape
        self.layout = ("single", "batch", "channel")[len(shape) - 1]
        self.input_length = shape[-1] if isinstance(shape[-1], int) else None
        self.alone = len(shape) == 1 or isinstance(shape[0], int)
        self._values: dict[str, np.ndarray] = {}

    def _find_sound(self) -> Any:
        """Return the input that takes the sound."""
        left = [node for name, node in self._inputs.items() if name not in self._given and name not in self._states_of]
        shapes = ", ".join(f"{node.name} {_shape(node)}" for node in self._inputs.values())
        if len(left) != 1:
            raise UserError(
                f"{self._name} takes {shapes}: which is the sound? Give the others as inputs={{NAME: VALUE}}, or as "
                f"states={{INPUT: OUTPUT}} where an output goes back into the model; it gives {listed(self._outputs)}"
            )
        (sound,) = left
        shape = sound.shape
        fits = len(shape) in (1, 2) or (len(shape) == 3 and (shape[1] == 1 or not isinstance(shape[1], int)))
        if not fits:
            raise UserError(
                f"{self._name} takes {sound.name} {_shape(sound)}, expected a waveform [B, N], [N] or [B, 1, N]: "
                "export the model together with what makes its features, or call both in a function of "
                "Python (python:package.module:function)"
            )
        if sound.type not in _REAL:
            raise UserError(
                f"{self._name} takes {sound.name} of {sound.type}, expected samples of tensor(float), in [-1, 1]: "
                "export it with an input of float32"
            )
        if len(shape) > 1 and isinstance(shape[0], int) and shape[0] != 1:
            raise UserError(
                f"{self._name} takes {shape[0]} sounds at once, neither more nor less, as {_shape(sound)}: export it "
                "with a dynamic axis of the batch, or a batch of 1"
            )
        return sound

    def reset_states(self) -> None:
        """Forget what was heard."""
        self._values = {}

    def forward(self, sound: Tensor, **inputs: Any) -> dict[str, Tensor]:
        """Run the model on a sound; returns its outputs by name, without those that are states."""
        feed = {self._sound.name: sound.detach().cpu().numpy().astype(_TYPES[self._sound.type])}
        for name, value in inputs.items():
            node = self._inputs[name]
            array = np.asarray(value, dtype=_TYPES.get(node.type))
            feed[name] = array.reshape([1] * len(node.shape)) if array.ndim == 0 else array
        n_clips = 1 if sound.ndim == 1 else len(sound)
        for name in self._states_of:
            feed[name] = self._values.get(name, self._start(name, n_clips))
        outputs = dict(zip(self._outputs, self._session.run(None, feed), strict=True))
        self._values = {name: outputs.pop(output) for name, output in self._states_of.items()}
        return {name: _tensor(value) for name, value in outputs.items()}

    def _start(self, name: str, n_clips: int) -> np.ndarray:
        node = self._inputs[name]
        return np.zeros([size if isinstance(size, int) else n_clips for size in node.shape], _TYPES.get(node.type))


class OnnxClassifier(BlackBoxClassifier):
    """``onnx``: a file of ONNX."""

    NAME = "onnx"

    @classmethod
    def load(cls, place: str, inputs: Mapping, states: Mapping) -> tuple[nn.Module, dict[str, Any]]:
        """See :meth:`BlackBoxClassifier.load`."""
        existing_file(place, "onnx")
        module = OnnxModule(place, inputs, states)
        known = {
            "input_layout": module.layout,
            "input_length": module.input_length,
            "one_by_one": True if module.alone else None,
            "reset_state": bool(states),
        }
        return module, known

    def obstacle(self) -> str:
        """See :meth:`WaveformClassifier.obstacle`."""
        return "it is an ONNX file, whose layers cannot be observed"


def _session(place: str) -> Any:
    runtime = _onnxruntime(place)
    options = runtime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = torch.get_num_threads()
    advice = (
        ": expected operators and an opset that this release knows; export the model with an older opset, without "
        "operators of other packages, or update onnxruntime"
    )
    with user_errors(f"onnx:{place} cannot be opened by onnxruntime {runtime.__version__}", advice=advice):
        return runtime.InferenceSession(place, options, providers=["CPUExecutionProvider"])


def _onnxruntime(place: str) -> ModuleType:
    try:
        import onnxruntime
    except ImportError as error:
        raise MissingError(
            f"onnx:{place} needs onnxruntime, which is not installed: pip install onnxruntime"
        ) from error
    return onnxruntime


def _tensor(value: Any) -> Any:
    """Return an output as a tensor, unless it holds no numbers."""
    return torch.from_numpy(value) if isinstance(value, np.ndarray) and value.dtype.kind in "fiub" else value


def _shape(node: Any) -> str:
    return "[" + ", ".join(str(size) if isinstance(size, (int, str)) else "?" for size in node.shape) + "]"
