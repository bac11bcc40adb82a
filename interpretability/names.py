"""Names of others, of files, clips and classes: how they are shown, checked, and used for files of our own.

Python keeps the bytes of a file name that are not UTF-8 as lone surrogates. Such a text opens the file, but can be
neither printed nor written.
"""

import hashlib
import json
import re
from collections.abc import Sequence
from pathlib import Path

#: Of a clip's name, in characters.
LONGEST_NAME = 1000

#: Control characters, line separators, marks that turn the direction of writing around, and lone surrogates.
_UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")
_SURROGATE = re.compile("[\ud800-\udfff]")


def printable(text: str) -> str:
    r"""Return a text as it can be shown on one line of any terminal, page or figure.

    >>> printable("ch\udce8vre\x1b[31m.wav")
    'ch\\xe8vre\\x1b[31m.wav'
    """
    return _UNPRINTABLE.sub(_escape, text)


def utf8_name(text: str) -> str:
    r"""Return the name of a clip or a class in UTF-8; one that is not becomes another plain name.

    >>> utf8_name("ch\udce8vre")
    'ch%E8vre'
    """
    return _SURROGATE.sub(lambda match: f"%{ord(match[0]) & 0xFF:02X}", text)


def named(text: str) -> tuple[str, str]:
    """Return the name and the rest of ``NAME=REST``; a text without a name, or which is that of a file, is all rest.

    >>> named("fine-tuned=results/lmac/1234"), named("results/lmac/1234")
    (('fine-tuned', 'results/lmac/1234'), ('', 'results/lmac/1234'))
    """
    name, equals, rest = text.partition("=")
    return (name, rest) if equals and not Path(text).exists() else ("", text)


def join_labels(labels: Sequence[str]) -> str:
    """Return several labels as one text, as tables of clips have them: ``a;b``, or else a JSON list.

    >>> join_labels(["dog", "rain"]), join_labels([]), join_labels(["a;b", "犬"])
    ('dog;rain', '', '["a;b", "犬"]')
    """
    plain = all(";" not in label and label == label.strip() for label in labels)
    if plain and not (labels and labels[0].startswith("[")):
        return ";".join(labels)
    return json.dumps(list(labels), ensure_ascii=False)


def name_fault(name: object) -> str | None:
    """Return why something cannot be the name of a clip, or None: names become those of folders and sounds."""
    if not isinstance(name, str) or not name:
        return "expected a non-empty text"
    if len(name) > LONGEST_NAME:
        return f"has {len(name)} characters, expected at most {LONGEST_NAME}"
    if "/" in name or "\\" in name or name in (".", "..") or _UNPRINTABLE.search(name):
        return "expected a name without separators of paths and control characters"
    return None


def safe_name(name: str, longest: int = 100) -> str:
    """Return a file name for a clip, inside whatever folder it is put in, on any file system.

    Parameters
    ----------
    name : str
        Any text.
    longest : int
        Of the result, in bytes of UTF-8; suffixes of the caller come on top.

    Returns
    -------
    str
        The name itself where it is plain and short. Otherwise what is left of it and a checksum, so that different
        names stay different.

    Examples
    --------
    >>> safe_name("1-100032-A-0"), safe_name("../x")
    ('1-100032-A-0', '_x~d6b96a97')
    """
    plain = re.sub(r"[/\\]", "_", _UNPRINTABLE.sub("_", name)).lstrip(". ").rstrip(". ")
    if plain == name and len(plain.encode()) <= longest:
        return name
    checksum = hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:8]
    kept = plain.encode()[: longest - 9].decode("utf-8", "ignore")
    return f"{kept}~{checksum}"


def _escape(match: re.Match[str]) -> str:
    code = ord(match[0])
    if 0xDC80 <= code <= 0xDCFF:  # a byte of a file name
        return f"\\x{code - 0xDC00:02x}"
    return match[0].encode("unicode_escape").decode() if code < 0xD800 or code > 0xDFFF else f"\\u{code:04x}"
