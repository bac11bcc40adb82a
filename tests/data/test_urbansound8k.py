"""UrbanSound8K: its own layout is read, folds are never mixed, and what does not fit is refused in one line."""

import json

import numpy as np
import pytest
import soundfile
import tiny

from interpretability.data.manifest import read_manifest
from interpretability.data.urbansound8k import prepare_urbansound8k
from interpretability.errors import MissingError, UserError
from interpretability.training import runner

HEAD = "slice_file_name,fsID,start,end,salience,fold,classID,class"
CLASSES = {0: "air_conditioner", 1: "car_horn", 3: "dog_bark"}
FOLDS = {"train_folds": [1, 2], "valid_folds": 3, "test_folds": "10"}


@pytest.fixture
def root(tmp_path):
    """A folder of the data set's layout: in each of four folds two clips of three classes, of 0.05 to 4 s."""
    folder, lines = tmp_path / "UrbanSound8K", [HEAD]
    for fold in (1, 2, 3, 10):
        (folder / "audio" / f"fold{fold}").mkdir(parents=True)
        for number, label in CLASSES.items():
            for take, (seconds, rate) in enumerate(((0.05, 44100), (4.0, 8000))):
                name = f"{1000 + fold}-{number}-0-{take}.wav"
                wav = 0.1 * np.random.default_rng(fold).standard_normal((round(seconds * rate), 2))
                soundfile.write(folder / "audio" / f"fold{fold}" / name, wav, rate)
                # The times are those in the original recording.
                lines.append(f"{name},{1000 + fold},17.5,{17.5 + seconds},1,{fold},{number},{label}")
    (folder / "metadata").mkdir()
    (folder / "metadata" / "UrbanSound8K.csv").write_text("\n".join(lines) + "\n")
    return folder


def test_the_layout_is_read_and_folds_are_not_mixed(root, tmp_path):
    prepared = prepare_urbansound8k(root, tmp_path / "m", **FOLDS)
    assert prepared.labels == ["air_conditioner", "car_horn", "dog_bark"]
    folds = {"train": {1, 2}, "valid": {3}, "test": {10}}
    for split, expected in folds.items():
        clips = read_manifest(prepared.manifests[split], root, prepared.labels).entries
        assert {clip["fold"] for clip in clips.values()} == expected
        assert all(f"/fold{clip['fold']}/" in clip["wav"] for clip in clips.values())
        assert {clip["duration"] for clip in clips.values()} == {0.05, 4.0}
        assert not any("start" in clip for clip in clips.values())
    assert prepared.description["folds"] == {"train": [1, 2], "valid": [3], "test": [10]}


@pytest.mark.parametrize(
    ("change", "folds", "reason"),
    [
        (("", ""), {"test_folds": 3}, "share [3]"),
        (("", ""), {"test_folds": 4}, "test_folds names [4], but"),
        (("classID", "number"), {}, "lacks the columns classID"),
        ((",1,10,0,", ",1,ten,0,"), {}, "fold is 'ten' and classID '0', expected whole numbers"),
        (("car_horn", ""), {}, "has no value for class"),
        (("3,dog_bark", "1,dog_bark"), {}, "classID 1 is both 'car_horn' and 'dog_bark'"),
        (("dog_bark", "car_horn"), {}, "a class has more than one classID"),
        (("1001-0-0-0.wav", "../x.wav"), {}, "without separators of paths"),
        (("1001-0-0-0.wav", "gone.wav"), {}, "no such audio file"),
        (("1001-0-0-0.wav", "1001-0-0-1.wav"), {}, "duplicate name"),
    ],
)
def test_what_does_not_fit_is_refused_in_one_line(root, tmp_path, change, folds, reason):
    table = root / "metadata" / "UrbanSound8K.csv"
    table.write_text(table.read_text().replace(*change) if change[0] else table.read_text())
    with pytest.raises(UserError) as caught:
        prepare_urbansound8k(root, tmp_path / "m", **{**FOLDS, **folds})
    assert reason in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "m").exists()


def test_where_it_is_not(tmp_path):
    with pytest.raises(MissingError, match=r"has no metadata/UrbanSound8K\.csv: download UrbanSound8K"):
        prepare_urbansound8k(tmp_path, tmp_path / "m", **FOLDS)


@pytest.mark.slow
def test_a_classifier_is_trained_on_it(root, tmp_path):
    """Clips of 0.05 to 4 s and of several rates in one batch, with the recipe's own YAML."""
    yaml = tiny.REPOSITORY / "recipes" / "UrbanSound8K" / "hparams" / "classifier_compact.yaml"
    settings = {"number_of_epochs": 1, "batch_size": 4, "classifier.channels": "[4, 4, 8, 8]", "device": "cpu"}
    settings |= {**FOLDS, "train_folds": "[1, 2]", "data_folder": root, "output_folder": tmp_path / "run"}
    line = [str(yaml), "--noprogressbar", "--cache_folder", "null"]
    outcome = tiny.call(
        runner.main, "classifier", None, line + [text for key in settings for text in (f"--{key}", str(settings[key]))]
    )
    assert outcome.code == 0, outcome.err
    saved = json.loads((tmp_path / "run" / "classifier" / "classifier.json").read_text())
    assert saved["frontend"]["sample_rate"] == 22050
    assert saved["training"]["n_test"] == 6
