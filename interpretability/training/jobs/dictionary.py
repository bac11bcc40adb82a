"""The job behind ``train_nmf.py``, which is also run for interpreters that need a dictionary."""

import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from speechbrain.dataio.dataset import DynamicItemDataset
from speechbrain.utils.distributed import if_main_process
from torch import Tensor

from interpretability import processes
from interpretability.classifiers import Classifier, load_classifier
from interpretability.data.manifest import PreparedData
from interpretability.dictionary import FILE, AmortisedFactorisation, Dictionary, collect_frames, learn_dictionary
from interpretability.frontend import Frontend
from interpretability.training.assembly import (
    describe_data,
    device_of,
    fit,
    load_datasets,
    make_brain,
    prepare,
    shows_progress,
)
from interpretability.training.brain import DictionaryBrain, seed_step
from interpretability.training.finetuning import start_dictionary
from interpretability.training.leakage import SEEN_CLIPS, SeenClips
from interpretability.training.recipe import OWN_FOLDER, Run
from interpretability.training.record import ALWAYS, SELECTION, STEPS, has_checkpoints, keep_record, origin, values_of

#: Of a factorisation that was interrupted.
STATE = "state.pt"


def train_dictionary(run: Run) -> None:
    """Learn a dictionary of spectra from the training clips, behind the classifier's front end."""
    prepared = prepare(run)
    classifier = load_classifier(run["classifier_folder"], trust_remote_code=run.trusts)
    learn_own_dictionary(run, prepared, classifier, start_dictionary(run, prepared, classifier))


def learn_own_dictionary(
    run: Run, prepared: PreparedData, classifier: Classifier, start: Dictionary | None = None
) -> None:
    """Learn the dictionary that the YAML describes, in its folder inside the run's, unless that exists.

    ``start``: another dictionary, whose components it starts from.
    """
    folder, settings = run.output_folder / OWN_FOLDER["dictionary"], run["dictionary"]
    epochs = int(run["number_of_epochs"]) if settings.in_epochs else None
    frontend = classifier.frontend
    record = {
        "job": "dictionary",
        "settings": settings.to_dict(),
        "labels": prepared.labels,
        "frontend": frontend.settings.to_dict(),
        "data": prepared.description,
        **values_of(run, *ALWAYS, *((*SELECTION, *STEPS) if settings.in_epochs else ())),
        "finetuned_from": None if start is None else start.describe(),
    }
    path = folder / FILE
    began = has_checkpoints(run) if settings.in_epochs else path.with_name(STATE).exists()
    keep_record(folder, record, binds=path.exists() or began)
    if run.archive_folder == folder:
        run.archive()
    if processes.of_main(lambda: path.is_file() and Dictionary.load(path).training.get("epochs") == epochs):
        print(f"already learned: {path} (give another output_folder to learn again)")
        return
    datasets = load_datasets(run, prepared, classifier, ("train", "valid") if settings.in_epochs else ("train",))
    before = SeenClips() if start is None else SeenClips.of(start.training, "finetune_from")
    seen_clips = processes.of_main(lambda: SeenClips.of_data(prepared, tuple(datasets)) | before).to_dict()
    training = {"data": describe_data(prepared, datasets), SEEN_CLIPS: seen_clips, **origin(run), "epochs": epochs}
    if start is not None:
        training["finetuned_from"] = start.describe()
    if settings.in_epochs:
        _train_factorisation(run, prepared.labels, datasets, frontend, path, training, start)
    else:
        # One process learns; the others find the file.
        processes.main_first(
            lambda: _factorise(run, prepared.labels, datasets["train"], frontend, path, training, start)
        )


def _train_factorisation(
    run: Run,
    labels: list[str],
    datasets: dict[str, DynamicItemDataset],
    frontend: Frontend,
    path: Path,
    training: dict[str, Any],
    start: Dictionary | None = None,
) -> None:
    """Train an amortised factorisation in epochs; save the dictionary of the best one."""
    seed_step(run["seed"], "init")
    network = AmortisedFactorisation(frontend.settings, run["dictionary"])
    # Start from frames of the data; a checkpoint, if there is one, replaces them.
    given = None if start is None else start.matrix
    network.start_from(_collect_frames(run, datasets["train"], frontend), run["seed"], given)
    brain = make_brain(DictionaryBrain, run, {"dictionary": network}, "dictionary")
    fit(brain, run, datasets)
    meta, (_, seconds) = brain.load_best(), brain.progress()
    if if_main_process():
        best = {"best_epoch": int(meta["epoch"]), "seconds": seconds}
        _save_dictionary(brain.bare("dictionary").dictionary(labels, {**training, **best}), path)


def _factorise(
    run: Run,
    labels: list[str],
    dataset: DynamicItemDataset,
    frontend: Frontend,
    path: Path,
    training: dict[str, Any],
    start: Dictionary | None = None,
) -> None:
    """Collect frames and factorise them; save the dictionary."""
    state = path.with_name(STATE)
    began = time.monotonic()
    frames = _collect_frames(run, dataset, frontend).to(device_of(run))
    progress = shows_progress(run)
    learned = learn_dictionary(
        frames, frontend.settings, labels, run["dictionary"], run["seed"], state, training, progress, start
    )
    seconds = time.monotonic() - began  # of this call: an interrupted one is not counted
    learned = replace(learned, training={**learned.training, "seconds": seconds})
    _save_dictionary(learned, path)
    state.unlink(missing_ok=True)


def _collect_frames(run: Run, dataset: DynamicItemDataset, frontend: Frontend) -> Tensor:
    """Return the frames [n, F] that a dictionary is learned from."""
    return collect_frames(dataset, frontend, run["dictionary"], run["seed"], shows_progress(run))


def _save_dictionary(learned: Dictionary, path: Path) -> None:
    """Save a dictionary; print where."""
    learned.save(path)
    print(
        f"dictionary of {learned.n_components} components ({learned.algorithm}), objective "
        f"{learned.loss_curve[0]:.4g} -> {learned.loss_curve[-1]:.4g}, {learned.training['seconds']:.0f} s; "
        f"saved in {path}"
    )
