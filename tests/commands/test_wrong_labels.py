"""``tools/wrong_predictions.py`` on clips of several labels: each wrong answer about a label has its explanation."""

import csv
import json

import pytest
import soundfile
import tiny
import torch

from interpretability.classifiers import load_classifier
from interpretability.commands import main
from interpretability.commands.wrong_predictions import FOLDER, PAGE, TABLE
from interpretability.files import csv_text
from interpretability.training import runner

YAML = tiny.REPOSITORY / "recipes" / "Custom" / "hparams" / "classifier_compact.yaml"


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run of a classifier of several labels, which it hardly knows."""
    folder = tmp_path_factory.mktemp("several")
    tiny.make_data(folder / "data", n_clips=6)
    paths = sorted((folder / "data" / "audio").iterdir())
    splits = ("train", "train", "train", "valid", "test", "test")
    rows = [(path, path.stem.split("-")[0], splits[k % 6]) for k, path in enumerate(paths)]
    rows = [(path, f"{label};low" if label != "low" else label, split) for path, label, split in rows]
    (folder / "t.csv").write_text(csv_text([("path", "labels", "split"), *rows]), "utf-8")
    given = {"table": folder / "t.csv", "output_folder": folder / "run", "cache_folder": "null", "device": "cpu"}
    given |= {"number_of_epochs": 1, "batch_size": 4, "classifier.channels": "[4, 4, 8, 8]"}
    line = [
        str(YAML),
        "--noprogressbar",
        *(str(word) for name, value in given.items() for word in (f"--{name}", value)),
    ]
    outcome = tiny.call(runner.main, "classifier", None, line)
    assert outcome.code == 0, outcome.err
    return folder / "run"


@pytest.mark.slow
def test_missed_labels_and_false_alarms_are_explained_and_only_once(run, tmp_path):
    line = [str(run), "--method", "saliency", "--n", "3"]
    outcome = tiny.call(main.wrong_predictions, line)
    assert outcome.code == 0, outcome.err
    classifier, out = load_classifier(run), run / FOLDER
    table = list(csv.DictReader((run / "predictions.csv").read_text("utf-8").splitlines()))
    wrong = {}
    for row in table:
        true, heard = (row[column].split(";") for column in ("true labels", "heard labels"))
        if row["split"] == "test":
            wrong |= {(row["id"], label): label in true for label in {*true} ^ {*heard} - {""}}
    n_missed = sum(wrong.values())
    assert len(wrong) > 3
    title = f"{n_missed} missed labels and {len(wrong) - n_missed} false alarms in 6 test clips"
    assert outcome.out.startswith(f"{title}:\n")
    assert (out / PAGE).read_text("utf-8").startswith(f"{title}\n")
    rows = list(csv.DictReader((out / TABLE).read_text("utf-8").splitlines()))
    assert len(rows) == 3
    for row in rows:
        assert wrong[row["id"], row["label"]] == (row["kind"] == "missed")
        known = json.loads((out / row["folder"] / "explanation.json").read_text("utf-8"))
        assert (known["explained"], known["name"]) == (row["label"], row["id"])
        # What is said is what is heard of the file.
        part, column = ("explanation", "p_alone") if row["kind"] == "missed" else ("residual", "p_without_it")
        wav = torch.from_numpy(soundfile.read(out / row["folder"] / f"{part}.wav", dtype="float32")[0])
        logits = classifier.classify_sound(classifier.frontend.clips(wav[None])).logits
        probability = torch.sigmoid(logits.double())[0, classifier.label_index(row["label"])]
        assert float(row[column]) == pytest.approx(float(probability), abs=1e-4)
        assert row["words"].split(" lies mostly")[0] in outcome.out.replace("\n   ", " ")
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*.json") if path.parent != out}
    assert tiny.call(main.wrong_predictions, line).code == 0
    assert {path: path.stat().st_mtime_ns for path in before} == before
    other = tiny.call(main.wrong_predictions, [str(run), "--n", "3", "--method", "input_x_gradient"])
    assert "holds an explanation by another classifier or method" in other.line
