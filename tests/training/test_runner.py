"""What a run leaves, what it selects by, and what it does in parallel and with TensorBoard."""

import json

import pytest
import tiny
import torch
import yaml

from interpretability.classifiers import load_classifier
from interpretability.methods import load_interpreter
from interpretability.training import brain as brains


def checkpoints(run):
    """Metadata of the checkpoints, as any YAML reader sees it: no Python objects."""
    return [yaml.safe_load(path.read_text()) for path in sorted((run / "save").glob("CKPT+*/CKPT.yaml"))]


def test_checkpoint_metadata_are_plain_numbers_and_best_and_last_are_kept(tiny_piq_run):
    metas = checkpoints(tiny_piq_run)
    assert 1 <= len(metas) <= 2
    for meta in metas:
        assert all(type(value) in (bool, float, int) for value in meta.values()), meta
    assert max(meta["epoch"] for meta in metas) == 3
    log = (tiny_piq_run / "train_log.txt").read_text().splitlines()
    losses = [float(line.split("valid loss: ")[1].split(",")[0]) for line in log]
    best = min(metas, key=lambda meta: meta["loss"])
    assert best["loss"] == pytest.approx(min(losses), rel=1e-2)
    training = json.loads((tiny_piq_run / "interpreter" / "interpreter.json").read_text())["training"]
    assert training["best_epoch"] == best["epoch"]
    assert losses[int(best["epoch"]) - 1] == min(losses)  # the log rounds, so there may be several
    assert training["epochs"] == 3


def test_selection_by_something_that_is_not_reported(tiny_esc50, tmp_path):
    said = tiny.run("classifier", tiny_esc50, tmp_path / "run", selection_key="fidelity").line
    assert "'fidelity'" in said
    assert "accuracy" in said
    assert "loss" in said


def test_the_saved_classifier_says_how_it_was_made(tiny_classifier_folder):
    training = load_classifier(tiny_classifier_folder).description["training"]
    assert training["data"]["folds"] == {"train": [1], "valid": [2], "test": [3]}
    assert 0 <= training["test_accuracy"] <= 1
    assert training["n_test"] == 6
    assert training["seconds"] > 0
    assert training["seed"] == 1234


def test_validation_leaves_the_networks_as_they_are(tiny_esc50, tiny_classifier_folder, tmp_path, monkeypatch):
    """Metric passes touch neither the interpreter's batch statistics nor the classifier."""
    seen = []

    def watch(self, valid_set, epoch, enable, fit_valid=brains.ResumableBrain._fit_valid):
        def state():
            return {name: value.clone() for name, value in self.modules.state_dict().items()}

        before = state()
        fit_valid(self, valid_set, epoch, enable)
        after = state()
        seen.append(all(torch.equal(after[name], value) for name, value in before.items()))
        assert all(parameter.grad is None for parameter in self.modules["classifier"].parameters())

    monkeypatch.setattr(brains.ResumableBrain, "_fit_valid", watch)
    outcome = tiny.run("interpreter", tiny_esc50, tmp_path / "run", classifier_folder=tiny_classifier_folder)
    assert outcome.code == 0, outcome.err
    assert seen == [True]


def test_the_frozen_classifier_is_the_one_that_was_saved(tiny_piq_run, tiny_classifier_folder):
    inside = load_interpreter(tiny_piq_run).classifier
    for name, value in load_classifier(tiny_classifier_folder).state_dict().items():
        assert torch.equal(inside.state_dict()[name], value), name


def test_tensorboard(tiny_esc50, tmp_path):
    pytest.importorskip("tensorboard", reason="the package tensorboard is not installed")
    outcome = tiny.run("classifier", tiny_esc50, tmp_path / "run", tensorboard=True)
    assert outcome.code == 0, outcome.err
    assert list((tmp_path / "run" / "tensorboard").rglob("events.out*"))


def test_two_processes_train_one_interpreter(tiny_esc50, tiny_classifier_folder, tmp_path):
    line = tiny.arguments(
        "interpreter",
        tiny_esc50,
        tmp_path / "run",
        classifier_folder=tiny_classifier_folder,
        distributed_backend="gloo",
        batch_size=1,
    )
    outcome = tiny.run_process(
        ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2", "train_piq.py", *line]
    )
    assert outcome.code == 0, outcome.err
    (meta,) = checkpoints(tmp_path / "run")
    assert meta["epoch"] == 1
    # Saved without the wrapper of parallel training, and written once.
    assert load_interpreter(tmp_path / "run").description["training"]["epochs"] == 1
    assert len((tmp_path / "run" / "train_log.txt").read_text().splitlines()) == 1
