"""``tflite``: a model in a file of TensorFlow Lite, run by LiteRT on the CPU. Such a file is data, and no code."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from interpretability.classifiers.graph_file import GraphModule, Port, Scaling
from interpretability.errors import MissingError, UserError, first_line, user_errors

#: Packages of which each has the interpreter; the first that is installed is taken.
RUNTIMES = ("ai_edge_litert.interpreter", "tflite_runtime.interpreter")


#: Samples that an open axis is given when a file is opened.
USUAL_SIZE = 16_000


class TfliteModule(GraphModule):
    """An interpreter of LiteRT. Integers are scaled as the file says: samples go in, and numbers come out.

    Inputs and outputs have the names of the file's signature, if it has one, else those of its tensors.

    Parameters
    ----------
    place : str
        The file.
    given, states, features
        As of :class:`GraphModule`.

    Attributes
    ----------
    keeps_state : bool
        Whether it has variables, which keep what was heard until :meth:`reset_states`.

    Raises
    ------
    UserError
        If LiteRT is not there or does not take the file; if the model takes anything but one waveform.
    """

    SAMPLES = "expected samples of float32, or of integers with a scale: convert it with an input of float32"

    def __init__(self, place: str, given: Mapping[str, Any], states: Mapping[str, str], features: bool = False):
        interpreter = _interpreter(place)
        inputs, outputs = _details(interpreter)
        ports = [[_port(*tensor) for tensor in tensors.items()] for tensors in (inputs, outputs)]
        super().__init__(f"tflite:{place}", *ports, given, states, features)
        self._interpreter = interpreter
        self._inputs_of, self._outputs_of = inputs, outputs
        self._shapes: dict[str, tuple[int, ...]] = {}
        self.keeps_state = any(tensor["dtype"] is np.object_ for tensor in interpreter.get_tensor_details())

    def reset_states(self) -> None:
        """See :meth:`GraphModule.reset_states`."""
        super().reset_states()
        self._interpreter.reset_all_variables()

    def run(self, feed: Mapping[str, np.ndarray]) -> dict[str, Any]:
        """See :meth:`GraphModule.run`."""
        interpreter = self._interpreter
        shapes = {name: value.shape for name, value in feed.items()}
        if shapes != self._shapes:
            self._shapes = {}
            try:
                for name, shape in shapes.items():
                    interpreter.resize_tensor_input(self._inputs_of[name]["index"], shape)
                interpreter.allocate_tensors()
            except (RuntimeError, ValueError) as error:
                taken = ", ".join(map(str, self._inputs.values()))
                got = ", ".join(f"{name} {list(shape)}" for name, shape in shapes.items())
                raise UserError(f"{self._title} takes {taken}, and not {got} ({first_line(error)})") from error
            self._shapes = shapes
        for name, value in feed.items():
            tensor = self._inputs_of[name]
            interpreter.set_tensor(tensor["index"], _scaling(tensor).integers(value, tensor["dtype"]))
        interpreter.invoke()
        return {
            name: _scaling(tensor).numbers(interpreter.get_tensor(tensor["index"]))
            for name, tensor in self._outputs_of.items()
        }

    def _start(self, name: str, n_clips: int) -> np.ndarray:
        """See :meth:`GraphModule._start`: of scaled integers, what stands for zero."""
        start = super()._start(name, n_clips)
        scaling = _scaling(self._inputs_of[name])
        return scaling.numbers(np.full_like(start, scaling.zero))


def tflite_ports(place: str) -> tuple[list[Port], list[Port]]:
    """Return the inputs and the outputs of a file."""
    return tuple([_port(*tensor) for tensor in tensors.items()] for tensors in _details(_interpreter(place)))


def _details(interpreter: Any) -> tuple[dict[str, dict], dict[str, dict]]:
    """Return what LiteRT says of each input and of each output, by their names."""
    signatures = list(interpreter.get_signature_list())
    if len(signatures) == 1:
        runner = interpreter.get_signature_runner(signatures[0])
        return dict(sorted(runner.get_input_details().items())), dict(sorted(runner.get_output_details().items()))
    return tuple(
        {tensor["name"]: tensor for tensor in tensors}
        for tensors in (interpreter.get_input_details(), interpreter.get_output_details())
    )


def _port(name: str, tensor: Mapping[str, Any]) -> Port:
    sizes = tensor["shape_signature"] if len(tensor["shape_signature"]) else tensor["shape"]
    dtype = np.dtype(tensor["dtype"])
    takes = dtype.kind == "f" or (dtype.kind in "iu" and tensor["quantization"][0] > 0)
    kind = dtype.name if dtype.kind == "f" or not takes else f"{dtype.name}, scaled"
    return Port(name, tuple(None if size < 0 else int(size) for size in sizes), kind, tensor["dtype"], takes)


def _scaling(tensor: Mapping[str, Any]) -> Scaling:
    return Scaling(*tensor.get("quantization", (0, 0)))


def _interpreter(place: str) -> Any:
    runtime = _runtime(place)
    advice = (
        ": expected a file of TensorFlow Lite whose operators LiteRT has; convert the model with built-in operators "
        "alone (no SELECT_TF_OPS), or update ai-edge-litert"
    )
    with user_errors(f"tflite:{place} cannot be opened by LiteRT", advice=advice):
        interpreter = runtime.Interpreter(model_path=place, num_threads=torch.get_num_threads())
        try:
            interpreter.allocate_tensors()
            return interpreter
        except RuntimeError:
            # Open axes are 1 until a size is given, which is too short for some models.
            interpreter = runtime.Interpreter(model_path=place, num_threads=torch.get_num_threads())
            tensors = [tensor for tensor in interpreter.get_input_details() if -1 in tensor["shape_signature"][1:]]
            if len(tensors) != 1 or list(tensors[0]["shape_signature"][1:]).count(-1) != 1:
                raise
        shape = [max(1, int(tensors[0]["shape_signature"][0]))]
        shape += [USUAL_SIZE if size < 0 else int(size) for size in tensors[0]["shape_signature"][1:]]
        interpreter.resize_tensor_input(tensors[0]["index"], shape)
        interpreter.allocate_tensors()
        return interpreter


def _runtime(place: str) -> Any:
    for name in RUNTIMES:
        try:
            return importlib.import_module(name)
        except ImportError as error:
            missing = error
    raise MissingError(f"tflite:{place} needs LiteRT, which is not installed: pip install ai-edge-litert") from missing
