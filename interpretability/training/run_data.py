"""The clips of a run, read from its folder: nothing is prepared again, and nothing is written."""

import difflib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from speechbrain.dataio.dataset import DynamicItemDataset

from interpretability.classifiers import Classifier
from interpretability.data.batches import make_datasets
from interpretability.data.inputs import Origin, Sounds
from interpretability.data.manifest import SPLITS, PreparedData, labels_of, read_manifest
from interpretability.errors import MissingError, UserError, shown
from interpretability.files import expanded
from interpretability.reading import read_json
from interpretability.training.recipe import OWN_FOLDER, RUN_RECORD
from interpretability.training.record import read_record
from interpretability.training.remembered import Archive, moved_data
from interpretability.training.workspace import CLASSIFIER, INTERPRETER, MANIFESTS


@dataclass(frozen=True)
class RunData:
    """What a run was made with.

    Attributes
    ----------
    folder : Path
        Of the run.
    prepared : PreparedData
        Its manifests, and where their data are.
    record : dict
        Its record: what is heard of a clip (``clip_seconds``, ``fixed_length``, ``channel``), seed, data.
    """

    folder: Path
    prepared: PreparedData
    record: dict[str, Any]

    def split_of(self, clip: str) -> str:
        """Return the split of a clip; a :class:`MissingError`, with the nearest names, if there is none of that id."""
        ids: list[str] = []
        for split, path in self.prepared.manifests.items():
            names = list(read_manifest(path, self.prepared.data_root, check_audio=False).entries)
            if clip in names:
                return split
            ids += names
        close = difflib.get_close_matches(clip, ids, n=3)
        hint = f": did you mean {' or '.join(close)}?" if close else f", such as {ids[0]}"
        raise MissingError(f"{self.folder} has no clip {shown(clip)} among its {len(ids)}{hint}")

    def clip(self, clip: str, classifier: Classifier) -> "Clip":
        """Return a clip as the run heard it; errors as of :meth:`split_of` and :meth:`dataset`."""
        split = self.split_of(clip)
        dataset = self.dataset(split, classifier)
        item, members = dataset[list(dataset.data_ids).index(clip)], dataset.data[clip]
        sounds = Sounds(item["signal"][None], None, (Origin(label=clip),))
        return Clip(sounds, ", ".join(labels_of(members)), split, Path(members["wav"]))

    def dataset(self, split: str, classifier: Classifier, with_targets: bool = False) -> DynamicItemDataset:
        """Return the clips of a split as the run heard them, at the classifier's rate; also their sources alone.

        Raises
        ------
        UserError
            If the run has no such split, or a clip is not there any more.
        """
        if split not in self.prepared.manifests:
            known = ", ".join(self.prepared.manifests)
            raise UserError(f"{self.folder} has no split {shown(split)}, expected one of {known}")
        frontend = classifier.frontend.settings
        settings = {"fixed_length": False, "channel": "mean", **self.record}
        return make_datasets(
            self.prepared,
            classifier.labels,
            frontend.sample_rate,
            clip_seconds=settings.get("clip_seconds"),
            fixed_length=settings["fixed_length"],
            splits=(split,),
            with_targets=with_targets,
            progress=False,
            resampling=frontend.resampling,
            channel=settings["channel"],
        )[split]


@dataclass(frozen=True)
class Clip:
    """A clip of a run: its ``sounds``, a batch of one, its ``label``, its ``split`` and the ``path`` of its file."""

    sounds: Sounds
    label: str
    split: str
    path: Path


def read_run_data(
    folder: str | Path, data_folder: str | Path | None = None, trust_remote_code: bool = False
) -> RunData:
    """Read what the folder of a run says about its data.

    Parameters
    ----------
    folder : path
        The output folder of a run.
    data_folder : path, optional
        Where the data are now; where the run had them if not given.
    trust_remote_code : bool
        Whether the YAML of the run may name anything.

    Raises
    ------
    MissingError
        If it is no run; if the data are not there any more.
    UserError
        If a file of the run is damaged.
    """
    folder = expanded(folder)
    if folder.name in (CLASSIFIER, INTERPRETER) and not (folder / RUN_RECORD).is_file():
        folder = folder.parent
    record = read_record(folder)
    if data_folder is None:
        archive = Archive.of_run(folder, tuple(OWN_FOLDER.values()), trust_remote_code)
        root = archive.data_root
    else:
        root = expanded(data_folder).absolute()
    if not root.is_dir():
        raise moved_data(folder, root) if data_folder is None else MissingError(f"{root}: no such data folder")
    paths = {split: folder / MANIFESTS / f"{split}.json" for split in SPLITS}
    manifests = {split: path for split, path in paths.items() if path.is_file()}
    if not manifests:
        raise MissingError(f"{folder / MANIFESTS} has no manifests: run the command that made the run once more")
    task = read_manifest(next(iter(manifests.values())), root, check_audio=False).task
    labels = read_json(folder / MANIFESTS / "labels.json")
    if not isinstance(labels, list) or not all(isinstance(label, str) for label in labels):
        raise UserError(f"{folder / MANIFESTS / 'labels.json'}: expected a list of class names")
    return RunData(folder, PreparedData(manifests, root, labels, record["data"], task=task), record)
