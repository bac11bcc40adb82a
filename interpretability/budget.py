"""Networks that a description asks for, built within what the weights beside it can fill.

A description may ask for layers of any size and number, by mistake or on purpose. What is built from it gets its
numbers from a file of weights afterwards, so that more than the file holds is never needed: it is refused before the
memory is taken.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator
from itertools import zip_longest
from typing import Any

from torch import Tensor
from torch.nn.modules.module import register_module_module_registration_hook
from torch.utils._python_dispatch import TorchDispatchMode

from interpretability.errors import UserError
from interpretability.weight_files import FileSize

#: What a network may have besides its weights: windows, filters, masks; in numbers, tensors and modules.
FREE_NUMBERS, FREE_TENSORS = 2**26, 5_000
#: What it may have for each byte and tensor of the file: it is tried with a sound while it is built.
TIMES = 4


@contextlib.contextmanager
def within(size: FileSize | None, where: str) -> Iterator[None]:
    """Refuse to make tensors and modules in the block that are larger or more than a file of weights can fill.

    Parameters
    ----------
    size : FileSize or None
        Of the weights; None: without a limit.
    where : str
        What asks for the network, in front of the error.

    Raises
    ------
    UserError
        As soon as more is asked for.
    """
    if size is None:
        yield
        return
    mode = _Budget(size, where)
    hook = register_module_module_registration_hook(mode.count_module)
    try:
        with mode:
            yield
    finally:
        hook.remove()


class _Budget(TorchDispatchMode):
    """Sees every operation of PyTorch before it is carried out."""

    def __init__(self, size: FileSize, where: str):
        super().__init__()
        self.numbers = FREE_NUMBERS + TIMES * size.n_bytes
        self.tensors = self.modules = FREE_TENSORS + TIMES * size.n_tensors
        self.text = f"{where}: asks for a network larger than the weights beside it ({size.n_bytes} bytes in "
        self.text += f"{size.n_tensors} tensors): the description is not the one of these weights"

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """Return False: nothing is compiled in the block, and what would skip that takes seconds to import."""
        return False

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        makes = not any(isinstance(value, (Tensor, list, tuple)) and _has_tensor(value) for value in args)
        sizes = [value for value in args if isinstance(value, (list, tuple)) and value and not _has_tensor(value)]
        asked = max((math.prod(value) for value in sizes if all(isinstance(n, int) for n in value)), default=0)
        asked = max(asked, _combined([value for value in args if isinstance(value, Tensor)]))
        if asked > self.numbers:
            raise UserError(self.text)
        result = function(*args, **(kwargs or {}))
        if makes and isinstance(result, Tensor):
            self.tensors -= 1
            self.numbers -= result.numel()
            if min(self.tensors, self.numbers) < 0:
                raise UserError(self.text)
        return result

    def count_module(self, *_: Any) -> None:
        """Count a module that is added to another one."""
        self.modules -= 1
        if self.modules < 0:
            raise UserError(self.text)


def _combined(tensors: list[Tensor]) -> int:
    """Return how many numbers come of tensors that are combined: few that are repeated, or multiplied, give many."""
    shapes = [tuple(tensor.shape) for tensor in tensors]
    axes = [set(sizes) - {1} for sizes in zip_longest(*map(reversed, shapes), fillvalue=1)]
    if all(len(sizes) <= 1 for sizes in axes):
        return math.prod(size for sizes in axes for size in sizes)
    # Sizes that do not go together element by element: a product of matrices, or tensors in a row.
    return math.prod(shapes[0][:-1]) * shapes[-1][-1] if all(shapes) else 0


def _has_tensor(value: Any) -> bool:
    return isinstance(value, Tensor) or (isinstance(value, (list, tuple)) and any(map(_has_tensor, value)))
