"""How a metric is registered: a decorator on a pure function, which is all that a new metric needs.

The names of a metric's parameters say what it is computed from (:data:`QUANTITIES`), so that
:class:`.MetricSuite` computes all of them in one loop. A metric that needs the truth belongs to localisation.
"""

import inspect
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any, TypeVar

from torch import Tensor

DIRECTIONS = ("high", "low", "none")

#: What a metric can be computed from: name of the parameter -> what that is.
QUANTITIES = {
    "p": "probability of the explained class from the unmasked input, [B]",
    "p_rest": "1 - p, without the rounding error of the subtraction, [B]",
    "o": "probability of the explained class from In, what the mask keeps, [B]",
    "q": "probability of the explained class from Out, what the mask removes, [B]",
    "logits": "logits of the unmasked input, [B, C]",
    "inside_logits": "logits of In, [B, C]",
    "threshold": "threshold of the explained class in a multi-label head, [B]; None for a single-label one",
    "inside_magnitude": "linear magnitude of In, [B, T, F]",
    "target": "the explained class, [B]",
    "mask": "the explanation, in [0, 1], [B, T, F]",
    "magnitude": "linear magnitude of the unmasked input, [B, T, F]",
    "valid": "the frames that belong to the clip, [B, T] of bool",
    "truth": "the bins in which the labelled source dominates, [B, T, F] of bool",
}
#: Those that differ between the masked spectrogram and the masked sound.
OF_A_PLACE = frozenset({"o", "q", "inside_logits", "inside_magnitude"})

Function = TypeVar("Function", bound=Callable[..., Tensor])


@dataclass(frozen=True)
class MetricInfo:
    """What a reader has to know about a metric, and what is needed to compute it.

    Attributes
    ----------
    name : str
        Key in results.
    label : str
        Head of the column.
    better : {"high", "low", "none"}
        Direction.
    range : str
        Possible values of one clip.
    unit : str
        "%", "nats" or "".
    function : callable, optional
        Gives [B] in float64. None for one of a method's own scores.
    needs : tuple of str
        The function's parameters, of :data:`QUANTITIES`.
    """

    name: str
    label: str
    better: str
    range: str
    unit: str = ""
    function: Callable[..., Tensor] | None = field(default=None, repr=False)
    needs: tuple[str, ...] = field(default=(), repr=False)

    @property
    def depends_on_place(self) -> bool:
        """Whether it differs between the masked spectrogram and the masked sound."""
        return not OF_A_PLACE.isdisjoint(self.needs)


_REGISTERED: list[MetricInfo] = []


def metric(name: str, label: str, *, better: str, range: str, unit: str = "") -> Callable[[Function], Function]:
    """Register a pure function as a metric; the function itself stays as it is.

    Parameters
    ----------
    name, label, better, range, unit
        See :class:`MetricInfo`.

    Raises
    ------
    ValueError
        If the direction is unknown, or the function has a parameter that is neither one of :data:`QUANTITIES` nor has
        a default.

    Examples
    --------
    >>> import torch
    >>> @metric("mean_mask", "mean of the mask", better="low", range="[0, 1]")
    ... def mean_mask(mask: Tensor) -> Tensor:
    ...     return mask.mean(dim=(1, 2)).double()
    >>> mean_mask(torch.ones(2, 3, 4)).tolist()
    [1.0, 1.0]
    """
    if better not in DIRECTIONS:
        raise ValueError(f"metric {name}: better is {better!r}, expected one of {', '.join(DIRECTIONS)}")

    def register(function: Function) -> Function:
        parameters = inspect.signature(function).parameters
        unknown = [key for key, p in parameters.items() if key not in QUANTITIES and p.default is p.empty]
        if unknown:
            raise ValueError(f"metric {name} needs {', '.join(unknown)}, expected some of {', '.join(QUANTITIES)}")
        needs = tuple(key for key in parameters if key in QUANTITIES)
        _REGISTERED.append(MetricInfo(name, label, better, range, unit, function, needs))
        return function

    return register


def metrics_of(*modules: ModuleType) -> dict[str, MetricInfo]:
    """Return the metrics of modules by name: module by module, each in the order of its definitions.

    Raises
    ------
    ValueError
        If two have one name.
    """
    infos = [info for module in modules for info in _REGISTERED if info.function.__module__ == module.__name__]
    by_name = {info.name: info for info in infos}
    if len(by_name) < len(infos):
        raise ValueError(f"two metrics have one name among {', '.join(info.name for info in infos)}")
    return by_name


def measure(metrics: Iterable[MetricInfo], quantities: Mapping[str, Any]) -> dict[str, Tensor]:
    """Compute metrics from the quantities that they need.

    Parameters
    ----------
    metrics : iterable of MetricInfo
    quantities : mapping of str to Tensor
        By name, as in :data:`QUANTITIES`; others are ignored.

    Returns
    -------
    dict of str to Tensor [B], float64
        In the order of ``metrics``.
    """
    return {info.name: info.function(**{key: quantities[key] for key in info.needs}) for info in metrics}
