"""Sounds as a command line names them: files, folders and tables, in any number; and a place for each one's results."""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from interpretability.data import ffmpeg
from interpretability.data.audio import SUFFIXES, find_sounds
from interpretability.data.manifest import BadClips
from interpretability.data.tables import ListedClip, read_table, table_text
from interpretability.errors import UserError
from interpretability.names import printable, safe_name, utf8_name

#: What the files of tables are called.
TABLE_SUFFIXES = (".csv", ".tsv", ".json", ".jsonl", ".ndjson")


@dataclass(frozen=True)
class ListedSound:
    """A sound, and where its results go.

    Attributes
    ----------
    path : Path
        Of its file.
    place : str
        A name for its results, with slashes: the path of the file from the folder that all sounds share, without its
        suffix. No two sounds have the same, and none lies inside that of another.
    start, end : float, optional
        Of a sound that is a part of its file, in seconds.
    label : str, optional
        Its true class, where a table says so.
    """

    path: Path
    place: str
    start: float | None = None
    end: float | None = None
    label: str | None = None

    @property
    def name(self) -> str:
        """What messages call it."""
        times = _times(self.start, self.end)
        return f"{printable(str(self.path))}{f' ({times} s)' if times else ''}"


@dataclass
class SoundList:
    """The sounds that were named, in that order, and those that cannot be used: (name, why)."""

    sounds: list[ListedSound] = field(default_factory=list)
    faults: list[tuple[str, str]] = field(default_factory=list)


def is_table(path: Path) -> bool:
    """Return whether a path is named like a table of sounds, and is no folder."""
    return path.suffix.lower() in TABLE_SUFFIXES and not path.is_dir()


def is_one_sound(paths: Sequence[Path]) -> bool:
    """Return whether paths name one file alone, and neither a folder nor a table."""
    return len(paths) == 1 and not paths[0].is_dir() and not is_table(paths[0])


def list_sounds(paths: Sequence[Path], out: Path, reserved: Iterable[str] = ()) -> SoundList:
    """Return the sounds that paths name, each once.

    Parameters
    ----------
    paths : sequence of Path
        Files; folders, which are searched (:func:`~interpretability.data.audio.find_sounds`); and tables, which list
        paths, and optionally start and end of a part (:func:`~interpretability.data.tables.read_table`).
    out : Path
        The folder of results: sounds that lie in it are left out.
    reserved : iterable of str
        Names directly in that folder that no sound's results may have.

    Returns
    -------
    SoundList
        Rows of a table that cannot be used, and of several paths those of folders without a sound, are its faults.

    Raises
    ------
    MissingError, UserError
        If a table cannot be read; if there is no sound at all.
    """
    listing, clips, bases = SoundList(), [], []
    for path in paths:
        if path.is_dir():
            known = find_sounds(path)
            members = [sound for sound in known if not sound.resolve().is_relative_to(out.resolve())]
            if not members:
                listing.faults.append((printable(str(path)), _no_sounds(out if known else None)))
            clips += [ListedClip(sound, "", str(sound)) for sound in members]
            bases.append(path)
        elif is_table(path):
            bad = BadClips(path, skip=True)
            rows = read_table(path, table_text(path), path.parent, None, bad, [], labelled=False)
            name = printable(str(path))
            for _, reason in bad.skipped:
                line, _, why = reason.removeprefix(f"{name}, ").partition(": ")
                listing.faults.append((f"{name}, {line}", why))
            clips += rows
            bases += [path.parent, *(row.path.parent for row in rows)]
        else:
            clips.append(ListedClip(path, "", str(path)))
            bases.append(path.parent)
    if not clips:
        if len(listing.faults) == 1:
            raise UserError(": ".join(listing.faults[0]))
        raise UserError(
            f"none of the {len(paths)} paths holds a sound ({', '.join(SUFFIXES)}): name files, folders or tables"
        )
    unique: dict[tuple, ListedClip] = {}
    for clip in clips:
        unique.setdefault((os.path.abspath(clip.path), clip.start, clip.end), clip)
    clips = list(unique.values())
    base = Path(os.path.commonpath([os.path.abspath(base) for base in bases]))
    for clip, place in zip(clips, _places(clips, base, reserved), strict=True):
        listing.sounds.append(ListedSound(clip.path, place, clip.start, clip.end, clip.label or None))
    return listing


def _places(clips: Sequence[ListedClip], base: Path, reserved: Iterable[str]) -> list[str]:
    """Return a place for each clip: its path without suffix where that is enough, else with more."""
    choices = []
    for clip in clips:
        path, times = Path(os.path.abspath(clip.path)).relative_to(base), _times(clip.start, clip.end)
        times = f"_{times}" if times else ""
        checksum = hashlib.sha256(os.fsencode(path)).hexdigest()[:8]
        names = (f"{path.stem}{times}", f"{path.name}{times}", f"{path.name}{times}~{checksum}")
        folder = PurePosixPath(*(safe_name(utf8_name(part)) for part in path.parts[:-1]))
        choices.append([str(folder / safe_name(utf8_name(name))) for name in names])
    chosen = [0] * len(clips)
    for _ in range(2):
        # File systems may not distinguish upper and lower case.
        names = [choice[level].casefold() for choice, level in zip(choices, chosen, strict=True)]
        taken = Counter([*names, *(name.casefold() for name in reserved)])
        above = {str(parent) for name in names for parent in PurePosixPath(name).parents}
        chosen = [level + (taken[name] > 1 or name in above) for name, level in zip(names, chosen, strict=True)]
    return [choice[level] for choice, level in zip(choices, chosen, strict=True)]


def _times(start: float | None, end: float | None) -> str:
    """Return the times of a part of a file, as names have them; "" for the whole."""
    if start is None and end is None:
        return ""
    return f"{start or 0.0:.3f}-{'' if end is None else f'{end:.3f}'}"


def _no_sounds(out: Path | None) -> str:
    """Return why a folder has no sounds; they may all lie in the folder of results."""
    if out is not None:
        return f"its sounds all lie in {printable(str(out))}, where the results are to go: name another folder for them"
    more = "" if ffmpeg.is_installed() else f"; files such as {', '.join(ffmpeg.SUFFIXES)}: {ffmpeg.ADVICE}"
    return f"holds no sounds ({', '.join(SUFFIXES)}): name a folder that does{more}"
