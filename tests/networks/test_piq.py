"""PIQ's networks: partition of the codebook, nearest keys, straight-through gradient, published names, images."""

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
from tiny import LABELS, noise
from torch.nn import functional

from interpretability.classifiers.compact import CompactClassifier
from interpretability.classifiers.conv2d import Conv2dClassifier
from interpretability.classifiers.focalnet import FocalNetClassifier
from interpretability.classifiers.vit import ViTClassifier
from interpretability.errors import UserError
from interpretability.networks.piq import (
    SHARED,
    Codebook,
    CompactPSI,
    FocalNetPSI,
    PublishedPSI,
    ViTPSI,
    key_classes,
    look_up,
    quantise,
)

pytestmark = pytest.mark.slow  # published networks and folders; others of their kind are quick

HOP = 186


def compact():
    torch.manual_seed(0)
    return CompactClassifier(LABELS, n_mels=16, channels=(4, 4, 8, 8)).freeze()


def conv2d(**settings):
    torch.manual_seed(0)
    return Conv2dClassifier(LABELS, dim=4, lin_neurons=8, **settings).freeze()


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
    return ViTClassifier(LABELS, config=config, lin_neurons=8, **{"image_frames": 431, **settings}).freeze()


def focalnet(**settings):
    """A small FocalNet whose last stage has 7 x 7 cells, as the published one."""
    torch.manual_seed(0)
    config = {"image_size": 56, "embed_dim": 8, "depths": [1, 1], "focal_levels": [1, 1], "focal_windows": [3, 3]}
    return FocalNetClassifier(LABELS, config=config, lin_neurons=8, **{"image_frames": 431, **settings}).freeze()


def draw(psi, classifier, batch):
    with torch.no_grad():
        return psi(classifier, batch)


class TestPartition:
    @pytest.mark.parametrize("n_classes", [2, 3, 7, 10, 50])
    @pytest.mark.parametrize(("n_keys", "n_shared"), [(50, 0), (64, 7), (320, 0), (1024, 0), (1024, 24)])
    def test_contiguous_groups_within_one_of_each_other(self, n_keys, n_classes, n_shared):
        classes = key_classes(n_keys, n_classes, n_shared)
        unshared = classes[: n_keys - n_shared]
        assert len(classes) == n_keys
        assert (classes[n_keys - n_shared :] == SHARED).all()
        assert (unshared.diff() >= 0).all()
        sizes = torch.bincount(unshared, minlength=n_classes)
        assert len(sizes) == n_classes
        assert sizes.max() - sizes.min() <= 1
        assert sizes.min() >= 1

    @pytest.mark.parametrize(("n_keys", "n_classes"), [(1024, 50), (1024, 10), (100, 10)])
    def test_published_sizes_keep_the_published_partition(self, n_keys, n_classes):
        wanted = ~get_irrelevant_regions(torch.arange(n_classes), n_keys, n_classes, 0).bool()
        assert torch.equal(key_classes(n_keys, n_classes), wanted.float().argmax(0))

    @pytest.mark.parametrize(
        ("n_keys", "n_classes", "n_shared", "n_moved"),
        [(1024, 5, 0, 4), (1024, 2, 0, 3), (2048, 10, 0, 5), (1024, 50, 0, 0), (1024, 5, 24, None), (31, 3, 4, None)],
    )
    def test_the_published_partition_of_any_size_is_that_of_speechbrain(self, n_keys, n_classes, n_shared, n_moved):
        classes = key_classes(n_keys, n_classes, n_shared, "published")
        allowed = ~get_irrelevant_regions(torch.arange(n_classes), n_keys, n_classes, n_shared, stage="VALID").bool()
        for k in range(n_classes):
            assert torch.equal((classes == k) | (classes == SHARED), allowed[k])
        if n_moved is not None:
            assert int((classes != key_classes(n_keys, n_classes)).sum()) == n_moved

    def test_the_published_partition_leaves_no_class_without_a_key(self):
        for n_classes in (1, 2, 3, 10, 50):
            for n_keys in range(n_classes, n_classes + 20):
                assert len(key_classes(n_keys, n_classes, partition="published").unique()) == n_classes

    def test_a_class_without_a_key_is_an_error(self):
        with pytest.raises(UserError, match="every class needs one"):
            key_classes(9, 10)


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
        quantised = book(noise(2, 4, 3, 5), torch.tensor([1, 2]))
        wanted = book.embedding.weight[quantised.indices].permute(0, 3, 1, 2)
        torch.testing.assert_close(quantised.keys, wanted)
        torch.testing.assert_close(quantised.straight, wanted)

    def test_straight_through_gradient(self):
        adapted, keys = noise(1, 4, 2, 2).requires_grad_(), noise(6, 4, seed=1).requires_grad_()
        quantised = look_up(adapted, keys, key_classes(6, 2), torch.tensor([0]))
        weights = noise(1, 4, 2, 2, seed=2)
        (quantised.straight * weights).sum().backward()
        torch.testing.assert_close(adapted.grad, weights)  # the identity
        assert keys.grad is None
        quantised.keys.sum().backward()
        counts = torch.bincount(quantised.indices.flatten(), minlength=6).float()
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


class TestCompact:
    def test_a_classifier_with_a_single_feature_map(self):
        classifier = vit()
        classifier.feature_channels, classifier.feature_strides = (8,), classifier.feature_strides[-1:]
        assert CompactPSI(classifier, 6, 3, 0, 8, (4, 4)).level == 0

    def test_no_step_is_refused(self):
        with pytest.raises(UserError, match="a number for each finer grid"):
            CompactPSI(compact(), 6, 3, 0, 8, ())


class TestPublished:
    def test_published_parameter_names_load_and_give_the_published_output(self):
        classifier = conv2d()
        published = VectorQuantizedPSI_Audio(dim=4, K=30, numclasses=3, shared_keys=0).eval()
        # Batch statistics that are not the initial ones, and keys far enough apart to tell.
        published.train()(noise(4, 4, 26, 32), torch.tensor([0, 1, 2, 0]))
        published.eval().codebook.embedding.weight.data.normal_()
        psi = PublishedPSI(classifier, 30, 3, 0).eval()
        psi.load_state_dict(published.state_dict())
        batch = classifier.analyse(noise(2, 80000), target=torch.tensor([2, 0]))
        logits = draw(psi, classifier, batch).mask_logits
        with torch.no_grad():
            wanted = published(batch.output.feature_maps[-1], batch.target)[0][:, 0]
        assert wanted.shape == (2, 417, 513)
        torch.testing.assert_close(logits[:, :417], wanted, rtol=1e-4, atol=1e-5)
        # 417 of 431 frames are drawn: the last one is repeated, not stretched and not filled with zeros.
        torch.testing.assert_close(logits[:, 417:], wanted[:, -1:].expand(-1, 14, -1), rtol=1e-4, atol=1e-5)

    def test_shared_keys_alike_in_training_and_evaluation(self):
        classifier = conv2d()
        psi = PublishedPSI(classifier, 30, 3, 27)
        batch = classifier.analyse(noise(2, 20000), target=torch.tensor([0, 1]))
        for training in (True, False):
            indices = draw(psi.train(training), classifier, batch).indices
            assert (indices >= 3).any()  # keys 3 to 29 are shared
            assert not (indices[0] == 1).any()  # the key of class 1

    def test_a_front_end_it_was_not_made_for_is_refused(self):
        classifier = conv2d(frontend={"n_fft": 1000})
        psi = PublishedPSI(classifier, 30, 3, 0).eval()
        with pytest.raises(UserError, match="network: compact"):
            draw(psi, classifier, classifier.analyse(noise(1, 16000)))


class TestBehindImages:
    KINDS = pytest.mark.parametrize(
        ("network", "make", "lobe", "scale"),
        [(ViTPSI, vit, VectorQuantizedPSIViT_Audio, 1), (FocalNetPSI, focalnet, VectorQuantizedPSIFocalNet_Audio, 2)],
    )

    @KINDS
    def test_published_parameter_names_load_and_give_the_published_output(self, network, make, lobe, scale):
        classifier = make()
        dim = classifier.feature_channels[-1]
        torch.manual_seed(3)
        published = lobe(dim=dim, K=30, numclasses=3, shared_keys=0)
        published.train()(noise(4, dim, 14, 14), torch.tensor([0, 1, 2, 0]))  # batch statistics that are not initial
        published.eval().codebook.embedding.weight.data.normal_()
        psi = network(classifier, 30, 3, 0).eval()
        psi.load_state_dict(published.state_dict())
        batch = classifier.analyse(noise(2, 80000), target=torch.tensor([0, 2]))
        assert batch.spectrogram.magnitude.shape[1:] == (431, 513)
        maps = batch.output.feature_maps[-1]
        with torch.no_grad():
            # What the published recipe does to FocalNet's map before its decoder sees it.
            size = [scale * n for n in maps.shape[2:]]
            maps = functional.interpolate(maps, size=size, mode="bilinear", antialias=True, align_corners=False)
            wanted = published(maps, batch.target)[0][:, 0]
        got = draw(psi, classifier, batch).mask_logits
        assert wanted.shape == got.shape == (2, 431, 513)
        torch.testing.assert_close(got, wanted, rtol=1e-4, atol=1e-5)

    @KINDS
    @pytest.mark.parametrize("n_frames", [20, 431, 500, 1000])
    def test_clips_of_any_length_are_drawn_image_by_image(self, network, make, lobe, scale, n_frames):
        classifier = make()
        psi = network(classifier, 12, 3, 0).eval()
        wavs = noise(1, (n_frames - 1) * HOP)
        batch = classifier.analyse(wavs)
        whole = draw(psi, classifier, batch)
        assert whole.mask_logits.shape == (1, n_frames, 513)
        n_images = -(-n_frames // 431)
        assert whole.adapted.shape[2] == whole.rows.shape[1] == 7 * n_images
        assert int(whole.rows.sum()) == -(-n_frames * 7 // 431)
        # The first image is drawn the same whatever follows it, with its tokens as they are.
        if n_images > 1:
            first = batch.output.feature_maps[-1][:, :, : psi.image_rows]
            cut = dataclasses.replace(
                classifier.analyse(wavs[:, : 430 * HOP], target=batch.target),
                output=dataclasses.replace(batch.output, feature_maps=(first,)),
            )
            alone = draw(psi, classifier, cut)
            assert alone.mask_logits.shape == (1, 431, 513)
            torch.testing.assert_close(whole.mask_logits[:, :431], alone.mask_logits, rtol=0, atol=1e-5)

    @KINDS
    @pytest.mark.parametrize("image_frames", [173, 600])
    def test_what_is_drawn_is_the_whole_image_however_many_frames_it_covers(
        self, network, make, lobe, scale, image_frames
    ):
        logits = {}
        for n_frames in (431, image_frames):
            classifier = make(image_frames=n_frames)
            psi = network(classifier, 12, 3, 0).eval()
            torch.manual_seed(5)
            for parameter in psi.parameters():
                parameter.data.normal_(std=0.2)
            batch = classifier.analyse(noise(1, (n_frames - 1) * HOP), target=1)
            maps = noise(*batch.output.feature_maps[-1].shape, seed=6)  # the same 14 x 14 or 7 x 7 cells in both
            batch.output = dataclasses.replace(batch.output, feature_maps=(maps,))
            logits[n_frames] = draw(psi, classifier, batch).mask_logits[0].numpy()
        published, drawn = logits[431], logits[image_frames]
        assert published.std(0).mean() > 1e-3
        centres = (np.arange(image_frames) + 0.5) * 431 / image_frames - 0.5
        for column in range(0, 513, 37):
            wanted = np.interp(centres, np.arange(431), published[:, column])
            np.testing.assert_allclose(drawn[:, column], wanted, rtol=1e-4, atol=1e-4)

    def test_every_image_of_a_clip_has_the_keys_of_the_clips_class(self):
        classifier = vit(image_frames=60)
        psi = ViTPSI(classifier, 12, 3, 0).eval()
        psi.codebook.embedding.weight.data.normal_()
        lengths = torch.tensor([59 / 119, 1.0])  # one whole image, and two
        batch = classifier.analyse(noise(2, 119 * HOP), lengths, torch.tensor([0, 2]))
        assert batch.spectrogram.valid.sum(1).tolist() == [60, 120]
        drawing = draw(psi, classifier, batch)
        assert drawing.rows.sum(1).tolist() == [7, 14]
        for clip, k in enumerate((0, 2)):
            assert set(psi.classes[drawing.indices[clip][drawing.rows[clip]]].flatten().tolist()) == {k}

    def test_other_classifiers_and_images_too_small_are_refused(self):
        with pytest.raises(UserError, match="for classifiers that see images"):
            ViTPSI(compact(), 12, 3, 0)
        for other in (28, 112):
            with pytest.raises(UserError, match=f"has {other // 4} x {other // 4} cells of an image, expected 14 x 14"):
                ViTPSI(vit(image_size=other), 6, 3, 0)
