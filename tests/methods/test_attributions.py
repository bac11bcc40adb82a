"""Attributions that look into the network: direct calls of Captum, padding, other libraries, networks without ReLUs."""

import copy

import captum.attr
import numpy as np
import pytest
import torch
from relu_networks import wrapped
from tiny import LABELS, listening_classifier, noise
from torch import nn

from interpretability.classifiers.conv2d import Conv2dClassifier
from interpretability.classifiers.module import ModuleClassifier
from interpretability.classifiers.targeted import targeted
from interpretability.grids import to_spectrogram_grid
from interpretability.methods.forms import FORMS
from interpretability.methods.gradients import Gradients
from interpretability.metrics.areas import keep_top
from interpretability.probabilities import log_odds

LOOK_INSIDE = ("gradient_shap", "deeplift", "guided_backprop", "gradcam", "guided_gradcam")


def conv2d():
    torch.manual_seed(0)
    classifier = Conv2dClassifier(LABELS, dim=6, lin_neurons=8)
    for _ in range(5):
        classifier(torch.rand(4, 64, 513) * torch.rand(4, 64, 1) * 20)
    return classifier.freeze()


KINDS = {"compact": lambda: listening_classifier(LABELS), "conv2d": conv2d, "a module": wrapped}
#: DeepLift takes no network that runs a module more than once, as conv2d does.
CASES = [(kind, name) for kind in KINDS for name in LOOK_INSIDE if (kind, name) != ("conv2d", "deeplift")]


@pytest.fixture(scope="module")
def classifiers():
    return {kind: make() for kind, make in KINDS.items()}


class Direct(nn.Module):
    """The log odds of one class of one clip, spelt out; what a user would give to Captum."""

    def __init__(self, classifier, batch):
        super().__init__()
        self.classifier, self.batch = classifier, batch

    def forward(self, log_magnitude):
        spectrogram = copy.copy(self.batch.spectrogram)
        for name in ("phase", "valid", "lengths"):
            value = getattr(spectrogram, name)
            setattr(spectrogram, name, value.expand(len(log_magnitude), *value.shape[1:]))
        spectrogram.magnitude = log_magnitude.clamp(min=0).expm1()
        logits = self.classifier.classify(spectrogram).logits
        return log_odds(logits, self.batch.target.expand(len(logits)), self.classifier.task)


def last_layer(classifier):
    """The layer, and the grid of its cells, as each classifier is known to have them."""
    if isinstance(classifier, ModuleClassifier):
        return classifier.module.second
    return classifier.embedding_model.resblock if isinstance(classifier, Conv2dClassifier) else classifier.stages[-1][1]


def directly(classifier, batch, attribution, settings):
    """The attribution of one clip by a direct call of Captum, [1, T, F]."""
    model, inputs = Direct(classifier, batch), batch.spectrogram.log_magnitude.clone().requires_grad_()
    if attribution == "gradient_shap":
        torch.manual_seed(settings.seed)
        np.random.seed(settings.seed)
        deviation = settings.noise * float(inputs.detach().max())
        options = {"n_samples": settings.n_copies, "stdevs": deviation}
        return captum.attr.GradientShap(model).attribute(inputs, torch.zeros_like(inputs), **options)
    if attribution == "deeplift":
        return captum.attr.DeepLift(model).attribute(inputs, torch.zeros_like(inputs))
    if attribution == "guided_backprop":
        return captum.attr.GuidedBackprop(model).attribute(inputs)
    cells = captum.attr.LayerGradCam(model, last_layer(classifier)).attribute(inputs)[:, 0]
    if isinstance(classifier, ModuleClassifier):
        cells = cells.transpose(1, 2)  # frequency first
        cells = classifier.layout.fit_rows(classifier.layers[-1], cells[:, None], inputs.shape[1])[:, 0]
    grid = classifier.feature_grids(inputs.shape[1])[-1]
    camera = to_spectrogram_grid(cells.double(), grid, *inputs.shape[1:])
    if attribution == "guided_gradcam":
        return captum.attr.GuidedBackprop(model).attribute(inputs).mul(camera.relu()).float()
    return camera.float()


@pytest.mark.filterwarnings("ignore:Setting")
@pytest.mark.parametrize(("kind", "attribution"), CASES)
def test_it_is_what_a_direct_call_of_captum_gives(classifiers, kind, attribution):
    classifier = classifiers[kind]
    method = Gradients(classifier, attribution=attribution, n_copies=3, seed=3)
    largest = 0.0
    for target in range(3):
        batch = classifier.analyse(noise(1, 5000), target=target)
        expected = directly(classifier, batch, attribution, method.settings).detach()
        assert torch.equal(method.attribute(batch), expected)
        largest = max(largest, float(expected.abs().max()))
    assert largest > 0  # of a class for which all counts against it, guided gradients are 0


@pytest.mark.parametrize(("kind", "attribution"), CASES)
def test_batch_padding_and_order_change_nothing(classifiers, kind, attribution):
    classifier = classifiers[kind]
    method = Gradients(classifier, attribution=attribution, n_copies=2)
    wavs, lengths, target = noise(2, 9000), torch.tensor([1.0, 0.6]), torch.tensor([0, 2])
    together = method.attribute(classifier.analyse(wavs, lengths, target))
    flipped = method.attribute(classifier.analyse(wavs.flip(0), lengths.flip(0), target.flip(0)))
    for i, n in enumerate((9000, 5400)):
        alone = method.attribute(classifier.analyse(wavs[i : i + 1, :n], target=target[i : i + 1]))[0]
        tolerance = 1e-4 * float(alone.abs().max())
        torch.testing.assert_close(together[i, : len(alone)], alone, rtol=1e-3, atol=tolerance)
        torch.testing.assert_close(flipped[1 - i, : len(alone)], alone, rtol=1e-3, atol=tolerance)
        assert not together[i, len(alone) :].any()


@pytest.mark.parametrize("attribution", LOOK_INSIDE)
def test_forms(classifiers, attribution):
    classifier = classifiers["compact"]
    batch = classifier.analyse(noise(1, 9000))
    for form, area in FORMS.items():
        method = Gradients(classifier, attribution=attribution, n_copies=2, form=form)
        mask, raw = method.interpret(batch).mask, method.attribute(batch)
        if area is None:
            torch.testing.assert_close(mask, raw.clamp(min=0) / raw.clamp(min=0).max())
        else:
            assert torch.equal(mask, keep_top(raw, batch.spectrogram.valid, area))


def hooks_of(network):
    kinds = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
    return sum(len(getattr(module, kind)) for module in network.modules() for kind in kinds)


@pytest.mark.parametrize("attribution", LOOK_INSIDE)
def test_nothing_is_left_on_the_classifier_after_an_error_either(attribution, monkeypatch):
    classifier = listening_classifier(LABELS)
    before = {name: set(vars(module)) for name, module in classifier.named_modules()}
    method = Gradients(classifier, attribution=attribution, n_copies=2)
    batch = classifier.analyse(noise(1, 4000))
    method.attribute(batch)

    def left():
        names = {name: set(vars(module)) - before[name] for name, module in classifier.named_modules()}
        return hooks_of(classifier), {name: new for name, new in names.items() if new}

    assert left() == (0, {})
    # Half way: the forward pass has run, and with it the hooks of what came before.
    monkeypatch.setattr(type(classifier), "_pool", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        method.attribute(batch)
    monkeypatch.undo()
    assert left() == (0, {})


@pytest.mark.parametrize("attribution", LOOK_INSIDE)
def test_a_contrast_is_explained_as_a_class_is(attribution):
    """Of a multi-label head it is the difference of two logits: gradients are linear, up to rules and clamps."""
    classifier = listening_classifier(LABELS, task="multi")
    method = Gradients(classifier, attribution=attribution, n_copies=2, form="soft")
    explanation = method.explain(noise(1, 5000), target="dog - cat")
    assert explanation.mask.any()
    asked = targeted(classifier, "dog - cat")
    again = Gradients(asked, attribution=attribution, n_copies=2, form="soft")
    assert torch.equal(again.explain(noise(1, 5000)).mask, explanation.mask)
    if attribution in ("gradient_shap", "deeplift", "gradcam"):
        cat, dog = (method.attribute(classifier.analyse(noise(1, 5000), target=k)) for k in (0, 1))
        whole = again.attribute(asked.analyse(noise(1, 5000), target=0))
        torch.testing.assert_close(whole, dog - cat, rtol=1e-3, atol=1e-4 * float(whole.abs().max()))
