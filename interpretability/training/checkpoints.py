"""SpeechBrain's checkpointer, safe against a kill or a full disk while it saves."""

import logging
import math
import os
import re
import shutil
import time
from pathlib import Path
from typing import Any

import yaml
from speechbrain.utils.checkpoints import (
    METAFNAME,
    PARAMFILE_EXT,
    Checkpoint,
    Checkpointer,
    mark_as_loader,
    mark_as_saver,
    register_checkpoint_hooks,
)
from speechbrain.utils.distributed import ddp_barrier, if_main_process

from interpretability.errors import UserError, first_line, user_errors
from interpretability.reading import read_text

logger = logging.getLogger(__name__)

PARTIAL = "partial+"
#: Names that checkpoints get.
NAME = re.compile(r"CKPT\+\d{4}-\d\d-\d\d\+\d\d-\d\d-\d\d\+\d+")
#: Of a checkpoint's metadata: whether an epoch had ended, and if not, which one it was in and after which step.
END_OF_EPOCH, IN_EPOCH, STEP = "end-of-epoch", "in_epoch", "step"
MAX_META_BYTES = 20_000


class AtomicCheckpointer(Checkpointer):
    """A checkpointer whose folders appear as a whole or not at all.

    SpeechBrain writes the metadata first and the parameters after it, so a truncated checkpoint looks like a good one
    and breaks the next start. Here a checkpoint is written under a name that recovery does not look at, and renamed
    when it is complete.

    Which checkpoint is the newest is decided by epoch and step: a clock may go back. One whose metadata are damaged is
    left out, with a warning.
    """

    def __init__(self, checkpoints_dir, *args, **kwargs):
        # SpeechBrain makes the folder at once, of runs that are refused, too; here it comes with the first checkpoint.
        super().__init__(os.curdir, *args, **kwargs)
        self.checkpoints_dir = Path(checkpoints_dir)
        self._reported: set[str] = set()

    def list_checkpoints(self):
        """List the checkpoints whose metadata can be read; in them, ``unixtime`` is how far the training had come.

        Raises
        ------
        UserError
            If there are checkpoints, and none of them can be read.
        """
        if not self.checkpoints_dir.is_dir():
            return []
        folders, damaged = self._list_checkpoint_dirs(), []
        checkpoints = []
        for folder in sorted(folders):
            try:
                meta = _read_meta(folder / METAFNAME)
            except UserError as error:
                damaged.append(str(error))
                continue
            files = {path.stem: path for path in folder.iterdir() if path.suffix == PARAMFILE_EXT}
            # SpeechBrain's only use of the date is to sort.
            checkpoints.append(Checkpoint(folder, {**meta, "unixtime": _position(meta)}, files))
        if damaged and not checkpoints:
            raise UserError(
                f"{damaged[0]}, and no other checkpoint is there: delete {self.checkpoints_dir} to train from the "
                "start, or give another output_folder"
            )
        for message in damaged:
            if message not in self._reported:
                logger.warning("%s: left out; an older checkpoint is used where there is one", message)
                self._reported.add(message)
        return checkpoints

    def delete_checkpoints(self, *, ckpt_predicate=None, **keys):
        """See :meth:`Checkpointer.delete_checkpoints`; a copy that the user gave a name of its own stays."""

        def may_go(checkpoint):
            return NAME.fullmatch(checkpoint.path.name) and (ckpt_predicate is None or ckpt_predicate(checkpoint))

        super().delete_checkpoints(ckpt_predicate=may_go, **keys)

    def clean(self, **keys):
        """Remove what a killed process left: half-written checkpoints, and those that better or newer ones replaced.

        ``keys`` as of :meth:`delete_checkpoints`.
        """
        self._remove_partial()
        self.delete_checkpoints(ckpt_predicate=lambda checkpoint: checkpoint.meta[END_OF_EPOCH], **keys)
        newest = self.find_checkpoint()
        self.delete_checkpoints(
            num_to_keep=0, ckpt_predicate=lambda old: not old.meta[END_OF_EPOCH] and old.path != newest.path
        )

    def save_checkpoint(self, *args, verbosity=logging.INFO, **kwargs):
        """Save as :meth:`Checkpointer.save_checkpoint` does, then rename.

        Raises
        ------
        UserError
            If the files cannot be written (a full disk); nothing is left of the attempt.
        """
        # Truncated attempts of an earlier, killed process. No other process writes here.
        self._remove_partial()
        ddp_barrier()
        try:
            # SpeechBrain would log the temporary name.
            checkpoint = super().save_checkpoint(*args, verbosity=logging.DEBUG, **kwargs)
        except (OSError, RuntimeError) as error:
            # torch reports a failed write as RuntimeError.
            self._remove_partial()
            raise UserError(
                f"could not save a checkpoint in {self.checkpoints_dir} ({first_line(error)}); "
                "make room on the disk, then run the same command again to resume"
            ) from error
        ddp_barrier()
        if checkpoint is not None:  # on the main process
            final = checkpoint.path.with_name(checkpoint.path.name.removeprefix(PARTIAL))
            checkpoint.path.rename(final)
        ddp_barrier()  # what each process lists from now on is the same, or they would not delete the same
        if checkpoint is None:
            return None
        logger.log(verbosity, "Saved a checkpoint in %s", final)
        paramfiles = {name: final / path.name for name, path in checkpoint.paramfiles.items()}
        return checkpoint._replace(path=final, paramfiles=paramfiles)

    def save_and_keep_only(self, *args, importance_keys=(), **kwargs):
        """See :meth:`Checkpointer.save_and_keep_only`, whose default list grows with every call."""
        super().save_and_keep_only(*args, importance_keys=list(importance_keys), **kwargs)

    def load_checkpoint(self, checkpoint):
        """See :meth:`Checkpointer.load_checkpoint`.

        Raises
        ------
        UserError
            If a file is damaged, or belongs to another network.
        """
        try:
            super().load_checkpoint(checkpoint)
        except Exception as error:  # files that are cut off or changed raise many types
            reason = " ".join(str(error).split())[:300]
            raise UserError(
                f"{checkpoint.path}: the checkpoint is damaged or of other settings "
                f"({type(error).__name__}: {reason}); delete that folder to go on from the one before, "
                "or give another output_folder"
            ) from error

    def _remove_partial(self):
        if if_main_process():
            for leftover in self.checkpoints_dir.glob(f"{PARTIAL}*"):
                shutil.rmtree(leftover, ignore_errors=True)

    def _new_checkpoint_dirpath(self):
        path = super()._new_checkpoint_dirpath()
        return path.with_name(PARTIAL + path.name)

    def _custom_checkpoint_dirpath(self, name):
        path = super()._custom_checkpoint_dirpath(name)
        return path.with_name(PARTIAL + path.name)


def _read_meta(path: Path) -> dict[str, Any]:
    """Read the metadata of a checkpoint: names with numbers."""
    what = f"{path}: the metadata of the checkpoint are damaged"
    text = read_text(path, MAX_META_BYTES)
    if re.search(r"[\[{&*!]", text):
        raise UserError(f"{what} (expected names with numbers alone)")
    with user_errors(what):  # YAML's own errors, and those of the types that it makes, have no common type
        meta = yaml.safe_load(text)
        numbers = isinstance(meta, dict) and all(
            isinstance(name, str) and isinstance(value, (bool, int, float)) and math.isfinite(value)
            for name, value in meta.items()
        )
    if not numbers or not isinstance(meta.get(END_OF_EPOCH), bool) or (meta[END_OF_EPOCH] and "epoch" not in meta):
        raise UserError(f"{what} (expected numbers, {END_OF_EPOCH} and epoch among them)")
    return meta


def _position(meta: dict[str, Any]) -> tuple[float, float]:
    """Return how far the training had come: epoch and step, the latter infinite at the end of an epoch."""
    if meta[END_OF_EPOCH]:
        return (meta["epoch"], math.inf)
    return (meta.get(IN_EPOCH, 0), meta.get(STEP, 0))


@register_checkpoint_hooks
class Stopwatch:
    """Training time in seconds, over all resumed runs (it is saved and recovered with the checkpoints)."""

    def __init__(self):
        self._before = 0.0
        self._since: float | None = None

    def start(self) -> None:
        """Count from now on."""
        self._since = time.monotonic()

    @property
    def seconds(self) -> float:
        """Seconds counted so far."""
        return self._before + (0.0 if self._since is None else time.monotonic() - self._since)

    @mark_as_saver
    def _save(self, path):
        Path(path).write_text(f"{self.seconds}\n", encoding="utf-8")

    @mark_as_loader
    def _load(self, path, end_of_epoch=False):
        del end_of_epoch
        self._before = float(Path(path).read_text(encoding="utf-8"))
        if self._since is not None:
            self._since = time.monotonic()
