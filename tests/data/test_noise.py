"""Noise for training: its files and their split, its level, its place, and the same draws from the same seed."""

import math
import os

import numpy as np
import pytest
import soundfile
import torch

from interpretability.data.noise import NoiseMixer, noise_files
from interpretability.errors import MissingError, UserError

RATE = 8000


def write(path, seconds, seed=0, value=None):
    path.parent.mkdir(parents=True, exist_ok=True)
    n = int(seconds * RATE)
    wav = np.random.default_rng(seed).standard_normal(n) * 0.1 if value is None else np.full(n, value)
    soundfile.write(path, wav, RATE, subtype="FLOAT")


@pytest.fixture
def folder(tmp_path):
    for index in range(30):
        write(tmp_path / "noise" / f"deep/{index % 3}" / f"{index}.wav", 0.5, index)
    (tmp_path / "noise" / "notes.txt").write_text("no sound")
    return tmp_path / "noise"


def clips(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(5))


def snr_db(clip, noise):
    return 10 * math.log10(float(clip.square().mean() / noise.square().mean()))


class TestFiles:
    def test_any_folder_is_split_in_two(self, folder):
        train, test = noise_files(folder, "train"), noise_files(folder, "test")
        assert len(train) + len(test) == 30
        assert not set(train) & set(test)
        assert 2 <= len(test) <= 12  # a fifth of them, more or less
        assert train == sorted(train)

    def test_resource_forks_and_hidden_files_are_ignored(self, folder, caplog):
        before = noise_files(folder, "train"), noise_files(folder, "test")
        for index in range(10):
            (folder / f"deep/{index % 3}" / f"._{index}.wav").write_bytes(b"Mac OS X")
        (folder / "__MACOSX").mkdir()
        (folder / "__MACOSX" / "x.wav").write_bytes(b"Mac OS X")
        assert (noise_files(folder, "train"), noise_files(folder, "test")) == before
        assert "11 hidden files left out" in caplog.text

    def test_names_that_are_not_utf8_are_noise_like_any(self, folder):
        path = folder / os.fsdecode(b"ch\xe8vre.wav")
        (folder / "deep/0/0.wav").rename(path)
        assert path in [*noise_files(folder, "train"), *noise_files(folder, "test")]
        assert NoiseMixer(RATE, folder).describe()["n_files"] == len(noise_files(folder))

    def test_the_split_is_that_of_the_names_wherever_the_folder_lies(self, folder, tmp_path):
        names = [path.relative_to(folder) for path in noise_files(folder, "test")]
        moved = folder.rename(tmp_path / "elsewhere")
        assert [path.relative_to(moved) for path in noise_files(moved, "test")] == names

    def test_whams_own_split(self, tmp_path):
        for part in ("tr", "cv", "tt"):
            for index in range(3):
                write(tmp_path / part / f"{part}{index}.wav", 0.1)
        assert [path.name for path in noise_files(tmp_path, "train")] == ["tr0.wav", "tr1.wav", "tr2.wav"]
        assert [path.name for path in noise_files(tmp_path, "test")] == ["tt0.wav", "tt1.wav", "tt2.wav"]

    def test_bad_folders(self, tmp_path):
        with pytest.raises(MissingError, match="no noise folder"):
            noise_files(tmp_path / "absent")
        with pytest.raises(UserError, match="no sounds"):
            noise_files(tmp_path)
        with pytest.raises(UserError, match="part is 'dev'"):
            noise_files(tmp_path, "dev")
        (tmp_path / "tr").mkdir()
        (tmp_path / "tt").mkdir()
        with pytest.raises(UserError, match="no sounds"):
            noise_files(tmp_path, "train")


class TestMixing:
    @pytest.mark.parametrize("snr", [0.0, 6.0, -5.0])
    def test_the_level_is_that_over_each_clips_own_length(self, folder, snr):
        wavs = clips(3, 6000) * torch.tensor([[1.0], [0.1], [3.0]])
        lengths = torch.tensor([1.0, 0.5, 0.75])
        wavs[1, 3000:] = 0
        wavs[2, 4500:] = 0
        mixed = NoiseMixer(RATE, folder, snr_db=snr)(wavs, lengths)
        for clip, count in enumerate((6000, 3000, 4500)):
            added = (mixed - wavs)[clip]
            assert snr_db(wavs[clip, :count], added[:count]) == pytest.approx(snr, abs=1e-3)
            assert not added[count:].any()

    def test_without_a_folder_each_clip_gets_another_one(self):
        wavs = clips(4, 1000)
        torch.manual_seed(0)
        for _ in range(20):
            added = NoiseMixer(RATE)(wavs) - wavs
            for clip in range(4):
                likeness = torch.nn.functional.cosine_similarity(added[clip : clip + 1], wavs)
                assert likeness.max() > 0.999
                assert int(likeness.argmax()) != clip

    def test_a_shorter_clip_is_repeated_and_a_longer_one_cut(self):
        short = torch.cat([torch.arange(1.0, 101.0), torch.zeros(900)])
        wavs = torch.stack([short, clips(1000)])
        added = NoiseMixer(RATE)(wavs, torch.tensor([0.1, 1.0])) - wavs
        assert not added[0, 100:].any()
        torch.testing.assert_close(added[1, :900], added[1, 100:], atol=1e-5, rtol=1e-4)  # of period 100
        stretch = added[0, :100] / added[0, :100].norm()
        starts = wavs[1].unfold(0, 100, 1)
        assert (starts @ stretch / starts.norm(dim=1)).max() > 0.999

    def test_the_share_of_clips_that_get_noise(self, folder):
        torch.manual_seed(0)
        wavs = clips(400, 50)
        changed = (NoiseMixer(RATE, folder, probability=0.3)(wavs) != wavs).any(1).float().mean()
        assert float(changed) == pytest.approx(0.3, abs=0.07)
        assert torch.equal(NoiseMixer(RATE, folder, probability=0.0)(wavs), wavs)

    def test_silence_and_a_clip_alone_stay_as_they_are(self, folder, tmp_path):
        assert not NoiseMixer(RATE, folder)(torch.zeros(2, 100)).any()
        alone = clips(1, 100)
        assert torch.equal(NoiseMixer(RATE)(alone), alone)
        for index in range(10):
            write(tmp_path / "silent" / f"{index}.wav", 0.1, value=0.0)
        assert torch.equal(NoiseMixer(RATE, tmp_path / "silent")(alone), alone)

    def test_a_seed_draws_the_same_noise_again(self, folder, tmp_path):
        wavs = clips(4, 3000)
        kept = wavs.clone()
        results = []
        for cache in (None, tmp_path / "cache", tmp_path / "cache"):
            torch.manual_seed(3)
            results.append(NoiseMixer(RATE, folder, probability=0.7, cache_folder=cache)(wavs))
        assert torch.equal(results[0], results[1])
        assert torch.equal(results[0], results[2])
        assert torch.equal(wavs, kept)
        assert not torch.equal(NoiseMixer(RATE, folder, probability=0.7)(wavs), results[0])

    def test_only_the_training_part_is_heard_in_training(self, folder):
        for path in noise_files(folder, "test"):
            path.write_bytes(b"no sound at all")
        for _ in range(100):
            NoiseMixer(RATE, folder)(clips(2, 100))  # a file of the test part could not be decoded
        with pytest.raises(UserError):
            NoiseMixer(RATE, folder, part="test")

    def test_a_bad_file_is_told_before_anything_is_mixed(self, folder):
        bad = noise_files(folder)[7]
        bad.write_bytes(b"no sound at all")
        with pytest.raises(UserError, match=bad.name):
            NoiseMixer(RATE, folder)

    def test_bad_settings(self):
        with pytest.raises(UserError, match=r"probability is 1\.5"):
            NoiseMixer(RATE, probability=1.5)


def test_the_record_tells_noises_apart_but_not_their_place(folder, tmp_path):
    first = NoiseMixer(RATE, folder).describe()
    assert first["n_files"] == len(noise_files(folder))
    assert NoiseMixer(RATE, folder, snr_db=3.0).describe() != first
    assert NoiseMixer(RATE, folder, part="test").describe() != first
    assert NoiseMixer(RATE).describe()["source"] == "other clips"
    assert NoiseMixer(RATE, folder.rename(tmp_path / "moved")).describe() == first
    with open(noise_files(tmp_path / "moved")[0], "ab") as stream:
        stream.write(b"other sounds")
    assert NoiseMixer(RATE, tmp_path / "moved").describe() != first
