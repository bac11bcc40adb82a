"""Several classes in a clip: scikit-learn as oracle, thresholds against an exhaustive search, classes without clips."""

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, classification_report, f1_score

from interpretability.metrics.detection import choose_thresholds, detection, mean_average_precision

LABELS = ["rain", "dog", "car", "siren"]


@pytest.fixture
def answers():
    """Truth [40, 4] and probabilities that go with it, with ties; a clip with no class and one with all."""
    rng = np.random.default_rng(0)
    truth = rng.random((40, 4)) < (0.5, 0.2, 0.1, 0.4)
    truth[0], truth[1] = False, True
    return truth, np.round(np.clip(0.35 * truth + 0.65 * rng.random((40, 4)), 0, 1), 2)


def test_all_numbers_are_those_of_scikit_learn(answers):
    truth, probabilities = answers
    thresholds = [0.5, 0.3, 0.6, 0.4]
    got = detection(LABELS, truth, probabilities, thresholds)
    heard = probabilities >= thresholds
    theirs = classification_report(truth, heard, target_names=LABELS, output_dict=True, zero_division=np.nan)
    for k, member in enumerate(got.classes):
        names = {"precision": "precision", "recall": "recall", "f1": "f1-score", "n": "support"}
        assert {name: getattr(member, name) for name in names} == {
            name: pytest.approx(theirs[member.label][their]) for name, their in names.items()
        }
        assert (member.heard, member.threshold) == (heard[:, k].sum(), thresholds[k])
        assert member.ap == pytest.approx(average_precision_score(truth[:, k], probabilities[:, k]))
    assert got.mean_ap == pytest.approx(average_precision_score(truth, probabilities, average="macro"))
    assert got.mean_ap == mean_average_precision(truth, probabilities)
    assert got.macro_f1 == pytest.approx(f1_score(truth, heard, average="macro"))
    assert got.micro_f1 == pytest.approx(f1_score(truth, heard, average="micro"))
    assert got.n == 40


@pytest.mark.filterwarnings("error")  # scikit-learn warns of what it cannot divide
def test_what_is_undefined_is_left_out_and_is_not_zero():
    truth = [[1, 0, 0, 1], [0, 0, 0, 1]]
    got = detection(LABELS, truth, [[0.9, 0.1, 0.8, 0.7], [0.2, 0.3, 0.1, 0.6]], [0.5] * 4)
    rain, dog, car, siren = got.classes
    assert (dog.ap, dog.precision, dog.recall, dog.f1) == (None,) * 4  # neither there nor heard
    assert (car.ap, car.precision, car.recall, car.f1) == (None, 0.0, None, 0.0)  # a false alarm
    assert (rain.f1, siren.f1, siren.ap) == (1.0, 1.0, 1.0)
    assert got.macro_f1 == pytest.approx(2 / 3)
    assert got.mean_ap == 1.0
    nothing = detection(LABELS, np.zeros((3, 4)), np.zeros((3, 4)), [0.5] * 4)
    assert (nothing.mean_ap, nothing.macro_f1, nothing.micro_f1) == (None, None, None)
    assert mean_average_precision(np.zeros((3, 4)), np.zeros((3, 4))) is None


def test_no_other_threshold_has_a_higher_f1(answers):
    truth, probabilities = answers
    for k, threshold in enumerate(choose_thresholds(truth, probabilities)):
        assert 0 < threshold < 1
        reached = f1_score(truth[:, k], probabilities[:, k] >= threshold)
        tried = np.linspace(0.005, 0.995, 100)  # between all probabilities, which have two digits
        assert reached == pytest.approx(max(f1_score(truth[:, k], probabilities[:, k] >= t) for t in tried))


@pytest.mark.parametrize(
    ("truth", "probabilities", "threshold"),
    [
        ([1, 1, 0], [0.9, 0.3, 0.1], 0.2),
        ([1, 0, 0], [0.9, 0.3, 0.1], 0.6),
        ([1, 1], [0.8, 0.6], 0.3),  # every clip has it: half of the lowest
        ([0, 0], [0.8, 0.6], 0.5),  # none has
        ([1, 0], [0.4, 0.4], 0.2),  # equal probabilities
        ([1, 0], [1.0, 1.0 - 2**-53], 1.0 - 2**-53),  # of saturated ones it stays below 1
        ([1, 0], [0.0, 0.0], 2.0**-1022),  # and above 0
    ],
)
def test_known_thresholds(truth, probabilities, threshold):
    column = [[value] for value in truth], [[value] for value in probabilities]
    assert choose_thresholds(*column) == [pytest.approx(threshold, rel=1e-12)]


def test_what_does_not_fit_is_refused():
    for truth, probabilities in (([1, 0], [0.1, 0.2]), ([[1]], [[0.1, 0.2]]), (np.zeros((0, 2)), np.zeros((0, 2)))):
        with pytest.raises(ValueError, match=r"expected \[N, C\] of both"):
            choose_thresholds(truth, probabilities)
    with pytest.raises(ValueError, match="a probability is not in"):
        choose_thresholds([[1]], [[np.nan]])
    with pytest.raises(ValueError, match="there are 1 thresholds and 2 classes"):
        detection(["a", "b"], [[1, 0]], [[0.1, 0.2]], [0.5])
