"""A dictionary of spectra and its file."""

from __future__ import annotations

import hashlib
import json
from dataclasses import MISSING, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from interpretability.errors import MissingError, UserError, placed, shown
from interpretability.files import atomic_path, write_errors
from interpretability.frontend import FrontendSettings
from interpretability.hub import local_folder
from interpretability.reading import checked
from interpretability.settings import Settings, setting
from interpretability.weight_files import read_tensors

FILE = "dictionary.pt"
RUN_SUBFOLDER = "dictionary"
#: Spectra of a dictionary: papers have up to some hundreds.
MOST_COMPONENTS = 2**16


@dataclass(frozen=True)
class _DictionaryFile(Settings):
    """What the file of a dictionary holds."""

    matrix: Any = setting(MISSING, "the spectra, a tensor [F, K]")
    description: dict = setting(MISSING, "what is needed to use them")


@dataclass(frozen=True)
class _Identity(Settings):
    """What the settings of a method say about the dictionary that it uses."""

    n_components: int = setting(MISSING, "number of spectra K", least=1, most=MOST_COMPONENTS)
    algorithm: str = setting(MISSING, "how it was learned")
    sha256: str = setting(MISSING, "hash of the spectra and of the front end")


@dataclass(frozen=True)
class _Description(_Identity):
    """What it holds besides the spectra."""

    frontend: dict = setting(MISSING, "settings of the front end")
    labels: tuple[str, ...] = setting(MISSING, "class names of the clips")
    loss_curve: tuple[float, ...] = setting(MISSING, "the objective after each iteration or epoch")
    training: dict = setting(MISSING, "facts about the learning")


@dataclass
class Dictionary:
    """A learned dictionary, and what is needed to use it.

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
        frontend = self.frontend.to_dict()
        if frontend["resampling"] == "published":
            del frontend["resampling"]  # as the files have it that are older than this setting
        digest = hashlib.sha256(self.matrix.detach().cpu().float().contiguous().numpy().tobytes())
        digest.update(json.dumps(frontend, sort_keys=True).encode())
        return {"n_components": self.n_components, "algorithm": self.algorithm, "sha256": digest.hexdigest()}

    def check(self, frontend: FrontendSettings, user: str) -> None:
        """Refuse to be used behind another front end.

        Raises
        ------
        UserError
            If a setting differs; the message names each one.
        """
        learned, needed = self.frontend.to_dict(), frontend.to_dict()
        different = [
            f"{name} {value} (needed: {needed[name]})" for name, value in learned.items() if value != needed[name]
        ]
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
        with write_errors(path), atomic_path(path) as temporary:
            torch.save(content, temporary)
        return Path(path)

    @classmethod
    def load(cls, path: str | Path) -> Dictionary:
        """Load a dictionary from its file, the folder of that, the run folder above it, or ``user/name`` on a hub.

        Raises
        ------
        MissingError
            If there is none.
        UserError
            If the file is damaged, or does not hold a dictionary.
        """
        path = local_folder(path)
        file = next((f for f in (path, path / FILE, path / RUN_SUBFOLDER / FILE) if f.is_file()), None)
        if file is None:
            raise MissingError(f"no dictionary at {path}: learn one with train_nmf.py, or pass its file or run folder")
        with placed(file, "learn one with train_nmf.py"):
            saved = read_tensors(file)
            if not isinstance(saved, dict) or "matrix" not in saved:
                raise UserError("not a dictionary file")
            content = checked(_DictionaryFile, saved, file)
            if not isinstance(content.matrix, Tensor) or not content.matrix.is_floating_point():
                raise UserError(f"matrix is a {type(content.matrix).__name__}, expected a tensor of numbers")
            known = content.description
            described = checked(_Description, known, f"{file}: description")
            frontend = FrontendSettings.of_saved(described.frontend, f"{file}: frontend")
            rest = (list(described.labels), described.algorithm, list(described.loss_curve), described.training)
            loaded = cls(content.matrix, frontend, *rest)
        if loaded.describe()["sha256"] != described.sha256:
            raise UserError(f"{file}: damaged: its SHA-256 is not the one in its description; copy it again")
        return loaded


def dictionary_of(source: Dictionary | str | Path | dict, frontend: FrontendSettings, user: str) -> tuple[Tensor, dict]:
    """Return the matrix [F, K] that a method needs, and the description that goes into its settings.

    Parameters
    ----------
    source : Dictionary, path or dict
        A dictionary, the path of one, or (from a saved interpreter, whose weights hold the matrix) its description.
    frontend : FrontendSettings
        Of the classifier.
    user : str
        Name of the method, for messages.

    Raises
    ------
    MissingError, UserError
        As :meth:`Dictionary.load` and :meth:`Dictionary.check`.
    """
    if isinstance(source, dict):
        known = checked(_Identity, source, f"{user}: dictionary")
        return torch.zeros(frontend.n_bins, known.n_components), dict(source)
    if source is None:
        raise UserError(f"{user} needs a dictionary: learn one with train_nmf.py and pass its file or run folder")
    if not isinstance(source, (Dictionary, str, Path)):
        raise UserError(f"{user}: dictionary is {shown(source)}, expected the path of its file or of a run folder")
    dictionary = source if isinstance(source, Dictionary) else Dictionary.load(source)
    dictionary.check(frontend, user)
    return dictionary.matrix.clone(), dictionary.describe()
