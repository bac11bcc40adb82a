"""Tests of the Synthetic data set: what is promised of the sounds, of the folder, and of the shortcut variant."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from speechbrain.dataio.dataset import DynamicItemDataset

from interpretability.data import synthetic
from interpretability.data.manifest import read_manifest
from interpretability.data.synthetic import LABELS, SHORTCUT_HZ, make_clip, prepare_synthetic
from interpretability.errors import UserError
from interpretability.metrics.localisation import true_mask

RATE = 16000
SMALL = {"n_train": 20, "n_valid": 10, "n_test": 10}


def spectrogram(x: np.ndarray, n_fft: int = 1024, hop: int = 256) -> np.ndarray:
    """Magnitudes [T, F], by numpy alone."""
    frames = np.lib.stride_tricks.sliding_window_view(x.astype(np.float64), n_fft)[::hop]
    return np.abs(np.fft.rfft(frames * np.hanning(n_fft)))


def hum_excess_db(rest: np.ndarray) -> float:
    """Level of the 6 kHz bin over the bins around it, in dB, from medians over time."""
    power = np.median(spectrogram(rest) ** 2, axis=0)  # [F]
    b = round(SHORTCUT_HZ * 1024 / RATE)
    around = np.median(np.concatenate([power[b - 40 : b - 8], power[b + 9 : b + 41]]))
    return 10 * np.log10(power[b] / around)


@pytest.fixture(scope="module")
def clips():
    return [make_clip(5, "train", index) for index in range(100)]


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    folder = tmp_path_factory.mktemp("synthetic")
    return prepare_synthetic(folder / "data", folder / "manifests", seed=3, **SMALL)


# ------------------------------------------------------------------------------------------------ the sounds


def test_same_arguments_same_samples():
    one, other = make_clip(1, "test", 13), make_clip(1, "test", 13)
    assert one.parameters == other.parameters
    for part in ("mixture", "target", "rest"):
        assert np.array_equal(getattr(one, part), getattr(other, part))


@pytest.mark.parametrize("arguments", [(2, "test", 13), (1, "valid", 13), (1, "test", 23)])
def test_other_seed_split_or_index_other_samples(arguments):
    assert not np.array_equal(make_clip(1, "test", 13).mixture, make_clip(*arguments).mixture)
    assert not np.array_equal(make_clip(1, "test", 13).rest, make_clip(*arguments).rest)


def test_global_random_state_plays_no_part():
    np.random.seed(0)
    torch.manual_seed(0)
    one = make_clip(1, "train", 4)
    np.random.seed(1)
    before = np.random.get_state()[1].copy()
    assert np.array_equal(one.mixture, make_clip(1, "train", 4).mixture)
    assert np.array_equal(before, np.random.get_state()[1])


def test_classes_take_turns_and_can_be_named(clips):
    assert [clip.label for clip in clips] == list(LABELS) * 10
    assert make_clip(5, "train", 0, label="siren").label == "siren"


def test_another_class_keeps_the_background():
    one, other = make_clip(5, "train", 0), make_clip(5, "train", 0, label="siren")
    assert one.parameters["distractors"] == other.parameters["distractors"]
    for key in ("event_start", "event_stop", "low_hz", "high_hz", "snr_db"):
        assert one.parameters[key] == other.parameters[key]
    cosine = np.dot(one.rest, other.rest) / np.linalg.norm(one.rest) / np.linalg.norm(other.rest)
    assert cosine == pytest.approx(1.0, abs=1e-6)


def test_parts_add_up_exactly(clips):
    for clip in clips:
        assert clip.mixture.dtype == clip.target.dtype == clip.rest.dtype == np.float32
        assert np.array_equal(clip.mixture, clip.target + clip.rest)
        assert np.array_equal(clip.rest, clip.mixture - clip.target)


@pytest.mark.parametrize(("rate", "seconds"), [(16000, 2.0), (22050, 1.3), (44100, 1.0), (16000, 5.0)])
@pytest.mark.parametrize("label", LABELS)
def test_every_class_at_other_rates_and_lengths(label, rate, seconds):
    clip = make_clip(0, "valid", 3, label=label, shortcut=True, sample_rate=rate, seconds=seconds)
    assert clip.mixture.shape == clip.target.shape == clip.rest.shape == (round(seconds * rate),)
    assert np.isfinite(clip.mixture).all()
    assert np.abs(clip.mixture).max() <= 0.9


def test_levels(clips):
    peaks = np.array([np.abs(clip.mixture).max() for clip in clips])
    assert peaks.min() >= 0.0999
    assert peaks.max() <= 0.9
    assert peaks.min() < 0.15
    assert peaks.max() > 0.6
    assert all(np.abs(make_clip(5, "train", i, shortcut=True).mixture).max() <= 0.9 for i in range(20))


def test_target_is_where_and_as_loud_as_it_says(clips):
    for clip in clips:
        drawn = clip.parameters
        start, stop = round(drawn["event_start"] * RATE), round(drawn["event_stop"] * RATE)
        assert not clip.target[: start - 1].any()
        assert not clip.target[stop + 1 :].any()
        ratio = np.mean(clip.target[start:stop] ** 2.0) / np.mean(clip.rest[start:stop] ** 2.0)
        assert 10 * np.log10(ratio) == pytest.approx(drawn["snr_db"], abs=0.1)
        assert -3.01 <= drawn["snr_db"] <= 12.01


def test_times_and_levels_are_spread(clips):
    starts = np.array([clip.parameters["event_start"] for clip in clips])
    levels = 10 * np.log10([np.mean(clip.target**2.0) for clip in clips])
    assert starts.min() < 0.1
    assert starts.max() > 0.9
    assert starts.std() > 0.2
    assert levels.std() > 4.0
    # For no class does the time say which it is: each has early and late events.
    by_class = starts.reshape(10, 10)
    assert (by_class.max(0) - by_class.min(0)).min() > 0.3


def chirp_centroids(label: str, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Slope of the spectral centroid in octaves per second [n], and mean power spectrum of the targets [n, F]."""
    slopes, spectra = [], []
    for index in range(n):
        clip = make_clip(8, "train", index, label=label)
        power = spectrogram(clip.target) ** 2
        active = power.sum(1) > 0.05 * power.sum(1).max()
        centroid = np.log2(power[active] @ np.fft.rfftfreq(1024, 1 / RATE) / power[active].sum(1))
        slopes.append(np.polyfit(np.flatnonzero(active) * 256 / RATE, centroid, 1)[0])
        spectra.append(power.sum(0) / power.sum())
    return np.array(slopes), np.array(spectra)


def test_chirps_differ_in_order_only():
    up, spectra_up = chirp_centroids("chirp_up", 30)
    down, spectra_down = chirp_centroids("chirp_down", 30)
    assert up.min() > 0.5
    assert down.max() < -0.5
    assert np.allclose(up, -down, rtol=0.1)
    overlap = np.minimum(spectra_up.mean(0), spectra_down.mean(0)).sum()
    assert overlap > 0.97


def test_bands_overlap_between_all_classes():
    centroids = np.empty((10, 20))
    for c, label in enumerate(LABELS):
        for index in range(20):
            power = (spectrogram(make_clip(9, "train", index, label=label).target) ** 2).sum(0)
            centroids[c, index] = np.log2(power @ np.fft.rfftfreq(1024, 1 / RATE) / power.sum())
    # Octaves: the classes' means lie closer together than the clips of one class.
    assert centroids.mean(1).std() < 0.5 * centroids.std(1).min()


@pytest.mark.parametrize(
    "arguments",
    [
        {"split": "dev"},
        {"label": "violin"},
        {"index": -1},
        {"seed": -1},
        {"seed": 1.5},
        {"sample_rate": 8000},
        {"seconds": 0.2},
        {"seconds": float("nan")},
    ],
)
def test_clip_refuses(arguments):
    with pytest.raises(UserError, match=str(next(iter(arguments)))):
        make_clip(**{"seed": 1, "split": "train", "index": 0, **arguments})


# ------------------------------------------------------------------------------------------------ the true mask


def test_true_mask_is_strict_and_keeps_shape():
    target, rest = torch.rand(2, 5, 7), torch.rand(2, 5, 7)
    rest[0, 0] = target[0, 0]
    mask = true_mask(target, rest)
    assert mask.dtype == torch.bool
    assert torch.equal(mask, torch.from_numpy(target.numpy() > rest.numpy()))
    assert not mask[0, 0].any()
    with pytest.raises(ValueError, match="one shape"):
        true_mask(target, rest[:, :4])


def test_true_mask_lies_in_the_event(clips):
    shares = []
    for clip in clips:
        target, rest = (torch.from_numpy(spectrogram(part)) for part in (clip.target, clip.rest))
        mask = true_mask(target, rest)
        frames = torch.nonzero(mask.any(1)).flatten()
        assert frames[0] * 256 + 1024 >= clip.parameters["event_start"] * RATE
        assert frames[-1] * 256 <= clip.parameters["event_stop"] * RATE
        shares.append(mask.double().mean().item())
    # There is something to find in every clip, and it is the smaller part of the picture.
    assert min(shares) > 0.001
    assert max(shares) < 0.5


# ------------------------------------------------------------------------------------------------ the shortcut


def test_hum_is_all_that_the_shortcut_adds():
    plain, humming = make_clip(4, "train", 7), make_clip(4, "train", 7, shortcut=True)
    assert np.array_equal(plain.target, humming.target)
    assert not plain.parameters["shortcut"]
    assert humming.parameters["shortcut"]
    hum = (humming.rest - plain.rest).astype(np.float64)
    level = np.sqrt(np.mean(hum**2) / np.mean(plain.mixture.astype(np.float64) ** 2))
    assert 20 * np.log10(level) == pytest.approx(synthetic.SHORTCUT_DB, abs=0.1)
    spectrum = np.abs(np.fft.rfft(hum)) ** 2
    at = np.argmax(spectrum)
    assert np.fft.rfftfreq(len(hum), 1 / RATE)[at] == pytest.approx(SHORTCUT_HZ, abs=1.0)
    assert spectrum[at - 1 : at + 2].sum() > 0.999 * spectrum.sum()


def test_hum_can_be_seen_in_the_rest():
    excess = np.array([hum_excess_db(make_clip(4, "train", i, shortcut=True).rest) for i in range(40)])
    without = np.array([hum_excess_db(make_clip(4, "train", i).rest) for i in range(40)])
    assert np.median(excess) > 8.0
    assert excess.min() > 2.0
    assert np.median(np.abs(without)) < 1.5


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
            mixture, target = (soundfile.read(entry[key], dtype="float32")[0] for key in ("wav", "target_wav"))
            assert np.array_equal(mixture, make_clip(6, split, index, shortcut=expected).mixture)
            if expected:
                assert hum_excess_db(mixture - target) > 2.0


def test_shortcut_settings_are_checked(tmp_path):
    for wrong, message in [
        ({"shortcut_class": "violin"}, "shortcut_class"),
        ({"shortcut_class": "siren", "shortcut_fraction": 1.5}, "shortcut_fraction"),
        ({"shortcut_in_test": True}, "shortcut_class"),
        ({"n_test": 3}, "n_test"),
    ]:
        with pytest.raises(UserError, match=message):
            prepare_synthetic(tmp_path / "data", tmp_path / "m", **wrong)
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
    again = prepare_synthetic(small.data_root, small.manifests["train"].parent, seed=3, **SMALL)
    assert again == small
    assert {path: path.stat().st_mtime_ns for path in files} == before


@pytest.mark.parametrize("other", [{"seed": 4}, {"n_train": 40}, {"shortcut_class": "siren"}, {"seconds": 1.5}])
def test_folder_of_other_settings_is_refused(small, tmp_path, other):
    before = (small.data_root / "synthetic.json").stat().st_mtime_ns
    with pytest.raises(UserError, match=f"{next(iter(other))}=.*give another data folder, or delete") as caught:
        prepare_synthetic(small.data_root, tmp_path, **{"seed": 3, **SMALL, **other})
    assert "\n" not in str(caught.value)
    assert (small.data_root / "synthetic.json").stat().st_mtime_ns == before
    assert not any(tmp_path.iterdir())


def test_fraction_without_a_class_is_no_difference(small, tmp_path):
    prepare_synthetic(small.data_root, tmp_path, seed=3, shortcut_fraction=0.5, **SMALL)


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
    with pytest.raises(UserError, match="cannot be read"):
        prepare_synthetic(tmp_path / "data", tmp_path / "m", **SMALL)


def test_empty_folder_is_filled(tmp_path):
    (tmp_path / "data").mkdir()
    prepared = prepare_synthetic(tmp_path / "data", tmp_path / "m", n_train=10, n_valid=10, n_test=10)
    assert len(list((prepared.data_root / "audio").iterdir())) == 30
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data", "m"]


@pytest.mark.parametrize("fault", [KeyboardInterrupt(), OSError(28, "No space left on device")])
def test_interrupted_making_leaves_nothing(tmp_path, monkeypatch, fault):
    whole, made = synthetic._write_wav, []

    def break_off(path, x, sample_rate):
        if len(made) == 25:
            raise fault
        made.append(path)
        whole(path, x, sample_rate)

    monkeypatch.setattr(synthetic, "_write_wav", break_off)
    expected = UserError if isinstance(fault, OSError) else KeyboardInterrupt
    with pytest.raises(expected, match="No space left.*MB" if isinstance(fault, OSError) else None):
        prepare_synthetic(tmp_path / "data", tmp_path / "m", **SMALL)
    assert len(made) == 25
    assert list(tmp_path.iterdir()) == []


def test_missing_clip(tmp_path):
    counts = {"n_train": 10, "n_valid": 10, "n_test": 10}
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


# ------------------------------------------------------------------------------------------------ the probe


@pytest.fixture(scope="module")
def probe_tool():
    path = Path(__file__).parents[2] / "tools" / "probe_synthetic.py"
    specification = importlib.util.spec_from_file_location("probe_synthetic", path)
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


def test_mean_spectrum_does_not_tell_the_classes(probe_tool, tmp_path, capsys):
    arguments = ["--data_folder", str(tmp_path / "data"), "--n_train", "300", "--n_valid", "10", "--n_test", "100"]
    assert probe_tool.main([*arguments, "--seed", "2"]) == 0
    line = capsys.readouterr().out.strip()
    assert "\n" not in line
    assert "seed 2, 300 training clips, 100 test clips" in line
    accuracy = float(line.split("accuracy ")[1].split()[0])
    assert 0.12 <= accuracy <= 0.6  # guessing gives 0.1
    assert probe_tool.main([*arguments, "--seed", "3"]) == 2
    assert "seed=2 instead of 3" in capsys.readouterr().err
