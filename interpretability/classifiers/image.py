"""Classifiers that look at a spectrogram as an image: settings, pretrained weights, images side by side, grids."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from speechbrain.lobes.models.ECAPA_TDNN import Classifier as CosineHead
from torch import Tensor, nn
from torch.nn import functional

from interpretability.classifiers.base import Classifier, ClassifierOutput
from interpretability.classifiers.importing import (
    bounded_loading,
    make_configuration,
    misfits,
    missing_model_errors,
    quiet_transformers,
)
from interpretability.errors import UserError, user_errors
from interpretability.files import expanded
from interpretability.frontend import FrontendSettings
from interpretability.grids import Grid, hide_padding
from interpretability.settings import DEEPEST, WIDEST, Settings, setting
from interpretability.weights import load_state


@dataclass(frozen=True)
class ImageSettings(Settings):
    """Settings of classifiers that look at images."""

    config: dict = setting({}, "settings of the network's configuration in Transformers, in place of a small network's")
    image_frames: int = setting(
        431, "length of one image; 431 (5 s) in the published recipes", unit="frames", least=1, most=2**20
    )
    lin_blocks: int = setting(1, "hidden layers of the cosine head; published: 1", least=0, most=DEEPEST)
    lin_neurons: int = setting(192, "width of the cosine head's hidden layers; published: 192", least=1, most=WIDEST)
    logit_scale: float = setting(30.0, "factor of the head's cosines, as in the softmax of training; published: 30")
    gain: float = setting(
        1.0, "factor of the magnitudes before log1p; the higher it is, the softer sounds count; published: 1", above=0
    )
    input_norm: bool = setting(False, "normalise the pixels (one learned mean and variance) first; not as published")
    head: str = setting(
        "cosine",
        "SpeechBrain's head of cosines, as published, or one linear layer, which learns faster from random weights",
        choices=("cosine", "linear"),
    )


@dataclass(frozen=True)
class Level:
    """The cells of one feature map of one image.

    Attributes
    ----------
    channels : int
    rows, columns : int
        Cells along time and along frequency.
    first : float
        Centre of the first cell in pixels of the image; the others follow at even steps. Half a cell from the edge,
        less half a pixel, unless the network's convolutions put it elsewhere.
    """

    channels: int
    rows: int
    columns: int
    first: tuple[float, float]


@dataclass
class Images:
    """The images of a batch of clips; those that lie wholly beyond a clip's end are left out.

    Attributes
    ----------
    pixels : Tensor [n, channels, rows, columns]
    index : Tensor [n]
        Place of each among the batch's B * K images, clip by clip.
    frames : Tensor [B, K]
        How many frames of the clip each of its images holds.
    valid : Tensor [B, T], bool
    """

    pixels: Tensor
    index: Tensor
    frames: Tensor
    valid: Tensor

    def put_back(self, values: Tensor) -> Tensor:
        """Bring values of each image [n, …] to [B, K, …], zeros for those that were left out."""
        n_clips, n_images = self.frames.shape
        whole = values.new_zeros(n_clips * n_images, *values.shape[1:]).index_copy(0, self.index, values)
        return whole.view(n_clips, n_images, *values.shape[1:])


@dataclass
class ImageFeatures:
    """What the network gives for n images.

    Attributes
    ----------
    embedding : Tensor [n, D]
    feature_maps : tuple of Tensor [n, C_l, rows_l, columns_l]
    attention : Tensor [n, L, rows, columns]
        On the grid of the last feature map.
    """

    embedding: Tensor
    feature_maps: tuple[Tensor, ...]
    attention: Tensor


class ImageClassifier(Classifier):
    """An image network on ``log1p`` magnitudes, with SpeechBrain's cosine head in the published recipes.

    An image covers ``image_frames`` frames and all frequency bins, and is resized (bilinear, antialiased) to the size
    that the network takes. A shorter clip is padded with silence, a longer one is cut into images side by side: a clip
    is never stretched to its length. A clip's embedding is the mean of those of its images, each weighted by the frames
    of the clip that it holds; the head turns it into logits.

    Parameter names are those of Transformers under ``embedding_model`` and of SpeechBrain under ``classifier``.

    Parameters
    ----------
    labels, frontend, task
        As in :class:`~interpretability.classifiers.base.Classifier`.
    **settings
        Fields of :class:`ImageSettings`. ``config`` has settings of :attr:`CONFIG`, in place of those of :attr:`SMALL`.

    Raises
    ------
    UserError
        For settings that the configuration does not have, or that do not fit together.

    Attributes
    ----------
    CONFIG, NETWORK : str
        Names of the configuration and of the network in Transformers.
    SMALL : dict
        The configuration's settings of a network small enough for CPUs.
    BUILD : dict
        Arguments with which the network is built.
    """

    Settings = ImageSettings
    HEAD = ("classifier",)
    CONFIG = ""
    NETWORK = ""
    SMALL: Mapping[str, Any] = {}
    BUILD: Mapping[str, Any] = {}

    def build(self) -> None:
        self.input_norm = nn.BatchNorm2d(1) if self.settings.input_norm else None
        self.image_frames = self.settings.image_frames
        configuration = self.configuration({**self.SMALL, **self.settings.config})
        whole = {name: plain(getattr(configuration, name)) for name in option_names(type(configuration))}
        self.settings = replace(self.settings, config=whole)
        self.image_size = pair(configuration.image_size)
        self.n_channels = int(configuration.num_channels)
        self.embedding_model = self.make_network(configuration)
        self.levels = self.find_levels()
        self.feature_channels = tuple(level.channels for level in self.levels)
        self.feature_strides = tuple(self.image_frames / level.rows for level in self.levels)
        width = self.feature_channels[-1]
        if self.settings.head == "linear":
            self.classifier = nn.Linear(width, len(self.labels))
        else:
            blocks, neurons = self.settings.lin_blocks, self.settings.lin_neurons
            self.classifier = CosineHead(width, lin_blocks=blocks, lin_neurons=neurons, out_neurons=len(self.labels))

    # ------------------------------------------------------------------------------------------------- the network

    @abstractmethod
    def find_levels(self) -> tuple[Level, ...]:
        """Return the cells of each feature map of one image; a :class:`UserError` if they do not fit the image."""

    @abstractmethod
    def run_network(self, pixels: Tensor) -> ImageFeatures:
        """Run the network on images [n, channels, rows, columns]."""

    @classmethod
    def configuration(cls, settings: Mapping[str, Any]) -> Any:
        """Return the network's configuration; a :class:`UserError` for settings that it does not have or take."""
        import transformers  # slow to import, and few classifiers need it

        kind = getattr(transformers, cls.CONFIG)
        known = option_names(kind)
        unknown = sorted(set(settings) - set(known))
        if unknown:
            raise UserError(f"config has {', '.join(unknown)}, which {cls.CONFIG} does not; it has {', '.join(known)}")
        return make_configuration(kind, settings, cls.CONFIG)

    @classmethod
    def make_network(cls, configuration: Any) -> nn.Module:
        """Return the network of a configuration, with weights that start at random."""
        import transformers

        network = getattr(transformers, cls.NETWORK)(configuration, **cls.BUILD)
        # The configuration has one initial scale for all weights, which suits the widest layers of large networks.
        # Narrow layers hardly learn with it, and products of two of them, as in FocalNet, not at all.
        for module in network.modules():
            if isinstance(module, (nn.Linear, nn.Conv2d)):
                nn.init.normal_(module.weight, std=module.weight[0].numel() ** -0.5)
        return network

    @classmethod
    def from_pretrained(
        cls,
        source: str | None,
        labels: Sequence[str],
        frontend: FrontendSettings | dict | None = None,
        task: str = "single",
        config: dict | None = None,
        **settings,
    ) -> ImageClassifier:
        """Build a classifier whose network has pretrained weights; those of the head start at random.

        Parameters
        ----------
        source : str or None
            Name on the Hugging Face hub, or a local folder, with ``config.json`` and weights: of the network alone, or
            of an image classifier with that network inside. None: all weights start at random.
        labels, frontend, task
            As in the constructor.
        config : dict, optional
            Settings in place of those of the source (of :attr:`SMALL`, without a source).
        **settings
            The constructor's others.

        Returns
        -------
        ImageClassifier

        Raises
        ------
        MissingError
            If the source is neither a folder nor on the hub.
        UserError
            If it is of another kind, or lacks a weight of the network.
        """
        if source is None:
            return cls(labels, frontend, task, config=config or {}, **settings)
        with bounded_loading(expanded(source)):
            config = {**cls.settings_at(source), **(config or {})}
            classifier = cls(labels, frontend, task, config=config, **settings)
            classifier._load_network(source)
        return classifier

    @classmethod
    def settings_at(cls, source: str) -> dict[str, Any]:
        """Return the settings in the ``config.json`` of a hub name or local folder, as :meth:`from_pretrained` does."""
        import transformers

        kind = getattr(transformers, cls.CONFIG)
        source = str(expanded(source))
        with missing_model_errors(source):
            content, _ = kind.get_config_dict(source)
        if content.get("model_type") != kind.model_type:
            raise UserError(f"{source} holds a {content.get('model_type')!r} model, expected {kind.model_type!r}")
        return {name: content[name] for name in option_names(kind) if name in content}

    def load_network(self, state: dict[str, Tensor], where: str) -> None:
        """Load the network's weights, under the names of any version of Transformers.

        Parameters
        ----------
        state : dict of Tensor
            As ``network.state_dict()`` gave it.
        where : str
            Where they come from, for errors.

        Raises
        ------
        UserError
            If a weight is missing, of another shape, or unknown. Those of a pooler are ignored: nothing here uses them.
        """
        unexpected = self._load_network(None, state, where)
        strange = sorted(name for name in unexpected if not name.startswith("pooler."))
        if strange:
            raise UserError(f"{where}: weights do not fit {self.NETWORK}: it has no {', '.join(strange)}"[:300])

    def _load_network(self, source: str | None, state: dict | None = None, where: str | None = None) -> set[str]:
        """Load with Transformers, which knows older names; every weight has to be there. Return the unknown ones."""
        where = where or str(source)
        network = self.embedding_model
        attention = network.config._attn_implementation
        options = {"dtype": torch.float32, "attn_implementation": attention, "ignore_mismatched_sizes": True}
        options |= self.BUILD
        misfit = user_errors(f"{where}: weights do not fit {self.NETWORK}", RuntimeError)
        with quiet_transformers(), missing_model_errors(where), misfit:
            loaded, report = type(network).from_pretrained(
                source, config=network.config, state_dict=state, output_loading_info=True, **options
            )
        lacking = misfits(report)
        if lacking:
            raise UserError(f"{where}: weights do not fit {self.NETWORK}: {lacking}")
        load_state(network, {"": loaded.state_dict()}, where)
        return set(report["unexpected_keys"])

    # -------------------------------------------------------------------------------------------------- the images

    def forward(self, magnitude: Tensor, valid: Tensor | None = None) -> ClassifierOutput:
        images = self.images(magnitude, valid)
        features = self.run_network(images.pixels)
        embedding = self.embedding_of_clips(features.embedding, images)
        maps = (self.side_by_side(item, images, level) for level, item in enumerate(features.feature_maps))
        attention = self.side_by_side(features.attention, images, len(self.levels) - 1)
        return ClassifierOutput(self.logits(embedding), embedding, tuple(maps), attention)

    def images(self, magnitude: Tensor, valid: Tensor | None = None) -> Images:
        """Cut linear magnitudes [B, T, F] into images of ``log1p(gain * A)``, resized for the network."""
        n_clips, n_frames, n_bins = magnitude.shape
        if valid is None:
            valid = magnitude.new_ones(n_clips, n_frames, dtype=torch.bool)
        n_images = max(1, -(-n_frames // self.image_frames))
        silence = n_images * self.image_frames - n_frames
        log_magnitude = torch.log1p(self.settings.gain * magnitude) * valid[..., None].to(magnitude.dtype)
        log_magnitude = functional.pad(log_magnitude, (0, 0, 0, silence))
        starts = torch.arange(n_images, device=valid.device) * self.image_frames
        frames = (valid.sum(1, keepdim=True) - starts).clamp(0, self.image_frames)  # [B, K]
        used = frames > 0
        used[:, 0] = True  # a clip without a frame is silence
        index = used.flatten().nonzero()[:, 0]
        cut = log_magnitude.reshape(n_clips * n_images, 1, self.image_frames, n_bins)[index]
        # [n, 1, rows, columns]
        pixels = functional.interpolate(cut, self.image_size, mode="bilinear", align_corners=False, antialias=True)
        if self.input_norm is not None:
            pixels = self.input_norm(pixels)
        return Images(pixels.expand(-1, self.n_channels, -1, -1), index, frames, valid)

    def embedding_of_clips(self, embedding: Tensor, images: Images) -> Tensor:
        """Return clips' embeddings [B, D] from those of their images [n, D], weighted by the frames that they hold."""
        weights = images.frames.to(embedding.dtype)
        weights = torch.cat([weights[:, :1].clamp(min=1), weights[:, 1:]], dim=1)
        weights = weights / weights.sum(1, keepdim=True)
        return (images.put_back(embedding) * weights[..., None]).sum(1)

    def logits(self, embedding: Tensor) -> Tensor:
        """Return the logits [B, C] of clips' embeddings [B, D]."""
        if self.settings.head == "linear":
            return self.classifier(embedding)
        return self.settings.logit_scale * self.classifier(embedding)[:, 0]

    def side_by_side(self, maps: Tensor, images: Images, level: int) -> Tensor:
        """Join maps of images [n, C, rows, columns] in time, [B, C, T_l, F_l]; zeros beyond the end of a clip."""
        joined = images.put_back(maps).transpose(1, 2).flatten(2, 3)  # [B, C, K * rows, columns]
        rows = self.valid_rows(images.valid)[1 + level]
        return hide_padding(joined[:, :, : rows.shape[1]], rows)

    def joined_maps(self, level: int, maps: Tensor, n_frames: int) -> Tensor:
        """See :meth:`Classifier.joined_maps`: one map for each image of the clip, side by side in time."""
        joined = maps.transpose(0, 1).flatten(1, 2)[None]  # [1, C, n * rows, columns]
        return joined[:, :, : self.feature_rows(n_frames)[1 + level]]

    # --------------------------------------------------------------------------------------------------- the grids

    def feature_rows(self, n_frames: int | Tensor) -> tuple[int | Tensor, ...]:
        """See :meth:`Classifier.feature_rows`: the rows that begin before the clip ends."""
        sizes = (self.image_size[0], *(level.rows for level in self.levels))
        return tuple((n_frames * size + self.image_frames - 1) // self.image_frames for size in sizes)

    def input_grid(self, n_frames: int) -> Grid:
        """Return the grid of the images' pixels."""
        rows, columns = self.image_size
        return self._grid(self.feature_rows(n_frames)[0], Level(1, rows, columns, (0.0, 0.0)))

    def feature_grids(self, n_frames: int) -> tuple[Grid, ...]:
        counts = self.feature_rows(n_frames)[1:]
        return tuple(self._grid(count, level) for count, level in zip(counts, self.levels, strict=True))

    def _grid(self, n_rows: int, level: Level) -> Grid:
        """Return the centres: pixels are evenly spread over the frames of an image, and over all bins."""
        n_bins = self.frontend.settings.n_bins
        counts, cells, sizes = (n_rows, level.columns), (level.rows, level.columns), (self.image_frames, n_bins)
        axes = []
        for axis, size in enumerate(sizes):
            scale = size / self.image_size[axis]  # frames or bins of a pixel
            steps = torch.arange(counts[axis], dtype=torch.float64) * (size / cells[axis])
            axes.append(steps + (level.first[axis] + 0.5) * scale - 0.5)
        return Grid(*axes)


def pair(value: Any) -> tuple[int, int]:
    """Return a size as (rows, columns), where one number stands for both."""
    rows, columns = (value, value) if isinstance(value, int) else value
    return int(rows), int(columns)


def plain(value: Any) -> Any:
    """Return a setting as JSON returns it: lists for tuples."""
    return list(value) if isinstance(value, (list, tuple)) else value


def option_names(kind: type) -> list[str]:
    """Return the settings of a configuration's own kind, without those that every configuration has."""
    return [name for name in kind.__annotations__ if not name.startswith("_")]
