"""Learning dictionaries of spectra: frames of training clips in, W [F, K] with unit columns out.

**Multiplicative updates that never raise the objective.** With unit columns w_k, and D half the squared distance or the
generalised Kullback-Leibler divergence, the objective is ``D(X^T || W H) + sparsity * sum(H)``. Moving the scale of a
column to its activations changes the second term, but not the first. So what is minimised is
``D(X^T || W H) + sparsity * sum_k |w_k| sum_t H_kt``, which is the same at unit columns and does not change when a
scale moves. For W, ``|w_k| <= (|w_k|² + 1) / 2`` (equal at unit norm) completes the usual majoriser, which is separable
and has its minimum in closed form: a multiplicative update, after which each column is brought to unit norm and its
activations take the scale (Marmin, Goulart and Févotte, "Majorization-minimization for sparse nonnegative matrix
factorization with the beta-divergence", arXiv 2207.06316; without sparsity it is Lee and Seung, NIPS 2000).

**Dead components.** Sparsity can leave a component without any activation. Its column then stays as it is, of unit norm
and without effect on the objective, and it is dropped at the end: a component that is not used explains nothing.
"""

import hashlib
import logging
import time
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import MISSING, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from interpretability.dictionary.decompose import DIVERGENCES, EPSILON, decompose
from interpretability.dictionary.file import MOST_COMPONENTS, Dictionary
from interpretability.errors import UserError, placed, user_errors
from interpretability.files import atomic_path, write_errors
from interpretability.frontend import Frontend, FrontendSettings
from interpretability.reading import checked
from interpretability.settings import WIDEST, Settings, setting
from interpretability.weight_files import read_tensors

logger = logging.getLogger(__name__)

ALGORITHMS = (*DIVERGENCES, "minibatch", "amortised")
#: Seconds between two saved states.
SAVE_EVERY = 10.0
#: Frames that are processed at once: bounds the memory beside the spectra and H.
CHUNK = 8192
#: A component with less than this share of all activations is dead.
DEAD = 1e-7
#: Most frames on which the objective of MiniBatchNMF is evaluated after each pass.
EVALUATED_FRAMES = 2048


@dataclass(frozen=True)
class DictionarySettings(Settings):
    """How a dictionary is learned."""

    algorithm: str = setting("euclidean", "how it is learned; amortised is trained in epochs", choices=ALGORITHMS)
    n_components: int = setting(
        64, "number of components; those that are never used are dropped", least=1, most=MOST_COMPONENTS
    )
    sparsity: float = setting(0.0, "weight of the L1 norm of the activations (amortised: of their mean)", least=0)
    max_frames: int | None = setting(
        20000,
        "frames to learn from, drawn evenly from all clips; null: all (amortised only starts from them)",
        least=1,
        most=10**9,
    )
    n_iterations: int = setting(
        200, "updates (minibatch: passes over all frames, of which 20 are enough)", least=1, most=10**6
    )
    batch_size: int = setting(1024, "batch size of minibatch", unit="frames", least=1, most=10**9)
    hidden: tuple[int, ...] = setting(
        (256, 128), "widths of the encoder's hidden layers (amortised)", least=1, most=WIDEST
    )

    @property
    def in_epochs(self) -> bool:
        """Whether it is trained in epochs, as networks are."""
        return self.algorithm == "amortised"

    def of_algorithm(self) -> dict[str, Any]:
        """Return the settings that a dictionary records: those of its algorithm, except the iterations."""
        batch = {"batch_size": self.batch_size} if self.algorithm == "minibatch" else {}
        return {"algorithm": self.algorithm, "n_components": self.n_components, "sparsity": self.sparsity, **batch}


def collect_frames(
    dataset: Any, frontend: Frontend, settings: DictionarySettings, seed: int = 0, progress: bool = True
) -> Tensor:
    """Return log magnitudes of frames drawn evenly from all clips of a data set.

    Every clip gives the same number of frames (give or take one), drawn at random; a clip with fewer gives all of them.
    Frames of digital silence are left out. Which frames a clip gives depends on the seed and on its position, not on
    the other clips' sounds.

    Parameters
    ----------
    dataset : sequence of dict
        Items with ``signal`` [N] at the front end's rate, at any level: the level rule is applied here.
    frontend : Frontend
    settings : DictionarySettings
        ``max_frames`` counts. If it is below the number of clips, that many clips, drawn at random, give one each.
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
        If there is no clip, or no sound in any of them.
    """
    n_clips, max_frames = len(dataset), settings.max_frames
    if n_clips == 0:
        raise UserError("no clips to learn a dictionary from: the training split is empty; look at the data")
    if max_frames is not None:
        order = torch.randperm(n_clips, generator=torch.Generator().manual_seed(seed))
        quotas = torch.full((n_clips,), max_frames // n_clips)
        quotas[order[: max_frames % n_clips]] += 1
    drawn = []
    for index in tqdm(range(n_clips), "collecting spectra", unit="clip", disable=None if progress else True):
        if max_frames is not None and quotas[index] == 0:
            continue
        wav = torch.as_tensor(dataset[index]["signal"], dtype=torch.float32)[None]  # [1, N]
        frames = frontend.clips(wav).levelled().spectrogram.log_magnitude[0]  # [T, F]
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
    settings: DictionarySettings,
    seed: int = 0,
    state_file: str | Path | None = None,
    training: dict | None = None,
    progress: bool = True,
    start: Dictionary | None = None,
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
    settings : DictionarySettings
        ``n_components`` is at most n. scikit-learn does not hold the norm of the columns, so ``sparsity`` of
        ``minibatch`` weighs the L1 norms of both factors as scikit-learn does, before columns are scaled.
    seed : int
    state_file : path, optional
        File of the state, saved every 10 s and at the end. If it exists, learning resumes from it, and ends as if it
        had never stopped. The caller deletes it once the dictionary is saved.
    training : dict, optional
        What else to record, such as data, folds and commit. Plain values.
    progress : bool
        Show a progress bar, on a terminal.
    start : Dictionary, optional
        Learned behind the same front end: the components start from its, as many as there are, the others from frames.

    Returns
    -------
    Dictionary
        ``loss_curve``: the objective per frame after each iteration; of ``minibatch``, half the squared distance after
        each pass, of up to 2048 frames.

    Raises
    ------
    UserError
        If the algorithm is ``amortised``; for spectra that are not [n, F], not finite, negative or all zero, or fewer
        than components; if every component dies; if the state is damaged, of other spectra or settings, or of more
        iterations.
    """
    if settings.in_epochs:
        raise UserError(f"algorithm 'amortised' is trained in epochs; expected one of {ALGORITHMS[:-1]} here")
    check_spectra(spectra, frontend, settings.n_components)
    spectra = spectra.float().contiguous()
    kind = _MiniBatch if settings.algorithm == "minibatch" else _Updates
    learner = kind(spectra, settings, seed, None if start is None else start.matrix)
    made_with = {**settings.of_algorithm(), "seed": seed, **({} if start is None else {"start": start.describe()})}
    state = None if state_file is None else _StateFile(Path(state_file), {**made_with, "spectra": _digest(spectra)})
    losses = [] if state is None else state.resume(learner, settings.n_iterations)
    with tqdm(
        total=settings.n_iterations,
        initial=len(losses),
        desc=f"learning {settings.n_components} components",
        unit=kind.UNIT,
        disable=None if progress else True,
    ) as bar:
        while len(losses) < settings.n_iterations:
            losses.append(learner.iterate(len(losses)))
            bar.set_postfix(objective=f"{losses[-1]:.4g}")
            bar.update()
            if state is not None:
                state.save(learner, losses, final=len(losses) == settings.n_iterations)
    made_with |= {"n_iterations": settings.n_iterations, "n_frames": len(spectra)}
    matrix = used_columns(learner.matrix(), learner.alive(), settings)
    return Dictionary(matrix, frontend, list(labels), settings.algorithm, losses, {**(training or {}), **made_with})


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
    # What the update of W needs from all frames: the upward and the downward pull.
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
        product = matrix * up
        changed = 2 * product / (totals + (totals.square() + 4 * sparsity * totals * product).sqrt() + EPSILON)
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
        approximation = active @ matrix.T  # [n, F]
        if divergence == "euclidean":
            values = 0.5 * (part - approximation).square()
        else:
            values = torch.xlogy(part, part / (approximation + EPSILON)) - part + approximation
        total += float(values.sum(dtype=torch.float64))
    return total / len(spectra)


def first_columns(spectra: Tensor, n_components: int, seed: int, given: Tensor | None = None) -> Tensor:
    """Return the columns [F, K] of unit norm that learning starts from.

    Frames of the data, and a little of everything, so that no bin is zero for good; the first ones are those that were
    ``given`` [F, K'], as many as there are.
    """
    generator = torch.Generator().manual_seed(seed)
    chosen = torch.randperm(len(spectra), generator=generator)[:n_components]
    noise = torch.rand(spectra.shape[1], n_components, generator=generator).to(spectra)
    columns = spectra[chosen.to(spectra.device)].T
    if given is not None:
        kept = min(n_components, given.shape[1])
        level = columns.norm(dim=0).mean()  # a frame's
        columns = torch.cat([level * given[:, :kept].to(spectra), columns[:, kept:]], dim=1)
    columns = columns + spectra.mean() * (noise + 0.1)
    return columns / columns.norm(dim=0)


class _Updates:
    """Multiplicative updates, one iteration at a time."""

    UNIT = "iteration"

    def __init__(self, spectra: Tensor, settings: DictionarySettings, seed: int, given: Tensor | None = None):
        self.spectra, self.settings = spectra, settings
        self._matrix = first_columns(spectra, settings.n_components, seed, given)
        self._activations = decompose(spectra[None], self._matrix, 0)[0].T.contiguous()  # [n, K]

    def iterate(self, number: int) -> float:
        """Update both factors; return the objective."""
        divergence, sparsity = self.settings.algorithm, self.settings.sparsity
        self._matrix, self._activations = update(self.spectra, self._matrix, self._activations, divergence, sparsity)
        return objective(self.spectra, self._matrix, self._activations, divergence, sparsity)

    def matrix(self) -> Tensor:
        """Return W [F, K], columns of unit norm."""
        return self._matrix

    def alive(self) -> Tensor:
        """Return which components are in use, [K] bool."""
        totals = self._activations.sum(0, dtype=torch.float64)
        return totals > DEAD * totals.sum()

    def state(self) -> dict[str, Tensor]:
        return {"matrix": self._matrix.cpu(), "activations": self._activations.cpu()}

    def load(self, state: dict[str, Tensor]) -> None:
        self._matrix, self._activations = (state[name].to(self.spectra) for name in ("matrix", "activations"))


class _MiniBatch:
    """scikit-learn's ``MiniBatchNMF``, one pass at a time."""

    UNIT = "pass"
    _STATE = ("components_", "_components_numerator", "_components_denominator")

    def __init__(self, spectra: Tensor, settings: DictionarySettings, seed: int, given: Tensor | None = None):
        from sklearn.decomposition import MiniBatchNMF  # slow to import, and seldom needed

        self.seed = seed
        self._rows = spectra.cpu().numpy()
        n_frames, n_bins = self._rows.shape
        self._batch_size = min(settings.batch_size, n_frames)
        self._model = MiniBatchNMF(
            settings.n_components,
            init=None if given is None else "custom",
            batch_size=self._batch_size,
            alpha_W=settings.sparsity / n_bins,  # scikit-learn multiplies it by F again
            l1_ratio=1.0,
            # What ``fit`` makes of the default 0.7; ``partial_fit`` takes a batch for the whole.
            forget_factor=0.7 ** (self._batch_size / n_frames),
            random_state=seed,
        )
        self._evaluated = spectra[:: -(-n_frames // EVALUATED_FRAMES)]
        self._start = None if given is None else first_columns(spectra, settings.n_components, seed, given)

    def iterate(self, number: int) -> float:
        for batch in self._batches(number):
            self._fit(batch)
        matrix = self.matrix()
        return objective(self._evaluated, matrix, decompose(self._evaluated[None], matrix, 50)[0].T)

    def matrix(self) -> Tensor:
        columns = torch.from_numpy(self._model.components_.T.copy())  # [F, K]
        norms = columns.norm(dim=0)
        flat = torch.full_like(columns, columns.shape[0] ** -0.5)
        return torch.where(norms > 0, columns / norms.clamp(min=1e-30), flat).to(self._evaluated)

    def alive(self) -> Tensor:
        norms = torch.from_numpy(self._model.components_).norm(dim=1)
        return norms > DEAD * norms.sum()

    def state(self) -> dict[str, Tensor]:
        return {name: torch.from_numpy(getattr(self._model, name).copy()) for name in self._STATE}

    def load(self, state: dict[str, Tensor]) -> None:
        self._fit(next(self._batches(0)))  # sets up all that is not in the state
        for name in self._STATE:
            setattr(self._model, name, state[name].numpy().copy())

    def _fit(self, batch: np.ndarray) -> None:
        """Fit to a batch; the first time from the columns that were given, if there are any."""
        if self._start is None or hasattr(self._model, "components_"):
            self._model.partial_fit(batch)
            return
        frames = torch.from_numpy(batch).to(self._start)
        activations = decompose(frames[None], self._start, 0)[0].T.contiguous()  # [n, K]
        self._model.partial_fit(batch, W=activations.cpu().numpy(), H=self._start.T.contiguous().cpu().numpy())

    def _batches(self, number: int) -> Iterator[np.ndarray]:
        """Yield the batches of a pass, all of one size or one more, in the pass's own order."""
        order = np.random.default_rng((self.seed, number)).permutation(len(self._rows))
        for chosen in np.array_split(order, max(1, len(order) // self._batch_size)):
            yield self._rows[chosen]


@dataclass(frozen=True)
class _State(Settings):
    """What the file of an interrupted learning holds, besides the state of the learner."""

    made_with: dict = setting(MISSING, "data and settings")
    losses: tuple[float, ...] = setting(MISSING, "the objective after each iteration")


class _StateFile:
    """Keeps the state of a learner on the disk."""

    def __init__(self, path: Path, made_with: dict[str, Any]):
        self.path, self.made_with = path, made_with
        self._saved_at = time.monotonic()

    def save(self, learner: _Updates | _MiniBatch, losses: list[float], final: bool) -> None:
        """Save atomically, if the last save is long enough ago."""
        if not final and time.monotonic() - self._saved_at < SAVE_EVERY:
            return
        content = {"made_with": self.made_with, "losses": losses, **learner.state()}
        with write_errors(self.path, "then run the same command again to resume"), atomic_path(self.path) as temporary:
            torch.save(content, temporary)
        self._saved_at = time.monotonic()

    def resume(self, learner: _Updates | _MiniBatch, n_iterations: int) -> list[float]:
        """Load the state into the learner, if there is one; return the losses so far."""
        if not self.path.is_file():
            return []
        with placed(f"{self.path}: not a state of dictionary learning", "delete it to start again"):
            content = read_tensors(self.path)
            state = checked(_State, content, "")
            known, losses = state.made_with, list(state.losses)
            content = {name: value for name, value in content.items() if name not in ("made_with", "losses")}
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
        with user_errors(f"{self.path}: not a state of this learning", advice="; delete it to start again"):
            learner.load(content)  # its members may be missing, or of another kind or size
        return losses


def used_columns(matrix: Tensor, used: Tensor, settings: DictionarySettings) -> Tensor:
    """Return the columns of W [F, K] that are in use ([K] bool), on the CPU; log how many are dropped.

    Raises
    ------
    UserError
        If none is.
    """
    if not bool(used.any()):
        advice = "lower it, or lr" if settings.in_epochs else "lower it"
        raise UserError(f"sparsity {settings.sparsity} leaves no component any activation: {advice}")
    if not bool(used.all()):
        logger.warning("%d of %d components are not used and are dropped", int((~used).sum()), len(used))
    return matrix[:, used].float().cpu()


def check_spectra(spectra: Tensor, frontend: FrontendSettings, n_components: int) -> None:
    """Refuse spectra from which that many components cannot be learned.

    Raises
    ------
    UserError
        If they are not [n, F], not finite, negative, all zero, or fewer than components.
    """
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
