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


def save_two(path: Path) -> Path:
    """Save a model of two outputs: windows as they are (``once``), and ``twice`` as high."""
    nodes = [
        helper.make_node("Identity", ["values"], ["once"]),
        helper.make_node("Add", ["values", "values"], ["twice"]),
    ]
    shape = ("batch", "size")
    return save(path, nodes, [("values", FLOAT, shape)], [("once", FLOAT, shape), ("twice", FLOAT, shape)], [])


def save_scaled_sum(path: Path) -> Path:
    """Save a detector that adds up windows of 100 samples; its state is of uint8, (integer - 128) / 10."""
    nodes = [
        helper.make_node("DequantizeLinear", ["memory", "scale", "zero"], ["before"]),
        helper.make_node("ReduceSum", ["sound", "axes"], ["total"], keepdims=1),
        helper.make_node("Add", ["before", "total"], ["heard"]),
        helper.make_node("QuantizeLinear", ["heard", "scale", "zero"], ["next"]),
    ]
    constants = [
        numpy_helper.from_array(np.array([1]), "axes"),
        numpy_helper.from_array(np.array([0.1], np.float32), "scale"),
        numpy_helper.from_array(np.array([128], np.uint8), "zero"),
    ]
    inputs = [("sound", FLOAT, (1, 100)), ("memory", TensorProto.UINT8, (1, 1))]
    outputs = [("heard", FLOAT, (1, 1)), ("next", TensorProto.UINT8, (1, 1))]
    return save(path, nodes, inputs, outputs, constants)


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


def save_means(path: Path, size: int, shape=("batch", "samples")) -> Path:
    """Save a model of frames: the means of each ``size`` samples [B, 1, T, 1], the rest left out; returns its path."""
    first = ("Unsqueeze", ["sound", "one"]) if len(shape) == 2 else ("Identity", ["sound"])
    nodes = [
        helper.make_node(*first, ["channel"]),
        helper.make_node("AveragePool", ["channel"], ["means"], kernel_shape=[size], strides=[size]),
        helper.make_node("Unsqueeze", ["means", "three"], ["frames"]),
    ]
    constants = [numpy_helper.from_array(np.array([1]), "one"), numpy_helper.from_array(np.array([3]), "three")]
    return save(path, nodes, [("sound", FLOAT, shape)], [("frames", FLOAT, (None, 1, None, 1))], constants)


def save_product(path: Path, shape, weights, scale=None) -> Path:
    """Save a model of windows: their values, flattened, times a matrix; returns its path.

    With a ``scale`` inputs and outputs are of uint8, (integer - 128) scale, as tools that quantise models write them.
    """
    kind, nodes = FLOAT, [helper.make_node("Flatten", ["values"], ["flat"])]
    constants = [numpy_helper.from_array(np.asarray(weights, np.float32), "weights")]
    if scale is not None:
        kind = TensorProto.UINT8
        constants += [
            numpy_helper.from_array(np.array(scale, np.float32), "scale"),
            numpy_helper.from_array(np.array(128, np.uint8), "zero"),
        ]
        nodes[:1] = [
            helper.make_node("DequantizeLinear", ["window", "scale", "zero"], ["values"]),
            *nodes,
        ]
    nodes.append(helper.make_node("MatMul", ["flat", "weights"], ["scores"]))
    if scale is not None:
        nodes.append(helper.make_node("QuantizeLinear", ["scores", "scale", "zero"], ["integers"]))
    given = ("values" if scale is None else "window", kind, shape)
    return save(path, nodes, [given], [("scores" if scale is None else "integers", kind, (None, None))], constants)
