"""A classifier's folder: weights, class list, front end and level settings, test accuracy, hash. Self-contained."""

import dataclasses
import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

from interpretability.budget import within
from interpretability.classifiers.base import Classifier
from interpretability.classifiers.cnn14 import Cnn14Classifier
from interpretability.classifiers.compact import CompactClassifier
from interpretability.classifiers.conv2d import Conv2dClassifier
from interpretability.classifiers.focalnet import FocalNetClassifier
from interpretability.classifiers.huggingface import HuggingFaceClassifier
from interpretability.classifiers.module import ModuleClassifier
from interpretability.classifiers.speechbrain import SpeechBrainClassifier
from interpretability.classifiers.trust import check_trusted
from interpretability.classifiers.vit import ViTClassifier
from interpretability.errors import UserError, placed, user_errors
from interpretability.files import atomic_folder, expanded, sha256, write_json
from interpretability.frontend import FrontendSettings
from interpretability.probabilities import TASKS
from interpretability.reading import read_description
from interpretability.settings import Settings, setting
from interpretability.weight_files import file_size
from interpretability.weights import check_weights, load_weights, save_weights

_ON_SPECTROGRAMS = (CompactClassifier, Conv2dClassifier, Cnn14Classifier, ViTClassifier, FocalNetClassifier)
_ON_WAVEFORMS = (HuggingFaceClassifier, SpeechBrainClassifier, ModuleClassifier)
CLASSIFIERS: dict[str, type[Classifier]] = {kind.NAME: kind for kind in (*_ON_SPECTROGRAMS, *_ON_WAVEFORMS)}
DESCRIPTION, WEIGHTS = "classifier.json", "weights.pt"
#: Where a run's folder has a classifier: one that it trained, or the one that its interpreter explains.
RUN_SUBFOLDERS = ("classifier", "interpreter/classifier")
IDENTITY = ("classifier", "labels", "task", "frontend", "architecture")
#: Also part of it, of a classifier that has thresholds of its own which its settings do not hold.
THRESHOLDS = "thresholds"


@dataclass(frozen=True)
class ClassifierDescription(Settings):
    """What the description of a classifier's folder holds."""

    classifier: str = setting(dataclasses.MISSING, "kind of classifier", choices=sorted(CLASSIFIERS))
    labels: tuple[str, ...] = setting(dataclasses.MISSING, "class names, in the order of the logits")
    task: str = setting(dataclasses.MISSING, "one label per clip, or several", choices=TASKS)
    frontend: dict = setting(dataclasses.MISSING, "settings of the front end")
    architecture: dict = setting(dataclasses.MISSING, "settings of the classifier")
    sha256: str = setting(dataclasses.MISSING, "hash of the weights and of the members above")
    training: dict = setting({}, "facts about its training")
    thresholds: tuple[float, ...] | None = setting(
        None, "probability of each class from which on a multi-label head is taken to hear it", above=0, below=1
    )
    notes: tuple[str, ...] = setting((), "what a reader of its explanations has to know about it")


def save_classifier(classifier: Classifier, folder: str | Path, training: dict | None = None) -> str:
    """Save a classifier as a folder that needs nothing else to be loaded.

    Parameters
    ----------
    classifier : Classifier
    folder : path
        Replaced as a whole, atomically; an older one only if it holds nothing else
        (:func:`~interpretability.files.check_replaceable`).
    training : dict, optional
        Facts about its training (data, folds, seed, test accuracy), as plain values.

    Returns
    -------
    str
        The classifier's hash in every result: SHA-256 of its weights, class list, front end, architecture and
        thresholds.
    """
    with atomic_folder(folder) as temporary:
        save_weights(classifier, temporary / WEIGHTS)
        identity = {
            "classifier": classifier.NAME,
            "labels": classifier.labels,
            "task": classifier.task,
            "frontend": classifier.frontend.settings.to_dict(),
            "architecture": classifier.architecture(),
        }
        if classifier.has_thresholds and THRESHOLDS not in identity["architecture"]:
            identity[THRESHOLDS] = classifier.thresholds.tolist()
        digest = _digest(temporary / WEIGHTS, identity)
        facts = {"training": training or {}, **({"notes": list(classifier.notes)} if classifier.notes else {})}
        write_json(temporary / DESCRIPTION, {**identity, "sha256": digest, **facts})
    return digest


def load_classifier(folder: str | Path, freeze: bool = True, trust_remote_code: bool = False) -> Classifier:
    """Load a classifier from its folder, or from that of a run which has one; frozen by default.

    Only tensors are read from the weights (no code). The folder's description is kept as ``classifier.description``.

    Parameters
    ----------
    folder : path
    freeze : bool
    trust_remote_code : bool
        Whether a model of the kind ``torch`` may be code of other than installed packages, which is then run.

    Raises
    ------
    MissingError
        If the folder or one of its files is absent.
    UserError
        If the kind is unknown, the model is code that is not trusted, or the weights are damaged or do not fit.
    """
    folder = expanded(folder)
    if not (folder / DESCRIPTION).is_file():
        folder = next((folder / name for name in RUN_SUBFOLDERS if (folder / name / DESCRIPTION).is_file()), folder)
    path, description = folder / DESCRIPTION, check_classifier(folder)
    kind, architecture = CLASSIFIERS[description["classifier"]], description["architecture"]
    frontend = FrontendSettings.of_saved(description["frontend"], f"{path}: frontend")
    kind.Settings.make(f"{path}: {kind.NAME}", architecture)
    if kind is ModuleClassifier:
        check_trusted(architecture["module"], str(path), trust_remote_code)
    unbuilt = user_errors(f"{path}: no {kind.NAME} classifier can be built from it")  # its networks raise many types
    with placed(path), unbuilt, within(file_size(folder / WEIGHTS), str(path)):
        classifier = kind(description["labels"], frontend, description["task"], **architecture)
        if description.get(THRESHOLDS) is not None:
            classifier.use_thresholds(description[THRESHOLDS])
    load_weights(classifier, folder / WEIGHTS)
    classifier.add_notes(*description.get("notes", ()))
    classifier.keep_description(description)
    return classifier.freeze() if freeze else classifier


def check_classifier(folder: str | Path) -> dict:
    """Return the description of a classifier's folder whose files are there and as they were saved.

    Raises
    ------
    MissingError, UserError
        For the first one that is not.
    """
    folder, advice = Path(folder), "train one with train_classifier.py"
    description = read_description(folder, DESCRIPTION, "classifier", advice, ClassifierDescription)
    check_weights(folder / WEIGHTS)
    if _digest(folder / WEIGHTS, _identity(description)) != description["sha256"]:
        raise UserError(
            f"{folder / WEIGHTS}, or the class list, front end, architecture or thresholds beside it: damaged or "
            f"changed since it was saved: not the SHA-256 in {DESCRIPTION}; copy the folder again"
        )
    return description


def _identity(description: dict) -> dict:
    return {key: description[key] for key in (*IDENTITY, *({THRESHOLDS} & description.keys()))}


def _digest(weights: Path, identity: dict) -> str:
    """Hash what identifies a classifier: the same weights behind another front end are another classifier."""
    text = json.dumps(identity, sort_keys=True, ensure_ascii=True)
    return hashlib.sha256(f"{sha256(weights)}\n{text}".encode()).hexdigest()
