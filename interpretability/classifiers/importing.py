"""Importing and building third-party models: PyTorch classes by name, models of Transformers without noise."""

import importlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

from torch import nn

from interpretability.budget import within
from interpretability.classifiers.base import Classifier
from interpretability.errors import MissingError, UserError, listed, shown, user_errors
from interpretability.reading import read_object
from interpretability.weight_files import FileSize, check_plain, file_size

#: Parts of SpeechBrain with networks that fetch models when they are built, some of them with code.
FETCHING = ("huggingface", "fairseq", "beats", "discrete", "integrations", "inference")


def fetches(place: str) -> bool:
    """Return whether a dotted name is in a part of SpeechBrain whose networks fetch models when they are built."""
    place = place.lower()
    return place.startswith("speechbrain.") and any(word in place for word in FETCHING)


def imported_class(place: str) -> type[nn.Module]:
    """Import ``package.module:Class``; a subclass of :class:`torch.nn.Module` and nothing else.

    Raises
    ------
    UserError
        If it cannot be imported, or is anything but such a class: saved folders name it, and run no other code.
    """
    module_name, _, class_name = str(place).partition(":")
    if not module_name or not class_name:
        advice = ": name the class of the model, and give the file as its weights" if Path(str(place)).is_file() else ""
        raise UserError(f"module is {place!r}, expected 'package.module:Class'{advice}")
    advice = ": install its package, or put its folder on PYTHONPATH"
    with user_errors(f"module {place!r} cannot be imported", advice=advice):  # its own code may raise anything
        kind: object = importlib.import_module(module_name)
        for part in class_name.split("."):
            kind = getattr(kind, part)
    if not (isinstance(kind, type) and issubclass(kind, nn.Module)):
        raise UserError(f"module {place!r} is no subclass of torch.nn.Module: functions are not run, name the class")
    if issubclass(kind, Classifier):
        raise UserError(
            f"module {place!r} is refused: it is a classifier already, whose settings may name further code. Name the "
            "class of its network"
        )
    if fetches(kind.__module__):
        raise UserError(
            f"module {place!r} is refused: building it downloads models, which may hold code. Wrap it in a class of "
            "your own, or open the model with hf: or speechbrain:"
        )
    return kind


def build_module(place: str, arguments: Mapping) -> nn.Module:
    """Build the model that ``package.module:Class`` and arguments name; a :class:`UserError` if they do not fit."""
    kind = imported_class(place)
    # The class may raise anything at arguments that it was not made for.
    with user_errors(f"module {place!r} cannot be built with {dict(arguments)}"):
        return kind(**arguments)


def make_configuration(kind: Callable[..., Any], settings: Mapping[str, Any], name: str) -> Any:
    """Return ``kind(**settings)``, a configuration of Transformers; a :class:`UserError` for values it refuses."""
    from huggingface_hub.errors import StrictDataclassError  # slow to import, and few classifiers need it

    refusals = (StrictDataclassError, TypeError, ValueError)
    with user_errors(f"config: {name} refuses its settings", *refusals, advice=": correct them", whole=True):
        return kind(**settings)


#: Files of a folder that ``save_pretrained`` wrote: those of weights, and those of settings.
WEIGHT_FILES = ("model*.safetensors", "pytorch_model*.bin")
SETTINGS_FILES = ("config.json", "preprocessor_config.json")


def refuse_adapter(folder: Path) -> None:
    """Raise a :class:`UserError` if a folder has an adapter and no weights of a model, as PEFT writes it."""
    if any(folder.glob("adapter_*")) and not any(any(folder.glob(pattern)) for pattern in WEIGHT_FILES):
        raise UserError(
            f"{folder} holds an adapter alone (LoRA), not a model: merge it into its base model first "
            "(in PEFT: model.merge_and_unload().save_pretrained(FOLDER))"
        )


@contextmanager
def bounded_loading(place: str | Path) -> Iterator[None]:
    """Check the files of a model's folder, and let Transformers build in the block what its weights can fill at most.

    A name on the hub, whose files are not here yet, is not checked.

    Raises
    ------
    UserError
        If a file of weights is none, or the folder has only those of an adapter; if a file of settings is no JSON
        object; if the network that they describe is larger than its weights.
    """
    folder = Path(place)
    if not folder.is_dir():
        yield
        return
    refuse_adapter(folder)
    for name in SETTINGS_FILES:
        if (folder / name).is_file():
            _refuse_kernels(read_object(folder / name), folder / name)
    files = {file for pattern in WEIGHT_FILES for file in folder.glob(pattern) if file.is_file()}
    files = sorted(files.union(*map(_shards, folder.glob("*.index.json"))))
    for file in files:
        check_plain(file)
    size = sum(map(file_size, files), FileSize(0, 0)) if files else None
    with within(size, str(folder / SETTINGS_FILES[0])):
        yield


def _shards(index: Path) -> set[Path]:
    """Return the files there are that the index of a model names; a :class:`UserError` if it leads elsewhere."""
    names = read_object(index).get("weight_map")
    files = names.values() if isinstance(names, dict) else [None]
    if not all(isinstance(file, str) and Path(file).name == file for file in files):
        raise UserError(f"{index}: weight_map is {shown(names)}, expected names of weights with files beside it")
    return {index.parent / file for file in files if (index.parent / file).is_file()}


def _refuse_kernels(settings: Any, where: Path) -> None:
    """Refuse settings that name code for attention on the hub, which Transformers would fetch and run."""
    for name, value in settings.items() if isinstance(settings, dict) else ():
        if str(name).endswith("attn_implementation") and "/" in str(value):
            raise UserError(f"{where}: {name} is {shown(value)}, code on the hub, which is not run: take the line out")
        _refuse_kernels(value, where)


def misfits(report: Mapping[str, Any]) -> str:
    """Return in words which weights Transformers did not take from a file ("": none): sizes, and names that it lacks.

    Parameters
    ----------
    report : mapping
        The loading info of ``from_pretrained``, with ``ignore_mismatched_sizes``.
    """
    sizes = sorted((str(name), list(theirs), list(ours)) for name, theirs, ours in report["mismatched_keys"])
    missing = sorted(map(str, report["missing_keys"]))
    parts = [f"{shown(name)} is {theirs} in the file and {ours} here" for name, theirs, ours in sizes[:3]]
    if len(sizes) > 3:
        parts.append(f"{len(sizes) - 3} more have another size")
    if missing:
        parts.append(f"{len(missing)} missing ({listed(missing, 3)})")
    return "; ".join(parts)


@contextmanager
def quiet_transformers() -> Iterator[None]:
    """Silence Transformers' progress bars and its reports of loaded weights, which are checked here instead."""
    from transformers.utils import logging

    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity(logging.CRITICAL)
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()


def missing_model_errors(source: str) -> AbstractContextManager[None]:
    """Turn the errors of Transformers for a model that is not there into a one-line :class:`MissingError`."""
    advice = ": check the network, or download the model and pass its local folder"
    return user_errors(f"could not get {source}", OSError, advice=advice, kind=MissingError, whole=True)
