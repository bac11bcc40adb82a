"""The contract of a classifier: linear magnitude in, logits, embedding and feature maps out, frozen when explained."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields
from typing import Any

import torch
from torch import Tensor, nn

from interpretability.errors import UserError
from interpretability.frontend import PLACES, Clips, Frontend, FrontendSettings, MaskedPair, Spectrogram
from interpretability.grids import Grid
from interpretability.lengths import LengthGroups
from interpretability.probabilities import TASKS, MaskedLogits, predicted_class
from interpretability.settings import Settings


@dataclass
class ClassifierOutput:
    """A classifier's answer to a batch.

    Attributes
    ----------
    logits : Tensor [B, C]
    embedding : Tensor [B, D]
    feature_maps : tuple of Tensor [B, C_l, T_l, F_l]
        Finest first.
    attention : Tensor [B, L, T', F'] or None
        What the classifier itself attends to, layer by layer, from the first to the last: >= 0, on the grid of the last
        feature map, zero in rows beyond a clip's end. None if it has no attention.
    """

    logits: Tensor
    embedding: Tensor
    feature_maps: tuple[Tensor, ...]
    attention: Tensor | None = None

    @property
    def predicted(self) -> Tensor:
        """Index of the most probable class [B]; the lowest one on ties."""
        return predicted_class(self.logits)

    def __getitem__(self, index) -> ClassifierOutput:
        """Select clips of the batch (an index tensor, a slice or a list)."""

        def select(value):
            if isinstance(value, Tensor):
                return value[index]
            return tuple(select(item) for item in value) if isinstance(value, tuple) else value

        return ClassifierOutput(**{field.name: select(getattr(self, field.name)) for field in fields(self)})


@dataclass
class AnalysedBatch:
    """Clips, levelled, analysed and classified, with the class that is explained.

    Made by :meth:`Classifier.analyse`, in one place, for all that interprets, trains and measures.

    Attributes
    ----------
    clips : Clips
        The levelled sounds.
    output : ClassifierOutput
        The classifier's answer to them.
    target : Tensor [B], int64
        The explained class of each clip.
    clean : Spectrogram, optional
        Where noise was mixed into the clips: the same clips without it, at the same gain.
    """

    clips: Clips
    output: ClassifierOutput
    target: Tensor
    clean: Spectrogram | None = None

    @property
    def spectrogram(self) -> Spectrogram:
        """Spectrogram of the levelled sounds."""
        return self.clips.spectrogram

    def __len__(self) -> int:
        return len(self.target)

    def __getitem__(self, index) -> AnalysedBatch:
        """Select clips of the batch (an index tensor, a slice or a list); the padded size stays."""
        clean = None if self.clean is None else self.clean[index]
        return AnalysedBatch(self.clips[index], self.output[index], self.target[index], clean)

    def clip(self, index: int) -> AnalysedBatch:
        """Return clip ``index`` as a batch of one, its sound and spectrogram cut to its own length."""
        index = range(len(self))[index]
        one, clean = slice(index, index + 1), None if self.clean is None else self.clean.clip(index)
        return AnalysedBatch(self.clips.clip(index), self.output[one], self.target[one], clean)

    def alone(self) -> Iterator[AnalysedBatch]:
        """Yield each clip of the batch, as :meth:`clip` gives it."""
        return map(self.clip, range(len(self)))


@dataclass
class ActivationMap:
    """A map that comes from inside a classifier, one for each clip.

    Attributes
    ----------
    values : Tensor [B, T', F']
        >= 0; zero in rows that do not belong to the clip.
    grid : Grid
        Where its cells lie.
    rows : Tensor [B, T'], bool
        Rows that belong to the clip.
    """

    values: Tensor
    grid: Grid
    rows: Tensor


class Classifier(nn.Module):
    """Base class of every classifier.

    Parameters
    ----------
    labels : sequence of str
        Class names, in the order of the logits. They belong to the classifier and are saved with it.
    frontend : FrontendSettings or dict, optional
        The front end it is trained with.
    task : {"single", "multi"}
        Softmax over classes, or one sigmoid per class.
    **settings
        Fields of the class's :attr:`Settings`.

    Attributes
    ----------
    NAME : str
        Name in the registry and in saved folders.
    Settings : type of Settings
        The settings that it has.
    settings : Settings
        The values chosen, completed by those that follow from them.
    description : dict
        What its folder records about it; empty if it was not loaded from one.
    feature_channels : tuple of int
        Channels of the feature maps, finest first.
    feature_strides : tuple of int or float
        Strides of the feature maps, in frames.
    ACTIVATIONS : tuple of str
        Variants of :meth:`activation_map` that it can give.
    """

    NAME = ""
    Settings: type[Settings] = Settings
    ACTIVATIONS: tuple[str, ...] = ()
    feature_channels: tuple[int, ...] = ()
    feature_strides: tuple[float, ...] = ()

    def __init__(
        self,
        labels: Sequence[str],
        frontend: FrontendSettings | dict | None = None,
        task: str = "single",
        **settings: Any,
    ):
        super().__init__()
        self.settings = self.Settings.make(self.NAME, settings)
        labels = [str(label) for label in labels]
        if len(labels) < 2 or len(set(labels)) != len(labels):
            double = sorted({label for label in labels if labels.count(label) > 1})
            got = f"{', '.join(map(repr, double[:5]))} more than once" if double else f"{len(labels)}"
            raise UserError(
                f"a classifier needs at least 2 class names, all different, got {got}: give different names"
            )
        if task not in TASKS:
            raise UserError(f"task is {task!r}, expected one of {TASKS}")
        self.labels = labels
        self.task = task
        self.frontend = Frontend(FrontendSettings(**frontend) if isinstance(frontend, dict) else frontend)
        self.frozen = False
        self.description: dict = {}
        self.build()

    def build(self) -> None:
        """Make the networks that the settings describe, at the end of construction."""

    def keep_description(self, description: dict) -> Classifier:
        """Keep what its folder records about it, such as its training, as ``description``. Returns itself."""
        self.description = description
        return self

    def architecture(self) -> dict:
        """Return the settings as plain values, for saved folders: from them the constructor builds the same again."""
        return self.settings.to_dict()

    def forward(self, magnitude: Tensor, valid: Tensor | None = None) -> ClassifierOutput:
        """Classify linear magnitudes.

        Parameters
        ----------
        magnitude : Tensor [B, T, F]
        valid : Tensor [B, T], bool, optional
            Valid frames; all if not given. The result of a clip does not depend on its padding.

        Returns
        -------
        ClassifierOutput
        """
        raise NotImplementedError

    def classify(self, spectrogram: Spectrogram) -> ClassifierOutput:
        """Classify analysed clips: what all explaining code calls.

        Most classifiers need the magnitude alone; one that takes waveforms also needs the phase and the lengths, to go
        back to sound (:meth:`inputs`).
        """
        return self(*self.inputs(spectrogram))

    def classify_sound(self, clips: Clips) -> ClassifierOutput:
        """Classify sounds at the level they have. A model that takes waveforms gets them as they are."""
        return self.classify(clips.spectrogram)

    @torch.no_grad()
    def analyse(
        self,
        wavs: Tensor,
        lengths: Tensor | None = None,
        target: Tensor | int | str | None = None,
        clean: Tensor | None = None,
    ) -> AnalysedBatch:
        """Level sounds, analyse and classify them, and determine which class is explained.

        Parameters
        ----------
        wavs : Tensor [B, N]
            Mono, at the front end's sample rate, at any level.
        lengths : Tensor [B] in (0, 1], optional
            Relative lengths; all ones if not given.
        target : Tensor [B], int or str, optional
            Class to explain: an index or a name for all clips, or one index for each; the predicted one if not given.
        clean : Tensor [B, N], optional
            The same sounds without the noise that was mixed in; they get the gain of ``wavs``.

        Returns
        -------
        AnalysedBatch

        Raises
        ------
        UserError
            If the classifier has no such class.
        ValueError
            If shapes, lengths or class indices do not fit.
        """
        clips = self.frontend.clips(wavs, lengths)
        levelled = clips.levelled()
        output = self.classify_sound(levelled)
        if clean is not None:
            clean = self.frontend.clips(clean / clips.gain, lengths).spectrogram
        return AnalysedBatch(levelled, output, self._targets(target, output), clean)

    def _targets(self, target: Tensor | int | str | None, output: ClassifierOutput) -> Tensor:
        if target is None:
            return output.predicted
        if not isinstance(target, Tensor):
            target = torch.full_like(output.predicted, self.target_index(target))
        if target.shape != output.predicted.shape:
            raise ValueError(f"target has shape {tuple(target.shape)}, expected [{len(output.logits)}]")
        n_classes = output.logits.shape[1]
        if bool(((target < 0) | (target >= n_classes)).any()):
            raise ValueError(f"target is {target.tolist()}, expected class indices from 0 to {n_classes - 1}")
        return target.to(output.predicted)

    def inputs(self, spectrogram: Spectrogram) -> tuple[Any, ...]:
        """Return what :meth:`forward` takes of analysed clips, in its order."""
        return spectrogram.magnitude, spectrogram.valid

    def activation_map(self, batch: AnalysedBatch, variant: str = "last") -> ActivationMap:
        """Return a map of what the classifier itself attends to.

        Parameters
        ----------
        batch : AnalysedBatch
            Only class-specific variants use its target.
        variant : str
            One of :attr:`ACTIVATIONS`. ``last``: of the last layer. ``mean``: over layers, each scaled to a sum of 1.

        Returns
        -------
        ActivationMap

        Raises
        ------
        UserError
            For a variant that this classifier cannot give.
        """
        self.check_activation(variant)
        if variant not in ("last", "mean"):
            raise NotImplementedError(f"{type(self).__name__} lists {variant!r}, and does not compute it")
        layers = batch.output.attention  # [B, L, T', F']
        if variant == "mean":
            layers = layers / layers.sum((2, 3), keepdim=True).clamp(min=1e-30)
        values = layers[:, -1] if variant == "last" else layers.mean(1)
        return ActivationMap(values, *self._last_level(batch.spectrogram))

    def check_activation(self, variant: str) -> None:
        """Refuse a variant of :meth:`activation_map` that this classifier cannot give (:class:`UserError`)."""
        if not self.ACTIVATIONS:
            raise UserError(
                f"the classifier {self.NAME!r} has no activation maps that can be thresholded: take vit, focalnet or "
                "an AST, or a method that needs none"
            )
        if variant not in self.ACTIVATIONS:
            raise UserError(
                f"the classifier {self.NAME!r} has no activation map {variant!r}, expected one of "
                f"{', '.join(self.ACTIVATIONS)}"
            )

    def _last_level(self, spectrogram: Spectrogram) -> tuple[Grid, Tensor]:
        """Return the grid of the last feature map and its rows [B, T'] that belong to the clips."""
        return self.feature_grids(spectrogram.magnitude.shape[1])[-1], self.valid_rows(spectrogram.valid)[-1]

    def feature_grids(self, n_frames: int) -> tuple[Grid, ...]:
        """Return where the cells of each feature map lie, for a spectrogram of ``n_frames``."""
        raise NotImplementedError

    def input_grid(self, n_frames: int) -> Grid:
        """Return where the cells of the classifier's own features (log-mel, say) lie: the finest grid it can see."""
        raise NotImplementedError

    def feature_rows(self, n_frames: int | Tensor) -> tuple[int | Tensor, ...]:
        """Return how many rows the input grid and each feature map have for clips of ``n_frames``."""
        raise NotImplementedError

    def valid_rows(self, valid: Tensor) -> tuple[Tensor, ...]:
        """Return which rows of the input grid and of each feature map belong to the clips.

        Parameters
        ----------
        valid : Tensor [B, T], bool

        Returns
        -------
        tuple of Tensor [B, T_l], bool
        """
        levels = zip(self.feature_rows(valid.shape[1]), self.feature_rows(valid.sum(1)), strict=True)
        return tuple(torch.arange(size, device=valid.device)[None] < count[:, None] for size, count in levels)

    def each_length_alone(
        self, network: Callable[[Tensor], ClassifierOutput], magnitude: Tensor, valid: Tensor | None
    ) -> ClassifierOutput:
        """Run a network that cannot hide padding layer by layer, so that a padded clip gives what it gives alone.

        In training mode the batch is one padded whole: batch normalisation needs it.

        Parameters
        ----------
        network : callable
            From magnitudes [b, t, F], all of them valid, to a :class:`ClassifierOutput`.
        magnitude : Tensor [B, T, F]
        valid : Tensor [B, T], bool, or None

        Returns
        -------
        ClassifierOutput
            Feature maps have the rows of ``feature_rows(T)``, with zeros in those beyond the end of a clip.
        """
        if valid is None or self.training or bool(valid.all()):
            return network(magnitude)
        groups = LengthGroups.of_frames(valid)
        parts = groups.run(lambda index, count: network(magnitude[index, :count]))
        levels = zip(*(part.feature_maps for part in parts), strict=True)
        sizes = self.feature_rows(valid.shape[1])[1:]
        maps = tuple(groups.join(level, axis=2, size=size) for level, size in zip(levels, sizes, strict=True))
        attention = None if parts[0].attention is None else groups.join([part.attention for part in parts])
        logits, embedding = (groups.join([getattr(part, name) for part in parts]) for name in ("logits", "embedding"))
        return ClassifierOutput(logits, embedding, maps, attention)

    def freeze(self) -> Classifier:
        """Freeze it: eval mode for good, no gradients to its parameters. Returns itself."""
        self.frozen = True
        self.requires_grad_(False)
        return self.train(False)

    def train(self, mode: bool = True) -> Classifier:
        """Set the mode; a frozen classifier stays in eval mode, so that its batch-norm statistics never move."""
        return super().train(mode and not self.frozen)

    def classify_pair(self, pair: MaskedPair, place: str = "spectrogram") -> MaskedLogits:
        """Classify In and Out in one batched pass of 2B clips.

        Parameters
        ----------
        pair : MaskedPair
        place : {"spectrogram", "waveform"}
            ``spectrogram``: the masked magnitudes go straight in. ``waveform``: they are turned into sound, which is
            classified at the level it has; this is what a person hears.

        Returns
        -------
        MaskedLogits

        Raises
        ------
        ValueError
            For an unknown place.
        """
        if place not in PLACES:
            raise ValueError(f"place is {place!r}, expected one of {PLACES}")
        output = self.classify(pair.spectrogram) if place == "spectrogram" else self.classify_sound(pair.clips)
        return MaskedLogits(*output.logits.float().chunk(2))

    def target_index(self, target: str | int) -> int:
        """Return the class index of a name or an index.

        Raises
        ------
        UserError
            If the classifier has no such class.
        """
        text = str(target)
        if text in self.labels:
            return self.labels.index(text)
        if text.lstrip("-").isdigit() and 0 <= int(text) < len(self.labels):
            return int(text)
        raise UserError(f"no class {target!r}: this classifier has {', '.join(self.labels)}")
