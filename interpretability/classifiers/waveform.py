"""Models that take waveforms, or make their own features of them, explained as they are: any classifier.

The masked magnitude goes back to sound through the front end's inverse STFT, which is differentiable, and the model
hears that sound. Feature maps are the outputs of named layers, caught by hooks that are removed after every call and
brought to one form, [B, C, T', F'], on a grid whose stride does not depend on the clip's length.
"""

from __future__ import annotations

import contextlib
import dataclasses
import difflib
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from interpretability.classifiers.base import Classifier, ClassifierOutput
from interpretability.errors import UserError, first_line
from interpretability.frontend import FrontendSettings, Spectrogram
from interpretability.grids import Grid, window_centres
from interpretability.lengths import reassemble
from interpretability.settings import Settings, setting

SCALES = ("mel", "linear")
#: Columns of the input grid: the resolution in frequency at which masks are drawn.
INPUT_BANDS = 64
#: Feature maps that are taken where nobody names layers, at most.
DEFAULT_LAYERS = 4
#: Lengths of the sounds by which a layer's axes are told apart, in seconds; the last ones only for very coarse layers.
PROBE_SECONDS = (1.0, 2.0, 4.0, 8.0)
#: A map may have that many rows more or less than its grid says; what is too few is repeated, what is too many cut.
SPARE_ROWS = 2
AXES = {
    3: {0: "TBC", 1: "BTC", 2: "BCT"},
    # Time second: channels last, as SpeechBrain's convolutions have them.
    4: {1: "BTFC", 2: "BCTF", 3: "BCFT"},
}


def frontend_for(sample_rate: int, level: str = "none") -> FrontendSettings:
    """Return the front end for models of a sampling rate: window and hop last as long as in the default one.

    Parameters
    ----------
    sample_rate : int
        In Hz.
    level : {"none", "peak"}
        ``none``: the model hears the sound at the level it has, as it does elsewhere.

    Example
    -------
    >>> settings = frontend_for(44100)
    >>> settings.n_fft, settings.win_length, settings.hop_length, settings.level
    (2048, 1024, 512, 'none')
    """
    if isinstance(sample_rate, bool) or not isinstance(sample_rate, (int, float)) or not 1000 <= sample_rate < math.inf:
        raise UserError(f"the sampling rate is {sample_rate!r}, expected a number of at least 1000 Hz")
    octaves = round(math.log2(sample_rate / 16000))
    return FrontendSettings(sample_rate=int(sample_rate), n_fft=round(1024 * 2.0**octaves), level=level)


@dataclass(frozen=True)
class FeatureLayer:
    """A layer whose output is a feature map, and where the rows of that map lie.

    Row i is centred on sample ``centre + i * stride``; a clip has it if it is ``start + i * stride`` samples long.

    Attributes
    ----------
    name : str
        Of the module inside the model, as ``named_modules`` has it.
    axes : str
        Order of the axes of what the module returns: B clips, T time, F frequency, C channels.
    channels, columns : int
    stride, start, centre : float
        In samples.
    """

    name: str
    axes: str
    channels: int
    columns: int
    stride: float
    start: float
    centre: float

    def rows(self, n_frames: int | Tensor, hop: int) -> int | Tensor:
        """Return the rows of clips of ``n_frames`` frames; at least one."""
        shortest = (n_frames - 1) * hop - self.start  # in samples: that many the clip has at least
        if isinstance(n_frames, Tensor):
            return (torch.div(shortest.double(), self.stride, rounding_mode="floor").long() + 1).clamp(min=1)
        return max(1, math.floor(shortest / self.stride) + 1)


@dataclass(frozen=True)
class LayerInfo:
    """What :meth:`WaveformClassifier.describe_layers` says of a layer.

    Attributes
    ----------
    name, kind : str
        Of the module, and of its class.
    shape : tuple of int
        What it returns for one second of sound (the model's own input where that is fixed), batch of one.
    stride_ms : float
        From row to row of its feature map.
    default : bool
        Whether it is taken where nobody names layers.
    """

    name: str
    kind: str
    shape: tuple[int, ...]
    stride_ms: float
    default: bool


@dataclass(frozen=True)
class WaveformSettings(Settings):
    """Settings of every classifier that takes waveforms."""

    layers: tuple[str | dict, ...] | None = setting(
        None, "names of the layers whose outputs are feature maps, in any order; sensible ones if null"
    )
    scale: str = setting(
        "mel", "where columns of maps with a frequency axis lie, lowest first: evenly on this scale", choices=SCALES
    )


class WaveformClassifier(Classifier):
    """A model from waveforms [B, N] to logits [B, C], unchanged: what the adapters to other libraries share.

    Parameters
    ----------
    labels, task
        As in :class:`~interpretability.classifiers.base.Classifier`.
    frontend : FrontendSettings or dict, optional
        At the model's sampling rate; that of 16 kHz without a level rule if not given. See :func:`frontend_for`.
    model : torch.nn.Module
    **settings
        Fields of the class's settings. A dict among ``layers`` is a :class:`FeatureLayer` as :meth:`architecture`
        writes it: then the model is not run to measure it.

    Attributes
    ----------
    takes_lengths : bool
        Whether the model itself sees to it that padding has no effect. If not, each length of clip runs alone.

    Raises
    ------
    UserError
        If the model cannot be run or does not give logits of the classes, or a layer is not there or has no time axis.

    Notes
    -----
    The embedding is the mean of the last feature map over the clip, or the logits where there are no feature maps.
    Frozen, as everything that is explained: the model's parameters, modes and buffers stay as they are.
    """

    Settings = WaveformSettings
    takes_lengths = False

    def __init__(
        self,
        labels: Sequence[str],
        frontend: FrontendSettings | dict | None = None,
        task: str = "single",
        *,
        model: nn.Module,
        **settings: Any,
    ):
        super().__init__(labels, frontend_for(16000) if frontend is None else frontend, task, **settings)
        self.module = model
        self.layers = self._layers(self.settings.layers)
        self.settings = dataclasses.replace(self.settings, layers=tuple(map(dataclasses.asdict, self.layers)))

    # ------------------------------------------------------------------------------------------------ the contract

    @property
    def feature_channels(self) -> tuple[int, ...]:
        """Channels of the feature maps, finest first."""
        return tuple(layer.channels for layer in self.layers)

    @property
    def feature_strides(self) -> tuple[float, ...]:
        """Strides of the feature maps in frames of the spectrogram."""
        return tuple(layer.stride / self.frontend.settings.hop_length for layer in self.layers)

    def inputs(self, spectrogram: Spectrogram) -> tuple:
        """Return the arguments of :meth:`forward`: what it takes to go back to sound."""
        return (
            spectrogram.magnitude,
            spectrogram.valid,
            spectrogram.phase,
            spectrogram.lengths,
            spectrogram.n_samples,
        )

    def forward(
        self,
        magnitude: Tensor,
        valid: Tensor | None = None,
        phase: Tensor | None = None,
        lengths: Tensor | None = None,
        n_samples: int | None = None,
    ) -> ClassifierOutput:
        """Turn magnitudes into sound and classify it.

        Parameters
        ----------
        magnitude, phase : Tensor [B, T, F]
        valid : Tensor [B, T], bool
        lengths : Tensor [B], int64
            In samples.
        n_samples : int
            N of the padded batch.

        Returns
        -------
        ClassifierOutput

        Raises
        ------
        UserError
            Without a phase: a magnitude alone is not a sound.
        """
        if phase is None:
            raise UserError(
                f"the classifier {self.NAME!r} takes waveforms, got a magnitude without its phase: "
                "call classify(spectrogram)"
            )
        if n_samples is None:
            n_samples = (magnitude.shape[1] - 1) * self.frontend.settings.hop_length
        if lengths is None:
            lengths = torch.full((len(magnitude),), n_samples, device=magnitude.device)
        if valid is None:
            valid = torch.ones(magnitude.shape[:2], dtype=torch.bool, device=magnitude.device)
        spectrogram = Spectrogram(magnitude, phase, valid, lengths, n_samples)
        wavs = self.frontend.resynthesise(spectrogram, magnitude)
        return self.hear(wavs, lengths, magnitude.shape[1])

    def hear(self, wavs: Tensor, lengths: Tensor, n_frames: int) -> ClassifierOutput:
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
        together = self.training or self.takes_lengths
        sizes = [int(lengths.max())] if together else lengths.unique().tolist()
        indices, parts = [], []
        for size in sizes:
            index = torch.arange(len(wavs), device=wavs.device) if together else (lengths == size).nonzero()[:, 0]
            indices.append(index)
            parts.append(self.hear_together(wavs[index, :size], lengths[index]))
        # Rows of the whole batch's grids, of which each clip has its own from the first one on.
        rows = self.feature_rows(n_frames)[1:]
        counts = self.feature_rows(self.frontend.n_frames(lengths))[1:]

        def in_order(maps: list[Tensor], size: int, count: Tensor) -> Tensor:
            whole = reassemble(indices, [part[:, :, :size] for part in maps], axis=2, size=size)
            beyond = torch.arange(size, device=whole.device)[None] >= count[:, None]  # [B, T']
            return whole.masked_fill(beyond[:, None, :, None], 0.0) if bool(beyond.any()) else whole

        logits = torch.cat([part.logits for part in parts])[torch.cat(indices).argsort()]
        if not self.layers:
            return ClassifierOutput(logits, logits, ())
        levels = zip(*(part.feature_maps for part in parts), strict=True)
        maps = tuple(in_order(list(level), *place) for level, *place in zip(levels, rows, counts, strict=True))
        embedding = maps[-1].mean(3).sum(2) / counts[-1][:, None].to(maps[-1].dtype)  # [B, C]
        attention = None
        if parts[0].attention is not None:
            attention = in_order([part.attention for part in parts], rows[-1], counts[-1])
        return ClassifierOutput(logits, embedding, maps, attention)

    def feature_rows(self, n_frames: int | Tensor) -> tuple[int | Tensor, ...]:
        """See :meth:`Classifier.feature_rows`."""
        hop = self.frontend.settings.hop_length
        return (n_frames, *(layer.rows(n_frames, hop) for layer in self.layers))

    def feature_grids(self, n_frames: int) -> tuple[Grid, ...]:
        """Return the centres of the feature maps: those of the windows that the rows see."""
        hop = self.frontend.settings.hop_length
        return tuple(
            Grid((layer.centre + layer.stride * torch.arange(count, dtype=torch.float64)) / hop, self.columns(layer))
            for layer, count in zip(self.layers, self.feature_rows(n_frames)[1:], strict=True)
        )

    def input_grid(self, n_frames: int) -> Grid:
        """Return the spectrogram's frames, and bands evenly spaced on the mel scale: masks are drawn at this grain."""
        return Grid(torch.arange(n_frames, dtype=torch.float64), self.band_centres(INPUT_BANDS))

    # -------------------------------------------------------------------------------------- what adapters override

    def logits_of(self, wavs: Tensor, lengths: Tensor) -> Tensor:
        """Run the model on waveforms [b, N] and return its logits [b, C].

        ``lengths`` [b] are in samples. They are all N, except where ``takes_lengths``, or in training.
        """
        raise NotImplementedError

    def hear_together(self, wavs: Tensor, lengths: Tensor) -> ClassifierOutput:
        """Classify sounds [b, N] that run in one pass.

        The embedding is left to :meth:`hear`. Maps have the rows of N samples, also those beyond shorter clips.
        """
        try:
            with self._listening([layer.name for layer in self.layers]) as caught:
                logits = self._checked_logits(wavs, lengths)
        except RuntimeError as error:
            seconds = wavs.shape[1] / self.frontend.settings.sample_rate
            if seconds >= PROBE_SECONDS[0]:
                raise
            # It runs on longer ones: windows and kernels do not fit into this.
            raise UserError(
                f"{type(self.module).__name__} cannot be run on {seconds:.3g} s of sound ({first_line(error)}): "
                "give a longer one"
            ) from error
        n_frames = self.frontend.n_frames(wavs.shape[1])
        maps = []
        for layer in self.layers:
            if layer.name in caught:
                maps.append(self.fit_rows(layer, self.as_map(layer, caught[layer.name]), n_frames))
            elif self.training:  # some transformers leave out blocks at random
                size = layer.rows(n_frames, self.frontend.settings.hop_length)
                maps.append(logits.new_zeros(len(wavs), layer.channels, size, layer.columns))
            else:
                raise UserError(f"layer {layer.name!r} was not run for {n_frames} frames: name other layers")
        return ClassifierOutput(logits, logits, tuple(maps))

    def as_map(self, layer: FeatureLayer, raw: Tensor) -> Tensor:
        """Bring what a layer returned to [b, C, T', F']."""
        raw = raw.permute([layer.axes.index(axis) for axis in "BCTF" if axis in layer.axes])
        return raw if raw.ndim == 4 else raw[..., None]

    def fit_rows(self, layer: FeatureLayer, maps: Tensor, n_frames: int) -> Tensor:
        """Bring maps [b, C, T'', F'] of sounds of one length to the rows of the layer's grid.

        Raises
        ------
        UserError
            If they are not those of the layer as it was found.
        """
        hop = self.frontend.settings.hop_length
        wanted, got = layer.rows(n_frames, hop), maps.shape[2]
        # A clip has up to one hop more than its frames tell.
        if not wanted - SPARE_ROWS <= got <= wanted + SPARE_ROWS + math.ceil(hop / layer.stride):
            raise UserError(
                f"layer {layer.name!r} gave {got} rows for {n_frames} frames, expected {wanted}: its stride is not "
                f"constant; name other layers"
            )
        if got >= wanted:
            return maps[:, :, :wanted]
        return torch.cat([maps, maps[:, :, -1:].expand(-1, -1, wanted - got, -1)], dim=2)

    def columns(self, layer: FeatureLayer) -> Tensor:
        """Return the centres of a layer's columns in frequency bins [F'], ascending, float64."""
        n_bins = self.frontend.settings.n_bins
        if layer.columns == 1:
            return torch.tensor([(n_bins - 1) / 2], dtype=torch.float64)
        if self.settings.scale == "mel":
            return self.band_centres(layer.columns)
        return (window_centres(layer.columns, 1) + 0.5) / layer.columns * (n_bins - 1)

    def find_layer(self, name: str, shapes: Sequence[tuple[int, ...]]) -> FeatureLayer | None:
        """Tell a layer's axes from its shapes for sounds of 1 s, for a batch of two of them, and for sounds of 2 s.

        Returns
        -------
        FeatureLayer or None
            Its start and stride are coarse, they are measured later (:meth:`measure`). None if it has no time axis.
        """
        one, two, longer = shapes[:3]
        batch = [axis for axis in range(len(one)) if one[axis] != two[axis]]
        time = [axis for axis in range(len(one)) if one[axis] != longer[axis]]
        if not len(one) == len(two) == len(longer) or len(batch) != 1 or len(time) != 1:
            return None
        axes = AXES.get(len(one), {}).get(time[0])
        growth = longer[time[0]] - one[time[0]]
        if axes is None or axes.index("B") != batch[0] or (one[batch[0]], two[batch[0]]) != (1, 2) or growth < 1:
            return None
        rate = self.frontend.settings.sample_rate
        stride = (PROBE_SECONDS[1] - PROBE_SECONDS[0]) * rate / growth
        size = dict(zip(axes, one, strict=True))
        return FeatureLayer(name, axes, size["C"], size.get("F", 1), stride, 0.0, 0.0)

    def measure(self, layers: Sequence[FeatureLayer]) -> list[FeatureLayer]:
        """Find the exact stride of layers, and where their first row lies; finest first.

        The rows of a chain of convolutions and poolings are ``floor((N - a) / s) + 1`` for N samples. The lengths at
        which a row is gained tell a and s; with as much padding on the left as on the right, the first row is centred
        on a / 2.
        """
        known: dict[int, dict[str, tuple[int, ...]]] = {}
        names = [layer.name for layer in layers]

        def rows(layer: FeatureLayer, n_samples: int) -> int:
            if n_samples not in known:
                known[n_samples] = self._observe(names, n_samples)[0]
            shape = known[n_samples].get(layer.name)
            return 0 if shape is None else shape[layer.axes.index("T")]

        def first_length(layer: FeatureLayer, wanted: int, low: int, high: int) -> int:
            """Return the smallest number of samples with that many rows; ``low`` has fewer, ``high`` has them."""
            if found and found[-1].stride.is_integer():
                # A layer behind another gains its rows where that one does: fewer lengths to try.
                step, start = int(found[-1].stride), int(found[-1].start)
                fewer, enough = (low - start) // step, -((start - high) // step)
                while enough - fewer > 1:
                    middle = (fewer + enough) // 2
                    there = rows(layer, start + middle * step) >= wanted
                    fewer, enough = (fewer, middle) if there else (middle, enough)
                place = start + enough * step
                if rows(layer, place - 1) < wanted <= rows(layer, place):
                    return place
            while high - low > 1:
                middle = (low + high) // 2
                low, high = (low, middle) if rows(layer, middle) >= wanted else (middle, high)
            return high

        rate = self.frontend.settings.sample_rate
        low = round(PROBE_SECONDS[0] * rate)
        found: list[FeatureLayer] = []
        for layer in sorted(layers, key=_resolution):
            fewest = rows(layer, low)
            for seconds in PROBE_SECONDS[1:]:
                high = round(seconds * rate)
                most = rows(layer, high)
                if most - fewest >= 2:
                    break
            else:
                raise UserError(
                    f"layer {layer.name!r} has {most - fewest} rows more for {PROBE_SECONDS[-1]:g} s than for "
                    f"{PROBE_SECONDS[0]:g} s: too coarse in time for a feature map; name other layers"
                )
            longest = math.ceil((high - low) / (most - fewest - 1)) + 1 if most - fewest > 1 else high - low
            first = first_length(layer, fewest + 1, low, min(high, low + longest))
            last = first_length(layer, most, max(first, high - longest) if most > fewest + 1 else low, high)
            stride = (last - first) / (most - fewest - 1)
            start = first - fewest * stride
            found.append(dataclasses.replace(layer, stride=stride, start=start, centre=start / 2))
        return found

    def default_layers(self, layers: Sequence[FeatureLayer]) -> list[str]:
        """Choose among the layers that have a time axis, given in the order in which the model runs them.

        Of a stack of three or more equal blocks, as transformers are, four evenly spaced ones with the last among them;
        else the last module at each resolution, the four coarsest.
        """
        usable = {layer.name: layer for layer in layers}
        stacks = []
        for name, module in self.module.named_modules():
            if not isinstance(module, (nn.ModuleList, nn.Sequential)) or len(module) < 2:
                continue
            if len({type(block) for block in module}) != 1 or not any(True for _ in module.parameters()):
                continue
            blocks = [usable.get(f"{name}.{key}".lstrip(".")) for key, _ in module.named_children()]
            if all(blocks) and len({_resolution(block) for block in blocks}) == 1:
                stacks.append([block.name for block in blocks])
        longest = max(stacks, key=len, default=[])
        if len(longest) > 2 and len(usable[longest[0]].axes) == 3:
            return evenly_spaced(longest, DEFAULT_LAYERS)
        resolutions = {_resolution(layer): layer.name for layer in layers}  # the last one at each stays
        return [resolutions[key] for key in sorted(resolutions)[-DEFAULT_LAYERS:]]

    # -------------------------------------------------------------------------------------------------- the layers

    def describe_layers(self) -> list[LayerInfo]:
        """Return every layer that can be a feature map, in the order in which the model runs them."""
        usable, shapes = self._survey()
        chosen = self.default_layers(self._learned(usable, shapes))
        kinds = {name: type(module).__name__ for name, module in self.module.named_modules()}
        rate = self.frontend.settings.sample_rate
        return [
            LayerInfo(
                layer.name, kinds[layer.name], shapes[layer.name], 1000 * layer.stride / rate, layer.name in chosen
            )
            for layer in usable
        ]

    def band_centres(self, n_bands: int) -> Tensor:
        """Return the middles of bands evenly spaced on the mel scale, in frequency bins [n_bands], ascending."""
        settings = self.frontend.settings
        top = mel(settings.sample_rate / 2)
        hertz = 700 * (10 ** ((torch.arange(n_bands, dtype=torch.float64) + 0.5) / n_bands * top / 2595) - 1)
        return hertz * settings.n_fft / settings.sample_rate

    def _layers(self, wanted: Sequence[str | Mapping] | None) -> tuple[FeatureLayer, ...]:
        """Find the layers that are asked for, or sensible ones; finest first."""
        if wanted is not None and all(isinstance(item, Mapping) for item in wanted):
            try:
                layers = [FeatureLayer(**item) for item in wanted]
            except TypeError as error:
                raise UserError(f"layers: not what architecture() writes ({error}); give names") from error
            self._check_names([layer.name for layer in layers])
            return tuple(layers)
        if wanted is not None:
            self._check_names([str(name) for name in wanted])
        usable, shapes = self._survey()
        names = self.default_layers(self._learned(usable, shapes)) if wanted is None else [str(n) for n in wanted]
        found = {layer.name: layer for layer in usable}
        lacking = [name for name in names if name not in found]
        if lacking:
            raise UserError(
                f"layer {lacking[0]!r} gives no feature map: it is not run, or its output has no axis of time (for 1 s "
                f"it is {shapes.get(lacking[0], 'no tensor')}); list the layers, and name others"
            )
        return tuple(sorted(self.measure([found[name] for name in names]), key=_resolution))

    def _check_names(self, names: Sequence[str]) -> None:
        known = [name for name, _ in self.module.named_modules() if name]
        for name in names:
            if name not in known:
                near = difflib.get_close_matches(name, known, 3, 0.3)
                raise UserError(
                    f"no layer {name!r} in {type(self.module).__name__}"
                    + (f": near it are {', '.join(near)}" if near else "; list the layers")
                )
        if len(set(names)) < len(names):
            raise UserError(f"layers are named twice: {list(names)}")

    def _survey(self) -> tuple[list[FeatureLayer], dict[str, tuple[int, ...]]]:
        """Run the model on short sounds: its layers that can be feature maps, in its order, and all shapes for 1 s."""
        rate = self.frontend.settings.sample_rate
        names = [name for name, _ in self.module.named_modules() if name]
        seen = [
            self._observe(names, round(seconds * rate), batch)[0]
            for seconds, batch in ((PROBE_SECONDS[0], 1), (PROBE_SECONDS[0], 2), (PROBE_SECONDS[1], 1))
        ]
        layers = []
        for name, shape in seen[0].items():
            if name in seen[1] and name in seen[2]:
                layer = self.find_layer(name, (shape, seen[1][name], seen[2][name]))
                layers += [layer] if layer is not None else []
        return layers, seen[0]

    def _learned(self, layers: Sequence[FeatureLayer], shapes: Mapping) -> list[FeatureLayer]:
        """Leave out the layers before the first one with parameters: those make the model's features."""
        own = {name for name, module in self.module.named_modules() if any(True for _ in module.parameters())}
        order = list(shapes)
        first = next((place for place, name in enumerate(order) if name in own), len(order))
        return [layer for layer in layers if order.index(layer.name) >= first]

    @torch.no_grad()
    def _observe(
        self, names: Sequence[str], n_samples: int, batch: int = 1
    ) -> tuple[dict[str, tuple[int, ...]], Tensor]:
        """Run the model in eval mode on faint noise; return the shapes of its layers, and its logits [batch, C]."""
        modes = [(module, module.training) for module in self.module.modules()]
        parameter = next(self.parameters(), None)
        device = torch.device("cpu") if parameter is None else parameter.device
        wavs = 0.1 * torch.randn(batch, n_samples, generator=torch.Generator().manual_seed(0)).to(device)
        self.module.eval()
        try:
            with (
                torch.random.fork_rng([device] if device.type == "cuda" else []),
                self._listening(names, shapes_only=True) as caught,
            ):
                logits = self._checked_logits(wavs, torch.full((batch,), n_samples, device=device))
        except UserError:
            raise
        except Exception as error:  # whatever the model raises at input that it was not made for
            seconds = n_samples / self.frontend.settings.sample_rate
            raise UserError(
                f"{type(self.module).__name__} cannot be run on {seconds:.3g} s of sound ({first_line(error)}): "
                "expected a model from waveforms [B, N] of any length N to logits [B, C]"
            ) from error
        finally:
            for module, mode in modes:
                module.training = mode
        return caught, logits

    @contextlib.contextmanager
    def _listening(self, names: Sequence[str], shapes_only: bool = False) -> Iterator[dict]:
        """Catch what modules return, by name, in the order in which they return it; hooks are removed in any case."""
        caught: dict = {}
        handles = []

        def hook(name: str):
            def catch(module, arguments, output):
                tensor = tensor_of(output)
                if isinstance(tensor, Tensor) and tensor.is_floating_point():
                    caught.pop(name, None)  # a module that runs more than once has its last place
                    caught[name] = tuple(tensor.shape) if shapes_only else tensor

            return catch

        modules = dict(self.module.named_modules())
        try:
            for name in names:
                handles.append(modules[name].register_forward_hook(hook(name)))
            yield caught
        finally:
            for handle in handles:
                handle.remove()

    def _checked_logits(self, wavs: Tensor, lengths: Tensor) -> Tensor:
        parameter = next((p for p in self.module.parameters() if p.is_floating_point()), None)
        if parameter is not None:
            wavs = wavs.to(parameter.dtype)
        # CUDA's own recurrent layers have no gradient in eval mode.
        recurrent = wavs.is_cuda and any(isinstance(module, nn.RNNBase) for module in self.module.modules())
        with torch.backends.cudnn.flags(enabled=False) if recurrent else contextlib.nullcontext():
            logits = self.logits_of(wavs, lengths)
        wanted = (len(wavs), len(self.labels))
        if not isinstance(logits, Tensor) or tuple(logits.shape) != wanted:
            got = tuple(logits.shape) if isinstance(logits, Tensor) else type(logits).__name__
            raise UserError(
                f"{type(self.module).__name__} gave {got} for {wanted[0]} sounds, expected logits {wanted}: "
                f"one for each of the {len(self.labels)} classes"
            )
        return logits


def mel(hertz: float) -> float:
    """Return a frequency on the mel scale (HTK's and Kaldi's).

    Example
    -------
    >>> round(mel(1000.0), 1)
    1000.0
    """
    return 2595 * math.log10(1 + hertz / 700)


def evenly_spaced(names: Sequence[str], count: int) -> list[str]:
    """Return at most ``count`` of the names, evenly spaced, the last one among them.

    Example
    -------
    >>> evenly_spaced("abcdefghijkl", 4), evenly_spaced("ab", 4)
    (['c', 'f', 'i', 'l'], ['a', 'b'])
    """
    count = min(count, len(names))
    return [names[round((k + 1) * len(names) / count) - 1] for k in range(count)]


def tensor_of(output: object) -> object:
    """Return the tensor in what a module returned: itself, the first of a tuple, of a list or of a mapping's values."""
    if isinstance(output, Mapping):
        output = next(iter(output.values()), None)
    elif isinstance(output, (tuple, list)):
        output = output[0] if output else None
    return output


def _resolution(layer: FeatureLayer) -> tuple[float, int]:
    """Return by what layers are finest first: short strides, then many columns."""
    return (layer.stride, -layer.columns)
