"""AMT: thresholds against NumPy, exact counts on ties, constant maps, coarse grids, padding, notes."""

import json
import math
from fractions import Fraction

import numpy as np
import pytest
import soundfile
import torch
from tiny import LABELS, SMALL, noise
from torch.nn import functional

from interpretability.classifiers.base import ActivationMap, Classifier, ClassifierOutput
from interpretability.classifiers.compact import CompactClassifier
from interpretability.classifiers.vit import ViTClassifier
from interpretability.errors import UserError
from interpretability.grids import Grid
from interpretability.methods.amt import AMT, CLASS_AGNOSTIC
from interpretability.metrics.sparsity import complexity, relative_complexity, sparseness

HOP, BINS = 32, 33
VARIANTS = ("last", "mean", "gradient")


class Looking(Classifier):
    """Attends to patches of ``patch`` = (frames, bins), in proportion to their loudness, or as ``look`` says.

    ``look`` gets the mean log magnitude of the patches [B, T', F'] and returns attention [B, L, T', F'].
    """

    NAME = "looking"
    ACTIVATIONS = VARIANTS

    def __init__(self, patch=(4, 3), look=None):
        super().__init__(LABELS, SMALL)
        self.patch = patch
        self.look = look or (lambda energy: torch.stack([energy**2, energy], dim=1))
        columns = self.feature_grids(1)[0].bins.numel()
        self.weight = torch.randn(3, columns, generator=torch.Generator().manual_seed(3))

    def feature_rows(self, n_frames):
        return n_frames, -(-n_frames // self.patch[0])

    def feature_grids(self, n_frames):
        sizes = (self.feature_rows(n_frames)[1], -(-BINS // self.patch[1]))
        return (Grid(*(torch.arange(n).double() * p + (p - 1) / 2 for n, p in zip(sizes, self.patch, strict=True))),)

    def forward(self, magnitude, valid=None):
        valid = torch.ones(magnitude.shape[:2], dtype=torch.bool) if valid is None else valid
        missing = [-size % step for size, step in zip(magnitude.shape[1:], self.patch, strict=True)]
        padded = functional.pad(torch.log1p(magnitude), (0, missing[1], 0, missing[0]))
        energy = functional.avg_pool2d(padded[:, None], self.patch)[:, 0]  # [B, T', F']
        rows = self.valid_rows(valid)[-1][..., None]
        logits = (energy * rows).sum(1) / rows.sum(1) @ self.weight.T
        return ClassifierOutput(logits, logits, (energy[:, None],), self.look(energy) * rows[:, None])

    def activation_map(self, batch, variant="last"):
        if variant != "gradient":
            return super().activation_map(batch, variant)
        values = batch.output.feature_maps[0][:, 0] * self.weight[batch.target].clamp(min=0)[:, None]
        return ActivationMap(values, *self._last_level(batch.spectrogram))


def given(values):
    """A classifier that attends to the bins of clips with given values, [B, T, F] or [T, F].

    So it does for In and Out, which are twice as many clips.
    """
    values = values.view(-1, *values.shape[-2:])
    return Looking((1, 1), lambda energy: values.repeat(len(energy) // len(values), 1, 1)[:, None])


def distinct(*shape, seed=0):
    """Different numbers, in random order."""
    n = math.prod(shape)
    return (torch.randperm(n, generator=torch.Generator().manual_seed(seed)) / n).view(shape)


def clip_of(n_frames, seed=0):
    return noise(1, (n_frames - 1) * HOP, seed=seed)


def kept(explanation, clip=0):
    """The bins that are kept of a clip [t, F]."""
    mask = explanation[clip].mask[0]
    assert set(mask.unique().tolist()) <= {0.0, 1.0}
    return mask.bool()


class TestThreshold:
    @pytest.mark.parametrize("quantile", [0.5, 0.8, 0.9])
    @pytest.mark.parametrize("n_frames", [2, 3, 7, 44, 251])
    def test_it_is_that_of_numpy_where_all_values_differ(self, quantile, n_frames):
        values = distinct(n_frames, BINS)
        mask = kept(AMT(given(values), quantile=quantile).explain(clip_of(n_frames)))
        array = values.double().numpy()
        assert (mask.numpy() == (array >= np.quantile(array, quantile))).all()

    @pytest.mark.parametrize("quantile", ["0", "0.33", "0.5", "0.8", "0.9", "0.95", "0.999"])
    @pytest.mark.parametrize("levels", [2, 5, None])
    def test_exactly_as_many_bins_as_asked_for_on_ties_too(self, quantile, levels):
        for n_frames in (2, 5, 12, 80):
            values = distinct(n_frames, BINS, seed=n_frames)
            if levels is not None:
                values = (values * levels).floor()
            mask = kept(AMT(given(values), quantile=float(quantile)).explain(clip_of(n_frames)))
            assert int(mask.sum()) == math.ceil((1 - Fraction(quantile)) * n_frames * BINS)
            if not mask.all():
                least, most = values[mask].min(), values[~mask].max()
                assert least >= most
                # Of equal bins the earlier frames and lower bins.
                tied = (values == least).flatten().nonzero()[:, 0]
                among = mask.flatten()[tied].tolist()
                assert among == sorted(among, reverse=True)

    @pytest.mark.parametrize("scale", [1e-30, 1e-3, 1e8])
    def test_the_scale_of_the_map_does_not_matter(self, scale):
        values = distinct(20, BINS)
        explanation = AMT(given(values * scale)).explain(clip_of(20))
        assert torch.equal(kept(explanation), kept(AMT(given(values)).explain(clip_of(20))))
        assert not explanation.undefined.any()

    @pytest.mark.parametrize("quantile", [1, 1.0, -0.1, 1.5, math.nan])
    def test_quantiles_that_are_none(self, quantile):
        with pytest.raises(UserError, match=r"amt: quantile is .*, expected a number >= 0 and < 1"):
            AMT(Looking(), quantile=quantile)

    @pytest.mark.parametrize("bad", [math.nan, math.inf])
    def test_a_map_that_is_not_finite(self, bad):
        values = distinct(10, BINS)
        values[3, 3] = bad
        with pytest.raises(ValueError, match="activation map 'last' is not finite in clips"):
            AMT(given(values)).explain(clip_of(10))


class TestConstantMaps:
    @pytest.mark.parametrize("value", [0.0, 1e-25, 0.3, 7e9])
    @pytest.mark.parametrize("noise_level", [0.0, 3e-7])
    @pytest.mark.parametrize("quantile", [0.0, 0.8])
    def test_they_are_undefined(self, value, noise_level, quantile):
        values = value * (1 + noise_level * distinct(12, BINS))
        explanation = AMT(given(values), quantile=quantile).explain(clip_of(12))
        assert explanation.undefined.tolist() == [True]
        assert not explanation.mask.any()

    def test_a_small_difference_is_none_of_rounding(self):
        values = 1 + 1e-4 * distinct(12, BINS).double()
        explanation = AMT(given(values.float())).explain(clip_of(12))
        assert explanation.undefined.tolist() == [False]
        assert kept(explanation).sum() == math.ceil(0.2 * 12 * BINS)

    def test_each_clip_is_judged_by_its_own_frames(self):
        values = torch.full((4, 20, BINS), 0.5)
        values[1, :12] = distinct(12, BINS)
        values[2, 15:] = 9.0  # beyond the end of the clip: padding, which the classifier hides
        values[3, 11] = 9.0  # the last frame of the clip
        lengths = torch.tensor([20, 12, 12, 12])
        explanation = AMT(given(values)).explain(noise(4, 19 * HOP), (lengths - 1) / 19)
        assert explanation.spectrogram.valid.sum(1).tolist() == lengths.tolist()
        assert explanation.undefined.tolist() == [True, False, True, False]
        assert explanation.mask.sum((1, 2)).tolist() == [0, 80, 0, 80]
        assert [explanation[i].undefined.tolist() for i in range(4)] == [[True], [False], [True], [False]]

    def test_saved_it_is_said_and_the_explanation_is_silent(self, tmp_path):
        explanation = AMT(given(torch.ones(30, BINS))).explain(clip_of(30))
        assert not explanation.listenable.any()
        torch.testing.assert_close(explanation.residual, explanation.sound, atol=1e-5, rtol=0)
        paths = explanation.save(tmp_path)
        description = json.loads(paths["description"].read_text("utf-8"))
        assert description["undefined"] is True
        assert description["notes"] == [CLASS_AGNOSTIC]
        assert not soundfile.read(paths["explanation"])[0].any()


class TestGrids:
    def test_the_mask_lies_where_the_map_is_high(self):
        """One hot cell of 4 frames x 3 bins: the bins nearest to its centre, in both directions, are kept."""
        hot = torch.zeros(10, 11)
        hot[5, 4] = 1.0  # centred on frame 21.5 and bin 13
        classifier = Looking(look=lambda energy: hot.expand(energy.shape)[:, None].clone())
        mask = kept(AMT(classifier, quantile=1 - 12 / (40 * BINS)).explain(clip_of(40)))
        assert int(mask.sum()) == 12
        frame, bin_ = (torch.arange(n).double() for n in (40, BINS))
        height = (1 - (frame - 21.5).abs() / 4).clamp(min=0)[:, None] * (1 - (bin_ - 13).abs() / 3).clamp(min=0)
        assert torch.equal(mask, height >= height.flatten().sort(descending=True).values[11] - 1e-9)

    def test_an_event_moved_by_k_strides_moves_the_mask_by_k_strides(self):
        wavs = torch.zeros(2, 99 * HOP)
        event = noise(500)
        shift = 3 * 4 * HOP
        wavs[0, 30 * HOP : 30 * HOP + 500] = wavs[1, 30 * HOP + shift : 30 * HOP + shift + 500] = event
        mask = AMT(Looking(), quantile=0.95).explain(wavs).mask
        assert torch.equal(mask[1, 22:90], mask[0, 10:78])
        assert mask[0, 10:78].sum() == mask[0].sum() > 0

    def test_where_the_map_is_flat_it_is_not_rounding_that_chooses(self):
        """One row of cells: all frames are alike, and so are those bins beyond the outermost centres."""
        row = torch.rand(11, generator=torch.Generator().manual_seed(0))
        row[0] = 2.0
        classifier = Looking((1000, 3), look=lambda energy: row.expand(energy.shape)[:, None].clone())
        mask = kept(AMT(classifier, quantile=1 - 45 / (60 * BINS)).explain(clip_of(60)))
        # Bins 0 and 1 are the two that lie at or below the centre of the first cell.
        assert mask[:22, :2].all()
        assert mask[22].tolist() == [True] + [False] * (BINS - 1)
        assert int(mask.sum()) == 45


class TestBatches:
    @pytest.mark.parametrize("variant", VARIANTS)
    @pytest.mark.parametrize("patch", [(4, 3), (7, 5), (1, 1)])
    def test_padding_batch_and_order_change_nothing(self, variant, patch):
        method = AMT(Looking(patch), variant=variant)
        sizes = (6000, 2501, 200, 32)
        wavs, target = noise(4, 6000), torch.tensor([0, 1, 2, 1])
        together = method.explain(wavs, torch.tensor(sizes) / 6000, target)
        flipped = method.explain(wavs.flip(0), torch.tensor(sizes).flip(0) / 6000, target.flip(0))
        assert not together.mask[~together.spectrogram.valid].any()
        for i, n in enumerate(sizes):
            alone = method.explain(wavs[i : i + 1, :n], target=target[i : i + 1])
            assert alone.mask.sum() == math.ceil(Fraction("0.2") * alone.mask.numel())
            assert torch.equal(together[i].mask, alone.mask)
            assert torch.equal(flipped[3 - i].mask, alone.mask)

    def test_one_frame(self):
        explanation = AMT(Looking(), quantile=0.5).explain(noise(1, HOP - 1))
        assert explanation.mask.shape == (1, 1, BINS)
        assert explanation.mask.sum() == 17

    def test_silence_is_a_clip_like_any_other(self):
        """A classifier that attends to some part of silence has an explanation; one that attends to none has none."""
        assert AMT(given(distinct(12, BINS))).explain(clip_of(12) * 0).undefined.tolist() == [False]
        assert AMT(Looking()).explain(clip_of(12) * 0).undefined.tolist() == [True]


class TestVariants:
    def test_they_differ_and_only_one_looks_at_the_class(self):
        wavs = noise(2, 4000)
        masks = {}
        for variant in VARIANTS:
            method = AMT(Looking(), variant=variant)
            masks[variant] = [method.explain(wavs, target=label).mask for label in LABELS]
            same = [torch.equal(masks[variant][0], other) for other in masks[variant][1:]]
            assert same == [variant != "gradient"] * 2
            assert method.notes == (() if variant == "gradient" else (CLASS_AGNOSTIC,))
            assert method.explain(wavs).notes == method.notes
        # The layers of the mean are scaled alike, those that are squares count as much as the others.
        assert not torch.equal(masks["last"][0], masks["gradient"][0])

    def test_the_mean_is_over_layers_of_equal_weight(self):
        layers = torch.stack([1000 * distinct(12, BINS, seed=1) ** 8, distinct(12, BINS, seed=2)])
        classifier = Looking((1, 1), lambda energy: layers[None].repeat(len(energy), 1, 1, 1))
        mean = sum(layer / layer.sum() for layer in layers).double()
        mask = kept(AMT(classifier, variant="mean").explain(clip_of(12)))
        assert torch.equal(mask, mean >= np.quantile(mean.numpy(), 0.8))
        assert not torch.equal(mask, kept(AMT(classifier).explain(clip_of(12))))

    def test_a_classifier_without_maps_and_one_without_this_map(self):
        with pytest.raises(UserError, match=r"'compact' has no activation maps.*vit"):
            AMT(CompactClassifier(["a", "b"], n_mels=16, channels=(2, 2, 2, 2)))
        with pytest.raises(UserError, match="no activation map 'rollout', expected one of last, mean, gradient"):
            AMT(Looking(), variant="rollout")

    def test_what_the_classifier_refuses_is_refused_at_once(self):
        class Fused(Looking):
            def check_activation(self, variant):
                raise UserError("attention is not eager")

        with pytest.raises(UserError, match="not eager"):
            AMT(Fused())


def test_what_is_called_fixed_is_fixed():
    """Whatever the map: SPS = 1 - k/n, COMP = ln k, with k of n bins kept."""
    n, k = 12 * BINS, 80
    for seed in range(3):
        method = AMT(given(distinct(12, BINS, seed=seed)))
        mask = method.explain(clip_of(12)).mask
        values = {"sps": sparseness(mask), "comp": complexity(mask), "comp_rel": relative_complexity(mask)}
        assert values.keys() == set(method.fixed_metrics)
        assert [x.item() for x in values.values()] == pytest.approx(
            [1 - k / n, math.log(k), math.log(k) / math.log(n)], abs=1e-9
        )


def test_nothing_is_trained_and_settings_are_plain_values():
    method = AMT(Looking(), variant="mean", quantile=0.9, apply="linear")
    assert not AMT.trainable
    assert list(method.parameters()) == []
    assert method.settings.to_dict() == {"apply": "linear", "variant": "mean", "quantile": 0.9}
    assert method.explain(clip_of(5)).mask.dtype == torch.float32


def test_attention_that_gives_no_weights_is_refused_when_the_method_is_made():
    config = {"image_size": 16, "patch_size": 8, "hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2}
    classifier = ViTClassifier(["a", "b"], config=config, image_frames=40, lin_neurons=4)
    AMT(classifier)
    classifier.embedding_model.set_attn_implementation("sdpa")
    with pytest.raises(UserError, match="attention is 'sdpa', which gives no weights"):
        AMT(classifier)
