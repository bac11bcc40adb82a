"""The folder of a run while a job works in it: one process at a time, what it writes there, left-overs, the log."""

import contextlib
import errno
import fcntl
import logging
import os
import re
import shutil
import socket
from collections.abc import Iterator
from pathlib import Path

from speechbrain.utils.distributed import if_main_process

from interpretability import processes
from interpretability.command_line import log_to
from interpretability.errors import UserError
from interpretability.files import LISTING, claim, remove_claimed, remove_leftovers
from interpretability.methods.folder import RUN_SUBFOLDER as INTERPRETER
from interpretability.predictions import PREDICTIONS
from interpretability.training.recipe import ARCHIVE, OWN_FOLDER, RUN_RECORD, Run
from interpretability.training.record import read_record

logger = logging.getLogger(__name__)

LOCK, LOG, MANIFESTS = ".run.lock", "log.txt", "manifests"
CLASSIFIER, EXAMPLES, CHECKPOINTS, REPORT = "classifier", "examples", "save", "report"
TRANSFORMERS = "huggingface"  # a classifier of that kind, as Transformers saves it
_DICTIONARY, _EVALUATION = OWN_FOLDER["dictionary"], OWN_FOLDER["evaluate"]
_OF_TRAINING = (RUN_RECORD, CHECKPOINTS, "train_log.txt", "tensorboard")
#: Job -> what it writes in the run's folder, besides the manifests, the archive and the log.
WRITES = {
    "classifier": (CLASSIFIER, TRANSFORMERS, PREDICTIONS, REPORT, *_OF_TRAINING),
    "interpreter": (INTERPRETER, *_OF_TRAINING),
    "dictionary": (_DICTIONARY,),
    "evaluate": (RUN_RECORD, INTERPRETER, EXAMPLES, PREDICTIONS, REPORT, _EVALUATION),
}
_HOLDER = re.compile(r"pid \d+ on host \S+")


@contextlib.contextmanager
def working_in(run: Run, job: str) -> Iterator[None]:
    """Have the run's folder for this process alone, and log there. Of several processes the main one does it.

    A trial (``--debug``) has a folder of its own, which is removed afterwards.

    Raises
    ------
    UserError
        If another process has it; if it holds something that the job would replace and that no run wrote
        (:func:`~interpretability.files.claim`).
    """
    if not if_main_process():
        yield
        processes.wait_for_all()
        return
    folder = run.output_folder
    folder.mkdir(parents=True, exist_ok=True)
    with locked(folder):
        if run.tries is not None:
            remove_claimed(folder)
        names = _names(run, job)
        if _is_older_run(folder):
            claim(folder, names, known=names)
            manifests = [path.name for path in (folder / MANIFESTS).glob("*.json")]
            if manifests:
                claim(folder / MANIFESTS, manifests, known=manifests)
        claim(folder, names)
        if run.tries is not None:
            _provide(run, job)
        run.archive_folder.mkdir(exist_ok=True)
        for part in (folder, *(folder / name for name in (MANIFESTS, _DICTIONARY, _EVALUATION))):
            remove_leftovers(part)
        log_to(run.archive_folder / LOG)
        try:
            yield
            processes.wait_for_all()  # before what they read is removed
        finally:
            if run.tries is not None and not run.keeps_trial:
                remove_claimed(folder)
    if run.tries is not None:
        _end_trial(run)


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the lock of a folder, which ends with the process that holds it, however that ends.

    Raises
    ------
    UserError
        If another process holds it; the message names it.
    """
    path = folder / LOCK
    stream = _lock(path)
    try:
        yield
    finally:
        path.unlink(missing_ok=True)  # while it is held: whoever opened it meanwhile sees that it is gone
        os.close(stream)


def _lock(path: Path) -> int:
    """Return the descriptor of a lock file that this process alone has locked."""
    while True:
        if path.is_symlink() or (path.exists() and not path.is_file()):
            raise UserError(f"{path} is no lock of this program: move it away, or give another output_folder")
        stream = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        holder = os.read(stream, 300).decode("utf-8", errors="replace").strip()
        if holder and not _HOLDER.fullmatch(holder):
            os.close(stream)
            raise UserError(f"{path} is no lock of this program: move it away, or give another output_folder")
        try:
            # Of the process, and not of the file: worker processes do not inherit it.
            fcntl.lockf(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno not in (errno.EACCES, errno.EAGAIN):
                logger.warning("%s: cannot be locked (%s): start one process at a time there", path, error.strerror)
                return stream
            os.close(stream)
            raise UserError(
                f"another process, {holder or 'just started'}, is writing in {path.parent}: wait until it has "
                "finished, or give another output_folder"
            ) from None
        if path.exists() and os.path.samestat(os.fstat(stream), path.stat()):
            os.truncate(stream, 0)
            os.pwrite(stream, f"pid {os.getpid()} on host {socket.gethostname()}\n".encode(), 0)
            return stream
        os.close(stream)  # the one who held it has finished, and removed it


def _names(run: Run, job: str) -> list[str]:
    """Return what a job writes directly in the run's folder."""
    names = [MANIFESTS, *WRITES[job]]
    if run.archive_folder == run.output_folder:
        names += [*ARCHIVE, LOG, *([] if run.script is None else [run.script.name])]
    if job == "interpreter" and "dictionary" in run.hparams and run.given_dictionary is None:
        names.append(_DICTIONARY)
    return names


def _is_older_run(folder: Path) -> bool:
    """Return whether a run of an earlier version is there: its record alone says that the folder is a run's."""
    return not (folder / LISTING).exists() and any(map(_has_record, (folder, folder / _DICTIONARY)))


def _has_record(folder: Path) -> bool:
    """Return whether a folder has the record of a run, and not some other file of that name."""
    try:
        read_record(folder)
    except UserError:
        return False
    return True


def _provide(run: Run, job: str) -> None:
    """Give the trial of an evaluation what the run's folder has, to read."""
    if job != "evaluate":
        return
    if (run.tries / RUN_RECORD).is_file():
        shutil.copyfile(run.tries / RUN_RECORD, run.output_folder / RUN_RECORD)
    for name in (CHECKPOINTS, _DICTIONARY):
        if (run.tries / name).is_dir():
            claim(run.output_folder, [name])
            (run.output_folder / name).symlink_to((run.tries / name).resolve())


def _end_trial(run: Run) -> None:
    """Say what became of a trial."""
    batches, epochs = run.options.debug_batches, run.options.debug_epochs
    what = f"that was a trial (--debug: {batches} batches, {epochs} epochs at most)"
    if run.keeps_trial:
        print(f"{what}; it is kept in {run.output_folder}, and {run.tries} is as it was")
    else:
        with contextlib.suppress(OSError):  # it holds what others put there
            run.output_folder.rmdir()
        print(f"{what}; nothing of it is kept")
