"""Windows: they are the recording's own samples however it is read, and pass into each other without a step."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from tiny import SMALL

from interpretability.errors import UserError
from interpretability.recordings.windows import Blend, Span, WindowPlan


def cut(plan, wav, sizes):
    """Cut a recording that comes in blocks of the given sizes, over and over."""
    blocks, start = [], 0
    while start < len(wav):
        size = sizes[len(blocks) % len(sizes)]
        blocks.append(wav[start : start + size])
        start += size
    return [(span, window.clone()) for span, window in plan.cut(blocks)]


@pytest.mark.parametrize("n_samples", [1, 99, 100, 101, 164, 165, 228, 1000, 1001, 1043])
@pytest.mark.parametrize("sizes", [(1000,), (7, 1, 330), (64,)])
def test_windows_are_the_samples_of_the_recording_and_leave_none_out(n_samples, sizes):
    plan, wav = WindowPlan(length=100, hop=64, unit=32), torch.arange(float(n_samples))
    windows = cut(plan, wav, sizes)
    assert all(torch.equal(window, wav[span.start : span.stop]) for span, window in windows)
    spans = [span for span, _ in windows]
    assert spans[0].start == 0
    assert spans[-1].stop == n_samples
    assert all(span.start % 32 == 0 for span in spans), "frames of a window are frames of the recording"
    assert all(b.start - a.start == 64 for a, b in pairwise(spans[:-1]))
    assert all(b.start <= a.stop for a, b in pairwise(spans))
    full = [len(span) for span in spans[:-1]]
    assert full == [100] * len(full)
    assert n_samples < 100 or 100 - 32 < len(spans[-1]) <= 100


def test_nothing_is_cut_from_nothing():
    assert list(WindowPlan(100, 64, 32).cut([])) == []


def test_a_plan_in_seconds_is_on_the_grid_of_the_frames():
    assert WindowPlan.of(SMALL, 1.0) == WindowPlan(8000, 4000, 32)
    assert WindowPlan.of(SMALL, 1.001, 0.41) == WindowPlan(8008, 3264, 32)
    assert WindowPlan.of(SMALL, 0.1, 0.1).hop <= 800


@pytest.mark.parametrize(("seconds", "hop"), [(0.05, None), (61.0, None), (float("nan"), None), (1.0, 1.5), (1.0, 0.0)])
def test_windows_of_other_lengths_are_refused(seconds, hop):
    with pytest.raises(UserError, match="expected 0.1 to 60 s" if hop is None else "expected 0.01 s to the length"):
        WindowPlan.of(SMALL, seconds, hop)


@pytest.mark.parametrize("hop", [32, 64, 96, 200])
def test_weights_add_up_where_two_windows_meet_and_the_edges_do_not_count(hop):
    spans = [span for span, _ in WindowPlan(256, hop, 32).cut([torch.zeros(1000)])]
    blend, places = Blend(spans), np.arange(1001)
    weights = np.stack([blend.weight(index, places) for index in range(len(spans))])
    assert (weights.sum(0) > 0).all()
    if hop >= 128:  # at most two windows in any place
        assert np.allclose(weights.sum(0), 1)
    steps = np.abs(np.diff(weights / weights.sum(0), axis=1)).max()
    assert steps < 0.1, "no step from one sample to the next"
    for index, span in enumerate(spans[1:], 1):
        quarter = (spans[index - 1].stop - span.start) // 4
        assert not weights[index, : span.start + quarter].any()
        assert not weights[index - 1, spans[index - 1].stop - quarter :].any()


def test_where_a_window_has_no_neighbour_it_counts_to_its_end():
    blend = Blend([Span(0, 100), Span(50, 150), Span(300, 400)])
    places = np.array([0, 149, 150, 151, 299, 300, 400])
    assert blend.weight(1, places).tolist() == [0, 1, 1, 0, 0, 0, 0]
    assert blend.weight(2, places).tolist() == [0, 0, 0, 0, 0, 1, 1]
    assert blend.near(100, 301) == [1, 2]


def test_the_average_goes_from_the_one_value_to_the_other_and_is_undefined_where_there_is_no_window():
    blend, places = Blend([Span(0, 100), Span(50, 150), Span(300, 400)]), np.array([0, 60, 75, 90, 150, 200, 350])
    values = np.array([[0.0, 1.0], [1.0, 1.0], [0.5, 1.0]])
    average = blend.average(values, places)
    assert np.allclose(average[[0, 1, 2, 3, 4, 6], 0], [0, 0, 0.5, 1, 1, 0.5])
    assert np.allclose(average[[0, 1, 2, 3, 4, 6], 1], 1)
    assert np.isnan(average[5]).all()
