"""The picture of a wrongly classified clip: what speaks for the class that is heard, and for the true one."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from interpretability.frontend import FrontendSettings
from interpretability.report.figures import SIDE_BY_SIDE, Pictures, new_figure, wrapped
from interpretability.report.lettering import lettering, shortened
from interpretability.report.words import percent

#: Classes whose probabilities are drawn, the most probable ones.
MOST_CLASSES = 5
#: Characters of a line above a picture.
LINE = 34
WHOLE, REST = "tab:gray", "tab:orange"


@dataclass(frozen=True)
class View:
    """The explanation of one class: its ``label``, the ``mask`` [T, F] and the magnitude [T, F] that it keeps."""

    label: str
    mask: np.ndarray
    kept: np.ndarray


def plot_side_by_side(
    magnitude: np.ndarray,
    predicted: View,
    true: View,
    probabilities: Mapping[str, tuple[float, float]],
    frontend: FrontendSettings,
    seconds: float,
    title: str = "",
) -> Figure:
    """Draw the explanations of the predicted and of the true class of one clip.

    Parameters
    ----------
    magnitude : array [T, F]
        Linear magnitude of the input.
    predicted, true : View
    probabilities : mapping of str to (float, float)
        Class -> its probability for the sound, and for the sound without the explanation of the predicted class.
    frontend : FrontendSettings
        Of the spectrogram.
    seconds : float
        Length of the clip.
    title : str
        Taken literally, as all text is.

    Returns
    -------
    matplotlib Figure
        The input and what each mask keeps, in one row; below them the most probable classes, before and after the
        explanation of the predicted class is taken away, and the two masks. Clips of more than
        :data:`~interpretability.report.figures.SIDE_BY_SIDE` seconds have the first three below each other.
    """
    beside, pictures = seconds <= SIDE_BY_SIDE, Pictures(magnitude, frontend, seconds)
    ranked = sorted(probabilities, key=lambda label: -probabilities[label][0])
    classes = [*ranked[:MOST_CLASSES], *(label for label in (true.label,) if label not in ranked[:MOST_CLASSES])]
    names = [shortened(label) for label in (predicted.label, true.label, *classes)]
    with lettering(title, *names) as (title, heard, right, *classes_drawn):
        width, height = (13.0, 7.6) if beside else (pictures.long_width, 9.5)  # inches
        figure = new_figure(width, height)
        if beside:
            grid = figure.add_gridspec(2, 3)
            first = figure.add_subplot(grid[0, 0])
            others = [figure.add_subplot(grid[place], sharex=first, sharey=first) for place in _PLACES]
            axes, masks = [first, *others[:2]], others[2:]
        else:
            axes, masks = list(figure.subplots(3, 1, sharex=True, sharey=True)), []
        bar = {} if beside else {"fraction": 0.02, "pad": 0.01}
        views = ((predicted, f"for {heard} (heard)"), (true, f"for {right} (true)"))
        levels = pictures.draw_levels(axes[0], magnitude, "input")
        for axis, (view, words) in zip(axes[1:], views, strict=True):
            pictures.draw_levels(axis, view.kept, textwrap.fill(f"what speaks {words}", LINE))
        for axis in axes[2:] if beside else axes:
            figure.colorbar(levels, ax=axis, label="level (dB)", **bar)
        for axis, (view, words) in zip(masks, views, strict=False):
            area = percent(view.mask.mean(dtype=np.float64))
            shown = pictures.draw_mask(axis, view.mask, textwrap.fill(f"mask {words}: keeps {area}", LINE))
        if beside:
            figure.colorbar(shown, ax=masks[-1], label="mask")
            bars = figure.add_subplot(grid[1, 0])
            _draw_bars(bars, classes_drawn, [probabilities[label] for label in classes], heard)
        pictures.draw_axes(axes[:1] if beside else axes, [*axes, *masks] if beside else axes[-1:])
        figure.suptitle(wrapped(title, width))
    return figure


#: In the grid of a figure: what is kept for the predicted and for the true class, and their masks below.
_PLACES = ((0, 1), (0, 2), (1, 1), (1, 2))


def _draw_bars(axis: Axes, names: Sequence[str], pairs: Sequence[tuple[float, float]], heard: str) -> None:
    """Draw the probabilities of classes before and after something is taken away, the most probable on top."""
    places = np.arange(len(names))
    before, after = zip(*pairs, strict=True)
    for values, shift, colour, label in (
        (before, -0.2, WHOLE, "the sound"),
        (after, 0.2, REST, textwrap.fill(f"without what speaks for {heard}", LINE)),
    ):
        bars = axis.barh(places + shift, values, height=0.38, color=colour, label=label)
        axis.bar_label(bars, [f"{value:.2f}" for value in values], padding=2, fontsize="small")
    axis.set_yticks(places, names)
    axis.invert_yaxis()
    axis.set(xlim=(0, 1.12), xlabel="probability", title="heard as")
    # Below the bars: beside them there may be no room.
    axis.legend(loc="upper center", bbox_to_anchor=(0.5, -0.16), ncols=2, fontsize="small", frameon=False)
