"""Stitching: windows give what one pass over the whole recording gives, to the last bit that rounding leaves."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from tiny import SMALL, noise

from interpretability.errors import UserError
from interpretability.frontend import Frontend, MaskedPair
from interpretability.recordings import stitching
from interpretability.recordings.stitching import Stitcher
from interpretability.recordings.windows import Span, WindowPlan

UNIT = SMALL.hop_length
#: A method whose mask at a frame depends on so many frames to either side.
REACH = 8


@pytest.fixture(autouse=True)
def _short_blocks(monkeypatch):
    """Blocks end where windows do not."""
    monkeypatch.setattr(stitching, "BLOCK_SECONDS", 0.37)


def local_mask(magnitude):
    """Return a mask [T, F]: how loud a bin is among its neighbours in time."""
    around = torch.nn.functional.avg_pool1d(magnitude.T[None], 2 * REACH + 1, 1, REACH, count_include_pad=False)[0].T
    return torch.sigmoid(4 * (magnitude - around))


def sound(n_samples):
    """Noise whose level rises and falls, with the same largest sample in every quarter of a second."""
    wav = noise(n_samples) * (0.3 + 0.2 * torch.sin(torch.arange(n_samples) / 900)) / 4
    wav = wav.clamp(-0.9, 0.9)
    wav[::2000] = 1.0
    return wav


def stitched(frontend, wav, plan, apply, level):
    """Explain windows, each as a clip of its own, and stitch them."""
    spans, gains, masks = [], [], []
    for span, window in plan.cut([wav]):
        clips = frontend.clips(window[None])
        clips = clips.levelled() if level == "peak" else clips
        spans.append(span)
        gains.append(float(window.abs().max()) if level == "peak" else 1.0)
        masks.append(local_mask(clips.spectrogram.magnitude[0]).numpy())
    stitcher = Stitcher(frontend, apply, spans, gains, masks.__getitem__)
    blocks = list(stitcher.blocks(wav.split(777), len(wav)))
    assert [block.span.start for block in blocks[1:]] == [block.span.stop for block in blocks[:-1]]
    assert torch.equal(torch.cat([block.input for block in blocks]), wav)
    return torch.cat([block.explanation for block in blocks])


def one_pass(frontend, wav, apply, level):
    clips = frontend.clips(wav[None])
    clips = clips.levelled() if level == "peak" else clips
    mask = local_mask(clips.spectrogram.magnitude[0])[None]
    return MaskedPair.of(clips, mask, apply).listenable[0]


@pytest.mark.parametrize("apply", ["log", "linear"])
@pytest.mark.parametrize("level", ["none", "peak"])
@pytest.mark.parametrize(("seconds", "hop"), [(0.5, None), (0.5, 0.15), (0.6, 0.4)])
def test_windows_agree_with_one_pass_over_the_whole(apply, level, seconds, hop):
    """Where the mask of a frame depends on less around it than a quarter of the overlap of windows."""
    frontend, wav = Frontend(replace(SMALL, level=level)), sound(20_011)
    plan = WindowPlan.of(frontend.settings, seconds, hop)
    assert (plan.length - plan.hop) / 4 > (REACH + 2) * UNIT
    expected = one_pass(frontend, wav, apply, level)
    assert (stitched(frontend, wav, plan, apply, level) - expected).abs().max() < 2e-5 * expected.abs().max()


def test_without_an_overlap_they_do_not():
    """The check above can fail: what lies beyond the edge of a window is missing there."""
    frontend, wav = Frontend(replace(SMALL, level="none")), sound(20_011)
    plan = WindowPlan.of(frontend.settings, 0.5, 0.5)
    expected = one_pass(frontend, wav, "log", "none")
    assert (stitched(frontend, wav, plan, "log", "none") - expected).abs().max() > 1e-2 * expected.abs().max()


def test_windows_at_other_levels_keep_what_each_kept_by_itself():
    """A quiet half and a loud half: each window's mask acts at the window's own level."""
    frontend = Frontend(SMALL)
    wav = torch.cat([0.01 * noise(8000).clamp(-1, 1), 0.5 * noise(8000, seed=1).clamp(-1, 1)])
    spans, mask = [Span(0, 8000), Span(8000, 16000)], np.full((251, 33), 0.5, dtype=np.float32)
    gains = [float(wav[span.start : span.stop].abs().max()) for span in spans]
    stitcher = Stitcher(frontend, "log", spans, gains, lambda index: mask)
    got = torch.cat([block.explanation for block in stitcher.blocks([wav], 16000)])
    for span, gain in zip(spans, gains, strict=True):
        clips = frontend.clips(wav[None, span.start : span.stop]).levelled()
        alone = MaskedPair.of(clips, torch.from_numpy(mask)[None], "log").listenable[0] * gain
        inner = slice(200, -200)
        assert torch.allclose(got[span.start : span.stop][inner], alone[inner], atol=1e-5 * gain)


def test_where_no_window_is_there_is_silence_and_a_mask_of_ones_gives_the_recording_back():
    frontend, wav = Frontend(SMALL), noise(16_000)
    stitcher = Stitcher(frontend, "log", [Span(3200, 6400)], [2.0], lambda _: np.ones((101, 33), dtype=np.float32))
    got = torch.cat([block.explanation for block in stitcher.blocks([wav], 16_000)])
    assert not got[:3000].any()
    assert not got[6600:].any()
    assert torch.allclose(got[3300:6300], wav[3300:6300], atol=1e-5)


def test_masks_are_read_when_they_are_needed_and_not_kept():
    frontend, read = Frontend(SMALL), []

    def mask_of(index):
        read.append(index)
        return np.ones((126, 33), dtype=np.float32)

    spans = [span for span, _ in WindowPlan(4000, 2016, UNIT).cut([torch.zeros(40_000)])]
    stitcher = Stitcher(frontend, "log", spans, [1.0] * len(spans), mask_of)
    held = [len(stitcher._masks) for _ in stitcher.blocks(noise(40_000).split(1000), 40_000)]
    assert read == list(range(len(spans)))
    assert max(held) <= 5


def test_a_recording_that_has_become_shorter_is_refused():
    stitcher = Stitcher(Frontend(SMALL), "log", [], [], lambda _: np.empty(0))
    with pytest.raises(UserError, match="has become shorter"):
        list(stitcher.blocks([torch.zeros(500)], 1000))
