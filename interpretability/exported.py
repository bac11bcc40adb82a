"""Folders as they are published: what is in them, checked before anything is built or loaded from them.

``config.json`` describes the method, the classifier and the front end, and lists all files with their SHA-256. Weights
are read from ``interpreter.safetensors`` and ``classifier.safetensors``. The rest is for people and for SpeechBrain: a
card, an example, ``hyperparams.yaml`` and checkpoints. Nothing of that is loaded here, but a folder in which it would
run code is refused as a whole.
"""

from __future__ import annotations

import contextlib
import dataclasses
import logging
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from interpretability.errors import MissingError, UserError, placed, shown
from interpretability.files import sha256
from interpretability.hub import is_inside, origin_of
from interpretability.names import printable
from interpretability.reading import as_object, checked, read_bytes, read_json, read_text
from interpretability.safe_yaml import MAX_BYTES, parse
from interpretability.settings import Settings, setting
from interpretability.weight_files import check_plain, file_size

logger = logging.getLogger(__name__)

CONFIG, HYPERPARAMS = "config.json", "hyperparams.yaml"
#: The label encoder, under its own name, and under the one that a pretrainer without paths looks for: text, both.
LABELS, LABELS_OF_PRETRAINER = "label_encoder.txt", "label_encoder.ckpt"
INTERPRETER_WEIGHTS, CLASSIFIER_WEIGHTS = "interpreter.safetensors", "classifier.safetensors"
#: The value of ``library`` in :data:`CONFIG`, and the newest form of folders that this version knows.
LIBRARY, FORM = "audio-interpretability", 1
#: Of :data:`CONFIG` in bytes, and classes of a classifier: the largest data sets have some thousands.
MAX_CONFIG, MAX_CLASSES = 4 * 2**20, 20_000
#: What the YAML may build: what publishing writes there.
BUILT = (
    "interpretability.interface.Model",
    "speechbrain.dataio.encoder.CategoricalEncoder",
    "speechbrain.lobes.models.ECAPA_TDNN.Classifier",
    "speechbrain.lobes.models.PIQ.Conv2dEncoder_v2",
    "speechbrain.lobes.models.PIQ.VectorQuantizedPSI_Audio",
    "speechbrain.processing.features.ISTFT",
    "speechbrain.processing.features.STFT",
    "speechbrain.utils.parameter_transfer.Pretrainer",
)
#: Files of weights, for whichever library.
WEIGHTS = (".bin", ".ckpt", ".pt", ".pth", ".safetensors")
ADVICE = "fetch or copy the folder again, or take one that you trust"


@dataclass(frozen=True)
class ExportedFolder(Settings):
    """What the description of a published folder holds."""

    library: str = setting(dataclasses.MISSING, "the library that reads it", choices=(LIBRARY,))
    form: int = setting(dataclasses.MISSING, "form of the folder", least=1, most=FORM)
    classifier: dict = setting(dataclasses.MISSING, "the classifier, as its own folder describes it")
    files: dict = setting(dataclasses.MISSING, "name -> SHA-256")
    interpreter: dict | None = setting(None, "the interpreter, as its own folder describes it")


def is_exported(folder: Path) -> bool:
    """Return whether a folder was published by this library: it says so, or has its files of weights."""
    if (folder / CLASSIFIER_WEIGHTS).exists():
        return True
    if not (folder / CONFIG).is_file():
        return False
    with contextlib.suppress(UserError):
        content = _read(folder / CONFIG)
        return isinstance(content, dict) and content.get("library") == LIBRARY
    return False


def read_exported(folder: Path, trust_remote_code: bool = False) -> ExportedFolder | None:
    """Read and check the description of a published folder, and every file beside it; None if it is another folder.

    Parameters
    ----------
    folder : Path
    trust_remote_code : bool
        Whether files that only SpeechBrain would read, and in which code may hide, are warned of and not refused.

    Raises
    ------
    MissingError, UserError
        If a file is absent, was changed, leads out of the folder or could run code; if the description holds
        anything but what it should.
    """
    if not is_exported(folder):
        return None
    path = folder / CONFIG
    with placed(path, ADVICE):
        members = as_object(_read(path), path)
        if "auto_map" in members or "custom_pipelines" in members:
            raise UserError("names code for another library to run (auto_map), which a published folder never needs")
        content = checked(ExportedFolder, members, path)
        _check_files(folder, content.files)
        _check_labels(content.classifier.get("labels"))
    try:
        _refuse_code(folder)
    except UserError as error:
        if not trust_remote_code:
            raise
        logger.warning("%s (not run here; loaded all the same, as trust_remote_code says)", error)
    return content


def source_of(folder: Path, description: dict[str, Any]) -> dict[str, Any]:
    """Return a description with ``hub``: the model and the commit that were read, if the folder is of a hub."""
    origin = origin_of(folder)
    return description if origin is None else {**description, "hub": origin}


def _read(path: Path) -> Any:
    return read_json(path, limit=MAX_CONFIG)


def _check_files(folder: Path, files: dict[str, Any]) -> None:
    """Refuse a listing that leads out of the folder, or of which something here differs."""
    if CLASSIFIER_WEIGHTS not in files:
        raise UserError(f"files: lacks {CLASSIFIER_WEIGHTS}")
    for name, digest in files.items():
        if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts or "\\" in name or "\0" in name:
            raise UserError(f"files: {shown(name)} is no file of the folder")
        path = folder / name
        needed = name.endswith(".safetensors")
        if not path.is_file() and not needed and not path.is_symlink():
            continue  # of a hub only what is needed is fetched
        if not is_inside(path, folder):
            raise UserError(f"{shown(name)} leads out of the folder")
        if not path.is_file():
            raise MissingError(f"{shown(name)} is not there")
        if sha256(path) != digest:
            raise UserError(f"{shown(name)} is damaged or was changed: not the SHA-256 that stands here")


def _check_labels(labels: Any) -> None:
    if isinstance(labels, list) and len(labels) > MAX_CLASSES:
        raise UserError(f"labels: {len(labels)} classes, expected at most {MAX_CLASSES}")
    for label in labels if isinstance(labels, list) else ():
        if isinstance(label, str) and printable(label) != label:
            raise UserError(f"labels: {shown(label)} holds control characters, which no class name needs")


def _refuse_code(folder: Path) -> None:
    """Refuse a folder with a YAML or weights that would run code in a library that reads them."""
    if (folder / HYPERPARAMS).is_file():
        path = folder / HYPERPARAMS
        tree = parse(read_bytes(path, MAX_BYTES), str(path), BUILT).whole()
        tags = [node.tag for node in tree.walk() if node.tag and node.tag.removeprefix("!new:") not in BUILT]
        if tags:
            raise UserError(f"{path}: the tag {shown(tags[0])} is refused: it could run any code; {ADVICE}")
    for path in sorted(folder.iterdir()):
        if path.name == LABELS_OF_PRETRAINER:
            read_text(path, MAX_CONFIG)
        elif path.suffix in WEIGHTS and path.is_file():
            check_plain(path)
            file_size(path)  # by its header
