"""What a card says of the data that a model was trained on: licence, and where they are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from interpretability.errors import UserError


@dataclass(frozen=True)
class DataSet:
    """A data set of the recipes.

    Attributes
    ----------
    licence : str
        As the hub abbreviates it; what those who made the data say, not those who copied it.
    about : str
        One sentence in Markdown.
    hub : str, optional
        The name of a copy on the Hugging Face hub, which is not theirs.
    """

    licence: str
    about: str
    hub: str | None = None


DATA_SETS = {
    "Synthetic": DataSet("apache-2.0", "Sounds that the library makes itself, of ten kinds of events in backgrounds."),
    "ESC-50": DataSet(
        "cc-by-nc-3.0",
        "[ESC-50](https://github.com/karolpiczak/ESC-50) (Piczak, 2015): 2000 environmental sounds of 5 s, 50 classes, "
        "under CC BY-NC 3.0 as a whole; [who recorded each](https://github.com/karolpiczak/ESC-50/blob/master/LICENSE).",
        "ashraq/esc50",
    ),
    "ESC-10": DataSet(
        "cc-by-3.0",
        "ESC-10, the part of [ESC-50](https://github.com/karolpiczak/ESC-50) (Piczak, 2015) that is under CC BY 3.0: "
        "400 environmental sounds of about 5 s, 10 classes; "
        "[who recorded each](https://github.com/karolpiczak/ESC-50/blob/master/LICENSE).",
        "ashraq/esc50",
    ),
    "UrbanSound8K": DataSet(
        "cc-by-nc-3.0",
        "[UrbanSound8K](https://urbansounddataset.weebly.com/urbansound8k.html) (Salamon et al., 2014): 8732 sounds of "
        "cities of at most 4 s, 10 classes, under CC BY-NC 3.0; who recorded each stands in its FREESOUNDCREDITS.txt.",
        "danavery/urbansound8K",
    ),
}


def licence_of(data: Mapping[str, Any]) -> str:
    """Return the licence of data, which the weights get by default; a :class:`UserError` where it is not known."""
    known = DATA_SETS.get(str(data.get("name")))
    if known is None:
        raise UserError(
            "the licence of the data is not known here: give --license, as the hub abbreviates them: cc-by-4.0, mit, "
            "apache-2.0, other"
        )
    return known.licence
