"""The card of a model: a file of YAML beside its weights with what the model does not say about itself."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from interpretability.errors import MissingError
from interpretability.reading import read_bytes
from interpretability.safe_yaml import MAX_BYTES, parse

#: Its name, beside the weights.
CARD = "model.yaml"


def existing_file(place: str, kind: str) -> None:
    """Raise a :class:`MissingError` if there is no such file."""
    if not Path(place).is_file():
        raise MissingError(f"{kind}:{place}: no such file: give the path of the model's file")


def find_card(place: str | Path, given: str | Path | None) -> Path | None:
    """Return the card that is given, or the one beside a model's file; None if there is none.

    Raises
    ------
    MissingError
        If one is given that is not there.
    """
    if given is not None:
        if not Path(given).is_file():
            raise MissingError(f"card is {str(given)!r}: no such file: give the path of a {CARD}, or leave it out")
        return Path(given)
    beside = Path(place).parent / CARD
    return beside if Path(place).is_file() and beside.is_file() else None


def read_card(path: Path) -> dict[str, Any]:
    """Read a card: its keys are settings of a source. Those that are null count as not given.

    No code in it is run. ``labels`` may be a list, or ``@FILE`` beside the card; ``weights`` lie beside it, too.

    Raises
    ------
    MissingError, UserError
        If it cannot be read, or is no YAML of plain values.
    """
    document = parse(read_bytes(path, MAX_BYTES), str(path))
    content = {str(name): document.plain(name) for name in document.whole().value}
    labels = content.get("labels")
    if isinstance(labels, str) and labels.startswith("@"):
        content["labels"] = f"@{path.parent / labels[1:]}"
    weights = content.get("weights")
    if isinstance(weights, str) and weights != "none":
        content["weights"] = str(path.parent / weights)
    return {name: value for name, value in content.items() if value is not None}


def card_text(settings: Mapping[str, Any]) -> str:
    """Return settings as the text of a card, one a line."""
    return "".join(f"{name}: {json.dumps(value, ensure_ascii=False)}\n" for name, value in settings.items())
