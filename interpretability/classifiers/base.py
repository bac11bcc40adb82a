"""The contract of a classifier: linear magnitude in, logits, embedding and feature maps out, frozen when explained."""

from __future__ import annotations

import difflib
import logging
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import one_hot

from interpretability.classifiers.frames import FrameScores
from interpretability.classifiers.gradient import check_gradient
from interpretability.classifiers.observed import ObservedLayer
from interpretability.errors import UserError
from interpretability.frontend import PLACES, Clips, Frontend, FrontendSettings, MaskedPair, Spectrogram
from interpretability.grids import Grid
from interpretability.lengths import LengthGroups
from interpretability.probabilities import TASKS, MaskedLogits, predicted_class
from interpretability.settings import Settings
from interpretability.targets import Question
from interpretability.transfer import ClassRows

logger = logging.getLogger(__name__)

#: A class to explain: an index (of any integer type, also as a tensor of one) or a name; or one of these for each clip.
#: Where text is allowed, also what :mod:`interpretability.targets` reads, such as ``a|b`` and ``a - b``.
Target = Tensor | np.ndarray | int | str | Sequence[int | str]
#: Probability from which on a class of a multi-label head counts as heard, where the classifier has none of its own.
THRESHOLD = 0.5
#: Up to so many classes are all named where one of them is expected.
FEW_CLASSES = 12


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
    frames : FrameScores or None
        Logits for each frame or window with their times, from which ``logits`` are pooled. None of a classifier that
        answers for the whole sound.
    """

    logits: Tensor
    embedding: Tensor
    feature_maps: tuple[Tensor, ...]
    attention: Tensor | None = None
    frames: FrameScores | None = None

    @property
    def predicted(self) -> Tensor:
        """Index of the most probable class [B]; the lowest one on ties."""
        return predicted_class(self.logits)

    def __getitem__(self, index) -> ClassifierOutput:
        """Select clips of the batch (an index tensor, a slice or a list)."""

        def select(value):
            if isinstance(value, (Tensor, FrameScores)):
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
        Class names, in the order of the logits. They belong to the classifier and are saved with it. A detector of one
        event has one class, and the task ``multi``.
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
    HEAD : tuple of str
        Names of the modules and parameters that turn the embedding into logits; all others are the encoder's.
    encoder_frozen : bool
        Whether the head alone is trained (:meth:`freeze_encoder`).
    question : Question or None
        What is asked of it, where that is not one of its classes (:mod:`.targeted`).
    """

    NAME = ""
    question: Question | None = None
    Settings: type[Settings] = Settings
    HEAD: tuple[str, ...] = ()
    encoder_frozen = False
    _rests: tuple[nn.Parameter, ...] = ()  # parameters of a frozen encoder that are trained otherwise
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
        if task not in TASKS:
            raise UserError(f"task is {task!r}, expected one of {TASKS}")
        labels = check_labels(labels, task)
        self.labels = labels
        self.task = task
        self.frontend = Frontend(FrontendSettings(**frontend) if isinstance(frontend, dict) else frontend)
        self.frozen = False
        self.description: dict = {}
        self._thresholds: tuple[float, ...] | None = None
        self._notes: dict[str, str] = {}
        self.build()

    @property
    def base(self) -> Classifier:
        """The classifier itself; of one that answers a question, the classifier that is asked."""
        return self

    @property
    def no_embedding(self) -> str:
        """Why it gives no embedding by which sounds can be compared; "" if it does."""
        return ""

    @property
    def never_a_gradient(self) -> str:
        """Why no gradient can come out of a classifier of this kind; "" if one may."""
        return ""

    @property
    def has_classes(self) -> bool:
        """Whether its outputs are classes; if not, they are an embedding, and its class names are mere numbers."""
        return True

    def build(self) -> None:
        """Make the networks that the settings describe, at the end of construction."""

    def keep_description(self, description: dict) -> Classifier:
        """Keep what its folder records about it, such as its training, as ``description``. Returns itself."""
        self.description = description
        return self

    @property
    def notes(self) -> tuple[str, ...]:
        """What a reader of its explanations has to know about it, as far as it has shown. Saved with it."""
        return tuple(self._notes.values())

    def add_notes(self, *notes: str) -> None:
        """Add to :attr:`notes` what is not among them."""
        for note in notes:
            self.remark(note, note)

    def remark(self, key: str, text: str, warn: bool = False) -> None:
        """Add one note, if there is none of that key or text yet; ``warn``: log it, too."""
        if key not in self._notes and text not in self.notes:
            self._notes[key] = text
            if warn:
                logger.warning("%s: %s", self.title, text)

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
        target: Target | None = None,
        clean: Tensor | None = None,
    ) -> AnalysedBatch:
        """Level sounds, analyse and classify them, and determine which class is explained.

        Parameters
        ----------
        wavs : Tensor [B, N]
            Mono, at the front end's sample rate, at any level.
        lengths : Tensor [B] in (0, 1], optional
            Relative lengths; all ones if not given.
        target : int, str, or one of these for each clip (Tensor [B], array or list), optional
            Class to explain; the predicted one if not given. A number of any integer type, also as a tensor of one, is
            an index; text is a name, or else an index (:meth:`target_index`).
        clean : Tensor [B, N], optional
            The same sounds without the noise that was mixed in; they get the gain of ``wavs``.

        Returns
        -------
        AnalysedBatch

        Raises
        ------
        UserError
            If the classifier has no such class, or gives a value that is not finite.
        ValueError
            If shapes, lengths or class indices do not fit.
        """
        clips = self.frontend.clips(wavs, lengths)
        bad = ~torch.isfinite(clips.wavs).all(1)
        if bool(bad.any()):
            raise UserError(f"{int(bad.sum())} of {len(bad)} sounds hold NaN or infinity: expected finite samples")
        levelled = clips.levelled()
        output = self.classify_sound(levelled)
        self.check_finite(output.logits)
        if clean is not None:
            clean = self.frontend.clips(clean / clips.gain, lengths).spectrogram
        return AnalysedBatch(levelled, output, self._targets(target, output), clean)

    def _targets(self, target: Target | None, output: ClassifierOutput) -> Tensor:
        if target is None:
            return output.predicted
        if isinstance(target, (Tensor, np.ndarray)):
            given = torch.as_tensor(target)
            if given.is_floating_point() or given.dtype in (torch.bool, torch.complex64, torch.complex128):
                raise UserError(f"target is of {given.dtype}, expected integer class indices")
            target = given.tolist()
        if not isinstance(target, (list, tuple)):
            return torch.full_like(output.predicted, self.target_index(target))
        n_classes = output.logits.shape[1]
        if len(target) != len(output.logits) or any(isinstance(one, (list, tuple)) for one in target):
            shape = [len(target)] if len(target) != len(output.logits) else "more than one axis"
            raise ValueError(f"target has shape {shape}, expected [{len(output.logits)}]: one class per clip")
        if any(isinstance(one, int) and not 0 <= one < n_classes for one in target):
            raise UserError(f"target is {_short(target)}, expected class indices from 0 to {n_classes - 1}")
        return torch.tensor([self.target_index(one) for one in target]).to(output.predicted)

    def inputs(self, spectrogram: Spectrogram) -> tuple[Any, ...]:
        """Return what :meth:`forward` takes of analysed clips, in its order."""
        return spectrogram.magnitude, spectrogram.valid

    def sound_inputs(self, clips: Clips) -> tuple[Any, ...]:
        """Return the arguments of :meth:`forward` for sounds."""
        return self.inputs(clips.spectrogram)

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

    @property
    def layer_levels(self) -> dict[str, int]:
        """Layers whose outputs are feature maps: name -> which of the maps, finest first. None by default."""
        return {}

    def obstacle(self) -> str:
        """Say why outputs of layers cannot be had; "" if nothing is in the way."""
        return ""

    def observed_layer(self, name: str) -> ObservedLayer:
        """Return a layer by its name; a :class:`UserError` if there is none of which maps can be had."""
        level = self.layer_levels.get(name)
        if level is None:
            raise UserError(f"no layer {_short(name)} in {self.title}, expected one of {', '.join(self.layer_levels)}")
        join, module = partial(self.joined_maps, level), self.get_submodule(name)
        return ObservedLayer(
            name, module, self.maps_of_layer, join, lambda n_frames: self.feature_grids(n_frames)[level]
        )

    def maps_of_layer(self, output: Tensor) -> Tensor:
        """Bring what a layer of :attr:`layer_levels` returns to maps [n, C, rows, columns]."""
        return output

    def joined_maps(self, level: int, maps: Tensor, n_frames: int) -> Tensor:
        """Return the map [1, C, T', F'] of one clip of ``n_frames`` from those that :meth:`maps_of_layer` gives."""
        return maps

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

    def logits_for_gradient(self, spectrogram: Spectrogram) -> Tensor:
        """Return logits [B, C] in single precision, from which gradients go back to the magnitude.

        Raises
        ------
        NoGradientError
            If the classifier lets none through. What PyTorch says in the backward pass is the caller's: see
            :func:`.gradient_errors`.
        """
        return check_gradient(self.title, self.classify(spectrogram).logits.float(), self.never_a_gradient)

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
        """Set the mode; what is frozen stays in eval mode, so that its batch-norm statistics never move.

        With a frozen encoder, the classifier's own mode is eval, too: a clip's features are those that it has alone.
        """
        super().train(mode and not self.frozen and not self.encoder_frozen)
        if self.encoder_frozen and not self.frozen:
            for part in self._head_modules().values():
                part.train(mode)
        return self

    def freeze_encoder(self, frozen: bool = True) -> Classifier:
        """Freeze all but the head: eval mode for good, no gradients to its parameters; or undo that. Returns itself."""
        if frozen and not self.encoder_frozen:
            encoder = (value for name, value in self.named_parameters() if not self.in_head(name))
            self._rests = tuple(value for value in encoder if value.requires_grad)
        for value in self._rests:
            value.requires_grad_(not frozen)
        self.encoder_frozen = frozen
        return self.train(self.training)

    def in_head(self, name: str) -> bool:
        """Return whether a parameter or buffer of that name belongs to the head."""
        return any(name == part or name.startswith(f"{part}.") for part in self.HEAD)

    def class_rows(self) -> dict[str, ClassRows]:
        """Return the parameters of the head with one row for each class, by name; empty if the head is not known."""
        classes = torch.arange(len(self.labels))
        for part, head in reversed(self._head_modules().items()):
            layers = [(name, list(layer.named_parameters(recurse=False))) for name, layer in head.named_modules()]
            # A head that is a layer itself, such as one of cosines with hidden layers inside; else its last layer.
            for place, named in (layers[0], *reversed(layers[1:])):
                fitting = [name for name, value in named if value.ndim > 0 and len(value) == len(classes)]
                if "weight" in fitting:
                    return {".".join(filter(None, (part, place, name))): ClassRows(classes) for name in fitting}
        return {}

    def _head_modules(self) -> dict[str, nn.Module]:
        """Return those parts of the head that are modules, by name."""
        modules = dict(self.named_modules())
        return {part: modules[part] for part in self.HEAD if part in modules}

    def architecture_for(self, n_classes: int) -> dict[str, Any]:
        """Return the settings from which the constructor builds the same with ``n_classes`` other classes."""
        return {name: value for name, value in self.architecture().items() if name != "thresholds"}

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
        NoGradientError
            If the mask requires a gradient, and the classifier lets none through.
        UserError
            If the classifier gives a value that is not finite; not while gradients are computed.
        ValueError
            For an unknown place.
        """
        if place not in PLACES:
            raise ValueError(f"place is {place!r}, expected one of {PLACES}")
        output = self.classify(pair.spectrogram) if place == "spectrogram" else self.classify_sound(pair.clips)
        if pair.magnitudes.requires_grad:
            check_gradient(self.title, output.logits, self.never_a_gradient)
        if not torch.is_grad_enabled():  # in training the loss is checked, and a bad step can be left out
            self.check_finite(output.logits)
        return MaskedLogits(*output.logits.float().chunk(2))

    def check_finite(self, logits: Tensor) -> None:
        """Refuse an answer [B, C] with a value that is not finite (:class:`UserError`)."""
        finite = torch.isfinite(logits)  # [B, C]
        if not bool(finite.all()):
            raise UserError(
                f"{self.title} gives NaN or infinity for {int((~finite.all(1)).sum())} of "
                f"{len(logits)} sounds, in {int((~finite.all(0)).sum())} of {logits.shape[1]} outputs: its weights or "
                "the scaling of its input are damaged; it cannot be explained"
            )

    @property
    def title(self) -> str:
        """What messages call it."""
        return f"the classifier {self.NAME!r}"

    @property
    def device(self) -> torch.device:
        """Where its weights are; the CPU if it has none."""
        state = next(iter((*self.parameters(), *self.buffers())), None)
        return torch.device("cpu") if state is None else state.device

    @property
    def thresholds(self) -> Tensor:
        """Probability of each class [C], float64, from which on a multi-label head is taken to hear it.

        0.5 each, unless others were given (:meth:`use_thresholds`).
        """
        if self._thresholds is None:
            return torch.full((len(self.labels),), THRESHOLD, dtype=torch.float64)
        return torch.tensor(self._thresholds, dtype=torch.float64)

    @property
    def has_thresholds(self) -> bool:
        """Whether it has thresholds of its own."""
        return self._thresholds is not None

    def use_thresholds(self, thresholds: Sequence[float]) -> Classifier:
        """Give a multi-label head a threshold for each class, in (0, 1). Returns itself.

        Raises
        ------
        UserError
            If there are not as many as classes, one is out of range, or the head is single-label.
        """
        thresholds = tuple(float(value) for value in thresholds)
        if self.task != "multi" or len(thresholds) != len(self.labels):
            raise UserError(
                f"got {len(thresholds)} thresholds and task {self.task!r}, expected none, or one for each of the "
                f"{len(self.labels)} classes with task 'multi'"
            )
        bad = [value for value in thresholds if not 0 < value < 1]
        if bad:
            raise UserError(f"a threshold is {bad[0]:g}, expected probabilities between 0 and 1")
        self._thresholds = thresholds
        return self

    def heard(self, logits: Tensor) -> Tensor:
        """Return which classes are heard, [B, C] bool, from logits [B, C].

        Of a single-label head the predicted one; of a multi-label head all whose probability is at least their
        threshold, which may be none.
        """
        if self.task == "single":
            return one_hot(predicted_class(logits), logits.shape[1]).bool()
        return torch.sigmoid(logits.double()) >= self.thresholds.to(logits.device)

    def active(self, logits: Tensor) -> Tensor:
        """Return which classes are explained unless others are named, [B, C] bool: at least one of each clip.

        Those that are heard (:meth:`heard`); where none is, the most probable one.
        """
        heard = self.heard(logits)
        highest = one_hot(predicted_class(logits), logits.shape[1]).bool()
        return heard | (highest & ~heard.any(dim=1, keepdim=True))

    def target_index(self, target: str | int) -> int:
        """Return the index of a class.

        Parameters
        ----------
        target : int or str
            A number (of any integer type, also NumPy's, or a tensor or an array of one) is an index from 0. Text is a
            name; if no class has that name, the digits of an index.

        Raises
        ------
        UserError
            If the classifier has no such class: with all names, or of many classes with the nearest ones.
        """
        given = target.tolist() if isinstance(target, (Tensor, np.ndarray, np.generic)) else target
        while isinstance(given, list) and len(given) == 1:
            (given,) = given
        if isinstance(given, str):
            if given in self.labels:
                return self.labels.index(given)
            given = int(given) if given.isascii() and given.isdigit() and len(given) < 10 else given
        elif isinstance(given, bool) or not isinstance(given, int):
            raise UserError(f"target is {_short(target)}, expected the name or the index of a class")
        if isinstance(given, int) and 0 <= given < len(self.labels):
            return given
        raise UserError(f"no class {_short(target)}: {self._near(str(given))}")

    def check_top_k(self, top_k: int) -> None:
        """Raise a :class:`UserError` unless there are so many classes to explain, and at least one is asked for."""
        if isinstance(top_k, bool) or not isinstance(top_k, int) or not 1 <= top_k <= len(self.labels):
            raise UserError(f"top_k is {_short(top_k)}, expected a number from 1 to {len(self.labels)}, of classes")

    def label_index(self, label: str) -> int:
        """Return the index of the class of that very name, as data have it; a :class:`UserError` if there is none."""
        if label not in self.labels:
            raise UserError(f"no class {_short(label)}: {self._near(label)}")
        return self.labels.index(label)

    def _near(self, text: str) -> str:
        """Say which classes there are: those whose names are nearest to a text, and all if they are few."""
        plain: dict[str, str] = {}
        for label in self.labels:
            plain.setdefault(label.lower(), label)
        wanted = text.lower()[:200]
        close = difflib.get_close_matches(wanted, plain, 3, 0.6)
        close += [name for name in plain if wanted and wanted in name and name not in close][: 5 - len(close)]
        hint = f"did you mean {' or '.join(repr(plain[name]) for name in close)}? " if close else ""
        if len(self.labels) <= FEW_CLASSES:
            return f"{hint}this classifier has {', '.join(self.labels)}"
        return (
            f"{hint}this classifier has {len(self.labels)} classes, 0 to {len(self.labels) - 1}, from "
            f"{self.labels[0]!r} to {self.labels[-1]!r}; tools/interpret.py --list_classes lists them all"
        )


def default_task(labels: Sequence[str]) -> str:
    """Return the task of a model that does not say it: one label per clip, except for a detector of one event."""
    return "single" if len(labels) != 1 else "multi"


def check_labels(labels: Sequence[str], task: str) -> list[str]:
    """Return class names as text; a :class:`UserError` if they are not all different, or too few for the task."""
    labels = [str(label) for label in labels]
    double = sorted(label for label, count in Counter(labels).items() if count > 1)
    if double:
        raise UserError(
            f"class names are all different, got {', '.join(map(repr, double[:5]))} more than once: give other names"
        )
    if not labels:
        raise UserError("a classifier needs class names, got none: give one for each output")
    if len(labels) < 2 and task == "single":
        raise UserError(
            f"the only class is {labels[0]!r}, whose softmax is always 1: give task=multi if the output says whether "
            "there is such an event, or the names of all outputs"
        )
    return labels


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}…"
