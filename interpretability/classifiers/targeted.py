"""A classifier that answers a target which is not one of its classes: everything else takes it for a classifier.

See :mod:`interpretability.targets` for what can be asked. The answer of the classifier that is asked becomes that of
another head; its features, front end and gradients stay what they are, and the target is an index like any other.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from interpretability.classifiers.base import ActivationMap, AnalysedBatch, Classifier, ClassifierOutput, Target
from interpretability.classifiers.observed import ObservedLayer
from interpretability.data.inputs import read_sounds
from interpretability.errors import UserError, shown
from interpretability.frontend import Clips, Spectrogram
from interpretability.grids import Grid
from interpretability.names import printable
from interpretability.targets import LIKE, Likeness, Question, read_target


class TargetedClassifier(Classifier):
    """A classifier with the head of a :class:`~interpretability.targets.Question`.

    Parameters
    ----------
    asked : Classifier
        Frozen here if it is not yet.
    question : Question

    Attributes
    ----------
    question : Question
    target : int
        Its index among :attr:`labels`.
    """

    def __init__(self, asked: Classifier, question: Question):
        nn.Module.__init__(self)
        self.asked, self.question, self.target = asked.freeze(), question, question.index
        self.NAME, self.settings, self.frontend = asked.NAME, asked.settings, asked.frontend
        self.description = asked.description
        self.labels, self.task = question.labels(asked.labels), question.task(asked.task)
        thresholds = question.thresholds(asked.thresholds.tolist())
        self._thresholds = tuple(thresholds) if self.task == "multi" else None
        self.ACTIVATIONS = asked.ACTIVATIONS
        self.feature_channels, self.feature_strides = asked.feature_channels, asked.feature_strides
        # In the state, so that whatever identifies a classifier by its state identifies the question, too.
        digest = hashlib.sha256(json.dumps(question.identity(), sort_keys=True).encode()).digest()
        self.register_buffer("question_sha256", torch.tensor(list(digest), dtype=torch.uint8))
        self.freeze()

    @property
    def base(self) -> Classifier:
        """See :attr:`Classifier.base`."""
        return self.asked

    @property
    def title(self) -> str:
        """See :attr:`Classifier.title`."""
        return self.asked.title

    @property
    def notes(self) -> tuple[str, ...]:
        """See :attr:`Classifier.notes`: those of the classifier, and what its probabilities are here."""
        return (*self.asked.notes, self.question.note)

    def remark(self, key: str, text: str, warn: bool = False) -> None:
        """See :meth:`Classifier.remark`: of the classifier that is asked."""
        if text != self.question.note:
            self.asked.remark(key, text, warn)

    def architecture(self) -> dict:
        """See :meth:`Classifier.architecture`."""
        return self.asked.architecture()

    @property
    def no_embedding(self) -> str:
        """See :attr:`Classifier.no_embedding`."""
        return self.asked.no_embedding

    @property
    def never_a_gradient(self) -> str:
        """See :attr:`Classifier.never_a_gradient`."""
        return self.asked.never_a_gradient

    @property
    def layer_levels(self) -> dict[str, int]:
        """See :attr:`Classifier.layer_levels`."""
        return self.asked.layer_levels

    def obstacle(self) -> str:
        """See :meth:`Classifier.obstacle`."""
        return self.asked.obstacle()

    def observed_layer(self, name: str) -> ObservedLayer:
        """See :meth:`Classifier.observed_layer`."""
        return self.asked.observed_layer(name)

    def maps_of_layer(self, output: Tensor) -> Tensor:
        """See :meth:`Classifier.maps_of_layer`."""
        return self.asked.maps_of_layer(output)

    def joined_maps(self, level: int, maps: Tensor, n_frames: int) -> Tensor:
        """See :meth:`Classifier.joined_maps`."""
        return self.asked.joined_maps(level, maps, n_frames)

    def forward(self, *inputs: Any) -> ClassifierOutput:
        """See :meth:`Classifier.forward`."""
        return self._answered(self.asked(*inputs))

    def inputs(self, spectrogram: Spectrogram) -> tuple[Any, ...]:
        """See :meth:`Classifier.inputs`."""
        return self.asked.inputs(spectrogram)

    def sound_inputs(self, clips: Clips) -> tuple[Any, ...]:
        """See :meth:`Classifier.sound_inputs`."""
        return self.asked.sound_inputs(clips)

    def classify(self, spectrogram: Spectrogram) -> ClassifierOutput:
        """See :meth:`Classifier.classify`."""
        return self._answered(self.asked.classify(spectrogram))

    def classify_sound(self, clips: Clips) -> ClassifierOutput:
        """See :meth:`Classifier.classify_sound`."""
        return self._answered(self.asked.classify_sound(clips))

    def _answered(self, output: ClassifierOutput) -> ClassifierOutput:
        logits, span = output.logits, self.question.span
        if span is not None:
            if output.frames is None:
                raise UserError(
                    f"{self.title} has one answer for a whole sound and none for parts of it: leave "
                    f"@{span[0]:g}-{span[1]:g} out, or cut the sound"
                )
            logits = output.frames.within(*span)
        self.asked.check_finite(logits.detach())
        logits = self.question.logits(logits.float(), output.embedding.float(), self.asked.task)
        return ClassifierOutput(logits, output.embedding, output.feature_maps, output.attention)

    def activation_map(self, batch: AnalysedBatch, variant: str = "last") -> ActivationMap:
        """See :meth:`Classifier.activation_map`: of a variant that is the same for every class."""
        return self.asked.activation_map(batch, variant)

    def check_activation(self, variant: str) -> None:
        """See :meth:`Classifier.check_activation`."""
        self.asked.check_activation(variant)

    def feature_grids(self, n_frames: int) -> tuple[Grid, ...]:
        """See :meth:`Classifier.feature_grids`."""
        return self.asked.feature_grids(n_frames)

    def input_grid(self, n_frames: int) -> Grid:
        """See :meth:`Classifier.input_grid`."""
        return self.asked.input_grid(n_frames)

    def feature_rows(self, n_frames: int | Tensor) -> tuple[int | Tensor, ...]:
        """See :meth:`Classifier.feature_rows`."""
        return self.asked.feature_rows(n_frames)

    def valid_rows(self, valid: Tensor) -> tuple[Tensor, ...]:
        """See :meth:`Classifier.valid_rows`."""
        return self.asked.valid_rows(valid)


def targeted(classifier: Classifier, target: Target | None) -> Classifier:
    """Return the classifier that answers a target: the classifier itself where that is a class, or one for each clip.

    Parameters
    ----------
    classifier : Classifier
    target : as of :func:`interpretability.explain`

    Returns
    -------
    Classifier
        With ``question`` and ``target`` where the target is not a class (:class:`TargetedClassifier`).

    Raises
    ------
    UserError
        For what :func:`~interpretability.targets.read_target` refuses; for a list of targets for each clip in which one
        is not a class.
    """
    if isinstance(target, (list, tuple)):
        for one in target:
            if isinstance(one, str) and targeted(classifier, one) is not classifier:
                raise UserError(
                    f"target is a list in which {shown(one)} is not a class: such a target is asked of all sounds "
                    "alike; give it alone, and other sounds a call of their own"
                )
    if not isinstance(target, str):
        return classifier
    if target.startswith(LIKE) and target not in classifier.labels:
        return TargetedClassifier(classifier, _likeness(classifier, target.removeprefix(LIKE)))
    question = read_target(target, classifier.labels, classifier.task, classifier.target_index)
    return classifier if question is None else TargetedClassifier(classifier, question)


def _likeness(classifier: Classifier, path: str) -> Likeness:
    """Return the question how like a sound is to that of a file, which the classifier hears here."""
    if not path.strip():
        raise UserError(f"target is {LIKE!r}, which names no sound: expected {LIKE}FILE")
    if classifier.no_embedding:
        raise UserError(
            f"{classifier.title} gives no embedding by which sounds could be compared ({classifier.no_embedding}): "
            "name a class, or take a model that gives one"
        )
    sounds = read_sounds(path, classifier.frontend.settings)
    (origin,) = sounds.origins
    if not bool(sounds.wavs.any()):
        raise UserError(f"{path}: is silent, and nothing is like it: give another reference")
    embedding = classifier.freeze().analyse(sounds.wavs.to(classifier.device)).output.embedding[0].float()
    if not bool(torch.isfinite(embedding).all()) or not bool(embedding.any()):
        raise UserError(f"{path}: its embedding is 0 or not finite, and nothing is like it: give another reference")
    digest = hashlib.sha256(np.ascontiguousarray(sounds.wavs[0].numpy(), np.float32).tobytes()).hexdigest()
    return Likeness(f"like {printable(origin.name)}", (), embedding, digest)
