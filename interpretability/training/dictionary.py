"""Learning dictionaries of spectra: frames of training clips in, W [F, K] with unit columns out.

Conventions. Spectra are log magnitudes X [n, F] of levelled clips, one frame a row; what has to hold of them and of W
is said in :mod:`interpretability.dictionary`. There are four algorithms:

- ``euclidean`` and ``kl``: multiplicative updates of W and H on all frames (:func:`learn_dictionary`);
- ``minibatch``: scikit-learn's ``MiniBatchNMF``, for more frames than the updates can go through
  (:func:`learn_dictionary`);
- ``amortised``: an encoder gives H, and is trained together with W (:class:`AmortisedFactorisation`,
  :class:`DictionaryBrain`).

**Multiplicative updates that never raise the objective.** With unit columns w_k, and D half the squared distance or the
generalised Kullback-Leibler divergence, the objective is ``D(X^T || W H) + sparsity * sum(H)``. Moving the scale of a
column to its activations leaves the first term alone, but not the second. So what is minimised is
``D(X^T || W H) + sparsity * sum_k |w_k| sum_t H_kt``, which is the same at unit columns and does not change when a
scale moves. For W, ``|w_k| <= (|w_k|² + 1) / 2`` (equal at unit norm) completes the usual majoriser, which is separable
and has its minimum in closed form: a multiplicative update, after which each column is brought to unit norm and its
activations take the scale (Marmin, Goulart and Févotte, "Majorization-minimization for sparse nonnegative matrix
factorization with the beta-divergence", arXiv 2207.06316; without sparsity it is Lee and Seung, NIPS 2000).

**Dead components.** Sparsity can leave a component without any activation. Its column then stays as it is, of unit norm
and without effect on the objective, and it is dropped at the end: a component that is not used explains nothing, and
what K was asked for is in the settings.
"""

from __future__ import annotations

import hashlib
import logging
import time
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import speechbrain as sb
import torch
from sklearn.decomposition import MiniBatchNMF
from torch import Tensor, nn
from torch.nn import functional
from tqdm import tqdm

from interpretability.dictionary import DIVERGENCES, EPSILON, Dictionary, decompose
from interpretability.errors import UserError, first_line
from interpretability.files import atomic_path
from interpretability.frontend import Frontend, FrontendSettings
from interpretability.methods.objectives import mean_over_valid
from interpretability.training.brain import ResumableBrain

logger = logging.getLogger(__name__)

ALGORITHMS = (*DIVERGENCES, "minibatch", "amortised")
#: Seconds between two states on the disk.
SAVE_EVERY = 10.0
#: Frames that are worked on at once: bounds the memory beside the spectra and H.
CHUNK = 8192
#: A component with less than this share of all activations is dead.
DEAD = 1e-7
#: Frames of which the objective of MiniBatchNMF is told after each pass.
WATCHED = 2048
#: Of the amortised W: its values have farther to go than an encoder's weights, and both have one learning rate.
SPEED = 20.0


def collect_frames(
    dataset: Any,
    frontend: Frontend,
    max_frames: int | None = None,
    seed: int = 0,
    progress: bool = True,
) -> Tensor:
    """Return log magnitudes of frames drawn evenly from all clips of a data set.

    Every clip gives as many frames as every other (one more or less), drawn at random; one that has fewer gives all it
    has. Frames of digital silence teach nothing and are left out. What a clip gives depends on the seed and on its
    place, not on the other clips' sounds.

    Parameters
    ----------
    dataset : sequence of dict
        Items with ``signal`` [N] at the front end's rate, at any level: the level rule is applied here.
    frontend : Frontend
    max_frames : int, optional
        All frames if not given. If it is below the number of clips, that many clips, drawn at random, give one each.
    seed : int
    progress : bool
        Show a progress bar, on a terminal.

    Returns
    -------
    Tensor [n, F], float32
        n <= ``max_frames``.

    Raises
    ------
    UserError
        If ``max_frames`` is below 1, or there is no clip, or no sound in any of them.
    """
    n_clips = len(dataset)
    if n_clips == 0:
        raise UserError("no clips to learn a dictionary from: the training split is empty; look at the data")
    if max_frames is not None:
        _check_count("max_frames", max_frames)
        order = torch.randperm(n_clips, generator=torch.Generator().manual_seed(seed))
        quotas = torch.full((n_clips,), max_frames // n_clips)
        quotas[order[: max_frames % n_clips]] += 1
    drawn = []
    for index in tqdm(range(n_clips), "collecting spectra", unit="clip", disable=None if progress else True):
        if max_frames is not None and quotas[index] == 0:
            continue
        wav = torch.as_tensor(dataset[index]["signal"], dtype=torch.float32)[None]  # [1, N]
        frames = frontend.analyse(frontend.level(wav)).log_magnitude[0]  # [T, F]
        frames = frames[frames.amax(1) > 0]
        if max_frames is not None and len(frames) > quotas[index]:
            generator = torch.Generator().manual_seed(zlib.crc32(f"{seed} {index}".encode()))
            chosen = torch.randperm(len(frames), generator=generator)[: quotas[index]]
            frames = frames[chosen.sort().values]
        drawn.append(frames)
    spectra = torch.cat(drawn)
    if len(spectra) == 0:
        raise UserError(
            f"all {n_clips} clips are silent: there is nothing to learn a dictionary from; look at the data"
        )
    return spectra


def learn_dictionary(
    spectra: Tensor,
    frontend: FrontendSettings,
    labels: Sequence[str],
    algorithm: str = "euclidean",
    n_components: int = 64,
    n_iterations: int = 200,
    sparsity: float = 0.0,
    batch_size: int = 1024,
    seed: int = 0,
    state_file: str | Path | None = None,
    training: dict | None = None,
    progress: bool = True,
) -> Dictionary:
    """Learn a dictionary by multiplicative updates, or with scikit-learn's ``MiniBatchNMF``.

    Parameters
    ----------
    spectra : Tensor [n, F]
        X >= 0, as of :func:`collect_frames`.
    frontend : FrontendSettings
        What they were analysed with.
    labels : sequence of str
        Classes of the clips.
    algorithm : {"euclidean", "kl", "minibatch"}
        ``amortised`` is trained by :class:`DictionaryBrain`.
    n_components : int
        K, at most n. Components that die are dropped.
    n_iterations : int
        Updates of W and H each; of ``minibatch``, passes over all frames.
    sparsity : float
        Weight of the L1 norm of H, on the scale of X. scikit-learn does not hold the norm of the columns, so of
        ``minibatch`` it weighs the L1 norms of both factors as scikit-learn does, before columns are scaled.
    batch_size : int
        Frames of a batch of ``minibatch``.
    seed : int
    state_file : path, optional
        Where the state is kept, every 10 s and at the end. If it is there already, learning goes on from it, and ends
        as if it had never stopped. Yours to remove when the dictionary is saved.
    training : dict, optional
        What else is worth knowing of its making: data, folds, commit. Plain values.
    progress : bool
        Show a progress bar, on a terminal.

    Returns
    -------
    Dictionary
        ``loss_curve``: the objective per frame after each iteration; of ``minibatch``, half the squared distance after
        each pass, of up to 2048 frames.

    Raises
    ------
    UserError
        For settings out of range, spectra that are not [n, F], not finite, negative or all zero, more components than
        frames; if every component dies; if the state is damaged, of other spectra or settings, or of more iterations.
    """
    settings = {
        "algorithm": algorithm,
        "n_components": n_components,
        "sparsity": float(sparsity),
        **({"batch_size": batch_size} if algorithm == "minibatch" else {}),
        "seed": seed,
    }
    check_learner(algorithm, n_components, n_iterations, sparsity, batch_size)
    if algorithm == "amortised":
        raise UserError(f"algorithm 'amortised' is trained in epochs; expected one of {ALGORITHMS[:-1]} here")
    _check_spectra(spectra, frontend, n_components)
    spectra = spectra.float().contiguous()
    learner = _MiniBatch(spectra, settings) if algorithm == "minibatch" else _Updates(spectra, settings)
    keeper = None if state_file is None else _Keeper(Path(state_file), {**settings, "spectra": _digest(spectra)})
    if keeper is not None:
        keeper.resume(learner, n_iterations)
    with tqdm(
        total=n_iterations,
        initial=len(learner.losses),
        desc=f"learning {n_components} components",
        unit="iteration" if algorithm != "minibatch" else "pass",
        disable=None if progress else True,
    ) as bar:
        while len(learner.losses) < n_iterations:
            learner.losses.append(learner.iterate())
            bar.set_postfix(objective=f"{learner.losses[-1]:.4g}")
            bar.update()
            if keeper is not None:
                keeper.save(learner, final=len(learner.losses) == n_iterations)
    matrix, alive = learner.matrix(), learner.alive()
    if not bool(alive.any()):
        raise UserError(f"sparsity {sparsity} leaves no component any activation: lower it")
    if not bool(alive.all()):
        logger.warning("%d of %d components are not used and are dropped", int((~alive).sum()), n_components)
    made_with = {**settings, "n_iterations": n_iterations, "n_frames": len(spectra)}
    return Dictionary(
        matrix[:, alive].cpu(), frontend, list(labels), algorithm, learner.losses, {**(training or {}), **made_with}
    )


def update(
    spectra: Tensor, matrix: Tensor, activations: Tensor, divergence: str, sparsity: float
) -> tuple[Tensor, Tensor]:
    """Update H, then W, once: the objective of the module's docstring does not rise.

    Parameters
    ----------
    spectra : Tensor [n, F]
        X >= 0.
    matrix : Tensor [F, K]
        W >= 0, columns of unit norm.
    activations : Tensor [n, K]
        H^T >= 0.
    divergence : {"euclidean", "kl"}
    sparsity : float

    Returns
    -------
    matrix : Tensor [F, K]
        Columns of unit norm.
    activations : Tensor [n, K]
    """
    euclidean = divergence == "euclidean"
    gram, column_sums = matrix.T @ matrix, matrix.sum(0)
    updated = []
    # What the update of W needs of all frames: pull upwards and pull downwards.
    up, covariance = torch.zeros_like(matrix), torch.zeros_like(gram)
    for part, active in zip(spectra.split(CHUNK), activations.split(CHUNK), strict=True):
        if euclidean:
            active = active * (part @ matrix) / (active @ gram + sparsity + EPSILON)
            up += part.T @ active
            covariance += active.T @ active
        else:
            ratio = part / (active @ matrix.T + EPSILON)
            active = active * (ratio @ matrix) / (column_sums + sparsity + EPSILON)
            up += (part / (active @ matrix.T + EPSILON)).T @ active
        updated.append(active)
    activations = torch.cat(updated)
    totals = activations.sum(0)  # [K]
    if euclidean:
        changed = matrix * up / (matrix @ covariance + sparsity * totals * matrix + EPSILON)
    else:
        # The positive root of sparsity * total * w² + total * w - w_old * up = 0.
        goal = matrix * up
        changed = 2 * goal / (totals + (totals.square() + 4 * sparsity * totals * goal).sqrt() + EPSILON)
    norms = changed.norm(dim=0)
    alive = norms > EPSILON
    scale = torch.where(alive, norms, 1.0)
    return torch.where(alive, changed / scale, matrix), activations * scale


def objective(
    spectra: Tensor, matrix: Tensor, activations: Tensor, divergence: str = "euclidean", sparsity: float = 0.0
) -> float:
    """Return the objective per frame: half the squared distance or the divergence, and ``sparsity * sum(H)``.

    Parameters
    ----------
    spectra, matrix, activations, divergence, sparsity
        As in :func:`update`.
    """
    total = sparsity * float(activations.double().sum())
    for part, active in zip(spectra.split(CHUNK), activations.split(CHUNK), strict=True):
        drawn = active @ matrix.T  # [n, F]
        if divergence == "euclidean":
            values = 0.5 * (part - drawn).square()
        else:
            values = torch.xlogy(part, part / (drawn + EPSILON)) - part + drawn
        total += float(values.sum(dtype=torch.float64))
    return total / len(spectra)


class _Updates:
    """Multiplicative updates, an iteration at a time."""

    def __init__(self, spectra: Tensor, settings: dict):
        self.spectra, self.losses = spectra, []
        self.divergence, self.sparsity = settings["algorithm"], settings["sparsity"]
        generator = torch.Generator().manual_seed(settings["seed"])
        n_components = settings["n_components"]
        # Frames of the data, and a little of everything, so that no bin is zero for good.
        chosen = torch.randperm(len(spectra), generator=generator)[:n_components]
        noise = torch.rand(spectra.shape[1], n_components, generator=generator).to(spectra)
        start = spectra[chosen.to(spectra.device)].T + spectra.mean() * (noise + 0.1)
        self._matrix = start / start.norm(dim=0)
        self._activations = decompose(spectra[None], self._matrix, 0)[0].T.contiguous()  # [n, K]

    def iterate(self) -> float:
        self._matrix, self._activations = update(
            self.spectra, self._matrix, self._activations, self.divergence, self.sparsity
        )
        return objective(self.spectra, self._matrix, self._activations, self.divergence, self.sparsity)

    def matrix(self) -> Tensor:
        return self._matrix

    def alive(self) -> Tensor:
        totals = self._activations.sum(0, dtype=torch.float64)
        return totals > DEAD * totals.sum()

    def state(self) -> dict[str, Tensor]:
        return {"matrix": self._matrix.cpu(), "activations": self._activations.cpu()}

    def load(self, state: dict[str, Tensor]) -> None:
        self._matrix, self._activations = (state[name].to(self.spectra) for name in ("matrix", "activations"))


class _MiniBatch:
    """scikit-learn's ``MiniBatchNMF``, a pass at a time."""

    def __init__(self, spectra: Tensor, settings: dict):
        self.losses: list[float] = []
        self._seed = settings["seed"]
        self._spectra = spectra.cpu().numpy()
        n_frames, n_bins = self._spectra.shape
        self._batch_size = min(settings["batch_size"], n_frames)
        self._model = MiniBatchNMF(
            settings["n_components"],
            batch_size=self._batch_size,
            alpha_W=settings["sparsity"] / n_bins,  # scikit-learn multiplies it by F again
            l1_ratio=1.0,
            # What ``fit`` makes of the default 0.7; ``partial_fit`` takes a batch for the whole.
            forget_factor=0.7 ** (self._batch_size / n_frames),
            random_state=self._seed,
        )
        self._watched = spectra[:: -(-n_frames // WATCHED)]

    def iterate(self) -> float:
        for batch in self._batches(len(self.losses)):
            self._model.partial_fit(batch)
        matrix = self.matrix()
        found = decompose(self._watched[None], matrix, 50)[0].T
        return objective(self._watched, matrix, found)

    def matrix(self) -> Tensor:
        columns = torch.from_numpy(self._model.components_.T.copy())  # [F, K]
        norms = columns.norm(dim=0)
        flat = torch.full_like(columns, columns.shape[0] ** -0.5)
        return torch.where(norms > 0, columns / norms.clamp(min=1e-30), flat).to(self._watched)

    def alive(self) -> Tensor:
        norms = torch.from_numpy(self._model.components_).norm(dim=1)
        return norms > DEAD * norms.sum()

    def state(self) -> dict[str, Tensor]:
        return {name: torch.from_numpy(getattr(self._model, name).copy()) for name in self._NAMES}

    def load(self, state: dict[str, Tensor]) -> None:
        self._model.partial_fit(next(self._batches(0)))  # sets up all that is not in the state
        for name in self._NAMES:
            setattr(self._model, name, state[name].numpy().copy())

    _NAMES = ("components_", "_components_numerator", "_components_denominator")

    def _batches(self, number: int) -> Iterator[np.ndarray]:
        """Yield the batches of a pass, all of one size or one more, in an order of its own."""
        order = np.random.default_rng((self._seed, number)).permutation(len(self._spectra))
        for chosen in np.array_split(order, max(1, len(order) // self._batch_size)):
            yield self._spectra[chosen]


@dataclass
class _Keeper:
    """Keeps the state of a learner on the disk."""

    path: Path
    made_with: dict
    saved: float = 0.0

    def __post_init__(self):
        self.saved = time.monotonic()

    def save(self, learner: _Updates | _MiniBatch, final: bool) -> None:
        """Save, if it is time for it; atomically."""
        if not final and time.monotonic() - self.saved < SAVE_EVERY:
            return
        try:
            with atomic_path(self.path) as temporary:
                torch.save({"made_with": self.made_with, "losses": learner.losses, **learner.state()}, temporary)
        except (OSError, RuntimeError) as error:  # torch reports a failed write as RuntimeError
            raise UserError(
                f"could not save {self.path} ({first_line(error)}); make room on the disk, then run the same command "
                "again to resume"
            ) from error
        self.saved = time.monotonic()

    def resume(self, learner: _Updates | _MiniBatch, n_iterations: int) -> None:
        """Load what is there, if there is something."""
        if not self.path.is_file():
            return
        try:
            content = torch.load(self.path, map_location="cpu", weights_only=True)
            known, losses = content.pop("made_with"), content.pop("losses")
        except Exception as error:  # torch raises many types for files that it did not write
            raise UserError(
                f"{self.path}: not a state of dictionary learning ({type(error).__name__}); delete it to start again"
            ) from error
        different = [name for name in self.made_with if known.get(name) != self.made_with[name]]
        if different:
            raise UserError(
                f"{self.path} is the state of learning with another {', '.join(different)}: delete it, or give another "
                "output_folder"
            )
        if len(losses) > n_iterations:
            raise UserError(
                f"{self.path} holds {len(losses)} iterations, n_iterations is {n_iterations}: ask for at least "
                f"{len(losses)}, or delete it"
            )
        learner.load(content)
        learner.losses = losses


@dataclass
class Factorisation:
    """What the amortised factorisation makes of a batch.

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

    The encoder is a network of three layers with ReLU that sees one frame at a time, so that its activations, like
    those that :func:`~interpretability.dictionary.decompose` finds, depend on nothing else. It sees the shape of the
    frame, and what it says is scaled by the frame's norm, so that silence has no activations. W is the softplus of a
    parameter, its columns brought to unit norm in every pass: a weight on H then cannot be evaded by growing W. It is
    better begun at frames of the data (:meth:`start_from`) than at random.

    Parameters
    ----------
    frontend : FrontendSettings or dict
        Of the clips.
    n_components : int
        K.
    sparsity : float
        Weight of mean|H| beside the mean squared error.
    hidden : sequence of 2 int
        Widths of the encoder.
    """

    def __init__(
        self,
        frontend: FrontendSettings | dict,
        n_components: int = 64,
        sparsity: float = 0.0,
        hidden: Sequence[int] = (256, 128),
    ):
        super().__init__()
        check_learner("amortised", n_components, 1, sparsity, 1)
        settings = FrontendSettings(**frontend) if isinstance(frontend, dict) else frontend
        self.frontend = Frontend(settings)
        self.n_components, self.sparsity = int(n_components), float(sparsity)
        first, second = hidden
        self.encoder = nn.Sequential(
            nn.Linear(settings.n_bins, first),
            nn.ReLU(),
            nn.Linear(first, second),
            nn.ReLU(),
            nn.Linear(second, self.n_components),
        )
        # Every component begins in use, and all of them together about as loud as the frame.
        nn.init.constant_(self.encoder[-1].bias, 1 / self.n_components)
        # Components begin as different as they can be: a third of their bins high, the others near zero.
        self.raw_matrix = nn.Parameter((2 * torch.randn(settings.n_bins, self.n_components) - 1.0) / SPEED)
        # Of the last validation: what the encoder never uses was never trained.
        self.register_buffer("in_use", torch.ones(self.n_components, dtype=torch.bool))
        self.losses: list[float] = []

    @torch.no_grad()
    def start_from(self, spectra: Tensor, seed: int = 0) -> None:
        """Let every column of W begin at a frame of the data, drawn at random.

        Parameters
        ----------
        spectra : Tensor [n, F]
            As of :func:`collect_frames`.
        seed : int

        Raises
        ------
        UserError
            As :func:`learn_dictionary` for spectra that cannot be learned from.
        """
        _check_spectra(spectra, self.frontend.settings, self.n_components)
        order = torch.randperm(len(spectra), generator=torch.Generator().manual_seed(seed))
        columns = functional.normalize(spectra[order[: self.n_components]].float().T, dim=0)
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

    def objective(self, made: Factorisation, log_magnitude: Tensor, valid: Tensor) -> dict[str, Tensor]:
        """Return the loss and its terms, each [B]: ``loss = error + sparsity * activity``.

        ``error`` is the mean squared error over valid bins, ``activity`` the mean of H over valid frames.
        """
        error = mean_over_valid((log_magnitude - made.reconstruction).square(), valid)
        activity = mean_over_valid(made.activations.transpose(1, 2), valid)
        return {"loss": error + self.sparsity * activity, "error": error, "activity": activity}

    @torch.no_grad()
    def dictionary(self, labels: Sequence[str], training: dict | None = None) -> Dictionary:
        """Return what was learned, with the validation loss of each epoch so far as its curve.

        Components that the encoder did not use in the last validation are dropped.

        Raises
        ------
        UserError
            If that are all of them.
        """
        if not bool(self.in_use.any()):
            raise UserError(f"sparsity {self.sparsity} leaves no component any activation: lower it, or lr")
        if not bool(self.in_use.all()):
            logger.warning(
                "%d of %d components are not used and are dropped", int((~self.in_use).sum()), len(self.in_use)
            )
        made_with = {"algorithm": "amortised", "n_components": self.n_components, "sparsity": self.sparsity}
        return Dictionary(
            self.matrix()[:, self.in_use].float().cpu(),
            self.frontend.settings,
            list(labels),
            "amortised",
            list(self.losses),
            {**(training or {}), **made_with},
        )

    def get_extra_state(self) -> Tensor:
        """Return the losses so far: they go through checkpoints with the weights."""
        return torch.tensor(self.losses, dtype=torch.float64)

    def set_extra_state(self, state: Tensor) -> None:
        """Take the losses from a checkpoint."""
        self.losses = state.tolist()


class DictionaryBrain(ResumableBrain):
    """Train an :class:`AmortisedFactorisation`, the module named ``dictionary``.

    Validation reports ``loss``, ``error`` and ``activity``, as :meth:`AmortisedFactorisation.objective` defines them.
    """

    def compute_forward(self, batch, stage):
        """Analyse a batch and factorise it."""
        wavs, lengths = self.wavs_of(batch)
        frontend = self.bare("dictionary").frontend
        spectrogram = frontend.analyse(frontend.level(wavs, lengths), lengths)
        log_magnitude = spectrogram.log_magnitude
        return self.modules["dictionary"](log_magnitude, spectrogram.valid), log_magnitude, spectrogram.valid

    def compute_objectives(self, predictions, batch, stage):
        """Return the mean loss.

        Raises
        ------
        UserError
            If training has diverged.
        """
        terms = self.bare("dictionary").objective(*predictions)
        loss = terms["loss"].mean()
        if not bool(loss.isfinite()):
            raise UserError(f"epoch {self.epoch}: training has diverged (the loss is not finite): lower lr")
        self.count(terms)
        if stage == sb.Stage.VALID:
            self.bare("dictionary").in_use |= (predictions[0].activations > 0).any(2).any(0)
        return loss

    def on_stage_start(self, stage, epoch=None):
        """Begin counting, the components in use too."""
        super().on_stage_start(stage, epoch)
        if stage == sb.Stage.VALID:
            self.bare("dictionary").in_use.zero_()

    def on_stage_end(self, stage, stage_loss, epoch=None):
        """Note the validation loss with the weights that had it; then log and save."""
        if stage == sb.Stage.VALID:
            if torch.distributed.is_available() and torch.distributed.is_initialized():
                in_use = self.bare("dictionary").in_use.int()
                torch.distributed.all_reduce(in_use, torch.distributed.ReduceOp.MAX)
                self.bare("dictionary").in_use.copy_(in_use.bool())
            self.bare("dictionary").losses.append(self.statistics()["loss"])
        super().on_stage_end(stage, stage_loss, epoch)


def check_learner(
    algorithm: str = "euclidean",
    n_components: int = 64,
    n_iterations: int = 200,
    sparsity: float = 0.0,
    batch_size: int = 1024,
) -> None:
    """Refuse settings of :func:`learn_dictionary` that cannot be, before anything is made of them.

    Raises
    ------
    UserError
    """
    if algorithm not in ALGORITHMS:
        raise UserError(f"algorithm is {algorithm!r}, expected one of {ALGORITHMS}")
    for name, value in (("n_components", n_components), ("n_iterations", n_iterations), ("batch_size", batch_size)):
        _check_count(name, value)
    if not 0 <= float(sparsity) < float("inf"):
        raise UserError(f"sparsity is {sparsity}, expected a number >= 0: correct it")


def _check_count(name: str, value: int) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise UserError(f"{name} is {value!r}, expected a whole number >= 1: correct it")


def _check_spectra(spectra: Tensor, frontend: FrontendSettings, n_components: int) -> None:
    if spectra.ndim != 2 or spectra.shape[1] != frontend.n_bins:
        raise UserError(f"spectra have shape {tuple(spectra.shape)}, expected [n, {frontend.n_bins}] of this front end")
    if not bool((spectra.isfinite() & (spectra >= 0)).all()):
        raise UserError("spectra hold negative or infinite values, expected log magnitudes; look at the clips")
    if not bool(spectra.any()):
        raise UserError("spectra are all zero: there is nothing to learn a dictionary from; look at the clips")
    if n_components > len(spectra):
        raise UserError(
            f"n_components is {n_components}, but there are {len(spectra)} frames: lower it, or raise max_frames"
        )


def _digest(spectra: Tensor) -> str:
    return hashlib.sha256(spectra.cpu().numpy().tobytes()).hexdigest()
