"""What ``tools/interpret.py`` does: explain one sound, by a trained method or with no training at all."""

from __future__ import annotations

import argparse
import ast
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from interpretability.classifiers import Classifier, open_classifier
from interpretability.classifiers.check import ModelCheck, check_classifier
from interpretability.command_line import check_device
from interpretability.data.inputs import read_sounds
from interpretability.errors import UserError
from interpretability.explaining import default_method, how_to_train, interpreter_for
from interpretability.explanation import COMPONENTS
from interpretability.files import expanded
from interpretability.hub import is_name
from interpretability.methods import METHODS, load_interpreter
from interpretability.methods.gradients import ATTRIBUTIONS
from interpretability.names import printable
from interpretability.report.destination import check_destination
from interpretability.report.tables import clip_table
from interpretability.training.usage import settings_text


def interpret(arguments: argparse.Namespace) -> None:
    """Explain the sound and say where the result is.

    Raises
    ------
    UserError
        For a run folder, a classifier or a sound that cannot be used, an unknown class, method or setting, or a length
        outside 0.1 to 60 s.
    """
    if arguments.list_settings is not None:
        if arguments.paths:
            raise UserError(f"--list_settings takes one name, and got {str(arguments.paths[0])!r}, too: leave it out")
        print(settings_text(arguments.list_settings))
        return
    check_device(arguments.device)
    arguments = _with_revision(arguments)
    if arguments.list_classes:
        print("\n".join(f"{index}\t{label}" for index, label in enumerate(_classes(arguments))))
        return
    training: dict[str, Any] = {}
    if arguments.classifier is None:
        run_folder, sound = _two_paths(arguments)
        check_destination(arguments.out, [sound])
        interpreter = load_interpreter(run_folder, arguments.trust_remote_code).to(arguments.device)
        source = str(run_folder)
        sounds = read_sounds(sound, interpreter.frontend.settings, channel=arguments.channel)
    else:
        classifier, source = _open(arguments), arguments.classifier
        check = check_classifier(classifier)
        if arguments.list_methods:
            print(list_methods(classifier, check))
            return
        sound = _one_path(arguments)
        check_destination(arguments.out, [sound])
        sounds = read_sounds(sound, classifier.frontend.settings, channel=arguments.channel)
        settings = parse_settings(arguments.settings)
        interpreter = interpreter_for(classifier, sounds, arguments.method, settings, check)
        training = interpreter.description.get("training", {})
        if "dictionary_training" in training:
            n_components = interpreter.settings.dictionary["n_components"]
            print(f"no dictionary given: {n_components} components were learned from the sound itself")
    explanation = interpreter.explain(sounds, target=arguments.target)
    measured = explanation.measure()
    extra = {
        "settings": interpreter.settings.to_dict() | training,
        "classifier": describe_classifier(interpreter.classifier, source),
        "metrics": measured["explanation"],
        "baseline_metrics": {kind: values for kind, values in measured.items() if kind != "explanation"},
    }
    paths = explanation.save(arguments.out, extra=extra)
    description = explanation.describe()
    print(*description["sentences"], sep="\n")
    for note in description["notes"]:
        print(f"note: {note}")
    as_heard = {name: places["waveform"] for name, places in measured.items()}
    print(f"\n{clip_table(as_heard, interpreter.classifier.task)}")
    names = [str(path.relative_to(expanded(arguments.out))) for path in paths.values()]
    sounds_of_components = [name for name in names if name.startswith(f"{COMPONENTS}/")]
    count = len(sounds_of_components)
    more = f", and {count} sound{'s' * (count != 1)} in {COMPONENTS}/" if count else ""
    names = [name for name in names if name not in sounds_of_components]
    print(f"\nwritten to {printable(str(arguments.out))}: {', '.join(names)}{more}")


def list_methods(classifier: Classifier, check: ModelCheck) -> str:
    """Return what can be done with this classifier, one line per method."""
    count = len(classifier.labels)
    lines = [f"{classifier.NAME} classifier of {count} class{'es' * (count != 1)} ({classifier.task}-label)"]
    lines += [f"note: {note}" for note in classifier.notes]
    lines.append("Without training (--method; --list_settings METHOD):")
    default = default_method(check)
    for name in ATTRIBUTIONS if check.gradient else ():
        lines.append(f"  {name}: a gradient method" + (" (the default)" if name == default else ""))
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
    return {
        "source": source,
        "kind": classifier.NAME,
        "sha256": classifier.description.get("sha256"),
        "task": classifier.task,
        "n_classes": len(classifier.labels),
        "frontend": classifier.frontend.settings.to_dict(),
    }


def parse_settings(pairs: Sequence[str]) -> dict[str, Any]:
    """Return KEY=VALUE pairs as settings: numbers, True, False, None, lists and dicts, and else text."""
    settings = {}
    for pair in pairs:
        key, equals, text = pair.partition("=")
        if not equals or not key.isidentifier():
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


def _classes(arguments: argparse.Namespace) -> list[str]:
    """Return the classes of the classifier that the command line names."""
    if arguments.classifier is not None:
        return _open(arguments).labels
    if len(arguments.paths) != 1:
        raise UserError(f"got {_paths(arguments)} with --list_classes, expected RUN_FOLDER; or --classifier")
    return load_interpreter(arguments.paths[0], arguments.trust_remote_code).classifier.labels


def _open(arguments: argparse.Namespace) -> Classifier:
    settings = parse_settings(arguments.classifier_settings)
    classifier = open_classifier(arguments.classifier, **{"trust_remote_code": arguments.trust_remote_code, **settings})
    return classifier.to(arguments.device)


def _with_revision(arguments: argparse.Namespace) -> argparse.Namespace:
    """Return the arguments with ``--revision`` behind the name of the model that it belongs to."""
    if arguments.revision is None:
        return arguments
    classifier, paths = arguments.classifier, list(arguments.paths)
    if classifier is not None:
        named = classifier = f"{classifier}@{arguments.revision}"
    else:
        named = f"{paths[0] if paths else ''}@{arguments.revision}"
        paths[:1] = [Path(named)]
    if not is_name(named):
        raise UserError(f"--revision is {arguments.revision!r}, which goes with user/name on a hub: leave it out")
    return argparse.Namespace(**{**vars(arguments), "classifier": classifier, "paths": paths})


def _two_paths(arguments: argparse.Namespace) -> list[Path]:
    for option, given in (
        ("--method", arguments.method is not None),
        ("--settings", bool(arguments.settings)),
        ("--classifier_settings", bool(arguments.classifier_settings)),
        ("--list_methods", arguments.list_methods),
    ):
        if given:
            raise UserError(f"{option} goes with --classifier: a run folder has its own method and settings")
    if len(arguments.paths) != 2:
        raise UserError(
            f"got {_paths(arguments)}, expected RUN_FOLDER SOUND; or --classifier SOURCE SOUND, to explain "
            "with no training"
        )
    _check_out(arguments)
    return arguments.paths


def _one_path(arguments: argparse.Namespace) -> Path:
    if len(arguments.paths) != 1:
        raise UserError(f"got {_paths(arguments)} with --classifier, expected one: SOUND")
    _check_out(arguments)
    return arguments.paths[0]


def _paths(arguments: argparse.Namespace) -> str:
    count = len(arguments.paths)
    return f"{count} path{'s' * (count != 1)}"


def _check_out(arguments: argparse.Namespace) -> None:
    if arguments.out is None:
        raise UserError("no --out: name the folder for the results")
