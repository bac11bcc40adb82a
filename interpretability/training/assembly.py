"""The parts of the jobs: manifests, data sets, Brains, and the training itself."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any, TypeVar

import speechbrain as sb
import torch
from speechbrain.dataio.dataloader import SaveableDataLoader
from speechbrain.dataio.dataset import DynamicItemDataset
from speechbrain.utils.distributed import if_main_process

from interpretability import processes
from interpretability.classifiers import Classifier
from interpretability.data.batches import LengthBatches, make_datasets, seconds_of
from interpretability.data.manifest import PreparedData
from interpretability.data.summary import summary_line
from interpretability.data.usual import usual_rate, usual_seconds
from interpretability.errors import UserError, user_errors
from interpretability.training.brain import ResumableBrain, Selection
from interpretability.training.checkpoints import Stopwatch
from interpretability.training.recipe import Run, check_arguments, is_automatic
from interpretability.training.tree import parse

Result = TypeVar("Result")
AnyBrain = TypeVar("AnyBrain", bound=ResumableBrain)


def prepare(run: Run) -> PreparedData:
    """Make the manifests, and put what is usual in the data in place of the run's settings that are ``auto``."""
    make = run["prepare"]
    check_arguments("prepare", make)
    prepared = processes.of_main(make)
    lines = [f"data: {line}" for line in (summary_line(prepared), *prepared.notes)]
    if run.data_of is not None:
        lines.insert(0, f"data: those of the classifier's run, {run.data_of} (--data_folder names others)")
    if is_automatic("clip_seconds", run["clip_seconds"]):
        choice = usual_seconds(prepared)
        run.hparams["clip_seconds"] = choice.value
        lines.append(f"clip_seconds {choice.value:g}: {choice.reason}")
    if "frontend" in run.hparams and run.hparams.get("sample_rate") is not None:
        lines += _set_sample_rate(run, prepared)
    if if_main_process():
        for line in lines:
            print(line)
    return prepared


def _set_sample_rate(run: Run, prepared: PreparedData) -> list[str]:
    """Give the front end of a classifier that is to be trained the rate of the run; return what was chosen, and why."""
    given, rate = parse(run.text, str(run.yaml))["frontend"], run["sample_rate"]
    if "sample_rate" in given:
        if is_automatic("sample_rate", rate):
            return []
        raise UserError(f"{run.yaml}: both sample_rate and frontend.sample_rate are given: leave one out")
    lines = []
    if is_automatic("sample_rate", rate):
        choice = usual_rate(prepared)
        rate, lines = choice.value, [f"sample_rate {choice.value}: {choice.reason}"]
    # The FFT is chosen by the length of the window in samples, unless it was given.
    n_fft = run["frontend"].n_fft if "n_fft" in given else None
    run.hparams["frontend"] = replace(run["frontend"], sample_rate=rate, n_fft=n_fft)
    return lines


def load_datasets(
    run: Run,
    prepared: PreparedData,
    classifier: Classifier,
    splits: tuple[str, ...] = ("train", "valid", "test"),
    with_targets: bool = False,
) -> dict[str, DynamicItemDataset]:
    """Return a data set for each split, at the classifier's sample rate and with its filter."""
    frontend = classifier.frontend.settings
    return _main_process_first(
        lambda: make_datasets(
            prepared,
            classifier.labels,
            frontend.sample_rate,
            resampling=frontend.resampling,
            **{
                name: run[name]
                for name in ("clip_seconds", "fixed_length", "cache_folder", "skip_bad_clips", "channel")
            },
            splits=splits,
            with_targets=with_targets,
            progress=shows_progress(run),
        )
    )


def describe_data(prepared: PreparedData, datasets: dict[str, DynamicItemDataset]) -> dict[str, Any]:
    """Return what results record about the data: its description, less the clips that could not be decoded."""
    counts = prepared.description.get("n_clips", {})
    left = {split: len(dataset) for split, dataset in datasets.items() if split in counts}
    lost = sum(counts[split] - n for split, n in left.items())
    if not lost:
        return prepared.description
    skipped = prepared.description.get("n_skipped", 0) + lost
    return {**prepared.description, "n_clips": {**counts, **left}, "n_skipped": skipped}


def device_of(run: Run) -> str:
    """Return the device that was asked for, or the best one available."""
    return run.options.device or sb.utils.distributed.infer_device()


def shows_progress(run: Run) -> bool:
    """Return whether this process shows progress bars."""
    return if_main_process() and not run.options.noprogressbar


def make_brain(
    kind: type[AnyBrain], run: Run, modules: dict[str, torch.nn.Module], trained: str, **hparams: Any
) -> AnyBrain:
    """Return a Brain over the run's checkpoints.

    Parameters
    ----------
    kind : subclass of ResumableBrain
    run : Run
    modules : dict of Module
    trained : str
        The module that is trained and goes through the checkpoints.
    hparams
        What this kind of Brain reads besides what all do.
    """
    training, stopwatch = run["training"], Stopwatch()
    checkpointer = training["checkpointer"]
    checkpointer.add_recoverables({trained: modules[trained], "stopwatch": stopwatch})
    hparams |= {"seed": run["seed"], "lr": float(run["lr"]), "number_of_epochs": int(run["number_of_epochs"])}
    hparams |= {"selection": Selection(run["selection_key"], run["selection_mode"]), "stopwatch": stopwatch}
    return kind(modules, training["optimizer"], hparams, run.options, checkpointer)


def fit(brain: ResumableBrain, run: Run, datasets: dict[str, DynamicItemDataset]) -> None:
    """Train on ``train`` and select on ``valid``, from where the checkpoints stop."""
    training = run["training"]
    loggers = [training["train_logger"]]
    if run["tensorboard"]:
        loggers.append(_tensorboard(run))
    # One that SpeechBrain makes would give each process batches of its own.
    train = _loader(run, datasets["train"], seed=run["seed"])
    run["training"]["checkpointer"].add_recoverable("dataloader-TRAIN", train)
    valid = _loader(run, datasets["valid"], part=(processes.rank(), processes.count()))
    try:
        brain.fit(training["epoch_counter"], train, valid, loggers=loggers)
    finally:
        _end_workers(train)
        _end_workers(valid)


def _end_workers(loader: SaveableDataLoader) -> None:
    """End the processes that load clips where an error left them waiting; as garbage they would take 5 s to end."""
    end = getattr(loader._speechbrain_iterator, "_shutdown_workers", None)
    if end is not None:
        end()


def _loader(run: Run, dataset: DynamicItemDataset, **order: Any) -> SaveableDataLoader:
    """Return what loads the clips of a data set; ``order`` as of :class:`LengthBatches`."""
    batches = LengthBatches(seconds_of(dataset), run["batch_size"], run.hparams.get("batch_seconds"), **order)
    return sb.dataio.dataloader.make_dataloader(dataset, batch_sampler=batches, num_workers=run["num_workers"])


def _tensorboard(run: Run) -> Any:
    """Return SpeechBrain's logger for TensorBoard, whose package is optional."""
    failure, advice = "the package tensorboard cannot be used", ": pip install tensorboard, or set it to False"
    with user_errors(f"tensorboard is True, but {failure}", ImportError, advice=advice):
        from speechbrain.utils.train_logger import TensorboardLogger

        return TensorboardLogger(str(run.output_folder / "tensorboard"))


def _main_process_first(make: Callable[[], Result]) -> Result:
    """Call ``make`` on the main process, then on the others, which find its files on disk."""
    result = processes.main_first(make)
    return result if if_main_process() else make()
