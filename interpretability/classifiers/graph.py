"""``onnx`` and ``tflite``: models in files of ONNX and of TensorFlow Lite, run by their own runtimes on the CPU."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import nn

from interpretability.classifiers.black_box import BlackBoxClassifier
from interpretability.classifiers.card import existing_file
from interpretability.classifiers.features import FeatureModule
from interpretability.classifiers.graph_file import GraphModule, Port
from interpretability.classifiers.onnx_file import OnnxModule, onnx_ports
from interpretability.classifiers.tflite_file import TfliteModule, tflite_ports


class GraphClassifier(BlackBoxClassifier):
    """A model in a file of a graph, which is data, and no code."""

    #: What its errors call the file's format.
    FORMAT = ""
    #: What opens the file.
    MODULE: type[GraphModule]

    #: From the file to its inputs and its outputs.
    ports: Callable[[str], tuple[list[Port], list[Port]]]

    @classmethod
    def load(
        cls, place: str, inputs: Mapping, states: Mapping, features: bool = False
    ) -> tuple[nn.Module, dict[str, Any]]:
        """See :meth:`BlackBoxClassifier.load`."""
        existing_file(place, cls.NAME)
        module = cls.MODULE(place, inputs, states, features)
        known = {
            "input_layout": module.layout,
            "input_length": module.input_length,
            "one_by_one": True if module.alone and not features else None,
            "reset_state": bool(states) or getattr(module, "keeps_state", False),
        }
        return module, known

    def behind_steps(self, model: nn.Module, steps: Sequence[dict], sample_rate: int, alone: bool) -> FeatureModule:
        """See :meth:`ModuleClassifier.behind_steps`: steps may name files beside the model's."""
        return FeatureModule(model, steps, sample_rate, Path(self.source.partition(":")[2]).parent, self.source, alone)

    @property
    def never_a_gradient(self) -> str:
        """See :attr:`Classifier.never_a_gradient`."""
        return f"the runtime of {self.FORMAT} gives answers alone"

    def obstacle(self) -> str:
        """See :meth:`WaveformClassifier.obstacle`."""
        return f"it is a file of {self.FORMAT}, whose layers cannot be observed"


class OnnxClassifier(GraphClassifier):
    """``onnx``: a file of ONNX."""

    NAME, FORMAT, MODULE, ports = "onnx", "ONNX", OnnxModule, staticmethod(onnx_ports)


class TfliteClassifier(GraphClassifier):
    """``tflite``: a file of TensorFlow Lite."""

    NAME, FORMAT, MODULE, ports = "tflite", "TensorFlow Lite", TfliteModule, staticmethod(tflite_ports)
