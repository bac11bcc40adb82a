"""The job behind ``train_classifier.py``."""

from dataclasses import asdict
from typing import Any

from speechbrain.dataio.dataset import DynamicItemDataset
from speechbrain.utils.distributed import if_main_process

from interpretability.classifiers import Classifier, load_classifier, save_classifier
from interpretability.classifiers.folder import check_classifier
from interpretability.classifiers.huggingface import HuggingFaceClassifier
from interpretability.data.manifest import PreparedData
from interpretability.errors import UserError, shown
from interpretability.files import atomic_folder, check_replaceable
from interpretability.metrics.detection import Detection, choose_thresholds
from interpretability.predictions import Predictions
from interpretability.report.detection import headline
from interpretability.training.assembly import describe_data, fit, load_datasets, make_brain, prepare
from interpretability.training.brain import ClassifierBrain, seed_step
from interpretability.training.finetuning import Start, stages_of
from interpretability.training.leakage import SEEN_CLIPS, SeenClips
from interpretability.training.predictions import has_predictions, predict_splits, report_on, save_predictions
from interpretability.training.recipe import AUTO, Run, build
from interpretability.training.record import (
    ALWAYS,
    SELECTION,
    STEPS,
    has_checkpoints,
    is_trained,
    keep_record,
    origin,
    values_of,
)
from interpretability.training.workspace import CLASSIFIER, REPORT, TRANSFORMERS

#: Task -> the validation scalar that chooses the best epoch, unless another one is named.
SELECTED_BY = {"single": "accuracy", "multi": "mAP"}
#: Splits whose predictions a run leaves; what is said is about the first one.
MEASURED = ("test", "valid")


def train_classifier(run: Run) -> None:
    """Train a classifier, measure it once on the test split, save its folder."""
    folder = run.output_folder / CLASSIFIER
    epochs = int(run["number_of_epochs"])
    start = Start.find(run)
    prepared = prepare(run)
    if run["selection_key"] == AUTO:
        run.hparams["selection_key"] = SELECTED_BY[prepared.task]
    seed_step(run["seed"], "init")
    stages = finetuned_from = None
    if start is None:
        several = {"task": prepared.task} if prepared.task == "multi" else {}
        classifier: Classifier = build(
            "classifier", run["classifier"], labels=prepared.labels, frontend=run["frontend"], **several
        )
    else:
        stages = stages_of(run)
        classifier, finetuned_from = start.build(run, prepared)
        finetuned_from |= asdict(stages)
        if if_main_process():
            print(f"  {stages.in_words(float(run['lr']), epochs)}")
    augmentation = run["augmentation"]
    record = {
        "job": "classifier",
        "classifier": classifier.NAME,
        "architecture": classifier.architecture(),
        "labels": classifier.labels,
        "frontend": classifier.frontend.settings.to_dict(),
        "data": prepared.description,
        **values_of(run, *ALWAYS, *SELECTION, *STEPS),
        "augmentation": augmentation.to_dict(),
        # Where it lies may change.
        "finetuned_from": finetuned_from and {**finetuned_from, "source": None},
    }
    keep_record(run.output_folder, record, binds=folder.exists() or has_checkpoints(run))
    run.archive()
    check_replaceable(run.output_folder / REPORT)
    if is_trained(folder, check_classifier, epochs):
        _predict_again(run, prepared)
        return
    check_replaceable(folder)
    check_replaceable(run.output_folder / TRANSFORMERS)
    datasets = load_datasets(run, prepared, classifier)
    if prepared.task == "multi":
        _check_labelled(datasets)
    brain = make_brain(
        ClassifierBrain, run, {"classifier": classifier}, "classifier", augmentation=augmentation, stages=stages
    )
    fit(brain, run, datasets)
    meta, (_, seconds) = brain.load_best(), brain.progress()
    if if_main_process():
        classifier = brain.bare("classifier")
        predictions = predict_splits(run, prepared, classifier, {name: datasets[name] for name in MEASURED})
        if prepared.task == "multi":
            predictions = _with_thresholds(classifier, predictions)
        facts, words = _measured(classifier, predictions)
        seen_clips = SeenClips.of_data(prepared) | (SeenClips() if start is None else start.seen_clips)
        digest = save_classifier(
            classifier,
            folder,
            {
                "data": describe_data(prepared, datasets),
                SEEN_CLIPS: seen_clips.to_dict(),
                **origin(run),
                "epochs": epochs,
                "best_epoch": int(meta["epoch"]),
                **facts,
                "n_test": len(datasets["test"]),
                "seconds": seconds,
                **({} if finetuned_from is None else {"finetuned_from": finetuned_from}),
            },
        )
        save_predictions(run, prepared, classifier, digest, predictions)
        if isinstance(classifier, HuggingFaceClassifier):
            with atomic_folder(run.output_folder / TRANSFORMERS) as temporary:
                classifier.save_pretrained(temporary)
        print(
            f"classifier {classifier.NAME}: test {words['test']} (n = {len(datasets['test'])}), "
            f"validation {words['valid']}, best epoch {int(meta['epoch'])} of {epochs}, "
            f"{seconds:.0f} s, seed {run['seed']}\nsaved in {folder}"
        )


def _check_labelled(datasets: dict[str, DynamicItemDataset]) -> None:
    """Refuse splits of which nothing can be learned, chosen or measured."""
    for split, dataset in datasets.items():
        if not any(members["labels"] for members in dataset.data.values()):
            raise UserError(
                f"no clip of {split} has a label, expected some in train, valid and test: give other splits, or more "
                "clips with labels"
            )


def _with_thresholds(classifier: Classifier, predictions: dict[str, Predictions]) -> dict[str, Predictions]:
    """Give the classifier the thresholds with the highest F1 of each class on validation; return what it then hears."""
    valid = predictions["valid"]
    thresholds = choose_thresholds(valid.truth, valid.probabilities)
    classifier.use_thresholds(thresholds)
    absent = [label for label, has in zip(valid.labels, valid.truth.any(axis=0), strict=True) if not has]
    if absent:
        names = ", ".join(map(shown, absent[:5])) + (f" and {len(absent) - 5} more" if len(absent) > 5 else "")
        classifier.add_notes(f"no validation clip has {names}: the threshold stays 0.5")
    return {split: heard.heard_at(thresholds) for split, heard in predictions.items()}


def _measured(classifier: Classifier, predictions: dict[str, Predictions]) -> tuple[dict[str, Any], dict[str, str]]:
    """Return what a saved classifier records of the splits, and the same of each split in a few words."""
    facts: dict[str, Any] = {}
    words = {}
    for split in ("valid", "test"):
        report = report_on(predictions[split], classifier)
        if isinstance(report, Detection):
            facts[split] = report.as_dict()
            words[split] = headline(report)
        else:
            facts[f"{split}_accuracy"] = report.accuracy.mean
            words[split] = f"{'accuracy ' if split == 'test' else ''}{report.accuracy.mean:.3f}"
    return facts, words


def _predict_again(run: Run, prepared: PreparedData) -> None:
    """Write the predictions of a finished run that has none: of an earlier version, or killed before it wrote them."""
    if not if_main_process():
        return
    classifier = load_classifier(run.output_folder / CLASSIFIER)
    digest = classifier.description["sha256"]
    if not has_predictions(run, prepared, digest, MEASURED):
        datasets = load_datasets(run, prepared, classifier, MEASURED)
        save_predictions(run, prepared, classifier, digest, predict_splits(run, prepared, classifier, datasets))
