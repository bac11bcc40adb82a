"""Made-up nights: each call lies in its box, and both kinds of label tracks say so."""

import numpy as np
import pytest

from interpretability.data.annotations import AUDACITY, RAVEN, label_column, read_track, selections_of
from interpretability.data.calls import CALLS, SAMPLE_RATE, make_nights, night
from interpretability.errors import UserError


def level(wav, start, end, low, high):
    """Return the mean power of a stretch in a band."""
    part = wav[round(start * SAMPLE_RATE) : round(end * SAMPLE_RATE)]
    power = np.abs(np.fft.rfft(part * np.hanning(len(part)))) ** 2 / len(part)
    hertz = np.fft.rfftfreq(len(part), 1 / SAMPLE_RATE)
    return power[(low <= hertz) & (hertz <= high)].mean()


def test_calls_lie_in_their_boxes():
    wav, boxes = night(np.random.default_rng(0), 12.0)
    assert wav.dtype == np.float32
    assert np.abs(wav).max() == pytest.approx(0.5)
    assert len(boxes) == 6
    for box in boxes:
        limits = box["low"], box["high"]
        inside = level(wav, box["start"], box["end"], *limits)
        # There is no call before it or behind it; a knock may be there.
        before, after = (box["start"] - 0.1, box["start"]), (box["end"], box["end"] + 0.1)
        assert inside > 10 * min(level(wav, *times, *limits) for times in (before, after))
        assert box["label"] in CALLS


def test_a_folder_of_nights(tmp_path):
    folder = make_nights(tmp_path / "nights", recordings=2, seconds=4.0)
    assert len(list(folder.glob("*.wav"))) == 2
    for name, kind in (("night00.Table.1.selections.txt", RAVEN), ("night01.txt", AUDACITY)):
        track = read_track((folder / name).read_text("utf-8"), folder / name)
        selections, faults = selections_of(track, label_column([track], None))
        assert (track.kind, len(selections), faults) == (kind, 2, [])
        _, boxes = night(np.random.default_rng((0, int(name[5:7]))), 4.0)
        for selection, box in zip(selections, boxes, strict=True):
            for limit in ("start", "end", "low", "high"):
                assert getattr(selection, limit) == pytest.approx(box[limit], abs=1e-5)
            assert selection.label == box["label"]
    with pytest.raises(UserError, match="expected a new folder"):
        make_nights(folder)
