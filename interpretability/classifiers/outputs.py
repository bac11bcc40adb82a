"""What a model of another library answers with, brought to logits [B, C]: the right entry, frames, probabilities."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from interpretability.classifiers.frames import in_single, least, log_odds_of, pooled, scores_as_logits
from interpretability.errors import UserError

#: What a model's outputs can be. An embedding has no classes: sounds are compared by its cosine.
EMBEDDING = "embedding"
KINDS = ("logits", "probabilities", EMBEDDING)
#: How far the sum of probabilities may be from 1.
SUM_TOLERANCE = 1e-3
#: Entries within entries are looked at to this depth.
DEPTH = 3
#: At most so many entries are named in an error.
MOST_NAMED = 6


@dataclass(frozen=True)
class Answer:
    """A model's answer, as it gave it.

    Attributes
    ----------
    values : Tensor [B, C] or [B, T, C]
        One value for each class, of each clip or of each frame.
    entry : str
        Name of the entry of a mapping, or number of the member of a tuple, that holds them; "" for the output itself.
    """

    values: Tensor
    entry: str = ""

    @property
    def framewise(self) -> bool:
        """Whether there is a value for each frame."""
        return self.values.ndim == 3

    def kind(self) -> str:
        """Say what the values can be: ``softmax`` (they sum to 1), ``sigmoid`` (they lie in [0, 1]) or ``logits``."""
        values = self.values.detach().double()
        if not bool(torch.isfinite(values).all()) or bool(((values < 0) | (values > 1)).any()):
            return "logits"
        sums = values.sum(-1)
        return "softmax" if values.shape[-1] > 1 and bool(((sums - 1).abs() < SUM_TOLERANCE).all()) else "sigmoid"

    def logits(self, task: str, probabilities: bool, pool: str, weights: Tensor | None = None) -> Tensor:
        """Return the answer as logits [B, C]: what their softmax (or sigmoid) gives back is the model's probability.

        Parameters
        ----------
        task : {"single", "multi"}
        probabilities : bool
            The values are probabilities. Of one label per clip their logarithm is taken, of several their log odds.
        pool, weights
            Over frames: see :func:`.pooled`.
        """
        if self.framewise:
            return pooled(scores_as_logits(self.values, task, probabilities), task, pool, weights)
        if not probabilities:
            return self.values
        values = in_single(self.values)
        return values.clamp(min=least(values)).log() if task == "single" else log_odds_of(values)

    def weights_in(self, output: Any, entry: str | int, name: str) -> Tensor:
        """Return the weights of frames, or of whole sounds, that an entry of the output holds.

        Parameters
        ----------
        output : object
            That the model returned.
        entry : str or int
            Name or number of the entry: >= 0, [B, T], [B, T, 1] or [B, T, C]; of an answer without frames [B], [B, 1]
            or [B, C].
        name : str
            Of the model, for errors.

        Returns
        -------
        Tensor, in the shape of the values

        Raises
        ------
        UserError
            If there is no such entry, or it holds no weights of this answer.
        """
        held = next(tensors_of(entry_of(output, entry, name)), None)
        shape = self.values.shape
        weights = None if held is None else in_single(held[1])
        if weights is not None and weights.ndim == len(shape) - 1:
            weights = weights[..., None]
        if weights is None or weights.shape not in (shape, (*shape[:-1], 1)):
            got = "no numbers" if held is None else tuple(held[1].shape)
            raise UserError(
                f"{name}: its output {entry!r} (attention) is {got}, expected weights {tuple(shape[:-1])} or "
                f"{tuple(shape)}: one for each value that is pooled"
            )
        if not bool((weights >= 0).all()):
            raise UserError(
                f"{name}: its output {entry!r} (attention) holds negative numbers or NaN, expected weights >= 0: "
                "name the output after the softmax, or give pool=mean or max"
            )
        return weights.expand(shape)


def answer_of(output: Any, name: str, n_clips: int, n_classes: int) -> Answer:
    """Find the answer in what a model returned: a tensor or an array, or one in a mapping, a tuple or an object.

    Of several entries whose last axis has one place for each class, ``logits`` is taken, else the first with one value
    for each class and clip, else the first with one for each frame.

    Parameters
    ----------
    output : object
    name : str
        Of the model, for errors.
    n_clips, n_classes : int
        Numbers of sounds B and of classes C.

    Raises
    ------
    UserError
        If there is no such entry.
    """
    shapes, fitting = [], []
    for entry, values in tensors_of(output):
        shapes.append(f"{entry} {tuple(values.shape)}".strip())
        fitted = _fitted(values, n_clips, n_classes)
        if fitted is not None:
            fitting.append(Answer(fitted, entry))
    if not fitting:
        got = ", ".join(shapes[:MOST_NAMED]) + (f" and {len(shapes) - MOST_NAMED} more" if shapes[MOST_NAMED:] else "")
        raise UserError(
            f"{name} gave {got or type(output).__name__} for {n_clips} sound{'s' * (n_clips != 1)}, expected logits "
            f"{(n_clips, n_classes)}: one for each of the {n_classes} classes"
        )
    return min(fitting, key=lambda answer: (answer.entry.rpartition(".")[2] != "logits", answer.framewise))


def entry_of(output: Any, entry: str | int, name: str) -> Any:
    """Return the entry of a mapping, or the member of a tuple, by its name or number.

    Raises
    ------
    UserError
        If there is none.
    """
    pairs = output.items() if isinstance(output, Mapping) else ()
    if isinstance(output, (tuple, list)):
        pairs = enumerate(output)
    entries = {str(key): value for key, value in pairs}
    if isinstance(entry, int) and 0 <= entry < len(entries):
        return list(entries.values())[entry]
    if str(entry) not in entries:
        got = f"it has {', '.join(list(entries)[:MOST_NAMED])}" if entries else "it gives one"
        raise UserError(f"{name} has no output {entry!r} (entry): {got}")
    return entries[str(entry)]


def tensors_of(output: Any, entry: str = "", depth: int = 0) -> Iterator[tuple[str, Tensor]]:
    """Yield the tensors of numbers in a model's output, with the names of their entries."""
    if isinstance(output, Tensor):
        if output.dtype != torch.bool and not output.is_complex():
            yield entry, output if output.is_floating_point() else output.float()
        return
    if isinstance(output, np.ndarray) or hasattr(output, "__array__"):
        array = np.asarray(output)
        if array.dtype.kind in "fiu":
            yield entry, torch.as_tensor(np.array(array, dtype=np.float32 if array.itemsize <= 4 else np.float64))
        return
    if depth == DEPTH:
        return
    if isinstance(output, Mapping):
        entries = list(output.items())
    elif isinstance(output, (tuple, list)):
        entries = list(enumerate(output))
    else:
        entries = [("logits", output.logits)] if hasattr(output, "logits") else []
    for key, value in entries:
        yield from tensors_of(value, f"{entry}.{key}".lstrip("."), depth + 1)


def _fitted(values: Tensor, n_clips: int, n_classes: int) -> Tensor | None:
    """Return values as [B, C] or [B, T, C]; None if they are neither. Of one sound the axis of clips may be missing."""
    if values.ndim in (0, 1) and n_classes == 1 and values.numel() == n_clips:
        return values.reshape(n_clips, 1)
    if values.ndim < 1 or values.shape[-1] != n_classes or values.numel() == 0:
        return None
    if values.ndim in (2, 3) and len(values) == n_clips:
        return values
    return values[None] if n_clips == 1 and values.ndim in (1, 2) else None
