"""The worked examples of CONTRIBUTING.md, carried out word for word in a copy of the repository."""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import tiny

from interpretability.methods.folder import METHODS

pytestmark = pytest.mark.slow

#: What makes the runs tiny.
TINY = {"device": "cpu", "noprogressbar": None, "batch_size": 2}
TINY_SETTINGS = {
    "train_classifier": {"number_of_epochs": 1, "frontend.sample_rate": tiny.RATE, "classifier.channels": [4, 4, 8, 8]},
    "train_piq": {"number_of_epochs": 1, "method.channels": 8, "method.decoder_channels": [8, 4]},
    "evaluate": {"n_examples": 1, "report_clips": 2},
}
TINY_SETTINGS["evaluate hparams/piq.yaml"] = {**TINY_SETTINGS["train_piq"], **TINY_SETTINGS["evaluate"]}

#: Runs scripts' jobs in one process; their output, a list of [exit status, text], is its last line.
DRIVER = """
import contextlib, io, json, sys
from unittest import mock
from interpretability.training.runner import main

results = []
for job, script, argv in json.loads(sys.argv[1]):
    out = io.StringIO()
    with contextlib.redirect_stdout(out), mock.patch("speechbrain.utils.logger.get_environment_description", str):
        results.append([main(job, script, argv), out.getvalue()])
print(json.dumps(results))
"""


def blocks(language: str) -> list[str]:
    """Return the code blocks of CONTRIBUTING.md in a language."""
    text = (tiny.REPOSITORY / "CONTRIBUTING.md").read_text("utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```$", text, flags=re.MULTILINE | re.DOTALL)


def write_block(repository: Path, block: str) -> None:
    """Write a block to the file that its first line names; what goes to the registry is put where the text says."""
    name, _, content = block.partition("\n")
    path = repository / name.removeprefix("# ")
    if path.is_file() and path.suffix == ".py":
        before = path.read_text("utf-8")
        content = before.replace("REGISTRY = (\n", f"REGISTRY = (\n{content}", 1)
        assert content.count("\n") == before.count("\n") + 1, "one line in the registry"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content, "utf-8")


@pytest.fixture(scope="module")
def whistles(tmp_path_factory) -> Path:
    """A folder of sounds named CLASS-NUMBER.wav."""
    return tiny.make_data(tmp_path_factory.mktemp("whistles") / "data", n_clips=6) / "audio"


@pytest.fixture(scope="module")
def repository(tmp_path_factory) -> Path:
    """A copy of the repository with what the examples add."""
    copy = tmp_path_factory.mktemp("contributing") / "repository"
    for part in ("interpretability", "hparams", "recipes"):
        without = shutil.ignore_patterns("__pycache__", "results", "data" if part == "recipes" else "")
        shutil.copytree(tiny.REPOSITORY / part, copy / part, ignore=without)
    for line in "".join(blocks("bash")).splitlines():
        if line.startswith(("cp ", "mkdir ")):
            subprocess.run(line, cwd=copy, shell=True, check=True)
    for block in (*blocks("python"), *blocks("yaml")):
        write_block(copy, block)
    return copy


@pytest.fixture(scope="module")
def outcomes(repository, whistles) -> dict[str, list]:
    """What the commands of the examples give: command -> [exit status, stdout]."""
    recipe = repository / "recipes" / "Whistles"
    lines = [line for block in blocks("bash") for line in block.splitlines() if line.startswith("python ")]
    jobs = []
    for line in lines:
        script, *argv = shlex.split(line.replace("/path/to/whistles", str(whistles)))[1:]
        job = re.search(r'main\("(\w+)"', (recipe / script).read_text("utf-8"))[1]
        stem = script.removesuffix(".py")
        if argv[0].startswith("hparams/"):
            given = TINY | TINY_SETTINGS.get(f"{stem} {argv[0]}", TINY_SETTINGS[stem])
            for name, value in given.items():
                argv += [f"--{name}"] if value is None else [f"--{name}", str(value)]
        jobs.append((job, str(recipe / script), argv))
    done = subprocess.run(
        [sys.executable, "-c", DRIVER, json.dumps(jobs)],
        cwd=recipe,
        env={**os.environ, "PYTHONPATH": str(repository), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return dict(zip(lines, json.loads(done.stdout.splitlines()[-1]), strict=True))


def test_every_command_of_the_examples_succeeds(outcomes):
    assert len(outcomes) == 5
    assert {line: code for line, (code, _) in outcomes.items()} == dict.fromkeys(outcomes, 0)


def test_a_new_data_set_is_trained_on_and_evaluated(outcomes, repository):
    results = repository / "recipes" / "Whistles" / "results"
    trained = json.loads((results / "classifier_compact" / "1234" / "classifier" / "classifier.json").read_text())
    assert trained["labels"] == ["high", "low"]  # n_classes of the data.yaml
    assert len(trained["training"]["data"].pop("content")) == 64
    assert trained["training"]["data"] == {
        "name": "Whistles",
        "n_clips": {"train": 8, "valid": 2, "test": 2},
        "n_skipped": 0,
    }
    summary = json.loads((results / "piq" / "1234" / "evaluation" / "summary.json").read_text())
    assert summary["n"] == 2
    assert "piq" in summary["places"]["waveform"]


def test_a_new_method_is_listed_set_and_evaluated(outcomes, repository):
    listed, evaluated = [text for line, (_, text) in outcomes.items() if "speckle" in line]
    assert "density = 0.3  (a number >= 0 and <= 1)\n      share of the bins that is kept" in listed
    assert "speckle" in evaluated
    run = repository / "recipes" / "Whistles" / "results" / "speckle" / "1234"
    saved = json.loads((run / "interpreter" / "interpreter.json").read_text())
    assert saved["settings"] == {"apply": "log", "density": 0.5, "seed": 0}
    summary = json.loads((run / "evaluation" / "summary.json").read_text())
    assert summary["places"]["spectrogram"]["speckle"]["kept_area"]["mean"] == pytest.approx(0.5, abs=1e-3)
    assert "speckle" not in METHODS, "the example does not reach this process"
