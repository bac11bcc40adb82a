"""Grad-CAM: a known map, an event that moves, layers that are named, and classifiers without any."""

import pytest
import torch
from relu_networks import wrapped
from tiny import LABELS, SMALL, VIT, listening_classifier, noise
from torch import nn
from transformers_models import AST_CONFIG

from interpretability.classifiers.base import Classifier, ClassifierOutput
from interpretability.classifiers.huggingface import HuggingFaceClassifier
from interpretability.classifiers.module import ModuleClassifier
from interpretability.classifiers.vit import ViTClassifier
from interpretability.classifiers.waveform import frontend_for
from interpretability.errors import UserError
from interpretability.grids import Grid
from interpretability.methods.gradients import Gradients


class Loudness(Classifier):
    """One map, on the spectrogram's own grid: the squares of X; the logit of class k is the mean of band k."""

    NAME = "loudness"

    def build(self):
        self.square, self.feature_channels = nn.Identity(), (1,)

    @property
    def layer_levels(self):
        return {"square": 0}

    def feature_grids(self, n_frames):
        return (Grid(torch.arange(n_frames, dtype=torch.float64), torch.arange(33, dtype=torch.float64)),)

    def forward(self, magnitude, valid=None):
        maps = self.square(torch.log1p(magnitude)[:, None] ** 2)
        logits = torch.stack([maps[..., k * 11 : k * 11 + 11].mean((1, 2, 3)) for k in range(3)], dim=1)
        return ClassifierOutput(logits, logits, (maps,))


def test_gradcam_of_a_known_map():
    """The mean gradient of the only channel is a constant: what is left is the map itself."""
    method = Gradients(Loudness(LABELS, SMALL, "multi"), attribution="gradcam")
    batch = method.classifier.analyse(noise(1, 1500), target=1)
    n_frames = batch.spectrogram.magnitude.shape[1]
    expected = batch.spectrogram.log_magnitude**2 / (n_frames * 33)
    torch.testing.assert_close(method.attribute(batch), expected, rtol=1e-4, atol=1e-9)


def test_an_event_moved_by_a_stride_moves_gradcam_by_a_stride():
    method = Gradients(listening_classifier(LABELS), attribution="gradcam")
    wavs = torch.zeros(2, 300 * 186)
    wavs[0, 100 * 186 : 100 * 186 + 1500] = wavs[1, 116 * 186 : 116 * 186 + 1500] = noise(1, 1500)
    first, second = method.attribute(method.classifier.analyse(wavs, target=0))
    torch.testing.assert_close(second[80:216], first[64:200], rtol=0, atol=1e-3 * float(first.abs().max()))


def test_the_last_layer_on_which_the_decision_depends():
    """A head that reads the class token alone does not depend on the patches of the last layer."""
    torch.manual_seed(0)
    for pooling, layer in (("mean", 1), ("cls", 0)):
        vit = ViTClassifier(LABELS, config=VIT, image_frames=96, pooling=pooling)
        method = Gradients(vit, attribution="gradcam")
        assert method.settings.layer == f"embedding_model.layers.{layer}"
        assert method.explain(noise(1, 40000)).mask.any()  # three images side by side, the last one not full
    with pytest.raises(UserError, match=r"does not depend on layer 'embedding_model\.layers\.1': name another layer"):
        Gradients(vit, attribution="gradcam", layer="embedding_model.layers.1")


def test_layers_by_name():
    compact = listening_classifier(LABELS)
    for name in ("stages.0.1", "stages.2.1"):
        method = Gradients(compact, attribution="gradcam", layer=name)
        assert method.settings.layer == name
        assert method.explain(noise(1, 9000)).mask.any()
    with pytest.raises(UserError, match=r"no layer 'head' in .* 'compact', expected one of stages\.0\.1"):
        Gradients(compact, attribution="gradcam", layer="head")
    assert Gradients(wrapped(), attribution="gradcam", layer="convs.0").settings.layer == "convs.0"
    with pytest.raises(UserError, match="layer 'head' gives no feature map"):
        Gradients(wrapped(), attribution="gradcam", layer="head")
    assert Gradients.remark_on(compact, "gradcam") == "of the layer stages.3.1"


def test_no_feature_maps():
    class Mapless(Classifier):
        NAME = "mapless"

        def forward(self, magnitude, valid=None):
            logits = magnitude.mean(1)[:, :3]
            return ClassifierOutput(logits, logits, ())

    words = r"gradcam needs feature maps, and the classifier 'mapless' has none \(.*\): take saliency"
    with pytest.raises(UserError, match=words):
        Gradients(Mapless(LABELS, SMALL), attribution="gradcam")


def test_models_of_other_libraries():
    """An AST, whose answer comes from two special tokens; a TorchScript module, whose layers cannot be observed."""
    torch.manual_seed(0)
    ast = HuggingFaceClassifier(LABELS, config=AST_CONFIG)
    method = Gradients(ast, attribution="gradcam", form="soft")
    assert method.settings.layer.endswith("layers.1")  # of three
    assert Gradients.remark_on(ast, "gradcam") == f"of the layer {method.settings.layer}"
    explanation = method.explain(noise(2, 16000), torch.tensor([1.0, 0.5]))
    torch.testing.assert_close(explanation[1].mask, method.explain(noise(2, 16000)[1:, :8000]).mask, rtol=0, atol=1e-4)
    script = torch.jit.trace(wrapped().module, noise(1, 8000), check_trace=False)
    frozen = ModuleClassifier(LABELS, frontend_for(8000), module=script, arguments={})
    with pytest.raises(UserError, match=r"gradcam needs feature maps, and .* \(it is a TorchScript module, whose lay"):
        Gradients(frozen, attribution="gradcam")
    with pytest.raises(UserError, match=r"guided_backprop changes the gradient of .* and .* of its . ReLUs by"):
        Gradients(frozen, attribution="guided_backprop")
