"""What a run is: the record in its folder, which refuses other settings, and what results record about it."""

import dataclasses
import itertools
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from speechbrain.utils.checkpoints import CKPT_PREFIX
from speechbrain.utils.distributed import if_main_process

from interpretability import processes
from interpretability.errors import UserError
from interpretability.files import LISTING, write_json
from interpretability.frontend import FrontendSettings
from interpretability.methods.folder import METHODS
from interpretability.reading import read_description
from interpretability.settings import Settings, setting
from interpretability.training.provenance import commit
from interpretability.training.recipe import OPTIONAL, RUN_RECORD, Run, no_run

# Settings that a record fixes. The number of epochs may grow, and is not among them.
ALWAYS = ("seed", "clip_seconds", "fixed_length", "channel")
SELECTION = ("selection_key", "selection_mode")
# Of the training alone: an evaluation may use other batches.
STEPS = ("lr", "weight_decay", "batch_size", "batch_seconds")


@dataclass(frozen=True)
class RunRecord(Settings):
    """What the record of any run holds; the rest is compared, and need not be known."""

    job: str = setting(dataclasses.MISSING, "what the run does", choices=("classifier", "interpreter", "dictionary"))
    labels: tuple[str, ...] = setting(dataclasses.MISSING, "class names")
    frontend: dict = setting(dataclasses.MISSING, "settings of the front end")
    data: dict = setting(dataclasses.MISSING, "data set, folds and number of clips")
    seed: int = setting(dataclasses.MISSING, "of all that is random")
    settings: dict = setting({}, "of the method or of the dictionary")


def values_of(run: Run, *names: str) -> dict[str, Any]:
    """Return those settings of the run's YAML."""
    return {name: run.hparams.get(name) if name in OPTIONAL else run[name] for name in names}


def read_record(folder: Path) -> dict[str, Any]:
    """Return the record of the run in a folder."""
    return read_description(folder, RUN_RECORD, "run", "train in another output_folder", RunRecord)


def has_checkpoints(run: Run) -> bool:
    """Return whether a run's training has saved anything that it could go on from."""
    return any(Path(run["training"]["checkpointer"].checkpoints_dir).glob(f"{CKPT_PREFIX}*"))


def keep_record(folder: Path, record: dict[str, Any], binds: bool, must_exist: bool = False) -> None:
    """Write the record of a run into its folder, or refuse a folder that belongs to another run.

    Parameters
    ----------
    folder : Path
    record : dict
    binds : bool
        Whether something was trained or measured there already. A record of nothing is replaced: a call that failed
        does not keep its folder from the next one.
    must_exist : bool
        Refuse a folder without a record.

    Raises
    ------
    UserError
        If the folder holds a run with another record; if it holds none, and ``must_exist``.
    """
    path = folder / RUN_RECORD
    record = json.loads(json.dumps(record))
    if path.is_file() and binds:
        known = _of_older(read_record(folder), record)
        different = sorted(key for key in record if known.get(key) != record[key])
        if different:
            changes = "; ".join(f"{key}: {_change(known.get(key), record[key])}" for key in different)
            raise UserError(
                f"{folder} holds a run that differs in {', '.join(different)} ({changes}): "
                "give another output_folder, or the settings and the classifier it was made with"
            )
    elif must_exist:
        raise no_run(folder)
    elif if_main_process():
        write_json(path, record)


def _of_older(known: dict[str, Any], record: dict[str, Any]) -> dict[str, Any]:
    """Return a record with what an older one does not say: what was always so, and what cannot be known any more."""
    frontend = FrontendSettings.of_saved(known["frontend"], "the front end of an earlier run").to_dict()
    data = {"content": record["data"].get("content"), **known["data"]}
    before = {"channel": "mean", "heard_share": 0.0, **known, **_settings_of_older(known, record)}
    return {**before, "frontend": frontend, "data": data}


def _settings_of_older(known: dict[str, Any], record: dict[str, Any]) -> dict[str, Any]:
    """Return a record's settings of a method with those that came later: they were as their defaults are."""
    kind, settings = METHODS.get(record.get("method")), known.get("settings")
    if kind is None or not isinstance(settings, dict) or known.get("method") != record.get("method"):
        return {}
    later = {info.name: info.default for info in kind.Settings.infos() if info.name in record.get("settings", {})}
    return {"settings": {**later, **settings}}


def is_trained(folder: Path, check: Callable[[Path], dict[str, Any]], epochs: int) -> bool:
    """Return whether a folder already holds a model of that many epochs; if so, print that.

    Parameters
    ----------
    folder : Path
    check : callable
        As of :func:`intact_description`.
    epochs : int
    """
    content = processes.of_main(lambda: intact_description(folder, check))
    if content is None or content.get("training", {}).get("epochs") != epochs:
        return False
    print(f"already trained for {epochs} epochs: {folder} (give another output_folder to train again)")
    return True


def intact_description(folder: Path, check: Callable[[Path], dict[str, Any]]) -> dict[str, Any] | None:
    """Return the description of the model that a run has saved; None if there is none, or if it is damaged.

    A damaged folder is moved aside, so that the model is saved again from the checkpoints; nothing is removed.

    Parameters
    ----------
    folder : Path
    check : callable
        Folder -> description; a :class:`UserError` if one of its files is not there or not as it was saved.
    """
    try:
        return check(folder)
    except UserError as fault:
        if if_main_process() and (folder / LISTING).is_file():  # written by this program
            aside = next(path for n in itertools.count(1) if not (path := Path(f"{folder}.damaged{n}")).exists())
            folder.rename(aside)
            print(f"{fault}. It is moved to {aside}, and saved again from the checkpoints")
        return None


def origin(run: Run, dictionary_training: dict[str, Any] | None = None) -> dict[str, Any]:
    """Return what a saved interpreter or dictionary records about the run that made it."""
    learned = {"dictionary": dictionary_training} if dictionary_training else {}
    return {**values_of(run, *ALWAYS), "commit": commit(), **learned}


def _change(old: Any, new: Any) -> str:
    """Return in words how two values differ; of objects, only the members that do."""
    if isinstance(old, dict) and isinstance(new, dict):
        changed = [name for name in {**old, **new} if old.get(name) != new.get(name)]
        if changed == ["content"]:
            return "other sounds, lengths or labels under the same names"
        old, new = ({name: value[name] for name in changed if name in value} for value in (old, new))
    return f"{_short(old)}, now {_short(new)}"


def _short(value: Any, limit: int = 80) -> str:
    text = json.dumps(value)
    return text if len(text) <= limit else text[: limit - 1] + "…"
