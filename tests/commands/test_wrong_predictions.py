"""``tools/wrong_predictions.py``: which clips, what is written of each, and what is not done again."""

import csv
import json
import re
import shutil
from types import SimpleNamespace

import pytest
import soundfile
import tiny
import torch

from interpretability.classifiers import load_classifier, save_classifier
from interpretability.commands import main
from interpretability.commands import wrong_predictions as command
from interpretability.commands.wrong_predictions import CLIP, FIGURE, FOLDER, PAGE, TABLE
from interpretability.predictions import read_predictions

FILES = {"input.wav", "predicted.wav", "true.wav", "without_predicted.wav", FIGURE, CLIP, "contents.json"}


def explain(*line, **given):
    options = [word for name, value in given.items() for word in (f"--{name}", str(value))]
    return tiny.call(main.wrong_predictions, [*map(str, line), *options])


@pytest.fixture
def run(tiny_classifier_folder, tmp_path):
    """A copy of the run of a classifier that gets four of six test clips wrong."""
    return shutil.copytree(tiny_classifier_folder.parent, tmp_path / "run")


@pytest.fixture
def wrong(run):
    """The ids of these clips, the most confident first, and their classes."""
    table = read_predictions(run / "predictions.csv", load_classifier(run).labels)["test"]
    return [(table.ids[k], table.labels[table.truth[k]], table.labels[table.predicted[k]]) for k in table.wrong()]


@pytest.mark.slow
def test_the_most_confident_clips_are_explained_for_both_classes_and_only_once(run, wrong):
    outcome = explain(run, n=2, method="saliency")
    assert outcome.code == 0, outcome.err
    out = run / FOLDER
    assert outcome.out.startswith(f"{len(wrong)} of 6 test clips are heard as another class; the 2 most confident:\n")
    assert {path.name for path in out.iterdir()} == {TABLE, PAGE, "contents.json", *(clip for clip, *_ in wrong[:2])}
    rows = list(csv.DictReader((out / TABLE).read_text("utf-8").splitlines()))
    assert [(row["id"], row["true"], row["predicted"]) for row in rows] == wrong[:2]
    classifier = load_classifier(run)
    for row in rows:
        folder = out / row["folder"]
        assert {path.name for path in folder.iterdir()} == FILES
        content = json.loads((folder / CLIP).read_text("utf-8"))
        assert content["sentences"][0] in outcome.out
        assert row["words"] == " ".join(content["sentences"])
        assert [content["explanations"][which]["explained"] for which in ("predicted", "true")] == [
            row["predicted"],
            row["true"],
        ]
        # What is said is what is heard of the files.
        for name, known in (("without_predicted", ("predicted", "without")), ("true", ("true", "alone"))):
            wav = torch.from_numpy(soundfile.read(folder / f"{name}.wav", dtype="float32")[0])
            logits = classifier.classify_sound(classifier.frontend.clips(wav[None])).logits
            claimed = content["mistake"][known[0]][known[1]]
            assert torch.softmax(logits.double(), 1)[0].tolist() == pytest.approx(list(claimed.values()), abs=1e-4)

    before = {path: path.stat().st_mtime_ns for path in out.glob("*/*")}
    again = explain(run, n=1, method="saliency")
    assert again.code == 0, again.err
    assert {path: path.stat().st_mtime_ns for path in before} == before
    assert len(list(csv.DictReader((out / TABLE).read_text("utf-8").splitlines()))) == 1
    line = explain(run, n=1).line
    assert "holds explanations by another classifier or method, or with other settings: name another --out" in line
    content["mistake"].pop("true")
    (folder / CLIP).write_text(json.dumps(content), "utf-8")
    assert "is damaged" in explain(run, n=2, method="saliency").line


@pytest.mark.slow
def test_a_trained_method_explains_its_own_run_and_that_of_its_classifier(run, wrong, tiny_piq_run, tmp_path):
    piq = shutil.copytree(tiny_piq_run, tmp_path / "piq")
    pages = []
    for line, given in (((piq,), {}), ((run,), {"interpreter": piq})):
        out = tmp_path / f"out{len(pages)}"
        outcome = explain(*line, n=1, out=out, **given)
        assert outcome.code == 0, outcome.err
        pages.append((out / PAGE).read_text("utf-8"))
        known = json.loads((out / wrong[0][0] / CLIP).read_text("utf-8"))
        assert known["identity"]["method"] == "piq"
    assert pages[0] == pages[1]
    assert explain(piq, method="saliency").line.endswith("a trained method has its own")
    assert explain(piq, interpreter=piq).line.endswith("has a method of its own")
    classifier = load_classifier(run)
    classifier.head.weight.data *= 2
    shutil.rmtree(run / "classifier")
    save_classifier(classifier, run / "classifier")
    assert "explains another classifier than that of" in explain(run, interpreter=piq).line


def test_no_wrong_clip_is_said(run, tmp_path):
    table = run / "predictions.csv"
    rows = list(csv.reader(table.read_text("utf-8").splitlines()))
    with open(table, "w", encoding="utf-8", newline="") as stream:
        csv.writer(stream, lineterminator="\n").writerows(
            [*row[:3], row[4], *row[4:]] if k else row for k, row in enumerate(rows)
        )
    outcome = explain(run, out=tmp_path / "out")
    assert outcome.code == 0, outcome.err
    assert outcome.out == "every one of the 6 test clips is heard as its class: nothing to explain\n"
    assert not (tmp_path / "out").exists()


def test_a_run_without_predictions_has_its_clips_classified(run, wrong, tmp_path, monkeypatch):
    """Those of an earlier version, and clips of the split that trains."""
    (run / "predictions.csv").unlink()
    shutil.rmtree(run / "report")
    for name, value in (
        ("_explain", lambda folder, *_: SimpleNamespace(clip=folder.name, sentences=lambda: ["words"])),
        ("mistakes_csv", lambda _: ""),
        ("mistakes_page", lambda *_: ""),
    ):
        monkeypatch.setattr(command, name, value)
    outcome = explain(run, out=tmp_path / "out")
    assert outcome.code == 0, outcome.err
    assert re.findall(r"^\d\. (.*)\n   words$", outcome.out, re.MULTILINE) == [clip for clip, *_ in wrong]
    assert "of 6 train clips" in explain(run, split="train", out=tmp_path / "train").out


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"n": 0}, "--n is 0, expected a number of clips >= 1"),
        ({"split": "dev"}, "has no split 'dev', expected one of train, valid, test"),
        ({"method": "piq"}, "piq has to be trained"),
        ({"method": "nothing"}, "no method 'nothing', expected one of"),
        ({"data_folder": "/nowhere"}, "/nowhere: no such data folder"),
        ({"interpreter": "/nowhere"}, "no run folder at /nowhere"),
        ({"out": "/dev/null/x"}, "/dev/null"),
    ],
    ids=range(7),
)
def test_what_cannot_be_explained(run, given, words):
    assert words in explain(run, **given).line
    assert not (run / FOLDER).exists()


def test_what_is_no_run(tmp_path):
    assert "no" in explain(tmp_path / "nothing").line
    (tmp_path / "run").mkdir()
    assert "run.json" in explain(tmp_path / "run").line
