"""The interpreter that SpeechBrain published, PIQ on conv2d, and folders laid out like its own."""

from __future__ import annotations

from pathlib import Path

from interpretability.budget import within
from interpretability.classifiers.published import Layout, load_parts
from interpretability.methods.piq import PIQ
from interpretability.weights import load_weights


def load_piq(layout: Layout, where: Path) -> PIQ:
    """Return the interpreter of a folder, with its weights and those of the classifier that it explains.

    Raises
    ------
    UserError
        If they do not fit what the YAML of the folder says.
    """
    with within(layout.size, str(where)):
        classifier = layout.model.kind(layout.labels, layout.frontend, **layout.settings)
        interpreter = PIQ(classifier, **layout.interpreter)
    load_parts(classifier, layout.files)
    load_weights(interpreter.psi, layout.files["psi"])
    return interpreter
