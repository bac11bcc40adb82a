#!/usr/bin/env python
"""How well the mean spectrum alone separates the classes of the Synthetic data: a linear probe.

    python tools/probe_synthetic.py --data_folder results/data/synthetic

The data set is made if the folder is empty or absent. Logistic regression on the log of each clip's mean magnitude
spectrum, standardised, is fitted on the training split and scored once on the test split. A classifier that uses time
should do far better.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from interpretability.command_line import guarded
from interpretability.data.audio import read_audio
from interpretability.data.manifest import PreparedData, read_manifest
from interpretability.training.composition import compose
from interpretability.training.recipe import load

_RECIPE = Path(__file__).parents[1] / "recipes" / "Synthetic" / "hparams" / "classifier_compact.yaml"
_N_FFT = 1024  # samples
_WINDOW = 372  # samples, 23 ms at 16 kHz: what the classifiers see
_HOP = 186  # samples
_FLOOR = 1e-5  # so that silence has a logarithm


def mean_log_spectrum(x: torch.Tensor) -> np.ndarray:
    """Return the log of the mean magnitude spectrum over time, [N] -> [n_fft / 2 + 1]; blind to order.

    The clip is levelled to a peak of 1 first, as it is for the classifiers.

    Examples
    --------
    >>> x = torch.randn(16000, generator=torch.Generator().manual_seed(0))
    >>> spectrum = mean_log_spectrum(x)
    >>> spectrum.shape, bool(np.allclose(spectrum, mean_log_spectrum(2 * x)))
    ((513,), True)
    """
    x = x / x.abs().max().clamp_min(1e-12)
    window = torch.hann_window(_WINDOW)
    mean = torch.stft(x, _N_FFT, _HOP, _WINDOW, window, return_complex=True).abs().mean(1)  # [F]
    return mean.clamp_min(_FLOOR).log().numpy()


def probe(prepared: PreparedData, sample_rate: int = 16000) -> float:
    """Fit the probe on the training split; return its accuracy on the test split."""
    parts = {}
    for split in ("train", "test"):
        manifest = read_manifest(prepared.manifests[split], prepared.data_root, prepared.labels)
        clips = manifest.entries.values()
        features = np.stack([mean_log_spectrum(read_audio(clip["wav"], sample_rate)) for clip in clips])
        parts[split] = features, [clip["label"] for clip in clips]
    model = make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=2000))
    model.fit(*parts["train"])
    return model.score(*parts["test"])


def main(arguments: list[str] | None = None) -> int:
    """Print the probe's accuracy in one line; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data_folder", type=Path, required=True, help="where the Synthetic data is or is to be made")
    data = parser.add_argument_group("the data, by default as in the recipe")
    for name in ("data_seed", "n_train", "n_valid", "n_test"):
        data.add_argument(f"--{name}", type=int)
    return guarded(lambda: _report(parser.parse_args(arguments)))


def _report(options: argparse.Namespace) -> None:
    given = {name: str(value) for name, value in vars(options).items() if value is not None}
    with tempfile.TemporaryDirectory() as folder:
        recipe = load(compose(_RECIPE, {**given, "output_folder": folder}), _RECIPE)
        accuracy = probe(recipe["prepare"]())
    print(
        f"linear probe on the mean spectrum: test accuracy {accuracy:.3f} "
        f"(seed {recipe['data_seed']}, {recipe['n_train']} training clips, {recipe['n_test']} test clips)"
    )


if __name__ == "__main__":
    sys.exit(main())
