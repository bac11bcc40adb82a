"""What ``tools/interpret.py`` does: explain one sound, by a trained method or with no training at all."""

from __future__ import annotations

import argparse
import ast
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import Tensor

from interpretability.classifiers import Classifier, open_classifier
from interpretability.classifiers.check import SHORT, ModelCheck, check_classifier
from interpretability.command_line import check_device
from interpretability.data.audio import read_audio
from interpretability.dictionary import Dictionary, DictionarySettings, collect_frames, learn_dictionary
from interpretability.errors import UserError, first_line
from interpretability.frontend import PLACES
from interpretability.methods import METHODS, Interpreter, load_interpreter
from interpretability.methods.gradients import ATTRIBUTIONS
from interpretability.methods.nmf import NMF
from interpretability.metrics.suite import MetricSuite, clip_values
from interpretability.training.usage import settings_text

SHORTEST, LONGEST = 0.1, 60.0  # seconds
DEFAULT_METHOD = "integrated_gradients"
#: Components of a dictionary that is learned from the sound itself.
OWN_COMPONENTS = 16


def interpret(arguments: argparse.Namespace) -> None:
    """Explain the sound and say where the result is.

    Raises
    ------
    UserError
        For a run folder, a classifier or a sound that cannot be used, an unknown class, method or setting, or a length
        outside 0.1 to 60 s.
    """
    if arguments.list_settings is not None:
        print(settings_text(arguments.list_settings))
        return
    check_device(arguments.device)
    if arguments.list_classes:
        print("\n".join(f"{index}\t{label}" for index, label in enumerate(_classes(arguments))))
        return
    training: dict[str, Any] = {}
    if arguments.classifier is None:
        run_folder, sound = _two_paths(arguments)
        interpreter = load_interpreter(run_folder, arguments.trust_remote_code).to(arguments.device)
        classifier, source = interpreter.classifier, str(run_folder)
        wav = read_sound(sound, classifier)
    else:
        classifier, source = _open(arguments), arguments.classifier
        check = check_classifier(classifier)
        if arguments.list_methods:
            print(list_methods(classifier, check))
            return
        sound = _one_path(arguments)
        wav = read_sound(sound, classifier)
        check_classifier_runs(classifier, wav.to(arguments.device), sound)
        method = arguments.method or default_method(check)
        kind, settings = method_class(method), parse_settings(arguments.settings)
        if method in ATTRIBUTIONS:
            settings = {"attribution": method, **settings}
        if kind is NMF and settings.get("dictionary") is None:
            dictionary = own_dictionary(classifier, wav, sound, settings.pop("n_components", OWN_COMPONENTS))
            settings["dictionary"], training = dictionary, {"dictionary_training": dictionary.training}
            print(f"no dictionary given: {dictionary.n_components} components were learned from the sound itself")
        interpreter = kind(classifier, **settings).eval().to(arguments.device)
    explanation = interpreter.explain(wav[None].to(arguments.device), target=arguments.target)
    measured = MetricSuite(classifier, interpreter.settings.apply)(
        explanation.batch,
        explanation.mask,
        PLACES,
        pair=explanation.pair,
        masked={"waveform": explanation.heard},
        undefined=explanation.undefined,
    )
    extra = {
        "source": str(sound),
        "settings": interpreter.settings.to_dict() | training,
        "classifier": describe_classifier(classifier, source),
        "metrics": {place: clip_values(values, 0) for place, values in measured.items()},
    }
    paths = explanation.save(arguments.out, extra=extra)
    description = explanation.describe()
    print(*description["sentences"], sep="\n")
    for note in description["notes"]:
        print(f"note: {note}")
    print(
        f"kept area: {description['kept_area']:.1%}; metrics on what is heard: {_rounded(extra['metrics']['waveform'])}"
    )
    print("written: " + ", ".join(str(path) for path in paths.values()))


def _rounded(values: dict[str, float | None]) -> str:
    """Return metrics as they are printed: the file has every digit."""
    return ", ".join(
        f"{name} {'undefined' if value is None else f'{value + 0.0:.3g}'}" for name, value in values.items()
    )


def read_sound(path: Path, classifier: Classifier) -> Tensor:
    """Return the sound [N] at the classifier's rate; a :class:`UserError` if it is too short or too long."""
    frontend = classifier.frontend.settings
    rate = frontend.sample_rate
    # One second too many is read, so that a longer sound is noticed without decoding all of it.
    wav = read_audio(path, rate, max_seconds=LONGEST + 1, resampling=frontend.resampling)
    seconds = len(wav) / rate
    if not SHORTEST <= seconds <= LONGEST:
        got = f"{seconds:.4g} s" if seconds <= LONGEST else f"more than {LONGEST:g} s"
        raise UserError(f"{path}: lasts {got}, expected {SHORTEST:g} to {LONGEST:g} s; cut the part that matters")
    return wav


def method_class(method: str) -> type[Interpreter]:
    """Return the class of a method that needs no training; a :class:`UserError` if there is none of that name."""
    kind = METHODS.get("gradients" if method in ATTRIBUTIONS else method)
    if kind is None:
        raise UserError(f"no method {method!r}, expected one of {', '.join(_untrained())} (--list_methods says more)")
    if kind.trainable:
        raise UserError(
            f"{method} has to be trained: {_how_to_train(method)}; without training there are {', '.join(_untrained())}"
        )
    return kind


def own_dictionary(classifier: Classifier, wav: Tensor, sound: Path, n_components: Any) -> Dictionary:
    """Learn a dictionary from one sound: few components, at most as many as it has frames."""
    settings = DictionarySettings(n_components=n_components, max_frames=None)
    if not bool(wav.any()):
        raise UserError(f"{sound}: silence, from which no dictionary can be learned; give one: --settings dictionary=…")
    frames = collect_frames([{"signal": wav}], classifier.frontend, settings, progress=False)
    return learn_dictionary(
        frames,
        classifier.frontend.settings,
        classifier.labels,
        replace(settings, n_components=min(n_components, len(frames))),
        progress=False,
        training={"data": {"name": "the explained sound itself", "source": str(sound)}},
    )


def default_method(check: ModelCheck) -> str:
    """Return the method that is used if none is named: one that works on the classifier."""
    return DEFAULT_METHOD if check.gradient else NMF.NAME


def list_methods(classifier: Classifier, check: ModelCheck) -> str:
    """Return what can be done with this classifier, one line per method."""
    lines = [f"{classifier.NAME} classifier of {len(classifier.labels)} classes ({classifier.task}-label)"]
    lines += [f"note: {note}" for note in classifier.notes]
    lines.append("Without training (--method; --list_settings METHOD):")
    default = default_method(check)
    for name in ATTRIBUTIONS if check.gradient else ():
        lines.append(f"  {name}: a gradient method" + (" (the default)" if name == default else ""))
    for trainable in (False, True):
        if trainable:
            lines.append(f"To be trained: {_how_to_train('NAME')}:")
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
        except (ValueError, SyntaxError):
            continue
    return text


def _untrained() -> list[str]:
    """Return the names of the methods that need no training."""
    return [*ATTRIBUTIONS, *(name for name, kind in METHODS.items() if not kind.trainable)]


def _how_to_train(name: str) -> str:
    return (
        f"run train_{name}.py in a folder of recipes/ with this classifier as --classifier_folder (for a model of "
        "another library, what tools/import_classifier.py makes of it), then tools/interpret.py with its output folder"
    )


def _classes(arguments: argparse.Namespace) -> list[str]:
    """Return the classes of the classifier that the command line names."""
    if arguments.classifier is not None:
        return _open(arguments).labels
    if len(arguments.paths) != 1:
        raise UserError(f"got {len(arguments.paths)} paths with --list_classes, expected RUN_FOLDER; or --classifier")
    return load_interpreter(arguments.paths[0]).classifier.labels


def _open(arguments: argparse.Namespace) -> Classifier:
    settings = parse_settings(arguments.classifier_settings)
    classifier = open_classifier(arguments.classifier, **{"trust_remote_code": arguments.trust_remote_code, **settings})
    return classifier.to(arguments.device)


def check_classifier_runs(classifier: Classifier, wav: Tensor, sound: Path) -> None:
    """Run the classifier once: models of other libraries may refuse a sound, each in its own words."""
    try:
        classifier.analyse(wav[None])
    except UserError:
        raise
    except Exception as error:  # whatever the model raises
        seconds = len(wav) / classifier.frontend.settings.sample_rate
        advice = "give a longer one" if seconds < SHORT else f"it runs on {SHORT:g} s; give a sound of another length"
        raise UserError(
            f"{sound}: the classifier cannot be run on {seconds:.3g} s of sound ({first_line(error)}): {advice}"
        ) from error


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
            f"got {len(arguments.paths)} paths, expected RUN_FOLDER SOUND; or --classifier SOURCE SOUND, to explain "
            "with no training"
        )
    _check_out(arguments)
    return arguments.paths


def _one_path(arguments: argparse.Namespace) -> Path:
    if len(arguments.paths) != 1:
        raise UserError(f"got {len(arguments.paths)} paths with --classifier, expected one: SOUND")
    _check_out(arguments)
    return arguments.paths[0]


def _check_out(arguments: argparse.Namespace) -> None:
    if arguments.out is None:
        raise UserError("no --out: name the folder for the results")
