"""Trained on Synthetic, every method finds the known target better than the loudest bins of the same area do.

The recipes' own YAMLs, on fewer and shorter clips and for fewer epochs: a minute each. A method that passes here looks
where the classifier's evidence is; one that only draws what is loud does not. So does a model of another library that
takes waveforms: a small audio spectrogram transformer.
"""

import json
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import tiny

from interpretability.training.runner import main

pytestmark = pytest.mark.slow
RECIPE = tiny.REPOSITORY / "recipes" / "Synthetic"
SIZES = {"n_train": 300, "n_valid": 20, "n_test": 60, "prepare.seconds": 1.0, "clip_seconds": 1.0}
#: What is asserted is measured, and nothing beside it.
MEASURED_ALONE = {"n_examples": 0, "report_clips": 0, "places": "[spectrogram]"}
#: Methods that keep components of a dictionary keep more than baselines of a fixed area: they are compared at their
#: own.
SAME_AREA = ("energy, same area", "random, same area")


@dataclass(frozen=True)
class Case:
    """How a method is trained here, and the bounds that its mask has to reach on the test clips.

    Attributes
    ----------
    energy_precision, auroc : float
        Least means over the test clips: what was measured (seed 1234), less a margin.
    overrides : dict
    baselines : tuple of str
        What it is better than on the same clips, with 95 % confidence.
    """

    energy_precision: float
    auroc: float
    overrides: dict = field(default_factory=dict)
    baselines: tuple[str, ...] = (*SAME_AREA, "energy top 10%", "energy top 20%")


CASES = {
    "piq": Case(0.76, 0.80, {"number_of_epochs": 3}),
    "lmac": Case(0.78, 0.85, {"number_of_epochs": 4}),
    "l2i": Case(0.66, 0.62, {"number_of_epochs": 8}, SAME_AREA),
    "nmf": Case(
        0.72,
        0.76,
        {"dictionary.n_components": 64, "dictionary.n_iterations": 60, "method.n_iterations": 30},
        SAME_AREA,
    ),
}


def run(job: str, script: str, yaml: str, folder: Path, output: str, **settings) -> Path:
    """Run a script of the recipe on the data of a folder; return the output folder, which lies in it too."""
    line = [str(RECIPE / "hparams" / f"{yaml}.yaml"), "--device", "cpu", "--noprogressbar"]
    folders = {"data_folder": folder / "data", "output_folder": folder / output, "cache_folder": folder / "cache"}
    line += [text for name, value in {**folders, **SIZES, **settings}.items() for text in (f"--{name}", str(value))]
    outcome = tiny.call(main, job, str(RECIPE / f"{script}.py"), line)
    print(outcome.out)
    assert outcome.code == 0, outcome.err
    return folder / output


def summary_of(output: Path) -> dict:
    """Return the summary of an evaluated run."""
    return json.loads((output / "evaluation" / "summary.json").read_text())


def accuracy(classifier: Path) -> float:
    """Return the accuracy of a trained classifier on the test clips."""
    return json.loads((classifier / "classifier.json").read_text())["training"]["test_accuracy"]


@pytest.fixture(scope="module")
def classifier(tmp_path_factory) -> Path:
    """The folder of a classifier that knows the sounds; the data lie beside its run."""
    folder = tmp_path_factory.mktemp("known_truth")
    trained = run("classifier", "train_classifier", "classifier_compact", folder, "classifier") / "classifier"
    assert accuracy(trained) >= 0.85, "what is explained has to know the sounds"
    return trained


@pytest.fixture(scope="module")
def dictionary(classifier) -> Path:
    """The run folder of a dictionary of the training clips."""
    settings = {"classifier_folder": classifier, **MEASURED_ALONE, **CASES["nmf"].overrides}
    return run("dictionary", "train_nmf", "nmf", classifier.parents[1], "nmf", **settings)


@pytest.mark.parametrize("method", CASES)
def test_the_mask_finds_the_target_better_than_the_energy_baseline(method, classifier, request):
    case, folder = CASES[method], classifier.parents[1]
    settings = {"classifier_folder": classifier, **MEASURED_ALONE, **case.overrides, "baselines": list(case.baselines)}
    if method in ("nmf", "l2i"):  # one dictionary for both
        settings["method.dictionary"] = request.getfixturevalue("dictionary")
    if method != "nmf":
        run("interpreter", "train_interpreter", method, folder, method, **settings)
    summary = summary_of(run("evaluate", "evaluate", method, folder, method, **settings))
    measured, paired = summary["places"]["spectrogram"], summary["paired"]["spectrogram"]
    for metric, least in (("energy_precision", case.energy_precision), ("auroc", case.auroc)):
        assert measured[method][metric]["mean"] >= least, metric
        for baseline in case.baselines:
            assert paired[f"{method} - {baseline}"][metric]["low"] > 0, f"{metric} against {baseline}"


def test_an_explanation_of_an_ast_finds_the_target_better_than_the_energy_baseline(tmp_path):
    """A model of another library, trained on waveforms with the recipe, and its attention; nothing else is trained."""
    sizes = {"n_train": 400, "n_test": 100}
    trained = run(
        "classifier",
        "train_classifier",
        "classifier_ast",
        tmp_path,
        "ast",
        **sizes,
        number_of_epochs=20,
        **{f"classifier.config.{name}": 16 for name in ("patch_size", "time_stride", "frequency_stride")},
        **{"classifier.config.max_length": 100},  # frames: 1 s; and a quarter of the tokens
    )
    assert json.loads((trained / "classifier" / "classifier.json").read_text())["classifier"] == "huggingface"
    assert accuracy(trained / "classifier") >= 0.5, "what is explained has to know the sounds"
    baselines = [*SAME_AREA, "energy top 20%"]
    # Its masked spectrograms reach the model as sound anyway: the other place is the same.
    settings = {**sizes, **MEASURED_ALONE, "classifier_folder": trained / "classifier", "baselines": baselines}
    summary = summary_of(
        run("evaluate", "interpret_amt", "amt_vit", tmp_path, "amt", **settings, **{"method.variant": "mean"})
    )
    for baseline in baselines:
        for metric in ("energy_precision", "auroc"):
            better = summary["paired"]["spectrogram"][f"amt - {baseline}"][metric]
            assert better["low"] > 0, f"{metric} is not above {baseline}: {better}"
