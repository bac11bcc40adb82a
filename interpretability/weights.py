"""Files of weights: what saved classifiers and saved interpreters keep their tensors in."""

from pathlib import Path

import torch

from interpretability.errors import MissingError, UserError, user_errors
from interpretability.files import sha256, write_errors


def save_weights(module: torch.nn.Module, path: str | Path) -> None:
    """Save a module's state as CPU tensors; a :class:`UserError` if the file cannot be written."""
    with write_errors(path):
        torch.save({name: value.detach().cpu() for name, value in module.state_dict().items()}, path)


def read_weights(path: str | Path) -> dict[str, torch.Tensor]:
    """Read a file of tensors, and run no code in it.

    Raises
    ------
    MissingError, UserError
        If it is not there, or does not map names to tensors.
    """
    path = Path(path)
    if not path.is_file():
        raise MissingError(f"no weights at {path}; save the model again or pass another folder")
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many types for files that are no checkpoints
        raise UserError(f"{path}: not a weights file ({type(error).__name__})") from error
    if not isinstance(state, dict) or not all(isinstance(value, torch.Tensor) for value in state.values()):
        raise UserError(f"{path}: not a weights file: expected names with tensors, got {type(state).__name__}")
    return state


def load_weights(module: torch.nn.Module, path: str | Path, digest: str | None = None) -> None:
    """Load a module's state; every parameter has to be there and to fit.

    Raises
    ------
    MissingError, UserError
        For a missing, damaged or ill-fitting file, in one line.
    """
    if digest is not None and Path(path).is_file() and sha256(path) != digest:
        raise UserError(f"{path}: damaged: its SHA-256 is not the one in the description; copy the folder again")
    state = read_weights(path)
    with user_errors(f"{path}: weights do not fit {type(module).__name__}", RuntimeError, whole=True):
        module.load_state_dict(state)
