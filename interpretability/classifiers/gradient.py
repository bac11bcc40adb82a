"""Whether a model lets gradients through, said in one line where it does not."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch
from torch import Tensor

from interpretability.errors import UserError

#: What PyTorch says where there is no gradient -> what the model does.
CAUSES = {
    "Can't call numpy()": "it computes with NumPy",
    "Inference tensors": "it runs in inference mode",
    "inference tensor": "it runs in inference mode",
    "inplace operation": "it changes what it computes with in place",
    "in-place operation": "it changes what it computes with in place",
    "not have been used in the graph": "its answer does not depend on its input",
    "does not require grad": "torch.no_grad, detach or NumPy in it",
    "failed in the TorchScript interpreter": "TorchScript has no derivative for one of its operations",
    "derivative for": "one of its operations has no derivative",
    "not differentiable": "one of its operations has no derivative",
}


class NoGradientError(UserError):
    """A model lets no gradient through, and what was asked for needs it."""

    def __init__(self, name: str, cause: str):
        super().__init__(
            f"{name} lets no gradient through ({cause}): gradient methods and methods trained on its answers cannot be "
            "used; take one that asks for answers only: lime, rise, occlusion, kernel_shap, feature_ablation, or nmf"
        )
        self.cause = cause


@contextlib.contextmanager
def gradient_errors(name: str) -> Iterator[None]:
    """Turn what PyTorch says where a gradient stops into a :class:`NoGradientError` about the model of that name."""
    try:
        yield
    except RuntimeError as error:
        cause = next((cause for words, cause in CAUSES.items() if words in str(error)), None)
        if cause is None or not torch.is_grad_enabled():
            raise
        raise NoGradientError(name, cause) from error


def check_gradient(name: str, answer: Tensor, cause: str = "") -> Tensor:
    """Return a model's answer, computed from an input that requires a gradient, if it carries one.

    ``cause`` says why it does not, where that is known.

    Raises
    ------
    NoGradientError
        If it does not.
    """
    if torch.is_grad_enabled() and not answer.requires_grad:
        raise NoGradientError(name, cause or CAUSES["does not require grad"])
    return answer


def finite_gradient(gradient: Tensor) -> Tensor:
    """Return the gradient of a sound [B, N] with 0 where it is infinite or no number, of clips that have one elsewhere.

    A model that takes a root or a logarithm of its own has none in digital silence. Left there it would spread to every
    bin whose window touches that silence and, in training, to all parameters.

    Examples
    --------
    >>> nan = float("nan")
    >>> finite_gradient(torch.tensor([[1.0, nan, 0.0], [nan, nan, 0.0]])).tolist()
    [[1.0, 0.0, 0.0], [nan, nan, 0.0]]
    """
    finite = gradient.isfinite()
    some = (finite & (gradient != 0)).any(1, keepdim=True)  # [B, 1]
    return gradient.masked_fill(~finite & some, 0)
