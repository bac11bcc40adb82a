"""What ``tools/import_classifier.py`` does: save any model as a classifier's folder, or list its layers."""

from __future__ import annotations

import argparse
import shlex
from pathlib import Path

from interpretability.classifiers import Classifier, save_classifier
from interpretability.classifiers.card import CARD, card_text
from interpretability.classifiers.check import check_classifier
from interpretability.classifiers.sources import load_unasked, open_classifier
from interpretability.classifiers.waveform import WaveformClassifier
from interpretability.commands.models import parse_settings
from interpretability.commands.probe import Probe, probe_classifier, probe_model
from interpretability.errors import UserError
from interpretability.files import check_replaceable
from interpretability.reading import as_object, parse_json


def read_arguments(text: str) -> dict:
    """Return a JSON object given on the command line."""
    advice = "write one such as '{\"width\": 64}'"
    return as_object(parse_json(text, "--arguments", advice=advice), "--arguments", advice)


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


def _print_notes(classifier: Classifier) -> None:
    for note in classifier.notes:
        print(f"note: {note}")


def _print_probe(source: str, probe: Probe) -> None:
    print(f"{source}:")
    for line in probe.lines:
        print(f"  {line}")
    if not probe.card:
        print("\nit says all that is needed: no card")
    elif source.startswith("torch:"):
        words = " ".join(shlex.quote(f"{name}={value}") for name, value in probe.card.items())
        print(f"\n--classifier_settings {words}   # complete what is None")
    else:
        print(f"\n# {CARD}, to lie beside the model's file (or card=FILE): complete what is null")
        print(card_text(probe.card), end="")


def import_classifier(options: argparse.Namespace) -> None:
    """Open the model; list its layers, save it, or find out what its card has to say.

    Raises
    ------
    UserError
        If it cannot be opened, or options do not fit each other or the source.
    """
    if options.out is None and not options.list_layers and not options.probe:
        raise UserError("no --out: name the folder to make (or --list_layers, or --probe)")
    if options.out is not None and not options.list_layers and not options.probe:
        check_replaceable(options.out)
    names = None if options.layers is None else [name.strip() for name in options.layers.split(",") if name.strip()]
    given = {
        "layers": names,
        "task": options.task,
        "level": options.level,
        "resampling": options.resampling,
        "labels": options.labels
        if options.labels is None or options.labels[:1] in ("@", "[")
        else Path(options.labels),
        "scale": options.scale,
        "sample_rate": options.sample_rate,
        "arguments": None if options.arguments is None else read_arguments(options.arguments),
        "weights": options.weights,
    }
    more = parse_settings(options.classifier_settings)
    twice = [name for name in more if given.get(name) is not None]
    if twice:
        raise UserError(f"{twice[0]} is given by --{twice[0]} and by --classifier_settings: give it once")
    if options.probe:
        if options.source.partition(":")[0] in ("hf", "speechbrain"):
            _print_probe(options.source, probe_classifier(open_classifier(options.source, **(given | more))))
            return
        module, known = load_unasked(options.source, **(given | more))
        _print_probe(options.source, probe_model(options.source, module, known))
        return
    classifier = open_classifier(options.source, options.trust_remote_code, **(given | more))
    if options.list_layers:
        if not isinstance(classifier, WaveformClassifier):
            raise UserError(f"{options.source}: the feature maps of a classifier {classifier.NAME!r} cannot be chosen")
        _print_notes(classifier)
        print(layer_table(classifier))
        return
    check_classifier(classifier)
    _print_notes(classifier)
    save_classifier(classifier, options.out, {"source": options.source})
    settings, count = classifier.frontend.settings, len(classifier.labels)
    print(
        f"{classifier.NAME} classifier of {count} class{'es' * (count != 1)} ({classifier.task}-label, "
        f"{settings.sample_rate} Hz) in {options.out}"
    )
    if isinstance(classifier, WaveformClassifier):
        print("feature maps: " + (", ".join(layer.name for layer in classifier.layers) or "none"))
