"""What a run leaves of its classifier's answers: ``predictions.csv``, and a report on each split."""

from typing import Any

from speechbrain.dataio.dataset import DynamicItemDataset

from interpretability.classifiers import Classifier
from interpretability.data.manifest import PreparedData
from interpretability.errors import UserError
from interpretability.files import atomic_folder
from interpretability.metrics.classification import ClassificationReport, classification_report
from interpretability.metrics.detection import Detection, detection
from interpretability.predictions import PREDICTIONS, Predictions, predict, write_predictions
from interpretability.reading import read_object
from interpretability.report import classification as of_one_label
from interpretability.report import detection as of_several_labels
from interpretability.report.classification import NUMBERS
from interpretability.training.assembly import device_of, shows_progress
from interpretability.training.recipe import Run
from interpretability.training.record import ALWAYS, values_of
from interpretability.training.workspace import REPORT


def has_predictions(run: Run, prepared: PreparedData, digest: str, splits: tuple[str, ...]) -> bool:
    """Return whether a run's folder holds predictions of these splits by the classifier with that hash."""
    folder, wanted = run.output_folder, _identity(run, prepared, digest)
    try:
        reports = [read_object(folder / REPORT / split / NUMBERS) for split in splits]
    except UserError:
        return False
    return (folder / PREDICTIONS).is_file() and all(report.items() >= wanted.items() for report in reports)


def predict_splits(
    run: Run, prepared: PreparedData, classifier: Classifier, datasets: dict[str, DynamicItemDataset]
) -> dict[str, Predictions]:
    """Classify the clips of some splits."""
    return {
        split: predict(classifier, dataset, prepared.data_root, run["batch_size"], device_of(run), shows_progress(run))
        for split, dataset in datasets.items()
    }


def save_predictions(
    run: Run, prepared: PreparedData, classifier: Classifier, digest: str, by_split: dict[str, Predictions]
) -> None:
    """Write what is heard in the clips of some splits, and say which classes are confused, or missed, most.

    Parameters
    ----------
    run : Run
    prepared : PreparedData
    classifier : Classifier
    digest : str
        Its hash.
    by_split : dict
        Split -> its predictions; words are about the first one.
    """
    folder = run.output_folder
    write_predictions(folder / PREDICTIONS, by_split)
    reports = {split: report_on(predictions, classifier) for split, predictions in by_split.items()}
    page = of_several_labels if next(iter(by_split.values())).several else of_one_label
    with atomic_folder(folder / REPORT) as temporary:
        for split, report in reports.items():
            (temporary / split).mkdir()
            title = f"{classifier.NAME} on the {split} clips of {prepared.description['name']}"
            page.write_report(temporary / split, report, split, title, _identity(run, prepared, digest))
    split, report = next(iter(reports.items()))
    print(*page.sentences(report, split), sep="\n")
    print(f"every clip: {folder / PREDICTIONS}; every class: {folder / REPORT}")


def report_on(predictions: Predictions, classifier: Classifier) -> ClassificationReport | Detection:
    """Return the report on what is heard in the clips of a split, of one label each or of several."""
    if predictions.several:
        thresholds = classifier.thresholds.tolist()
        return detection(predictions.labels, predictions.truth, predictions.probabilities, thresholds)
    return classification_report(predictions.labels, predictions.truth, predictions.predicted)


def _identity(run: Run, prepared: PreparedData, digest: str) -> dict[str, Any]:
    """Return what predictions depend on, as reports record it."""
    return {"classifier": digest, "content": prepared.description.get("content"), **values_of(run, *ALWAYS)}
