"""PIQ: partition of the codebook, nearest keys, straight-through gradient, loss by hand, published names."""

import dataclasses

import numpy as np
import pytest
import torch
from speechbrain.lobes.models.PIQ import (
    VectorQuantizedPSI_Audio,
    VectorQuantizedPSIFocalNet_Audio,
    VectorQuantizedPSIViT_Audio,
    get_irrelevant_regions,
)
from torch.nn import functional

from interpretability.classifiers.base import MaskedLogits
from interpretability.classifiers.compact import CompactClassifier
from interpretability.classifiers.conv2d import Conv2dClassifier
from interpretability.classifiers.focalnet import FocalNetClassifier
from interpretability.classifiers.vit import ViTClassifier
from interpretability.errors import UserError
from interpretability.frontend import Spectrogram
from interpretability.methods.piq import PIQ, SHARED, Codebook, key_classes, look_up, quantise

LABELS = ["cat", "dog", "rain"]


def compact(n_classes=3):
    torch.manual_seed(0)
    return CompactClassifier([str(i) for i in range(n_classes)], n_mels=16, channels=(4, 4, 8, 8))


def small(**settings):
    torch.manual_seed(1)
    return PIQ(compact(), **{"codebook_size": 12, "channels": 8, "decoder_channels": (4, 4), **settings})


def step(piq, wavs, lengths=None):
    """What a training step computes, up to the terms of the loss."""
    frontend, classifier = piq.frontend, piq.classifier
    spectrogram = frontend.analyse(frontend.level(wavs, lengths), lengths)
    output = classifier(spectrogram.magnitude, spectrogram.valid)
    prediction = piq(spectrogram, output, output.predicted)
    masked = classifier.classify_masked(spectrogram, prediction.mask) if piq.uses_masked_logits else None
    return prediction, piq.objective(prediction, spectrogram, output, output.predicted, masked)


def noise(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


class TestPartition:
    @pytest.mark.parametrize("n_classes", [2, 3, 7, 10, 50])
    @pytest.mark.parametrize(("n_keys", "n_shared"), [(50, 0), (64, 7), (320, 0), (1024, 0), (1024, 24)])
    def test_contiguous_groups_within_one_of_each_other(self, n_keys, n_classes, n_shared):
        classes = key_classes(n_keys, n_classes, n_shared)
        own = classes[: n_keys - n_shared]
        assert len(classes) == n_keys
        assert (classes[n_keys - n_shared :] == SHARED).all()
        assert (own.diff() >= 0).all()
        sizes = torch.bincount(own, minlength=n_classes)
        assert len(sizes) == n_classes
        assert sizes.max() - sizes.min() <= 1
        assert sizes.min() >= 1

    @pytest.mark.parametrize(("n_keys", "n_classes"), [(1024, 50), (1024, 10), (100, 10)])
    def test_published_sizes_keep_the_published_partition(self, n_keys, n_classes):
        wanted = ~get_irrelevant_regions(torch.arange(n_classes), n_keys, n_classes, 0).bool()
        assert torch.equal(key_classes(n_keys, n_classes), wanted.float().argmax(0))

    def test_a_class_without_a_key_is_an_error(self):
        with pytest.raises(UserError, match="every class needs one"):
            key_classes(9, 10)
        with pytest.raises(UserError, match="every class needs one"):
            small(codebook_size=5, shared_keys=3)


class TestQuantise:
    def test_against_a_loop(self):
        adapted, keys = noise(4, 5, 3, 2), noise(17, 5, seed=1)
        classes, target = key_classes(17, 4, 2), torch.tensor([0, 3, 1, 3])
        chosen = quantise(adapted, keys, classes, target)
        for b in range(4):
            allowed = [k for k in range(17) if classes[k] in (target[b], SHARED)]
            for t in range(3):
                for f in range(2):
                    best = min(allowed, key=lambda k: float((adapted[b, :, t, f] - keys[k]).square().sum()))
                    assert int(chosen[b, t, f]) == best

    def test_ties_take_the_lowest_key(self):
        keys = torch.zeros(6, 2)
        chosen = quantise(noise(2, 2, 2, 2), keys, key_classes(6, 2), torch.tensor([0, 1]))
        assert chosen[0].unique().tolist() == [0]
        assert chosen[1].unique().tolist() == [3]

    def test_decoding_the_indices_gives_the_keys(self):
        book = Codebook(12, 4, 3)
        straight, quantised, indices = book(noise(2, 4, 3, 5), torch.tensor([1, 2]))
        wanted = book.embedding.weight[indices].permute(0, 3, 1, 2)
        torch.testing.assert_close(quantised, wanted)
        torch.testing.assert_close(straight, wanted)

    def test_straight_through_gradient(self):
        adapted, keys = noise(1, 4, 2, 2).requires_grad_(), noise(6, 4, seed=1).requires_grad_()
        straight, quantised, indices = look_up(adapted, keys, key_classes(6, 2), torch.tensor([0]))
        weights = noise(1, 4, 2, 2, seed=2)
        (straight * weights).sum().backward()
        torch.testing.assert_close(adapted.grad, weights)  # the identity
        assert keys.grad is None
        quantised.sum().backward()
        counts = torch.bincount(indices.flatten(), minlength=6).float()
        torch.testing.assert_close(keys.grad, counts[:, None].expand(6, 4))

    def test_half_precision_around_it_chooses_the_same_keys(self):
        adapted, keys = noise(2, 16, 20, 20), noise(60, 16, seed=1)
        classes, target = key_classes(60, 3), torch.tensor([0, 2])
        wanted = quantise(adapted, keys, classes, target)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            assert torch.equal(quantise(adapted, keys, classes, target), wanted)

    def test_features_that_are_not_finite_take_a_key_of_their_class_all_the_same(self):
        chosen = quantise(torch.full((1, 2, 1, 1), float("nan")), noise(6, 2), key_classes(6, 2), torch.tensor([1]))
        assert 3 <= int(chosen) <= 5


class TestObjective:
    def test_terms_by_hand(self):
        piq = small(rec_weight=2.0, commitment=0.5)
        prediction, terms = step(piq, noise(2, 6000))
        terms = {name: value.detach() for name, value in terms.items()}
        distance = (prediction.adapted - prediction.quantised).detach().square().mean()
        assert float(terms["codebook"]) == pytest.approx(float(distance), rel=1e-5)
        assert float(terms["commitment"]) == pytest.approx(float(distance), rel=1e-5)
        wanted = 2.0 * terms["reconstruction"] + 1.0 * distance + 0.5 * distance
        assert float(terms["loss"]) == pytest.approx(float(wanted), rel=1e-5)

    def test_faithfulness_is_the_in_out_pair(self):
        piq = small(faithfulness_weight=3.0, outside_weight=0.1, cap=2.0)
        prediction, _ = step(piq, noise(1, 6000))
        spectrogram = piq.frontend.analyse(piq.frontend.level(noise(1, 6000)))
        target = torch.tensor([1])
        masked = MaskedLogits(torch.zeros(1, 3), torch.tensor([[0.0, -50.0, 0.0]]))
        with_pair = piq.objective(prediction, spectrogram, None, target, masked)
        piq.uses_masked_logits = False
        without = piq.objective(prediction, spectrogram, None, target, None)
        difference = float((with_pair["loss"] - without["loss"]).detach())
        assert difference == pytest.approx(3.0 * (torch.log(torch.tensor(3.0)).item() - 0.1 * 2.0), rel=1e-5)

    def test_each_term_pulls_on_its_own_side(self):
        """|sg(u) - e|² moves the keys and |u - sg(e)|² the features, each with its own weight."""
        piq = small(commitment=0.25)
        for term, moved, still in (("codebook", "quantised", "adapted"), ("commitment", "adapted", "quantised")):
            prediction, _ = step(piq, noise(2, 6000))
            for name in ("adapted", "quantised"):
                setattr(prediction, name, getattr(prediction, name).detach().requires_grad_())
            spectrogram = piq.frontend.analyse(piq.frontend.level(noise(2, 6000)))
            terms = piq.objective(prediction, spectrogram, None, torch.tensor([0, 1]), None)
            terms[term].backward(retain_graph=True)
            assert getattr(prediction, moved).grad.abs().sum() > 0
            assert getattr(prediction, still).grad is None
            alone = getattr(prediction, moved).grad.clone()
            terms["loss"].backward()
            weight = 1.0 if term == "codebook" else 0.25
            torch.testing.assert_close(getattr(prediction, moved).grad - alone, weight * alone)

    def test_independent_of_the_batch_size(self):
        piq = small().eval()
        wavs = noise(4, 6000)
        with torch.no_grad():
            whole = step(piq, wavs)[1]
            single = [step(piq, wavs[i : i + 1])[1] for i in range(4)]
        for name, value in whole.items():
            assert float(value) == pytest.approx(sum(float(s[name]) for s in single) / 4, rel=1e-4)

    def test_gradients_reach_every_parameter_but_the_classifiers(self):
        piq = small(faithfulness_weight=1.0)
        step(piq, noise(4, 6000), torch.tensor([1.0, 0.5, 0.8, 1.0]))[1]["loss"].backward()
        for name, parameter in piq.named_parameters():
            assert parameter.grad is not None, name
            assert torch.isfinite(parameter.grad).all(), name
        assert piq.psi.codebook.embedding.weight.grad.abs().sum() > 0
        assert piq.psi.adapter.lateral[0].weight.grad.abs().sum() > 0  # through the straight-through estimator
        assert all(parameter.grad is None for parameter in piq.classifier.parameters())

    def test_silence_gives_a_finite_loss(self):
        prediction, terms = step(small(faithfulness_weight=1.0), torch.zeros(2, 6000))
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


class TestPublished:
    def network(self):
        torch.manual_seed(0)
        return PIQ(Conv2dClassifier(LABELS, dim=4, lin_neurons=8), network="published", codebook_size=30).eval()

    def test_published_parameter_names_load_and_give_the_published_output(self):
        piq = self.network()
        published = VectorQuantizedPSI_Audio(dim=4, K=30, numclasses=3, shared_keys=0).eval()
        # Batch statistics that are not the initial ones, and keys far enough apart to tell.
        published.train()(noise(4, 4, 26, 32), torch.tensor([0, 1, 2, 0]))
        published.eval().codebook.embedding.weight.data.normal_()
        piq.psi.load_state_dict(published.state_dict())
        spectrogram = piq.frontend.analyse(noise(2, 80000))
        output = piq.classifier(spectrogram.magnitude)
        target = torch.tensor([2, 0])
        with torch.no_grad():
            logits = piq(spectrogram, output, target).mask_logits
            wanted = published(output.feature_maps[-1], target)[0][:, 0]
        assert wanted.shape == (2, 417, 513)
        torch.testing.assert_close(logits[:, :417], wanted, rtol=1e-4, atol=1e-5)
        # 417 of 431 frames are drawn: the last one is repeated, not stretched and not filled with zeros.
        torch.testing.assert_close(logits[:, 417:], wanted[:, -1:].expand(-1, 14, -1), rtol=1e-4, atol=1e-5)

    def test_shared_keys_alike_in_training_and_evaluation(self):
        classifier = Conv2dClassifier(LABELS, dim=4, lin_neurons=8)
        piq = PIQ(classifier, network="published", codebook_size=30, shared_keys=27)
        spectrogram = piq.frontend.analyse(noise(2, 20000))
        output = classifier(spectrogram.magnitude)
        for training in (True, False):
            piq.train(training)
            indices = piq(spectrogram, output, torch.tensor([0, 1])).indices
            assert (indices >= 3).any()  # keys 3 to 29 are shared
            assert not (indices[0] == 1).any()  # the key of class 1

    def test_a_front_end_it_was_not_made_for_is_refused(self):
        classifier = Conv2dClassifier(LABELS, {"n_fft": 1000}, dim=4, lin_neurons=8)
        piq = PIQ(classifier, network="published", codebook_size=30).eval()
        with pytest.raises(UserError, match="network: compact"):
            piq.explain(noise(1, 16000))


def test_unknown_network():
    with pytest.raises(UserError, match="network is 'big'"):
        small(network="big")


def vit(image_size=56, **settings):
    """A small ViT whose images have 14 x 14 patches, as the published decoder wants them."""
    torch.manual_seed(0)
    config = {
        "image_size": image_size,
        "patch_size": 4,
        "hidden_size": 8,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 16,
    }
    return ViTClassifier(LABELS, config=config, lin_neurons=8, **{"image_frames": 431, **settings})


def focalnet(**settings):
    """A small FocalNet whose last stage has 7 x 7 cells, as the published one."""
    torch.manual_seed(0)
    config = {"image_size": 56, "embed_dim": 8, "depths": [1, 1], "focal_levels": [1, 1], "focal_windows": [3, 3]}
    return FocalNetClassifier(LABELS, config=config, lin_neurons=8, **{"image_frames": 431, **settings})


class TestBehindImages:
    KINDS = pytest.mark.parametrize(
        ("network", "classifier", "lobe", "scale"),
        [("vit", vit, VectorQuantizedPSIViT_Audio, 1), ("focalnet", focalnet, VectorQuantizedPSIFocalNet_Audio, 2)],
    )

    @KINDS
    def test_published_parameter_names_load_and_give_the_published_output(self, network, classifier, lobe, scale):
        classifier = classifier()
        dim = classifier.feature_channels[-1]
        torch.manual_seed(3)
        published = lobe(dim=dim, K=30, numclasses=3, shared_keys=0)
        published.train()(noise(4, dim, 14, 14), torch.tensor([0, 1, 2, 0]))  # batch statistics that are not initial
        published.eval().codebook.embedding.weight.data.normal_()
        piq = PIQ(classifier, network=network, codebook_size=30).eval()
        piq.psi.load_state_dict(published.state_dict())
        spectrogram = piq.frontend.analyse(piq.frontend.level(noise(2, 80000)))
        assert spectrogram.magnitude.shape[1:] == (431, 513)
        output, target = classifier.classify(spectrogram), torch.tensor([0, 2])
        with torch.no_grad():
            maps = output.feature_maps[-1]
            # What the published recipe does to FocalNet's map before its decoder sees it.
            size = [scale * n for n in maps.shape[2:]]
            maps = functional.interpolate(maps, size=size, mode="bilinear", antialias=True, align_corners=False)
            wanted = published(maps, target)[0][:, 0]
            got = piq(spectrogram, output, target).mask_logits
        assert wanted.shape == got.shape == (2, 431, 513)
        torch.testing.assert_close(got, wanted, rtol=1e-4, atol=1e-5)

    @KINDS
    @pytest.mark.parametrize("n_frames", [20, 431, 500, 1000])
    def test_clips_of_any_length_are_drawn_image_by_image(self, network, classifier, lobe, scale, n_frames):
        piq = PIQ(classifier(), network=network, codebook_size=12).eval()
        wavs = noise(1, n_frames * 186 - 186)
        spectrogram = piq.frontend.analyse(wavs)
        output = piq.classifier.classify(spectrogram)
        with torch.no_grad():
            whole = piq(spectrogram, output, output.predicted)
        assert whole.mask_logits.shape == (1, n_frames, 513)
        n_images = -(-n_frames // 431)
        assert whole.adapted.shape[2] == whole.rows.shape[1] == 7 * n_images
        assert int(whole.rows.sum()) == -(-n_frames * 7 // 431)
        # The first image is drawn the same whatever follows it, with its tokens as they are.
        rows = piq.psi.image_rows
        if n_images > 1:
            first = dataclasses.replace(output, feature_maps=(output.feature_maps[-1][:, :, :rows],))
            cut = Spectrogram(
                spectrogram.magnitude[:, :431],
                spectrogram.phase[:, :431],
                spectrogram.valid[:, :431],
                torch.tensor([430 * 186]),
                430 * 186,
            )
            with torch.no_grad():
                alone = piq(cut, first, output.predicted)
            torch.testing.assert_close(whole.mask_logits[:, :431], alone.mask_logits, rtol=0, atol=1e-5)

    @KINDS
    @pytest.mark.parametrize("image_frames", [173, 600])
    def test_what_is_drawn_is_the_whole_image_however_many_frames_it_covers(
        self, network, classifier, lobe, scale, image_frames
    ):
        found = {}
        for n_frames in (431, image_frames):
            piq = PIQ(classifier(image_frames=n_frames), network=network, codebook_size=12).eval()
            torch.manual_seed(5)
            for parameter in piq.psi.parameters():
                parameter.data.normal_(std=0.2)
            spectrogram = piq.frontend.analyse(noise(1, n_frames * 186 - 186))
            output = piq.classifier.classify(spectrogram)
            maps = noise(*output.feature_maps[-1].shape, seed=6)  # the same 14 x 14 or 7 x 7 cells in both
            with torch.no_grad():
                output = dataclasses.replace(output, feature_maps=(maps,))
                found[n_frames] = piq(spectrogram, output, torch.tensor([1])).mask_logits[0].numpy()
        published, drawn = found[431], found[image_frames]
        assert published.std(0).mean() > 1e-3
        centres = (np.arange(image_frames) + 0.5) * 431 / image_frames - 0.5
        for column in range(0, 513, 37):
            wanted = np.interp(centres, np.arange(431), published[:, column])
            np.testing.assert_allclose(drawn[:, column], wanted, rtol=1e-4, atol=1e-4)

    def test_every_image_of_a_clip_has_the_keys_of_the_clips_class(self):
        piq = PIQ(vit(image_frames=60), network="vit", codebook_size=12).eval()
        piq.psi.codebook.embedding.weight.data.normal_()
        wavs, target = noise(2, 119 * 186), torch.tensor([0, 2])
        lengths = torch.tensor([59 / 119, 1.0])  # one whole image, and two
        spectrogram = piq.frontend.analyse(wavs, lengths)
        assert spectrogram.valid.sum(1).tolist() == [60, 120]
        with torch.no_grad():
            found = piq(spectrogram, piq.classifier.classify(spectrogram), target)
        assert found.rows.sum(1).tolist() == [7, 14]
        for clip, k in enumerate((0, 2)):
            assert set(piq.psi.classes[found.indices[clip][found.rows[clip]]].flatten().tolist()) == {k}

    @KINDS
    def test_it_learns_with_every_parameter(self, network, classifier, lobe, scale):
        piq = PIQ(classifier(), network=network, codebook_size=6, faithfulness_weight=1.0).train()
        _, terms = step(piq, noise(3, 30000), torch.tensor([1.0, 0.7, 0.4]))
        terms["loss"].backward()
        missing = [name for name, parameter in piq.named_parameters() if parameter.grad is None]
        assert not missing

    def test_other_classifiers_and_images_too_small_are_refused(self):
        with pytest.raises(UserError, match="for classifiers that see images"):
            PIQ(compact(), network="vit")
        for other in (28, 112):
            with pytest.raises(UserError, match=f"has {other // 4} x {other // 4} cells of an image, expected 14 x 14"):
                PIQ(vit(image_size=other), network="vit", codebook_size=6)
        with pytest.raises(UserError, match="expected one of compact, published, vit, focalnet"):
            PIQ(compact(), network="big")

    def test_a_classifier_with_a_single_feature_map(self):
        classifier = vit()
        classifier.feature_channels, classifier.feature_strides = (8,), classifier.feature_strides[-1:]
        assert PIQ(classifier, codebook_size=6, decoder_channels=(4, 4)).psi.level == 0

    def test_no_step_is_refused(self):
        with pytest.raises(UserError, match="a number for each finer grid"):
            PIQ(compact(), codebook_size=6, decoder_channels=())
