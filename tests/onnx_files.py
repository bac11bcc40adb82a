"""Small files of ONNX, made node by node: what they answer is known by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import torch
from onnx import TensorProto, helper, numpy_helper

FLOAT = TensorProto.FLOAT
#: By which a hundredth of the energy of a sound is multiplied: its logits.
WEIGHTS = np.array([[2.0, -1.0, 0.5]], np.float32)


def meant(wavs):
    """Return the logits [B, 3] that :func:`save_power` stands for."""
    return (wavs**2).sum(1, keepdim=True) @ torch.from_numpy(WEIGHTS) / 100


def save_power(path: Path, shape=("batch", "samples"), kind=FLOAT, opset=17, operator="Mul", domain="") -> Path:
    """Save a model of three logits: a hundredth of the sum of ``x x`` times :data:`WEIGHTS`; returns its path."""
    axes = numpy_helper.from_array(np.array(list(range(min(1, len(shape) - 1), len(shape)))), "axes")
    nodes = [
        helper.make_node("Cast", ["sound"], ["samples"], to=FLOAT),
        helper.make_node(operator, ["samples", "samples"], ["squares"], domain=domain),
        helper.make_node("ReduceSum", ["squares", "axes"], ["total"], keepdims=1),
        helper.make_node("Reshape", ["total", "column"], ["rows"]),
    ]
    nodes.append(helper.make_node("MatMul", ["rows", "weights"], ["logits"]))
    constants = [
        axes,
        numpy_helper.from_array(np.array([-1, 1]), "column"),
        numpy_helper.from_array(WEIGHTS / 100, "weights"),
    ]
    return save(path, nodes, [("sound", kind, shape)], [("logits", FLOAT, (None, 3))], constants, opset)


def save_counter(path: Path) -> Path:
    """Save a detector with a state: it answers with the number of windows of 100 samples that it has heard, / 1000."""
    nodes = [
        helper.make_node("ReduceSum", ["sound", "axes"], ["total"], keepdims=1),
        helper.make_node("Mul", ["total", "zero"], ["nothing"]),
        helper.make_node("Add", ["memory", "one"], ["next"]),
        helper.make_node("Add", ["next", "nothing"], ["heard"]),
        helper.make_node("Div", ["heard", "thousand"], ["probability"]),
    ]
    constants = [
        numpy_helper.from_array(np.array([1]), "axes"),
        *(
            numpy_helper.from_array(np.array([[value]], np.float32), name)
            for name, value in (("zero", 0), ("one", 1), ("thousand", 1000))
        ),
    ]
    inputs = [("sound", FLOAT, ("batch", 100)), ("memory", FLOAT, ("batch", 1))]
    return save(path, nodes, inputs, [("probability", FLOAT, (None, 1)), ("next", FLOAT, (None, 1))], constants)


def save(path: Path, nodes, inputs, outputs, constants, opset=17) -> Path:
    """Save a graph."""
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info(*value) for value in inputs],
        [helper.make_tensor_value_info(*value) for value in outputs],
        constants,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=9)
    onnx.save(model, path)
    return path
