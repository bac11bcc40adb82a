"""Whose code a saved folder may name: that of installed packages, or any if its user says so.

A folder says by a name what builds its model, and importing a name runs what it stands for. What is installed was
trusted when it was installed. A file beside the weights, in the current directory or elsewhere on the path was not:
whoever made the folder may have put it there.
"""

import importlib.util
import json
import logging
import re
import site
import sys
import sysconfig
from collections.abc import Iterator
from importlib.metadata import distributions
from pathlib import Path
from urllib.parse import unquote, urlparse

from interpretability.errors import UserError

logger = logging.getLogger(__name__)

#: What the user says so with: a keyword in Python, an option of the commands, a key of a recipe.
FLAG = "trust_remote_code"
#: Names of the folders that installers fill.
_PACKAGE_FOLDERS = ("site-packages", "dist-packages")


def check_trusted(place: str, where: str, trust_remote_code: bool) -> None:
    """Refuse the code that a saved folder names, unless it is installed or its user trusts it.

    Parameters
    ----------
    place : str
        ``package.module:Class``. It is found, and not imported.
    where : str
        Goes in front of the error: the file that names it.
    trust_remote_code : bool
        Whether code from elsewhere may be imported. It is said that it is.

    Raises
    ------
    UserError
        If it is not of an installed package, and not trusted.
    """
    top = re.split(r"[.:]", str(place), maxsplit=1)[0]
    places = _places(top)
    if places and all(_is_installed(top, folder) for folder in places):
        return
    origin = f"found at {places[0]}" if places else "not found"
    if not trust_remote_code:
        raise UserError(
            f"{where}: the model is {place!r}, code that is of no installed package ({origin}): it is not run. Install "
            f"its package, or pass --{FLAG} (in a recipe --{FLAG} True, in Python {FLAG}=True) if you trust it"
        )
    logger.warning("%s: running the code of %r, %s, as %s says", where, str(place), origin, FLAG)


def _places(top: str) -> list[Path]:
    """Return where a package lies, or would be imported from; none if there is no such package."""
    known = sys.modules.get(top)
    try:
        spec = getattr(known, "__spec__", None) or importlib.util.find_spec(top)
    except (ImportError, ValueError):  # no name of a package; or one that says that it cannot be found
        spec = None
    if spec is None or top == "__main__":
        return []
    folders = list(spec.submodule_search_locations or [])
    return [Path(place).resolve() for place in folders or [spec.origin] if place]


def _is_installed(top: str, place: Path) -> bool:
    """Return whether a place is in a folder of installed packages, or of a package installed from its source."""
    folders = list(_package_folders())
    return any(place.is_relative_to(folder) for folder in folders) or any(
        place.is_relative_to(source) for source in _sources(top, folders)
    )


def _package_folders() -> Iterator[Path]:
    """Yield the folders that installers fill; entries of ``PYTHONPATH`` count if they have the name of one."""
    known = [sysconfig.get_path("purelib"), sysconfig.get_path("platlib"), *site.getsitepackages()]
    if site.ENABLE_USER_SITE:
        known.append(site.getusersitepackages())
    known += [entry for entry in sys.path if Path(entry).name in _PACKAGE_FOLDERS]
    return (Path(entry).resolve() for entry in dict.fromkeys(known))


def _sources(top: str, folders: list[Path]) -> Iterator[Path]:
    """Yield where the sources lie of installations in place (``pip install -e``) that have this package."""
    if top == __name__.partition(".")[0]:
        yield Path(__file__).resolve().parents[1]
    for distribution in distributions(path=list(map(str, folders))):
        source = json.loads(distribution.read_text("direct_url.json") or "{}")
        address = urlparse(source.get("url", ""))
        if not source.get("dir_info", {}).get("editable") or address.scheme != "file":
            continue
        names = (distribution.read_text("top_level.txt") or distribution.name.replace("-", "_")).split()
        if top in names:
            yield Path(unquote(address.path)).resolve()
