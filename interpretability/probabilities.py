"""Probabilities of classes, from logits: computed once, in double precision."""

from dataclasses import dataclass

import torch
from torch import Tensor

TASKS = ("single", "multi")


@dataclass(frozen=True)
class ClassProbability:
    """Probability of one class and of everything else, per clip.

    Attributes
    ----------
    p : Tensor [B], float64
        Probability of the class.
    rest : Tensor [B], float64
        ``1 - p``, computed without the subtraction: correct to many digits even where ``p`` rounds to 1.
    """

    p: Tensor
    rest: Tensor


@dataclass
class MaskedLogits:
    """Logits of what a mask keeps (``inside``) and of what it removes (``outside``), each [B, C]."""

    inside: Tensor
    outside: Tensor


def predicted_class(scores: Tensor) -> Tensor:
    """Index of the largest score; of several equal ones, the lowest index.

    Parameters
    ----------
    scores : Tensor [B, C]
        Logits or probabilities (the order is all that counts).

    Returns
    -------
    Tensor [B], int64
        In ``0 .. C-1``.

    Raises
    ------
    ValueError
        If ``scores`` is not [B, C] with C >= 1, or not finite.

    Examples
    --------
    >>> predicted_class(torch.tensor([[0.0, 2.0, 2.0]]))
    tensor([1])
    """
    scores = check_scores(scores)
    # Spelt out, because the index that torch.argmax gives on ties is a matter of the backend.
    index = torch.arange(scores.shape[1], device=scores.device).expand_as(scores)
    best = scores == scores.amax(dim=1, keepdim=True)
    return index.masked_fill(~best, scores.shape[1]).amin(dim=1)


def most_probable(scores: Tensor, count: int) -> Tensor:
    """Indices of the ``count`` largest scores, the largest first; of equal ones the lowest index comes first.

    Parameters
    ----------
    scores : Tensor [B, C]
        As of :func:`predicted_class`.
    count : int
        From 1 to C.

    Returns
    -------
    Tensor [B, count], int64

    Examples
    --------
    >>> most_probable(torch.tensor([[0.0, 2.0, 2.0]]), 2)
    tensor([[1, 2]])
    """
    scores = check_scores(scores)
    return scores.sort(dim=1, descending=True, stable=True).indices[:, :count]


def probabilities(logits: Tensor, task: str = "single") -> Tensor:
    """Probabilities of all classes [B, C], from logits [B, C]: softmax, or of a multi-label head sigmoid."""
    return logits.softmax(1) if task == "single" else logits.sigmoid()


def class_probability(logits: Tensor, target: Tensor, task: str = "single") -> ClassProbability:
    """Probability of the target class, and that of everything else, from logits.

    Single-label: ``p = softmax(logits)_c`` and ``rest`` the sum of the other classes' softmax, each as the
    exponential of a difference of two log-sum-exps. Multi-label: ``p = sigmoid(logits_c)`` and
    ``rest = sigmoid(-logits_c)``.

    Parameters
    ----------
    logits : Tensor [B, C]
        Scores before softmax or sigmoid, of any floating type; computed in float64.
    target : Tensor [B], integer
        Class c of each clip.
    task : {"single", "multi"}
        Head of the classifier.

    Returns
    -------
    ClassProbability
        ``p`` and ``rest``, each [B] in [0, 1].

    Raises
    ------
    ValueError
        If shapes, class indices or the task do not fit, or a logit is not finite.

    Examples
    --------
    >>> c = class_probability(torch.tensor([[0.0, 0.0], [40.0, 0.0]]), torch.tensor([0, 0]))
    >>> c.p.tolist(), [f"{r:.3g}" for r in c.rest.tolist()]
    ([0.5, 1.0], ['0.5', '4.25e-18'])
    """
    if task not in TASKS:
        raise ValueError(f"task is {task!r}, expected one of {', '.join(TASKS)}")
    logits = check_scores(logits, name="logits")
    target = check_target(target, logits)
    column = target[:, None]  # [B, 1]
    logit = logits.gather(1, column)[:, 0]
    if task == "multi":
        return ClassProbability(p=torch.sigmoid(logit), rest=torch.sigmoid(-logit))
    total = torch.logsumexp(logits, dim=1)
    # 1 - p would lose every digit where p is close to 1, and the gain is divided by it.
    others = torch.logsumexp(logits.scatter(1, column, float("-inf")), dim=1)
    return ClassProbability(p=(logit - total).exp().clamp(max=1.0), rest=(others - total).exp().clamp(max=1.0))


def log_odds(logits: Tensor, target: Tensor, task: str) -> Tensor:
    """Return ``ln p_c - ln(1 - p_c)`` of each clip's class, [B].

    Parameters
    ----------
    logits : Tensor [B, C]
    target : Tensor [B]
    task : {"single", "multi"}

    Example
    -------
    >>> log_odds(torch.tensor([[0.75, 0.25, 0.5]]), torch.tensor([0]), "multi")
    tensor([0.7500])
    """
    logit = logits.gather(1, target[:, None])[:, 0]
    if task == "multi":
        return logit
    return logit - logits.scatter(1, target[:, None], -float("inf")).logsumexp(1)


def check_scores(scores: Tensor, name: str = "scores") -> Tensor:
    """``scores`` in float64, or a ValueError if it is not a finite [B, C]."""
    if scores.ndim != 2 or scores.shape[1] == 0:
        raise ValueError(f"{name} has shape {list(scores.shape)}, expected [B, C] with C >= 1")
    if not bool(torch.isfinite(scores).all()):
        raise ValueError(f"{name} holds a value that is not finite: check the classifier's input")
    return scores.double()


def check_target(target: Tensor, scores: Tensor) -> Tensor:
    """``target`` as int64 on the device of ``scores`` [B, C], or a ValueError."""
    target = torch.as_tensor(target, device=scores.device)
    if target.shape != scores.shape[:1]:
        raise ValueError(f"target has shape {list(target.shape)}, expected [{scores.shape[0]}]: one class per clip")
    if target.is_floating_point() or target.dtype in (torch.bool, torch.complex64, torch.complex128):
        raise ValueError(f"target is {target.dtype}, expected integer class indices")
    target = target.long()
    if bool(((target < 0) | (target >= scores.shape[1])).any()):
        raise ValueError(
            f"target holds classes {int(target.min())} to {int(target.max())}, "
            f"the classifier has 0 to {scores.shape[1] - 1}"
        )
    return target
