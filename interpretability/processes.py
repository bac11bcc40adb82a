"""Several processes at one job, as torchrun starts them: which is the main one, and what they tell each other.

Only the main one writes files and prints. Nothing that is slow to import is imported here, as every command does.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
import os
import signal
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any, TypeVar

Result = TypeVar("Result")

ENDED = (
    "another process of this run has ended, so this one has too: run the same command again; finished parts are kept"
)
#: In seconds: between two looks at whether the main process has finished, and until a store answers.
_BETWEEN_LOOKS, _PATIENCE = 0.05, 60
#: What a lost connection is called: by Gloo and by PyTorch's own store, whose errors have no type of their own, and as
#: types.
_LOST = ("gloo", "Connection closed", "Connection reset", "Broken pipe", "Socket")
_LOST_TYPES = ("DistBackendError", "DistNetworkError", "DistStoreError")

_numbers = itertools.count()
_jobs = itertools.count()
_job = 0
_ended = False


def count() -> int:
    """Return how many processes do the job."""
    return int(os.environ.get("WORLD_SIZE", 1)) if {"RANK", "LOCAL_RANK"} <= os.environ.keys() else 1


def rank() -> int:
    """Return the position of this process among them, from 0."""
    return int(os.environ["RANK"]) if count() > 1 else 0


def is_main() -> bool:
    """Return whether this is the process that writes and prints."""
    return rank() == 0


@contextlib.contextmanager
def at_work() -> Iterator[None]:
    """Do one job: what torchrun sends when another process has failed ends the block with ``KeyboardInterrupt``."""
    global _job, _ended, _numbers
    if count() == 1:
        yield
        return
    _job, _ended, _numbers = next(_jobs), False, itertools.count()
    ours = os.getpid()

    def end(number: int, *_: Any) -> None:
        global _ended
        if os.getpid() != ours:  # of a data loader
            os._exit(128 + number)
        if not _ended:
            _ended = True
            raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
        _store.cache_clear()  # at the end of Python its threads would hang


def was_ended(error: BaseException) -> bool:
    """Return whether an error says that another process is gone, or that torchrun has ended this one."""
    if count() == 1:
        return False
    if isinstance(error, KeyboardInterrupt):
        return _ended
    lost = type(error).__name__ in _LOST_TYPES or any(word in str(error) for word in _LOST)
    return isinstance(error, RuntimeError) and lost


def last_word() -> bool:
    """Return whether this process is the first to say why the job ends: what follows from it is not said again."""
    global _ended
    _ended = True  # a signal that comes now has nothing left to end
    return _first("end")


def says_first(text: str) -> bool:
    """Return whether no other process has said a text in this job."""
    return _first(f"said/{text}")


def _first(key: str) -> bool:
    if count() == 1:
        return True
    try:
        return _store().add(f"interpretability/{_job}/{key}", 1) == 1
    except RuntimeError:  # whoever kept the store is gone: better twice than not at all
        return True


@functools.cache
def _store() -> Any:
    """Return torchrun's own store, which lives as long as any process does."""
    import torch.distributed  # slow to import

    where = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
    return torch.distributed.TCPStore(*where, is_master=False, timeout=timedelta(seconds=_PATIENCE))


def main_first(make: Callable[[], Result]) -> Result | None:
    """Call a function on the main process; the others wait for it, however long that takes, and return None."""
    if count() == 1:
        return make()
    key = f"interpretability/{_job}/done/{next(_numbers)}"
    if is_main():
        result = make()
        _store().set(key, "")
        return result
    while not _store().check([key]):
        time.sleep(_BETWEEN_LOOKS)
    return None


def of_main(make: Callable[[], Result]) -> Result:
    """Return what a function returns on the main process, on all of them."""
    from speechbrain.utils.distributed import ddp_broadcast  # slow to import

    return ddp_broadcast(main_first(make))


def gathered(value: Any) -> list[Any]:
    """Return the value of each process, in their order."""
    if count() == 1:
        return [value]
    import torch.distributed  # slow to import

    values = [None] * count()
    torch.distributed.all_gather_object(values, value)
    return values


def wait_for_all() -> None:
    """Return when every process is here."""
    gathered(None)
