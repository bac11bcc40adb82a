"""What a classifier hears in the clips of a data set: computed, and kept as a table (``predictions.csv``)."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from speechbrain.dataio.batch import PaddedBatch
from speechbrain.dataio.dataset import DynamicItemDataset
from torch import Tensor
from tqdm import tqdm

from interpretability.classifiers import Classifier
from interpretability.data.batches import LengthBatches, labels_at, seconds_of
from interpretability.errors import UserError, shown, user_errors
from interpretability.files import csv_text, place_in, write_text
from interpretability.names import join_labels
from interpretability.probabilities import predicted_class, probabilities
from interpretability.reading import read_bytes

PREDICTIONS = "predictions.csv"
_HEAD = ("id", "path", "split", "true", "predicted", "confidence")
_HEAD_OF_SEVERAL = ("id", "path", "split", "true labels", "heard labels", "confidence")
_MOST_BYTES = 2**32


@dataclass(frozen=True)
class LabelCounts:
    """How many clips have a ``label``, in how many of them it is ``missed``, and its ``false_alarms`` in others."""

    label: str
    clips: int
    missed: int
    false_alarms: int


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

    def wrong_labels(self, thresholds: Sequence[float]) -> list[tuple[int, int]]:
        """Return the (clip, class) positions whose answer is wrong, where clips may have several; most confident first.

        Confidence is how far the probability lies from the threshold of its class, as a share of how far it could.
        """
        clips, classes = np.nonzero(self.truth != self.predicted)
        shares, limits = self.probabilities[clips, classes], np.asarray(thresholds, dtype=np.float64)[classes]
        room = np.where(self.predicted[clips, classes], 1 - limits, limits)
        order = np.argsort(-np.abs(shares - limits) / np.maximum(room, 1e-12), kind="stable")
        return [(int(clips[k]), int(classes[k])) for k in order]

    def counts_of_labels(self) -> list[LabelCounts]:
        """Return the counts of each label with wrong answers, those with most of these first."""
        missed, alarms = (self.truth & ~self.predicted).sum(axis=0), (self.predicted & ~self.truth).sum(axis=0)
        order = np.argsort(-(missed + alarms), kind="stable")
        rows = np.stack([self.truth.sum(axis=0), missed, alarms], axis=1).tolist()
        return [LabelCounts(self.labels[k], *rows[k]) for k in order if missed[k] + alarms[k]]


@dataclass(frozen=True)
class Answers:
    """Some clips, their ``places`` in the data set, the ``batch`` of them, and their ``logits`` [b, C]."""

    places: list[int]
    batch: PaddedBatch
    logits: Tensor


@torch.no_grad()
def classified(
    classifier: Classifier, dataset: DynamicItemDataset, batch_size: int, device: str, progress: bool = True
) -> Iterator[Answers]:
    """Classify every clip of a data set, those of similar length together: in any order."""
    with tqdm(total=len(dataset), desc="classifying", unit="clip", disable=None if progress else True) as bar:
        for places in LengthBatches(seconds_of(dataset), batch_size):
            batch = PaddedBatch([dataset[place] for place in places])
            wavs, lengths = batch.signal.data.to(device).float(), batch.signal.lengths.to(device)
            yield Answers(places, batch, classifier.analyse(wavs, lengths).output.logits)
            bar.update(len(places))


def class_truth(classifier: Classifier, batch: PaddedBatch) -> Tensor:
    """Return 1 for the classes of each clip of a batch, which has ``label`` or ``labels``, and 0: [B, C].

    Raises
    ------
    UserError
        If the classifier has no such class; if clips of several labels meet a classifier of one.
    """
    if hasattr(batch, "labels") and classifier.task == "single":
        raise UserError(
            f"{classifier.title} has one label for each clip, and the data have several: train one on these data"
        )
    truth = torch.zeros(len(batch.id), len(classifier.labels))
    for position in range(len(batch.id)):
        for label in labels_at(batch, position):
            truth[position, classifier.label_index(label)] = 1.0
    return truth


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
    for part in classified(classifier, dataset, batch_size, device, progress):
        batch, logits, several = part.batch, part.logits, hasattr(part.batch, "labels")
        known = class_truth(classifier, batch).bool()
        truth.append((known if several else known.int().argmax(dim=1)).numpy())
        predicted.append((classifier.heard(logits) if several else predicted_class(logits)).cpu().numpy())
        rows.append(probabilities(logits.double(), classifier.task).cpu().numpy())
        order += part.places
    back = np.argsort(order)
    return Predictions(
        labels=tuple(classifier.labels),
        ids=tuple(ids),
        paths=tuple(place_in(dataset.data[clip]["wav"], data_root) for clip in ids),
        truth=np.concatenate(truth)[back],
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
    first = next(iter(by_split.values()))
    labels = first.labels
    rows: list[list[str]] = [[*(_HEAD_OF_SEVERAL if first.several else _HEAD), *(f"p({label})" for label in labels)]]
    for split, predictions in by_split.items():
        for k in range(len(predictions)):
            classes = (predictions.truth[k], predictions.predicted[k])
            if first.several:
                names = (join_labels([labels[index] for index in np.flatnonzero(each)]) for each in classes)
            else:
                names = (labels[index] for index in classes)
            values = (f"{value:.6g}" for value in (predictions.confidence[k], *predictions.probabilities[k]))
            rows.append([predictions.ids[k], predictions.paths[k], split, *names, *values])
    write_text(path, csv_text(rows))


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
