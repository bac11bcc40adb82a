"""Figures of explanations: input, mask and explanation; components; axes in seconds and Hz."""

from __future__ import annotations

from pathlib import Path

import matplotlib
import numpy as np
import torch

matplotlib.use("Agg")  # figures go to files; no screen is needed

from matplotlib import pyplot as plt

from interpretability.errors import UserError
from interpretability.explanation import Explanation
from interpretability.files import atomic_path

FLOOR_DB = -80.0
#: Components that get a row of their own.
MAX_ROWS = 12
KEPT, LEFT_OUT = "tab:orange", "lightgrey"  # of components in the explanation, and of all others


def plot_explanation(clip: Explanation, true_label: str | None = None) -> plt.Figure:
    """Draw one clip's explanation: input spectrogram, mask, explanation.

    Parameters
    ----------
    clip : Explanation
        Of one clip (index a batch's explanation first).
    true_label : str, optional
        Shown in the title beside the predicted class.

    Returns
    -------
    matplotlib Figure
        Time in seconds, frequency in Hz; levels in dB below the input's loudest bin. What has to be known to read the
        explanation stands below.
    """
    said = clip.describe()
    magnitude = clip.spectrogram.magnitude[0].cpu()
    kept = clip.masked_magnitude()[0].cpu()
    reference = float(magnitude.max()) or 1.0
    rate, frames = clip.frontend.sample_rate, magnitude.shape[0]
    # Frame i is centred on i hops: cells reach half a hop to both sides, bins half a bin.
    hop, bin_hz = clip.frontend.hop_length / rate, rate / clip.frontend.n_fft
    extent = (-hop / 2, (frames - 0.5) * hop, -bin_hz / 2, rate / 2 + bin_hz / 2)
    figure, axes = plt.subplots(1, 3, figsize=(13, 4), sharex=True, sharey=True, layout="constrained")
    for axis, picture, title in (
        (axes[0], _decibels(magnitude, reference), "input"),
        (axes[2], _decibels(kept, reference), "explanation (what the mask keeps)"),
    ):
        levels = axis.imshow(picture, origin="lower", aspect="auto", extent=extent, cmap="magma", vmin=FLOOR_DB, vmax=0)
        axis.set_title(title)
    figure.colorbar(levels, ax=axes[2], label="level (dB)")
    shown = axes[1].imshow(
        clip.mask[0].detach().cpu().numpy().T,
        origin="lower",
        aspect="auto",
        extent=extent,
        cmap="viridis",
        vmin=0,
        vmax=1,
    )
    kept_area = (
        "undefined: there is no explanation" if said["undefined"] else f"keeps {said['kept_area']:.0%} of the area"
    )
    axes[1].set_title(f"mask ({kept_area})")
    figure.colorbar(shown, ax=axes[1], label="mask")
    for axis in axes:
        axis.set_xlabel("time (s)")
    axes[0].set_ylabel("frequency (Hz)")
    axes[0].set_ylim(0, rate / 2)
    axes[0].set_xlim(0, max(said["seconds"], hop))
    figure.suptitle(_title(clip, true_label))
    if clip.notes:
        figure.supxlabel("; ".join(clip.notes), fontsize="small")
    return figure


def save_explanation_figure(clip: Explanation, path: str | Path, true_label: str | None = None) -> Path:
    """Draw one clip's explanation into a file, atomically; return its path."""
    return _save(plot_explanation(clip, true_label), path)


def plot_components(clip: Explanation, true_label: str | None = None, limit: int | None = None) -> plt.Figure:
    """Draw the components of one clip's explanation: their relevance, and spectra and activations of the selected.

    Parameters
    ----------
    clip : Explanation
        Of one clip, by a method that explains by components.
    true_label : str, optional
        Shown in the title beside the predicted class.
    limit : int, optional
        Draw at most so many of the selected components; all if not given.

    Returns
    -------
    matplotlib Figure
        On top a bar for each component's relevance, the selected ones marked. Below, a row for each selected component,
        the most relevant first, up to 12: its column of the dictionary over frequency in Hz, and its activation (of
        which the two make up the log magnitude) over time in seconds. All rows have one scale. If there are more, all
        of them follow as two pictures, a row each.

    Raises
    ------
    UserError
        If the method does not explain by components.
    """
    if clip.components is None:
        raise UserError(f"{clip.method} does not explain by components: there are none to draw")
    components, said = clip.components, clip.describe()
    relevance = components.relevance[0].detach().double().cpu().numpy()
    selected = components.selected[0].cpu().numpy()
    ranked = components.ranked()
    chosen = ranked[:limit]
    shown = chosen[:MAX_ROWS]
    n_rows = max(1, len(shown))
    heights = [2.6, 1.1 * n_rows + 0.6]  # inches
    if len(chosen) > len(shown):
        heights.append(4.0)
    figure = plt.figure(figsize=(13, sum(heights)), layout="constrained")
    upper, lower, *rest = figure.subfigures(len(heights), 1, height_ratios=heights)
    bars = upper.subplots()
    bars.bar(np.arange(len(relevance)), relevance, color=np.where(selected, KEPT, LEFT_OUT), width=0.8)
    bars.axhline(0, color="black", linewidth=0.8)
    bars.set(xlabel="component", ylabel="relevance", xlim=(-0.5, len(relevance) - 0.5))
    bars.xaxis.get_major_locator().set_params(integer=True)
    more = (
        ""
        if len(chosen) == len(ranked)
        else f"; the {len(chosen)} most relevant are below, {len(ranked) - len(chosen)} more are not"
    )
    bars.set_title(f"{len(ranked)} of {len(relevance)} components selected (coloured){more}")
    figure.suptitle(_title(clip, true_label))
    if not shown:
        lower.text(0.5, 0.5, "no component is selected: the explanation is silent", ha="center", va="center")
        return figure
    rate = clip.frontend.sample_rate
    hertz = np.arange(components.matrix.shape[0]) * rate / clip.frontend.n_fft
    words = components.matrix[:, chosen].detach().cpu().numpy()
    levels = components.activations[0, chosen].detach().cpu().numpy()
    seconds = np.arange(levels.shape[1]) * clip.frontend.hop_length / rate
    axes = lower.subplots(n_rows, 2, squeeze=False, sharex="col", sharey="col")
    for row, k in enumerate(shown):
        spectrum, activation = axes[row]
        spectrum.fill_between(hertz, words[:, row], color="tab:purple", linewidth=0.5)
        # A single frame is a point, which a line would not show.
        activation.fill_between(seconds, levels[row], color="tab:blue", alpha=0.4)
        activation.plot(seconds, levels[row], color="tab:blue", linewidth=1, marker="." if len(seconds) == 1 else "")
        spectrum.set_ylabel(f"component {k}\nrelevance {relevance[k]:.2f}", rotation=0, ha="right", va="center")
    axes[0, 0].set_title("spectrum (dictionary column, norm 1)")
    axes[0, 1].set_title("activation (log magnitude)")
    axes[0, 0].set(xlim=(0, rate / 2), ylim=(0, 1.05 * (float(words.max()) or 1.0)))
    axes[0, 1].set(xlim=(0, max(said["seconds"], seconds[-1], 1 / rate)), ylim=(0, 1.05 * (float(levels.max()) or 1.0)))
    axes[-1, 0].set_xlabel("frequency (Hz)")
    axes[-1, 1].set_xlabel("time (s)")
    if rest:
        spectra, activations = rest[0].subplots(1, 2)
        rows = (len(chosen) - 0.5, -0.5)
        for axis, picture, right, cmap in (
            (spectra, words.T / words.max(), rate / 2, "Purples"),
            (activations, levels / (float(levels.max()) or 1.0), axes[0, 1].get_xlim()[1], "Blues"),
        ):
            # Square roots, so that what is faint can be seen.
            axis.imshow(np.sqrt(picture), aspect="auto", extent=(0, right, *rows), cmap=cmap, vmin=0, vmax=1)
        spectra.set(
            xlabel="frequency (Hz)", ylabel="rank of relevance", title=f"spectra of all {len(chosen)} (square root)"
        )
        activations.set(xlabel="time (s)", title=f"activations of all {len(chosen)} (square root)")
    return figure


def save_components_figure(
    clip: Explanation, path: str | Path, true_label: str | None = None, limit: int | None = None
) -> Path:
    """Draw the components of one clip's explanation into a file, atomically; return its path."""
    return _save(plot_components(clip, true_label, limit), path)


def _title(clip: Explanation, true_label: str | None) -> str:
    """Return classes, probabilities and method of a clip in one line."""
    said = clip.describe()
    title = "" if true_label is None else f"true: {true_label}   "
    title += f"predicted: {said['predicted']} (p = {said['predicted_probability']:.3f})"
    if said["explained"] != said["predicted"]:
        title += f"   explained: {said['explained']} (p = {said['explained_probability']:.3f})"
    return f"{title}   [{said['title']}]"


def _save(figure: plt.Figure, path: str | Path) -> Path:
    """Write a figure into a file, atomically, and close it; return the path."""
    try:
        with atomic_path(path) as temporary:
            figure.savefig(temporary, dpi=110)
    finally:
        plt.close(figure)
    return Path(path)


def _decibels(magnitude: torch.Tensor, reference: float) -> np.ndarray:
    level = 20 * torch.log10((magnitude.double() / reference).clamp(min=10 ** (FLOOR_DB / 20)))
    return level.numpy().T
