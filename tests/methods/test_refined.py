"""Any method, refined: better by its own objective, named and recorded as such; without steps the method itself."""

import pytest
import torch
from tiny import LABELS, listening_classifier, noise

from interpretability.errors import UserError
from interpretability.methods.baselines import EnergyMask, RandomMask
from interpretability.methods.refined import check_steps, refined
from interpretability.metrics.suite import MetricSuite


@pytest.fixture(scope="module")
def classifier():
    return listening_classifier(LABELS)


@torch.no_grad()
def test_a_refined_baseline_keeps_more_of_the_class(classifier):
    batch, suite = classifier.analyse(noise(3, 4000)), MetricSuite(classifier)
    method = RandomMask(classifier, area=0.2)
    before, after = (
        suite(batch, some.interpret(batch).mask, ("waveform",))["waveform"]["o"]
        for some in (method, refined(method, 10))
    )
    assert (after > before).all()


def test_what_it_is_called_and_what_results_record(classifier):
    method = EnergyMask(classifier, area=0.1, apply="linear")
    better = refined(method, 3)
    assert (better.NAME, better.title, better.settings) == ("energy", "energy, refined", method.settings)
    assert better.identity() == {**method.identity(), "refine_steps": 3}
    recorded = better.recorded_settings()
    assert (recorded["area"], recorded["refined"]["steps"], recorded["refined"]["apply"]) == (0.1, 3, "linear")
    assert "refined in at most 3 steps" in better.notes[-1]
    explanation = better.explain(noise(1, 4000))
    assert explanation.title == "energy, refined"
    assert explanation.model["refine_steps"] == 3
    assert 0 < float(explanation.interpretation.scores["refining_steps"]) <= 3


def test_of_no_steps_it_is_the_method_itself(classifier):
    method = EnergyMask(classifier)
    assert refined(method, 0) is method
    for wrong in (-1, 10_001, 2.0, True, "ten"):
        with pytest.raises(UserError, match=r"^refine_steps is .*, expected a whole number from 0 to 10000$"):
            check_steps(wrong)


def test_what_has_no_explanation_has_none_that_is_refined(classifier):
    class Choosy(EnergyMask):
        def interpret(self, batch):
            interpretation = super().interpret(batch)
            interpretation.undefined = torch.tensor([True, False])
            interpretation.mask[0] = 0
            return interpretation

    interpretation = refined(Choosy(classifier), 2).interpret(classifier.analyse(noise(2, 2000)))
    assert interpretation.undefined.tolist() == [True, False]
    assert not interpretation.mask[0].any()
    assert interpretation.mask[1].any()
