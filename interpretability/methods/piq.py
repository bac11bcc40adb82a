"""PIQ, post-hoc interpretation via quantisation (arXiv 2303.12659).

``u = Adapter(h)`` is quantised with a codebook whose keys are split among the classes, each position taking the
nearest key *of the explained class*; a decoder draws the mask from the keys alone, ``M = sigmoid(Dec(e))``.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from speechbrain.lobes.models.PIQ import (
    VectorQuantizedPSI_Audio,
    VectorQuantizedPSIFocalNet_Audio,
    VectorQuantizedPSIViT_Audio,
)
from torch import Tensor, nn
from torch.nn import functional

from interpretability.classifiers.base import Classifier, ClassifierOutput, MaskedLogits
from interpretability.errors import UserError
from interpretability.frontend import Spectrogram
from interpretability.grids import Grid, fit_frames, hide_padding, regrid, to_spectrogram_grid, window_centres
from interpretability.lengths import groups_of_equal_length, reassemble
from interpretability.methods.base import Interpreter, hide_invalid
from interpretability.methods.objectives import (
    batch_mean,
    masked_cross_entropy,
    reconstruction,
    squared_distance,
)
from interpretability.networks.decoders import DecodingPath, FeatureMerge, MaskDecoder

SHARED = -1


@dataclass
class PIQPrediction:
    """What PIQ's networks make of a batch.

    Attributes
    ----------
    mask_logits, mask : Tensor [B, T, F]
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
    mask: Tensor
    adapted: Tensor
    quantised: Tensor
    indices: Tensor
    rows: Tensor | None


def key_classes(n_keys: int, n_classes: int, n_shared: int = 0) -> Tensor:
    """Return the class of each key [K]; the last ``n_shared`` ones belong to every class (-1).

    The groups are contiguous and differ by at most one in size. Where the rounding of the published code has that
    property too it is followed, so that every key of a published checkpoint keeps its class.

    Raises
    ------
    UserError
        If a class would have no key.

    Example
    -------
    >>> key_classes(7, 3, 1).tolist()
    [0, 0, 1, 1, 2, 2, -1]
    """
    own = n_keys - n_shared
    if n_shared < 0 or own < n_classes:
        raise UserError(
            f"PIQ: {n_keys} keys of which {n_shared} shared leave {own} for {n_classes} classes; "
            "every class needs one: raise codebook_size or lower shared_keys"
        )
    published = torch.linspace(-0.5, n_classes - 0.51, own).round().long().clamp(0, n_classes - 1)
    sizes = torch.bincount(published, minlength=n_classes)
    even = torch.arange(own) * n_classes // own
    groups = published if int(sizes.max() - sizes.min()) <= 1 else even
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
    own = keys[order].float()  # [B, k, D]
    flat = adapted.flatten(2).float()  # [B, D, P]
    # Half precision would choose other keys.
    with torch.autocast(device_type=adapted.device.type, enabled=False):
        distance = own.square().sum(2)[..., None] - 2 * (own @ flat)  # [B, k, P]; |u|^2 is the same for all keys
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
    n_classes, n_shared : int
        See :func:`key_classes`.
    """

    def __init__(self, n_keys: int, dim: int, n_classes: int, n_shared: int = 0):
        super().__init__()
        self.register_buffer("classes", key_classes(n_keys, n_classes, n_shared), persistent=False)
        self.embedding = nn.Embedding(n_keys, dim)
        nn.init.normal_(self.embedding.weight, std=dim**-0.5)

    def forward(self, adapted: Tensor, target: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Quantise [B, D, T', F']: straight-through values, keys with gradient to the codebook, indices."""
        return look_up(adapted, self.embedding.weight, self.classes, target)


def look_up(adapted: Tensor, keys: Tensor, classes: Tensor, target: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Quantise with straight-through gradient.

    Returns
    -------
    straight : Tensor [B, D, T', F']
        The keys in value, the identity in gradient (to ``adapted``).
    quantised : Tensor [B, D, T', F']
        The keys, with gradient to ``keys``.
    indices : Tensor [B, T', F']
    """
    with torch.no_grad():
        indices = quantise(adapted, keys, classes, target)
    quantised = functional.embedding(indices, keys).permute(0, 3, 1, 2)  # [B, D, T', F']
    straight = adapted + (quantised - adapted).detach()
    return straight, quantised, indices


class PIQ(Interpreter):
    """Post-hoc interpretation via quantisation.

    Parameters
    ----------
    classifier : Classifier
        Its number of classes and its feature maps set the sizes.
    network : {"compact", "published", "vit", "focalnet"}
        ``compact``: for any classifier. Feature maps merged coarse to fine, quantised at stride 4 (or on the grid of
        the tokens), decoded with few channels and interpolated to [T, F]. The others are the published ones on the
        last feature map, with their parameter names. ``published``: SpeechBrain's ``VectorQuantizedPSI_Audio``, behind
        ``conv2d``; its output is cut, or its last frame repeated, to T frames. ``vit``, ``focalnet``:
        ``VectorQuantizedPSIViT_Audio`` and ``VectorQuantizedPSIFocalNet_Audio``, image by image.
    codebook_size : int
        K keys in all.
    shared_keys : int
        How many of them every class may use, in training and in evaluation alike.
    channels : int
        D of the compact network; the published one has the classifier's.
    decoder_channels : sequence of int
        Channels on each finer grid of the compact decoder (:class:`~interpretability.decoders.DecodingPath`): strides
        2 and 1 behind strided convolutions; from tokens, one number a halving, the last one for the input grid.
    rec_weight, commitment : float
        Weights of the reconstruction term and of ``|u - sg(e)|²`` (beta).
    faithfulness_weight : float
        Weight of CE(f(In), c) - ``outside_weight`` * min(CE(f(Out), c), ``cap``); 0 in the published method, which
        never asks the classifier about the masked sound.
    outside_weight : float
    cap : float or None
        In nats.
    loud_fraction : float
        The decoder draws the bins with X > ``loud_fraction`` * max X.
    apply : {"log", "linear"}

    Raises
    ------
    UserError
        If a class has no key, or the published network meets feature maps that do not fit.
    """

    NAME = "piq"

    def __init__(
        self,
        classifier: Classifier,
        network: str = "compact",
        codebook_size: int = 320,
        shared_keys: int = 0,
        channels: int = 64,
        decoder_channels: tuple[int, ...] = (32, 16),
        rec_weight: float = 1.0,
        commitment: float = 1.0,
        faithfulness_weight: float = 0.0,
        outside_weight: float = 0.05,
        cap: float | None = 10.0,
        loud_fraction: float = 0.35,
        apply: str = "log",
    ):
        super().__init__(
            classifier,
            apply,
            network=network,
            codebook_size=codebook_size,
            shared_keys=shared_keys,
            channels=channels,
            decoder_channels=list(decoder_channels),
            rec_weight=rec_weight,
            commitment=commitment,
            faithfulness_weight=faithfulness_weight,
            outside_weight=outside_weight,
            cap=cap,
            loud_fraction=loud_fraction,
        )
        self.rec_weight, self.commitment = float(rec_weight), float(commitment)
        self.faithfulness_weight, self.outside_weight = float(faithfulness_weight), float(outside_weight)
        self.cap, self.loud_fraction = cap, float(loud_fraction)
        self.uses_masked_logits = self.faithfulness_weight > 0
        n_classes = len(classifier.labels)
        if network == "compact":
            self.psi = CompactPSI(
                classifier, int(codebook_size), int(channels), n_classes, int(shared_keys), tuple(decoder_channels)
            )
        elif network == "published":
            self.psi = PublishedPSI(classifier.feature_channels[-1], int(codebook_size), n_classes, int(shared_keys))
        elif network in IMAGE_NETWORKS:
            self.psi = IMAGE_NETWORKS[network](classifier, int(codebook_size), n_classes, int(shared_keys))
        else:
            known = ", ".join(("compact", "published", *IMAGE_NETWORKS))
            raise UserError(f"PIQ: network is {network!r}, expected one of {known}")

    def forward(self, spectrogram: Spectrogram, output: ClassifierOutput, target: Tensor) -> PIQPrediction:
        """Draw the masks of a batch, with everything the objective needs."""
        logits, adapted, quantised, indices, rows = self.psi(self.classifier, spectrogram, output, target)
        return PIQPrediction(
            logits, hide_invalid(torch.sigmoid(logits.float()), spectrogram), adapted, quantised, indices, rows
        )

    def mask(self, spectrogram: Spectrogram, output: ClassifierOutput, target: Tensor) -> Tensor:
        """See :meth:`Interpreter.mask`."""
        return self(spectrogram, output, target).mask

    def objective(
        self,
        prediction: PIQPrediction,
        spectrogram: Spectrogram,
        output: ClassifierOutput,
        target: Tensor,
        masked: MaskedLogits | None,
        clean: Spectrogram | None = None,
    ) -> dict[str, Tensor]:
        """See :meth:`Interpreter.objective`: reconstruction, codebook and commitment, optional faithfulness."""
        adapted, quantised = prediction.adapted.float(), prediction.quantised.float()
        terms = {
            "reconstruction": reconstruction(
                prediction.mask_logits, spectrogram.log_magnitude, spectrogram.valid, self.loud_fraction
            ),
            "codebook": squared_distance(adapted.detach(), quantised, prediction.rows),
            "commitment": squared_distance(adapted, quantised.detach(), prediction.rows),
        }
        loss = self.rec_weight * terms["reconstruction"] + terms["codebook"] + self.commitment * terms["commitment"]
        if self.uses_masked_logits:
            pair = masked_cross_entropy(masked, target, self.classifier.task, self.cap)
            terms |= {"ce_inside": pair.inside, "ce_outside": pair.outside}
            loss = loss + self.faithfulness_weight * (pair.inside - self.outside_weight * pair.outside)
        return batch_mean({"loss": loss, **terms})


class CompactPSI(nn.Module):
    """Adapter, codebook and decoder at low resolution; see :class:`PIQ`.

    The adapter merges every feature map but the finest, which would need more keys than it is worth.
    """

    LEVEL = 1  # index of the feature map on whose grid the codes live: stride 4 behind strided convolutions

    def __init__(
        self,
        classifier: Classifier,
        n_keys: int,
        dim: int,
        n_classes: int,
        n_shared: int,
        decoder_channels: tuple[int, ...],
    ):
        super().__init__()
        self.level = min(self.LEVEL, len(classifier.feature_channels) - 1)
        self.path = DecodingPath(classifier, 1 + self.level, len(decoder_channels))
        if not decoder_channels:
            raise UserError(f"PIQ: decoder_channels is {list(decoder_channels)}, expected a number for each finer grid")
        self.adapter = FeatureMerge(classifier.feature_channels[self.level :], dim)
        self.norm = nn.BatchNorm2d(dim, affine=False)
        self.codebook = Codebook(n_keys, dim, n_classes, n_shared)
        self.decoder = MaskDecoder(dim, decoder_channels, self.path.columns)

    def forward(
        self, classifier: Classifier, spectrogram: Spectrogram, output: ClassifierOutput, target: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """Return mask logits [B, T, F], u, e, indices and valid rows."""
        n_frames, n_bins = spectrogram.magnitude.shape[1:]
        rows = classifier.valid_rows(spectrogram.valid)[1 + self.level :]
        grids = classifier.feature_grids(n_frames)[self.level :]
        merged = self.adapter(output.feature_maps[self.level :], grids, rows)
        # Of unit variance, so that keys and features live on one scale and the commitment term has one meaning.
        adapted = self.norm(merged) / merged.shape[1] ** 0.5
        straight, quantised, indices = self.codebook(adapted, target)
        path, path_rows = self.path(n_frames, spectrogram.valid)
        values = self.decoder(hide_padding(straight, rows[0]), path, path_rows)
        logits = to_spectrogram_grid(values, path[-1], n_frames, n_bins, path_rows[-1])
        return logits, adapted, quantised, indices, rows[0]


class PublishedPSI(VectorQuantizedPSI_Audio):
    """SpeechBrain's network with its parameter names, for any number of classes and any length of clip.

    Its modules are used; the choice of keys is ours (shared keys alike in training and evaluation, every class's
    group within one of the same size). ``psi_model.ckpt`` of a published checkpoint loads into it.
    """

    def __init__(self, dim: int, n_keys: int, n_classes: int, n_shared: int):
        super().__init__(dim=dim, K=n_keys, numclasses=n_classes, shared_keys=n_shared)
        self.register_buffer("classes", key_classes(n_keys, n_classes, n_shared), persistent=False)

    def forward(
        self, classifier: Classifier, spectrogram: Spectrogram, output: ClassifierOutput, target: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor | None]:
        """Return mask logits [B, T, F], u, e, indices and valid rows."""
        n_frames, n_bins = spectrogram.magnitude.shape[1:]
        maps = output.feature_maps[-1]  # [B, D, T', F']
        if self.training or bool(spectrogram.valid.all()):
            return (*self._decode(maps, target, n_frames, n_bins), None)
        # Transposed convolutions would carry padding into the clip: each length runs alone.
        groups, parts = [], []
        for index, count in groups_of_equal_length(spectrogram.valid, len(maps)):
            rows = classifier.feature_rows(count)[-1]
            groups.append(index)
            parts.append(self._decode(maps[index, :, :rows], target[index], count, n_bins))
        logits = reassemble(groups, [part[0] for part in parts], axis=1, size=n_frames)
        adapted, quantised = (reassemble(groups, [part[k] for part in parts], axis=2) for k in (1, 2))
        indices = reassemble(groups, [part[3] for part in parts], axis=1)
        belong = [torch.ones_like(part[3][..., 0], dtype=torch.bool) for part in parts]  # [b, T']
        return logits, adapted, quantised, indices, reassemble(groups, belong, axis=1)

    def _decode(
        self, maps: Tensor, target: Tensor, n_frames: int, n_bins: int
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        adapted = self.down(self.adapter(maps))
        straight, quantised, indices = look_up(adapted, self.codebook.embedding.weight, self.classes, target)
        drawn = self.decoder(self.up(straight))[:, 0]  # [B, T'', F'']
        if drawn.shape[2] < n_bins:
            raise UserError(
                f"PIQ's published decoder draws {drawn.shape[2]} frequency bins, expected at least {n_bins}: "
                "it was made for the conv2d classifier with an FFT of 1024; use network: compact"
            )
        return fit_frames(drawn[..., :n_bins], n_frames), adapted, quantised, indices


class _ImagePSI:
    """What the published networks behind image classifiers share: one image at a time, at its full size.

    They draw 431 frames and 513 bins from 14 x 14 cells. These cells are the whole image, and so is what is drawn:
    where an image covers another number of frames or bins, it is interpolated from the centres of its pixels. Rows
    beyond the end of a clip are zeros, and what is drawn there is cut; a clip of several images is drawn image by
    image, side by side.
    """

    CELLS = 14  # of an image, in time and in frequency
    SCALE = 1  # the map of an image is made so much larger before it is decoded

    def __init__(self, classifier: Classifier, n_keys: int, n_classes: int, n_shared: int):
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
        self.register_buffer("classes", key_classes(n_keys, n_classes, n_shared), persistent=False)
        self.image_frames, self.image_rows = frames, size[0]

    def forward(
        self, classifier: Classifier, spectrogram: Spectrogram, output: ClassifierOutput, target: Tensor
    ) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """Return mask logits [B, T, F], u, e, indices and valid rows."""
        n_frames, n_bins = spectrogram.magnitude.shape[1:]
        maps = output.feature_maps[-1]  # [B, D, T', F']
        n_images = -(-n_frames // self.image_frames)
        maps = functional.pad(maps, (0, 0, 0, n_images * self.image_rows - maps.shape[2]))
        images = maps.unflatten(2, (n_images, self.image_rows)).transpose(1, 2).flatten(0, 1)  # [B * images, D, g, F']
        if self.SCALE != 1:
            images = functional.interpolate(images, scale_factor=self.SCALE, mode="bilinear", antialias=True)
        adapted = self.down(self.adapter(images))
        straight, quantised, indices = look_up(
            adapted, self.codebook.embedding.weight, self.classes, target.repeat_interleave(n_images)
        )
        drawn = self.decoder(self.up(straight))  # [B * images, 1, 431, 513]
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
        rows = starts[None] < spectrogram.valid.sum(1, keepdim=True)
        indices = in_time(indices[:, None])[:, 0]
        return logits[:, :n_frames], in_time(adapted), in_time(quantised), indices, rows


class ViTPSI(_ImagePSI, VectorQuantizedPSIViT_Audio):
    """SpeechBrain's network behind a ViT, with its parameter names."""


class FocalNetPSI(_ImagePSI, VectorQuantizedPSIFocalNet_Audio):
    """SpeechBrain's network behind a FocalNet, with its parameter names; 7 rows are made 14, as it was trained."""

    SCALE = 2


#: ``network`` of :class:`PIQ` -> the published networks behind classifiers that see images.
IMAGE_NETWORKS = {"vit": ViTPSI, "focalnet": FocalNetPSI}
