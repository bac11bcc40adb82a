"""SpeechBrain's checkpointer, safe against a kill or a full disk while it saves."""

import logging
import shutil
import time
from pathlib import Path

from speechbrain.utils.checkpoints import Checkpointer, mark_as_loader, mark_as_saver, register_checkpoint_hooks
from speechbrain.utils.distributed import ddp_barrier, if_main_process

from interpretability.errors import UserError, first_line

logger = logging.getLogger(__name__)

PARTIAL = "partial+"


class AtomicCheckpointer(Checkpointer):
    """A checkpointer whose folders appear as a whole or not at all.

    SpeechBrain writes the metadata first and the parameters after it, so a truncated checkpoint looks like a good one
    and breaks the next start. Here a checkpoint is written under a name that recovery does not look at, and renamed
    when it is complete.
    """

    def save_checkpoint(self, *args, verbosity=logging.INFO, **kwargs):
        """Save as :meth:`Checkpointer.save_checkpoint` does, then rename.

        Raises
        ------
        UserError
            If the files cannot be written (a full disk); nothing is left of the attempt.
        """
        # Truncated attempts of an earlier, killed process. No other process writes here.
        if if_main_process():
            for leftover in Path(self.checkpoints_dir).glob(f"{PARTIAL}*"):
                shutil.rmtree(leftover, ignore_errors=True)
        ddp_barrier()
        try:
            # SpeechBrain would log the temporary name.
            checkpoint = super().save_checkpoint(*args, verbosity=logging.DEBUG, **kwargs)
        except (OSError, RuntimeError) as error:
            # torch reports a failed write as RuntimeError.
            for leftover in Path(self.checkpoints_dir).glob(f"{PARTIAL}*"):
                shutil.rmtree(leftover, ignore_errors=True)
            raise UserError(
                f"could not save a checkpoint in {self.checkpoints_dir} ({first_line(error)}); "
                "make room on the disk, then run the same command again to resume"
            ) from error
        ddp_barrier()
        if checkpoint is None:
            return None
        final = checkpoint.path.with_name(checkpoint.path.name.removeprefix(PARTIAL))
        checkpoint.path.rename(final)
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

    def _new_checkpoint_dirpath(self):
        path = super()._new_checkpoint_dirpath()
        return path.with_name(PARTIAL + path.name)

    def _custom_checkpoint_dirpath(self, name):
        path = super()._custom_checkpoint_dirpath(name)
        return path.with_name(PARTIAL + path.name)


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
