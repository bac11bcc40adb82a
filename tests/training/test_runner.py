"""The runner as a process, and its jobs."""

import pytest
import tiny

from interpretability.training.recipe import KEYS
from interpretability.training.runner import JOBS


def test_every_job_has_its_keys():
    assert JOBS.keys() == KEYS.keys()


@pytest.mark.slow
def test_a_script_says_one_line_and_gives_its_status(tiny_esc50, tmp_path):
    line = tiny.arguments("interpreter", tiny_esc50, tmp_path / "run", no_such_key=3)
    outcome = tiny.run_process(["train_piq.py", *line])
    assert outcome.code == 2
    assert "--no_such_key: " in outcome.line
    assert not (tmp_path / "run").exists()
