"""Trained on Synthetic, every method finds the known target better than the loudest bins of the same area do.

The recipes' own YAMLs, on fewer clips and for fewer epochs: minutes, not seconds. A method that passes here points to
the classifier's evidence; one that only draws what is loud does not pass. So does a model of another library that takes
waveforms: a small audio spectrogram transformer.
"""

import json
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import tiny

from interpretability.training.runner import main

pytestmark = pytest.mark.slow
RECIPE = tiny.REPOSITORY / "recipes" / "Synthetic"
SETTINGS = {"n_train": 300, "n_valid": 40, "n_test": 100, "n_examples": 0}
#: Methods that keep components of a dictionary keep more than baselines of a fixed area: they are compared at their
#: own.
SAME_AREA = ("energy, same area", "random, same area")


@dataclass(frozen=True)
class Case:
    """How a method is trained here, and the bounds that its mask has to reach on the test clips.

    Attributes
    ----------
    scripts : dict
        Script -> job, in the order of the calls.
    energy_precision, auroc : float
        Least means over the test clips: what was measured (seed 1234), less a margin.
    overrides : dict
    baselines : tuple of str
        What it is better than on the same clips, with 95 % confidence.
    """

    scripts: dict[str, str]
    energy_precision: float
    auroc: float
    overrides: dict = field(default_factory=dict)
    baselines: tuple[str, ...] = (*SAME_AREA, "energy top 10%", "energy top 20%")


CASES = {
    "piq": Case({"train_piq": "interpreter"}, 0.68, 0.78, {"number_of_epochs": 6}),
    "lmac": Case({"train_lmac": "interpreter"}, 0.72, 0.83, {"number_of_epochs": 8}),
    "l2i": Case({"train_l2i": "interpreter"}, 0.58, 0.66, {"number_of_epochs": 12}, SAME_AREA),
    "nmf": Case({"train_nmf": "dictionary"}, 0.58, 0.66, {"dictionary.n_components": 64}, SAME_AREA),
}


def call(job: str, script: str, yaml: str, data: Path, output: Path, **settings) -> None:
    line = [str(RECIPE / "hparams" / f"{yaml}.yaml"), "--device", "cpu", "--noprogressbar"]
    chosen = {"data_folder": data, "output_folder": output, "cache_folder": data.parent / "cache", **settings}
    line += [text for name, value in chosen.items() for text in (f"--{name}", str(value))]
    outcome = tiny.call(main, job, str(RECIPE / f"{script}.py"), line)
    print(outcome.out)
    assert outcome.code == 0, outcome.err


@pytest.fixture(scope="module")
def classifier(tmp_path_factory) -> Path:
    """The run folder of a classifier that knows the sounds; the data lie beside it."""
    folder = tmp_path_factory.mktemp("known_truth")
    settings = {name: value for name, value in SETTINGS.items() if name != "n_examples"}
    call("classifier", "train_classifier", "classifier_compact", folder / "data", folder / "classifier", **settings)
    known = json.loads((folder / "classifier" / "classifier" / "classifier.json").read_text())
    assert known["training"]["test_accuracy"] >= 0.8, "what is explained has to know the sounds"
    return folder / "classifier"


@pytest.mark.parametrize("method", CASES)
def test_the_mask_finds_the_target_better_than_the_energy_baseline(method, classifier):
    case, folder = CASES[method], classifier.parent
    settings = {**SETTINGS, "classifier_folder": classifier / "classifier", **case.overrides}
    for script, job in {**case.scripts, "evaluate": "evaluate"}.items():
        call(job, script, method, folder / "data", folder / method, **settings)
    summary = json.loads((folder / method / "evaluation" / "summary.json").read_text())
    measured, paired = summary["places"]["spectrogram"], summary["paired"]["spectrogram"]
    for metric, least in (("energy_precision", case.energy_precision), ("auroc", case.auroc)):
        assert measured[method][metric]["mean"] >= least, metric
        for baseline in case.baselines:
            assert paired[f"{method} - {baseline}"][metric]["low"] > 0, f"{metric} against {baseline}"


def test_an_explanation_of_an_ast_finds_the_target_better_than_the_energy_baseline(tmp_path):
    """A model of another library, trained on waveforms with the recipe, and its attention."""
    folders = {name: tmp_path / name for name in ("data", "ast", "amt")}
    settings = {"n_train": 600, "n_valid": 40, "n_test": 100}
    call(
        "classifier",
        "train_classifier",
        "classifier_ast",
        folders["data"],
        folders["ast"],
        **settings,
        number_of_epochs=20,
        classifier="{patch_size: 16, stride: 16}",  # a quarter of the tokens, and of the time
    )
    known = json.loads((folders["ast"] / "classifier" / "classifier.json").read_text())
    assert known["classifier"] == "huggingface"
    assert known["training"]["test_accuracy"] >= 0.55, "what is explained has to know the sounds"
    call(
        "evaluate",
        "interpret_amt",
        "amt_vit",
        folders["data"],
        folders["amt"],
        **settings,
        n_examples=0,
        classifier_folder=folders["ast"] / "classifier",
        **{"method.variant": "rollout"},
    )
    summary = json.loads((folders["amt"] / "evaluation" / "summary.json").read_text())
    for place in ("spectrogram", "waveform"):
        for baseline in ("energy, same area", "energy top 20%", "random, same area"):
            for metric in ("energy_precision", "auroc"):
                better = summary["paired"][place][f"amt - {baseline}"][metric]
                assert better["low"] > 0, f"{place}: {metric} is not above {baseline}: {better}"
