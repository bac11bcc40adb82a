"""The job behind the ``train_*.py`` of methods, and the interpreter that an evaluation measures."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

from speechbrain.utils.distributed import if_main_process

from interpretability.classifiers import Classifier, load_classifier
from interpretability.data.manifest import PreparedData
from interpretability.data.noise import NoiseMixer
from interpretability.dictionary import FILE as DICTIONARY_FILE
from interpretability.dictionary import Dictionary
from interpretability.errors import UserError
from interpretability.files import check_replaceable, expanded
from interpretability.methods import Interpreter, save_interpreter
from interpretability.methods.folder import RUN_SUBFOLDER, check_interpreter
from interpretability.training.assembly import describe_data, fit, load_datasets, make_brain, prepare
from interpretability.training.brain import TRAIN_PREFIX, InterpreterBrain, seed_step
from interpretability.training.finetuning import start_interpreter
from interpretability.training.jobs.dictionary import learn_own_dictionary
from interpretability.training.leakage import SEEN_CLIPS, SeenClips, refuse_seen_clips
from interpretability.training.recipe import OWN_FOLDER, Run, build, unwrap
from interpretability.training.record import (
    ALWAYS,
    SELECTION,
    STEPS,
    has_checkpoints,
    intact_description,
    is_trained,
    keep_record,
    origin,
    read_record,
    values_of,
)


def train_interpreter(run: Run) -> None:
    """Train an interpreter on a frozen classifier, and save its folder."""
    prepared = prepare(run)
    classifier = load_explained_classifier(run, prepared)
    noise = _make_noise(run, classifier)
    assembled = assemble(run, prepared, classifier, learn=True)
    if heard_share(run) and not assembled.interpreter.uses_masked_logits:
        raise UserError(
            f"heard_share is {heard_share(run)}, but with these settings the objective of {assembled.interpreter.NAME} "
            "does not ask the classifier about the masked sound: leave it out, or give that term a weight"
        )
    started_from, before = start_interpreter(run, prepared, assembled.interpreter)
    record = {
        **assembled.record,
        "noise": None if noise is None else noise.describe(),
        "crop_seconds": run.hparams.get("crop_seconds"),
        "heard_share": heard_share(run),
        "finetuned_from": started_from,
    }
    brain = make_interpreter_brain(run, assembled.interpreter, noise)
    folder = run.output_folder / RUN_SUBFOLDER
    binds = folder.exists() or has_checkpoints(run)
    keep_record(run.output_folder, {**record, **values_of(run, *ALWAYS, *SELECTION, *STEPS)}, binds)
    run.archive()
    if is_trained(folder, check_interpreter, int(run["number_of_epochs"])):
        return
    check_replaceable(folder)
    datasets = load_datasets(run, prepared, classifier)
    fit(brain, run, datasets)
    learned = assembled.dictionary_training
    before |= SeenClips() if learned is None else SeenClips.of(learned, "the dictionary")
    save_best(brain, run, describe_data(prepared, datasets), learned, lambda: SeenClips.of_data(prepared) | before)


def load_explained_classifier(run: Run, prepared: PreparedData) -> Classifier:
    """Load the explained classifier, which has to know the classes of the data."""
    classifier = load_classifier(run["classifier_folder"], trust_remote_code=run.trusts)
    unknown = sorted(set(prepared.labels) - set(classifier.labels))
    if unknown:
        raise UserError(
            f"the data set has classes that the classifier in {run['classifier_folder']} does not know: "
            f"{', '.join(unknown)}; it knows {', '.join(classifier.labels)}: train a classifier on this data set, or "
            "use sounds of the classes that it knows"
        )
    training, here = classifier.description.get("training") or {}, prepared.description
    learned = training.get("data", {})
    if run.data_of is not None and learned.get("content", here.get("content")) != here.get("content"):
        raise UserError(
            f"the data of {run.data_of} were changed after the classifier was trained, so that its splits cannot be "
            "made again: restore them, or name the data and their splits by options (--data_folder …)"
        )
    refuse_seen_clips(training, prepared, f"the classifier in {run['classifier_folder']}")
    return classifier


@dataclass(frozen=True)
class Assembled:
    """An interpreter as the YAML makes it.

    Attributes
    ----------
    interpreter : Interpreter
    record : dict
        What the record of its run says about it.
    dictionary_training : dict or None
        How its given dictionary was learned; None if it was given none.
    """

    interpreter: Interpreter
    record: dict[str, Any]
    dictionary_training: dict[str, Any] | None


def assemble(run: Run, prepared: PreparedData, classifier: Classifier, learn: bool = False) -> Assembled:
    """Build the interpreter; ``learn``: learn its dictionary first, if it needs one and is given none."""
    factory: Callable = run["method"]
    dictionary = None
    if any(info.name == "dictionary" for info in unwrap(factory).Settings.infos()):
        dictionary = _find_dictionary(run, prepared, classifier, learn)
        factory = partial(factory, dictionary=dictionary)
    seed_step(run["seed"], "init")
    interpreter: Interpreter = build("method", factory, classifier)
    record = {
        "job": "interpreter",
        "method": interpreter.NAME,
        "settings": interpreter.settings.to_dict(),
        "classifier": classifier.description["sha256"],
        "labels": classifier.labels,
        "frontend": classifier.frontend.settings.to_dict(),
        "data": prepared.description,
    }
    return Assembled(interpreter, record, dictionary.training if isinstance(dictionary, Dictionary) else None)


def make_interpreter_brain(run: Run, interpreter: Interpreter, noise: NoiseMixer | None = None) -> InterpreterBrain:
    """Return the Brain that trains an interpreter, or loads its checkpoints."""
    modules = {"interpreter": interpreter, "classifier": interpreter.classifier}
    stretch = {"crop_seconds": run.hparams.get("crop_seconds"), "heard_share": heard_share(run)}
    return make_brain(InterpreterBrain, run, modules, "interpreter", noise=noise, **stretch)


def heard_share(run: Run) -> float:
    """Return in which share of the epochs the masked sound is classified as it is heard."""
    return float(run.hparams.get("heard_share", 0.0))


def save_best(
    brain: InterpreterBrain,
    run: Run,
    data: dict[str, Any],
    dictionary_training: dict[str, Any] | None,
    seen_clips: Callable[[], SeenClips],
) -> dict[str, Any]:
    """Load the best checkpoint and save the interpreter with it; return the facts about its training.

    ``seen_clips`` is called for the clips that it has learned from, if it is saved.
    """
    meta = brain.load_best()
    record = read_record(run.output_folder)
    # Of the checkpoints, not of the YAML: an unfinished run can be evaluated, and stays unfinished.
    epochs, seconds = brain.progress()
    measured = [name for name, value in meta.items() if isinstance(value, float)]
    training = {
        "data": data,
        **origin(run, dictionary_training),
        "epochs": epochs,
        "best_epoch": int(meta["epoch"]),
        "selection": run["selection_key"],
        "validation": {name: meta[name] for name in measured if not name.startswith(TRAIN_PREFIX)},
        "seconds": seconds,
        **{name: record.get(name) for name in ("noise", "crop_seconds", "heard_share", "finetuned_from")},
    }
    saved = save_in_run(brain.interpreter, run, training, seen_clips)
    if if_main_process():
        print(
            f"interpreter {brain.interpreter.NAME}: best epoch {training['best_epoch']} by validation "
            f"{run['selection_key']} = {meta[run['selection_key']]:.4f}; saved in {run.output_folder / RUN_SUBFOLDER}"
        )
        if "gate" in meta:
            counts = data.get("n_clips", {})
            print(
                f"fine-tuning gate, in that epoch: {meta.get(f'{TRAIN_PREFIX}gate', math.nan):.1%} of "
                f"{counts.get('train', '?')} training clips pass (as augmented), {meta['gate']:.1%} of "
                f"{counts.get('valid', '?')} validation clips (as they are)"
            )
    return saved


def save_in_run(
    interpreter: Interpreter, run: Run, training: dict[str, Any], seen_clips: Callable[[], SeenClips] | None = None
) -> dict[str, Any]:
    """Save the interpreter in the run's folder, unless one of the same epochs is already there.

    ``seen_clips``: what returns the clips that it has learned from, which is asked for if it is saved.

    Returns
    -------
    dict
        What the saved interpreter records about its training. One that was measured or passed on before stays as it is,
        to the byte.
    """
    saved = saved_training(run)
    interpreter.eval()
    if saved is not None and all(saved.get(name) == training.get(name) for name in ("epochs", "best_epoch")):
        return saved
    if if_main_process():
        record = {} if seen_clips is None else {SEEN_CLIPS: seen_clips().to_dict()}
        save_interpreter(interpreter, run.output_folder / RUN_SUBFOLDER, {**training, **record})
    return training


def saved_training(run: Run) -> dict[str, Any] | None:
    """Return what the interpreter in the run's folder records about its training; None if there is none."""
    description = intact_description(run.output_folder / RUN_SUBFOLDER, check_interpreter)
    return None if description is None else description.get("training", {})


def _find_dictionary(run: Run, prepared: PreparedData, classifier: Classifier, learn: bool) -> Dictionary | dict:
    """Return the dictionary that the YAML names, or else the run's own, which is learned first if ``learn``.

    A training that starts from another run's weights has the dictionary that this run learned, unless it names one. For
    a trained run that is only measured, only its description is known: the matrix is in the checkpoints.
    """
    source = run.given_dictionary
    if source is None and run.trainable and not learn:
        return read_record(run.output_folder)["settings"]["dictionary"]
    start = run.hparams.get("finetune_from")
    if source is None and start is not None:
        # A run that learned one has it in a folder of its own, a published interpreter beside its weights.
        places = (expanded(start) / OWN_FOLDER["dictionary"], expanded(start) / DICTIONARY_FILE)
        source = expanded(start) if any(place.exists() for place in places) else None
    if source is None:
        source = run.output_folder / OWN_FOLDER["dictionary"]
        if learn and "dictionary" in run.hparams:
            if run.in_epochs:
                raise UserError(
                    "the algorithm amortised trains a dictionary in epochs of its own: run train_nmf.py with it, and "
                    "pass its run folder as method.dictionary"
                )
            if not source.is_dir() and has_checkpoints(run):
                raise UserError(
                    f"{run.output_folder} holds a run that was given its dictionary: pass the same method.dictionary, "
                    "or another output_folder"
                )
            if not (source / DICTIONARY_FILE).is_file():
                print(f"no dictionary given (method.dictionary): learning one first, in {source}")
            learn_own_dictionary(run, prepared, classifier)
    dictionary = Dictionary.load(source)
    refuse_seen_clips(dictionary.training, prepared, f"the dictionary in {source}")
    return dictionary


def _make_noise(run: Run, classifier: Classifier) -> NoiseMixer | None:
    """Return what mixes noise into the training clips; None if the YAML does not ask for it."""
    factory = run.hparams.get("noise")
    if factory is None:
        return None
    frontend = classifier.frontend.settings
    mixer: NoiseMixer = build("noise", factory, sample_rate=frontend.sample_rate, resampling=frontend.resampling)
    if mixer.files and if_main_process():
        print(f"noise: {len(mixer.files)} sounds train; those of the other part are left for testing")
    return mixer
