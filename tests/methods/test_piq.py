"""PIQ: loss by hand, which keys draw the mask, the network that is chosen, gradients."""

import math

import pytest
import torch
from tiny import LABELS, noise, training_step

from interpretability.classifiers.compact import CompactClassifier
from interpretability.classifiers.conv2d import Conv2dClassifier
from interpretability.classifiers.focalnet import FocalNetClassifier
from interpretability.classifiers.vit import ViTClassifier
from interpretability.errors import UserError
from interpretability.methods.piq import PIQ
from interpretability.networks.piq import CompactPSI, FocalNetPSI, PublishedPSI, ViTPSI, key_classes
from interpretability.probabilities import MaskedLogits


def compact(n_classes=3):
    torch.manual_seed(0)
    return CompactClassifier([str(i) for i in range(n_classes)], n_mels=16, channels=(4, 4, 8, 8))


def conv2d():
    torch.manual_seed(0)
    return Conv2dClassifier(LABELS, dim=4, lin_neurons=8)


def vit():
    """A small ViT whose images have 14 x 14 patches, as the published decoder wants them."""
    torch.manual_seed(0)
    config = {
        "image_size": 56,
        "patch_size": 4,
        "hidden_size": 8,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 16,
    }
    return ViTClassifier(LABELS, config=config, lin_neurons=8, image_frames=431)


def focalnet():
    """A small FocalNet whose last stage has 7 x 7 cells, as the published one."""
    torch.manual_seed(0)
    config = {"image_size": 56, "embed_dim": 8, "depths": [1, 1], "focal_levels": [1, 1], "focal_windows": [3, 3]}
    return FocalNetClassifier(LABELS, config=config, lin_neurons=8, image_frames=431)


def small(**settings):
    torch.manual_seed(1)
    return PIQ(compact(), **{"codebook_size": 12, "channels": 8, "decoder_channels": (4, 4), **settings})


class TestObjective:
    def test_terms_by_hand(self):
        piq = small(rec_weight=2.0, commitment=0.5)
        prediction, terms = training_step(piq, noise(2, 6000))
        terms = {name: value.detach() for name, value in terms.items()}
        distance = (prediction.drawing.adapted - prediction.drawing.quantised).detach().square().mean()
        assert float(terms["codebook"]) == pytest.approx(float(distance), rel=1e-5)
        assert float(terms["commitment"]) == pytest.approx(float(distance), rel=1e-5)
        wanted = 2.0 * terms["reconstruction"] + 1.0 * distance + 0.5 * distance
        assert float(terms["loss"]) == pytest.approx(float(wanted), rel=1e-5)

    def test_faithfulness_is_the_in_out_pair(self):
        piq = small(faithfulness_weight=3.0, outside_weight=0.1, cap=2.0)
        batch = piq.classifier.analyse(noise(1, 6000), target=1)
        prediction = piq(batch)
        masked = MaskedLogits(torch.zeros(1, 3), torch.tensor([[0.0, -50.0, 0.0]]))
        with_pair = piq.objective(batch, prediction, masked)
        without = small().objective(batch, prediction, None)
        difference = float((with_pair["loss"] - without["loss"]).detach())
        assert difference == pytest.approx(3.0 * (math.log(3.0) - 0.1 * 2.0), rel=1e-5)

    def test_each_term_pulls_on_its_own_side(self):
        """|sg(u) - e|² moves the keys and |u - sg(e)|² the features, each with its own weight."""
        piq = small(commitment=0.25)
        for term, moved, still in (("codebook", "quantised", "adapted"), ("commitment", "adapted", "quantised")):
            batch = piq.classifier.analyse(noise(2, 6000))
            prediction = piq(batch)
            drawing = prediction.drawing
            for name in ("adapted", "quantised"):
                setattr(drawing, name, getattr(drawing, name).detach().requires_grad_())
            terms = piq.objective(batch, prediction, None)
            terms[term].backward(retain_graph=True)
            assert getattr(drawing, moved).grad.abs().sum() > 0
            assert getattr(drawing, still).grad is None
            alone = getattr(drawing, moved).grad.clone()
            terms["loss"].backward()
            weight = 1.0 if term == "codebook" else 0.25
            torch.testing.assert_close(getattr(drawing, moved).grad - alone, weight * alone)

    def test_independent_of_the_batch_size(self):
        piq = small().eval()
        wavs = noise(4, 6000)
        with torch.no_grad():
            whole = training_step(piq, wavs)[1]
            single = [training_step(piq, wavs[i : i + 1])[1] for i in range(4)]
        for name, value in whole.items():
            assert float(value) == pytest.approx(sum(float(s[name]) for s in single) / 4, rel=1e-4)

    def test_gradients_reach_every_parameter_but_the_classifiers(self):
        piq = small(faithfulness_weight=1.0)
        training_step(piq, noise(4, 6000), torch.tensor([1.0, 0.5, 0.8, 1.0]))[1]["loss"].backward()
        for name, parameter in piq.named_parameters():
            assert parameter.grad is not None, name
            assert torch.isfinite(parameter.grad).all(), name
        assert piq.psi.codebook.embedding.weight.grad.abs().sum() > 0
        assert piq.psi.adapter.lateral[0].weight.grad.abs().sum() > 0  # through the straight-through estimator
        assert all(parameter.grad is None for parameter in piq.classifier.parameters())

    @pytest.mark.parametrize(("network", "classifier"), [("vit", vit), ("focalnet", focalnet)])
    @pytest.mark.slow
    def test_behind_images_it_learns_with_every_parameter(self, network, classifier):
        piq = PIQ(classifier(), network=network, codebook_size=6, faithfulness_weight=1.0).train()
        _, terms = training_step(piq, noise(3, 30000), torch.tensor([1.0, 0.7, 0.4]))
        terms["loss"].backward()
        missing = [name for name, parameter in piq.named_parameters() if parameter.grad is None]
        assert not missing

    def test_silence_gives_a_finite_loss(self):
        prediction, terms = training_step(small(faithfulness_weight=1.0), torch.zeros(2, 6000))
        assert torch.isfinite(prediction.mask).all()
        assert torch.isfinite(terms["loss"])


def test_the_mask_depends_on_the_keys_of_the_explained_class_alone():
    piq = small().eval()
    wavs = noise(1, 8000)
    before = [piq.explain(wavs, target=c).mask for c in range(3)]
    with torch.no_grad():
        piq.psi.codebook.embedding.weight[piq.psi.codebook.classes == 1] += 1.0
    after = [piq.explain(wavs, target=c).mask for c in range(3)]
    assert torch.equal(before[0], after[0])
    assert torch.equal(before[2], after[2])
    assert not torch.equal(before[1], after[1])


@pytest.mark.parametrize("n_classes", [2, 5, 12])
def test_the_number_of_classes_is_the_classifiers(n_classes):
    piq = PIQ(compact(n_classes), codebook_size=24, channels=8, decoder_channels=(4, 4))
    assert piq.psi.codebook.classes.unique().tolist() == list(range(n_classes))


@pytest.mark.parametrize(
    ("network", "classifier", "kind"),
    [
        ("compact", compact, CompactPSI),
        ("published", conv2d, PublishedPSI),
        ("vit", vit, ViTPSI),
        ("focalnet", focalnet, FocalNetPSI),
    ],
)
def test_the_network_and_the_sizes_of_its_codebook_are_those_of_the_settings(network, classifier, kind):
    psi = PIQ(classifier(), network=network, codebook_size=13, shared_keys=3, decoder_channels=(4, 4)).psi
    assert isinstance(psi, kind)
    assert len(psi.codebook.embedding.weight) == 13
    classes = psi.codebook.classes if network == "compact" else psi.classes
    assert torch.equal(classes, key_classes(13, 3, 3))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"network": "big"}, "piq: network is 'big', expected one of compact, published, vit, focalnet"),
        ({"codebook_size": 5, "shared_keys": 3}, "every class needs one"),
    ],
)
def test_settings_that_do_not_fit(settings, message):
    with pytest.raises(UserError, match=message):
        small(**settings)
