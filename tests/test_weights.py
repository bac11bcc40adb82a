"""Weights: everything fits or nothing is loaded; no code comes from a file."""

import pickle

import pytest
import torch

from interpretability.errors import MissingError, UserError
from interpretability.weights import load_weights, save_weights


def test_round_trip_and_strictness(tmp_path):
    save_weights(torch.nn.Linear(2, 3), tmp_path / "w.pt")
    module = torch.nn.Linear(2, 3)
    load_weights(module, tmp_path / "w.pt")
    assert torch.equal(module.weight, torch.load(tmp_path / "w.pt")["weight"])
    for other in (torch.nn.Linear(2, 4), torch.nn.Linear(2, 3, bias=False), torch.nn.Conv1d(2, 3, 1)):
        with pytest.raises(UserError, match="do not fit"):
            load_weights(other, tmp_path / "w.pt")


def test_a_file_that_would_run_code_is_refused(tmp_path):
    class Bomb:
        def __reduce__(self):
            return (open, (str(tmp_path / "ran"), "w"))

    (tmp_path / "w.pt").write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(UserError, match="not a weights file"):
        load_weights(torch.nn.Linear(1, 1), tmp_path / "w.pt")
    assert not (tmp_path / "ran").exists()


def test_missing_damaged_and_foreign_files(tmp_path):
    module = torch.nn.Linear(1, 1)
    with pytest.raises(MissingError, match="no weights"):
        load_weights(module, tmp_path / "w.pt")
    (tmp_path / "w.pt").write_text("no tensors here")
    with pytest.raises(UserError, match="not a weights file"):
        load_weights(module, tmp_path / "w.pt")
    for content in (torch.nn.Linear(1, 1), [torch.zeros(1)], {"weight": 1.0}):  # an object; tensors without names
        torch.save(content, tmp_path / "w.pt")
        with pytest.raises(UserError, match="not a weights file"):
            load_weights(module, tmp_path / "w.pt")
    with pytest.raises(UserError, match="damaged"):
        load_weights(module, tmp_path / "w.pt", digest="0" * 64)
