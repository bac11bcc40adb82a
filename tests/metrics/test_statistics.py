"""Means, intervals, and what happens to undefined clips."""

import math
import statistics

import numpy as np
import pytest

from interpretability.metrics.statistics import (
    Interval,
    bootstrap_mean,
    mean_of_runs,
    paired_difference,
    summarise,
)


def test_against_a_plain_loop():
    values = np.random.default_rng(5).normal(size=30)
    rng = np.random.default_rng(3)
    means = []
    for _ in range(400):
        means.append(sum(values[i] for i in rng.integers(0, 30, size=30)) / 30)
    means.sort()
    interval = bootstrap_mean(values, n_resamples=400, level=0.9, seed=3)
    # Linear interpolation between order statistics: positions 0.05 * 399 = 19.95 and 0.95 * 399 = 379.05.
    assert interval.low == pytest.approx(means[19] + 0.95 * (means[20] - means[19]), rel=1e-9)
    assert interval.high == pytest.approx(means[379] + 0.05 * (means[380] - means[379]), rel=1e-9)
    assert interval.mean == pytest.approx(sum(values) / 30)
    assert (interval.n, interval.undefined) == (30, 0)


def test_width_is_that_of_the_standard_error():
    values = np.random.default_rng(0).normal(size=400)
    interval = bootstrap_mean(values)
    assert interval.high - interval.low == pytest.approx(2 * 1.96 * values.std() / 20, rel=0.1)
    assert interval.low < interval.mean < interval.high


def test_coverage():
    rng = np.random.default_rng(1)
    hits = 0
    for seed in range(200):
        interval = bootstrap_mean(rng.exponential(size=50), n_resamples=300, seed=seed)
        hits += interval.low <= 1.0 <= interval.high
    assert 0.87 <= hits / 200 <= 0.99


def test_seed_decides():
    values = np.random.default_rng(0).random(25)
    assert bootstrap_mean(values, seed=1) == bootstrap_mean(values.copy(), seed=1)
    assert bootstrap_mean(values, seed=1) != bootstrap_mean(values, seed=2)


def test_chunks_do_not_change_the_result(monkeypatch):
    values = np.random.default_rng(0).random(37)
    whole = bootstrap_mean(values, n_resamples=501)
    monkeypatch.setattr("interpretability.metrics.statistics._CHUNK", 40)
    assert bootstrap_mean(values, n_resamples=501) == whole


def test_undefined_clips_are_counted_and_left_out():
    values = [1.0, float("nan"), 2.0, None, 4.0]
    interval = bootstrap_mean(values)
    assert (interval.n, interval.undefined) == (3, 2)
    assert interval == Interval(**(bootstrap_mean([1.0, 2.0, 4.0]).as_dict() | {"undefined": 2}))
    assert interval.mean == pytest.approx(7 / 3)


def test_no_clip_one_clip_and_equal_clips():
    assert bootstrap_mean([]) == Interval(None, None, None, 0, 0)
    assert bootstrap_mean([None, math.nan]) == Interval(None, None, None, 0, 2)
    assert bootstrap_mean([0.3]) == Interval(0.3, 0.3, 0.3, 1, 0)
    equal = bootstrap_mean([0.1] * 7)
    assert (equal.low, equal.mean, equal.high) == (0.1, 0.1, 0.1)


def test_pairing_cancels_what_the_clips_share():
    rng = np.random.default_rng(0)
    difficulty = rng.normal(scale=10.0, size=60)
    a, b = difficulty + 1.0 + 0.1 * rng.normal(size=60), difficulty
    paired = paired_difference(a, b)
    assert paired.mean == pytest.approx(1.0, abs=0.05)
    assert paired.low > 0.9
    assert paired.high - paired.low < 0.1
    assert bootstrap_mean(a).low < bootstrap_mean(b).high  # apart, the two intervals overlap
    assert paired_difference(b, a).mean == pytest.approx(-paired.mean)


def test_a_pair_with_an_undefined_half_is_undefined():
    interval = paired_difference([1.0, None, 3.0, 4.0], [0.0, 0.0, None, 2.0])
    assert (interval.n, interval.undefined, interval.mean) == (2, 2, 1.5)


def test_values_of_one_clip_are_drawn_together():
    """Against a plain loop over whole clips; the mean is over values, whatever clip has how many."""
    rng = np.random.default_rng(5)
    clips = [clip for clip in range(25) for _ in range(clip % 3 + 1)]
    values = rng.normal(size=25)[clips] + 0.01 * rng.normal(size=len(clips))
    shuffled = rng.permutation(len(clips))
    draws, means = np.random.default_rng(3), []
    for _ in range(400):
        drawn = draws.integers(0, 25, size=25)
        means.append(np.concatenate([values[np.array(clips) == clip] for clip in drawn]).mean())
    interval = bootstrap_mean(values, n_resamples=400, level=0.9, seed=3, clips=clips)
    assert (interval.low, interval.high) == pytest.approx(tuple(np.quantile(means, [0.05, 0.95])), rel=1e-9)
    assert (interval.mean, interval.n) == (pytest.approx(values.mean()), len(clips))
    # What is said of a clip three times is not three times as sure.
    plain = bootstrap_mean(values, n_resamples=400, level=0.9, seed=3)
    assert interval.high - interval.low > 1.2 * (plain.high - plain.low)
    # Neither the order of the rows nor names of clips count beyond the draw.
    other = bootstrap_mean(values[shuffled], level=0.9, clips=[f"clip {clips[i]}" for i in shuffled])
    assert other.high - other.low == pytest.approx(interval.high - interval.low, rel=0.2)


def test_one_value_a_clip_is_the_plain_interval_and_one_clip_has_no_spread():
    values = np.random.default_rng(0).random(30)
    assert bootstrap_mean(values, clips=range(30)) == bootstrap_mean(values)
    # Undefined values take their clip with them.
    values[3] = np.nan
    assert bootstrap_mean(values, clips=[0, 1, 2, 2, *range(4, 30)]) == bootstrap_mean(values)
    assert bootstrap_mean([1.0, 2.0], clips=["a", "a"]) == Interval(1.5, 1.5, 1.5, 2, 0)
    difference = paired_difference([1.0, 2.0, 5.0], [0.0, 0.0, 1.0], clips=["a", "a", "b"])
    assert (difference.low, difference.high, difference.mean) == (1.5, 4.0, pytest.approx(7 / 3))


def test_summarise():
    rows = [{"ad": 1.0, "sps": None, "id": "a"}, {"ad": 3.0, "sps": 0.5, "id": "b"}]
    result = summarise(rows, ["sps", "ad"])
    assert list(result) == ["sps", "ad"]
    assert result["ad"] == bootstrap_mean([1.0, 3.0])
    assert result["sps"] == Interval(0.5, 0.5, 0.5, 1, 1)
    assert summarise([], ["ad"])["ad"].mean is None


def test_errors():
    with pytest.raises(ValueError, match=r"expected \[n\]"):
        bootstrap_mean([[1.0, 2.0]])
    with pytest.raises(ValueError, match="infinity"):
        bootstrap_mean([1.0, float("inf")])
    with pytest.raises(ValueError, match="level"):
        bootstrap_mean([1.0], level=95)
    with pytest.raises(ValueError, match="n_resamples"):
        bootstrap_mean([1.0], n_resamples=0)
    with pytest.raises(ValueError, match="2 clips and b has 1"):
        paired_difference([1.0, 2.0], [1.0])
    with pytest.raises(ValueError, match="2 values and 1 clips"):
        bootstrap_mean([1.0, 2.0], clips=["a"])
    with pytest.raises(ValueError, match="row 1 has no ad"):
        summarise([{"ad": 1.0}, {}], ["ad"])


def test_callers_array_is_left_alone():
    values = np.array([1.0, np.nan, 3.0])
    before = values.copy()
    bootstrap_mean(values)
    np.testing.assert_array_equal(values, before)


# ---- A few runs ----


@pytest.mark.parametrize(
    ("n", "t"), [(2, 12.7062), (3, 4.3027), (4, 3.1824), (5, 2.7764), (10, 2.2622), (31, 2.0423), (1000, 1.9623)]
)
def test_the_interval_has_students_t_of_the_tables(n, t):
    values = np.random.default_rng(n).normal(size=n)
    interval = mean_of_runs(values)
    half = t * statistics.stdev(values) / math.sqrt(n)
    assert (interval.high - interval.low) / 2 == pytest.approx(half, rel=6e-5)


def test_the_interval_of_a_few_runs():
    values = [0.8, 0.9, 0.85, 0.7, 0.95]
    interval = mean_of_runs(values)
    half = 2.7764 * statistics.stdev(values) / math.sqrt(5)
    assert (interval.low, interval.mean, interval.high) == pytest.approx((0.84 - half, 0.84, 0.84 + half), abs=1e-4)
    assert mean_of_runs([0.5]) == Interval(0.5, 0.5, 0.5, 1, 0)
    assert mean_of_runs([0.5, 0.5]).high == 0.5


@pytest.mark.parametrize("values", [[], [math.nan, 1.0], [[1.0]]])
def test_runs_without_a_mean(values):
    with pytest.raises(ValueError, match="expected a finite number for each run"):
        mean_of_runs(values)
