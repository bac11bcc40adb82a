"""Events of windows as events of the recording: what several windows show of one sound becomes one event.

A sound that lies in two windows that overlap is found twice. Its event is then the one of the window in which it lies
farthest from the edges, with the effect that was measured there. A sound that no window holds whole is the union of its
parts, with the effect of the longest of them; ``window`` says in every case where the effect was measured.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

from interpretability.events import Event

#: Share of the smaller of two boxes, within the time that both windows hear, from which on they show one sound.
SAME = 0.5
#: An event that ends so near to the edge of its window, in s, may go on beyond it.
AT_EDGE = 0.05


@dataclass(frozen=True)
class RecordingEvent(Event):
    """An event of a recording, in seconds from its start.

    Attributes
    ----------
    window_start, window_end : float
        The window in which ``share``, ``probability``, ``alone`` and ``without`` were measured, in s.
    measured_start, measured_end : float
        The part of the event that they were measured of: all of it, unless it is longer than a window.
    """

    window_start: float = 0.0
    window_end: float = 0.0
    measured_start: float = 0.0
    measured_end: float = 0.0

    @classmethod
    def of(cls, event: Event, window_start: float, window_end: float) -> RecordingEvent:
        """Return an event of a window, whose times are those of the recording already."""
        values = {field.name: getattr(event, field.name) for field in fields(Event)}
        return cls(**values, window_start=window_start, window_end=window_end,
                   measured_start=event.start, measured_end=event.end)  # fmt: skip

    def room(self, seconds: float) -> float:
        """Return the time from the event to the nearer edge of its window, in s; the recording's ends are no edges."""
        before = float("inf") if self.window_start <= 0 else self.start - self.window_start
        after = float("inf") if self.window_end >= seconds else self.window_end - self.end
        return min(before, after)


def merged(events: Sequence[RecordingEvent], seconds: float) -> list[RecordingEvent]:
    """Merge events of windows.

    Parameters
    ----------
    events : sequence of RecordingEvent
        Of all windows.
    seconds : float
        Length of the recording.

    Returns
    -------
    list of RecordingEvent
        In order of their effect, the largest first; of equal ones, the earlier first.
    """
    closed: list[list[RecordingEvent]] = []
    groups: list[list[RecordingEvent]] = []
    for event in sorted(events, key=lambda each: (each.window_start, each.start, each.low)):
        # Windows that end before this one begins are not met again.
        ended = [group for group in groups if max(member.window_end for member in group) <= event.window_start]
        closed += ended
        joined, others = [event], []
        for group in groups:
            if any(group is one for one in ended):
                continue
            if any(_is_same(event, member) for member in group):
                joined += group
            else:
                others.append(group)
        groups = [*others, joined]
    result = [one for group in [*closed, *groups] for one in _sounds_of(group, seconds)]
    return sorted(result, key=lambda event: (-event.effect, event.start))


def _is_same(first: RecordingEvent, second: RecordingEvent) -> bool:
    """Return whether two windows show one sound."""
    if first.label != second.label or first.window_start == second.window_start:
        return False
    # Only what both windows hear can be compared.
    start, end = max(first.window_start, second.window_start), min(first.window_end, second.window_end)
    areas = []
    for event in (first, second):
        length = min(event.end, end) - max(event.start, start)
        areas.append(max(0.0, length) * (event.high - event.low))
    common = max(0.0, min(first.end, second.end) - max(first.start, second.start))
    common *= max(0.0, min(first.high, second.high) - max(first.low, second.low))
    return common > 0 and common >= SAME * min(areas)


def _sounds_of(group: Sequence[RecordingEvent], seconds: float) -> list[RecordingEvent]:
    """Return the events that stand for a group of events of several windows, which may be more than one sound."""
    sounds, left = [], list(group)
    while left:
        best = max(left, key=lambda event: (event.room(seconds), event.effect))
        if best.room(seconds) <= AT_EDGE:
            longest = max(left, key=lambda event: (event.end - event.start, event.effect))
            box = {name: min(getattr(event, name) for event in left) for name in ("start", "low")}
            box |= {name: max(getattr(event, name) for event in left) for name in ("end", "high")}
            return [*sounds, replace(longest, **box)]
        sounds.append(best)
        left = [event for event in left if event is not best and not _is_same(event, best)]
    return sounds
