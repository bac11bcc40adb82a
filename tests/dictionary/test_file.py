"""Dictionaries: the file, and the checks before one is used."""

import hashlib
import json

import pytest
import torch

from interpretability.dictionary import FILE, Dictionary, dictionary_of
from interpretability.errors import MissingError, UserError
from interpretability.frontend import FrontendSettings

SMALL = FrontendSettings(n_fft=400)  # 201 bins


def make(n_components=5, settings=SMALL):
    matrix = torch.rand(settings.n_bins, n_components, generator=torch.Generator().manual_seed(0))
    return Dictionary(matrix / matrix.norm(dim=0), settings, ["cat", "dog"], "euclidean", [3.0, 2.0], {"seed": 1})


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
        with pytest.raises(UserError, match=r"not a weights file.*; learn one with train_nmf\.py"):
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

    def test_a_file_older_than_the_choice_of_a_filter_is_read_as_one_of_the_published_filter(self, tmp_path):
        learned = FrontendSettings(n_fft=400, resampling="published")
        make(settings=learned).save(tmp_path / FILE)
        content = torch.load(tmp_path / FILE, weights_only=True)
        front_end = {name: value for name, value in learned.to_dict().items() if name != "resampling"}
        digest = hashlib.sha256(content["matrix"].numpy().tobytes())
        digest.update(json.dumps(front_end, sort_keys=True).encode())
        content["description"].update(frontend=front_end, sha256=digest.hexdigest())
        torch.save(content, tmp_path / FILE)
        assert Dictionary.load(tmp_path).frontend == learned
        # Interpreters that have it know it by this checksum.
        assert Dictionary.load(tmp_path).describe()["sha256"] == digest.hexdigest()

    def test_a_full_disk_is_reported_in_one_line(self, tmp_path, monkeypatch):
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
        assert "n_fft" not in str(caught.value)  # settings that agree are not listed
        with pytest.raises(UserError, match=r"n_fft 1024 \(needed: 400\)"):
            dictionary_of(dictionary, SMALL, "NMF")
        make().check(FrontendSettings(n_fft=400), "NMF")

    @pytest.mark.parametrize("matrix", [torch.ones(200, 3), torch.ones(201), torch.ones(201, 0), -torch.ones(201, 2)])
    def test_other_matrices_are_refused(self, matrix):
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
