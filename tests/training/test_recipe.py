"""What bad input gets: one line that says what to do, a non-zero exit status, and nothing half-written."""

import json
import os
import re
import shutil
import socket

import numpy as np
import pytest
import soundfile
import tiny

from interpretability.classifiers import load_classifier
from interpretability.training import recipe, runner
from interpretability.training.composition import compose


@pytest.fixture
def out(tmp_path):
    return tmp_path / "run"


@pytest.fixture
def data(tiny_esc50, tmp_path):
    """A copy of the tiny data set, for damage."""
    return shutil.copytree(tiny_esc50, tmp_path / "data")


@pytest.fixture
def piq_copy(tiny_piq_run, out):
    return shutil.copytree(tiny_piq_run, out)


@pytest.fixture(scope="module")
def other_classifier(tmp_path_factory):
    """A classifier of four classes, and its data."""
    folder = tmp_path_factory.mktemp("other")
    data = tiny.make_data(folder / "data", {**tiny.CLASSES, "extra": 3500.0}, n_clips=3)
    outcome = tiny.run("classifier", data, folder / "run")
    assert outcome.code == 0, outcome.err
    return data, folder / "run" / "classifier"


def refuse(outcome, *words):
    """Check the one line of a refused job, and that it holds the words."""
    assert outcome.code == 2, outcome.err
    line = outcome.line
    assert line.startswith("error: ")
    for word in words:
        assert str(word) in line
    return line


def recipe_yaml(folder, name, change):
    """Write a changed copy of a recipe's YAML, with all that it extends."""
    text = compose(tiny.RECIPE / "hparams" / name, complete=False)
    changed = change(text)
    assert changed != text
    path = folder / name
    path.write_text(changed, "utf-8")
    return path


# ---- The data folder ----


@pytest.fixture
def no_network():
    """Settings that send the download to a port with no listener."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{server.getsockname()[1]}/esc50.zip"
    return {"prepare.archive_url": url}


def test_a_missing_data_folder_without_a_network(tmp_path, out, no_network):
    outcome = tiny.run("classifier", tmp_path / "nowhere", out, **no_network)
    refuse(outcome, tmp_path / "nowhere", "cannot be downloaded", "unpack it", "put its meta and audio folders in")
    assert not (tmp_path / "nowhere").exists()
    assert not (out / "manifests").exists()
    assert tiny.leftovers(tmp_path) == []


def test_an_empty_data_folder_without_a_network(tmp_path, out, no_network):
    (tmp_path / "empty").mkdir()
    refuse(tiny.run("classifier", tmp_path / "empty", out, **no_network), tmp_path / "empty", "put its meta and audio")
    assert list((tmp_path / "empty").iterdir()) == []
    assert tiny.leftovers(tmp_path) == []


def test_a_data_folder_that_holds_something_else(tmp_path, out):
    (tmp_path / "else").mkdir()
    (tmp_path / "else" / "letter.txt").write_text("hello", "utf-8")
    refuse(tiny.run("classifier", tmp_path / "else", out), "has no meta/esc50.csv", "another --data_folder")
    assert [path.name for path in (tmp_path / "else").iterdir()] == ["letter.txt"]


def test_a_data_folder_that_is_a_file(tmp_path, out):
    (tmp_path / "file").write_text("hello", "utf-8")
    refuse(tiny.run("classifier", tmp_path / "file", out), "is a file, expected the folder")


def test_a_csv_without_the_needed_columns(data, out):
    table = data / "meta" / "esc50.csv"
    table.write_text(table.read_text("utf-8").replace("fold,", "group,"), "utf-8")
    refuse(
        tiny.run("classifier", data, out),
        table,
        "lacks the columns fold",
        "it has 'filename', 'group'",
        "use the meta/",
    )
    assert not (out / "manifests").exists()


def test_what_prepare_takes_from_another_key_can_be_overridden_there(tiny_esc50, out):
    """The key is then read by nothing, which is no typing error."""
    refuse(tiny.run("classifier", tiny_esc50, out, **{"prepare.test_folds": 5}), "test_folds", "[5]", "only the folds")


def test_folds_that_the_data_does_not_have(tiny_esc50, out):
    refuse(tiny.run("classifier", tiny_esc50, out, test_folds=5), "test_folds", "[5]", "only the folds [1, 2, 3]")


# ---- The clips ----


def spoil_with_text(path):
    path.write_text("this is no sound", "utf-8")


def spoil_with_no_samples(path):
    soundfile.write(path, np.zeros(0), tiny.RATE)


def spoil_by_removing(path):
    path.unlink()


@pytest.mark.parametrize("spoil", [spoil_with_text, spoil_with_no_samples, spoil_by_removing])
def test_a_bad_clip_stops_the_run_or_is_left_out_and_listed(data, out, spoil):
    spoil(data / "audio" / "low-0.wav")  # fold 1: training
    refuse(tiny.run("classifier", data, out), "'low-0'", "--skip_bad_clips True")
    assert not (out / "manifests").exists()
    skipped = tiny.run("classifier", data, out, skip_bad_clips=True)
    assert skipped.code == 0, skipped.err
    assert re.search("clip 'low-0' left out: .*low-0.wav", skipped.err)
    assert "1 bad clips left out, 17 left" in skipped.err
    described = load_classifier(out / "classifier").description["training"]["data"]
    assert described["n_skipped"] == 1
    assert described["n_clips"] == {"train": 5, "valid": 6, "test": 6}


@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.slow
def test_samples_that_are_not_finite(data, out, workers, value):
    wav = np.ones(4000, dtype=np.float32)
    wav[100] = value
    soundfile.write(data / "audio" / "low-0.wav", wav, tiny.RATE, subtype="FLOAT")
    line = refuse(
        tiny.run("classifier", data, out, num_workers=workers),
        data / "audio" / "low-0.wav",
        "1 of 4000 samples are NaN or infinite",
        "leave it out",
    )
    assert "worker" not in line
    assert not (out / "classifier").exists()
    assert tiny.leftovers(out) == []


@pytest.mark.slow
def test_clips_with_a_bad_body_are_left_out_of_every_job(data, tmp_path):
    wav = np.ones(4000, dtype=np.float32)
    wav[100] = np.nan
    for name in ("low-0", "low-2"):  # one of the training fold, one of the test fold
        soundfile.write(data / "audio" / f"{name}.wav", wav, tiny.RATE, subtype="FLOAT")
    flac = tmp_path / "whole.flac"
    soundfile.write(flac, 0.3 * np.random.default_rng(0).standard_normal(4000), tiny.RATE)
    (data / "audio" / "high-0.wav").write_bytes(flac.read_bytes()[: flac.stat().st_size // 2])
    trained = tiny.run("classifier", data, tmp_path / "classifier", skip_bad_clips=True)
    assert trained.code == 0, trained.err
    for name in ("low-0", "high-0", "low-2"):
        assert re.search(f"clip '{name}' left out: .*{name}.wav", trained.err)
    assert "2 bad clips left out, 4 left" in trained.err
    training = load_classifier(tmp_path / "classifier" / "classifier").description["training"]
    assert training["data"]["n_clips"] == {"train": 4, "valid": 6, "test": 5}
    assert training["data"]["n_skipped"] == 3
    assert training["n_test"] == 5
    settings = {"classifier_folder": tmp_path / "classifier" / "classifier", "skip_bad_clips": True}
    for job in ("interpreter", "evaluate"):
        outcome = tiny.run(job, data, tmp_path / "piq", **settings)
        assert outcome.code == 0, outcome.err
    summary = json.loads((tmp_path / "piq" / "evaluation" / "summary.json").read_text("utf-8"))
    assert summary["n"] == summary["provenance"]["data"]["n_clips"]["test"] == 5
    described = json.loads((tmp_path / "piq" / "interpreter" / "interpreter.json").read_text("utf-8"))
    assert described["training"]["data"]["n_clips"]["train"] == 4


@pytest.mark.slow
def test_odd_but_good_clips_go_through_the_whole_job(data, tmp_path):
    rng = np.random.default_rng(0)
    audio = data / "audio"
    for fold in range(3):  # one of each in every split
        noise = 0.3 * rng.standard_normal(4000)
        soundfile.write(audio / f"low-{fold}.wav", np.zeros(4000), tiny.RATE)
        soundfile.write(audio / f"low-{fold + 3}.wav", np.clip(20 * noise, -1, 1), tiny.RATE)
        soundfile.write(audio / f"middle-{fold}.wav", noise, tiny.RATE, subtype="PCM_U8")
        soundfile.write(audio / f"middle-{fold + 3}.wav", noise, tiny.RATE, subtype="PCM_24")
        soundfile.write(audio / f"high-{fold}.wav", np.stack([noise] * 6, axis=1), 48000)
        soundfile.write(audio / f"high-{fold + 3}.wav", 0.3 * rng.standard_normal(96000), 192000)
    trained = tiny.run("classifier", data, tmp_path / "classifier")
    assert trained.code == 0, trained.err
    settings = {"classifier_folder": tmp_path / "classifier" / "classifier"}
    for job in ("interpreter", "evaluate"):
        outcome = tiny.run(job, data, tmp_path / "piq", **settings)
        assert outcome.code == 0, outcome.err
    assert not any(value.isnan().any() for value in tiny.weights(tmp_path / "piq").values())
    for row in (tmp_path / "piq" / "evaluation" / "clips.jsonl").read_text("utf-8").splitlines():
        clip = json.loads(row, parse_constant=pytest.fail)
        assert clip["silent"] == (clip["clip"] == "low-2")
    summary = json.loads((tmp_path / "piq" / "evaluation" / "summary.json").read_text("utf-8"))
    for place in summary["places"].values():
        assert (place["piq"]["clips"], place["piq"]["silent"]) == (5, 1)


# ---- The YAML ----


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("train_folds: [1, 2, 3]", "train_folds: [1, 2", ["classifier_compact.yaml", "line"]),
        ("weight_decay: !ref <weight_decay>", "weight_decay: !ref <weigth_decay>", ["weigth_decay"]),
        (
            "AugmentationSettings {}",
            "AugmentationSettings {mixup_alfa: 0.4}",
            ["augmentation (AugmentationSettings) has no setting 'mixup_alfa'", "did you mean mixup_alpha? It has"],
        ),
        (
            "CompactClassifier {}",
            "CompactClassifier {droput: 0.2}",
            ["classifier (CompactClassifier) has no setting 'droput'", "did you mean dropout? It has "],
        ),
        ("manifest_folder: ", "manifests_folder: ", ["prepare_esc50", "'manifests_folder'", "mean manifest_folder"]),
        ("prepare_esc50\n", "prepare_esc51\n", ["prepare_esc51"]),
        (": !name:interpretability.data.esc50.prepare_esc50", ":", ["prepare is {", "give prepare: !name:"]),
        ("!new:interpretability.training.augmentation.AugmentationSettings ", "", ["augmentation is", "!new:"]),
        ("train_logger: !new", "train_loger: !new", ["no 'training.train_logger'", "it has 'training.train_loger'"]),
        ("selection_mode: max", "selection_mode: most", ["selection_mode is 'most', expected one of min, max"]),
        ("selection_key: auto", "selection_key: acuracy", ["'acuracy'", "it reports accuracy, loss"]),
        ("lr: 0.002", "learning_rate: 0.002", ["the YAML has no 'lr'"]),
    ],
)
def test_a_typing_error_in_the_yaml(tiny_esc50, tmp_path, out, old, new, words):
    yaml = recipe_yaml(tmp_path, "classifier_compact.yaml", lambda text: text.replace(old, new))
    refuse(tiny.run("classifier", tiny_esc50, out, yaml), *words)
    assert not (out / "classifier").exists()
    assert tiny.leftovers(tmp_path) == []


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("clip_seconds: 5.0", "clip_second: 5.0", ["no 'clip_seconds'", "it has 'clip_second': a typing error?"]),
        ("fixed_length: ", "fixed_lenght: ", ["no 'fixed_length'", "it has 'fixed_lenght'"]),
        ("cache_folder: ", "cache_fodler: ", ["no 'cache_folder'", "it has 'cache_fodler'"]),
        ("num_workers: ", "num_worker: ", ["no 'num_workers'", "it has 'num_worker'"]),
        ("tensorboard: ", "tensorbaord: ", ["no 'tensorboard'", "it has 'tensorbaord'"]),
        ("\noutput_folder: !ref results", "\noutput_fodler: !ref results", ["output_folder"]),
        (
            "seed: 1234\n",
            "seed: 1234\nclip_second: 5.0\n",
            ["'clip_second' is not a known key", "did you mean clip_seconds"],
        ),
        (
            "seed: 1234\n",
            "seed: 1234\nabacus: 5  # not <abacus>\n",
            ["'abacus' is not a known key", "correct it or remove"],
        ),
    ],
)
def test_a_key_that_nothing_reads(tiny_esc50, tmp_path, out, old, new, words):
    yaml = recipe_yaml(tmp_path, "classifier_compact.yaml", lambda text: text.replace(old, new))
    line = tiny.arguments("classifier", tiny_esc50, out, yaml)
    # The misspelt key cannot be overridden under its right name.
    for name in ("cache_folder", "output_folder"):
        if f"\n{name}:" not in yaml.read_text("utf-8"):
            place = line.index(f"--{name}")
            line[place : place + 2] = []
    refuse(tiny.call(runner.main, "classifier", None, line), *words)
    assert not (out / "run.json").exists()


def test_a_key_that_something_refers_to_is_fine(tiny_esc50, tmp_path, out):
    yaml = recipe_yaml(
        tmp_path,
        "classifier_compact.yaml",
        lambda text: (
            text.replace("seed: 1234\n", "seed: 1234\nnumbers: {rate: 0.2}\nhalf: 0.1\n")
            .replace("CompactClassifier {}", "CompactClassifier\n  dropout: !ref <numbers[rate]>")
            .replace("AugmentationSettings {}", "AugmentationSettings\n  mixup_alpha: !ref <half> * 4")
        ),
    )
    outcome = tiny.run("classifier", tiny_esc50, out, yaml)
    assert outcome.code == 0, outcome.err


@pytest.mark.slow
def test_every_key_that_a_job_reads_is_needed_and_explained(tiny_esc50, tmp_path, monkeypatch):
    read = set()

    def note(self, name, getitem=recipe.Run.__getitem__):
        read.add(name)
        return getitem(self, name)

    monkeypatch.setattr(recipe.Run, "__getitem__", note)
    settings = {}
    jobs = {"classifier": "classifier", "interpreter": "piq", "dictionary": "nmf", "evaluate": "piq"}
    for job, name in jobs.items():
        read.clear()
        read.add("output_folder")  # by start() itself
        outcome = tiny.run(job, tiny_esc50, tmp_path / name, **settings)
        assert outcome.code == 0, outcome.err
        # A dictionary of the default algorithm is not learned in epochs.
        assert read == {*recipe.KEYS[job], *(recipe.TRAINED if job != "dictionary" else ())}
        settings = {"classifier_folder": tmp_path / "classifier" / "classifier"}
    table = (tiny.REPOSITORY / "recipes" / "README.md").read_text("utf-8").split("## What a run leaves")[0]
    assert [key for key in sorted(recipe.KNOWN) if f"`{key}`" not in table] == []


def test_what_cannot_be_augmented_with(tiny_esc50, tmp_path):
    yaml = tiny.RECIPE / "hparams" / "lmac.yaml"
    for settings, words in (
        ({"crop_seconds": 0}, "crop_seconds is 0.0, expected a number or null >= 0.01"),
        ({"crop_seconds": "half"}, "crop_seconds is 'half'"),
        ({"heard_share": 1.5}, "heard_share is 1.5, expected a number >= 0 and <= 1"),
    ):
        assert words in tiny.run("interpreter", tiny_esc50, tmp_path / "run", yaml, **settings).line
    assert not (tmp_path / "run" / "run.json").exists()


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"no_such_key": 3}, ["--no_such_key: ", "has no such key", "--help"]),
        ({"dropout": 0.1}, ["--dropout: ", "did you mean classifier.dropout?"]),
        ({"bacth_size": 3}, ["--bacth_size: ", "did you mean batch_size"]),
        ({"crop_seconds": 1.0}, ["--crop_seconds: ", "has no such key"]),
        ({"lr": ""}, ["lr is None"]),
        ({"number_of_epochs": "abc"}, ["'abc'"]),
        ({"number_of_epochs": 0}, ["number_of_epochs is 0, expected a whole number >= 1"]),
        ({"batch_size": 0}, ["batch_size is 0, expected a whole number >= 1"]),
        ({"batch_size": 2.5}, ["batch_size is 2.5, expected a whole number >= 1"]),
        ({"batch_size": None}, ["--batch_size has no value"]),
        ({"lr": "fast"}, ["lr is 'fast', expected a number >= 0"]),
        ({"lr": ".nan"}, ["lr is nan, expected a number >= 0"]),
        ({"weight_decay": "abc"}, ["weight_decay is 'abc'"]),
        ({"num_workers": -1}, ["num_workers is -1"]),
        ({"clip_seconds": "long"}, ["clip_seconds is 'long'"]),
        ({"skip_bad_clips": "maybe"}, ["skip_bad_clips is 'maybe', expected True or False"]),
        ({"fixed_length": True, "clip_seconds": "null"}, ["fixed_length is True but clip_seconds is not set"]),
        ({"seed": "abc"}, ["seed"]),
        ({"frontend.sample_rate": "abc"}, ["sample_rate is 'abc', expected a whole number >= 1"]),
        ({"frontend.sample_rate": 0}, ["sample_rate is 0, expected a whole number >= 1"]),
        ({"train_folds": "1,x"}, ["train_folds is '1,x', expected whole numbers"]),
        ({"train_folds": "1,2"}, ["share [2]"]),
        ({"device": "abacus"}, ["device 'abacus' cannot be used", "--device cpu"]),
        ({"classifier.chanels": [4, 4, 8, 8]}, ["CompactClassifier", "'chanels'", "did you mean channels or n_mels?"]),
        (
            {"classifier": "{chanels: [4, 4, 8, 8]}"},
            ["CompactClassifier", "'chanels'", "did you mean channels or n_mels?"],
        ),
        ({"classifier.channels": "wide"}, ["channels is 'wide'"]),
        ({"classifier.labels": "[a, b]"}, ["CompactClassifier", "'labels'"]),
        ({"training.optimizer.weigth_decay": 0.1}, ["AdamW", "'weigth_decay'"]),
        ({"training": "null"}, ["the YAML has no 'training.epoch_counter', 'training.checkpointer'"]),
        ({"training.optimiser.lr": 0.1}, ["--training.optimiser: ", "did you mean training.optimizer?"]),
        ({"frontend.hop": 3}, ["FrontendSettings", "hop"]),
        ({"augmentation.mixup_alpha": -1}, ["mixup_alpha is -1"]),
        # A section is overridden by something that is none.
        ({"frontend": "text"}, ["--frontend is 'text', expected settings: give --frontend.KEY VALUE"]),
        ({"augmentation": [1, 2]}, ["--augmentation is [1, 2], expected settings"]),
        ({"training": 3}, ["--training is 3, expected settings"]),
        ({"training.optimizer": True}, ["--training.optimizer is True, expected settings"]),
        ({"frontend": "null"}, ["frontend is None, expected FrontendSettings: give frontend: !new:"]),
        ({"classifier": "null"}, ["classifier is None, expected a kind of Classifier: give classifier: !name:"]),
        ({"prepare": "null"}, ["prepare is None, expected a class or function"]),
        ({"training.optimizer": "null"}, ["training.optimizer is None, expected a kind of Optimizer"]),
        ({"training.epoch_counter": "null"}, ["training.epoch_counter is None, expected EpochCounter"]),
        ({"training.checkpointer": "null"}, ["training.checkpointer is None, expected Checkpointer"]),
        ({"training.train_logger": "null"}, ["training.train_logger is None, expected TrainLogger"]),
        ({"classifier": "!name:os.path.join"}, ["classifier is posixpath.join, expected a kind of Classifier"]),
        ({"training.optimizer": "!name:os.path.join"}, ["training.optimizer is posixpath.join, expected a kind of"]),
        (
            {"training.train_logger": "!new:collections.Counter"},
            ["train_logger is Counter(), expected TrainLogger"],
        ),
        ({"seed.more": 3}, ["--seed.more: seed of ", "is 1234, which has no keys: give --seed VALUE"]),
        # Values that no network or optimiser has.
        ({"classifier.channels": [0]}, ["channels is"]),
        ({"classifier.channels": [[4], [4]]}, ["channels is"]),
        ({"classifier.n_mels": 0}, ["n_mels is 0, expected a whole number >= 1"]),
        ({"training.optimizer.betas": [2, 2]}, ["training.optimizer refuses its settings", "Invalid beta"]),
        ({"training.optimizer.betas": 0}, ["training.optimizer refuses its settings"]),
        ({"training.train_logger.save_file": "null"}, ["training.train_logger.save_file is null, expected a path"]),
        ({"training.epoch_counter.limit": 7}, ["training.epoch_counter.limit is no number_of_epochs"]),
        ({"seed": ".nan"}, ["seed is nan, expected a whole number >= 0"]),
        ({"seed": -1}, ["seed"]),
        ({"seed": "[" * 3000}, ["--seed: nested deeper than 64 levels"]),
        ({"selection_key": "[loss]"}, ["selection_key is ", "expected text"]),
        ({"data_folder": "null"}, ["the YAML has no 'data_folder'"]),
        ({"data_folder": "a\0b"}, ["data_folder is 'a\\x00b', expected a path"]),
        ({"output_folder": "null"}, ["the YAML has no 'output_folder'"]),
        ({"device": "meta"}, ["device 'meta' cannot be used", "--device cpu"]),
    ],
)
def test_an_override_that_cannot_be(tiny_esc50, out, settings, words):
    line = tiny.arguments("classifier", tiny_esc50, out)
    for name, value in settings.items():
        line += [f"--{name}"] if value is None else [f"--{name}", str(value)]
    refuse(tiny.call(runner.main, "classifier", None, line), *words)
    assert not (out / "classifier").exists()
    assert tiny.leftovers(out.parent) == []


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"method.codebook_size": 2}, ["2 keys", "3 classes", "raise codebook_size"]),
        ({"method.codebook_size": "many"}, ["piq.yaml: codebook_size is 'many', expected a whole number >= 1"]),
        ({"method": "{network: deep}"}, ["network is 'deep', expected one of compact, published, vit, focalnet"]),
        ({"method": "{chanels: 8}"}, ["PIQ", "'chanels'", "did you mean channels"]),
        ({"codebook_size": 12}, ["--codebook_size: ", "did you mean method.codebook_size?"]),
        ({"method.apply": "loud"}, ["apply is 'loud'"]),
        ({"method": "[8]"}, ["--method is [8], expected settings"]),
        ({"method": "!name:collections.Counter"}, ["method is collections.Counter, expected a kind of Interpreter"]),
        ({"method.channels": 0}, ["channels is 0, expected a whole number >= 1"]),
        ({"method.decoder_channels": [0]}, ["decoder_channels is"]),
        ({"noise": "loud"}, ["noise is 'loud', expected a class or function"]),
        ({"classifier_folder": "null"}, ["the YAML has no 'classifier_folder'"]),
    ],
)
def test_a_setting_that_the_method_refuses(tiny_esc50, tiny_classifier_folder, out, settings, words):
    settings = {"classifier_folder": tiny_classifier_folder, **settings}
    refuse(tiny.run("interpreter", tiny_esc50, out, **settings), *words)
    assert not (out / "interpreter").exists()


def test_a_yaml_file_that_is_not_there(tiny_esc50, tmp_path, out):
    refuse(tiny.run("classifier", tiny_esc50, out, tmp_path / "none.yaml"), "no YAML file at", "none.yaml", "hparams/")
    assert not out.exists()


@pytest.mark.parametrize("argv", [[], ["--seed", "3"]])
def test_no_yaml_file_at_all(argv):
    refuse(tiny.call(runner.main, "classifier", "train_classifier.py", argv), "python train_classifier.py hparams/")


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["--lr"], "--lr has no value: give --lr VALUE"),
        (["--lr", "--seed", "3"], "--lr has no value"),
        (["--seed=3", "0.1"], "the command line has '0.1', which belongs to no option"),
        (["--noprogressbar", "True"], "the command line has 'True', which belongs to no option"),
        (["--lr", "[1, 2"], "--lr, line 1: not valid YAML"),
        (["--lr", "0.1", "--lr", "fast"], "lr is 'fast'"),
    ],
)
def test_a_command_line_that_cannot_be(out, argv, words):
    yaml = str(tiny.RECIPE / "hparams" / "classifier_compact.yaml")
    refuse(tiny.call(runner.main, "classifier", None, [yaml, "--data_folder", "unused", *argv]), words)


def test_a_placeholder_that_nobody_filled(out):
    line = tiny.arguments("classifier", "unused", out)
    place = line.index("--data_folder")
    refuse(tiny.call(runner.main, "classifier", None, line[:place] + line[place + 2 :]), "data_folder")
    assert not out.exists()


# ---- Folders of runs ----


def test_an_output_folder_that_cannot_be_made(tiny_esc50, tmp_path):
    (tmp_path / "file").write_text("hello", "utf-8")
    refuse(tiny.run("classifier", tiny_esc50, tmp_path / "file", cache_folder=tmp_path / "cache"), tmp_path / "file")


def test_evaluating_what_was_never_trained(tiny_esc50, tiny_classifier_folder, out):
    outcome = tiny.run("evaluate", tiny_esc50, out, classifier_folder=tiny_classifier_folder)
    refuse(outcome, f"no run in {out}", "train first", "--output_folder")
    assert [path for path in out.rglob("*") if path.is_file()] == []


def test_evaluating_a_run_without_a_checkpoint(tiny_esc50, tiny_classifier_folder, piq_copy):
    shutil.rmtree(piq_copy / "save")
    outcome = tiny.run("evaluate", tiny_esc50, piq_copy, classifier_folder=tiny_classifier_folder)
    refuse(outcome, "no checkpoint with a validation 'loss'", "train first")
    written = {path.name for path in (piq_copy / "evaluation").iterdir()}
    assert written == {"hyperparams.yaml", "evaluate.py", "log.txt", "env.log"}  # what was asked for, and no result


def test_a_classifier_folder_without_a_classifier(tiny_esc50, tmp_path, out):
    outcome = tiny.run("interpreter", tiny_esc50, out, classifier_folder=tmp_path / "none")
    refuse(outcome, f"no classifier in {tmp_path / 'none'}", "train_classifier.py")


@pytest.mark.parametrize("job", ["interpreter", "evaluate"])
def test_a_classifier_that_was_trained_again_after_its_interpreter(tiny_esc50, tmp_path, piq_copy, job):
    again = tiny.run("classifier", tiny_esc50, tmp_path / "again", seed=1)
    assert again.code == 0, again.err
    before = (piq_copy / "run.json").read_bytes()
    classifier = tmp_path / "again" / "classifier"
    outcome = tiny.run(job, tiny_esc50, piq_copy, classifier_folder=classifier, number_of_epochs=4)
    refuse(outcome, "differs in classifier", "give another output_folder")
    assert (piq_copy / "run.json").read_bytes() == before
    assert tiny.log_epochs(piq_copy) == [1, 2, 3]


def test_a_classifier_of_another_class_count(other_classifier, piq_copy, tiny_esc50):
    data, classifier = other_classifier
    for folder in (data, tiny_esc50):
        outcome = tiny.run("interpreter", folder, piq_copy, classifier_folder=classifier, number_of_epochs=4)
        refuse(outcome, "holds a run that differs in", "labels", "classifier")


def test_data_with_a_class_that_the_classifier_does_not_know(other_classifier, tiny_classifier_folder, out):
    outcome = tiny.run("interpreter", other_classifier[0], out, classifier_folder=tiny_classifier_folder)
    refuse(outcome, "does not know: extra", "it knows low, middle, high", "train a classifier")


@pytest.mark.parametrize("settings", [{"frontend.sample_rate": 4000}, {"frontend": "{n_fft: 512}"}])
def test_a_run_of_another_front_end(tiny_esc50, tiny_classifier_folder, out, settings):
    shutil.copytree(tiny_classifier_folder.parent, out)
    outcome = tiny.run("classifier", tiny_esc50, out, number_of_epochs=4, **settings)
    refuse(outcome, "differs in frontend", "give another output_folder")
    assert tiny.log_epochs(out) == [1, 2, 3]


def test_checkpoints_of_another_class_count(other_classifier, tiny_classifier_folder, out):
    shutil.copytree(tiny_classifier_folder.parent, out, ignore=shutil.ignore_patterns("run.json", "classifier"))
    outcome = tiny.run("classifier", other_classifier[0], out, number_of_epochs=4)
    refuse(outcome, "checkpoint is damaged or of other settings", "size mismatch", "give another output_folder")


def change_a_byte(folder):
    path = folder / "weights.pt"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def cut_off(folder):
    os.truncate(folder / "weights.pt", 100)


def remove_weights(folder):
    (folder / "weights.pt").unlink()


def cut_description(folder):
    os.truncate(folder / "classifier.json", 20)


def add_a_class(folder):
    path = folder / "classifier.json"
    path.write_text(path.read_text("utf-8").replace('"labels": [', '"labels": ["more",'), "utf-8")


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (change_a_byte, ["weights.pt", "SHA-256", "copy the folder again"]),
        (cut_off, ["weights.pt", "SHA-256", "copy the folder again"]),
        (remove_weights, ["no weights at", "weights.pt"]),
        (cut_description, ["classifier.json", "not valid JSON"]),
        (add_a_class, ["damaged or changed", "class list", "copy the folder again"]),
    ],
)
def test_a_damaged_classifier(tiny_esc50, tiny_classifier_folder, tmp_path, out, damage, words):
    classifier = shutil.copytree(tiny_classifier_folder, tmp_path / "classifier")
    damage(classifier)
    refuse(tiny.run("interpreter", tiny_esc50, out, classifier_folder=classifier), *words)
    assert not (out / "interpreter").exists()


def test_a_damaged_record_of_a_run(tiny_esc50, tiny_classifier_folder, out):
    shutil.copytree(tiny_classifier_folder.parent, out)
    os.truncate(out / "run.json", 20)
    refuse(tiny.run("classifier", tiny_esc50, out, number_of_epochs=3), out / "run.json", "not valid JSON")
