"""Measure what a model hears in groups of sounds: what a card is worth, before anything is explained.

    python tools/measure_models.py MODEL --group dog=FOLDER_OR_FILES … [--classes Dog Rain] [--classifier_settings …]

MODEL is anything that ``tools/interpret.py`` explains. For each group the table says which class is the most probable
one, in how many of its sounds (of a detector of one class: in how many it is heard), and the mean probability of
CLASSES (or of that class) with its 95 % interval over sounds.
"""

from __future__ import annotations

import argparse
import glob
import sys
from collections import Counter
from pathlib import Path

import torch

from interpretability.classifiers import Classifier, open_classifier
from interpretability.command_line import guarded
from interpretability.commands.models import parse_settings
from interpretability.data.inputs import read_sounds
from interpretability.errors import UserError
from interpretability.metrics.statistics import bootstrap_mean
from interpretability.probabilities import probabilities
from interpretability.report.tables import markdown_table

ENDINGS = (".wav", ".ogg", ".flac", ".mp3")


def files_of(group: str) -> tuple[str, list[str]]:
    """Return the name and the files of ``NAME=FOLDER`` or ``NAME=PATTERN``."""
    name, equals, place = group.partition("=")
    if not equals or not name or not place:
        raise UserError(f"--group is {group!r}, expected NAME=FOLDER or NAME=PATTERN, such as dog='sounds/dog*.wav'")
    pattern = f"{glob.escape(place)}/*" if Path(place).is_dir() else place
    files = sorted(path for path in glob.glob(pattern) if path.lower().endswith(ENDINGS))
    if not files:
        raise UserError(f"--group {group}: there are no sounds ({', '.join(ENDINGS)}) there")
    return name, files


@torch.no_grad()
def heard_in(classifier: Classifier, files: list[str]) -> torch.Tensor:
    """Return the probabilities [n, C] of files, each heard alone."""
    answers = []
    for file in files:
        sounds = read_sounds(file, classifier.frontend.settings)
        answers.append(probabilities(classifier.analyse(sounds.wavs).output.logits.double(), classifier.task))
    return torch.cat(answers)


def row_of(name: str, classifier: Classifier, heard: torch.Tensor, classes: list[int]) -> list[str]:
    """Return the row of a group: of the classes, or of the one that is most often the most probable."""
    labels = classifier.labels
    (top, count), *_ = Counter(heard.argmax(1).tolist()).most_common(1)
    if len(labels) == 1:
        count = int((heard >= classifier.thresholds.to(heard)).sum())
    cells = []
    for index in classes or [top]:
        interval = bootstrap_mean(heard[:, index].tolist())
        cells.append(f"{interval.mean:.2f} [{interval.low:.2f}, {interval.high:.2f}]")
    return [name, str(len(heard)), f"{labels[top]} ({count})", *cells]


def run(options: argparse.Namespace) -> None:
    """Open the model, hear every group, print the table."""
    groups = [files_of(group) for group in options.group]
    classifier = open_classifier(options.model, **parse_settings(options.classifier_settings))
    classes = [classifier.target_index(name) for name in options.classes]
    labels = classifier.labels
    which = "heard (in so many)" if len(labels) == 1 else "most probable class (in so many)"
    head = ["sounds", "n", which, *([f"p({labels[index]})" for index in classes] or ["its p"])]
    rows = [row_of(name, classifier, heard_in(classifier, files), classes) for name, files in groups]
    print(markdown_table(head, rows))


def main(arguments: list[str] | None = None) -> int:
    """Command line; the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", metavar="MODEL")
    parser.add_argument("--group", nargs="+", required=True, metavar="NAME=SOUNDS", help="a folder, or a pattern")
    parser.add_argument("--classes", nargs="+", default=[], metavar="CLASS", help="whose probability is given")
    parser.add_argument("--classifier_settings", nargs="+", default=[], metavar="KEY=VALUE", help="of the source")
    options = parser.parse_args(arguments)
    return guarded(lambda: run(options))


if __name__ == "__main__":
    sys.exit(main())
