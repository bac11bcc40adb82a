"""Metrics of explanations: pure functions of probabilities or of a mask, one value per clip.

Conventions
-----------
- Shapes: B clips, T frames, F frequency bins, C classes. Probabilities are [B], masks [B, T, F] in [0, 1] and ``valid``
  is [B, T], True on the frames of the clip.
- ``p``, ``o``, ``q``: probability of the explained class from the unmasked input, from In (what the mask keeps) and
  from Out (what it removes), computed once, from logits.
- Results are [B] in float64. NaN is *undefined*: counted in every summary, never dropped silently, never taken for 0.
- ``truth`` is [B, T, F] of bool, the bins in which the labelled source dominates, where that is known.
- :class:`MetricSuite` computes all of them from one batched classifier pass; :data:`METRICS` and :data:`LOCALISATION`
  say how to read them.
- The function ``faithfulness`` is imported from the module of that name: exported here, it would hide the module.
"""

from interpretability.metrics.areas import keep_count, keep_top
from interpretability.metrics.faithfulness import (
    EQUAL_TOLERANCE,
    average_drop,
    average_gain,
    average_increase,
    faithfulness_in,
    input_fidelity,
)
from interpretability.metrics.localisation import (
    energy_precision,
    energy_weighted_auroc,
    intersection_over_union,
    pointing_game,
)
from interpretability.metrics.registry import MetricInfo, metric
from interpretability.metrics.sparsity import complexity, kept_area, relative_complexity, sparseness
from interpretability.metrics.statistics import Interval, bootstrap_mean, paired_difference, summarise
from interpretability.metrics.suite import (
    LOCALISATION,
    METRICS,
    MetricSuite,
    metric_info,
    summarise_clips,
)

__all__ = [
    "EQUAL_TOLERANCE",
    "LOCALISATION",
    "METRICS",
    "Interval",
    "MetricInfo",
    "MetricSuite",
    "average_drop",
    "average_gain",
    "average_increase",
    "bootstrap_mean",
    "complexity",
    "energy_precision",
    "energy_weighted_auroc",
    "faithfulness_in",
    "input_fidelity",
    "intersection_over_union",
    "keep_count",
    "keep_top",
    "kept_area",
    "metric",
    "metric_info",
    "paired_difference",
    "pointing_game",
    "relative_complexity",
    "sparseness",
    "summarise",
    "summarise_clips",
]
