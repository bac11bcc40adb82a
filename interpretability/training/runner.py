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
from interpretability.files import write_json
from interpretability.methods import Interpreter, save_interpreter
from interpretability.methods.floors import floors
from interpretability.methods.folder import DESCRIPTION as INTERPRETER_DESCRIPTION
from interpretability.methods.folder import RUN_SUBFOLDER
from interpretability.training.brain import ClassifierBrain, InterpreterBrain, ResumableBrain, Selection, seed_step
from interpretability.training.checkpoints import Stopwatch
from interpretability.training.provenance import commit
from interpretability.training.recipe import RUN_RECORD, Run, build, check_arguments, no_run, start
from interpretability.weights import read_description

logger = logging.getLogger(__name__)


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
    return guarded(lambda: JOBS[job](start(script, arguments, must_exist=job == "evaluate")))


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
    }
    _keep_record(run, record)
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
                "data": prepared.description,
                "seed": run["seed"],
                "epochs": epochs,
                "best_epoch": int(meta["epoch"]),
                "valid_accuracy": accuracies["valid"],
                "test_accuracy": accuracies["test"],
                "n_test": len(datasets["test"]),
                "clip_seconds": run.get("clip_seconds"),
                "fixed_length": bool(run.get("fixed_length", False)),
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
    brain, record = _interpreter_brain(run, prepared)
    _keep_record(run, record)
    epochs = int(run["number_of_epochs"])
    folder = run.output_folder / RUN_SUBFOLDER
    if _finished(folder / INTERPRETER_DESCRIPTION, epochs):
        print(f"already trained for {epochs} epochs: {folder} (give another output_folder to train again)")
        return
    datasets = _datasets(run, prepared, brain.bare("classifier"))
    _fit(brain, datasets, run)
    _export(brain, run, record)


def evaluate_interpreter(run: Run) -> None:
    """Reload the best checkpoint of a run and measure it, with the floors, on the test split."""
    prepared = prepare(run)
    brain, record = _interpreter_brain(run, prepared)
    _keep_record(run, record, must_exist=True)
    interpreter = _export(brain, run, record)
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
        "data": prepared.description,
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
        run.output_folder / "evaluation",
        provenance,
        batch_size=run["batch_size"],
        device=brain.device,
        progress=not run.options.noprogressbar,
    )
    print(f"{result.table}\nwritten to {result.folder}")
    n_examples = int(run.get("n_examples", 0))
    if n_examples:
        _save_examples(interpreter, datasets["test"], run.output_folder / "examples", n_examples)


JOBS: dict[str, Callable[[Run], None]] = {
    "classifier": train_classifier,
    "interpreter": train_interpreter,
    "evaluate": evaluate_interpreter,
}


def _interpreter_brain(run: Run, prepared: PreparedData) -> tuple[InterpreterBrain, dict]:
    """Build classifier, interpreter and Brain, and say what they are."""
    classifier = load_classifier(run["classifier_folder"])
    unknown = sorted(set(prepared.labels) - set(classifier.labels))
    if unknown:
        raise UserError(
            f"the data set has classes that the classifier in {run['classifier_folder']} does not know: "
            f"{', '.join(unknown)}; it knows {', '.join(classifier.labels)}: train a classifier on this data set"
        )
    seed_step(run["seed"], "init")
    interpreter: Interpreter = build("method", run["method"]["interpreter"], classifier)
    record = {
        "job": "interpreter",
        "method": interpreter.NAME,
        "settings": interpreter.settings,
        "classifier": classifier.description["sha256"],
        "labels": classifier.labels,
        "frontend": classifier.frontend.settings.to_dict(),
        "data": prepared.description,
    }
    brain = _brain(InterpreterBrain, {"interpreter": interpreter, "classifier": classifier}, run, trained="interpreter")
    return brain, record


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
    logger_ = None
    if run.get("tensorboard", False):
        from speechbrain.utils.train_logger import TensorboardLogger  # needs the tensorboard package

        logger_ = TensorboardLogger(str(run.output_folder / "tensorboard"))
    hparams = {
        "seed": run["seed"],
        "lr": float(run["lr"]),
        "number_of_epochs": int(run["number_of_epochs"]),
        "selection": Selection(run["selection_key"], run["selection_mode"]),
        "train_logger": training["train_logger"],
        "tensorboard_logger": logger_,
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
    training, batch_size = run["training"], int(run["batch_size"])
    workers = int(run.get("num_workers", 0))
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


def _export(brain: InterpreterBrain, run: Run, record: dict) -> Interpreter:
    """Load the best checkpoint and save the interpreter as a folder of its own; return it."""
    meta = brain.load_best()
    # Of the checkpoints, not of the YAML: an unfinished run can be evaluated, and is then still unfinished.
    epochs, seconds = brain.progress()
    interpreter = brain.interpreter.eval()
    training = {
        "data": record["data"],
        "seed": run["seed"],
        "epochs": epochs,
        "best_epoch": int(meta["epoch"]),
        "selection": run["selection_key"],
        "validation": {name: value for name, value in meta.items() if isinstance(value, float)},
        "clip_seconds": run.get("clip_seconds"),
        "fixed_length": bool(run.get("fixed_length", False)),
        "seconds": seconds,
        "commit": commit(),
    }
    folder = run.output_folder / RUN_SUBFOLDER
    interpreter.description = {"training": training}
    if if_main_process():
        save_interpreter(interpreter, folder, training)
        print(
            f"interpreter {interpreter.NAME}: best epoch {training['best_epoch']} by validation "
            f"{run['selection_key']} = {meta[run['selection_key']]:.4f}; saved in {folder}"
        )
    return interpreter


def _datasets(run: Run, prepared: PreparedData, classifier: Classifier, splits=("train", "valid", "test")) -> dict:
    return make_datasets(
        prepared,
        classifier.labels,
        classifier.frontend.settings.sample_rate,
        run.get("clip_seconds"),
        bool(run.get("fixed_length", False)),
        run.get("cache_folder"),
        bool(run.get("skip_bad_clips", False)),
        splits,
    )


@torch.no_grad()
def _save_examples(interpreter: Interpreter, dataset: Any, folder: Path, n_examples: int) -> None:
    """Save explanations of test clips spread over the split: wavs, figure, description."""
    device = next(iter(interpreter.classifier.parameters())).device
    count = min(n_examples, len(dataset))
    for position in [round(k * (len(dataset) - 1) / max(count - 1, 1)) for k in range(count)]:
        item = dataset[position]
        explanation = interpreter.explain(item["signal"][None].to(device))
        explanation.save(folder / item["id"], true_label=item["label"])
    print(f"{count} examples (input, explanation and residual as wav, figure) in {folder}")


def _keep_record(run: Run, record: dict, must_exist: bool = False) -> None:
    """Write what this run is, or refuse to go on with a folder that belongs to another one."""
    path = run.output_folder / RUN_RECORD
    record = json.loads(json.dumps(record))
    if path.is_file():
        known = read_description(run.output_folder, RUN_RECORD, "run", "train in another output_folder")
        different = sorted(key for key in record if known.get(key) != record[key])
        if different:
            key = different[0]
            raise UserError(
                f"{run.output_folder} holds a run with another {', '.join(different)} "
                f"({key}: {_short(known.get(key))}, now {_short(record[key])}): "
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


def _short(value: Any, limit: int = 80) -> str:
    text = json.dumps(value)
    return text if len(text) <= limit else text[: limit - 1] + "…"
