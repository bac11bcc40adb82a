"""Files of weights as they lie on disks: opened without running code that is in them, or refused in one line.

Files of ``torch.save`` (a state_dict, a training checkpoint around one, those of Lightning with its callbacks and
hyperparameters) and of safetensors are opened. What is in them besides tensors and plain values becomes an empty
stand-in, so that nothing is imported and nothing is called. Everything else is refused, with what it is and what to do.
"""

from __future__ import annotations

import _compat_pickle
import io
import pickletools
import struct
import warnings
import zipfile
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from interpretability.errors import MissingError, UserError, first_line, listed, shown, user_errors

#: How to get a file that can be opened.
CONVERT = "in the environment it was made in, save the weights alone: torch.save(model.state_dict(), 'weights.pt')"
#: First bytes of files that are often taken for weights -> what they are and what to do.
OTHER_FILES = {
    b"version https://git-lfs": "a Git LFS pointer in place of the weights: run `git lfs pull` in its repository",
    b"\x89HDF\r\n": f"an HDF5 file (Keras or TensorFlow), not one of PyTorch; {CONVERT}",
    b"\x1f\x8b": "a gzip archive: unpack it first",
    b"BZh": "a bzip2 archive: unpack it first",
    b"7z\xbc\xaf": "a 7z archive: unpack it first",
    b"\x93NUMPY": f"an array of NumPy, not one of PyTorch; {CONVERT}",
    b"GGUF": "a GGUF file, not one of PyTorch",
    b"<": "a web page in place of the weights: download the file itself",
}
#: Those whose mark does not come first: offset, mark -> the same.
OTHER_MARKS = {
    (257, b"ustar"): "a tar archive: unpack it first",
    (4, b"TFL3"): "a TensorFlow Lite model, not one of PyTorch",
}
#: Wrappers around a state_dict, the likeliest first.
WRAPPERS = ("state_dict", "model_state_dict", "model", "net", "network", "module", "weights", "params")
#: The first number in a file that torch.save wrote before version 1.6.
LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
#: Functions that a file of weights never needs; one that names them is not opened at all.
_DANGEROUS = (
    *("os.", "posix.", "nt.", "sys.", "subprocess.", "shutil.", "socket.", "runpy.", "importlib.", "ctypes.", "pty."),
    *("code.", "webbrowser.", "multiprocessing.", "asyncio.", "io.open"),
    *("builtins.eval", "builtins.exec", "builtins.compile", "builtins.open", "builtins.__import__"),
)
#: Pickled with a state that is no mapping.
_STATE_IS_NO_MAPPING = ("numpy", "functools", "random")
#: Of what a file may unfold to, in bytes, above its own size: tensors may share memory, and be expanded.
_SLACK = 2**26


@dataclass(frozen=True)
class FileSize:
    """What a file of weights holds at most.

    Attributes
    ----------
    n_bytes : int
    n_tensors : int
    """

    n_bytes: int
    n_tensors: int

    def __add__(self, other: FileSize) -> FileSize:
        return FileSize(self.n_bytes + other.n_bytes, self.n_tensors + other.n_tensors)


def read_tensors(path: str | Path) -> Any:
    """Open a file of weights; tensors on the CPU.

    Returns
    -------
    object
        What was saved: names with tensors, or something that holds such a mapping (:func:`states_in`).

    Raises
    ------
    MissingError
        If there is no such file.
    UserError
        If it is damaged, holds a module as a whole, or is of another kind; the message says which, and what to do.
    """
    path = Path(path)
    kind = _kind(path)
    if kind == "safetensors":
        import safetensors.torch

        with user_errors(f"{path}: damaged or cut off", advice="; copy it again"):
            return safetensors.torch.load_file(path)
    names = _Globals.of(path, kind)
    names.refuse_dangerous(path)
    stand_ins = [(_stand_in(name), name) for name in sorted(names.all)]
    try:
        with torch.serialization.safe_globals(stand_ins), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch raises many types for files that it did not write
        names.refuse_foreign(path)
        raise UserError(f"{path}: not a weights file: damaged ({type(error).__name__}); copy it again") from error
    if "_modules" in getattr(content, "__dict__", ()):
        raise UserError(
            f"{path}: a whole module saved by pickle ({listed(names.foreign, 3)}), which is code; {CONVERT}"
        )
    _refuse_bombs(content, path)
    return content


def states_in(content: Any) -> dict[str, dict[str, Tensor]]:
    """Return what may be state_dicts in an opened file, the likeliest first, by where they lie ("": all of it)."""
    states: dict[str, dict[str, Tensor]] = {}
    if _is_state(content) or (isinstance(content, dict) and not content):  # or that of a network without parameters
        return {"": dict(content)}
    if not isinstance(content, dict):
        return states
    names = [*(name for name in WRAPPERS if name in content), *(n for n in content if n not in WRAPPERS)]
    for name in names:
        if isinstance(name, str):
            inner = {name: content[name]}
            if isinstance(content[name], dict) and not _is_state(content[name]):
                inner = {f"{name}.{deeper}": value for deeper, value in content[name].items() if deeper in WRAPPERS}
            states |= {place: dict(value) for place, value in inner.items() if _is_state(value)}
    return states


def check_plain(path: str | Path) -> None:
    """Refuse a file that holds more than names and tensors: for libraries that open it themselves.

    Raises
    ------
    MissingError, UserError
        As :func:`read_tensors`.
    """
    path = Path(path)
    kind = _kind(path)
    if kind != "safetensors":
        names = _Globals.of(path, kind)
        names.refuse_dangerous(path)
        names.refuse_foreign(path)


def file_size(path: str | Path) -> FileSize:
    """Return what a file of weights holds at most, without reading the tensors; errors as of :func:`read_tensors`."""
    path = Path(path)
    kind = _kind(path)
    if kind == "safetensors":
        from safetensors import safe_open

        with user_errors(f"{path}: damaged or cut off", advice="; copy it again"), safe_open(path, "pt") as stream:
            count = len(list(stream.keys()))
    elif kind == "zip":
        with zipfile.ZipFile(path) as archive:
            count = sum("/data/" in name for name in archive.namelist())
    else:
        count = _Globals.of(path, kind).n_tensors
    return FileSize(path.stat().st_size, count)


def _kind(path: Path) -> str:
    """Return "safetensors", "zip" or "legacy" (of torch.save, before 1.6); refuse all others."""
    with user_errors(f"{path}: cannot be read", OSError, ValueError):
        if path.is_dir():
            raise UserError(f"{path}: a folder; name the file of weights in it")
        if not path.is_file():
            raise MissingError(f"no weights at {path}; save the model again or pass another folder")
        with open(path, "rb") as stream:
            head = stream.read(512)
    if not head:
        raise UserError(f"{path}: empty (0 bytes): the download or the copy was cut off; get it again")
    for mark, what in OTHER_FILES.items():
        if head.lstrip().startswith(mark):
            raise UserError(f"{path}: {what}")
    for (offset, mark), what in OTHER_MARKS.items():
        if head[offset:].startswith(mark):
            raise UserError(f"{path}: {what}")
    if head.startswith(b"PK"):
        _check_zip(path)
        return "zip"
    if len(head) > 8 and head[8:9] == b"{" and struct.unpack("<Q", head[:8])[0] <= path.stat().st_size:
        return "safetensors"
    if path.suffix == ".safetensors":
        raise UserError(f"{path}: not a file of safetensors: its header is damaged; copy it again")
    if head[:1] == b"\x80":
        return "legacy"
    raise UserError(f"{path}: not a weights file: expected one of torch.save or safetensors")


def _check_zip(path: Path) -> None:
    """Refuse an archive that is damaged, that torch.save did not write, or that would unfold to more than its size."""
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
        raise UserError(
            f"{path}: not a weights file: damaged or cut off ({first_line(error)}); copy it again"
        ) from error
    names = {entry.filename.partition("/")[2] for entry in entries}
    if "constants.pkl" in names or any(name.startswith("code/") for name in names):
        raise UserError(
            f"{path}: a TorchScript archive, which is a model and not its weights; to get those: "
            "torch.save(torch.jit.load(FILE).state_dict(), 'weights.pt')"
        )
    if "data.pkl" not in names:
        raise UserError(f"{path}: not a weights file: a zip archive that torch.save did not write")
    packed = any(entry.compress_type != zipfile.ZIP_STORED for entry in entries)
    if packed or sum(entry.file_size for entry in entries) > path.stat().st_size:
        raise UserError(f"{path}: not a weights file: a compressed archive, which torch.save does not write")


@dataclass(frozen=True)
class _Globals:
    """What a pickle names, read off its instructions, none of which is carried out.

    Attributes
    ----------
    all : set of str
        ``module.name`` of functions and classes.
    n_tensors : int
        How often it refers to the memory of a tensor.
    """

    all: frozenset[str]
    n_tensors: int

    @property
    def dangerous(self) -> list[str]:
        """Those that a file of weights never needs."""
        return sorted(name for name in self.all if name.startswith(_DANGEROUS))

    def refuse_dangerous(self, path: Path) -> None:
        """Refuse a file that names what a file of weights never needs (:class:`UserError`)."""
        if self.dangerous:
            raise UserError(f"{path}: not opened: it calls {shown(self.dangerous[0])}, which no file of weights needs")

    def refuse_foreign(self, path: Path) -> None:
        """Refuse a file that names more than a state_dict has (:class:`UserError`)."""
        if self.foreign:
            what = f"holds objects of {listed(self.foreign, 3)} beside tensors"
            raise UserError(f"{path}: {what}, and cannot be opened without running code; {CONVERT}")

    @property
    def foreign(self) -> list[str]:
        """Those that are no part of a state_dict."""
        plain = ("torch._utils.", "torch.storage.", "collections.", "_codecs.", "builtins.", "torch.Size")
        return sorted(n for n in self.all if not n.startswith(plain) and not n.endswith(("Storage", "Parameter")))

    @classmethod
    def of(cls, path: Path, kind: str) -> _Globals:
        """Read those of a file; a :class:`UserError` if it is none of torch.save."""
        names, count = set(), 0
        with user_errors(f"{path}: not a weights file: damaged", advice="; copy it again"):
            for operation, argument in _operations(path, kind):
                if operation == "GLOBAL":
                    names.add(_name_of(*argument.split(" ", 1)))
                elif operation == "STACK_GLOBAL":
                    raise UserError(f"{path}: not a weights file: a pickle that torch.save did not write; {CONVERT}")
                count += operation == "BINPERSID"
        return cls(frozenset(names), count)


def _operations(path: Path, kind: str) -> Iterator[tuple[str, Any]]:
    """Yield the instructions of a file's pickles, (name, argument)."""
    if kind == "zip":
        with zipfile.ZipFile(path) as archive:
            name = next(name for name in archive.namelist() if name.partition("/")[2] == "data.pkl")
            pickles = [io.BytesIO(archive.read(name))]
        for stream in pickles:
            yield from ((operation.name, argument) for operation, argument, _ in pickletools.genops(stream))
        return
    with open(path, "rb") as stream:
        head = [argument for _, argument, _ in pickletools.genops(stream)]
        if LEGACY_MAGIC not in head:
            raise UserError(f"{path}: not a weights file: a pickle that torch.save did not write; {CONVERT}")
        for _ in range(3):  # version, byte order, content
            yield from ((operation.name, argument) for operation, argument, _ in pickletools.genops(stream))


def _name_of(module: str, name: str) -> str:
    """Return ``module.name``, with the names of Python 2, which its protocol 2 has, as those of Python 3."""
    module, name = _compat_pickle.NAME_MAPPING.get((module, name), (module, name))
    return f"{_compat_pickle.IMPORT_MAPPING.get(module, module)}.{name}"


def _stand_in(name: str) -> type:
    """Return an empty class in place of the one of that name: whatever is made of it is an empty mapping."""
    if name.split(".")[0] in _STATE_IS_NO_MAPPING:
        # Its state is taken, and forgotten.
        return type("StandIn", (), {"__init__": _forget, "__setstate__": _forget, "__new__": _new})
    return type("StandIn", (), {"__new__": lambda cls, *args, **kwargs: OrderedDict()})


def _new(cls: type, *_: Any, **__: Any) -> Any:
    return object.__new__(cls)


def _forget(*_: Any, **__: Any) -> None:
    """Take anything."""


def _is_state(content: Any) -> bool:
    return (
        isinstance(content, dict)
        and bool(content)
        and all(isinstance(name, str) and isinstance(value, Tensor) for name, value in content.items())
    )


def _refuse_bombs(content: Any, path: Path) -> None:
    """Refuse tensors that stand for far more memory than the file has: one number, expanded to any shape."""
    limit = 4 * path.stat().st_size + _SLACK
    for state in states_in(content).values():
        size = sum(value.numel() * value.element_size() for value in state.values())
        if size > limit:
            largest = max(state, key=lambda name: state[name].numel())
            raise UserError(
                f"{path}: not opened: it would unfold to {size} bytes, most of them in {shown(largest)} of shape "
                f"{tuple(state[largest].shape)}"
            )
