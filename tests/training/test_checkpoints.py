"""A run that is stopped, however abruptly, and started again gives the same result."""

import errno
import json
import os
import shutil
import signal

import pytest
import tiny
import torch

from interpretability.training.brain import ResumableBrain


def checkpoints(folder):
    return sorted(path.name for path in (folder / "save").iterdir())


# ---- Killed ----


@pytest.mark.slow
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


@pytest.mark.slow
def test_checkpoints_in_the_middle_of_an_epoch(piq_job):
    killed = piq_job.hit("fit", 2, 3, signal.SIGKILL, ckpt_interval_steps=1)
    assert killed.code == -signal.SIGKILL, killed.err
    assert len(checkpoints(piq_job.folder)) == 2  # the end of epoch 1, and step 2 of epoch 2
    steps = []

    def noting(self, batch, fit_batch=ResumableBrain.fit_batch):
        steps.append((self.epoch, self.step))
        return fit_batch(self, batch)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ResumableBrain, "fit_batch", noting)
        resumed = piq_job.run(ckpt_interval_steps=1)
    assert resumed.code == 0, resumed.err
    assert steps == [(2, 3), (3, 1), (3, 2), (3, 3)]
    # The log's means over epoch 2 are over all its steps too, those before the kill included.
    log = [(folder / "train_log.txt").read_text("utf-8") for folder in (piq_job.folder, piq_job.reference)]
    assert log[0] == log[1]
    tiny.assert_same_run(piq_job.folder, piq_job.reference)


@pytest.mark.slow
def test_killed_while_saving(classifier_job):
    # Network and optimiser are two files per epoch; the fourth is the optimiser of epoch 2.
    killed = classifier_job.hit("save", 0, 4, signal.SIGKILL)
    assert killed.code == -signal.SIGKILL, killed.err
    assert [name.startswith("partial+CKPT") for name in checkpoints(classifier_job.folder)] == [False, True]
    resumed = classifier_job.run()
    assert resumed.code == 0, resumed.err
    tiny.assert_same_run(classifier_job.folder, classifier_job.reference)
    assert tiny.leftovers(classifier_job.folder) == []


# ---- Interrupted ----


@pytest.mark.slow
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


@pytest.mark.slow
def test_a_file_size_limit_reached_while_a_checkpoint_is_saved(classifier_job):
    # A network whose file is longer than all else that is written.
    classifier_job.settings["classifier.channels"] = [16, 32, 32, 32]
    assert classifier_job.run(number_of_epochs=1).code == 0
    (checkpoint,) = checkpoints(classifier_job.folder)
    limit = (classifier_job.folder / "save" / checkpoint / "classifier.ckpt").stat().st_size // 2
    stopped = classifier_job.hit("limit", 0, 0, limit)
    assert stopped.code == 2
    assert "could not save a checkpoint" in stopped.line
    assert checkpoints(classifier_job.folder) == [checkpoint]
    assert tiny.leftovers(classifier_job.folder) == []
    assert classifier_job.run().code == 0
    assert tiny.log_epochs(classifier_job.folder)[-1] == classifier_job.EPOCHS
    assert checkpoint not in checkpoints(classifier_job.folder)


@pytest.mark.parametrize(
    "failure", [OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), RuntimeError("file write failed")]
)
def test_a_full_disk_while_the_finished_model_is_saved(piq_job, monkeypatch, failure):
    save, calls = torch.save, []

    def full(content, path, *args, **kwargs):
        calls.append(path)
        if len(calls) > 2 * piq_job.EPOCHS:
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


def test_more_epochs_go_on_from_the_last(job):
    shutil.copytree(job.reference, job.folder)
    more = job.run(number_of_epochs=job.EPOCHS + 1)
    assert more.code == 0, more.err
    assert tiny.log_epochs(job.folder) == [1, 2, 3, 4]
    (description,) = job.folder.glob("*/[ci]*r.json")
    assert json.loads(description.read_text("utf-8"))["training"]["epochs"] == job.EPOCHS + 1


def test_fewer_epochs_than_were_trained_are_refused(job):
    shutil.copytree(job.reference, job.folder)
    fewer = job.run(number_of_epochs=1)
    assert fewer.code == 2
    assert f"holds {job.EPOCHS} epochs, number_of_epochs is 1" in fewer.line
    (description,) = job.folder.glob("*/[ci]*r.json")
    assert json.loads(description.read_text("utf-8"))["training"]["epochs"] == job.EPOCHS
