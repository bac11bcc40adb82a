"""Files of weights as they lie on disks: opened without running what is in them, or refused with a way out."""

import argparse
import functools
import pathlib
import pickle
import time
import zipfile
from collections import OrderedDict, defaultdict

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from interpretability.errors import MissingError, UserError
from interpretability.weight_files import file_size, read_tensors, states_in

STATE = {"conv.weight": torch.arange(12.0).view(3, 1, 4), "conv.bias": torch.zeros(3)}


class AttributeDict(dict):
    """As Lightning keeps hyperparameters."""


def touch(path):
    path.touch()


class Bomb:
    """Runs code when it is unpickled."""

    def __init__(self, function=open, *arguments):
        self.function, self.arguments = function, arguments

    def __reduce__(self):
        return self.function, self.arguments


def lightning():
    """A checkpoint as Lightning writes it, with what training scripts put into one."""
    hyperparameters = AttributeDict(
        path=pathlib.PurePosixPath("x"),
        options=argparse.Namespace(lr=1.0, sizes=[1, 2]),
        activation=functools.partial(print, 3),
        counts=defaultdict(list, a=[1]),
        scores=np.arange(3.0),
        best=np.float64(0.5),
        generator=np.random.RandomState(0),
        device=torch.device("cpu"),
        version=torch.__version__,
        kind=nn.ReLU,
    )
    parameters = [nn.Parameter(torch.ones(2))]
    optimizer = torch.optim.Adam(parameters)
    parameters[0].sum().backward()
    optimizer.step()
    return {
        "epoch": 3,
        "pytorch-lightning_version": "2.1.0",
        "state_dict": OrderedDict(STATE),
        "callbacks": {"ModelCheckpoint{'monitor': 'x'}": {"best_model_score": torch.tensor(1.0)}},
        "optimizer_states": [optimizer.state_dict()],
        "hyper_parameters": hyperparameters,
    }


READ = {
    "a state_dict": (STATE, ""),
    "of a module": (OrderedDict(STATE), ""),
    "state_dict": ({"state_dict": STATE, "epoch": 3}, "state_dict"),
    "model": ({"optimizer": {"state": {}}, "model": STATE}, "model"),
    "model_state_dict": ({"model_state_dict": STATE, "loss": 0.5}, "model_state_dict"),
    "net": ({"net": STATE, "acc": np.float32(3)}, "net"),
    "another name": ({"generator": STATE}, "generator"),
    "one inside another": ({"model": {"state_dict": STATE, "cfg": {"a": 1}}}, "model.state_dict"),
    "Lightning": (lightning(), "state_dict"),
}


@pytest.mark.parametrize("legacy", [False, True], ids=["zip", "legacy"])
@pytest.mark.parametrize(("content", "place"), READ.values(), ids=READ)
def test_state_dicts_are_taken_out_of_what_is_around_them(tmp_path, content, place, legacy):
    path = tmp_path / "w.ckpt"
    if legacy and place == "state_dict" and "hyper_parameters" in content:
        del content["hyper_parameters"]["kind"]  # a class of a module comes with its source there
    torch.save(content, path, _use_new_zipfile_serialization=not legacy)
    states = states_in(read_tensors(path))
    assert next(iter(states)) == place
    state = states[place]
    assert state.keys() == STATE.keys()
    assert all(torch.equal(state[name], STATE[name]) for name in STATE)
    size = file_size(path)
    assert size.n_bytes == path.stat().st_size
    assert len(STATE) <= size.n_tensors < 20


@pytest.mark.parametrize("name", ["model.safetensors", "model.pt"])
def test_safetensors_are_opened_whatever_they_are_called(tmp_path, name):
    save_file(STATE, tmp_path / name)
    assert read_tensors(tmp_path / name).keys() == STATE.keys()
    assert file_size(tmp_path / name).n_tensors == 2


def saved(content, **options):
    return lambda path: torch.save(content, path, **options)


def written(content):
    return lambda path: path.write_bytes(content)


def cut(path):
    torch.save(STATE, path)
    path.write_bytes(path.read_bytes()[:-300])


def packed(path):
    """Zeros of 200 MB in a file of 200 kB."""
    torch.save({"w": torch.zeros(3)}, path)
    with zipfile.ZipFile(path) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, part in parts.items():
            archive.writestr(name, bytes(2 * 10**7) if "/data/" in name else part)


REFUSED = {
    "nothing": (written(b""), r"empty \(0 bytes\)"),
    "a Git LFS pointer": (
        written(b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n"),
        "a Git LFS pointer in place of the weights: run `git lfs pull`",
    ),
    "a web page": (written(b"\n<!DOCTYPE html><html>"), "a web page in place of the weights: download the file itself"),
    "HDF5": (written(b"\x89HDF\r\n\x1a\n" + bytes(600)), "an HDF5 file"),
    "TensorFlow Lite": (written(b"\x1c\x00\x00\x00TFL3" + bytes(600)), "a TensorFlow Lite model"),
    "gzip": (written(b"\x1f\x8b" + bytes(600)), "gzip archive: unpack it first"),
    "tar": (written(bytes(257) + b"ustar" + bytes(300)), "tar archive: unpack it first"),
    "text": (written(b'{"error": "not found"}'), "not a weights file: expected one of torch.save or safetensors"),
    "a cut archive": (cut, "not a weights file: damaged or cut off"),
    "an archive of NumPy": (
        lambda path: np.savez(path.open("wb"), a=np.ones(3)),
        "a zip archive that torch.save did not",
    ),
    "a packed archive": (packed, "a compressed archive, which torch.save does not write"),
    "TorchScript": (
        lambda path: torch.jit.save(torch.jit.trace(nn.Linear(2, 2), torch.ones(1, 2)), path),
        r"a TorchScript archive, .*: torch.save\(torch.jit.load\(FILE\).state_dict\(\), 'weights.pt'\)",
    ),
    "a module": (
        saved(nn.Sequential(nn.Linear(2, 2))),
        r"a whole module saved by pickle \('torch.nn.modules.container.Sequential'.*"
        r"in the environment it was made in, save the weights alone: torch.save\(model.state_dict\(\)",
    ),
    "a module, legacy": (
        saved(nn.Linear(2, 2), _use_new_zipfile_serialization=False),
        "without running code; in the env",
    ),
    "a pickle": (lambda path: path.write_bytes(pickle.dumps(STATE)), "a pickle that torch.save did not write"),
    "a pickle of protocol 2": (
        lambda path: path.write_bytes(pickle.dumps({"w": 1.0}, 2)),
        "that torch.save did not write",
    ),
    "code in a checkpoint": (
        saved({"state_dict": STATE, "callbacks": Bomb(exec, "raise SystemExit")}),
        "not opened: it calls 'builtins.exec', which no file of weights needs",
    ),
    "a command": (saved({"state_dict": STATE, "x": Bomb(__import__("os").system, "true")}), "not opened: it calls '"),
    "safetensors without a header": (written(b"\xff" * 100), "not a weights file"),
    "safetensors cut off": (
        lambda path: (save_file(STATE, path), path.write_bytes(path.read_bytes()[:-4])),
        "damaged or cut off",
    ),
    "safetensors that claim more": (
        written((70).to_bytes(8, "little") + b'{"w":{"dtype":"F32","shape":[1000000000000],"data_offsets":[0,4]}}    '),
        "damaged or cut off",
    ),
    "one number, expanded": (
        saved({"w": torch.zeros(1).expand(10**6, 10**6)}),
        "it would unfold to 4000000000000 bytes",
    ),
}


@pytest.mark.parametrize(("write", "words"), REFUSED.values(), ids=REFUSED)
def test_other_files_are_one_line_that_says_what_they_are_and_what_to_do(tmp_path, write, words):
    path = tmp_path / "w.pt"
    write(path)
    began = time.perf_counter()
    with pytest.raises(UserError, match=words) as caught:
        read_tensors(path)
    text = str(caught.value)
    assert text.startswith(f"{path}: ")
    assert text.isprintable()
    assert "weights_only" not in text
    assert len(text) < len(str(path)) + 400
    assert time.perf_counter() - began < 5


def test_what_is_no_file(tmp_path):
    with pytest.raises(MissingError, match="no weights at"):
        read_tensors(tmp_path / "absent.pt")
    with pytest.raises(UserError, match="a folder; name the file of weights in it"):
        file_size(tmp_path)


def test_nothing_in_a_file_is_called(tmp_path):
    torch.save({"state_dict": STATE, "x": Bomb(touch, tmp_path / "ran")}, tmp_path / "w.pt")
    assert states_in(read_tensors(tmp_path / "w.pt")).keys() == {"state_dict"}
    assert not (tmp_path / "ran").exists()
