"""The methods that a command line names, of a model: its trained one, others, and those that need no training."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from interpretability.classifiers.check import ModelCheck, check_classifier
from interpretability.commands.models import Model, parse_settings
from interpretability.data.inputs import Sounds
from interpretability.errors import UserError, shown
from interpretability.explaining import (
    check_classifier_runs,
    default_method,
    interpreter_for,
    learns_from_sounds,
    untrained_method,
)
from interpretability.hub import is_name
from interpretability.methods import METHODS, Interpreter, load_interpreter
from interpretability.methods.attributions import ATTRIBUTIONS
from interpretability.methods.baselines import ConstantMask
from interpretability.methods.refined import check_steps, refined


@dataclass(frozen=True)
class Explainer:
    """A method as it was asked for.

    Attributes
    ----------
    name : str
        What results call it; different for each of several.
    identity : dict
        What identifies it and the classifier among results, and all its settings, as plain values.
    make : callable
        From sounds to the method, which may be made for them: it may raise what
        :func:`~interpretability.explaining.interpreter_for` raises.
    learns : bool
        Whether it is made for each sound, from which it learns what it needs.
    """

    name: str
    identity: dict[str, Any]
    make: Callable[[Sounds], Interpreter]
    learns: bool = False


def make_explainers(model: Model, arguments: argparse.Namespace, check: ModelCheck | None = None) -> list[Explainer]:
    """Return the methods of ``--method``, separated by commas; by default the trained one of the model, or another.

    Each is the name of one that needs no training, that of the model's own trained method, or a run that explains the
    same classifier. ``--settings KEY=VALUE`` are those of all methods that need no training; ``METHOD.KEY=VALUE`` of
    one of them.

    Raises
    ------
    UserError
        For a method that there is not, that has to be trained or cannot explain this classifier, or is named twice;
        for settings that do not fit.
    """
    settings = parse_settings(arguments.settings)
    if arguments.method is None and model.interpreter is None:
        names = [default_method(check or check_classifier(model.classifier.base))]
    elif arguments.method is None:
        names = [model.interpreter.NAME]
    else:
        names = [name.strip() for name in arguments.method.split(",")]
        if not all(names):
            raise UserError(f"--method is {shown(arguments.method)}, expected names with a comma between them")
    explainers: list[Explainer] = []
    unused = {key.partition(".")[0] for key in settings if "." in key}
    for name in names:
        explainer = _trained(model, name, arguments)
        if explainer is None:
            unused.discard(name)
            explainer = _untrained(model, name, _settings_of(name, settings), check)
        elif settings and len(names) == 1:
            raise UserError(f"--settings go with a method that needs no training: {explainer.name} has its own")
        if explainer.name in {known.name for known in explainers}:
            raise UserError(f"--method names {explainer.name} twice: name each method once")
        explainers.append(_refined(explainer, arguments.refine_steps))
    if unused:
        raise UserError(f"--settings name the method {shown(min(unused))}, which --method does not: correct it")
    return explainers


def _refined(explainer: Explainer, steps: int) -> Explainer:
    """Return a method whose masks are refined in at most so many steps; of 0 steps as it is."""
    check_steps(steps)
    if steps == 0:
        return explainer
    identity = explainer.identity | {"refine_steps": steps}
    return replace(explainer, identity=identity, make=lambda sounds: refined(explainer.make(sounds), steps))


def _settings_of(name: str, settings: dict[str, Any]) -> dict[str, Any]:
    """Return the settings that are meant for a method; those that name it come last."""
    of_all = {key: value for key, value in settings.items() if "." not in key}
    return of_all | {
        key.partition(".")[2]: value for key, value in settings.items() if "." in key and key.partition(".")[0] == name
    }


def _trained(model: Model, name: str, arguments: argparse.Namespace) -> Explainer | None:
    """Return the trained method of the model itself, or of another run of the same classifier; None for other names."""
    interpreter = model.interpreter
    if interpreter is None or name != interpreter.NAME:
        if name in METHODS or name in ATTRIBUTIONS or not (Path(name).is_dir() or is_name(name)):
            return None
        interpreter = load_interpreter(name, arguments.trust_remote_code).to(arguments.device)
        if interpreter.identity()["classifier_sha256"] != _of_classifier(model)["classifier_sha256"]:
            raise UserError(f"{name} explains another classifier than {model.source}: give a run that explains it")
    if model.classifier.question is not None:
        interpreter = interpreter.asked(model.classifier)
    identity = interpreter.identity() | {"settings": interpreter.settings.to_dict()}
    return Explainer(interpreter.NAME, _plain(identity), lambda sounds: interpreter)


def _untrained(model: Model, name: str, settings: dict[str, Any], check: ModelCheck | None) -> Explainer:
    """Return a method that needs no training; it is made once, unless it learns from each sound."""
    classifier = model.classifier
    if learns_from_sounds(name, settings):

        def learn(sounds: Sounds) -> Interpreter:
            return interpreter_for(classifier, sounds, name, settings, check)

        return Explainer(name, _plain(_of_classifier(model) | {"method": name, "settings": settings}), learn, True)
    interpreter = untrained_method(classifier, name, settings)

    def make(sounds: Sounds) -> Interpreter:
        check_classifier_runs(classifier, sounds)
        return interpreter

    return Explainer(name, _plain(interpreter.identity() | {"settings": interpreter.settings.to_dict()}), make)


def _of_classifier(model: Model) -> dict[str, Any]:
    """Return what identifies the classifier among results, as any method of it has it."""
    return untrained_method(model.classifier, ConstantMask.NAME, {}).identity()


def _plain(identity: dict[str, Any]) -> dict[str, Any]:
    """Return an identity as JSON gives it back."""
    return json.loads(json.dumps(identity))
