"""A run that is stopped, however abruptly, and started again gives the same result."""

import errno
import json
import os
import shutil
import signal
import time

import pytest
import speechbrain.utils.checkpoints as checkpoint_module
import tiny
import torch
import yaml

from interpretability.errors import UserError
from interpretability.training.brain import ResumableBrain
from interpretability.training.checkpoints import AtomicCheckpointer


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


@pytest.mark.slow
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


class Counter:
    """Something to save and to load: a number."""

    value = 0

    def save(self, path):
        path.write_text(str(self.value))

    def load(self, path, end_of_epoch):
        self.value = int(path.read_text())


def checkpointer(folder):
    counter = Counter()
    hooks = {"custom_save_hooks": {"counter": Counter.save}, "custom_load_hooks": {"counter": Counter.load}}
    return AtomicCheckpointer(folder, {"counter": counter}, **hooks), counter


def save_epochs(folder, losses):
    """Save a checkpoint after each epoch, without removing any; return their folders."""
    saver, counter = checkpointer(folder)
    paths = []
    for epoch, loss in enumerate(losses, 1):
        counter.value = epoch
        paths.append(saver.save_checkpoint(meta={"epoch": float(epoch), "loss": loss}).path)
    return paths


META = "end-of-epoch: true\nepoch: {epoch}\nloss: 0.1\nunixtime: 1.0\n"
DAMAGED = {
    "empty": b"",
    "not UTF-8": b"\xff\xfe\x00",
    "zeros": b"\0" * 100,
    "cut off": b"end-of-epoch: tr",
    "not YAML": b"{: [",
    "no date and nothing else": b"loss: 0.1\n",
    "no epoch": b"end-of-epoch: true\nloss: 0.1\nunixtime: 1.0\n",
    "no end-of-epoch": b"epoch: 3.0\nloss: 0.1\nunixtime: 1.0\n",
    "end-of-epoch of another type": META.format(epoch=3).replace("true", "1").encode(),
    "an epoch of text": META.format(epoch="'3'").encode(),
    "an epoch of null": META.format(epoch="null").encode(),
    "an epoch that is a list": META.format(epoch="[3]").encode(),
    "an epoch that is NaN": META.format(epoch=".nan").encode(),
    "a loss of text": META.format(epoch=3).replace("0.1", "low").encode(),
    "a loss that is infinite": META.format(epoch=3).replace("0.1", "-.inf").encode(),
    "a date": META.format(epoch="2020-01-01").encode(),
    "a list": b"[1, 2]",
    "a number": b"3",
    "a tag": b"!!python/object/apply:os.getpid []",
    "deeply nested": b"[" * 50_000,
    "very long": b"a" * 1_000_000,
}


@pytest.mark.parametrize("kind", DAMAGED)
def test_a_checkpoint_with_damaged_metadata_is_left_out(tmp_path, caplog, kind):
    """Whether the newest or the best is looked for, removed or loaded: an older one is taken, which is said once."""
    save = tmp_path / "save"
    first, second, third = save_epochs(save, [0.3, 0.2, 0.1])
    (third / "CKPT.yaml").write_bytes(DAMAGED[kind])
    loader, counter = checkpointer(save)
    assert loader.recover_if_possible().path == second
    assert counter.value == 2
    assert loader.find_checkpoint(min_key="loss").path == second
    loader.clean(min_keys=["loss"])
    assert not first.exists()
    assert third.exists()  # what cannot be read is not removed
    (warning,) = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert warning.startswith(f"{third / 'CKPT.yaml'}: ")
    (second / "CKPT.yaml").write_bytes(DAMAGED[kind])
    with pytest.raises(UserError, match=r"no other checkpoint is there: delete .* to train from the start"):
        loader.recover_if_possible()


# ---- Clocks, and what a kill leaves ----


@pytest.mark.parametrize("back", [3600, 30 * 86_400])
def test_a_clock_that_goes_back_does_not_decide_which_checkpoint_is_the_newest(tmp_path, monkeypatch, back):
    clock = iter(1.8e9 - back * step for step in range(1000))
    monkeypatch.setattr(time, "time", lambda: next(clock))
    paths = save_epochs(tmp_path / "save", [0.2, 0.3, 0.2, 0.4])
    loader, counter = checkpointer(tmp_path / "save")
    assert loader.recover_if_possible().path == paths[3]
    assert counter.value == 4
    # Of equally good ones, the later: as with a clock that goes on.
    assert loader.find_checkpoint(min_key="loss").path == paths[2]
    counter.value = 5
    loader.save_and_keep_only(meta={"epoch": 5.0, "loss": 0.5}, min_keys=["loss"])
    assert sorted(int((path / "counter.ckpt").read_text()) for path in (tmp_path / "save").iterdir()) == [3, 5]


def test_epochs_run_once_though_the_clock_goes_back(classifier_job, monkeypatch):
    clock = iter(1.8e9 - 1000 * step for step in range(100_000))
    assert classifier_job.run(number_of_epochs=2).code == 0
    monkeypatch.setattr(checkpoint_module.time, "time", lambda: next(clock))
    assert classifier_job.run().code == 0
    assert tiny.log_epochs(classifier_job.folder) == [1, 2, 3]


def test_within_an_epoch_the_step_decides(tmp_path):
    saver, _ = checkpointer(tmp_path / "save")
    expected = []
    for epoch, step in ((1, 1), (1, 2), (1, None), (2, 1), (2, 10)):
        meta = {"epoch": float(epoch)} if step is None else {"in_epoch": epoch, "step": step}
        expected.append(saver.save_checkpoint(meta=meta, end_of_epoch=step is None).path)
        assert saver.find_checkpoint().path == expected[-1]
    assert [one.path for one in saver.find_checkpoints()] == expected[::-1]
    saver.clean(min_keys=["epoch"])
    # The newest, and the newest and the best at the end of an epoch.
    assert {one.path for one in saver.find_checkpoints()} == {expected[2], expected[4]}


def test_what_a_killed_process_left_among_the_checkpoints_is_removed(classifier_job, monkeypatch):
    """A checkpoint that a better one had replaced, and one that was being written; and lines of an epoch done again."""

    def stop(self, batch, fit_batch=ResumableBrain.fit_batch):
        if self.epoch == 3:
            raise KeyboardInterrupt
        return fit_batch(self, batch)

    with monkeypatch.context() as patch:
        patch.setattr(ResumableBrain, "fit_batch", stop)
        assert classifier_job.run().code == 130
    save = classifier_job.folder / "save"
    newest = max(save.iterdir(), key=lambda path: path.name)
    superseded = shutil.copytree(newest, save / "CKPT+2000-01-01+00-00-00+00")
    meta = yaml.safe_load((newest / "CKPT.yaml").read_text())
    worse = {"loss": 1e9, "accuracy": -1.0}
    text = yaml.safe_dump({**meta, "epoch": 1.0, **{name: value for name, value in worse.items() if name in meta}})
    (superseded / "CKPT.yaml").write_text(text)
    shutil.copytree(newest, save / "partial+CKPT+2000-01-01+00-00-00+01")
    backup = shutil.copytree(superseded, save / "CKPT+backup")
    log = classifier_job.folder / "train_log.txt"
    whole = log.read_text()
    log.write_text(f"{whole}{whole.splitlines()[-1].replace('epoch: 2', 'epoch: 3')}\nepoch: 4, lr: 1.0e-")
    assert classifier_job.run().code == 0
    assert tiny.log_epochs(classifier_job.folder) == [1, 2, 3]
    assert not superseded.exists()
    assert backup.exists()  # of the user
    assert tiny.leftovers(classifier_job.folder) == []
    assert len(checkpoints(classifier_job.folder)) <= 3
    tiny.assert_same_run(classifier_job.folder, classifier_job.reference)


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
