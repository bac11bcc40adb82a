"""The contract of an explanation method: one verb, :meth:`Interpreter.explain`, and one result type."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from interpretability.classifiers.base import AnalysedBatch, Classifier, Target
from interpretability.classifiers.targeted import targeted
from interpretability.data.inputs import Origin, Sound, Sounds, read_sounds
from interpretability.errors import UserError, shown
from interpretability.explanation import Explanation, Interpretation
from interpretability.frontend import APPLY_DOMAINS, MaskedPair, Spectrogram
from interpretability.probabilities import MaskedLogits, most_probable
from interpretability.settings import Settings, setting
from interpretability.transfer import ClassRows
from interpretability.weights import fingerprint

#: A sound that is longer than the training clips by more than this factor is remarked on.
FAR_LONGER = 2.0


@dataclass(frozen=True)
class MethodSettings(Settings):
    """Settings of every method."""

    apply: str = setting(
        "log", "how mask M acts on magnitude A. log: expm1(M log1p(A)); linear: M A", choices=APPLY_DOMAINS
    )


@dataclass(frozen=True)
class ComponentSettings(MethodSettings):
    """Settings of every method that explains by components of a dictionary."""

    dictionary: Any = setting(
        None,
        "file of a dictionary that was learned behind the same front end, or the run folder of train_nmf.py that holds "
        "it; saved with the interpreter, whose settings keep its description",
    )


class Interpreter(nn.Module):
    """Base class of every method.

    The classifier is an object of study, not a part: it is frozen, it is not among the parameters, and it is not in
    the state. It moves with the interpreter from device to device.

    Parameters
    ----------
    classifier : Classifier
        Frozen here if it is not yet.
    **settings
        Those of the method, by name; the rest keeps its default.

    Attributes
    ----------
    NAME : str
        Name in the registry, in tables and in saved folders.
    Settings : type of MethodSettings
        Its settings, stated once: see :mod:`interpretability.settings`.
    settings : MethodSettings
        Saved with it, and recorded with every result.
    SUMMARY : str
        What it is, in a few words: for lists of methods.
    trainable : bool
        Whether there is anything to train.
    needs_gradient : bool
        Whether it can do nothing with a classifier that lets no gradient through.
    shows_progress : bool
        Whether it may show a progress bar of its own, on a terminal, while it explains (:meth:`show_progress`).
    uses_masked_logits : bool
        Whether the training objective needs the classifier's answer to In and Out.
    description : dict
        What ``interpreter.json`` records about a saved one: training and hashes. Empty for one that was not loaded.

    Raises
    ------
    UserError
        For a setting that it does not have, or that does not fit; if it is trained on feature maps and the classifier
        has none.
    """

    NAME = ""
    SUMMARY = ""
    Settings: type[MethodSettings] = MethodSettings
    trainable = True
    needs_gradient = False
    shows_progress = True
    uses_masked_logits = False

    def __init__(self, classifier: Classifier, **settings: Any):
        super().__init__()
        self.settings = self.Settings.make(self.NAME, settings)
        if self.trainable and not classifier.feature_channels:
            raise UserError(
                f"{self.NAME}: the classifier {classifier.NAME!r} has no feature maps, expected at least one: "
                "name layers for it (layers=…), or choose a method without training"
            )
        self.explaining(classifier)
        self.description: dict[str, Any] = {}

    def keep_description(self, description: dict[str, Any]) -> Interpreter:
        """Keep what its folder records about it as ``description``. Returns itself."""
        self.description = description
        return self

    @classmethod
    def remark(cls, classifier: Classifier) -> str:
        """Return what a user has to know about it on a classifier, "unavailable: …" if it cannot be used there."""
        if cls.trainable and not classifier.feature_channels:
            return "unavailable: this classifier has no feature maps; name --layers for it"
        return ""

    @property
    def title(self) -> str:
        """What figures call it: its name, and which variant where there are several."""
        return self.NAME

    @property
    def notes(self) -> tuple[str, ...]:
        """What a reader of its explanations has to know: by default what there is to know about the classifier."""
        return self.classifier.notes

    @property
    def fixed_metrics(self) -> tuple[str, ...]:
        """Names of the metrics that its settings alone decide; none by default."""
        return ()

    @property
    def hub(self) -> dict[str, dict[str, str]]:
        """ "interpreter" and "classifier" -> the model and the commit of a hub that it was read from, if it was."""
        parts = {"interpreter": self.description, "classifier": self.classifier.description}
        return {name: known["hub"] for name, known in parts.items() if known.get("hub")}

    @property
    def classes_only(self) -> str:
        """Why it can explain nothing but classes; "" if it takes any target (:mod:`interpretability.targets`)."""
        return ""

    def asked(self, classifier: Classifier) -> Interpreter:
        """Return the same method for a classifier that answers a question put to this one's; parameters are shared.

        Raises
        ------
        UserError
            If it explains nothing but classes.
        """
        if classifier is self.classifier:
            return self
        if self.classes_only and classifier.question is not None:
            raise UserError(
                f"{self.NAME} explains classes, and {shown(classifier.question.label)} is none: {self.classes_only}; "
                "name a class, or another --method"
            )
        return copy.copy(self).explaining(classifier)

    def explaining(self, classifier: Classifier) -> Interpreter:
        """Take a classifier as the one that is explained, and freeze it. Returns itself."""
        # In a tuple, so that torch does not register it as a submodule.
        self._studied = (classifier.freeze(),)
        return self

    @property
    def classifier(self) -> Classifier:
        """The frozen classifier that is explained."""
        return self._studied[0]

    @property
    def classifiers(self) -> tuple[Classifier, ...]:
        """All classifiers that its masks are made for: the one that is explained comes first."""
        return (self.classifier,)

    @property
    def frontend(self):
        """The classifier's front end."""
        return self.classifier.frontend

    def _apply(self, function, *args, **kwargs):
        self.classifier._apply(function, *args, **kwargs)
        return super()._apply(function, *args, **kwargs)

    def show_progress(self, shown: bool) -> Interpreter:
        """Allow or forbid a progress bar of its own, on a terminal. Returns itself."""
        self.shows_progress = shown
        return self

    def class_rows(self) -> dict[str, ClassRows]:
        """Return its parameters whose rows belong to classes, by the names of its state; none by default."""
        return {}

    def interpret(self, batch: AnalysedBatch) -> Interpretation:
        """Explain classes of analysed clips: the mask, and what else the method gives.

        Methods override this or, when there is nothing but a mask, :meth:`mask`; trained ones whose ``forward`` gives
        the mask need neither.

        Parameters
        ----------
        batch : AnalysedBatch

        Returns
        -------
        Interpretation
        """
        return Interpretation(self.mask(batch))

    def mask(self, batch: AnalysedBatch) -> Tensor:
        """Return masks [B, T, F] of analysed clips: values in [0, 1], 0 in frames that are not valid."""
        return self(batch).mask

    def objective(self, batch: AnalysedBatch, prediction: Any, masked: MaskedLogits | None) -> dict[str, Tensor]:
        """Return the training objective's terms as means over the batch, ``loss`` among them.

        Parameters
        ----------
        batch : AnalysedBatch
        prediction
            What ``forward`` returned; it has ``mask`` [B, T, F]. No parameter of the interpreter is used here, so that
            training in parallel sees every one of them in ``forward``.
        masked : MaskedLogits or None
            Given if ``uses_masked_logits``.
        """
        raise NotImplementedError(f"{self.NAME} is not trained")

    @torch.no_grad()
    def explain(
        self,
        sounds: Sound | Sounds,
        lengths: Tensor | None = None,
        target: Target | None = None,
        sample_rate: int | None = None,
        channel: str = "mean",
        every_label: bool = False,
        top_k: int = 1,
    ) -> Explanation:
        """Explain sounds: the same verb for every method.

        Parameters
        ----------
        sounds : path, array or tensor [N] or [B, N], or a list of paths and of samples [N]
            Audio files of any rate, or mono samples, at any level (the level rule is applied here). See
            :func:`~interpretability.data.inputs.read_sounds`.
        lengths : Tensor [B] in (0, 1], optional
            Relative lengths of a padded batch [B, N].
        target : int, str, or one of these for each clip, optional
            Class to explain; the predicted one if not given. A number is an index, text a name, as in
            :meth:`.Classifier.analyse`. For all sounds alike also a set of classes, ``a|b``, a contrast, ``a - b``,
            one of these in a range of time, ``a@1.2-1.8``, or the likeness to a sound, ``like:FILE``
            (:mod:`interpretability.targets`).
        sample_rate : int, optional
            Of samples, in Hz; that of the front end if not given.
        channel : {"mean", "left", "right"}
            What is heard of a file of several channels.
        every_label : bool
            Explain each class that is heard in a sound (:meth:`.Classifier.active`), in place of one. The explanations
            of a sound follow each other, in the order of the classes.
        top_k : int
            Explain so many classes of a sound, the most probable ones, in that order.

        Returns
        -------
        Explanation
            Mask, probabilities, and the explanation and the residual as sound.

        Raises
        ------
        UserError
            If a sound cannot be taken in (:func:`~interpretability.data.inputs.read_sounds`), or the classifier has no
            such class.
        ValueError
            If lengths or target do not fit; if the mask has another shape than the magnitude, or values outside
            [0, 1]; if it keeps something of a clip whose explanation is undefined.
        """
        if every_label and target is not None:
            raise UserError(f"target is {shown(target)} and every_label is True: name a class, or ask for every one")
        self.classifier.check_top_k(top_k)
        if top_k > 1 and (every_label or target is not None):
            given = "every_label is True" if every_label else f"target is {shown(target)}"
            raise UserError(f"{given} and top_k is {top_k}: choose classes in one of these ways")
        answering = targeted(self.classifier, target)
        if not answering.has_classes:
            raise UserError(
                f"{answering.title} gives an embedding, and no classes: name a sound to which others are compared, as "
                "in target='like:ref.wav'"
            )
        if answering is not self.classifier:
            return self.asked(answering).explain(sounds, lengths, answering.target, sample_rate, channel)
        was_training = self.training
        self.eval()
        try:
            taken = read_sounds(sounds, self.frontend.settings, lengths, sample_rate, channel)
            wavs, origins = taken.wavs.to(self.classifier.device), taken.origins
            batch = self.classifier.analyse(wavs, taken.lengths, target)
            if every_label:
                clips, classes = self.classifier.active(batch.output.logits).nonzero(as_tuple=True)
                batch, origins = replace(batch[clips], target=classes), tuple(origins[k] for k in clips.tolist())
            elif top_k > 1:
                clips = torch.arange(len(batch), device=batch.target.device).repeat_interleave(top_k)
                classes = most_probable(batch.output.logits, top_k).flatten()
                batch, origins = replace(batch[clips], target=classes), tuple(origins[k] for k in clips.tolist())
            # Methods that need gradients switch them on themselves.
            interpretation = self.interpret(batch)
            _check(interpretation, batch.spectrogram)
            return self.explanation_of(batch, interpretation, origins, every_label or top_k > 1)
        finally:
            self.train(was_training)

    @torch.no_grad()
    def explanation_of(
        self,
        batch: AnalysedBatch,
        interpretation: Interpretation,
        origins: Sequence[Origin],
        every_label: bool = False,
    ) -> Explanation:
        """Return the explanation of analysed clips that :meth:`interpret` has given: what its masks keep is classified.

        Parameters
        ----------
        batch : AnalysedBatch
        interpretation : Interpretation
        origins : sequence of Origin
            Where each clip came from.
        every_label : bool
            Whether several of them may be of one sound.
        """
        pair = MaskedPair.of(batch.clips, interpretation.mask, self.settings.apply)
        return Explanation(
            method=self.NAME,
            title=self.title,
            notes=tuple(self.notes),
            model=self.identity(),
            classifier=self.classifier,
            apply=self.settings.apply,
            batch=batch,
            interpretation=interpretation,
            pair=pair,
            heard=self.classifier.classify_pair(pair, "waveform"),
            hub=self.hub,
            origins=tuple(map(self._remarked, origins, batch.clips.lengths.tolist())),
            every_label=every_label,
        )

    def identity(self) -> dict[str, Any]:
        """Return what identifies classifier and method among results; not the method's settings."""
        trained = {"method": self.NAME, "sha256": self.description.get("sha256")}
        classifier = self.classifier.base
        return {**trained, "classifier": classifier.NAME, "classifier_sha256": fingerprint(classifier)}

    def recorded_settings(self) -> dict[str, Any]:
        """Return what results record as its settings, as plain values."""
        return self.settings.to_dict()

    def _remarked(self, origin: Origin, n_samples: int) -> Origin:
        """Note where a sound is far longer than what the method or its classifier was trained on."""
        seconds = n_samples / self.frontend.settings.sample_rate
        for kind, description in (("method", self.description), ("classifier", self.classifier.description)):
            trained = (description.get("training") or {}).get("clip_seconds")
            if isinstance(trained, (int, float)) and seconds > FAR_LONGER * trained > 0:
                note = (
                    f"the sound lasts {seconds:.3g} s, but the {kind} was trained on clips of at most {trained:g} s: "
                    "take the result with care, or cut the part that matters"
                )
                return replace(origin, notes=(*origin.notes, note))
        return origin


def _check(interpretation: Interpretation, spectrogram: Spectrogram) -> None:
    mask, undefined = interpretation.mask, interpretation.undefined
    if mask.shape != spectrogram.magnitude.shape:
        raise ValueError(f"mask is {tuple(mask.shape)}, expected {tuple(spectrogram.magnitude.shape)}")
    if not bool(((mask >= 0) & (mask <= 1)).all()):
        raise ValueError("mask has values outside [0, 1] or not finite")
    if undefined is not None and bool(mask[undefined].any()):
        raise ValueError("mask keeps something of a clip whose explanation is undefined: expected zeros")


def hide_invalid(mask: Tensor, spectrogram: Spectrogram) -> Tensor:
    """Return the mask with zeros in frames that are not valid, whatever its values there: 0 times NaN would be NaN."""
    return mask.masked_fill(~spectrogram.valid[..., None], 0)
