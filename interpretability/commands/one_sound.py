"""One sound, explained by one method: the explanations of its classes, written into folders; and what they say."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from interpretability.commands.explainers import Explainer
from interpretability.commands.models import Model, describe_classifier
from interpretability.commands.work import Choice, Sound
from interpretability.data.inputs import Sounds
from interpretability.explanation import COMPONENTS, Explanation
from interpretability.files import expanded
from interpretability.methods import Interpreter
from interpretability.names import printable, safe_name
from interpretability.report.destination import CLASSES, REQUEST, check_destination
from interpretability.report.tables import clip_table


@dataclass(frozen=True)
class Result:
    """An explanation that was written: its ``folder``, ``description`` and, of one made now, the ``files`` in it."""

    folder: Path
    description: dict[str, Any]
    files: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Explained:
    """Explanations of one sound, not written yet: what was asked for (``explainer``), what made them, and they."""

    explainer: Explainer
    interpreter: Interpreter
    explanation: Explanation

    @property
    def learned(self) -> dict[str, Any]:
        """What is to be recorded of a method that learned from the sound; empty for all others."""
        return self.interpreter.description["training"] if self.explainer.learns else {}


def explain_sound(sound: Sound, taken: Sounds, explainer: Explainer, choice: Choice, folder: Path) -> Explained:
    """Explain a sound that was read (``taken``): the one place where that is done. Nothing is written yet.

    Raises
    ------
    UserError
        If the folder may not be replaced; if the model or the method cannot be used on this sound.
    """
    if not choice.several:
        check_destination(folder, [sound.path])
    interpreter = explainer.make(taken)
    classes = {"target": choice.target, "every_label": choice.every_label, "top_k": choice.top_k}
    return Explained(explainer, interpreter, interpreter.explain(taken, **classes))


def write_explanation(
    explained: Explained, folder: Path, request: dict[str, Any], model: Model, label: str | None = None
) -> list[Result]:
    """Measure and write the explanations of a sound: into the folder, or of several classes into one for each in it.

    Parameters
    ----------
    explained : Explained
    folder : Path
    request : dict
        As of :func:`request_of`.
    model : Model
    label : str, optional
        The true class.

    Raises
    ------
    UserError
        If a folder may not be replaced: see :meth:`.Explanation.save`.
    """
    explanation, interpreter = explained.explanation, explained.interpreter
    classes = [explanation.labels[k] for k in explanation.target.tolist()]
    facts = {
        "settings": interpreter.recorded_settings() | explained.learned,
        "classifier": describe_classifier(model.classifier, model.source),
        REQUEST: request,
        CLASSES: classes,
    }
    results = []
    for index, name in enumerate(classes):
        one, place = explanation[index], folder / safe_name(name) if explanation.every_label else folder
        measured = one.measure()
        extra = {
            **facts,
            "metrics": measured["explanation"],
            "baseline_metrics": {kind: values for kind, values in measured.items() if kind != "explanation"},
        }
        paths = one.save(place, true_label=label, extra=extra, **request["figures"])
        files = [str(path.relative_to(expanded(place))) for path in paths.values()]
        results.append(Result(place, one.describe() | {"true": label} | extra, files))
    return results


def words(result: Result, task: str, with_table: bool = True) -> str:
    """Return what an explanation says, what was measured of it (``with_table``), and where it is."""
    description = result.description
    sounds_of_components = [name for name in result.files if name.startswith(f"{COMPONENTS}/")]
    count = len(sounds_of_components)
    more = f", and {count} sound{'s' * (count != 1)} in {COMPONENTS}/" if count else ""
    names = [name for name in result.files if name not in sounds_of_components]
    lines = [*description["sentences"], *(f"note: {note}" for note in description["notes"])]
    if with_table:
        measured = {"explanation": description["metrics"], **description["baseline_metrics"]}
        lines += [f"\n{clip_table({name: places['waveform'] for name, places in measured.items()}, task)}\n"]
    return "\n".join([*lines, f"written to {printable(str(result.folder))}: {', '.join(names)}{more}"])
