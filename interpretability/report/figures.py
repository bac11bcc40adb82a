"""Figures of explanations: input, mask, explanation and residual; components; axes in seconds and Hz.

They are drawn from arrays and plain values, through Matplotlib's object interface: no screen is needed, and nothing of
Matplotlib's global state is touched.
"""

from __future__ import annotations

import io
import math
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.patches import Rectangle

from interpretability.events import Event
from interpretability.files import atomic_path
from interpretability.frontend import FrontendSettings
from interpretability.names import printable
from interpretability.report.formats import FORMATS, FigureSettings
from interpretability.report.lettering import lettering
from interpretability.report.words import opening, percent

FLOOR_DB = -80.0
USUAL = FigureSettings()
#: Pixels per inch.
SCREEN_DPI = 110
#: Share of the energy in the lowest quarter of the band from which on the axis of frequency is mel.
LOW_SHARE = 0.8
MEL_TICKS = (0, 250, 500, 1000, 2000, 4000, 8000, 16000, 32000)  # Hz
#: Clips of up to so many seconds have their pictures side by side.
SIDE_BY_SIDE = 10.0
#: A picture has at most this many columns: more than its pixels are not seen.
MOST_COLUMNS = 2000
#: Of a column of a paper, inches; and pixels per inch of its pictures.
COLUMN, COLUMN_DPI = 3.3, 300
#: In it no letter is smaller than 7 pt, and lines are thin.
COLUMN_LOOK = {
    **dict.fromkeys(("font.size", "axes.titlesize", "axes.labelsize", "figure.titlesize"), 7.5),
    **dict.fromkeys(("xtick.labelsize", "ytick.labelsize"), 7.0),
    **dict.fromkeys(("axes.linewidth", "xtick.major.width", "ytick.major.width"), 0.6),
    **dict.fromkeys(("xtick.major.size", "ytick.major.size", "axes.titlepad", "axes.labelpad"), 2.0),
}
#: Of a mask over a grey picture: clear where it keeps nothing.
MASK_COLOURS = LinearSegmentedColormap.from_list("mask", [(1.0, 0.55, 0.0, 0.0), (0.9, 0.35, 0.0, 0.8)])
#: Vector files have text as text, and are the same when they are made again.
VECTORS = {"svg.fonttype": "none", "svg.hashsalt": "audio-interpretability", "pdf.fonttype": 42}
#: Components that get a row of their own.
MAX_ROWS = 12
#: Of components in the explanation, of those of them that count against the class, and of all others.
KEPT, AGAINST, LEFT_OUT = "tab:orange", "tab:red", "lightgrey"


@dataclass(frozen=True)
class FrequencyAxis:
    """Rows of a picture over frequency: linear in Hz, or of equal height in mel.

    If nothing else is asked for, the axis is mel where at least :data:`LOW_SHARE` of the input's energy lies in the
    lowest quarter of the band, as in speech: there a linear axis shows little but empty space. It is linear for all
    other sounds, and for silence.

    Attributes
    ----------
    mel : bool
    rate : int
        Sampling rate in Hz.
    n_fft : int
    """

    mel: bool
    rate: int
    n_fft: int

    @classmethod
    def of(cls, magnitude: np.ndarray, frontend: FrontendSettings, scale: str = "auto") -> FrequencyAxis:
        """Return the axis for a magnitude [T, F], by a ``scale`` of :class:`.FigureSettings`."""
        energy = np.square(magnitude, dtype=np.float64).sum(axis=0)
        low = energy[: 1 + (len(energy) - 1) // 4].sum()
        mel = bool(energy.any()) and low >= LOW_SHARE * energy.sum() if scale == "auto" else scale == "mel"
        return cls(mel, frontend.sample_rate, frontend.n_fft)

    @property
    def _edges(self) -> np.ndarray:
        """First bin of each row of a mel picture: rows are as narrow as bins at a tenth of the band."""
        top, bin_hz = mel_of(self.rate / 2), self.rate / self.n_fft
        rows = math.ceil(top / (mel_of(self.rate / 20 + bin_hz) - mel_of(self.rate / 20)))
        return np.floor(hertz_of(np.arange(rows) * top / rows) / bin_hz + 0.5).astype(int)

    def rows(self, picture: np.ndarray, reduce: np.ufunc) -> np.ndarray:
        """Return a picture [T, F] in the rows of this axis, by the maximum or the mean of the bins in each."""
        return pooled(picture, self._edges, 1, reduce) if self.mel else picture

    def draw(self, axis: Axes) -> None:
        """Set ticks in Hz, limits and the label."""
        axis.set_ylim(*self.limits)
        axis.set_ylabel("frequency (Hz)")
        if self.mel:
            ticks = [hertz for hertz in MEL_TICKS if hertz <= self.rate / 2]
            axis.set_yticks([mel_of(hertz) for hertz in ticks], [str(hertz) for hertz in ticks])
            axis.set_ylabel("frequency (Hz, mel)")

    def place(self, hertz: float) -> float:
        """Return where a frequency lies, in the axis's own unit."""
        return float(mel_of(hertz)) if self.mel else hertz

    @property
    def limits(self) -> tuple[float, float]:
        """Bottom and top of the axis, in its own unit."""
        return 0.0, self.place(self.rate / 2)

    @property
    def extent(self) -> tuple[float, float]:
        """Bottom and top of a picture, in the axis's own unit: linear bins reach half a bin to both sides."""
        bin_hz = self.rate / self.n_fft
        return self.limits if self.mel else (-bin_hz / 2, self.rate / 2 + bin_hz / 2)


def plot_explanation(
    magnitude: np.ndarray,
    kept: np.ndarray,
    removed: np.ndarray,
    mask: np.ndarray,
    frontend: FrontendSettings,
    seconds: float,
    title: str = "",
    undefined: bool = False,
    notes: Sequence[str] = (),
    events: Sequence[Event] = (),
    settings: FigureSettings = USUAL,
) -> Figure:
    """Draw one clip's explanation: the input, the mask over it, the explanation and the residual.

    Parameters
    ----------
    magnitude, kept, removed : array [T, F]
        Linear magnitudes of the input, of what the mask keeps and of what it removes.
    mask : array [T, F]
        Values in [0, 1].
    frontend : FrontendSettings
        Of the spectrogram.
    seconds : float
        Length of the clip.
    title : str
        See :func:`headline`. Taken literally, as all text is.
    undefined : bool
        There is no explanation: the mask is empty and means nothing.
    notes : sequence of str
        What a reader has to know; printed below.
    events : sequence of Event
        Drawn as numbered boxes over all pictures, from 1 in this order.
    settings : FigureSettings
        The axis of frequency, and whether the figure is as wide as a column of a paper.

    Returns
    -------
    matplotlib Figure
        Time in seconds, frequency in Hz (see :class:`FrequencyAxis`); levels of input, explanation and residual in dB
        below the input's loudest bin, by one scale; the mask in orange over the input in grey. Clips of up to
        :data:`SIDE_BY_SIDE` seconds have two pictures in a row; those of longer ones lie below each other and, outside
        of columns, get wider with the clip. What is too fine for the picture shows the loudest of its bins, and the
        mean of the mask.
    """
    pictures, beside = Pictures(magnitude, frontend, seconds, settings), seconds <= SIDE_BY_SIDE
    with lettering(title, *notes) as (title, *notes), rc_context(COLUMN_LOOK if settings.column else {}):
        if settings.column:
            width, height, dpi, size, line = COLUMN, 2.9 if beside else 4.6, COLUMN_DPI, 7.5, 0.13
        else:
            width, dpi, size, line = 10.0 if beside else pictures.long_width, SCREEN_DPI, 12.0, 0.22
            height = 6.4 if beside else 11.0  # inches
        title, below = wrapped(title, width, size), wrapped("; ".join(notes), width, min(size, 9.6))
        figure = new_figure(width, height + line * (title.count("\n") + below.count("\n")), dpi)
        axes = figure.subplots(*((2, 2) if beside else (4, 1)), sharex=True, sharey=True).ravel()
        area = percent(mask.mean(dtype=np.float64))
        keeps = "no explanation" if undefined else f"keeps {area}"
        names = ("input", f"mask over the input ({keeps})", "explanation (what the mask keeps)")
        names = [wrapped(name, 0.38 * width if beside else width, size) for name in (*names, "residual (the rest)")]
        levels = pictures.draw_levels(axes[0], magnitude, names[0])
        share = pictures.draw_mask(axes[1], mask, names[1])
        pictures.draw_levels(axes[2], kept, names[2])
        pictures.draw_levels(axes[3], removed, names[3])
        # Below each other, a bar beside each picture keeps them of one width.
        for k in (1, 3) if beside else range(4):
            drawn, label = (share, "mask") if k == 1 else (levels, "level (dB)")
            bar = {} if beside else {"fraction": 0.06 if settings.column else 0.02, "pad": 0.01}
            figure.colorbar(drawn, ax=axes[k], label=label, **bar).solids.set_rasterized(True)
        if not beside and not settings.column:
            axes[0].xaxis.get_major_locator().set_params(nbins=int(width))
        pictures.draw_axes(axes[[0, 2]] if beside else axes, axes[2:] if beside else axes[3:])
        for axis in axes:
            pictures.draw_events(axis, events)
        figure.suptitle(title)
        if below:
            figure.supxlabel(below, fontsize=pictures.small)
    return figure


class Pictures:
    """Pictures of one clip, drawn to one scale: its spectrogram, masks, and what they keep.

    Parameters
    ----------
    magnitude : array [T, F]
        Linear magnitude of the input; levels are in dB below its loudest bin.
    frontend : FrontendSettings
        Of the spectrogram.
    seconds : float
        Length of the clip.
    settings : FigureSettings
    """

    def __init__(
        self,
        magnitude: np.ndarray,
        frontend: FrontendSettings,
        seconds: float,
        settings: FigureSettings = USUAL,
    ):
        self.magnitude, self.reference = magnitude, float(magnitude.max()) or 1.0
        self.axis = FrequencyAxis.of(magnitude, frontend, settings.scale)
        self.column = settings.column
        self.small = "medium" if settings.column else "small"  # letters
        # Frame i is centred on i hops: cells reach half a hop to both sides.
        hop, frames = frontend.hop_length / frontend.sample_rate, magnitude.shape[0]
        self.columns = np.arange(0, frames, max(1.0, frames / MOST_COLUMNS)).astype(int)
        self.duration = max(seconds, hop)
        self.long_width = min(13.0 + (seconds - SIDE_BY_SIDE) / 4, 24.0)  # inches
        extent = (-hop / 2, (frames - 0.5) * hop, *self.axis.extent)
        self._image = {"origin": "lower", "aspect": "auto", "extent": extent}

    def draw_levels(self, axis: Axes, magnitude: np.ndarray, title: str, colours: str = "magma") -> AxesImage:
        """Draw a magnitude [T, F]; what is too fine for the picture shows the loudest of its bins."""
        levels = decibels(self._pooled(magnitude, np.maximum), self.reference)
        axis.set_title(title)
        return axis.imshow(levels, cmap=colours, vmin=FLOOR_DB, vmax=0, **self._image)

    def draw_mask(self, axis: Axes, mask: np.ndarray, title: str) -> AxesImage:
        """Draw a mask [T, F] over the input in grey; what is too fine for the picture shows its mean."""
        self.draw_levels(axis, self.magnitude, title, "Greys")
        return axis.imshow(self._pooled(mask, np.add).T, cmap=MASK_COLOURS, vmin=0, vmax=1, **self._image)

    def draw_axes(self, with_frequency: Sequence[Axes], with_time: Sequence[Axes]) -> None:
        """Set limits, ticks in s and Hz, and labels where they are wanted; all axes are shared."""
        self.axis.draw(with_frequency[0])
        with_frequency[0].set_xlim(0, self.duration)
        for axis in with_frequency:
            axis.set_ylabel(with_frequency[0].get_ylabel())
        for axis in with_time:
            axis.set_xlabel("time (s)")

    def draw_events(self, axis: Axes, events: Sequence[Event]) -> None:
        """Draw numbered boxes around events, from 1 in the order given; white on black, to be seen on any colour."""
        bottom, top = self.axis.limits
        for number, event in enumerate(events, 1):
            low, high = self.axis.place(event.low), self.axis.place(event.high)
            for colour, width in (("black", 2.4), ("white", 1.1)):
                box = Rectangle((event.start, low), event.end - event.start, high - low, fill=False)
                box.set(edgecolor=colour, linewidth=0.6 * width if self.column else width)
                axis.add_patch(box)
            # Above the box, where there is room: it may be as narrow as a line.
            inside = high > bottom + 0.9 * (top - bottom)
            text = axis.text(event.start, high, str(number), color="white", va="top" if inside else "bottom")
            text.set(fontsize=self.small, clip_on=True, bbox={"facecolor": "black", "edgecolor": "none", "pad": 0.8})

    def _pooled(self, values: np.ndarray, reduce: np.ufunc) -> np.ndarray:
        return pooled(self.axis.rows(values, reduce), self.columns, 0, reduce)


def plot_components(
    relevance: np.ndarray,
    ranked: Sequence[int],
    matrix: np.ndarray,
    activations: np.ndarray,
    frontend: FrontendSettings,
    seconds: float,
    title: str = "",
    limit: int | None = None,
) -> Figure:
    """Draw the components of one clip's explanation: their relevance, and spectra and activations of the selected.

    Parameters
    ----------
    relevance : array [K]
    ranked : sequence of int
        The selected components, the most relevant first.
    matrix : array [F, K]
        The dictionary.
    activations : array [K, T]
    frontend : FrontendSettings
        Of the spectrogram.
    seconds : float
        Length of the clip.
    title : str
        See :func:`headline`.
    limit : int, optional
        Draw at most this many of the selected components; all if not given.

    Returns
    -------
    matplotlib Figure
        On top a bar for each component's relevance, the selected ones marked. Below, a row for each selected component,
        the most relevant first, up to 12: its column of the dictionary over frequency in Hz, and its activation (of
        which the two make up the log magnitude) over time in seconds. All rows have one scale; those that count against
        the class are red. If there are more, all of them follow as two pictures, one per row.
    """
    with lettering(title) as (title,):
        chosen = ranked[:limit]
        shown = chosen[:MAX_ROWS]
        n_rows = max(1, len(shown))
        heights = [2.6, 1.1 * n_rows + 0.6]  # inches
        if len(chosen) > len(shown):
            heights.append(4.0)
        figure = new_figure(13, sum(heights))
        upper, lower, *rest = figure.subfigures(len(heights), 1, height_ratios=heights)
        bars = upper.subplots()
        numbers = np.arange(len(relevance))
        selected = np.isin(numbers, ranked)
        colours = np.where(selected, np.where(relevance < 0, AGAINST, KEPT), LEFT_OUT)
        bars.bar(numbers, relevance, color=colours, width=0.8)
        bars.axhline(0, color="black", linewidth=0.8)
        bars.set(xlabel="component", ylabel="relevance", xlim=(-0.5, len(relevance) - 0.5))
        bars.xaxis.get_major_locator().set_params(integer=True)
        left = len(ranked) - len(chosen)
        more = f"; the {len(chosen)} most relevant are below, {left} more are not" if left else ""
        against = int((selected & (relevance < 0)).sum())
        counted = f"coloured; {against} in red count against the class" if against else "coloured"
        bars.set_title(f"{len(ranked)} of {len(relevance)} components selected ({counted}){more}")
        figure.suptitle(wrapped(title, 13))
        if not shown:
            lower.text(0.5, 0.5, "no component is selected: the explanation is silent", ha="center", va="center")
            return figure
        rate = frontend.sample_rate
        hertz = np.arange(len(matrix)) * rate / frontend.n_fft
        words, levels = matrix[:, chosen], activations[chosen]
        times = np.arange(levels.shape[1]) * frontend.hop_length / rate
        axes = lower.subplots(n_rows, 2, squeeze=False, sharex="col", sharey="col")
        for row, k in enumerate(shown):
            spectrum, activation = axes[row]
            spectrum.fill_between(
                hertz, words[:, row], color=AGAINST if relevance[k] < 0 else "tab:purple", linewidth=0.5
            )
            # A single frame is a point, which a line would not show.
            activation.fill_between(times, levels[row], color="tab:blue", alpha=0.4)
            activation.plot(times, levels[row], color="tab:blue", linewidth=1, marker="." if len(times) == 1 else "")
            spectrum.set_ylabel(f"component {k}\nrelevance {relevance[k]:.2f}", rotation=0, ha="right", va="center")
        axes[0, 0].set_title("spectrum (dictionary column, norm 1)")
        axes[0, 1].set_title("activation (log magnitude)")
        axes[0, 0].set(xlim=(0, rate / 2), ylim=(0, 1.05 * (float(words.max()) or 1.0)))
        axes[0, 1].set(xlim=(0, max(seconds, times[-1], 1 / rate)), ylim=(0, 1.05 * (float(levels.max()) or 1.0)))
        axes[-1, 0].set_xlabel("frequency (Hz)")
        axes[-1, 1].set_xlabel("time (s)")
        if rest:
            spectra, activations = rest[0].subplots(1, 2)
            rows = (len(chosen) + 0.5, 0.5)  # ranks from 1
            for axis, picture, right, cmap in (
                (spectra, words.T / words.max(), rate / 2, "Purples"),
                (activations, levels / (float(levels.max()) or 1.0), axes[0, 1].get_xlim()[1], "Blues"),
            ):
                # Square roots make faint parts visible.
                axis.imshow(np.sqrt(picture), aspect="auto", extent=(0, right, *rows), cmap=cmap, vmin=0, vmax=1)
            spectra.set(
                xlabel="frequency (Hz)", ylabel="rank of relevance", title=f"spectra of all {len(chosen)} (square root)"
            )
            activations.set(xlabel="time (s)", title=f"activations of all {len(chosen)} (square root)")
        return figure


def headline(description: Mapping[str, Any], true_label: str | None = None) -> str:
    """Return what a figure is of, in two lines: the sound, its classes and the method; then what is heard, and alone.

    Parameters
    ----------
    description : mapping
        ``name`` (of the sound, or None), ``title``, ``explained`` and ``sentences``, as in ``explanation.json``.
    true_label : str, optional
        Printed after the name.
    """
    true = None if true_label is None else f"true: {true_label}"
    of = (description["name"], true, f"explained: {description['explained']}", f"[{description['title']}]")
    return "  ·  ".join(printable(part) for part in of if part) + f"\n{opening(description['sentences'])}"


def save_figure(figure: Figure, path: str | Path) -> Path:
    """Write a figure, atomically; return its path, whose suffix is one of :data:`.formats.FORMATS`."""
    path = Path(path)
    with atomic_path(path) as temporary:
        temporary.write_bytes(figure_bytes(figure, path.suffix.removeprefix(".")))
    return path


def figure_bytes(figure: Figure, kind: str) -> bytes:
    """Return a figure as a file of one of :data:`.formats.FORMATS`.

    Drawn again, a figure gives the same bytes. SVG and PDF have lines and text as such, and spectrograms as pictures.
    """
    stream = io.BytesIO()
    # Labels of ticks are made when they are drawn.
    with lettering(), rc_context(VECTORS):
        if kind == "png":  # the same bytes as of savefig, which draws twice
            canvas = figure.canvas
            try:
                FigureCanvasAgg(figure).print_png(stream, metadata=FORMATS[kind])
            finally:
                figure.set_canvas(canvas)
        else:
            figure.savefig(stream, format=kind, metadata=FORMATS[kind])
    return stream.getvalue()


def new_figure(width: float, height: float, dpi: int = SCREEN_DPI) -> Figure:
    """Return an empty figure of a size in inches, which belongs to no window and to no list of open figures."""
    figure = Figure(figsize=(width, height), layout="constrained", dpi=dpi)
    FigureCanvasAgg(figure)
    return figure


def mel_of(hertz: np.ndarray | float) -> np.ndarray | float:
    """Return a frequency in mel (O'Shaughnessy's formula)."""
    return 2595.0 * np.log10(1.0 + np.asarray(hertz) / 700.0)


def hertz_of(mel: np.ndarray | float) -> np.ndarray | float:
    """Return a frequency in Hz: the inverse of :func:`mel_of`."""
    return 700.0 * (10.0 ** (np.asarray(mel) / 2595.0) - 1.0)


def pooled(values: np.ndarray, starts: np.ndarray, axis: int, reduce: np.ufunc) -> np.ndarray:
    """Join neighbours along an axis, from each start to the next: their maximum, or with ``np.add`` their mean."""
    if len(starts) == values.shape[axis]:
        return values
    pooled = reduce.reduceat(values, starts, axis=axis)
    if reduce is np.add:
        # A start that is followed by the same one stands for a single value.
        counts = np.maximum(np.diff(starts, append=values.shape[axis]), 1)
        pooled = pooled / counts.reshape([-1 if k == axis else 1 for k in range(values.ndim)])
    return pooled


def wrapped(text: str, inches: float, size: float = 12.0) -> str:
    """Break lines that are wider than a figure, in letters of a size in pt."""
    characters = int(inches * 120 / size)
    return "\n".join(part for line in text.splitlines() for part in textwrap.wrap(line, characters) or [""])


def decibels(magnitude: np.ndarray, reference: float) -> np.ndarray:
    return 20 * np.log10(np.maximum(magnitude.astype(np.float64) / reference, 10 ** (FLOOR_DB / 20))).T
