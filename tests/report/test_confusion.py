"""The picture of a confusion matrix: cells, colours, names, and what is left out of many classes."""

import numpy as np
import pytest

from interpretability.metrics.classification import classification_report
from interpretability.report import confusion
from interpretability.report.confusion import plot_confusion
from interpretability.report.figures import save_figure
from interpretability.report.lettering import LONGEST_LABEL


def drawn(labels, truth, heard, title=""):
    """Return the figure, its axis, and what its cells say: (row, column) -> text."""
    figure = plot_confusion(classification_report(labels, np.array(truth), np.array(heard)), title)
    (axis,) = figure.axes
    cells = {(int(text.get_position()[1]), int(text.get_position()[0])): text.get_text() for text in axis.texts}
    return figure, axis, cells


def test_cells_hold_counts_and_colours_the_share_of_their_row():
    _, axis, cells = drawn(["cat", "dog"], [0] * 4 + [1], [0, 0, 0, 1, 1])
    assert cells == {(0, 0): "3", (0, 1): "1", (1, 1): "1"}
    assert [tick.get_text() for tick in axis.get_yticklabels()] == ["cat (4)", "dog (1)"]
    assert [tick.get_text() for tick in axis.get_xticklabels()] == ["cat", "dog"]
    red, _, blue, _ = np.moveaxis(axis.images[0].get_array(), -1, 0)
    assert blue[0, 0] > red[0, 0]
    assert blue[0, 1] < red[0, 1]
    assert blue[1, 0] == red[1, 0] == 1  # nothing there: white
    assert red[1, 1] < red[0, 0]  # all of its row: darker


def test_long_names_are_cut_in_their_middle_and_any_name_is_drawn(tmp_path):
    labels = ["x" * 100 + "1", "x" * 100 + "2", "$_{\\", "two\nlines", "犬"]
    figure, axis, _ = drawn(labels, range(5), range(5), title="$x_{")
    names = [tick.get_text() for tick in axis.get_xticklabels()]
    assert all(len(name) <= LONGEST_LABEL for name in names)
    assert len(set(names)) == 5
    assert names[0].endswith("…xxxxxxxxxxxx1")
    assert names[3] == "two\\nlines"
    save_figure(figure, tmp_path / "figure.png")
    assert figure.get_size_inches().max() < 10


@pytest.mark.parametrize("n_classes", [1, 12, 27])
def test_the_size_follows_the_number_of_classes_up_to_a_limit(n_classes, monkeypatch):
    monkeypatch.setattr(confusion, "MOST_DRAWN", 12)
    labels, last = [f"class {k}" for k in range(n_classes)], n_classes - 1
    figure, axis, cells = drawn(labels, [*range(n_classes), 0], [*range(n_classes), last], title="a title")
    n = min(n_classes, 12)
    assert axis.images[0].get_array().shape == (n, n, 4)
    assert figure.get_size_inches().max() < 10
    assert ("the 12 of 27 classes that are confused most" in figure.get_suptitle().replace("\n", " ")) == (
        n < n_classes
    )
    assert cells[0, n - 1] == ("2" if n_classes == 1 else "1")  # the confused classes are among those that are drawn
