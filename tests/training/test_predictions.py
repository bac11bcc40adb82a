"""What a run leaves of its classifier's answers: after a training, after an evaluation, once."""

import csv
import json
import shutil

import pytest
import tiny

from interpretability.classifiers import load_classifier

FILES = {"report.md", "report.json", "classes.csv", "confusion.csv", "confusion.png"}


def rows(run):
    return list(csv.DictReader((run / "predictions.csv").read_text("utf-8").splitlines()))


def test_a_trained_classifier_leaves_its_predictions_and_a_report_on_each_split(tiny_esc50, tiny_classifier_folder):
    run = tiny_classifier_folder.parent
    training = load_classifier(run).description["training"]
    for split in ("test", "valid"):
        members = [row for row in rows(run) if row["split"] == split]
        assert len(members) == 6
        assert all((tiny_esc50 / row["path"]).is_file() for row in members)
        right = sum(row["true"] == row["predicted"] for row in members)
        assert right / 6 == training[f"{split}_accuracy"]
        folder = run / "report" / split
        assert {path.name for path in folder.iterdir()} == FILES
        report = json.loads((folder / "report.json").read_text("utf-8"))
        assert report["accuracy"]["mean"] == training[f"{split}_accuracy"]
        assert report["classifier"] == load_classifier(run).description["sha256"]


@pytest.mark.slow
def test_they_are_made_again_only_when_they_are_missing_or_of_another_classifier(
    tiny_esc50, tiny_classifier_folder, tmp_path
):
    run = shutil.copytree(tiny_classifier_folder.parent, tmp_path / "run")

    def again(**given):
        return tiny.run("classifier", tiny_esc50, run, **{"number_of_epochs": 3, **given})

    before = (run / "predictions.csv").read_bytes()
    stamp = (run / "predictions.csv").stat().st_mtime_ns
    outcome = again()
    assert outcome.code == 0, outcome.err
    assert "clips" not in outcome.out.split("already trained")[1]
    assert (run / "predictions.csv").stat().st_mtime_ns == stamp
    for missing in ("predictions.csv", "report"):
        shutil.rmtree(run / missing) if missing == "report" else (run / missing).unlink()
        outcome = again()
        assert outcome.code == 0, outcome.err
        assert "every clip: " in outcome.out
        assert (run / "predictions.csv").read_bytes() == before
        assert (run / "report" / "test" / "report.md").is_file()
    report = json.loads((run / "report" / "test" / "report.json").read_text("utf-8"))
    (run / "report" / "mine.txt").write_text("of the user")
    assert "holds 'mine.txt', which this program is not known to have written" in again(number_of_epochs=4).line
    (run / "report" / "mine.txt").unlink()
    outcome = again(number_of_epochs=4)
    assert outcome.code == 0, outcome.err
    new = json.loads((run / "report" / "test" / "report.json").read_text("utf-8"))
    assert new["classifier"] == load_classifier(run).description["sha256"] != report["classifier"]
    # Words come before numbers.
    assert outcome.out.index("heard as") < outcome.out.index("classifier compact: test accuracy")


@pytest.mark.slow
def test_an_evaluation_leaves_those_of_the_classifier_that_it_explains(tiny_esc50, tiny_piq_run, tmp_path):
    run = shutil.copytree(tiny_piq_run, tmp_path / "run")
    outcome = tiny.run("evaluate", tiny_esc50, run, classifier_folder=run / "interpreter" / "classifier")
    assert outcome.code == 0, outcome.err
    clips = [json.loads(line) for line in (run / "evaluation" / "clips.jsonl").read_text("utf-8").splitlines()]
    heard = {row["clip"]: row["predicted"] for row in clips}
    assert {row["id"]: row["predicted"] for row in rows(run)} == heard
    assert {row["split"] for row in rows(run)} == {"test"}
    assert {path.name for path in (run / "report").iterdir()} == {"test", "contents.json"}
