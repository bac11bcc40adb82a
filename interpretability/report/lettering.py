"""Text that others wrote, in figures: names of classes and of files are drawn as they are, in fonts that have them."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache

from matplotlib import rc_context, rcParams
from matplotlib.font_manager import FontProperties, fontManager, get_font

from interpretability.names import printable

logger = logging.getLogger(__name__)

#: Stands for a character that no installed font has.
BOX = "\N{WHITE SQUARE}"
#: Longer names of classes are cut.
LONGEST_LABEL = 28
#: At most this many of those are named at once.
MOST_NAMED = 20
#: Change the look of their neighbours and are never drawn themselves: joiners and variation selectors.
_JOINERS = {"\u200c", "\u200d", *map(chr, range(0xFE00, 0xFE10))}
#: Characters that the user has been told of.
_told: set[str] = set()


def shortened(name: str) -> str:
    """Return the name of a class for a figure: without its middle if it is long, as both ends may tell it from others.

    >>> shortened("dog"), shortened("Common Wood-Pigeon (Columba palumbus)")
    ('dog', 'Common Wood-Pi…mba palumbus)')
    """
    name, half = printable(name), (LONGEST_LABEL - 1) // 2
    return name if len(name) <= LONGEST_LABEL else f"{name[: LONGEST_LABEL - 1 - half]}…{name[-half:].rstrip()}"


@contextmanager
def lettering(*texts: str) -> Iterator[list[str]]:
    """Yield texts as they can be drawn; within the block Matplotlib takes every text literally.

    No text is read as mathematics or as TeX, whatever it holds (``$``, ``_``); control characters are escaped, except
    ends of lines. Fonts are added that have what the usual one has not, where such are installed. What none of them has
    becomes a box, which is said once for each character. Matplotlib's settings are as before after the block.
    """
    texts = ["\n".join(map(printable, text.split("\n"))) for text in texts]
    families, absent = _families("".join(texts))
    new = absent - _told
    if new:
        _told.update(new)
        characters = " ".join(sorted(new)[:MOST_NAMED]) + (" …" if len(new) > MOST_NAMED else "")
        logger.warning(
            "no installed font has %s: figures show %s instead; all other results are right", characters, BOX
        )
    drawn = str.maketrans({**dict.fromkeys(absent, BOX), **dict.fromkeys(_JOINERS, "")})
    # The backend is no part of it: see Matplotlib's rc_context.
    with rc_context({"text.parse_math": False, "text.usetex": False, "font.family": families}):
        yield [text.translate(drawn) for text in texts]


def _families(text: str) -> tuple[list[str], set[str]]:
    """Return font families that have as many of the characters as possible, and the characters that none has."""
    usual = rcParams["font.family"]
    missing = {character for character in text if not character.isspace()} - _JOINERS
    missing -= _characters(fontManager.findfont(FontProperties(family=usual)))
    families = list(usual)
    upright = {
        font.name: font.fname
        for font in fontManager.ttflist
        if font.style == "normal" and font.weight in (400, "normal")
    }
    while missing:
        name = max(upright, key=lambda name: len(missing & _characters(upright[name])), default=None)
        gained = missing & _characters(upright[name]) if name else set()
        if not gained:
            break
        families.append(name)
        missing -= gained
    return families, missing


@cache
def _characters(font: str) -> frozenset[str]:
    """Return the characters of a font file; none if it cannot be drawn, as fonts of coloured pictures cannot."""
    try:
        face = get_font(font)
    except (OSError, RuntimeError) as error:  # not there any more, or damaged
        logger.info("the font %s cannot be read (%s): left out", font, error)
        return frozenset()
    return frozenset(map(chr, face.get_charmap())) if face.scalable else frozenset()
