"""Outputs of modules are recorded by name, in running order, and no hook is left behind."""

import pytest
import torch
from torch import nn

from interpretability.classifiers.hooks import counted_runs, recorded_outputs


def test_no_hook_is_left_behind():
    modules = {"a": nn.Linear(2, 2), "b": nn.Linear(2, 3)}
    with recorded_outputs(modules, len) as recorded:
        modules["a"](torch.zeros(3, 2))
        modules["b"](torch.zeros(4, 2))
        modules["a"](torch.zeros(5, 2))
    assert list(recorded.items()) == [("b", 4), ("a", 5)]
    modules["a"](torch.zeros(6, 2))
    assert recorded["a"] == 5
    with pytest.raises(RuntimeError), recorded_outputs(modules, len):
        modules["a"](torch.zeros(1, 7))
    with pytest.raises(AttributeError), recorded_outputs({**modules, "c": None}, len):
        pass
    assert not any(module._forward_hooks for module in modules.values())


def test_none_is_not_recorded():
    module = nn.Identity()
    with recorded_outputs({"a": module}, lambda output: output if len(output) > 1 else None) as recorded:
        module(torch.zeros(1))
        assert recorded == {}
        module(torch.zeros(2))
        module(torch.zeros(1))
    assert len(recorded["a"]) == 2


def test_runs_are_counted_and_no_hook_is_left_behind():
    modules = {"a": nn.Linear(2, 2), "b": nn.Linear(2, 3)}
    with counted_runs(modules) as runs:
        modules["a"](modules["a"](torch.zeros(3, 2)))
    modules["a"](torch.zeros(3, 2))
    assert runs.calls == runs.completed == {"a": 2}
    with pytest.raises(RuntimeError), counted_runs(modules) as runs:
        modules["a"](torch.zeros(1, 7))
    assert (runs.calls, runs.completed) == ({"a": 1}, {})
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in modules.values())
