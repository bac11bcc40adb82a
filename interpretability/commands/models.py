"""The model that a command line names: a run, a saved folder, a name on a hub, or a source of another library."""

from __future__ import annotations

import argparse
import ast
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from interpretability.classifiers import Classifier, open_classifier
from interpretability.classifiers.check import ModelCheck
from interpretability.classifiers.folder import DESCRIPTION, RUN_SUBFOLDERS
from interpretability.classifiers.published import read_layout
from interpretability.classifiers.sources import OPENERS
from interpretability.errors import UserError
from interpretability.explaining import default_method, how_to_train
from interpretability.exported import is_exported
from interpretability.files import expanded
from interpretability.hub import is_name, local_folder
from interpretability.methods import METHODS, Interpreter, is_interpreter_folder, load_interpreter
from interpretability.methods.attributions import ATTRIBUTIONS
from interpretability.methods.gradients import Gradients


@dataclass(frozen=True)
class Model:
    """What is explained: its ``source``, as it was named, the ``classifier``, and the trained method, if it has one."""

    source: str
    classifier: Classifier
    interpreter: Interpreter | None = None


@dataclass(frozen=True)
class Named:
    """The model that a command line names (``source``), and the ``paths`` that are left, of sounds."""

    source: str
    paths: list[Path]


def named_model(arguments: argparse.Namespace) -> Named:
    """Return which model is named: by the first path, or by ``--classifier``; with ``--revision`` behind it.

    Raises
    ------
    UserError
        If none is; if a revision is given for what is no name on a hub.
    """
    paths = list(arguments.paths)
    if arguments.classifier is not None:
        source = str(arguments.classifier)
    elif paths:
        source = str(paths.pop(0))
    else:
        raise UserError("no model: name it first, as in MODEL SOUND --out DIR: a run, a folder, or hf:FOLDER")
    if arguments.revision is not None:
        source = f"{source}@{arguments.revision}"
        if not is_name(source):
            raise UserError(f"--revision is {arguments.revision!r}, which goes with user/name on a hub: leave it out")
    return Named(source, paths)


def open_model(source: str, arguments: argparse.Namespace) -> Model:
    """Open a model on the device that is named: an interpreter with its classifier, or a classifier alone.

    Raises
    ------
    UserError
        If there is none, or it cannot be opened; if settings are given for a saved folder, which has its own.
    """
    prefix = source.partition(":")[0]
    settings = parse_settings(arguments.classifier_settings)
    # Of a name the folder in the cache, asked for once: a branch may move meanwhile.
    place = str(local_folder(source)) if is_name(source) else source
    if prefix not in OPENERS and is_interpreter_folder(place):
        if settings:
            raise UserError(f"--classifier_settings go with a source such as hf:FOLDER, and {source} has its own")
        interpreter = load_interpreter(place, arguments.trust_remote_code).to(arguments.device)
        return Model(source, interpreter.classifier, interpreter)
    if arguments.classifier is None and prefix not in OPENERS and not is_name(source) and not _is_classifier(source):
        load_interpreter(source)  # which says what is missing
    classifier = open_classifier(place, trust_remote_code=arguments.trust_remote_code, **settings)
    return Model(source, classifier.to(arguments.device))


def _is_classifier(source: str) -> bool:
    folder = expanded(source)
    if any((folder / name / DESCRIPTION).is_file() for name in (".", *RUN_SUBFOLDERS)):
        return True
    return is_exported(folder) or read_layout(folder) is not None


def parse_settings(pairs: Sequence[str]) -> dict[str, Any]:
    """Return KEY=VALUE pairs as settings: numbers, True, False, None, lists and dicts, and else text."""
    settings = {}
    for pair in pairs:
        key, equals, text = pair.partition("=")
        if not equals or not all(part.isidentifier() for part in key.split(".")):
            raise UserError(f"setting {pair!r}, expected KEY=VALUE (and the sound before --settings)")
        settings[key] = _value(text)
    return settings


def _value(text: str) -> Any:
    for read in (ast.literal_eval, json.loads):
        try:
            return read(text)
        except (ValueError, SyntaxError, TypeError, RecursionError, MemoryError):  # of Python's parser: nested too deep
            continue
    return text


def list_methods(model: Model, check: ModelCheck) -> str:
    """Return what can be done with this model, one line per method."""
    classifier, count = model.classifier, len(model.classifier.labels)
    lines = [f"{classifier.NAME} classifier of {count} class{'es' * (count != 1)} ({classifier.task}-label)"]
    lines += [f"note: {note}" for note in classifier.notes]
    default = default_method(check)
    if model.interpreter is not None:
        default = model.interpreter.NAME
        lines += [f"Trained, in {model.source}:", f"  {default}: {model.interpreter.SUMMARY}; the default"]
    lines.append("Without training (--method; --list_settings METHOD):")
    for name in ATTRIBUTIONS if check.gradient else ():
        remarks = ("a gradient method", Gradients.remark_on(classifier, name), "the default" if name == default else "")
        lines.append(f"  {name}: " + "; ".join(text for text in remarks if text))
    for trainable in (False, True):
        if trainable:
            lines.append(f"To be trained: {how_to_train('NAME')}:")
        for name, kind in METHODS.items():
            if kind.trainable == trainable and (check.gradient or not kind.needs_gradient):
                remarks = (kind.SUMMARY, kind.remark(classifier), "the default" if name == default else "")
                lines.append(f"  {name}: " + "; ".join(text for text in remarks if text))
    return "\n".join(lines)


def describe_classifier(classifier: Classifier, source: str) -> dict[str, Any]:
    """Return a description of the explained classifier as plain values."""
    classifier = classifier.base
    return {
        "source": source,
        "kind": classifier.NAME,
        "sha256": classifier.description.get("sha256"),
        "task": classifier.task,
        "n_classes": len(classifier.labels),
        "frontend": classifier.frontend.settings.to_dict(),
    }
