"""Small files of TensorFlow Lite, made operator by operator: what they answer is known by hand."""

from __future__ import annotations

from pathlib import Path

import flatbuffers
import numpy as np
import torch
from ai_edge_litert import schema_py_generated as schema

#: By which a hundredth of the energy of a sound is multiplied: its logits.
WEIGHTS = np.array([[2.0, -1.0, 0.5]], np.float32)
TYPES = {
    np.float32: schema.TensorType.FLOAT32,
    np.int8: schema.TensorType.INT8,
    np.int16: schema.TensorType.INT16,
    np.int32: schema.TensorType.INT32,
}


def meant(wavs):
    """Return the logits [B, 3] that :func:`save_power` stands for."""
    return (wavs**2).sum(1, keepdim=True) @ torch.from_numpy(WEIGHTS) / 100


class Graph:
    """A graph that grows operator by operator; tensors are numbers."""

    def __init__(self):
        self.model = schema.ModelT()
        self.model.version, self.model.description = 3, "tiny"
        self.model.buffers, self.model.operatorCodes = [schema.BufferT()], []
        self.graph = schema.SubGraphT()
        self.graph.tensors, self.graph.operators = [], []
        self.model.subgraphs = [self.graph]

    def tensor(self, name, shape=(), dtype=np.float32, values=None, scale=None) -> int:
        """Add a tensor; -1 in a shape is an axis of any size."""
        tensor = schema.TensorT()
        tensor.name, tensor.type = name, TYPES[dtype]
        if values is not None:
            shape, buffer = values.shape, schema.BufferT()
            buffer.data = np.frombuffer(np.ascontiguousarray(values, dtype).tobytes(), np.uint8)
            self.model.buffers.append(buffer)
            tensor.buffer = len(self.model.buffers) - 1
        tensor.shape = [max(1, size) for size in shape]
        tensor.shapeSignature = list(shape)
        if scale is not None:
            tensor.quantization = schema.QuantizationParametersT()
            tensor.quantization.scale, tensor.quantization.zeroPoint = [scale], [3]
        self.graph.tensors.append(tensor)
        return len(self.graph.tensors) - 1

    def run(self, operator, inputs, outputs, options=None, custom="") -> None:
        """Add an operator."""
        code = schema.OperatorCodeT()
        code.builtinCode = code.deprecatedBuiltinCode = getattr(schema.BuiltinOperator, operator)
        code.deprecatedBuiltinCode = min(code.builtinCode, 127)
        code.customCode, code.version = custom or None, 1
        self.model.operatorCodes.append(code)
        step = schema.OperatorT()
        step.opcodeIndex, step.inputs, step.outputs = len(self.model.operatorCodes) - 1, inputs, outputs
        if options is not None:
            step.builtinOptions = options
            step.builtinOptionsType = getattr(schema.BuiltinOptions, type(options).__name__[:-1])
        self.graph.operators.append(step)

    def save(self, path: Path, inputs, outputs, names=None) -> Path:
        """Write the file; ``names``: of a signature, one for each input and output."""
        self.graph.inputs, self.graph.outputs = inputs, outputs
        if names is not None:
            signature = schema.SignatureDefT()
            signature.signatureKey, signature.subgraphIndex = "serving_default", 0
            maps = []
            for index, name in zip((*inputs, *outputs), names, strict=True):
                maps.append(schema.TensorMapT())
                maps[-1].name, maps[-1].tensorIndex = name, index
            signature.inputs, signature.outputs = maps[: len(inputs)], maps[len(inputs) :]
            self.model.signatureDefs = [signature]
        builder = flatbuffers.Builder(1024)
        builder.Finish(self.model.Pack(builder), b"TFL3")
        path.write_bytes(bytes(builder.Output()))
        return path


def save_power(path: Path, shape=(-1, -1), dtype=np.float32, scale=None, operator="", names=None) -> Path:
    """Save a model of three logits: a hundredth of the sum of ``x x`` times :data:`WEIGHTS`; returns its path."""
    graph, keep = Graph(), schema.ReducerOptionsT()
    keep.keepDims = True
    samples = sound = graph.tensor("sound", shape, dtype, scale=scale)
    if dtype is not np.float32:
        samples = graph.tensor("samples", shape)
        graph.run("CAST" if scale is None else "DEQUANTIZE", [sound], [samples])
    squares, total = graph.tensor("squares", shape), graph.tensor("total", (1,) * len(shape))
    if operator:
        graph.run("CUSTOM", [samples], [squares], custom=operator)
    else:
        graph.run("MUL", [samples, samples], [squares], schema.MulOptionsT())
    axes = list(range(min(1, len(shape) - 1), len(shape)))
    graph.run("SUM", [squares, graph.tensor("axes", values=np.array(axes), dtype=np.int32)], [total], keep)
    rows, logits = graph.tensor("rows", (-1, 1)), graph.tensor("logits", (-1, 3))
    graph.run("RESHAPE", [total, graph.tensor("column", values=np.array([-1, 1]), dtype=np.int32)], [rows])
    graph.run("MUL", [rows, graph.tensor("weights", values=WEIGHTS / 100)], [logits], schema.MulOptionsT())
    return graph.save(path, [sound], [logits], names)


def save_counter(path: Path, dtype=np.float32) -> Path:
    """Save a detector with a state: it answers with the number of windows of 100 samples that it has heard, / 1000.

    The state is of the given type; integers are scaled, and their zero is not 0.
    """
    graph, keep = Graph(), schema.ReducerOptionsT()
    keep.keepDims = True
    sound = graph.tensor("sound", (1, 100))
    if dtype is np.float32:
        memory = given = graph.tensor("memory", (1, 1))
    else:
        given, memory = graph.tensor("memory", (1, 1), dtype, scale=1.0), graph.tensor("remembered", (1, 1))
        graph.run("DEQUANTIZE", [given], [memory])
    total, nothing, heard, probability = (
        graph.tensor(name, (1, 1)) for name in ("total", "nothing", "next", "probability")
    )
    graph.run("SUM", [sound, graph.tensor("axes", values=np.array([1]), dtype=np.int32)], [total], keep)
    constants = {
        name: graph.tensor(name, values=np.array([[value]], np.float32))
        for name, value in (("zero", 0), ("one", 1), ("thousandth", 0.001))
    }
    graph.run("MUL", [total, constants["zero"]], [nothing], schema.MulOptionsT())
    more = graph.tensor("more", (1, 1))
    graph.run("ADD", [memory, constants["one"]], [more], schema.AddOptionsT())
    graph.run("ADD", [more, nothing], [heard], schema.AddOptionsT())
    graph.run("MUL", [heard, constants["thousandth"]], [probability], schema.MulOptionsT())
    if dtype is not np.float32:
        graph.run("QUANTIZE", [heard], [heard := graph.tensor("kept", (1, 1), dtype, scale=1.0)])
    return graph.save(path, [sound, given], [probability, heard])
