"""Measure contrasts where the source of each class is known alone: does "a - b" find a's source, and leave b's out?

    python tools/measure_contrasts.py CLASSIFIER_RUN --out FOLDER [--split test] [--clips N]

CLASSIFIER_RUN is the output folder of a ``train_classifier.py`` on Synthetic with several labels per clip
(``--max_targets``). Of each clip, each ordered pair of labels that are both heard is explained: the class a, and the
contrast "a - b", by integrated gradients, input x gradient, saliency and the optimised mask. Written are one line per
explanation (clips.jsonl) and the tables (table.md): the share of the kept energy that lies in the bins in which the
source of a is louder than everything else, the same for b's, and the AUROC of the mask for a's.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import permutations
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from interpretability.classifiers.base import Classifier
from interpretability.classifiers.folder import load_classifier
from interpretability.classifiers.targeted import targeted
from interpretability.command_line import guarded
from interpretability.errors import UserError
from interpretability.explaining import untrained_method
from interpretability.files import claim, write_together
from interpretability.frontend import MaskedPair
from interpretability.metrics.localisation import energy_precision, energy_weighted_auroc, true_mask
from interpretability.metrics.statistics import Interval, paired_difference, summarise
from interpretability.report.tables import markdown_table
from interpretability.training.provenance import commit
from interpretability.training.run_data import read_run_data

METHODS = ("integrated_gradients", "input_x_gradient", "saliency", "optimised")
#: What is explained of a pair of labels a and b -> its target.
KINDS = {"the class a": "{a}", "a - b": "{a} - {b}"}
#: Value -> its head.
COLUMNS = {"own": "energy in a's source ↑", "other": "energy in b's source ↓", "auroc": "AUROC of a's source ↑"}


def explain_pairs(
    classifier: Classifier, clips: Iterable[Mapping[str, Any]], methods: Sequence[str] = METHODS
) -> Iterator[dict[str, Any]]:
    """Explain and measure each ordered pair of labels of each clip.

    Parameters
    ----------
    classifier : Classifier
        Multi-label.
    clips : iterable of mappings
        With ``id``, ``signal`` [N] and ``target_signals``, label -> [N].
    methods : sequence of str
        That need no training.
    """
    chosen = {name: untrained_method(classifier, name, {}) for name in methods}
    for clip in clips:
        with torch.no_grad():
            plain = classifier.analyse(clip["signal"][None])
            heard = classifier.heard(plain.output.logits)[0].nonzero()[:, 0].tolist()
        gain, frontend = classifier.frontend.clips(clip["signal"][None]).gain, classifier.frontend
        truth = {}
        for label, source in clip["target_signals"].items():
            parts = [frontend.analyse(part[None] / gain).magnitude for part in (source, clip["signal"] - source)]
            truth[label] = true_mask(*parts)
        both = [classifier.labels[k] for k in heard if classifier.labels[k] in truth]
        for (a, b), (kind, text) in ((pair, item) for pair in permutations(both, 2) for item in KINDS.items()):
            asked = targeted(classifier, text.format(a=a, b=b))
            target = classifier.labels.index(a) if asked is classifier else asked.target
            batch = plain if asked is classifier else asked.analyse(clip["signal"][None])
            batch = replace(batch, target=torch.tensor([target]))
            for name, method in chosen.items():
                method = method.asked(asked)
                mask = method.interpret(batch).mask.detach()
                inside = MaskedPair.of(batch.clips, mask, method.settings.apply).inside
                magnitude = batch.spectrogram.magnitude
                yield {
                    "clip": clip["id"],
                    "a": a,
                    "b": b,
                    "explained": kind,
                    "method": name,
                    "own": float(energy_precision(inside, truth[a])),
                    "other": float(energy_precision(inside, truth[b])),
                    "auroc": float(energy_weighted_auroc(mask, truth[a], magnitude)),
                }


def document(rows: Sequence[Mapping[str, Any]], facts: Mapping[str, Any]) -> str:
    """Return the tables as Markdown."""
    names = list(dict.fromkeys(row["method"] for row in rows))
    table, differences = [], []
    for name in names:
        of = {kind: [row for row in rows if (row["method"], row["explained"]) == (name, kind)] for kind in KINDS}
        clips = [row["clip"] for row in next(iter(of.values()))]
        for kind, members in of.items():
            means = summarise(members, COLUMNS, clips=clips)
            table.append([f"{name}, {kind}", *(_cell(means[key]) for key in COLUMNS)])
        of_class, contrast = of.values()
        pairs = [[[row[key] for row in members] for members in (contrast, of_class)] for key in COLUMNS]
        differences.append([name, *(_cell(paired_difference(*pair, clips=clips), "+") for pair in pairs)])
    n = len(rows) // (len(names) * len(KINDS))
    caption = (
        f"{facts['data']}, {facts['split']} split; n: {n} ordered pairs of labels that are both heard, of "
        f"{len({row['clip'] for row in rows})} of {facts['clips']} clips; seed: {facts['seed']}; classifier: "
        f"{facts['classifier'][:12]}; commit: {facts['commit'][:12]}. Means over pairs with 95 % bootstrap intervals "
        "over clips."
    )
    heads = list(COLUMNS.values())
    first = markdown_table(["mask of", *heads], table)
    return "\n\n".join([caption, first, markdown_table(["a - b less the class a, paired", *heads], differences)]) + "\n"


def _cell(value: Interval, sign: str = "") -> str:
    if value.mean is None:
        return "–"
    middle, low, high = (f"{number + 0.0:{sign}.2f}" for number in (value.mean, value.low, value.high))
    return f"{middle} [{low}, {high}]"


def run_all(options: argparse.Namespace) -> None:
    """Measure; write the results and print them."""
    run = read_run_data(options.run, options.data_folder)
    classifier = load_classifier(run.folder)
    if not run.prepared.has_targets(options.split) or classifier.task != "multi":
        raise UserError(
            f"{run.folder}: expected a classifier's run on Synthetic with several labels per clip (--max_targets 3), "
            "each with its sound alone"
        )
    dataset = run.dataset(options.split, classifier, with_targets=True)
    clips = dataset if options.clips is None else dataset.filtered_sorted(select_n=options.clips)
    options.out.mkdir(parents=True, exist_ok=True)
    claim(options.out, ["clips.jsonl", "table.md"])
    rows = list(explain_pairs(classifier, tqdm(clips, desc="explaining", unit="clip", disable=None)))
    if not rows:
        raise UserError(f"none of the {len(clips)} clips has two labels that are both heard: give more --clips")
    facts = {
        "data": run.record["data"]["name"],
        "split": options.split,
        "clips": len(clips),
        "seed": run.record["seed"],
        "classifier": classifier.description["sha256"],
        "commit": commit(),
    }
    text = document(rows, facts)
    lines = "".join(f"{json.dumps(row | facts)}\n" for row in rows)
    write_together({options.out / "clips.jsonl": lines, options.out / "table.md": text})
    print(text)


def main(arguments: list[str] | None = None) -> int:
    """Command line; the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, metavar="CLASSIFIER_RUN")
    parser.add_argument("--out", type=Path, required=True, help="folder for the results")
    parser.add_argument("--data_folder", type=Path, help="where the data are now; where the run had them if not given")
    parser.add_argument("--split", default="test", help="whose clips are measured: test, if not given")
    parser.add_argument("--clips", type=int, help="so many clips of the split, the first ones; all if not given")
    options = parser.parse_args(arguments)
    return guarded(lambda: run_all(options))


if __name__ == "__main__":
    sys.exit(main())
