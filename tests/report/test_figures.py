"""Figures: axes in seconds and Hz, levels in dB, titles, and no trace in Matplotlib's global state."""

import math

import matplotlib
import numpy as np
import pytest
import torch
from matplotlib import pyplot

from interpretability.frontend import Frontend, apply_mask
from interpretability.report.figures import headline, plot_components, plot_explanation, save_figure

FRONTEND = Frontend()
SECONDS = 0.5


@pytest.fixture(autouse=True)
def global_state():
    """Whatever is drawn, Matplotlib's settings stay as they are, and pyplot has no figure to close."""
    before = dict.copy(matplotlib.rcParams)
    yield
    assert dict.copy(matplotlib.rcParams) == before
    assert pyplot.get_fignums() == []


def drawn(wav, mask=None, apply="log"):
    """What a figure of a sound [N] is drawn from; by default the mask keeps the loudest fifth."""
    magnitude = FRONTEND.analyse(wav[None]).magnitude
    if mask is None:
        mask = (magnitude >= magnitude.quantile(0.8)).float()
    arrays = {"magnitude": magnitude, "kept": apply_mask(magnitude, mask, apply), "mask": mask}
    return {
        **{name: array[0].numpy() for name, array in arrays.items()},
        "frontend": FRONTEND.settings,
        "seconds": len(wav) / FRONTEND.settings.sample_rate,
    }


@pytest.fixture
def tone():
    return torch.sin(2 * torch.pi * 3000 * torch.arange(8000) / 16000)


def test_axes_titles_and_places(tone):
    figure = plot_explanation(**drawn(tone), title="a title")
    pictures = [axis for axis in figure.axes if axis.images and axis.get_xlabel()]
    assert [axis.get_xlabel() for axis in pictures] == ["time (s)"] * 3
    assert pictures[0].get_ylabel() == "frequency (Hz)"
    assert pictures[0].get_xlim() == (0.0, SECONDS)
    assert pictures[0].get_ylim() == (0.0, 8000.0)
    assert figure.get_suptitle() == "a title"
    # The tone's row of the picture lies at 3 kHz on the axis.
    picture = pictures[0].images[0]
    row = int(picture.get_array().mean(axis=1).argmax())
    low, high = picture.get_extent()[2:]
    assert low + (row + 0.5) * (high - low) / picture.get_array().shape[0] == pytest.approx(3000, abs=16)


@pytest.mark.parametrize(("apply", "level"), [("linear", 20 * math.log10(0.5)), ("log", None)])
def test_the_picture_shows_what_is_heard(apply, level, tone):
    """The drawn explanation is the spectrum of its sound, in either domain of the mask."""
    spectrogram = FRONTEND.analyse(tone[None])
    half = torch.full_like(spectrogram.magnitude, 0.5)
    figure = plot_explanation(**drawn(tone, half, apply))
    pictures = [axis.images[0].get_array() for axis in figure.axes if axis.images and axis.get_xlabel()]
    sound = FRONTEND.resynthesise(spectrogram, apply_mask(spectrogram.magnitude, half, apply))
    heard = FRONTEND.analyse(sound).magnitude[0]
    wanted = 20 * math.log10(float(heard[20].max() / spectrogram.magnitude.max()))
    # (A masked spectrogram is not quite one of a sound: analysed again, it differs by a dB.)
    assert pictures[2][:, 20].max() == pytest.approx(wanted, abs=1.5)
    if level is not None:
        assert wanted == pytest.approx(level, abs=0.2)


def test_what_has_to_be_known_stands_below(tone):
    arrays = drawn(tone)
    figure = plot_explanation(**arrays)
    assert figure.get_supxlabel() == ""
    assert "mask (keeps 20% of the area)" in [axis.get_title() for axis in figure.axes]
    figure = plot_explanation(**arrays, undefined=True, notes=("class-agnostic", "of a test"))
    assert figure.get_supxlabel() == "class-agnostic; of a test"
    assert "mask (undefined: there is no explanation)" in [axis.get_title() for axis in figure.axes]


def test_saved_alone_in_its_folder(tone, tmp_path):
    path = save_figure(plot_explanation(**drawn(tone)), tmp_path / "deep" / "figure.png")
    assert path.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    assert [p.name for p in path.parent.iterdir()] == ["figure.png"]


def test_silence_can_be_drawn(tmp_path):
    save_figure(plot_explanation(**drawn(torch.zeros(1600))), tmp_path / "silence.png")


def test_headline():
    description = {"title": "PIQ", "predicted": "cat", "predicted_probability": 0.5, "explained": "cat"}
    assert headline(description) == "predicted: cat (p = 0.500)   [PIQ]"
    description |= {"explained": "dog", "explained_probability": 0.25}
    expected = "true: cow   predicted: cat (p = 0.500)   explained: dog (p = 0.250)   [PIQ]"
    assert headline(description, "cow") == expected


class TestComponents:
    """Words that are one bin each, and sound one after the other, so that places in the picture are known."""

    BIN_HZ, HOP = 16000 / 1024, 186 / 16000  # Hz, s
    N_FRAMES = 44

    def drawn(self, relevance, threshold=0.2, n_frames=N_FRAMES):
        """What a figure of components is drawn from."""
        numbers = np.arange(len(relevance))
        matrix, activations = np.zeros((513, len(relevance))), np.zeros((len(relevance), n_frames))
        matrix[numbers * 16, numbers] = 1.0
        activations[numbers, numbers % n_frames] = 2.0
        relevance = np.array(relevance)
        ranked = [int(k) for k in relevance.argsort()[::-1] if relevance[k] > threshold]
        return {
            "relevance": relevance,
            "ranked": ranked,
            "matrix": matrix,
            "activations": activations,
            "frontend": FRONTEND.settings,
            "seconds": SECONDS,
        }

    def rows(self, figure):
        """The pairs of axes (spectrum, activation) below the bars."""
        panes = figure.axes[1:]
        return [(panes[i], panes[i + 1]) for i in range(0, len(panes), 2)]

    def test_bars_rows_axes_and_title(self):
        figure = plot_components(**self.drawn([0.3, -1.0, 0.9, 0.1, 0.5]), title="a title")
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
        assert figure.get_suptitle() == "a title"

    def test_words_lie_at_their_frequency_and_sound_at_their_time(self):
        figure = plot_components(**self.drawn([0.3, -1.0, 0.9]))
        for (spectrum, activation), k in zip(self.rows(figure), (2, 0), strict=True):
            outline = spectrum.collections[0].get_paths()[0].vertices  # [n, 2]
            assert outline[outline[:, 1].argmax(), 0] == pytest.approx(16 * k * self.BIN_HZ)
            seconds, level = activation.lines[0].get_data()
            assert seconds[level.argmax()] == pytest.approx(k * self.HOP)
            assert level.max() == 2.0

    def test_all_are_drawn_or_as_many_as_asked_for_and_the_rest_counted(self):
        arrays = self.drawn([0.5 + 0.01 * k for k in range(11)])
        figure = plot_components(**arrays)
        assert len(self.rows(figure)) == 11
        figure = plot_components(**arrays, limit=8)
        assert len(self.rows(figure)) == 8
        title = figure.axes[0].get_title()
        assert "11 of 11" in title
        assert "3 more" in title
        assert self.rows(figure)[0][0].get_ylabel().startswith("component 10\n")

    def test_many_are_all_drawn_in_two_pictures(self):
        figure = plot_components(**self.drawn([0.5 + 0.01 * k for k in range(30)]))
        pictures = [axis for axis in figure.axes if axis.images]
        assert [axis.images[0].get_array().shape[0] for axis in pictures] == [30, 30]
        assert [axis.get_xlabel() for axis in pictures] == ["frequency (Hz)", "time (s)"]
        assert len([axis for axis in figure.axes if axis.get_ylabel().startswith("component ")]) == 12
        assert "more are not" not in figure.axes[0].get_title()

    def test_none_selected_is_said(self):
        figure = plot_components(**self.drawn([0.1, -0.4]))
        assert len(figure.axes) == 1
        texts = [text.get_text() for part in figure.subfigs for text in part.texts]
        assert any("no component is selected" in text for text in texts)

    @pytest.mark.parametrize("relevance", [[1.0], [0.0]])
    def test_a_single_component(self, relevance, tmp_path):
        save_figure(plot_components(**self.drawn(relevance)), tmp_path / "one.png")

    def test_one_frame_and_silence(self, tmp_path):
        arrays = self.drawn([0.5, 0.6], n_frames=1)
        arrays["activations"][:] = 0.0
        save_figure(plot_components(**arrays), tmp_path / "silence.png")
