"""Amortised factorisation: an encoder gives the activations, and is trained together with the dictionary."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from interpretability.dictionary.decompose import EPSILON
from interpretability.dictionary.file import Dictionary
from interpretability.dictionary.learning import DictionarySettings, check_spectra, used_columns
from interpretability.frontend import Frontend, FrontendSettings
from interpretability.lengths import mean_over_valid

#: Of W: its values have farther to go than an encoder's weights, and both have one learning rate.
SPEED = 20.0


@dataclass
class Factorisation:
    """A factorised batch.

    Attributes
    ----------
    activations : Tensor [B, K, T]
        H >= 0; zero in frames that are not valid.
    reconstruction : Tensor [B, T, F]
        ``(W H)^T``.
    """

    activations: Tensor
    reconstruction: Tensor


class _Rectify(torch.autograd.Function):
    """ReLU whose negative side still lets through the gradient that raises it: no component dies for good."""

    @staticmethod
    def forward(ctx, values: Tensor) -> Tensor:
        ctx.save_for_backward(values)
        return values.clamp(min=0)

    @staticmethod
    def backward(ctx, gradient: Tensor) -> Tensor:
        (values,) = ctx.saved_tensors
        return torch.where((values > 0) | (gradient < 0), gradient, 0.0)


class AmortisedFactorisation(nn.Module):
    """An encoder that gives activations, and a non-negative dictionary that draws spectra from them.

    The encoder is a fully connected network with ReLU that sees one frame at a time, so that its activations, like
    those of :func:`~interpretability.dictionary.decompose`, depend on nothing else. It sees the shape of the frame, and
    its output is scaled by the frame's norm, so that silence has no activations. W is the softplus of a parameter, its
    columns brought to unit norm in every pass: a weight on H then cannot be evaded by growing W. Training goes better
    from frames of the data (:meth:`start_from`) than from random columns.

    Parameters
    ----------
    frontend : FrontendSettings
        Of the clips.
    settings : DictionarySettings
        ``sparsity`` weighs mean|H| beside the mean squared error.

    Attributes
    ----------
    in_use : Tensor [K], bool
        Components that the encoder used in the last validation: what it never uses was never trained.
    losses : list of float
        Validation loss of each epoch so far.
    """

    def __init__(self, frontend: FrontendSettings, settings: DictionarySettings):
        super().__init__()
        self.frontend, self.settings = Frontend(frontend), settings
        n_bins, n_components = frontend.n_bins, settings.n_components
        layers: list[nn.Module] = []
        for n_in, n_out in itertools.pairwise((n_bins, *settings.hidden, n_components)):
            layers += [nn.Linear(n_in, n_out), nn.ReLU()]
        self.encoder = nn.Sequential(*layers[:-1])
        # Every component begins in use, and all of them together about as loud as the frame.
        nn.init.constant_(self.encoder[-1].bias, 1 / n_components)
        # Components begin as different as they can be: a third of their bins high, the others near zero.
        self.raw_matrix = nn.Parameter((2 * torch.randn(n_bins, n_components) - 1.0) / SPEED)
        self.register_buffer("in_use", torch.ones(n_components, dtype=torch.bool))
        self.losses: list[float] = []

    @torch.no_grad()
    def start_from(self, spectra: Tensor, seed: int = 0, given: Tensor | None = None) -> None:
        """Set every column of W to a frame of the data, drawn at random, or the first ones to columns that are given.

        Parameters
        ----------
        spectra : Tensor [n, F]
            As of :func:`~interpretability.dictionary.collect_frames`.
        seed : int
        given : Tensor [F, K'], optional
            Of unit norm.

        Raises
        ------
        UserError
            As :func:`~interpretability.dictionary.learning.check_spectra`.
        """
        check_spectra(spectra, self.frontend.settings, self.settings.n_components)
        order = torch.randperm(len(spectra), generator=torch.Generator().manual_seed(seed))
        columns = functional.normalize(spectra[order[: self.settings.n_components]].float().T, dim=0)
        if given is not None:
            columns = torch.cat([given.to(columns), columns[:, given.shape[1] :]], dim=1)[:, : columns.shape[1]]
        # Of mean square 1, and no bin at zero, whose softplus would be infinitely far.
        columns = columns * columns.shape[0] ** 0.5 + 0.05
        self.raw_matrix.copy_((columns + torch.log(-torch.expm1(-columns))) / SPEED)

    def matrix(self) -> Tensor:
        """Return W [F, K] > 0, columns of unit L2 norm."""
        return functional.normalize(functional.softplus(SPEED * self.raw_matrix), dim=0)

    def forward(self, log_magnitude: Tensor, valid: Tensor) -> Factorisation:
        """Factorise log magnitudes [B, T, F], of which ``valid`` [B, T] frames count."""
        norms = log_magnitude.norm(dim=2, keepdim=True) * valid[..., None]  # [B, T, 1]
        shape = log_magnitude / norms.clamp(min=EPSILON) * log_magnitude.shape[2] ** 0.5  # of mean square 1
        activations = _Rectify.apply(self.encoder(shape * valid[..., None])) * norms  # [B, T, K]
        return Factorisation(activations.transpose(1, 2), activations @ self.matrix().T)

    def objective(self, factorisation: Factorisation, log_magnitude: Tensor, valid: Tensor) -> dict[str, Tensor]:
        """Return the loss and its terms, each [B]: ``loss = error + sparsity * activity``.

        ``error`` is the mean squared error over valid bins, ``activity`` the mean of H over valid frames.
        """
        error = mean_over_valid((log_magnitude - factorisation.reconstruction).square(), valid)
        activity = mean_over_valid(factorisation.activations.transpose(1, 2), valid)
        return {"loss": error + self.settings.sparsity * activity, "error": error, "activity": activity}

    def begin_validation(self) -> None:
        """Forget which components were in use."""
        self.in_use.zero_()

    def mark_in_use(self, used: Tensor) -> None:
        """Mark components, [K] bool, as used in this validation."""
        self.in_use |= used

    def end_validation(self, loss: float) -> None:
        """Keep the validation loss of an epoch."""
        self.losses.append(loss)

    @torch.no_grad()
    def dictionary(self, labels: Sequence[str], training: dict | None = None) -> Dictionary:
        """Return what was learned, with the validation loss of each epoch so far as its curve.

        Components that the encoder did not use in the last validation are dropped.

        Raises
        ------
        UserError
            If it used none of them.
        """
        matrix, algorithm = used_columns(self.matrix(), self.in_use, self.settings), self.settings.algorithm
        made_with = {**(training or {}), **self.settings.of_algorithm()}
        return Dictionary(matrix, self.frontend.settings, list(labels), algorithm, list(self.losses), made_with)

    def get_extra_state(self) -> Tensor:
        """Return the losses so far: they go through checkpoints with the weights."""
        return torch.tensor(self.losses, dtype=torch.float64)

    def set_extra_state(self, state: Tensor) -> None:
        """Take the losses from a checkpoint."""
        self.losses = state.tolist()
