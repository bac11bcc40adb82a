"""L2I, Listen to Interpret (arXiv 2202.11479): which sounds of a dictionary made the classifier decide.

The classifier's feature maps give activations ``H = Psi(h) >= 0`` on a frozen dictionary W, so that ``W H`` draws the
log spectrogram; an attention over time pools them, ``z = sum_t a_t H_t``, and a linear map without bias imitates the
classifier, ``s = Theta z``. The relevance of a component is its share ``z_k Theta_ck`` of the explained class's score.
"""

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional

from interpretability.classifiers.base import AnalysedBatch, Classifier
from interpretability.dictionary import Components, Dictionary, component_mask, dictionary_of
from interpretability.explanation import Interpretation
from interpretability.lengths import mean_over_valid
from interpretability.methods.base import ComponentSettings, Interpreter
from interpretability.methods.objectives import batch_mean
from interpretability.networks.l2i import Cnn14PSI, CompactPSI, Conv2dPSI, Theta
from interpretability.probabilities import MaskedLogits
from interpretability.settings import WIDEST, setting
from interpretability.transfer import ClassRows

# Width of the sigmoid whose slope stands in for that of the selection; relevance runs from -1 to 1.
TEMPERATURE = 0.1


@dataclass(frozen=True)
class L2ISettings(ComponentSettings):
    """Settings of :class:`L2I`."""

    network: str = setting(
        "compact",
        "compact: any classifier's feature maps merged coarse to fine, at low cost. conv2d and cnn14: SpeechBrain's "
        "PsiOptimized and CNN14PSI_stft_2d behind the classifiers of these names, with their parameter names",
        choices=("compact", "conv2d", "cnn14"),
    )
    channels: int = setting(32, "channels of the compact network's merged map", least=1, most=WIDEST)
    reconstruction_weight: float = setting(10.0, "alpha, weight of mean (X^T - W H)² over valid bins", least=0)
    activation_weight: float = setting(0.8, "beta, weight of mean |H| over components and valid frames", least=0)
    fidelity_weight: float = setting(
        0.0, "weight of KL(p(X) || p(In)); 0 in the published method, which never asks about the masked sound", least=0
    )
    mask_weight: float = setting(0.0, "lambda, weight of the mean of the mask; 0 in the published method", least=0)
    threshold: float = setting(
        0.2, "tau: components with a relevance above it are selected; the largest relevance is 1", least=0, below=1
    )
    top_k: int = setting(
        3, "interpreter fidelity is reported for the highest class and for this many highest classes", least=1
    )


@dataclass
class L2IPrediction:
    """What L2I's networks compute for a batch.

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

    The loss is ``alpha * mean (X^T - W H)² + beta * mean |H|`` plus the cross-entropy of the interpreter's scores
    against the classifier's probabilities, and the two mask terms that are on.

    Parameters
    ----------
    classifier : Classifier
        Its feature maps and its number of classes set the sizes.
    dictionary : Dictionary, path or dict
        As in :class:`L2ISettings`; or a dictionary itself.
    **settings
        Of :class:`L2ISettings`.

    Raises
    ------
    UserError
        If a setting does not fit, the dictionary was learned behind another front end, or the network was made for
        other feature maps.
    MissingError
        If there is no dictionary at the path.

    Notes
    -----
    Selection has no gradient. With one of the two mask terms on, training takes that of ``sigmoid((r - tau) / 0.1)``
    in its place (straight through): the mask is the hard one in value, in training as in evaluation.
    """

    NAME = "l2i"
    SUMMARY = "components of a dictionary that count for the class"
    Settings = L2ISettings

    def __init__(self, classifier: Classifier, dictionary: Dictionary | str | Path | dict | None = None, **settings):
        matrix, description = dictionary_of(dictionary, classifier.frontend.settings, "L2I")
        super().__init__(classifier, dictionary=description, **settings)
        network = self.settings.network
        self.register_buffer("dictionary", matrix.float())  # W [F, K]: saved with the rest, never trained
        n_components = self.dictionary.shape[1]
        if network == "compact":
            self.psi = CompactPSI(classifier, n_components, self.settings.channels)
        else:
            self.psi = {"conv2d": Conv2dPSI, "cnn14": Cnn14PSI}[network](classifier, n_components)
        self.theta = Theta(n_components, len(classifier.labels), centred=classifier.task == "single")

    @property
    def classes_only(self) -> str:
        """See :attr:`Interpreter.classes_only`."""
        return "its components are weighed for the classes that it was trained on"

    def class_rows(self) -> dict[str, ClassRows]:
        """See :meth:`Interpreter.class_rows`: Theta."""
        return {"theta.classes.weight": ClassRows(torch.arange(len(self.classifier.labels)))}

    @property
    def uses_masked_logits(self) -> bool:
        """See :attr:`Interpreter.uses_masked_logits`."""
        return self.settings.fidelity_weight > 0

    def forward(self, batch: AnalysedBatch) -> L2IPrediction:
        """Explain a batch, with everything the objective needs."""
        settings, valid = self.settings, batch.spectrogram.valid
        drawn = self.psi(self.classifier, batch)  # [B, T, K]
        # A few small products from here on; half precision would move components across the threshold.
        with torch.autocast(device_type=drawn.device.type, enabled=False):
            activations = (drawn.float() * valid[..., None]).transpose(1, 2)  # [B, K, T]
            pooled = self.theta(activations, valid)
            relevance = relevance_of(pooled.activations, self.theta.weight[batch.target])
            selected = relevance > settings.threshold
            kept = selected.to(relevance)
            teaches = settings.fidelity_weight > 0 or settings.mask_weight > 0
            if self.training and teaches:
                soft = torch.sigmoid((relevance - settings.threshold) / TEMPERATURE)
                kept = kept + (soft - soft.detach())
            with torch.set_grad_enabled(torch.is_grad_enabled() and teaches):
                mask = component_mask(self.dictionary, activations, kept)
            reconstruction = activations.transpose(1, 2) @ self.dictionary.T
        return L2IPrediction(mask, activations, reconstruction, pooled.activations, pooled.scores, relevance, selected)

    def interpret(self, batch: AnalysedBatch) -> Interpretation:
        """Explain by components; scores ``fid_top1`` and ``fid_top<k>``: is the class among the k highest of s?"""
        prediction = self(batch)
        components = Components(self.dictionary, prediction.activations, prediction.relevance, prediction.selected)
        scores = {f"fid_top{k}": in_top(prediction.scores, batch.target, k) for k in (1, self.settings.top_k)}
        return Interpretation(prediction.mask, components, scores)

    def objective(
        self, batch: AnalysedBatch, prediction: L2IPrediction, masked: MaskedLogits | None
    ) -> dict[str, Tensor]:
        """See :meth:`Interpreter.objective`: reconstruction, sparsity, imitation, and the mask terms that are on.

        ``fid_top1`` is not part of the loss: it is for monitoring, and for selecting epochs.
        """
        settings, task = self.settings, self.classifier.task
        valid, log_magnitude = batch.spectrogram.valid, batch.spectrogram.log_magnitude
        terms = {
            "reconstruction": mean_over_valid((log_magnitude - prediction.reconstruction).square(), valid),
            "activation": mean_over_valid(prediction.activations.abs().transpose(1, 2), valid),
            "imitation": imitation(prediction.scores, batch.output.logits, task),
        }
        loss = (
            settings.reconstruction_weight * terms["reconstruction"]
            + settings.activation_weight * terms["activation"]
            + terms["imitation"]
        )
        if settings.fidelity_weight > 0:
            terms["kl_inside"] = divergence(batch.output.logits, masked.inside, task)
            loss = loss + settings.fidelity_weight * terms["kl_inside"]
        if settings.mask_weight > 0:
            terms["mask_mean"] = mean_over_valid(prediction.mask, valid)
            loss = loss + settings.mask_weight * terms["mask_mean"]
        return batch_mean({"loss": loss, **terms, "fid_top1": in_top(prediction.scores, batch.target, 1)})


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
    explained = scores.gather(1, target[:, None])
    before = torch.arange(scores.shape[1], device=scores.device)[None] < target[:, None]
    rank = ((scores > explained) | ((scores == explained) & before)).sum(1)
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
