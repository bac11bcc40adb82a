"""L2I: loss by hand, relevance, the mask of the selected components, lengths, one artefact, learning."""

import math

import numpy as np
import pytest
import torch
from tiny import LABELS, noise, training_step
from torch.nn import functional

from interpretability.classifiers.base import AnalysedBatch, ClassifierOutput
from interpretability.classifiers.cnn14 import Cnn14Classifier
from interpretability.classifiers.compact import CompactClassifier
from interpretability.classifiers.conv2d import Conv2dClassifier
from interpretability.dictionary import Dictionary
from interpretability.errors import MissingError, UserError
from interpretability.frontend import Clips, Frontend, FrontendSettings, Spectrogram
from interpretability.lengths import mean_over_valid
from interpretability.methods.l2i import L2I, L2IPrediction, divergence, imitation, in_top, relevance_of
from interpretability.networks.l2i import Cnn14PSI, CompactPSI, Conv2dPSI
from interpretability.probabilities import MaskedLogits

HOP = 186


def compact(**settings):
    torch.manual_seed(0)
    return CompactClassifier(LABELS, n_mels=16, channels=(4, 4, 8, 8), **settings)


def conv2d():
    torch.manual_seed(0)
    return Conv2dClassifier(LABELS, dim=4, lin_neurons=8)


def cnn14(emb_dim=64):
    """Of the published shape, with 32 times fewer channels."""
    torch.manual_seed(0)
    return Cnn14Classifier(LABELS, emb_dim=emb_dim, base_channels=2)


def words(n_components=6, settings=None):
    settings = settings or FrontendSettings()
    matrix = torch.rand(settings.n_bins, n_components, generator=torch.Generator().manual_seed(0)).square()
    return Dictionary(matrix / matrix.norm(dim=0), settings, LABELS, "euclidean")


NETWORKS = {
    "compact": lambda **s: L2I(compact(), words(), channels=4, **s),
    "conv2d": lambda **s: L2I(conv2d(), words(), network="conv2d", **s),
    "cnn14": lambda **s: L2I(cnn14(), words(), network="cnn14", **s),
    "compact on conv2d": lambda **s: L2I(conv2d(), words(), channels=4, **s),
    "compact on cnn14": lambda **s: L2I(cnn14(), words(), channels=4, **s),
}


def make(network="compact", **settings):
    torch.manual_seed(1)
    return NETWORKS[network](**settings)


def log_softmax(values):
    values = np.asarray(values, dtype=np.float64)
    return values - np.log(np.exp(values - values.max()).sum()) - values.max()


class TestObjective:
    """Two clips of 3 frames and 513 bins, the second one frame shorter; numbers that can be followed by hand."""

    def case(self, fidelity_weight=3.0, mask_weight=4.0):
        weights = {"fidelity_weight": fidelity_weight, "mask_weight": mask_weight}
        l2i = L2I(compact(), words(2), channels=4, reconstruction_weight=2.0, activation_weight=0.5, **weights)
        valid = torch.tensor([[True, True, True], [True, True, False]])
        # X is 2 where a frame is valid, W H is 1.5 in the first clip and 4 in the second, padding included.
        magnitude = torch.full((2, 3, 513), math.expm1(2.0)) * valid[..., None]
        clips = Clips(torch.zeros(2, 400), torch.tensor([400, 300]), l2i.frontend)
        clips.analysed = Spectrogram(magnitude, torch.zeros_like(magnitude), valid, clips.lengths, 400)
        drawn = torch.tensor([1.5, 4.0])[:, None, None].expand(2, 3, 513)
        activations = torch.tensor([[[1.0, 2.0, 3.0], [0.0, 0.0, 6.0]], [[4.0, 4.0, 0.0], [1.0, 0.0, 0.0]]])
        mask = torch.tensor([0.25, 0.5])[:, None, None] * valid[..., None].expand(2, 3, 513)
        scores = torch.tensor([[0.0, 1.0, 2.0], [1.0, -1.0, 0.0]])
        nothing = torch.zeros(2, 2)
        prediction = L2IPrediction(mask, activations, drawn, nothing, scores, nothing, nothing > 0)
        output = ClassifierOutput(torch.tensor([[1.0, 0.0, 3.0], [0.0, 0.0, 0.5]]), nothing, ())
        masked = MaskedLogits(torch.tensor([[0.5, 0.0, 1.0], [2.0, 0.0, 0.0]]), torch.zeros(2, 3))
        return l2i, (AnalysedBatch(clips, output, output.predicted), prediction, masked)

    def test_every_term_and_their_sum(self):
        l2i, (batch, prediction, masked) = self.case()
        terms = {name: float(value) for name, value in l2i.objective(batch, prediction, masked).items()}
        wanted = {
            "reconstruction": (0.5**2 + 2.0**2) / 2,
            "activation": ((1 + 2 + 3 + 6) / 6 + (4 + 4 + 1) / 4) / 2,
            "mask_mean": (0.25 + 0.5) / 2,
            "fid_top1": 0.5,  # class 2 in both: the first clip's highest score, not the second's
        }
        goals = [log_softmax(row) for row in batch.output.logits.tolist()]
        scores = [log_softmax(row) for row in prediction.scores.tolist()]
        inside = [log_softmax(row) for row in masked.inside.tolist()]
        wanted["imitation"] = np.mean([-(np.exp(p) * s).sum() for p, s in zip(goals, scores, strict=True)])
        wanted["kl_inside"] = np.mean([(np.exp(p) * (p - q)).sum() for p, q in zip(goals, inside, strict=True)])
        wanted["loss"] = (
            2.0 * wanted["reconstruction"]
            + 0.5 * wanted["activation"]
            + wanted["imitation"]
            + 3.0 * wanted["kl_inside"]
            + 4.0 * wanted["mask_mean"]
        )
        assert terms == pytest.approx(wanted, rel=1e-5)

    def test_terms_that_are_off_are_not_there(self):
        l2i, (batch, prediction, _) = self.case(fidelity_weight=0.0, mask_weight=0.0)
        assert not l2i.uses_masked_logits
        assert set(l2i.objective(batch, prediction, None)) == {
            "loss",
            "reconstruction",
            "activation",
            "imitation",
            "fid_top1",
        }

    def test_several_labels_at_once_are_imitated_one_by_one(self):
        scores, logits, inside = torch.tensor([[0.5, -2.0]]), torch.tensor([[1.0, -1.0]]), torch.tensor([[0.0, 3.0]])
        p, s, q = (1 / (1 + np.exp(-v.double().numpy()[0])) for v in (logits, scores, inside))
        cross = -(p * np.log(s) + (1 - p) * np.log(1 - s)).sum()
        kl = (p * np.log(p / q) + (1 - p) * np.log((1 - p) / (1 - q))).sum()
        assert float(imitation(scores, logits, "multi")) == pytest.approx(cross, rel=1e-5)
        assert float(divergence(logits, inside, "multi")) == pytest.approx(kl, rel=1e-5)

    @pytest.mark.parametrize("task", ["single", "multi"])
    def test_the_same_answer_is_no_divergence_and_certain_ones_are_finite(self, task):
        logits = torch.tensor([[3.0, -1.0, 0.2], [1e4, -1e4, 0.0]])
        assert divergence(logits, logits, task).tolist() == pytest.approx([0, 0], abs=1e-6)
        for function in (divergence, imitation):
            opposite = (-logits).requires_grad_()
            value = function(logits, opposite, task) if function is divergence else function(opposite, logits, task)
            value.sum().backward()
            assert value.isfinite().all()
            assert value[1] >= 1e4
            assert opposite.grad.isfinite().all()

    @pytest.mark.parametrize("sign", [1, -1])
    def test_a_saturated_interpreter_gives_a_finite_loss_and_gradient(self, sign):
        l2i = make(fidelity_weight=1.0, mask_weight=1.0).train()
        with torch.no_grad():
            l2i.theta.classes.weight.copy_(sign * torch.tensor([[1e5], [-1e5], [1e5]]).expand(3, 6))
        prediction, terms = training_step(l2i, noise(2, 8000))
        assert prediction.scores.abs().max() > 1e4
        terms["loss"].backward()
        assert terms["loss"].isfinite()
        assert all(parameter.grad.isfinite().all() for parameter in l2i.parameters())

    @pytest.mark.parametrize("network", NETWORKS)
    def test_independent_of_the_batch_size(self, network):
        l2i = make(network, fidelity_weight=1.0, mask_weight=1.0).eval()
        wavs, lengths = noise(3, 24000), torch.tensor([1.0, 0.6, 0.8])
        with torch.no_grad():
            whole = training_step(l2i, wavs, lengths)[1]
            single = [training_step(l2i, wavs[i : i + 1, : round(24000 * float(lengths[i]))])[1] for i in range(3)]
        for name, value in whole.items():
            assert float(value) == pytest.approx(sum(float(s[name]) for s in single) / 3, rel=1e-4), name

    @pytest.mark.parametrize("network", NETWORKS)
    @pytest.mark.parametrize("weight", [0.0, 1.0])
    def test_gradient_reaches_every_parameter_and_nothing_else(self, network, weight):
        l2i = make(network, fidelity_weight=weight, mask_weight=weight).train()
        before = l2i.dictionary.clone()
        training_step(l2i, noise(3, 24000), torch.tensor([1.0, 0.5, 0.8]))[1]["loss"].backward()
        for name, parameter in l2i.named_parameters():
            assert parameter.grad.isfinite().all(), name
            assert parameter.grad.abs().sum() > 0, name
        assert not l2i.dictionary.requires_grad
        assert torch.equal(l2i.dictionary, before)
        assert all(parameter.grad is None for parameter in l2i.classifier.parameters())

    @pytest.mark.parametrize("name", ["fidelity_weight", "mask_weight"])
    def test_the_mask_terms_teach_which_components_to_select(self, name):
        """Through the straight-through slope alone: activations are cut off, so that only relevance is left."""
        l2i = make(**{name: 1.0, "reconstruction_weight": 0.0, "activation_weight": 0.0}).train()
        prediction, terms = training_step(l2i, noise(2, 8000))
        loss = terms["kl_inside" if name == "fidelity_weight" else "mask_mean"]
        (slope,) = torch.autograd.grad(loss, l2i.theta.classes.weight)
        assert slope.abs().sum() > 0
        hard = (prediction.relevance > 0.2).float()
        assert torch.equal(prediction.selected.float(), hard)

    def test_the_mask_is_the_hard_one_in_training_as_in_evaluation(self):
        torch.manual_seed(0)
        l2i = make(mask_weight=1.0)
        for module in l2i.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.momentum = 0.0  # nothing but the mode shall differ
                module.eval()
        batch = l2i.classifier.analyse(noise(2, 8000))
        for target in (torch.tensor([0, 1]), torch.tensor([2, 2])):
            batch.target = target
            l2i.training = True
            trained = l2i(batch)
            l2i.training = False
            evaluated = l2i(batch)
            assert trained.mask.requires_grad
            assert torch.equal(trained.mask, evaluated.mask)

    def test_silence_gives_a_finite_loss(self):
        prediction, terms = training_step(make(fidelity_weight=1.0, mask_weight=1.0), torch.zeros(2, 6000))
        assert prediction.mask.isfinite().all()
        assert terms["loss"].isfinite()


class TestRelevance:
    def test_by_hand(self):
        pooled = torch.tensor([[2.0, 1.0, 4.0], [2.0, 1.0, 4.0], [0.0, 1.0, 0.0], [0.0, 0.0, 0.0]])
        weights = torch.tensor([[1.0, 0.5, -0.25], [1.0, 0.5, -1.0], [3.0, 0.0, 3.0], [1.0, 1.0, 1.0]])
        wanted = [[1.0, 0.25, -0.5], [0.5, 0.125, -1.0], [0.0, 0.0, 0.0], [0.0, 0.0, 0.0]]
        assert relevance_of(pooled, weights).tolist() == wanted

    def test_all_zero_has_a_finite_gradient(self):
        pooled = torch.zeros(1, 3, requires_grad=True)
        relevance_of(pooled, torch.ones(1, 3)).sum().backward()
        assert pooled.grad.isfinite().all()

    def test_what_is_above_the_threshold_is_selected_and_makes_the_mask(self):
        l2i = make(threshold=0.5).eval()
        target = torch.tensor([1, 2])
        batch = l2i.classifier.analyse(noise(2, 8000), torch.tensor([1.0, 0.5]), target)
        with torch.no_grad():
            interpretation = l2i.interpret(batch)
            prediction = l2i(batch)
        components = interpretation.components
        words, h = l2i.dictionary.double().numpy(), prediction.activations.double().numpy()
        for clip in range(2):
            share = prediction.pooled[clip].double() * l2i.theta.weight[target[clip]].detach().double()
            relevance = (share / share.abs().max()).numpy()
            np.testing.assert_allclose(components.relevance[clip].numpy(), relevance, atol=1e-5)
            kept = relevance > 0.5
            assert components.selected[clip].tolist() == kept.tolist()
            whole = words @ h[clip]
            part = words[:, kept] @ h[clip][kept]
            mask = np.where(whole > 0, part / np.where(whole > 0, whole, 1), 0).T
            np.testing.assert_allclose(interpretation.mask[clip].numpy(), mask, atol=1e-4)
        assert components.selected.any()
        assert not components.selected.all()
        assert torch.equal(components.matrix, l2i.dictionary)
        assert not interpretation.mask[1, batch.spectrogram.valid[1].sum() :].any()

    def test_nothing_heard_is_nothing_selected(self):
        l2i = make().eval()
        with torch.no_grad():
            l2i.psi.collapse.weight.zero_()
            l2i.psi.collapse.bias.fill_(-1e4)
        interpretation = l2i.interpret(l2i.classifier.analyse(noise(1, 8000), target=0))
        assert not interpretation.components.relevance.any()
        assert not interpretation.components.selected.any()
        assert not interpretation.mask.any()


class TestTopK:
    def test_by_hand_with_ties_to_the_lowest_class(self):
        scores = torch.tensor([[5.0, 1.0, 3.0, 3.0]] * 4)
        target = torch.tensor([0, 1, 2, 3])
        assert in_top(scores, target, 1).tolist() == [1, 0, 0, 0]
        assert in_top(scores, target, 2).tolist() == [1, 0, 1, 0]
        assert in_top(scores, target, 3).tolist() == [1, 0, 1, 1]
        assert in_top(scores, target, 9).tolist() == [1, 1, 1, 1]
        flat = torch.zeros(2, 3)
        assert in_top(flat, torch.tensor([0, 1]), 1).tolist() == [1, 0]

    def test_reported_at_one_and_at_k(self):
        l2i = make(top_k=2).eval()
        target = torch.tensor([0, 1, 2, 1])
        batch = l2i.classifier.analyse(noise(4, 8000), target=target)
        scores = l2i.interpret(batch).scores
        order = l2i(batch).scores.argsort(dim=1, descending=True)
        assert set(scores) == {"fid_top1", "fid_top2"}
        for k in (1, 2):
            wanted = [float(target[i] in order[i, :k]) for i in range(4)]
            assert scores[f"fid_top{k}"].tolist() == wanted
            assert scores[f"fid_top{k}"].dtype == torch.float32


class TestLengths:
    @pytest.mark.parametrize("network", NETWORKS)
    @pytest.mark.parametrize("n_frames", [1, 5, 87, 431])
    def test_any_number_of_frames(self, network, n_frames):
        l2i = make(network).eval()
        with torch.no_grad():
            batch = l2i.classifier.analyse(noise(1, max(1, (n_frames - 1) * HOP)), target=1)
            prediction = l2i(batch)
        assert prediction.activations.shape == (1, 6, n_frames)
        assert prediction.mask.shape == batch.spectrogram.magnitude.shape == (1, n_frames, 513)
        assert (prediction.activations >= 0).all()
        assert prediction.activations.isfinite().all()

    @pytest.mark.parametrize("network", NETWORKS)
    def test_a_padded_clip_gives_what_it_gives_alone(self, network):
        l2i = make(network).eval()
        frames = [150, 3, 77, 100, 77]
        wavs = noise(5, 149 * HOP)
        lengths = torch.tensor([(f - 1) * HOP / (149 * HOP) for f in frames])
        target = torch.tensor([0, 1, 2, 0, 1])
        batch = l2i.classifier.analyse(wavs, lengths, target)
        assert batch.spectrogram.valid.sum(1).tolist() == frames
        with torch.no_grad():
            together = l2i(batch)
            for i, count in enumerate(frames):
                alone = wavs[i : i + 1, : (count - 1) * HOP]
                single = l2i(l2i.classifier.analyse(alone, target=target[i : i + 1]))
                for name in ("activations", "scores", "pooled", "relevance"):
                    value = getattr(together, name)[i : i + 1]
                    value = value[..., :count] if name == "activations" else value
                    torch.testing.assert_close(value, getattr(single, name), rtol=1e-4, atol=1e-5)
                torch.testing.assert_close(together.mask[i, :count], single.mask[0], rtol=0, atol=1e-4)
                assert not together.activations[i, :, count:].any()
                assert not together.mask[i, count:].any()


class TestOneArtefact:
    """Psi, Theta and W belong together."""

    def test_state_and_settings_alone_rebuild_it(self, tmp_path):
        """What the interpreter's folder does: settings as JSON, and the weights; the dictionary's file is gone."""
        path = words().save(tmp_path / "dictionary.pt")
        l2i = L2I(compact(), str(path), channels=4, threshold=0.3).eval()
        path.unlink()
        rebuilt = L2I(compact(), **l2i.settings.to_dict()).eval()
        assert not torch.equal(rebuilt.dictionary, l2i.dictionary)
        rebuilt.load_state_dict(l2i.state_dict())
        assert rebuilt.settings == l2i.settings
        assert l2i.settings.dictionary["sha256"] == words().describe()["sha256"]
        assert torch.equal(rebuilt.dictionary, words().matrix)
        wavs = noise(2, 8000)
        first, second = l2i.explain(wavs), rebuilt.explain(wavs)
        assert torch.equal(first.mask, second.mask)
        assert torch.equal(first.components.relevance, second.components.relevance)

    def test_the_dictionary_is_saved_but_is_no_parameter(self):
        l2i = make()
        assert "dictionary" in l2i.state_dict()
        assert all(parameter.shape != l2i.dictionary.shape for parameter in l2i.parameters())

    def test_a_dictionary_of_another_rate_is_refused(self):
        other = words(settings=FrontendSettings(sample_rate=44100))
        with pytest.raises(
            UserError, match=r"L2I: the dictionary was learned with sample_rate 44100 \(needed: 16000\)"
        ):
            L2I(compact(), other)

    def test_no_dictionary(self, tmp_path):
        with pytest.raises(MissingError, match=r"train_nmf\.py"):
            L2I(compact(), tmp_path)
        with pytest.raises(UserError, match="L2I needs a dictionary"):
            L2I(compact(), None)

    def test_the_callers_dictionary_stays_its_own(self):
        dictionary = words()
        l2i = L2I(compact(), dictionary, channels=4)
        l2i.dictionary.zero_()
        assert torch.equal(dictionary.matrix, words().matrix)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"network": "big"}, "l2i: network is 'big', expected one of compact, conv2d, cnn14"),
        ({"threshold": 1.0}, "l2i: threshold is 1.0, expected a number >= 0 and < 1"),
        ({"threshold": -0.1}, "l2i: threshold is -0.1, expected a number >= 0 and < 1"),
        ({"top_k": 0}, "l2i: top_k is 0, expected a whole number >= 1"),
    ],
)
def test_settings_that_make_no_sense(settings, message):
    with pytest.raises(UserError, match=message):
        L2I(compact(), words(), **settings)


@pytest.mark.parametrize(("network", "kind"), [("compact", CompactPSI), ("conv2d", Conv2dPSI), ("cnn14", Cnn14PSI)])
def test_the_network_is_that_of_the_settings(network, kind):
    assert isinstance(make(network).psi, kind)


def test_several_labels_at_once():
    l2i = L2I(compact(task="multi"), words(), channels=4, fidelity_weight=1.0)
    prediction, terms = training_step(l2i.train(), noise(2, 8000))
    assert terms["loss"].isfinite()
    goals = l2i.classifier.analyse(noise(2, 8000)).output.logits.sigmoid()
    wanted = functional.binary_cross_entropy_with_logits(prediction.scores, goals, reduction="sum") / 2
    assert float(terms["imitation"].detach()) == pytest.approx(float(wanted.detach()), rel=1e-5)


def test_training_learns_to_imitate_and_to_draw():
    """Two classes of tones: in a few dozen steps the interpreter agrees with the classifier, by the right component."""
    torch.manual_seed(0)
    classifier = CompactClassifier(["low", "high"], n_mels=16, channels=(4, 4, 8, 8), dropout=0.0)
    seconds, starts = torch.arange(8000) / 16000, torch.tensor([0.0, 0.1, 0.2])
    parts = (seconds[None] >= starts[:, None]) & (seconds[None] < starts[:, None] + 0.3)
    tones = torch.cat([torch.sin(2 * math.pi * hertz * seconds) * parts for hertz in (300, 3000)])  # [6, N]
    labels = torch.tensor([0, 0, 0, 1, 1, 1])
    frontend = Frontend()
    spectrogram = frontend.analyse(tones)
    optimizer = torch.optim.Adam(classifier.parameters(), 1e-2)
    for _ in range(50):
        functional.cross_entropy(classifier(spectrogram.magnitude).logits, labels).backward()
        optimizer.step()
        optimizer.zero_grad()
    # One word for each class, and one that no clip has.
    spectra = spectrogram.log_magnitude.mean(1)  # [6, F]
    matrix = torch.stack([spectra[0], spectra[3], (torch.arange(513) > 400).float()], dim=1)
    dictionary = Dictionary(matrix / matrix.norm(dim=0), frontend.settings, classifier.labels, "hand")
    # The mean of |H| is over components: with 3 and not 100 of them, its weight is that much less.
    l2i = L2I(classifier, dictionary, channels=16, activation_weight=0.02).train()
    optimizer = torch.optim.Adam(l2i.parameters(), 1e-2)
    for _ in range(50):
        training_step(l2i, tones)[1]["loss"].backward()
        optimizer.step()
        optimizer.zero_grad()
    with torch.no_grad():
        prediction, terms = training_step(l2i.eval(), tones)
    nothing = mean_over_valid(spectrogram.log_magnitude.square(), spectrogram.valid).mean()
    assert terms["reconstruction"] < 0.3 * nothing
    assert classifier.classify(spectrogram).predicted.tolist() == labels.tolist()
    assert terms["fid_top1"] == 1.0
    assert prediction.relevance.argmax(1).tolist() == labels.tolist()
