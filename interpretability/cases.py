"""What an evaluation explains: the predicted class of each clip, or each label of clips that may have several."""

from __future__ import annotations

import itertools
import operator
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from speechbrain.dataio.dataset import DynamicItemDataset

from interpretability.classifiers.base import Classifier
from interpretability.data.batches import LengthBatches
from interpretability.errors import UserError, shown
from interpretability.metrics.detection import detection
from interpretability.predictions import class_truth, classified
from interpretability.probabilities import probabilities

#: Which classes of a clip are explained: the most probable one, each that is heard, or those that the data name.
EXPLAIN = ("top", "predicted", "labels")
#: In their place: one class, or what is asked in place of one, of every clip.
TARGET = "target"
#: A clip's id and the class that is explained of it; None: the most probable one.
Case = tuple[str, str | None]


@dataclass
class Cases:
    """What is explained of a split.

    Attributes
    ----------
    explain : str
        One of :data:`EXPLAIN`, or :data:`TARGET`.
    cases : list of (str, str or None)
        In the order of the clips, and of the classifier's classes.
    several : bool
        Whether clips may have several labels, or several classes are explained of one.
    heard : dict of str to list of str
        Clip -> the classes that are heard in it, where ``several``.
    without : int
        Of ``predicted``: clips in which no class is heard, so that the most probable one is explained. Of ``labels``:
        clips that have no label, and are not explained.
    detection : dict
        How well the classifier hears the labels of these clips, of data with several labels: ``mean_ap``, ``macro_f1``
        and ``micro_f1``.
    """

    explain: str
    cases: list[Case]
    several: bool = False
    heard: dict[str, list[str]] = field(default_factory=dict)
    without: int = 0
    detection: dict[str, float | None] = field(default_factory=dict)

    def batches(
        self, size: int, seconds: Mapping[str, float] | None = None, batch_seconds: float | None = None
    ) -> list[list[Case]]:
        """Return the cases in batches of at most ``size``; those of one clip stay together, however many they are.

        Of clips whose lengths in ``seconds`` differ, those of similar length come together
        (:class:`~interpretability.data.batches.LengthBatches`).
        """
        of_clips = [list(cases) for _, cases in itertools.groupby(self.cases, key=operator.itemgetter(0))]
        lengths = LengthBatches([(seconds or {}).get(cases[0][0], 0.0) for cases in of_clips], size, batch_seconds)
        # Of clips of one length, the cases of all are packed; of others, those that may come together.
        together = [(range(len(of_clips)), size)] if lengths.alike else [(places, len(places)) for places in lengths]
        return [batch for places, most in together for batch in _packed([of_clips[place] for place in places], most)]

    @property
    def share_clips(self) -> bool:
        """Whether several classes are explained of some clip."""
        return len({clip for clip, _ in self.cases}) < len(self.cases)

    def as_dict(self) -> dict[str, Any]:
        """Return what a summary records about it."""
        return {"explain": self.explain, "explanations": len(self.cases), "without": self.without, **self.detection}


def clips_about(dataset: DynamicItemDataset, labels: Collection[str]) -> DynamicItemDataset:
    """Return the clips of a data set that have one of these labels; all of them if there are none.

    Raises
    ------
    UserError
        If no clip has one.
    """
    if not labels:
        return dataset
    key = "labels" if "labels" in dataset[0] else "label"
    chosen = dataset.filtered_sorted(
        key_test={key: lambda given: not {*labels}.isdisjoint([given] if isinstance(given, str) else given)}
    )
    if not len(chosen):
        raise UserError(f"no clip has the label {' or '.join(map(shown, labels))}, which the target is about")
    return chosen


def _packed(of_clips: list[list[Case]], size: int) -> list[list[Case]]:
    """Return the cases of some clips in batches of ``size``, in their order."""
    batches: list[list[Case]] = []
    for members in of_clips:
        if not batches or len(batches[-1]) + len(members) > size:
            batches.append([])
        batches[-1] += members
    return batches


@torch.no_grad()
def choose_cases(
    classifier: Classifier,
    dataset: DynamicItemDataset,
    explain: str | None = None,
    batch_size: int = 16,
    device: str = "cpu",
    progress: bool = True,
    target: str | None = None,
) -> Cases:
    """Choose which classes of which clips are explained.

    Parameters
    ----------
    classifier : Classifier
        Frozen, on the device.
    dataset : DynamicItemDataset
        With ``id``, ``signal`` and ``label`` or ``labels``.
    explain : {"top", "predicted", "labels"}, optional
        ``top``: of each clip the most probable class. ``predicted``: each class that is heard, of a multi-label
        classifier those whose probability is at least their threshold; where none is, the most probable one.
        ``labels``: those that the data name. If not given, ``predicted`` where the data have several labels for each
        clip, and ``top`` where they have one.
    target : str, optional
        The class of the classifier that is explained of every clip.
    batch_size, device, progress
        Of the pass over all clips that finds out what is heard; there is none for clips of one label with ``top``.

    Raises
    ------
    UserError
        If there is nothing to explain; if the data have several labels for each clip, and the classifier has one.
    """
    ids = list(dataset.data_ids)
    if not ids:
        raise UserError("nothing to evaluate: the split has no clips; choose other folds")
    if explain not in (None, *EXPLAIN):
        raise UserError(f"explain is {explain!r}, expected one of {', '.join(EXPLAIN)}")
    tagged = "labels" in dataset[0]
    if target is not None:
        asked = [(clip, target) for clip in ids]
        if not tagged:
            return Cases(TARGET, asked)
        _, _, heard, _ = _heard(classifier.base, dataset, batch_size, device, progress)
        names = np.array(classifier.base.labels, dtype=object)
        return Cases(TARGET, asked, True, {clip: list(names[row]) for clip, row in zip(ids, heard, strict=True)})
    explain = explain or ("predicted" if tagged else "top")
    if explain == "top" and not tagged:
        return Cases(explain, [(clip, None) for clip in ids])
    if tagged and classifier.task == "single":
        raise UserError(
            f"{classifier.title} has one label for each clip, and the data have several: explain a classifier that was "
            "trained on such data"
        )
    answers, truth, heard, active = _heard(classifier, dataset, batch_size, device, progress)
    names = np.array(classifier.labels, dtype=object)
    if explain == "top":
        cases, without = [(clip, None) for clip in ids], 0
    else:
        chosen = active if explain == "predicted" else truth
        cases = [(clip, label) for clip, row in zip(ids, chosen, strict=True) for label in names[row]]
        without = int((~(heard if explain == "predicted" else truth).any(axis=1)).sum())
    if not cases:
        raise UserError(f"nothing to explain: none of the {len(ids)} clips has a label; give explain=predicted")
    measured = {}
    if tagged:
        hearing = detection(classifier.labels, truth, answers, classifier.thresholds.tolist())
        measured = {name: getattr(hearing, name) for name in ("mean_ap", "macro_f1", "micro_f1")}
    by_clip = {clip: list(names[row]) for clip, row in zip(ids, heard, strict=True)} if tagged else {}
    return Cases(explain, cases, True, by_clip, without, measured)


def _heard(
    classifier: Classifier, dataset: DynamicItemDataset, batch_size: int, device: str, progress: bool
) -> tuple[np.ndarray, ...]:
    """Return of all N clips, each [N, C]: probabilities, which classes they have, which are heard, which are active."""
    parts: list[tuple[np.ndarray, ...]] = []
    order: list[int] = []
    for some in classified(classifier, dataset, batch_size, device, progress):
        answered, truth = probabilities(some.logits.double(), classifier.task), class_truth(classifier, some.batch)
        of_batch = (answered, truth.bool(), classifier.heard(some.logits), classifier.active(some.logits))
        parts.append(tuple(part.cpu().numpy() for part in of_batch))
        order += some.places
    back = np.argsort(order)
    return tuple(np.concatenate(members)[back] for members in zip(*parts, strict=True))
