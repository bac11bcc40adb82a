"""Does fine-tuning pay where there are few clips? Against training from scratch, on Synthetic.

    python tools/compare_finetuning.py --out results/finetuning

A classifier, PIQ and L-MAC are trained on five of the ten classes, with many clips. Each repetition then makes sounds
of its own, of which the clips of the other five classes are used: 5 of each class train, as many select the epoch, and
20 test. On these a classifier is trained from scratch, and one is fine-tuned from that of the other classes; PIQ and
L-MAC explain the fine-tuned one, again once from scratch and once fine-tuned from the interpreter of the other classes.
Both of a pair see the same clips for the same number of epochs; the other values in SETTINGS were chosen for each on
the validation clips of other seeds.

Everything is trained as by the recipe's scripts, with its YAMLs. Finished runs are not repeated. The results are
written to OUT/table.md and OUT/summary.json: means over the repetitions' test clips, and of their paired differences,
with 95 % intervals of a bootstrap that draws whole repetitions.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from interpretability.classifiers import load_classifier
from interpretability.command_line import guarded
from interpretability.data.batches import make_datasets
from interpretability.data.manifest import PreparedData
from interpretability.data.sounds import LABELS
from interpretability.errors import UserError
from interpretability.evaluation import evaluate
from interpretability.files import claim, json_text, write_together
from interpretability.methods import load_interpreter
from interpretability.metrics.statistics import Interval, bootstrap_mean
from interpretability.predictions import PREDICTIONS, read_predictions
from interpretability.report.tables import markdown_table
from interpretability.training.provenance import commit
from interpretability.training.record import read_record
from interpretability.training.runner import main as run_job

RECIPE = Path(__file__).resolve().parents[1] / "recipes" / "Synthetic"
RESULTS = ("summary.json", "table.md")
SOURCE_CLASSES, CLASSES = list(LABELS[::2]), list(LABELS[1::2])
#: Of the sounds of ten classes, of which half is used.
SOURCE_CLIPS = {"n_train": 800, "n_valid": 200, "n_test": 200}
CLIPS = {"n_train": 50, "n_valid": 50, "n_test": 200}
COLUMNS = SCRATCH, TUNED, DIFFERENCE = "from scratch", "fine-tuned", "difference, paired"
TITLE = "classifier: accuracy ↑"
METHODS = {"piq": "PIQ", "lmac": "L-MAC"}
#: What both trainings of a pair have in common.
COMMON = {"batch_size": 8}
#: What was chosen for each on the validation clips of other seeds.
SETTINGS: dict[tuple[str, str], dict[str, Any]] = {
    ("classifier", SCRATCH): {"number_of_epochs": 120, "lr": 0.002},
    ("classifier", TUNED): {"number_of_epochs": 120, "lr": 0.002, "freeze_epochs": 10, "finetune_lr_factor": 0.3},
    ("piq", SCRATCH): {"number_of_epochs": 15, "lr": 0.004},
    ("piq", TUNED): {"number_of_epochs": 15, "lr": 0.002},
    ("lmac", SCRATCH): {"number_of_epochs": 15, "lr": 0.004},
    ("lmac", TUNED): {"number_of_epochs": 15, "lr": 0.0005},
}
#: What is heard of an interpreter: value of a clip -> its title and decimals.
HEARD = {
    "fid_in": ("Fid-In ↑", 3),
    "ad": ("AD (%) ↓", 1),
    "kept_area": ("kept area", 3),
    "energy_precision": ("energy precision ↑", 3),
}


def run(job: str, yaml: str, folder: Path, settings: dict[str, Any], script: str) -> None:
    """Run a job of the recipe with its YAML; a :class:`UserError` if it fails, after its own message."""
    line = [str(RECIPE / "hparams" / f"{yaml}.yaml"), "--output_folder", str(folder), "--device", "cpu"]
    for name, value in settings.items():
        line += [f"--{name}", str(value)]
    print(f"{script}: {folder}", flush=True)
    if run_job(job, str(RECIPE / script), [*line, "--noprogressbar"]):
        raise UserError(f"{script} failed in {folder}: correct that, then run the same command again")


def train_source(out: Path) -> None:
    """Train the classifier and the interpreters of the other classes."""
    data = {**SOURCE_CLIPS, "classes": SOURCE_CLASSES, "data_folder": out / "data" / "source", "cache_folder": "null"}
    run("classifier", "classifier_compact", out / "classifier", data, "train_classifier.py")
    for method in METHODS:
        explained = {**data, "classifier_folder": out / "classifier"}
        run("interpreter", method, out / method, explained, f"train_{method}.py")


def repeat(out: Path, source: Path, seed: int) -> dict[str, dict[str, list[float | None]]]:
    """Train and measure everything on the clips of one seed.

    Returns
    -------
    dict
        Row of the table -> :data:`SCRATCH` and :data:`TUNED` -> the value of each test clip.
    """
    data = {"seed": seed, "data_seed": seed, **CLIPS, "classes": CLASSES, "data_folder": out / "data"}
    data |= {"cache_folder": "null", **COMMON}

    def train(what: str, job: str, yaml: str, settings: dict[str, Any]) -> dict[str, Path]:
        folders = {arm: out / f"{what}_{arm.replace(' ', '_')}" for arm in (SCRATCH, TUNED)}
        for arm, folder in folders.items():
            start = {} if arm == SCRATCH else {"finetune_from": source / what}
            chosen = {**data, **settings, **start, **SETTINGS[what, arm]}
            run(job, yaml, folder, chosen, f"train_{what}.py")
        return folders

    folders = train("classifier", "classifier", "classifier_compact", {})
    heard = {arm: read_predictions(folder / PREDICTIONS, CLASSES)["test"] for arm, folder in folders.items()}
    rows = {TITLE: {arm: [float(right) for right in one.truth == one.predicted] for arm, one in heard.items()}}
    explained = folders[TUNED]
    for method, title in METHODS.items():
        folders = train(method, "interpreter", method, {"classifier_folder": explained})
        measured = measure(out / f"measured_{method}", explained, folders, out / "data")
        for value, (name, _) in HEARD.items():
            rows[f"{title}: {name}"] = {
                arm: [row[value] for row in measured if row["method"] == arm] for arm in (SCRATCH, TUNED)
            }
    return rows


def measure(out: Path, classifier_run: Path, folders: dict[str, Path], data_folder: Path) -> list[dict[str, Any]]:
    """Measure interpreters of one classifier on the test clips, as they are heard; return the rows, by clip."""
    classifier, record = load_classifier(classifier_run), read_record(classifier_run)
    manifests = {"test": classifier_run / "manifests" / "test.json"}
    clips = make_datasets(
        PreparedData(manifests, data_folder, classifier.labels, record["data"]),
        classifier.labels,
        classifier.frontend.settings.sample_rate,
        clip_seconds=record["clip_seconds"],
        splits=("test",),
        with_targets=True,
        resampling=classifier.frontend.settings.resampling,
    )["test"]
    interpreters = {arm: load_interpreter(folder) for arm, folder in folders.items()}
    made_by = {arm: one.description["sha256"] for arm, one in interpreters.items()}
    provenance = {"classifier": classifier.description["sha256"], "interpreters": made_by, "data": record["data"]}
    evaluate(classifier, interpreters, clips, out, provenance, places=("waveform",), progress=False)
    rows = [json.loads(line) for line in (out / "clips.jsonl").read_text("utf-8").splitlines()]
    return sorted(rows, key=lambda row: row["clip"])


def compare(repetitions: dict[int, dict[str, dict[str, list]]]) -> dict[str, dict[str, Interval]]:
    """Return for each row of the table the two means over all test clips, and that of their paired difference.

    Parameters
    ----------
    repetitions : dict
        Seed -> what :func:`repeat` returns.
    """
    results = {}
    for row in next(iter(repetitions.values())):
        arms = {arm: [one for each in repetitions.values() for one in each[row][arm]] for arm in (SCRATCH, TUNED)}
        seeds = [seed for seed, each in repetitions.items() for _ in each[row][TUNED]]
        pairs = zip(arms[TUNED], arms[SCRATCH], strict=True)
        arms[DIFFERENCE] = [None if None in pair else pair[0] - pair[1] for pair in pairs]
        results[row] = {name: bootstrap_mean(values, clips=seeds) for name, values in arms.items()}
    return results


def document(results: dict[str, dict[str, Interval]], seeds: Sequence[int]) -> str:
    """Return the table as Markdown, with what was done."""
    decimals = {TITLE: 3, **{f"{title}: {name}": n for title in METHODS.values() for name, n in HEARD.values()}}
    rows = [[row, *(_cell(values[name], decimals[row], name) for name in COLUMNS)] for row, values in results.items()]
    caption = (
        f"Synthetic; classes {', '.join(CLASSES)}; 5 training clips a class; n: {results[TITLE][TUNED].n} test clips "
        f"of {len(seeds)} repetitions (seeds {', '.join(map(str, seeds))}); source: {SOURCE_CLIPS['n_train'] // 2} "
        f"training clips of {', '.join(SOURCE_CLASSES)} (seed 1234); commit {commit()[:12]}. Means, with 95 % "
        "intervals of a bootstrap over repetitions."
    )
    return f"{caption}\n\n{markdown_table(['', *COLUMNS], rows)}\n"


def _cell(value: Interval, decimals: int, column: str) -> str:
    if value.mean is None:
        return "–"
    sign = "+" if column == DIFFERENCE else ""
    mean, low, high = (f"{number:{sign}.{decimals}f}" for number in (value.mean, value.low, value.high))
    return f"{mean} [{low}, {high}]"


def run_all(out: Path, seeds: Sequence[int]) -> None:
    """Train and measure what was not yet, write the table and print it."""
    if len(set(seeds)) < len(seeds):
        raise UserError(f"--seeds are {', '.join(map(str, seeds))}: give each one once")
    out = out.absolute()
    out.mkdir(parents=True, exist_ok=True)
    claim(out, RESULTS)
    train_source(out / "source")
    results = compare({seed: repeat(out / f"{seed}", out / "source", seed) for seed in seeds})
    text = document(results, seeds)
    plain = {row: {name: value.as_dict() for name, value in values.items()} for row, values in results.items()}
    settings = {f"{what}, {arm}": chosen for (what, arm), chosen in SETTINGS.items()}
    summary = {"commit": commit(), "seeds": list(seeds), "settings": settings, "results": plain}
    write_together({out / "summary.json": json_text(summary), out / "table.md": text})
    print(f"\n{text}")


def main(arguments: list[str] | None = None) -> int:
    """Command line; the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder for the runs and the results")
    parser.add_argument(
        "--seeds", type=int, nargs="+", default=[11, 12, 13, 14, 15], help="of the repetitions: 11 to 15"
    )
    options = parser.parse_args(arguments)
    return guarded(lambda: run_all(options.out, options.seeds))


if __name__ == "__main__":
    sys.exit(main())
