"""The help of a recipe script: ``--help``, and ``--list_settings NAME``."""

import ast
import difflib
import textwrap
from collections.abc import Sequence
from pathlib import Path

from speechbrain.utils.run_opts import HELP_TEXTS

from interpretability.classifiers.features import STEPS
from interpretability.classifiers.folder import CLASSIFIERS
from interpretability.classifiers.sources import OPENERS, SourceSettings, taken_settings
from interpretability.dictionary import DictionarySettings
from interpretability.errors import UserError
from interpretability.events import EventSettings
from interpretability.frontend import FrontendSettings
from interpretability.methods.attributions import ATTRIBUTIONS
from interpretability.methods.folder import METHODS
from interpretability.settings import Settings, list_settings
from interpretability.training.augmentation import AugmentationSettings
from interpretability.training.composition import compose, list_keys, list_yamls
from interpretability.training.recipe import RunSettings

#: What is set in Python alone, what is set of the source of a classifier, and of the steps before its model.
IN_PYTHON, SOURCE, FEATURES = "python", "source", "features"
#: Key of a YAML ("": its top), or one of those above -> name -> what may be configured under it.
SETTINGS: dict[str, dict[str, type[Settings]]] = {
    "method": {name: kind.Settings for name, kind in METHODS.items()},
    "classifier": {name: kind.Settings for name, kind in CLASSIFIERS.items()},
    "dictionary": {"dictionary": DictionarySettings},
    "augmentation": {"augmentation": AugmentationSettings},
    "frontend": {"frontend": FrontendSettings},
    "": {"run": RunSettings},
    SOURCE: {SOURCE: SourceSettings},
    FEATURES: dict(STEPS),
    IN_PYTHON: {"events": EventSettings},
}


def answer(script: str | None, argv: Sequence[str]) -> str | None:
    """Return what ``--help`` or ``--list_settings NAME`` asks for; None if the command line has neither.

    Raises
    ------
    UserError
        If nothing of that name has settings; for a YAML that cannot be put together.
    """
    if "--list_settings" in argv:
        words = list(argv)[list(argv).index("--list_settings") + 1 :]
        if len(words) > 1 and not words[1].startswith("-"):
            raise UserError(f"--list_settings takes one name, and got {words[1]!r}, too: leave it out")
        return settings_text(words[0] if words else "")
    if "--help" in argv or "-h" in argv:
        yaml = None if argv[0].startswith("-") else argv[0]
        return "\n\n".join([_usage(script), *([_keys(yaml)] if yaml else _yamls(script)), _options()])
    return None


def settings_text(name: str) -> str:
    """Return what a method, a classifier … can be set to; of ``all`` a page of Markdown (``docs/settings.md``).

    Raises
    ------
    UserError
        If nothing of that name has settings.
    """
    if name == "all":
        sections = (f"## {each}\n\n```\n{settings_text(each)}\n```" for kinds in SETTINGS.values() for each in kinds)
        head = "# Settings\n\nWritten by `python tools/interpret.py --list_settings all > docs/settings.md`."
        return "\n\n".join([head, *sections])
    name = "gradients" if name in ATTRIBUTIONS else name
    for key, kinds in SETTINGS.items():
        if name in kinds:
            prefix, place = (f"{key}.", f"under {key} in") if key else ("", "at the top of")
            title = f"{name}: --{prefix}NAME VALUE, or {place} a YAML"
            if key == IN_PYTHON:
                title = f"{name}: {kinds[name].__name__}(NAME=VALUE) in Python"
            lines = [textwrap.indent(list_settings(kinds[name]), "  ")]
            if key == FEATURES:
                title = f"{name}: a step of features in the card of a model, {name}: {{NAME: VALUE}}"
            if key == SOURCE:
                title = f"{name}: --classifier_settings NAME=VALUE, or in the card of a model"
                taken = (f"  {kind}: takes {', '.join(taken_settings(kind))}" for kind in OPENERS)
                lines += (textwrap.fill(line, 118, subsequent_indent="    ") for line in taken)
            return "\n".join([title, *lines])
    names = [name for kinds in SETTINGS.values() for name in kinds]
    close = difflib.get_close_matches(name, names, n=1)
    hint = f" (did you mean {close[0]}?)" if close else ""
    raise UserError(f"--list_settings is {name!r}, expected one of {', '.join(names)}{hint}")


def _usage(script: str | None) -> str:
    path = Path(script or "script.py")
    purpose = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) if path.is_file() else None
    lines = [f"{purpose.splitlines()[0]}\n"] if purpose else []
    command = f"python {path.name}"
    lines += [
        f"usage: {command} hparams/NAME.yaml [--KEY VALUE …] [RUN OPTIONS]",
        f"       {command} RUN_FOLDER [--KEY VALUE …]         what a run of this recipe or another was started with",
        f"       {command} hparams/NAME.yaml --help    the keys of that YAML",
        f"       {command} --list_settings NAME        settings of a method, a classifier, a dictionary …",
    ]
    return "\n".join(lines)


def _yamls(script: str | None) -> list[str]:
    """Return the list of the YAMLs beside the script, each with its first line."""
    lines = []
    for name, path in list_yamls(Path(script or "").parent / "hparams").items():
        lines.append(f"  hparams/{name:32} {path.read_text(encoding='utf-8').splitlines()[0].removeprefix('# ')}")
    return ["\n".join(["YAMLs:", *lines])] if lines else []


def _keys(yaml: str) -> str:
    """Return the keys of a YAML with their values, in groups: those at the top, and those of each section."""
    groups: dict[str, list[str]] = {"": []}
    for key in list_keys(compose(yaml, complete=False)):
        section, dot, _ = key.name.partition(".")
        value = key.target or key.value
        # The defaults of optimisers and loggers would be more than anyone wants to read.
        if value and not key.name.startswith("__") and (key.given or section != "training"):
            line = f"  --{key.name} {value}{'' if key.given else '  (default)'}"
            groups.setdefault(section if dot or key.target else "", []).append(line)
    blocks = ["\n".join([f"{section}:", *lines] if section else lines) for section, lines in groups.items()]
    return "\n\n".join([f"keys of {yaml}, each with its value:", *blocks])


def _options() -> str:
    names = ", ".join(f"--{name}" for name in sorted(HELP_TEXTS))
    return textwrap.fill(f"RUN OPTIONS, those of SpeechBrain: {names}", 118, subsequent_indent="  ")
