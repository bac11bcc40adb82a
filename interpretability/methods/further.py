"""What methods share that take further classifiers, beside the one that is explained."""

from __future__ import annotations

from typing import Any

from interpretability.classifiers.base import Classifier
from interpretability.classifiers.second import asked_alike, open_second
from interpretability.methods.base import Interpreter
from interpretability.weights import fingerprint


class WithFurther(Interpreter):
    """Base class of methods with further classifiers, which a setting names.

    They answer the question that the explained classifier answers, move with it from device to device, and are part of
    what identifies a result by what they are, and not only by where they lie.

    Attributes
    ----------
    FURTHER : str
        Name of the setting: a source of :func:`.open_second`, or several of them. None if it is empty.
    further : tuple of Classifier
        In a tuple, as the one that is explained.
    """

    FURTHER = ""

    def __init__(self, classifier: Classifier, **settings: Any):
        super().__init__(classifier, **settings)
        sources = getattr(self.settings, self.FURTHER) or ()
        sources = (sources,) if isinstance(sources, str) else sources
        self.further = tuple(open_second(source, classifier) for source in sources)

    def explaining(self, classifier: Classifier) -> Interpreter:
        """See :meth:`Interpreter.explaining`: the further classifiers answer the same question."""
        if classifier.question is not None:
            self.further = tuple(asked_alike(further, classifier) for further in self.further)
        return super().explaining(classifier)

    def identity(self) -> dict[str, Any]:
        """See :meth:`Interpreter.identity`."""
        further = [fingerprint(classifier) for classifier in self.further]
        return {**super().identity(), **({self.FURTHER: further} if further else {})}

    def _apply(self, function, *args, **kwargs):
        for classifier in self.further:
            classifier._apply(function, *args, **kwargs)
        return super()._apply(function, *args, **kwargs)
