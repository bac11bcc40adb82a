"""NMF interpretation: known bands, relevance and selection against brute force, padding, saved without dictionary."""

import json
from itertools import pairwise

import pytest
import torch
from tiny import LABELS, SMALL, listening_classifier, noise

from interpretability.classifiers.base import Classifier, ClassifierOutput
from interpretability.dictionary import Dictionary, component_mask, decompose
from interpretability.errors import MissingError, UserError
from interpretability.frontend import FrontendSettings, apply_mask
from interpretability.methods import nmf
from interpretability.methods.nmf import NMF

EDGES = (0, 8, 16, 24, 33)
BANDS = ["low", "middle", "high", "top"]
VARIANTS = [
    {"relevance": relevance, "keep": keep, "apply": apply}
    for relevance in ("removal", "gradient")
    for keep in ("fidelity", "threshold")
    for apply in ("log", "linear")
]


class BandClassifier(Classifier):
    """Class k is as likely as band k is loud; it sees nothing else."""

    NAME = "bands"

    def __init__(self, task="single", gain=4.0):
        super().__init__(BANDS, SMALL, task)
        self.gain, self.calls = gain, []

    def forward(self, magnitude, valid=None):
        valid = torch.ones(magnitude.shape[:2]) if valid is None else valid
        count = valid.sum(1, keepdim=True)
        loudness = torch.stack(
            [torch.log1p(magnitude[..., a:b]).mean(2) for a, b in pairwise(EDGES)], dim=2
        )  # [B, T, 4]
        self.calls.append(len(magnitude))
        logits = self.gain * (loudness * valid[..., None]).sum(1) / count
        if self.task == "multi":
            logits = logits - 1.0
        return ClassifierOutput(logits, logits, (magnitude[:, None],))


def bands():
    """A dictionary of disjoint bands in another order: component k is band ORDER[k]."""
    matrix = torch.zeros(SMALL.n_bins, 4)
    for k, band in enumerate(ORDER):
        matrix[EDGES[band] : EDGES[band + 1], k] = 1.0
    return Dictionary(matrix / matrix.norm(dim=0), SMALL, BANDS, "by hand")


ORDER = (2, 0, 3, 1)


def overlapping(settings, n_components=6, power=3):
    matrix = torch.rand(settings.n_bins, n_components, generator=torch.Generator().manual_seed(5)) ** power
    return Dictionary(matrix / matrix.norm(dim=0), settings, LABELS, "by hand")


def brute_probability(classifier, magnitude, masks, target, domain):
    """p of the class under each of [n, T, F] masks of one clip, in plain terms."""
    probabilities = []
    for mask in masks:
        logits = classifier(apply_mask(magnitude, mask[None], domain)).logits.double()[0]
        probabilities.append(
            float(logits.softmax(0)[target] if classifier.task == "single" else logits[target].sigmoid())
        )
    return probabilities


class TestKnownBands:
    @pytest.mark.parametrize("task", ["single", "multi"])
    @pytest.mark.parametrize("settings", VARIANTS, ids=str)
    def test_the_component_of_the_deciding_band_is_the_most_relevant(self, task, settings):
        method = NMF(BandClassifier(task), bands(), **settings).eval()
        wavs = noise(4, 2000)
        for target, name in enumerate(BANDS):
            components = method.explain(wavs, target=name).components
            deciding = ORDER.index(target)
            assert (components.relevance.argmax(1) == deciding).all()
            assert (components.relevance[:, deciding] == 1).all()
            others = components.relevance[:, [k for k in range(4) if k != deciding]]
            # The others count for other classes, or for none.
            assert (others < 0).all() if task == "single" else (others.abs() < 1e-4).all()
            assert components.selected[:, deciding].all()
            assert components.selected.sum(1).tolist() == [1, 1, 1, 1]

    def test_its_mask_is_the_band(self):
        explanation = NMF(BandClassifier(), bands()).explain(noise(2, 2000), target="high")
        wanted = torch.zeros_like(explanation.mask)
        wanted[..., EDGES[2] : EDGES[3]] = 1
        torch.testing.assert_close(explanation.mask, wanted, atol=1e-5, rtol=0)

    def test_gradient_of_a_linear_classifier_is_exact(self):
        """Multi-label, log domain: the logit is linear in the mask, so each component's part is known by hand."""
        classifier = BandClassifier("multi")
        dictionary = overlapping(SMALL, 5)
        explanation = NMF(classifier, dictionary, relevance="gradient").explain(noise(1, 2000), target="middle")
        components, log_magnitude = explanation.components, explanation.spectrogram.log_magnitude
        parts = []
        for k in range(5):
            share = component_mask(dictionary.matrix, components.activations, torch.eye(5)[k : k + 1])
            parts.append((share * log_magnitude)[..., EDGES[1] : EDGES[2]].mean())
        wanted = torch.stack(parts)
        torch.testing.assert_close(components.relevance[0], wanted / wanted.max(), atol=1e-5, rtol=1e-4)


class TestAgainstBruteForce:
    @pytest.mark.parametrize("domain", ["log", "linear"])
    @pytest.mark.parametrize("task", ["single", "multi"])
    def test_relevance_by_removal(self, domain, task, monkeypatch):
        monkeypatch.setattr(nmf, "CHUNK", 4)
        classifier = listening_classifier(LABELS, task=task)
        dictionary = overlapping(classifier.frontend.settings)
        explanation = NMF(classifier, dictionary, apply=domain).explain(noise(1, 6000), target="dog")
        magnitude = explanation.spectrogram.magnitude
        activations = decompose(explanation.spectrogram.log_magnitude, dictionary.matrix, 50)
        torch.testing.assert_close(explanation.components.activations, activations)
        kept = [1 - component_mask(dictionary.matrix, activations, one[None])[0] for one in torch.eye(6)]
        p = brute_probability(classifier, magnitude, [torch.ones_like(kept[0])], 1, domain)[0]
        lost = torch.tensor([p - value for value in brute_probability(classifier, magnitude, kept, 1, domain)])
        torch.testing.assert_close(explanation.components.relevance[0], lost / lost.abs().max(), atol=1e-3, rtol=0)

    @pytest.mark.parametrize("relevance", ["removal", "gradient"])
    @pytest.mark.parametrize("rho", [0.5, 0.9, 1.0])
    def test_the_fewest_components_that_are_enough(self, relevance, rho, monkeypatch):
        monkeypatch.setattr(
            nmf, "CHUNK", 4
        )  # the answer is in the first chunk for some clips, and beyond it for others
        classifier = listening_classifier(LABELS)
        dictionary = overlapping(classifier.frontend.settings, 10)
        explanation = NMF(classifier, dictionary, relevance=relevance, rho=rho).explain(
            noise(5, 6000), target=torch.tensor([0, 1, 2, 0, 1])
        )
        counts = []
        for clip in (explanation[i] for i in range(5)):
            target, components = int(clip.target), clip.components
            order = components.relevance[0].argsort(descending=True)
            masks = []
            for count in range(1, 11):
                kept = torch.zeros(1, 10)
                kept[0, order[:count]] = 1
                masks.append(component_mask(dictionary.matrix, components.activations, kept)[0])
            reached = brute_probability(classifier, clip.spectrogram.magnitude, masks, target, "log")
            supporting = int((components.relevance > 0).sum())
            reached, wanted = reached[:supporting], rho * float(clip.probabilities[0, target])
            enough = [count for count, value in enumerate(reached, 1) if value >= wanted]
            count = enough[0] if enough else 1 + reached.index(max(reached)) if reached else 0
            assert components.selected[0].nonzero()[:, 0].tolist() == sorted(order[:count].tolist())
            wanted = masks[count - 1] if count else torch.zeros_like(masks[0])
            torch.testing.assert_close(clip.mask[0], wanted, atol=1e-5, rtol=0)
            counts.append(count)
        assert len(set(counts)) > 1  # otherwise there was nothing to find

    def test_where_no_number_is_enough_the_closest_is_kept(self):
        # Of the deciding band only a part is in the dictionary: what is kept does not bring back all of the class.
        dictionary = bands()
        dictionary.matrix = dictionary.matrix[:, [1, 2]].clone()  # low and top
        dictionary.matrix[EDGES[3] + 4 :, 1] = 0
        explanation = NMF(BandClassifier("multi"), dictionary, rho=1.0).explain(noise(2, 2000), target="top")
        assert explanation.components.selected.tolist() == [[False, True]] * 2
        assert (explanation.mask[..., EDGES[3] + 4 :] == 0).all()

    @pytest.mark.parametrize("settings", VARIANTS, ids=str)
    def test_a_component_that_counts_against_the_class_is_never_kept(self, settings):
        """Not even where none supports it: then nothing is kept, and nothing is drawn or played as support."""
        dictionary = bands()
        dictionary.matrix = dictionary.matrix[:, [1, 3]]  # low and middle
        explanation = NMF(BandClassifier(), dictionary, **settings).explain(noise(2, 2000), target="top")
        assert (explanation.components.relevance < 0).all()
        assert not explanation.components.selected.any()
        assert not explanation.mask.any()
        assert explanation.describe()["kept_area"] == 0
        assert explanation.component_sounds() == {}

    def test_threshold(self):
        classifier = listening_classifier(LABELS)
        dictionary = overlapping(classifier.frontend.settings, 10)
        counts = []
        for threshold in (0.0, 0.2, 0.9):
            method = NMF(classifier, dictionary, keep="threshold", threshold=threshold)
            explanation = method.explain(noise(3, 6000))
            components = explanation.components
            assert torch.equal(components.selected, components.relevance > threshold)
            wanted = component_mask(dictionary.matrix, components.activations, components.selected)
            assert torch.equal(explanation.mask, wanted)
            counts.append(int(components.selected.sum()))
        assert counts[0] > counts[2] >= 0


class TestBatches:
    @pytest.mark.parametrize("settings", VARIANTS, ids=str)
    def test_a_padded_clip_gives_what_it_gives_alone(self, settings):
        classifier = listening_classifier(LABELS)
        method = NMF(classifier, overlapping(classifier.frontend.settings), **settings)
        sizes = (6000, 2501, 200)
        wavs = noise(3, 6000)
        together = method.explain(wavs, torch.tensor(sizes) / 6000)
        assert (together.mask[~together.spectrogram.valid] == 0).all()
        assert not together.components.activations.transpose(1, 2)[~together.spectrogram.valid].any()
        for i, n in enumerate(sizes):
            alone = method.explain(wavs[i : i + 1, :n])
            torch.testing.assert_close(together[i].mask, alone.mask, atol=1e-4, rtol=0)
            torch.testing.assert_close(together[i].components.relevance, alone.components.relevance, atol=1e-3, rtol=0)
            assert torch.equal(together[i].components.selected, alone.components.selected)

    def test_silence_and_a_clip_beside_it(self):
        for settings in VARIANTS:
            method = NMF(BandClassifier(), bands(), **settings)
            wavs = torch.stack([torch.zeros(2000), noise(2000)])
            explanation = method.explain(wavs, target="low")
            assert not explanation.mask[0].any()
            assert not explanation.components.relevance[0].any()
            assert not explanation.components.selected[0].any()
            assert explanation.mask[1].any()

    def test_masked_clips_go_through_the_classifier_a_few_at_a_time(self, monkeypatch):
        classifier = BandClassifier()
        method = NMF(classifier, overlapping(SMALL, 30))
        batch = classifier.analyse(noise(2, 2000))
        classifier.calls.clear()
        method.interpret(batch)
        assert max(classifier.calls) == nmf.CHUNK
        # Long clips one by one.
        monkeypatch.setattr(nmf, "CHUNK_FRAMES", 10)
        classifier.calls.clear()
        method.interpret(batch)
        assert set(classifier.calls) == {1}

    def test_components_that_are_not_there_are_not_removed(self):
        matrix = bands().matrix.clone()
        matrix = torch.cat([matrix, torch.zeros(SMALL.n_bins, 3)], dim=1)
        classifier = BandClassifier()
        method = NMF(classifier, Dictionary(matrix, SMALL, BANDS, "by hand"), keep="threshold")
        batch = classifier.analyse(noise(1, 2000))
        classifier.calls.clear()
        components = method.interpret(batch).components
        assert sum(classifier.calls) == 4
        assert (components.relevance[0, 4:] == 0).all()

    def test_the_number_of_components_is_reported(self):
        classifier = BandClassifier()
        method = NMF(classifier, overlapping(SMALL))
        interpretation = method.interpret(classifier.analyse(noise(3, 2000)))
        assert interpretation.scores["n_components"].tolist() == interpretation.components.selected.sum(1).tolist()


@pytest.mark.parametrize("apply", ["log", "linear"])
def test_silent_frames_without_a_gradient_take_no_relevance_away(apply):
    class Root(BandClassifier):
        """Roots of energies, which have no gradient in silence."""

        def forward(self, magnitude, valid=None):
            levels = [magnitude[..., a:b].square().sum(2).sqrt().mean(1) for a, b in pairwise(EDGES)]
            logits = torch.stack(levels, dim=1)
            return ClassifierOutput(logits, logits, (magnitude[:, None],))

    wavs = noise(1, 1500)
    method = NMF(Root().freeze(), bands(), relevance="gradient", apply=apply)
    with torch.no_grad():
        for silent in (slice(0, 0), slice(400, 600)):
            wavs[:, silent] = 0
            components = method.explain(wavs, target="top").components
            assert components.relevance.isfinite().all()
            assert components.relevance[0].argmax() == ORDER.index(3)


class TestSettings:
    @pytest.mark.parametrize("settings", VARIANTS, ids=str)
    def test_saved_and_loaded_it_needs_no_dictionary_file(self, settings, tmp_path):
        classifier = listening_classifier(LABELS)
        path = overlapping(classifier.frontend.settings).save(tmp_path / "dictionary.pt")
        method = NMF(classifier, path, **settings)
        saved, weights = json.loads(json.dumps(method.settings.to_dict())), method.state_dict()
        path.unlink()
        with pytest.raises(MissingError, match=r"train_nmf\.py"):
            NMF(classifier, path)
        loaded = NMF(classifier, **saved)
        loaded.load_state_dict(weights)
        assert loaded.settings == method.settings
        assert torch.equal(loaded.explain(noise(2, 4000)).mask, method.explain(noise(2, 4000)).mask)

    def test_another_stft_is_refused(self):
        with pytest.raises(UserError, match=r"NMF: .*n_fft 1024 \(needed: 64\)"):
            NMF(BandClassifier(), overlapping(FrontendSettings()))

    @pytest.mark.parametrize(
        ("name", "value"),
        [
            ("relevance", "shap"),
            ("keep", "all"),
            ("divergence", "is"),
            ("rho", 0.0),
            ("rho", 1.1),
            ("threshold", 1.0),
            ("threshold", -0.1),
            ("n_iterations", 0),
            ("sparsity", -1.0),
        ],
    )
    def test_settings_out_of_range_are_refused(self, name, value):
        with pytest.raises(UserError, match=f"nmf: {name} is {value!r}, expected "):
            NMF(BandClassifier(), bands(), **{name: value})

    def test_it_has_nothing_to_train_and_leaves_gradients_as_they_are(self):
        classifier = listening_classifier(LABELS)
        method = NMF(classifier, overlapping(classifier.frontend.settings), relevance="gradient")
        assert not method.trainable
        assert not list(method.parameters())
        assert list(method.state_dict()) == ["dictionary"]
        explanation = method.explain(noise(1, 4000))
        assert not explanation.mask.requires_grad
        assert not explanation.components.relevance.requires_grad
        assert all(parameter.grad is None for parameter in classifier.parameters())
        assert torch.is_grad_enabled()
