"""Published SpeechBrain checkpoints, imported as folders of classifiers and interpreters."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from speechbrain.dataio.encoder import CategoricalEncoder
from speechbrain.utils.parameter_transfer import Pretrainer

from interpretability.budget import within
from interpretability.classifiers.base import Classifier
from interpretability.classifiers.cnn14 import Cnn14Classifier
from interpretability.classifiers.conv2d import Conv2dClassifier
from interpretability.classifiers.focalnet import FocalNetClassifier
from interpretability.classifiers.folder import load_classifier, save_classifier
from interpretability.classifiers.image import ImageClassifier
from interpretability.classifiers.speechbrain import labels_of, load_labels
from interpretability.classifiers.vit import ViTClassifier
from interpretability.errors import MissingError, UserError, shown, user_errors
from interpretability.files import expanded
from interpretability.methods.folder import save_interpreter
from interpretability.methods.piq import PIQ
from interpretability.reading import read_bytes
from interpretability.safe_yaml import MAX_BYTES, Document, parse
from interpretability.weight_files import FileSize, file_size
from interpretability.weights import load_weights, read_weights

#: What distinguishes google/vit-base-patch16-224 from other configurations of its kind.
VIT_BASE = {
    "image_size": 224,
    "patch_size": 16,
    "hidden_size": 768,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "intermediate_size": 3072,
    "layer_norm_eps": 1e-12,
}
#: The same of microsoft/focalnet-base.
FOCALNET_BASE = {
    "image_size": 224,
    "patch_size": 4,
    "embed_dim": 128,
    "depths": [2, 2, 18, 2],
    "focal_levels": [2, 2, 2, 2],
    "focal_windows": [3, 3, 3, 3],
}


@dataclass(frozen=True)
class Published:
    """A published model.

    Attributes
    ----------
    title : str
    kind : type of Classifier
    paths : dict
        Where its files are: ``hub/name/file``.
    sizes : tuple of str
        Settings in which models of other sizes differ.
    settings : dict
        Of the classifier, where they differ from its defaults.
    interpreter : dict, optional
        Settings of the PIQ interpreter that is published with it.
    described : bool
        Whether models of one architecture differ in what only ``hyperparams.yaml`` beside them says.
    """

    title: str
    kind: type[Classifier]
    paths: dict[str, str]
    sizes: tuple[str, ...]
    settings: dict[str, Any] = field(default_factory=dict)
    interpreter: dict[str, Any] | None = None
    described: bool = False


def _paths(repository: str, **others: str) -> dict[str, str]:
    names = {"embedding_model": "embedding_model.ckpt", "classifier": "classifier.ckpt", **others}
    paths = {name: f"speechbrain/{repository}/{file}" for name, file in names.items()}
    return {**paths, "label_encoder": "speechbrain/cnn14-esc50/label_encoder.txt"}


PUBLISHED = {
    "piq": Published(
        "PIQ",
        Conv2dClassifier,
        _paths("PIQ-ESC50", embedding_model="embedding_modelft.ckpt", psi="psi_model.ckpt"),
        ("dim", "codebook_size", "shared_keys"),
        interpreter={
            "network": "published",
            "codebook_size": 1024,
            "shared_keys": 0,
            "partition": "published",
            "faithfulness_weight": 0.0,
        },
    ),
    # Trained with an angular-margin softmax of scale 30: with it, probabilities are those of training.
    "cnn14": Published(
        "CNN14",
        Cnn14Classifier,
        _paths("cnn14-esc50"),
        ("n_mels", "emb_dim", "features"),
        {"logit_scale": 30.0},
        described=True,
    ),
    "vit": Published("ViT", ViTClassifier, _paths("vit-base-esc50"), ("image_frames",), {"config": VIT_BASE}),
    "focalnet": Published(
        "FocalNet", FocalNetClassifier, _paths("focalnet-base-esc50"), ("image_frames",), {"config": FOCALNET_BASE}
    ),
}


#: Names that files had before, under which fine-tuned weights were beside others.
OLD_NAMES = {"embedding_model.ckpt": "embedding_model_esc50ft.ckpt", "classifier.ckpt": "classifier_esc50.ckpt"}
HYPERPARAMS = "hyperparams.yaml"
#: What the YAML's filters may be set to, besides their sizes: the only ones that are the same here.
FILTERS = {"f_min": 0, "freeze": True, "power_spectrogram": 2, "amin": 1e-10, "ref_value": 1.0, "top_db": 80.0}


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
    encoder = CategoricalEncoder()
    load_labels(encoder, files["label_encoder"])
    labels = labels_of(encoder, files["label_encoder"])
    chosen = {key: value for key, value in settings.items() if key not in (model.interpreter or {})}
    for_piq = {key: value for key, value in settings.items() if key not in chosen}
    chosen = {**model.settings, **chosen}
    if model.kind is Cnn14Classifier:
        chosen = {**_of_cnn14(described, files, chosen), **chosen}
    if issubclass(model.kind, ImageClassifier) and not isinstance(chosen["config"], dict):
        chosen["config"] = model.kind.settings_at(str(chosen["config"]))
    size = sum((file_size(file) for part, file in files.items() if part != "label_encoder"), FileSize(0, 0))
    with within(size, f"{name} of these settings"):
        classifier = model.kind(labels, {"resampling": "published"}, **chosen)
        interpreter = None if model.interpreter is None else PIQ(classifier, **{**model.interpreter, **for_piq})
    record = {"imported_from": {key: str(path) for key, path in paths.items()}, "fixed_length": True}
    parts = {"embedding_model": classifier.embedding_model, "classifier": classifier.classifier}
    if interpreter is not None:
        for part, module in {**parts, "psi": interpreter.psi}.items():
            load_weights(module, files[part])
        classifier.keep_description({"training": record})
        save_interpreter(interpreter, out, record)
        return interpreter.eval()
    for part, module in parts.items():
        if part == "embedding_model" and isinstance(classifier, ImageClassifier):
            # Transformers knows the names of weights in older versions.
            classifier.load_network(read_weights(files[part]), str(files[part]))
        else:
            load_weights(module, files[part])
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
    head = "linear" if "bias" in read_weights(files["classifier"]) else "cosine"
    if "features" in chosen:
        return {"head": head}
    if document is None:
        raise UserError(
            f"no {HYPERPARAMS} beside {files['embedding_model']}, which says what features the model was trained with: "
            "pass --features log1p (SpeechBrain's recipes since July 2024) or db (its published model before)"
        )
    return {"head": head, "features": _features_of(document)}


def _features_of(document: Document) -> str:
    """Return what a CNN14 sees, as the YAML of an ``AudioClassifier`` says; refuse what cannot be chosen here."""
    where, fbank = document.where, document.get("compute_fbank")
    advice = "speechbrain:FOLDER opens the folder as it is"
    if fbank is None or not isinstance(fbank.value, dict) or not document.plain("use_melspectra", True):
        raise UserError(f"{where}: no compute_fbank with settings, expected mel bands: {advice}")
    filters = {name: node.value for name, node in fbank.value.items()}
    rate = document.plain("sample_rate", filters.get("sample_rate", 16000))
    wanted = {**FILTERS, "sample_rate": 16000, "n_fft": 1024, "f_max": 8000}
    settings = {**filters, "sample_rate": rate}
    other = {name: value for name, value in settings.items() if value != wanted.get(name, value)}
    if document.plain("spec_mag_power", 0.5) != 0.5:
        other["spec_mag_power"] = document.plain("spec_mag_power")
    if other:
        got = ", ".join(f"{name} {shown(value)}" for name, value in other.items())
        raise UserError(f"{where}: {got}, which the front end of the published model does not have: {advice}")
    in_db, log1p = filters.get("log_mel", True), document.plain("use_log1p_mel", False)
    if bool(in_db) is bool(log1p):
        raise UserError(
            f"{where}: log_mel is {shown(in_db)} and use_log1p_mel is {shown(log1p)}, expected one of them: {advice}"
        )
    return "db" if in_db else "log1p"


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
