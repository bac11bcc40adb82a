"""From values per clip to a mean with its interval.

Conventions: one value per clip; NaN or None is *undefined*. Undefined clips are left out of the mean and counted. The
interval is the percentile bootstrap over clips, the same for the same values and the same seed. Infinite values are
errors. A clip with several labels has a value for each: then the mean is over the values, and the bootstrap still draws
clips, each with all its values, as these are not independent of each other.
"""

import math
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import stdtrit

# Elements drawn at a time: bounds the memory to some 100 MB whatever the number of clips.
_CHUNK = 2_000_000


@dataclass(frozen=True)
class Interval:
    """A mean over clips with its bootstrap interval.

    Attributes
    ----------
    mean, low, high : float or None
        None where no clip is defined.
    n : int
        Number of values in the mean: of clips, or of the labels of clips.
    undefined : int
        Number of values left out of it because they are undefined.
    """

    mean: float | None
    low: float | None
    high: float | None
    n: int
    undefined: int

    def as_dict(self) -> dict[str, float | int | None]:
        """The fields as plain numbers, for JSON."""
        return asdict(self)


def bootstrap_mean(
    values: ArrayLike,
    n_resamples: int = 2000,
    level: float = 0.95,
    seed: int = 0,
    clips: Sequence[Hashable] | None = None,
) -> Interval:
    """Mean over clips with its percentile bootstrap interval.

    The clips are drawn ``n_resamples`` times with replacement; the interval holds the central ``level`` of the means.

    Parameters
    ----------
    values : array_like [n]
        One value per clip; NaN or None is undefined.
    n_resamples : int
        Number of bootstrap samples.
    level : float
        Coverage, between 0 and 1.
    seed : int
        Seed of the draws. Two calls with as many defined values and the same seed draw the same clips.
    clips : sequence [n], optional
        The clip that each value is of, where a clip has several; by default each value is one clip.

    Returns
    -------
    Interval
        One defined value gives low = high = mean; none gives None for all three.

    Raises
    ------
    ValueError
        If ``values`` is not one-dimensional or holds an infinity, ``clips`` is not as long, or a setting is out of
        range.

    Examples
    --------
    >>> bootstrap_mean([2.0, None, 2.0])
    Interval(mean=2.0, low=2.0, high=2.0, n=2, undefined=1)
    >>> bootstrap_mean([1.0, 2.0, 3.0], clips=["a", "a", "b"])
    Interval(mean=2.0, low=1.5, high=3.0, n=3, undefined=0)
    >>> bootstrap_mean([])
    Interval(mean=None, low=None, high=None, n=0, undefined=0)
    """
    if n_resamples < 1 or not 0 < level < 1:
        raise ValueError(f"n_resamples is {n_resamples} and level {level}, expected >= 1 and between 0 and 1")
    values = _column(values)
    if clips is not None and len(clips) != len(values):
        raise ValueError(f"there are {len(values)} values and {len(clips)} clips: give the clip of each value")
    known = ~np.isnan(values)
    defined = values[known]
    n, undefined = len(defined), len(values) - len(defined)
    if n == 0:
        return Interval(None, None, None, 0, undefined)
    mean = float(defined.mean())
    if n == 1 or np.all(defined == defined[0]):  # nothing to resample, and no rounding to report as a spread
        return Interval(float(defined[0]), float(defined[0]), float(defined[0]), n, undefined)
    sums, counts = _per_clip(defined, None if clips is None else [clips[i] for i in np.flatnonzero(known)])
    if len(sums) == 1:  # of one clip there is nothing to draw
        return Interval(mean, mean, mean, n, undefined)
    means = _resampled_means(sums, counts, n_resamples, seed)
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return Interval(mean, float(low), float(high), n, undefined)


def mean_of_runs(values: Sequence[float], level: float = 0.95) -> Interval:
    """Mean over a few runs, such as the folds of a cross-validation, with its interval by Student's t.

    The bootstrap is too narrow for so few. The interval takes the runs for independent, which those of a
    cross-validation are only in part: they share training clips.

    Parameters
    ----------
    values : sequence of float [n]
        One per run.
    level : float
        Coverage, between 0 and 1.

    Returns
    -------
    Interval
        One run gives low = high = mean.

    Raises
    ------
    ValueError
        If there is no run, or a value is not finite.

    Examples
    --------
    >>> interval = mean_of_runs([0.8, 0.9, 0.85, 0.7, 0.95])
    >>> round(interval.mean, 3), round(interval.low, 3), round(interval.high, 3)
    (0.84, 0.721, 0.959)
    """
    values = np.asarray(values, dtype=np.float64)
    if values.ndim != 1 or not len(values) or not np.isfinite(values).all():
        raise ValueError(f"values are {values.tolist()}, expected a finite number for each run")
    n, mean = len(values), float(values.mean())
    # What a value that follows Student's t does not exceed in magnitude, with the probability of the level.
    t = float(stdtrit(n - 1, (1 + level) / 2)) if n > 1 else 0.0
    half = t * float(values.std(ddof=1)) / math.sqrt(n) if n > 1 else 0.0
    return Interval(mean, mean - half, mean + half, n, 0)


def paired_difference(
    a: ArrayLike,
    b: ArrayLike,
    n_resamples: int = 2000,
    level: float = 0.95,
    seed: int = 0,
    clips: Sequence[Hashable] | None = None,
) -> Interval:
    """Mean of ``a - b`` with its interval, where both were measured on the same clips in the same order.

    Each bootstrap sample draws clips, and takes both values of each: what makes a clip easy or hard for both methods
    cancels, so that the interval is narrower than the two separate ones suggest.

    Parameters
    ----------
    a, b : array_like [n]
        One value per clip. A clip where either is undefined is undefined.
    n_resamples, level, seed, clips
        As in :func:`bootstrap_mean`.

    Returns
    -------
    Interval
        Of the difference; above 0 throughout if ``a`` is larger beyond chance.

    Raises
    ------
    ValueError
        As :func:`bootstrap_mean`, and if ``a`` and ``b`` differ in length.

    Examples
    --------
    >>> paired_difference([1.0, 5.0, 9.0], [0.5, 4.5, 8.5])
    Interval(mean=0.5, low=0.5, high=0.5, n=3, undefined=0)
    """
    a, b = _column(a), _column(b)
    if len(a) != len(b):
        raise ValueError(f"a has {len(a)} clips and b has {len(b)}: a paired difference needs the same clips in both")
    return bootstrap_mean(a - b, n_resamples=n_resamples, level=level, seed=seed, clips=clips)


def summarise(
    rows: Sequence[Mapping[str, float | None]],
    names: Iterable[str],
    n_resamples: int = 2000,
    level: float = 0.95,
    seed: int = 0,
    clips: Sequence[Hashable] | None = None,
) -> dict[str, Interval]:
    """Mean and interval of each named column over rows, one row per clip or per label of a clip.

    Parameters
    ----------
    rows : sequence of mappings
        One per clip; a value of None or NaN is undefined.
    names : iterable of str
        The columns.
    n_resamples, level, seed, clips
        As in :func:`bootstrap_mean`.

    Returns
    -------
    dict of str to Interval
        In the order of ``names``.

    Raises
    ------
    ValueError
        If a row lacks a column: a forgotten metric is not an undefined one.

    Examples
    --------
    >>> summarise([{"ad": 3.0}, {"ad": None}], ["ad"])["ad"]
    Interval(mean=3.0, low=3.0, high=3.0, n=1, undefined=1)
    """
    names = list(names)
    for i, row in enumerate(rows):
        missing = [name for name in names if name not in row]
        if missing:
            raise ValueError(f"row {i} has no {', '.join(missing)}: every clip needs every metric (None if undefined)")
    return {name: bootstrap_mean([row[name] for row in rows], n_resamples, level, seed, clips) for name in names}


def _per_clip(values: np.ndarray, clips: Sequence[Hashable] | None) -> tuple[np.ndarray, np.ndarray | None]:
    """Return sum and number of the values [n] of each clip, in the order in which clips appear; None: 1 each."""
    if clips is None or len(set(clips)) == len(values):
        return values, None
    index = {clip: position for position, clip in enumerate(dict.fromkeys(clips))}
    of = np.array([index[clip] for clip in clips])
    return np.bincount(of, values), np.bincount(of)


def _resampled_means(sums: np.ndarray, counts: np.ndarray | None, n_resamples: int, seed: int) -> np.ndarray:
    """Return the mean of each bootstrap sample of clips, from the sum and the number of each clip's values."""
    draws = _drawn_clips(len(sums), n_resamples, seed)
    if counts is None:
        return np.concatenate([sums[drawn].mean(axis=1) for drawn in draws])
    return np.concatenate([sums[drawn].sum(axis=1) / counts[drawn].sum(axis=1) for drawn in draws])


def _drawn_clips(n: int, n_resamples: int, seed: int) -> Iterator[np.ndarray]:
    """Yield the clips of bootstrap samples, in arrays [samples, n] of bounded size."""
    step = max(1, _CHUNK // n)
    if n_resamples <= step:
        yield _drawn_at_once(n, n_resamples, seed)
        return
    rng = np.random.default_rng(seed)
    for start in range(0, n_resamples, step):
        yield rng.integers(0, n, size=(min(step, n_resamples - start), n))


@lru_cache(maxsize=4)
def _drawn_at_once(n: int, n_resamples: int, seed: int) -> np.ndarray:
    """Draw the clips of all samples. All columns with the same number of clips share these."""
    return np.random.default_rng(seed).integers(0, n, size=(n_resamples, n))


def _column(values: ArrayLike) -> np.ndarray:
    """The values as a float64 array [n] with NaN for None."""
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 1:
        raise ValueError(f"values have shape {list(array.shape)}, expected [n]: one value per clip")
    if np.isinf(array).any():
        raise ValueError("values hold an infinity: an undefined value is NaN or None")
    return array
