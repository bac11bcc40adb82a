"""The one runner behind every recipe script: YAML -> prepare -> fit -> evaluate.

A script says which job it wants::

    main("interpreter", __file__)

and the YAML says everything else. What a job finds in the YAML is listed in ``recipes/README.md``.
"""

from __future__ import annotations

import json
import logging
import math
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import speechbrain as sb
import torch
from speechbrain.utils.distributed import if_main_process, run_on_main

from interpretability.classifiers import Classifier, load_classifier, save_classifier
from interpretability.classifiers.folder import DESCRIPTION as CLASSIFIER_DESCRIPTION
from interpretability.command_line import guarded
from interpretability.data.batches import make_datasets
from interpretability.data.manifest import PreparedData
from interpretability.data.noise import NoiseMixer
from interpretability.dictionary import FILE as DICTIONARY
from interpretability.dictionary import AmortisedFactorisation, Dictionary, collect_frames, learn_dictionary
from interpretability.errors import UserError
from interpretability.evaluation import evaluate
from interpretability.files import atomic_folder, write_json
from interpretability.frontend import Frontend
from interpretability.methods import Interpreter, load_interpreter, save_interpreter
from interpretability.methods.floors import floors, matched_floors
from interpretability.methods.folder import DESCRIPTION as INTERPRETER_DESCRIPTION
from interpretability.methods.folder import RUN_SUBFOLDER
from interpretability.report.tables import short_table
from interpretability.training.brain import (
    TRAIN_PREFIX,
    ClassifierBrain,
    DictionaryBrain,
    InterpreterBrain,
    ResumableBrain,
    Selection,
    seed_step,
)
from interpretability.training.checkpoints import Stopwatch
from interpretability.training.provenance import commit
from interpretability.training.recipe import OWN_FOLDER, RUN_RECORD, Run, build, check_arguments, no_run, start
from interpretability.weights import read_description

logger = logging.getLogger(__name__)

# Settings that a run's record guards. The number of epochs may grow, and is none of them.
ALWAYS = ("seed", "clip_seconds", "fixed_length")
SELECTION = ("selection_key", "selection_mode")
STEPS = ("lr", "weight_decay", "batch_size")  # of the training alone: an evaluation may have other batches


def main(job: str, script: str | None = None, argv: Sequence[str] | None = None) -> int:
    """Run a job from the command line; the exit status.

    What the user can mend is told in one line on stderr, with exit status 2; an interruption gives 130. Everything
    else is a fault of ours and keeps its traceback.

    Parameters
    ----------
    job : {"classifier", "interpreter", "dictionary", "evaluate"}
    script : str
        The recipe's script, archived with the run.
    argv : sequence of str, optional
        Defaults to ``sys.argv[1:]``.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    return guarded(lambda: JOBS[job](start(script, arguments, job)))


def prepare(run: Run) -> PreparedData:
    """Make the manifests, on the main process first."""
    make = run["prepare"]
    check_arguments("prepare", make)
    prepared: list[PreparedData] = []
    run_on_main(lambda: prepared.append(make()))
    # The other processes find everything made and only read it.
    return prepared[0] if prepared else make()


def train_classifier(run: Run) -> None:
    """Train a classifier, measure it once on the test split, save its folder."""
    folder = run.output_folder / "classifier"
    epochs = int(run["number_of_epochs"])
    prepared = prepare(run)
    seed_step(run["seed"], "init")
    classifier: Classifier = build(
        "classifier", run["classifier"]["model"], labels=prepared.labels, frontend=run["frontend"]["settings"]
    )
    record = {
        "job": "classifier",
        "classifier": classifier.NAME,
        "architecture": classifier.architecture(),
        "labels": classifier.labels,
        "frontend": classifier.frontend.settings.to_dict(),
        "data": prepared.description,
        **_settings(run, *ALWAYS, *SELECTION, *STEPS),
        "augmentation": dict(run["augmentation"]),
    }
    _keep_record(run.output_folder, record)
    run.archive()
    if _finished(folder / CLASSIFIER_DESCRIPTION, epochs):
        print(f"already trained for {epochs} epochs: {folder} (give another output_folder to train again)")
        return
    datasets = _datasets(run, prepared, classifier)
    brain = _brain(ClassifierBrain, {"classifier": classifier}, run, {"augmentation": run["augmentation"]})
    _fit(brain, datasets, run)
    meta, (_, seconds) = brain.load_best(), brain.progress()
    # Every process measures the whole split: it is small, and the number needs no gathering.
    accuracies = {
        name: brain.accuracy(brain.make_dataloader(datasets[name], sb.Stage.TEST, None, batch_size=run["batch_size"]))
        for name in ("valid", "test")
    }
    if if_main_process():
        save_classifier(
            brain.bare("classifier"),
            folder,
            {
                "data": _data(prepared, datasets),
                "seed": run["seed"],
                "epochs": epochs,
                "best_epoch": int(meta["epoch"]),
                "valid_accuracy": accuracies["valid"],
                "test_accuracy": accuracies["test"],
                "n_test": len(datasets["test"]),
                "clip_seconds": run["clip_seconds"],
                "fixed_length": run["fixed_length"],
                "seconds": seconds,
                "commit": commit(),
            },
        )
        print(
            f"classifier {classifier.NAME}: test accuracy {accuracies['test']:.3f} (n = {len(datasets['test'])}), "
            f"validation {accuracies['valid']:.3f}, best epoch {int(meta['epoch'])} of {epochs}, "
            f"{seconds:.0f} s, seed {run['seed']}\nsaved in {folder}"
        )


def train_interpreter(run: Run) -> None:
    """Train an interpreter on a frozen classifier, and save its folder."""
    prepared = prepare(run)
    classifier = _classifier(run, prepared)
    noise = _noise(run, classifier)
    interpreter, record = _interpreter(run, prepared, classifier, learn=True)
    record |= {
        "noise": None if noise is None else noise.describe(),
        "crop_seconds": run.hparams.get("crop_seconds"),
        "finetuned_from": _start_from(run, interpreter),
    }
    brain = _interpreter_brain(run, interpreter, noise)
    _keep_record(run.output_folder, {**record, **_settings(run, *ALWAYS, *SELECTION, *STEPS)})
    run.archive()
    epochs = int(run["number_of_epochs"])
    folder = run.output_folder / RUN_SUBFOLDER
    if _finished(folder / INTERPRETER_DESCRIPTION, epochs):
        print(f"already trained for {epochs} epochs: {folder} (give another output_folder to train again)")
        return
    datasets = _datasets(run, prepared, interpreter.classifier)
    _fit(brain, datasets, run)
    _export_best(brain, run, _data(prepared, datasets))


def train_dictionary(run: Run) -> None:
    """Learn a dictionary of spectra from the training clips, behind the classifier's front end."""
    prepared = prepare(run)
    _learn_dictionary(run, prepared, load_classifier(run["classifier_folder"]))


def evaluate_interpreter(run: Run) -> None:
    """Reload the best checkpoint of a run and measure it, with the floors, on the test split.

    A method that is not trained has neither run nor checkpoint: it is measured as the YAML makes it.
    """
    prepared = prepare(run)
    interpreter, record = _interpreter(run, prepared, _classifier(run, prepared))
    brain = _interpreter_brain(run, interpreter) if run.trainable else None
    guarded_settings = (*ALWAYS, *SELECTION) if run.trainable else ALWAYS
    _keep_record(run.output_folder, {**record, **_settings(run, *guarded_settings)}, must_exist=run.trainable)
    run.archive()
    if brain is None:
        _export(interpreter, run, {"data": prepared.description, **_origin(run, interpreter)})
    else:
        _export_best(brain, run, prepared.description)
    classifier = interpreter.classifier
    with_targets = prepared.has_targets("test")
    datasets = _datasets(run, prepared, classifier, splits=("test",), with_targets=with_targets)
    if not if_main_process():
        return
    apply = interpreter.apply_domain
    methods = {interpreter.NAME: interpreter, **floors(classifier, run["seed"], apply)}
    provenance = {
        "commit": commit(),
        "seed": run["seed"],
        "classifier": record["classifier"],
        "data": _data(prepared, datasets),
        "clip_seconds": run["clip_seconds"],
        "fixed_length": run["fixed_length"],
        "suite": "clean",
        "apply": apply,
        "method": record["method"],
        "settings": record["settings"],
        "training": interpreter.description["training"],
    }
    result = evaluate(
        classifier,
        methods,
        datasets["test"],
        run.output_folder / OWN_FOLDER["evaluate"],
        provenance,
        batch_size=run["batch_size"],
        device=_device(run),
        progress=not run.options.noprogressbar,
        companions=matched_floors(run["seed"]),
    )
    print(f"\n{short_table(result.summary)}\nAll metrics and rows, with intervals: {result.folder / 'table.md'}")
    if run["n_examples"]:
        _save_examples(interpreter, datasets["test"], run.output_folder / "examples", run["n_examples"])


JOBS: dict[str, Callable[[Run], None]] = {
    "classifier": train_classifier,
    "interpreter": train_interpreter,
    "dictionary": train_dictionary,
    "evaluate": evaluate_interpreter,
}


def _classifier(run: Run, prepared: PreparedData) -> Classifier:
    """Load the classifier that is explained, which has to know the classes of the data."""
    classifier = load_classifier(run["classifier_folder"])
    unknown = sorted(set(prepared.labels) - set(classifier.labels))
    if unknown:
        raise UserError(
            f"the data set has classes that the classifier in {run['classifier_folder']} does not know: "
            f"{', '.join(unknown)}; it knows {', '.join(classifier.labels)}: train a classifier on this data set, or "
            "use sounds of the classes that it knows"
        )
    return classifier


def _interpreter(
    run: Run, prepared: PreparedData, classifier: Classifier, learn: bool = False
) -> tuple[Interpreter, dict]:
    """Build the interpreter, and say what it is; ``learn``: and a dictionary, if one is needed."""
    factory, dictionary = _with_dictionary(run, prepared, classifier, learn)
    seed_step(run["seed"], "init")
    interpreter: Interpreter = build("method", factory, classifier)
    interpreter.dictionary_training = None if dictionary is None else dictionary.training
    record = {
        "job": "interpreter",
        "method": interpreter.NAME,
        "settings": interpreter.settings,
        "classifier": classifier.description["sha256"],
        "labels": classifier.labels,
        "frontend": classifier.frontend.settings.to_dict(),
        "data": prepared.description,
    }
    return interpreter, record


def _interpreter_brain(run: Run, interpreter: Interpreter, noise: NoiseMixer | None = None) -> InterpreterBrain:
    modules = {"interpreter": interpreter, "classifier": interpreter.classifier}
    extra = {"noise": noise, "crop_seconds": run.hparams.get("crop_seconds")}
    return _brain(InterpreterBrain, modules, run, extra, trained="interpreter")


def _with_dictionary(
    run: Run, prepared: PreparedData, classifier: Classifier, learn: bool
) -> tuple[Callable, Dictionary | None]:
    """Return what makes the interpreter, with its dictionary, and that; None if it takes none, or has it already.

    A method that needs a dictionary, and is given none, has its own, in the run's folder: learned here if ``learn``.
    A trained run that is only measured has the matrix in its checkpoints.
    """
    factory = run.method
    if "dictionary" not in getattr(factory, "keywords", {}):
        return factory, None
    source = factory.keywords["dictionary"]
    if source is None and run.trainable and not learn:
        record = read_description(run.output_folder, RUN_RECORD, "run", "train in another output_folder")
        return partial(factory, dictionary=record["settings"]["dictionary"]), None
    if source is None:
        source = run.output_folder / OWN_FOLDER["dictionary"]
        if learn and "dictionary" in run.hparams:
            if run.in_epochs:
                raise UserError(
                    "the algorithm amortised trains a dictionary in epochs of its own: run train_nmf.py with it, and "
                    "pass its run folder as dictionary_file"
                )
            if not source.is_dir() and (run.output_folder / RUN_RECORD).is_file():
                raise UserError(
                    f"{run.output_folder} holds a run that was given its dictionary: pass the same dictionary_file, or "
                    "another output_folder"
                )
            if not (source / DICTIONARY).is_file():
                print(f"no dictionary given (dictionary_file): learning one first, in {source}")
            _learn_dictionary(run, prepared, classifier)
    dictionary = Dictionary.load(source)
    _check_folds(dictionary, prepared, source)
    return partial(factory, dictionary=dictionary), dictionary


def _check_folds(dictionary: Dictionary, prepared: PreparedData, source: str | Path) -> None:
    """Refuse a dictionary that was learned from clips that are selected by, or measured, here."""
    learned, here = dictionary.training.get("data", {}), prepared.description
    if learned.get("name") != here.get("name"):
        return
    kept = {fold for split in ("valid", "test") for fold in here.get("folds", {}).get(split, [])}
    shared = sorted(kept & set(learned.get("folds", {}).get("train", [])))
    if shared:
        raise UserError(
            f"the dictionary in {source} was learned from folds {shared} of {here['name']}, which are validation or "
            "test folds here: learn one from these training folds with train_nmf.py"
        )


def _learn_dictionary(run: Run, prepared: PreparedData, classifier: Classifier) -> None:
    """Learn the dictionary that the YAML describes, in its folder inside the run's, unless it is there already."""
    folder, settings = run.output_folder / OWN_FOLDER["dictionary"], run["dictionary"]
    epochs = int(run["number_of_epochs"]) if settings.in_epochs else None
    frontend = classifier.frontend
    record = {
        "job": "dictionary",
        "settings": settings.to_dict(),
        "labels": prepared.labels,
        "frontend": frontend.settings.to_dict(),
        "data": prepared.description,
        **_settings(run, *ALWAYS, *((*SELECTION, *STEPS) if settings.in_epochs else ())),
    }
    _keep_record(folder, record)
    if run.archive_folder == folder:
        run.archive()
    path = folder / DICTIONARY
    if path.is_file() and Dictionary.load(path).training.get("epochs") == epochs:
        print(f"already learned: {path} (give another output_folder to learn again)")
        return
    splits = ("train", "valid") if settings.in_epochs else ("train",)
    datasets = _datasets(run, prepared, classifier, splits)
    training = {"data": _data(prepared, datasets), **_origin(run), "epochs": epochs}
    if settings.in_epochs:
        _train_factorisation(run, prepared.labels, datasets, frontend, path, training)
    else:
        # One process learns; the others find the file.
        run_on_main(lambda: _factorise(run, prepared.labels, datasets["train"], frontend, path, training))


def _train_factorisation(
    run: Run, labels: list[str], datasets: dict, frontend: Frontend, path: Path, training: dict
) -> None:
    """Train an amortised factorisation in epochs; save the dictionary of the best one."""
    seed_step(run["seed"], "init")
    network = AmortisedFactorisation(frontend.settings, run["dictionary"])
    # Real frames to begin with; a checkpoint, if there is one, takes their place.
    network.start_from(_spectra(run, datasets["train"], frontend), run["seed"])
    brain = _brain(DictionaryBrain, {"dictionary": network}, run, trained="dictionary")
    _fit(brain, datasets, run)
    meta, (_, seconds) = brain.load_best(), brain.progress()
    if if_main_process():
        best = {"best_epoch": int(meta["epoch"]), "seconds": seconds}
        _save_learned(brain.bare("dictionary").dictionary(labels, {**training, **best}), path)


def _factorise(run: Run, labels: list[str], dataset: Any, frontend: Frontend, path: Path, training: dict) -> None:
    """Collect spectra and factorise them; save the dictionary."""
    state = path.with_name("state.pt")
    began = time.monotonic()
    learned = learn_dictionary(
        _spectra(run, dataset, frontend).to(_device(run)),
        frontend.settings,
        labels,
        run["dictionary"],
        seed=run["seed"],
        state_file=state,
        training=training,
        progress=not run.options.noprogressbar,
    )
    learned.training["seconds"] = time.monotonic() - began  # of this call: an interrupted one is not counted
    _save_learned(learned, path)
    state.unlink(missing_ok=True)


def _spectra(run: Run, dataset: Any, frontend: Frontend) -> torch.Tensor:
    """Collect the frames [n, F] that a dictionary is learned from."""
    progress = if_main_process() and not run.options.noprogressbar
    return collect_frames(dataset, frontend, run["dictionary"], run["seed"], progress)


def _save_learned(learned: Dictionary, path: Path) -> None:
    """Save a dictionary, and say so."""
    learned.save(path)
    print(
        f"dictionary of {learned.n_components} components ({learned.algorithm}), objective "
        f"{learned.loss_curve[0]:.4g} -> {learned.loss_curve[-1]:.4g}, {learned.training['seconds']:.0f} s; "
        f"saved in {path}"
    )


def _device(run: Run) -> str:
    return run.options.device or sb.utils.distributed.infer_device()


def _noise(run: Run, classifier: Classifier) -> NoiseMixer | None:
    """Return what mixes noise into the training clips, if the YAML asks for it."""
    factory = run.hparams.get("noise")
    if factory is None:
        return None
    mixer: NoiseMixer = build("noise", factory, sample_rate=classifier.frontend.settings.sample_rate)
    if mixer.files and if_main_process():
        print(f"noise: {len(mixer.files)} sounds train; those of the other part are left for testing")
    return mixer


def _start_from(run: Run, interpreter: Interpreter) -> dict | None:
    """Give the interpreter the weights that ``finetune_from`` names, and say which; None if it names none.

    A run that goes on where it stopped takes its checkpoint's weights after that.

    Raises
    ------
    UserError
        If they are of another method or classifier, do not fit, or lie in the folder of this very run.
    """
    source = run.hparams.get("finetune_from")
    if source is None:
        return None
    if Path(source).resolve() in (run.output_folder.resolve(), (run.output_folder / RUN_SUBFOLDER).resolve()):
        raise UserError(
            f"finetune_from is {source}, the folder of this run, which would be trained for no epoch more: give the "
            "fine-tuning an output_folder of its own"
        )
    start = load_interpreter(source)
    ours, theirs = interpreter.classifier.description["sha256"], start.description["classifier_sha256"]
    if (start.NAME, theirs) != (interpreter.NAME, ours):
        raise UserError(
            f"finetune_from is {source}, which holds {start.NAME} on classifier {theirs[:12]}; expected "
            f"{interpreter.NAME} on classifier {ours[:12]}: pass a run of the same method and classifier_folder"
        )
    if start.settings.get("dictionary") != interpreter.settings.get("dictionary"):
        raise UserError(
            f"finetune_from is {source}, which was trained on another dictionary: pass that run as dictionary_file too"
        )
    try:
        interpreter.load_state_dict(start.state_dict())
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:300]
        raise UserError(
            f"finetune_from is {source}, whose network has other sizes ({reason}): give the method the settings that "
            "run was made with"
        ) from error
    return {"sha256": start.description["sha256"], "seconds": start.description["training"].get("seconds")}


def _settings(run: Run, *names: str) -> dict:
    return {name: run[name] for name in names}


def _brain(
    kind: type[ResumableBrain],
    modules: dict[str, torch.nn.Module],
    run: Run,
    extra: dict | None = None,
    trained: str = "classifier",
) -> Any:
    stopwatch = Stopwatch()
    training = run["training"]
    check_arguments("optimizer", training["optimizer"], [])
    checkpointer = training["checkpointer"]
    checkpointer.add_recoverables({trained: modules[trained], "stopwatch": stopwatch})
    hparams = {
        "seed": run["seed"],
        "lr": float(run["lr"]),
        "number_of_epochs": int(run["number_of_epochs"]),
        "selection": Selection(run["selection_key"], run["selection_mode"]),
        "train_logger": training["train_logger"],
        "tensorboard_logger": None,
        "stopwatch": stopwatch,
        **(extra or {}),
    }
    return kind(
        modules=modules,
        opt_class=training["optimizer"],
        hparams=hparams,
        run_opts=run.options,
        checkpointer=checkpointer,
    )


def _fit(brain: ResumableBrain, datasets: dict, run: Run) -> None:
    training, batch_size, workers = run["training"], run["batch_size"], run["num_workers"]
    if run["tensorboard"]:
        brain.hparams.tensorboard_logger = _tensorboard(run.output_folder / "tensorboard")
    train = brain.make_dataloader(
        datasets["train"],
        sb.Stage.TRAIN,
        batch_size=batch_size,
        shuffle=True,
        # Batch statistics of one leftover clip would be noise.
        drop_last=len(datasets["train"]) >= batch_size,
        num_workers=workers,
    )
    valid = brain.make_dataloader(
        datasets["valid"], sb.Stage.VALID, ckpt_prefix=None, batch_size=batch_size, num_workers=workers
    )
    brain.hparams.stopwatch.start()
    brain.fit(training["epoch_counter"], train, valid)


def _tensorboard(folder: Path) -> Any:
    """Return SpeechBrain's logger for TensorBoard, whose package is optional."""
    try:
        from speechbrain.utils.train_logger import TensorboardLogger

        return TensorboardLogger(str(folder))
    except ImportError as error:
        raise UserError(
            f"tensorboard is True, but the package tensorboard cannot be used ({error}): pip install tensorboard, or "
            "set it to False"
        ) from error


def _export_best(brain: InterpreterBrain, run: Run, data: dict) -> None:
    """Load the best checkpoint, and save the interpreter with it."""
    meta = brain.load_best()
    record = read_description(run.output_folder, RUN_RECORD, "run", "train in another output_folder")
    # Of the checkpoints, not of the YAML: an unfinished run can be evaluated, and is then still unfinished.
    epochs, seconds = brain.progress()
    training = {
        "data": data,
        **_origin(run, brain.interpreter),
        "epochs": epochs,
        "best_epoch": int(meta["epoch"]),
        "selection": run["selection_key"],
        "validation": {
            name: value
            for name, value in meta.items()
            if isinstance(value, float) and not name.startswith(TRAIN_PREFIX)
        },
        "seconds": seconds,
        **{name: record.get(name) for name in ("noise", "crop_seconds", "finetuned_from")},
    }
    _export(brain.interpreter, run, training)
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


def _origin(run: Run, interpreter: Interpreter | None = None) -> dict:
    """Return what a saved interpreter or dictionary says of its making, trained or not."""
    learned = getattr(interpreter, "dictionary_training", None)
    return {**_settings(run, *ALWAYS), "commit": commit(), **({"dictionary": learned} if learned else {})}


def _export(interpreter: Interpreter, run: Run, training: dict) -> None:
    """Save the interpreter as a folder of its own, unless it is there already, of the same epochs."""
    folder = run.output_folder / RUN_SUBFOLDER
    interpreter.eval()
    if (folder / INTERPRETER_DESCRIPTION).is_file():
        known = read_description(folder, INTERPRETER_DESCRIPTION, "interpreter", "delete the folder to save it again")
        before = known.get("training", {})
        if all(before.get(name) == training.get(name) for name in ("epochs", "best_epoch")):
            # What was measured or passed on before stays what it was, to the byte.
            interpreter.description = known
            return
    interpreter.description = {"training": training}
    if if_main_process():
        save_interpreter(interpreter, folder, training)


def _datasets(
    run: Run,
    prepared: PreparedData,
    classifier: Classifier,
    splits: tuple[str, ...] = ("train", "valid", "test"),
    with_targets: bool = False,
) -> dict:
    def make() -> dict:
        return make_datasets(
            prepared,
            classifier.labels,
            classifier.frontend.settings.sample_rate,
            run["clip_seconds"],
            run["fixed_length"],
            run["cache_folder"],
            run["skip_bad_clips"],
            splits,
            with_targets,
            progress=if_main_process() and not run.options.noprogressbar,
        )

    # The main process first: the others then find in the cache what it has decoded.
    made: list[dict] = []
    run_on_main(lambda: made.append(make()))
    return made[0] if made else make()


def _data(prepared: PreparedData, datasets: dict) -> dict:
    """Return what results say of the data: its description, less the clips that turned out bad when decoded."""
    counts = prepared.description.get("n_clips", {})
    left = {split: len(dataset) for split, dataset in datasets.items() if split in counts}
    lost = sum(counts[split] - n for split, n in left.items())
    if not lost:
        return prepared.description
    skipped = prepared.description.get("n_skipped", 0) + lost
    return {**prepared.description, "n_clips": {**counts, **left}, "n_skipped": skipped}


@torch.no_grad()
def _save_examples(interpreter: Interpreter, dataset: Any, folder: Path, n_examples: int) -> None:
    """Save explanations of test clips spread over the split: wavs, figure, description."""
    device = next(iter(interpreter.classifier.parameters())).device
    count = min(n_examples, len(dataset))
    with atomic_folder(folder) as temporary:  # all of them or none: a part would look like the whole
        for position in [round(k * (len(dataset) - 1) / max(count - 1, 1)) for k in range(count)]:
            item = dataset[position]
            explanation = interpreter.explain(item["signal"][None].to(device))
            explanation.save(temporary / item["id"], true_label=item["label"])
    print(f"{count} examples (input, explanation and residual as wav, figure) in {folder}")


def _keep_record(folder: Path, record: dict, must_exist: bool = False) -> None:
    """Write what a run is into its folder, or refuse to go on with a folder that belongs to another one."""
    path = folder / RUN_RECORD
    record = json.loads(json.dumps(record))
    if path.is_file():
        known = read_description(folder, RUN_RECORD, "run", "train in another output_folder")
        different = sorted(key for key in record if known.get(key) != record[key])
        if different:
            changes = "; ".join(f"{key}: {_change(known.get(key), record[key])}" for key in different)
            raise UserError(
                f"{folder} holds a run with another {', '.join(different)} ({changes}): "
                "give another output_folder, or the settings and the classifier it was made with"
            )
    elif must_exist:
        raise no_run(folder)
    elif if_main_process():
        write_json(path, record)


def _finished(description: Path, epochs: int) -> bool:
    if not description.is_file():
        return False
    content = read_description(description.parent, description.name, "model", "train again in another output_folder")
    return content.get("training", {}).get("epochs") == epochs


def _change(old: Any, new: Any) -> str:
    """Say how two values differ; of objects, only the members that do."""
    if isinstance(old, dict) and isinstance(new, dict):
        changed = [name for name in {**old, **new} if old.get(name) != new.get(name)]
        old, new = ({name: value[name] for name in changed if name in value} for value in (old, new))
    return f"{_short(old)}, now {_short(new)}"


def _short(value: Any, limit: int = 80) -> str:
    text = json.dumps(value)
    return text if len(text) <= limit else text[: limit - 1] + "…"
