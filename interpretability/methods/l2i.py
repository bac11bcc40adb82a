"""L2I, Listen to Interpret (arXiv 2202.11479): which sounds of a dictionary made the classifier decide.

The classifier's feature maps give activations ``H = Psi(h) >= 0`` on a frozen dictionary W, so that ``W H`` draws the
log spectrogram; an attention over time pools them, ``z = sum_t a_t H_t``, and a linear map without bias imitates the
classifier, ``s = Theta z``. A component is relevant by its share ``z_k Theta_ck`` in the explained class's score.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from speechbrain.lobes.models.L2I import CNN14PSI_stft_2d, PsiOptimized
from torch import Tensor, nn
from torch.nn import functional

from interpretability.classifiers.base import Classifier, ClassifierOutput, MaskedLogits
from interpretability.dictionary import Components, Dictionary, component_mask, dictionary_of
from interpretability.errors import UserError
from interpretability.explanation import Interpretation
from interpretability.frontend import Spectrogram
from interpretability.grids import fit_frames, hold_last_row, interpolation_matrix
from interpretability.lengths import groups_of_equal_length, mean_over_valid, reassemble
from interpretability.methods.base import Interpreter
from interpretability.methods.objectives import batch_mean
from interpretability.networks.decoders import FeatureMerge, pad_for_cnn14

# Width of the sigmoid that lends its slope to the selection; relevance runs from -1 to 1.
TEMPERATURE = 0.1


@dataclass
class L2IPrediction:
    """What L2I's networks make of a batch.

    Attributes
    ----------
    mask : Tensor [B, T, F]
        Of the selected components.
    activations : Tensor [B, K, T]
        H >= 0; zero in frames that are not valid.
    reconstruction : Tensor [B, T, F]
        ``(W H)^T``.
    pooled : Tensor [B, K]
        z.
    scores : Tensor [B, C]
        s, the interpreter's own logits.
    relevance : Tensor [B, K]
        Of each component for the explained class, in [-1, 1].
    selected : Tensor [B, K], bool
    """

    mask: Tensor
    activations: Tensor
    reconstruction: Tensor
    pooled: Tensor
    scores: Tensor
    relevance: Tensor
    selected: Tensor


class L2I(Interpreter):
    """Listen to Interpret.

    Parameters
    ----------
    classifier : Classifier
        Its feature maps and its number of classes set the sizes.
    dictionary : Dictionary, path or dict
        W, learned behind the same front end: a dictionary, its file, or the run folder of ``train_nmf.py``. Saved with
        the interpreter, whose settings keep its description.
    network : {"compact", "conv2d", "cnn14"}
        Psi. ``compact``: any classifier's feature maps merged coarse to fine, at low cost. ``conv2d`` and ``cnn14``:
        SpeechBrain's ``PsiOptimized`` and ``CNN14PSI_stft_2d`` behind the classifiers of these names, with their
        parameter names.
    channels : int
        Of the compact network's merged map.
    reconstruction_weight : float
        alpha, of mean (X^T - W H)² over valid bins.
    activation_weight : float
        beta, of mean |H| over components and valid frames.
    fidelity_weight : float
        Of KL(p(X) || p(In)) in nats; 0 in the published method, which never asks the classifier about the masked sound.
    mask_weight : float
        lambda, of the mean of M over valid bins; 0 in the published method.
    threshold : float
        tau: components of a relevance above it are selected.
    top_k : int
        Interpreter fidelity is reported at 1 and at this many classes.
    apply : {"log", "linear"}

    Raises
    ------
    UserError
        If the dictionary was learned behind another front end, or the network was made for other feature maps.
    MissingError
        If there is no dictionary at the path.

    Notes
    -----
    Selection has no gradient. With one of the two mask terms on, training takes that of ``sigmoid((r - tau) / 0.1)``
    in its place (straight through): the mask is the hard one in value, in training as in evaluation.
    """

    NAME = "l2i"

    def __init__(
        self,
        classifier: Classifier,
        dictionary: Dictionary | str | Path | dict,
        network: str = "compact",
        channels: int = 32,
        reconstruction_weight: float = 10.0,
        activation_weight: float = 0.8,
        fidelity_weight: float = 0.0,
        mask_weight: float = 0.0,
        threshold: float = 0.2,
        top_k: int = 3,
        apply: str = "log",
    ):
        matrix, description = dictionary_of(dictionary, classifier.frontend.settings, "L2I")
        super().__init__(
            classifier,
            apply,
            dictionary=description,
            network=network,
            channels=channels,
            reconstruction_weight=reconstruction_weight,
            activation_weight=activation_weight,
            fidelity_weight=fidelity_weight,
            mask_weight=mask_weight,
            threshold=threshold,
            top_k=top_k,
        )
        self.reconstruction_weight, self.activation_weight = float(reconstruction_weight), float(activation_weight)
        self.fidelity_weight, self.mask_weight = float(fidelity_weight), float(mask_weight)
        self.threshold, self.top_k = float(threshold), int(top_k)
        if not 0 <= self.threshold < 1:
            raise UserError(f"L2I: threshold is {threshold}, expected a number in [0, 1): relevance is at most 1")
        if self.top_k < 1:
            raise UserError(f"L2I: top_k is {top_k}, expected a number of classes from 1 on")
        self.uses_masked_logits = self.fidelity_weight > 0
        self.register_buffer("dictionary", matrix.float())  # W [F, K]: saved with the rest, never trained
        n_components = self.dictionary.shape[1]
        if network == "compact":
            self.psi = CompactPSI(classifier, n_components, int(channels))
        elif network == "conv2d":
            self.psi = Conv2dPSI(classifier, n_components)
        elif network == "cnn14":
            self.psi = Cnn14PSI(classifier, n_components)
        else:
            raise UserError(f"L2I: network is {network!r}, expected 'compact', 'conv2d' or 'cnn14'")
        self.theta = Theta(n_components, len(classifier.labels), centred=classifier.task == "single")

    def forward(self, spectrogram: Spectrogram, output: ClassifierOutput, target: Tensor) -> L2IPrediction:
        """Explain a batch, with everything the objective needs."""
        drawn = self.psi(self.classifier, spectrogram, output)  # [B, T, K]
        # From here on it is a few small products, and half precision would move components across the threshold.
        with torch.autocast(device_type=drawn.device.type, enabled=False):
            activations = (drawn.float() * spectrogram.valid[..., None]).transpose(1, 2)  # [B, K, T]
            pooled, scores = self.theta(activations, spectrogram.valid)
            relevance = relevance_of(pooled, self.theta.weight[target])
            selected = relevance > self.threshold
            kept = selected.to(relevance)
            teaches = self.fidelity_weight > 0 or self.mask_weight > 0
            if self.training and teaches:
                soft = torch.sigmoid((relevance - self.threshold) / TEMPERATURE)
                kept = kept + (soft - soft.detach())
            with torch.set_grad_enabled(torch.is_grad_enabled() and teaches):
                mask = component_mask(self.dictionary, activations, kept)
            reconstruction = activations.transpose(1, 2) @ self.dictionary.T
        return L2IPrediction(mask, activations, reconstruction, pooled, scores, relevance, selected)

    def interpret(self, spectrogram: Spectrogram, output: ClassifierOutput, target: Tensor) -> Interpretation:
        """Explain by components; scores ``fid_top1`` and ``fid_top<k>``: is the class among the k highest of s?"""
        said = self(spectrogram, output, target)
        components = Components(self.dictionary, said.activations, said.relevance, said.selected)
        scores = {f"fid_top{k}": in_top(said.scores, target, k) for k in (1, self.top_k)}
        return Interpretation(said.mask, components, scores)

    def mask(self, spectrogram: Spectrogram, output: ClassifierOutput, target: Tensor) -> Tensor:
        """See :meth:`Interpreter.mask`."""
        return self(spectrogram, output, target).mask

    def objective(
        self,
        prediction: L2IPrediction,
        spectrogram: Spectrogram,
        output: ClassifierOutput,
        target: Tensor,
        masked: MaskedLogits | None,
        clean: Spectrogram | None = None,
    ) -> dict[str, Tensor]:
        """See :meth:`Interpreter.objective`: reconstruction, sparsity, imitation, and the mask terms that are on.

        ``fid_top1`` is no part of the loss: it is there to be watched, and to select epochs by.
        """
        valid, task = spectrogram.valid, self.classifier.task
        terms = {
            "reconstruction": mean_over_valid((spectrogram.log_magnitude - prediction.reconstruction).square(), valid),
            "activation": mean_over_valid(prediction.activations.abs().transpose(1, 2), valid),
            "imitation": imitation(prediction.scores, output.logits, task),
        }
        loss = (
            self.reconstruction_weight * terms["reconstruction"]
            + self.activation_weight * terms["activation"]
            + terms["imitation"]
        )
        if self.fidelity_weight > 0:
            terms["kl_inside"] = divergence(output.logits, masked.inside, task)
            loss = loss + self.fidelity_weight * terms["kl_inside"]
        if self.mask_weight > 0:
            terms["mask_mean"] = mean_over_valid(prediction.mask, valid)
            loss = loss + self.mask_weight * terms["mask_mean"]
        return batch_mean({"loss": loss, **terms, "fid_top1": in_top(prediction.scores, target, 1)})


class Theta(nn.Module):
    """Attention over time, then a linear map to class scores, without bias: what is not heard says nothing.

    Parameters
    ----------
    n_components, n_classes : int
        K and C.
    centred : bool
        Take from each component's weights their mean over classes. Softmax takes no notice of what all classes have in
        common, but relevance does: without it, relevance is evidence for a class against the others.
    width : int
        Of the attention's hidden layer.
    """

    def __init__(self, n_components: int, n_classes: int, centred: bool, width: int = 32):
        super().__init__()
        self.centred = centred
        # Softmax takes no notice of a bias at the end.
        self.attention = nn.Sequential(nn.Linear(n_components, width), nn.Tanh(), nn.Linear(width, 1, bias=False))
        self.classes = nn.Linear(n_components, n_classes, bias=False)

    @property
    def weight(self) -> Tensor:
        """Theta [C, K]."""
        weight = self.classes.weight
        return weight - weight.mean(dim=0) if self.centred else weight

    def forward(self, activations: Tensor, valid: Tensor) -> tuple[Tensor, Tensor]:
        """Pool activations [B, K, T] over the valid [B, T] frames: z [B, K], and scores s [B, C]."""
        level = self.attention(activations.transpose(1, 2))[..., 0]  # [B, T]
        attention = level.masked_fill(~valid, -float("inf")).softmax(dim=1)
        pooled = (activations * attention[:, None]).sum(2)
        return pooled, functional.linear(pooled, self.weight)


class CompactPSI(nn.Module):
    """Psi for any classifier: feature maps merged with few channels, frequency collapsed, interpolated in time.

    Each frequency cell has weights of its own, so that where in frequency a feature lies is not lost. Maps finer
    than a stride of ``FINEST`` are left out: they cost more than all others together. Softplus and not ReLU makes the
    activations positive: components that a ReLU has silenced early in training would stay silent.
    """

    FINEST = 4

    def __init__(self, classifier: Classifier, n_components: int, channels: int):
        super().__init__()
        strides = classifier.feature_strides
        if not strides:
            raise UserError(f"L2I: the classifier {classifier.NAME!r} has no feature maps, expected at least one")
        self.first = next((level for level, stride in enumerate(strides) if stride >= self.FINEST), len(strides) - 1)
        self.merge = FeatureMerge(classifier.feature_channels[self.first :], channels)
        n_cells = len(classifier.feature_grids(1)[self.first].bins)
        self.collapse = nn.Linear(channels * n_cells, n_components)
        # Together, a hundred components then start at about the level of a log spectrogram.
        nn.init.constant_(self.collapse.bias, -2.0)

    def forward(self, classifier: Classifier, spectrogram: Spectrogram, output: ClassifierOutput) -> Tensor:
        """Return activations [B, T, K] >= 0."""
        n_frames = spectrogram.magnitude.shape[1]
        grids = classifier.feature_grids(n_frames)[self.first :]
        rows = classifier.valid_rows(spectrogram.valid)[1 + self.first :]
        merged = self.merge(output.feature_maps[self.first :], grids, rows)  # [B, C', T', F']
        drawn = self.collapse(merged.transpose(1, 2).flatten(2))  # [B, T', K]
        with torch.autocast(device_type=drawn.device.type, enabled=False):
            drawn = hold_last_row(drawn.float(), rows[0], axis=1)
            over_time = interpolation_matrix(grids[0].frames, n_frames).to(drawn)  # [T, T']
            return functional.softplus(over_time @ drawn)


class _PublishedPSI:
    """What the published networks share: each length of clip runs alone in evaluation.

    Transposed convolutions have biases, and would carry padding into the clip.
    """

    LEVELS: tuple[int, ...] = ()  # the feature maps it takes, counted from the coarsest: -1, -2, …

    def forward(self, classifier: Classifier, spectrogram: Spectrogram, output: ClassifierOutput) -> Tensor:
        """Return activations [B, T, K] >= 0."""
        n_frames = spectrogram.magnitude.shape[1]
        maps = tuple(output.feature_maps[level] for level in self.LEVELS)
        if self.training or bool(spectrogram.valid.all()):
            return fit_frames(self._draw(maps), n_frames)
        indices, parts = [], []
        for index, count in groups_of_equal_length(spectrogram.valid, len(spectrogram)):
            rows = classifier.feature_rows(count)
            own = tuple(m[index, :, : rows[level]] for m, level in zip(maps, self.LEVELS, strict=True))
            indices.append(index)
            parts.append(fit_frames(self._draw(own), count))
        return reassemble(indices, parts, axis=1, size=n_frames)

    def _draw(self, maps: tuple[Tensor, ...]) -> Tensor:
        """Return the activations [b, T'', K] of feature maps [b, C_l, T_l, F_l] of one length."""
        raise NotImplementedError


class Conv2dPSI(_PublishedPSI, PsiOptimized):
    """SpeechBrain's network behind ``conv2d``, with its parameter names. It draws 417 of 431 frames."""

    LEVELS = (-1,)

    def __init__(self, classifier: Classifier, n_components: int):
        _check_columns("conv2d", classifier, self.LEVELS, (32,))
        super().__init__(
            dim=classifier.feature_channels[-1], K=n_components, use_adapter=False, adapter_reduce_dim=False
        )

    def _draw(self, maps: tuple[Tensor, ...]) -> Tensor:
        return PsiOptimized.forward(self, maps[0])[0][:, 0]


class Cnn14PSI(_PublishedPSI, CNN14PSI_stft_2d):
    """SpeechBrain's network behind ``cnn14``, with its parameter names.

    It takes the last four feature maps, coarsest first, with (t, t, 2t, 4t + 1) rows: they are padded with zeros to
    the smallest t that holds them.
    """

    LEVELS = (-1, -2, -3, -4)

    def __init__(self, classifier: Classifier, n_components: int):
        _check_columns("cnn14", classifier, self.LEVELS, (2, 2, 5, 10))
        channels = tuple(classifier.feature_channels[level] for level in self.LEVELS)
        wanted = tuple(channels[0] // share for share in (1, 2, 4, 8))
        if channels != wanted:
            raise UserError(
                f"L2I's network 'cnn14' met feature maps of {channels} channels, expected {wanted}: "
                "use network: compact"
            )
        super().__init__(dim=channels[0], K=n_components)

    def _draw(self, maps: tuple[Tensor, ...]) -> Tensor:
        return CNN14PSI_stft_2d.forward(self, pad_for_cnn14(maps)).transpose(1, 2)


def _check_columns(network: str, classifier: Classifier, levels: tuple[int, ...], wanted: tuple[int, ...]) -> None:
    """Refuse feature maps of other widths than a published network was made for."""
    if len(classifier.feature_channels) >= len(wanted):
        grids = classifier.feature_grids(1)
        columns = tuple(len(grids[level].bins) for level in levels)
    else:
        columns = ()
    if columns != wanted:
        raise UserError(
            f"L2I's network {network!r} met a classifier {classifier.NAME!r} whose coarsest feature maps have "
            f"{columns} columns, expected {wanted}: use network: compact"
        )


def relevance_of(pooled: Tensor, weights: Tensor) -> Tensor:
    """Return ``r_k = z_k Theta_ck / max_l |z_l Theta_cl|``, 0 where that maximum is 0.

    Parameters
    ----------
    pooled : Tensor [B, K]
        z.
    weights : Tensor [B, K]
        Row of Theta that belongs to each clip's explained class.

    Returns
    -------
    Tensor [B, K]
        In [-1, 1].

    Example
    -------
    >>> relevance_of(torch.tensor([[1.0, 2.0, 0.0]]), torch.tensor([[1.0, -2.0, 5.0]]))
    tensor([[ 0.2500, -1.0000,  0.0000]])
    """
    shares = pooled * weights
    largest = shares.abs().amax(dim=1, keepdim=True)
    return shares / torch.where(largest > 0, largest, torch.ones_like(largest))


def in_top(scores: Tensor, target: Tensor, k: int) -> Tensor:
    """Return whether each clip's class is among the k highest scores, [B] as 0 or 1.

    Parameters
    ----------
    scores : Tensor [B, C]
    target : Tensor [B]
    k : int

    Returns
    -------
    Tensor [B]
        Of equal scores, those of lower classes count as higher.

    Example
    -------
    >>> in_top(torch.tensor([[1.0, 3.0, 3.0]]), torch.tensor([2]), 1)
    tensor([0.])
    """
    own = scores.gather(1, target[:, None])
    before = torch.arange(scores.shape[1], device=scores.device)[None] < target[:, None]
    rank = ((scores > own) | ((scores == own) & before)).sum(1)
    return (rank < k).to(scores.dtype)


def imitation(scores: Tensor, logits: Tensor, task: str) -> Tensor:
    """Return the cross-entropy of the interpreter's scores against the classifier's probabilities, [B] in nats.

    Parameters
    ----------
    scores, logits : Tensor [B, C]
        Of the interpreter and of the classifier.
    task : {"single", "multi"}
        ``single``: ``-sum_c p_c log_softmax(s)_c``. ``multi``: the sum over classes of the binary cross-entropies of
        ``sigmoid(s_c)`` against ``p_c = sigmoid(logit_c)``.
    """
    scores, logits = scores.float(), logits.float()
    if task == "single":
        return -(logits.softmax(1) * scores.log_softmax(1)).sum(1)
    return functional.binary_cross_entropy_with_logits(scores, logits.sigmoid(), reduction="none").sum(1)


def divergence(logits: Tensor, inside: Tensor, task: str) -> Tensor:
    """Return KL(p(X) || p(In)), [B] in nats; for ``multi`` the sum over classes of those of single classes.

    Parameters
    ----------
    logits, inside : Tensor [B, C]
        The classifier's, of the input and of what the mask keeps.
    task : {"single", "multi"}
    """
    logits, inside = logits.float(), inside.float()
    if task == "single":
        return (logits.softmax(1) * (logits.log_softmax(1) - inside.log_softmax(1))).sum(1)
    yes = logits.sigmoid() * (functional.logsigmoid(logits) - functional.logsigmoid(inside))
    no = (-logits).sigmoid() * (functional.logsigmoid(-logits) - functional.logsigmoid(-inside))
    return (yes + no).sum(1)
