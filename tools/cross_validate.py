"""Cross-validate a classifier over the folds of a data set: those of ESC-50 or UrbanSound8K, or of any sounds.

    python tools/cross_validate.py --data_folder /path/to/ESC-50 --esc10_only True
    python tools/cross_validate.py --recipe UrbanSound8K --data_folder /path/to/UrbanSound8K
    python tools/cross_validate.py --recipe Custom --data_folder DIR --folds 5    (or --table FILE with a column fold)

Rotation k tests on fold k, selects the epoch on the fold before it and trains on the others, with the recipe's own
script, ``train_classifier.py``. Finished rotations are not repeated; further ``--key value`` pairs are passed to the
script. Paths are relative to where the command is typed; a YAML may also be given relative to the recipe's folder. The
accuracies, and their mean with its 95 % interval over the folds, are written to ``OUT/table.md`` and
``OUT/summary.json``.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, dataclass
from pathlib import Path

from interpretability.classifiers.folder import DESCRIPTION
from interpretability.command_line import guarded
from interpretability.data.esc50 import parse_folds
from interpretability.data.manifest import BadClips
from interpretability.data.tables import read_table, table_text
from interpretability.errors import MissingError, UserError, shown
from interpretability.files import claim, json_text, write_together
from interpretability.metrics.statistics import mean_of_runs
from interpretability.reading import checked, read_object
from interpretability.report.tables import markdown_table
from interpretability.settings import Settings, setting
from interpretability.training.composition import compose, list_yamls
from interpretability.training.leakage import without_seen
from interpretability.training.options import split_arguments
from interpretability.training.paths import fill_references
from interpretability.training.tree import parse

RECIPES = Path(__file__).resolve().parents[1] / "recipes"
RESULTS = ("summary.json", "table.md")
DEFAULT_YAML = "hparams/classifier_compact.yaml"
PATHS = ("--data_folder", "--cache_folder", "--table")
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


def rotation(test_fold: int, folds: Sequence[int]) -> dict[str, list[int]]:
    """Return the folds of the rotation that tests on ``test_fold``.

    Example
    -------
    >>> rotation(5, [1, 2, 3, 4, 5])
    {'train_folds': [1, 2, 3], 'valid_folds': [4], 'test_folds': [5]}
    """
    valid_fold = folds[folds.index(test_fold) - 1]
    train_folds = [fold for fold in folds if fold not in (test_fold, valid_fold)]
    return {"train_folds": train_folds, "valid_folds": [valid_fold], "test_folds": [test_fold]}


@dataclass(frozen=True)
class Plan:
    """The ``folds`` of the data, and the ``options`` of the script that say which of them train, select and test."""

    folds: list[int]
    options: tuple[str, ...]


def plan(yaml: str, arguments: Sequence[str]) -> Plan:
    """Find the folds: those that a YAML names, those that are to be made, or those of a table.

    Raises
    ------
    UserError
        If there are none, or fewer than three.
    """
    overrides = split_arguments(list(arguments))[1]
    tree = parse(fill_references(compose(yaml, overrides, complete=False)), yaml)
    options = tuple(name for name in rotation(1, [1, 2, 3]) if name in tree)
    if "train_folds" in options:
        folds = sorted({fold for name in options for fold in parse_folds(tree[name], name)})
    elif tree.get("folds") is not None:
        folds = list(range(1, 1 + _whole_number(tree["folds"])))
    elif tree.get("table") is not None:
        folds = _folds_of_table(tree)
    elif options:
        raise UserError("the data have no folds yet: give --folds K, or --table FILE with a column fold")
    else:
        raise UserError(f"{yaml} has no folds: give --recipe ESC50, UrbanSound8K or Custom")
    if len(folds) < 3:
        raise UserError(f"got the folds {folds}, expected at least three: one tests, one selects, the others train")
    return Plan(folds, options)


def _whole_number(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int):
        raise UserError(f"folds is {shown(value)}, expected a whole number")
    return value


def _folds_of_table(tree: Mapping) -> list[int]:
    """Return the folds that the clips of a table have."""
    table = Path(str(tree["table"]))
    root = table.parent if tree.get("data_folder") is None else Path(str(tree["data_folder"]))
    clips = read_table(table, table_text(table), root, tree.get("group_by"), BadClips(table, skip=True), [])
    folds = sorted({clip.fold for clip in clips if clip.fold is not None})
    if not folds:
        raise UserError(f"{table}: has no column fold, or no value in it: give --folds K")
    return folds


def find_recipe(name: str) -> Path:
    """Return the folder of a recipe; a :class:`MissingError`, with the names of all, if there is none of that name."""
    known = sorted(path.parents[1].name for path in RECIPES.glob("*/hparams/data.yaml"))
    if name not in known:
        raise MissingError(f"no recipe {shown(name)}, expected one of {', '.join(known)}")
    return RECIPES / name


def find_yaml(name: str | None, recipe: Path) -> str:
    """Return the absolute path of a YAML: relative to the working directory, or else to the recipe's folder.

    Raises
    ------
    MissingError
        If it is in neither place.
    """
    # The other recipe has a YAML of the default's name: only one that was typed is looked for from here.
    places = [recipe / DEFAULT_YAML] if name is None else [Path(name).expanduser().absolute(), recipe / name]
    for place in places:
        if place.is_file() or place.name in list_yamls(place.parent):
            return str(place)
    raise MissingError(f"no YAML file at {' or '.join(map(str, dict.fromkeys(places)))}: give a classifier YAML")


def cross_validate(recipe: Path, yaml: str, out: Path, arguments: Sequence[str]) -> dict:
    """Run every rotation; return the accuracies.

    Parameters
    ----------
    recipe : Path
        Its folder.
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
    results, planned = [], plan(yaml, arguments)
    out.mkdir(parents=True, exist_ok=True)
    claim(out, RESULTS)
    for fold in planned.folds:
        folder = out / f"fold{fold}"
        command = [sys.executable, "train_classifier.py", yaml, *arguments, "--output_folder", str(folder)]
        for name, folds in rotation(fold, planned.folds).items():
            command += [f"--{name}", str(folds)] if name in planned.options else []
        print(f"fold {fold}: {' '.join(command[1:])}", flush=True)
        if subprocess.run(command, cwd=recipe).returncode:
            raise UserError(f"the rotation that tests on fold {fold} failed: fix that, then run the same command again")
        path = folder / "classifier" / DESCRIPTION
        description = read_object(path)
        training = description.get("training")
        checked(Rotation, training, f"{path}: training", "delete that folder and run the same command again")
        results.append({"fold": fold, "classifier": description.get("classifier"), **without_seen(training)})
    accuracies = [result["test_accuracy"] for result in results]
    interval = mean_of_runs(accuracies)
    low, high = max(interval.low, 0.0), min(interval.high, 1.0)
    summary = {
        "mean": interval.mean,
        "low": low,
        "high": high,
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
    rows.append(["mean [95 %]", "", "", "", f"{interval.mean:.3f} [{low:.3f}, {high:.3f}]", "", ""])
    rows.append(["s.d.", "", "", "", f"{summary['standard_deviation']:.3f}", "", ""])
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
    parser = argparse.ArgumentParser(
        description=__doc__, allow_abbrev=False, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--recipe", default="ESC50", help="folder in recipes/ (ESC50 by default)")
    parser.add_argument("--yaml", help=f"a classifier YAML of the recipe ({DEFAULT_YAML} by default)")
    parser.add_argument("--out", type=Path, help="results/cross_validation in the recipe's folder by default")
    for name in PATHS:
        parser.add_argument(name, help="passed to the script")
    known, rest = parser.parse_known_args(argv)
    for name in PATHS:
        value = getattr(known, name.removeprefix("--"))
        if value is not None:
            rest += [name, value if value in YAML_NULLS else str(Path(value).expanduser().absolute())]

    def act() -> None:
        recipe = find_recipe(known.recipe)
        out = recipe / "results" / "cross_validation" if known.out is None else known.out.expanduser().absolute()
        cross_validate(recipe, find_yaml(known.yaml, recipe), out, rest)

    return guarded(act)


if __name__ == "__main__":
    sys.exit(main())
