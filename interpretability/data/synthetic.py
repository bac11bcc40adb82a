"""The Synthetic data set: a folder of clips of :mod:`.sounds` or :mod:`.scenes`, made if absent, and its manifests."""

import dataclasses
import math
import wave
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from interpretability.data.audio import audio_header
from interpretability.data.manifest import DATA_ROOT, SPLITS, BadClips, PreparedData, write_manifests
from interpretability.data.scenes import check_max_targets, make_scene
from interpretability.data.sounds import GRID, LABELS, check_format, check_label, check_whole_numbers, make_clip
from interpretability.errors import UserError, shown
from interpretability.files import atomic_folder, write_json
from interpretability.reading import checked, read_checked
from interpretability.settings import Settings, setting

SHORTCUT_IN_TEST_FRACTION = 0.5

# Raised whenever the same settings would give other samples, so that an older folder is refused, not mixed in.
_VERSION = 1
_SETTINGS_FILE = "synthetic.json"


@dataclass(frozen=True)
class _SyntheticFile(Settings):
    """What ``synthetic.json`` holds."""

    settings: dict = setting(dataclasses.MISSING, "with which the folder was made")
    clips: dict = setting(dataclasses.MISSING, "split -> what was drawn for each of its clips")


@dataclass(frozen=True)
class _DrawnClip(Settings):
    """What it holds about each clip, besides what was drawn."""

    id: str = setting(dataclasses.MISSING, "name of the clip")
    label: str = setting(dataclasses.MISSING, "its class", choices=LABELS)


@dataclass(frozen=True)
class _DrawnScene(Settings):
    """What it holds about each clip of several targets, besides what was drawn."""

    id: str = setting(dataclasses.MISSING, "name of the clip")
    labels: tuple[str, ...] = setting(dataclasses.MISSING, "classes of its targets", choices=LABELS)


def prepare_synthetic(
    data_folder: str | Path,
    manifest_folder: str | Path,
    *,
    seed: int,
    n_train: int,
    n_valid: int,
    n_test: int,
    shortcut_class: str | None = None,
    shortcut_fraction: float = 0.95,
    shortcut_in_test: bool = False,
    max_targets: int | None = None,
    classes: Sequence[str] | None = None,
    sample_rate: int = 16000,
    seconds: float = 2.0,
    skip_bad_clips: bool = False,
) -> PreparedData:
    """Make the data set where it does not exist yet, and write its manifests.

    On disk it looks like any other: ``audio/{split}-{index:05d}.wav``, ``targets/`` with the event of each clip alone
    under the same name (both 24-bit), and ``synthetic.json`` with the settings and what was drawn for each clip. The
    folder appears as a whole or not at all, and is left as it is when it was made with the same settings.

    The *shortcut* variant has a planted flaw: a faint 6 kHz hum (:data:`.sounds.SHORTCUT_DB`) in ``shortcut_fraction``
    of the training clips of one class and nowhere else, which a classifier may learn to rely on.

    The *many-label* variant (``max_targets``) has clips of one to so many targets that overlap, each of another class
    (:mod:`.scenes`). They have ``labels``, and ``targets/`` has ``{split}-{index:05d}-{label}.wav`` for each of them.

    Parameters
    ----------
    data_folder : path
        Where the sounds are, or are to be made.
    manifest_folder : path
        Gets ``train.json``, ``valid.json``, ``test.json`` and ``labels.json``; files that would not change are not
        touched. The entries carry, beyond what every manifest has, ``target_wav`` and the drawn parameters of
        :class:`.sounds.SyntheticClip`, among them ``shortcut`` (hum or not); in the many-label variant ``target_wavs``
        and those of :class:`.scenes.SyntheticScene`.
    seed : int
        Of the sounds. Clip i of a split depends on the seed only, not on how many clips are made.
    n_train, n_valid, n_test : int
        Clips per split, >= 10; balanced over the classes to within one clip.
    shortcut_class : str, optional
        One of :data:`.sounds.LABELS`: make the shortcut variant with this class.
    shortcut_fraction : float
        Of the training clips of ``shortcut_class`` that get the hum, in [0, 1].
    shortcut_in_test : bool
        Add the hum to half of the test clips of every class, to audit a classifier that was trained on the variant.
    max_targets : int, optional
        1 to 10: make the many-label variant, whose clips have up to so many targets. Not with ``shortcut_class``.
    classes : sequence of str, optional
        At least two of :data:`.sounds.LABELS`: leave out the clips of the others. The folder has them all, and
        ``n_train`` and the others count them. Not with ``max_targets``.
    sample_rate : int
        In hertz, >= 16000.
    seconds : float
        Length of every clip, >= 1.
    skip_bad_clips : bool
        Leave out and log clips that have gone missing or unreadable since the folder was made, instead of raising.

    Returns
    -------
    PreparedData
        The manifests by split, the data root, the class list and a description (JSON-ready).

    Raises
    ------
    UserError
        If a setting is out of range; if the folder was made with other settings, holds something else, or cannot be
        written; if a clip of an existing folder is missing or unreadable.
    """
    root = Path(data_folder).expanduser().absolute()
    counts = {"train": n_train, "valid": n_valid, "test": n_test}
    check_whole_numbers(seed=seed)
    check_format(sample_rate, seconds)
    for split, count in counts.items():
        if not isinstance(count, int) or isinstance(count, bool) or count < len(LABELS):
            raise UserError(f"n_{split} must be a whole number >= {len(LABELS)} (one clip per class), got {count!r}.")
    if shortcut_class is not None:
        check_label(shortcut_class, "shortcut_class")
    elif shortcut_in_test:
        raise UserError("shortcut_in_test is for the shortcut variant: give shortcut_class as well.")
    if not 0.0 <= shortcut_fraction <= 1.0:
        raise UserError(f"shortcut_fraction must lie between 0 and 1, got {shortcut_fraction!r}.")
    if max_targets is not None:
        check_max_targets(max_targets)
        if shortcut_class is not None:
            raise UserError("shortcut_class is for clips of one target: give it or max_targets, not both.")

    settings: dict[str, Any] = {
        "version": _VERSION,
        "seed": int(seed),
        **{f"n_{split}": count for split, count in counts.items()},
        "sample_rate": int(sample_rate),
        "seconds": float(seconds),
        "shortcut_class": shortcut_class,
        # Without a class the fraction has no meaning, and must not make two equal data sets look different.
        "shortcut_fraction": float(shortcut_fraction) if shortcut_class is not None else None,
        "shortcut_in_test": bool(shortcut_in_test),
        # Not named where it is not used: folders of one target look as they always did.
        **({} if max_targets is None else {"max_targets": max_targets}),
    }
    labels = _chosen(classes, max_targets)
    clips = _existing_clips(root, settings) or _make_folder(root, settings, counts)
    bad = BadClips(root / _SETTINGS_FILE, skip_bad_clips)
    entries = {split: _good_entries(clips[split], root, bad) for split in SPLITS}
    bad.report(sum(len(members) for members in entries.values()))
    if labels != list(LABELS):
        entries = {split: [entry for entry in entries[split] if entry["label"] in labels] for split in SPLITS}
        settings["classes"] = labels
    name = "Synthetic" if shortcut_class is None else "Synthetic, shortcut"
    name = name if max_targets is None else "Synthetic, many labels"
    description = {"name": name, "settings": settings}
    return write_manifests(manifest_folder, root, labels, entries, description, bad.skipped)


def _chosen(classes: Sequence[str] | None, max_targets: int | None) -> list[str]:
    """Return the classes that are asked for, in the order of all of them; refuse those that cannot be chosen."""
    if classes is None:
        return list(LABELS)
    names = [classes] if isinstance(classes, str) else list(classes)
    for name in names:
        check_label(name, "classes")
    labels = [label for label in LABELS if label in names]
    if len(labels) < 2:
        raise UserError(f"classes is {shown(classes)}, expected at least two of {', '.join(LABELS)}.")
    if max_targets is not None:
        raise UserError("classes is for clips of one target: give it or max_targets, not both.")
    return labels


def _good_entries(clips: list[dict[str, Any]], root: Path, bad: BadClips) -> list[dict[str, Any]]:
    """Return the manifest entries of the clips whose files are all there and readable; add the others to ``bad``."""
    entries = []
    for clip in clips:
        wav, targets = _files(clip)
        try:
            header = audio_header(root / wav)
            for target in targets.values():
                audio_header(root / target)
        except UserError as fault:
            bad.add(clip["id"], f"{fault}; or delete {root} to have it made again")
            continue
        alone = {label: f"{DATA_ROOT}/{target}" for label, target in targets.items()}
        known = {"target_wavs": alone} if "labels" in clip else {"target_wav": alone[clip["label"]]}
        format_ = {"duration": header.duration, "sample_rate": header.sample_rate}
        entries.append({**clip, "wav": f"{DATA_ROOT}/{wav}", **known, **format_})
    return entries


def _files(clip: dict[str, Any]) -> tuple[str, dict[str, str]]:
    """Return where in the folder the sound of a clip lies, and that of each of its labels alone."""
    name = clip["id"]
    if "labels" in clip:
        return f"audio/{name}.wav", {label: f"targets/{name}-{label}.wav" for label in clip["labels"]}
    return f"audio/{name}.wav", {clip["label"]: f"targets/{name}.wav"}


def _has_shortcut(split: str, index: int, settings: dict[str, Any]) -> bool:
    """Whether a clip gets the hum: spread evenly over the clips of its class, so that the share is exact."""
    turn = index // len(LABELS)  # number of the clip within its class
    if settings["shortcut_class"] is None:
        return False
    if split == "train" and LABELS[index % len(LABELS)] == settings["shortcut_class"]:
        return _due(turn, settings["shortcut_fraction"])
    return split == "test" and settings["shortcut_in_test"] and _due(turn, SHORTCUT_IN_TEST_FRACTION)


def _due(turn: int, fraction: float) -> bool:
    # The small number is for products such as 20 * 0.95 that may fall a rounding error short of a whole.
    return math.floor((turn + 1) * fraction + 1e-9) > math.floor(turn * fraction + 1e-9)


def _existing_clips(data_folder: Path, settings: dict[str, Any]) -> dict[str, list[dict[str, Any]]] | None:
    """Return what was drawn for the clips in the folder, None if there is nothing yet; refuse any other content."""
    if not data_folder.exists():
        return None
    if not data_folder.is_dir():
        raise UserError(f"{data_folder} is a file: give a folder for the Synthetic data.")
    path = data_folder / _SETTINGS_FILE
    if not path.is_file():
        if any(data_folder.iterdir()):
            raise UserError(
                f"{data_folder} holds other files and no {_SETTINGS_FILE}: give a new or an empty folder for the "
                "Synthetic data."
            )
        return None
    advice = "give another data folder, or delete this one"
    content = read_checked(_SyntheticFile, path, advice)
    existing = content.settings
    different = [key for key in sorted({**settings, **existing}) if existing.get(key) != settings.get(key)]
    differences = [f"{key}={existing.get(key)!r} instead of {settings.get(key)!r}" for key in different]
    if differences:
        raise UserError(
            f"The Synthetic data in {data_folder} were made with {', '.join(differences)}: give another data folder, "
            "or delete this one to have it made again."
        )
    schema = _DrawnScene if "max_targets" in settings else _DrawnClip
    for split in SPLITS:
        listed = content.clips.get(split)
        if not isinstance(listed, list) or len(listed) != settings[f"n_{split}"]:
            raise UserError(f"{path}: clips has no list of {settings[f'n_{split}']} in {split!r}; {advice}")
        for index, clip in enumerate(listed):
            known = checked(schema, clip, f"{path}: clip {index} of {split}", advice)
            if known.id != _clip_id(split, index):
                raise UserError(
                    f"{path}: clip {index} of {split} has the id {shown(known.id)}, expected "
                    f"{_clip_id(split, index)!r}; {advice}"
                )
    return content.clips


def _clip_id(split: str, index: int) -> str:
    return f"{split}-{index:05d}"


def _make_folder(
    data_folder: Path, settings: dict[str, Any], counts: dict[str, int]
) -> dict[str, list[dict[str, Any]]]:
    """Make all clips and ``synthetic.json``, as a whole; return what was drawn for each clip, by split."""
    clips: dict[str, list[dict[str, Any]]] = {split: [] for split in SPLITS}
    total = sum(counts.values())
    try:
        with (
            atomic_folder(data_folder, listed=False) as folder,
            tqdm(total=total, desc="Synthetic: making clips", unit="clip", disable=None) as progress,
        ):
            (folder / "audio").mkdir()
            (folder / "targets").mkdir()
            for split, count in counts.items():
                for index in range(count):
                    clip, sounds = _make_clip(split, index, settings)
                    for name, sound in sounds.items():
                        _write_wav(folder / name, sound, settings["sample_rate"])
                    clips[split].append(clip)
                    progress.update()
            write_json(folder / _SETTINGS_FILE, {"settings": settings, "clips": clips})
    except OSError as error:
        # Mixture, and half of the most targets on average, or one.
        n_files = 1 + (1 + settings.get("max_targets", 1)) / 2
        megabytes = math.ceil(total * n_files * 3 * settings["seconds"] * settings["sample_rate"] / 1e6)
        raise UserError(
            f"The Synthetic data could not be written to {data_folder} ({error.strerror or error}): it needs "
            f"{megabytes} MB in a folder that can be written; nothing was left there."
        ) from error
    return clips


def _make_clip(split: str, index: int, settings: dict[str, Any]) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Make a clip: what the folder says about it, and the sound [N] of each of its files."""
    arguments = (settings["seed"], split, index)
    form = {name: settings[name] for name in ("sample_rate", "seconds")}
    if "max_targets" in settings:
        scene = make_scene(*arguments, settings["max_targets"], **form)
        mixture, targets = scene.mixture, scene.targets
        drawn = {"labels": list(targets), **scene.parameters}
    else:
        single = make_clip(*arguments, shortcut=_has_shortcut(split, index, settings), **form)
        mixture, targets = single.mixture, {single.label: single.target}
        drawn = {"label": single.label, **single.parameters}
    clip = {"id": _clip_id(split, index), **drawn}
    wav, names = _files(clip)
    return clip, {wav: mixture, **{names[label]: target for label, target in targets.items()}}


def _write_wav(path: Path, x: np.ndarray, sample_rate: int) -> None:
    """Write [N] on the grid as mono 24-bit PCM, without loss.

    By the standard library: it raises when the disk is full, and equal samples give equal bytes (a float file of
    libsndfile carries the time it was written).
    """
    codes = np.round(x.astype(np.float64) * GRID).astype("<i4")
    with open(path, "wb") as stream, wave.open(stream, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(3)
        file.setframerate(sample_rate)
        file.writeframes(codes.view(np.uint8).reshape(-1, 4)[:, :3].tobytes())
