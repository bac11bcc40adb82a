"""A classifier's folder: weights, class list, front end and level settings, test accuracy, hash. Self-contained."""

import dataclasses
import hashlib
import json
import tempfile
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
from interpretability.classifiers.published import load_layout, read_layout
from interpretability.classifiers.speechbrain import SpeechBrainClassifier
from interpretability.classifiers.trust import check_trusted
from interpretability.classifiers.vit import ViTClassifier
from interpretability.errors import UserError, placed, shown, user_errors
from interpretability.exported import CLASSIFIER_WEIGHTS, CONFIG, ExportedFolder, read_exported, source_of
from interpretability.files import atomic_folder, sha256, write_json
from interpretability.frontend import FrontendSettings
from interpretability.hub import local_folder
from interpretability.probabilities import TASKS
from interpretability.reading import checked, read_description
from interpretability.settings import Settings, setting
from interpretability.weight_files import FileSize, file_size
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
    hub: dict | None = setting(None, "the model and the commit of a hub that it was read from")


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
        description = _described(classifier, temporary / WEIGHTS, training)
        write_json(temporary / DESCRIPTION, description)
    return description["sha256"]


def describe(classifier: Classifier, training: dict | None = None) -> dict:
    """Return what the description of a classifier's folder would hold; ``training`` as in :func:`save_classifier`."""
    with tempfile.TemporaryDirectory() as temporary:
        save_weights(classifier, Path(temporary) / WEIGHTS)
        return _described(classifier, Path(temporary) / WEIGHTS, training)


def _described(classifier: Classifier, weights: Path, training: dict | None) -> dict:
    if classifier.question is not None:
        raise UserError(
            f"this classifier answers {shown(classifier.question.label)}, and has no folder of its own: save the one "
            "that is asked (its attribute base), and give the target when explaining"
        )
    identity = {
        "classifier": classifier.NAME,
        "labels": classifier.labels,
        "task": classifier.task,
        "frontend": classifier.frontend.settings.to_dict(),
        "architecture": classifier.architecture(),
    }
    if classifier.has_thresholds and THRESHOLDS not in identity["architecture"]:
        identity[THRESHOLDS] = classifier.thresholds.tolist()
    facts = {"training": training or {}, **({"notes": list(classifier.notes)} if classifier.notes else {})}
    if "hub" in classifier.description:
        facts["hub"] = classifier.description["hub"]
    return {**identity, "sha256": digest_of(sha256(weights), identity), **facts}


def load_classifier(
    folder: str | Path, freeze: bool = True, trust_remote_code: bool = False, revision: str | None = None
) -> Classifier:
    """Load a classifier from its folder, from that of a run which has one, or from a hub; frozen by default.

    Only tensors are read from the weights (no code). The folder's description is kept as ``classifier.description``;
    of a model from a hub it has ``hub``, its name and commit.

    Parameters
    ----------
    folder : path
        Or ``user/name`` on a hub: see :func:`~interpretability.hub.local_folder`. Of a published interpreter, the
        classifier that it explains. A folder laid out like SpeechBrain's ``cnn14-esc50``, ``vit-base-esc50``,
        ``focalnet-base-esc50`` or ``PIQ-ESC50`` is one, too.
    freeze : bool
    trust_remote_code : bool
        Whether a model of the kind ``torch`` may be code of other than installed packages, which is then run.
    revision : str, optional
        Branch, tag or commit, of a model on a hub.

    Raises
    ------
    MissingError
        If the folder or one of its files is absent.
    UserError
        If the kind is unknown, the model is code that is not trusted, or the weights are damaged or do not fit.
    """
    folder = local_folder(folder, revision)
    exported = read_exported(folder, trust_remote_code)
    if not (folder / DESCRIPTION).is_file() and exported is None:
        folder = next((folder / name for name in RUN_SUBFOLDERS if (folder / name / DESCRIPTION).is_file()), folder)
    if exported is not None:
        classifier = load_exported_classifier(folder, exported, trust_remote_code)
    elif not (folder / DESCRIPTION).is_file() and (layout := read_layout(folder)) is not None:
        classifier = load_layout(layout, folder)
        classifier.keep_description(source_of(folder, describe(classifier, layout.training)))
    else:
        description, path, weights = check_classifier(folder), folder / DESCRIPTION, folder / WEIGHTS
        classifier = build_classifier(description, str(path), file_size(weights), trust_remote_code)
        load_weights(classifier, weights)
        classifier.keep_description(source_of(folder, description))
    return classifier.freeze() if freeze else classifier


def load_exported_classifier(folder: Path, exported: ExportedFolder, trust_remote_code: bool = False) -> Classifier:
    """Load the classifier of a published folder that was read and checked; errors as of :func:`load_classifier`."""
    path, weights = folder / CONFIG, folder / CLASSIFIER_WEIGHTS
    description = check_exported_classifier(exported.classifier, f"{path}: classifier")
    classifier = build_classifier(description, str(path), file_size(weights), trust_remote_code)
    load_weights(classifier, weights)
    return classifier.keep_description(source_of(folder, description))


def build_classifier(description: dict, where: str, size: FileSize, trust_remote_code: bool = False) -> Classifier:
    """Build the classifier that a description asks for, with the weights that its class makes.

    Parameters
    ----------
    description : dict
        As :class:`ClassifierDescription` says.
    where : str
        Its file, in front of errors.
    size : FileSize
        Of its weights, beyond which nothing is built.
    trust_remote_code : bool
        As in :func:`load_classifier`.

    Raises
    ------
    UserError
        If the kind is unknown or refuses its settings, the model is code that is not trusted, or a larger network
        than the weights can fill is asked for.
    """
    kind, architecture = CLASSIFIERS[description["classifier"]], description["architecture"]
    frontend = FrontendSettings.of_saved(description["frontend"], f"{where}: frontend")
    kind.Settings.make(f"{where}: {kind.NAME}", architecture)
    if kind is ModuleClassifier:
        check_trusted(architecture["module"], where, trust_remote_code)
    unbuilt = user_errors(f"{where}: no {kind.NAME} classifier can be built from it")  # its networks raise many types
    with placed(where), unbuilt, within(size, where):
        classifier = kind(description["labels"], frontend, description["task"], **architecture)
        if description.get(THRESHOLDS) is not None:
            classifier.use_thresholds(description[THRESHOLDS])
    classifier.add_notes(*description.get("notes", ()))
    return classifier


def check_exported_classifier(description: dict, where: str) -> dict:
    """Return the description of a published classifier; a :class:`UserError` if it is not as it was saved."""
    checked(ClassifierDescription, description, where)
    weights = description.get("weights_sha256")
    if digest_of(str(weights), description) != description["sha256"]:
        raise UserError(
            f"{where}: the class list, the front end or the architecture was changed since it was saved: not the "
            "SHA-256 that stands beside them; fetch or copy the folder again"
        )
    return description


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
    if digest_of(sha256(folder / WEIGHTS), description) != description["sha256"]:
        raise UserError(
            f"{folder / WEIGHTS}, or the class list, front end, architecture or thresholds beside it: damaged or "
            f"changed since it was saved: not the SHA-256 in {DESCRIPTION}; copy the folder again"
        )
    return description


def identity_of(description: dict) -> dict:
    """Return the members of a description that make a classifier what it is, besides its weights."""
    return {key: description[key] for key in (*IDENTITY, *({THRESHOLDS} & description.keys()))}


def digest_of(weights: str, description: dict) -> str:
    """Return what identifies a classifier: the same weights behind another front end are another one.

    Parameters
    ----------
    weights : str
        SHA-256 of its file of weights.
    description : dict
        As :class:`ClassifierDescription` says; only what :func:`identity_of` takes counts.
    """
    text = json.dumps(identity_of(description), sort_keys=True, ensure_ascii=True)
    return hashlib.sha256(f"{weights}\n{text}".encode()).hexdigest()
