"""``tools/cross_validate.py``: each fold is tested once, paths as they were typed, one table; any data with folds."""

import json
import statistics
from types import SimpleNamespace

import pytest
import tiny
import yaml

ACCURACIES = {1: 0.8, 2: 0.85, 3: 0.9, 4: 0.7, 5: 0.95}


class Trainings:
    """Stands for ``subprocess.run``: notes the commands and leaves the classifier folders that they would leave."""

    def __init__(self):
        self.commands, self.failing, self.error, self.recipe = [], None, None, tiny.RECIPE

    def __call__(self, command, cwd):
        assert cwd == self.recipe
        options = dict(zip(command[3::2], command[4::2], strict=True))
        self.commands.append((command[:3], options))
        (fold,) = yaml.safe_load(options["--test_folds"])
        if fold == self.failing:
            if self.error is not None:
                raise self.error
            return SimpleNamespace(returncode=2)
        named = [split for split in ("train", "valid", "test") if f"--{split}_folds" in options]
        folds = {split: yaml.safe_load(options[f"--{split}_folds"]) for split in named}
        training = {
            "data": {"name": "ESC-10", "folds": folds},
            "seed": 1234,
            "epochs": 60,
            "best_epoch": 50 + fold,
            "valid_accuracy": 0.5,
            "test_accuracy": ACCURACIES.get(fold, 0.5),
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
    all_folds = [1, 2, 3, 4, 5]
    rotations = [tool.rotation(fold, all_folds) for fold in all_folds]
    for fold, folds in zip(all_folds, rotations, strict=True):
        assert folds["test_folds"] == [fold]
        assert sorted(fold for members in folds.values() for fold in members) == [1, 2, 3, 4, 5]
        assert {name: len(members) for name, members in folds.items()} == {
            "train_folds": 3,
            "valid_folds": 1,
            "test_folds": 1,
        }
    assert sorted(folds["valid_folds"][0] for folds in rotations) == [1, 2, 3, 4, 5]
    assert tool.rotation(5, all_folds) == {"train_folds": [1, 2, 3], "valid_folds": [4], "test_folds": [5]}
    assert tool.rotation(1, all_folds) == {"train_folds": [2, 3, 4], "valid_folds": [5], "test_folds": [1]}


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
    # By Student's t with four degrees of freedom.
    assert table.endswith("| mean [95 %] | | | | 0.840 [0.721, 0.959] | | |\n| s.d. | | | | 0.096 | | |\n")
    assert (summary["low"], summary["high"]) == pytest.approx((0.7205, 0.9595), abs=1e-4)
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


# ---- Folds of other data sets ----


def test_urbansound8k_is_rotated_over_its_ten_folds(run, trainings):
    trainings.recipe = tiny.REPOSITORY / "recipes" / "UrbanSound8K"
    assert run("--recipe", "UrbanSound8K", "--data_folder", "/data", "--out", "cv").code == 0
    assert trainings.values("--test_folds") == [f"[{fold}]" for fold in range(1, 11)]
    assert trainings.values("--valid_folds") == ["[10]", *(f"[{fold}]" for fold in range(1, 10))]
    assert trainings.values("--train_folds")[0] == "[2, 3, 4, 5, 6, 7, 8, 9]"


def test_any_sounds_are_rotated_over_folds_that_are_to_be_made(run, trainings):
    trainings.recipe = tiny.REPOSITORY / "recipes" / "Custom"
    outcome = run("--recipe", "Custom", "--data_folder", "/data", "--out", "cv", "--folds", "3")
    assert outcome.code == 0, outcome.err
    assert trainings.values("--folds") == "3"
    assert trainings.values("--test_folds") == ["[1]", "[2]", "[3]"]
    assert trainings.values("--valid_folds") == ["[3]", "[1]", "[2]"]
    assert trainings.values("--train_folds") is None  # the script takes those that are left


def test_any_sounds_are_rotated_over_the_folds_of_a_table(run, trainings, tmp_path):
    trainings.recipe = tiny.REPOSITORY / "recipes" / "Custom"
    here = tmp_path / "here"
    rows = []
    for fold in (2, 5, 7, 9):
        (here / f"{fold}.wav").touch()
        rows.append(f"{fold}.wav;cat;{fold}\n")
    (here / "table.csv").write_text("path;label;fold\n" + "".join(rows), "utf-8")
    assert run("--recipe", "Custom", "--table", "table.csv", "--out", "cv").code == 0
    assert trainings.values("--table") == str(here / "table.csv")
    assert trainings.values("--test_folds") == ["[2]", "[5]", "[7]", "[9]"]
    (here / "table.csv").write_text("path;label\n2.wav;cat\n5.wav;dog\n", "utf-8")
    assert (
        "has no column fold, or no value in it: give --folds K"
        in run("--recipe", "Custom", "--table", "table.csv").line
    )
    assert len(trainings.commands) == 4


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--recipe", "Custom", "--data_folder", "x"], "the data have no folds yet: give --folds K, or --table FILE"),
        (["--recipe", "Custom", "--data_folder", "x", "--folds", "2"], "got the folds [1, 2], expected at least three"),
        (["--recipe", "Custom", "--data_folder", "x", "--folds", "all"], "folds is 'all', expected a whole number"),
        (["--recipe", "Custom", "--table", "none.csv"], "none.csv"),
        (["--recipe", "Synthetic"], "has no folds: give --recipe ESC50, UrbanSound8K or Custom"),
        (["--recipe", "../Custom"], "no recipe '../Custom', expected one of Custom, ESC50, Synthetic, UrbanSound8K"),
    ],
    ids=range(6),
)
def test_data_without_folds(run, trainings, arguments, words):
    assert words in run(*arguments).line
    assert trainings.commands == []


# ---- Paths ----


@pytest.mark.parametrize("form", ["two words", "one word"])
def test_paths_are_relative_to_where_they_were_typed(run, trainings, tmp_path, form):
    paths = {"--data_folder": "../data", "--cache_folder": "cache", "--yaml": "mine.yaml", "--out": "cv"}
    (tmp_path / "here" / "mine.yaml").write_text(f"extends: {tiny.RECIPE}/hparams/classifier_compact.yaml", "utf-8")
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
