"""docs/long_recordings.md: its commands run, at a tiny size, and the files that it names are there."""

import re
import shlex
from functools import partial

import pages
import pytest
import tiny

from interpretability.data import watch
from interpretability.data.sounds import LABELS
from interpretability.methods import save_interpreter
from interpretability.methods.baselines import EnergyMask

PAGE = tiny.REPOSITORY / "docs" / "long_recordings.md"


@pytest.mark.slow
def test_the_commands_of_the_page_run_and_leave_what_it_names(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "results").mkdir()
    (tmp_path / "tools").symlink_to(tiny.REPOSITORY / "tools")
    classifier = tiny.listening_classifier(list(LABELS), frontend={"sample_rate": 16000})
    save_interpreter(EnergyMask(classifier, area=0.05), tmp_path / "results" / "demo" / "piq")
    monkeypatch.setattr(watch, "make_watch", partial(watch.make_watch, seconds=6.0, times=(4.2,)))
    make, explain = pages.commands(PAGE)
    exec(shlex.split(make)[2], {})
    outcome = pages.run(explain, {"threshold": 0, "window": 2})
    assert outcome.code == 0, outcome.err
    assert outcome.out.startswith("6 s in 6 windows. Heard most: ")
    assert "siren is active (at least 0) in 6 of them" in outcome.out
    listed = PAGE.read_text("utf-8").partition("In `results/watch/`:")[2].partition("From Python")[0]
    names = re.findall(r"`([a-z_.]+(?:\.[a-z]+|/))`", listed)
    assert len(names) == 12
    for name in names:
        assert (tmp_path / "results" / "watch" / name).exists(), name
