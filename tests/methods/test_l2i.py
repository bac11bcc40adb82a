"""L2I: loss by hand, attention over valid frames, relevance, the mask of NMF, published names, one artefact."""

import math

import numpy as np
import pytest
import torch
from speechbrain.lobes.models.L2I import CNN14PSI_stft_2d, PsiOptimized
from torch.nn import functional

from interpretability.classifiers.base import Classifier, ClassifierOutput, MaskedLogits
from interpretability.classifiers.cnn14 import Cnn14Classifier
from interpretability.classifiers.compact import CompactClassifier
from interpretability.classifiers.conv2d import Conv2dClassifier
from interpretability.dictionary import Dictionary
from interpretability.errors import MissingError, UserError
from interpretability.frontend import Frontend, FrontendSettings, Spectrogram
from interpretability.lengths import mean_over_valid
from interpretability.methods.l2i import (
    L2I,
    L2IPrediction,
    Theta,
    divergence,
    imitation,
    in_top,
    relevance_of,
)

LABELS = ["cat", "dog", "rain"]
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
    "conv2d": lambda **s: L2I(conv2d(), words(), "conv2d", **s),
    "cnn14": lambda **s: L2I(cnn14(), words(), "cnn14", **s),
    "compact on conv2d": lambda **s: L2I(conv2d(), words(), channels=4, **s),
    "compact on cnn14": lambda **s: L2I(cnn14(), words(), channels=4, **s),
}


def make(network="compact", **settings):
    torch.manual_seed(1)
    return NETWORKS[network](**settings)


def noise(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def analyse(l2i, wavs, lengths=None):
    spectrogram = l2i.frontend.analyse(l2i.frontend.level(wavs, lengths), lengths)
    return spectrogram, l2i.classifier.classify(spectrogram)


def step(l2i, wavs, lengths=None):
    """What a training step computes, up to the terms of the loss."""
    spectrogram, output = analyse(l2i, wavs, lengths)
    prediction = l2i(spectrogram, output, output.predicted)
    masked = l2i.classifier.classify_masked(spectrogram, prediction.mask) if l2i.uses_masked_logits else None
    return prediction, l2i.objective(prediction, spectrogram, output, output.predicted, masked)


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
        spectrogram = Spectrogram(magnitude, torch.zeros_like(magnitude), valid, torch.tensor([400, 300]), 400)
        drawn = torch.tensor([1.5, 4.0])[:, None, None].expand(2, 3, 513)
        activations = torch.tensor([[[1.0, 2.0, 3.0], [0.0, 0.0, 6.0]], [[4.0, 4.0, 0.0], [1.0, 0.0, 0.0]]])
        mask = torch.tensor([0.25, 0.5])[:, None, None] * valid[..., None].expand(2, 3, 513)
        scores = torch.tensor([[0.0, 1.0, 2.0], [1.0, -1.0, 0.0]])
        nothing = torch.zeros(2, 2)
        prediction = L2IPrediction(mask, activations, drawn, nothing, scores, nothing, nothing > 0)
        output = ClassifierOutput(torch.tensor([[1.0, 0.0, 3.0], [0.0, 0.0, 0.5]]), nothing, ())
        masked = MaskedLogits(torch.tensor([[0.5, 0.0, 1.0], [2.0, 0.0, 0.0]]), torch.zeros(2, 3))
        return l2i, (prediction, spectrogram, output, output.predicted, masked)

    def test_every_term_and_their_sum(self):
        l2i, arguments = self.case()
        terms = {name: float(value) for name, value in l2i.objective(*arguments).items()}
        _, _, output, _, masked = arguments
        wanted = {
            "reconstruction": (0.5**2 + 2.0**2) / 2,
            "activation": ((1 + 2 + 3 + 6) / 6 + (4 + 4 + 1) / 4) / 2,
            "mask_mean": (0.25 + 0.5) / 2,
            "fid_top1": 0.5,  # class 2 in both: the first clip's highest score, not the second's
        }
        goals = [log_softmax(row) for row in output.logits.tolist()]
        scores = [log_softmax(row) for row in arguments[0].scores.tolist()]
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
        l2i, (*arguments, _) = self.case(fidelity_weight=0.0, mask_weight=0.0)
        assert not l2i.uses_masked_logits
        assert set(l2i.objective(*arguments, None)) == {
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
        prediction, terms = step(l2i, noise(2, 8000))
        assert prediction.scores.abs().max() > 1e4
        terms["loss"].backward()
        assert terms["loss"].isfinite()
        assert all(parameter.grad.isfinite().all() for parameter in l2i.parameters())

    @pytest.mark.parametrize("network", NETWORKS)
    def test_independent_of_the_batch_size(self, network):
        l2i = make(network, fidelity_weight=1.0, mask_weight=1.0).eval()
        wavs, lengths = noise(3, 24000), torch.tensor([1.0, 0.6, 0.8])
        with torch.no_grad():
            whole = step(l2i, wavs, lengths)[1]
            single = [step(l2i, wavs[i : i + 1, : round(24000 * float(lengths[i]))])[1] for i in range(3)]
        for name, value in whole.items():
            assert float(value) == pytest.approx(sum(float(s[name]) for s in single) / 3, rel=1e-4), name

    @pytest.mark.parametrize("network", NETWORKS)
    @pytest.mark.parametrize("weight", [0.0, 1.0])
    def test_gradient_reaches_every_parameter_and_nothing_else(self, network, weight):
        l2i = make(network, fidelity_weight=weight, mask_weight=weight).train()
        before = l2i.dictionary.clone()
        step(l2i, noise(3, 24000), torch.tensor([1.0, 0.5, 0.8]))[1]["loss"].backward()
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
        prediction, terms = step(l2i, noise(2, 8000))
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
        spectrogram, output = analyse(l2i, noise(2, 8000))
        for target in (torch.tensor([0, 1]), torch.tensor([2, 2])):
            l2i.training = True
            trained = l2i(spectrogram, output, target)
            l2i.training = False
            evaluated = l2i(spectrogram, output, target)
            assert trained.mask.requires_grad
            assert torch.equal(trained.mask, evaluated.mask)

    def test_silence_gives_a_finite_loss(self):
        prediction, terms = step(make(fidelity_weight=1.0, mask_weight=1.0), torch.zeros(2, 6000))
        assert prediction.mask.isfinite().all()
        assert terms["loss"].isfinite()


class TestTheta:
    def test_by_hand(self):
        theta = Theta(2, 3, centred=False)
        activations = torch.tensor([[[1.0, 0.0, 9.0], [0.0, 2.0, 9.0]]])
        valid = torch.tensor([[True, True, False]])
        pooled, scores = theta(activations, valid)
        level = [float(theta.attention(activations[0, :, t]).detach()) for t in range(2)]
        first = math.exp(level[0]) / (math.exp(level[0]) + math.exp(level[1]))
        assert pooled[0].tolist() == pytest.approx([first, 2 * (1 - first)], rel=1e-5)
        torch.testing.assert_close(scores[0], theta.weight @ pooled[0])
        assert theta.classes.bias is None

    def test_attention_takes_no_notice_of_padding(self):
        theta = Theta(4, 3, centred=True)
        activations, valid = noise(2, 4, 7).abs(), torch.arange(7)[None] < torch.tensor([[5], [7]])
        louder = activations.masked_fill(~valid[:, None], 1e3)
        for first, second in zip(theta(activations, valid), theta(louder, valid), strict=True):
            torch.testing.assert_close(first, second)
        alone = theta(activations[:1, :, :5], valid[:1, :5])
        for padded, single in zip(theta(activations, valid), alone, strict=True):
            torch.testing.assert_close(padded[:1], single)

    def test_relevance_is_evidence_against_the_other_classes(self):
        """What all classes share says nothing of any; softmax does not see it, and it is taken away."""
        theta, pooled = Theta(5, 4, centred=True), noise(2, 5)
        with torch.no_grad():
            theta.classes.weight += noise(5, seed=1)  # of all classes alike
        torch.testing.assert_close(theta.weight.sum(0), torch.zeros(5), rtol=0, atol=1e-6)
        torch.testing.assert_close((pooled @ theta.weight.T).softmax(1), theta.classes(pooled).softmax(1))
        plain = Theta(5, 4, centred=False)  # sigmoids do see it
        assert torch.equal(plain.weight, plain.classes.weight)

    def test_one_frame_is_taken_as_it_is(self):
        activations = noise(1, 4, 1).abs()
        pooled, _ = Theta(4, 3, centred=True)(activations, torch.ones(1, 1, dtype=torch.bool))
        torch.testing.assert_close(pooled, activations[..., 0])


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
        spectrogram, output = analyse(l2i, noise(2, 8000), torch.tensor([1.0, 0.5]))
        target = torch.tensor([1, 2])
        with torch.no_grad():
            said = l2i.interpret(spectrogram, output, target)
            prediction = l2i(spectrogram, output, target)
        words, h = l2i.dictionary.double().numpy(), prediction.activations.double().numpy()
        for clip in range(2):
            share = prediction.pooled[clip].double() * l2i.theta.weight[target[clip]].detach().double()
            relevance = (share / share.abs().max()).numpy()
            np.testing.assert_allclose(said.components.relevance[clip].numpy(), relevance, atol=1e-5)
            kept = relevance > 0.5
            assert said.components.selected[clip].tolist() == kept.tolist()
            whole = words @ h[clip]
            part = words[:, kept] @ h[clip][kept]
            mask = np.where(whole > 0, part / np.where(whole > 0, whole, 1), 0).T
            np.testing.assert_allclose(said.mask[clip].numpy(), mask, atol=1e-4)
        assert said.components.selected.any()
        assert not said.components.selected.all()
        assert torch.equal(said.components.matrix, l2i.dictionary)
        assert not said.mask[1, spectrogram.valid[1].sum() :].any()

    def test_nothing_heard_is_nothing_selected(self):
        l2i = make().eval()
        with torch.no_grad():
            l2i.psi.collapse.weight.zero_()
            l2i.psi.collapse.bias.fill_(-1e4)
        said = l2i.interpret(*analyse(l2i, noise(1, 8000)), torch.tensor([0]))
        assert not said.components.relevance.any()
        assert not said.components.selected.any()
        assert not said.mask.any()


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
        spectrogram, output = analyse(l2i, noise(4, 8000))
        target = torch.tensor([0, 1, 2, 1])
        said = l2i.interpret(spectrogram, output, target)
        order = l2i(spectrogram, output, target).scores.argsort(dim=1, descending=True)
        assert set(said.scores) == {"fid_top1", "fid_top2"}
        for k in (1, 2):
            wanted = [float(target[i] in order[i, :k]) for i in range(4)]
            assert said.scores[f"fid_top{k}"].tolist() == wanted
            assert said.scores[f"fid_top{k}"].dtype == torch.float32


class TestLengths:
    @pytest.mark.parametrize("network", NETWORKS)
    @pytest.mark.parametrize("n_frames", [1, 5, 87, 431])
    def test_any_number_of_frames(self, network, n_frames):
        l2i = make(network).eval()
        with torch.no_grad():
            spectrogram, output = analyse(l2i, noise(1, max(1, (n_frames - 1) * HOP)))
            said = l2i(spectrogram, output, torch.tensor([1]))
        assert said.activations.shape == (1, 6, n_frames)
        assert said.mask.shape == spectrogram.magnitude.shape == (1, n_frames, 513)
        assert (said.activations >= 0).all()
        assert said.activations.isfinite().all()

    @pytest.mark.parametrize("network", NETWORKS)
    def test_a_padded_clip_gives_what_it_gives_alone(self, network):
        l2i = make(network).eval()
        frames = [150, 3, 77, 100, 77]
        wavs = noise(5, 149 * HOP)
        lengths = torch.tensor([(f - 1) * HOP / (149 * HOP) for f in frames])
        spectrogram, output = analyse(l2i, wavs, lengths)
        assert spectrogram.valid.sum(1).tolist() == frames
        target = torch.tensor([0, 1, 2, 0, 1])
        with torch.no_grad():
            together = l2i(spectrogram, output, target)
            for i, count in enumerate(frames):
                alone, said = analyse(l2i, wavs[i : i + 1, : (count - 1) * HOP])
                single = l2i(alone, said, target[i : i + 1])
                for name in ("activations", "scores", "pooled", "relevance"):
                    value = getattr(together, name)[i : i + 1]
                    value = value[..., :count] if name == "activations" else value
                    torch.testing.assert_close(value, getattr(single, name), rtol=1e-4, atol=1e-5)
                torch.testing.assert_close(together.mask[i, :count], single.mask[0], rtol=0, atol=1e-4)
                assert not together.activations[i, :, count:].any()
                assert not together.mask[i, count:].any()

    @pytest.mark.parametrize("strides", [1, 2])
    def test_an_event_moved_by_k_strides_moves_the_activations_by_k_strides(self, strides):
        l2i = make().eval()
        l2i.psi.collapse.weight.data *= 20
        event, shift = noise(1, 1500), strides * 16  # frames: whole strides of the coarsest map
        wavs = torch.zeros(2, 300 * HOP)
        wavs[0, 100 * HOP : 100 * HOP + 1500] = event
        wavs[1, (100 + shift) * HOP : (100 + shift) * HOP + 1500] = event
        spectrogram = l2i.frontend.analyse(wavs)
        with torch.no_grad():
            h = l2i(spectrogram, l2i.classifier.classify(spectrogram), torch.tensor([0, 0])).activations
        torch.testing.assert_close(h[1, :, 64 + shift : 200 + shift], h[0, :, 64:200], rtol=0, atol=1e-4)
        assert h[0, :, 64:200].std(dim=1).max() > 1e-2

    def test_where_in_frequency_a_sound_lies_is_not_lost(self):
        """A high and a low tone differ in activations even if the merged features are only moved in frequency."""
        l2i = make().eval()
        features = torch.rand(1, 4, 1, generator=torch.Generator().manual_seed(0))
        low, high = torch.zeros(1, 4, 3, 4), torch.zeros(1, 4, 3, 4)
        low[..., 0], high[..., 3] = features, features
        drawn = [l2i.psi.collapse(m.transpose(1, 2).flatten(2)) for m in (low, high)]
        assert (drawn[0] - drawn[1]).abs().max() > 1e-2


class TestPublished:
    def test_conv2d_loads_published_names_and_gives_the_published_output(self):
        l2i = make("conv2d").eval()
        published = PsiOptimized(dim=4, K=6, use_adapter=False, adapter_reduce_dim=False)
        published.train()(noise(4, 4, 26, 32))  # batch statistics that are not the initial ones
        l2i.psi.load_state_dict(published.eval().state_dict())
        spectrogram, output = analyse(l2i, noise(2, 80000))
        with torch.no_grad():
            got = l2i(spectrogram, output, torch.tensor([2, 0])).activations
            wanted = published(output.feature_maps[-1])[0][:, 0].transpose(1, 2)
        assert wanted.shape == (2, 6, 417)
        assert wanted.any()
        torch.testing.assert_close(got[..., :417], wanted, rtol=1e-4, atol=1e-6)
        # 417 of 431 frames are drawn: the last one is repeated, not stretched and not filled with zeros.
        torch.testing.assert_close(got[..., 417:], wanted[..., -1:].expand(-1, -1, 14), rtol=1e-4, atol=1e-6)

    def test_cnn14_loads_published_names_and_gives_the_published_output(self):
        l2i = make("cnn14").eval()
        torch.manual_seed(5)
        published = CNN14PSI_stft_2d(64, 6).eval()
        l2i.psi.load_state_dict(published.state_dict())
        spectrogram, output = analyse(l2i, noise(2, 80000))  # 13, 13, 26 and 53 rows: a length that it accepts
        with torch.no_grad():
            got = l2i(spectrogram, output, torch.tensor([2, 0])).activations
            wanted = published(output.feature_maps[:1:-1])
        assert wanted.shape == (2, 6, 431)
        assert wanted.any()
        torch.testing.assert_close(got, wanted, rtol=1e-4, atol=1e-6)

    @pytest.mark.parametrize("n_frames", [32, 40, 47, 48, 56, 63, 64, 95])
    def test_cnn14_covers_every_length(self, n_frames):
        """Maps padded with zeros to rows (t, t, 2t, 4t + 1): enough for every clip, and cut to it."""
        l2i = make("cnn14").eval()
        spectrogram, output = analyse(l2i, noise(1, (n_frames - 1) * HOP))
        maps = output.feature_maps[:1:-1]
        t = next(
            t for t in range(1, 9) if all(m.shape[2] <= r for m, r in zip(maps, (t, t, 2 * t, 4 * t + 1), strict=True))
        )
        assert 32 * t + 15 >= n_frames
        padded = [torch.zeros(*m.shape[:2], r, m.shape[3]) for m, r in zip(maps, (t, t, 2 * t, 4 * t + 1), strict=True)]
        for whole, part in zip(padded, maps, strict=True):
            whole[:, :, : part.shape[2]] = part
        with torch.no_grad():
            wanted = CNN14PSI_stft_2d.forward(l2i.psi, padded)[..., :n_frames]
            got = l2i(spectrogram, output, torch.tensor([0])).activations
        torch.testing.assert_close(got, wanted, rtol=1e-4, atol=1e-6)

    @pytest.mark.parametrize("network", ["conv2d", "cnn14"])
    def test_feature_maps_they_were_not_made_for_are_refused(self, network):
        with pytest.raises(UserError, match="use network: compact"):
            L2I(compact(), words(), network)
        classifier = cnn14(emb_dim=60)
        with pytest.raises(
            UserError, match=r"channels, expected \(60, 30, 15, 7\)" if network == "cnn14" else "columns"
        ):
            L2I(classifier, words(), network)


class TestOneArtefact:
    """Psi, Theta and W belong together."""

    def test_state_and_settings_alone_rebuild_it(self, tmp_path):
        """What the interpreter's folder does: settings as JSON, and the weights; the dictionary's file is gone."""
        path = words().save(tmp_path / "dictionary.pt")
        l2i = L2I(compact(), str(path), channels=4, threshold=0.3).eval()
        path.unlink()
        rebuilt = L2I(compact(), **l2i.settings).eval()
        assert not torch.equal(rebuilt.dictionary, l2i.dictionary)
        rebuilt.load_state_dict(l2i.state_dict())
        assert rebuilt.settings == l2i.settings
        assert l2i.settings["dictionary"]["sha256"] == words().describe()["sha256"]
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
        ({"network": "big"}, "network is 'big'"),
        ({"threshold": 1.0}, "threshold is 1.0"),
        ({"threshold": -0.1}, "threshold is -0.1"),
        ({"top_k": 0}, "top_k is 0"),
    ],
)
def test_settings_that_make_no_sense(settings, message):
    with pytest.raises(UserError, match=message):
        L2I(compact(), words(), **settings)


def test_a_classifier_without_feature_maps_is_refused():
    class Mapless(Classifier):
        NAME = "mapless"

    with pytest.raises(UserError, match="no feature maps"):
        L2I(Mapless(LABELS), words())


def test_several_labels_at_once():
    l2i = L2I(compact(task="multi"), words(), channels=4, fidelity_weight=1.0)
    prediction, terms = step(l2i.train(), noise(2, 8000))
    assert terms["loss"].isfinite()
    _, output = analyse(l2i, noise(2, 8000))
    wanted = (
        functional.binary_cross_entropy_with_logits(prediction.scores, output.logits.sigmoid(), reduction="sum") / 2
    )
    assert float(terms["imitation"].detach()) == pytest.approx(float(wanted.detach()), rel=1e-5)


def test_training_learns_to_imitate_and_to_draw():
    """Two classes of tones: in a few dozen steps the interpreter says what the classifier says, by the right word."""
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
        step(l2i, tones)[1]["loss"].backward()
        optimizer.step()
        optimizer.zero_grad()
    with torch.no_grad():
        prediction, terms = step(l2i.eval(), tones)
    nothing = mean_over_valid(spectrogram.log_magnitude.square(), spectrogram.valid).mean()
    assert terms["reconstruction"] < 0.3 * nothing
    assert classifier.classify(spectrogram).predicted.tolist() == labels.tolist()
    assert terms["fid_top1"] == 1.0
    assert prediction.relevance.argmax(1).tolist() == labels.tolist()
