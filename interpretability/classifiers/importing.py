"""Importing and building third-party models: PyTorch classes by name, models of Transformers without noise."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from torch import nn

from interpretability.errors import MissingError, UserError, first_line

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
    try:
        kind: object = importlib.import_module(module_name)
        for part in class_name.split("."):
            kind = getattr(kind, part)
    except Exception as error:  # the module's own code may raise anything
        raise UserError(
            f"module {place!r} cannot be imported ({first_line(error)}): install its package, or put its folder on "
            "PYTHONPATH"
        ) from error
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
    try:
        return kind(**arguments)
    except Exception as error:  # the class may raise anything at arguments that it was not made for
        raise UserError(f"module {place!r} cannot be built with {dict(arguments)} ({first_line(error)})") from error


def make_configuration(kind: Callable[..., Any], settings: Mapping[str, Any], name: str) -> Any:
    """Return ``kind(**settings)``, a configuration of Transformers; a :class:`UserError` for values it refuses."""
    from huggingface_hub.errors import StrictDataclassError  # slow to import, and few classifiers need it

    try:
        return kind(**settings)
    except (StrictDataclassError, TypeError, ValueError) as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"config: {name} refuses its settings ({reason}): correct them") from error


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


@contextmanager
def missing_model_errors(source: str) -> Iterator[None]:
    """Turn the errors of Transformers for a model that is not there into a one-line :class:`MissingError`."""
    try:
        yield
    except OSError as error:
        reason = " ".join(str(error).split())[:200]
        raise MissingError(
            f"could not get {source} ({reason}): check the network, or download the model and pass its local folder"
        ) from error
