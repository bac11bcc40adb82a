"""Feature ablation against Captum called directly on the spectrogram, with a mask of its features."""

from dataclasses import replace

import torch
from captum.attr import FeatureAblation as Ablation
from tiny import LABELS, listening_classifier, noise

from interpretability.methods.feature_ablation import FeatureAblation
from interpretability.probabilities import log_odds


@torch.no_grad()
def test_equals_captum_on_the_spectrogram_itself():
    """Captum removes bins of X to 0; a patch is all bins of one number."""
    classifier = listening_classifier(LABELS)
    batch = classifier.analyse(noise(1, 9000), target=1)
    method = FeatureAblation(classifier, calls=50, times=4, bands=3)
    patches = method.patches(batch.clip(0))

    def score(log_magnitude):
        clip = batch.spectrogram[torch.zeros(len(log_magnitude), dtype=torch.int64)]
        logits = classifier.classify(replace(clip, magnitude=torch.expm1(log_magnitude))).logits.double()
        return log_odds(logits, batch.target.expand(len(logits)), "single")

    numbers = patches.spread(torch.arange(12).view(1, 4, 3))
    expected = Ablation(score).attribute(
        batch.spectrogram.log_magnitude, feature_mask=numbers, perturbations_per_eval=5
    )
    values = torch.stack([expected[0][numbers[0] == k][0] for k in range(12)]).view(4, 3)
    torch.testing.assert_close(method.attribute(batch)[0], patches.smooth(values).float(), rtol=1e-4, atol=1e-5)
    assert values.std() > 1e-3
