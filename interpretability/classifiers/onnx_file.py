"""``onnx``: a model in a file of ONNX, run by onnxruntime on the CPU. Such a file is data, and no code."""

from __future__ import annotations

from collections.abc import Mapping
from types import ModuleType
from typing import Any

import numpy as np
import torch

from interpretability.classifiers.graph_file import GraphModule, Port, Scaling
from interpretability.errors import MissingError, user_errors

#: Types of ONNX that have one in NumPy.
_TYPES = {
    "tensor(float)": np.float32,
    "tensor(double)": np.float64,
    "tensor(float16)": np.float16,
    "tensor(int32)": np.int32,
    "tensor(int64)": np.int64,
    "tensor(bool)": np.bool_,
    "tensor(uint8)": np.uint8,
    "tensor(int8)": np.int8,
    "tensor(uint16)": np.uint16,
    "tensor(int16)": np.int16,
}
#: Those that may stand for numbers, by a scale.
_SCALED = ("tensor(uint8)", "tensor(int8)", "tensor(uint16)", "tensor(int16)")
NO_SCALE = Scaling()
_REAL = ("tensor(float)", "tensor(double)", "tensor(float16)")


class OnnxModule(GraphModule):
    """A session of onnxruntime.

    Parameters
    ----------
    place : str
        The file.
    given, states, features
        As of :class:`GraphModule`.

    Raises
    ------
    UserError
        If onnxruntime is not there or does not take the file; if the model takes anything but one waveform.
    """

    SAMPLES = (
        "expected samples of tensor(float), in [-1, 1]: export it with an input of float32; what scaled integers stand "
        "for, the package onnx reads (pip install onnx)"
    )

    def __init__(self, place: str, given: Mapping[str, Any], states: Mapping[str, str], features: bool = False):
        session = _session(place)
        scalings = _scalings(place, session)
        inputs, outputs = _ports(session, scalings)
        super().__init__(f"onnx:{place}", inputs, outputs, given, states, features)
        self._session, self._scalings = session, scalings

    def run(self, feed: Mapping[str, np.ndarray]) -> dict[str, Any]:
        """See :meth:`GraphModule.run`."""
        typed = {name: self._scaling(name).integers(value, self._inputs[name].dtype) for name, value in feed.items()}
        outputs = zip(self._outputs, self._session.run(None, typed), strict=True)
        return {name: self._scaling(name).numbers(value) for name, value in outputs}

    def _start(self, name: str, n_clips: int) -> np.ndarray:
        """See :meth:`GraphModule._start`: of scaled integers, what stands for zero."""
        start, scaling = super()._start(name, n_clips), self._scaling(name)
        return scaling.numbers(np.full_like(start, scaling.zero)) if scaling.scale else start

    def _scaling(self, name: str) -> Scaling:
        return self._scalings.get(name, NO_SCALE)


def onnx_ports(place: str) -> tuple[list[Port], list[Port]]:
    """Return the inputs and the outputs of a file."""
    session = _session(place)
    return _ports(session, _scalings(place, session))


def _ports(session: Any, scalings: Mapping[str, Scaling]) -> tuple[list[Port], list[Port]]:
    inputs, outputs = session.get_inputs(), session.get_outputs()
    return [_port(node, scalings) for node in inputs], [_port(node, scalings) for node in outputs]


def _port(node: Any, scalings: Mapping[str, Scaling]) -> Port:
    shape = tuple(size if isinstance(size, (int, str)) else None for size in node.shape)
    takes_samples = node.type in _REAL or (node.type in _SCALED and node.name in scalings)
    return Port(node.name, shape, node.type, _TYPES.get(node.type), takes_samples)


def _scalings(place: str, session: Any) -> dict[str, Scaling]:
    """Return what the integers of inputs and outputs stand for, by their names: the nodes beside them say it.

    It is no part of what onnxruntime says of a file, so the package onnx reads it. Where that is not installed nothing
    is known, and integers are refused as any other type is that takes no samples.
    """
    if not any(node.type in _SCALED for node in (*session.get_inputs(), *session.get_outputs())):
        return {}
    try:
        import onnx
    except ImportError:
        return {}
    with user_errors(f"onnx:{place} cannot be read by onnx {onnx.__version__}"):
        graph = onnx.load(place, load_external_data=False).graph
        constants = {
            item.name: onnx.numpy_helper.to_array(item)
            for item in graph.initializer
            if not item.external_data and list(item.dims) in ([], [1])
        }
    scalings = {}
    for node in graph.node:
        name = {"DequantizeLinear": node.input, "QuantizeLinear": node.output}.get(node.op_type, [""])[0]
        scale, zero = (constants.get(value) for value in (*node.input[1:3], "", "")[:2])
        if name and scale is not None:
            scalings[name] = Scaling(scale.item(), 0 if zero is None else zero.item())
    return scalings


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
