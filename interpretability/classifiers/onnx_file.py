"""``onnx``: a model in a file of ONNX, run by onnxruntime on the CPU. Such a file is data, and no code."""

from __future__ import annotations

from collections.abc import Mapping
from types import ModuleType
from typing import Any

import numpy as np
import torch

from interpretability.classifiers.graph_file import GraphClassifier, GraphModule, Port
from interpretability.errors import MissingError, user_errors

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


class OnnxModule(GraphModule):
    """A session of onnxruntime.

    Parameters
    ----------
    place : str
        The file.
    given, states
        As of :class:`GraphModule`.

    Raises
    ------
    UserError
        If onnxruntime is not there or does not take the file; if the model takes anything but one waveform.
    """

    SAMPLES = "expected samples of tensor(float), in [-1, 1]: export it with an input of float32"

    def __init__(self, place: str, given: Mapping[str, Any], states: Mapping[str, str]):
        session = _session(place)
        inputs, outputs = _ports(session)
        super().__init__(f"onnx:{place}", inputs, outputs, given, states)
        self._session = session

    def run(self, feed: Mapping[str, np.ndarray]) -> dict[str, Any]:
        """See :meth:`GraphModule.run`."""
        typed = {name: value.astype(self._inputs[name].dtype, copy=False) for name, value in feed.items()}
        return dict(zip(self._outputs, self._session.run(None, typed), strict=True))


class OnnxClassifier(GraphClassifier):
    """``onnx``: a file of ONNX."""

    NAME, FORMAT, MODULE = "onnx", "ONNX", OnnxModule

    @classmethod
    def ports(cls, place: str) -> tuple[list[Port], list[Port]]:
        """See :meth:`GraphClassifier.ports`."""
        return _ports(_session(place))


def _ports(session: Any) -> tuple[list[Port], list[Port]]:
    return [_port(node) for node in session.get_inputs()], [_port(node) for node in session.get_outputs()]


def _port(node: Any) -> Port:
    shape = tuple(size if isinstance(size, (int, str)) else None for size in node.shape)
    return Port(node.name, shape, node.type, _TYPES.get(node.type), node.type in _REAL)


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
