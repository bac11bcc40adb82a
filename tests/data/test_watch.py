"""Recordings that are made: the class is where it is said to be, and nowhere else."""

import numpy as np
import pytest
import soundfile

from interpretability.data.sounds import make_clip
from interpretability.data.watch import PEAK, make_watch
from interpretability.errors import UserError


def test_the_class_is_heard_at_the_given_times_alone(tmp_path):
    heard = make_watch(tmp_path / "watch.wav", 12.0, "chirp_up", [3.0, 8.5])
    wav, rate = soundfile.read(tmp_path / "watch.wav", dtype="float32")
    assert (len(wav), rate) == (12 * 16000, 16000)
    assert np.abs(wav).max() == pytest.approx(PEAK, rel=1e-6)
    for slot, (start, end) in zip((1, 4), heard, strict=True):
        clip = make_clip(0, "test", slot, "chirp_up")
        assert 2 * slot <= start < end <= 2 * slot + 2
        assert (start - 2 * slot, end - 2 * slot) == pytest.approx(
            (clip.parameters["event_start"], clip.parameters["event_stop"])
        )
        inside = slice(32000 * slot + 1000, 32000 * slot + 31000)
        scale = PEAK / np.abs(clip.mixture).max()
        assert np.allclose(wav[inside], scale * clip.mixture[1000:31000], atol=1e-6)
        other = make_clip(0, "test", slot, "siren").mixture[1000:31000]
        assert not np.allclose(wav[inside], other * PEAK / np.abs(other).max(), atol=1e-2)


def test_it_is_the_same_for_the_same_seed(tmp_path):
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        make_watch(tmp_path / name, 2.0, times=[], seed=seed)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes() != (tmp_path / "c").read_bytes()


@pytest.mark.parametrize("given", [{"times": [12.0]}, {"times": [-1.0]}, {"label": "dog"}, {"seconds": 1.0}])
def test_what_cannot_be_made_is_refused(tmp_path, given):
    with pytest.raises(UserError, match="expected"):
        make_watch(tmp_path / "watch.wav", **{"seconds": 12.0, "times": [], **given})
    assert not list(tmp_path.iterdir())
