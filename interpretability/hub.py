"""Pretrained models from elsewhere: published SpeechBrain checkpoints become folders of ours."""

from __future__ import annotations

from pathlib import Path

from speechbrain.dataio.encoder import CategoricalEncoder
from speechbrain.utils.parameter_transfer import Pretrainer

from interpretability.classifiers.cnn14 import Cnn14Classifier
from interpretability.classifiers.conv2d import Conv2dClassifier
from interpretability.classifiers.folder import load_classifier, save_classifier
from interpretability.errors import MissingError, UserError
from interpretability.methods.folder import save_interpreter
from interpretability.methods.piq import PIQ
from interpretability.weights import load_weights

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
        If a file is neither there nor to be had from the hub.
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
    classifier.description = {"training": source}
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
        If a file is neither there nor to be had from the hub.
    UserError
        If weights do not fit these sizes: every parameter has to be there.
    """
    paths = _complete(paths, CNN14_ESC50)
    classifier = Cnn14Classifier(_labels(paths), n_mels=n_mels, emb_dim=emb_dim, logit_scale=logit_scale)
    _collect({"embedding_model": classifier.embedding_model, "classifier": classifier.classifier}, paths)
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


def _collect(loadables: dict, paths: dict[str, str]) -> None:
    """Fetch files with SpeechBrain's Pretrainer and load them; weights strictly, where it would only warn.

    Files of the hub stay in its own cache. A folder to collect them in would keep links of an earlier call, and give
    those in place of the files that this call names.
    """
    strict = {name: _load_strictly for name in loadables if name != "label_encoder"}
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


def _load_strictly(module, path) -> None:
    load_weights(module, Path(path))
