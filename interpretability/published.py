"""Published SpeechBrain checkpoints, imported as folders of classifiers and interpreters."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from speechbrain.utils.parameter_transfer import Pretrainer

from interpretability.budget import within
from interpretability.classifiers.base import Classifier
from interpretability.classifiers.cnn14 import Cnn14Classifier
from interpretability.classifiers.folder import load_classifier, save_classifier
from interpretability.classifiers.image import ImageClassifier
from interpretability.classifiers.published import (
    PUBLISHED,
    Published,
    features_of,
    frontend_of,
    head_of,
    load_parts,
    read_label_file,
)
from interpretability.errors import MissingError, UserError, user_errors
from interpretability.exported import HYPERPARAMS
from interpretability.files import expanded
from interpretability.methods.folder import save_interpreter
from interpretability.methods.piq import PIQ
from interpretability.reading import read_bytes
from interpretability.safe_yaml import MAX_BYTES, Document, parse
from interpretability.weight_files import FileSize, file_size
from interpretability.weights import load_weights

#: Names that files had before, under which fine-tuned weights were beside others.
OLD_NAMES = {"embedding_model.ckpt": "embedding_model_esc50ft.ckpt", "classifier.ckpt": "classifier_esc50.ckpt"}


def import_published(
    name: str,
    out: str | Path,
    paths: dict[str, str] | None = None,
    source: str | Path | None = None,
    **settings: Any,
) -> Classifier | PIQ:
    """Make a folder of a published checkpoint, saved with any version of Transformers.

    Parameters
    ----------
    name : str
        One of :data:`PUBLISHED`.
    out : path
        The folder to make: of a classifier, which serves as ``--classifier_folder`` of any recipe; for ``piq`` of an
        interpreter, and then ``out/classifier`` does.
    paths : dict, optional
        Where the files are: ``hub/name/file`` or ``/local/folder/file``, in place of the published ones. The class
        list is that of the label encoder, in its order.
    source : path, optional
        A local folder with all files that ``paths`` do not name.
    **settings
        Settings of the classifier, and of PIQ, of models of other sizes. ``config`` of an image classifier may also be
        a hub name or a local folder with ``config.json``. ``features`` of a CNN14 have to be given where no
        ``hyperparams.yaml`` beside its files says them.

    Returns
    -------
    Classifier or PIQ
        Classifiers are frozen.

    Raises
    ------
    MissingError
        If a file is neither there nor on the hub.
    UserError
        If weights do not fit these sizes: every parameter has to be there, and none may be left over. If it is not
        known what features the model was trained with, or they are others than can be chosen here.
    """
    model = PUBLISHED[name]
    unknown = sorted(set(paths or {}) - set(model.paths))
    if unknown:
        raise UserError(f"unknown paths {', '.join(unknown)}, expected some of {', '.join(model.paths)}")
    paths, described = _places(model, paths or {}, None if source is None else expanded(source).resolve())
    files = _fetched(paths)
    labels = read_label_file(files["label_encoder"])
    chosen = {key: value for key, value in settings.items() if key not in (model.interpreter or {})}
    for_piq = {key: value for key, value in settings.items() if key not in chosen}
    chosen = {**model.settings, **chosen}
    if model.kind is Cnn14Classifier:
        chosen = {**_of_cnn14(described, files, chosen), **chosen}
    if issubclass(model.kind, ImageClassifier) and not isinstance(chosen["config"], dict):
        chosen["config"] = model.kind.settings_at(str(chosen["config"]))
    size = sum((file_size(file) for part, file in files.items() if part != "label_encoder"), FileSize(0, 0))
    with within(size, f"{name} of these settings"):
        frontend = {"resampling": "published"} if described is None else frontend_of(described)
        classifier = model.kind(labels, frontend, **chosen)
        interpreter = None if model.interpreter is None else PIQ(classifier, **{**model.interpreter, **for_piq})
    record = {"imported_from": {key: str(path) for key, path in paths.items()}, "fixed_length": True}
    load_parts(classifier, files)
    if interpreter is not None:
        load_weights(interpreter.psi, files["psi"])
        classifier.keep_description({"training": record})
        save_interpreter(interpreter, out, record)
        return interpreter.eval()
    save_classifier(classifier, out, record)
    return load_classifier(out)


def _places(model: Published, given: Mapping[str, str], source: Path | None) -> tuple[dict[str, str], Document | None]:
    """Return where the files of a model are, and the ``hyperparams.yaml`` beside them, if it is described there."""
    places = dict(model.paths)
    for name, path in model.paths.items() if source is not None else ():
        file = Path(path).name
        old = OLD_NAMES.get(file, file)
        places[name] = str(source / (old if model.described and (source / old).is_file() else file))
    if not model.described:
        return {**places, **given}, None
    beside = str({**places, **given}["embedding_model"]).rpartition("/")[0]
    path = Path(beside, HYPERPARAMS)
    if source is None and not given:
        path = _fetched({"hyperparams": f"{beside}/{HYPERPARAMS}"})["hyperparams"]
    if not path.is_file():
        return {**places, **given}, None
    document = parse(read_bytes(path, MAX_BYTES), str(path), ("speechbrain.", "torch."))
    pretrainer = document.get("pretrainer")
    known = pretrainer.value.get("paths") if pretrainer is not None and isinstance(pretrainer.value, dict) else None
    for name, node in known.value.items() if known is not None and isinstance(known.value, dict) else ():
        if name in ("embedding_model", "classifier") and isinstance(node.value, str):
            places[name] = f"{beside}/{node.value.rpartition('/')[2]}"
    return {**places, **given}, document


def _of_cnn14(document: Document | None, files: Mapping[str, Path], chosen: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings of a CNN14 that its files say: which features it sees, and the kind of its head."""
    head = head_of(files["classifier"])
    if "features" in chosen:
        return {"head": head}
    if document is None:
        raise UserError(
            f"no {HYPERPARAMS} beside {files['embedding_model']}, which says what features the model was trained with: "
            "pass --features log1p (SpeechBrain's recipes since July 2024) or db (its published model before)"
        )
    return {"head": head, **features_of(document)}


def _fetched(paths: Mapping[str, str]) -> dict[str, Path]:
    """Return local paths of files, fetched with SpeechBrain's Pretrainer.

    Files of the hub stay in its own cache. A folder to collect them in would keep the links of an earlier call, and
    use them in place of the files that this call names.
    """
    pretrainer = Pretrainer(loadables=dict.fromkeys(paths), paths=dict(paths))
    wanted = ", ".join(paths.values())
    advice = ": check the network, or download the files and pass their local paths"
    # The hub's client raises both, for a missing file and for no network.
    with user_errors(f"could not get {wanted}", OSError, ValueError, advice=advice, kind=MissingError, whole=True):
        return {name: Path(path) for name, path in pretrainer.collect_files().items()}
