"""Clips around selections: a window of time that holds each, and the boxes of all that lie in it."""

import bisect
import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from interpretability.data.audio import AudioHeader
from interpretability.data.boxes import ROUNDING
from interpretability.data.manifest import BadClips
from interpretability.data.tables import ListedClip
from interpretability.errors import UserError, shown
from interpretability.names import safe_name

#: The limits of a window that is chosen, in seconds.
SHORTEST, LONGEST = 0.5, 30.0
#: It is so many times as long as this share of the selections, at most, are.
_MARGIN, _SHARE = 1.5, 0.95


def usual_window(clips: Sequence[ListedClip]) -> float:
    """Return the window that suits selections, in seconds: half as long again as 95 % of them, and 0.5 to 30 s."""
    lengths = sorted(clip.end - clip.start for clip in clips)
    usual = lengths[math.ceil(_SHARE * len(lengths)) - 1]
    # In tenths of a second; rounding of the floats must not add one.
    return min(max(math.ceil(_MARGIN * usual * 10 - 1e-6) / 10, SHORTEST), LONGEST)


def cut_windows(
    clips: Sequence[ListedClip],
    seconds: Any,
    headers: Mapping[Path, AudioHeader | UserError],
    bad: BadClips,
    notes: list[str],
) -> list[ListedClip]:
    """Return a clip of ``seconds`` around each selection, with the boxes of all selections in it.

    The selection lies in its middle; at an end of the recording, the clip is shorter. A longer selection is a clip by
    itself. Clips that are all of their sound stay as they are.

    Parameters
    ----------
    clips : sequence of ListedClip
        The selections; a start or an end that is not given is that of the recording.
    seconds : float or "auto"
        ``auto``: :func:`usual_window`.
    headers : mapping
        Path of a recording -> its header, or why it cannot be read.
    bad : BadClips
        Gets the selections that do not lie in their recording, and those that cover the time of another label.
    notes : list of str
        Gets what was decided.

    Raises
    ------
    UserError
        If ``seconds`` is no such number; if clips have boxes already.
    """
    if seconds != "auto" and (isinstance(seconds, bool) or not isinstance(seconds, int | float) or not seconds > 0):
        raise UserError(f"window_seconds is {shown(seconds)}, expected a number of seconds above 0, or auto")
    cut = next((clip for clip in clips if clip.boxes is not None), None)
    if cut is not None:
        raise UserError(f"{cut.where}: is a clip with boxes, cut before: leave out --window_seconds {seconds}")
    if any(clip.labels is not None for clip in clips):
        raise UserError(
            f"window_seconds is {seconds}, but the clips may have several labels: leave it out, and give each "
            "clip as a whole, from start to end"
        )
    whole = [clip for clip in clips if not clip.is_part]
    selections = []
    n_above = 0
    for clip in clips:
        if not clip.is_part:
            continue
        header = headers[clip.path]
        if isinstance(header, UserError):
            bad.add(safe_name(clip.path.stem), str(header))
            continue
        fault, selection = _inside(clip, header)
        if fault:
            bad.add(safe_name(clip.path.stem), f"{clip.where}: {fault}")
            continue
        n_above += selection.high != clip.high
        selections.append(selection)
    if n_above:
        notes.append(f"{n_above} selections reach above half the sampling rate of their recording, and end there")
    points = sum(selection.end == selection.start for selection in selections)
    if points:
        notes.append(f"{points} labels mark a point in time: they have no box")
    if seconds == "auto" and selections:
        seconds = usual_window(selections)
        lengths = [selection.end - selection.start for selection in selections]
        notes.append(
            f"window_seconds {seconds:g}: the selections have {min(lengths):.2g} to {max(lengths):.2g} s, and are cut "
            "out with what lies around them"
        )
    return whole + _windows(selections, seconds, headers, bad, notes)


def _inside(clip: ListedClip, header: AudioHeader) -> tuple[str | None, ListedClip]:
    """Return why a selection does not lie in its recording, or None, and the selection without what was rounded."""
    start, end = clip.start or 0.0, header.duration if clip.end is None else clip.end
    if end > header.duration + ROUNDING or start >= header.duration:
        return f"{start:g} to {end:g} s lies beyond its recording of {header.duration:g} s", clip
    limit, rate = header.sample_rate / 2, header.sample_rate
    if (clip.low or 0.0) >= limit:
        return (
            f"its band begins at {clip.low:g} Hz, but its recording of {rate} Hz has nothing above {limit:g} Hz",
            clip,
        )
    high = limit if clip.high is not None and clip.high > limit * (1 + ROUNDING) else clip.high
    return None, replace(clip, start=start, end=min(end, header.duration), high=high)


def _windows(
    selections: Sequence[ListedClip],
    seconds: float,
    headers: Mapping[Path, AudioHeader],
    bad: BadClips,
    notes: list[str],
) -> list[ListedClip]:
    of_recording: dict[Path, list[ListedClip]] = defaultdict(list)
    for selection in sorted(selections, key=lambda each: each.start):
        of_recording[selection.path].append(selection)
    starts = {path: [each.start for each in members] for path, members in of_recording.items()}
    longest = {path: max(each.end - each.start for each in members) for path, members in of_recording.items()}
    places = [_window(each, seconds, headers[each.path].duration) for each in selections]
    labels: dict[tuple, set[str]] = defaultdict(set)
    for selection, place in zip(selections, places, strict=True):
        labels[(selection.path, *place)].add(selection.label)
    windows: dict[tuple, ListedClip] = {}
    contradictory, n_alone, n_again, n_mixed = set(), 0, 0, 0
    for selection, place in zip(selections, places, strict=True):
        path, (start, end) = selection.path, place
        if len(labels[path, start, end]) > 1 and selection.start < selection.end:
            # In one window, as in a short recording, there would be two labels.
            start, end, n_alone = selection.start, selection.end, n_alone + 1
        # Only selections that begin near enough can reach into the window.
        first, last = bisect.bisect_left(starts[path], start - longest[path]), bisect.bisect_left(starts[path], end)
        boxes = [_box(each, start, end) for each in of_recording[path][first:last]]
        boxes = [box for box in boxes if box["start"] < box["end"]]
        clip = replace(selection, start=start, end=end, low=None, high=None, boxes=boxes)
        known = windows.setdefault((path, start, end), clip)
        if known.label != clip.label:
            contradictory.add((path, start, end))
            bad.add(
                safe_name(path.stem),
                f"{clip.where}: {shown(clip.label)} covers the same time as {shown(known.label)} in "
                f"{known.where.rsplit(', ', 1)[-1]}: a clip has one label; remove one of them",
            )
        elif known is not clip:
            n_again += 1
        else:
            n_mixed += any(box["label"] != clip.label for box in boxes)
    if n_alone:
        notes.append(
            f"{n_alone} selections are cut out without what lies around them, as they would share their window with "
            "another label"
        )
    if n_again:
        notes.append(f"{n_again} selections cover the time of another one of the same label; they are one clip")
    if n_mixed:
        notes.append(f"in {n_mixed} of {len(windows)} clips lies also a part of a selection with another label")
    return [clip for key, clip in windows.items() if key not in contradictory]


def _window(selection: ListedClip, seconds: float, duration: float) -> tuple[float, float]:
    """Return when the clip around a selection starts and ends, in seconds, to a microsecond."""
    length = max(seconds, selection.end - selection.start)
    start = round((selection.start + selection.end - length) / 2, 6)
    # Rounded apart, the ends would make some windows a microsecond longer than others.
    return max(start, 0.0), min(round(start + length, 6), duration)


def _box(selection: ListedClip, start: float, end: float) -> dict[str, Any]:
    """Return the box of a selection in a clip; one that does not reach into it has no length."""
    box = {"label": selection.label, "start": round(max(selection.start - start, 0.0), 6)}
    box["end"] = round(min(selection.end, end) - start, 6)
    return box | {name: value for name in ("low", "high") if (value := getattr(selection, name)) is not None}
