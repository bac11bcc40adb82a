"""Networks that guided backpropagation and DeepLift would silently give the plain gradient of."""

import pytest
import torch
from relu_networks import wrapped
from tiny import LABELS, VIT, XVECTOR, noise
from torch import nn

from interpretability.classifiers.conv2d import Conv2dClassifier
from interpretability.classifiers.speechbrain import SpeechBrainClassifier
from interpretability.classifiers.vit import ViTClassifier
from interpretability.errors import UserError
from interpretability.methods.gradients import Gradients
from interpretability.methods.nonlinearities import RULES, check_relus, check_rules

OF_RELUS = ("guided_backprop", "guided_gradcam")


@pytest.mark.parametrize("attribution", OF_RELUS)
def test_relus_that_are_functions(attribution):
    words = f"{attribution} changes the gradient of nn.ReLU modules, and ReluNet computes 1 of its 2 ReLUs by func"
    with pytest.raises(UserError, match=words):
        Gradients(wrapped(functions=True), attribution=attribution)


def test_functions_have_no_rule_of_deeplift():
    with pytest.raises(UserError, match=r"deeplift has rules for .*, and ReluNet computes 1 Relu by functions"):
        Gradients(wrapped(functions=True), attribution="deeplift")


def test_a_module_that_runs_twice():
    once = "deeplift takes networks that call each non-linear module once, and"
    with pytest.raises(UserError, match=rf"{once} ReluNet calls module\.first 2 times"):
        Gradients(wrapped(twice=True), attribution="deeplift")
    conv2d = Conv2dClassifier(LABELS, dim=4, lin_neurons=8)
    with pytest.raises(UserError, match=rf"{once} the classifier 'conv2d' calls embedding_model\.nonl 4 times"):
        Gradients(conv2d, attribution="deeplift")
    assert Gradients.remark_on(conv2d, "deeplift").startswith("unavailable: deeplift takes networks")
    # It calls each layer with lengths first, and without them after the error that this gives.
    xvector = SpeechBrainClassifier(LABELS, hyperparams=XVECTOR, layers=[])
    with pytest.raises(UserError, match=rf"{once} .* calls module\.embedding_model\.blocks\.1 2 times"):
        Gradients(xvector, attribution="deeplift")
    # Guided backpropagation takes it.
    assert Gradients(wrapped(twice=True), attribution="guided_backprop").explain(noise(1, 4000)).mask.any()


@pytest.mark.parametrize("attribution", [*OF_RELUS, "deeplift"])
def test_no_relu_at_all(attribution):
    vit = ViTClassifier(LABELS, config=VIT, image_frames=96)
    with pytest.raises(UserError, match=r"the classifier 'vit' (runs none|computes 2 Softmax, 2 Gelu)") as error:
        Gradients(vit, attribution=attribution)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("kind", [kind for kinds in RULES.values() for kind in kinds], ids=lambda kind: kind.__name__)
def test_every_module_with_a_rule_is_known_in_the_graph(kind):
    sized = kind in (nn.MaxPool1d, nn.MaxPool2d, nn.MaxPool3d)
    network = nn.Sequential(kind(2) if sized else kind(dim=1) if kind is nn.Softmax else kind())
    shape = (2, 4, *[4] * int(kind.__name__[-2])) if sized else (2, 4)
    inputs = torch.rand(shape, requires_grad=True)
    check_rules("deeplift", "it", network, lambda: network(inputs))
    with pytest.raises(UserError, match="runs none, so that it would be input x gradient"):
        check_rules("deeplift", "it", network, lambda: 2 * inputs)
    with pytest.raises(UserError, match=r"and it computes 1 .* by functions"):
        check_rules("deeplift", "it", nn.Identity(), lambda: network(inputs))


@pytest.mark.parametrize("name", [name for name, kinds in RULES.items() if not kinds])
def test_activations_without_a_rule_are_known_in_the_graph(name):
    kind = {"Gelu": nn.GELU, "Silu": nn.SiLU, "PreluKernel": nn.PReLU}.get(name) or getattr(nn, name)
    network = kind()
    with pytest.raises(UserError, match=f"and it computes 1 {name} by functions"):
        check_rules("deeplift", "it", network, lambda: network(torch.rand(3, requires_grad=True)))


def test_relus_in_place_and_inside_of_torchscript():
    inputs = torch.rand(3, requires_grad=True)
    in_place = nn.ReLU(inplace=True)
    check_relus("guided_backprop", "it", in_place, lambda: in_place(2 * inputs))
    script = torch.jit.script(nn.Sequential(nn.ReLU()))
    with pytest.raises(UserError, match=r"it (computes 1 of its 1 ReLUs|runs none)"):
        check_relus("guided_backprop", "it", script, lambda: script(2 * inputs))
