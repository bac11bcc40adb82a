"""Running a network to look at it: what its modules return; no hook, no mode and no random state is left behind."""

from collections import Counter
from collections.abc import Callable, Hashable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn


@contextmanager
def recorded_outputs(
    modules: Mapping[Hashable, nn.Module], keep: Callable[[Any], Any]
) -> Iterator[dict[Hashable, Any]]:
    """Record outputs of modules while the block runs; hooks are removed at its end, after an error too.

    Parameters
    ----------
    modules : mapping
        Name -> module.
    keep : callable
        From a module's output to what is recorded of it; None records nothing.

    Yields
    ------
    dict
        Name -> what is recorded, in the order in which the modules ran; of a module that runs more than once, the last
        output.
    """
    recorded: dict[Hashable, Any] = {}
    handles = []

    def hook(name: Hashable) -> Callable:
        def record(_module: nn.Module, _inputs: Any, output: Any) -> None:
            kept = keep(output)
            if kept is not None:
                recorded.pop(name, None)
                recorded[name] = kept

        return record

    try:
        for name, module in modules.items():
            handles.append(module.register_forward_hook(hook(name)))
        yield recorded
    finally:
        for handle in handles:
            handle.remove()


@dataclass(frozen=True)
class Runs:
    """How often modules were called (``calls``), and how often they came to an end (``completed``), by name."""

    calls: Counter = field(default_factory=Counter)
    completed: Counter = field(default_factory=Counter)


@contextmanager
def counted_runs(modules: Mapping[Hashable, nn.Module]) -> Iterator[Runs]:
    """Count the runs of modules while the block runs; hooks are removed at its end, after an error too."""
    runs, handles = Runs(), []
    try:
        for name, module in modules.items():
            handles.append(module.register_forward_pre_hook(lambda *_, name=name: runs.calls.update([name])))
            handles.append(module.register_forward_hook(lambda *_, name=name: runs.completed.update([name])))
        yield runs
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def in_evaluation(module: nn.Module) -> Iterator[None]:
    """Run a model in evaluation mode, without gradients, while the block runs; modes and random numbers stay."""
    modes = [(part, part.training) for part in module.modules()]
    device = next((parameter.device for parameter in module.parameters()), torch.device("cpu"))
    module.eval()
    try:
        with torch.no_grad(), torch.random.fork_rng([device] if device.type == "cuda" else []):
            yield
    finally:
        for part, mode in modes:
            part.training = mode
