"""What a description asks for is never larger than the weights beside it: refused before the memory is taken."""

import time

import pytest
import torch
from torch import nn

from interpretability import budget
from interpretability.budget import within
from interpretability.errors import UserError
from interpretability.weight_files import FileSize

SIZE = FileSize(10_000, 10)
HUGE = {
    "a wide layer": lambda: nn.Linear(10**5, 10**5),
    "a layer beyond what integers count": lambda: nn.Linear(10**9, 10**9),
    "a convolution": lambda: nn.Conv1d(10**6, 10**6, 3),
    "an embedding": lambda: nn.Embedding(10**9, 3),
    "a recurrent layer": lambda: nn.LSTM(10**6, 10**6),
    "a table": lambda: torch.zeros(10**12),
    "an outer product": lambda: torch.arange(10**6)[:, None] * torch.arange(10**6)[None],
    "a copy of a view": lambda: torch.ones(1).expand(10**6, 10**6).contiguous(),
    "many layers": lambda: nn.ModuleList(nn.Linear(1, 1) for _ in range(10**9)),
    "many layers without weights": lambda: nn.Sequential(*(nn.Sequential(nn.ReLU()) for _ in range(10**9))),
    "many tensors": lambda: [torch.zeros(1) for _ in range(10**9)],
    "many large tensors": lambda: [torch.empty(10**7) for _ in range(10**9)],
}


@pytest.mark.parametrize("make", HUGE.values(), ids=HUGE)
def test_more_than_the_weights_can_fill_is_refused_at_once(make, monkeypatch):
    monkeypatch.setattr(budget, "FREE_TENSORS", 200)
    began = time.perf_counter()
    with (
        pytest.raises(UserError, match=r"^x\.json: asks for a network larger than the weights beside it \(10000 bytes"),
        within(SIZE, "x.json"),
    ):
        make()
    assert time.perf_counter() - began < 20


def test_what_fits_is_built_as_without_it():
    def make():
        torch.manual_seed(0)
        return nn.Sequential(nn.Conv1d(1, 8, 3), nn.BatchNorm1d(8), nn.LSTM(8, 4)).state_dict()

    expected = make()
    with within(SIZE, "x.json"):
        built = make()
    assert all(torch.equal(built[name], expected[name]) for name in expected)
    with within(None, "x.json"):
        nn.Linear(10_000, 10_000, device="meta")
