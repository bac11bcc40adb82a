"""The picture of a wrongly classified clip: what is drawn where, at any length and with any names."""

import numpy as np
import pytest

from interpretability.frontend import FrontendSettings
from interpretability.report.figures import save_figure
from interpretability.report.side_by_side import View, plot_side_by_side

FRONTEND = FrontendSettings(sample_rate=8000, n_fft=64, win_length_ms=8.0, hop_length_ms=4.0)  # 33 bins, hop 32


def drawn(seconds, cow="cow", dog="dog"):
    """Return the figure of a clip in which ``cow`` rests on the first half, and ``dog`` on the second."""
    frames = round(seconds * 250) + 1
    magnitude = np.random.default_rng(0).random((frames, 33))
    first = np.zeros_like(magnitude)
    first[: frames // 2] = 1
    views = (View(name, mask, mask * magnitude) for name, mask in ((cow, first), (dog, 1 - first)))
    probabilities = {cow: (0.6, 0.1), **{f"other {k}": (0.05, 0.1) for k in range(6)}, dog: (0.04, 0.3)}
    return plot_side_by_side(magnitude, *views, probabilities, FRONTEND, seconds, title="a title")


@pytest.mark.slow
def test_both_explanations_stand_beside_the_input_with_what_is_left(tmp_path):
    figure = drawn(2.0)
    axes = {axis.get_title().split(":")[0]: axis for axis in figure.axes if axis.get_title()}
    assert list(axes) == [
        "input",
        "what speaks for cow (heard)",
        "what speaks for dog (true)",
        "mask for cow (heard)",
        "mask for dog (true)",
        "heard as",
    ]
    kept = [axes[f"what speaks for {name}"].images[0].get_array() for name in ("cow (heard)", "dog (true)")]
    assert kept[0][:, :200].mean() > -20 > -80 == kept[0][:, 260:].max()
    assert kept[1][:, 260:].mean() > -20 > -80 == kept[1][:, :200].max()
    assert axes["mask for cow (heard)"].get_title().endswith("keeps 50%")
    bars = axes["heard as"]
    names = [tick.get_text() for tick in bars.get_yticklabels()]
    # The true class is among them, though five others are more probable.
    assert (names[0], names[-1], len(names)) == ("cow", "dog", 6)
    assert [round(bar.get_width(), 2) for bar in bars.patches] == [0.6, *[0.05] * 4, 0.04, 0.1, *[0.1] * 4, 0.3]
    assert figure.get_suptitle() == "a title"
    save_figure(figure, tmp_path / "figure.png")


@pytest.mark.parametrize("seconds", [0.1, pytest.param(30.0, marks=pytest.mark.slow)])
def test_any_length_and_any_name(seconds, tmp_path):
    figure = drawn(seconds, "$_{\\ " + "long " * 20, "犬\n")
    titles = [axis.get_title() for axis in figure.axes if axis.get_title()]
    assert len(titles) == (6 if seconds < 10 else 3)
    assert max(len(line) for title in titles for line in title.splitlines()) <= 34
    save_figure(figure, tmp_path / "figure.png")
