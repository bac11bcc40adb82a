"""What ``tools/import_published.py`` does: save a published SpeechBrain checkpoint as a folder."""

from __future__ import annotations

import argparse

from interpretability.classifiers.published import PUBLISHED
from interpretability.errors import UserError
from interpretability.files import check_replaceable, expanded
from interpretability.published import import_published


def import_as_folder(options: argparse.Namespace) -> None:
    """Import the model that the options name.

    Raises
    ------
    UserError
        For a model that is not known, a size of another model, or files that are absent or do not fit.
    """
    model = PUBLISHED.get(options.model)
    if model is None:
        raise UserError(f"--model is {options.model!r}, expected one of {', '.join(sorted(PUBLISHED))}")
    given = {name: getattr(options, name) for other in PUBLISHED.values() for name in other.sizes}
    settings = {name: value for name, value in given.items() if value is not None}
    foreign = [f"--{name}" for name in settings if name not in model.sizes]
    if foreign:
        expected = ", ".join(f"--{name}" for name in model.sizes)
        raise UserError(
            f"{', '.join(foreign)} given, but --model {options.model} has {expected}: leave it out or name its model"
        )
    check_replaceable(options.out)
    if options.source is not None and "config" in model.settings:
        folder = expanded(options.source).resolve()
        if (folder / "config.json").is_file():
            settings["config"] = folder
    imported = import_published(options.model, options.out, source=options.source, **settings)
    labels = imported.labels if model.interpreter is None else imported.classifier.labels
    print(f"{model.title} for {len(labels)} classes in {options.out}")
    if model.described:
        origin = "as --features says" if options.features else "as hyperparams.yaml says"
        print(f"features: {imported.settings.features} of mel bands, {origin}; head: {imported.settings.head}")
