"""Published SpeechBrain checkpoints, imported as folders of classifiers and interpreters."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from speechbrain.dataio.encoder import CategoricalEncoder
from speechbrain.utils.parameter_transfer import Pretrainer

from interpretability.classifiers.base import Classifier
from interpretability.classifiers.cnn14 import Cnn14Classifier
from interpretability.classifiers.conv2d import Conv2dClassifier
from interpretability.classifiers.focalnet import FocalNetClassifier
from interpretability.classifiers.folder import load_classifier, save_classifier
from interpretability.classifiers.image import ImageClassifier
from interpretability.classifiers.vit import ViTClassifier
from interpretability.errors import MissingError, UserError, user_errors
from interpretability.methods.folder import save_interpreter
from interpretability.methods.piq import PIQ
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
    """

    title: str
    kind: type[Classifier]
    paths: dict[str, str]
    sizes: tuple[str, ...]
    settings: dict[str, Any] = field(default_factory=dict)
    interpreter: dict[str, Any] | None = None


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
    "cnn14": Published("CNN14", Cnn14Classifier, _paths("cnn14-esc50"), ("n_mels", "emb_dim"), {"logit_scale": 30.0}),
    "vit": Published("ViT", ViTClassifier, _paths("vit-base-esc50"), ("image_frames",), {"config": VIT_BASE}),
    "focalnet": Published(
        "FocalNet", FocalNetClassifier, _paths("focalnet-base-esc50"), ("image_frames",), {"config": FOCALNET_BASE}
    ),
}


def import_published(
    name: str, out: str | Path, paths: dict[str, str] | None = None, **settings: Any
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
    **settings
        Settings of the classifier, and of PIQ, of models of other sizes. ``config`` of an image classifier may also be
        a hub name or a local folder with ``config.json``.

    Returns
    -------
    Classifier or PIQ
        Classifiers are frozen.

    Raises
    ------
    MissingError
        If a file is neither there nor on the hub.
    UserError
        If weights do not fit these sizes: every parameter has to be there, and none may be left over.
    """
    model = PUBLISHED[name]
    unknown = sorted(set(paths or {}) - set(model.paths))
    if unknown:
        raise UserError(f"unknown paths {', '.join(unknown)}, expected some of {', '.join(model.paths)}")
    paths = {**model.paths, **(paths or {})}
    encoder = CategoricalEncoder()
    _collect({"label_encoder": encoder}, paths)
    labels = [encoder.ind2lab[index] for index in sorted(encoder.ind2lab)]
    chosen = {key: value for key, value in settings.items() if key not in (model.interpreter or {})}
    for_piq = {key: value for key, value in settings.items() if key not in chosen}
    chosen = {**model.settings, **chosen}
    if issubclass(model.kind, ImageClassifier) and not isinstance(chosen["config"], dict):
        chosen["config"] = model.kind.settings_at(str(chosen["config"]))
    classifier = model.kind(labels, {"resampling": "published"}, **chosen)
    source = {"imported_from": {key: str(path) for key, path in paths.items()}, "fixed_length": True}
    parts = {"embedding_model": classifier.embedding_model, "classifier": classifier.classifier}
    if model.interpreter is not None:
        interpreter = PIQ(classifier, **{**model.interpreter, **for_piq})
        _collect({**parts, "psi": interpreter.psi}, paths)
        classifier.keep_description({"training": source})
        save_interpreter(interpreter, out, source)
        return interpreter.eval()
    loaders = {}
    if isinstance(classifier, ImageClassifier):
        # Transformers knows the names of weights in older versions.
        loaders["embedding_model"] = lambda _, path: classifier.load_network(read_weights(path), str(path))
    _collect(parts, paths, loaders)
    save_classifier(classifier, out, source)
    return load_classifier(out)


def _collect(loadables: dict, paths: dict[str, str], loaders: dict[str, Callable] | None = None) -> None:
    """Fetch files with SpeechBrain's Pretrainer and load them; weights strictly, where it would only warn.

    ``loaders`` load weights in another way, each called with an object and the path of its file.

    Files of the hub stay in its own cache. A folder to collect them in would keep the links of an earlier call, and
    use them in place of the files that this call names.
    """
    strictly = {name: load_weights for name in loadables if name != "label_encoder"}
    hooks = {**strictly, **(loaders or {})}
    pretrainer = Pretrainer(loadables=loadables, paths={name: paths[name] for name in loadables}, custom_hooks=hooks)
    wanted = ", ".join(paths[name] for name in loadables)
    advice = ": check the network, or download the files and pass their local paths"
    # The hub's client raises both, for a missing file and for no network.
    with user_errors(f"could not get {wanted}", OSError, ValueError, advice=advice, kind=MissingError, whole=True):
        pretrainer.collect_files()
    pretrainer.load_collected()
