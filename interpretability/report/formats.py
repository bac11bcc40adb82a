"""What figures can be written as."""

from typing import Any

from interpretability.errors import UserError, shown

#: Suffix -> what Matplotlib would write into the file that changes from one time to the next, set to nothing.
FORMATS: dict[str, dict[str, Any]] = {"png": {}, "svg": {"Date": None}, "pdf": {"CreationDate": None}}


def check_format(format: str) -> str:
    """Return a format of figures; a :class:`UserError` if there is none of that name: expected is one of FORMATS."""
    if format not in FORMATS:
        raise UserError(f"format is {shown(format)}, expected one of {', '.join(FORMATS)}")
    return format
