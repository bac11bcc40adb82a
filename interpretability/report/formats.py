"""What figures can be written as, and how they can be drawn; without Matplotlib, which is slow to import."""

from dataclasses import dataclass
from typing import Any

from interpretability.errors import UserError, shown
from interpretability.settings import Settings, setting

#: Suffix -> what Matplotlib would write into the file that changes from one time to the next, set to nothing.
FORMATS: dict[str, dict[str, Any]] = {"png": {}, "svg": {"Date": None}, "pdf": {"CreationDate": None}}


def check_format(format: str) -> str:
    """Return a format of figures; a :class:`UserError` if there is none of that name: expected is one of FORMATS."""
    if format not in FORMATS:
        raise UserError(f"format is {shown(format)}, expected one of {', '.join(FORMATS)}")
    return format


@dataclass(frozen=True)
class FigureSettings(Settings):
    """How a figure is drawn."""

    scale: str = setting(
        "auto", "axis of frequency; auto: mel for sounds that are low throughout", choices=("auto", "linear", "mel")
    )
    column: bool = setting(False, "as wide as a column of a paper, 3.3 in, with letters of 7 pt and more")
