"""The picture of a confusion matrix: rows are what clips are, columns what they are heard as."""

from __future__ import annotations

import numpy as np
from matplotlib import colormaps
from matplotlib.figure import Figure

from interpretability.metrics.classification import ClassificationReport
from interpretability.report.figures import new_figure, wrapped
from interpretability.report.lettering import lettering, shortened

#: At most so many classes are drawn: of more, those that are confused most.
MOST_DRAWN = 50
RIGHT, WRONG = "Blues", "Oranges"
#: Depth of the colour of a cell that has next to nothing of its row.
FAINTEST = 0.2


def plot_confusion(report: ClassificationReport, title: str = "") -> Figure:
    """Draw a confusion matrix.

    Parameters
    ----------
    report : ClassificationReport
        Names of classes are taken literally. Long ones are cut.
    title : str

    Returns
    -------
    matplotlib Figure
        The number of clips in each cell that has any; its colour is the share of the clips of its row, blue where they
        are heard as their class and orange elsewhere. A row is named with its number of clips. Of more than
        :data:`MOST_DRAWN` classes, those with the most wrong clips are drawn, which the title says.
    """
    chosen = report.most_confused(MOST_DRAWN)
    if len(chosen) < len(report.labels):
        title = f"{title} (the {len(chosen)} of {len(report.labels)} classes that are confused most)".strip()
    drawn, classes = report.matrix(chosen), [report.classes[k] for k in chosen]
    shares = drawn / np.maximum([scores.n for scores in classes], 1)[:, None]
    names = [shortened(scores.label) for scores in classes]
    rows = [f"{name} ({scores.n})" for name, scores in zip(names, classes, strict=True)]
    cell, size = (0.5, 10) if len(chosen) <= 12 else (0.34, 8.5) if len(chosen) <= 25 else (0.25, 7)
    longest = max(map(len, rows)) * size / 110  # inches
    side = len(chosen) * cell
    with lettering(title, *names, *rows) as (title, *texts):
        names, rows = texts[: len(names)], texts[len(names) :]
        width = max(longest + side + 0.8, 4.5)
        title = wrapped(title, width)
        figure = new_figure(width, longest + side + 0.7 + 0.2 * title.count("\n"))
        axis = figure.subplots()
        # A single wrong clip among many is to be seen.
        depth = FAINTEST + (1 - FAINTEST) * shares
        right = np.eye(len(chosen), dtype=bool)[..., None]
        colours = np.where(right, colormaps[RIGHT](depth), colormaps[WRONG](depth))  # [C, C, 4]
        axis.imshow(np.where(drawn[..., None] > 0, colours, 1.0))
        for row, column in zip(*np.nonzero(drawn), strict=True):
            colour = "white" if depth[row, column] > 0.6 else "black"
            text = str(drawn[row, column])
            small = size * min(1.0, 3.5 / len(text))
            axis.text(column, row, text, ha="center", va="center", color=colour, fontsize=small)
        ticks = np.arange(len(chosen))
        axis.set_xticks(ticks, names, rotation=90, fontsize=size)
        axis.set_yticks(ticks, rows, fontsize=size)
        axis.set_xticks(ticks[:-1] + 0.5, minor=True)
        axis.set_yticks(ticks[:-1] + 0.5, minor=True)
        axis.grid(which="minor", color="lightgrey", linewidth=0.5)
        axis.tick_params(which="minor", length=0)
        axis.set_xlabel("heard as")
        axis.set_ylabel("class (number of clips)")
        figure.suptitle(title)
    return figure
