"""From manifests to batches: native and fixed lengths, relative lengths, the classifier's classes."""

import pytest
import soundfile
import torch

from interpretability.data.batches import collate, make_datasets
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
    batch = collate([data[0], data[1]])
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
    batch = collate([data[0], data[1]])
    assert batch.signal.data.shape == (2, 8000)
    assert batch.signal.lengths.tolist() == [1.0, 1.0]
    assert not batch.signal.data[0, 4000:].any()
    assert batch.signal.data[0, :4000].any()


def test_bad_settings(prepared):
    with pytest.raises(UserError, match="clip_seconds is not set"):
        make_datasets(prepared, ["cat", "dog"], RATE, fixed_length=True)
    with pytest.raises(UserError, match="'long'"):
        make_datasets(prepared, ["cat", "bird"], RATE)
