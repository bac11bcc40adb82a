"""What methods share that ask for answers only: parts of a clip are removed, and the classifier judges the rest.

Every clip is explained alone and at its own length, from a stated number of calls. All that is used of a classifier is
:meth:`.Classifier.classify`, so these methods work with or without a gradient; a model that takes sound gets the masked
magnitude as sound, through its own path.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from tqdm import tqdm

from interpretability.classifiers.base import AnalysedBatch
from interpretability.classifiers.calls import EXPLAINING_CALLS
from interpretability.explanation import Interpretation
from interpretability.frontend import FrontendSettings, apply_mask
from interpretability.grids import Grid, hertz_from_mel, mel_from_hertz, to_spectrogram_grid
from interpretability.methods.base import Interpreter, MethodSettings
from interpretability.methods.forms import FORMS, MEANING, fixed_by, form_mask
from interpretability.probabilities import class_probability, log_odds
from interpretability.settings import setting

SCORES = ("log_odds", "probability")
REMOVALS = ("silence", "background")
WEIGHTINGS = ("loudness", "none")
#: Quantile of a clip's frames, in each frequency bin, that is its background.
BACKGROUND = 0.2
#: Frames that go through the classifier at once, of all masked versions of a clip together: bounds the memory.
CHUNK_FRAMES = 8 * 512


def times_setting(default: int) -> Any:
    """Declare how many stretches of time a clip is cut into."""
    return setting(default, "patches one after the other; at most one a frame", least=1, most=10_000)


def bands_setting(default: int) -> Any:
    """Declare how many bands a clip is cut into."""
    meaning = "patches one above the other, of equal height in mel; none without a bin"
    return setting(default, meaning, least=1, most=10_000)


@dataclass(frozen=True)
class PerturbationSettings(MethodSettings):
    """Settings of every method that removes parts of a clip and asks for the answers."""

    calls: int = setting(
        EXPLAINING_CALLS, "budget: so many masked versions of a clip are classified, at most", least=2, most=100_000
    )
    times: int = times_setting(16)
    bands: int = bands_setting(12)
    removal: str = setting(
        "silence",
        "what takes the place of what is removed. silence: nothing; background: the 20 % quantile of the clip's own "
        "magnitudes in each frequency bin, where that is less",
        choices=REMOVALS,
    )
    score: str = setting("log_odds", "what is asked about the explained class", choices=SCORES)
    weighting: str = setting(
        "loudness",
        "what the values of bins are multiplied by before the highest are kept; a soft mask is made of the values as "
        "they are. loudness: the bin's log magnitude, relative to the highest in its patch, so that those bins of a "
        "patch that counts are kept that hold its sound",
        choices=WEIGHTINGS,
    )
    form: str = setting("top10", MEANING, choices=tuple(FORMS))


@dataclass(frozen=True)
class Patches:
    """The spectrogram of one clip, cut into patches: stretches of time by bands of equal height in mel.

    Attributes
    ----------
    time_edges : tuple of int
        First frame of each stretch, and T.
    band_edges : tuple of int
        First bin of each band, and F.
    """

    time_edges: tuple[int, ...]
    band_edges: tuple[int, ...]

    @classmethod
    def of(cls, n_frames: int, frontend: FrontendSettings, times: int, bands: int) -> Patches:
        """Cut ``n_frames`` into at most ``times`` stretches, and the bins into at most ``bands`` bands.

        There are fewer where one would be without a frame or a bin.
        """
        last, nyquist = frontend.n_bins - 1, frontend.sample_rate / 2
        mels = torch.linspace(0, mel_from_hertz(nyquist), bands + 1, dtype=torch.float64)
        bins = (hertz_from_mel(mels) / nyquist * last).round().long().tolist()
        frames = torch.linspace(0, n_frames, min(times, n_frames) + 1, dtype=torch.float64).round().long().tolist()
        return cls(_edges(frames, n_frames), _edges(bins, frontend.n_bins))

    @property
    def shape(self) -> tuple[int, int]:
        """How many stretches and bands there are."""
        return len(self.time_edges) - 1, len(self.band_edges) - 1

    @property
    def count(self) -> int:
        """How many patches there are."""
        return self.shape[0] * self.shape[1]

    @cached_property
    def grid(self) -> Grid:
        """Where the centres of the patches lie."""
        return Grid(_centres(self.time_edges), _centres(self.band_edges))

    def spread(self, values: Tensor) -> Tensor:
        """Give each bin the value of its patch: [n, times, bands] -> [n, T, F]."""
        rows, columns = (_lengths(edges, values.device) for edges in (self.time_edges, self.band_edges))
        return values.repeat_interleave(rows, 1).repeat_interleave(columns, 2)

    def loudness(self, log_magnitude: Tensor) -> Tensor:
        """Return log magnitudes [T, F] relative to the highest in their patch, in [0, 1]; 0 in silent patches."""
        numbers = torch.arange(self.count, device=log_magnitude.device).view(1, *self.shape)
        patch = self.spread(numbers)[0].flatten()
        highest = log_magnitude.new_zeros(self.count).scatter_reduce(0, patch, log_magnitude.flatten(), "amax")
        highest = highest.masked_fill(highest == 0, 1)
        return log_magnitude / highest[patch].view_as(log_magnitude)

    def smooth(self, values: Tensor) -> Tensor:
        """Interpolate values [times, bands] between the centres of the patches, [T, F]."""
        n_frames, n_bins = self.time_edges[-1], self.band_edges[-1]
        grid = Grid(self.grid.frames.to(values.device), self.grid.bins.to(values.device))
        return to_spectrogram_grid(values[None], grid, n_frames, n_bins)[0]


def _edges(positions: list[int], end: int) -> tuple[int, ...]:
    """Return the positions, each once, but for the last one, which is the end."""
    return (*sorted({*positions[:-1]}), end)


def _centres(edges: tuple[int, ...]) -> Tensor:
    first = torch.tensor(edges, dtype=torch.float64)
    return (first[:-1] + first[1:] - 1) / 2


def _lengths(edges: tuple[int, ...], device: torch.device) -> Tensor:
    return torch.tensor(edges, device=device).diff()


class Answers:
    """The classifier's answers to masked versions of one clip.

    Parameters
    ----------
    method : Perturbation
    clip : AnalysedBatch
        Of one clip, at its own length.
    bar : tqdm
        Moves by one for each call.

    Attributes
    ----------
    at_once : int
        How many masked versions are classified at once.
    """

    def __init__(self, method: Perturbation, clip: AnalysedBatch, bar: tqdm):
        self._method, self._clip, self._bar = method, clip, bar
        self.at_once = max(1, CHUNK_FRAMES // clip.spectrogram.magnitude.shape[1])
        self._under = None
        if method.settings.removal == "background":
            self._under = background(clip.spectrogram.magnitude)

    def __call__(self, masks: Tensor) -> Tensor:
        """Return the scores of the explained class under masks [n, T, F], [n] float64.

        Raises
        ------
        UserError
            If the classifier gives a value that is not finite.
        """
        classifier, settings = self._method.classifier, self._method.settings
        scores = []
        for some in masks.split(self.at_once):
            first = torch.zeros(len(some), dtype=torch.int64, device=some.device)
            spectrogram = self._clip.spectrogram[first]
            magnitude = apply_mask(spectrogram.magnitude, some.to(spectrogram.magnitude), settings.apply)
            if self._under is not None:
                rest = apply_mask(self._under.expand_as(magnitude), 1 - some.to(magnitude), settings.apply)
                magnitude = _sum(magnitude, rest, settings.apply)
            logits = classifier.classify(replace(spectrogram, magnitude=magnitude)).logits
            classifier.check_finite(logits)
            logits, target = logits.double(), self._clip.target[first]
            if settings.score == "probability":
                scores.append(class_probability(logits, target, classifier.task).p)
            else:
                scores.append(log_odds(logits, target, classifier.task))
            self._bar.update(len(some))
        return torch.cat(scores)


def background(magnitude: Tensor) -> Tensor:
    """Return a clip's own background: magnitudes that are no louder than they were, [B, T, F].

    Parameters
    ----------
    magnitude : Tensor [B, T, F]
        Of clips at their own length.
    """
    return torch.minimum(magnitude, magnitude.quantile(BACKGROUND, dim=1, keepdim=True))


def _sum(kept: Tensor, rest: Tensor, domain: str) -> Tensor:
    """Return the sum of two magnitudes, of logarithms in the log domain: M X + (1 - M) X_background."""
    return torch.expm1(torch.log1p(kept) + torch.log1p(rest)) if domain == "log" else kept + rest


class Perturbation(Interpreter):
    """Base class of methods that remove parts of a clip and ask for the answers.

    A method gives :meth:`values`. What it finds on a grid of patches is interpolated between their centres for the
    mask (:meth:`masks_of`). A silent clip has an all-zero mask; the classifier is not asked.

    Parameters
    ----------
    classifier : Classifier
    **settings
        Of its ``Settings``.
    """

    Settings = PerturbationSettings
    trainable = False

    @property
    def title(self) -> str:
        """See :attr:`Interpreter.title`."""
        return self.NAME if self.settings.form == "soft" else f"{self.NAME}, {self.settings.form}"

    @property
    def fixed_metrics(self) -> tuple[str, ...]:
        """See :attr:`Interpreter.fixed_metrics`."""
        return fixed_by(self.settings.form)

    def patches(self, clip: AnalysedBatch) -> Patches:
        """Cut one clip into ``times`` by ``bands`` patches."""
        n_frames = clip.spectrogram.magnitude.shape[1]
        return Patches.of(n_frames, self.frontend.settings, self.settings.times, self.settings.bands)

    def values(self, clip: AnalysedBatch, answers: Answers) -> Tensor:
        """Return the attribution of one clip [T, F], signed, in units of the score; errors as of :class:`Answers`."""
        raise NotImplementedError

    def interpret(self, batch: AnalysedBatch) -> Interpretation:
        """See :meth:`Interpreter.interpret`."""
        return Interpretation(self.masks_of(self.attribute(batch), batch, self.settings.form))

    def masks_of(self, values: Tensor, batch: AnalysedBatch, form: str) -> Tensor:
        """Return the masks [B, T, F] of a form that attributions [B, T, F] give: see the setting ``weighting``."""
        if self.settings.weighting == "loudness" and form != "soft":
            parts = [self.patches(clip).loudness(clip.spectrogram.log_magnitude[0]) for clip in batch.alone()]
            n_frames = values.shape[1]
            weights = torch.stack([functional.pad(part, (0, 0, 0, n_frames - len(part))) for part in parts])
            values = torch.where(values > 0, values * weights, values)  # what speaks against the class stays as it is
        return form_mask(values, batch.spectrogram.valid, form)

    @torch.no_grad()
    def attribute(self, batch: AnalysedBatch) -> Tensor:
        """Return the attributions themselves, not weighted, [B, T, F]; 0 in frames that are not valid."""
        magnitude, parts = batch.spectrogram.magnitude, []
        shown = None if self.shows_progress else True  # None: on anything but a terminal
        total = self.settings.calls * len(batch)
        with tqdm(total=total, desc=self.title, unit="call", leave=False, disable=shown) as bar:
            for number, clip in enumerate(batch.alone(), 1):
                loud = clip.spectrogram.magnitude
                values = self.values(clip, Answers(self, clip, bar)) if bool(loud.any()) else torch.zeros_like(loud[0])
                parts.append(functional.pad(values.to(magnitude), (0, 0, 0, magnitude.shape[1] - len(values))))
                bar.update(self.settings.calls * number - bar.n)  # a clip may need fewer than the budget
        return torch.stack(parts)
