"""Cuts: the recording and its explanation in a span, however the blocks lie."""

import pytest
import soundfile
import torch
from tiny import noise

from interpretability.recordings.cuts import Cut
from interpretability.recordings.stitching import Block
from interpretability.recordings.windows import Span


@pytest.mark.parametrize("size", [7, 100, 1000])
@pytest.mark.parametrize("span", [Span(0, 50), Span(95, 305), Span(999, 1000)])
def test_a_cut_is_what_passes_by(tmp_path, size, span):
    wav, kept = noise(1000), noise(1000, seed=1)
    cut = Cut(span, 2.0, tmp_path / "a.wav", tmp_path / "b.wav", 8000)
    for start in range(0, 1000, size):
        stop = min(start + size, 1000)
        assert (tmp_path / "a.wav").exists() == (start >= span.stop)
        cut.add(Block(Span(start, stop), wav[start:stop], kept[start:stop]))
    for name, source in (("a", wav), ("b", kept)):
        got, rate = soundfile.read(tmp_path / f"{name}.wav", dtype="float32")
        assert rate == 8000
        assert torch.allclose(torch.from_numpy(got), source[span.start : span.stop] / 2)
