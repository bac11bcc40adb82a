"""Synthesised sounds of several overlapping targets, each of which is known alone: clips of the Synthetic data set.

A *scene* is a clip of :mod:`.sounds` with further targets, of other classes, in the same seconds. What is said there
about frequencies, levels and the grid of 24-bit audio holds here as well: ``mixture`` is the sum of all targets and
the rest to the last bit, and so is the mixture less any of them.
"""

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from interpretability.data.sounds import (
    LABELS,
    PEAK,
    SNR_DB,
    check_format,
    generators,
    log_uniform,
    make_event,
    make_rest,
    on_grid,
)
from interpretability.errors import UserError


@dataclass(frozen=True)
class SyntheticScene:
    """One scene and the parts that it is the sum of.

    Attributes
    ----------
    mixture, rest : np.ndarray
        [N], float32, full scale at 1. The rest is of no class: coloured noise and distractors.
    targets : dict of str to np.ndarray
        Label -> [N], that source alone; in the order of :data:`.sounds.LABELS`.
    parameters : dict
        What was drawn for this scene, ready for JSON: ``targets``, label -> ``event_start``, ``event_stop``,
        ``low_hz``, ``high_hz`` and ``snr_db`` over the rest, as of :class:`.sounds.SyntheticClip`; ``noise_slope``,
        ``distractors``; ``peak`` of the loudest of mixture and targets.
    """

    mixture: np.ndarray
    targets: dict[str, np.ndarray]
    rest: np.ndarray
    parameters: dict[str, Any] = field(default_factory=dict)


def make_scene(
    seed: int, split: str, index: int, max_targets: int = 3, *, sample_rate: int = 16000, seconds: float = 2.0
) -> SyntheticScene:
    """Make one scene; the same arguments always give the same samples, whatever else is made.

    The classes take turns, and of each class the numbers of targets do: 1, 2, …, ``max_targets``. Background and first
    target are those of the clip of :func:`.sounds.make_clip` with the same number, but for the level of the whole. The
    further ones are drawn from the same distributions, and share at least half of the shorter duration with the first.

    Parameters
    ----------
    seed : int
        Of the data set, >= 0.
    split : str
        "train", "valid" or "test".
    index : int
        Number of the scene within its split, >= 0.
    max_targets : int
        Most targets of a scene, 1 to 10: each is of another class.
    sample_rate : int
        In hertz, >= 16000.
    seconds : float
        Length of the scene, >= 1.

    Returns
    -------
    SyntheticScene
        [N] each with N = round(seconds * sample_rate). The loudest of mixture and targets has a peak between 0.1 and
        0.82.

    Raises
    ------
    UserError
        For a split, number, rate or length outside the ranges above.

    Examples
    --------
    >>> scene = make_scene(seed=1234, split="train", index=17)
    >>> list(scene.targets), scene.mixture.shape
    (['siren', 'decaying_knocks'], (32000,))
    >>> bool((scene.mixture == sum(scene.targets.values()) + scene.rest).all())
    True
    """
    check_max_targets(max_targets)
    check_format(sample_rate, seconds)
    of_event, of_background, of_level, of_more = _streams(seed, split, index)
    first = LABELS[index % len(LABELS)]
    n_more = index // len(LABELS) % max_targets
    others = [label for label in LABELS if label != first]

    n = round(seconds * sample_rate)
    event = make_event(of_event, first, n, sample_rate)
    rest, background = make_rest(of_background, n, sample_rate)
    events, levels = {first: event}, {first: of_level.uniform(*SNR_DB)}
    for label in map(str, of_more.choice(others, size=n_more, replace=False)):
        events[label] = make_event(of_more, label, n, sample_rate, beside=event.span)
        levels[label] = of_more.uniform(*SNR_DB)
    labels = sorted(events, key=LABELS.index)
    targets = [events[label].over(rest, levels[label]) for label in labels]
    peak = log_uniform(of_level, *PEAK)
    # Two targets may cancel each other: alone, each has to stay within full scale as well.
    gain = peak / max(float(np.max(np.abs(part))) for part in (sum(targets) + rest, *targets))
    *targets, rest = (on_grid(part * gain) for part in (*targets, rest))

    drawn = {label: {**events[label].parameters, "snr_db": round(levels[label], 2)} for label in labels}
    return SyntheticScene(
        mixture=sum(targets) + rest,
        targets=dict(zip(labels, targets, strict=True)),
        rest=rest,
        parameters={"targets": drawn, **background, "peak": round(peak, 4)},
    )


def _streams(seed: int, split: str, index: int) -> tuple[np.random.Generator, ...]:
    """Return the generators of event, background and level that a single clip has, and that of the further targets."""
    of_event, of_background, of_level, _, of_more = generators(seed, split, index, 5)
    return of_event, of_background, of_level, of_more


def check_max_targets(max_targets: int) -> None:
    """Refuse a number of targets that there cannot be."""
    if not isinstance(max_targets, int) or isinstance(max_targets, bool) or not 1 <= max_targets <= len(LABELS):
        raise UserError(
            f"max_targets must be a whole number from 1 to {len(LABELS)}, as each target of a clip is of another "
            f"class; got {max_targets!r}."
        )
