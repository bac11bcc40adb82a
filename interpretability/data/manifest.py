"""The one manifest schema of all data sets: written atomically, validated on reading.

A manifest is a JSON object, one member per clip, that SpeechBrain reads as it is
(``DynamicItemDataset.from_json(path, replacements={"data_root": folder})``)::

    {"1-100032-A-0": {"wav": "{data_root}/audio/1-100032-A-0.wav", "duration": 5.0, "sample_rate": 44100,
                      "label": "dog", "fold": 1}}

Clips of which each may have several labels, or none, have ``labels``, a list, in place of ``label``: all the clips
of a data set, or none of them.

``duration`` is in seconds and ``sample_rate`` in Hz, both of the file on disk. A clip that is a part of its file has
``start``, in seconds, and ``duration`` is then that of the clip. ``fold`` (int), the sounds of the labelled sources
alone, where they are known (``target_wav``; beside ``labels`` it is ``target_wavs``, an object of label -> path),
``boxes`` (where sounds lie in time and frequency, see :mod:`.boxes`) and any further members are optional. Paths start
with ``{data_root}``, so that a manifest stays valid when the data moves. As SpeechBrain formats every text of a
manifest, other braces are doubled in the file; the names of members are not formatted.
"""

import filecmp
import functools
import hashlib
import json
import logging
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from speechbrain.dataio.dataset import DynamicItemDataset
from torch import Tensor
from tqdm import tqdm

from interpretability.data.audio import Stretch, audio_header
from interpretability.data.boxes import boxes_fault, utf8_boxes
from interpretability.errors import MissingError, UserError, shown, user_errors
from interpretability.files import claim, holds_json, without_negative_zeros, write_json_if_changed
from interpretability.names import name_fault, printable, utf8_name
from interpretability.reading import read_json

logger = logging.getLogger(__name__)

DATA_ROOT = "{data_root}"
SPLITS = ("train", "valid", "test")
NEEDED_KEYS = ("wav", "duration", "sample_rate")
#: Member with the label, or labels, of a clip -> the one with the sound of each source alone.
TARGETS = {"label": "target_wav", "labels": "target_wavs"}
#: Of a manifest: some 200 bytes per clip make five million clips.
MAX_BYTES = 2**30


@dataclass
class Manifest:
    """The clips of one split, checked.

    Attributes
    ----------
    entries : dict
        Clip id -> members of the clip, in the order of the file, with the data root put into the paths.
    path : Path
        The file they come from.
    data_root : Path
        The folder of the data, absolute.
    skipped : list of (str, str)
        Clips left out, as (id, reason).
    """

    entries: dict[str, dict[str, Any]]
    path: Path
    data_root: Path
    skipped: list[tuple[str, str]] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.entries)

    @property
    def task(self) -> str:
        """Whether each clip has one label ("single"), or may have several ("multi")."""
        return _task(self.entries.values())


@dataclass
class PreparedData:
    """What every ``prepare_*`` function returns.

    Attributes
    ----------
    manifests : dict
        Split ("train", "valid", "test") -> path of its manifest.
    data_root : Path
        What ``{data_root}`` stands for in the manifests.
    labels : list of str
        The class list, in the order of the class indices. It is that of the data set, never rebuilt from a split.
    description : dict
        What the results say about the data: name, folds, number of clips and ``content``, their identity
        (:func:`content_identity`); JSON-compatible. Data with the same description are the same data.
    skipped : list of (str, str)
        Clips left out of all splits, as (id, reason).
    notes : list of str
        What was decided about the data, and what a reader should know; one line each. Every job prints them.
    task : {"single", "multi"}
        Whether each clip has one label, or may have several, or none.
    shared : list of (str, str)
        Clips of a later split whose file is, byte for byte, that of a clip of an earlier one: the two ids.
    """

    manifests: dict[str, Path]
    data_root: Path
    labels: list[str]
    description: dict[str, Any]
    skipped: list[tuple[str, str]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    task: str = "single"
    shared: list[tuple[str, str]] = field(default_factory=list)

    def has_targets(self, split: str = "test") -> bool:
        """Whether the clips of a split have the sound of each labelled source alone (:data:`TARGETS`).

        Raises
        ------
        MissingError, UserError
            If there is no such manifest, or it cannot be read.
        """
        clips = _parse(self.manifests[split]).values()
        return any(isinstance(members, dict) and members.get(key) for members in clips for key in TARGETS.values())


def labels_of(members: dict[str, Any]) -> list[str]:
    """Return the labels of a clip, whether its manifest has one for each clip or several."""
    return [members["label"]] if "label" in members else members["labels"]


def paths_of(members: dict[str, Any], with_targets: bool = True) -> Iterator[tuple[str, str]]:
    """Yield the paths of a clip, each with what it is called in messages."""
    yield "wav", members["wav"]
    if with_targets and "target_wav" in members:
        yield "target_wav", members["target_wav"]
    if with_targets:
        for label, path in sorted(members.get("target_wavs", {}).items()):
            yield f"target_wavs of {shown(label)}", path


def _task(clips: Iterable[dict[str, Any]]) -> str:
    return "multi" if any("labels" in members for members in clips) else "single"


class BadClips:
    """Bad clips stop the run, or are left out, counted and listed.

    Parameters
    ----------
    source : str or Path
        Where the clips come from, for the messages.
    skip : bool
        Leave bad clips out (``--skip_bad_clips True``).
    """

    def __init__(self, source: str | Path, skip: bool):
        self.source = source
        self.skip = skip
        self.skipped: list[tuple[str, str]] = []

    def add(self, clip_id: str, reason: str) -> None:
        """Add a bad clip.

        Raises
        ------
        UserError
            If bad clips are not to be skipped.
        """
        clip_id, reason = printable(clip_id), printable(reason)
        if not self.skip:
            raise UserError(
                f"{self.source}: clip {shown(clip_id)}: {reason} "
                "(to leave out and list all bad clips: --skip_bad_clips True)"
            )
        self.skipped.append((clip_id, reason))

    def report(self, n_left: int) -> None:
        """Log every clip that was left out.

        Raises
        ------
        UserError
            If none of the clips is good.
        """
        for clip_id, reason in self.skipped:
            logger.warning("%s: clip %r left out: %s", self.source, clip_id, reason)
        if self.skipped:
            logger.warning("%s: %d bad clips left out, %d left", self.source, len(self.skipped), n_left)
        if n_left == 0 and self.skipped:
            raise UserError(
                f"{self.source}: all {len(self.skipped)} clips are bad, the first is {shown(self.skipped[0][0])}: "
                f"{self.skipped[0][1]}; check the data folder"
            )


def write_manifest(path: str | Path, entries: Iterable[dict[str, Any]]) -> bool:
    """Write a manifest, atomically, unless the file already says the same.

    A file that would not change is not touched. Ids and labels become UTF-8 (:func:`.names.utf8_name`).

    Parameters
    ----------
    path : str or Path
        Where to; the folder is made.
    entries : iterable of dict
        One per clip: the members of the schema and ``"id"``. Paths start with ``"{data_root}/"``.

    Returns
    -------
    bool
        Whether the file was written.

    Raises
    ------
    UserError
        If there is no clip, an id appears twice, or a clip does not fit the schema; the message names the clip.
    """
    return write_json_if_changed(path, _content(path, entries))


def _content(path: str | Path, entries: Iterable[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Return what a manifest holds; parameters and errors as of :func:`write_manifest`."""
    content: dict[str, dict[str, Any]] = {}
    for entry in entries:
        members = {key: value for key, value in entry.items() if key != "id"}
        clip_id = _map_text(entry.get("id"), utf8_name)
        fault = name_fault(clip_id)
        if fault:
            raise UserError(f"{path}: a clip has the id {shown(clip_id)}, {fault}: {shown(members)}")
        if clip_id in content:
            raise UserError(f"{path}: clip {shown(clip_id)}: duplicate id; every clip needs an id of its own")
        fault = _schema_fault(members) or _sources_fault(members)
        if fault:
            raise UserError(f"{path}: clip {shown(clip_id)}: {fault}")
        boxes = {"boxes": utf8_boxes(members["boxes"])} if "boxes" in members else {}
        content[clip_id] = _map_text({**members, **_utf8_labels(members), **boxes}, _escape)
    if not content:
        raise UserError(f"{path}: there are no clips to list; check the data folder and the folds")
    mixed = _mixed(content)
    if mixed:
        raise UserError(f"{path}: {mixed}")
    return content


def _utf8_labels(members: dict[str, Any]) -> dict[str, Any]:
    """Return the members with a clip's labels, as UTF-8."""
    if "label" in members:
        return {"label": utf8_name(members["label"])}
    targets = {utf8_name(label): path for label, path in members.get("target_wavs", {}).items()}
    return {
        "labels": [utf8_name(label) for label in members["labels"]],
        **({"target_wavs": targets} if "target_wavs" in members else {}),
    }


def _mixed(entries: dict[str, dict[str, Any]], of: str | None = None) -> str | None:
    """Return what is wrong if some clips have one label and others a list of them; None if nothing is.

    ``of``: the member that they are to have, by default that of the first clip.
    """
    for clip_id, members in entries.items():
        has = "labels" if "labels" in members else "label"
        of = of or has
        if has != of:
            return f"clip {shown(clip_id)} has {has} but others have {of}; give all clips the one or the other"
    return None


def write_manifests(
    folder: str | Path,
    data_root: Path,
    labels: list[str],
    entries: dict[str, list[dict[str, Any]]],
    description: dict[str, Any],
    skipped: list[tuple[str, str]],
) -> PreparedData:
    """Write the manifests of all splits, and ``labels.json``: how a ``prepare_*`` function ends.

    Parameters
    ----------
    folder : str or Path
        Where to; made when needed.
    data_root, labels, skipped
        As in :class:`PreparedData`.
    entries : dict
        Split -> its clips, as of :func:`write_manifest`.
    description : dict
        Name of the data set and how it was made; the numbers of clips, good and skipped, and the identity of their
        content are added.

    Raises
    ------
    UserError
        If a split has no clip, or one does not fit the schema; if the folder holds other files of these names that this
        package has not written.
    """
    for split, clips in entries.items():
        if not clips:
            raise UserError(f"{data_root}: no good clip is left in the {split} split; check the data folder")
    labels = [utf8_name(label) for label in labels]
    manifests = {split: Path(folder) / f"{split}.json" for split in entries}
    contents: dict[Path, Any] = {path: _content(path, entries[split]) for split, path in manifests.items()}
    task = _task(clip for clips in entries.values() for clip in clips)
    for path, content in contents.items():
        mixed = _mixed(content, "labels" if task == "multi" else "label")
        if mixed:
            raise UserError(f"{path}: {mixed}")
    contents[Path(folder) / "labels.json"] = labels
    Path(folder).mkdir(parents=True, exist_ok=True)
    # What says the same already is not replaced, whoever wrote it.
    unchanged = [path.name for path, content in contents.items() if holds_json(path, content)]
    claim(folder, [path.name for path in contents], known=unchanged)
    for path, content in contents.items():
        write_json_if_changed(path, content)
    counts = {"n_clips": {split: len(clips) for split, clips in entries.items()}, "n_skipped": len(skipped)}
    sampled = functools.cache(_sampled)  # a recording may hold many clips
    identity = {"content": content_identity(data_root, labels, entries, sampled)}
    shared = _shared_files(data_root, entries, sampled)
    # One label is what data have that do not say it.
    several = {"task": task} if task == "multi" else {}
    return PreparedData(
        manifests,
        data_root,
        labels,
        {**description, **several, **counts, **identity},
        skipped,
        task=task,
        shared=shared,
    )


def content_identity(
    data_root: Path,
    labels: Sequence[str],
    entries: dict[str, list[dict[str, Any]]],
    sampled: Callable[[str], str] | None = None,
) -> str:
    """Return what tells data sets apart that look alike: the same for the same sounds, wherever they lie.

    It is part of :attr:`PreparedData.description`, which the record of a run holds: a run is only continued on the same
    data.

    Parameters
    ----------
    data_root, labels, entries
        As of :func:`write_manifests`.
    sampled : callable, optional
        Path -> what stands for the content of its file, by default a checksum of its size and some kB.

    Returns
    -------
    str
        SHA-256, as 64 hex digits, of the class list, and in each split of every clip's id and members (duration,
        sampling rate, label, fold, …), and of the size and some kB of its files. Neither the order of the clips nor the
        place of the data counts.
    """
    digest = hashlib.sha256(json.dumps(list(labels)).encode())
    sampled = sampled or functools.cache(_sampled)
    for split, clips in sorted(entries.items()):
        lines = []
        for clip in clips:
            files = [sampled(file_of(path, data_root)) for _, path in paths_of(clip)]
            lines.append(json.dumps(without_negative_zeros([clip, files]), sort_keys=True))  # as a file has them
        digest.update("\n".join([split, *sorted(lines)]).encode())
    return digest.hexdigest()


def _shared_files(
    data_root: Path, entries: dict[str, list[dict[str, Any]]], sampled: Callable[[str], str]
) -> list[tuple[str, str]]:
    """Return the clips of a split whose file is that of a clip of an earlier split: (id there, id here)."""
    known: dict[tuple, tuple[str, str, str]] = {}
    shared = []
    for split, clips in entries.items():
        for clip in clips:
            path = file_of(clip["wav"], data_root)
            place, clip_id, first = known.setdefault(
                (sampled(path), clip.get("start"), clip["duration"]), (split, clip["id"], path)
            )
            if place != split and (path == first or filecmp.cmp(first, path, shallow=False)):
                shared.append((clip_id, clip["id"]))
    return shared


def _sampled(path: str) -> str:
    """Return the checksum of a file's size, and of 4 kB at its start, its middle and its end."""
    block = 4096
    with user_errors(f"{path}: cannot be read", OSError), open(path, "rb") as stream:
        size = stream.seek(0, 2)
        digest = hashlib.sha256(str(size).encode())
        for start in (0, size // 2, size - block):
            stream.seek(max(0, start))
            digest.update(stream.read(block))
    return digest.hexdigest()


def read_manifest(
    path: str | Path,
    data_root: str | Path,
    labels: Sequence[str] | None = None,
    skip_bad_clips: bool = False,
    check_audio: bool = True,
) -> Manifest:
    """Read and validate a manifest.

    Audio is checked by its header only: a damaged body and samples that are NaN show when a clip is decoded
    (:func:`decodable`).

    Parameters
    ----------
    path : str or Path
        The JSON file.
    data_root : str or Path
        The folder that ``{data_root}`` stands for.
    labels : sequence of str, optional
        The class list; a clip with another label is bad.
    skip_bad_clips : bool
        Leave bad clips out, count them and log each, instead of raising at the first one. Of clips that share an id,
        the first is kept.
    check_audio : bool
        Whether to look at the audio files.

    Returns
    -------
    Manifest

    Raises
    ------
    MissingError
        If there is no such file, or no such data folder.
    UserError
        If the file is not JSON of the right shape; if a clip is bad (its id appears twice, a member is missing or of
        the wrong type, a label of it is not in ``labels``, its audio is missing, empty or not readable); if all are;
        if some clips have one label and others a list of them.
    """
    path = Path(path)
    data_root = Path(data_root).expanduser().absolute()
    content = _parse(path)
    if check_audio and not data_root.is_dir():
        raise MissingError(f"{data_root}: no such data folder; give the folder that the paths of {path} start from")
    known = None if labels is None else set(labels)
    bad = BadClips(path, skip_bad_clips)
    for clip_id, _ in content.repeated:
        bad.add(clip_id, "duplicate id; every clip needs an id of its own")
    entries: dict[str, dict[str, Any]] = {}
    for clip_id, members in content.items():
        try:
            fault = name_fault(clip_id)
            if fault:
                raise UserError(f"as an id, {fault}")
            entries[clip_id] = _checked_entry(members, data_root, known, check_audio)
        except UserError as fault:
            bad.add(clip_id, str(fault))
    bad.report(len(entries))
    mixed = _mixed(entries)
    if mixed:
        raise UserError(f"{path}: {mixed}")
    return Manifest(entries=entries, path=path, data_root=data_root, skipped=bad.skipped)


def decodable(
    manifest: Manifest, load: Callable[[str], Tensor], with_targets: bool = False, progress: bool = True
) -> Manifest:
    """Decode every clip once, and leave out, count and log those whose sound turns out to be bad.

    Parameters
    ----------
    manifest : Manifest
        From :func:`read_manifest`; not changed.
    load : callable
        Path -> samples ``[N]``; of a clip that is a part of its file, path and :class:`.Stretch` -> samples. With a
        cache behind it, nothing is decoded a second time afterwards.
    with_targets : bool
        Also decode the sounds of the labelled sources alone, where a clip has them.
    progress : bool
        Show a progress bar, on a terminal.

    Returns
    -------
    Manifest
        Of the good clips, in the same order; those left out here and before are in ``skipped``.

    Raises
    ------
    UserError
        If no clip is good.
    """
    bad = BadClips(manifest.path, skip=True)
    entries = {}
    # On anything but a terminal, tqdm is silent for disable=None.
    clips = tqdm(manifest.entries.items(), "decoding", unit="clip", disable=None if progress else True)
    for clip_id, members in clips:
        try:
            for _, path in paths_of(members, with_targets):
                load(path, *_stretch(members))
        except UserError as fault:
            bad.add(clip_id, str(fault))
        else:
            entries[clip_id] = members
    bad.report(len(entries))
    return Manifest(entries, manifest.path, manifest.data_root, [*manifest.skipped, *bad.skipped])


def speechbrain_dataset(
    manifest: Manifest, load: Callable[[str], Tensor], with_targets: bool = False
) -> DynamicItemDataset:
    """Make SpeechBrain's data set of a manifest.

    Parameters
    ----------
    manifest : Manifest
        From :func:`read_manifest`.
    load : callable
        Path -> samples ``[N]``, e.g. ``ClipCache(...).load``; of a clip that is a part of its file, path and
        :class:`.Stretch` -> samples.
    with_targets : bool
        Also load the sounds of the labelled sources alone. Training does not use them, and each costs as much as the
        clip itself.

    Returns
    -------
    DynamicItemDataset
        Its items have ``id``, ``signal`` [N] and ``label`` (the class name) or ``labels`` (a list of them);
        ``with_targets``, ``target_signal`` [N] or ``target_signals``, a dict of label -> [N], too; if a clip has any
        ``boxes``, also a list of these.

    Raises
    ------
    UserError
        If some labels have the sound of their source alone and others have not; if none has and they are asked for.
    """
    key = "labels" if manifest.task == "multi" else "label"
    target = TARGETS[key]
    # SpeechBrain's sorting and filtering write into the members of a clip: let it have its own.
    boxed = any(members.get("boxes") for members in manifest.entries.values())
    absent = {"start": None, **({target: {}} if key == "labels" else {}), **({"boxes": []} if boxed else {})}
    dataset = DynamicItemDataset({clip_id: {**absent, **clip} for clip_id, clip in manifest.entries.items()})

    def load_part(path: str, start: float | None, duration: float) -> Tensor:
        return load(path, *_stretch({"start": start, "duration": duration}))

    def load_parts(paths: dict[str, str], start: float | None, duration: float) -> dict[str, Tensor]:
        return {label: load_part(path, start, duration) for label, path in paths.items()}

    dataset.add_dynamic_item(load_part, takes=("wav", "start", "duration"), provides="signal")
    # A clip without labels has no source, and lacks none.
    labelled = {clip_id: members for clip_id, members in manifest.entries.items() if labels_of(members)}
    without = [clip_id for clip_id, members in labelled.items() if not members.get(target)]
    if 0 < len(without) < len(labelled):
        raise UserError(
            f"{manifest.path}: clip {shown(without[0])} has no {target} but others have one; "
            "give it to all clips or to none"
        )
    output = "target_signal" if key == "label" else "target_signals"
    if with_targets:
        if without or not labelled:
            raise UserError(f"{manifest.path}: no clip has a {target}, so there are no targets to load")
        loads = load_part if key == "label" else load_parts
        dataset.add_dynamic_item(loads, takes=(target, "start", "duration"), provides=output)
    dataset.set_output_keys(["id", "signal", key, *([output] if with_targets else []), *(["boxes"] if boxed else [])])
    return dataset


def stretch_of(members: dict[str, Any]) -> Stretch | None:
    """Return the part of its file that a clip is; None if it is all of it."""
    return None if members.get("start") is None else Stretch(members["start"], members["duration"])


def _stretch(members: dict[str, Any]) -> tuple[Stretch, ...]:
    """Return what follows the path of a clip when it is loaded."""
    part = stretch_of(members)
    return () if part is None else (part,)


def file_of(path: str, data_root: Path) -> str:
    """Return the path of a file that an entry names, with the data root put in."""
    return path.replace(DATA_ROOT, str(data_root), 1)


class _Object(dict):
    """A JSON object that remembers the members that came with a name already taken."""

    def __init__(self, pairs: list[tuple[str, Any]]):
        super().__init__()
        self.repeated: list[tuple[str, Any]] = []
        for key, value in pairs:
            if key in self:
                self.repeated.append((key, value))
            else:
                self[key] = value


def _parse(path: Path) -> _Object:
    if not path.is_file():
        raise MissingError(f"{path}: no such manifest; run the prepare step, or check the path")
    content = read_json(path, pairs=_Object, limit=MAX_BYTES)
    if not isinstance(content, _Object):
        raise UserError(f"{path}: holds a JSON {type(content).__name__}, expected an object of clip id -> members")
    if not content:
        raise UserError(f"{path}: holds no clips, expected at least one; make the manifest again")
    return content


def _checked_entry(members: Any, data_root: Path, labels: set[str] | None, check_audio: bool) -> dict[str, Any]:
    """Return the members with the data root put in; a :class:`UserError` holds the reason why that cannot be."""
    if isinstance(members, _Object) and members.repeated:
        raise UserError(f"the member {shown(members.repeated[0][0])} appears twice")
    fault = _schema_fault(members)
    if fault:
        raise UserError(fault)
    faults = (KeyError, IndexError, ValueError, AttributeError)
    advice = f"; the only name is {DATA_ROOT}, other braces are doubled"
    with user_errors("a text has braces without a meaning", *faults, advice=advice):
        entry = _map_text(members, lambda text: text.format_map({"data_root": str(data_root)}))
    fault = _sources_fault(entry)
    if fault:
        raise UserError(fault)
    unknown = [] if labels is None else [label for label in labels_of(entry) if label not in labels]
    if unknown:
        raise UserError(f"the label {shown(unknown[0])} is not one of the {len(labels)} classes {_shortened(labels)}")
    for what, path in paths_of(entry):
        if not Path(path).is_absolute():
            raise UserError(f"{what} is {shown(path)}, expected a path that starts with {DATA_ROOT}/")
        if check_audio:
            _check_file(entry, path)
    return entry


def _check_file(entry: dict[str, Any], path: str) -> None:
    """Refuse a clip whose file is missing, no audio, or shorter than the clip in it."""
    header = audio_header(path)
    end = entry.get("start", 0.0) + entry["duration"]
    if "start" in entry and end > header.duration + 0.5 / header.sample_rate:
        raise UserError(f"{path}: has {header.duration:g} s, but the clip in it ends at {end:g} s")


def _schema_fault(members: Any) -> str | None:
    """Return what is wrong with the members of a clip, or None."""
    if not isinstance(members, dict):
        return f"is a JSON {type(members).__name__}, expected an object with {', '.join(NEEDED_KEYS)}, label"
    missing = [key for key in NEEDED_KEYS if key not in members]
    missing += [] if "label" in members or "labels" in members else ["label"]
    if missing:
        return f"lacks {', '.join(missing)}; needed are {', '.join(NEEDED_KEYS)}, label (or labels: a list)"
    if "label" in members and "labels" in members:
        return "has both label and labels; give the one, or the list"
    if "id" in members:
        return "has a member 'id'; the id is the name of the clip's object, SpeechBrain refuses a second one"
    for key in ("wav", "label", "target_wav"):
        if key in members and (not isinstance(members[key], str) or not members[key]):
            return f"{key} is {shown(members[key])}, expected a non-empty text"
    fault = _labels_fault(members)
    if fault:
        return fault
    duration = members["duration"]
    if isinstance(duration, bool) or not isinstance(duration, int | float) or not 0 < duration < math.inf:
        return f"duration is {shown(duration)}, expected a positive number of seconds"
    rate = members["sample_rate"]
    if isinstance(rate, bool) or not isinstance(rate, int) or rate <= 0:
        return f"sample_rate is {shown(rate)}, expected a whole number of Hz"
    start = members.get("start", 0)
    if isinstance(start, bool) or not isinstance(start, int | float) or not 0 <= start < math.inf:
        return f"start is {shown(start)}, expected a number of seconds >= 0"
    if "fold" in members and (isinstance(members["fold"], bool) or not isinstance(members["fold"], int)):
        return f"fold is {shown(members['fold'])}, expected a whole number"
    return boxes_fault(members["boxes"], duration) if "boxes" in members else None


def _labels_fault(members: dict[str, Any]) -> str | None:
    """Return what is wrong with the labels of a clip that may have several, and with their sources, or None."""
    for key, target in TARGETS.items():
        if target in members and key not in members:
            return f"has {target} but no {key}; " + ", ".join(f"{name} has {its}" for name, its in TARGETS.items())
    if "labels" not in members:
        return None
    labels, targets = members["labels"], members.get("target_wavs")
    if not isinstance(labels, list) or not all(isinstance(label, str) and label for label in labels):
        return f"labels is {shown(labels)}, expected a list of non-empty texts"
    twice = [label for label in labels if labels.count(label) > 1]
    if twice:
        return f"labels has {shown(twice[0])} twice; list each label of the clip once"
    paths = targets.values() if isinstance(targets, dict) else [None]
    if targets is not None and not all(isinstance(path, str) and path for path in paths):
        return f"target_wavs is {shown(targets)}, expected an object of label -> path"
    return None


def _sources_fault(members: dict[str, Any]) -> str | None:
    """Return what is wrong if the known sources are not those of the labels, or None; all texts as they are meant."""
    labels, targets = members.get("labels"), members.get("target_wavs")
    if targets is not None and targets.keys() != set(labels):
        return (
            f"target_wavs has {', '.join(map(shown, targets)) or 'no label'}, labels "
            f"{', '.join(map(shown, labels)) or 'none'}; give each label of the clip its path"
        )
    return None


def _escape(text: str) -> str:
    """Double all braces but those of ``{data_root}``: SpeechBrain formats every text of a manifest."""
    return text.replace("{", "{{").replace("}", "}}").replace("{" + DATA_ROOT + "}", DATA_ROOT)


def _map_text(value: Any, change: Callable[[str], str]) -> Any:
    """Return a copy of a JSON value with ``change`` done to every text (not to the names of members)."""
    if isinstance(value, str):
        return change(value)
    if isinstance(value, dict):
        return {key: _map_text(member, change) for key, member in value.items()}
    if isinstance(value, list):
        return [_map_text(member, change) for member in value]
    return value


def _shortened(names: Iterable[str], n: int = 10) -> str:
    names = sorted(names)
    return ", ".join(names[:n]) + (", ..." if len(names) > n else "")
