"""What ``tools/inspect_data.py`` does: look at a data set before anything is trained on it."""

from __future__ import annotations

import argparse
import contextlib
import functools
import inspect
import logging
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tqdm import tqdm

from interpretability.data.audio import read_recording
from interpretability.data.custom import list_clips, prepare_custom
from interpretability.data.inspection import ClipFacts, ListedSound, inspect_clips
from interpretability.data.manifest import SPLITS, PreparedData, file_of, labels_of, read_manifest, stretch_of
from interpretability.data.overview import UNLABELLED, overview
from interpretability.errors import MissingError, UserError
from interpretability.files import atomic_folder, check_replaceable, write_json, write_text
from interpretability.names import printable
from interpretability.report.data_overview import Example, overview_page, overview_text
from interpretability.report.page import MP3_RATES, sound_uri, spectrogram_picture
from interpretability.training.archive import ARCHIVED, find_yaml
from interpretability.training.composition import compose
from interpretability.training.options import split_arguments
from interpretability.training.paths import typed
from interpretability.training.recipe import OWN_FOLDER, check_arguments, load
from interpretability.training.tree import dump, parse, tag_of

#: Of a clip that the page plays, s.
PLAYED_SECONDS = 10.0
#: Players of a page: classes share so many, and so many more go to clips that need attention, some for each finding.
MOST_PLAYERS, PLAYERS_OF_A_FINDING = 150, 4
PAGE, NUMBERS = "data.html", "data.json"


@dataclass
class Source:
    """The clips that are to be looked at.

    Attributes
    ----------
    name : str
    sounds : list of ListedSound
    unusable : list of (str, str)
        Clips that could not be listed, as (id, reason).
    notes : list of str
    no_splits : str, optional
        Why they have no splits.
    """

    name: str
    sounds: list[ListedSound]
    unusable: list[tuple[str, str]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    no_splits: str | None = None


def inspect_data(arguments: argparse.Namespace) -> None:
    """Print what a data set holds and what needs attention; with ``--out``, write it as a page and as JSON.

    Raises
    ------
    UserError
        If there are no data there, an option does not fit, or the folder to write holds something else.
    """
    if arguments.examples < 0:
        raise UserError(f"--examples is {arguments.examples}, expected a whole number >= 0")
    if arguments.out is not None:
        check_replaceable(arguments.out)
    with _quietly():
        source = _source(arguments.source, arguments.others)
    clips = inspect_clips(source.sounds)
    data = overview(source.name, clips, source.unusable, source.notes, source.no_splits)
    print(overview_text(data))
    if arguments.out is not None:
        chosen = choose_examples(data, clips, arguments.examples)
        players = make_players(source.sounds, clips, chosen, data["findings"] if arguments.examples else [])
        page = overview_page(data, players, chosen, PLAYERS_OF_A_FINDING)
        with atomic_folder(arguments.out) as folder:
            write_text(folder / PAGE, page)
            write_json(folder / NUMBERS, data)
        print(f"\nwritten to {printable(str(arguments.out))}: {PAGE} (open it in a browser), {NUMBERS}")


def choose_examples(data: dict[str, Any], clips: Sequence[ClipFacts], number: int) -> dict[str, list[str]]:
    """Return ids of so many usable clips of each class, spread over it; fewer where there are many classes."""
    classes = [entry["label"] for entry in data["classes"]]
    number = min(number, max(1, MOST_PLAYERS // max(1, len(classes))))
    members: dict[str, list[str]] = {label: [] for label in classes}
    for clip in clips:
        for label in clip.labels or (UNLABELLED,):
            if clip.usable and not clip.silent:
                members[label].append(clip.id)
    return {
        label: [ids[place * len(ids) // number] for place in range(number)] if len(ids) > number else ids[:number]
        for label, ids in list(members.items())[:MOST_PLAYERS]
    }


def make_players(
    sounds: Sequence[ListedSound],
    clips: Sequence[ClipFacts],
    chosen: dict[str, list[str]],
    findings: Sequence[dict[str, Any]],
) -> dict[str, Example]:
    """Return what the page plays, by the id of the clip: the examples, and some clips of each finding."""
    facts = {clip.id: clip for clip in clips}
    wanted = dict.fromkeys(clip for ids in chosen.values() for clip in ids)
    for finding in findings:
        playable = [clip for clip in finding["clips"] if clip in facts and facts[clip].usable]
        wanted.update(dict.fromkeys(playable[:PLAYERS_OF_A_FINDING]))
    by_id = {sound.id: sound for sound in sounds}
    names = tqdm(wanted, "drawing", unit="clip", disable=None, leave=False)
    return {name: _player(by_id[name], facts[name]) for name in names}


def _player(sound: ListedSound, facts: ClipFacts) -> Example:
    rate = min(facts.sample_rate, MP3_RATES[-1])
    wav = read_recording(sound.path, rate, PLAYED_SECONDS, stretch=sound.stretch).wav.numpy()
    parts = [", ".join(facts.labels) or UNLABELLED, *([facts.split] if facts.split else [])]
    parts += [f"{facts.seconds:.3g} s", f"{facts.sample_rate} Hz"]
    parts += [f"{facts.channels} channels"] if facts.channels > 1 else []
    parts += ["silent" if facts.level_db is None else f"{facts.level_db:.0f} dB"]
    if facts.seconds > PLAYED_SECONDS:
        parts.append(f"first {PLAYED_SECONDS:g} s")
    end = f"{len(wav) / rate:.3g} s"
    return Example(sound.id, ", ".join(parts), end, spectrogram_picture(wav, rate), sound_uri(wav, rate))


# ---- Where the clips come from ----


def _source(named: Path | None, others: Sequence[str]) -> Source:
    """Return the clips of a folder, a table, a YAML, a run, or a folder of manifests."""
    stray, options = split_arguments(list(others))
    if stray:
        raise UserError(f"the command line has {stray[0]!r}, which is no option of data: --help lists them")
    if named is not None and (named.is_file() or (named / ARCHIVED).is_file()):
        if named.is_file() and named.suffix not in (".yaml", ".yml"):
            raise UserError(f"{named} is a file, expected a folder or a YAML: give a table as --table {named}")
        return _of_yaml(named, options)
    values = {name: typed(name, text) for name, text in options.items()}
    values.pop("skip_bad_clips", None)  # they are always listed
    folder = values.pop("data_folder", None)
    if named is not None and all((named / f"{split}.json").is_file() for split in SPLITS):
        if folder is None or values:
            raise UserError(f"{named} holds manifests: give --data_folder DIR, where their paths start, and no more")
        manifests = {split: named / f"{split}.json" for split in SPLITS}
        return Source(named.name, _listed(manifests, Path(folder)))
    if named is not None and folder is not None and values.get("table") is None:
        raise UserError(f"two folders are given, {named} and --data_folder {folder}: give one")
    folder = folder if named is None else named
    make = functools.partial(prepare_custom, data_folder=folder, **values)
    check_arguments("the data", make, manifest_folder="", skip_bad_clips=True)
    try:
        return _prepared(make)
    except MissingError:
        raise
    except UserError as error:
        reason = str(error)
    kept = {name: value for name, value in values.items() if name in inspect.signature(list_clips).parameters}
    listing = list_clips(folder, **kept, skip_bad_clips=True)
    if not listing.clips and not listing.bad.skipped:
        raise UserError(reason)
    sounds = [
        ListedSound(
            entry["id"],
            file_of(entry["wav"], listing.root),
            tuple(labels_of(entry)),
            clip.split,
            stretch_of(entry),
        )
        for entry, clip in zip(listing.entries, listing.clips, strict=True)
    ]
    return Source(listing.source.name, sounds, listing.bad.skipped, listing.notes, reason)


def _of_yaml(path: Path, options: dict[str, str]) -> Source:
    """Return the clips of what a recipe's YAML, or that of a run, prepares."""
    yaml, known = find_yaml(path, OWN_FOLDER.values(), False)
    tree = parse(compose(yaml, {**known, **options}), str(yaml))
    if "prepare" not in tree:
        raise UserError(f"{yaml}: prepares no data, expected the YAML of a recipe, such as its hparams/data.yaml")
    for key, node in list(tree.items()):
        if key != "prepare" and (isinstance(node, dict) or tag_of(node) not in ("", "!ref")):
            del tree[key]
    with tempfile.TemporaryDirectory() as folder:
        tree["output_folder"] = folder
        make = load(dump(tree), yaml)["prepare"]
    check_arguments("prepare", make, manifest_folder="", skip_bad_clips=True)
    return _prepared(make)


def _prepared(make: Callable[..., PreparedData]) -> Source:
    """Return the clips of what a function prepares, in their splits; the manifests are not kept."""
    with tempfile.TemporaryDirectory() as folder:
        prepared = make(manifest_folder=folder, skip_bad_clips=True)
        sounds = _listed(prepared.manifests, prepared.data_root)
    notes = [note for note in prepared.notes if folder not in note]
    return Source(prepared.data_root.name, sounds, prepared.skipped, notes)


def _listed(manifests: dict[str, Path], root: Path) -> list[ListedSound]:
    return [
        ListedSound(name, clip["wav"], tuple(labels_of(clip)), split, stretch_of(clip))
        for split, path in manifests.items()
        for name, clip in read_manifest(path, root, check_audio=False).entries.items()
    ]


@contextlib.contextmanager
def _quietly() -> Iterator[None]:
    """Keep from the log what is said again, in one list."""
    log = logging.getLogger(read_manifest.__module__)
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        yield
    finally:
        log.setLevel(level)
