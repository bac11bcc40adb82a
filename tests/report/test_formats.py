"""Formats of figures: which there are; what files of them hold is tested with the figures."""

import pytest

from interpretability.errors import UserError
from interpretability.report.formats import FORMATS, check_format


def test_other_formats_are_refused():
    assert [check_format(name) for name in FORMATS] == ["png", "svg", "pdf"]
    for wrong in ("jpeg", "", ".png", 3):
        with pytest.raises(UserError, match=r"format is .*, expected one of png, svg, pdf"):
            check_format(wrong)
