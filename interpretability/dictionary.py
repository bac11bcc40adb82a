"""Dictionaries of non-negative spectra: the file that holds one, decomposition with one, masks of its components.

Conventions. Log magnitudes X = log1p(A) [B, T, F] of levelled clips are approximated as ``X^T = W H`` with a dictionary
W [F, K] >= 0, whose columns have unit L2 norm, and activations H [B, K, T] >= 0. A frame's activations depend on that
frame alone, so padding and the length of a clip change nothing. How dictionaries are learned is the business of
:mod:`interpretability.training.dictionary`.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from torch import Tensor

from interpretability.errors import MissingError, UserError, first_line
from interpretability.files import atomic_path
from interpretability.frontend import FrontendSettings

FILE = "dictionary.pt"
RUN_SUBFOLDER = "dictionary"
DIVERGENCES = ("euclidean", "kl")
EPSILON = 1e-10


@dataclass
class Dictionary:
    """A learned dictionary, and what has to be known to use it.

    Attributes
    ----------
    matrix : Tensor [F, K]
        W >= 0, columns of unit L2 norm.
    frontend : FrontendSettings
        Rate and STFT of the spectra it was learned from; its users must have the same.
    labels : list of str
        Classes of the clips it was learned from.
    algorithm : str
        How it was learned.
    loss_curve : list of float
        The objective after each iteration or epoch.
    training : dict
        Data, folds, seed, commit, settings; plain values.

    Raises
    ------
    UserError
        If the matrix is not [F, K] with F bins of the front end, not finite, or negative.
    """

    matrix: Tensor
    frontend: FrontendSettings
    labels: list[str]
    algorithm: str
    loss_curve: list[float] = field(default_factory=list)
    training: dict = field(default_factory=dict)

    def __post_init__(self):
        n_bins = self.frontend.n_bins
        if self.matrix.ndim != 2 or self.matrix.shape[0] != n_bins or self.matrix.shape[1] == 0:
            raise UserError(
                f"a dictionary of shape {tuple(self.matrix.shape)}, expected [{n_bins}, K >= 1]: learn it again"
            )
        if not bool((self.matrix.isfinite() & (self.matrix >= 0)).all()):
            raise UserError("a dictionary with negative or infinite values: learn it again")

    @property
    def n_components(self) -> int:
        """Number of components K."""
        return self.matrix.shape[1]

    def describe(self) -> dict:
        """Return what identifies it as plain values: goes into the settings of every method that uses it."""
        digest = hashlib.sha256(self.matrix.detach().cpu().float().contiguous().numpy().tobytes())
        digest.update(json.dumps(self.frontend.to_dict(), sort_keys=True).encode())
        return {"n_components": self.n_components, "algorithm": self.algorithm, "sha256": digest.hexdigest()}

    def check(self, frontend: FrontendSettings, user: str) -> None:
        """Refuse to be used behind another front end.

        Raises
        ------
        UserError
            With each setting that differs.
        """
        own, wanted = self.frontend.to_dict(), frontend.to_dict()
        different = [f"{name} {own[name]} (needed: {wanted[name]})" for name in own if own[name] != wanted[name]]
        if different:
            raise UserError(
                f"{user}: the dictionary was learned with {', '.join(different)}, which is not the front end of the "
                "classifier: learn one with train_nmf.py for this classifier, or pass another"
            )

    def save(self, path: str | Path) -> Path:
        """Save it as one file, atomically; return its path. A :class:`UserError` if it cannot be written."""
        content = {
            "matrix": self.matrix.detach().cpu().float().contiguous(),
            "description": {
                "frontend": self.frontend.to_dict(),
                "labels": list(self.labels),
                "algorithm": self.algorithm,
                "loss_curve": [float(value) for value in self.loss_curve],
                "training": self.training,
                **self.describe(),
            },
        }
        try:
            with atomic_path(path) as temporary:
                torch.save(content, temporary)
        except (OSError, RuntimeError) as error:  # torch reports a failed write as RuntimeError
            raise UserError(
                f"could not write {path} ({first_line(error)}); make room on the disk, then run it again"
            ) from error
        return Path(path)

    @classmethod
    def load(cls, path: str | Path) -> Dictionary:
        """Load a dictionary from its file, from the folder it lies in, or from the run folder above that.

        Raises
        ------
        MissingError
            If there is none.
        UserError
            If the file is damaged, or is no dictionary.
        """
        path = Path(path)
        places = [path, path / FILE, path / RUN_SUBFOLDER / FILE]
        found = next((place for place in places if place.is_file()), None)
        if found is None:
            raise MissingError(f"no dictionary at {path}: learn one with train_nmf.py, or pass its file or run folder")
        try:
            content = torch.load(found, map_location="cpu", weights_only=True)
            known = content["description"]
            loaded = cls(
                content["matrix"],
                FrontendSettings(**known["frontend"]),
                known["labels"],
                known["algorithm"],
                known["loss_curve"],
                known["training"],
            )
        except UserError:
            raise
        except Exception as error:  # torch raises many types for files that are no checkpoints
            raise UserError(
                f"{found}: not a dictionary file ({type(error).__name__}); learn one with train_nmf.py"
            ) from error
        if loaded.describe()["sha256"] != known.get("sha256"):
            raise UserError(f"{found}: damaged: its SHA-256 is not the one in its description; copy it again")
        return loaded


def dictionary_of(source: Dictionary | str | Path | dict, frontend: FrontendSettings, user: str) -> tuple[Tensor, dict]:
    """Return the matrix [F, K] that a method needs, and the description that goes into its settings.

    Parameters
    ----------
    source : Dictionary, path or dict
        A dictionary, where one lies, or (of a saved interpreter, whose weights bring the matrix) its description.
    frontend : FrontendSettings
        Of the classifier.
    user : str
        Who asks, for messages.

    Raises
    ------
    MissingError, UserError
        As :meth:`Dictionary.load` and :meth:`Dictionary.check`.
    """
    if isinstance(source, dict):
        return torch.zeros(frontend.n_bins, int(source["n_components"])), dict(source)
    if source is None:
        raise UserError(f"{user} needs a dictionary: learn one with train_nmf.py and pass its file or run folder")
    dictionary = source if isinstance(source, Dictionary) else Dictionary.load(source)
    dictionary.check(frontend, user)
    return dictionary.matrix.clone(), dictionary.describe()


@torch.no_grad()
def decompose(
    log_magnitude: Tensor,
    matrix: Tensor,
    n_iterations: int = 50,
    divergence: str = "euclidean",
    sparsity: float = 0.0,
) -> Tensor:
    """Return the activations of spectra on a fixed dictionary, by multiplicative updates.

    Parameters
    ----------
    log_magnitude : Tensor [B, T, F]
        X >= 0.
    matrix : Tensor [F, K]
        W >= 0.
    n_iterations : int
        Each lowers the objective, or leaves it as it is.
    divergence : {"euclidean", "kl"}
        Half the squared distance, or the generalised Kullback-Leibler divergence D(X || WH).
    sparsity : float
        Weight of the L1 norm of H.

    Returns
    -------
    Tensor [B, K, T]
        H >= 0; zero in silent frames.

    References
    ----------
    Lee and Seung, "Algorithms for non-negative matrix factorization", NIPS 2000.
    """
    if divergence not in DIVERGENCES:
        raise UserError(f"divergence is {divergence!r}, expected one of {DIVERGENCES}")
    target = log_magnitude.float().transpose(1, 2)  # [B, F, T]
    matrix = matrix.to(target)
    projected = matrix.T @ target  # [B, K, T]
    # Of the right size from the start: the best single scale of the projection, frame by frame.
    drawn = matrix @ projected
    scale = (drawn * target).sum(1, keepdim=True) / drawn.square().sum(1, keepdim=True).clamp(min=EPSILON)
    activations = projected * scale
    gram, column_sums = matrix.T @ matrix, matrix.sum(0)[:, None]
    for _ in range(n_iterations):
        if divergence == "euclidean":
            activations = activations * projected / (gram @ activations + sparsity + EPSILON)
        else:
            ratio = target / (matrix @ activations + EPSILON)
            activations = activations * (matrix.T @ ratio) / (column_sums + sparsity + EPSILON)
    return activations


def component_mask(matrix: Tensor, activations: Tensor, kept: Tensor) -> Tensor:
    """Return ``M = sum_kept W_k H_k / (W H + eps)``, 0 where W H is 0.

    Parameters
    ----------
    matrix : Tensor [F, K]
    activations : Tensor [B, K, T]
    kept : Tensor [B, K]
        Which components: ones and zeros, or shares in [0, 1].

    Returns
    -------
    Tensor [B, T, F]
        Values in [0, 1].
    """
    whole = activations.transpose(1, 2) @ matrix.T  # [B, T, F]
    part = (activations * kept.to(activations)[..., None]).transpose(1, 2) @ matrix.T
    return (part / (whole + EPSILON)).clamp(0, 1)


@dataclass
class Components:
    """What a method that explains by components says of a batch.

    Attributes
    ----------
    matrix : Tensor [F, K]
        The dictionary W.
    activations : Tensor [B, K, T]
        H; zero in frames that are not valid.
    relevance : Tensor [B, K]
        How much each component speaks for the explained class: 1 for the one that does most, negative against it.
    selected : Tensor [B, K], bool
        The components that the explanation keeps.
    """

    matrix: Tensor
    activations: Tensor
    relevance: Tensor
    selected: Tensor

    def clip(self, index: int, n_frames: int) -> Components:
        """Return those of one clip, as a batch of one, cut to its frames."""
        one = slice(index, index + 1)
        return replace(
            self,
            activations=self.activations[one, :, :n_frames],
            relevance=self.relevance[one],
            selected=self.selected[one],
        )

    def ranked(self, index: int = 0) -> list[int]:
        """Return the selected components of a clip, the most relevant first."""
        order = self.relevance[index].argsort(descending=True, stable=True).tolist()
        return [k for k in order if bool(self.selected[index, k])]

    def mask_of(self, component: int) -> Tensor:
        """Return the mask [B, T, F] of one component alone."""
        kept = torch.zeros_like(self.relevance)
        kept[:, component] = 1
        return component_mask(self.matrix, self.activations, kept)
