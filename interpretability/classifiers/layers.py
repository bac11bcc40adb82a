"""Layers whose outputs serve as feature maps: which ones of a model have a time axis, and where their cells lie.

A model that takes waveforms is run on short sounds to find out. Where the answer is known, a subclass of
:class:`Layout` gives it.
"""

import bisect
import dataclasses
import difflib
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from interpretability.classifiers.hooks import in_evaluation, recorded_outputs
from interpretability.errors import UserError, user_errors
from interpretability.frontend import FrontendSettings
from interpretability.grids import Grid, hertz_from_mel, mel_from_hertz, window_centres

SCALES = ("mel", "linear")
#: Columns of the input grid: the resolution in frequency at which masks are drawn.
INPUT_BANDS = 64
#: Most feature maps that are taken if no layers are named.
DEFAULT_LAYERS = 4
#: Lengths in seconds of the sounds that identify a layer's axes; the last ones only for very coarse layers.
PROBE_SECONDS = (1.0, 2.0, 4.0, 8.0)
#: By how many rows a map may differ from its grid: the last row is repeated, or surplus rows are cut.
SPARE_ROWS = 2
AXES = {
    3: {0: "TBC", 1: "BTC", 2: "BCT"},
    # Time second: channels last, as SpeechBrain's convolutions have them.
    4: {1: "BTFC", 2: "BCTF", 3: "BCFT"},
}
#: Runs a model on waveforms [b, N] and lengths [b] in samples.
Run = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class FeatureLayer:
    """A layer whose output is a feature map, and where the rows of that map lie.

    Row i is centred on sample ``centre + i * stride``; clips of at least ``start + i * stride`` samples have it.

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
        shortest = (n_frames - 1) * hop - self.start  # in samples; the clip has at least as many
        if isinstance(n_frames, Tensor):
            return (torch.div(shortest.double(), self.stride, rounding_mode="floor").long() + 1).clamp(min=1)
        return max(1, math.floor(shortest / self.stride) + 1)


@dataclass(frozen=True)
class LayerInfo:
    """A layer that can be a feature map, as an entry of a list.

    Attributes
    ----------
    name, kind : str
        Of the module, and of its class.
    shape : tuple of int
        What it returns for one second of sound (the model's own input where that is fixed), batch of one.
    stride_ms : float
        From row to row of its feature map.
    default : bool
        Whether it is taken if no layers are named.
    """

    name: str
    kind: str
    shape: tuple[int, ...]
    stride_ms: float
    default: bool


@dataclass(frozen=True)
class Survey:
    """What a model's layers return for short sounds.

    Attributes
    ----------
    layers : list of FeatureLayer
        Those that can be feature maps, in the order in which the model runs them; not measured yet.
    shapes : dict
        Name -> shape for 1 s, of all layers, in that order.
    """

    layers: list[FeatureLayer]
    shapes: dict[str, tuple[int, ...]]


class Layout:
    """Which layers of a model can be feature maps, and where the cells of these maps lie.

    Parameters
    ----------
    module : torch.nn.Module
        A model from waveforms to logits.
    frontend : FrontendSettings
    scale : {"mel", "linear"}
        Where the columns of maps with a frequency axis lie, lowest first: evenly on this scale.

    Attributes
    ----------
    takes_lengths : bool
        Whether the model itself takes care that padding has no effect.
    shortest : int
        Samples that the model needs; shorter sounds are padded with zeros.
    """

    takes_lengths = False
    shortest = 1

    def __init__(self, module: nn.Module, frontend: FrontendSettings, scale: str = "mel"):
        self.module, self.frontend, self.scale = module, frontend, scale

    # ------------------------------------------------------------------------------------------- choosing layers

    def select(self, wanted: Sequence[str | Mapping] | None, run: Run) -> tuple[FeatureLayer, ...]:
        """Return the named layers, or those chosen automatically; finest first.

        Parameters
        ----------
        wanted : sequence of str or dict, optional
            Names; or the fields of each :class:`FeatureLayer`, and then the model is not run.
        run : callable
            Runs the model.

        Raises
        ------
        UserError
            If the model cannot be run, or a layer is not there, gives no feature map or is too coarse in time.
        """
        if wanted is not None and all(isinstance(item, Mapping) for item in wanted):
            try:
                layers = tuple(FeatureLayer(**item) for item in wanted)
            except TypeError as error:
                raise UserError(f"layers: not what architecture() writes ({error}); give names") from error
            self._check_names([layer.name for layer in layers])
            return layers
        blocks = self.blocks()
        names = evenly_spaced(blocks, DEFAULT_LAYERS) if wanted is None else [str(name) for name in wanted]
        self._check_names(names)
        known = [self.known_layer(name) for name in names if name in blocks]
        if known and len(known) == len(names) and None not in known:
            return tuple(sorted(known, key=lambda layer: blocks.index(layer.name)))
        survey = self.survey(run)
        if wanted is None:
            names = self.default_layers(self._learned(survey))
        usable = {layer.name: layer for layer in survey.layers}
        useless = next((name for name in names if name not in usable), None)
        if useless is not None:
            raise UserError(
                f"layer {useless!r} gives no feature map: it is not run, or its output has no axis of time (its shape "
                f"for 1 s: {survey.shapes.get(useless, 'no tensor')}); list the layers, and name others"
            )
        return tuple(sorted(self.measure([usable[name] for name in names], run), key=resolution))

    def describe(self, run: Run) -> list[LayerInfo]:
        """Return every layer that can be a feature map, in the order in which the model runs them."""
        survey = self.survey(run)
        chosen = self.default_layers(self._learned(survey))
        kinds = {name: type(module).__name__ for name, module in self.module.named_modules()}
        infos = []
        for layer in survey.layers:
            name, stride_ms = layer.name, 1000 * layer.stride / self.frontend.sample_rate
            infos.append(LayerInfo(name, kinds[name], survey.shapes[name], stride_ms, name in chosen))
        return infos

    def blocks(self) -> list[str]:
        """Return the names of the transformer's blocks, first to last, where they are known."""
        return []

    def known_layer(self, name: str) -> FeatureLayer | None:
        """Return a block's layer if it is known without running the model."""
        return None

    def default_layers(self, layers: Sequence[FeatureLayer]) -> list[str]:
        """Choose among the layers that have a time axis, given in the order in which the model runs them.

        Known blocks, evenly spaced; or those of a stack of three or more equal blocks, as transformers have; else the
        last module at each resolution, the four coarsest.
        """
        blocks = self.blocks()
        if blocks:
            return evenly_spaced(blocks, DEFAULT_LAYERS)
        usable = {layer.name: layer for layer in layers}
        stacks = []
        for name, module in self.module.named_modules():
            if not isinstance(module, (nn.ModuleList, nn.Sequential)) or len(module) < 2:
                continue
            if len({type(block) for block in module}) != 1 or not any(True for _ in module.parameters()):
                continue
            blocks = [usable.get(f"{name}.{key}".lstrip(".")) for key, _ in module.named_children()]
            if all(blocks) and len({resolution(block) for block in blocks}) == 1:
                stacks.append([block.name for block in blocks])
        longest = max(stacks, key=len, default=[])
        if len(longest) > 2 and len(usable[longest[0]].axes) == 3:
            return evenly_spaced(longest, DEFAULT_LAYERS)
        resolutions = {resolution(layer): layer.name for layer in layers}  # the last one at each stays
        return [resolutions[key] for key in sorted(resolutions)[-DEFAULT_LAYERS:]]

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

    def _learned(self, survey: Survey) -> list[FeatureLayer]:
        """Leave out the layers before the first one with parameters: they compute the model's features."""
        learned = {name for name, module in self.module.named_modules() if any(True for _ in module.parameters())}
        order = list(survey.shapes)
        first = next((place for place, name in enumerate(order) if name in learned), len(order))
        return [layer for layer in survey.layers if order.index(layer.name) >= first]

    # ---------------------------------------------------------------------------------------- measuring layers

    def survey(self, run: Run) -> Survey:
        """Run the model on short sounds, to see which layers have an axis of time."""
        # Modules in TorchScript inside of others cannot be observed.
        parts = self.module.named_modules()
        names = [name for name, part in parts if name and not isinstance(part, torch.jit.ScriptModule)]
        short, long = (round(seconds * self.frontend.sample_rate) for seconds in PROBE_SECONDS[:2])
        one, two, longer = (self.shapes(run, names, *size) for size in ((short, 1), (short, 2), (long, 1)))
        always = [name for name in one if name in two and name in longer]
        layers = (self.find_layer(name, (one[name], two[name], longer[name])) for name in always)
        return Survey([layer for layer in layers if layer is not None], one)

    def find_layer(self, name: str, shapes: Sequence[tuple[int, ...]]) -> FeatureLayer | None:
        """Identify a layer's axes by its shapes for sounds of 1 s, for a batch of two of them, and for sounds of 2 s.

        Returns
        -------
        FeatureLayer or None
            Its start and stride are coarse, they are measured later (:meth:`measure`). None if it has no time axis.
        """
        one, two, longer = shapes
        batch = [axis for axis in range(len(one)) if one[axis] != two[axis]]
        time = [axis for axis in range(len(one)) if one[axis] != longer[axis]]
        if not len(one) == len(two) == len(longer) or len(batch) != 1 or len(time) != 1:
            return None
        axes = AXES.get(len(one), {}).get(time[0])
        growth = longer[time[0]] - one[time[0]]
        if axes is None or axes.index("B") != batch[0] or (one[batch[0]], two[batch[0]]) != (1, 2) or growth < 1:
            return None
        stride = (PROBE_SECONDS[1] - PROBE_SECONDS[0]) * self.frontend.sample_rate / growth
        size = dict(zip(axes, one, strict=True))
        return FeatureLayer(name, axes, size["C"], size.get("F", 1), stride, 0.0, 0.0)

    def measure(self, layers: Sequence[FeatureLayer], run: Run) -> list[FeatureLayer]:
        """Find the exact stride of layers, and where their first row lies; finest first.

        The rows of a chain of convolutions and poolings are ``floor((N - a) / s) + 1`` for N samples. The lengths at
        which a row is added determine a and s; with as much padding on the left as on the right, the first row is
        centred on a / 2.
        """
        known: dict[int, dict[str, tuple[int, ...]]] = {}
        names = [layer.name for layer in layers]

        def rows(layer: FeatureLayer, n_samples: int) -> int:
            if n_samples not in known:
                known[n_samples] = self.shapes(run, names, n_samples)
            shape = known[n_samples].get(layer.name)
            return 0 if shape is None else shape[layer.axes.index("T")]

        def search(layer: FeatureLayer, wanted: int, lengths: range) -> int:
            """Return the first of some lengths with that many rows; if none has them, the one after the last."""
            return lengths.start + lengths.step * bisect.bisect_left(lengths, wanted, key=partial(rows, layer))

        def first_length(layer: FeatureLayer, wanted: int, low: int, high: int) -> int:
            """Return the smallest number of samples with that many rows; ``low`` has fewer, ``high`` has them."""
            if measured and measured[-1].stride.is_integer():
                # A layer behind another adds its rows where that one does: fewer lengths to try.
                step, start = int(measured[-1].stride), int(measured[-1].start)
                place = search(layer, wanted, range(low + step - (low - start) % step, high, step))
                if rows(layer, place - 1) < wanted <= rows(layer, place):
                    return place
            return search(layer, wanted, range(low + 1, high))

        rate = self.frontend.sample_rate
        low = round(PROBE_SECONDS[0] * rate)
        measured: list[FeatureLayer] = []
        for layer in sorted(layers, key=resolution):
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
            measured.append(dataclasses.replace(layer, stride=stride, start=start, centre=start / 2))
        return measured

    def shapes(self, run: Run, names: Sequence[str], n_samples: int, batch: int = 1) -> dict[str, tuple[int, ...]]:
        """Run the model in eval mode on faint noise; return the shapes of its layers' outputs, in running order."""
        modules = dict(self.module.named_modules())
        parameter = next(self.module.parameters(), None)
        device = torch.device("cpu") if parameter is None else parameter.device
        wavs = 0.1 * torch.randn(batch, n_samples, generator=torch.Generator().manual_seed(0)).to(device)
        seconds = n_samples / self.frontend.sample_rate
        advice = ": expected a model from waveforms [B, N] of any length N to logits [B, C]"
        with (
            # The model may raise anything at input that it was not made for.
            user_errors(f"{type(self.module).__name__} cannot be run on {seconds:.3g} s of sound", advice=advice),
            in_evaluation(self.module),
            recorded_outputs({name: modules[name] for name in names}, _shape_of) as shapes,
        ):
            run(wavs, torch.full((batch,), n_samples, device=device))
        return shapes

    # ------------------------------------------------------------------------------------------ maps and cells

    def to_map(self, layer: FeatureLayer, raw: Tensor) -> Tensor:
        """Bring what a layer returned to [b, C, T', F']."""
        raw = raw.permute([layer.axes.index(axis) for axis in "BCTF" if axis in layer.axes])
        return raw if raw.ndim == 4 else raw[..., None]

    def fit_rows(self, layer: FeatureLayer, maps: Tensor, n_frames: int) -> Tensor:
        """Bring maps [b, C, T'', F'] of sounds of one length to the rows of the layer's grid.

        Raises
        ------
        UserError
            If they do not have the number of rows that was measured.
        """
        hop = self.frontend.hop_length
        wanted, got = layer.rows(n_frames, hop), maps.shape[2]
        # A clip can be up to one hop longer than its frames say.
        if not wanted - SPARE_ROWS <= got <= wanted + SPARE_ROWS + math.ceil(hop / layer.stride):
            raise UserError(
                f"layer {layer.name!r} gave {got} rows for {n_frames} frames, expected {wanted}: its stride is not "
                f"constant; name other layers"
            )
        if got >= wanted:
            return maps[:, :, :wanted]
        return torch.cat([maps, maps[:, :, -1:].expand(-1, -1, wanted - got, -1)], dim=2)

    def grid(self, layer: FeatureLayer, n_rows: int) -> Grid:
        """Return the centres of a feature map: those of the windows that the rows see."""
        rows = torch.arange(n_rows, dtype=torch.float64)
        return Grid((layer.centre + layer.stride * rows) / self.frontend.hop_length, self.columns(layer))

    def columns(self, layer: FeatureLayer) -> Tensor:
        """Return the centres of a layer's columns in frequency bins [F'], ascending, float64."""
        if layer.columns == 1:
            return torch.tensor([(self.frontend.n_bins - 1) / 2], dtype=torch.float64)
        if self.scale == "mel":
            return self.band_centres(layer.columns)
        return (window_centres(layer.columns, 1) + 0.5) / layer.columns * (self.frontend.n_bins - 1)

    def band_centres(self, n_bands: int) -> Tensor:
        """Return the middles of bands evenly spaced on the mel scale, in frequency bins [n_bands], ascending."""
        top = mel_from_hertz(self.frontend.sample_rate / 2)
        return self.bins(hertz_from_mel((torch.arange(n_bands, dtype=torch.float64) + 0.5) / n_bands * top))

    def bins(self, hertz: Tensor) -> Tensor:
        """Return frequencies in (fractional) frequency bins."""
        return hertz * self.frontend.n_fft / self.frontend.sample_rate

    def input_rows(self, n_frames: int | Tensor) -> int | Tensor:
        """Return the rows of the input grid for clips of ``n_frames`` frames."""
        return n_frames

    def input_grid(self, n_frames: int) -> Grid:
        """Return the spectrogram's frames, and bands evenly spaced on the mel scale, for drawing masks."""
        return Grid(torch.arange(n_frames, dtype=torch.float64), self.band_centres(INPUT_BANDS))


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


def map_of(output: object) -> Tensor | None:
    """Return the tensor in what a module returned if it can be a feature map: of floating-point numbers."""
    tensor = tensor_of(output)
    return tensor if isinstance(tensor, Tensor) and tensor.is_floating_point() else None


def resolution(layer: FeatureLayer) -> tuple[float, int]:
    """Return the key by which layers are sorted, finest first: short strides, then many columns."""
    return (layer.stride, -layer.columns)


def _shape_of(output: object) -> tuple[int, ...] | None:
    tensor = map_of(output)
    return None if tensor is None else tuple(tensor.shape)
