"""How much of the classifier's decision the masked-in and the masked-out part carry.

Conventions: ``p``, ``o`` and ``q`` are probabilities of the explained class, one per clip, shape [B]:

- ``p`` for the unmasked input,
- ``o`` for In, the part that the mask keeps,
- ``q`` for Out, the part that the mask removes.

They come from logits through :func:`.class_probability`, once; nothing here applies a softmax to a probability.
Every function is pure, runs in float64, calls no model and returns one value per clip.
"""

import torch
from torch import Tensor

from interpretability.metrics.registry import metric
from interpretability.probabilities import check_scores, check_target, class_probability, predicted_class

#: Two probabilities closer than this count as equal: the same clip at another place of another batch gives one that
#: differs by some 1e-7, and such noise is no increase.
EQUAL_TOLERANCE = 1e-6


@metric("fid_in", "Fid-In", better="high", range="{0, 1}")
def input_fidelity(
    inside_logits: Tensor, target: Tensor, logits: Tensor | None = None, threshold: Tensor | None = None
) -> Tensor:
    """Input fidelity (Fid-In): does the masked-in part still get the explained class?

    0 or 1 per clip, higher is better. Of a single-label head ``1[argmax p(In) = c]`` (arXiv 2303.12659, 2403.13086). Of
    a multi-label head, whose classes do not compete, ``1[(o >= theta_c) = (p >= theta_c)]``: the class keeps
    its side of its threshold. Equal probabilities (:data:`EQUAL_TOLERANCE`) are on the same side.

    Parameters
    ----------
    inside_logits : Tensor [B, C]
        Logits of In; of a single-label head also probabilities. Ties go to the lowest index.
    target : Tensor [B], integer
        The explained class. A [B, 1] tensor is refused: it would broadcast to a [B, B] comparison.
    logits : Tensor [B, C], optional
        Logits of the unmasked input; needed with ``threshold``.
    threshold : Tensor [B], optional
        Threshold theta_c of the explained class, a probability: of a multi-label head. None: the head is single-label.

    Returns
    -------
    Tensor [B], float64
        0.0 or 1.0.

    Raises
    ------
    ValueError
        If shapes or class indices do not fit, or a score is not finite.

    Examples
    --------
    >>> input_fidelity(torch.tensor([[0.1, 0.9], [0.5, 0.5]]), torch.tensor([1, 1])).tolist()
    [1.0, 0.0]
    >>> whole, inside = torch.tensor([[3.0, 2.0]]), torch.tensor([[3.0, 1.0]])
    >>> input_fidelity(inside, torch.tensor([1]), whole, torch.tensor([0.5])).tolist()  # still heard, beside the first
    [1.0]
    """
    scores = check_scores(inside_logits)
    target = check_target(target, scores)
    if threshold is None:
        return (predicted_class(scores) == target).double()
    if logits is None:
        raise ValueError("no logits of the unmasked input: Fid-In of a multi-label head needs them")
    o, p = (class_probability(part, target, "multi").p for part in (inside_logits, logits))
    (threshold,) = _probabilities(threshold=threshold)
    return (((o >= threshold) == (p >= threshold)) | ((o - p).abs() <= EQUAL_TOLERANCE)).double()


@metric("ff", "FF", better="high", range="[-1, 1]")
def faithfulness(p: Tensor, q: Tensor) -> Tensor:
    """Faithfulness (FF): probability lost when the explanation is removed.

    ``p - q``, in [-1, 1], higher is better. Source: arXiv 2403.13086 (L-MAC).

    Parameters
    ----------
    p, q : Tensor [B]
        Probability of the explained class from the unmasked input and from Out.

    Returns
    -------
    Tensor [B], float64

    Raises
    ------
    ValueError
        If the shapes differ or are not [B], or a value is not finite or outside [0, 1].

    Examples
    --------
    >>> faithfulness(torch.tensor([0.75]), torch.tensor([0.25])).tolist()
    [0.5]
    """
    p, q = _probabilities(p=p, q=q)
    return p - q


@metric("ff_in", "FF-In", better="low", range="[-1, 1]")
def faithfulness_in(p: Tensor, o: Tensor) -> Tensor:
    """Faithfulness of the masked-in part (FF-In): probability lost when only the explanation is kept.

    ``p - o``, in [-1, 1], lower is better. Some texts call this one "faithfulness"; it is not :func:`faithfulness`
    (arXiv 2403.13086), whose masked-in counterpart it is and whose direction is the opposite one.

    Parameters
    ----------
    p, o : Tensor [B]
        Probability of the explained class from the unmasked input and from In.

    Returns
    -------
    Tensor [B], float64

    Raises
    ------
    ValueError
        If the shapes differ or are not [B], or a value is not finite or outside [0, 1].

    Examples
    --------
    >>> faithfulness_in(torch.tensor([0.75]), torch.tensor([1.0])).tolist()
    [-0.25]
    """
    p, o = _probabilities(p=p, o=o)
    return p - o


@metric("ad", "AD", better="low", range="[0, 100]", unit="%")
def average_drop(p: Tensor, o: Tensor) -> Tensor:
    """Average drop (AD): share of the probability lost when only the explanation is kept, in per cent.

    ``100 * max(0, p - o) / p``, and 0 where ``p`` is 0; in [0, 100], lower is better. Source: arXiv 2403.13086.

    Parameters
    ----------
    p, o : Tensor [B]
        Probability of the explained class from the unmasked input and from In.

    Returns
    -------
    Tensor [B], float64

    Raises
    ------
    ValueError
        If the shapes differ or are not [B], or a value is not finite or outside [0, 1].

    Examples
    --------
    >>> average_drop(torch.tensor([0.5, 0.5, 0.0]), torch.tensor([0.125, 1.0, 0.0])).tolist()
    [75.0, 0.0, 0.0]
    """
    p, o = _probabilities(p=p, o=o)
    return 100.0 * _ratio((p - o).clamp(min=0.0), p)


@metric("ai", "AI", better="high", range="{0, 100}", unit="%")
def average_increase(p: Tensor, o: Tensor, tolerance: float = EQUAL_TOLERANCE) -> Tensor:
    """Average increase (AI): is the class more probable when only the explanation is kept? In per cent.

    ``100 * 1[o > p + tolerance]``; 0 or 100 per clip, higher is better. Source: arXiv 2403.13086.

    Parameters
    ----------
    p, o : Tensor [B]
        Probability of the explained class from the unmasked input and from In.
    tolerance : float
        What counts as equal. It keeps rounding noise (a mask of ones!) from counting as an increase. A clip with
        ``1 - p`` below it cannot count at all; 0 gives the bare comparison.

    Returns
    -------
    Tensor [B], float64
        0.0 or 100.0.

    Raises
    ------
    ValueError
        If the shapes differ or are not [B], a value is not finite or outside [0, 1], or the tolerance is negative.

    Examples
    --------
    >>> average_increase(torch.tensor([0.5, 0.5, 0.5]), torch.tensor([0.6, 0.5, 0.4])).tolist()
    [100.0, 0.0, 0.0]
    """
    p, o = _probabilities(p=p, o=o)
    return 100.0 * _increased(p, o, tolerance).double()


@metric("ag", "AG", better="high", range="[0, 100]", unit="%")
def average_gain(p: Tensor, o: Tensor, p_rest: Tensor, tolerance: float = EQUAL_TOLERANCE) -> Tensor:
    """Average gain (AG): share of the missing probability won when only the explanation is kept, in per cent.

    ``100 * max(0, o - p) / (1 - p)``, and 0 where ``1 - p`` is 0; in [0, 100], higher is better.
    Source: arXiv 2403.13086.

    Parameters
    ----------
    p, o : Tensor [B]
        Probability of the explained class from the unmasked input and from In.
    p_rest : Tensor [B]
        ``1 - p`` as :attr:`ClassProbability.rest` gives it. For a ``p`` near 1 the subtraction would be noise.
    tolerance : float
        Gains up to this count as none, as in :func:`average_increase`: for a saturated clip, rounding noise divided
        by ``1 - p`` could be any number. 0 gives the bare formula.

    Returns
    -------
    Tensor [B], float64

    Raises
    ------
    ValueError
        If the shapes differ or are not [B], a value is not finite or outside [0, 1], ``p + p_rest`` is not 1, or the
        tolerance is negative.

    Examples
    --------
    >>> average_gain(torch.tensor([0.5, 1.0]), torch.tensor([0.875, 1.0]), torch.tensor([0.5, 0.0])).tolist()
    [75.0, 0.0]
    """
    p, o, p_rest = _probabilities(p=p, o=o, p_rest=p_rest)
    if bool(((p + p_rest - 1.0).abs() > 1e-5).any()):
        raise ValueError("p_rest is not 1 - p: pass ClassProbability.rest of the unmasked input")
    gain = (o - p) * _increased(p, o, tolerance)
    # p and p_rest are rounded apart, so that the quotient can exceed 1 by rounding.
    return 100.0 * _ratio(gain, p_rest).clamp(max=1.0)


def _increased(p: Tensor, o: Tensor, tolerance: float) -> Tensor:
    if not tolerance >= 0:
        raise ValueError(f"tolerance is {tolerance}, expected a number >= 0")
    return o - p > tolerance


def _ratio(numerator: Tensor, denominator: Tensor) -> Tensor:
    """``numerator / denominator``, and 0 where the denominator is 0."""
    zero = denominator == 0
    return torch.where(zero, 0.0, numerator / denominator.masked_fill(zero, 1.0))


def _probabilities(**named: Tensor) -> list[Tensor]:
    """The arguments as float64 tensors of one shape [B] in [0, 1], or a ValueError that names the one at fault."""
    values = []
    for name, value in named.items():
        value = torch.as_tensor(value)
        if value.ndim != 1:
            raise ValueError(f"{name} has shape {list(value.shape)}, expected [B]: one probability per clip")
        if values and value.shape != values[0].shape:
            raise ValueError(f"{name} has {len(value)} clips, {next(iter(named))} has {len(values[0])}")
        value = value.double()
        if not bool(torch.isfinite(value).all()):
            raise ValueError(f"{name} holds a value that is not finite, expected probabilities")
        if bool(((value < -EQUAL_TOLERANCE) | (value > 1 + EQUAL_TOLERANCE)).any()):
            raise ValueError(
                f"{name} lies in [{value.min():.4g}, {value.max():.4g}], expected probabilities in [0, 1]: "
                "apply class_probability to the logits first"
            )
        values.append(value.clamp(0.0, 1.0))
    return values
