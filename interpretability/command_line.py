"""What every command of the project does with errors and devices: one line for the user, a non-zero exit status."""

from __future__ import annotations

import errno
import logging
import re
import sys
from collections.abc import Callable
from typing import Any

import torch

from interpretability.errors import UserError, first_line

DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
NO_ACCESS = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.EISDIR, errno.EEXIST, errno.ENAMETOOLONG)


def guarded(action: Callable[[], Any]) -> int:
    """Call an action; turn what the user can mend into one line on stderr and a non-zero exit status."""
    # On a full disk the log file cannot be written either; logging's own tracebacks would bury the one line.
    logging.raiseExceptions = False
    try:
        action()
        return 0
    except UserError as error:
        # An error in a data loader's worker process comes with the worker's traceback in front of the message.
        said = re.split(r"interpretability\.errors\.\w+: ", str(error))[-1]
        print(f"error: {said}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        said = "run the same command again; what was finished is kept, nothing is half-written"
        print(f"interrupted: {said}", file=sys.stderr)
        return 130
    except OSError as error:
        if error.errno in DISK_FULL:
            written = error.filename2 or error.filename  # of a copy, the second
            where = f" while writing {written}" if written else ""
            print(f"error: the disk is full{where} ({error.strerror}): make room, then run it again", file=sys.stderr)
        elif error.errno in NO_ACCESS and error.filename is not None:
            print(
                f"error: {error.filename}: {error.strerror}: give a folder that can be written, or files that can be "
                "read",
                file=sys.stderr,
            )
        else:
            raise
        return 2


def check_device(device: str | None) -> None:
    """Raise a :class:`UserError` if PyTorch cannot use a device (None: the best that is there)."""
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:  # torch has no type of its own for it
        raise UserError(f"device {device!r} cannot be used ({first_line(error)}); try --device cpu") from error
