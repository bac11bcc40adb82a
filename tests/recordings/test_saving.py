"""The folder: at most so many events have sounds, long ones are cut, and names are those of files."""

from pathlib import Path

import pytest
import whistles

from interpretability import explain_recording
from interpretability.methods.baselines import EnergyMask
from interpretability.recordings import saving


def test_the_events_with_the_largest_effect_have_sounds_and_long_ones_are_cut(tmp_path, monkeypatch):
    monkeypatch.setattr(saving, "MOST_SOUNDS", 1)
    monkeypatch.setattr(saving, "LONGEST_SOUND", 0.3)
    classifier = whistles.WhistleClassifier(["hum", "../whistle?"], whistles.SMALL).freeze()
    path = whistles.write(tmp_path / "night.wav", whistles.recording(6.0, [(1.2, 1.9), (4.2, 4.9)]))
    result = explain_recording(EnergyMask(classifier, area=0.02), path, tmp_path / "x", target=1, window=2.0)
    assert len(result.events) >= 2
    sounds = sorted((tmp_path / "x" / "events").iterdir())
    assert [sound.suffix for sound in sounds] == [".wav"] * 2
    assert {Path(name).name for name in saving.event_sounds(result)[0]} == {sound.name for sound in sounds}
    seconds = (sounds[0].stat().st_size - 56) / 4 / whistles.RATE
    assert seconds == pytest.approx(0.55, abs=0.01)
