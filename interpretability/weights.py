"""Weights into modules: everything fits by name and size and is finite, or nothing is loaded."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from interpretability.errors import MissingError, UserError, listed, shown, user_errors
from interpretability.files import atomic_path, sha256, write_errors
from interpretability.weight_files import CONVERT, read_tensors, states_in

#: Part of the state of old batch normalisations is not in old files; PyTorch counts from 0 then.
COUNTER = "num_batches_tracked"

#: Of each tensor, about so many values go into :func:`fingerprint`.
VALUES_OF_FINGERPRINT = 32


def save_weights(module: nn.Module, path: str | Path) -> None:
    """Save a module's state as CPU tensors; a :class:`UserError` if the file cannot be written."""
    with write_errors(path):
        torch.save({name: value.detach().cpu() for name, value in module.state_dict().items()}, path)


def save_safetensors(module: nn.Module, path: str | Path) -> None:
    """Save a module's state as a file of safetensors; a :class:`UserError` if it cannot be written.

    Tensors that share their memory are written once for each name.
    """
    from safetensors.torch import save_file

    state = {name: value.detach().cpu().contiguous().clone() for name, value in module.state_dict().items()}
    with write_errors(path), atomic_path(path) as temporary:
        save_file(state, temporary, metadata={"format": "pt"})


def fingerprint(module: nn.Module) -> str:
    """Return 64 hex digits that identify a module's state: of names, shapes, and a few values of each tensor.

    Quick for the largest model. It distinguishes trained models, and is no check of a file's integrity.
    """
    digest = hashlib.sha256()
    for name, value in module.state_dict().items():
        if not isinstance(value, Tensor):
            continue  # what a module keeps beside its tensors
        flat = value.detach().reshape(-1)
        step = max(1, flat.numel() // VALUES_OF_FINGERPRINT)
        digest.update(f"{name} {tuple(value.shape)} {flat[::step].double().cpu().tolist()}".encode())
    return digest.hexdigest()


def read_weights(path: str | Path) -> dict[str, Tensor]:
    """Read a file of weights, and run no code in it; of a checkpoint, the likeliest state_dict in it.

    Raises
    ------
    MissingError, UserError
        If it is not there, or holds no names with tensors; see :func:`~interpretability.weight_files.read_tensors`. If
        a weight is not finite.
    """
    state = next(iter(_states(path).values()))
    check_finite(state.items(), path, buffers=state)
    return state


def check_weights(path: str | Path, digest: str | None = None) -> None:
    """Refuse a file of weights that is not there, or has not the SHA-256 of its description, if that is given.

    Raises
    ------
    MissingError, UserError
    """
    if not Path(path).is_file():
        raise MissingError(f"no weights at {path}; save the model again or pass another folder")
    if digest is not None and sha256(path) != digest:
        raise UserError(f"{path}: damaged: its SHA-256 is not the one in the description; copy the folder again")


def load_weights(module: nn.Module, path: str | Path) -> None:
    """Load a file of weights into a module; every parameter has to be there, to fit and to be finite.

    Parameters
    ----------
    module : torch.nn.Module
    path : path
        A state_dict of torch.save or safetensors, or a checkpoint that holds one. A prefix of all names (of
        ``DataParallel``, Lightning, ``torch.compile``) is taken off if they fit then.

    Raises
    ------
    MissingError, UserError
        For a missing, damaged or ill-fitting file, in one line; the module is as it was.
    """
    load_state(module, _states(path), path)


def load_state(module: nn.Module, states: Mapping[str, Mapping[str, Tensor]], where: str | Path) -> None:
    """Load the first of several state_dicts that fits a module.

    Parameters
    ----------
    module : torch.nn.Module
    states : mapping
        As of :func:`~interpretability.weight_files.states_in`.
    where : str or path
        In front of errors.

    Raises
    ------
    UserError
        If none fits, with what the likeliest one lacks; if it is not finite. The module is as it was.
    """
    fits = [Fit.of(module, dict(state)) for state in states.values()]
    fit = next((fit for fit in fits if fit.perfect), min(fits, key=lambda fit: len(fit.missing)))
    if not fit.perfect:
        raise UserError(f"{where}: weights do not fit {type(module).__name__}: {fit.misfit()}")
    ours = module.state_dict(keep_vars=True)
    for name, value in fit.state.items():
        kept = ours.get(name)
        if isinstance(kept, Tensor) and kept.is_floating_point() and not value.is_floating_point():
            raise UserError(
                f"{where}: the weight {shown(name)} holds values of {value.dtype}, expected floating point such as "
                f"{kept.dtype}: it is quantised, or of another model"
            )
    check_finite(fit.state.items(), where, buffers=[name for name, _ in module.named_buffers()])
    with user_errors(f"{where}: weights do not fit {type(module).__name__}"):  # modules may have hooks of their own
        module.load_state_dict(fit.state)


def check_finite(weights: Iterable[tuple[str, Tensor]], where: str | Path, buffers: Iterable[str] = ()) -> None:
    """Refuse weights that are not finite; a buffer may hold minus infinity, as masks of attention do.

    Raises
    ------
    UserError
        For the first one, with its name.
    """
    buffers = set(buffers)
    for name, value in weights:
        if not (value.is_floating_point() or value.is_complex()) or value.numel() == 0 or value.is_meta:
            continue
        values = torch.view_as_real(value) if value.is_complex() else value
        values = values.float() if values.element_size() == 1 else values
        low, high = (float(bound) for bound in values.detach().aminmax())  # NaN if one of them is
        mask = low == -torch.inf and name in buffers
        if not (mask or low > -torch.inf) or not high < torch.inf:
            raise UserError(
                f"{where}: the weight {shown(name)} holds NaN or infinite values: the training that made it went "
                "wrong, or the file is damaged; take another checkpoint"
            )


@dataclass(frozen=True)
class Fit:
    """How a state_dict fits a module.

    Attributes
    ----------
    state : dict of Tensor
        Under the names of the module.
    missing, unknown : list of str
        Names of the module that the file lacks; names of the file that the module does not have.
    sizes : dict of str to (torch.Size, torch.Size)
        Of the others, those of another size: of the file, of the module.
    prefixes : list of str
        What may be taken off the names; one at most if they fit.
    """

    state: dict[str, Tensor]
    missing: list[str]
    unknown: list[str]
    sizes: dict[str, tuple[torch.Size, torch.Size]]
    prefixes: list[str]

    @property
    def perfect(self) -> bool:
        """Whether nothing is missing, unknown or of another size."""
        return not (self.missing or self.unknown or self.sizes)

    def misfit(self) -> str:
        """Return what does not fit, in words."""
        if len(self.prefixes) > 1:
            places = " and ".join(map(shown, self.prefixes[:3]))
            return f"the names stand there {len(self.prefixes)} times, behind {places}: save one of them alone"
        parts = []
        for name, (theirs, ours) in list(self.sizes.items())[:3]:
            parts.append(f"{shown(name)} is {list(theirs)} in the file and {list(ours)} here")
        if len(self.sizes) > 3:
            parts.append(f"{len(self.sizes) - 3} more have another size")
        for names, what in ((self.missing, "missing"), (self.unknown, "unknown")):
            if names:
                parts.append(f"{len(names)} {what} ({listed(names, 3)})")
        return "; ".join(parts)

    @classmethod
    def of(cls, module: nn.Module, state: dict[str, Tensor]) -> Fit:
        """Return the fit of a state_dict; a prefix of its names is taken off if the module's are all there then.

        Names outside of the prefix belong to other parts of a training, and are left out.
        """
        ours = module.state_dict(keep_vars=True)
        needed = {name for name in ours if not name.endswith(COUNTER)}
        prefixes = [""] if needed <= state.keys() else _prefixes(needed, state)
        if len(prefixes) == 1 and prefixes[0]:
            length = len(prefixes[0])
            state = {name[length:]: value for name, value in state.items() if name.startswith(prefixes[0])}
        # Parameters that share their memory are one, and safetensors saves one of their names.
        names_of: dict[int, list[str]] = {}
        for name, value in ours.items():
            if isinstance(value, Tensor):
                names_of.setdefault(id(value), []).append(name)
        for names in names_of.values():
            present = [name for name in names if name in state]
            state |= {name: state[present[0]] for name in names if present and name not in state}
        sizes = {
            name: (value.shape, ours[name].shape)
            for name, value in state.items()
            if isinstance(ours.get(name), Tensor)
            if not is_lazy(ours[name]) and ours[name].shape != value.shape
        }
        missing = sorted(needed - state.keys())
        return cls(state, missing, sorted(state.keys() - ours.keys()), sizes, prefixes)


def _prefixes(needed: set[str], state: Mapping[str, Tensor]) -> list[str]:
    """Return what stands before all needed names in a state_dict."""
    if not needed:
        return [""]
    longest = max(needed, key=len)
    starts = [name[: -len(longest)] for name in state if name.endswith(f".{longest}")]
    return [start for start in starts if all(f"{start}{name}" in state for name in needed)]


def _states(path: str | Path) -> dict[str, dict[str, Tensor]]:
    content = read_tensors(path)
    states = states_in(content)
    if not states:
        raise UserError(
            f"{path}: not a weights file: expected names with tensors, got {type(content).__name__}; {CONVERT}"
        )
    return states
