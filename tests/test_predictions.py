"""What a classifier hears in the clips of a data set, as a table that any reader of CSV takes in."""

import csv
import dataclasses
from types import SimpleNamespace

import numpy as np
import pytest
import tiny
import torch

from interpretability.data.batches import make_datasets
from interpretability.data.esc50 import prepare_esc50
from interpretability.errors import MissingError, UserError
from interpretability.predictions import (
    LabelCounts,
    Predictions,
    class_truth,
    predict,
    read_predictions,
    write_predictions,
)

LABELS = ('a, "b"', "two\nlines", "=1+1", "犬")


@pytest.fixture
def predictions() -> Predictions:
    shares = np.array([[0.1, 0.2, 0.3, 0.4], [0.7, 0.1, 0.1, 0.1], [0.05, 0.9, 0.05, 0.0], [0.0, 0.0, 1e-9, 1.0]])
    return Predictions(
        LABELS, ("x", "y,z", "w", "v"), ("x.wav", "a b/y,z.wav", "w.wav", "/v.wav"), np.array([3, 1, 1, 0]),
        shares.argmax(1), shares,
    )  # fmt: skip


def test_the_table_quotes_any_name_and_comes_back(predictions, tmp_path):
    path = tmp_path / "predictions.csv"
    write_predictions(path, {"test": predictions, "valid": predictions})
    with open(path, encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert list(rows[0]) == ["id", "path", "split", "true", "predicted", "confidence", *(f"p({x})" for x in LABELS)]
    assert [row["split"] for row in rows] == ["test"] * 4 + ["valid"] * 4
    assert (rows[1]["id"], rows[1]["path"]) == ("y,z", "a b/y,z.wav")
    assert (rows[1]["true"], rows[1]["predicted"], rows[1]["confidence"]) == ("two\nlines", 'a, "b"', "0.7")
    known = read_predictions(path, LABELS)
    assert list(known) == ["test", "valid"]
    for name in ("labels", "ids", "paths"):
        assert getattr(known["test"], name) == getattr(predictions, name)
    for name in ("truth", "predicted", "probabilities"):
        assert np.array_equal(getattr(known["test"], name), getattr(predictions, name)), name


def test_wrong_clips_come_the_most_confident_first(predictions):
    assert predictions.wrong() == [3, 1]
    assert predictions.confidence.tolist() == [0.4, 0.7, 0.9, 1.0]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda text: text.replace("p(犬)", "p(cat)"), "its columns are not those of the classes"),
        (lambda text: text.replace("0.4\n", "0.4,0.5\n"), "line 3: has 5 probabilities"),
        (lambda text: text.replace("0.3,", "1.3,"), "line 3: a probability is outside 0 to 1"),
        (lambda text: text.replace("0.3,", "high,"), "is not a table of predictions"),
        (lambda text: text.replace(",test,犬,犬", ",test,cat,犬"), "is not a table of predictions ('cat')"),
        (lambda text: "", "its columns are not those"),
    ],
    ids=range(6),
)
def test_a_damaged_table_is_refused_in_one_line(predictions, tmp_path, change, words):
    path = tmp_path / "predictions.csv"
    write_predictions(path, {"test": predictions})
    path.write_text(change(path.read_text("utf-8")), "utf-8")
    with pytest.raises(UserError, match=r"remove it, and run") as fault:
        read_predictions(path, LABELS)
    assert words in str(fault.value)
    path.unlink()
    with pytest.raises(MissingError):
        read_predictions(path, LABELS)


def test_every_clip_is_heard_as_it_is_heard_alone(tiny_esc50, tmp_path):
    prepared = prepare_esc50(tiny_esc50, tmp_path, esc10_only=False, train_folds=1, valid_folds=2, test_folds=3)
    classifier = tiny.listening_classifier(prepared.labels)
    rate = classifier.frontend.settings.sample_rate
    dataset = make_datasets(prepared, prepared.labels, rate, splits=("test",), progress=False)["test"]
    heard = predict(classifier, dataset, prepared.data_root, batch_size=4, progress=False)
    assert heard.ids == tuple(dataset.data_ids)
    assert heard.paths[0] == f"audio/{heard.ids[0]}.wav"
    assert heard.probabilities.shape == (6, 3)
    for k in range(len(heard)):
        item = dataset[k]
        assert heard.labels[heard.truth[k]] == item["label"]
        logits = classifier.analyse(item["signal"][None]).output.logits
        assert heard.probabilities[k] == pytest.approx(torch.softmax(logits.double(), 1)[0].numpy(), abs=1e-5)
        assert heard.predicted[k] == int(logits.argmax())


def test_the_classes_of_a_batch_whatever_form_its_labels_have():
    several = tiny.listening_classifier(tiny.LABELS, task="multi")
    single = tiny.listening_classifier(tiny.LABELS)
    lists = SimpleNamespace(id=["a", "b", "c"], labels=[["rain", "cat"], [], tiny.LABELS])
    assert class_truth(several, lists).tolist() == [[1, 0, 1], [0, 0, 0], [1, 1, 1]]
    names = SimpleNamespace(id=["a", "b"], label=["dog", "cat"])
    assert class_truth(single, names).tolist() == class_truth(several, names).tolist() == [[0, 1, 0], [1, 0, 0]]
    with pytest.raises(UserError, match="has one label for each clip, and the data have several"):
        class_truth(single, lists)
    with pytest.raises(UserError, match="no class 'bird'"):
        class_truth(several, SimpleNamespace(id=["a"], labels=[["bird"]]))


# ---- Wrong answers about labels ----

TRUTH = np.array([[1, 0, 0], [1, 1, 0], [0, 0, 0]], dtype=bool)
SHARES = np.array([[0.1, 0.9, 0.0], [0.5, 0.3, 0.2], [0.0, 0.6, 0.9]])
THRESHOLDS = (0.5, 0.4, 0.9)
HEARD = Predictions(("cat", "dog", "owl"), ("a", "b", "c"), ("a.wav", "b.wav", "c.wav"), TRUTH, TRUTH, SHARES)
HEARD = HEARD.heard_at(THRESHOLDS)


def test_the_most_confident_wrong_answer_comes_first():
    """Distances from the thresholds, as shares of what is possible: 0.8, 0.83, 0.25, 0.33, 0."""
    assert HEARD.wrong_labels(THRESHOLDS) == [(0, 1), (0, 0), (2, 1), (1, 1), (2, 2)]
    sure = dataclasses.replace(HEARD, probabilities=SHARES.round())
    assert sure.wrong_labels((0.5, 0.5, 1.0))[-1] == (2, 2)  # no room above the threshold


def test_each_label_is_counted():
    assert HEARD.counts_of_labels() == [
        LabelCounts("dog", 1, missed=1, false_alarms=2),
        LabelCounts("cat", 2, missed=1, false_alarms=0),
        LabelCounts("owl", 0, missed=0, false_alarms=1),
    ]
