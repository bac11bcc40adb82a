"""The one runner behind every recipe script: YAML -> prepare -> fit -> evaluate.

A script says which job it wants::

    main("interpreter", __file__)

and the YAML says everything else. What a job finds in the YAML is listed in ``recipes/README.md``.
"""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Callable, Sequence
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
from interpretability.errors import UserError
from interpretability.evaluation import evaluate
from interpretability.files import atomic_folder, write_json
from interpretability.methods import Interpreter, save_interpreter
from interpretability.methods.floors import floors
from interpretability.methods.folder import DESCRIPTION as INTERPRETER_DESCRIPTION
from interpretability.methods.folder import RUN_SUBFOLDER
from interpretability.training.brain import ClassifierBrain, InterpreterBrain, ResumableBrain, Selection, seed_step
from interpretability.training.checkpoints import Stopwatch
from interpretability.training.provenance import commit
from interpretability.training.recipe import EVALUATION, RUN_RECORD, Run, build, check_arguments, no_run, start
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
    job : {"classifier", "interpreter", "evaluate"}
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
    _keep_record(run, record)
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
    interpreter, record = _interpreter(run, prepared)
    brain = _interpreter_brain(run, interpreter)
    _keep_record(run, {**record, **_settings(run, *ALWAYS, *SELECTION, *STEPS)})
    run.archive()
    epochs = int(run["number_of_epochs"])
    folder = run.output_folder / RUN_SUBFOLDER
    if _finished(folder / INTERPRETER_DESCRIPTION, epochs):
        print(f"already trained for {epochs} epochs: {folder} (give another output_folder to train again)")
        return
    datasets = _datasets(run, prepared, interpreter.classifier)
    _fit(brain, datasets, run)
    _export_best(brain, run, _data(prepared, datasets))


def evaluate_interpreter(run: Run) -> None:
    """Reload the best checkpoint of a run and measure it, with the floors, on the test split.

    A method that is not trained has neither run nor checkpoint: it is measured as the YAML makes it.
    """
    prepared = prepare(run)
    interpreter, record = _interpreter(run, prepared)
    brain = _interpreter_brain(run, interpreter) if run.trainable else None
    guarded_settings = (*ALWAYS, *SELECTION) if run.trainable else ALWAYS
    _keep_record(run, {**record, **_settings(run, *guarded_settings)}, must_exist=run.trainable)
    run.archive()
    if brain is None:
        _export(interpreter, run, {"data": prepared.description, **_origin(run)})
    else:
        _export_best(brain, run, prepared.description)
    classifier = interpreter.classifier
    datasets = _datasets(run, prepared, classifier, splits=("test",))
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
        run.output_folder / EVALUATION,
        provenance,
        batch_size=run["batch_size"],
        device=run.options.device or sb.utils.distributed.infer_device(),
        progress=not run.options.noprogressbar,
    )
    print(f"{result.table}\nwritten to {result.folder}")
    if run["n_examples"]:
        _save_examples(interpreter, datasets["test"], run.output_folder / "examples", run["n_examples"])


JOBS: dict[str, Callable[[Run], None]] = {
    "classifier": train_classifier,
    "interpreter": train_interpreter,
    "evaluate": evaluate_interpreter,
}


def _interpreter(run: Run, prepared: PreparedData) -> tuple[Interpreter, dict]:
    """Build classifier and interpreter, and say what they are."""
    classifier = load_classifier(run["classifier_folder"])
    unknown = sorted(set(prepared.labels) - set(classifier.labels))
    if unknown:
        raise UserError(
            f"the data set has classes that the classifier in {run['classifier_folder']} does not know: "
            f"{', '.join(unknown)}; it knows {', '.join(classifier.labels)}: train a classifier on this data set"
        )
    seed_step(run["seed"], "init")
    interpreter: Interpreter = build("method", run.method, classifier)
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


def _interpreter_brain(run: Run, interpreter: Interpreter) -> InterpreterBrain:
    modules = {"interpreter": interpreter, "classifier": interpreter.classifier}
    return _brain(InterpreterBrain, modules, run, trained="interpreter")


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
    # Of the checkpoints, not of the YAML: an unfinished run can be evaluated, and is then still unfinished.
    epochs, seconds = brain.progress()
    training = {
        "data": data,
        **_origin(run),
        "epochs": epochs,
        "best_epoch": int(meta["epoch"]),
        "selection": run["selection_key"],
        "validation": {name: value for name, value in meta.items() if isinstance(value, float)},
        "seconds": seconds,
    }
    _export(brain.interpreter, run, training)
    if if_main_process():
        print(
            f"interpreter {brain.interpreter.NAME}: best epoch {training['best_epoch']} by validation "
            f"{run['selection_key']} = {meta[run['selection_key']]:.4f}; saved in {run.output_folder / RUN_SUBFOLDER}"
        )


def _origin(run: Run) -> dict:
    """Return what an interpreter's folder says of its making, trained or not."""
    return {**_settings(run, *ALWAYS), "commit": commit()}


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


def _datasets(run: Run, prepared: PreparedData, classifier: Classifier, splits=("train", "valid", "test")) -> dict:
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


def _keep_record(run: Run, record: dict, must_exist: bool = False) -> None:
    """Write what this run is, or refuse to go on with a folder that belongs to another one."""
    path = run.output_folder / RUN_RECORD
    record = json.loads(json.dumps(record))
    if path.is_file():
        known = read_description(run.output_folder, RUN_RECORD, "run", "train in another output_folder")
        different = sorted(key for key in record if known.get(key) != record[key])
        if different:
            changes = "; ".join(f"{key}: {_change(known.get(key), record[key])}" for key in different)
            raise UserError(
                f"{run.output_folder} holds a run with another {', '.join(different)} ({changes}): "
                "give another output_folder, or the settings and the classifier it was made with"
            )
    elif must_exist:
        raise no_run(run.output_folder)
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
