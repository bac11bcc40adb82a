"""Masks on a coarse grid, optimised clip by clip by the classifier's answers to what they keep and what they remove.

What the method *optimised* computes from a start of its own, and what a refinement computes from another method's mask.
The objective is that of L-MAC (arXiv 2403.13086) with a term for smoothness, and one for what In lacks to convince more
than the clip does; per-clip masks after Fong and Vedaldi (arXiv 1704.03296, 1910.08485).
"""

import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from interpretability.classifiers.base import AnalysedBatch, Classifier
from interpretability.classifiers.gradient import gradient_errors
from interpretability.classifiers.second import heard_by
from interpretability.frontend import PLACES, Clips, FrontendSettings, MaskedPair
from interpretability.grids import Grid, hertz_from_mel, mel_from_hertz, to_spectrogram_grid, window_centres
from interpretability.lengths import mean_over_valid
from interpretability.methods.base import MethodSettings, hide_invalid
from interpretability.methods.objectives import (
    masked_cross_entropy,
    missing_surplus,
    surplus_setting,
    surplus_weight_setting,
    total_variation,
)
from interpretability.probabilities import log_odds
from interpretability.settings import setting

#: Bounds of a start mask, so that a cell of it can still move.
LEAST, MOST = 0.1, 0.9
#: Adam's epsilon, of gradients per cell. Where a gradient is far smaller than those of the other terms, rounding would
#: choose its sign, and with it the mask.
EPSILON = 0.3
#: Added to the objective of a mask that is no answer: it comes after all that are.
NO_ANSWER = 1e6


@dataclass(frozen=True)
class StepSettings(MethodSettings):
    """Settings of every mask that is optimised: its grid, the steps, what keeps it small and smooth."""

    cell_seconds: float = setting(0.05, "time resolution of the mask", unit="s", above=0)
    bands: int = setting(
        64, "frequency resolution of the mask: bands of equal width on the mel scale", least=1, most=4096
    )
    steps: int = setting(30, "steps of Adam, at most", least=0, most=10_000)
    learning_rate: float = setting(1.0, "of Adam, in the mask's log odds", above=0)
    l1_weight: float = setting(7.5, "weight of the mean of the mask", least=0)
    tv_weight: float = setting(0.1, "weight of the squared differences of neighbouring cells", least=0)
    tolerance: float = setting(
        0.005,
        "a clip is done when neither the probability of its class nor its kept area moves by more in a step",
        least=0,
        most=1,
    )
    patience: int = setting(3, "in so many steps in a row", least=1, most=10_000)


@dataclass(frozen=True)
class OptimiserSettings(StepSettings):
    """Settings of :func:`optimise` for masks that keep what the classifier needs."""

    steps: int = setting(10, "steps of Adam, at most", least=0, most=10_000)
    l1_weight: float = setting(15.0, "weight of the mean of the mask", least=0)
    inside_weight: float = setting(8.0, "weight of CE(f(In), c), as in L-MAC", least=0)
    surplus: float = surplus_setting()
    surplus_weight: float = surplus_weight_setting(1.0)
    outside_weight: float = setting(0.2, "weight of min(CE(f(Out), c), cap)", least=0)
    cap: float | None = setting(10.0, "bound of Out's cross-entropy", unit="nats", above=0)
    place: str = setting(
        "waveform",
        "what the classifier is asked about. waveform: what is heard, the masked sound analysed again; spectrogram: "
        "the masked magnitude",
        choices=PLACES,
    )
    copies: int = setting(
        0, "perturbed copies of the clip that the same mask has to serve, beside it", least=0, most=64
    )
    copy_level: float = setting(3.0, "largest change of a copy's level, up or down", unit="dB", least=0, most=60)
    copy_noise: float = setting(
        -30.0, "level of the white noise in a copy, relative to the clip's root mean square", unit="dB", most=60
    )
    seed: int = setting(0, "seed of the copies", least=0, below=2**63)


@dataclass
class Optimised:
    """What :func:`optimise` found.

    Attributes
    ----------
    mask : Tensor [B, T, F]
        Of all steps the mask with the lowest objective; 0 where undefined.
    steps : Tensor [B], int64
        Steps that each clip took.
    objective : Tensor [B, 2]
        Of the start, and of the mask.
    fits : Tensor [B], bool
        Whether the mask is an answer, where only some are: see :class:`Answer`.
    undefined : Tensor [B], bool
        Clips without a gradient to go by: silence, or a classifier that has none there.
    """

    mask: Tensor
    steps: Tensor
    objective: Tensor
    fits: Tensor
    undefined: Tensor


@dataclass(frozen=True)
class View:
    """Clips as a classifier gets them, the explained classes [B] in its own labels, and their log odds [B] there."""

    classifier: Classifier
    clips: Clips
    target: Tensor
    odds: Tensor


def mask_grid(frontend: FrontendSettings, n_frames: int, settings: StepSettings) -> Grid:
    """Return where the cells of the mask lie: windows of frames side by side, and bands of equal width in mel."""
    stride = _stride(frontend, settings)
    top = mel_from_hertz(frontend.sample_rate / 2)
    mels = window_centres(settings.bands, 1) + 0.5
    bins = hertz_from_mel(mels * (top / settings.bands)) * (frontend.n_fft / frontend.sample_rate)
    return Grid(window_centres(-(-n_frames // stride), stride), bins)


def _stride(frontend: FrontendSettings, settings: StepSettings) -> int:
    return max(1, round(settings.cell_seconds * frontend.sample_rate / frontend.hop_length))


def to_cells(mask: Tensor, valid: Tensor, grid: Grid, stride: int) -> Tensor:
    """Return the mean of a mask [B, T, F] around each cell of the grid, over valid bins: [B, T', F']."""
    n_rows, n_frames = len(grid.frames), mask.shape[1]
    spare = n_rows * stride - n_frames
    hidden = functional.pad(mask * valid[..., None], (0, 0, 0, spare)).unflatten(1, (n_rows, stride)).sum(2)
    count = functional.pad(valid, (0, spare)).unflatten(1, (n_rows, stride)).sum(2)  # [B, T']
    edges = (grid.bins[1:] + grid.bins[:-1]) / 2
    band = torch.bucketize(torch.arange(mask.shape[2], dtype=torch.float64), edges)  # [F], the nearest centre
    members = functional.one_hot(band, len(grid.bins)).to(hidden)  # [F, F']
    empty = members.sum(0) == 0  # narrower than a bin: the bin that it lies in
    members[grid.bins.round().long().clamp(0, mask.shape[2] - 1)[empty], empty.nonzero()[:, 0]] = 1
    total = hidden @ members
    n_bins = count[..., None].to(total) * members.sum(0)
    return total / n_bins.clamp(min=1)


@dataclass
class Answer:
    """What a classifier's answer to masks is worth, for each clip [b].

    Attributes
    ----------
    terms : Tensor [b]
        Of the objective, with a gradient.
    heard : Tensor [b]
        The probability whose standing still ends the search; no gradient.
    fits : Tensor [b], bool, optional
        Whether a mask is an answer at all; one that is not is kept only where no step gives one. All are if not given.
    """

    terms: Tensor
    heard: Tensor
    fits: Tensor | None = None


#: From masks [b, T, F] of the clips with these indices [b] in the batch to the answer to them.
Judge = Callable[[Tensor, Tensor], Answer]


def optimise(
    batch: AnalysedBatch, start: Tensor, settings: StepSettings, judge: Judge, name: str = "the classifier"
) -> Optimised:
    """Optimise the masks of analysed clips, each by itself, from a start.

    Per clip the objective is what ``judge`` says, plus ``l1_weight mean M + tv_weight TV``.

    Parameters
    ----------
    batch : AnalysedBatch
    start : Tensor [B, T, F] in [0, 1]
    settings : StepSettings
    judge : callable
        Such as :class:`Kept`.
    name : str
        What messages call the classifier.

    Returns
    -------
    Optimised

    Raises
    ------
    NoGradientError
        If a classifier lets none through.
    UserError
        If one gives a value that is not finite.
    """
    spectrogram, frontend = batch.spectrogram, batch.clips.frontend.settings
    valid, (n_frames, n_bins) = spectrogram.valid, spectrogram.magnitude.shape[1:]
    grid, stride = mask_grid(frontend, n_frames, settings), _stride(frontend, settings)
    rows = torch.arange(len(grid.frames), device=valid.device)[None] < -(-valid.sum(1, keepdim=True) // stride)
    cells = to_cells(start, valid, grid, stride).clamp(LEAST, MOST).logit()
    # One parameter for each clip: of one that is done, Adam leaves alone what has no gradient.
    logits = [torch.nn.Parameter(clip) for clip in cells.unbind()]
    adam = torch.optim.Adam(logits, lr=settings.learning_rate, eps=EPSILON)

    best, mask = valid.new_full((len(batch),), torch.inf, dtype=torch.float32), torch.zeros_like(spectrogram.magnitude)
    objectives, fits = best.new_zeros(len(batch), 2), torch.zeros_like(best, dtype=torch.bool)
    steps = torch.zeros(len(batch), dtype=torch.int64, device=best.device)
    undefined = ~(spectrogram.magnitude > 0).flatten(1).any(1)  # whatever is kept of silence is silence
    before, calm = best.new_full((2, len(batch)), torch.nan), torch.zeros_like(steps)
    active = (~undefined).nonzero()[:, 0]
    for step in range(settings.steps + 1):
        if not len(active):
            break
        last = step == settings.steps
        here = torch.stack([logits[k].detach() for k in active.tolist()]).requires_grad_()
        with torch.set_grad_enabled(not last), gradient_errors(name):
            shape = (grid, n_frames, n_bins, rows[active])
            coarse = here.sigmoid()
            drawn = hide_invalid(to_spectrogram_grid(coarse, *shape), spectrogram[active])
            answer, area = judge(drawn, active), mean_over_valid(drawn, valid[active])
            regulariser = settings.l1_weight * area + settings.tv_weight * total_variation(coarse, rows[active])
            objective = answer.terms + regulariser
            if not last:
                n_cells = rows[active].sum(1) * len(grid.bins)
                (gradient,) = torch.autograd.grad((objective * n_cells).sum(), here)
        objective = objective.detach()
        fit = torch.ones_like(active, dtype=torch.bool) if answer.fits is None else answer.fits
        rank = torch.where(fit, objective, objective + NO_ANSWER)
        better = rank < best[active]
        chosen = active[better]
        best[chosen], mask[chosen], fits[chosen] = rank[better], drawn.detach()[better], fit[better]
        objectives[chosen, 1] = objective[better]
        if step == 0:
            objectives[active, 0] = objective
        if last:
            break
        stand = torch.stack([answer.heard, area.detach()])
        moved = (stand - before[:, active]).abs().amax(0)  # [b]; NaN in the first step
        before[:, active] = stand
        calm[active] = torch.where(moved <= settings.tolerance, calm[active] + 1, 0)
        finite = gradient.isfinite()
        lost = ~finite.flatten(1).any(1)  # [b]
        undefined[active[lost]] = True
        going = ~lost & (calm[active] < settings.patience)
        active, change = active[going], gradient.masked_fill(~finite, 0)[going]
        steps[active] += 1
        adam.zero_grad()
        if len(active):
            with torch.enable_grad():
                torch.stack([logits[k] for k in active.tolist()]).backward(change)
        adam.step()
    mask[undefined] = 0
    return Optimised(mask, steps, objectives, fits & ~undefined, undefined)


class Kept:
    """Judges masks by what they keep and what they remove.

    ``inside_weight CE(f(In), c) + surplus_weight relu(z(X) + surplus - z(In))``, less
    ``outside_weight min(CE(f(Out), c), cap)``, with the log odds z of the class: the mean over classifiers and
    perturbed copies.

    Parameters
    ----------
    batch : AnalysedBatch
    settings : OptimiserSettings
    classifiers : sequence of Classifier
        The first one has analysed the batch; the others know its labels by name, and have its STFT.
    """

    def __init__(self, batch: AnalysedBatch, settings: OptimiserSettings, classifiers: Sequence[Classifier]):
        self.settings, self.views = settings, _views(batch, settings, classifiers)
        self._active = torch.arange(len(batch), device=batch.target.device)
        self._clips = [view.clips for view in self.views]

    def __call__(self, mask: Tensor, active: Tensor) -> Answer:
        """Judge masks [b, T, F] of the clips ``active`` [b] of the batch."""
        settings, terms, heard = self.settings, [], []
        if not torch.equal(active, self._active):
            self._active, self._clips = active, [view.clips[active] for view in self.views]
        for view, clips in zip(self.views, self._clips, strict=True):
            pair = MaskedPair.of(clips, mask, settings.apply)
            masked = view.classifier.classify_pair(pair, settings.place)
            view.classifier.check_finite(torch.cat([masked.inside, masked.outside]).detach())
            entropy = masked_cross_entropy(masked, view.target[active], view.classifier.task, settings.cap)
            missing = missing_surplus(
                masked, view.target[active], view.classifier.task, view.odds[active], settings.surplus
            )
            kept = settings.inside_weight * entropy.inside + settings.surplus_weight * missing
            terms.append(kept - settings.outside_weight * entropy.outside)
            heard.append(torch.exp(-entropy.inside.detach()))
        return Answer(torch.stack(terms).mean(0), torch.stack(heard).mean(0))


@torch.no_grad()
def _views(batch: AnalysedBatch, settings: OptimiserSettings, classifiers: Sequence[Classifier]) -> list[View]:
    """Return the clips and their perturbed copies, for each classifier."""
    views, first = [], classifiers[0]
    for classifier in classifiers:
        heard = batch if classifier is first else heard_by(classifier, first, batch)
        for clips in (heard.clips, *(_copy(heard.clips, number, settings) for number in range(settings.copies))):
            output = heard.output if clips is heard.clips else classifier.classify_sound(clips)
            odds = log_odds(output.logits.float(), heard.target, classifier.task)
            views.append(View(classifier, clips, heard.target, odds))
    return views


def _copy(clips: Clips, number: int, settings: OptimiserSettings) -> Clips:
    """Return a perturbed copy of clips: another level, and faint noise. It depends on the clip, not on the batch."""
    wavs = torch.zeros_like(clips.wavs)
    for k, count in enumerate(clips.lengths.tolist()):
        wav = clips.wavs[k, :count]
        loudness = wav.double().square().mean().sqrt()
        fingerprint = zlib.crc32(f"{settings.seed} {number} {count} {float(loudness):.3e}".encode())
        generator = torch.Generator().manual_seed(fingerprint)
        gain = 10 ** (settings.copy_level * float(2 * torch.rand((), generator=generator) - 1) / 20)
        noise = torch.randn(count, generator=generator).to(wav) * loudness.to(wav) * 10 ** (settings.copy_noise / 20)
        wavs[k, :count] = gain * (wav + noise)
    return Clips(wavs, clips.lengths, clips.frontend)
