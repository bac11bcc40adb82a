"""Save any model as a classifier's folder: python tools/import_classifier.py SOURCE --out DIR

SOURCE is ``hf:FOLDER`` (or a name on the Hugging Face hub), ``speechbrain:FOLDER``, ``torch:package.module:Class`` or a
saved classifier's folder. ``DIR`` then works as ``--classifier_folder`` of every recipe, and loads without anything
else (except the package of a ``torch:`` model). ``--list_layers`` prints the layers whose outputs can be feature maps,
with a star at those that are used by default, and writes nothing.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from interpretability.classifiers import save_classifier
from interpretability.classifiers.folder import DESCRIPTION
from interpretability.classifiers.sources import open_classifier
from interpretability.classifiers.waveform import WaveformClassifier
from interpretability.command_line import guarded
from interpretability.errors import MissingError, UserError
from interpretability.files import check_replaceable
from interpretability.frontend import LEVEL_RULES
from interpretability.probabilities import TASKS


def read_labels(path: Path) -> list[str]:
    """Return the class names of a text file, one per line, in the order of the logits."""
    if not path.is_file():
        raise MissingError(f"no class names at {path}: give a text file with one name per line")
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not a text file in UTF-8 ({error}): give one with one class name per line") from error
    return [line.strip() for line in text.splitlines() if line.strip()]


def read_arguments(text: str) -> dict:
    """Return a JSON object given on the command line."""
    try:
        content = json.loads(text)
    except json.JSONDecodeError as error:
        raise UserError(f"--arguments is not JSON ({error}), expected an object: '{{\"width\": 64}}'") from error
    if not isinstance(content, dict):
        raise UserError(f"--arguments is {text}, expected a JSON object: '{{\"width\": 64}}'")
    return content


def layer_table(classifier: WaveformClassifier) -> str:
    """Return the layers that can be feature maps as a table."""
    header = ("", "layer", "kind", "shape for 1 s", "stride")
    rows = [
        (
            "*" if layer.default else "",
            layer.name,
            layer.kind,
            "x".join(map(str, layer.shape)),
            f"{layer.stride_ms:.1f} ms",
        )
        for layer in classifier.describe_layers()
    ]
    widths = [max(len(row[column]) for row in (header, *rows)) for column in range(len(header))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in (header, *rows)
    )


def import_classifier(options: argparse.Namespace) -> None:
    """Open the model; list its layers, or save it.

    Raises
    ------
    UserError
        If it cannot be opened, or options do not fit each other or the source.
    """
    if options.out is None and not options.list_layers:
        raise UserError("no --out: name the folder to make (or --list_layers)")
    if options.out is not None and not options.list_layers:
        check_replaceable(options.out, DESCRIPTION)
    classifier = open_classifier(
        options.source,
        layers=[name.strip() for name in options.layers.split(",") if name.strip()]
        if options.layers is not None
        else None,
        task=options.task,
        level=options.level,
        labels=None if options.labels is None else read_labels(options.labels),
        scale=options.scale,
        sample_rate=options.sample_rate,
        arguments=None if options.arguments is None else read_arguments(options.arguments),
        weights=options.weights,
    )
    if options.list_layers:
        if not isinstance(classifier, WaveformClassifier):
            raise UserError(f"{options.source}: the feature maps of a classifier {classifier.NAME!r} cannot be chosen")
        print(layer_table(classifier))
        return
    save_classifier(classifier, options.out, {"source": options.source})
    settings = classifier.frontend.settings
    print(
        f"{classifier.NAME} classifier of {len(classifier.labels)} classes ({classifier.task}-label, "
        f"{settings.sample_rate} Hz) in {options.out}"
    )
    if isinstance(classifier, WaveformClassifier):
        print("feature maps: " + (", ".join(layer.name for layer in classifier.layers) or "none"))


def main(argv: Sequence[str] | None = None) -> int:
    """Command line; the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("source", help="hf:FOLDER, speechbrain:FOLDER, torch:package.module:Class, or a saved folder")
    parser.add_argument("--out", type=Path, help="folder to make; replaced as a whole")
    parser.add_argument("--list_layers", action="store_true", help="list what can be a feature map; write nothing")
    parser.add_argument("--layers", help="names of the layers to use, separated by commas")
    parser.add_argument("--task", choices=TASKS, help="one label or several; as the model says by default")
    parser.add_argument("--level", choices=LEVEL_RULES, help="the level rule (default: none, as the model is used)")
    parser.add_argument("--labels", type=Path, help="text file: a class name per line, in the order of the logits")
    parser.add_argument("--scale", choices=("mel", "linear"), help="scale of the maps' frequency axis (default: mel)")
    parser.add_argument("--sample_rate", type=int, help="torch: in Hz (default: 16000)")
    parser.add_argument("--arguments", help="torch: what the class is called with, a JSON object")
    parser.add_argument("--weights", type=Path, help="torch: file with the module's state_dict")
    options = parser.parse_args(argv)
    return guarded(lambda: import_classifier(options))


if __name__ == "__main__":
    sys.exit(main())
