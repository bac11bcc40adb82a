"""Events of windows that overlap: one sound is one event, with the effect of a window that holds it."""

import pytest

from interpretability.recordings.merging import RecordingEvent, merged

SECONDS = 20.0


def event(window, start, end, low=1000, high=2000, effect=0.5, label="dog"):
    """Return an event from and to these times in the window of 4 s that begins at ``window``."""
    return RecordingEvent(
        label, start, end, low, high, share=0.5, probability=0.9, alone=0.8, without=0.9 - effect,
        window_start=window, window_end=window + 4, measured_start=start, measured_end=end,
    )  # fmt: skip


def test_a_sound_in_two_windows_is_the_event_of_the_window_in_which_it_lies_farther_inside():
    near_edge, inside = event(4, 7.0, 7.8, effect=0.8), event(6, 7.05, 7.8, effect=0.4)
    assert merged([near_edge, inside], SECONDS) == [inside]


def test_a_sound_that_the_edge_of_a_window_cuts_is_that_of_the_next_one():
    cut, whole = event(4, 7.5, 8.0, effect=0.9), event(6, 7.5, 8.7, effect=0.3)
    assert merged([cut, whole], SECONDS) == [whole]


def test_a_sound_that_no_window_holds_is_one_event_measured_in_its_longest_part():
    parts = [event(4, 7.0, 8.0, 900, 2000), event(6, 7.0, 10.0, 1000, 2100), event(8, 8.0, 11.0, 1000, 2000, 0.7)]
    (one,) = merged(parts, SECONDS)
    assert (one.start, one.end, one.low, one.high) == (7.0, 11.0, 900, 2100)
    assert one.effect == pytest.approx(0.7), "of the longest parts, that with the largest effect"
    assert (one.window_start, one.window_end, one.measured_start, one.measured_end) == (8, 12, 8.0, 11.0)


def test_the_ends_of_the_recording_are_no_edges():
    first, last = event(0, 0.0, 1.0), event(16, 19.2, 20.0)
    assert merged([first, last], SECONDS) == [first, last]


@pytest.mark.parametrize(
    "other",
    [event(6, 8.2, 8.9), event(6, 7.0, 7.8, 3000, 4000), event(6, 7.0, 7.8, label="cat"), event(4, 7.0, 7.8)],
    ids=["later", "in another band", "of another class", "in the same window"],
)
def test_other_sounds_stay(other):
    assert len(merged([event(4, 7.0, 7.8), other], SECONDS)) == 2


def test_of_a_wide_event_of_one_window_and_two_narrow_ones_of_the_next_none_is_lost():
    wide, first, second = event(4, 6.0, 7.9), event(6, 6.3, 6.8), event(6, 7.4, 7.8)
    assert len(merged([wide, first, second], SECONDS)) >= 1
    covered = merged([wide, first, second], SECONDS)
    assert any(e.start <= 6.5 <= e.end for e in covered)
    assert any(e.start <= 7.6 <= e.end for e in covered)


def test_events_are_in_order_of_their_effect_and_many_take_no_time():
    many = [event(2 * k, 2 * k + 1.5, 2 * k + 2.5, effect=(k % 7) / 10) for k in range(3000)]
    result = merged(many, 1e5)
    assert len(result) == 3000
    assert [(-e.effect, e.start) for e in result] == sorted((-e.effect, e.start) for e in result)


def test_it_is_an_event_with_its_window_as_plain_values():
    plain = event(4, 7.0, 7.8).to_dict()
    assert plain["window_start"] == 4
    assert plain["effect"] == pytest.approx(0.5)
