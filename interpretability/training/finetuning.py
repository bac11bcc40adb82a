"""Fine-tuning: the model that a training starts from, what of it is kept, and which part is trained when."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from speechbrain.utils.distributed import if_main_process

from interpretability.classifiers import Classifier, open_classifier
from interpretability.classifiers.base import FEW_CLASSES
from interpretability.classifiers.waveform import WaveformClassifier
from interpretability.data.manifest import PreparedData
from interpretability.dictionary import Dictionary
from interpretability.errors import UserError, shown, user_errors
from interpretability.files import expanded
from interpretability.methods import Interpreter, load_interpreter
from interpretability.methods.folder import RUN_SUBFOLDER
from interpretability.training.leakage import SeenClips, refuse_seen_clips
from interpretability.training.recipe import OWN_FOLDER, Run, build, is_automatic, unwrap
from interpretability.transfer import take_over
from interpretability.weights import fingerprint


@dataclass(frozen=True)
class Stage:
    """A stage of a training: the epochs ``before`` it and in it, and the factor of its learning rate."""

    before: int
    epochs: int
    lr_factor: float


@dataclass(frozen=True)
class Stages:
    """The two stages of a classifier's fine-tuning: first the head alone, then all of it at a lower rate.

    Attributes
    ----------
    freeze_epochs : int
        Epochs of the first stage, in which the encoder stays as it is, batch-norm statistics included.
    lr_factor : float
        Of the learning rate in the second stage.
    """

    freeze_epochs: int
    lr_factor: float

    def freezes(self, epoch: int) -> bool:
        """Return whether the encoder is frozen in an epoch, the first of which is 1."""
        return epoch <= self.freeze_epochs

    def of(self, epoch: int, n_epochs: int) -> Stage:
        """Return the stage of an epoch.

        Example
        -------
        >>> Stages(2, 0.1).of(3, 10)
        Stage(before=2, epochs=8, lr_factor=0.1)
        """
        if self.freezes(epoch):
            return Stage(0, min(self.freeze_epochs, n_epochs), 1.0)
        return Stage(self.freeze_epochs, n_epochs - self.freeze_epochs, self.lr_factor)

    def in_words(self, lr: float, n_epochs: int) -> str:
        """Return what is trained when."""
        first = min(self.freeze_epochs, n_epochs)
        head = f"epochs 1 to {first} train the head alone, lr {lr:g}"
        rest = f"all of it, lr {lr * self.lr_factor:g}"
        if first == 0:
            return f"all epochs train {rest}"
        if first == n_epochs:
            return f"{head}; the encoder is never trained, as freeze_epochs is {self.freeze_epochs}"
        return f"{head}; epochs {first + 1} to {n_epochs} {rest}"


@dataclass(frozen=True)
class Start:
    """The classifier that a training starts from, frozen, and what the YAML called it."""

    source: str
    classifier: Classifier

    @property
    def sha256(self) -> str:
        """Hash of its folder; of a model of another library a digest of its weights."""
        return self.classifier.description.get("sha256") or fingerprint(self.classifier)

    @property
    def training(self) -> dict[str, Any]:
        """Facts about its training, as far as they are known."""
        return self.classifier.description.get("training") or {}

    @property
    def seen_clips(self) -> SeenClips:
        """The clips that it has seen."""
        return SeenClips.of(self.training, self.source)

    @classmethod
    def find(cls, run: Run) -> Start | None:
        """Open the classifier that ``finetune_from`` names, and have the run's front end be its own; None without it.

        Raises
        ------
        MissingError, UserError
            If it cannot be opened, is this very run, of another kind than the YAML's classifier, or has a head that is
            not known.
        """
        source, factory = run.hparams.get("finetune_from"), unwrap(run["classifier"])
        kind = getattr(factory, "__self__", factory)  # of a class method: its class
        if source is None:
            if issubclass(kind, WaveformClassifier) and not getattr(run["classifier"], "keywords", {}):
                raise UserError(f"{run.yaml} trains a model that is given: name it, with --finetune_from SOURCE")
            return None
        refuse_own_folder(run, "classifier")
        classifier = open_classifier(source, trust_remote_code=run.trusts)
        if not isinstance(classifier, kind):
            raise UserError(
                f"finetune_from is {source}, a classifier of the kind {classifier.NAME!r}; this YAML trains "
                f"{getattr(kind, 'NAME', '') or kind.__name__!r}: give hparams/classifier_{classifier.NAME}.yaml, or "
                "another source"
            )
        if not classifier.class_rows():
            raise UserError(
                f"finetune_from is {source}: which part of {classifier.title} is the head, with one output for each "
                "class, is not known: it cannot be fine-tuned here"
            )
        start = cls(str(source), classifier)
        start._set_frontend(run)
        return start

    def _set_frontend(self, run: Run) -> None:
        """Put the source's front end in place of the YAML's; say where they differ."""
        ours, theirs = run["frontend"].to_dict(), self.classifier.frontend.settings.to_dict()
        rate = run.hparams.get("sample_rate")
        if rate is not None:
            # The others follow from the rate, unless they were given.
            ours = {"sample_rate": theirs["sample_rate"] if is_automatic("sample_rate", rate) else rate}
        changed = [name for name, value in ours.items() if theirs[name] != value]
        if changed and if_main_process():
            values = ", ".join(f"{name} {theirs[name]} (the YAML: {ours[name]})" for name in changed)
            print(f"front end of the classifier that training starts from: {values}")
        elif rate is not None and if_main_process():
            print(f"sample_rate {theirs['sample_rate']}: that of the classifier that training starts from")
        run.hparams.update(frontend=self.classifier.frontend.settings, sample_rate=None)

    def build(self, run: Run, prepared: PreparedData) -> tuple[Classifier, dict[str, Any]]:
        """Return a classifier for the classes of the data, with the source's weights where they fit.

        Returns
        -------
        classifier : Classifier
            Of the source's architecture.
        origin : dict
            What a saved classifier records about it.

        Raises
        ------
        UserError
            If the source was trained on clips that select or test here.
        """
        refuse_seen_clips(self.training, prepared, f"finetune_from is {self.source}, which")
        theirs, given = self.classifier, dict(getattr(run["classifier"], "keywords", {}))
        labels, task = prepared.labels, given.pop("task", prepared.task)
        settings = theirs.architecture_for(len(labels))
        ours = build("classifier", type(theirs), labels, theirs.frontend.settings, task, **settings)
        same_task = ours.task == theirs.task
        known_labels = theirs.labels if same_task else []  # a logit of another task means something else
        rows, source_rows = ours.class_rows(), theirs.class_rows()
        transfer = take_over(ours, theirs, labels, known_labels, rows, source_rows, int(run["seed"]))
        misfits = [name for name in transfer.remade if not ours.in_head(name)]
        if misfits:
            raise UserError(
                f"finetune_from is {self.source}: the encoder built from its settings has other weights "
                f"({shown(misfits[0])}): the folder is damaged, or of another version"
            )
        if if_main_process():
            head = "the head's rows of" if same_task else "the head, which is for another task than here:"
            print(
                f"starts from {self.source} ({theirs.NAME}, {len(theirs.labels)} classes, {self.sha256[:12]})\n"
                f"  kept: the encoder{_classes(', and the head rows of', transfer.classes)}\n"
                f"  made new:{_classes(f' {head}', transfer.new_classes) or ' nothing'}"
            )
            for name, (yaml, source) in _differences(given, settings).items():
                print(f"  classifier.{name}: {shown(source)}, as there (the YAML: {shown(yaml)})")
        _say_not_known(self.source, self.seen_clips)
        return ours, {
            "source": self.source,
            "sha256": self.sha256,
            "seconds": self.training.get("seconds"),
            "kept_classes": transfer.classes,
            "new_classes": transfer.new_classes,
            **_hub_of(self.classifier.description),
        }


def stages_of(run: Run) -> Stages:
    """Return the stages that the YAML asks for."""
    return Stages(int(run["freeze_epochs"]), float(run["finetune_lr_factor"]))


def start_interpreter(
    run: Run, prepared: PreparedData, interpreter: Interpreter
) -> tuple[dict[str, Any] | None, SeenClips]:
    """Give the interpreter the weights that ``finetune_from`` names.

    On the same classifier all of them are taken. On another one all that fit: parts whose sizes follow from other
    feature maps, and rows of classes that the source does not have, are made new, and both are listed. A resumed run
    takes its checkpoint's weights after that.

    Returns
    -------
    origin : dict or None
        Their entry for the record; None if there are none.
    seen_clips : SeenClips
        The clips that they were learned from.

    Raises
    ------
    UserError
        If they are of another method, do not fit, were learned from clips that select or test here, or are in the
        folder of this very run.
    """
    source = run.hparams.get("finetune_from")
    if source is None:
        return None, SeenClips()
    refuse_own_folder(run, RUN_SUBFOLDER)
    start = load_interpreter(source, run.trusts)
    ours, theirs = interpreter.classifier, start.classifier
    if start.NAME != interpreter.NAME:
        raise UserError(
            f"finetune_from is {source}, which holds {start.NAME}; expected {interpreter.NAME}: pass a run of the same "
            "method"
        )
    if start.settings.to_dict().get("dictionary") != interpreter.settings.to_dict().get("dictionary"):
        raise UserError(
            f"finetune_from is {source}, which was trained on another dictionary: pass that run as method.dictionary, "
            "too"
        )
    training, seen_clips = start.description["training"], SeenClips.of(start.description["training"], str(source))
    refuse_seen_clips(training, prepared, f"finetune_from is {source}, which")
    origin = {"sha256": start.description["sha256"], "seconds": training.get("seconds")}
    origin |= _hub_of(start.description)
    misfit = f"finetune_from is {source}, whose network has other sizes"
    advice = ": give the method the settings that run was made with"
    if start.description["classifier_sha256"] == ours.description["sha256"]:
        with user_errors(misfit, RuntimeError, advice=advice, whole=True):
            interpreter.load_state_dict(start.state_dict())
        _say_not_known(source, seen_clips)
        return origin, seen_clips
    rows, source_rows = interpreter.class_rows(), start.class_rows()
    transfer = take_over(interpreter, start, ours.labels, theirs.labels, rows, source_rows, int(run["seed"]))
    forced = [name for name in transfer.remade if name not in rows]
    if forced and (ours.feature_channels, ours.feature_strides) == (theirs.feature_channels, theirs.feature_strides):
        raise UserError(f"{misfit} ({shown(forced[0])}), though the feature maps are the same{advice}")
    if not transfer.kept and not transfer.by_class:
        raise UserError(f"{misfit} in every part: train from scratch, without finetune_from")
    parts = transfer.parts()
    if if_main_process():
        print(f"starts from {source} ({start.NAME} on another classifier, {theirs.NAME}, {len(theirs.labels)} classes)")
        for what in ("kept", "kept in part", "by class", "made new"):
            names = [part for part, became in parts.items() if became == what]
            if names:
                print(f"  {what}: {', '.join(names)}")
        if rows:
            known, new = transfer.classes, transfer.new_classes
            print(f"  classes{_classes(' kept:', known) or ' kept: none'};{_classes(' new:', new) or ' new: none'}")
    _say_not_known(source, seen_clips)
    changes = {"parts": parts, "kept_classes": transfer.classes, "new_classes": transfer.new_classes}
    return {**origin, "classifier": start.description["classifier_sha256"], **changes}, seen_clips


def _hub_of(description: Mapping[str, Any]) -> dict[str, Any]:
    """Return the model and the commit of a hub that a description says it was read from, as a member; or nothing."""
    return {"hub": description["hub"]} if description.get("hub") else {}


def start_dictionary(run: Run, prepared: PreparedData, classifier: Classifier) -> Dictionary | None:
    """Return the dictionary that ``finetune_from`` names, whose components a new one starts from; None without it.

    Raises
    ------
    MissingError, UserError
        If there is none, it was learned behind another front end or on clips that select or test here, or it lies in
        the folder of this very run.
    """
    source = run.hparams.get("finetune_from")
    if source is None:
        return None
    refuse_own_folder(run, OWN_FOLDER["dictionary"])
    start = Dictionary.load(source)
    start.check(classifier.frontend.settings, f"finetune_from is {source}")
    refuse_seen_clips(start.training, prepared, f"finetune_from is {source}, which")
    wanted, kept = run["dictionary"].n_components, min(run["dictionary"].n_components, start.n_components)
    if if_main_process():
        print(
            f"starts from {source} ({start.algorithm}, learned on {len(start.labels)} classes)\n"
            f"  kept as a start: {kept} of its {start.n_components} components; frames of the clips: {wanted - kept}"
        )
    _say_not_known(source, SeenClips.of(start.training, str(source)))
    return start


def refuse_own_folder(run: Run, subfolder: str) -> None:
    """Refuse to start from the run's own folder (:class:`UserError`): it would not be trained any further."""
    source = run["finetune_from"]
    if expanded(source).resolve() in (run.output_folder.resolve(), (run.output_folder / subfolder).resolve()):
        raise UserError(
            f"finetune_from is {source}, the folder of this run, which would not be trained any further: give the "
            "fine-tuning an output_folder of its own"
        )


def _say_not_known(source: str, seen_clips: SeenClips) -> None:
    """Print what cannot be known of the clips that a source was trained on, if anything."""
    if if_main_process() and not seen_clips.complete:
        which = "some of the clips" if seen_clips.train else "the clips"
        print(
            f"  {which} that {source} was trained on are not recorded: whether any of them select or test here is not "
            "known"
        )


def _classes(words: str, labels: Sequence[str]) -> str:
    """Return classes as text after some words; many are counted; "" if there are none."""
    if not labels:
        return ""
    if len(labels) > FEW_CLASSES:
        return f"{words} {len(labels)} classes ({', '.join(labels[:3])}, …)"
    return f"{words} {', '.join(labels)}"


def _differences(given: Mapping[str, Any], settings: Mapping[str, Any]) -> dict[str, tuple[Any, Any]]:
    """Return those settings of the YAML that a source has otherwise: name -> both values."""
    differing = {}
    for name, value in given.items():
        if name not in settings:
            continue
        if isinstance(value, dict) and isinstance(settings[name], dict):
            inner = _differences(value, settings[name])
            differing |= {f"{name}.{key}": pair for key, pair in inner.items()}
        else:
            plain = list(value) if isinstance(value, tuple) else value
            if plain != settings[name]:
                differing[name] = (plain, settings[name])
    return differing
