"""A run's folder: the user's files in it stay, one process works there at a time, and trials leave nothing."""

import json
import os
import shutil
import signal

import pytest
import tiny

from interpretability.errors import UserError
from interpretability.files import LISTING
from interpretability.training.workspace import LOCK, locked


def contents(folder):
    """Content of every file, and the names of all folders."""
    return {
        path.relative_to(folder): path.read_bytes() if path.is_file() else None for path in sorted(folder.rglob("*"))
    }


# ---- Files of the user ----

#: Job -> what it would replace in its output folder, if no run had written it: a file, or a file in a folder.
OF_THE_USER = {
    "classifier": (
        "classifier/notes.txt",
        "manifests/train.json",
        "save/mine.ckpt",
        "tensorboard/mine",
        "train_log.txt",
        "log.txt",
        "hyperparams.yaml",
        "env.log",
        "train_classifier.py",
        "run.json",
        LISTING,
    ),
    "interpreter": ("interpreter/weights.pt", "manifests/labels.json", "train_piq.py", "save/mine.ckpt"),
    "dictionary": ("dictionary/dictionary.pt", "dictionary/hyperparams.yaml", "manifests/train.json"),
}


@pytest.mark.parametrize(("job", "name"), [(job, name) for job, names in OF_THE_USER.items() for name in names])
def test_what_no_run_has_written_is_not_replaced(job, name, tiny_esc50, tiny_classifier_folder, tmp_path):
    """Whatever lies there under a name that the job writes: one line, and every byte stays."""
    folder = tmp_path / "run"
    (folder / name).parent.mkdir(parents=True)
    (folder / name).write_text("of the user")
    before = contents(folder)
    settings = {} if job == "classifier" else {"classifier_folder": tiny_classifier_folder}
    outcome = tiny.run(job, tiny_esc50, folder, **settings)
    assert outcome.code == 2
    assert name.split("/")[0] in outcome.line
    assert "move" in outcome.line
    assert contents(folder) == before


@pytest.mark.parametrize("name", ["evaluation/table.md", "examples/notes.txt", "interpreter/notes.txt"])
def test_an_evaluation_replaces_nothing_that_no_run_has_written(piq_job, name):
    kept = shutil.ignore_patterns("interpreter") if name.startswith("interpreter") else None
    shutil.copytree(piq_job.reference, piq_job.folder, ignore=kept)
    (piq_job.folder / name).parent.mkdir(exist_ok=True)
    (piq_job.folder / name).write_text("of the user")
    before = piq_job.contents()
    outcome = piq_job.evaluate(n_examples=1)
    assert outcome.code == 2
    assert "move that away" in outcome.line
    after = piq_job.contents()
    before[piq_job.folder / LISTING] = after[piq_job.folder / LISTING]  # in which the evaluation is now
    assert {path: after[path] for path in before} == before


def test_a_file_put_into_a_finished_model_stays(classifier_job):
    """It is refused before the training that would replace the model, and not after it."""
    shutil.copytree(classifier_job.reference, classifier_job.folder)
    (classifier_job.folder / "classifier" / "notes.txt").write_text("of the user")
    before = classifier_job.contents()
    refused = classifier_job.run(number_of_epochs=4)
    assert "holds 'notes.txt'" in refused.line
    after = classifier_job.contents()
    archived = classifier_job.folder / "hyperparams.yaml"
    assert after.pop(archived) != before.pop(archived)
    assert after == before


@pytest.mark.slow
def test_other_files_of_the_user_are_no_obstacle(classifier_job):
    classifier_job.folder.mkdir()
    (classifier_job.folder / "notes.txt").write_text("of the user")
    assert classifier_job.run(number_of_epochs=1).code == 0
    assert classifier_job.run(number_of_epochs=2).code == 0
    assert (classifier_job.folder / "notes.txt").read_text() == "of the user"


def test_a_run_of_an_earlier_version_is_known_by_its_record(piq_job):
    shutil.copytree(piq_job.reference, piq_job.folder)
    (piq_job.folder / LISTING).unlink()
    assert "already trained" in piq_job.run().out


# ---- One process at a time ----


def in_another_process(folder):
    """Hold the lock of a folder in a process of its own; return its number."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        with locked(folder):
            os.write(writer, b"held")
            signal.pause()
        os._exit(0)
    os.read(reader, 4)
    os.close(reader)
    os.close(writer)
    return child


def test_a_second_process_is_refused_and_a_dead_one_holds_nothing(piq_job):
    shutil.copytree(piq_job.reference, piq_job.folder)
    child = in_another_process(piq_job.folder)
    try:
        before = contents(piq_job.folder)
        for refused in (piq_job.run(number_of_epochs=4), piq_job.evaluate()):
            assert f"another process, pid {child} on host {os.uname().nodename}, is writing in" in refused.line
            assert "wait until it has finished, or give another output_folder" in refused.line
        assert contents(piq_job.folder) == before
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    assert (piq_job.folder / LOCK).is_file()
    assert piq_job.run().code == 0
    assert not (piq_job.folder / LOCK).exists()


@pytest.mark.parametrize("kind", ["text", "folder", "link"])
def test_a_file_of_the_user_in_the_place_of_the_lock_stays(tmp_path, kind):
    path = tmp_path / LOCK
    if kind == "text":
        path.write_text("of the user")
    elif kind == "folder":
        path.mkdir()
    else:
        (tmp_path / "target").write_text("of the user")
        path.symlink_to(tmp_path / "target")
    before = contents(tmp_path)
    with pytest.raises(UserError, match="is no lock of this program"), locked(tmp_path):
        pass
    assert contents(tmp_path) == before


# ---- Left-overs ----


def test_a_later_run_removes_what_a_killed_one_left(classifier_job):
    shutil.copytree(classifier_job.reference, classifier_job.folder)
    left = [classifier_job.folder / part / ".partial-here-1-01234567-abc" for part in ("", "manifests", "../cache")]
    for path in left:
        path.parent.mkdir(exist_ok=True)
        path.write_text("half")
        os.utime(path, (0, 0))
    assert classifier_job.run(number_of_epochs=4).code == 0
    assert tiny.leftovers(classifier_job.folder.parent) == []


# ---- Trials ----


@pytest.mark.parametrize("name", ["classifier", "interpreter", "dictionary", "amortised"])
@pytest.mark.slow
def test_a_trial_leaves_nothing_and_the_same_command_then_trains(name, tiny_esc50, tiny_classifier_folder, tmp_path):
    """--debug tries every job, and none of them takes its model for a trained one afterwards."""
    job = "dictionary" if name == "amortised" else name
    settings = {"classifier_folder": tiny_classifier_folder, "number_of_epochs": 2}
    if job == "classifier":
        del settings["classifier_folder"]
    if name == "amortised":
        settings |= {"dictionary__algorithm": "amortised", "dictionary__hidden": [8, 8]}
    folder = tmp_path / "run"
    trial = tiny.run(job, tiny_esc50, folder, **settings, debug=None, debug_batches=1, debug_epochs=1)
    assert trial.code == 0, trial.err
    assert "that was a trial (--debug: 1 batches, 1 epochs at most); nothing of it is kept" in trial.out
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cache"]
    trained = tiny.run(job, tiny_esc50, folder, **settings)
    assert trained.code == 0, trained.err
    assert "already" not in trained.out
    if name != "dictionary":
        assert tiny.log_epochs(folder / "dictionary" if name == "amortised" else folder) == [1, 2]


def test_a_trial_beside_a_finished_run_leaves_it_as_it_is(piq_job):
    shutil.copytree(piq_job.reference, piq_job.folder)
    before = contents(piq_job.folder)
    trial = {"debug": None, "debug_batches": 1, "debug_epochs": 1}
    trained = piq_job.run(number_of_epochs=4, **trial)
    assert trained.code == 0, trained.err
    assert "nothing of it is kept" in trained.out
    assert contents(piq_job.folder) == before
    assert sorted(path.name for path in piq_job.folder.parent.iterdir()) == ["cache", "run"]
    evaluated = piq_job.evaluate(**trial, debug_persistently=None)
    assert evaluated.code == 0, evaluated.err
    assert "it is kept in" in evaluated.out
    assert contents(piq_job.folder) == before
    summary = json.loads((piq_job.folder.parent / "run.debug" / "evaluation" / "summary.json").read_text())
    assert summary["n"] == 2
