"""From a run to a folder that can be published: weights, descriptions, label encoder, example and card."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

import interpretability
from interpretability.classifiers import Classifier, load_classifier
from interpretability.classifiers.folder import WEIGHTS as CLASSIFIER_FILE
from interpretability.classifiers.folder import digest_of, identity_of
from interpretability.data.inputs import Origin, Sounds, read_sounds
from interpretability.data.sounds import make_clip
from interpretability.dictionary import FILE as DICTIONARY_FILE
from interpretability.dictionary import Dictionary
from interpretability.errors import UserError, shown
from interpretability.explaining import explain
from interpretability.explanation import Explanation
from interpretability.exported import (
    CLASSIFIER_WEIGHTS,
    CONFIG,
    FORM,
    INTERPRETER_WEIGHTS,
    LIBRARY,
    MAX_CLASSES,
    is_exported,
)
from interpretability.files import LISTING, atomic_folder, expanded, sha256, write_json, write_text
from interpretability.hub import is_name
from interpretability.methods import Interpreter, is_interpreter_folder, load_interpreter
from interpretability.methods.folder import CLASSIFIER, RUN_SUBFOLDER
from interpretability.names import printable
from interpretability.publishing.card import Card, card_text
from interpretability.publishing.data_sets import licence_of
from interpretability.publishing.stock import FOREIGN, interface_of, write_stock
from interpretability.report.summary import read_summary
from interpretability.weights import save_safetensors, save_weights

CARD, EXAMPLE = "README.md", "example"
#: The example's name in its own files.
_SOUND = "input.wav"
#: Of the run: examples that its evaluation wrote, and what it measured.
_EXAMPLES, _SUMMARY = "examples", "evaluation/summary.json"
#: Rate that the sounds of Synthetic need at least, in Hz, and the longest example, in s.
_LEAST_RATE, _LONGEST = 16000, 10.0


@dataclass(frozen=True)
class Choices:
    """What its publisher says about a model.

    Attributes
    ----------
    repo_id : str
        ``user/name``, under which it will be found.
    licence : str, optional
        Of the weights, as the hub abbreviates it: ``cc-by-4.0``; by default that of the data.
    base_model : str, optional
        Name on the hub of the classifier that an interpreter explains.
    example : path, optional
        A sound file to publish with it, explained.
    related : mapping of str to str
        Names of other models that the card links -> what they are.
    trust_remote_code : bool
        As in :func:`~interpretability.methods.load_interpreter`.
    """

    repo_id: str
    licence: str | None = None
    base_model: str | None = None
    example: Path | None = None
    related: Mapping[str, str] = field(default_factory=dict)
    trust_remote_code: bool = False


@dataclass(frozen=True)
class Published:
    """A model that is to be published, as its run left it."""

    classifier: Classifier
    interpreter: Interpreter | None
    run: Path

    @property
    def model(self) -> Interpreter | Classifier:
        """What is explained with."""
        return self.classifier if self.interpreter is None else self.interpreter

    @property
    def training(self) -> dict[str, Any]:
        """Facts about its training."""
        return self.model.description.get("training") or {}

    @classmethod
    def of(cls, source: str | Path, trust_remote_code: bool = False) -> Published:
        """Load what a run, or the folder of an interpreter or a classifier, holds."""
        folder = expanded(source)
        run = folder.parent if folder.name in (RUN_SUBFOLDER, CLASSIFIER) else folder
        if is_interpreter_folder(folder):
            interpreter = load_interpreter(folder, trust_remote_code)
            return cls(interpreter.classifier, interpreter, run)
        return cls(load_classifier(folder, trust_remote_code=trust_remote_code), None, run)


def export(source: str | Path, folder: str | Path, choices: Choices) -> Path:
    """Write the folder of a model as it is published: needs nothing beside it, on a disk or on a hub.

    Parameters
    ----------
    source : path
        A run, or the folder of an interpreter or of a classifier.
    folder : path
        Replaced as a whole, atomically; an older one only if it holds nothing else.
    choices : Choices

    Returns
    -------
    Path
        The folder.

    Raises
    ------
    MissingError, UserError
        If there is no model, it cannot be published as it is, or the licence is not known.
    """
    if not is_name(f"{choices.repo_id}@main"):
        raise UserError(f"--repo_id is {choices.repo_id!r}, expected user/name: letters, digits, '-', '_' and '.'")
    if choices.base_model is not None and not is_name(f"{choices.base_model}@main"):
        raise UserError(
            f"--base_model is {choices.base_model!r}, expected the name of a classifier on the hub, user/name"
        )
    if choices.licence is not None and re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9.-]*", choices.licence) is None:
        raise UserError(f"--license is {choices.licence!r}, expected one as the hub abbreviates them: cc-by-4.0")
    if is_exported(expanded(source)):
        raise UserError(f"{source} is a published folder already: leave out --out to send it, or pass a run")
    published = Published.of(source, choices.trust_remote_code)
    classifier, interpreter = published.classifier, published.interpreter
    _check_labels(classifier.labels)
    data = _data_of(published)
    choices = dataclasses.replace(choices, licence=choices.licence or licence_of(data))
    origin = classifier.description.get("hub") or {}
    if choices.base_model is None and interpreter is not None and is_name(f"{origin.get('repo_id')}@main"):
        choices = dataclasses.replace(choices, base_model=origin["repo_id"])
    folder = expanded(folder)
    with atomic_folder(folder) as temporary:
        descriptions = _descriptions(published, temporary)
        save_safetensors(classifier, temporary / CLASSIFIER_WEIGHTS)
        if interpreter is not None:
            save_safetensors(interpreter, temporary / INTERPRETER_WEIGHTS)
        write_stock(temporary, descriptions, classifier, interpreter)
        dictionary = _dictionary_of(published)
        if dictionary is not None:
            dictionary.save(temporary / DICTIONARY_FILE)
        interface = interface_of(interpreter)
        names = [path.name for path in sorted(temporary.iterdir())]
        config = {
            "speechbrain_interface": interface,
            **({"speechbrain_pymodule": "custom.py"} if interface == FOREIGN else {}),
            "library": LIBRARY,
            "form": FORM,
            "repo_id": choices.repo_id,
            "made_with": _versions(),
            **descriptions,
            "files": {name: sha256(temporary / name) for name in names},
        }
        explanation, origin = _explained(published, choices.example)
        explanation.save(temporary / EXAMPLE)
        (temporary / EXAMPLE / LISTING).unlink()
        write_json(temporary / CONFIG, config)
        summary = published.run / _SUMMARY
        card = Card(
            choices.repo_id,
            choices.licence,
            choices.base_model,
            choices.related,
            config,
            data,
            read_summary(summary) if interpreter is not None and summary.is_file() else None,
            explanation.sentences(),
            explanation.events(),
            origin,
            type(published.model),
        )
        write_text(temporary / CARD, card_text(card))
    return folder


def _versions() -> str:
    packages = ("torch", "speechbrain", "transformers")
    versions = ", ".join(f"{name} {version(name)}" for name in packages)
    return f"{LIBRARY} {interpretability.__version__}, {versions}"


def _check_labels(labels: list[str]) -> None:
    bad = next((label for label in labels if printable(label) != label), None)
    if bad is not None or len(labels) > MAX_CLASSES:
        what = f"{len(labels)} classes, expected at most {MAX_CLASSES}"
        if bad is not None:
            what = f"the class name {shown(bad)}, with control characters"
        raise UserError(f"the classifier has {what}: it cannot be published; train it with other class names")


def _data_of(published: Published) -> dict[str, Any]:
    """Return what is known of the data that the model was trained on."""
    classifier = published.classifier.description.get("training") or {}
    return published.training.get("data") or classifier.get("data") or {}


def _descriptions(published: Published, folder: Path) -> dict[str, Any]:
    """Return the descriptions of the classifier and of the interpreter, as their own folders have them, portable."""
    classifier, interpreter = published.classifier, published.interpreter
    known = classifier.description
    described = identity_of(known)
    # The hash of weights as a run saves them: with the rest it gives the classifier's own hash again.
    weights = folder / CLASSIFIER_FILE
    save_weights(classifier, weights)
    described["weights_sha256"] = known.get("weights_sha256") or sha256(weights)
    weights.unlink()
    described["sha256"] = digest_of(described["weights_sha256"], described)
    described |= {name: known[name] for name in ("notes", "hub") if name in known}
    described["training"] = _portable(known.get("training") or {})
    if interpreter is None:
        return {"classifier": described}
    of_method = {"method": interpreter.NAME, "settings": interpreter.settings.to_dict()}
    hashes = {"sha256": interpreter.description["sha256"], "classifier_sha256": described["sha256"]}
    training = _portable(interpreter.description.get("training") or {})
    return {"interpreter": {**of_method, **hashes, "training": training}, "classifier": described}


def _portable(value: Any) -> Any:
    """Return a value with the names of files in place of their paths: others do not have these."""
    if isinstance(value, dict):
        return {name: _portable(member) for name, member in value.items()}
    if isinstance(value, (list, tuple)):
        return [_portable(member) for member in value]
    if isinstance(value, str) and ("/" in value or "\\" in value):
        prefix, colon, place = value.rpartition(":")
        place = Path(place)
        if place.is_absolute() or str(place).startswith("~") or place.exists():
            return f"{prefix}{colon}{place.name}"
    return value


def _dictionary_of(published: Published) -> Dictionary | None:
    """Return the dictionary of a method that has one, as a file that other methods can be given."""
    interpreter = published.interpreter
    known = None if interpreter is None else interpreter.settings.to_dict().get("dictionary")
    if known is None:
        return None
    training = _portable(published.training.get("dictionary") or {})
    matrix, frontend = interpreter.dictionary.detach().cpu(), interpreter.frontend.settings
    dictionary = Dictionary(matrix, frontend, published.classifier.labels, known["algorithm"], [], training)
    return dictionary if dictionary.describe()["sha256"] == known["sha256"] else None


def _explained(published: Published, given: Path | None) -> tuple[Explanation, str]:
    """Return the explanation of the example, and in words where that comes from."""
    frontend = published.classifier.frontend.settings
    if given is not None:
        taken = read_sounds(given, frontend)
        taken = Sounds(taken.wavs, taken.lengths, (Origin(label=_SOUND, notes=taken.origins[0].notes),))
        return explain(published.model, taken), "A sound that the publisher of this model has chosen."
    first = next(iter(sorted((published.run / _EXAMPLES).glob("*/input.wav"))), None)
    if first is not None and _data_of(published).get("name") == "Synthetic":
        wavs = read_sounds(first, frontend).wavs
        origin = "The first test clip of Synthetic, whose sounds the library makes itself."
    else:
        seconds = published.training.get("clip_seconds") or published.classifier.description.get("training", {}).get(
            "clip_seconds"
        )
        seconds = min(max(float(seconds or 2.0), 1.0), _LONGEST)
        rate = max(frontend.sample_rate, _LEAST_RATE)
        clip = make_clip(0, "test", 0, sample_rate=rate, seconds=seconds)
        samples = torch.from_numpy(clip.mixture).float()
        wavs = read_sounds(samples, frontend, sample_rate=rate).wavs
        origin = (
            "A sound that the library makes itself, of a rising chirp in noise: none of the classifier's classes need "
            "be in it, and no clip of the data is published here."
        )
    return explain(published.model, Sounds(wavs, None, (Origin(label=_SOUND),))), origin
