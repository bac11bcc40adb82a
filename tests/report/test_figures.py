"""Figures: axes in seconds and Hz, the classes with their probabilities, nothing left open."""

import math

import pytest
import torch
from matplotlib import pyplot as plt

from interpretability.classifiers.compact import CompactClassifier
from interpretability.methods.floors import ConstantMask, EnergyMask
from interpretability.report.figures import plot_explanation, save_explanation_figure


@pytest.fixture
def explanation():
    torch.manual_seed(0)
    energy = EnergyMask(CompactClassifier(["cat", "dog"], n_mels=16, channels=(2, 2, 2, 2)), 0.2)
    tone = torch.sin(2 * torch.pi * 3000 * torch.arange(8000) / 16000)
    return energy.explain(tone[None], target="dog")


def test_axes_titles_and_places(explanation):
    figure = plot_explanation(explanation, true_label="cat")
    pictures = [axis for axis in figure.axes if axis.images and axis.get_xlabel()]
    assert [axis.get_xlabel() for axis in pictures] == ["time (s)"] * 3
    assert pictures[0].get_ylabel() == "frequency (Hz)"
    assert pictures[0].get_xlim() == (0.0, 0.5)
    assert pictures[0].get_ylim() == (0.0, 8000.0)
    said = explanation.describe()
    title = figure.get_suptitle()
    assert "true: cat" in title
    assert f"predicted: {said['predicted']} (p = {said['predicted_probability']:.3f})" in title
    # The tone's row of the picture lies at 3 kHz on the axis.
    picture = pictures[0].images[0]
    row = int(picture.get_array().mean(axis=1).argmax())
    low, high = picture.get_extent()[2:]
    assert low + (row + 0.5) * (high - low) / picture.get_array().shape[0] == pytest.approx(3000, abs=16)
    plt.close(figure)


@pytest.mark.parametrize(("apply", "level"), [("linear", 20 * math.log10(0.5)), ("log", None)])
def test_the_picture_shows_what_is_heard(apply, level):
    """The drawn explanation is the spectrum of the saved sound, in either domain of the mask."""
    half = ConstantMask(CompactClassifier(["cat", "dog"], n_mels=16, channels=(2, 2, 2, 2)), 0.5, apply)
    tone = torch.sin(2 * torch.pi * 3000 * torch.arange(8000) / 16000)
    clip = half.explain(tone[None])
    figure = plot_explanation(clip)
    pictures = [axis.images[0].get_array() for axis in figure.axes if axis.images and axis.get_xlabel()]
    plt.close(figure)
    heard = half.frontend.analyse(clip.listenable).magnitude[0]
    wanted = 20 * math.log10(float(heard[20].max() / clip.spectrogram.magnitude.max()))
    # (A masked spectrogram is not quite one of a sound: analysed again, it differs by a dB.)
    assert pictures[2][:, 20].max() == pytest.approx(wanted, abs=1.5)
    if level is not None:
        assert wanted == pytest.approx(level, abs=0.2)


def test_saved_and_closed(explanation, tmp_path):
    before = plt.get_fignums()
    path = save_explanation_figure(explanation, tmp_path / "deep" / "figure.png")
    assert path.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    assert plt.get_fignums() == before
    assert [p.name for p in path.parent.iterdir()] == ["figure.png"]


def test_silence_can_be_drawn(tmp_path):
    energy = EnergyMask(CompactClassifier(["cat", "dog"], n_mels=16, channels=(2, 2, 2, 2)), 0.2)
    save_explanation_figure(energy.explain(torch.zeros(1, 1600)), tmp_path / "silence.png")
