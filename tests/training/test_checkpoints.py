"""A run that is stopped, however rudely, and started again gives what it would have given."""

import errno
import json
import os
import shutil
import signal

import pytest
import tiny
import torch

from interpretability import evaluation
from interpretability.explanation import Explanation
from interpretability.training import runner

EPOCHS = 3
ARCHIVE = ("hyperparams.yaml", "evaluate.py", "log.txt", "env.log")


@pytest.fixture(params=["classifier", "interpreter"])
def job(request, tiny_esc50, tiny_classifier_folder, tiny_piq_run, tmp_path):
    """Both trainings: their name, their settings, the folder of an uninterrupted run and one for the interrupted."""
    reference = tiny_classifier_folder.parent if request.param == "classifier" else tiny_piq_run
    return Job(request.param, tiny_esc50, tiny_classifier_folder, reference, tmp_path / "run")


class Job:
    """One training with everything that its command line needs."""

    def __init__(self, name, data, classifier_folder, reference, folder):
        self.name, self.data, self.reference, self.folder = name, data, reference, folder
        self.settings = {"number_of_epochs": EPOCHS}
        if name == "interpreter":
            self.settings["classifier_folder"] = classifier_folder

    def run(self, **settings):
        return tiny.run(self.name, self.data, self.folder, **{**self.settings, **settings})

    def hit(self, moment, epoch, step, number, **settings):
        line = tiny.arguments(self.name, self.data, self.folder, **{**self.settings, **settings})
        return tiny.run_and_hit(moment, epoch, step, number, self.name, line)


@pytest.fixture
def classifier_job(tiny_esc50, tiny_classifier_folder, tmp_path):
    return Job("classifier", tiny_esc50, tiny_classifier_folder, tiny_classifier_folder.parent, tmp_path / "run")


@pytest.fixture
def piq_job(tiny_esc50, tiny_classifier_folder, tiny_piq_run, tmp_path):
    return Job("interpreter", tiny_esc50, tiny_classifier_folder, tiny_piq_run, tmp_path / "run")


def checkpoints(folder):
    return sorted(path.name for path in (folder / "save").iterdir())


# ---- Killed ----


def test_a_run_killed_in_the_middle_of_an_epoch_ends_as_if_it_had_not_been(job):
    killed = job.hit("fit", 2, 2, signal.SIGKILL)
    assert killed.code == -signal.SIGKILL, killed.err
    assert tiny.log_epochs(job.folder) == [1]
    assert not (job.folder / job.name).exists()
    resumed = job.run()
    assert resumed.code == 0, resumed.err
    assert tiny.log_epochs(job.folder) == [1, 2, 3]
    tiny.assert_same_run(job.folder, job.reference)
    assert tiny.leftovers(job.folder) == []


def test_the_comparison_of_runs_sees_another_seed(classifier_job):
    # Otherwise the tests above would pass on anything.
    assert classifier_job.run(seed=1).code == 0
    with pytest.raises(AssertionError):
        tiny.assert_same_run(classifier_job.folder, classifier_job.reference)


def test_checkpoints_in_the_middle_of_an_epoch(piq_job):
    killed = piq_job.hit("fit", 2, 3, signal.SIGKILL, ckpt_interval_steps=1)
    assert killed.code == -signal.SIGKILL, killed.err
    assert len(checkpoints(piq_job.folder)) == 2  # the end of epoch 1, and step 2 of epoch 2
    steps = []

    def noting(self, batch, fit_batch=runner.ResumableBrain.fit_batch):
        steps.append((self.epoch, self.step))
        return fit_batch(self, batch)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runner.ResumableBrain, "fit_batch", noting)
        resumed = piq_job.run(ckpt_interval_steps=1)
    assert resumed.code == 0, resumed.err
    assert steps == [(2, 3), (3, 1), (3, 2), (3, 3)]
    # The log's means over epoch 2 are over all its steps too, those before the kill included.
    log = [(folder / "train_log.txt").read_text("utf-8") for folder in (piq_job.folder, piq_job.reference)]
    assert log[0] == log[1]
    tiny.assert_same_run(piq_job.folder, piq_job.reference)


def test_killed_while_saving(classifier_job):
    # Network and optimiser are two files an epoch; the fourth is the optimiser of epoch 2.
    killed = classifier_job.hit("save", 0, 4, signal.SIGKILL)
    assert killed.code == -signal.SIGKILL, killed.err
    assert [name.startswith("partial+CKPT") for name in checkpoints(classifier_job.folder)] == [False, True]
    resumed = classifier_job.run()
    assert resumed.code == 0, resumed.err
    tiny.assert_same_run(classifier_job.folder, classifier_job.reference)
    assert tiny.leftovers(classifier_job.folder) == []


# ---- Interrupted ----


def test_ctrl_c(classifier_job):
    stopped = classifier_job.hit("fit", 2, 1, signal.SIGINT)
    assert stopped.code == 130
    assert stopped.line.startswith("interrupted:")
    assert "same command again" in stopped.line
    assert tiny.leftovers(classifier_job.folder) == []
    assert classifier_job.run().code == 0
    tiny.assert_same_run(classifier_job.folder, classifier_job.reference)


# ---- Full disk ----


def test_a_full_disk_while_a_checkpoint_is_saved(job, monkeypatch):
    save, calls = torch.save, []

    def full(content, path, *args, **kwargs):
        calls.append(path)
        if len(calls) == 3:  # the network of epoch 2
            path.write_bytes(b"PK")
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return save(content, path, *args, **kwargs)

    monkeypatch.setattr(torch, "save", full)
    stopped = job.run()
    assert stopped.code == 2
    assert "could not save a checkpoint" in stopped.line
    assert "No space left on device" in stopped.line
    assert "make room on the disk, then run the same command again" in stopped.line
    assert tiny.leftovers(job.folder) == []
    assert len(checkpoints(job.folder)) == 1
    assert not (job.folder / job.name).exists()
    monkeypatch.undo()
    assert job.run().code == 0
    tiny.assert_same_run(job.folder, job.reference)


def test_a_file_size_limit_reached_while_a_checkpoint_is_saved(classifier_job):
    # A network whose file is longer than all else that is written.
    classifier_job.settings["classifier"] = "{model: {channels: [16, 32, 32, 32]}}"
    assert classifier_job.run(number_of_epochs=1).code == 0
    (checkpoint,) = checkpoints(classifier_job.folder)
    limit = (classifier_job.folder / "save" / checkpoint / "classifier.ckpt").stat().st_size // 2
    stopped = classifier_job.hit("limit", 0, 0, limit)
    assert stopped.code == 2
    assert "could not save a checkpoint" in stopped.line
    assert checkpoints(classifier_job.folder) == [checkpoint]
    assert tiny.leftovers(classifier_job.folder) == []
    assert classifier_job.run().code == 0
    assert tiny.log_epochs(classifier_job.folder)[-1] == EPOCHS
    assert checkpoint not in checkpoints(classifier_job.folder)


@pytest.mark.parametrize(
    "failure", [OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), RuntimeError("file write failed")]
)
def test_a_full_disk_while_the_finished_model_is_saved(piq_job, monkeypatch, failure):
    save, calls = torch.save, []

    def full(content, path, *args, **kwargs):
        calls.append(path)
        if len(calls) > 2 * EPOCHS:
            raise failure
        return save(content, path, *args, **kwargs)

    monkeypatch.setattr(torch, "save", full)
    stopped = piq_job.run()
    assert stopped.code == 2
    assert "make room" in stopped.line
    assert not (piq_job.folder / "interpreter").exists()
    assert tiny.leftovers(piq_job.folder) == []
    monkeypatch.undo()
    assert piq_job.run().code == 0
    assert tiny.log_epochs(piq_job.folder) == [1, 2, 3]
    tiny.assert_same_run(piq_job.folder, piq_job.reference)


# ---- Damaged ----


def test_a_damaged_checkpoint_is_named(classifier_job):
    shutil.copytree(classifier_job.reference, classifier_job.folder)
    for path in (classifier_job.folder / "save").glob("CKPT*/classifier.ckpt"):
        os.truncate(path, 100)
    stopped = classifier_job.run(number_of_epochs=4)
    assert stopped.code == 2
    assert "damaged" in stopped.line
    assert "CKPT+" in stopped.line
    assert "delete that folder" in stopped.line


# ---- Finished ----


def test_a_finished_run_is_not_done_again(job):
    shutil.copytree(job.reference, job.folder)
    model = job.folder / ("interpreter" if job.name == "interpreter" else "classifier")
    before = {path: path.stat().st_mtime_ns for path in [*model.rglob("*"), *(job.folder / "save").rglob("*")]}
    again = job.run()
    assert again.code == 0
    assert f"already trained for {EPOCHS} epochs" in again.out
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert tiny.log_epochs(job.folder) == [1, 2, 3]


def test_more_epochs_go_on_from_the_last(job):
    shutil.copytree(job.reference, job.folder)
    more = job.run(number_of_epochs=EPOCHS + 1)
    assert more.code == 0, more.err
    assert tiny.log_epochs(job.folder) == [1, 2, 3, 4]
    (description,) = job.folder.glob("*/[ci]*r.json")
    assert json.loads(description.read_text("utf-8"))["training"]["epochs"] == EPOCHS + 1


def test_fewer_epochs_than_were_trained_are_refused(job):
    shutil.copytree(job.reference, job.folder)
    fewer = job.run(number_of_epochs=1)
    assert fewer.code == 2
    assert f"holds {EPOCHS} epochs, number_of_epochs is 1" in fewer.line
    (description,) = job.folder.glob("*/[ci]*r.json")
    assert json.loads(description.read_text("utf-8"))["training"]["epochs"] == EPOCHS


# ---- Other settings ----


def everything(folder):
    """Content of all files of a run but the logs, which may grow, and the manifests, which follow the data."""
    return {
        path: path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != "log.txt" and path.parent.name != "manifests"
    }


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("seed", 7, "seed: 1234, now 7"),
        ("lr", 0.5, "lr: 0.002, now 0.5"),
        ("weight_decay", 0.5, "weight_decay: "),
        ("batch_size", 3, "batch_size: 2, now 3"),
        ("selection_mode", None, "selection_mode: "),
        ("selection_key", None, "selection_key: "),
        ("clip_seconds", 0.3, "clip_seconds: 5.0, now 0.3"),
        ("fixed_length", True, "fixed_length: false, now true"),
    ],
)
@pytest.mark.parametrize("epochs", [EPOCHS, EPOCHS + 1])
def test_training_on_with_another_setting_is_refused(job, name, value, said, epochs):
    if name == "selection_mode":
        value = "min" if job.name == "classifier" else "max"
    if name == "selection_key":
        value = "loss" if job.name == "classifier" else "fid_in"
    shutil.copytree(job.reference, job.folder)
    before = everything(job.folder)
    refused = job.run(**{name: value, "number_of_epochs": epochs})
    assert refused.code == 2
    assert f"holds a run with another {name} (" in refused.line
    assert said in refused.line
    assert "give another output_folder" in refused.line
    assert everything(job.folder) == before


def test_training_on_with_another_augmentation_is_refused(classifier_job):
    shutil.copytree(classifier_job.reference, classifier_job.folder)
    refused = classifier_job.run(augmentation="{mixup_alpha: 0.9}")
    assert refused.code == 2
    assert 'augmentation: {"mixup_alpha": 0.4}, now {"mixup_alpha": 0.9}' in refused.line


def test_what_does_not_decide_the_result_may_change(classifier_job):
    shutil.copytree(classifier_job.reference, classifier_job.folder)
    assert classifier_job.run(num_workers=1, cache_folder="null", skip_bad_clips=True).code == 0


# ---- Evaluation ----


def evaluate(job, **settings):
    return tiny.run("evaluate", job.data, job.folder, classifier_folder=job.settings["classifier_folder"], **settings)


def test_an_evaluation_leaves_the_training_as_it_is(piq_job):
    shutil.copytree(piq_job.reference, piq_job.folder)
    before = everything(piq_job.folder)
    log = (piq_job.folder / "log.txt").read_bytes()
    times = {path: path.stat().st_mtime_ns for path in (piq_job.folder / "interpreter").rglob("*")}
    # Other batches, rates and worker processes are no other evaluation.
    outcome = evaluate(piq_job, batch_size=3, lr=0.5, weight_decay=0.5, num_workers=1)
    assert outcome.code == 0, outcome.err
    after = everything(piq_job.folder)
    assert {path: after[path] for path in before} == before
    assert (piq_job.folder / "log.txt").read_bytes() == log
    assert {path: path.stat().st_mtime_ns for path in times} == times
    evaluation_folder = piq_job.folder / "evaluation"
    assert {path.parent for path in after.keys() - before.keys()} == {evaluation_folder}
    assert {path.name for path in evaluation_folder.iterdir()} == {*ARCHIVE, "clips.jsonl", "summary.json", "table.md"}
    assert "\nlr: 0.5" in (evaluation_folder / "hyperparams.yaml").read_text("utf-8")
    provenance = json.loads((evaluation_folder / "summary.json").read_text("utf-8"))["provenance"]
    assert (provenance["clip_seconds"], provenance["fixed_length"]) == (5.0, False)
    description = json.loads((piq_job.folder / "interpreter" / "interpreter.json").read_text("utf-8"))
    assert provenance["training"] == description["training"]


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"seed": 7}, "seed: 1234, now 7"),
        ({"selection_key": "fid_in"}, 'selection_key: "loss", now "fid_in"'),
        ({"clip_seconds": 0.3}, "clip_seconds: 5.0, now 0.3"),
        ({"fixed_length": True}, "fixed_length: false, now true"),
        ({"codebook_size": 15}, 'settings: {"codebook_size": 12}, now {"codebook_size": 15}'),
        ({"test_folds": 2, "valid_folds": 3}, "data: "),
    ],
)
def test_an_evaluation_of_something_else_is_refused(piq_job, settings, said):
    shutil.copytree(piq_job.reference, piq_job.folder)
    assert evaluate(piq_job).code == 0
    before = everything(piq_job.folder)
    refused = evaluate(piq_job, **settings)
    assert refused.code == 2
    assert said in refused.line
    assert everything(piq_job.folder) == before


def test_an_interpreter_of_fewer_epochs_is_saved_again(piq_job):
    shutil.copytree(piq_job.reference, piq_job.folder)
    description = piq_job.folder / "interpreter" / "interpreter.json"
    content = json.loads(description.read_text("utf-8"))
    content["training"]["epochs"] -= 1
    description.write_text(json.dumps(content), "utf-8")
    assert evaluate(piq_job).code == 0
    assert json.loads(description.read_text("utf-8"))["training"]["epochs"] == EPOCHS
    shutil.rmtree(description.parent)
    assert evaluate(piq_job).code == 0
    tiny.assert_same_run(piq_job.folder, piq_job.reference)


def test_examples_appear_together(piq_job, monkeypatch):
    shutil.copytree(piq_job.reference, piq_job.folder)
    save, calls = Explanation.save, []

    def stop_at_second(*args, **kwargs):
        calls.append(args)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return save(*args, **kwargs)

    monkeypatch.setattr(Explanation, "save", stop_at_second)
    assert evaluate(piq_job, n_examples=2).code == 130
    assert not (piq_job.folder / "examples").exists()
    assert tiny.leftovers(piq_job.folder) == []
    assert evaluate(piq_job, n_examples=2).code == 0
    assert len(list((piq_job.folder / "examples").iterdir())) == 2


def test_evaluating_an_unfinished_run_leaves_it_unfinished(piq_job, monkeypatch):
    def stop(self, batch, fit_batch=runner.ResumableBrain.fit_batch):
        if self.epoch == 2:
            raise KeyboardInterrupt
        return fit_batch(self, batch)

    with monkeypatch.context() as patch:
        patch.setattr(runner.ResumableBrain, "fit_batch", stop)
        assert piq_job.run().code == 130
    settings = {"classifier_folder": piq_job.settings["classifier_folder"], "number_of_epochs": 40}
    evaluated = tiny.run("evaluate", piq_job.data, piq_job.folder, **settings)
    assert evaluated.code == 0, evaluated.err
    description = json.loads((piq_job.folder / "interpreter" / "interpreter.json").read_text("utf-8"))
    assert description["training"]["epochs"] == 1
    resumed = piq_job.run()
    assert "already trained" not in resumed.out
    tiny.assert_same_run(piq_job.folder, piq_job.reference)


def test_an_interrupted_evaluation_goes_on(piq_job, monkeypatch):
    monkeypatch.setattr(runner, "commit", lambda: "0" * 40)
    folder = piq_job.folder
    shutil.copytree(piq_job.reference, folder)

    def evaluate():
        return tiny.run("evaluate", piq_job.data, folder, classifier_folder=piq_job.settings["classifier_folder"])

    measure, calls = evaluation._measure, []

    def stop_at_second(*args):
        calls.append(args)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return measure(*args)

    whole = evaluate()
    assert whole.code == 0, whole.err
    expected = {name: (folder / "evaluation" / name).read_bytes() for name in ("table.md", "clips.jsonl")}
    shutil.rmtree(folder / "evaluation")

    monkeypatch.setattr(evaluation, "_measure", stop_at_second)
    stopped = evaluate()
    assert stopped.code == 130
    assert stopped.line.startswith("interrupted:")
    assert {path.name for path in (folder / "evaluation").iterdir()} == {*ARCHIVE, "clips.partial.jsonl"}
    # A kill can also cut the last line.
    with open(folder / "evaluation" / "clips.partial.jsonl", "a", encoding="utf-8") as stream:
        stream.write('{"clip": "hi')
    resumed = evaluate()
    assert resumed.code == 0, resumed.err
    assert len(calls) == 2 + 2  # 3 batches, of which the first was not measured again
    assert {name: (folder / "evaluation" / name).read_bytes() for name in expected} == expected
    assert not (folder / "evaluation" / "clips.partial.jsonl").exists()
