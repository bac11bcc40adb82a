"""What ``tools/interpret.py`` does: explain one sound, by a trained method or with no training at all."""

from __future__ import annotations

import argparse
import ast
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from interpretability.classifiers import Classifier, load_classifier, open_classifier
from interpretability.classifiers.check import ModelCheck, check_classifier
from interpretability.classifiers.folder import DESCRIPTION, RUN_SUBFOLDERS
from interpretability.command_line import check_device
from interpretability.data.inputs import read_sounds
from interpretability.errors import UserError, placed
from interpretability.explaining import default_method, how_to_train, interpreter_for
from interpretability.explanation import COMPONENTS, Explanation
from interpretability.files import expanded
from interpretability.hub import is_name
from interpretability.methods import METHODS, Interpreter, is_interpreter_folder, load_interpreter
from interpretability.methods.gradients import ATTRIBUTIONS
from interpretability.names import printable, safe_name
from interpretability.report.destination import check_destination
from interpretability.report.tables import clip_table
from interpretability.training.run_data import read_run_data
from interpretability.training.usage import settings_text
from interpretability.training.workspace import MANIFESTS


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
    source, settings = str(arguments.classifier or _run(arguments)), parse_settings(arguments.settings)
    check, clip, true_label = None, None, None
    if arguments.classifier is None and is_interpreter_folder(source):
        model: Interpreter | Classifier = load_interpreter(source, arguments.trust_remote_code).to(arguments.device)
    else:
        model = _classifier(arguments)
        check = check_classifier(model)
        if arguments.list_methods:
            print(list_methods(model, check))
            return
    sound = _sound(arguments)
    if isinstance(sound, str):
        data = read_run_data(source, arguments.data_folder, arguments.trust_remote_code)
        with placed("" if arguments.clip is not None else f"{sound}: no such file"):
            clip = data.clip(sound, model if isinstance(model, Classifier) else model.classifier)
        true_label, sounds = clip.label, clip.sounds
        if not arguments.every_label:
            check_destination(arguments.out, [clip.path])
    else:
        if not arguments.every_label:
            check_destination(arguments.out, [sound])
        sounds = read_sounds(sound, model.frontend.settings, channel=arguments.channel)
    training: dict[str, Any] = {}
    if isinstance(model, Interpreter):
        interpreter = model
    else:
        interpreter = interpreter_for(model, sounds, arguments.method, settings, check)
        training = interpreter.description.get("training", {})
        if "dictionary_training" in training:
            n_components = interpreter.settings.dictionary["n_components"]
            print(f"no dictionary given: {n_components} components were learned from the sound itself")
    explanation = interpreter.explain(sounds, target=arguments.target, every_label=arguments.every_label)
    if true_label is not None:
        print(f"The clip {printable(str(sound))} of the {clip.split} split, which is {printable(true_label)}:")
    facts = {
        "settings": interpreter.settings.to_dict() | training,
        "classifier": describe_classifier(interpreter.classifier, source),
    }
    for index in range(len(explanation)):
        one, folder = explanation[index], arguments.out
        if arguments.every_label:
            folder = folder / safe_name(one.labels[int(one.target)])
            print(f"{printable(one.labels[int(one.target)])}:")
        _save(one, folder, true_label, facts)
    heard = interpreter.classifier.heard(explanation.output.logits)[0]
    if explanation.task == "multi" and arguments.target is None and not arguments.every_label and int(heard.sum()) > 1:
        print(
            f"explained is the most probable of the {int(heard.sum())} classes that are heard; another one: --target "
            "NAME; each of them: --every_label"
        )


def _save(explanation: Explanation, folder: Path, true_label: str | None, facts: dict[str, Any]) -> None:
    """Save one explanation, and say what it says, what was measured of it and where it is."""
    measured = explanation.measure()
    extra = {
        **facts,
        "metrics": measured["explanation"],
        "baseline_metrics": {kind: values for kind, values in measured.items() if kind != "explanation"},
    }
    paths = explanation.save(folder, true_label=true_label, extra=extra)
    description = explanation.describe()
    print(*description["sentences"], sep="\n")
    for note in description["notes"]:
        print(f"note: {note}")
    as_heard = {name: places["waveform"] for name, places in measured.items()}
    print(f"\n{clip_table(as_heard, explanation.task)}")
    names = [str(path.relative_to(expanded(folder))) for path in paths.values()]
    sounds_of_components = [name for name in names if name.startswith(f"{COMPONENTS}/")]
    count = len(sounds_of_components)
    more = f", and {count} sound{'s' * (count != 1)} in {COMPONENTS}/" if count else ""
    names = [name for name in names if name not in sounds_of_components]
    print(f"\nwritten to {printable(str(folder))}: {', '.join(names)}{more}")


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
    if arguments.classifier is None and len(arguments.paths) != 1:
        raise UserError(f"got {_paths(arguments)} with --list_classes, expected RUN_FOLDER; or --classifier")
    if arguments.classifier is None and is_interpreter_folder(arguments.paths[0]):
        return load_interpreter(arguments.paths[0], arguments.trust_remote_code).classifier.labels
    return _classifier(arguments).labels


def _classifier(arguments: argparse.Namespace) -> Classifier:
    """Return the classifier that is named, or that of a run."""
    settings = {"trust_remote_code": arguments.trust_remote_code}
    if arguments.classifier is not None:
        settings |= parse_settings(arguments.classifier_settings)
        return open_classifier(arguments.classifier, **settings).to(arguments.device)
    _refuse(arguments, ("classifier_settings",))
    run = _run(arguments)
    if not any((run / name / DESCRIPTION).is_file() for name in (".", *RUN_SUBFOLDERS)):
        load_interpreter(run)  # which says what is missing
    return load_classifier(run, **settings).to(arguments.device)


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


def _run(arguments: argparse.Namespace) -> Path:
    """Return the run folder that is named."""
    if arguments.paths and is_interpreter_folder(arguments.paths[0]):
        _refuse(arguments, ("method", "settings", "classifier_settings", "list_methods"))
    expected = (1,) if arguments.clip is not None or arguments.list_methods else (2,)
    if len(arguments.paths) not in expected:
        raise UserError(
            f"got {_paths(arguments)}, expected RUN_FOLDER SOUND, or RUN_FOLDER --clip ID; or --classifier SOURCE "
            "SOUND, to explain with no training"
        )
    return arguments.paths[0]


def _sound(arguments: argparse.Namespace) -> Path | str:
    """Return the path of the sound that is named, or the id of a clip of the run's own data."""
    if arguments.classifier is not None:
        _refuse(arguments, ("clip", "data_folder"))
        if len(arguments.paths) != 1:
            raise UserError(f"got {_paths(arguments)} with --classifier, expected one: SOUND")
    if arguments.out is None:
        raise UserError("no --out: name the folder for the results")
    path = arguments.paths[-1]
    is_clip = arguments.clip is not None
    if arguments.classifier is None and not is_clip:
        # A name that is no file may be that of a clip.
        is_clip = not path.exists() and path.name == str(path) and (arguments.paths[0] / MANIFESTS).is_dir()
    if not is_clip:
        _refuse(arguments, ("data_folder",))
        return path
    if arguments.channel != "mean":
        raise UserError(f"--channel is {arguments.channel!r}, but a clip of a run is heard as the run heard it")
    return str(path) if arguments.clip is None else arguments.clip


def _refuse(arguments: argparse.Namespace, names: Sequence[str]) -> None:
    """Refuse options that do not go with what is explained."""
    goes_with = {"clip": "RUN_FOLDER", "data_folder": "a clip of a run"}
    for name in names:
        if getattr(arguments, name):
            what = goes_with.get(name, "--classifier")
            reason = ": a run folder has its own method and settings" if what == "--classifier" else ""
            raise UserError(f"--{name} goes with {what}{reason}")


def _paths(arguments: argparse.Namespace) -> str:
    count = len(arguments.paths)
    return f"{count} path{'s' * (count != 1)}"
