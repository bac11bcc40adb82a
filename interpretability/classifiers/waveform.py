"""Models that take waveforms, or make their own features of them, explained as they are: any classifier.

The masked magnitude goes back to sound through the front end's inverse STFT, which is differentiable, and the model
gets that sound. Feature maps are the outputs of named layers (:mod:`.layers`).
"""

import contextlib
import dataclasses
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from interpretability.classifiers.base import Classifier, ClassifierOutput
from interpretability.classifiers.check import reset_state
from interpretability.classifiers.frames import POOLS, FrameScores, even_times, scores_as_logits
from interpretability.classifiers.gradient import finite_gradient, gradient_errors
from interpretability.classifiers.hooks import recorded_outputs
from interpretability.classifiers.layers import PROBE_SECONDS, SCALES, FeatureLayer, LayerInfo, Layout, map_of
from interpretability.classifiers.observed import ObservedLayer
from interpretability.classifiers.outputs import EMBEDDING, KINDS, SUM_TOLERANCE, Answer, answer_of
from interpretability.errors import UserError, first_line
from interpretability.frontend import Clips, FrontendSettings, Spectrogram
from interpretability.grids import Grid
from interpretability.lengths import LengthGroups
from interpretability.settings import Settings, setting


def frontend_for(
    sample_rate: int, level: str = "none", resampling: str = FrontendSettings.resampling
) -> FrontendSettings:
    """Return the front end for a sampling rate: window and hop have the same durations as in the default one.

    Parameters
    ----------
    sample_rate : int
        In Hz.
    level : {"none", "peak"}
        ``none``: the model hears the sound at the level it has, as it does elsewhere.
    resampling : {"accurate", "published"}
        The filter for sounds of another rate.

    Example
    -------
    >>> settings = frontend_for(44100)
    >>> settings.n_fft, settings.win_length, settings.hop_length, settings.level
    (2048, 1024, 512, 'none')
    """
    if isinstance(sample_rate, bool) or not isinstance(sample_rate, (int, float)) or not 1000 <= sample_rate < math.inf:
        raise UserError(f"the sampling rate is {sample_rate!r}, expected a number of at least 1000 Hz")
    octaves = round(math.log2(sample_rate / 16000))
    n_fft = round(1024 * 2.0**octaves)
    return FrontendSettings(sample_rate=int(sample_rate), n_fft=n_fft, level=level, resampling=resampling)


SOFTMAX = (
    "lie in [0, 1] and sum to 1: they are taken for probabilities (output=probabilities; output=logits takes them for "
    "scores before a softmax)"
)
NO_SUM = (
    "its probabilities do not sum to 1, and are divided by their sum: if several classes can be heard at once, give "
    "task=multi"
)


@dataclass(frozen=True)
class WaveformSettings(Settings):
    """Settings of every classifier that takes waveforms."""

    layers: tuple[str | dict, ...] | None = setting(
        None, "names of the layers whose outputs are feature maps, in any order; null: chosen automatically"
    )
    scale: str = setting(
        "mel",
        "scale on which the columns of maps with a frequency axis are evenly spaced, lowest first",
        choices=SCALES,
    )
    output: str | None = setting(
        None,
        "what the model's outputs are; null: logits, or probabilities where they lie in [0, 1] and sum to 1; "
        "embedding: no classes, but values by whose cosine sounds are compared",
        choices=(None, *KINDS),
    )
    pool: str = setting(
        "mean",
        "how outputs for each frame become one: the mean of their probabilities, the highest, or a mean that the model "
        "weights (attention)",
        choices=POOLS,
    )
    attention: str | int | None = setting(
        None, "name or number of the output that holds these weights, >= 0: one for each frame, or also for each class"
    )
    thresholds: tuple[float, ...] | None = setting(
        None,
        "probability of each class from which on a multi-label head is taken to hear it; null: 0.5 each",
        above=0,
        below=1,
    )
    input_length: int | None = setting(
        None,
        "length of every sound that the model takes: longer ones are cut, shorter ones padded with zeros; null: any",
        unit="samples",
        least=1,
    )
    one_by_one: bool | None = setting(
        None, "run sounds one by one; null: where the model takes no more than one at once"
    )
    reset_state: bool | None = setting(
        None, "reset the model's hidden state before each run; null: where the same sound twice shows that it has one"
    )


@dataclass(frozen=True)
class Scores:
    """What a model says of sounds.

    Attributes
    ----------
    logits : Tensor [b, C]
    frames : FrameScores or None
        Of each frame, where the model gives them.
    weights : Tensor [b, C] or None
        What ``attention`` names, of a model without frames.
    """

    logits: Tensor
    frames: FrameScores | None = None
    weights: Tensor | None = None


class WaveformClassifier(Classifier):
    """A model from waveforms [B, N] to logits [B, C], unchanged: what the adapters to other libraries share.

    Parameters
    ----------
    labels, task
        As in :class:`~interpretability.classifiers.base.Classifier`.
    frontend : FrontendSettings or dict, optional
        At the model's sampling rate; that of 16 kHz without a level rule if not given. See :func:`frontend_for`.
    model : torch.nn.Module
    layout : callable, optional
        Makes the :class:`~interpretability.classifiers.layers.Layout` of the model, front end and scale.
    **settings
        Fields of the class's settings. A dict among ``layers`` is a :class:`FeatureLayer` as :meth:`architecture`
        writes it: then the model is not run to measure it.

    Raises
    ------
    UserError
        If the model cannot be run or does not give logits of the classes, or a layer is not there or has no time axis.

    Notes
    -----
    The embedding is what the model itself has for one (:attr:`embedding_module`, or its outputs with
    ``output="embedding"``), else the mean of the last feature map over the clip, or the logits where there are no
    feature maps.
    Frozen, like every explained classifier: the model's parameters, modes and buffers stay as they are.
    """

    Settings = WaveformSettings
    #: What the outputs are known to be, whatever they look like; None: the settings say it, or the first answer.
    ANSWERS: str | None = None

    def __init__(
        self,
        labels: Sequence[str],
        frontend: FrontendSettings | dict | None = None,
        task: str = "single",
        *,
        model: nn.Module,
        layout: Callable[..., Layout] = Layout,
        **settings: Any,
    ):
        super().__init__(labels, frontend_for(16000) if frontend is None else frontend, task, **settings)
        if self.settings.thresholds is not None:
            self.use_thresholds(self.settings.thresholds)
        self.module = model
        self._frame_hop: float | None = None  # in samples, as it is found out
        self._check_attention()
        self.layout = layout(model, self.frontend.settings, self.settings.scale)
        self._kinds: set[str] = set()  # what answers can be, as long as it is open
        self.settle()
        self.layers = self.choose_layers()
        self.settings = dataclasses.replace(self.settings, layers=tuple(map(dataclasses.asdict, self.layers)))

    #: Settings that may be ``attention``.
    POOLED: tuple[str, ...] = ("pool",)

    def _check_attention(self) -> None:
        """Refuse attention without weights, and weights without attention (:class:`UserError`)."""
        pools = [name for name in self.POOLED if getattr(self.settings, name) == "attention"]
        if pools and self.settings.attention is None:
            raise UserError(
                f"{self.title}: {pools[0]}=attention needs attention=NAME, the output that holds the weights; without "
                f"one give {pools[0]}=mean or max"
            )
        if self.settings.attention is not None and not pools:
            ways = " or ".join(f"{name}=attention" for name in self.POOLED)
            raise UserError(f"{self.title}: attention goes with {ways}: give both, or neither")

    def settle(self) -> None:
        """Find out, before layers are chosen, what the settings leave open about how the model has to be run."""

    def choose_layers(self) -> tuple[FeatureLayer, ...]:
        """Return the layers whose outputs are feature maps, finest first; none where their outputs cannot be had."""
        obstacle = self.obstacle()
        if not obstacle:
            return self.layout.select(self.settings.layers, self.checked_logits)
        if self.settings.layers:
            raise UserError(f"{self.title} has no feature maps ({obstacle}): leave layers out")
        self.remark("layers", f"no feature maps: {obstacle}")
        return ()

    def obstacle(self) -> str:
        """Say why outputs of layers cannot be had; "" if they can."""
        if isinstance(self.module, torch.jit.ScriptModule):
            return "it is a TorchScript module, whose layers cannot be observed"
        if self.settings.input_length is not None:
            return "it takes sounds of one length"
        return "it takes one sound at a time" if self.settings.one_by_one else ""

    # ------------------------------------------------------------------------------------------------ the contract

    @property
    def title(self) -> str:
        """See :attr:`Classifier.title`."""
        return type(self.module).__name__

    def use_thresholds(self, thresholds: Sequence[float]) -> Classifier:
        """See :meth:`Classifier.use_thresholds`. They are among its settings."""
        super().use_thresholds(thresholds)
        self.settings = dataclasses.replace(self.settings, thresholds=self._thresholds)
        return self

    @property
    def feature_channels(self) -> tuple[int, ...]:
        """Channels of the feature maps, finest first."""
        return tuple(layer.channels for layer in self.layers)

    @property
    def feature_strides(self) -> tuple[float, ...]:
        """Strides of the feature maps in frames of the spectrogram."""
        return tuple(layer.stride / self.frontend.settings.hop_length for layer in self.layers)

    def inputs(self, spectrogram: Spectrogram) -> tuple:
        """Return the arguments of :meth:`forward`: what is needed to go back to sound."""
        return (spectrogram.magnitude, spectrogram.valid, spectrogram.phase, spectrogram.lengths, spectrogram.n_samples)

    def sound_inputs(self, clips: Clips) -> tuple:
        """Return the arguments of :meth:`forward` for sounds: no spectrogram is made."""
        return (None, None, None, clips.lengths, None, clips.wavs)

    def classify_sound(self, clips: Clips) -> ClassifierOutput:
        """Classify sounds as they are."""
        return self(*self.sound_inputs(clips))

    def forward(
        self,
        magnitude: Tensor | None,
        valid: Tensor | None = None,
        phase: Tensor | None = None,
        lengths: Tensor | None = None,
        n_samples: int | None = None,
        wavs: Tensor | None = None,
    ) -> ClassifierOutput:
        """Classify sounds, or turn magnitudes into sound and classify that.

        Parameters
        ----------
        magnitude, phase : Tensor [B, T, F]
        valid : Tensor [B, T], bool
        lengths : Tensor [B], int64
            In samples.
        n_samples : int
            N of the padded batch.
        wavs : Tensor [B, N], optional
            The sounds, zero beyond the clips' ends: of the rest, only the lengths are then needed.

        Returns
        -------
        ClassifierOutput

        Raises
        ------
        UserError
            Without a phase: a magnitude alone is not a sound.
        """
        if wavs is not None:
            return self.classify_samples(wavs, lengths, self.frontend.n_frames(wavs.shape[1]))
        if phase is None:
            raise UserError(
                f"the classifier {self.NAME!r} takes waveforms, got a magnitude without its phase: "
                "call classify(spectrogram)"
            )
        spectrogram = Spectrogram(magnitude, phase, valid, lengths, n_samples)
        wavs = self.frontend.resynthesise(spectrogram, magnitude)
        if wavs.requires_grad:
            wavs.register_hook(finite_gradient)
        return self.classify_samples(wavs, lengths, magnitude.shape[1])

    def classify_samples(self, wavs: Tensor, lengths: Tensor, n_frames: int) -> ClassifierOutput:
        """Classify sounds; a padded clip gives what it gives alone.

        In training mode the batch is one padded whole: batch normalisation needs it.

        Parameters
        ----------
        wavs : Tensor [B, N]
            Zero beyond the clips' ends.
        lengths : Tensor [B], int64
            In samples.
        n_frames : int
            Frames T of the batch's spectrogram: it says how many rows the feature maps have.

        Returns
        -------
        ClassifierOutput
        """
        longest, hop = self.longest, self.frontend.settings.hop_length
        if longest is not None and int(lengths.max()) > longest + hop:
            seconds = longest / self.frontend.settings.sample_rate
            self.remark("longest", f"hears the first {seconds:.4g} s of a sound, and nothing of the rest", True)
        together = self.training or self.layout.takes_lengths or self.fixed_length is not None
        groups = LengthGroups(lengths.max().expand(len(lengths)) if together else lengths)
        parts = groups.run(lambda index, size: self.run_together(wavs[index, :size], lengths[index]))
        # Rows of the batch's grids; those of a clip are the first ones.
        rows = self.feature_rows(n_frames)[1:]
        counts = self.feature_rows(self.frontend.n_frames(lengths))[1:]

        def in_order(maps: list[Tensor], size: int, count: Tensor) -> Tensor:
            whole = groups.join([part[:, :, :size] for part in maps], axis=2, size=size)
            beyond = torch.arange(size, device=whole.device)[None] >= count[:, None]  # [B, T']
            return whole.masked_fill(beyond[:, None, :, None], 0.0) if bool(beyond.any()) else whole

        logits = groups.join([part.logits for part in parts])
        embedding = groups.join([part.embedding for part in parts])
        frames = FrameScores.join([part.frames for part in parts], groups)
        if not self.layers:
            return ClassifierOutput(logits, embedding, (), frames=frames)
        levels = zip(*(part.feature_maps for part in parts), strict=True)
        maps = tuple(in_order(list(level), *place) for level, *place in zip(levels, rows, counts, strict=True))
        if not self._has_embedding:
            embedding = maps[-1].mean(3).sum(2) / counts[-1][:, None].to(maps[-1].dtype)  # [B, C]
        attention = None
        if parts[0].attention is not None:
            attention = in_order([part.attention for part in parts], rows[-1], counts[-1])
        return ClassifierOutput(logits, embedding, maps, attention, frames)

    def feature_rows(self, n_frames: int | Tensor) -> tuple[int | Tensor, ...]:
        hop = self.frontend.settings.hop_length
        return (self.layout.input_rows(n_frames), *(layer.rows(n_frames, hop) for layer in self.layers))

    def feature_grids(self, n_frames: int) -> tuple[Grid, ...]:
        """Return the centres of the feature maps: those of the windows that the rows see."""
        rows = self.feature_rows(n_frames)[1:]
        return tuple(self.layout.grid(layer, count) for layer, count in zip(self.layers, rows, strict=True))

    def input_grid(self, n_frames: int) -> Grid:
        return self.layout.input_grid(n_frames)

    def describe_layers(self) -> list[LayerInfo]:
        """Return every layer that can be a feature map, in the order in which the model runs them."""
        return [] if self.obstacle() else self.layout.describe(self.checked_logits)

    @property
    def layer_levels(self) -> dict[str, int]:
        """See :attr:`Classifier.layer_levels`."""
        return {layer.name: level for level, layer in enumerate(self.layers)}

    def observed_layer(self, name: str) -> ObservedLayer:
        """Return any layer that has an axis of time; one that is no feature map is measured, by runs of the model.

        Raises
        ------
        UserError
            If there is none of that name, it has no axis of time, or outputs of layers cannot be had.
        """
        obstacle = self.obstacle()
        if obstacle:
            raise UserError(f"{self.title} has no layers that can be observed ({obstacle})")
        level = self.layer_levels.get(name)
        layer = self.layout.select([name], self.checked_logits)[0] if level is None else self.layers[level]
        hop = self.frontend.settings.hop_length
        return ObservedLayer(
            name,
            self.module.get_submodule(name),
            lambda output: self.layout.to_map(layer, output),
            lambda maps, n_frames: self.layout.fit_rows(layer, maps, n_frames),
            lambda n_frames: self.layout.grid(layer, layer.rows(n_frames, hop)),
        )

    @property
    def no_embedding(self) -> str:
        """See :attr:`Classifier.no_embedding`."""
        return "" if self._has_embedding or self.layers else self.obstacle() or "no layer of it is a feature map"

    @property
    def has_classes(self) -> bool:
        """See :attr:`Classifier.has_classes`."""
        return self.settings.output != EMBEDDING

    @property
    def _has_embedding(self) -> bool:
        """Whether the model itself has an embedding."""
        return not self.has_classes or self.embedding_module is not None

    # -------------------------------------------------------------------------------------- what adapters override

    @property
    def embedding_module(self) -> str | None:
        """Name of the module of the model that returns its embedding; None if there is none that is known for it."""
        return None

    @property
    def longest(self) -> int | None:
        """Samples that the model hears: of longer sounds the first ones. None if there is no limit."""
        return self.fixed_length

    @property
    def fixed_length(self) -> int | None:
        """Samples to which every sound is cut or padded; None if it is not."""
        return self.settings.input_length

    def outputs_of(self, wavs: Tensor, lengths: Tensor) -> Any:
        """Run the model on waveforms [b, N] and return what it answers.

        ``lengths`` [b] are in samples. They are all N, except where the layout ``takes_lengths``, or in training.

        Returns
        -------
        object
            Logits or probabilities [b, C], or of each frame [b, T, C]; a tensor, an array, or what holds one
            (:func:`.answer_of`).
        """
        raise NotImplementedError

    def chosen(self, output: Any) -> Any:
        """Return the part of a model's output in which the answer is looked for."""
        return output

    def scores_of(self, wavs: Tensor, lengths: Tensor) -> Scores:
        """Run the model on waveforms [b, N] and return its answer: logits, and those of each frame if it has any."""
        output = self.outputs_of(wavs, lengths)
        answer = answer_of(self.chosen(output), self.title, len(wavs), len(self.labels))
        if not self.has_classes:
            return Scores(answer.values.mean(1) if answer.framewise else answer.values)
        pool, entry = self.settings.pool, self.settings.attention
        weights = None if entry is None else answer.weights_in(output, entry, self.title)
        probabilities = self._are_probabilities(answer)
        logits = answer.logits(self.task, probabilities, pool, weights)
        if not answer.framewise:
            return Scores(logits, weights=weights)
        of_frames = {
            "mean": "the mean of its frames",
            "max": "the highest of its frames",
            "attention": f"the mean of its frames, weighted by the model's output {entry!r}",
        }
        self.remark("pool", f"the probability of a class is {of_frames[pool]} (pool={pool})")
        values = scores_as_logits(answer.values, self.task, probabilities)
        times = self.frame_times(values.shape[1], wavs.shape[1])
        return Scores(logits, self.frames_of(values, times, lengths, pool, weights))

    def frame_times(self, count: int, n_samples: int) -> Tensor:
        """Return where so many frames lie in a sound, [T', 2] float64: start and end, in samples."""
        return even_times(count, n_samples, self._frame_hop)

    def frames_of(
        self, logits: Tensor, times: Tensor, lengths: Tensor, pool: str, weights: Tensor | None
    ) -> FrameScores:
        """Return scores [b, T', C] with their times [T', 2] in samples."""
        rate = self.frontend.settings.sample_rate
        return FrameScores.of(logits, times.to(lengths.device), lengths, rate, self.task, pool, weights)

    def _are_probabilities(self, answer: Answer) -> bool:
        """Return whether an answer holds probabilities. What was not stated is settled, and said, on the first call."""
        stated = self.settings.output or self.ANSWERS
        if stated is None and "logits" not in self._kinds:
            first = not self._kinds
            kind = answer.kind()
            self._kinds.add(kind)
            if first and kind == "softmax":
                stated = "probabilities"
                self.settings = dataclasses.replace(self.settings, output=stated)
                self.remark("output", f"its outputs {SOFTMAX}", warn=True)
            elif first and kind == "sigmoid":
                self.remark("output", self._open_output(), warn=True)
            elif kind == "logits":
                self._notes.pop("output", None)
        if stated == "probabilities":
            self._check_probabilities(answer)
        return stated == "probabilities"

    def _check_probabilities(self, answer: Answer) -> None:
        """Refuse an answer that is not one of probabilities (:class:`UserError`); say that its sum is not 1."""
        low, high = (bound.item() for bound in answer.values.detach().aminmax())
        if low < -SUM_TOLERANCE or high > 1 + SUM_TOLERANCE:
            raise UserError(
                f"{self.title}: its outputs go from {low:.3g} to {high:.3g}, and output=probabilities says that they "
                "lie in [0, 1]: give output=logits"
            )
        if self.task == "single" and "output" not in self._notes and answer.kind() == "sigmoid":
            self.remark("output", NO_SUM, warn=True)

    def _open_output(self) -> str:
        more = "" if self.task == "multi" else ", and task=multi, as they do not sum to 1"
        return (
            "its outputs lie in [0, 1], as probabilities do, and are taken for logits: if they are probabilities, give "
            f"output=probabilities{more}; if not, output=logits"
        )

    def run_together(self, wavs: Tensor, lengths: Tensor) -> ClassifierOutput:
        """Classify sounds [b, N] in one pass.

        The mean of a feature map as embedding is left to :meth:`classify_samples`. Maps have the rows of N samples,
        also beyond shorter clips.
        """
        modules = dict(self.module.named_modules())
        try:
            names = {*(layer.name for layer in self.layers), *filter(None, [self.embedding_module])}
            watched = {name: modules[name] for name in names}
            with gradient_errors(self.title), recorded_outputs(watched, map_of) as recorded:
                scores = self.checked_scores(wavs, lengths)
        except Exception as error:  # whatever the model raises
            if "more than 1 value per channel" in str(error):  # of batch normalisation in training
                raise UserError(
                    f"{self.title}: batch normalisation is trained on two or more clips of one length at a time, got "
                    "one: give --fixed_length True --clip_seconds SECONDS"
                ) from error
            if isinstance(error, (UserError, torch.OutOfMemoryError)) or self.training:
                raise
            seconds, count = wavs.shape[1] / self.frontend.settings.sample_rate, len(wavs)
            ways = []
            if seconds < PROBE_SECONDS[0]:  # it runs on longer sounds: its windows or kernels are longer than this one
                ways.append("give a longer one" if count == 1 else "give longer ones")
            if count > 1 and not self.settings.one_by_one:
                ways.append("give one_by_one=True if it takes one sound at a time")
            advice = ", or ".join(ways) or "correct the model"
            what = f"{seconds:.3g} s of sound" if count == 1 else f"{count} sounds of {seconds:.3g} s"
            raise UserError(f"{self.title} cannot be run on {what} ({first_line(error)}): {advice}") from error
        logits, n_frames = scores.logits, self.frontend.n_frames(wavs.shape[1])
        maps = []
        for layer in self.layers:
            if layer.name in recorded:
                output = recorded[layer.name]
                output = output.clone() if output.is_inference() else output
                maps.append(self.layout.fit_rows(layer, self.layout.to_map(layer, output), n_frames))
            elif self.training:  # some transformers drop blocks at random
                size = layer.rows(n_frames, self.frontend.settings.hop_length)
                maps.append(logits.new_zeros(len(wavs), layer.channels, size, layer.columns))
            else:
                raise UserError(f"layer {layer.name!r} was not run for {n_frames} frames: name other layers")
        embedding = logits
        if self.embedding_module in recorded:
            embedding = recorded[self.embedding_module]
            embedding = (embedding.mean((2, 3)) if embedding.ndim == 4 else embedding).flatten(1)
        return ClassifierOutput(logits, embedding, tuple(maps), frames=scores.frames)

    def checked_logits(self, wavs: Tensor, lengths: Tensor) -> Tensor:
        """Return the logits [b, C] of :meth:`checked_scores`."""
        return self.checked_scores(wavs, lengths).logits

    def checked_scores(self, wavs: Tensor, lengths: Tensor) -> Scores:
        """Run the model as its settings say that it has to be run: on its length, one by one, with its state reset."""
        parameter = next((p for p in self.module.parameters() if p.is_floating_point()), None)
        if parameter is not None:
            wavs = wavs.to(parameter.dtype)
        # CUDA's own recurrent layers have no gradient in eval mode.
        recurrent = wavs.is_cuda and any(isinstance(module, nn.RNNBase) for module in self.module.modules())
        size = self.fixed_length
        if size is not None:
            wavs = functional.pad(wavs[:, :size], (0, max(0, size - wavs.shape[1])))
            lengths = lengths.clamp(max=size)
        ways = [slice(None)]
        if self.settings.one_by_one:
            ways = [slice(index, index + 1) for index in range(len(wavs))]
        with torch.backends.cudnn.flags(enabled=False) if recurrent else contextlib.nullcontext():
            parts = []
            for way in ways:
                if self.settings.reset_state:
                    reset_state(self.module)
                # A copy, which the model may change in place.
                parts.append(self.scores_of(wavs[way].clone(), lengths[way]))
        logits = [part.logits.clone() if part.logits.is_inference() else part.logits for part in parts]
        frames = FrameScores.join([part.frames for part in parts])
        return Scores(torch.cat(logits) if len(logits) > 1 else logits[0], None if frames is None else frames.owned())
