"""What is asked for: which sounds, which of their classes, by which methods of which model, and where results go."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from interpretability.classifiers import Classifier
from interpretability.classifiers.targeted import targeted
from interpretability.commands.explainers import Explainer
from interpretability.commands.models import Model
from interpretability.data.inputs import Sounds, read_part
from interpretability.data.sound_list import ListedSound
from interpretability.errors import UserError
from interpretability.files import sha256
from interpretability.names import safe_name
from interpretability.report.formats import FigureSettings


@dataclass(frozen=True)
class Choice:
    """Which classes of a sound are explained: ``target``, the ``top_k`` most probable, or each that is heard."""

    target: str | None = None
    top_k: int = 1
    every_label: bool = False

    @property
    def several(self) -> bool:
        """Whether each class gets a folder of its own."""
        return self.every_label or self.top_k > 1

    def check(self, classifier: Classifier) -> None:
        """Raise a :class:`UserError` if two ways of choosing are named, or more classes than there are."""
        given = [
            option
            for option, is_given in (
                ("--target", self.target is not None),
                ("--top_k", self.top_k != 1),
                ("--every_label", self.every_label),
            )
            if is_given
        ]
        if len(given) > 1:
            raise UserError(
                f"{' and '.join(given)} are given, which choose classes in different ways: name one of them"
            )
        classifier.check_top_k(self.top_k)


def asked_of(model: Model, choice: Choice) -> tuple[Model, Choice]:
    """Return a model whose classifier answers what is chosen, and the choice of that among its classes.

    Raises
    ------
    UserError
        As of :meth:`Choice.check`; if the classifier has no such class, or cannot answer it
        (:func:`~interpretability.classifiers.targeted.targeted`).
    """
    choice.check(model.classifier)
    if choice.target is None:
        return model, choice
    classifier = targeted(model.classifier, choice.target)
    if classifier is not model.classifier:
        choice = replace(choice, target=classifier.labels[classifier.target])
    classifier.target_index(choice.target)
    return replace(model, classifier=classifier), choice


@dataclass(frozen=True)
class Sound:
    """A sound that is asked for.

    Attributes
    ----------
    name : str
        What messages call it.
    path : Path
        Its file, which no result may replace.
    read : callable
        Returns it as a batch of one; it may raise what :func:`~interpretability.data.inputs.read_sounds` raises.
    content : dict
        What identifies it: the SHA-256 of its file, which part and which channel, as plain values.
    label : str, optional
        Its true class.
    split : str, optional
        Of a clip of a run's own data.
    """

    name: str
    path: Path
    read: Callable[[], Sounds]
    content: dict[str, Any]
    label: str | None = None
    split: str | None = None


def listed_sound(listed: ListedSound, classifier: Classifier, channel: str) -> Sound:
    """Return a sound of a list as one that is asked for."""

    def read() -> Sounds:
        return read_part(listed.path, classifier.frontend.settings, channel, listed.start, listed.end)

    content = {"start": listed.start, "end": listed.end, "channel": channel}
    if listed.path.is_file():  # that it is none is said when it is read
        content["sha256"] = sha256(listed.path)
    return Sound(listed.name, listed.path, read, content, listed.label)


@dataclass(frozen=True)
class Windows:
    """How recordings are cut: length and hop of windows in s, and the probability from which on a class is active.

    None: as :func:`~interpretability.recordings.recording.explain_recording` chooses.
    """

    window: float | None = None
    hop: float | None = None
    threshold: float | None = None

    @property
    def asked_for(self) -> bool:
        """Whether sounds are heard in windows, however short they are."""
        return self != Windows()


#: Members of a record: whether the folder of a sound has one for each method, and for each class.
PER_METHOD, PER_CLASS = "folder_per_method", "folder_per_class"


@dataclass(frozen=True)
class Work:
    """What is done with each sound.

    Attributes
    ----------
    model : Model
    explainers : list of Explainer
        Each of several has a folder of its own in that of a sound.
    choice : Choice
    out : Path
        The folder of all results.
    channel : {"mean", "left", "right"}
    report : bool
        Whether there is to be a page of all results.
    format : {"png", "svg", "pdf"}
        Of the figures.
    figures : FigureSettings
        How they are drawn.
    windows : Windows
        Of sounds that are longer than a clip can be; of all sounds, if they are asked for.
    """

    model: Model
    explainers: list[Explainer]
    choice: Choice
    out: Path
    channel: str = "mean"
    report: bool = False
    format: str = "png"
    figures: FigureSettings = FigureSettings()
    windows: Windows = Windows()

    def folder(self, place: str, explainer: Explainer) -> Path:
        """Return where a method's explanations of a sound go."""
        return self.out / place / safe_name(explainer.name) if len(self.explainers) > 1 else self.out / place

    def request(self, sound: Sound, explainer: Explainer) -> dict[str, Any]:
        """Return what the explanations of a sound are made of, by which they are known when they are asked for again.

        Plain values.
        """
        classifier, chosen = self.model.classifier, self.choice.target
        return {
            "sound": sound.content,
            "method": explainer.name,
            "model": explainer.identity,
            "target": None if chosen is None else classifier.labels[classifier.target_index(chosen)],
            **({} if classifier.question is None else {"question": classifier.question.identity()}),
            "top_k": self.choice.top_k,
            "every_label": self.choice.every_label,
            "figures": {"format": self.format, **self.figures.to_dict()},
        }

    def record(self) -> dict[str, Any]:
        """Return what identifies the model among folders of results, and how such a folder is laid out."""
        identities = {explainer.name: explainer.identity for explainer in self.explainers}
        known = next(iter(identities.values()))
        return {
            "source": self.model.source,
            "classifier": {name: known[name] for name in ("classifier", "classifier_sha256")},
            "methods": {name: identity["sha256"] for name, identity in identities.items()},
            PER_METHOD: len(self.explainers) > 1,
            PER_CLASS: self.choice.several,
        }
