"""Every recipe YAML runs, on tiny data, with the commands that users type; and the register misses none."""

import csv
import importlib.util
import json
import math
import re
import runpy
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import soundfile
from tiny import Outcome, call, make_data, run_process

from interpretability.classifiers import load_classifier
from interpretability.frontend import PLACES
from interpretability.methods import load_interpreter
from interpretability.methods.baselines import baselines, matched_baselines
from interpretability.metrics.suite import LOCALISATION, METRICS
from interpretability.training.composition import compose, list_yamls

REPOSITORY = Path(__file__).resolve().parents[2]
RECIPES = REPOSITORY / "recipes"
SAMPLE_RATE = 16000  # Hz
JOBS = {
    "interpret_amt": "evaluate",
    "train_classifier": "classifier",
    "train_interpreter": "interpreter",
    "train_l2i": "interpreter",
    "train_lmac": "interpreter",
    "train_nmf": "dictionary",
    "train_piq": "interpreter",
    "evaluate": "evaluate",
}

_specification = importlib.util.spec_from_file_location("recipe_register", Path(__file__).with_name("register.py"))
register = importlib.util.module_from_spec(_specification)
_specification.loader.exec_module(register)


# ------------------------------------------------------------------------------------------------------ running


@dataclass
class Result:
    """What a row left behind: exit status of each script that was run, and where."""

    statuses: dict[str, int]
    output: Path
    data: Path
    settings: dict


class Runs:
    """Runs rows on demand, each once, the classifier of a row before the row.

    In a copy of the recipes, so that what they leave there is seen, whatever else is running in the repository.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        self.recipes = folder / "repository" / "recipes"
        for part in ("recipes", "hparams"):
            without = shutil.ignore_patterns("__pycache__", "results", "data")
            shutil.copytree(REPOSITORY / part, folder / "repository" / part, ignore=without)
        self.files_before = self.files()
        self.data = {"ESC50": make_data(folder / "data" / "ESC50"), "Synthetic": folder / "data" / "Synthetic"}
        self.results: dict[str, Result] = {}

    def files(self) -> set[Path]:
        """Return what is in the copy of the recipes."""
        return {path for path in self.recipes.rglob("*") if "__pycache__" not in path.parts}

    def __call__(self, name: str) -> Result:
        if name not in self.results:
            self.results[name] = self.run_again(name)
        return self.results[name]

    def run_again(self, name: str) -> Result:
        """Run a row, even if it has run before."""
        recipe, yaml = name.split("/")
        row = register.REGISTER[name]
        output, data = self.folder / name, self.data[recipe]
        text = compose(self.recipes / recipe / "hparams" / f"{yaml}.yaml", complete=False)
        settings = {
            **register.COMMON,
            **(register.EXPLAINED if row.classifier is not None else {}),
            **(register.TRAINED if re.search("^training:", text, re.MULTILINE) else {}),
            **register.DATA[recipe],
            **row.overrides,
            "data_folder": data,
            "output_folder": output,
            "cache_folder": self.folder / "cache" / recipe,
        }
        if row.classifier is not None:
            settings["classifier_folder"] = self(f"{recipe}/{row.classifier}").output / "classifier"
        settings |= {key: self(f"{recipe}/{first}").output for key, first in row.after.items()}
        argv = [f"hparams/{yaml}.yaml", "--device", "cpu", "--noprogressbar"]
        argv += [text for key, value in settings.items() for text in (f"--{key}", str(value))]
        statuses = {}
        for script in row.scripts:
            run = self._as_user if script in row.as_user else self._in_process
            outcome = run(self.recipes / recipe, script, argv)
            statuses[script] = outcome.code
            print(outcome.out, outcome.err, sep="\n")  # pytest shows it when the test fails
            if outcome.code:
                break
        return Result(statuses, output, data, settings)

    @staticmethod
    def _in_process(recipe: Path, script: str, argv: list[str]) -> Outcome:
        def run_script() -> int:
            with pytest.raises(SystemExit) as ended:
                runpy.run_path(sys.argv[0], run_name="__main__")
            return ended.value.code

        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(recipe)
            patch.setattr(sys, "argv", [f"{script}.py", *argv])
            return call(run_script)

    @staticmethod
    def _as_user(recipe: Path, script: str, argv: list[str]) -> Outcome:
        return run_process([f"{script}.py", *argv], recipe)


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> Runs:
    """Every row, run on demand."""
    return Runs(tmp_path_factory.mktemp("smoke"))


def rows(kind: str) -> list:
    """Return the names of the rows that train a classifier, or that explain one."""
    names = [name for name, row in register.REGISTER.items() if (row.classifier is None) == (kind == "classifier")]
    return [pytest.param(name, marks=pytest.mark.slow) if is_slow(name) else name for name in names]


def is_slow(name: str) -> bool:
    """Whether a row is left out where time is short: these few are enough there."""
    return name not in ("Synthetic/classifier_compact", "ESC50/classifier_compact", "Synthetic/lmac")


def expected_clips(data: Path, recipe: str) -> dict[str, int]:
    """Return the test clips and their lengths at 16 kHz, in samples, from the files themselves."""
    if recipe == "Synthetic":
        paths = list((data / "audio").glob("test-*.wav"))
    else:
        with open(data / "meta" / "esc50.csv", encoding="utf-8") as stream:
            paths = [data / "audio" / row["filename"] for row in csv.DictReader(stream) if row["fold"] == "3"]
    headers = {path.stem: soundfile.info(path) for path in paths}
    return {name: math.ceil(header.frames * SAMPLE_RATE / header.samplerate) for name, header in headers.items()}


# -------------------------------------------------------------------------------------------------------- tests


def recipe_names() -> set[str]:
    """Return the recipes that have rows in the register."""
    names = {path.parents[1].name for path in RECIPES.glob("*/hparams/data.yaml")}
    assert names > set(register.RUN_ELSEWHERE)
    return names - set(register.RUN_ELSEWHERE)


def test_the_register_and_the_recipes_name_the_same_yamls():
    folders = {RECIPES / name / "hparams" for name in recipe_names()}
    names = {folder.parent.name: [Path(name).stem for name in list_yamls(folder)] for folder in folders}
    elsewhere = {*register.EXTENDED, *register.OF_GIVEN_MODELS}
    assert all(set(register.OF_GIVEN_MODELS) <= set(names[recipe]) for recipe in names)
    present = {f"{recipe}/{name}" for recipe in names for name in names[recipe] if name not in elsewhere}
    once = {name for name in present if name.split("/")[1] in register.RUN_ONCE}
    assert {name.split("/")[1] for name in once & register.REGISTER.keys()} == set(register.RUN_ONCE)
    assert not any((RECIPES / name.split("/")[0] / "hparams" / f"{name.split('/')[1]}.yaml").exists() for name in once)
    assert present - once - register.REGISTER.keys() == set(), "YAMLs without a row in tests/recipes/register.py"
    assert register.REGISTER.keys() - present == set(), "rows without a YAML"


def test_the_register_runs_every_script_of_every_recipe():
    present = {f"{name}/{path.stem}" for name in recipe_names() for path in (RECIPES / name).glob("*.py")}
    used = {f"{name.split('/')[0]}/{script}" for name, row in register.REGISTER.items() for script in row.scripts}
    assert any(row.as_user for row in register.REGISTER.values())
    # These do the same job; test_layout.py checks that each is the same in all recipes.
    twins = {script for script, job in JOBS.items() if job == "interpreter"}
    assert used <= present
    assert {script for script in present - used if script.split("/")[1] not in twins} == set()
    assert {script for name in used for script in name.split("/")[1:]} == set(JOBS)


def test_scripts_ask_for_the_job_they_are_registered_with():
    for path in RECIPES.glob("*/*.py"):
        assert f'main("{JOBS[path.stem]}", __file__)' in path.read_text(encoding="utf-8"), path


@pytest.mark.parametrize("name", rows("classifier"))
def test_classifier_recipe(name, runs):
    result = runs(name)
    recipe, yaml = name.split("/")
    assert result.statuses == {"train_classifier": 0}

    folder = result.output / "classifier"
    description = json.loads((folder / "classifier.json").read_text(encoding="utf-8"))
    labels = description["labels"]
    assert len(labels) == len(set(labels)) == (10 if recipe == "Synthetic" else 3)
    assert load_classifier(folder).description["sha256"] == description["sha256"]
    assert description["frontend"]["sample_rate"] == SAMPLE_RATE
    training = description["training"]
    n_test = len(expected_clips(result.data, recipe))
    assert training["n_test"] == n_test
    # An accuracy is a share of whole clips.
    assert 0 <= training["test_accuracy"] <= 1
    assert training["test_accuracy"] * n_test == pytest.approx(round(training["test_accuracy"] * n_test), abs=1e-6)
    assert training["epochs"] == training["best_epoch"] == 1
    assert training["seed"] == 1234
    assert training["commit"]
    assert load_classifier(folder).labels == labels
    for name, value in result.settings.items():
        if name in ("classifier.dim", "classifier.emb_dim", "classifier.base_channels"):
            size = description["architecture"][name.removeprefix("classifier.")]
            assert size == value, f"{yaml}: the override had no effect"


@pytest.mark.parametrize("name", rows("interpreter"))
def test_interpreter_recipe(name, runs):
    result = runs(name)
    recipe = name.split("/")[0]
    row = register.REGISTER[name]
    assert result.statuses == dict.fromkeys(row.scripts, 0)

    interpreter = load_interpreter(result.output)
    given = {key.removeprefix("method."): row.overrides[key] for key in row.overrides if key.startswith("method.")}
    settings = interpreter.settings.to_dict()
    assert {key: settings[key] for key in given} == given
    known = json.loads((result.settings["classifier_folder"] / "classifier.json").read_text(encoding="utf-8"))
    # The classifier that was given is the one inside, untouched by the training.
    assert interpreter.classifier.description["sha256"] == known["sha256"]
    assert interpreter.classifier.labels == known["labels"]

    clips = expected_clips(result.data, recipe)
    named = result.settings["baselines"]
    everything = [*matched_baselines(seed=0), *baselines(interpreter.classifier, seed=0)]
    measured = [each for each in everything if named == "null" or each in named]
    check_evaluation(result.output / "evaluation", interpreter.NAME, measured, set(clips), known)
    fixed_length = interpreter.description["training"]["fixed_length"]
    longest = round(result.settings["clip_seconds"] * SAMPLE_RATE)
    lengths = {clip: longest if fixed_length else min(length, longest) for clip, length in clips.items()}
    check_examples(result.output / "examples", lengths, result.settings["n_examples"])


def check_evaluation(folder: Path, method: str, measured: list[str], clips: set[str], classifier: dict) -> None:
    """Check the three files of an evaluation against each other and against the data."""
    summary = json.loads((folder / "summary.json").read_text(encoding="utf-8"), parse_constant=refuse_constant)
    assert summary["n"] == len(clips)
    assert 0 <= summary["accuracy"] <= 1
    provenance = summary["provenance"]
    assert {"commit", "seed", "classifier", "data", "suite", "apply", "method", "settings"} <= provenance.keys()
    assert provenance["classifier"] == classifier["sha256"]
    assert provenance["data"]["n_clips"]["test"] == len(clips)
    assert tuple(summary["places"]) == PLACES
    methods = set(summary["places"]["spectrogram"])
    companions = summary["companions"]
    assert companions == [name for name in measured if name in matched_baselines(seed=0)]
    assert methods == {method, *measured}
    # Localisation is measured where the labelled sound is known, and absent elsewhere.
    located = LOCALISATION.keys() if provenance["data"]["name"].startswith("Synthetic") else set()

    lines = (folder / "clips.jsonl").read_text(encoding="utf-8").splitlines()
    rows = [json.loads(line, parse_constant=refuse_constant) for line in lines]
    keys = [(row["clip"], row["method"], row["place"]) for row in rows]
    assert set(keys) == {(clip, name, place) for clip in clips for name in methods for place in PLACES}
    assert len(keys) == len(set(keys))
    for row in rows:
        assert row["commit"] == provenance["commit"] != ""
        assert row["seed"] == 1234
        assert row["classifier"] == classifier["sha256"]
        assert row["suite"] == "clean"
        assert row["apply"] == "log"
        assert {row["true"], row["predicted"], row["explained"]} <= set(classifier["labels"])
        assert METRICS.keys() <= row.keys()
        assert LOCALISATION.keys() & row.keys() == located
    # A decision of a classifier of one epoch has a counterfactual or none: without one there is no area.
    rows = [row for row in rows if row["kept_area"] is not None or method != "counterfactual"]
    areas = {(row["clip"], row["method"]): row["kept_area"] for row in rows}
    for (clip, name), area in areas.items():
        if name in companions:
            assert area == pytest.approx(areas[clip, method], abs=1e-4)
    for place in PLACES:
        for name in methods:
            # The means are those of the rows.
            areas = [row["kept_area"] for row in rows if row["method"] == name and row["place"] == place]
            mean = summary["places"][place][name]["kept_area"]["mean"]
            assert mean == (pytest.approx(sum(areas) / len(areas)) if areas else None)
        # What is known beforehand: M = 1 keeps everything and changes no answer.
        assert summary["places"][place]["M = 1"]["kept_area"]["mean"] == pytest.approx(1.0)
        assert summary["places"][place]["M = 1"]["fid_in"]["mean"] == 1.0
        assert summary["places"][place]["energy top 20%"]["kept_area"]["mean"] == pytest.approx(0.2, abs=1e-3)

    table = (folder / "table.md").read_text(encoding="utf-8")
    for name in (method, *measured):
        assert table.count(f"\n| {name} | {len(clips)} |") == len(PLACES), f"{name} is not in both tables"
    assert "masked spectrogram" in table
    assert "masked sound" in table
    assert table.count("AUROC") == (len(PLACES) if located else 0)
    assert not list(folder.glob("*partial*"))


def check_examples(folder: Path, lengths: dict[str, int], count: int) -> None:
    """Check that examples are sounds of exactly the clip's length that add up, a figure and a description."""
    examples = sorted(path for path in folder.glob("*") if path.is_dir())
    assert len(examples) == count
    for example in examples:
        wavs = {}
        for part in ("input", "explanation", "residual"):
            wavs[part], rate = soundfile.read(example / f"{part}.wav", dtype="float64")
            assert rate == SAMPLE_RATE
            assert wavs[part].shape == (lengths[example.name],), f"{part} of {example.name}"
            assert np.isfinite(wavs[part]).all()
        assert np.abs(wavs["input"]).max() == pytest.approx(1.0, abs=1e-3)  # the level rule: divided by the peak
        figure = (example / "figure.png").read_bytes()
        assert figure.startswith(b"\x89PNG\r\n\x1a\n")
        assert len(figure) > 5000
        description = json.loads((example / "explanation.json").read_text(encoding="utf-8"))
        assert description["seconds"] == pytest.approx(lengths[example.name] / SAMPLE_RATE)
        assert 0 <= description["kept_area"] <= 1


def refuse_constant(name: str) -> None:
    """NaN and Infinity are not JSON, though Python writes and reads them."""
    raise ValueError(f"{name} in a JSON file")


@pytest.mark.slow
def test_runs_leave_the_recipe_folders_alone_and_archive_what_they_did(runs):
    result = runs("ESC50/piq")
    assert runs.files() == runs.files_before
    for name in ("hyperparams.yaml", "run.json", "train_log.txt", "train_interpreter.py"):
        assert (result.output / name).is_file(), name
    # What trained the run and what evaluated it lie apart.
    assert [path.name for path in result.output.glob("*.py")] == ["train_interpreter.py"]
    assert [path.name for path in (result.output / "evaluation").glob("*.py")] == ["evaluate.py"]
    for folder in (result.output, result.output / "evaluation"):
        archived = (folder / "hyperparams.yaml").read_text(encoding="utf-8")
        assert "extends" not in archived
        assert "codebook_size: 20" in archived
        assert (folder / "log.txt").is_file()
    assert any(result.settings["cache_folder"].iterdir()), "the decoded clips were not kept"


def test_a_finished_run_is_not_trained_again(runs):
    result = runs("ESC50/classifier_compact")
    weights = result.output / "classifier" / "weights.pt"
    before = weights.stat().st_mtime_ns
    again = runs.run_again("ESC50/classifier_compact")
    assert again.statuses == {"train_classifier": 0}
    assert weights.stat().st_mtime_ns == before
