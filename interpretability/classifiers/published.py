"""Classifiers that SpeechBrain published, and folders laid out like theirs: what their YAML says, and their files.

The YAML is read, and nothing in it is built: its networks are those of this package, which have the same parameters.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from speechbrain.dataio.encoder import CategoricalEncoder

from interpretability.budget import within
from interpretability.classifiers.base import Classifier
from interpretability.classifiers.cnn14 import Cnn14Classifier
from interpretability.classifiers.conv2d import Conv2dClassifier
from interpretability.classifiers.focalnet import FocalNetClassifier
from interpretability.classifiers.image import ImageClassifier
from interpretability.classifiers.speechbrain import files_of, labels_of, load_labels
from interpretability.classifiers.vit import ViTClassifier
from interpretability.errors import UserError, shown
from interpretability.exported import CONFIG, HYPERPARAMS
from interpretability.reading import read_bytes, read_object
from interpretability.safe_yaml import MAX_BYTES, Document, Node, parse
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


#: What the YAML's filters may be set to, besides their sizes: the only ones that are the same here.
FILTERS = {"f_min": 0, "freeze": True, "power_spectrogram": 2, "amin": 1e-10, "ref_value": 1.0, "top_db": 80.0}
#: What tags in the YAML may name. None of it is built.
PACKAGES = ("speechbrain.", "torch.", "torchaudio.", "transformers.")
#: Class of the embedding model, or of what it is made from -> name in :data:`PUBLISHED`.
_KINDS = {"Conv2dEncoder_v2": "piq", "Cnn14": "cnn14", "ViTModel": "vit", "FocalNetBackbone": "focalnet"}
#: The arguments of SpeechBrain's classes, in their order.
_ARGUMENTS = {
    "Conv2dEncoder_v2": ("dim",),
    "Cnn14": ("mel_bins", "emb_dim", "norm_type", "return_reps", "l2i"),
    "Classifier": ("input_size", "device", "lin_blocks", "lin_neurons", "out_neurons"),
    "VectorQuantizedPSI_Audio": (
        *("dim", "K", "numclasses", "activate_class_partitioning", "shared_keys", "use_adapter", "adapter_reduce_dim"),
    ),
    "STFT": ("sample_rate", "win_length", "hop_length", "n_fft"),
}
#: What its filters are where the YAML does not say it.
_FILTERBANK = {"sample_rate": 16000, "n_fft": 400, "f_max": 8000}
#: What its front end's STFT is where the YAML does not say it.
_STFT = {"sample_rate": 16000, "win_length": 25, "hop_length": 10, "n_fft": 400}


@dataclass(frozen=True)
class Layout:
    """A folder laid out like a published one.

    Attributes
    ----------
    name : str
        In :data:`PUBLISHED`.
    files : dict of str to Path
        ``embedding_model``, ``classifier`` and, of an interpreter, ``psi``.
    labels : list of str
    frontend, settings : dict
        Of the classifier.
    interpreter : dict or None
        Settings of the PIQ interpreter in it.
    """

    name: str
    files: dict[str, Path]
    labels: list[str]
    frontend: dict[str, Any]
    settings: dict[str, Any]
    interpreter: dict[str, Any] | None

    @property
    def model(self) -> Published:
        """What it is laid out like."""
        return PUBLISHED[self.name]

    @property
    def size(self) -> FileSize:
        """What its files of weights hold."""
        return sum(map(file_size, self.files.values()), FileSize(0, 0))

    @property
    def training(self) -> dict[str, Any]:
        """What is recorded as its training."""
        return {"imported_from": {part: path.name for part, path in self.files.items()}, "fixed_length": True}


def read_layout(folder: Path) -> Layout | None:
    """Return what a folder holds that is laid out like a published one; None for any other folder.

    Raises
    ------
    MissingError
        If a file that its YAML loads is not in it.
    UserError
        If its YAML holds tags that are refused, or describes a model that cannot be built here.
    """
    path = folder / HYPERPARAMS
    if not path.is_file():
        return None
    text = read_bytes(path, MAX_BYTES)
    if any(re.search(rb"^%s:" % key, text, re.MULTILINE) is None for key in (b"modules", b"pretrainer")):
        return None  # such as that of a run
    document = parse(text, str(path), PACKAGES)
    modules = document.get("modules")
    parts = modules.value if modules is not None and isinstance(modules.value, dict) else {}
    place = _place(parts.get("embedding_model"))
    name = next((_KINDS[word] for word in place.split(".") if word in _KINDS), None)
    if name is None or "classifier" not in parts or (name == "piq" and "psi" not in parts):
        return None
    needed = ["embedding_model", "classifier", *(["psi"] if name == "piq" else [])]
    encoder = document.get("label_encoder")
    if encoder is None:
        raise UserError(f"{path}: has no label_encoder, which says what the classes are")
    files = files_of(document, {**{part: parts[part] for part in needed}, "label_encoder": encoder}, folder)
    labels = read_label_file(files.pop("label_encoder"))
    _refuse(path, {"spec_mag_power": document.plain("spec_mag_power", 0.5)}, {"spec_mag_power": 0.5})
    settings, interpreter = dict(PUBLISHED[name].settings), None
    head = _settings(parts["classifier"])
    if name in ("piq", "vit", "focalnet"):
        settings |= {key: head[key] for key in ("lin_blocks", "lin_neurons") if key in head}
    if name == "piq":
        _refuse(path, {key: document.plain(key, True) for key in _MASKS}, _MASKS)
        settings["dim"] = _settings(parts["embedding_model"]).get("dim", 256)
        interpreter = {**PUBLISHED[name].interpreter, **_psi_of(path, parts["psi"], len(labels))}
    elif name == "cnn14":
        known = _settings(parts["embedding_model"])
        settings |= {"n_mels": known.get("mel_bins", 80), "emb_dim": known.get("emb_dim", 2048)}
        settings |= {"head": head_of(files["classifier"]), **features_of(document)}
    else:
        settings["config"] = _config_of(PUBLISHED[name], folder)
    return Layout(name, files, labels, frontend_of(document), settings, interpreter)


def load_layout(layout: Layout, where: Path) -> Classifier:
    """Return the classifier of a folder, with its weights; errors as of :func:`read_layout`."""
    with within(layout.size, str(where)):
        classifier = layout.model.kind(layout.labels, layout.frontend, **layout.settings)
    load_parts(classifier, layout.files)
    return classifier


def load_parts(classifier: Classifier, files: Mapping[str, Path]) -> None:
    """Load the files of the encoder and of the head, saved with any version of Transformers."""
    for part in ("embedding_model", "classifier"):
        if part == "embedding_model" and isinstance(classifier, ImageClassifier):
            # Transformers knows the names of weights in older versions.
            classifier.load_network(read_weights(files[part]), str(files[part]))
        else:
            load_weights(getattr(classifier, part), files[part])


def read_label_file(path: Path) -> list[str]:
    """Return the class names in a label encoder's file, in the order of the logits; a :class:`UserError` if none."""
    encoder = CategoricalEncoder()
    load_labels(encoder, path)
    return labels_of(encoder, path)


def head_of(path: Path) -> str:
    """Return the kind of a head, by its weights."""
    return "linear" if "bias" in read_weights(path) else "cosine"


#: The only way of masking that the method has here.
_MASKS = {"use_vq": True, "use_mask_output": True}


def _psi_of(path: Path, psi: Node, n_classes: int) -> dict[str, Any]:
    """Return the settings of the interpreter, as those of SpeechBrain's network say."""
    if _place(psi).rpartition(".")[2] != "VectorQuantizedPSI_Audio":
        raise UserError(
            f"{path}: psi is {_place(psi)!r}, expected speechbrain.lobes.models.PIQ.VectorQuantizedPSI_Audio"
        )
    known = _settings(psi)
    fixed = dict.fromkeys(("activate_class_partitioning", "use_adapter", "adapter_reduce_dim"), True)
    _refuse(path, {key: known.get(key, True) for key in fixed}, fixed)
    if known.get("numclasses", 50) != n_classes:
        raise UserError(
            f"{path}: psi has keys for {shown(known.get('numclasses', 50))} classes, and the label encoder has "
            f"{n_classes}: name numclasses, or take the label encoder that belongs to it"
        )
    return {"codebook_size": known.get("K", 512), "shared_keys": known.get("shared_keys", 0)}


def _config_of(model: Published, folder: Path) -> Any:
    """Return the configuration of a network of images: that in the folder, or else the published one."""
    path = folder / CONFIG
    if path.is_file() and "model_type" in read_object(path):
        return model.kind.settings_at(str(folder))
    return model.settings["config"]


def frontend_of(document: Document) -> dict[str, Any]:
    """Return the front end that the YAML's STFT describes."""
    modules = document.get("modules")
    parts = modules.value if modules is not None and isinstance(modules.value, dict) else {}
    node = parts.get("compute_stft") or document.get("compute_stft")
    if node is None:
        return {"resampling": "published"}
    stft = {**_STFT, **_settings(node)}
    lengths = {f"{name}_ms": float(stft[name]) for name in ("win_length", "hop_length")}
    return {"sample_rate": stft["sample_rate"], "n_fft": stft["n_fft"], **lengths, "resampling": "published"}


def _place(node: Node | None) -> str:
    """Return the dotted name in a node's tag; of ``!apply:transformers.X.from_pretrained`` all of it."""
    return "" if node is None else node.tag.partition(":")[2]


def _settings(node: Node) -> dict[str, Any]:
    """Return the plain settings of what a node would build, those without a name by the order of its arguments."""
    names: Sequence[str] = _ARGUMENTS.get(_place(node).rpartition(".")[2], ())
    if isinstance(node.value, dict):
        return {str(name): member.value for name, member in node.value.items() if not member.tag}
    if isinstance(node.value, (list, tuple)):
        return {name: member.value for name, member in zip(names, node.value, strict=False) if not member.tag}
    return {}


def _refuse(path: Path, given: Mapping[str, Any], wanted: Mapping[str, Any]) -> None:
    other = [
        f"{name} is {shown(value)}, expected {wanted[name]}" for name, value in given.items() if value != wanted[name]
    ]
    if other:
        raise UserError(f"{path}: {other[0]}: this model cannot be built here")


def features_of(document: Document) -> dict[str, Any]:
    """Return what a CNN14 sees, ``features`` and ``f_max``, as the YAML of an ``AudioClassifier`` says.

    Raises
    ------
    UserError
        If that is something which cannot be chosen here.
    """
    where, fbank = document.where, document.get("compute_fbank")
    advice = "speechbrain:FOLDER opens the folder as it is"
    if fbank is None or not isinstance(fbank.value, dict) or not document.plain("use_melspectra", True):
        raise UserError(f"{where}: no compute_fbank with settings, expected mel bands: {advice}")
    filters = {**_FILTERBANK, **{name: node.value for name, node in fbank.value.items()}}
    stft = {"sample_rate": 16000, "n_fft": 1024, **frontend_of(document)}
    wanted = {**FILTERS, "sample_rate": stft["sample_rate"], "n_fft": stft["n_fft"]}
    other = {name: value for name, value in filters.items() if value != wanted.get(name, value)}
    for name, expected in (("sample_rate", stft["sample_rate"]), ("spec_mag_power", 0.5)):
        if document.plain(name, expected) != expected:
            other[name] = document.plain(name)
    if other:
        got = ", ".join(f"{name} {shown(value)}" for name, value in other.items())
        raise UserError(f"{where}: {got}, which does not fit, or cannot be chosen here: {advice}")
    in_db, log1p = filters.get("log_mel", True), document.plain("use_log1p_mel", False)
    if bool(in_db) is bool(log1p):
        raise UserError(
            f"{where}: log_mel is {shown(in_db)} and use_log1p_mel is {shown(log1p)}, expected one of them: {advice}"
        )
    # SpeechBrain's default is that of 16 kHz, here it is half the rate.
    upper = {} if (filters["f_max"], stft["sample_rate"]) == (8000, 16000) else {"f_max": filters["f_max"]}
    return {"features": "db" if in_db else "log1p", **upper}
