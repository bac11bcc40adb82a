"""Metrics of explanations: pure functions of probabilities or of a mask, one value per clip.

Conventions
-----------
- Shapes: B clips, T frames, F frequency bins, C classes. Probabilities are [B], masks [B, T, F] in [0, 1] and ``valid``
  is [B, T], True on the frames of the clip.
- ``p``, ``o``, ``q``: probability of the explained class from the unmasked input, from In (what the mask keeps) and
  from Out (what it removes), computed once, from logits.
- Results are [B] in float64. NaN is *undefined*: counted in every summary, never dropped silently, never taken for 0.
- ``truth`` is [B, T, F] of bool, the bins in which the labelled source dominates, where that is known.
- :class:`~interpretability.metrics.suite.MetricSuite` computes all of them from one batched classifier pass; the tables
  ``METRICS`` and ``LOCALISATION`` beside it say how to read them.
"""
