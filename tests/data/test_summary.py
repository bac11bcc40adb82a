"""The one line about a data set: what it holds, and what looks wrong."""

import shutil
from collections import Counter

import numpy as np
import soundfile

from interpretability.data.custom import prepare_custom
from interpretability.data.summary import imbalance, label_doubts, summary_line

RATE = 8000


def sound(path, seconds=0.1, rate=RATE):
    path.parent.mkdir(parents=True, exist_ok=True)
    seed = list(str(path).encode())  # no two sounds are the same
    wav = 0.1 * np.random.default_rng(seed).standard_normal(round(seconds * rate))
    soundfile.write(path, wav, rate)
    return path


def test_what_a_data_set_holds(tmp_path):
    for split, n in (("train", 3), ("valid", 1), ("test", 1)):
        for label in ("cat", "dog"):
            for index in range(n):
                sound(tmp_path / "data" / split / label / f"{label}{split}{index}.wav", 0.1 * (1 + index))
    assert summary_line(prepare_custom(tmp_path / "data", tmp_path / "m")) == (
        "Custom, 2 classes, 10 clips (train 6, valid 2, test 2), 1.6 s in all, 0.1 to 0.3 s, 8000 Hz each"
    )


def test_what_looks_wrong(tmp_path):
    root = tmp_path / "data"
    for label, n in (("cat", 30), ("Cat", 3), ("dog", 6), ("dgo", 1)):
        for index in range(n):
            sound(root / "train" / label / f"{label}-{index}.wav", rate=RATE if index else 2 * RATE)
    for split in ("valid", "test"):
        for label in ("cat", "dog"):
            sound(root / split / label / f"{split}-{label}.wav")
    shutil.copy(root / "train" / "dog" / "dog-1.wav", root / "test" / "dog" / "again.wav")
    (root / "train" / "cat" / "bad.wav").write_bytes(b"no sound")
    line = summary_line(prepare_custom(root, tmp_path / "m", skip_bad_clips=True))
    assert "\n" not in line
    assert ", 8000 to 16000 Hz; look at: 1 bad clips left out; " in line
    assert "the labels 'Cat' (3) and 'cat' (32) differ only by case, spaces or punctuation" in line
    assert "the labels 'dgo' (1) and 'dog' (9) differ by one letter" in line
    assert "the class 'cat' has 30 training clips and 'dgo' 1" in line
    assert "1 clips have the same file as one of another split, such as 'train_dog_dog-1' and 'test_dog_again'" in line
    assert line.endswith(" (tools/inspect_data.py says more)")


def test_files_that_differ_in_their_middle_are_not_the_same(tmp_path):
    """As clips that are padded with silence are alike where a checksum of some kB looks."""
    for place, split in enumerate(("train", "train", "valid", "test")):
        for label in ("cat", "dog"):
            path = sound(tmp_path / "data" / split / label / f"{place}.wav")
            wav = np.zeros(5 * RATE)
            wav[10_000 + place : 10_010] = 0.1 if label == "cat" else 0.2
            soundfile.write(path, wav, RATE)
    assert prepare_custom(tmp_path / "data", tmp_path / "m").shared == []


def test_doubts_are_few():
    counts = Counter({f"label {letter}": 5 for letter in "abcdefg"} | {f"Label {letter}": 5 for letter in "abcdefg"})
    doubts = label_doubts(counts)
    assert len(doubts) == 4
    assert doubts[-1] == "4 more that differ only by case, spaces or punctuation"
    assert imbalance(Counter(a=9, b=1)) is None
    assert imbalance(Counter(a=10, b=1)) == "the class 'a' has 10 training clips and 'b' 1"
    assert imbalance(Counter(a=10)) is None
