"""Formats of figures: which there are, and that the same figure gives the same file."""

import numpy as np
import pytest

from interpretability.errors import UserError
from interpretability.frontend import FrontendSettings
from interpretability.report.figures import plot_explanation, save_figure
from interpretability.report.formats import FORMATS, check_format

BEGINS = {"svg": b"<?xml", "pdf": b"%PDF-"}


def test_other_formats_are_refused():
    assert [check_format(name) for name in FORMATS] == ["png", "svg", "pdf"]
    for wrong in ("jpeg", "", ".png", 3):
        with pytest.raises(UserError, match=r"format is .*, expected one of png, svg, pdf"):
            check_format(wrong)


@pytest.mark.slow
def test_vector_figures_are_written_and_are_the_same_each_time(tmp_path):
    magnitude = np.random.default_rng(0).random((20, 33), np.float32)
    settings = FrontendSettings(sample_rate=8000, n_fft=64, win_length_ms=8.0, hop_length_ms=4.0)
    drawn = (magnitude, magnitude / 2, magnitude / 2, np.full_like(magnitude, 0.5), settings, 0.08, "a $b$ <c>")
    for place in ("a/f.svg", "b/f.svg", "f.pdf"):
        content = save_figure(plot_explanation(*drawn), tmp_path / place).read_bytes()
        assert content.startswith(BEGINS[place.partition(".")[2]])
    assert (tmp_path / "a" / "f.svg").read_bytes() == (tmp_path / "b" / "f.svg").read_bytes()
