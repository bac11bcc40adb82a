"""Cross-validate a classifier over the five folds of ESC-50 (or its 10-class part).

    python tools/cross_validate.py --data_folder /path/to/ESC-50 --esc10_only True

Rotation k tests on fold k, selects the epoch on the fold before it and trains on the other three, with the recipe's own
script: ``recipes/ESC50/train_classifier.py``. Finished rotations are not repeated; further ``--key value`` pairs are
passed to the script. Paths are relative to where the command is typed; a YAML may also be given relative to the
recipe's folder. The accuracies are written to ``OUT/table.md`` and ``OUT/summary.json``.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import MISSING, dataclass
from pathlib import Path

from interpretability.classifiers.folder import DESCRIPTION
from interpretability.command_line import guarded
from interpretability.errors import MissingError, UserError
from interpretability.files import claim, json_text, write_together
from interpretability.reading import checked, read_object
from interpretability.report.tables import markdown_table
from interpretability.settings import Settings, setting
from interpretability.training.composition import list_yamls

RECIPE = Path(__file__).resolve().parents[1] / "recipes" / "ESC50"
RESULTS = ("summary.json", "table.md")
FOLDS = (1, 2, 3, 4, 5)
DEFAULT_YAML = "hparams/classifier_compact.yaml"
PATHS = ("--data_folder", "--cache_folder")
YAML_NULLS = ("null", "Null", "NULL", "~", "")  # no cache, not a folder of that name


@dataclass(frozen=True)
class Rotation(Settings):
    """What a trained classifier records, and the table shows."""

    data: dict = setting(MISSING, "data set and folds")
    seed: int = setting(MISSING, "of the training")
    commit: str = setting(MISSING, "of the training")
    epochs: int = setting(MISSING, "epochs of the training")
    best_epoch: int = setting(MISSING, "epoch that was kept")
    valid_accuracy: float = setting(MISSING, "on the fold that selects", least=0, most=1)
    test_accuracy: float = setting(MISSING, "on the fold that tests", least=0, most=1)
    n_test: int = setting(MISSING, "clips of that fold", least=1)
    seconds: float = setting(MISSING, "time that the training took", unit="s")


def rotation(test_fold: int) -> dict[str, list[int]]:
    """Return the folds of the rotation that tests on ``test_fold``.

    Example
    -------
    >>> rotation(5)
    {'train_folds': [1, 2, 3], 'valid_folds': [4], 'test_folds': [5]}
    """
    valid_fold = FOLDS[FOLDS.index(test_fold) - 1]
    train_folds = [fold for fold in FOLDS if fold not in (test_fold, valid_fold)]
    return {"train_folds": train_folds, "valid_folds": [valid_fold], "test_folds": [test_fold]}


def find_yaml(name: str | None) -> str:
    """Return the absolute path of a YAML: relative to the working directory, or else to the recipe's folder.

    Raises
    ------
    MissingError
        If it is in neither place.
    """
    # The other recipe has a YAML of the default's name: only one that was typed is looked for from here.
    places = [RECIPE / DEFAULT_YAML] if name is None else [Path(name).expanduser().absolute(), RECIPE / name]
    for place in places:
        if place.is_file() or place.name in list_yamls(place.parent):
            return str(place)
    raise MissingError(f"no YAML file at {' or '.join(map(str, dict.fromkeys(places)))}: give a classifier YAML")


def cross_validate(yaml: str, out: Path, arguments: Sequence[str]) -> dict:
    """Run every rotation; return the accuracies.

    Parameters
    ----------
    yaml : str
        Absolute, like every path among the arguments: the script runs inside the recipe's folder.
    out : Path
        Absolute too.
    arguments : sequence of str
        Passed to the script.

    Raises
    ------
    UserError
        If a rotation fails; its own message is printed before.
    """
    results = []
    out.mkdir(parents=True, exist_ok=True)
    claim(out, RESULTS)
    for fold in FOLDS:
        folder = out / f"fold{fold}"
        command = [sys.executable, "train_classifier.py", yaml, *arguments, "--output_folder", str(folder)]
        for name, folds in rotation(fold).items():
            command += [f"--{name}", str(folds)]
        print(f"fold {fold}: {' '.join(command[1:])}", flush=True)
        if subprocess.run(command, cwd=RECIPE).returncode:
            raise UserError(f"the rotation that tests on fold {fold} failed: fix that, then run the same command again")
        path = folder / "classifier" / DESCRIPTION
        description = read_object(path)
        training = description.get("training")
        checked(Rotation, training, f"{path}: training", "delete that folder and run the same command again")
        results.append({"fold": fold, "classifier": description.get("classifier"), **training})
    accuracies = [result["test_accuracy"] for result in results]
    summary = {
        "mean": statistics.mean(accuracies),
        "standard_deviation": statistics.stdev(accuracies),
        "rotations": results,
    }
    head = ["test fold", "selected on", "n", "validation accuracy", "test accuracy", "best epoch", "training (s)"]
    rows = [
        [
            str(result["fold"]),
            str(result["data"]["folds"]["valid"][0]),
            str(result["n_test"]),
            f"{result['valid_accuracy']:.3f}",
            f"{result['test_accuracy']:.3f}",
            str(result["best_epoch"]),
            f"{result['seconds']:.0f}",
        ]
        for result in results
    ]
    rows.append(["mean ± s.d.", "", "", "", f"{summary['mean']:.3f} ± {summary['standard_deviation']:.3f}", "", ""])
    text = (
        f"{results[0]['classifier']}, {results[0]['data']['name']}, seed {results[0]['seed']}, "
        f"{results[0]['epochs']} epochs, commit {results[0]['commit'][:12]}\n\n{markdown_table(head, rows, left=())}"
    )
    texts = (json_text(summary), f"{text}\n")
    write_together({out / name: content for name, content in zip(RESULTS, texts, strict=True)})
    print(text)
    return summary


def main(argv: Sequence[str] | None = None) -> int:
    """Command line; the exit status."""
    # Without abbreviations: they would take options that are meant for the script.
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0], allow_abbrev=False)
    parser.add_argument("--yaml", help=f"a classifier YAML of recipes/ESC50 ({DEFAULT_YAML} by default)")
    parser.add_argument("--out", type=Path, default=RECIPE / "results" / "cross_validation")
    for name in PATHS:
        parser.add_argument(name, help="passed to the script")
    known, rest = parser.parse_known_args(argv)
    for name in PATHS:
        value = getattr(known, name.removeprefix("--"))
        if value is not None:
            rest += [name, value if value in YAML_NULLS else str(Path(value).expanduser().absolute())]
    return guarded(lambda: cross_validate(find_yaml(known.yaml), known.out.absolute(), rest))


if __name__ == "__main__":
    sys.exit(main())
