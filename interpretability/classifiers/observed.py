"""A layer of a classifier, seen from the spectrogram: its output as maps, and where their cells lie."""

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor, nn

from interpretability.grids import Grid


@dataclass(frozen=True)
class ObservedLayer:
    """A layer whose output is a map over time, or over time and frequency, of *one* clip.

    Attributes
    ----------
    name : str
        Of the module, as the classifier calls it.
    module : torch.nn.Module
    to_maps : callable
        From what the module returns to maps [n, C, rows, columns]; n is 1, or the number of images of the clip. It
        orders and selects values, and changes none.
    join : callable
        From maps [n, C, rows, columns] and the clip's number of frames to the clip's one map [1, C, T', F'].
    grid : callable
        From that number of frames to where the cells of [T', F'] lie.
    """

    name: str
    module: nn.Module
    to_maps: Callable[[Tensor], Tensor]
    join: Callable[[Tensor, int], Tensor]
    grid: Callable[[int], Grid]
