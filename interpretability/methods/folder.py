"""An interpreter's folder: settings, weights, and the classifier it explains. Self-contained, loads offline."""

import pkgutil
from pathlib import Path

from interpretability.classifiers.folder import load_classifier, save_classifier
from interpretability.errors import MissingError, UserError
from interpretability.files import atomic_folder, sha256, write_json
from interpretability.methods.base import Interpreter
from interpretability.weights import load_weights, read_description, save_weights

#: Every method and baseline: a new one is a line here.
REGISTRY = (
    "interpretability.methods.amt:AMT",
    "interpretability.methods.gradients:Gradients",
    "interpretability.methods.l2i:L2I",
    "interpretability.methods.lmac:LMAC",
    "interpretability.methods.nmf:NMF",
    "interpretability.methods.piq:PIQ",
    "interpretability.methods.baselines:ConstantMask",
    "interpretability.methods.baselines:RandomMask",
    "interpretability.methods.baselines:EnergyMask",
)
METHODS: dict[str, type[Interpreter]] = {kind.NAME: kind for kind in map(pkgutil.resolve_name, REGISTRY)}
DESCRIPTION, WEIGHTS, CLASSIFIER = "interpreter.json", "weights.pt", "classifier"
RUN_SUBFOLDER = "interpreter"


def save_interpreter(interpreter: Interpreter, folder: str | Path, training: dict | None = None) -> None:
    """Save an interpreter with its classifier as one folder, atomically.

    Parameters
    ----------
    interpreter : Interpreter
    folder : path
        Replaced as a whole.
    training : dict, optional
        Facts about its training: data, folds, seed, epoch, commit. Plain values.
    """
    with atomic_folder(folder) as temporary:
        classifier = interpreter.classifier
        known = classifier.description.get("training", {})
        classifier_hash = save_classifier(classifier, temporary / CLASSIFIER, known)
        save_weights(interpreter, temporary / WEIGHTS)
        hashes = {"sha256": sha256(temporary / WEIGHTS), "classifier_sha256": classifier_hash}
        identity = {"method": interpreter.NAME, "settings": interpreter.settings.to_dict()}
        write_json(temporary / DESCRIPTION, {**identity, **hashes, "training": training or {}})


def load_interpreter(folder: str | Path) -> Interpreter:
    """Load an interpreter from its folder, or from a run folder that has one; in eval mode.

    Example
    -------
    ``load_interpreter("results/piq/1234").explain(wavs)``

    Raises
    ------
    MissingError
        If there is none: the run has not finished, or the path is wrong.
    UserError
        If the method is unknown, or the weights are damaged or do not fit.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise MissingError(f"no run folder at {folder}: pass the output folder of a finished training run")
    if not (folder / DESCRIPTION).is_file() and (folder / RUN_SUBFOLDER / DESCRIPTION).is_file():
        folder = folder / RUN_SUBFOLDER
    description = read_description(
        folder,
        DESCRIPTION,
        "trained interpreter",
        "finish training (run the same command again to resume), or run evaluate.py if the method is not trained",
    )
    kind = METHODS.get(description.get("method"))
    if kind is None:
        raise UserError(
            f"{folder / DESCRIPTION}: method is {description.get('method')!r}, expected one of {sorted(METHODS)}"
        )
    classifier = load_classifier(folder / CLASSIFIER)
    if classifier.description["sha256"] != description.get("classifier_sha256"):
        raise UserError(
            f"{folder / CLASSIFIER}: not the classifier that this interpreter explains (another hash); "
            "copy the folder again as a whole"
        )
    try:
        interpreter = kind(classifier, **description["settings"])
    except UserError as error:
        raise UserError(f"{folder / DESCRIPTION}: {error}") from None
    except (KeyError, TypeError) as error:
        raise UserError(f"{folder / DESCRIPTION}: not a complete interpreter description ({error})") from error
    load_weights(interpreter, folder / WEIGHTS, description.get("sha256"))
    return interpreter.keep_description(description).eval()
