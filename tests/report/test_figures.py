"""Figures: axes in seconds and Hz, the classes with their probabilities, nothing left open."""

import math

import pytest
import torch
from matplotlib import pyplot as plt

from interpretability.classifiers.compact import CompactClassifier
from interpretability.dictionary import Components
from interpretability.errors import UserError
from interpretability.methods.floors import ConstantMask, EnergyMask
from interpretability.report.figures import (
    plot_components,
    plot_explanation,
    save_components_figure,
    save_explanation_figure,
)


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


def test_what_has_to_be_known_stands_below(explanation):
    figure = plot_explanation(explanation)
    assert figure.get_supxlabel() == ""
    assert "mask (keeps 20% of the area)" in [axis.get_title() for axis in figure.axes]
    plt.close(figure)
    explanation.notes = ("class-agnostic", "of a test")
    explanation.undefined, explanation.mask = torch.tensor([True]), torch.zeros_like(explanation.mask)
    figure = plot_explanation(explanation)
    assert figure.get_supxlabel() == "class-agnostic; of a test"
    assert "mask (undefined: there is no explanation)" in [axis.get_title() for axis in figure.axes]
    plt.close(figure)


def test_saved_and_closed(explanation, tmp_path):
    before = plt.get_fignums()
    path = save_explanation_figure(explanation, tmp_path / "deep" / "figure.png")
    assert path.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    assert plt.get_fignums() == before
    assert [p.name for p in path.parent.iterdir()] == ["figure.png"]


def test_silence_can_be_drawn(tmp_path):
    energy = EnergyMask(CompactClassifier(["cat", "dog"], n_mels=16, channels=(2, 2, 2, 2)), 0.2)
    save_explanation_figure(energy.explain(torch.zeros(1, 1600)), tmp_path / "silence.png")


class TestComponents:
    """Words that are one bin each, and sound one after the other, so that places in the picture are known."""

    BIN_HZ, HOP = 16000 / 1024, 186 / 16000  # Hz, s

    def clip(self, explanation, relevance, threshold=0.2):
        n, n_frames = len(relevance), explanation.mask.shape[1]
        matrix = torch.zeros(513, n)
        matrix[torch.arange(n) * 16, torch.arange(n)] = 1.0
        activations = torch.zeros(1, n, n_frames)
        activations[0, torch.arange(n), torch.arange(n) % n_frames] = 2.0
        relevance = torch.tensor([relevance])
        explanation.components = Components(matrix, activations, relevance, relevance > threshold)
        return explanation[0]

    def rows(self, figure):
        """The pairs of axes (spectrum, activation) below the bars."""
        panes = figure.axes[1:]
        return [(panes[i], panes[i + 1]) for i in range(0, len(panes), 2)]

    def test_bars_rows_axes_and_title(self, explanation):
        figure = plot_components(self.clip(explanation, [0.3, -1.0, 0.9, 0.1, 0.5]), true_label="cat")
        bars = figure.axes[0]
        assert [bar.get_height() for bar in bars.patches] == pytest.approx([0.3, -1.0, 0.9, 0.1, 0.5])
        colours = [bar.get_facecolor() for bar in bars.patches]
        assert colours[0] == colours[2] == colours[4] != colours[1] == colours[3]
        assert bars.get_xlabel() == "component"
        assert bars.get_ylabel() == "relevance"
        assert "3 of 5 components selected" in bars.get_title()
        assert "more" not in bars.get_title()
        rows = self.rows(figure)
        assert [spectrum.get_ylabel() for spectrum, _ in rows] == [
            "component 2\nrelevance 0.90",
            "component 4\nrelevance 0.50",
            "component 0\nrelevance 0.30",
        ]
        assert [axis.get_xlabel() for axis in rows[-1]] == ["frequency (Hz)", "time (s)"]
        assert rows[0][0].get_xlim() == (0.0, 8000.0)
        assert rows[0][1].get_xlim() == (0.0, 0.5)
        assert "true: cat" in figure.get_suptitle()
        assert "explained: dog" in figure.get_suptitle() or "predicted: dog" in figure.get_suptitle()
        assert "[energy]" in figure.get_suptitle()
        plt.close(figure)

    def test_words_lie_at_their_frequency_and_sound_at_their_time(self, explanation):
        figure = plot_components(self.clip(explanation, [0.3, -1.0, 0.9]))
        for (spectrum, activation), k in zip(self.rows(figure), (2, 0), strict=True):
            outline = spectrum.collections[0].get_paths()[0].vertices  # [n, 2]
            assert outline[outline[:, 1].argmax(), 0] == pytest.approx(16 * k * self.BIN_HZ)
            seconds, level = activation.lines[0].get_data()
            assert seconds[level.argmax()] == pytest.approx(k * self.HOP)
            assert level.max() == 2.0
        plt.close(figure)

    def test_all_are_drawn_or_as_many_as_asked_for_and_the_rest_counted(self, explanation):
        clip = self.clip(explanation, [0.5 + 0.01 * k for k in range(11)])
        figure = plot_components(clip)
        assert len(self.rows(figure)) == 11
        plt.close(figure)
        figure = plot_components(clip, limit=8)
        assert len(self.rows(figure)) == 8
        title = figure.axes[0].get_title()
        assert "11 of 11" in title
        assert "3 more" in title
        assert self.rows(figure)[0][0].get_ylabel().startswith("component 10\n")
        plt.close(figure)

    def test_many_are_all_drawn_in_two_pictures(self, explanation):
        figure = plot_components(self.clip(explanation, [0.5 + 0.01 * k for k in range(30)]))
        pictures = [axis for axis in figure.axes if axis.images]
        assert [axis.images[0].get_array().shape[0] for axis in pictures] == [30, 30]
        assert [axis.get_xlabel() for axis in pictures] == ["frequency (Hz)", "time (s)"]
        assert len([axis for axis in figure.axes if axis.get_ylabel().startswith("component ")]) == 12
        assert "more are not" not in figure.axes[0].get_title()
        plt.close(figure)

    def test_none_selected_is_said(self, explanation):
        figure = plot_components(self.clip(explanation, [0.1, -0.4]))
        assert len(figure.axes) == 1
        said = [text.get_text() for part in figure.subfigs for text in part.texts]
        assert any("no component is selected" in text for text in said)
        plt.close(figure)

    @pytest.mark.parametrize("relevance", [[1.0], [0.0]])
    def test_a_single_component(self, explanation, relevance, tmp_path):
        save_components_figure(self.clip(explanation, relevance), tmp_path / "one.png")

    def test_one_frame_and_silence(self, tmp_path):
        energy = EnergyMask(CompactClassifier(["cat", "dog"], n_mels=16, channels=(2, 2, 2, 2)), 0.2)
        clip = self.clip(energy.explain(torch.zeros(1, 100)), [0.5, 0.6])
        clip.components.activations.zero_()
        save_components_figure(clip, tmp_path / "silence.png")

    def test_saved_and_closed(self, explanation, tmp_path):
        before = plt.get_fignums()
        path = save_components_figure(self.clip(explanation, [0.5]), tmp_path / "deep" / "components.png")
        assert path.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
        assert plt.get_fignums() == before

    def test_a_method_without_components_is_refused(self, explanation):
        with pytest.raises(UserError, match="energy does not explain by components"):
            plot_components(explanation)
