"""The figure of a recording: what is heard over time, where a class is active, and its events."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from interpretability.events import Event
from interpretability.report.figures import new_figure, wrapped
from interpretability.report.lettering import lettering

#: Classes that have a row: the explained one, and those that reach the highest probabilities.
MOST_ROWS = 8
WIDTH = 13.0  # inches
ACTIVE, EVENT = "tab:blue", "tab:orange"


def plot_timeline(
    times: np.ndarray,
    probabilities: np.ndarray,
    labels: Sequence[str],
    target: int,
    threshold: float,
    stretches: Sequence[tuple[float, float]],
    events: Sequence[Event],
    title: str = "",
) -> Figure:
    """Draw the probabilities of classes over a recording.

    Parameters
    ----------
    times : array [P]
        In s.
    probabilities : array [P, C]
    labels : sequence of str [C]
    target : int
        The explained class.
    threshold : float
        Probability from which on it is active.
    stretches : sequence of (float, float)
        Start and end of where it is active, in s.
    events : sequence of Event
    title : str
        Taken literally, as all text is.

    Returns
    -------
    matplotlib Figure
        On top the explained class, with the threshold, the stretches shaded, and each event a bar as high as its
        effect; below, a row for each of the classes that reach the highest probabilities.
    """
    shown = [target, *(k for k in np.argsort(-probabilities.max(0), kind="stable") if k != target)][:MOST_ROWS]
    with lettering(title, *(labels[k] for k in shown)) as (title, *names):
        figure = new_figure(WIDTH, 3.6 + 0.3 * len(shown))
        upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(2.6, 0.4 + 0.3 * len(shown)))
        for index, (start, end) in enumerate(stretches):
            upper.axvspan(start, end, color=ACTIVE, alpha=0.12, label="_" * (index > 0) + "active")
        upper.plot(times, probabilities[:, target], color=ACTIVE, linewidth=1.2)
        upper.axhline(threshold, color="black", linestyle=":", linewidth=0.8, label=f"threshold {threshold:g}")
        if events:
            # A short event in a long recording would be no wider than a hair.
            least = (times[-1] - times[0]) / 500
            starts = [event.start for event in events]
            widths = [max(event.end - event.start, least) for event in events]
            heights = [max(event.effect, 0.0) for event in events]
            upper.bar(starts, heights, widths, align="edge", color=EVENT, label="event: what is lost without it")
        upper.set(ylim=(0, 1.02), ylabel=f"probability of\n{names[0]}")
        upper.legend(loc="upper right", fontsize="small")
        rows = probabilities[:, shown].T
        half = (times[1] - times[0]) / 2 if len(times) > 1 else 0.5
        picture = lower.imshow(
            rows, aspect="auto", cmap="viridis", vmin=0, vmax=1, interpolation="nearest",
            extent=(times[0] - half, times[-1] + half, len(shown) - 0.5, -0.5),
        )  # fmt: skip
        lower.set_yticks(range(len(shown)), names)
        lower.set_xlim(times[0], max(times[-1], times[0] + half))
        minutes = times[-1] > 120
        lower.set_xlabel("time (min:s)" if minutes else "time (s)")
        if minutes:
            lower.xaxis.set_major_formatter(FuncFormatter(lambda s, _: f"{int(s) // 60}:{int(s) % 60:02d}"))
        figure.colorbar(picture, ax=[upper, lower], label="probability", fraction=0.02, pad=0.01)
        figure.suptitle(wrapped(title, WIDTH))
    return figure
