"""A run's folder belongs to its settings: others are refused, with what differs in the line."""

import json
import shutil

import pytest
import soundfile
import tiny

from interpretability.errors import UserError
from interpretability.files import LISTING
from interpretability.frontend import FrontendSettings
from interpretability.training.record import keep_record


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
        ("channel", "left", 'channel: "mean", now "left"'),
    ],
)
@pytest.mark.parametrize("more", [0, 1])
@pytest.mark.slow
def test_training_on_with_another_setting_is_refused(job, name, value, message, more):
    if name == "selection_mode":
        value = "min" if job.name == "classifier" else "max"
    if name == "selection_key":
        value = "loss" if job.name == "classifier" else "fid_in"
    shutil.copytree(job.reference, job.folder)
    before = job.contents()
    refused = job.run(**{name: value, "number_of_epochs": job.EPOCHS + more})
    assert refused.code == 2
    assert f"holds a run that differs in {name} (" in refused.line
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


def test_a_record_from_before_there_was_a_choice_is_that_of_what_was_done(tmp_path):
    older = {"job": "classifier", "labels": ["a", "b"], "seed": 1}
    older |= {"frontend": {"sample_rate": 8000}, "data": {"name": "Small"}}
    (tmp_path / "run.json").write_text(json.dumps(older), "utf-8")
    front_end = FrontendSettings(sample_rate=8000, resampling="published").to_dict()
    data = {"name": "Small", "content": "ab"}
    record = {**older, "channel": "mean", "heard_share": 0.0, "frontend": front_end, "data": data}
    keep_record(tmp_path, record, binds=True)
    for name, value in (
        ("channel", "left"),
        ("heard_share", 0.5),
        ("frontend", {**front_end, "resampling": "accurate"}),
        ("frontend", {**front_end, "sample_rate": 16000}),
        ("data", {"name": "Large", "content": "ab"}),
    ):
        with pytest.raises(UserError, match=f"holds a run that differs in {name}"):
            keep_record(tmp_path, {**record, name: value}, binds=True)


# ---- Data ----


def another_sound(data):
    path = data / "audio" / "low-0.wav"
    samples, rate = soundfile.read(path)
    soundfile.write(path, samples[::-1], rate)


def another_label(data):
    table = data / "meta" / "esc50.csv"
    table.write_text(table.read_text().replace("low-0.wav,1,0,low", "low-0.wav,1,2,high"))


def another_length(data):
    path = data / "audio" / "high-2.wav"  # a test clip
    samples, rate = soundfile.read(path)
    soundfile.write(path, samples[:-100], rate)


@pytest.mark.parametrize("change", [another_sound, another_label, another_length], ids=lambda change: change.__name__)
@pytest.mark.slow
def test_other_data_under_the_same_names_are_refused(job, tiny_esc50, tmp_path, change):
    """A run goes on with, and is measured on, the data it was made with; names and numbers of clips do not tell."""
    shutil.copytree(job.reference, job.folder)
    before = job.contents()
    original, job.data = job.data, shutil.copytree(tiny_esc50, tmp_path / "data")
    change(job.data)
    calls = [lambda: job.run(number_of_epochs=job.EPOCHS + 1)]
    if job.name == "interpreter":
        calls.append(job.evaluate)
    for call in calls:
        refused = call()
        assert refused.code == 2
        assert "holds a run that differs in data (data: other sounds, lengths or labels under" in refused.line
        assert {path: content for path, content in job.contents().items() if path.name != LISTING} == {
            path: content for path, content in before.items() if path.name != LISTING
        }
    # The same data elsewhere are the same.
    job.data = shutil.copytree(original, tmp_path / "moved")
    assert job.run().code == 0


def test_a_record_from_before_data_had_an_identity_counts(piq_job):
    shutil.copytree(piq_job.reference, piq_job.folder)
    path = piq_job.folder / "run.json"
    record = json.loads(path.read_text())
    del record["data"]["content"]
    path.write_text(json.dumps(record))
    assert piq_job.run().code == 0
    record["data"]["name"] = "another"
    path.write_text(json.dumps(record))
    assert "differs in data" in piq_job.run().line


# ---- When it binds ----


@pytest.mark.slow
def test_a_training_that_failed_keeps_its_folder_from_no_other(job):
    """Nothing was trained: another rate, another batch size and another network may follow."""
    network = {"method__channels": 4} if job.name == "interpreter" else {"classifier.channels": [2, 2, 2, 2]}
    failed = job.run(lr=1e30, batch_size=3, **network)
    assert "lower lr" in failed.line
    assert (job.folder / "run.json").is_file()
    assert job.run(number_of_epochs=1).code == 0
    assert "holds a run that differs in lr" in job.run(lr=0.5).line


# ---- The model that was saved ----


def cut(path):
    path.write_bytes(path.read_bytes()[:-100])


def flipped(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(bytes(content))


@pytest.mark.parametrize(("name", "damage"), [("weights.pt", flipped), ("json", cut)])
def test_a_damaged_model_of_a_finished_run_is_saved_again_from_its_checkpoints(job, name, damage):
    shutil.copytree(job.reference, job.folder)
    kind = "interpreter" if job.name == "interpreter" else "classifier"
    name = f"{kind}.json" if name == "json" else name
    damage(job.folder / kind / name)
    again = job.run()
    assert again.code == 0, again.err
    assert "already trained" not in again.out
    assert f"It is moved to {job.folder / kind}.damaged1, and saved again from the checkpoints" in again.out
    weights = [tiny.torch.load(folder / kind / "weights.pt") for folder in (job.folder, job.reference)]
    assert weights[0].keys() == weights[1].keys()
    assert all(tiny.torch.equal(value, weights[1][key]) for key, value in weights[0].items())


def test_a_setting_that_came_later_was_as_its_default_is(tmp_path):
    older = {"job": "interpreter", "labels": ["a"], "method": "lmac", "settings": {"l1_weight": 4.0}, "seed": 1}
    older |= {"frontend": FrontendSettings().to_dict(), "data": {"name": "Small", "content": "ab"}}
    (tmp_path / "run.json").write_text(json.dumps(older), "utf-8")
    record = {**older, "channel": "mean", "heard_share": 0.0}
    keep_record(tmp_path, {**record, "settings": {"l1_weight": 4.0, "stretch": 0.0}}, binds=True)
    with pytest.raises(UserError, match="holds a run that differs in settings"):
        keep_record(tmp_path, {**record, "settings": {"l1_weight": 4.0, "stretch": 0.1}}, binds=True)
