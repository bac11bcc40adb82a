"""A recipe's YAML and command line: read, checked, and turned into a run with an output folder."""

from __future__ import annotations

import inspect
import math
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import speechbrain as sb
import yaml
from hyperpyyaml import load_hyperpyyaml
from speechbrain.utils.distributed import ddp_init_group, if_main_process

from interpretability.command_line import check_device
from interpretability.errors import MissingError, UserError

RUN_RECORD = "run.json"
NUMBERS = {  # setting: (type, least, may be none)
    "number_of_epochs": (int, 1, False),
    "batch_size": (int, 1, False),
    "lr": (float, 0, False),
    "weight_decay": (float, 0, False),
    "num_workers": (int, 0, False),
    "n_examples": (int, 0, False),
    "clip_seconds": (float, 0.01, True),
}
SWITCHES = ("fixed_length", "skip_bad_clips", "tensorboard", "esc10_only")


@dataclass
class Run:
    """One call of a recipe script.

    Attributes
    ----------
    hparams : dict
        The loaded YAML.
    options : RunOptions
        SpeechBrain's run options: device, precision, …
    output_folder : Path
    """

    hparams: dict[str, Any]
    options: Any
    output_folder: Path

    def __getitem__(self, name: str) -> Any:
        if name not in self.hparams:
            raise UserError(f"the YAML has no {name!r}, which this job needs: compare it with the recipe's own YAMLs")
        return self.hparams[name]

    def get(self, name: str, default: Any = None) -> Any:
        """Return an optional setting."""
        return self.hparams.get(name, default)


def start(script: str | None, argv: list[str], must_exist: bool = False) -> Run:
    """Read the command line and the YAML, and make the output folder (or ask that it holds a run already)."""
    if not argv or argv[0].startswith("-"):
        raise UserError(
            f"no YAML file given, expected one first: python {Path(script or 'script').name} hparams/NAME.yaml "
            "[--key value …]"
        )
    hparams_file, options, overrides = sb.parse_arguments(argv)
    hparams = load_recipe(hparams_file, overrides)
    if "output_folder" not in hparams:
        raise UserError(f"{hparams_file}: no output_folder; compare it with the recipe's own YAMLs")
    _check_settings(hparams)
    folder = Path(hparams["output_folder"])
    if must_exist and not (folder / RUN_RECORD).is_file():
        raise no_run(folder)
    check_device(options.device)
    ddp_init_group(options)
    sb.create_experiment_directory(
        experiment_directory=str(folder), hyperparams_to_save=hparams_file, overrides=overrides
    )
    if if_main_process():
        # SpeechBrain archives its caller, which is this module; what tells the runs apart is the script.
        (folder / Path(__file__).name).unlink(missing_ok=True)
        if script is not None:
            shutil.copy(script, folder)
    return Run(hparams, options, folder)


def load_recipe(path: str | Path, overrides: str | dict | None = None) -> dict:
    """Load a HyperPyYAML file.

    Raises
    ------
    MissingError
        If it, or a file it includes, is absent.
    UserError
        For a syntax error, an override of a key that is not there (or, in the body of an include, a key that its
        fragment does not have), a placeholder nobody filled, or settings that an object refuses: one line.
    """
    path = Path(path)
    if not path.is_file():
        raise MissingError(f"no YAML file at {path}: run the script inside its recipe folder, with hparams/NAME.yaml")
    try:
        _check_includes(path, overrides)
        with open(path, encoding="utf-8") as stream:
            return load_hyperpyyaml(stream, overrides or None)
    except UserError:
        raise
    except Exception as error:  # YAML errors, unknown keys and refused arguments have no common type
        # HyperPyYAML puts its own words in front of an object's: both count.
        parts = error.args if len(error.args) > 1 and all(isinstance(part, str) for part in error.args) else [error]
        reason = str(error.args[0]) if isinstance(error, KeyError) and error.args else ": ".join(map(str, parts))
        reason = " ".join(reason.split())
        reason = reason if len(reason) <= 400 else reason[:399] + "…"
        raise UserError(f"{path}: {reason} ({type(error).__name__}); mend the YAML or the command line") from error


def build(what: str, factory: Callable, *args: Any, **kwargs: Any) -> Any:
    """Make a model from the YAML's settings; those that it refuses are the user's to mend."""
    check_arguments(what, factory, *args, **kwargs)
    try:
        return factory(*args, **kwargs)
    except UserError:
        raise
    except (TypeError, ValueError) as error:
        raise UserError(f"{what} refuses its settings ({error}); mend the YAML or the command line") from error


def check_arguments(what: str, factory: Callable, *args: Any, **kwargs: Any) -> None:
    """Refuse arguments in the YAML that a callable (a ``functools.partial`` of HyperPyYAML) does not take."""
    function = getattr(factory, "func", factory)
    keywords = {**getattr(factory, "keywords", {}), **kwargs}
    known = inspect.signature(function)
    try:
        known.bind(*getattr(factory, "args", ()), *args, **keywords)
    except TypeError as error:
        unknown = [repr(name) for name in keywords if name not in known.parameters]
        fault = f"does not take {', '.join(unknown)}" if unknown else str(error)
        raise UserError(
            f"{what}: {function.__name__} {fault}; it takes {', '.join(known.parameters)}: mend the YAML"
        ) from error


def no_run(folder: Path) -> MissingError:
    """Return the error for a folder without a run."""
    return MissingError(f"no run in {folder}: train first, or pass the --output_folder or --seed of a trained run")


def _check_includes(path: Path, overrides: str | dict | None) -> None:
    """Refuse keys in the body of an include that its fragment does not have: HyperPyYAML takes them in silence."""

    def members(text: str) -> dict[str, yaml.Node]:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        return {key.value: value for key, value in node.value} if isinstance(node, yaml.MappingNode) else {}

    given = members(overrides if isinstance(overrides, str) else yaml.safe_dump(overrides or {}))
    for section, body in members(path.read_text(encoding="utf-8")).items():
        if not body.tag.startswith("!include:"):
            continue
        fragment = path.parent / body.tag.removeprefix("!include:")
        if not fragment.is_file():
            raise MissingError(f"{path}: {section} includes {fragment}, which is not there: correct the path")
        known = members(fragment.read_text(encoding="utf-8"))
        for node in (body, given.get(section)):
            for key, _ in node.value if isinstance(node, yaml.MappingNode) else ():
                if key.value not in known:
                    raise UserError(
                        f"{path}: {section} has {key.value!r}, which {fragment.name} does not; it has "
                        f"{', '.join(known)}: mend the YAML or the command line"
                    )


def _check_settings(hparams: dict) -> None:
    for name, (kind, least, optional) in NUMBERS.items():
        value = hparams.get(name, least)
        if value is None and optional:
            continue
        number = isinstance(value, (int, kind)) and not isinstance(value, bool) and math.isfinite(value)
        if not number or value < least:
            kind_name = "a whole number" if kind is int else "a number"
            raise UserError(f"{name} is {value!r}, expected {kind_name} >= {least}: correct it")
    for name in SWITCHES:
        if not isinstance(hparams.get(name, False), bool):
            raise UserError(f"{name} is {hparams[name]!r}, expected True or False: correct it")
