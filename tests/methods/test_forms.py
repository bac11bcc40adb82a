"""Forms of a mask: exact areas, scaling, and nothing to attribute."""

import pytest
import torch

from interpretability.methods.forms import FORMS, fixed_by, form_mask

VALID = torch.ones(1, 2, dtype=torch.bool)


def test_soft_is_the_positive_part_scaled_to_one():
    attribution = torch.tensor([[[-3.0, 0.0, 1.0, 2.0, 4.0]] * 2])
    assert form_mask(attribution, VALID, "soft")[0, 0].tolist() == [0, 0, 0.25, 0.5, 1]


@pytest.mark.parametrize(("form", "kept"), [("top10", [9]), ("top20", [8, 9])])
def test_top_keeps_the_highest(form, kept):
    attribution = torch.arange(-9.0, 1).view(1, 2, 5)  # negative, and the highest is 0
    assert form_mask(attribution, VALID, form).flatten().nonzero()[:, 0].tolist() == kept


@pytest.mark.parametrize("form", FORMS)
def test_nothing_to_attribute_is_an_empty_mask(form):
    assert not form_mask(torch.zeros(1, 2, 5), VALID, form).any()


def test_what_a_form_decides():
    assert fixed_by("soft") == ()
    assert fixed_by("top10") == fixed_by("top20") == ("sps", "comp", "comp_rel")
