"""L-MAC's published decoder: its names and its output, any length of clip, classifiers that it was not made for."""

import pytest
import torch
from speechbrain.lobes.models.Cnn14 import CNN14PSI_stft
from tiny import LABELS, noise

from interpretability.classifiers.base import AnalysedBatch, ClassifierOutput
from interpretability.classifiers.cnn14 import Cnn14Classifier
from interpretability.classifiers.conv2d import Conv2dClassifier
from interpretability.errors import UserError
from interpretability.networks.lmac import PublishedDecoder


class TestPublished:
    def classifier(self):
        """Its last four maps have 4, 8, 16 and 32 channels: dim / 8, / 4, / 2 and dim."""
        torch.manual_seed(0)
        return Cnn14Classifier(LABELS, base_channels=1, emb_dim=32).freeze()

    def batch(self, classifier, n_frames, dim=32):
        """Two clips with feature maps as CNN14 gives them for so many frames and 80 mel bands, finest first."""
        sizes = ((8, dim // 8), (16, dim // 4), (32, dim // 2), (32, dim))
        maps = tuple(noise(2, c, n_frames // s, 80 // s, seed=s + c) for s, c in sizes)
        clips = classifier.frontend.clips(torch.zeros(2, (n_frames - 1) * 186))
        return AnalysedBatch(clips, ClassifierOutput(torch.zeros(2, 3), torch.zeros(2, 32), maps), torch.tensor([0, 1]))

    def network(self, classifier):
        torch.manual_seed(0)
        return PublishedDecoder(classifier)

    def test_published_names_load_and_give_the_published_output(self):
        classifier, published = self.classifier(), CNN14PSI_stft(dim=32)
        network = self.network(classifier)
        network.load_state_dict(published.state_dict())
        batch = self.batch(classifier, 431)
        with torch.no_grad():
            wanted = published(batch.output.feature_maps[::-1])[:, 0]
            logits = network(classifier, batch)
        assert wanted.shape == (2, 425, 513)
        torch.testing.assert_close(logits[:, :425], wanted)
        torch.testing.assert_close(logits[:, 425:], wanted[:, -1:].expand(-1, 6, -1))

    @pytest.mark.parametrize("n_frames", [64, 65, 80, 87, 200, 216, 223, 400, 410, 500])
    def test_any_length(self, n_frames):
        classifier = self.classifier()
        with torch.no_grad():
            logits = self.network(classifier)(classifier, self.batch(classifier, n_frames))
        assert logits.shape == (2, n_frames, 513)
        assert torch.isfinite(logits).all()
        # Drawn, and not repeated for more than the few frames that the published network lacks.
        drawn = (logits.diff(dim=1).abs().amax((0, 2)) > 0).sum()
        assert int(drawn) >= n_frames - 1 - 7

    def test_other_feature_maps_are_refused(self):
        with pytest.raises(UserError, match="network: compact"):
            PublishedDecoder(Conv2dClassifier(LABELS, dim=4, lin_neurons=8))
