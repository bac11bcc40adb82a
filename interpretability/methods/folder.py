"""An interpreter's folder: settings, weights, and the classifier it explains. Self-contained, loads offline."""

import dataclasses
import pkgutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

from interpretability.budget import within
from interpretability.classifiers.base import Classifier
from interpretability.classifiers.folder import describe, load_classifier, load_exported_classifier, save_classifier
from interpretability.classifiers.published import Layout, read_layout
from interpretability.errors import MissingError, UserError, placed, user_errors
from interpretability.exported import (
    CONFIG,
    INTERPRETER_WEIGHTS,
    ExportedFolder,
    is_exported,
    read_exported,
    source_of,
)
from interpretability.files import atomic_folder, sha256, write_json
from interpretability.hub import local_folder
from interpretability.methods.base import Interpreter
from interpretability.methods.published import load_piq
from interpretability.reading import checked, read_description
from interpretability.settings import Settings, setting
from interpretability.weight_files import FileSize, file_size
from interpretability.weights import check_weights, load_weights, save_weights

#: Every method and baseline: a new one is a line here.
REGISTRY = (
    "interpretability.methods.amt:AMT",
    "interpretability.methods.feature_ablation:FeatureAblation",
    "interpretability.methods.counterfactual:Counterfactual",
    "interpretability.methods.gradients:Gradients",
    "interpretability.methods.kernel_shap:KernelSHAP",
    "interpretability.methods.l2i:L2I",
    "interpretability.methods.lime:LIME",
    "interpretability.methods.lmac:LMAC",
    "interpretability.methods.nmf:NMF",
    "interpretability.methods.optimised:OptimisedMask",
    "interpretability.methods.occlusion:Occlusion",
    "interpretability.methods.piq:PIQ",
    "interpretability.methods.rise:RISE",
    "interpretability.methods.baselines:ConstantMask",
    "interpretability.methods.baselines:RandomMask",
    "interpretability.methods.baselines:EnergyMask",
)
METHODS: dict[str, type[Interpreter]] = {kind.NAME: kind for kind in map(pkgutil.resolve_name, REGISTRY)}
DESCRIPTION, WEIGHTS, CLASSIFIER = "interpreter.json", "weights.pt", "classifier"
RUN_SUBFOLDER = "interpreter"


@dataclass(frozen=True)
class InterpreterDescription(Settings):
    """What the description of an interpreter's folder holds."""

    method: str = setting(dataclasses.MISSING, "name of the method", choices=sorted(METHODS))
    settings: dict = setting(dataclasses.MISSING, "of the method")
    sha256: str = setting(dataclasses.MISSING, "hash of the weights")
    classifier_sha256: str = setting(dataclasses.MISSING, "hash of the classifier that it explains")
    training: dict = setting({}, "facts about its training")


def save_interpreter(interpreter: Interpreter, folder: str | Path, training: dict | None = None) -> None:
    """Save an interpreter with its classifier as one folder, atomically.

    Parameters
    ----------
    interpreter : Interpreter
    folder : path
        Replaced as a whole; an older one only if it holds nothing else.
    training : dict, optional
        Facts about its training: data, folds, seed, epoch, commit. Plain values.
    """
    with atomic_folder(folder) as temporary:
        classifier = interpreter.classifier
        known = classifier.description.get("training", {})
        classifier_hash = save_classifier(classifier, temporary / CLASSIFIER, known)
        save_weights(interpreter, temporary / WEIGHTS)
        weights_hash = sha256(temporary / WEIGHTS)
        write_json(temporary / DESCRIPTION, _described(interpreter, weights_hash, classifier_hash, training))


def is_interpreter_folder(folder: str | Path) -> bool:
    """Return whether this is an interpreter's folder, or a run folder that has one: see :func:`load_interpreter`.

    Of ``user/name`` on a hub, whether that is an interpreter; it is fetched for that.
    """
    folder = local_folder(folder)
    if is_exported(folder):
        return (folder / INTERPRETER_WEIGHTS).is_file()
    if any((folder / name / DESCRIPTION).is_file() for name in (".", RUN_SUBFOLDER)):
        return True
    layout = read_layout(folder)
    return layout is not None and layout.interpreter is not None


def load_interpreter(folder: str | Path, trust_remote_code: bool = False, revision: str | None = None) -> Interpreter:
    """Load an interpreter from its folder, from a run folder that has one, or from a hub; in eval mode.

    Parameters
    ----------
    folder : path
        Or ``user/name`` on a hub: see :func:`~interpretability.hub.local_folder`. A folder laid out like SpeechBrain's
        ``PIQ-ESC50`` is one, too.
    trust_remote_code : bool
        As in :func:`~interpretability.classifiers.folder.load_classifier`.
    revision : str, optional
        Branch, tag or commit, of a model on a hub.

    Examples
    --------
    ``load_interpreter("results/piq/1234").explain(wavs)``
    ``load_interpreter("user/name", revision="v1").explain(wavs)``

    Raises
    ------
    MissingError
        If there is none: the run has not finished, or the path is wrong.
    UserError
        If the method is unknown, the classifier is code that is not trusted, or the weights are damaged or do not fit.
    """
    folder = local_folder(folder, revision)
    if not folder.is_dir():
        raise MissingError(f"no run folder at {folder}: pass the output folder of a finished training run")
    exported = read_exported(folder, trust_remote_code)
    if exported is not None:
        return _of_exported(folder, exported, trust_remote_code)
    if not (folder / DESCRIPTION).is_file() and (folder / RUN_SUBFOLDER / DESCRIPTION).is_file():
        folder = folder / RUN_SUBFOLDER
    layout = None if (folder / DESCRIPTION).is_file() else read_layout(folder)
    if layout is not None and layout.interpreter is not None:
        return _of_speechbrain(layout, folder)
    description = check_interpreter(folder)
    _check_settings(description, folder / DESCRIPTION)
    classifier = load_classifier(folder / CLASSIFIER, trust_remote_code=trust_remote_code)
    return _loaded(folder, description, classifier, folder / DESCRIPTION, folder / WEIGHTS)


def _of_exported(folder: Path, exported: ExportedFolder, trust_remote_code: bool) -> Interpreter:
    """Return the interpreter of a published folder that was read and checked."""
    path, description = folder / CONFIG, exported.interpreter
    if description is None:
        raise MissingError(
            f"{folder} holds a classifier, not an interpreter: give it to tools/interpret.py as MODEL (in Python "
            "interpretability.explain), or pass an interpreter"
        )
    checked(InterpreterDescription, description, f"{path}: interpreter")
    _check_settings(description, path)
    classifier = load_exported_classifier(folder, exported, trust_remote_code).freeze()
    return _loaded(folder, description, classifier, path, folder / INTERPRETER_WEIGHTS)


def _check_settings(description: dict, path: Path) -> None:
    """Refuse settings that the method does not have or take, before anything is built."""
    kind = METHODS[description["method"]]
    kind.Settings.make(f"{path}: {kind.NAME}", description["settings"])


def _loaded(folder: Path, description: dict, classifier: Classifier, path: Path, weights: Path) -> Interpreter:
    interpreter = build_interpreter(description, classifier, str(path), file_size(weights))
    load_weights(interpreter, weights)
    return interpreter.keep_description(source_of(folder, description)).eval()


def _of_speechbrain(layout: Layout, folder: Path) -> Interpreter:
    """Return the interpreter of a folder laid out like a published one of SpeechBrain's, described as a saved one."""
    interpreter = load_piq(layout, folder)
    classifier = interpreter.classifier
    classifier.keep_description(source_of(folder, describe(classifier, layout.training)))
    with tempfile.TemporaryDirectory() as temporary:
        save_weights(interpreter, Path(temporary) / WEIGHTS)
        digest = sha256(Path(temporary) / WEIGHTS)
    description = _described(interpreter, digest, classifier.description["sha256"], layout.training)
    return interpreter.keep_description(source_of(folder, description)).eval()


def _described(interpreter: Interpreter, weights: str, classifier: str, training: dict | None) -> dict:
    identity = {"method": interpreter.NAME, "settings": interpreter.settings.to_dict()}
    return {**identity, "sha256": weights, "classifier_sha256": classifier, "training": training or {}}


def build_interpreter(description: dict, classifier: Classifier, where: str, size: FileSize) -> Interpreter:
    """Build the interpreter that a description asks for, with the weights that its class makes.

    Parameters
    ----------
    description : dict
        As :class:`InterpreterDescription` says.
    classifier : Classifier
        The one that it explains, with its description.
    where : str
        Its file, in front of errors.
    size : FileSize
        Of its weights, beyond which nothing is built.

    Raises
    ------
    UserError
        If it explains another classifier, the method refuses its settings, or a larger network than the weights can
        fill is asked for.
    """
    kind = METHODS[description["method"]]
    if classifier.description["sha256"] != description["classifier_sha256"]:
        raise UserError(
            f"{where}: the classifier beside it is not the classifier that this interpreter explains (another hash); "
            "copy the folder again as a whole"
        )
    unbuilt = user_errors(f"{where}: no {kind.NAME} can be built from it")  # networks raise many types
    with placed(where), unbuilt, within(size, where):
        return kind(classifier, **description["settings"])


def check_interpreter(folder: str | Path) -> dict:
    """Return the description of an interpreter's folder whose weights are there and as they were saved.

    Raises
    ------
    MissingError, UserError
        If they, or the description, are not.
    """
    description = read_description(
        folder,
        DESCRIPTION,
        "trained interpreter",
        "finish training (run the same command again to resume), or run evaluate.py if the method is not trained",
        InterpreterDescription,
    )
    check_weights(Path(folder) / WEIGHTS, description["sha256"])
    return description
