"""Figures of explanations: input, mask and explanation, axes in seconds and Hz."""

from __future__ import annotations

from pathlib import Path

import matplotlib
import numpy as np
import torch

matplotlib.use("Agg")  # figures go to files; no screen is needed

from matplotlib import pyplot as plt

from interpretability.explanation import Explanation
from interpretability.files import atomic_path

FLOOR_DB = -80.0


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
        Time in seconds, frequency in Hz; levels in dB below the input's loudest bin.
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
    axes[1].set_title(f"mask (keeps {said['kept_area']:.0%} of the area)")
    figure.colorbar(shown, ax=axes[1], label="mask")
    for axis in axes:
        axis.set_xlabel("time (s)")
    axes[0].set_ylabel("frequency (Hz)")
    axes[0].set_ylim(0, rate / 2)
    axes[0].set_xlim(0, max(said["seconds"], hop))
    truth = "" if true_label is None else f"true: {true_label}   "
    title = f"{truth}predicted: {said['predicted']} (p = {said['predicted_probability']:.3f})"
    if said["explained"] != said["predicted"]:
        title += f"   explained: {said['explained']} (p = {said['explained_probability']:.3f})"
    figure.suptitle(f"{title}   [{said['method']}]")
    return figure


def save_explanation_figure(clip: Explanation, path: str | Path, true_label: str | None = None) -> Path:
    """Draw one clip's explanation into a file, atomically; return its path."""
    figure = plot_explanation(clip, true_label)
    try:
        with atomic_path(path) as temporary:
            figure.savefig(temporary, dpi=110)
    finally:
        plt.close(figure)
    return Path(path)


def _decibels(magnitude: torch.Tensor, reference: float) -> np.ndarray:
    level = 20 * torch.log10((magnitude.double() / reference).clamp(min=10 ** (FLOOR_DB / 20)))
    return level.numpy().T
