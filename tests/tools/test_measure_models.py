"""``tools/measure_models.py``: what is heard in groups of sounds."""

import numpy as np
import pytest
import soundfile

from interpretability.errors import UserError

FUNCTION = """
import numpy as np

def loud(wavs):
    return np.clip(100 * (wavs**2).mean(1, keepdims=True), 0, 1)

def high(wavs):
    power = np.abs(np.fft.rfft(wavs)) ** 2
    low, high = np.array_split(power, 2, axis=1)
    return np.log(np.stack([low.sum(1), high.sum(1)], 1) + 1e-9)
"""


@pytest.fixture
def sounds(tmp_path, monkeypatch):
    (tmp_path / "functions_to_measure.py").write_text(FUNCTION)
    monkeypatch.syspath_prepend(tmp_path)
    time = np.arange(8000) / 8000
    for group, hertz in (("low", 300), ("high", 3500)):
        (tmp_path / group).mkdir()
        for number, level in enumerate((0.01, 0.5)):
            soundfile.write(tmp_path / group / f"{number}.wav", level * np.sin(2 * np.pi * hertz * time), 8000)
    return tmp_path


def test_each_group_has_its_class_and_the_probability_of_those_that_are_named(tool, sounds, capsys):
    words = ["--group", f"low={sounds / 'low'}", f"high={sounds}/high/*.wav"]
    source = ["python:functions_to_measure:high", "--classifier_settings", 'labels=["a", "b"]', "sample_rate=8000"]
    assert tool.main([*source, *words, "--classes", "b"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "| sounds | n | most probable class (in so many) | p(b) |"
    assert lines[2:] == ["| low | 2 | a (2) | 0.00 [0.00, 0.00] |", "| high | 2 | b (2) | 1.00 [1.00, 1.00] |"]


def test_a_detector_of_one_class_is_counted_by_its_threshold(tool, sounds, capsys):
    source = ["python:functions_to_measure:loud", "--classifier_settings", 'labels=["loud"]', "sample_rate=8000"]
    assert tool.main([*source, "output=probabilities", "--group", f"low={sounds / 'low'}"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "| sounds | n | heard (in so many) | its p |"
    assert lines[2].startswith("| low | 2 | loud (1) | 0.50 [0.0")


@pytest.mark.parametrize(
    ("group", "message"),
    [
        ("low", "--group is 'low', expected NAME=FOLDER or NAME=PATTERN"),
        ("low=nowhere/*", "--group low=nowhere/.: there are no sounds"),
    ],
)
def test_groups_that_do_not_fit(tool, group, message):
    with pytest.raises(UserError, match=message):
        tool.files_of(group)
