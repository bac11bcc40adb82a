"""What a classifier hears in the clips of a data set: computed, and kept as a table (``predictions.csv``)."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from speechbrain.dataio.batch import PaddedBatch
from speechbrain.dataio.dataset import DynamicItemDataset
from tqdm import tqdm

from interpretability.classifiers import Classifier
from interpretability.data.batches import LengthBatches, seconds_of
from interpretability.errors import UserError, shown, user_errors
from interpretability.files import write_text
from interpretability.names import join_labels
from interpretability.probabilities import predicted_class, probabilities
from interpretability.reading import read_bytes

PREDICTIONS = "predictions.csv"
_HEAD = ("id", "path", "split", "true", "predicted", "confidence")
_HEAD_OF_SEVERAL = ("id", "path", "split", "true labels", "heard labels", "confidence")
_MOST_BYTES = 2**32


@dataclass(frozen=True)
class Predictions:
    """What is heard in N clips of a split.

    Attributes
    ----------
    labels : tuple of str
        The classifier's C classes.
    ids : tuple of str [N]
    paths : tuple of str [N]
        Relative to the root of the data; absolute for a file that lies elsewhere.
    truth, predicted : array [N] of int, or [N, C] of bool
        Indices of classes. Of clips that may have several labels: which classes each has, and which are heard in it.
    probabilities : array [N, C] of float64
    """

    labels: tuple[str, ...]
    ids: tuple[str, ...]
    paths: tuple[str, ...]
    truth: np.ndarray
    predicted: np.ndarray
    probabilities: np.ndarray

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def several(self) -> bool:
        """Whether clips may have several labels."""
        return self.truth.ndim == 2

    def heard_at(self, thresholds: Sequence[float]) -> Predictions:
        """Return the same of a multi-label classifier with other thresholds, one for each class."""
        return replace(self, predicted=self.probabilities >= np.asarray(thresholds, dtype=np.float64))

    @property
    def confidence(self) -> np.ndarray:
        """Probability of the predicted class, [N]; where several may be heard, of the most probable one."""
        if self.several:
            return self.probabilities.max(axis=1)
        return self.probabilities[np.arange(len(self)), self.predicted]

    def wrong(self) -> list[int]:
        """Return the positions of the clips that are heard as another class, the most confident first."""
        wrong = np.flatnonzero(self.truth != self.predicted)
        return wrong[np.argsort(-self.confidence[wrong], kind="stable")].tolist()


@torch.no_grad()
def predict(
    classifier: Classifier,
    dataset: DynamicItemDataset,
    data_root: Path,
    batch_size: int = 16,
    device: str = "cpu",
    progress: bool = True,
) -> Predictions:
    """Classify every clip of a data set.

    Parameters
    ----------
    classifier : Classifier
        Moved to the device.
    dataset : DynamicItemDataset
        With ``id``, ``signal`` and ``label`` or ``labels``, which the classifier knows.
    data_root : Path
        What paths are relative to.
    batch_size : int
    device : str
    progress : bool
        Show a progress bar, on a terminal.

    Raises
    ------
    UserError
        If the classifier gives a value that is not finite.
    """
    classifier.to(device).eval()
    ids = list(dataset.data_ids)
    truth, predicted, rows, order = [], [], [], []
    with tqdm(total=len(ids), desc="classifying", unit="clip", disable=None if progress else True) as bar:
        for places in LengthBatches(seconds_of(dataset), batch_size):
            batch = PaddedBatch([dataset[place] for place in places])
            order += places
            signal = batch.signal
            logits = classifier.analyse(signal.data.to(device).float(), signal.lengths.to(device)).output.logits
            several = hasattr(batch, "labels")
            if several:
                named = [{classifier.label_index(label) for label in labels} for labels in batch.labels]
                truth += [[k in indices for k in range(len(classifier.labels))] for indices in named]
            else:
                truth += [classifier.label_index(label) for label in batch.label]
            predicted.append((classifier.heard(logits) if several else predicted_class(logits)).cpu().numpy())
            rows.append(probabilities(logits.double(), classifier.task).cpu().numpy())
            bar.update(len(batch.id))
    back = np.argsort(order)
    return Predictions(
        labels=tuple(classifier.labels),
        ids=tuple(ids),
        paths=tuple(_relative(dataset.data[clip]["wav"], data_root) for clip in ids),
        truth=np.array(truth, dtype=bool if several else np.int64)[back],
        predicted=np.concatenate(predicted)[back],
        probabilities=np.concatenate(rows)[back],
    )


def write_predictions(path: str | Path, by_split: Mapping[str, Predictions]) -> None:
    """Write what is heard in the clips of some splits as a CSV file, atomically.

    The columns are the clip's id, its path, its split, the true and the predicted class, the probability of that
    (``confidence``), and then that of each class, ``p(LABEL)``, with six significant digits. Names that hold a comma, a
    quote or an end of line are quoted. Of clips that may have several labels, the columns ``true labels`` and ``heard
    labels`` have them as :func:`.names.join_labels` does, and ``confidence`` is the highest probability.
    """
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    first = next(iter(by_split.values()))
    labels = first.labels
    writer.writerow([*(_HEAD_OF_SEVERAL if first.several else _HEAD), *(f"p({label})" for label in labels)])
    for split, predictions in by_split.items():
        for k in range(len(predictions)):
            classes = (predictions.truth[k], predictions.predicted[k])
            if first.several:
                names = (join_labels([labels[index] for index in np.flatnonzero(each)]) for each in classes)
            else:
                names = (labels[index] for index in classes)
            values = (f"{value:.6g}" for value in (predictions.confidence[k], *predictions.probabilities[k]))
            writer.writerow([predictions.ids[k], predictions.paths[k], split, *names, *values])
    write_text(path, stream.getvalue())


def read_predictions(path: str | Path, labels: Sequence[str]) -> dict[str, Predictions]:
    """Read what :func:`write_predictions` wrote: split -> predictions.

    Parameters
    ----------
    path : path
    labels : sequence of str
        The classifier's classes.

    Raises
    ------
    MissingError
        If there is no such file.
    UserError
        If it is damaged, or of a classifier with other classes.
    """
    advice = ": remove it, and run the command that made it again"
    content = read_bytes(path, _MOST_BYTES)
    index = {label: k for k, label in enumerate(labels)}
    rows: dict[str, list[tuple]] = {}
    with user_errors(f"{path}: is not a table of predictions", csv.Error, ValueError, KeyError, advice=advice):
        reader = csv.reader(io.StringIO(content.decode("utf-8"), newline=""), strict=True)
        head = next(reader, None)
        if head and tuple(head[: len(_HEAD)]) == _HEAD_OF_SEVERAL:
            raise UserError(
                f"{path}: is of clips with several labels each, in which no class stands against another: see the "
                "report beside it"
            )
        if head != [*_HEAD, *(f"p({label})" for label in labels)]:
            raise UserError(f"{path}: its columns are not those of the classes {shown(list(labels))}{advice}")
        for clip, place, split, true, predicted, _, *values in reader:
            if len(values) != len(labels):
                raise UserError(f"{path}, line {reader.line_num}: has {len(values)} probabilities{advice}")
            shares = np.array(values, dtype=np.float64)
            if not bool(((shares >= 0) & (shares <= 1)).all()):
                raise UserError(f"{path}, line {reader.line_num}: a probability is outside 0 to 1{advice}")
            rows.setdefault(split, []).append((clip, place, index[true], index[predicted], shares))
    by_split = {}
    for split, members in rows.items():
        ids, paths, truth, predicted, shares = zip(*members, strict=True)
        by_split[split] = Predictions(tuple(labels), ids, paths, np.array(truth), np.array(predicted), np.stack(shares))
    return by_split


def _relative(path: str, root: Path) -> str:
    return Path(path).relative_to(root).as_posix() if Path(path).is_relative_to(root) else path
