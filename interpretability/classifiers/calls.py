"""How often a classifier is asked: the one place that counts calls."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from interpretability.classifiers.base import Classifier, ClassifierOutput

#: Sounds that a model is asked about to be explained by its answers alone, at most, unless another budget is given.
EXPLAINING_CALLS = 500


@dataclass
class Calls:
    """How many sounds a classifier was asked about: a batch of B is B calls, with or without a gradient."""

    count: int = 0

    def add(self, module: Classifier, given: tuple, output: ClassifierOutput) -> None:
        """Count a batch: a forward hook."""
        self.count += len(output.logits)


@contextmanager
def counted(classifier: Classifier) -> Iterator[Calls]:
    """Count what a classifier, or the one beneath it, classifies while the block runs, be it spectrograms or sounds.

    Examples
    --------
    ``with counted(classifier) as calls: method.interpret(batch)``, then ``calls.count / len(batch)``
    """
    calls = Calls()
    handle = classifier.base.register_forward_hook(calls.add)
    try:
        yield calls
    finally:
        handle.remove()
