"""The attributions of the method ``gradients``, each as Captum computes it. What they are: :class:`.Gradients`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from interpretability.classifiers.base import Classifier
from interpretability.classifiers.observed import ObservedLayer
from interpretability.methods.base import MethodSettings
from interpretability.methods.class_activation import class_activation
from interpretability.methods.forms import FORMS, MEANING
from interpretability.methods.nonlinearities import traces_removed
from interpretability.methods.seeding import seeded
from interpretability.settings import setting

#: Those that look at a layer, that change the gradient of ReLUs, and that sum to s(X) - s(0) if they are exact.
OF_A_LAYER = ("gradcam", "guided_gradcam")
OF_RELUS = ("guided_backprop", "guided_gradcam")
COMPLETE = ("integrated_gradients", "gradient_shap", "deeplift")
#: Those that work on any network with a gradient: the tables of events and of the default method have them.
GRADIENT_ALONE = ("saliency", "input_x_gradient", "integrated_gradients", "smoothgrad")
#: Frames that go through the classifier at once, of all steps or noisy copies together: bounds the memory.
CHUNK_FRAMES = 8 * 512
#: From X [n, T, F], and which clips they are of [n], to the scores [n].
Score = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class Scored:
    """What an attribution is computed of: one clip.

    Attributes
    ----------
    score : callable
        From X [n, T, F], and which clips they are of [n], to their scores [n].
    inputs : Tensor [1, T, F]
        X, which requires a gradient.
    classifier : Classifier
    settings : GradientsSettings
    layer : ObservedLayer or None
        The one that is looked at.
    """

    score: Score
    inputs: Tensor
    classifier: Classifier
    settings: GradientsSettings
    layer: ObservedLayer | None

    @property
    def which(self) -> Tensor:
        """Which clip each row is [1]: Captum repeats it as it repeats the inputs."""
        return torch.arange(len(self.inputs), device=self.inputs.device)

    @property
    def at_once(self) -> int:
        """How many copies of a clip go through the classifier at once."""
        return max(1, CHUNK_FRAMES // self.inputs.shape[1])

    @property
    def deviation(self) -> float:
        """The standard deviation of the noise for one clip."""
        return self.settings.noise * float(self.inputs.detach().max())

    def module(self) -> nn.Module:
        """Return the score as a module with the classifier in it, whose modules Captum changes the gradient of."""
        return ScoreModule(self.classifier, self.score)


class ScoreModule(nn.Module):
    """A score of a classifier, as a module."""

    def __init__(self, classifier: Classifier, score: Score):
        super().__init__()
        self.classifier, self.score = classifier, score

    def forward(self, log_magnitude: Tensor, which: Tensor) -> Tensor:
        """Return the scores [n] of X [n, T, F]."""
        return self.score(log_magnitude, which)


# Captum is imported in the functions: it is slow to import, and nothing else needs it.


def saliency(of: Scored) -> Tensor:
    from captum.attr import Saliency

    return Saliency(of.score).attribute(of.inputs, additional_forward_args=of.which)


def input_x_gradient(of: Scored) -> Tensor:
    from captum.attr import InputXGradient

    return InputXGradient(of.score).attribute(of.inputs, additional_forward_args=of.which)


def integrated_gradients(of: Scored) -> Tensor:
    from captum.attr import IntegratedGradients

    size = {"n_steps": of.settings.n_steps, "internal_batch_size": of.at_once}
    return IntegratedGradients(of.score).attribute(of.inputs, 0.0, additional_forward_args=of.which, **size)


def smoothgrad(of: Scored) -> Tensor:
    from captum.attr import NoiseTunnel, Saliency

    with seeded(of.settings.seed, of.inputs.device):
        size = {"nt_samples": of.settings.n_copies, "nt_samples_batch_size": of.at_once}
        # Without abs: the absolute value is of the mean.
        options = {"stdevs": of.deviation, "additional_forward_args": of.which, "abs": False}
        return NoiseTunnel(Saliency(of.score)).attribute(of.inputs, **size, **options).abs()


def gradient_shap(of: Scored) -> Tensor:
    from captum.attr import GradientShap

    method, total, n_copies = GradientShap(of.score), torch.zeros_like(of.inputs), of.settings.n_copies
    options = {"stdevs": of.deviation, "additional_forward_args": of.which}
    with seeded(of.settings.seed, of.inputs.device):
        # It runs all copies of a call at once: as many calls as bound the memory.
        for done in range(0, n_copies, of.at_once):
            count = min(of.at_once, n_copies - done)
            part = method.attribute(of.inputs, torch.zeros_like(of.inputs), n_samples=count, **options)
            total = total + part * (count / n_copies)
    return total


def deeplift(of: Scored) -> Tensor:
    from captum.attr import DeepLift

    with traces_removed(of.classifier):
        return DeepLift(of.module()).attribute(of.inputs, 0.0, additional_forward_args=of.which)


def guided_backprop(of: Scored) -> Tensor:
    from captum.attr import GuidedBackprop

    return GuidedBackprop(of.module()).attribute(of.inputs, additional_forward_args=of.which)


def gradcam(of: Scored) -> Tensor:
    return class_activation(lambda: of.score(of.inputs, of.which), of.layer, tuple(of.inputs.shape[1:]))


def guided_gradcam(of: Scored) -> Tensor:
    return guided_backprop(of) * gradcam(of).clamp(min=0)


#: Every attribution: a new one is a function, and a line here.
ATTRIBUTIONS: dict[str, Callable[[Scored], Tensor]] = {
    kind.__name__: kind
    for kind in (
        saliency,
        input_x_gradient,
        integrated_gradients,
        smoothgrad,
        gradient_shap,
        deeplift,
        guided_backprop,
        gradcam,
        guided_gradcam,
    )
}


@dataclass(frozen=True)
class GradientsSettings(MethodSettings):
    """Settings of :class:`.Gradients`."""

    attribution: str = setting("integrated_gradients", "what is computed for each bin", choices=tuple(ATTRIBUTIONS))
    form: str = setting("top10", MEANING, choices=tuple(FORMS))
    n_steps: int = setting(32, "steps of integrated_gradients", least=1, most=10_000)
    n_copies: int = setting(16, "noisy copies of smoothgrad and gradient_shap", least=1, most=10_000)
    noise: float = setting(
        0.15,
        "standard deviation of the noise of smoothgrad and gradient_shap, as a share of the clip's largest log "
        "magnitude",
        least=0,
    )
    seed: int = setting(0, "seed of smoothgrad's and gradient_shap's random numbers", least=0, below=2**63)
    layer: str | None = setting(
        None,
        "layer that gradcam and guided_gradcam look at (--list_layers of a model of another library); null: the last "
        "feature map on which the decision depends",
    )
