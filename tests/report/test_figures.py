"""Figures: axes in seconds and Hz, levels in dB, titles, and no trace in Matplotlib's global state."""

import math
from xml.etree import ElementTree

import matplotlib
import numpy as np
import pytest
import torch
from matplotlib import pyplot
from matplotlib.text import Text

from interpretability.events import Event
from interpretability.frontend import Frontend, apply_mask
from interpretability.report.figures import (
    FrequencyAxis,
    headline,
    hertz_of,
    mel_of,
    plot_components,
    plot_explanation,
    save_figure,
)
from interpretability.report.formats import FigureSettings

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
    kept, removed = (apply_mask(magnitude, part, apply) for part in (mask, 1 - mask))
    arrays = {"magnitude": magnitude, "kept": kept, "removed": removed, "mask": mask}
    return {
        **{name: array[0].numpy() for name, array in arrays.items()},
        "frontend": FRONTEND.settings,
        "seconds": len(wav) / FRONTEND.settings.sample_rate,
    }


def pictures_of(figure):
    """The axes of input, mask, explanation and residual."""
    return [axis for axis in figure.axes if axis.images]


@pytest.fixture
def tone():
    return torch.sin(2 * torch.pi * 3000 * torch.arange(8000) / 16000)


def test_axes_titles_and_places(tone):
    figure = plot_explanation(**drawn(tone), title="a title")
    pictures = pictures_of(figure)
    assert [axis.get_xlabel() for axis in pictures] == ["", "", "time (s)", "time (s)"]
    assert [axis.get_ylabel() for axis in pictures] == ["frequency (Hz)", ""] * 2
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
    pictures = [axis.images[0].get_array() for axis in pictures_of(figure)]
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
    assert "mask over the input (keeps 20%)" in [axis.get_title() for axis in figure.axes]
    figure = plot_explanation(**arrays, undefined=True, notes=("class-agnostic", "of a test"))
    assert figure.get_supxlabel() == "class-agnostic; of a test"
    assert "mask over the input (no explanation)" in [axis.get_title() for axis in figure.axes]


@pytest.mark.parametrize("hertz", [200.0, 3000.0])
def test_events_are_boxes_in_every_picture_at_their_place(hertz):
    wav = torch.sin(2 * torch.pi * hertz * torch.arange(8000) / 16000)  # the axis of a low sound is mel
    events = [
        Event("cat", *place, share=0.5, probability=0.9, alone=0.8, without=0.1)
        for place in ((0.1, 0.25, 100.0, 400.0), (0.3, 0.5, 2000.0, 8000.0))
    ]
    figure = plot_explanation(**drawn(wav), events=events)
    pictures = pictures_of(figure)
    on_axis = mel_of if "mel" in pictures[0].get_ylabel() else lambda value: value
    assert ("mel" in pictures[0].get_ylabel()) is (hertz < 1000)
    for axis in pictures:
        boxes = [patch.get_bbox() for patch in axis.patches if patch.get_edgecolor()[:3] == (1, 1, 1)]
        for box, event in zip(boxes, events, strict=True):
            expected = (event.start, on_axis(event.low), event.end, on_axis(event.high))
            assert box.extents == pytest.approx([float(value) for value in expected])
        assert [text.get_text().strip() for text in axis.texts] == ["1", "2"]
    assert not any(axis.patches for axis in pictures_of(plot_explanation(**drawn(wav))))


def test_saved_alone_in_its_folder(tone, tmp_path):
    path = save_figure(plot_explanation(**drawn(tone)), tmp_path / "deep" / "figure.png")
    assert path.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    assert [p.name for p in path.parent.iterdir()] == ["figure.png"]


def test_silence_can_be_drawn(tmp_path):
    save_figure(plot_explanation(**drawn(torch.zeros(1600))), tmp_path / "silence.png")


def test_headline():
    lines = ["Heard as cat (0.50).", "The explanation alone is heard as cat (0.60); without it …", "It keeps …"]
    description = {"name": None, "title": "PIQ", "sentences": lines, "explained": "cat"}
    assert headline(description) == f"explained: cat  ·  [PIQ]\n{lines[0]} {lines[1]}"
    other = "The explained class is dog (0.25)."
    description |= {"name": "a.wav", "explained": "dog", "sentences": [lines[0], other, *lines[1:]]}
    assert (
        headline(description, "cow")
        == f"a.wav  ·  true: cow  ·  explained: dog  ·  [PIQ]\n{lines[0]} {other} {lines[1]}"
    )
    assert headline(description | {"name": "a\nb.wav"}).startswith("a\\nb.wav  ·  explained: dog")


def test_input_explanation_and_residual_have_one_scale_and_the_mask_lies_over_the_input(tone):
    arrays = drawn(tone)
    figure = plot_explanation(**arrays)
    whole, masked, kept, removed = pictures_of(figure)
    assert {axis.images[0].get_clim() for axis in (whole, masked, kept, removed)} == {(-80.0, 0.0)}
    assert [len(axis.images) for axis in (whole, masked, kept, removed)] == [1, 2, 1, 1]
    np.testing.assert_array_equal(masked.images[0].get_array(), whole.images[0].get_array())
    np.testing.assert_array_equal(masked.images[1].get_array(), arrays["mask"].T)
    colours = masked.images[1].cmap
    assert (colours(0.0)[3], colours(1.0)[3]) == (0.0, pytest.approx(0.8))  # clear, and nearly opaque
    # A binary mask: a bin is in one of the two as it is in the input, and at the floor in the other.
    parts = np.maximum(kept.images[0].get_array(), removed.images[0].get_array())
    np.testing.assert_allclose(parts, whole.images[0].get_array(), atol=1e-5)


# ---- For a paper ----


@pytest.mark.parametrize("seconds", [SECONDS, 11.0])
def test_in_a_column_every_letter_has_seven_points_and_nothing_hides_another(seconds):
    events = [Event("cat", 0.1, 0.25, 7000.0, 8000.0, share=0.5, probability=0.9, alone=0.8, without=0.1)]
    title = "a name of a clip.wav   true: tone_bursts   explained: tone_bursts   [PIQ]\nHeard as tone_bursts (0.65)."
    settings = FigureSettings(column=True)
    arrays = drawn(hertz(400.0, seconds=seconds))
    figure = plot_explanation(**arrays, title=title, notes=["class-agnostic"], events=events, settings=settings)
    assert figure.get_figwidth() == 3.3
    figure.draw_without_rendering()
    renderer = figure.canvas.get_renderer()
    texts = [text for text in figure.findobj(Text) if text.get_visible() and text.get_text().strip()]
    assert len(texts) > 20
    assert min(text.get_fontsize() for text in texts) >= 7
    page = figure.bbox.padded(1)
    places = {text: text.get_window_extent(renderer) for text in texts}
    outside = [
        text.get_text()
        for text, place in places.items()
        if not page.contains(*place.min) or not page.contains(*place.max)
    ]
    assert outside == []
    names = [axis.title for axis in pictures_of(figure)]
    for first in [figure._suptitle, *names]:
        for other in set(texts) - {first}:
            assert not places[first].overlaps(places[other]), (first.get_text(), other.get_text())


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["svg", "pdf"])
def test_vector_files_are_the_same_again_small_and_have_text_as_text(kind, tone, tmp_path):
    name = '<script>alert(1)</script> $x_1$ & "dog"'
    files = [save_figure(plot_explanation(**drawn(tone), title=name), tmp_path / f"{k}.{kind}") for k in range(2)]
    content, again = (path.read_bytes() for path in files)
    assert content == again
    assert len(content) < 1_500_000
    if kind == "svg":
        root = ElementTree.fromstring(content)
        assert name in ["".join(text.itertext()) for text in root.iter("{http://www.w3.org/2000/svg}text")]
        assert len(list(root.iter("{http://www.w3.org/2000/svg}image"))) == 6  # four pictures and two colour bars
        assert not list(root.iter("{http://www.w3.org/2000/svg}script"))
    else:
        assert b"/TrueType" in content or b"/CIDFontType2" in content
        assert b"/Type3" not in content
        assert b"CreationDate" not in content


@pytest.mark.parametrize("scale", ["linear", "mel"])
def test_the_axis_of_frequency_can_be_chosen(scale, tone):
    picture = pictures_of(plot_explanation(**drawn(tone), settings=FigureSettings(scale=scale)))[0]
    assert picture.get_ylabel() == {"linear": "frequency (Hz)", "mel": "frequency (Hz, mel)"}[scale]


# ---- Text that others wrote ----

#: Names that Matplotlib would read as mathematics or TeX, that its font has not, or that are no text to draw.
NAMES = ["$x", "$x^{2", "a $b$ _c_ 100% {", r"\frac{1}{", "猫", "🐶", "a\x1b[31m\tb", "ch\udce8vre.wav", "x" * 400]


@pytest.mark.parametrize("usetex", [False, True])
def test_names_are_drawn_literally_whatever_they_hold(usetex, tmp_path, recwarn):
    """In every text of every figure: title, notes; no traceback, no warning of Matplotlib, whatever its settings."""
    with matplotlib.rc_context({"text.usetex": usetex}):
        figure = plot_explanation(**drawn(torch.zeros(400)), title="\n".join(NAMES), notes=NAMES)
        save_figure(figure, tmp_path / "a.png")
        components = {"relevance": np.array([0.5]), "ranked": [0], "matrix": np.ones((513, 1))}
        arrays = {"activations": np.ones((1, 2)), "frontend": FRONTEND.settings, "seconds": 0.02}
        save_figure(plot_components(**components, **arrays, title="\n".join(NAMES)), tmp_path / "b.png")
    assert not recwarn.list
    plain = [name for name in NAMES if name.isascii() and name.isprintable() and len(name) < 50]
    assert len(plain) == 4
    assert all(name in figure.get_suptitle() and name in figure.get_supxlabel() for name in plain)


# ---- The material ----


def hertz(*frequencies, seconds=SECONDS):
    times = torch.arange(int(seconds * 16000)) / 16000
    return sum(torch.sin(2 * torch.pi * frequency * times) for frequency in frequencies)


@pytest.mark.parametrize(
    ("wav", "mel"),
    [(hertz(400.0), True), (hertz(1900.0), True), (hertz(3000.0), False), (hertz(400.0, 6000.0), False)],
    ids=["low", "a quarter", "high", "both"],
)
def test_the_axis_of_low_sounds_is_mel_and_of_others_linear(wav, mel):
    figure = plot_explanation(**drawn(wav))
    picture = pictures_of(figure)[0]
    assert picture.get_ylabel() == ("frequency (Hz, mel)" if mel else "frequency (Hz)")
    if mel:
        # The loudest row lies at the tone, and a tick where it says.
        rows, (_, _, low, high) = picture.images[0].get_array(), picture.images[0].get_extent()
        loudest = hertz_of(low + (int(rows.mean(axis=1).argmax()) + 0.5) * (high - low) / len(rows))
        assert loudest == pytest.approx(400.0 if loudest < 1000 else 1900.0, abs=25)
        ticks = {
            text.get_text(): place for text, place in zip(picture.get_yticklabels(), picture.get_yticks(), strict=True)
        }
        assert ticks["1000"] == pytest.approx(mel_of(1000))
        assert ticks["8000"] == picture.get_ylim()[1] == pytest.approx(high)


def test_silence_has_a_linear_axis():
    assert not FrequencyAxis.of(np.zeros((3, 513)), FRONTEND.settings).mel


@pytest.mark.slow
def test_a_long_sound_has_a_wide_figure_in_which_a_short_event_is_seen():
    magnitude, mask = np.zeros((5168, 513), dtype=np.float32), np.zeros((5168, 513), dtype=np.float32)
    magnitude[3000, 200], mask[:, :100] = 1.0, 0.5
    figure = plot_explanation(magnitude, magnitude, magnitude, mask, FRONTEND.settings, 60.0)
    pictures = pictures_of(figure)
    assert [axis.get_subplotspec().rowspan.start for axis in pictures] == [0, 1, 2, 3]  # below each other
    assert figure.get_figwidth() > 20
    levels = pictures[0].images[0].get_array()
    assert levels.shape[1] <= 2000
    assert levels.max() == 0.0
    assert int(levels.max(axis=0).argmax()) / levels.shape[1] == pytest.approx(3000 / 5168, abs=1e-3)
    # The mask's own values are averaged: its area stays.
    assert pictures[1].images[1].get_array().mean() == pytest.approx(mask.mean(), rel=1e-3)


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

    def test_those_that_count_against_the_class_do_not_look_like_the_others(self):
        arrays = self.drawn([0.3, -0.5, 0.9], threshold=-1.0)
        figure = plot_components(**arrays)
        colours = [bar.get_facecolor() for bar in figure.axes[0].patches]
        assert colours[0] == colours[2] != colours[1]
        assert "1 in red count against the class" in figure.axes[0].get_title()
        spectra = [spectrum.collections[0].get_facecolor().tolist() for spectrum, _ in self.rows(figure)]
        assert spectra[0] == spectra[1] != spectra[2]

    @pytest.mark.parametrize("relevance", [[1.0], [0.0]])
    def test_a_single_component(self, relevance, tmp_path):
        save_figure(plot_components(**self.drawn(relevance)), tmp_path / "one.png")

    def test_one_frame_and_silence(self, tmp_path):
        arrays = self.drawn([0.5, 0.6], n_frames=1)
        arrays["activations"][:] = 0.0
        save_figure(plot_components(**arrays), tmp_path / "silence.png")
