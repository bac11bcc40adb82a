"""Published SpeechBrain checkpoints, imported as folders of classifiers and interpreters."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from speechbrain.dataio.encoder import CategoricalEncoder
from speechbrain.utils.parameter_transfer import Pretrainer

from interpretability.classifiers.cnn14 import Cnn14Classifier
from interpretability.classifiers.conv2d import Conv2dClassifier
from interpretability.classifiers.focalnet import FocalNetClassifier
from interpretability.classifiers.folder import load_classifier, save_classifier
from interpretability.classifiers.image import ImageClassifier
from interpretability.classifiers.vit import ViTClassifier
from interpretability.errors import MissingError, UserError
from interpretability.methods.folder import save_interpreter
from interpretability.methods.piq import PIQ
from interpretability.weights import load_weights, read_weights

PIQ_ESC50 = {
    "embedding_model": "speechbrain/PIQ-ESC50/embedding_modelft.ckpt",
    "classifier": "speechbrain/PIQ-ESC50/classifier.ckpt",
    "psi": "speechbrain/PIQ-ESC50/psi_model.ckpt",
    "label_encoder": "speechbrain/cnn14-esc50/label_encoder.txt",
}
CNN14_ESC50 = {
    "embedding_model": "speechbrain/cnn14-esc50/embedding_model.ckpt",
    "classifier": "speechbrain/cnn14-esc50/classifier.ckpt",
    "label_encoder": "speechbrain/cnn14-esc50/label_encoder.txt",
}
VIT_ESC50 = {
    "embedding_model": "speechbrain/vit-base-esc50/embedding_model.ckpt",
    "classifier": "speechbrain/vit-base-esc50/classifier.ckpt",
    "label_encoder": "speechbrain/cnn14-esc50/label_encoder.txt",
}
FOCALNET_ESC50 = {
    "embedding_model": "speechbrain/focalnet-base-esc50/embedding_model.ckpt",
    "classifier": "speechbrain/focalnet-base-esc50/classifier.ckpt",
    "label_encoder": "speechbrain/cnn14-esc50/label_encoder.txt",
}
#: What tells google/vit-base-patch16-224 from other configurations of its kind.
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


def import_piq(
    out: str | Path,
    paths: dict[str, str] | None = None,
    dim: int = 256,
    codebook_size: int = 1024,
    shared_keys: int = 0,
    logit_scale: float = 30.0,
) -> PIQ:
    """Make an interpreter folder, with its classifier inside, of a published PIQ checkpoint.

    Parameters
    ----------
    out : path
        The folder to make. ``out/classifier`` serves as ``--classifier_folder`` of any recipe.
    paths : dict, optional
        Where ``embedding_model``, ``classifier``, ``psi`` and ``label_encoder`` are: ``hub/name/file`` or
        ``/local/folder/file``. By default those of ``speechbrain/PIQ-ESC50``. The class list is that of the label
        encoder, in its order.
    dim, codebook_size, shared_keys : int
        Sizes of the published networks.
    logit_scale : float
        See :class:`~interpretability.classifiers.conv2d.Conv2dClassifier`.

    Returns
    -------
    PIQ

    Raises
    ------
    MissingError
        If a file is neither there nor on the hub.
    UserError
        If weights do not fit these sizes: every parameter has to be there.
    """
    paths = _complete(paths, PIQ_ESC50)
    labels = _labels(paths)
    classifier = Conv2dClassifier(labels, dim=dim, logit_scale=logit_scale)
    interpreter = PIQ(
        classifier,
        network="published",
        codebook_size=codebook_size,
        shared_keys=shared_keys,
        faithfulness_weight=0.0,
    )
    parts = {
        "embedding_model": classifier.embedding_model,
        "classifier": classifier.classifier,
        "psi": interpreter.psi,
    }
    _collect(parts, paths)
    source = _source(paths)
    classifier.keep_description({"training": source})
    save_interpreter(interpreter, out, source)
    return interpreter.eval()


def import_cnn14(
    out: str | Path,
    paths: dict[str, str] | None = None,
    n_mels: int = 80,
    emb_dim: int = 2048,
    logit_scale: float = 30.0,
) -> Cnn14Classifier:
    """Make a classifier folder of a published CNN14 checkpoint.

    Parameters
    ----------
    out : path
        The folder to make; it serves as ``--classifier_folder`` of any recipe.
    paths : dict, optional
        Where ``embedding_model``, ``classifier`` and ``label_encoder`` are: ``hub/name/file`` or
        ``/local/folder/file``. By default those of ``speechbrain/cnn14-esc50``. The class list is that of the label
        encoder, in its order.
    n_mels, emb_dim : int
        Sizes of the published network.
    logit_scale : float
        The published head was trained with an angular-margin softmax of this scale; with it, probabilities are those
        of training. See :class:`~interpretability.classifiers.cnn14.Cnn14Classifier`.

    Returns
    -------
    Cnn14Classifier
        Frozen.

    Raises
    ------
    MissingError
        If a file is neither there nor on the hub.
    UserError
        If weights do not fit these sizes: every parameter has to be there.
    """
    paths = _complete(paths, CNN14_ESC50)
    classifier = Cnn14Classifier(_labels(paths), n_mels=n_mels, emb_dim=emb_dim, logit_scale=logit_scale)
    _collect({"embedding_model": classifier.embedding_model, "classifier": classifier.classifier}, paths)
    save_classifier(classifier, out, _source(paths))
    return load_classifier(out)


def import_vit(
    out: str | Path,
    paths: dict[str, str] | None = None,
    config: dict | str | Path | None = None,
    image_frames: int = 431,
    logit_scale: float = 30.0,
) -> ViTClassifier:
    """Make a classifier folder of a published ViT checkpoint, saved with any version of Transformers.

    Parameters
    ----------
    out : path
        The folder to make; it serves as ``--classifier_folder`` of any recipe.
    paths : dict, optional
        Where ``embedding_model``, ``classifier`` and ``label_encoder`` are: ``hub/name/file`` or
        ``/local/folder/file``. By default those of ``speechbrain/vit-base-esc50``. The class list is that of the label
        encoder, in its order.
    config : dict or path, optional
        The network's configuration: its settings, or a hub name or local folder with ``config.json``. By default that
        of ``google/vit-base-patch16-224``.
    image_frames : int
        Frames of one image; the published model saw clips of 5 s.
    logit_scale : float
        See :class:`~interpretability.classifiers.image.ImageClassifier`.

    Returns
    -------
    ViTClassifier
        Frozen.

    Raises
    ------
    MissingError
        If a file is neither there nor on the hub.
    UserError
        If weights do not fit this configuration: every parameter has to be there, and none may be left over.
    """
    return _import_image(ViTClassifier, out, paths, VIT_ESC50, config or VIT_BASE, image_frames, logit_scale)


def import_focalnet(
    out: str | Path,
    paths: dict[str, str] | None = None,
    config: dict | str | Path | None = None,
    image_frames: int = 431,
    logit_scale: float = 30.0,
) -> FocalNetClassifier:
    """Make a classifier folder of a published FocalNet checkpoint; as :func:`import_vit`.

    By default the files are those of ``speechbrain/focalnet-base-esc50``, the configuration that of
    ``microsoft/focalnet-base``.
    """
    return _import_image(
        FocalNetClassifier, out, paths, FOCALNET_ESC50, config or FOCALNET_BASE, image_frames, logit_scale
    )


def _import_image(
    kind: type[ImageClassifier],
    out: str | Path,
    paths: dict[str, str] | None,
    published: dict[str, str],
    config: dict | str | Path,
    image_frames: int,
    logit_scale: float,
) -> ImageClassifier:
    """Make a classifier folder of a network of Transformers and a head of SpeechBrain's."""
    paths = _complete(paths, published)
    settings = config if isinstance(config, dict) else kind.settings_at(str(config))
    labels = _labels(paths)
    classifier = kind(labels, config=settings, image_frames=image_frames, logit_scale=logit_scale)
    _collect({"classifier": classifier.classifier}, paths)
    _collect(
        {"embedding_model": classifier.embedding_model},
        paths,
        lambda _, path: classifier.load_network(dict(read_weights(Path(path))), str(path)),
    )
    save_classifier(classifier, out, _source(paths))
    return load_classifier(out)


def _complete(paths: dict[str, str] | None, published: dict[str, str]) -> dict[str, str]:
    """Return the published paths, those that are given in their place; a :class:`UserError` for an unknown name."""
    unknown = sorted(set(paths or {}) - set(published))
    if unknown:
        raise UserError(f"unknown paths {', '.join(unknown)}, expected some of {', '.join(published)}")
    return {**published, **(paths or {})}


def _labels(paths: dict[str, str]) -> list[str]:
    """Return the class list of the label encoder, in its order."""
    encoder = CategoricalEncoder()
    _collect({"label_encoder": encoder}, paths)
    return [encoder.ind2lab[index] for index in sorted(encoder.ind2lab)]


def _source(paths: dict[str, str]) -> dict:
    """Return what a folder says of its training: where it comes from; its clips were all of one length."""
    return {"imported_from": {name: str(path) for name, path in paths.items()}, "fixed_length": True}


def _collect(loadables: dict, paths: dict[str, str], load: Callable | None = None) -> None:
    """Fetch files with SpeechBrain's Pretrainer and load them; weights strictly, where it would only warn.

    ``load``, called with an object and the path of its file, loads weights in another way.

    Files of the hub stay in its own cache. A folder to collect them in would keep the links of an earlier call, and
    use them in place of the files that this call names.
    """
    load = load or (lambda module, path: load_weights(module, Path(path)))
    strict = {name: load for name in loadables if name != "label_encoder"}
    pretrainer = Pretrainer(
        loadables=loadables,
        paths={name: paths[name] for name in loadables},
        custom_hooks=strict,
    )
    try:
        pretrainer.collect_files()
    except (OSError, ValueError) as error:  # the hub's client raises both, for a missing file and for no network
        wanted = ", ".join(paths[name] for name in loadables)
        reason = " ".join(str(error).split())[:200]
        raise MissingError(
            f"could not get {wanted} ({reason}): check the network, or download the files and pass their local paths"
        ) from error
    pretrainer.load_collected()
