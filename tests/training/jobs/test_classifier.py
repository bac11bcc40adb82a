"""What a saved classifier records about its training, on clips of one label and of several."""

import csv
import json

import numpy as np
import pytest
import soundfile
import tiny
from sklearn.metrics import average_precision_score, f1_score

from interpretability.classifiers import load_classifier
from interpretability.training import runner


def test_the_saved_classifier_says_how_it_was_made(tiny_classifier_folder):
    training = load_classifier(tiny_classifier_folder).description["training"]
    assert training["data"]["folds"] == {"train": [1], "valid": [2], "test": [3]}
    assert 0 <= training["test_accuracy"] <= 1
    assert training["n_test"] == 6
    assert training["seconds"] > 0
    assert training["seed"] == 1234


CUSTOM = tiny.REPOSITORY / "recipes" / "Custom" / "hparams"
TONES = {"low": 300.0, "middle": 900.0, "high": 2500.0}  # Hz
TINY = {
    "device": "cpu",
    "noprogressbar": None,
    "batch_size": 8,
    "frontend.sample_rate": tiny.RATE,
    "sample_rate": "null",
}


@pytest.fixture(scope="module")
def tagged_sounds(tmp_path_factory):
    """Sixty clips of none, one, two or all of three tones, and the table that says which."""
    folder, rng = tmp_path_factory.mktemp("tagged"), np.random.default_rng(0)
    seconds = np.arange(round(0.4 * tiny.RATE)) / tiny.RATE
    rows = []
    for k in range(60):
        names = [name for place, name in enumerate(TONES) if (k % 8) >> place & 1]
        wav = 0.05 * rng.standard_normal(len(seconds))
        wav = sum((0.3 * np.sin(2 * np.pi * TONES[name] * seconds + rng.uniform(0, 6)) for name in names), wav)
        soundfile.write(folder / f"{k}.wav", wav, tiny.RATE)
        rows.append((f"{k}.wav", ";".join(names)))
    with open(folder / "clips.csv", "w", encoding="utf-8", newline="") as stream:
        csv.writer(stream).writerows([("path", "labels"), *rows])
    return folder


def line(yaml, **settings):
    values = {**TINY, **{name.replace("__", "."): value for name, value in settings.items()}}
    pairs = ([f"--{name}"] if value is None else [f"--{name}", str(value)] for name, value in values.items())
    return [str(CUSTOM / yaml), *(part for pair in pairs for part in pair)]


@pytest.mark.slow
def test_clips_of_several_labels_from_a_table_to_an_evaluation(tagged_sounds, tmp_path):
    shared = {"table": tagged_sounds / "clips.csv", "cache_folder": tmp_path / "cache"}
    settings = {"classifier__channels": [8, 8, 16, 16], "number_of_epochs": 12, "lr": 0.01}
    trained = tmp_path / "classifier"
    outcome = tiny.call(
        runner.main, "classifier", None, line("classifier_compact.yaml", output_folder=trained, **shared, **settings)
    )
    assert outcome.code == 0, outcome.err
    assert "test clips exactly the labels are heard" in outcome.out
    assert "accuracy" not in outcome.out
    classifier = load_classifier(trained)
    assert classifier.task == "multi"
    training = classifier.description["training"]
    assert not {"test_accuracy", "valid_accuracy"} & training.keys()
    assert json.loads((trained / "run.json").read_text())["selection_key"] == "mAP"
    # The table of predictions, scikit-learn on it, and what was recorded agree.
    rows = list(csv.DictReader((trained / "predictions.csv").read_text("utf-8").splitlines()))
    for split in ("valid", "test"):
        members = [row for row in rows if row["split"] == split]
        truth = np.array([[label in row["true labels"].split(";") for label in classifier.labels] for row in members])
        heard = np.array([[label in row["heard labels"].split(";") for label in classifier.labels] for row in members])
        answers = np.array([[float(row[f"p({label})"]) for label in classifier.labels] for row in members])
        assert np.array_equal(heard, answers >= np.round(classifier.thresholds.numpy(), 9))
        assert training[split]["macro_f1"] == pytest.approx(f1_score(truth, heard, average="macro"))
        assert training[split]["micro_f1"] == pytest.approx(f1_score(truth, heard, average="micro"))
        assert training[split]["mean_ap"] == pytest.approx(average_precision_score(truth, answers, average="macro"))
        report = json.loads((trained / "report" / split / "report.json").read_text())
        assert [member["threshold"] for member in report["classes"]] == classifier.thresholds.tolist()
    assert training["test"]["mean_ap"] > 0.8
    splits = list(csv.DictReader((trained / "manifests" / "splits.csv").read_text("utf-8").splitlines()))
    assert {row["labels"] for row in splits} >= {"", "low", "low;middle", "high;low;middle"}
    # Each label that is heard is explained, on the same splits read back.
    evaluated = tmp_path / "gradients"
    shared["table"] = trained / "manifests" / "splits.csv"
    options = {
        "data_folder": tagged_sounds,
        "classifier_folder": trained / "classifier",
        "n_examples": 3,
        "report_clips": 2,
    }
    outcome = tiny.call(
        runner.main, "evaluate", None, line_of_method("gradients.yaml", output_folder=evaluated, **shared, **options)
    )
    assert outcome.code == 0, outcome.err
    assert "explanations of 13 clips" in outcome.out
    clips = [json.loads(text) for text in (evaluated / "evaluation" / "clips.jsonl").read_text("utf-8").splitlines()]
    heard = {row["id"]: row["heard labels"] for row in rows}
    assert all(";".join(row["predicted"]) == heard[row["clip"]] for row in clips)
    assert all(row["explained"] in row["predicted"] or not row["predicted"] for row in clips)
    examples = [path for path in (evaluated / "examples").iterdir() if path.is_dir()]
    assert len(examples) == 3
    for example in examples:  # a folder for each class that is heard
        assert list(example.glob("*/explanation.wav"))
        assert not (example / "explanation.wav").exists()
    assert ", of each class that is heard" in outcome.out


def line_of_method(yaml, **settings):
    line_of = line(yaml, **settings)
    return [part for k, part in enumerate(line_of) if "sample_rate" not in part and "sample_rate" not in line_of[k - 1]]


def test_data_without_any_label_in_a_split_are_refused(tagged_sounds, tmp_path):
    rows = [("path", "labels", "split")]
    for k in range(60):
        rows.append((f"{k}.wav", "low" if k < 40 else "", ("train", "valid", "test")[k // 20]))
    with open(tagged_sounds / "none.csv", "w", encoding="utf-8", newline="") as stream:
        csv.writer(stream).writerows(rows)
    given = {"table": tagged_sounds / "none.csv", "cache_folder": tmp_path / "cache", "number_of_epochs": 1}
    outcome = tiny.call(
        runner.main, "classifier", None, line("classifier_compact.yaml", output_folder=tmp_path / "run", **given)
    )
    assert "no clip of test has a label, expected some in train, valid and test" in outcome.line
