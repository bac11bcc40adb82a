"""What an evaluation measures, leaves alone, resumes and refuses; methods with nothing to train."""

import json
import re
import shutil
from types import SimpleNamespace

import pytest
import tiny
import torch

from interpretability import evaluation
from interpretability.classifiers import load_classifier, save_classifier
from interpretability.errors import UserError
from interpretability.explanation import Explanation
from interpretability.files import LISTING
from interpretability.methods import load_interpreter, save_interpreter
from interpretability.methods.baselines import EnergyMask, RandomMask
from interpretability.training import record, runner
from interpretability.training.brain import ResumableBrain
from interpretability.training.jobs import evaluate as evaluate_job
from interpretability.training.jobs.evaluate import compared_methods
from interpretability.training.leakage import without_seen

ARCHIVE = ("hyperparams.yaml", "evaluate.py", "log.txt", "env.log")


def test_what_a_method_is_compared_with_is_named_or_refused(tmp_path):
    classifier = tiny.listening_classifier(tiny.LABELS)
    method = EnergyMask(classifier, area=0.1)
    save_interpreter(EnergyMask(classifier, area=0.5), tmp_path / "run")
    save_interpreter(EnergyMask(tiny.listening_classifier(["dog", "rain"])), tmp_path / "other")
    rows = ("random 10%", "energy, same area")
    compared = compared_methods(method, ["random 10%", "saliency", "constant"], rows, ["energy"])
    assert list(compared) == ["saliency", "constant"]
    assert compared["saliency"].settings.attribution == "saliency"
    piq = compared_methods(RandomMask(classifier), [str(tmp_path / "run")], rows, ["random"])
    assert piq["energy"].settings.area == 0.5
    other = compared_methods(method, [f"half={tmp_path / 'run'}", "steepest=saliency"], rows, ["energy"])
    assert list(other) == ["half", "steepest"]
    assert other["half"].settings.area == 0.5
    for names, message in {
        ("saliencyy",): "compare_with: no method 'saliencyy'",
        ("piq",): "compare_with: piq has to be trained",
        ("nmf",): "compare_with: nmf has to learn a dictionary first",
        (str(tmp_path / "other"),): "explains another classifier",
        (str(tmp_path / "run"),): "gives a second row energy",
        ("saliency", "saliency"): "gives a second row saliency: give each its own name, NAME=saliency",
        ("random 10%=saliency",): "gives a second row random 10%",
        ("energy, refined=saliency",): "gives a second row energy, refined",
        ("a\nb=saliency",): r"compare_with: the name in .* control characters",
    }.items():
        with pytest.raises(UserError, match=message):
            compared_methods(method, names, rows, ["energy", "energy, refined"])


def test_an_evaluation_writes_no_tensorboard_events(tiny_esc50, tiny_classifier_folder, tiny_piq_run, tmp_path):
    run = shutil.copytree(tiny_piq_run, tmp_path / "run")
    outcome = tiny.run("evaluate", tiny_esc50, run, classifier_folder=tiny_classifier_folder, tensorboard=True)
    assert outcome.code == 0, outcome.err
    assert not (run / "tensorboard").exists()


def test_an_evaluation_leaves_the_training_as_it_is(piq_job):
    shutil.copytree(piq_job.reference, piq_job.folder)
    before = piq_job.contents()
    log = (piq_job.folder / "log.txt").read_bytes()
    times = {path: path.stat().st_mtime_ns for path in (piq_job.folder / "interpreter").rglob("*")}
    # Other batches, rates and worker processes are no other evaluation.
    outcome = piq_job.evaluate(batch_size=3, lr=0.5, weight_decay=0.5, num_workers=1)
    assert outcome.code == 0, outcome.err
    after = piq_job.contents()
    listing = piq_job.folder / LISTING
    assert before.pop(listing) != after[listing]  # the evaluation is in it
    assert {path: after[path] for path in before} == before
    assert (piq_job.folder / "log.txt").read_bytes() == log
    assert {path: path.stat().st_mtime_ns for path in times} == times
    evaluation_folder = piq_job.folder / "evaluation"
    new = {path.relative_to(piq_job.folder).parts[0] for path in after.keys() - before.keys()}
    assert new - {LISTING} == {"evaluation", "predictions.csv", "report"}
    assert {path.name for path in evaluation_folder.iterdir()} == {*ARCHIVE, "clips.jsonl", "summary.json", "table.md"}
    assert "\nlr: 0.5" in (evaluation_folder / "hyperparams.yaml").read_text("utf-8")
    provenance = json.loads((evaluation_folder / "summary.json").read_text("utf-8"))["provenance"]
    assert (provenance["clip_seconds"], provenance["fixed_length"]) == (5.0, False)
    description = json.loads((piq_job.folder / "interpreter" / "interpreter.json").read_text("utf-8"))
    assert provenance["training"] == without_seen(description["training"])


@pytest.mark.slow
def test_the_folder_of_a_run_is_all_that_an_evaluation_needs(
    tiny_esc50, tiny_classifier_folder, tiny_piq_run, tmp_path, monkeypatch
):
    """Data, splits, classifier and settings are known by the run, wherever it lies; what differs is given beside it."""
    moved = shutil.copytree(tiny_piq_run, tmp_path / "a folder <seed>: moved")
    monkeypatch.chdir(tmp_path)
    outcome = tiny.call(runner.main, "evaluate", None, [moved.name, "--batch_size", "3", "--device=cpu"])
    assert outcome.code == 0, outcome.err
    plain = shutil.copytree(tiny_piq_run, tmp_path / "plain")
    settings = {"classifier_folder": tiny_classifier_folder, "number_of_epochs": 3, "batch_size": 3}
    assert tiny.run("evaluate", tiny_esc50, plain, **settings).code == 0
    for name in ("clips.jsonl", "table.md"):
        assert (moved / "evaluation" / name).read_bytes() == (plain / "evaluation" / name).read_bytes()
    text = (moved / "evaluation" / "hyperparams.yaml").read_text("utf-8")
    assert f"classifier_folder: {json.dumps(str(moved / 'interpreter' / 'classifier'))}\n" in text
    refused = tiny.call(runner.main, "evaluate", None, [str(moved), "--seed", "7"])
    assert "seed: 1234, now 7" in refused.line
    assert (
        "the YAML has no 'method'"
        in tiny.call(runner.main, "evaluate", None, [str(tiny_classifier_folder.parent)]).line
    )
    assert "is a folder without a hyperparams.yaml" in tiny.call(runner.main, "evaluate", None, [str(tmp_path)]).line


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"seed": 7}, "seed: 1234, now 7"),
        ({"selection_key": "fid_in"}, 'selection_key: "loss", now "fid_in"'),
        ({"clip_seconds": 0.3}, "clip_seconds: 5.0, now 0.3"),
        ({"fixed_length": True}, "fixed_length: false, now true"),
        ({"method__codebook_size": 15}, 'settings: {"codebook_size": 12}, now {"codebook_size": 15}'),
        ({"test_folds": 2, "valid_folds": 3}, "has seen clips in its training that would measure it here (6 of test, "),
    ],
)
@pytest.mark.slow
def test_an_evaluation_of_something_else_is_refused(piq_job, settings, message):
    shutil.copytree(piq_job.reference, piq_job.folder)
    assert piq_job.evaluate().code == 0
    before = piq_job.contents()
    refused = piq_job.evaluate(**settings)
    assert refused.code == 2
    assert message in refused.line
    assert piq_job.contents() == before


@pytest.mark.slow
def test_an_interpreter_of_fewer_epochs_is_saved_again(piq_job):
    shutil.copytree(piq_job.reference, piq_job.folder)
    description = piq_job.folder / "interpreter" / "interpreter.json"
    saved = load_interpreter(piq_job.folder)
    save_interpreter(saved, description.parent, {**saved.description["training"], "epochs": piq_job.EPOCHS - 1})
    assert piq_job.evaluate().code == 0
    assert json.loads(description.read_text("utf-8"))["training"]["epochs"] == piq_job.EPOCHS
    shutil.rmtree(description.parent)
    assert piq_job.evaluate().code == 0
    tiny.assert_same_run(piq_job.folder, piq_job.reference)


@pytest.mark.slow
def test_examples_appear_together(piq_job, monkeypatch):
    shutil.copytree(piq_job.reference, piq_job.folder)
    save, calls = Explanation.save, []

    def stop_at_second(*args, **kwargs):
        calls.append(args)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return save(*args, **kwargs)

    monkeypatch.setattr(Explanation, "save", stop_at_second)
    assert piq_job.evaluate(n_examples=2).code == 130
    assert not (piq_job.folder / "examples").exists()
    assert tiny.leftovers(piq_job.folder) == []
    assert piq_job.evaluate(n_examples=2).code == 0
    assert len(list((piq_job.folder / "examples").glob("*/explanation.json"))) == 2


def test_examples_stay_in_their_folder_whatever_the_clips_are_called(tmp_path):
    names = ["../x", "/absolute", "..", ".hidden", "a/b", "x" * 5000, "a\nb", "plain"]
    items = [{"id": name, "signal": torch.zeros(8), "label": "a"} for name in names]
    saved = []

    class Explained:
        def save(self, folder, true_label, format):
            assert true_label == "a"
            folder.mkdir(parents=True)
            saved.append(folder)

    interpreter = SimpleNamespace(classifier=torch.nn.Linear(1, 1), explain=lambda wavs, target: Explained())
    evaluate_job._save_examples(interpreter, items, tmp_path / "run" / "examples", len(items))
    assert {folder.parent for folder in saved} == {saved[0].parent}
    assert len({folder.name for folder in saved}) == len(names)
    assert [path.name for path in tmp_path.iterdir()] == ["run"]
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["examples"]
    assert "plain" in {path.name for path in (tmp_path / "run" / "examples").iterdir()}


@pytest.mark.slow
def test_evaluating_an_unfinished_run_leaves_it_unfinished(piq_job, monkeypatch):
    def stop(self, batch, fit_batch=ResumableBrain.fit_batch):
        if self.epoch == 2:
            raise KeyboardInterrupt
        return fit_batch(self, batch)

    with monkeypatch.context() as patch:
        patch.setattr(ResumableBrain, "fit_batch", stop)
        assert piq_job.run().code == 130
    evaluated = piq_job.evaluate(number_of_epochs=40)
    assert evaluated.code == 0, evaluated.err
    description = json.loads((piq_job.folder / "interpreter" / "interpreter.json").read_text("utf-8"))
    assert description["training"]["epochs"] == 1
    resumed = piq_job.run()
    assert "already trained" not in resumed.out
    tiny.assert_same_run(piq_job.folder, piq_job.reference)


@pytest.mark.slow
def test_an_interrupted_evaluation_goes_on(piq_job, monkeypatch):
    monkeypatch.setattr(record, "commit", lambda: "0" * 40)
    folder = piq_job.folder
    shutil.copytree(piq_job.reference, folder)

    measure, calls = evaluation._measure, []

    def stop_at_second(*args):
        calls.append(args)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return measure(*args)

    whole = piq_job.evaluate()
    assert whole.code == 0, whole.err
    expected = {name: (folder / "evaluation" / name).read_bytes() for name in ("table.md", "clips.jsonl")}
    shutil.rmtree(folder / "evaluation")

    monkeypatch.setattr(evaluation, "_measure", stop_at_second)
    stopped = piq_job.evaluate()
    assert stopped.code == 130
    assert stopped.line.startswith("interrupted:")
    assert {path.name for path in (folder / "evaluation").iterdir()} == {*ARCHIVE, "clips.partial.jsonl"}
    # A kill can also cut the last line.
    with open(folder / "evaluation" / "clips.partial.jsonl", "a", encoding="utf-8") as stream:
        stream.write('{"clip": "hi')
    resumed = piq_job.evaluate()
    assert resumed.code == 0, resumed.err
    assert len(calls) == 2 + 2  # 3 batches, of which the first was not measured again
    assert {name: (folder / "evaluation" / name).read_bytes() for name in expected} == expected
    assert not (folder / "evaluation" / "clips.partial.jsonl").exists()


# ---- Methods without anything to train ----


@pytest.fixture
def untrained_yaml(tmp_path):
    """A YAML of a method that is not trained."""
    data, method = tiny.RECIPE / "hparams" / "data.yaml", tiny.REPOSITORY / "hparams" / "method.yaml"
    path = tmp_path / "energy.yaml"
    path.write_text(
        f"extends: [{data}, {method}]\noutput_folder: results\n"
        "method: !name:interpretability.methods.baselines.EnergyMask\n",
        "utf-8",
    )
    return path


@pytest.fixture
def untrained(untrained_yaml, tiny_esc50, tiny_classifier_folder, tmp_path):
    """Run a job with that YAML."""

    def run(job, **settings):
        settings = {
            # (No device is named, as on most command lines.)
            **{key: value for key, value in tiny.COMMON.items() if key not in ("number_of_epochs", "device")},
            "data_folder": tiny_esc50,
            "output_folder": tmp_path / "run",
            "cache_folder": tmp_path / "cache",
            "classifier_folder": tiny_classifier_folder,
            "n_examples": 1,
            "report_clips": 2,
            **settings,
        }
        line = [str(untrained_yaml)]
        for name, value in settings.items():
            line += [f"--{name}"] if value is None else [f"--{name}", str(value)]
        return tiny.call(runner.main, job, str(tiny.RECIPE / tiny.SCRIPTS[job]), line)

    return run


@pytest.mark.slow
def test_a_method_that_is_not_trained_is_evaluated_as_it_is(untrained, tmp_path):
    outcome = untrained("evaluate", compare_with="[random 10%, constant]", figure_format="svg")
    assert outcome.code == 0, outcome.err
    run = tmp_path / "run"
    parts = {"run.json", "interpreter", "evaluation", "examples", "manifests", "predictions.csv", "report", LISTING}
    assert {path.name for path in run.iterdir()} == parts
    interpreter = load_interpreter(run)
    assert (interpreter.NAME, interpreter.settings.to_dict()) == ("energy", {"apply": "log", "area": 0.2})
    assert interpreter.description["training"]["seed"] == 1234
    record = json.loads((run / "run.json").read_text("utf-8"))
    assert (record["method"], record["seed"], record["clip_seconds"]) == ("energy", 1234, 5.0)
    assert "lr" not in record
    places = json.loads((run / "evaluation" / "summary.json").read_text("utf-8"))["places"]
    # It is one of the baselines, and measured just like it.
    assert all(place["energy"] == place["energy top 20%"] for place in places.values())
    assert (run / "evaluation" / "evaluate.py").is_file()
    assert [path.suffix for path in (run / "examples").glob("*/figure.*")] == [".svg"]
    page = run / "evaluation" / "report.html"
    assert str(page) in outcome.out
    assert page.read_text("utf-8").count("<article") == 2  # report_clips

    before = {path: path.stat().st_mtime_ns for path in (run / "interpreter").rglob("*")}
    # What it is compared with stands beside it, on the page and in the table.
    assert len(re.findall('"method": "(?:random 10%|constant)"', page.read_text("utf-8"))) == 4
    assert "| energy - constant |" in (run / "evaluation" / "table.md").read_text("utf-8")
    again = untrained("evaluate", batch_size=5)
    assert again.code == 0, again.err
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert "seed: 1234, now 7" in untrained("evaluate", seed=7).line
    assert "differs in settings" in untrained("evaluate", **{"method.area": 0.3}).line


@pytest.mark.slow
def test_an_evaluation_that_failed_keeps_its_folder_from_no_other(untrained, tmp_path, monkeypatch):
    """Nothing was measured: the method may be given other settings, and its folder is that of those that worked."""

    def fail(*args):
        raise UserError("this method cannot be measured")

    with monkeypatch.context() as patch:
        patch.setattr(evaluation, "_measure", fail)
        assert "cannot be measured" in untrained("evaluate", n_examples=0).line
    other = untrained("evaluate", n_examples=0, **{"method.area": 0.3})
    assert other.code == 0, other.err
    assert load_interpreter(tmp_path / "run").settings.area == 0.3
    assert "differs in settings" in untrained("evaluate", n_examples=0).line


@pytest.mark.slow
def test_masks_are_refined_and_heard_by_a_second_classifier(untrained, tiny_classifier_folder, tmp_path):
    second = load_classifier(tiny_classifier_folder)
    with torch.no_grad():
        second.head.bias += 0.1
    training = second.description["training"]
    save_classifier(second, tmp_path / "second", training)
    settings = {"n_examples": 0, "report_clips": 0, "refine_steps": 1, "places": "[waveform]"}
    outcome = untrained("evaluate", transfer_to=tmp_path / "second", **settings)
    assert outcome.code == 0, outcome.err
    summary = json.loads((tmp_path / "run" / "evaluation" / "summary.json").read_text("utf-8"))
    assert list(summary["places"]) == ["waveform"]
    assert next(iter(summary["places"]["waveform"])) == "energy, refined"
    assert {"energy", "energy top 20%"} < summary["places"]["waveform"].keys()
    assert summary["provenance"]["transfer_to"] != summary["provenance"]["classifier"]
    assert "transfer Fid-In" in (tmp_path / "run" / "evaluation" / "table.md").read_text("utf-8")
    assert load_interpreter(tmp_path / "run").NAME == "energy"
    same = untrained("evaluate", transfer_to=tiny_classifier_folder, **settings)
    assert "the explained classifier itself: name one that was trained apart" in same.line
    training["data"] = {**training["data"], "folds": {"train": [3]}, "content": "of others"}
    save_classifier(second, tmp_path / "leaked", training)
    assert "was trained on folds [3]" in untrained("evaluate", transfer_to=tmp_path / "leaked", **settings).line


@pytest.mark.slow
def test_a_mask_is_not_judged_by_a_classifier_that_it_was_made_for(
    untrained, untrained_yaml, tiny_classifier_folder, tmp_path
):
    second = load_classifier(tiny_classifier_folder)
    with torch.no_grad():
        second.head.bias += 0.1
    save_classifier(second, tmp_path / "second", second.description["training"])
    text = untrained_yaml.read_text("utf-8")
    method = "!name:interpretability.methods.optimised.OptimisedMask\n    steps: 1\n"
    method += f"    also: [{tmp_path / 'second'}]\n"
    untrained_yaml.write_text(text[: text.index("method:")] + f"method: {method}", "utf-8")
    outcome = untrained("evaluate", transfer_to=tmp_path / "second", n_examples=0, report_clips=0)
    assert "which the masks are made for (also)" in outcome.line


def test_a_method_that_is_not_trained_cannot_be_trained(untrained, tmp_path):
    outcome = untrained("interpreter")
    assert outcome.code == 2
    assert "EnergyMask has nothing to train" in outcome.line
    assert "run evaluate.py" in outcome.line
    assert not (tmp_path / "run").exists()


def test_a_yaml_without_a_method(untrained, untrained_yaml):
    text = untrained_yaml.read_text("utf-8")
    untrained_yaml.write_text(text.replace("!name:interpretability.methods.baselines.EnergyMask", "energy"), "utf-8")
    assert "method is 'energy', expected a kind of Interpreter: give method: !name:" in untrained("evaluate").line
    untrained_yaml.write_text(text[: text.index("method:")], "utf-8")
    assert "the YAML has no 'method'" in untrained("evaluate").line


@pytest.mark.slow
def test_a_contrast_is_evaluated_beside_the_classes_or_refused(
    tiny_esc50, tiny_classifier_folder, tiny_piq_run, tmp_path
):
    run = shutil.copytree(tiny_piq_run, tmp_path / "piq")
    known = {"classifier_folder": tiny_classifier_folder, "target": "low - high"}
    outcome = tiny.run("evaluate", tiny_esc50, run, **known)
    assert "piq explains classes, and 'low - high' is none: its keys belong to the classes" in outcome.line
    assert not (run / "evaluation" / "low - high").exists()
    given = {name: value for name, value in tiny.COMMON.items() if value is not None and name != "number_of_epochs"}
    given |= {"data_folder": tiny_esc50, "output_folder": tmp_path / "saliency", "method.attribution": "saliency"}
    line = [f"--{name}={value}" for name, value in (given | known | {"report_clips": 1, "n_examples": 1}).items()]
    outcome = tiny.call(runner.main, "evaluate", None, [str(tiny.RECIPE / "hparams" / "gradients.yaml"), *line])
    assert outcome.code == 0, outcome.err
    folder = tmp_path / "saliency" / "evaluation" / "low - high"
    rows = [json.loads(line) for line in (folder / "clips.jsonl").read_text("utf-8").splitlines()]
    assert {(row["true"], row["explained"]) for row in rows} == {("low", "low - high")}
    assert {row["predicted"] for row in rows} <= {"low", "middle", "high"}
    summary = json.loads((folder / "summary.json").read_text("utf-8"))
    assert summary["provenance"]["target"]["kind"] == "contrast"
    assert "explained: low - high; n: 2" in (folder / "table.md").read_text("utf-8")
    assert (folder / "report.html").is_file()
    (example,) = (folder / "examples").glob("*/explanation.json")
    assert json.loads(example.read_text("utf-8"))["explained"] == "low - high"
    assert not (tmp_path / "saliency" / "examples").exists()  # which is that of the classes
    assert load_interpreter(tmp_path / "saliency").classifier.labels == ["low", "middle", "high"]


@pytest.mark.slow
def test_settings_are_chosen_on_the_validation_clips(untrained, tmp_path):
    """They are measured in a folder of their own, which says so; nothing of the test clips is touched."""
    settings = {"report_clips": 2, "n_examples": 1, "baselines": "[]", "places": "[waveform]"}
    outcome = untrained("evaluate", split="valid", **settings)
    assert outcome.code == 0, outcome.err
    folder = tmp_path / "run" / "evaluation" / "split" / "valid"
    assert not (tmp_path / "run" / "evaluation" / "clips.jsonl").exists()
    assert not (tmp_path / "run" / "predictions.csv").exists()
    manifest = json.loads((tmp_path / "run" / "manifests" / "valid.json").read_text("utf-8"))
    rows = [json.loads(line) for line in (folder / "clips.jsonl").read_text("utf-8").splitlines()]
    assert {row["clip"] for row in rows} == set(manifest)
    assert {(row["split"], tuple(row["valid_folds"])) for row in rows} == {("valid", (2,))}
    assert "validation folds: 2; " in (folder / "table.md").read_text("utf-8")
    assert "Validation clips" in (folder / "report.html").read_text("utf-8")
    assert next(path.name for path in (folder / "examples").iterdir() if path.is_dir()) in manifest
    assert untrained("evaluate", **settings).code == 0
    tested = [json.loads(line) for line in (tmp_path / "run" / "evaluation" / "clips.jsonl").open(encoding="utf-8")]
    assert {row["clip"] for row in tested}.isdisjoint(manifest)
    assert "split is 'train', expected one of test, valid" in untrained("evaluate", split="train", **settings).line
