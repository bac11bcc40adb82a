"""Where a classifier comes from: a folder of ours, or a model of another library, named by one word and its place."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch

from interpretability.classifiers.base import Classifier
from interpretability.classifiers.folder import load_classifier
from interpretability.classifiers.huggingface import HuggingFaceClassifier
from interpretability.classifiers.module import ModuleClassifier
from interpretability.classifiers.speechbrain import SpeechBrainClassifier
from interpretability.classifiers.waveform import frontend_for
from interpretability.errors import MissingError, UserError, first_line


def open_classifier(source: str | Path, **settings) -> Classifier:
    """Open the classifier that a source names.

    Parameters
    ----------
    source : str or path
        ``hf:FOLDER`` (or a name on the hub): a model for audio classification of transformers.
        ``speechbrain:FOLDER``: a folder for SpeechBrain's ``EncoderClassifier`` or ``AudioClassifier``.
        ``torch:package.module:Class``: a module from waveforms [B, N] to logits [B, C].
        Else: a classifier's folder of ours.
    **settings
        What the kind of source takes, where it is to be other than the source itself says; None counts as not given.
        See :meth:`HuggingFaceClassifier.from_pretrained`, :meth:`SpeechBrainClassifier.from_folder`,
        :func:`open_torch`; a folder of ours takes none.

    Returns
    -------
    Classifier
        Frozen.

    Raises
    ------
    MissingError, UserError
        If it cannot be had, or does not take a setting.
    """
    prefix, colon, place = str(source).partition(":")
    settings = {name: value for name, value in settings.items() if value is not None}
    opener = OPENERS.get(prefix) if colon else None
    known = [] if opener is None else list(inspect.signature(opener).parameters)[1:]  # without the place
    foreign = [name for name in settings if name not in known]
    if foreign:
        raise UserError(
            f"{source} takes no {', '.join(foreign)}, "
            + (
                f"expected among {', '.join(known)}"
                if known
                else "a saved classifier's folder says it all: leave it out"
            )
        )
    if opener is None:
        if colon and not Path(source).exists() and "/" not in prefix:
            raise UserError(
                f"{source}: unknown kind of source {prefix!r}, expected {', '.join(f'{name}:' for name in OPENERS)} "
                "or a folder"
            )
        return load_classifier(source)
    if not place:
        raise UserError(
            f"{source} names no model: write {prefix}:{'package.module:Class' if prefix == 'torch' else 'FOLDER'}"
        )
    _check_kinds(source, settings)
    return opener(place, **settings).freeze()


def open_torch(
    place: str,
    labels: Sequence[str] | None = None,
    sample_rate: int | None = None,
    task: str = "single",
    layers: Sequence[str] | None = None,
    level: str = "none",
    scale: str = "mel",
    arguments: Mapping | None = None,
    weights: str | Path | None = None,
) -> ModuleClassifier:
    """Build a module of PyTorch and load its weights.

    Parameters
    ----------
    place : str
        ``package.module:Class``.
    labels : sequence of str
        Class names, in the order of the logits.
    sample_rate : int
        In Hz; 16000 if not given.
    task, layers, scale
        As in :class:`~interpretability.classifiers.module.ModuleClassifier`.
    level : {"none", "peak"}
        The front end's level rule.
    arguments : dict, optional
        What the class is called with.
    weights : path, optional
        A file with the module's ``state_dict``; tensors only. Random weights if not given.
    """
    if labels is None:
        raise UserError(f"torch:{place} does not say what its classes are: give labels, in the order of the logits")
    frontend = frontend_for(16000 if sample_rate is None else sample_rate, level)
    classifier = ModuleClassifier(
        labels, frontend, task, module=place, arguments=arguments or {}, layers=layers, scale=scale
    )
    if weights is not None:
        load_state(classifier.module, Path(weights))
    return classifier


def _check_kinds(source: str | Path, settings: Mapping) -> None:
    """Refuse settings of the wrong kind: one text would count as the list of its letters."""
    for name, value in settings.items():
        kinds, wanted = KINDS[name]
        if isinstance(value, bool) or not isinstance(value, kinds) or (kinds is Sequence and isinstance(value, str)):
            raise UserError(f"{source}: {name} is {value!r}, expected {wanted}")


def load_state(module: torch.nn.Module, path: Path) -> None:
    """Load a file of tensors into a module, every one of them; :class:`MissingError` or :class:`UserError` if not."""
    if not path.is_file():
        raise MissingError(f"no weights at {path}: give the file that torch.save(model.state_dict()) wrote")
    try:
        module.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
    except Exception as error:  # torch raises many types for files that are no checkpoints, or that do not fit
        reason = " ".join(str(error).split())[:200] or first_line(error)
        raise UserError(f"{path}: not the weights of {type(module).__name__} ({reason})") from error


#: Setting -> of what kind it is.
KINDS = {
    "labels": (Sequence, "a list of class names: ['cat', 'dog']"),
    "layers": (Sequence, "a list of names of layers: ['encoder.0', 'encoder.1']"),
    "sample_rate": ((int, float), "a number of Hz: 16000"),
    "logit_scale": ((int, float), "a number"),
    "arguments": (Mapping, "a dict of what the class is called with: {'width': 4}"),
    "weights": ((str, Path), "a path"),
    "task": (str, "single or multi"),
    "level": (str, "none or peak"),
    "scale": (str, "mel or linear"),
}
#: First word of a source -> what opens the rest of it.
OPENERS = {
    "hf": HuggingFaceClassifier.from_pretrained,
    "speechbrain": SpeechBrainClassifier.from_folder,
    "torch": open_torch,
}
