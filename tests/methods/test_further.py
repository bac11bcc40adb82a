"""Further classifiers of a method: a setting names one or several, and a result says what they are."""

import pytest
import torch
from tiny import LABELS

from interpretability.classifiers import save_classifier
from interpretability.classifiers.compact import CompactClassifier
from interpretability.methods.counterfactual import Counterfactual
from interpretability.methods.optimised import OptimisedMask
from interpretability.weights import fingerprint


def compact(seed):
    torch.manual_seed(seed)
    return CompactClassifier(LABELS, n_mels=8, channels=(4, 4))


@pytest.mark.parametrize("kind", [OptimisedMask, Counterfactual])
def test_they_are_opened_moved_and_part_of_the_identity(kind, tmp_path):
    save_classifier(compact(1), tmp_path / "other")
    source = str(tmp_path / "other")
    method = kind(compact(0), **{kind.FURTHER: (source,) if kind is OptimisedMask else source})
    assert [fingerprint(further) for further in method.further] == [fingerprint(compact(1))]
    assert method.identity()[kind.FURTHER] == [fingerprint(compact(1))]
    assert {parameter.dtype for parameter in method.double().further[0].parameters()} == {torch.float64}
    alone = kind(compact(0))
    assert alone.further == ()
    assert kind.FURTHER not in alone.identity()
