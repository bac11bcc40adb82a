"""The figure of a recording: lines, shades and bars are where they are said to be."""

import numpy as np
import pytest

from interpretability.events import Event
from interpretability.report.timeline import MOST_ROWS, plot_timeline

EVENT = Event("b", 300.0, 300.5, 100, 200, share=0.5, probability=0.9, alone=0.8, without=0.2)


def drawn(times, probabilities, labels, target=1, stretches=((298.0, 303.0),), events=(EVENT,)):
    return plot_timeline(times, probabilities, labels, target, 0.4, stretches, events, "night.wav")


def test_the_explained_class_its_stretches_and_events_are_drawn():
    times = np.arange(0, 600.0)
    probabilities = np.stack([np.full(600, 0.3), times / 600], 1)
    figure = drawn(times, probabilities, ["a", "b"])
    upper, lower = figure.axes[:2]
    assert np.array_equal(upper.lines[0].get_ydata(), probabilities[:, 1])
    assert upper.lines[1].get_ydata()[0] == 0.4
    bar = upper.containers[0][0]
    assert (bar.get_x(), bar.get_height()) == (300.0, pytest.approx(0.7))
    assert bar.get_width() >= 1.0, "wide enough to be seen"
    shade = upper.patches[0]
    assert (shade.get_x(), shade.get_width()) == (298.0, 5.0)
    assert [text.get_text() for text in lower.get_yticklabels()] == ["b", "a"]
    assert np.array_equal(lower.images[0].get_array(), probabilities[:, [1, 0]].T)
    assert lower.xaxis.get_major_formatter()(305, 0) == "5:05"


def test_of_many_classes_the_most_probable_are_shown_and_names_are_taken_literally():
    probabilities = np.zeros((10, 30))
    probabilities[:, 5:20] = np.linspace(0.1, 0.9, 15)
    labels = [f"$x_{k}$ <b>" for k in range(30)]
    figure = drawn(np.arange(10.0), probabilities, labels, target=0, stretches=(), events=())
    figure.canvas.draw()
    shown = [text.get_text() for text in figure.axes[1].get_yticklabels()]
    assert len(shown) == MOST_ROWS
    assert "19" in shown[1]
    assert "0" in shown[0]


def test_a_single_moment_can_be_drawn():
    figure = drawn(np.zeros(1), np.ones((1, 2)), ["a", "b"], stretches=((0.0, 0.1),), events=())
    figure.canvas.draw()
