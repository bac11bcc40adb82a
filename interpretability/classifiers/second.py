"""A second classifier, which hears what was made for a first one: to convince both, or to see what carries over."""

from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from interpretability.classifiers.base import AnalysedBatch, Classifier
from interpretability.classifiers.sources import open_classifier
from interpretability.classifiers.targeted import TargetedClassifier, targeted
from interpretability.errors import UserError
from interpretability.frontend import Clips

#: Settings of the front end by which masks of one classifier fit another; a level rule of its own does not matter.
STFT = ("sample_rate", "n_fft", "win_length", "hop_length")


def open_second(source: str | Path, first: Classifier, trust_remote_code: bool = False) -> Classifier:
    """Open a classifier that can hear the masks of another one.

    Parameters
    ----------
    source : str or path
        As of :func:`.open_classifier`; the folder of a run is one, too.
    first : Classifier
        The one that is explained.
    trust_remote_code : bool

    Returns
    -------
    Classifier
        Frozen, on the device of the first one.

    Raises
    ------
    MissingError, UserError
        If it cannot be opened, has another STFT, or lacks a class of the first one.
    """
    second = open_classifier(source, trust_remote_code)
    for name in STFT:
        mine, its = (getattr(classifier.frontend.settings, name) for classifier in (first, second))
        if mine != its:
            raise UserError(
                f"{source} has {name} {its}, the explained classifier {mine}: masks of one STFT do not fit another; "
                "give a classifier with the same front end"
            )
    missing = [label for label in first.labels if label not in second.labels]
    if missing:
        raise UserError(
            f"{source} has no class {missing[0]!r}, which the explained classifier has: give a classifier of the same "
            "classes"
        )
    return second.to(first.device)


def asked_alike(second: Classifier, first: Classifier) -> Classifier:
    """Return a second classifier that answers the question that the first one answers, if that answers any.

    Raises
    ------
    UserError
        If that is a likeness: each classifier has embeddings of its own; if the second one cannot answer it.
    """
    if first.question is None:
        return second
    if not first.question.classes:
        raise UserError(
            f"{first.question.label!r} is asked of one classifier, by its embeddings: name no second one, or a class"
        )
    question = targeted(second, first.question.label).question
    # By the name that it has there, whatever the order of its own classes.
    return TargetedClassifier(second, replace(question, label=first.question.label))


@torch.no_grad()
def heard_by(second: Classifier, first: Classifier, batch: AnalysedBatch) -> AnalysedBatch:
    """Return a batch that the first classifier has analysed as the second one hears it, with the same classes.

    By the second one's own level rule, and with the indices that it has for these classes.
    """
    clips = Clips(batch.clips.wavs, batch.clips.lengths, second.frontend).levelled()
    indices = torch.tensor([second.label_index(label) for label in first.labels], device=batch.target.device)
    output = second.classify_sound(clips)
    second.check_finite(output.logits)
    return AnalysedBatch(clips, output, indices[batch.target])


def hears(classifier: Classifier, batch: AnalysedBatch) -> Tensor:
    """Return in which clips [B] a classifier hears the explained class, from its answer to them."""
    return classifier.heard(batch.output.logits).gather(1, batch.target[:, None])[:, 0]
