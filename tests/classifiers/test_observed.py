"""A layer of each classifier, seen from the spectrogram: the feature maps that the classifier itself gives."""

import pytest
import tiny
import torch
from relu_networks import wrapped
from tiny import LABELS, noise
from transformers_models import AST_CONFIG

from interpretability.classifiers.cnn14 import Cnn14Classifier
from interpretability.classifiers.compact import CompactClassifier
from interpretability.classifiers.conv2d import Conv2dClassifier
from interpretability.classifiers.focalnet import FocalNetClassifier
from interpretability.classifiers.hooks import recorded_outputs
from interpretability.classifiers.huggingface import HuggingFaceClassifier
from interpretability.classifiers.layers import map_of
from interpretability.classifiers.vit import ViTClassifier
from interpretability.errors import UserError

FOCALNET = {"image_size": 32, "embed_dim": 4, "depths": [1, 1, 2]}
CASES = {
    "compact": lambda: CompactClassifier(LABELS, n_mels=32, channels=(4, 8)),
    "conv2d": lambda: Conv2dClassifier(LABELS, dim=6, lin_neurons=8),
    "cnn14": lambda: Cnn14Classifier(LABELS, emb_dim=8, base_channels=2),
    "vit": lambda: ViTClassifier(LABELS, config=tiny.VIT, image_frames=40),
    "focalnet": lambda: FocalNetClassifier(LABELS, config=FOCALNET, image_frames=40),
    "module": wrapped,
    "ast": lambda: HuggingFaceClassifier(LABELS, config=AST_CONFIG),
}


@pytest.mark.parametrize("kind", CASES)
def test_its_maps_are_the_feature_maps(kind):
    torch.manual_seed(0)
    classifier = CASES[kind]().freeze()
    # Long enough for three images, and shorter than the smallest input.
    for n_samples in (18001, 2000):
        batch = classifier.analyse(noise(1, n_samples))
        n_frames = batch.spectrogram.magnitude.shape[1]
        grids = classifier.feature_grids(n_frames)
        assert len(classifier.layer_levels) == len(grids)
        for name, level in classifier.layer_levels.items():
            layer = classifier.observed_layer(name)
            with torch.no_grad(), recorded_outputs({name: layer.module}, map_of) as recorded:
                output = classifier.classify(batch.spectrogram)
            maps = layer.join(layer.to_maps(recorded[name]), n_frames)
            given, grid = output.feature_maps[level], layer.grid(n_frames)
            assert maps.shape == given.shape
            assert torch.equal(grid.frames, grids[level].frames)
            assert torch.equal(grid.bins, grids[level].bins)
            assert maps.shape[2:] == (len(grid.frames), len(grid.bins))
            if kind == "conv2d" and level < 3:
                maps = maps.relu()
            if not (kind == "vit" and level == len(grids) - 1):  # which is normalised after its last layer
                inside = given != 0  # beyond what a model hears there are zeros
                torch.testing.assert_close(maps[inside], given[inside], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("kind", ["compact", "focalnet", "module"])
def test_a_layer_that_is_not_there(kind):
    with pytest.raises(UserError, match="no layer 'nothing' in"):
        CASES[kind]().freeze().observed_layer("nothing")
