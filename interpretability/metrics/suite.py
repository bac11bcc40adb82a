"""All metrics of a batch at once, and their summary over clips.

:data:`METRICS` lists the metrics of every clip in the order of the table, :data:`LOCALISATION` those that need to know
where the labelled sound is. A new one is a decorated function (:func:`.metric`) in one of :data:`MODULES`. A method's
own scores (see :class:`.Interpretation`) are the third part of a table; :func:`metric_info` says how to read each.
"""

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from interpretability.frontend import APPLY_DOMAINS, PLACES, Clips, MaskedPair
from interpretability.metrics import faithfulness, localisation, sparsity
from interpretability.metrics.registry import MetricInfo, measure, metrics_of
from interpretability.metrics.statistics import summarise
from interpretability.probabilities import MaskedLogits, class_probability

#: Below this 1 - p the average gain divides by so little that it is noise.
SATURATION = 1e-3


#: Where metrics are defined, in the order of the table. A new module of metrics is added here.
MODULES = (faithfulness, sparsity, localisation)
#: The metrics of every clip, in the order of the table.
METRICS = {name: info for name, info in metrics_of(*MODULES).items() if "truth" not in info.needs}
#: Those that need to know where the labelled sound is.
LOCALISATION = {name: info for name, info in metrics_of(*MODULES).items() if "truth" in info.needs}

#: What else :class:`MetricSuite` gives for a clip.
DIAGNOSTICS = ("p", "o", "q", "silent", "saturated")

#: Metrics that a second classifier measures, too, of the masks of a first one; and what their names then begin with.
TRANSFERRED, TRANSFER = ("fid_in", "ad", "ff"), "transfer_"

_FIDELITY = re.compile(r"fid_top(\d+)")


def metric_info(name: str) -> MetricInfo:
    """Return how to read a metric, or one of a method's own scores.

    Only the name of a score is known, so it has no direction, except for top-k fidelity (1 if the explained class is
    among the k that the interpreter finds most probable), of which more is better. What a second classifier measures
    (:data:`TRANSFERRED`) is read as the metric itself.

    Examples
    --------
    >>> metric_info("ad").better, metric_info("iou").label, metric_info("fid_top3").label
    ('low', 'IoU', 'top-3 fidelity')
    >>> metric_info("n_components")
    MetricInfo(name='n_components', label='n components', better='none', range='', unit='')
    """
    if name in METRICS or name in LOCALISATION:
        return (METRICS | LOCALISATION)[name]
    if name.removeprefix(TRANSFER) in TRANSFERRED and name.startswith(TRANSFER):
        info = METRICS[name.removeprefix(TRANSFER)]
        return replace(info, name=name, label=f"transfer {info.label}")
    match = _FIDELITY.fullmatch(name)
    if match:
        return MetricInfo(name, f"top-{match[1]} fidelity", "high", "{0, 1}")
    return MetricInfo(name, name.replace("_", " "), "none", "")


class MaskedClassifier(Protocol):
    """What the suite needs of a classifier, which must be in evaluation mode; ``task`` is "single" or "multi".

    ``thresholds`` [C] are those of the classes in a multi-label head.
    """

    task: str
    training: bool
    thresholds: Tensor

    def classify_pair(self, pair: MaskedPair, place: str) -> MaskedLogits:
        """Classify what a mask keeps and what it removes, at one place."""


class Logits(Protocol):
    """Logits [B, C] of the unmasked input."""

    logits: Tensor


class Batch(Protocol):
    """What the suite needs of a batch: clips, the classifier's answer to them, and the explained classes [B]."""

    clips: Clips
    output: Logits
    target: Tensor


class MetricSuite:
    """Every metric for a batch, from one batched classifier pass over In and Out for each place.

    Parameters
    ----------
    classifier
        See :class:`MaskedClassifier`.
    apply : {"log", "linear"}
        Domain in which the mask multiplies.

    Raises
    ------
    ValueError
        If ``apply`` is not one of these.
    """

    def __init__(self, classifier: MaskedClassifier, apply: str = "log"):
        if apply not in APPLY_DOMAINS:
            raise ValueError(f"apply is {apply!r}, expected one of {', '.join(APPLY_DOMAINS)}")
        self.classifier = classifier
        self.apply = apply

    @torch.no_grad()
    def __call__(
        self,
        batch: Batch,
        mask: Tensor,
        places: Iterable[str] = ("spectrogram",),
        pair: MaskedPair | None = None,
        masked: Mapping[str, MaskedLogits | None] | None = None,
        truth: Tensor | None = None,
        undefined: Tensor | None = None,
    ) -> dict[str, dict[str, Tensor]]:
        """Measure a batch; what does not depend on the place is computed once for all places.

        Logits are taken in float32 and probabilities computed from them in float64. ``batch.output`` should have been
        computed at the precision in force now, so that In with a mask of ones gives the same probability.

        Parameters
        ----------
        batch : AnalysedBatch
        mask : Tensor [B, T, F]
            In [0, 1].
        places : iterable of {"spectrogram", "waveform"}
            Where In and Out are classified: as masked magnitudes, or as the audio made from them (what a listener
            hears).
        pair : MaskedPair, optional
            In and Out of this mask, if they are already made.
        masked : mapping, optional
            Place -> the classifier's answer to In and Out there, if it is already known.
        truth : Tensor [B, T, F] of bool, optional
            The bins in which the labelled source dominates, where that is known.
        undefined : Tensor [B] of bool, optional
            Clips for which the method has no explanation; none if not given.

        Returns
        -------
        dict of str to dict of str to Tensor [B], float64
            For each place the metrics of :data:`METRICS`; with ``truth`` those of :data:`LOCALISATION` (of these,
            energy precision depends on the place: In at "waveform" is what an analysis of the masked sound gives); and
            ``p``, ``o``, ``q`` (see :mod:`.faithfulness`), ``silent`` (1.0 where the magnitude is 0 on all valid bins;
            FF, FF-In, AD, AI and AG are then 0) and ``saturated`` (1.0 where ``1 - p < 1e-3``). Of an undefined clip
            every metric, ``o`` and ``q`` are NaN: its mask of zeros is a placeholder.

        Raises
        ------
        ValueError
            If a place is unknown; if the mask is not finite, leaves [0, 1] or has another shape than the magnitude; if
            logits or target do not fit; if the classifier is in training mode.
        """
        places = tuple(places)
        unknown = [place for place in places if place not in PLACES]
        if unknown:
            raise ValueError(f"place is {unknown[0]!r}, expected one of {', '.join(PLACES)}")
        if getattr(self.classifier, "training", False):
            # Batch statistics would make each clip's metrics depend on its neighbours, and be overwritten.
            raise ValueError("the classifier is in training mode: call classifier.eval() before measuring")
        magnitude, valid = batch.clips.spectrogram.magnitude, batch.clips.spectrogram.valid
        if mask.shape != magnitude.shape:
            raise ValueError(f"mask has shape {list(mask.shape)}, the magnitude has {list(magnitude.shape)}")
        sparsity.check_range(mask, valid)

        logits, target = batch.output.logits.float(), batch.target
        whole = class_probability(logits, target, self.classifier.task)
        metrics = [*METRICS.values(), *(LOCALISATION.values() if truth is not None else ())]
        threshold = self.classifier.thresholds.to(target.device)[target] if self.classifier.task == "multi" else None
        clip = {"p": whole.p, "p_rest": whole.rest, "target": target, "logits": logits, "threshold": threshold}
        clip |= {"mask": mask, "magnitude": magnitude, "valid": valid, "truth": truth}
        everywhere = measure((info for info in metrics if not info.depends_on_place), clip)
        silent = _silent(magnitude, valid)
        state = {"silent": silent.double(), "saturated": (whole.rest < SATURATION).double()}

        pair = MaskedPair.of(batch.clips, mask, self.apply) if pair is None else pair
        results = {}
        for place in places:
            known = None if masked is None else masked.get(place)
            here = self._classified(pair, logits, target, place, known)
            if truth is not None:
                inside = pair.inside if place == "spectrogram" else pair.clips[: len(mask)].spectrogram.magnitude
                here["inside_magnitude"] = inside
            values = everywhere | measure((info for info in metrics if info.depends_on_place), clip | here)
            # Silence has no probability to lose or to gain.
            values = {i.name: values[i.name].masked_fill(silent & ("p" in i.needs), 0.0) for i in metrics}
            values |= {"p": whole.p, "o": here["o"], "q": here["q"]}
            if undefined is not None:
                values |= {name: x.masked_fill(undefined, math.nan) for name, x in values.items() if name != "p"}
            results[place] = values | state
        return results

    def _classified(
        self, pair: MaskedPair, logits: Tensor, target: Tensor, place: str, known: MaskedLogits | None
    ) -> dict[str, Tensor]:
        """Return the classifier's answers on In and Out at a place: the logits of In and both probabilities."""
        if known is None:
            known = self.classifier.classify_pair(pair, place)
        inside, outside = known.inside.float(), known.outside.float()
        if inside.shape != logits.shape or outside.shape != logits.shape:
            raise ValueError(
                f"logits of In and Out have shapes {list(inside.shape)} and {list(outside.shape)}, "
                f"those of the input {list(logits.shape)}"
            )
        o, q = (class_probability(part, target, self.classifier.task).p for part in (inside, outside))
        return {"inside_logits": inside, "o": o, "q": q}


def clip_values(values: Mapping[str, Tensor], index: int) -> dict[str, float | None]:
    """Return one clip's values as plain numbers for JSON; None where undefined.

    Examples
    --------
    >>> clip_values({"ad": torch.tensor([1.0, 2.0]), "sps": torch.tensor([0.5, math.nan])}, 1)
    {'ad': 2.0, 'sps': None}
    """
    numbers = {name: float(value[index]) for name, value in values.items()}
    return {name: number if math.isfinite(number) else None for name, number in numbers.items()}


def summarise_clips(
    rows: Sequence[Mapping[str, Any]],
    n_resamples: int = 2000,
    level: float = 0.95,
    seed: int = 0,
    names: Iterable[str] | None = None,
    by_clip: bool = False,
) -> dict[str, Any]:
    """Means over clips, as plain numbers that go into JSON as they are.

    Parameters
    ----------
    rows : sequence of mappings
        One per clip: each metric (None or NaN: undefined) and, if known, ``silent`` and ``saturated`` (0 or 1). Other
        keys are ignored.
    n_resamples, level, seed
        As in :func:`.bootstrap_mean`.
    names : iterable of str, optional
        The metrics, :data:`METRICS` by default; any key of the rows will do.
    by_clip : bool
        A clip may have several rows, one for each of its labels: each row names its ``clip``, and the intervals are
        over clips.

    Returns
    -------
    dict
        For each metric ``{"mean", "low", "high", "n", "undefined"}`` over the rows that are not silent; ``clips``,
        the number of those rows; ``silent``, the number left out; ``median_ag`` and ``share_saturated`` over those
        measured (None if there are none).

    Raises
    ------
    ValueError
        If a row lacks a metric.

    Examples
    --------
    >>> row = dict.fromkeys(METRICS, 0.5)
    >>> summary = summarise_clips([row, row | {"sps": None}, row | {"silent": 1.0}])
    >>> summary["sps"]
    {'mean': 0.5, 'low': 0.5, 'high': 0.5, 'n': 1, 'undefined': 1}
    >>> summary["clips"], summary["silent"]
    (2, 1)
    """
    heard = [row for row in rows if not row.get("silent")]
    clips = [row["clip"] for row in heard] if by_clip else None
    intervals = summarise(heard, METRICS if names is None else names, n_resamples, level, seed, clips)
    gains = np.array([row["ag"] for row in heard], dtype=np.float64)
    gains = gains[~np.isnan(gains)]
    return {
        **{name: interval.as_dict() for name, interval in intervals.items()},
        "clips": len(heard),
        "silent": len(rows) - len(heard),
        "median_ag": float(np.median(gains)) if len(gains) else None,
        "share_saturated": sum(bool(row.get("saturated")) for row in heard) / len(heard) if heard else None,
    }


def _silent(magnitude: Tensor, valid: Tensor) -> Tensor:
    peak = magnitude.abs().amax(dim=2).masked_fill(~valid, 0.0)  # [B, T]
    return peak.amax(dim=1) == 0  # [B]
