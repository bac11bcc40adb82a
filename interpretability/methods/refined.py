"""Any method's masks, refined: the start of a few steps of optimisation, clip by clip."""

from __future__ import annotations

from typing import Any

from interpretability.classifiers.base import AnalysedBatch, Classifier
from interpretability.errors import UserError, shown
from interpretability.explanation import Interpretation
from interpretability.methods.base import Interpreter
from interpretability.methods.optimiser import Kept, OptimiserSettings, optimise

MOST_STEPS = 10_000


class Refined(Interpreter):
    """Another method, whose masks are where an optimisation starts (:func:`.optimise`, with the settings given there).

    Name, settings and what is known of it are the method's; its title, its notes, what results record and its identity
    say that it is refined. A clip that the method has no explanation of has none here.

    Parameters
    ----------
    method : Interpreter
    steps : int
        At least 1.
    """

    trainable = False
    needs_gradient = True

    def __init__(self, method: Interpreter, steps: int):
        super().__init__(method.classifier)
        self.method, self.NAME, self.SUMMARY = method, method.NAME, method.SUMMARY
        self.settings, self.description = method.settings, method.description
        self.optimiser = OptimiserSettings(apply=method.settings.apply, steps=steps)

    @property
    def title(self) -> str:
        """See :attr:`Interpreter.title`."""
        return f"{self.method.title}, refined"

    @property
    def classifiers(self) -> tuple[Classifier, ...]:
        """See :attr:`Interpreter.classifiers`."""
        return self.method.classifiers

    @property
    def notes(self) -> tuple[str, ...]:
        """See :attr:`Interpreter.notes`."""
        refined = (
            f"its masks are refined in at most {self.optimiser.steps} steps, which optimise what Fid-In, AD, AI and FF "
            "measure: judge them by another classifier and by where they lie"
        )
        return (*self.method.notes, refined)

    def asked(self, classifier: Classifier) -> Interpreter:
        """See :meth:`Interpreter.asked`."""
        if classifier is self.classifier:
            return self
        return Refined(self.method.asked(classifier), self.optimiser.steps).train(self.training)

    def show_progress(self, shown: bool) -> Interpreter:
        """See :meth:`Interpreter.show_progress`."""
        self.method.show_progress(shown)
        return super().show_progress(shown)

    def recorded_settings(self) -> dict[str, Any]:
        """See :meth:`Interpreter.recorded_settings`."""
        return {**self.method.recorded_settings(), "refined": self.optimiser.to_dict()}

    def identity(self) -> dict[str, Any]:
        """See :meth:`Interpreter.identity`."""
        return {**self.method.identity(), "refine_steps": self.optimiser.steps}

    def interpret(self, batch: AnalysedBatch) -> Interpretation:
        """See :meth:`Interpreter.interpret`."""
        given = self.method.interpret(batch)
        judge = Kept(batch, self.optimiser, [self.classifier])
        optimised = optimise(batch, given.mask, self.optimiser, judge, self.classifier.title)
        undefined = optimised.undefined if given.undefined is None else optimised.undefined | given.undefined
        mask = optimised.mask.masked_fill(undefined[:, None, None], 0)
        return Interpretation(mask, None, {**given.scores, "refining_steps": optimised.steps.double()}, undefined)


def refined(method: Interpreter, steps: int) -> Interpreter:
    """Return a method whose masks are refined in at most so many steps; of 0 steps the method itself.

    Raises
    ------
    UserError
        If the number of steps does not fit (:func:`check_steps`).
    """
    check_steps(steps)
    return Refined(method, steps).train(method.training) if steps else method


def check_steps(steps: int) -> None:
    """Raise a :class:`UserError` unless there are 0 to 10000 steps."""
    if isinstance(steps, bool) or not isinstance(steps, int) or not 0 <= steps <= MOST_STEPS:
        raise UserError(f"refine_steps is {shown(steps)}, expected a whole number from 0 to {MOST_STEPS}")
