"""Weights: everything fits or nothing is loaded; no code comes from a file."""

import copy
import pickle
import re

import pytest
import torch
from safetensors.torch import save_model
from torch import nn

from interpretability.errors import MissingError, UserError
from interpretability.weights import check_finite, check_weights, fingerprint, load_weights, save_weights


def test_round_trip_and_strictness(tmp_path):
    save_weights(nn.Linear(2, 3), tmp_path / "w.pt")
    module = nn.Linear(2, 3)
    load_weights(module, tmp_path / "w.pt")
    assert torch.equal(module.weight, torch.load(tmp_path / "w.pt")["weight"])
    for other in (nn.Linear(2, 4), nn.Linear(2, 3, bias=False), torch.nn.Conv1d(2, 3, 1)):
        with pytest.raises(UserError, match="do not fit"):
            load_weights(other, tmp_path / "w.pt")


def test_a_file_that_would_run_code_is_refused(tmp_path):
    class Bomb:
        def __reduce__(self):
            return (open, (str(tmp_path / "ran"), "w"))

    (tmp_path / "w.pt").write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(UserError, match="not a weights file"):
        load_weights(nn.Linear(1, 1), tmp_path / "w.pt")
    assert not (tmp_path / "ran").exists()


def test_missing_damaged_and_foreign_files(tmp_path):
    module = nn.Linear(1, 1)
    with pytest.raises(MissingError, match="no weights"):
        load_weights(module, tmp_path / "w.pt")
    (tmp_path / "w.pt").write_text("no tensors here")
    with pytest.raises(UserError, match="not a weights file"):
        load_weights(module, tmp_path / "w.pt")
    for content in ([torch.zeros(1)], {"weight": 1.0}, {"epoch": 3}):
        torch.save(content, tmp_path / "w.pt")
        with pytest.raises(UserError, match="not a weights file"):
            load_weights(module, tmp_path / "w.pt")
    with pytest.raises(UserError, match="damaged"):
        check_weights(tmp_path / "w.pt", digest="0" * 64)


class Net(nn.Module):
    """Two layers with one name each, a buffer of minus infinity, and parameters that share their memory."""

    def __init__(self, classes=3):
        super().__init__()
        self.conv = nn.Conv1d(1, 4, 3)
        self.norm = nn.BatchNorm1d(4)
        self.head = nn.Linear(4, classes)
        self.register_buffer("mask", torch.tensor([0.0, -torch.inf]))


def trained():
    torch.manual_seed(5)
    return Net()


def under(prefix, state=None):
    return {f"{prefix}{name}": value for name, value in (state or trained().state_dict()).items()}


FITTING = {
    "as it is": trained().state_dict(),
    "DataParallel": under("module."),
    "Lightning": {"state_dict": {**under("model."), "loss.weight": torch.ones(3)}, "epoch": 2},
    "compiled, in Lightning": {"state_dict": under("model._orig_mod.")},
    "DataParallel in a checkpoint": {"model": under("module."), "optimizer": {"lr": 0.1}},
    "the second of two": {"model": {"other": torch.ones(1)}, "net": under("")},
    "without counters": {n: v for n, v in trained().state_dict().items() if "num_batches" not in n},
}


@pytest.mark.parametrize("content", FITTING.values(), ids=FITTING)
def test_names_are_stripped_of_what_stands_before_all_of_them(tmp_path, content):
    torch.save(content, tmp_path / "w.pt")
    module = Net()
    load_weights(module, tmp_path / "w.pt")
    assert all(torch.equal(value, trained().state_dict()[name]) for name, value in module.state_dict().items())


def test_safetensors_hold_one_name_of_shared_parameters(tmp_path):
    class Tied(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Linear(2, 2), nn.Linear(2, 2)
            self.b.weight = self.a.weight

    source, module = Tied(), Tied()
    save_model(source, str(tmp_path / "w.safetensors"))
    load_weights(module, tmp_path / "w.safetensors")
    assert torch.equal(module.a.weight, source.a.weight)
    assert module.a.weight is module.b.weight


MISFITS = {
    "another head": (
        trained().state_dict(),
        5,
        r"'head.weight' is \[3, 4\] in the file and \[5, 4\] here; 'head.bias'",
    ),
    "another head, in Lightning": ({"state_dict": under("model.")}, 5, r"is \[3, 4\] in the file and \[5, 4\] here"),
    "no head": (
        under("", {n: v for n, v in trained().state_dict().items() if "head" not in n}),
        3,
        r"2 missing \('head.b",
    ),
    "more": ({**under(""), "extra": torch.ones(1)}, 3, r"Net: 1 unknown \('extra'\)"),
    "part of it behind a prefix": ({**under("model."), "model.extra": torch.ones(1)}, 3, r"1 unknown \('extra'\)"),
    "two of them": (
        {**under("student."), **under("teacher.")},
        3,
        "2 times, behind 'student.' and 'teacher.': save one",
    ),
    "names with escapes": ({"\x1b[31m": torch.ones(1)}, 3, r"unknown \('\\x1b\[31m'\)"),
}


@pytest.mark.parametrize(("content", "classes", "words"), MISFITS.values(), ids=MISFITS)
def test_what_does_not_fit_is_named_with_both_sizes_and_nothing_is_loaded(tmp_path, content, classes, words):
    torch.save(content, tmp_path / "w.pt")
    module = Net(classes)
    before = {name: value.clone() for name, value in module.state_dict().items()}
    with pytest.raises(UserError, match=words) as caught:
        load_weights(module, tmp_path / "w.pt")
    assert str(caught.value).isprintable()
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16, torch.float8_e4m3fn, torch.complex64])
@pytest.mark.parametrize("bad", [torch.nan, torch.inf, -torch.inf])
def test_weights_that_are_not_finite_are_refused_by_name(bad, dtype):
    if dtype == torch.float8_e4m3fn:
        bad = torch.nan  # it has no infinity
    weights = {"ok": torch.ones(2, dtype=dtype), "layer.weight": torch.tensor([1.0, bad]).to(dtype)}
    with pytest.raises(UserError, match=r"^w\.pt: the weight 'layer.weight' holds NaN or infinite values"):
        check_finite(weights.items(), "w.pt")


@pytest.mark.parametrize("name", ["head.bias", "norm.running_var", "mask"])
def test_a_loader_refuses_them_but_for_masks(tmp_path, name):
    for bad in (torch.nan, torch.inf):
        state = trained().state_dict()
        state[name][0] = bad
        torch.save(state, tmp_path / "w.pt")
        with pytest.raises(UserError, match=f"the weight '{name}' holds NaN or infinite"):
            load_weights(Net(), tmp_path / "w.pt")
    check_finite({"empty": torch.zeros(0), "count": torch.ones(2, dtype=torch.int64)}.items(), "w.pt")


def test_a_network_without_parameters_comes_back(tmp_path):
    save_weights(nn.ReLU(), tmp_path / "weights.pt")
    load_weights(nn.ReLU(), tmp_path / "weights.pt")
    with pytest.raises(UserError, match="missing"):
        load_weights(nn.Linear(1, 1), tmp_path / "weights.pt")


def test_a_fingerprint_identifies_a_state_and_neither_its_device_nor_its_history():
    module = nn.Sequential(nn.Linear(40, 30), nn.BatchNorm1d(30))
    first = fingerprint(module)
    assert fingerprint(copy.deepcopy(module)) == first
    assert re.fullmatch("[0-9a-f]{64}", first)
    for change in (
        lambda other: other[0].weight.data.add_(1e-3),
        lambda other: other[1].running_mean.add_(1e-3),
        lambda other: setattr(other, "0", nn.Linear(40, 30, bias=False)),
        lambda other: other.append(nn.ReLU()).append(nn.Linear(1, 1)),
    ):
        other = copy.deepcopy(module)
        change(other)
        assert fingerprint(other) != first
