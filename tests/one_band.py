"""A classifier that hears one band of frequencies: what explains its decision is known."""

import torch
from tiny import SMALL, noise

from interpretability.classifiers.base import AnalysedBatch, Classifier, ClassifierOutput

BAND = slice(8, 16)  # bins of the class "yes", of 33


class OneBand(Classifier):
    """The logit of "yes" is how far one band is louder than a threshold; all other logits are 0."""

    NAME = "one band"

    def __init__(self, band=BAND, gain=8.0, labels=("no", "yes"), detached=False, threshold=0.5):
        super().__init__(labels, SMALL)
        self.band, self.detached, self.threshold = band, detached, threshold
        self.gain = torch.nn.Parameter(torch.tensor(gain))
        self.freeze()

    def forward(self, magnitude, valid=None):
        valid = torch.ones(magnitude.shape[:2]) if valid is None else valid
        loud = torch.log1p(magnitude[..., self.band]).mean(2)
        yes = self.gain * ((loud * valid).sum(1) / valid.sum(1) - self.threshold)
        yes = yes.detach() if self.detached else yes
        at = self.labels.index("yes")
        logits = torch.stack([yes if k == at else torch.zeros_like(yes) for k in range(len(self.labels))], 1)
        return ClassifierOutput(logits, logits, ())


def analysed(classifier, *sizes, seed=0):
    """Noise at the level it has, in which "yes" is explained; a clip of size 0 is silence."""
    wavs = noise(len(sizes), max(*sizes, 1000), seed=seed)
    for wav, size in zip(wavs, sizes, strict=True):
        wav[size:] = 0
    lengths = torch.tensor([size or 1000 for size in sizes]) / wavs.shape[1]
    clips = classifier.frontend.clips(wavs, lengths)
    target = torch.full((len(sizes),), classifier.labels.index("yes"))
    with torch.no_grad():
        return AnalysedBatch(clips, classifier.classify_sound(clips), target)
