"""``tools/measure_recordings.py``: a row for each length, from a process of its own."""

import json

import pytest
import tiny

from interpretability.classifiers import save_classifier
from interpretability.data.sounds import LABELS


@pytest.mark.slow
def test_each_length_is_measured_in_a_process_of_its_own(tool, tmp_path):
    classifier = tiny.listening_classifier(list(LABELS), frontend={"sample_rate": 16000})
    save_classifier(classifier, tmp_path / "model")
    line = [str(tmp_path / "model"), "--out", str(tmp_path / "out"), "--minutes", "0.1", "--threshold", "1"]
    outcome = tiny.call(tool.main, line)
    assert outcome.code == 0, outcome.err
    (row,) = json.loads((tmp_path / "out" / "measured.json").read_text("utf-8"))["measured"]
    assert (row["minutes"], row["windows"], row["active_windows"]) == (0.1, 2, 0)
    assert 100 < row["peak_megabytes"] < 3000
    assert row["times_real_time"] > 0
    assert row["cpu_seconds"] > 1
    assert outcome.out.splitlines()[2].startswith("| 0 | 2 | 0 |")
