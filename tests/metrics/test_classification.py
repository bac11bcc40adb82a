"""Reports on a classifier, beside scikit-learn's own functions, and what is undefined."""

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, confusion_matrix, f1_score, precision_score, recall_score

from interpretability.metrics.classification import ClassScores, Confusion, classification_report

LABELS = [f"class {k}" for k in range(6)]


@pytest.fixture
def drawn():
    """True and predicted classes of 200 clips: class 4 is never heard, class 5 is neither there nor heard."""
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 5, 200)
    return truth, np.where(rng.random(200) < 0.7, np.minimum(truth, 3), rng.integers(0, 4, 200))


def test_it_gives_what_scikit_learn_gives(drawn):
    truth, heard = drawn
    report = classification_report(LABELS, truth, heard)
    assert report.n == 200
    assert report.accuracy.mean == pytest.approx(accuracy_score(truth, heard))
    assert report.accuracy.low < report.accuracy.mean < report.accuracy.high
    assert report.macro_f1 == pytest.approx(f1_score(truth, heard, average="macro"))
    assert np.array_equal(report.matrix(), confusion_matrix(truth, heard, labels=range(6)))
    assert np.array_equal(
        report.matrix([2, 0]), confusion_matrix(truth, heard, labels=range(6))[np.ix_([2, 0], [2, 0])]
    )
    for name, function in (("precision", precision_score), ("recall", recall_score), ("f1", f1_score)):
        values = function(truth, heard, labels=range(4), average=None)
        assert [getattr(scores, name) for scores in report.classes[:4]] == pytest.approx(values.tolist()), name


def test_what_has_no_value_is_not_zero(drawn):
    report = classification_report(LABELS, *drawn)
    assert report.classes[4] == ClassScores("class 4", int((drawn[0] == 4).sum()), None, 0.0, 0.0)
    assert report.classes[5] == ClassScores("class 5", 0, None, None, None)


def test_confusions_are_sorted_by_clips_and_then_by_share():
    truth = [0] * 4 + [1] * 2 + [2] * 8
    heard = [0, 0, 1, 1] + [2, 2] + [0, 0, 0] + [2] * 5
    report = classification_report(LABELS[:3], np.array(truth), np.array(heard))
    assert report.confusions == [
        Confusion("class 2", "class 0", 3, 8),
        Confusion("class 1", "class 2", 2, 2),
        Confusion("class 0", "class 1", 2, 4),
    ]
    assert report.most_confused(2) == [0, 2]
    assert report.most_confused(9) == [0, 1, 2]
    plain = report.as_dict()
    assert plain["confusions"][0] == {"true": "class 2", "predicted": "class 0", "count": 3, "n": 8}
    assert plain["classes"][1]["recall"] == 0.0


def test_ten_thousand_classes_cost_no_matrix():
    labels = [str(k) for k in range(10_000)]
    report = classification_report(labels, np.array([9_999, 3]), np.array([3, 3]))
    assert report.confusions == [Confusion("9999", "3", 1, 1)]
    assert report.matrix(report.most_confused(2)).tolist() == [[1, 0], [1, 0]]


@pytest.mark.parametrize(("truth", "heard"), [([], []), ([0, 1], [0])])
def test_no_clips_or_another_number_of_them(truth, heard):
    with pytest.raises(ValueError, match="expected"):
        classification_report(LABELS, np.array(truth), np.array(heard))
