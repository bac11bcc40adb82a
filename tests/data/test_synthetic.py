"""The Synthetic data set on disk: the folder, the manifests, the shortcut variant; the probe."""

from __future__ import annotations

import importlib.util
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile
from speechbrain.dataio.dataset import DynamicItemDataset

from interpretability.data import synthetic
from interpretability.data.manifest import read_manifest
from interpretability.data.scenes import make_scene
from interpretability.data.sounds import LABELS, make_clip
from interpretability.data.synthetic import prepare_synthetic
from interpretability.errors import UserError

RATE = 16000
SMALL = {"seed": 3, "n_train": 20, "n_valid": 10, "n_test": 10}


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    folder = tmp_path_factory.mktemp("synthetic")
    return prepare_synthetic(folder / "data", folder / "manifests", **SMALL)


# ------------------------------------------------------------------------------------------------ the shortcut


def test_shortcut_variant_marks_the_right_clips(tmp_path):
    counts = {"n_train": 400, "n_valid": 10, "n_test": 40}
    settings = {"shortcut_class": "siren", "shortcut_fraction": 0.95, "shortcut_in_test": False}

    def humming(split: str, n: int) -> list[int]:
        return [i for i in range(n) if synthetic._has_shortcut(split, i, settings)]

    train = humming("train", counts["n_train"])
    assert {LABELS[i % 10] for i in train} == {"siren"}
    assert len(train) == 38  # 95 % of 40
    assert humming("valid", 200) == humming("test", 200) == []
    settings["shortcut_in_test"] = True
    test = humming("test", 200)
    assert np.bincount([i % 10 for i in test], minlength=10).tolist() == [10] * 10
    assert humming("valid", 200) == []
    assert humming("train", counts["n_train"]) == train


def test_shortcut_variant_on_disk(tmp_path):
    prepared = prepare_synthetic(
        tmp_path / "data", tmp_path / "m", seed=6, n_train=30, n_valid=10, n_test=20, shortcut_class="siren"
    )
    for split, path in prepared.manifests.items():
        entries = read_manifest(path, prepared.data_root, prepared.labels).entries
        for clip_id, entry in entries.items():
            index = int(clip_id.split("-")[1])
            expected = split == "train" and entry["label"] == "siren" and index // 10 != 0
            assert entry["shortcut"] is expected
            mixture, _ = soundfile.read(entry["wav"], dtype="float32")
            assert np.array_equal(mixture, make_clip(6, split, index, shortcut=expected).mixture)


def test_shortcut_settings_are_checked(tmp_path):
    for wrong, message in [
        ({"shortcut_class": "violin"}, "shortcut_class"),
        ({"shortcut_class": "siren", "shortcut_fraction": 1.5}, "shortcut_fraction"),
        ({"shortcut_in_test": True}, "shortcut_class"),
        ({"n_test": 3}, "n_test"),
    ]:
        with pytest.raises(UserError, match=message):
            prepare_synthetic(tmp_path / "data", tmp_path / "m", **{**SMALL, **wrong})
    assert not (tmp_path / "data").exists()


# ------------------------------------------------------------------------------------------------ the folder


def test_folder_and_manifests(small):
    assert small.labels == list(LABELS)
    assert set(small.manifests) == {"train", "valid", "test"}
    assert json.loads((small.manifests["train"].parent / "labels.json").read_text()) == list(LABELS)
    json.dumps(small.description)
    for split, path in small.manifests.items():
        entries = read_manifest(path, small.data_root, small.labels).entries
        n = SMALL[f"n_{split}"]
        assert list(entries) == [f"{split}-{i:05d}" for i in range(n)]
        labels = [entry["label"] for entry in entries.values()]
        assert all(labels.count(label) == n // 10 for label in LABELS)
        for index, entry in enumerate(entries.values()):
            clip = make_clip(3, split, index)
            assert (entry["duration"], entry["sample_rate"], entry["label"]) == (2.0, RATE, clip.label)
            mixture, rate = soundfile.read(entry["wav"], dtype="float32")
            target, _ = soundfile.read(entry["target_wav"], dtype="float32")
            assert rate == RATE
            assert np.array_equal(mixture, clip.mixture)
            assert np.array_equal(target, clip.target)
            assert np.array_equal(mixture - target, clip.rest)


def test_speechbrain_reads_the_manifest(small):
    data = DynamicItemDataset.from_json(small.manifests["test"], replacements={"data_root": str(small.data_root)})
    data.set_output_keys(["id", "wav", "target_wav", "label", "shortcut"])
    item = data[7]
    assert item["label"] == "siren"
    assert item["shortcut"] is False
    assert Path(item["wav"]).is_file()
    assert Path(item["target_wav"]).is_file()


def test_clips_do_not_depend_on_the_count(small, tmp_path):
    more = prepare_synthetic(tmp_path / "data", tmp_path / "m", seed=3, n_train=30, n_valid=10, n_test=10)
    for path in sorted((small.data_root / "audio").iterdir()):
        assert path.read_bytes() == (more.data_root / "audio" / path.name).read_bytes()


def test_second_run_touches_nothing(small):
    files = [*small.data_root.rglob("*.*"), *small.manifests.values()]
    before = {path: path.stat().st_mtime_ns for path in files}
    again = prepare_synthetic(small.data_root, small.manifests["train"].parent, **SMALL)
    assert again == small
    assert {path: path.stat().st_mtime_ns for path in files} == before


@pytest.mark.parametrize("other", [{"seed": 4}, {"n_train": 40}, {"shortcut_class": "siren"}, {"seconds": 1.5}])
def test_folder_of_other_settings_is_refused(small, tmp_path, other):
    before = (small.data_root / "synthetic.json").stat().st_mtime_ns
    with pytest.raises(UserError, match=f"{next(iter(other))}=.*give another data folder, or delete") as caught:
        prepare_synthetic(small.data_root, tmp_path, **{**SMALL, **other})
    assert "\n" not in str(caught.value)
    assert (small.data_root / "synthetic.json").stat().st_mtime_ns == before
    assert not any(tmp_path.iterdir())


def test_fraction_without_a_class_is_no_difference(small, tmp_path):
    prepare_synthetic(small.data_root, tmp_path, shortcut_fraction=0.5, **SMALL)


def test_foreign_folder_is_refused_and_left_alone(tmp_path):
    data = tmp_path / "data"
    data.mkdir()
    (data / "thesis.txt").write_text("mine")
    with pytest.raises(UserError, match="other files"):
        prepare_synthetic(data, tmp_path / "m", **SMALL)
    assert [path.name for path in data.iterdir()] == ["thesis.txt"]
    with pytest.raises(UserError, match="is a file"):
        prepare_synthetic(data / "thesis.txt", tmp_path / "m", **SMALL)


@pytest.mark.parametrize("content", ["{", "[]", "{}", '{"settings": {}, "clips": {"train": []}}'])
def test_damaged_settings_are_one_clear_error(tmp_path, content):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "synthetic.json").write_text(content)
    with pytest.raises(UserError, match=r"data.*[:;] give another data folder, or delete this one"):
        prepare_synthetic(tmp_path / "data", tmp_path / "m", **SMALL)


def test_empty_folder_is_filled(tmp_path):
    (tmp_path / "data").mkdir()
    prepared = prepare_synthetic(tmp_path / "data", tmp_path / "m", seed=1, n_train=10, n_valid=10, n_test=10)
    assert len(list((prepared.data_root / "audio").iterdir())) == 30
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data", "m"]


@pytest.mark.parametrize("fault", [KeyboardInterrupt(), OSError(28, "No space left on device")])
def test_interrupted_making_leaves_nothing(tmp_path, monkeypatch, fault):
    write, written = synthetic._write_wav, []

    def break_off(path, x, sample_rate):
        if len(written) == 25:
            raise fault
        written.append(path)
        write(path, x, sample_rate)

    monkeypatch.setattr(synthetic, "_write_wav", break_off)
    expected = UserError if isinstance(fault, OSError) else KeyboardInterrupt
    with pytest.raises(expected, match="No space left.*MB" if isinstance(fault, OSError) else None):
        prepare_synthetic(tmp_path / "data", tmp_path / "m", **SMALL)
    assert len(written) == 25
    assert list(tmp_path.iterdir()) == []


def test_missing_clip(tmp_path):
    counts = {"seed": 1, "n_train": 10, "n_valid": 10, "n_test": 10}
    data, manifests = tmp_path / "data", tmp_path / "m"
    prepare_synthetic(data, manifests, **counts)
    (data / "audio" / "train-00003.wav").unlink()
    (data / "targets" / "test-00004.wav").write_text("not a sound")
    with pytest.raises(UserError, match="train-00003"):
        prepare_synthetic(data, manifests, **counts)
    prepared = prepare_synthetic(data, manifests, skip_bad_clips=True, **counts)
    assert [clip_id for clip_id, _ in prepared.skipped] == ["train-00003", "test-00004"]
    assert prepared.description["n_clips"] == {"train": 9, "valid": 10, "test": 9}
    assert "train-00003" not in read_manifest(prepared.manifests["train"], data).entries


# ------------------------------------------------------------------------------------------------ many labels


@pytest.fixture(scope="module")
def many(tmp_path_factory):
    folder = tmp_path_factory.mktemp("many")
    return prepare_synthetic(folder / "data", folder / "manifests", max_targets=3, **SMALL)


def test_each_label_has_its_source_alone(many):
    assert (many.task, many.labels, many.has_targets()) == ("multi", list(LABELS), True)
    assert many.description["name"] == "Synthetic, many labels"
    for split, path in many.manifests.items():
        entries = read_manifest(path, many.data_root, many.labels).entries
        assert [len(entry["labels"]) for entry in entries.values()] == [1 + i // 10 for i in range(SMALL[f"n_{split}"])]
        for index, entry in enumerate(entries.values()):
            scene = make_scene(3, split, index)
            assert entry["labels"] == list(entry["target_wavs"]) == list(scene.targets)
            assert entry["targets"] == scene.parameters["targets"]
            mixture, rate = soundfile.read(entry["wav"], dtype="float32")
            assert rate == RATE
            assert np.array_equal(mixture, scene.mixture)
            for label, target in scene.targets.items():
                assert np.array_equal(soundfile.read(entry["target_wavs"][label], dtype="float32")[0], target)


def test_data_of_one_label_are_what_they_were(small):
    """Also the folder: it says nothing of labels that it does not have."""
    assert small.task == "single"
    settings = json.loads((small.data_root / "synthetic.json").read_text())["settings"]
    assert "max_targets" not in settings
    assert small.description["settings"] == settings
    # A known clip, and so everything that it is made of: any change would make a published table another one.
    for folder, samples in (("audio", (0.151025, 0.01018, -0.020211)), ("targets", (0.136398, 0.075284, -0.063423))):
        sound, _ = soundfile.read(small.data_root / folder / "test-00007.wav")
        assert sound[16000:28000:4000] == pytest.approx(samples, abs=2e-6)


def test_some_classes_alone(small, tmp_path):
    """The folder is that of all ten, and the clips are the same."""
    before = (small.data_root / "synthetic.json").stat().st_mtime_ns
    some = prepare_synthetic(small.data_root, tmp_path, classes=["siren", "chirp_up"], **SMALL)
    assert (small.data_root / "synthetic.json").stat().st_mtime_ns == before
    assert some.labels == ["chirp_up", "siren"]
    for split in ("train", "valid", "test"):
        whole, part = (read_manifest(data.manifests[split], data.data_root).entries for data in (small, some))
        assert part == {clip: entry for clip, entry in whole.items() if entry["label"] in some.labels}
        assert part
    assert some.description["settings"] == {**small.description["settings"], "classes": ["chirp_up", "siren"]}
    every = prepare_synthetic(small.data_root, small.manifests["train"].parent, classes=LABELS, **SMALL)
    assert every == small
    for wrong, message in [
        ({"classes": ["siren", "sirens"]}, "classes 'sirens' is not a class of the Synthetic data"),
        ({"classes": "siren"}, "classes is 'siren', expected at least two"),
        ({"classes": ["siren", "fm_trill"], "max_targets": 2}, "classes is for clips of one target"),
    ]:
        with pytest.raises(UserError, match=message):
            prepare_synthetic(tmp_path / "data", tmp_path / "m", **{**SMALL, **wrong})
    assert not (tmp_path / "data").exists()


def test_many_labels_need_a_folder_of_their_own(many, small, tmp_path):
    before = (small.data_root / "synthetic.json").stat().st_mtime_ns
    with pytest.raises(UserError, match=r"max_targets=None instead of 3: give another data folder") as caught:
        prepare_synthetic(small.data_root, tmp_path, max_targets=3, **SMALL)
    assert "\n" not in str(caught.value)
    with pytest.raises(UserError, match=r"max_targets=3 instead of None: give another data folder"):
        prepare_synthetic(many.data_root, tmp_path, **SMALL)
    assert (small.data_root / "synthetic.json").stat().st_mtime_ns == before
    assert not any(tmp_path.iterdir())
    again = prepare_synthetic(many.data_root, many.manifests["train"].parent, max_targets=3, **SMALL)
    assert again == many


def test_settings_of_many_labels_are_checked(tmp_path):
    for wrong, message in [
        ({"max_targets": 0}, "max_targets must be a whole number from 1 to 10.*got 0"),
        ({"max_targets": 3, "shortcut_class": "siren"}, "shortcut_class is for clips of one target"),
    ]:
        with pytest.raises(UserError, match=message):
            prepare_synthetic(tmp_path / "data", tmp_path / "m", **{**SMALL, **wrong})
    assert not (tmp_path / "data").exists()


def test_a_clip_whose_one_target_is_lost_is_left_out(many, tmp_path):
    data = tmp_path / "data"
    shutil.copytree(many.data_root, data)
    lost = next((data / "targets").glob("train-00013-*.wav"))
    lost.unlink()
    with pytest.raises(UserError, match=f"train-00013.*{lost.name}"):
        prepare_synthetic(data, tmp_path / "m", max_targets=3, **SMALL)
    prepared = prepare_synthetic(data, tmp_path / "m", max_targets=3, skip_bad_clips=True, **SMALL)
    assert [clip_id for clip_id, _ in prepared.skipped] == ["train-00013"]


def test_labels_in_a_damaged_folder_are_checked(many, tmp_path):
    data = tmp_path / "data"
    data.mkdir()
    content = json.loads((many.data_root / "synthetic.json").read_text())
    content["clips"]["train"][4]["labels"] = ["violin"]
    (data / "synthetic.json").write_text(json.dumps(content))
    with pytest.raises(UserError, match=r"clip 4 of train: labels is \('violin',\), expected one of chirp_up"):
        prepare_synthetic(data, tmp_path / "m", max_targets=3, **SMALL)


# ------------------------------------------------------------------------------------------------ the probe


@pytest.fixture(scope="module")
def probe_tool():
    path = Path(__file__).parents[2] / "tools" / "probe_synthetic.py"
    specification = importlib.util.spec_from_file_location("probe_synthetic", path)
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


@pytest.mark.slow
def test_mean_spectrum_does_not_tell_the_classes(probe_tool, tmp_path, capsys):
    arguments = ["--data_folder", str(tmp_path / "data"), "--n_train", "300", "--n_valid", "10", "--n_test", "100"]
    assert probe_tool.main([*arguments, "--data_seed", "2"]) == 0
    line = capsys.readouterr().out.strip()
    assert "\n" not in line
    assert "seed 2, 300 training clips, 100 test clips" in line
    accuracy = float(line.split("accuracy ")[1].split()[0])
    assert 0.12 <= accuracy <= 0.6  # guessing gives 0.1
    assert probe_tool.main([*arguments, "--data_seed", "3"]) == 2
    assert "seed=2 instead of 3" in capsys.readouterr().err
