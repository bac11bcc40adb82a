"""Dictionaries: the file, its checks, decomposition of known factors, masks of components."""

from itertools import pairwise

import pytest
import torch

from interpretability.dictionary import FILE, Components, Dictionary, component_mask, decompose, dictionary_of
from interpretability.errors import MissingError, UserError
from interpretability.frontend import FrontendSettings

SMALL = FrontendSettings(n_fft=400)  # 201 bins


def make(n_components=5, settings=SMALL):
    matrix = torch.rand(settings.n_bins, n_components, generator=torch.Generator().manual_seed(0))
    return Dictionary(matrix / matrix.norm(dim=0), settings, ["cat", "dog"], "euclidean", [3.0, 2.0], {"seed": 1})


def objective(target, matrix, activations, divergence, sparsity):
    """The textbook objective, written out on its own."""
    drawn = (matrix @ activations).double()
    target = target.transpose(1, 2).double()
    if divergence == "euclidean":
        fit = 0.5 * (target - drawn).square().sum()
    else:
        fit = (torch.xlogy(target, target / (drawn + 1e-10)) - target + drawn).sum()
    return float(fit + sparsity * activations.double().sum())


class TestFile:
    @pytest.mark.parametrize("place", [FILE, f"dictionary/{FILE}", "other.pt"])
    def test_saved_and_loaded_from_its_file_or_a_folder_above(self, tmp_path, place):
        dictionary = make()
        path = dictionary.save(tmp_path / place)
        loaded = Dictionary.load(path if place == "other.pt" else tmp_path)
        assert torch.equal(loaded.matrix, dictionary.matrix)
        assert loaded.frontend == SMALL
        assert (loaded.labels, loaded.algorithm) == (["cat", "dog"], "euclidean")
        assert loaded.loss_curve == [3.0, 2.0]
        assert loaded.training == {"seed": 1}
        assert loaded.describe() == dictionary.describe()

    def test_missing_and_damaged_files(self, tmp_path):
        with pytest.raises(MissingError, match=r"train_nmf\.py"):
            Dictionary.load(tmp_path)
        (tmp_path / FILE).write_bytes(b"nothing")
        with pytest.raises(UserError, match="not a dictionary file"):
            Dictionary.load(tmp_path)
        torch.save({"weights": torch.ones(3)}, tmp_path / FILE)
        with pytest.raises(UserError, match="not a dictionary file"):
            Dictionary.load(tmp_path)
        make().save(tmp_path / FILE)
        content = torch.load(tmp_path / FILE, weights_only=True)
        content["matrix"][0, 0] += 0.5
        torch.save(content, tmp_path / FILE)
        with pytest.raises(UserError, match="damaged"):
            Dictionary.load(tmp_path)

    def test_a_full_disk_is_told_in_one_line(self, tmp_path, monkeypatch):
        def fail(content, path):
            path.write_bytes(b"half")
            raise RuntimeError("[enforce fail at inline_container.cc:672] . unexpected pos\nmore")

        monkeypatch.setattr(torch, "save", fail)
        with pytest.raises(UserError, match="make room on the disk") as caught:
            make().save(tmp_path / FILE)
        assert "more" not in str(caught.value)
        assert not list(tmp_path.iterdir())

    def test_another_rate_or_stft_is_refused_with_the_reason(self):
        learned = FrontendSettings(sample_rate=44100, n_fft=1024)
        dictionary = make(settings=learned)
        with pytest.raises(UserError, match=r"NMF: .*sample_rate 44100 \(needed: 16000\)") as caught:
            dictionary.check(FrontendSettings(), "NMF")
        assert "n_fft" not in str(caught.value)  # what is equal is not told
        with pytest.raises(UserError, match=r"n_fft 1024 \(needed: 400\)"):
            dictionary_of(dictionary, SMALL, "NMF")
        make().check(FrontendSettings(n_fft=400), "NMF")

    @pytest.mark.parametrize("matrix", [torch.ones(200, 3), torch.ones(201), torch.ones(201, 0), -torch.ones(201, 2)])
    def test_what_is_no_dictionary_is_refused(self, matrix):
        with pytest.raises(UserError, match="dictionary"):
            Dictionary(matrix, SMALL, [], "kl")

    def test_what_a_method_gets(self, tmp_path):
        dictionary = make()
        dictionary.save(tmp_path / FILE)
        for source in (dictionary, tmp_path, str(tmp_path)):
            matrix, description = dictionary_of(source, SMALL, "NMF")
            assert torch.equal(matrix, dictionary.matrix)
            assert description == dictionary.describe()
        # A saved interpreter brings the matrix with its weights.
        matrix, again = dictionary_of(description, SMALL, "NMF")
        assert matrix.shape == dictionary.matrix.shape
        assert again == description
        with pytest.raises(UserError, match="needs a dictionary"):
            dictionary_of(None, SMALL, "NMF")

    def test_the_description_tells_dictionaries_apart(self):
        first, second = make(), make()
        assert first.describe() == second.describe()
        second.matrix[3, 2] += 1e-3
        assert first.describe() != second.describe()
        assert (
            make().describe()
            != Dictionary(make().matrix, FrontendSettings(n_fft=400, level="none"), [], "euclidean").describe()
        )


class TestDecompose:
    @pytest.mark.parametrize("divergence", ["euclidean", "kl"])
    @pytest.mark.parametrize("sparsity", [0.0, 0.3])
    def test_the_objective_never_rises(self, divergence, sparsity):
        generator = torch.Generator().manual_seed(1)
        matrix = make(8).matrix
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
        matrix = matrix / matrix.norm(dim=0)
        known = torch.rand(1, 4, 25, generator=torch.Generator().manual_seed(0)) + 0.1
        target = (matrix @ known).transpose(1, 2)
        found = decompose(target, matrix, 1000, divergence)
        torch.testing.assert_close(found, known, atol=1e-3, rtol=1e-3)

    def test_non_negative_and_zero_in_silence(self):
        target = torch.rand(1, 10, 201)
        target[:, 4] = 0
        for divergence in ("euclidean", "kl"):
            found = decompose(target, make().matrix, 20, divergence)
            assert bool((found >= 0).all())
            assert bool(found.isfinite().all())
            assert not found[:, :, 4].any()

    def test_frames_do_not_depend_on_each_other(self):
        target = torch.rand(2, 12, 201)
        whole = decompose(target, make().matrix, 30)
        torch.testing.assert_close(decompose(target[1:, 3:7], make().matrix, 30), whole[1:, :, 3:7])

    def test_unknown_divergence(self):
        with pytest.raises(UserError, match="divergence is 'is'"):
            decompose(torch.rand(1, 2, 201), make().matrix, 1, "is")


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
        matrix = make().matrix
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
