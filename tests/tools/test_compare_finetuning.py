"""``tools/compare_finetuning.py``: which trainings it asks for, and what it makes of their results."""

import json
from types import SimpleNamespace

import numpy as np
import pytest
import tiny
import yaml


class Trainings:
    """Stands for the jobs: notes their command lines, and gives the results that they would have."""

    def __init__(self):
        self.lines, self.failing = [], None

    def run_job(self, job, script, line):
        settings = dict(zip(line[1:-1:2], line[2:-1:2], strict=True))
        self.lines.append((job, script.rpartition("/")[2], settings))
        return 2 if self.failing and self.failing in settings["--output_folder"] else 0

    def read_predictions(self, path, labels):
        """Four clips: from scratch every other one is right, fine-tuned all, of seed 2 none."""
        truth = np.arange(4) % len(labels)
        tuned, second = "fine-tuned" in str(path), "/2/" in str(path)
        predicted = truth if tuned and not second else truth + (1 if second else np.arange(4) % 2)
        return {"test": SimpleNamespace(truth=truth, predicted=predicted)}

    def measure(self, out, classifier_run, folders, data_folder):
        assert "classifier_fine-tuned" in str(classifier_run)
        levels = {"from scratch": 0.5, "fine-tuned": 0.25}
        return [
            {
                "clip": f"{n}",
                "method": arm,
                "fid_in": 1.0,
                "ad": 10 * level,
                "kept_area": level,
                "energy_precision": None,
            }
            for n in range(4)
            for arm, level in levels.items()
        ]


@pytest.fixture
def trainings(tool, monkeypatch):
    stub = Trainings()
    for name in ("run_job", "read_predictions", "measure"):
        monkeypatch.setattr(tool, name, getattr(stub, name))
    return stub


def test_the_table_and_the_summary(tool, trainings, tmp_path):
    outcome = tiny.call(tool.main, ["--out", str(tmp_path / "out"), "--seeds", "1", "2"])
    assert outcome.code == 0, outcome.err
    table = (tmp_path / "out" / "table.md").read_text("utf-8")
    assert "n: 8 test clips of 2 repetitions (seeds 1, 2)" in table
    # The intervals are over repetitions: of seed 1 all are right, of seed 2 none.
    row = "| classifier: accuracy ↑ | 0.250 [0.000, 0.500] | 0.500 [0.000, 1.000] | +0.250 [+0.000, +0.500] |"
    assert row in table
    assert "| PIQ: AD (%) ↓ | 5.0 [5.0, 5.0] | 2.5 [2.5, 2.5] | -2.5 [-2.5, -2.5] |" in table
    assert "| L-MAC: energy precision ↑ | – | – | – |" in table
    assert outcome.out.rstrip().endswith(table.rstrip())
    summary = json.loads((tmp_path / "out" / "summary.json").read_text("utf-8"))
    assert summary["seeds"] == [1, 2]
    assert summary["results"]["classifier: accuracy ↑"]["fine-tuned"]["mean"] == 0.5
    assert summary["settings"]["piq, fine-tuned"] == tool.SETTINGS["piq", "fine-tuned"]


def test_both_of_a_pair_differ_only_in_what_was_chosen(tool, trainings, tmp_path):
    assert tiny.call(tool.main, ["--out", str(tmp_path / "out"), "--seeds", "3"]).code == 0
    source, rest = trainings.lines[:3], trainings.lines[3:]
    classes = [set(yaml.safe_load(settings["--classes"])) for _, _, settings in trainings.lines]
    assert all(some == set(tool.SOURCE_CLASSES) for some in classes[:3])
    assert all(some == set(tool.CLASSES) for some in classes[3:])
    assert not set(tool.SOURCE_CLASSES) & set(tool.CLASSES)
    assert [script for _, script, _ in source] == ["train_classifier.py", "train_piq.py", "train_lmac.py"]
    for (job, script, scratch), (_, again, tuned) in zip(rest[::2], rest[1::2], strict=True):
        assert script == again
        what = script.removeprefix("train_").removesuffix(".py")
        assert scratch["--seed"] == scratch["--data_seed"] == "3"
        assert "--finetune_from" not in scratch
        assert tuned.pop("--finetune_from") == str(tmp_path / "out" / "source" / what)
        chosen = {f"--{name}" for arm in ("from scratch", "fine-tuned") for name in tool.SETTINGS[what, arm]}
        differing = {name for name in {**scratch, **tuned} if scratch.get(name) != tuned.get(name)}
        assert differing <= {"--output_folder", *chosen}
        if job == "interpreter":
            assert scratch["--classifier_folder"].endswith("3/classifier_fine-tuned")


def test_what_fails_is_one_line(tool, trainings, tmp_path):
    trainings.failing = "piq_fine-tuned"
    line = tiny.call(tool.main, ["--out", str(tmp_path / "out"), "--seeds", "1"]).line
    assert "train_piq.py failed in" in line
    assert not (tmp_path / "out" / "table.md").exists()
    assert "give each one once" in tiny.call(tool.main, ["--out", str(tmp_path / "twice"), "--seeds", "1", "1"]).line
    assert not (tmp_path / "twice").exists()
