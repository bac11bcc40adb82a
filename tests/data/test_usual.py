"""What is usual in a data set: rates and lengths, by the stated rules, whatever the split."""

import pytest

from interpretability.data.manifest import PreparedData, write_manifest
from interpretability.data.usual import usual_rate, usual_seconds


def prepared(folder, clips):
    """A data set of (rate, duration); the clips go to the splits in turn, and there are no files."""
    splits = {"train": clips[0::3], "valid": clips[1::3], "test": clips[2::3]}
    for split, members in splits.items():
        entries = [
            {"id": f"{i}", "wav": f"{{data_root}}/{i}.wav", "duration": seconds, "sample_rate": rate, "label": "x"}
            for i, (rate, seconds) in enumerate(members)
        ]
        write_manifest(folder / f"{split}.json", entries)
    return PreparedData({split: folder / f"{split}.json" for split in splits}, folder, ["x"], {})


@pytest.mark.parametrize(
    ("rates", "rate", "reason"),
    [
        ([8000] * 4, 8000, "4 of 4 clips have 8000 Hz"),
        ([44100, 8000, 8000], 8000, "2 of 3 clips have 8000 Hz, the others are resampled"),
        ([44100, 22050, 44100, 22050], 22050, "2 of 4 clips have 22050 Hz, the others are resampled"),
        ([192000] * 3, 48000, "3 of 3 clips have 192000 Hz, and this is the highest rate that is chosen"),
    ],
)
def test_the_most_common_rate_is_chosen(tmp_path, rates, rate, reason):
    choice = usual_rate(prepared(tmp_path, [(each, 1.0) for each in rates]))
    assert (choice.value, choice.reason) == (rate, reason)
    assert type(choice.value) is int


@pytest.mark.parametrize(
    ("durations", "seconds", "reason"),
    [
        ([0.5] * 3, 0.5, "the clips have 0.5 to 0.5 s"),
        ([1.0] * 19 + [7.0], 1.0, "the clips have 1 to 7 s, 1 of 20 are cut"),
        ([1.0] * 18 + [7.0] * 2, 7.0, "the clips have 1 to 7 s"),
        ([0.1, 0.2, 0.301], 0.31, "the clips have 0.1 to 0.301 s"),
        ([600.0] * 3, 30.0, "the clips have 600 to 600 s, 3 of 3 are cut"),
        ([0.001] * 3, 0.01, "the clips have 0.001 to 0.001 s"),
    ],
)
def test_the_length_leaves_nearly_all_clips_whole(tmp_path, durations, seconds, reason):
    choice = usual_seconds(prepared(tmp_path, [(8000, each) for each in durations]))
    assert (choice.value, choice.reason) == (seconds, reason)
