"""Models that let no gradient through: one line that names the cause and what works, wherever a gradient is taken."""

import pytest
import torch
from tiny import noise, training_step
from waveform_models import LABELS, MelCnn, make

from interpretability.classifiers.gradient import NoGradientError, check_gradient, gradient_errors
from interpretability.dictionary import Dictionary
from interpretability.errors import UserError
from interpretability.frontend import MaskedPair
from interpretability.methods.attributions import ATTRIBUTIONS
from interpretability.methods.gradients import Gradients
from interpretability.methods.lmac import LMAC
from interpretability.methods.nmf import NMF


class NoGrad(MelCnn):
    @torch.no_grad()
    def forward(self, wavs):
        return super().forward(wavs)


class Detached(MelCnn):
    def forward(self, wavs):
        return super().forward(wavs).detach()


class Inference(MelCnn):
    @torch.inference_mode()
    def forward(self, wavs):
        return super().forward(wavs)


class NumPyInside(MelCnn):
    def forward(self, wavs):
        return super().forward(torch.from_numpy(wavs.numpy() * 2))


class NumPyOutput(MelCnn):
    def forward(self, wavs):
        return super().forward(wavs).detach().numpy()


class SavedInPlace(MelCnn):
    def forward(self, wavs):
        powers = wavs.exp()
        logits = super().forward(wavs) + (powers * powers)[:, :3]
        powers.mul_(2)
        return logits


MODELS = {
    NoGrad: "torch.no_grad, detach or NumPy in it",
    Detached: "torch.no_grad, detach or NumPy in it",
    Inference: "torch.no_grad, detach or NumPy in it",
    NumPyInside: "it computes with NumPy",
    NumPyOutput: "torch.no_grad, detach or NumPy in it",
    SavedInPlace: "it changes what it computes with in place",
}


@pytest.fixture(scope="module", params=MODELS, ids=lambda kind: kind.__name__)
def classifier(request):
    return make(request.param())


def test_every_use_of_a_gradient_says_why_there_is_none(classifier):
    """Gradient methods, NMF by gradients, and training on the classifier's answers."""
    cause = MODELS[type(classifier.module)]
    wanted = rf"{classifier.title} lets no gradient through \({cause}\): .* asks for answers only: lime, rise"
    for attribution in ATTRIBUTIONS:
        if attribution == "gradcam" and isinstance(classifier.module, SavedInPlace):
            continue  # its gradient goes no further back than to a layer, and meets nothing that was changed
        # What has rules for modules looks at these first, and some of these models have none of them.
        rules = (
            "|runs none, so that it would be"
            if attribution in ("deeplift", "guided_backprop", "guided_gradcam")
            else ""
        )
        with pytest.raises(UserError, match=wanted + rules):
            Gradients(classifier, attribution=attribution, n_steps=2, n_copies=2).explain(noise(1, 4000))
    clips = classifier.frontend.clips(noise(1, 4000))
    mask = torch.full_like(clips.spectrogram.magnitude, 0.5, requires_grad=True)
    with pytest.raises(NoGradientError, match=wanted), gradient_errors(classifier.title):
        classifier.classify_pair(MaskedPair.of(clips, mask)).inside.sum().backward()
    with pytest.raises(NoGradientError, match=wanted):
        nmf(classifier, relevance="gradient").explain(noise(1, 4000))


def test_they_are_explained_by_what_needs_no_gradient(classifier):
    explanation = nmf(classifier).explain(noise(1, 4000))
    assert explanation.mask.shape == explanation.spectrogram.magnitude.shape


def nmf(classifier, **settings):
    frontend = classifier.frontend.settings
    columns = torch.rand(frontend.n_bins, 3, generator=torch.Generator().manual_seed(0))
    dictionary = Dictionary(columns / columns.norm(dim=0), frontend, LABELS, "mu")
    return NMF(classifier, dictionary=dictionary, n_iterations=5, **settings)


def test_a_change_of_the_input_in_place_touches_neither_the_sound_nor_the_gradient():
    class InPlace(MelCnn):
        def forward(self, wavs):
            wavs -= wavs.mean(1, keepdim=True) + 0.1
            return super().forward(wavs)

    classifier = make(InPlace())
    wavs = noise(1, 4000)
    explanation = Gradients(classifier, attribution="saliency").explain(wavs)
    assert torch.equal(explanation.sound, wavs)
    assert explanation.mask.any()


def test_other_errors_stay_as_they_are():
    with torch.enable_grad(), pytest.raises(RuntimeError, match="out of paper"), gradient_errors("Net"):
        raise RuntimeError("out of paper")
    with torch.no_grad():
        assert check_gradient("Net", torch.ones(1)).item() == 1


class Root(MelCnn):
    """Takes roots of its own, which have no gradient in digital silence."""

    def forward(self, wavs):
        maps = self.mel(wavs).sqrt()[:, None]
        return self.head(self.blocks(self.stem(maps)).mean((2, 3)))


@pytest.fixture
def with_gaps():
    """A sound, the same with a gap of digital silence, and silence."""
    wavs = noise(1, 8000).repeat(3, 1)
    wavs[1, 3000:5000], wavs[2] = 0, 0
    return wavs


def test_digital_silence_takes_the_gradient_of_no_other_frame(with_gaps):
    classifier = make(Root())
    batch = classifier.analyse(with_gaps, target=torch.tensor([0, 0, 0]))
    attribution = Gradients(classifier, attribution="saliency").attribute(batch)
    assert attribution.isfinite().flatten(1).all(1).tolist() == [True, True, False]
    silent = ~batch.spectrogram.magnitude[1].any(1)
    assert silent.sum() > 15
    assert not attribution[1][silent].any()
    assert attribution[1][~silent].any(1).all()


def test_digital_silence_in_a_clip_does_not_end_a_training(with_gaps):
    """What is trained on the model's answers has gradients in all its parameters."""
    method = LMAC(make(Root(), layers=("blocks.0", "blocks.1")), channels=4, decoder_channels=(4,))
    _, terms = training_step(method, with_gaps[:2])
    terms["loss"].backward()
    assert all(parameter.grad.isfinite().all() for parameter in method.parameters())
