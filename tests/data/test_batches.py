"""From manifests to batches: native and fixed lengths, relative lengths, the classifier's classes."""

import numpy as np
import pytest
import soundfile
import torch
from speechbrain.dataio.batch import PaddedBatch
from speechbrain.dataio.sampler import ReproducibleRandomSampler
from torch.utils.data import BatchSampler

from interpretability.data import audio
from interpretability.data.batches import ALIKE, LengthBatches, make_datasets, seconds_of
from interpretability.data.manifest import PreparedData, write_manifest
from interpretability.errors import UserError

RATE = 8000


@pytest.fixture
def prepared(tmp_path):
    """One clip of 0.5 s, one of 1.5 s, in each split."""
    entries = []
    for name, seconds in (("short", 0.5), ("long", 1.5)):
        wav = torch.randn(round(seconds * RATE), generator=torch.Generator().manual_seed(0)) * 0.1
        soundfile.write(tmp_path / f"{name}.wav", wav.numpy(), RATE, subtype="FLOAT")
        entries.append(
            {
                "id": name,
                "wav": f"{{data_root}}/{name}.wav",
                "duration": seconds,
                "sample_rate": RATE,
                "label": "cat" if name == "short" else "dog",
            }
        )
    manifests = {split: tmp_path / f"{split}.json" for split in ("train", "valid", "test")}
    for path in manifests.values():
        write_manifest(path, entries)
    return PreparedData(manifests, tmp_path, ["cat", "dog"], {"name": "two clips"})


def test_native_lengths_are_padded_with_relative_lengths(prepared):
    data = make_datasets(prepared, ["cat", "dog"], RATE)["train"]
    batch = PaddedBatch([data[0], data[1]])
    assert batch.signal.data.shape == (2, 12000)
    assert batch.signal.lengths.tolist() == pytest.approx([4000 / 12000, 1.0])
    assert not batch.signal.data[0, 4000:].any()
    assert batch.label == ["cat", "dog"]
    assert batch.id == ["short", "long"]


def test_longer_clips_are_cut(prepared):
    data = make_datasets(prepared, ["cat", "dog"], RATE, clip_seconds=1.0)["train"]
    assert [len(data[i]["signal"]) for i in range(2)] == [4000, 8000]
    whole = make_datasets(prepared, ["cat", "dog"], RATE)["train"]
    assert torch.equal(data[1]["signal"], whole[1]["signal"][:8000])


def test_fixed_length_pads_with_silence_that_belongs_to_the_clip(prepared, tmp_path):
    data = make_datasets(prepared, ["cat", "dog"], RATE, 1.0, fixed_length=True, cache_folder=tmp_path / "cache")[
        "test"
    ]
    batch = PaddedBatch([data[0], data[1]])
    assert batch.signal.data.shape == (2, 8000)
    assert batch.signal.lengths.tolist() == [1.0, 1.0]
    assert not batch.signal.data[0, 4000:].any()
    assert batch.signal.data[0, :4000].any()


def test_bad_settings(prepared):
    with pytest.raises(UserError, match="clip_seconds is not set"):
        make_datasets(prepared, ["cat", "dog"], RATE, fixed_length=True)
    with pytest.raises(UserError, match="'long'"):
        make_datasets(prepared, ["cat", "bird"], RATE)


# ---- Clips whose header is good and whose body is not ----


def cut_off_body(folder, name="short"):
    """Replace a clip by a FLAC file whose header is whole and whose body is cut."""
    whole, path = folder / "whole.flac", folder / f"{name}.wav"
    noise = 0.1 * torch.randn(4000, generator=torch.Generator().manual_seed(0)).numpy()
    soundfile.write(whole, noise, RATE)
    path.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    assert soundfile.info(path).frames == 4000


def not_finite_body(folder, name="short"):
    soundfile.write(folder / f"{name}.wav", np.full(4000, np.nan, dtype=np.float32), RATE, subtype="FLOAT")


@pytest.mark.parametrize("spoil", [cut_off_body, not_finite_body])
@pytest.mark.parametrize("cached", [True, False])
def test_clips_with_a_bad_body_are_left_out_and_listed(prepared, tmp_path, caplog, spoil, cached):
    spoil(tmp_path)
    cache = tmp_path / "cache" if cached else None
    datasets = make_datasets(prepared, ["cat", "dog"], RATE, cache_folder=cache, skip_bad_clips=True)
    assert list(datasets) == ["train", "valid", "test"]
    assert [list(dataset.data_ids) for dataset in datasets.values()] == [["long"]] * 3
    assert "clip 'short' left out" in caplog.text
    assert "1 bad clips left out, 1 left" in caplog.text


@pytest.mark.parametrize("spoil", [cut_off_body, not_finite_body])
def test_a_bad_body_stops_the_run_when_it_is_met(prepared, tmp_path, spoil):
    spoil(tmp_path)
    train = make_datasets(prepared, ["cat", "dog"], RATE)["train"]
    assert len(train) == 2
    with pytest.raises(UserError, match=r"short\.wav"):
        train[0]


def test_nothing_is_left(prepared, tmp_path):
    for name in ("short", "long"):
        not_finite_body(tmp_path, name)
    with pytest.raises(UserError, match="all 2 clips are bad, the first is 'short'"):
        make_datasets(prepared, ["cat", "dog"], RATE, skip_bad_clips=True)


def test_looking_for_bad_bodies_fills_the_cache(prepared, tmp_path, monkeypatch):
    decoded = []

    def read(path, *args, read_audio=audio.read_audio):
        decoded.append(path)
        return read_audio(path, *args)

    monkeypatch.setattr(audio, "read_audio", read)
    data = make_datasets(
        prepared, ["cat", "dog"], RATE, cache_folder=tmp_path / "cache", skip_bad_clips=True, splits=("test",)
    )["test"]
    assert len(decoded) == 2
    assert len(data[0]["signal"]) == 4000
    assert len(decoded) == 2


# ---- Targets ----


def test_targets_are_loaded_only_when_asked_for(prepared, tmp_path):
    with pytest.raises(UserError, match="no clip has a target_wav"):
        make_datasets(prepared, ["cat", "dog"], RATE, with_targets=True)
    entries = [
        {
            "id": name,
            "wav": f"{{data_root}}/{name}.wav",
            "target_wav": "{data_root}/short.wav",
            "duration": seconds,
            "sample_rate": RATE,
            "label": "cat",
        }
        for name, seconds in (("short", 0.5), ("long", 1.5))
    ]
    write_manifest(prepared.manifests["train"], entries)
    plain = make_datasets(prepared, ["cat", "dog"], RATE, splits=("train",))["train"]
    assert set(plain[1]) == {"id", "signal", "label"}
    item = make_datasets(prepared, ["cat", "dog"], RATE, splits=("train",), with_targets=True)["train"][1]
    assert set(item) == {"id", "signal", "label", "target_signal"}
    assert torch.equal(item["target_signal"], plain[0]["signal"])
    # Cut and padded as the clip it belongs to.
    fixed = make_datasets(prepared, ["cat", "dog"], RATE, 1.0, True, splits=("train",), with_targets=True)["train"]
    assert [len(fixed[i][key]) for i in range(2) for key in ("signal", "target_signal")] == [8000] * 4
    assert torch.equal(fixed[1]["target_signal"][:4000], item["target_signal"])
    assert not fixed[1]["target_signal"][4000:].any()


def test_one_channel_of_clips_whose_channels_cancel(prepared, tmp_path, caplog):
    samples = np.random.default_rng(0).uniform(-0.5, 0.5, RATE)
    soundfile.write(tmp_path / "short.wav", np.stack([samples, -samples], axis=1), RATE, subtype="FLOAT")
    clips = {
        name: make_datasets(prepared, ["cat", "dog"], RATE, cache_folder=tmp_path / "cache", channel=name)["train"][0]
        for name in ("mean", "left", "right")
    }
    assert clips["mean"]["signal"].abs().max() == 0
    assert caplog.text.count("channels cancel: their mean is silence") == 1
    assert torch.equal(clips["left"]["signal"], -clips["right"]["signal"])
    np.testing.assert_allclose(clips["left"]["signal"], samples, atol=1e-6)


# ---- Batches of similar length ----


@pytest.mark.parametrize("seconds", [[5.0] * 23, [5.0 + 0.01 * index for index in range(23)]])
def test_clips_of_one_length_come_in_the_batches_that_speechbrain_makes(seconds):
    batches, order = LengthBatches(seconds, 4, seed=7), ReproducibleRandomSampler(range(23), seed=7)
    for epoch in (1, 2):
        batches.set_epoch(epoch)
        order.set_epoch(epoch)
        assert list(batches) == list(BatchSampler(order, 4, drop_last=True))
        assert len(batches) == 5
    assert list(LengthBatches(seconds, 4)) == list(BatchSampler(range(23), 4, drop_last=False))
    assert [len(batch) for batch in LengthBatches(seconds[:3], 4, seed=7)] == [3]


def test_clips_of_any_length_come_in_bounded_batches_of_similar_length():
    rng = np.random.default_rng(0)
    seconds = np.exp(rng.uniform(np.log(0.1), np.log(30.0), 400)).tolist()
    batches = LengthBatches(seconds, 16, batch_seconds=60.0, seed=7)
    epochs = []
    for epoch in (1, 2, 1):
        batches.set_epoch(epoch)
        epochs.append(list(batches))
        assert sorted(index for batch in epochs[-1] for index in batch) == list(range(400))
        assert len(epochs[-1]) == len(batches)
        assert max(len(batch) * max(seconds[index] for index in batch) for batch in epochs[-1]) <= 60.0
        assert max(map(len, epochs[-1])) == 16
        padded = sum(len(batch) * max(seconds[index] for index in batch) for batch in epochs[-1])
        assert padded < ALIKE * sum(seconds)
    assert epochs[0] == epochs[2] != epochs[1]
    shares = [list(LengthBatches(seconds, 16, 60.0, part=(rank, 3))) for rank in range(3)]
    together = [batch for share in zip(*shares, strict=False) for batch in share]
    assert together == list(LengthBatches(seconds, 16, 60.0))[: len(together)]
    assert sum(map(len, shares)) == len(LengthBatches(seconds, 16, 60.0))


def test_a_clip_that_is_longer_than_a_batch_may_be_is_one_of_its_own():
    assert list(LengthBatches([50.0, 1.0, 1.0], 2, 10.0)) == [[0], [1, 2]]
    assert list(LengthBatches([], 2)) == []


def test_the_length_of_a_clip_is_known_before_it_is_decoded(prepared, monkeypatch):
    monkeypatch.delattr(audio, "read_audio")
    for settings, seconds in (({}, [0.5, 1.5]), ({"clip_seconds": 1.0}, [0.5, 1.0])):
        data = make_datasets(prepared, ["cat", "dog"], RATE, **settings, splits=("train",))["train"]
        assert seconds_of(data) == seconds
        assert seconds_of(data.filtered_sorted(select_n=1)) == seconds[:1]
    fixed = make_datasets(prepared, ["cat", "dog"], RATE, 1.0, True, splits=("train",))["train"]
    assert seconds_of(fixed) == [1.0, 1.0]
