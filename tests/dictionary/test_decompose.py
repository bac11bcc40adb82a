"""Decomposition of known factors, and masks of components."""

from itertools import pairwise

import pytest
import torch
from torch.nn import functional

from interpretability.dictionary import Components, component_mask, decompose
from interpretability.errors import UserError

MATRIX = functional.normalize(torch.rand(201, 5, generator=torch.Generator().manual_seed(0)), dim=0)


def objective(target, matrix, activations, divergence, sparsity):
    """The textbook objective, written out on its own."""
    approximation = (matrix @ activations).double()
    target = target.transpose(1, 2).double()
    if divergence == "euclidean":
        fit = 0.5 * (target - approximation).square().sum()
    else:
        fit = (torch.xlogy(target, target / (approximation + 1e-10)) - target + approximation).sum()
    return float(fit + sparsity * activations.double().sum())


class TestDecompose:
    @pytest.mark.parametrize("divergence", ["euclidean", "kl"])
    @pytest.mark.parametrize("sparsity", [0.0, 0.3])
    def test_the_objective_never_rises(self, divergence, sparsity):
        generator = torch.Generator().manual_seed(1)
        matrix = functional.normalize(torch.rand(201, 8, generator=generator), dim=0)
        target = torch.rand(2, 30, 201, generator=generator)
        values = [
            objective(target, matrix, decompose(target, matrix, n, divergence, sparsity), divergence, sparsity)
            for n in (0, 1, 2, 5, 20, 100)
        ]
        assert all(after <= before * (1 + 1e-5) for before, after in pairwise(values))
        assert values[-1] < 0.98 * values[0]

    @pytest.mark.parametrize("divergence", ["euclidean", "kl"])
    def test_known_activations_are_recovered(self, divergence):
        # Components that hardly overlap, so that the factors are unique.
        matrix = torch.zeros(40, 4)
        for k in range(4):
            matrix[10 * k : 10 * k + 11, k] = 1.0
        matrix = functional.normalize(matrix, dim=0)
        known = torch.rand(1, 4, 25, generator=torch.Generator().manual_seed(0)) + 0.1
        target = (matrix @ known).transpose(1, 2)
        activations = decompose(target, matrix, 1000, divergence)
        torch.testing.assert_close(activations, known, atol=1e-3, rtol=1e-3)

    def test_non_negative_and_zero_in_silence(self):
        target = torch.rand(1, 10, 201)
        target[:, 4] = 0
        for divergence in ("euclidean", "kl"):
            activations = decompose(target, MATRIX, 20, divergence)
            assert bool((activations >= 0).all())
            assert bool(activations.isfinite().all())
            assert not activations[:, :, 4].any()

    def test_frames_do_not_depend_on_each_other(self):
        target = torch.rand(2, 12, 201)
        whole = decompose(target, MATRIX, 30)
        part = decompose(target[1:, 3:7], MATRIX, 30)
        torch.testing.assert_close(part, whole[1:, :, 3:7], rtol=1e-4, atol=1e-4)  # up to rounding, of unseeded input

    def test_unknown_divergence(self):
        with pytest.raises(UserError, match="divergence is 'is'"):
            decompose(torch.rand(1, 2, 201), MATRIX, 1, "is")


class TestMask:
    def test_shares_of_the_whole(self):
        matrix = torch.tensor([[1.0, 0.0, 1.0], [0.0, 1.0, 0.0]])
        activations = torch.tensor([[[1.0, 0.0], [2.0, 0.0], [3.0, 0.0]]])
        kept = torch.tensor([[1.0, 0.0, 0.0]])
        mask = component_mask(matrix, activations, kept)
        # Frame 0: 1 of 1 + 3 in bin 0, nothing in bin 1; frame 1 is silent.
        torch.testing.assert_close(mask, torch.tensor([[[0.25, 0.0], [0.0, 0.0]]]))
        everything = component_mask(matrix, activations, torch.ones(1, 3))
        torch.testing.assert_close(everything, torch.tensor([[[1.0, 1.0], [0.0, 0.0]]]))

    def test_components_add_up_to_the_mask_of_all_that_are_kept(self):
        matrix = MATRIX
        activations = torch.rand(2, 5, 7)
        relevance = torch.tensor([[0.1, 1.0, -0.5, 0.3, 0.0], [1.0, 0.2, 0.9, 0.0, 0.5]])
        components = Components(matrix, activations, relevance, relevance > 0.2)
        assert components.ranked(0) == [1, 3]
        assert components.ranked(1) == [0, 2, 4]
        kept = component_mask(matrix, activations, components.selected)
        for clip in range(2):
            one = components.clip(clip, 7)
            torch.testing.assert_close(sum(one.mask_of(k) for k in one.ranked()), kept[clip : clip + 1])
        assert components.clip(1, 4).activations.shape == (1, 5, 4)
