"""L2I's networks: attention over valid frames, activations of any classifier's maps, published names and lengths."""

import math

import pytest
import torch
from speechbrain.lobes.models.L2I import CNN14PSI_stft_2d, PsiOptimized
from tiny import LABELS, noise

from interpretability.classifiers.base import Classifier
from interpretability.classifiers.cnn14 import Cnn14Classifier
from interpretability.classifiers.compact import CompactClassifier
from interpretability.classifiers.conv2d import Conv2dClassifier
from interpretability.errors import UserError
from interpretability.networks.l2i import Cnn14PSI, CompactPSI, Conv2dPSI, Theta

HOP = 186


def compact():
    torch.manual_seed(0)
    return CompactClassifier(LABELS, n_mels=16, channels=(4, 4, 8, 8)).freeze()


def conv2d():
    torch.manual_seed(0)
    return Conv2dClassifier(LABELS, dim=4, lin_neurons=8).freeze()


def cnn14(emb_dim=64):
    """Of the published shape, with 32 times fewer channels."""
    torch.manual_seed(0)
    return Cnn14Classifier(LABELS, emb_dim=emb_dim, base_channels=2).freeze()


def draw(psi, classifier, batch):
    """Activations [B, T, K]."""
    with torch.no_grad():
        return psi(classifier, batch)


class TestTheta:
    def test_by_hand(self):
        theta = Theta(2, 3, centred=False)
        activations = torch.tensor([[[1.0, 0.0, 9.0], [0.0, 2.0, 9.0]]])
        valid = torch.tensor([[True, True, False]])
        pooled = theta(activations, valid)
        level = [float(theta.attention(activations[0, :, t]).detach()) for t in range(2)]
        first = math.exp(level[0]) / (math.exp(level[0]) + math.exp(level[1]))
        assert pooled.activations[0].tolist() == pytest.approx([first, 2 * (1 - first)], rel=1e-5)
        torch.testing.assert_close(pooled.scores[0], theta.weight @ pooled.activations[0])
        assert theta.classes.bias is None

    def test_attention_takes_no_notice_of_padding(self):
        theta = Theta(4, 3, centred=True)
        activations, valid = noise(2, 4, 7).abs(), torch.arange(7)[None] < torch.tensor([[5], [7]])
        pooled = theta(activations, valid)
        louder = theta(activations.masked_fill(~valid[:, None], 1e3), valid)
        alone = theta(activations[:1, :, :5], valid[:1, :5])
        for name in ("activations", "scores"):
            torch.testing.assert_close(getattr(louder, name), getattr(pooled, name))
            torch.testing.assert_close(getattr(pooled, name)[:1], getattr(alone, name))

    def test_relevance_is_evidence_against_the_other_classes(self):
        """What all classes share tells nothing about any; softmax ignores it, and it is subtracted."""
        theta, pooled = Theta(5, 4, centred=True), noise(2, 5)
        with torch.no_grad():
            theta.classes.weight += noise(5, seed=1)  # of all classes alike
        torch.testing.assert_close(theta.weight.sum(0), torch.zeros(5), rtol=0, atol=1e-6)
        torch.testing.assert_close((pooled @ theta.weight.T).softmax(1), theta.classes(pooled).softmax(1))
        plain = Theta(5, 4, centred=False)  # sigmoids do see it
        assert torch.equal(plain.weight, plain.classes.weight)

    def test_one_frame_is_taken_as_it_is(self):
        activations = noise(1, 4, 1).abs()
        pooled = Theta(4, 3, centred=True)(activations, torch.ones(1, 1, dtype=torch.bool))
        torch.testing.assert_close(pooled.activations, activations[..., 0])


class TestCompact:
    def network(self, classifier):
        torch.manual_seed(1)
        return CompactPSI(classifier, 6, 4).eval()

    @pytest.mark.parametrize("strides", [1, 2])
    def test_an_event_moved_by_k_strides_moves_the_activations_by_k_strides(self, strides):
        classifier = compact()
        psi = self.network(classifier)
        psi.collapse.weight.data *= 20
        event, shift = noise(1, 1500), strides * 16  # frames: whole strides of the coarsest map
        wavs = torch.zeros(2, 300 * HOP)
        wavs[0, 100 * HOP : 100 * HOP + 1500] = event
        wavs[1, (100 + shift) * HOP : (100 + shift) * HOP + 1500] = event
        h = draw(psi, classifier, classifier.analyse(wavs))
        torch.testing.assert_close(h[1, 64 + shift : 200 + shift], h[0, 64:200], rtol=0, atol=1e-4)
        assert h[0, 64:200].std(dim=0).max() > 1e-2

    def test_where_in_frequency_a_sound_lies_is_not_lost(self):
        """A high and a low tone differ in activations even if the merged features are only moved in frequency."""
        psi = self.network(compact())
        features = torch.rand(1, 4, 1, generator=torch.Generator().manual_seed(0))
        low, high = torch.zeros(1, 4, 3, 4), torch.zeros(1, 4, 3, 4)
        low[..., 0], high[..., 3] = features, features
        drawn = [psi.collapse(m.transpose(1, 2).flatten(2)) for m in (low, high)]
        assert (drawn[0] - drawn[1]).abs().max() > 1e-2

    def test_a_classifier_without_feature_maps_is_refused(self):
        class Mapless(Classifier):
            NAME = "mapless"

        with pytest.raises(UserError, match="no feature maps"):
            CompactPSI(Mapless(LABELS), 6, 4)


class TestPublished:
    @pytest.mark.slow
    def test_conv2d_loads_published_names_and_gives_the_published_output(self, capsys):
        classifier = conv2d()
        psi = Conv2dPSI(classifier, 6).eval()
        assert capsys.readouterr().out == ""  # SpeechBrain's initialisation would print
        published = PsiOptimized(dim=4, K=6, use_adapter=False, adapter_reduce_dim=False)
        published.train()(noise(4, 4, 26, 32))  # batch statistics that are not the initial ones
        psi.load_state_dict(published.eval().state_dict())
        batch = classifier.analyse(noise(2, 80000))
        got = draw(psi, classifier, batch)
        with torch.no_grad():
            wanted = published(batch.output.feature_maps[-1])[0][:, 0]
        assert wanted.shape == (2, 417, 6)
        assert wanted.any()
        torch.testing.assert_close(got[:, :417], wanted, rtol=1e-4, atol=1e-6)
        # 417 of 431 frames are drawn: the last one is repeated, not stretched and not filled with zeros.
        torch.testing.assert_close(got[:, 417:], wanted[:, -1:].expand(-1, 14, -1), rtol=1e-4, atol=1e-6)

    def test_cnn14_loads_published_names_and_gives_the_published_output(self):
        classifier = cnn14()
        torch.manual_seed(5)
        published = CNN14PSI_stft_2d(64, 6).eval()
        psi = Cnn14PSI(classifier, 6).eval()
        psi.load_state_dict(published.state_dict())
        batch = classifier.analyse(noise(2, 80000))  # 13, 13, 26 and 53 rows: a length that it accepts
        with torch.no_grad():
            wanted = published(batch.output.feature_maps[:1:-1])
        assert wanted.shape == (2, 6, 431)
        assert wanted.any()
        torch.testing.assert_close(draw(psi, classifier, batch).transpose(1, 2), wanted, rtol=1e-4, atol=1e-6)

    @pytest.mark.parametrize("n_frames", [32, 40, 47, 48, 56, 63, 64, 95])
    def test_cnn14_covers_every_length(self, n_frames):
        """Maps padded with zeros to rows (t, t, 2t, 4t + 1): enough for every clip, and cut to it."""
        classifier = cnn14()
        torch.manual_seed(1)
        psi = Cnn14PSI(classifier, 6).eval()
        batch = classifier.analyse(noise(1, (n_frames - 1) * HOP))
        maps = batch.output.feature_maps[:1:-1]
        t = next(
            t for t in range(1, 9) if all(m.shape[2] <= r for m, r in zip(maps, (t, t, 2 * t, 4 * t + 1), strict=True))
        )
        assert 32 * t + 15 >= n_frames
        padded = [torch.zeros(*m.shape[:2], r, m.shape[3]) for m, r in zip(maps, (t, t, 2 * t, 4 * t + 1), strict=True)]
        for whole, part in zip(padded, maps, strict=True):
            whole[:, :, : part.shape[2]] = part
        with torch.no_grad():
            wanted = CNN14PSI_stft_2d.forward(psi, padded)[..., :n_frames]
        torch.testing.assert_close(draw(psi, classifier, batch).transpose(1, 2), wanted, rtol=1e-4, atol=1e-6)

    @pytest.mark.parametrize(
        ("network", "message"), [(Conv2dPSI, "columns"), (Cnn14PSI, r"channels, expected \(60, 30, 15, 7\)")]
    )
    def test_feature_maps_they_were_not_made_for_are_refused(self, network, message):
        with pytest.raises(UserError, match="use network: compact"):
            network(compact(), 6)
        with pytest.raises(UserError, match=message):
            network(cnn14(emb_dim=60), 6)
