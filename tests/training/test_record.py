"""A run's folder belongs to its settings: others are refused, with what differs in the line."""

import shutil

import pytest
import tiny


def test_a_finished_run_is_not_done_again(job):
    shutil.copytree(job.reference, job.folder)
    model = job.folder / ("interpreter" if job.name == "interpreter" else "classifier")
    before = {path: path.stat().st_mtime_ns for path in [*model.rglob("*"), *(job.folder / "save").rglob("*")]}
    again = job.run()
    assert again.code == 0
    assert f"already trained for {job.EPOCHS} epochs" in again.out
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert tiny.log_epochs(job.folder) == [1, 2, 3]


@pytest.mark.parametrize(
    ("name", "value", "message"),
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
@pytest.mark.parametrize("more", [0, 1])
def test_training_on_with_another_setting_is_refused(job, name, value, message, more):
    if name == "selection_mode":
        value = "min" if job.name == "classifier" else "max"
    if name == "selection_key":
        value = "loss" if job.name == "classifier" else "fid_in"
    shutil.copytree(job.reference, job.folder)
    before = job.contents()
    refused = job.run(**{name: value, "number_of_epochs": job.EPOCHS + more})
    assert refused.code == 2
    assert f"holds a run with another {name} (" in refused.line
    assert message in refused.line
    assert "give another output_folder" in refused.line
    assert job.contents() == before


def test_training_on_with_another_augmentation_is_refused(classifier_job):
    shutil.copytree(classifier_job.reference, classifier_job.folder)
    refused = classifier_job.run(augmentation="{mixup_alpha: 0.9}")
    assert refused.code == 2
    assert 'augmentation: {"mixup_alpha": 0.4}, now {"mixup_alpha": 0.9}' in refused.line


def test_what_does_not_decide_the_result_may_change(classifier_job):
    shutil.copytree(classifier_job.reference, classifier_job.folder)
    assert classifier_job.run(num_workers=1, cache_folder="null", skip_bad_clips=True).code == 0
