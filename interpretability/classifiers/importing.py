"""Importing and building third-party models: PyTorch classes by name, models of Transformers without noise."""

import importlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from typing import Any

from torch import nn

from interpretability.errors import MissingError, UserError, user_errors

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
        raise UserError(f"module is {place!r}, expected 'package.module:Class'")
    advice = ": install its package, or put its folder on PYTHONPATH"
    with user_errors(f"module {place!r} cannot be imported", advice=advice):  # its own code may raise anything
        kind: object = importlib.import_module(module_name)
        for part in class_name.split("."):
            kind = getattr(kind, part)
    if not (isinstance(kind, type) and issubclass(kind, nn.Module)):
        raise UserError(f"module {place!r} is no subclass of torch.nn.Module: functions are not run, name the class")
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
