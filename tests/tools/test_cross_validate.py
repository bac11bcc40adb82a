"""``tools/cross_validate.py``: five rotations, each fold tested once, paths as they were typed, one table."""

import importlib.util
import json
import statistics
import sys
from types import SimpleNamespace

import pytest
import tiny
import yaml

SCRIPT = tiny.REPOSITORY / "tools" / "cross_validate.py"
ACCURACIES = {1: 0.8, 2: 0.85, 3: 0.9, 4: 0.7, 5: 0.95}


@pytest.fixture(scope="module")
def tool():
    spec = importlib.util.spec_from_file_location("cross_validate_tool", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, spec.name, module)  # dataclasses look their module up
        spec.loader.exec_module(module)
        yield module


class Trainings:
    """Stands for ``subprocess.run``: notes the commands and leaves the classifier folders that they would leave."""

    def __init__(self):
        self.commands, self.failing, self.error = [], None, None

    def __call__(self, command, cwd):
        assert cwd == tiny.RECIPE
        options = dict(zip(command[3::2], command[4::2], strict=True))
        self.commands.append((command[:3], options))
        (fold,) = yaml.safe_load(options["--test_folds"])
        if fold == self.failing:
            if self.error is not None:
                raise self.error
            return SimpleNamespace(returncode=2)
        folds = {split: yaml.safe_load(options[f"--{split}_folds"]) for split in ("train", "valid", "test")}
        training = {
            "data": {"name": "ESC-10", "folds": folds},
            "seed": 1234,
            "epochs": 60,
            "best_epoch": 50 + fold,
            "valid_accuracy": 0.5,
            "test_accuracy": ACCURACIES[fold],
            "n_test": 80,
            "seconds": 12.3,
            "commit": "0123456789abcdef",
        }
        folder = cwd / options["--output_folder"] / "classifier"
        folder.mkdir(parents=True)
        (folder / "classifier.json").write_text(json.dumps({"classifier": "compact", "training": training}), "utf-8")
        return SimpleNamespace(returncode=0)

    def values(self, name):
        """Return the values that an option had, one if it was the same in all rotations."""
        values = [options.get(name) for _, options in self.commands]
        return values[0] if len(set(values)) == 1 else values


@pytest.fixture
def trainings(tool, monkeypatch):
    stub = Trainings()
    monkeypatch.setattr(tool.subprocess, "run", stub)
    return stub


@pytest.fixture
def run(tool, trainings, tmp_path, monkeypatch):
    """Call the tool from a folder that is not the recipe's."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    return lambda *arguments: tiny.call(tool.main, list(arguments))


# ---- Rotations ----


def test_every_fold_is_tested_once_selected_on_once_and_never_trained_on_meanwhile(tool):
    rotations = [tool.rotation(fold) for fold in tool.FOLDS]
    for fold, folds in zip(tool.FOLDS, rotations, strict=True):
        assert folds["test_folds"] == [fold]
        assert sorted(fold for members in folds.values() for fold in members) == [1, 2, 3, 4, 5]
        assert {name: len(members) for name, members in folds.items()} == {
            "train_folds": 3,
            "valid_folds": 1,
            "test_folds": 1,
        }
    assert sorted(folds["valid_folds"][0] for folds in rotations) == [1, 2, 3, 4, 5]
    assert tool.rotation(5) == {"train_folds": [1, 2, 3], "valid_folds": [4], "test_folds": [5]}
    assert tool.rotation(1) == {"train_folds": [2, 3, 4], "valid_folds": [5], "test_folds": [1]}


def test_results_of_others_are_not_replaced(run, tmp_path):
    (tmp_path / "here" / "cv").mkdir()
    (tmp_path / "here" / "cv" / "table.md").write_text("of the user")
    line = run("--data_folder", "data", "--out", "cv").line
    assert "holds table.md, which this program is not known to have written" in line
    assert [path.name for path in (tmp_path / "here" / "cv").iterdir()] == ["table.md"]
    assert (tmp_path / "here" / "cv" / "table.md").read_text() == "of the user"


def test_the_table_and_the_summary(run, trainings, tmp_path):
    outcome = run("--data_folder", "data", "--out", "cv", "--esc10_only", "True")
    assert outcome.code == 0, outcome.err
    assert trainings.values("--test_folds") == ["[1]", "[2]", "[3]", "[4]", "[5]"]
    assert trainings.values("--esc10_only") == "True"
    out = tmp_path / "here" / "cv"
    assert trainings.values("--output_folder") == [str(out / f"fold{fold}") for fold in range(1, 6)]
    summary = json.loads((out / "summary.json").read_text("utf-8"))
    assert summary["mean"] == pytest.approx(0.84)
    assert summary["standard_deviation"] == pytest.approx(statistics.stdev(ACCURACIES.values()))
    assert {row["fold"]: row["test_accuracy"] for row in summary["rotations"]} == ACCURACIES
    table = (out / "table.md").read_text("utf-8")
    assert table.startswith("compact, ESC-10, seed 1234, 60 epochs, commit 0123456789ab\n")
    assert "| 1 | 5 | 80 | 0.500 | 0.800 | 51 | 12 |\n" in table
    assert "| 5 | 4 | 80 | 0.500 | 0.950 | 55 | 12 |\n" in table
    assert table.endswith("| mean ± s.d. | | | | 0.840 ± 0.096 | | |\n")
    assert outcome.out.endswith(table)


def test_a_rotation_that_fails_ends_it(run, trainings, tmp_path):
    trainings.failing = 3
    outcome = run("--data_folder", "data", "--out", "cv")
    assert outcome.code == 2
    assert "the rotation that tests on fold 3 failed" in outcome.line
    assert len(trainings.commands) == 3
    assert not (tmp_path / "here" / "cv" / "table.md").exists()


def test_an_interruption_promises_nothing_that_the_tool_does_not_have(run, trainings):
    trainings.failing, trainings.error = 2, KeyboardInterrupt()
    outcome = run("--data_folder", "data", "--out", "cv")
    assert outcome.code == 130
    assert outcome.line.startswith("interrupted: run the same command again")
    assert "checkpoint" not in outcome.line


# ---- Paths ----


@pytest.mark.parametrize("form", ["two words", "one word"])
def test_paths_are_relative_to_where_they_were_typed(run, trainings, tmp_path, form):
    paths = {"--data_folder": "../data", "--cache_folder": "cache", "--yaml": "mine.yaml", "--out": "cv"}
    (tmp_path / "here" / "mine.yaml").write_text("seed: 1", "utf-8")
    line = [f"{name}={value}" for name, value in paths.items()]
    if form == "two words":
        line = [word for pair in paths.items() for word in pair]
    assert run(*line).code == 0
    here = tmp_path / "here"
    for _, options in trainings.commands:
        assert (tmp_path / options["--data_folder"]).resolve() == tmp_path / "data"
    assert trainings.values("--cache_folder") == str(here / "cache")
    assert {command[2] for command, _ in trainings.commands} == {str(here / "mine.yaml")}
    assert (here / "cv" / "table.md").is_file()


@pytest.mark.parametrize("arguments", [[], ["--yaml", "hparams/classifier_conv2d.yaml"]])
def test_a_yaml_of_the_recipe(run, trainings, arguments):
    assert run("--data_folder", "/data", "--out", "cv", *arguments).code == 0
    name = (arguments or ["hparams/classifier_compact.yaml"])[-1]
    assert {command[2] for command, _ in trainings.commands} == {str(tiny.RECIPE / name)}
    assert trainings.values("--data_folder") == "/data"
    assert trainings.values("--cache_folder") is None


def test_the_default_yaml_is_the_recipes_wherever_it_is_called_from(run, trainings, tmp_path, monkeypatch):
    monkeypatch.chdir(tiny.REPOSITORY / "recipes" / "Synthetic")
    assert run("--data_folder", "/data", "--out", str(tmp_path / "cv")).code == 0
    assert {command[2] for command, _ in trainings.commands} == {
        str(tiny.RECIPE / "hparams" / "classifier_compact.yaml")
    }


def test_no_cache_is_not_a_folder_of_that_name(run, trainings):
    assert run("--data_folder", "/data", "--out", "cv", "--cache_folder", "null").code == 0
    assert trainings.values("--cache_folder") == "null"


def test_a_yaml_that_is_nowhere(run, trainings):
    outcome = run("--data_folder", "/data", "--yaml", "none.yaml")
    assert outcome.code == 2
    assert "no YAML file at" in outcome.line
    assert "none.yaml" in outcome.line
    assert trainings.commands == []
