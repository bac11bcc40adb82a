"""Networks of PIQ: adapter, class-partitioned codebook and decoder; compact ones, and SpeechBrain's published ones."""

from dataclasses import dataclass

import torch
from speechbrain.lobes.models.PIQ import (
    VectorQuantizedPSI_Audio,
    VectorQuantizedPSIFocalNet_Audio,
    VectorQuantizedPSIViT_Audio,
)
from torch import Tensor, nn
from torch.nn import functional

from interpretability.classifiers.base import AnalysedBatch, Classifier
from interpretability.errors import UserError
from interpretability.grids import Grid, fit_frames, hide_padding, regrid, to_spectrogram_grid, window_centres
from interpretability.lengths import LengthGroups
from interpretability.networks.decoders import DecodingPath, FeatureMerge, MaskDecoder

SHARED = -1


@dataclass
class Quantised:
    """Features at the keys of a codebook.

    Attributes
    ----------
    straight : Tensor [B, D, T', F']
        The keys in value, the identity in gradient (to the features).
    keys : Tensor [B, D, T', F']
        The keys, with gradient to the codebook.
    indices : Tensor [B, T', F']
        Which keys.
    """

    straight: Tensor
    keys: Tensor
    indices: Tensor


@dataclass
class Drawing:
    """What PIQ's networks compute for a batch.

    Attributes
    ----------
    mask_logits : Tensor [B, T, F]
    adapted : Tensor [B, D, T', F']
        ``u``, before quantisation.
    quantised : Tensor [B, D, T', F']
        ``e``, the chosen keys, with gradient to the codebook.
    indices : Tensor [B, T', F']
        Which keys.
    rows : Tensor [B, T'] or None
        Rows of ``adapted`` that belong to the clip; all if None.
    """

    mask_logits: Tensor
    adapted: Tensor
    quantised: Tensor
    indices: Tensor
    rows: Tensor | None


def key_classes(n_keys: int, n_classes: int, n_shared: int = 0, partition: str = "even") -> Tensor:
    """Return the class of each key [K]; the last ``n_shared`` ones belong to every class (-1).

    The groups are contiguous.

    Parameters
    ----------
    n_keys, n_classes, n_shared : int
    partition : {"even", "published"}
        ``even``: groups differ by at most one in size. ``published``: by the rounding of the published code, so that
        every key of a published checkpoint keeps its class; the first and the last group can then be smaller. Where
        those groups differ by at most one, both are the same.

    Raises
    ------
    UserError
        If a class would have no key.

    Example
    -------
    >>> key_classes(7, 3, 1).tolist()
    [0, 0, 1, 1, 2, 2, -1]
    """
    n_split = n_keys - n_shared
    if n_shared < 0 or n_split < n_classes:
        raise UserError(
            f"PIQ: {n_keys} keys of which {n_shared} shared leave {n_split} for {n_classes} classes; "
            "every class needs one: raise codebook_size or lower shared_keys"
        )
    groups = torch.linspace(-0.5, n_classes - 0.51, n_split).round().long().clamp(0, n_classes - 1)
    sizes = torch.bincount(groups, minlength=n_classes)
    if partition == "even" and int(sizes.max() - sizes.min()) > 1:
        groups = torch.arange(n_split) * n_classes // n_split
    return torch.cat([groups, torch.full((n_shared,), SHARED)])


def quantise(adapted: Tensor, keys: Tensor, classes: Tensor, target: Tensor) -> Tensor:
    """Return the index of the nearest key of each clip's class (or shared), at every position.

    Parameters
    ----------
    adapted : Tensor [B, D, T', F']
    keys : Tensor [K, D]
    classes : Tensor [K]
        Class of each key, -1 for shared ones.
    target : Tensor [B]
        Explained classes.

    Returns
    -------
    Tensor [B, T', F']
        The lowest index on ties.
    """
    allowed = (classes[None] == target[:, None]) | (classes[None] == SHARED)  # [B, K]
    # Distances only to the keys a clip may take: K / C of them, and not all K.
    order = torch.argsort(~allowed, dim=1, stable=True)[:, : int(allowed.sum(1).max())]  # [B, k]
    usable = allowed.gather(1, order)  # [B, k]
    candidates = keys[order].float()  # [B, k, D]
    flat = adapted.flatten(2).float()  # [B, D, P]
    # Half precision would choose other keys.
    with torch.autocast(device_type=adapted.device.type, enabled=False):
        distance = candidates.square().sum(2)[..., None] - 2 * (
            candidates @ flat
        )  # [B, k, P]; |u|^2 is the same for all keys
    distance = distance.masked_fill(~usable[..., None], float("inf"))
    nearest = distance == distance.amin(dim=1, keepdim=True)
    place = torch.where(nearest, torch.arange(order.shape[1], device=order.device)[:, None], order.shape[1]).amin(1)
    place = place.clamp(max=order.shape[1] - 1)  # NaN features compare equal to nothing
    return order.gather(1, place).view(len(adapted), *adapted.shape[2:])


class Codebook(nn.Module):
    """A class-partitioned codebook with straight-through gradient.

    Parameters
    ----------
    n_keys, dim : int
        K keys of D values.
    n_classes, n_shared, partition
        See :func:`key_classes`.
    """

    def __init__(self, n_keys: int, dim: int, n_classes: int, n_shared: int = 0, partition: str = "even"):
        super().__init__()
        self.register_buffer("classes", key_classes(n_keys, n_classes, n_shared, partition), persistent=False)
        self.embedding = nn.Embedding(n_keys, dim)
        nn.init.normal_(self.embedding.weight, std=dim**-0.5)

    def forward(self, adapted: Tensor, target: Tensor) -> Quantised:
        """Quantise [B, D, T', F'] with the keys of each clip's class."""
        return look_up(adapted, self.embedding.weight, self.classes, target)


def look_up(adapted: Tensor, keys: Tensor, classes: Tensor, target: Tensor) -> Quantised:
    """Quantise with straight-through gradient; arguments as in :func:`quantise`."""
    with torch.no_grad():
        indices = quantise(adapted, keys, classes, target)
    quantised = functional.embedding(indices, keys).permute(0, 3, 1, 2)  # [B, D, T', F']
    return Quantised(adapted + (quantised - adapted).detach(), quantised, indices)


class CompactPSI(nn.Module):
    """Adapter, codebook and decoder at low resolution; see :class:`.PIQ`.

    The adapter merges all feature maps except the finest, which would need too many keys for what it adds.
    """

    LEVEL = 1  # index of the feature map on whose grid the codes live: stride 4 behind strided convolutions

    def __init__(
        self,
        classifier: Classifier,
        n_keys: int,
        n_classes: int,
        n_shared: int,
        dim: int,
        decoder_channels: tuple[int, ...],
        partition: str = "even",
    ):
        super().__init__()
        self.level = min(self.LEVEL, len(classifier.feature_channels) - 1)
        self.path = DecodingPath(classifier, 1 + self.level, len(decoder_channels))
        if not decoder_channels:
            raise UserError(f"PIQ: decoder_channels is {list(decoder_channels)}, expected a number for each finer grid")
        self.adapter = FeatureMerge(classifier.feature_channels[self.level :], dim)
        self.norm = nn.BatchNorm2d(dim, affine=False)
        self.codebook = Codebook(n_keys, dim, n_classes, n_shared, partition)
        self.decoder = MaskDecoder(dim, decoder_channels, self.path.columns)

    def forward(self, classifier: Classifier, batch: AnalysedBatch) -> Drawing:
        """Draw the masks of a batch."""
        n_frames, n_bins = batch.spectrogram.magnitude.shape[1:]
        valid = batch.spectrogram.valid
        rows = classifier.valid_rows(valid)[1 + self.level :]
        grids = classifier.feature_grids(n_frames)[self.level :]
        merged = self.adapter(batch.output.feature_maps[self.level :], grids, rows)
        # Of unit variance, so that keys and features are on one scale and the commitment term has one meaning.
        adapted = self.norm(merged) / merged.shape[1] ** 0.5
        quantised = self.codebook(adapted, batch.target)
        path, path_rows = self.path(n_frames, valid)
        values = self.decoder(hide_padding(quantised.straight, rows[0]), path, path_rows)
        logits = to_spectrogram_grid(values, path[-1], n_frames, n_bins, path_rows[-1])
        return Drawing(logits, adapted, quantised.keys, quantised.indices, rows[0])


class PublishedPSI(VectorQuantizedPSI_Audio):
    """SpeechBrain's network with its parameter names, for any number of classes and any length of clip.

    Its modules are used; the choice of keys is not (shared keys are used alike in training and evaluation, and
    ``partition`` says how the classes' groups are made, see :func:`key_classes`). ``psi_model.ckpt`` of a published
    checkpoint loads into it.
    """

    def __init__(self, classifier: Classifier, n_keys: int, n_classes: int, n_shared: int, partition: str = "even"):
        super().__init__(dim=classifier.feature_channels[-1], K=n_keys, numclasses=n_classes, shared_keys=n_shared)
        self.register_buffer("classes", key_classes(n_keys, n_classes, n_shared, partition), persistent=False)

    def forward(self, classifier: Classifier, batch: AnalysedBatch) -> Drawing:
        """Draw the masks of a batch."""
        n_frames, n_bins = batch.spectrogram.magnitude.shape[1:]
        maps = batch.output.feature_maps[-1]  # [B, D, T', F']
        if self.training or bool(batch.spectrogram.valid.all()):
            return self._draw(maps, batch.target, n_frames, n_bins)
        # Transposed convolutions would carry padding into the clip: each length runs alone.
        groups = LengthGroups.of_frames(batch.spectrogram.valid)
        parts = groups.run(
            lambda index, count: self._draw(
                maps[index, :, : classifier.feature_rows(count)[-1]], batch.target[index], count, n_bins
            )
        )
        belong = [torch.ones_like(part.indices[..., 0], dtype=torch.bool) for part in parts]  # [b, T']
        return Drawing(
            groups.join([part.mask_logits for part in parts], axis=1, size=n_frames),
            groups.join([part.adapted for part in parts], axis=2),
            groups.join([part.quantised for part in parts], axis=2),
            groups.join([part.indices for part in parts], axis=1),
            groups.join(belong, axis=1),
        )

    def _draw(self, maps: Tensor, target: Tensor, n_frames: int, n_bins: int) -> Drawing:
        adapted = self.down(self.adapter(maps))
        quantised = look_up(adapted, self.codebook.embedding.weight, self.classes, target)
        drawn = self.decoder(self.up(quantised.straight))[:, 0]  # [B, T'', F'']
        if drawn.shape[2] < n_bins:
            raise UserError(
                f"PIQ's published decoder draws {drawn.shape[2]} frequency bins, expected at least {n_bins}: "
                "it was made for the conv2d classifier with an FFT of 1024; use network: compact"
            )
        logits = fit_frames(drawn[..., :n_bins], n_frames)
        return Drawing(logits, adapted, quantised.keys, quantised.indices, None)


class _ImagePSI:
    """What the published networks behind image classifiers share: one image at a time, at its full size.

    They draw 431 frames and 513 bins from 14 x 14 cells. These cells are the whole image, and so is what is drawn:
    where an image covers another number of frames or bins, it is interpolated from the centres of its pixels. Rows
    beyond the end of a clip are zeros, and what is drawn there is cut; a clip of several images is drawn image by
    image, side by side.
    """

    CELLS = 14  # of an image, in time and in frequency
    SCALE = 1  # the map of an image is made so much larger before it is decoded

    def __init__(self, classifier: Classifier, n_keys: int, n_classes: int, n_shared: int, partition: str = "even"):
        frames = getattr(classifier, "image_frames", None)
        if frames is None:
            raise UserError(
                f"PIQ: networks {', '.join(IMAGE_NETWORKS)} are for classifiers that see images (vit, focalnet), not "
                f"for {classifier.NAME!r}; use network: compact"
            )
        grid = classifier.feature_grids(frames)[-1]
        size = (len(grid.frames), len(grid.bins))
        if any(self.SCALE * n != self.CELLS for n in size):
            wanted = self.CELLS // self.SCALE
            raise UserError(
                f"PIQ: the classifier's last feature map has {size[0]} x {size[1]} cells of an image, expected "
                f"{wanted} x {wanted}, from which the published decoder draws one; use network: compact"
            )
        super().__init__(dim=classifier.feature_channels[-1], K=n_keys, numclasses=n_classes, shared_keys=n_shared)
        self.register_buffer("classes", key_classes(n_keys, n_classes, n_shared, partition), persistent=False)
        self.image_frames, self.image_rows = frames, size[0]

    def forward(self, classifier: Classifier, batch: AnalysedBatch) -> Drawing:
        """Draw the masks of a batch."""
        n_frames, n_bins = batch.spectrogram.magnitude.shape[1:]
        maps = batch.output.feature_maps[-1]  # [B, D, T', F']
        n_images = -(-n_frames // self.image_frames)
        maps = functional.pad(maps, (0, 0, 0, n_images * self.image_rows - maps.shape[2]))
        images = maps.unflatten(2, (n_images, self.image_rows)).transpose(1, 2).flatten(0, 1)  # [B * images, D, g, F']
        if self.SCALE != 1:
            images = functional.interpolate(images, scale_factor=self.SCALE, mode="bilinear", antialias=True)
        adapted = self.down(self.adapter(images))
        quantised = look_up(
            adapted, self.codebook.embedding.weight, self.classes, batch.target.repeat_interleave(n_images)
        )
        drawn = self.decoder(self.up(quantised.straight))  # [B * images, 1, 431, 513]
        # Pixels evenly over the image, brought to its frames and bins.
        sizes = (self.image_frames, n_bins)
        source = Grid(*(window_centres(n, size / n) for n, size in zip(drawn.shape[2:], sizes, strict=True)))
        wanted = Grid(*(torch.arange(size, dtype=torch.float64) for size in sizes))
        logits = regrid(drawn, source, wanted)[:, 0].unflatten(0, (-1, n_images)).flatten(1, 2)

        def in_time(values: Tensor) -> Tensor:  # [B * images, D, t, f] -> [B, D, images * t, f]
            return values.unflatten(0, (-1, n_images)).transpose(1, 2).flatten(2, 3)

        # A row belongs to a clip if any frame does from which it is made.
        per_image = adapted.shape[2]
        starts = torch.arange(n_images * per_image, device=maps.device) * (self.image_frames / per_image)
        rows = starts[None] < batch.spectrogram.valid.sum(1, keepdim=True)
        indices = in_time(quantised.indices[:, None])[:, 0]
        return Drawing(logits[:, :n_frames], in_time(adapted), in_time(quantised.keys), indices, rows)


class ViTPSI(_ImagePSI, VectorQuantizedPSIViT_Audio):
    """SpeechBrain's network behind a ViT, with its parameter names."""


class FocalNetPSI(_ImagePSI, VectorQuantizedPSIFocalNet_Audio):
    """SpeechBrain's network behind a FocalNet, with its parameter names; 7 rows are made 14, as it was trained."""

    SCALE = 2


#: ``network`` of :class:`.PIQ` -> the published networks behind classifiers that see images.
IMAGE_NETWORKS = {"vit": ViTPSI, "focalnet": FocalNetPSI}
