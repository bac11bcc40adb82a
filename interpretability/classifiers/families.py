"""Families of audio classifiers of Transformers: their features, and where their tokens lie, without running them.

AST and Whisper take an input of fixed size. All others are transformers on convolutions on the waveform.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from interpretability.classifiers.attention import Attention
from interpretability.classifiers.extractors import EXTRACTORS, AstExtractor, Extractor, RawExtractor, WhisperExtractor
from interpretability.classifiers.layers import FeatureLayer, Layout
from interpretability.errors import UserError, shown, user_errors
from interpretability.frontend import FrontendSettings
from interpretability.grids import Grid

#: Types with one token for each row of the convolutions on the waveform.
ROW_BY_ROW = ("data2vec-audio", "hubert", "unispeech", "unispeech-sat", "wav2vec2", "wav2vec2-conformer", "wavlm")

#: Types that do not take the features of their family -> those that they take, which are not supported here.
NOT_OF_THEIR_FAMILY = {"wav2vec2-bert": "SeamlessM4TFeatureExtractor"}


#: Of sound, for one row of the convolutions on the waveform: models have 25 ms.
MOST_SECONDS_OF_A_ROW = 60


def samples_of_a_row(kernels: Sequence[int], strides: Sequence[int]) -> int:
    """Return the samples that convolutions one after the other need for one row."""
    needed = 1
    for kernel, stride in zip(reversed(kernels), reversed(strides), strict=True):
        needed = (needed - 1) * stride + kernel
    return needed


class Family(Layout):
    """The layout of the models of one family.

    Parameters
    ----------
    module, frontend, scale
        As in :class:`~interpretability.classifiers.layers.Layout`.
    extractor : Extractor
        The model's feature extractor.

    Attributes
    ----------
    EXTRACTOR : type of Extractor
        The kind that the models take.
    """

    EXTRACTOR: type[Extractor] = Extractor

    def __init__(self, module: nn.Module, frontend: FrontendSettings, scale: str = "mel", *, extractor: Extractor):
        super().__init__(module, frontend, scale)
        self.extractor, self.config = extractor, module.config

    @classmethod
    def make_extractor(cls, config: Any, given: Mapping) -> Extractor:
        """Return the feature extractor of a configuration.

        Parameters
        ----------
        config : transformers.PretrainedConfig
        given : dict
            ``feature_extractor_type`` and settings; others follow from the configuration, or are that type's defaults.

        Raises
        ------
        UserError
            For a type that is unknown or not the family's, or settings that do not fit the configuration.
        """
        kind = given.get("feature_extractor_type") or NOT_OF_THEIR_FAMILY.get(config.model_type, cls.EXTRACTOR.KIND)
        given = {name: value for name, value in given.items() if name != "feature_extractor_type"}
        if config.model_type in NOT_OF_THEIR_FAMILY:
            raise UserError(
                f"{config.model_type} is not supported: its features ({kind}) scale each band to variance 1, so that "
                "rounding errors decide in silence and pure tones. Wrap it in a module of PyTorch from waveforms to "
                "logits, and open it as torch:package.module:Class"
            )
        if kind not in EXTRACTORS:
            raise UserError(f"feature extractor {kind!r} is not known, expected one of {sorted(EXTRACTORS)}")
        if kind != cls.EXTRACTOR.KIND:
            raise UserError(f"a {config.model_type} takes features of {cls.EXTRACTOR.KIND}, got {kind}")
        # Values may be no numbers, or such that no filter bank can be made of them.
        with user_errors(f"extractor: {kind} cannot be made of {given}"):
            extractor = cls.EXTRACTOR({**cls.derived_settings(config, given), **given})
        cls.check_extractor(extractor, config)
        return extractor

    @classmethod
    def derived_settings(cls, config: Any, given: Mapping) -> dict[str, Any]:
        """Return the extractor's settings that follow from a configuration, and from those that are given."""
        return {}

    @classmethod
    def check_extractor(cls, extractor: Extractor, config: Any) -> None:
        """Refuse an extractor whose features have another size than the model's input (:class:`UserError`)."""

    @property
    def attention(self) -> Attention | None:
        """The attention to patches, in models that have a class token; else None."""
        return None

    def blocks(self) -> list[str]:
        lists = {name: module for name, module in self.module.named_modules() if isinstance(module, nn.ModuleList)}
        # Some also have a stack of convolutions of that name, for positions.
        named = [name for name in lists if name.split(".")[-1] == "layers" and "pos_conv_embed" not in name]
        stacks = [[f"{name}.{index}" for index in range(len(lists[name]))] for name in named]
        return max(stacks, key=len, default=[])


class ConvolutionalFamily(Family):
    """Transformers on convolutions on the waveform, of any length: wav2vec 2.0, HuBERT, WavLM and others."""

    EXTRACTOR = RawExtractor

    @property
    def shortest(self) -> int:
        """Samples that the convolutions need for one row; transformers refuses fewer."""
        return samples_of_a_row(self.config.conv_kernel, self.config.conv_stride)

    @classmethod
    def check_extractor(cls, extractor: Extractor, config: Any) -> None:
        needed = samples_of_a_row(config.conv_kernel, config.conv_stride)
        if needed > MOST_SECONDS_OF_A_ROW * extractor.sample_rate:
            raise UserError(
                f"config: conv_kernel {shown(config.conv_kernel)} and conv_stride {shown(config.conv_stride)} need "
                f"{needed:.3g} samples for one row, expected at most {MOST_SECONDS_OF_A_ROW} s"
            )

    def known_layer(self, name: str) -> FeatureLayer | None:
        if self.config.model_type not in ROW_BY_ROW:
            return None
        start, stride = float(self.shortest), float(math.prod(self.config.conv_stride))
        return FeatureLayer(name, "BTC", self.config.hidden_size, 1, stride, start, start / 2)


class FixedSizeFamily(Family):
    """Models with an input of fixed size: they cut a longer clip, and pad a shorter one."""

    takes_lengths = True

    @classmethod
    def input_size(cls, config: Any) -> tuple[int, int]:
        """Return the frames and mel bands of a model's input."""
        raise NotImplementedError

    @classmethod
    def check_extractor(cls, extractor: Extractor, config: Any) -> None:
        given, wanted = extractor.size, cls.input_size(config)
        if given != wanted:
            raise UserError(
                f"the feature extractor gives {given[0]:g} frames of {given[1]} bands, the model takes {wanted[0]} of "
                f"{wanted[1]}: change config or extractor"
            )

    def measure(self, layers: Sequence[FeatureLayer], run: Any) -> list[FeatureLayer]:
        """See :meth:`Layout.measure`; nothing has to be measured."""
        return list(layers)

    def fit_rows(self, layer: FeatureLayer, maps: Tensor, n_frames: int) -> Tensor:
        """See :meth:`Layout.fit_rows`; beyond the model's input there are zeros."""
        wanted = layer.rows(n_frames, self.frontend.hop_length)
        # The last half patch has no row; it takes that of the last patch.
        covered = math.floor((self.extractor.longest - layer.centre) / layer.stride) + 1
        held = max(0, min(wanted, covered) - maps.shape[2])
        maps = torch.cat([maps[:, :, :wanted], maps[:, :, -1:].expand(-1, -1, held, -1)], dim=2)
        return functional.pad(maps, (0, 0, 0, wanted - maps.shape[2]))


class AstFamily(FixedSizeFamily):
    """The audio spectrogram transformer: a class and a distillation token, then patches, over time first."""

    EXTRACTOR = AstExtractor
    N_SPECIAL = 2

    @classmethod
    def input_size(cls, config: Any) -> tuple[int, int]:
        return config.max_length, config.num_mel_bins

    @classmethod
    def derived_settings(cls, config: Any, given: Mapping) -> dict[str, Any]:
        return {"num_mel_bins": config.num_mel_bins, "max_length": config.max_length}

    @property
    def attention(self) -> Attention:
        modules = dict(self.module.named_modules())
        layers = tuple(modules[f"{name}.attention"] for name in self.blocks())
        return Attention(self.module, layers, self.N_SPECIAL, "module")

    @property
    def patches(self) -> tuple[int, int]:
        """Patches in frequency and in time."""
        config = self.config
        bands = (config.num_mel_bins - config.patch_size) // config.frequency_stride + 1
        steps = (config.max_length - config.patch_size) // config.time_stride + 1
        return bands, steps

    def find_layer(self, name: str, shapes: Sequence[tuple[int, ...]]) -> FeatureLayer | None:
        """See :meth:`Layout.find_layer`; the size of the input identifies the axes."""
        (bands, steps), shape = self.patches, shapes[0]
        if len(shape) == 3 and shape[1] in (bands * steps, bands * steps + self.N_SPECIAL):
            axes, channels = "tokens", shape[2]
        elif len(shape) == 4 and shape[2:] == (bands, steps):
            axes, channels = "BCFT", shape[1]
        else:
            return None
        features = self._feature_frames
        centre = (self.config.patch_size - 1) / 2 * features.stride + features.centre
        return FeatureLayer(name, axes, channels, bands, self.config.time_stride * features.stride, centre, centre)

    def known_layer(self, name: str) -> FeatureLayer | None:
        bands, steps = self.patches
        return self.find_layer(name, [(1, bands * steps, self.config.hidden_size)])

    def to_map(self, layer: FeatureLayer, raw: Tensor) -> Tensor:
        if layer.axes != "tokens":
            return super().to_map(layer, raw)
        bands, steps = self.patches
        return self.to_grid(raw[:, raw.shape[1] - bands * steps :].transpose(1, 2))

    def to_grid(self, values: Tensor) -> Tensor:
        """Bring values of the patches [b, C, patches] to their grid [b, C, T', F']."""
        return values.unflatten(2, self.patches).transpose(2, 3)

    def columns(self, layer: FeatureLayer) -> Tensor:
        """See :meth:`Layout.columns`; patches are centred on their mel bands."""
        if layer.columns == 1:
            return super().columns(layer)
        places = torch.arange(layer.columns) * self.config.frequency_stride + (self.config.patch_size - 1) / 2
        centres = self.extractor.mel_centres()
        below = places.floor().long().clamp(max=len(centres) - 2)
        return self.bins(torch.lerp(centres[below], centres[below + 1], places.double() - below))

    def input_rows(self, n_frames: int | Tensor) -> int | Tensor:
        return self._feature_frames.rows(n_frames, self.frontend.hop_length)

    def input_grid(self, n_frames: int) -> Grid:
        """Return the grid of the model's own log-mel spectrogram."""
        grid = super().grid(self._feature_frames, self.input_rows(n_frames))
        return Grid(grid.frames, self.bins(self.extractor.mel_centres()))

    @property
    def _feature_frames(self) -> FeatureLayer:
        """Where the frames of the features lie."""
        centre = (self.extractor.window_length - 1) / 2
        return FeatureLayer("", "", 1, 1, float(self.extractor.hop), centre, centre)


class WhisperFamily(FixedSizeFamily):
    """Whisper's encoder: one token for every two frames of the features."""

    EXTRACTOR = WhisperExtractor

    @classmethod
    def input_size(cls, config: Any) -> tuple[int, int]:
        return 2 * config.max_source_positions, config.num_mel_bins

    @classmethod
    def derived_settings(cls, config: Any, given: Mapping) -> dict[str, Any]:
        settings = {**WhisperExtractor.DEFAULTS, **given}
        seconds = 2 * config.max_source_positions * settings["hop_length"] / settings["sampling_rate"]
        return {"feature_size": config.num_mel_bins, "chunk_length": math.floor(seconds)}

    def find_layer(self, name: str, shapes: Sequence[tuple[int, ...]]) -> FeatureLayer | None:
        """See :meth:`Layout.find_layer`; the size of the input identifies the axes."""
        steps, shape = self.config.max_source_positions, shapes[0]
        for axis, axes in ((1, "BTC"), (2, "BCT")):
            if len(shape) == 3 and shape[axis] in (steps, 2 * steps):
                stride = self.extractor.hop * 2 * steps // shape[axis]
                return FeatureLayer(name, axes, shape[3 - axis], 1, float(stride), 0.0, 0.0)
        return None

    def known_layer(self, name: str) -> FeatureLayer | None:
        return self.find_layer(name, [(1, self.config.max_source_positions, self.config.d_model)])


#: ``model_type`` -> family; all others are convolutional.
FAMILIES: dict[str, type[Family]] = {"audio-spectrogram-transformer": AstFamily, "whisper": WhisperFamily}


def family_of(model_type: str) -> type[Family]:
    """Return the family of a type of model."""
    return FAMILIES.get(model_type, ConvolutionalFamily)
