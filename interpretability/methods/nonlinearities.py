"""Attributions that replace the gradient of a network's non-linear modules: whether it has them, found out by a run.

Captum puts other rules in the place of the gradients of modules such as ``nn.ReLU``. Where a network calls a function
in place of a module, or has activations that there is no rule for, the plain gradient stays, without a warning.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from torch import Tensor, nn

from interpretability.classifiers.hooks import Runs, counted_runs
from interpretability.errors import UserError

#: Node of PyTorch's graph -> the modules that compute it, of those that DeepLift has a rule for.
RULES: dict[str, tuple[type[nn.Module], ...]] = {
    "Relu": (nn.ReLU,),
    "LeakyRelu": (nn.LeakyReLU,),
    "Elu": (nn.ELU,),
    "Sigmoid": (nn.Sigmoid,),
    "Tanh": (nn.Tanh,),
    "Softplus": (nn.Softplus,),
    "Softmax": (nn.Softmax,),
    "MaxPool2DWithIndices": (nn.MaxPool1d, nn.MaxPool2d),
    "MaxPool3DWithIndices": (nn.MaxPool3d,),
    "Gelu": (),
    "Silu": (),
    "Mish": (),
    "Hardtanh": (),
    "Hardswish": (),
    "Hardsigmoid": (),
    "PreluKernel": (),
}
ADVICE = "take saliency or input_x_gradient"
#: What DeepLift leaves on modules where it is interrupted.
TRACES = ("input", "input_ref", "output")


def check_relus(attribution: str, title: str, network: nn.Module, score: Callable[[], Tensor]) -> None:
    """Refuse a network whose ReLUs are not all modules: guided backpropagation changes those of modules alone.

    Parameters
    ----------
    attribution, title : str
        Of the method and of the network, for the error.
    network : torch.nn.Module
    score : callable
        Runs it and returns a tensor, from an input that requires a gradient.

    Raises
    ------
    UserError
    """
    runs, nodes = _runs_and_nodes(network, (nn.ReLU,), score)
    of_modules, in_all = sum(runs.completed.values()), nodes["Relu"]
    if of_modules < in_all:
        raise UserError(
            f"{attribution} changes the gradient of nn.ReLU modules, and {title} computes {in_all - of_modules} of its "
            f"{in_all} ReLUs by functions or in TorchScript, where it would stay a plain gradient: {ADVICE}"
        )
    if of_modules == 0:
        raise UserError(
            f"{attribution} changes the gradient of nn.ReLU modules, and {title} runs none, so that it would be a "
            f"plain gradient: {ADVICE}"
        )


def check_rules(attribution: str, title: str, network: nn.Module, score: Callable[[], Tensor]) -> None:
    """Refuse a network that DeepLift has not a rule for, or that calls a module twice; as :func:`check_relus`.

    ``score`` runs two inputs at once, as DeepLift does: the clip, and silence.
    """
    kinds = tuple(kind for modules in RULES.values() for kind in modules)
    runs, nodes = _runs_and_nodes(network, kinds, score)
    again = next((name for name, count in runs.calls.items() if count > 1), None)
    if again is not None:
        raise UserError(
            f"{attribution} takes networks that call each non-linear module once, and {title} calls {again} "
            f"{runs.calls[again]} times: {ADVICE}"
        )
    modules = dict(network.named_modules())
    covered = Counter(type(modules[name]) for name in runs.completed)
    lacking = {
        node: nodes[node] - sum(covered[kind] for kind in kinds)
        for node, kinds in RULES.items()
        if nodes[node] > sum(covered[kind] for kind in kinds)
    }
    if lacking:
        in_words = ", ".join(f"{count} {node}" for node, count in lacking.items())
        raise UserError(
            f"{attribution} has rules for modules such as nn.ReLU, and {title} computes {in_words} by functions, in "
            f"TorchScript or by modules that it has no rule for, where it would stay a plain gradient: {ADVICE}"
        )
    if not covered:
        raise UserError(
            f"{attribution} has rules for modules such as nn.ReLU, and {title} runs none, so that it would be input x "
            f"gradient: take input_x_gradient"
        )


@contextmanager
def traces_removed(network: nn.Module) -> Iterator[None]:
    """Remove what DeepLift has left on modules, after an error too; it removes its hooks itself."""
    before = {module: set(vars(module)) for module in network.modules()}
    try:
        yield
    finally:
        for module, names in before.items():
            for name in TRACES:
                if name in vars(module) and name not in names:
                    delattr(module, name)


def _runs_and_nodes(
    network: nn.Module, kinds: tuple[type[nn.Module], ...], score: Callable[[], Tensor]
) -> tuple[Runs, Counter]:
    """Run a network; return the runs of modules of some kinds, and how many nodes of each name its graph has."""
    # Of these very types: Captum has no rules for classes that are derived from them.
    watched = {name: module for name, module in network.named_modules() if type(module) in kinds}
    with counted_runs(watched) as runs:
        value = score()
    nodes: Counter = Counter()
    waiting, visited = [value.grad_fn], set()
    while waiting:
        node = waiting.pop()
        if node is None or node in visited:
            continue
        visited.add(node)
        nodes[type(node).__name__.partition("Backward")[0]] += 1
        waiting += [following for following, _ in node.next_functions]
    return runs, nodes
