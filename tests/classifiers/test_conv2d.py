"""The published classifier: parameter names that load, cosines times a scale."""

import torch
from speechbrain.lobes.models.ECAPA_TDNN import Classifier as CosineHead
from speechbrain.lobes.models.PIQ import Conv2dEncoder_v2

from interpretability.classifiers.conv2d import Conv2dClassifier


def test_conv2d_loads_published_names():
    """State saved from SpeechBrain's own modules loads, and gives their cosines times the scale."""
    torch.manual_seed(0)
    encoder, head = Conv2dEncoder_v2(dim=6), CosineHead(6, lin_blocks=1, lin_neurons=8, out_neurons=5)
    classifier = Conv2dClassifier(list("abcde"), dim=6, lin_neurons=8, logit_scale=30.0)
    classifier.embedding_model.load_state_dict(encoder.state_dict())
    classifier.classifier.load_state_dict(head.state_dict())
    for module in (classifier, encoder, head):
        module.eval()
    magnitude = torch.rand(2, 431, 513) * 4
    wanted = head(encoder(torch.log1p(magnitude)).mean((-1, -2)))[:, 0]
    torch.testing.assert_close(classifier(magnitude).logits, 30.0 * wanted)
    names = set(classifier.state_dict())
    assert {"embedding_model.conv1.weight", "embedding_model.resblock.block.0.weight", "classifier.weight"} <= names
