"""Figures of explanations: input, mask and explanation; components; axes in seconds and Hz.

They are drawn from arrays and plain values, through Matplotlib's object interface: no screen is needed, and nothing of
Matplotlib's global state is touched.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from interpretability.files import atomic_path
from interpretability.frontend import FrontendSettings

FLOOR_DB = -80.0
#: Components that get a row of their own.
MAX_ROWS = 12
KEPT, LEFT_OUT = "tab:orange", "lightgrey"  # of components in the explanation, and of all others


def plot_explanation(
    magnitude: np.ndarray,
    kept: np.ndarray,
    mask: np.ndarray,
    frontend: FrontendSettings,
    seconds: float,
    title: str = "",
    undefined: bool = False,
    notes: Sequence[str] = (),
) -> Figure:
    """Draw one clip's explanation: input spectrogram, mask, explanation.

    Parameters
    ----------
    magnitude, kept : array [T, F]
        Linear magnitudes of the input and of what the mask keeps.
    mask : array [T, F]
        Values in [0, 1].
    frontend : FrontendSettings
        Of the spectrogram.
    seconds : float
        Length of the clip.
    title : str
        See :func:`headline`.
    undefined : bool
        There is no explanation: the mask is empty and means nothing.
    notes : sequence of str
        What a reader has to know; printed below.

    Returns
    -------
    matplotlib Figure
        Time in seconds, frequency in Hz; levels in dB below the input's loudest bin.
    """
    reference = float(magnitude.max()) or 1.0
    rate, frames = frontend.sample_rate, magnitude.shape[0]
    # Frame i is centred on i hops: cells reach half a hop to both sides, bins half a bin.
    hop, bin_hz = frontend.hop_length / rate, rate / frontend.n_fft
    extent = (-hop / 2, (frames - 0.5) * hop, -bin_hz / 2, rate / 2 + bin_hz / 2)
    figure = _figure(13, 4)
    axes = figure.subplots(1, 3, sharex=True, sharey=True)
    for axis, picture, name in (
        (axes[0], _decibels(magnitude, reference), "input"),
        (axes[2], _decibels(kept, reference), "explanation (what the mask keeps)"),
    ):
        levels = axis.imshow(picture, origin="lower", aspect="auto", extent=extent, cmap="magma", vmin=FLOOR_DB, vmax=0)
        axis.set_title(name)
    figure.colorbar(levels, ax=axes[2], label="level (dB)")
    shown = axes[1].imshow(mask.T, origin="lower", aspect="auto", extent=extent, cmap="viridis", vmin=0, vmax=1)
    area = mask.mean(dtype=np.float64)
    axes[1].set_title(
        f"mask ({'undefined: there is no explanation' if undefined else f'keeps {area:.0%} of the area'})"
    )
    figure.colorbar(shown, ax=axes[1], label="mask")
    for axis in axes:
        axis.set_xlabel("time (s)")
    axes[0].set_ylabel("frequency (Hz)")
    axes[0].set_ylim(0, rate / 2)
    axes[0].set_xlim(0, max(seconds, hop))
    figure.suptitle(title)
    if notes:
        figure.supxlabel("; ".join(notes), fontsize="small")
    return figure


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
        which the two make up the log magnitude) over time in seconds. All rows have one scale. If there are more, all
        of them follow as two pictures, one per row.
    """
    chosen = ranked[:limit]
    shown = chosen[:MAX_ROWS]
    n_rows = max(1, len(shown))
    heights = [2.6, 1.1 * n_rows + 0.6]  # inches
    if len(chosen) > len(shown):
        heights.append(4.0)
    figure = _figure(13, sum(heights))
    upper, lower, *rest = figure.subfigures(len(heights), 1, height_ratios=heights)
    bars = upper.subplots()
    numbers = np.arange(len(relevance))
    bars.bar(numbers, relevance, color=np.where(np.isin(numbers, ranked), KEPT, LEFT_OUT), width=0.8)
    bars.axhline(0, color="black", linewidth=0.8)
    bars.set(xlabel="component", ylabel="relevance", xlim=(-0.5, len(relevance) - 0.5))
    bars.xaxis.get_major_locator().set_params(integer=True)
    left = len(ranked) - len(chosen)
    more = f"; the {len(chosen)} most relevant are below, {left} more are not" if left else ""
    bars.set_title(f"{len(ranked)} of {len(relevance)} components selected (coloured){more}")
    figure.suptitle(title)
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
        spectrum.fill_between(hertz, words[:, row], color="tab:purple", linewidth=0.5)
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
        rows = (len(chosen) - 0.5, -0.5)
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
    """Return classes, probabilities and method of a clip in one line.

    Parameters
    ----------
    description : mapping
        ``title``, ``predicted``, ``predicted_probability``, ``explained`` and ``explained_probability``, as in
        ``explanation.json``.
    true_label : str, optional
        Printed beside the predicted class.
    """
    text = "" if true_label is None else f"true: {true_label}   "
    text += f"predicted: {description['predicted']} (p = {description['predicted_probability']:.3f})"
    if description["explained"] != description["predicted"]:
        text += f"   explained: {description['explained']} (p = {description['explained_probability']:.3f})"
    return f"{text}   [{description['title']}]"


def save_figure(figure: Figure, path: str | Path) -> Path:
    """Write a figure into a PNG file, atomically; return its path."""
    with atomic_path(path) as temporary:
        figure.savefig(temporary, dpi=110)
    return Path(path)


def _figure(width: float, height: float) -> Figure:
    """Return an empty figure of a size in inches, which belongs to no window and to no list of open figures."""
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def _decibels(magnitude: np.ndarray, reference: float) -> np.ndarray:
    return 20 * np.log10(np.maximum(magnitude.astype(np.float64) / reference, 10 ** (FLOOR_DB / 20))).T
