"""How a model behaves, found out with a few short sounds when it is opened: what can be done with it, and what to say.

A model of another library may keep a hidden state, draw random numbers, take one sound at a time or one length alone,
let no gradient through, or answer with NaN. :func:`check_classifier` finds out, :class:`ModelCheck` is what it found.
"""

from __future__ import annotations

import copy
import dataclasses
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from interpretability.classifiers.base import Classifier
from interpretability.classifiers.gradient import NoGradientError, gradient_errors
from interpretability.probabilities import log_odds, probabilities

#: Seconds of the sounds of the check; the longer one tells whether all of a sound is heard.
SHORT, LONG = 1.0, 2.0
#: Probabilities of one sound that differ by less are the same.
TOLERANCE = 1e-3
#: Methods by which a model is brought back to the state in which it was made, by their usual names.
RESETS = ("reset_states", "reset_state", "reset_hidden", "reset")


@dataclass(frozen=True)
class ModelCheck:
    """What was found out about a classifier.

    Attributes
    ----------
    spread : float
        Largest difference in probability between two answers to the same sound.
    together : float
        Largest difference in probability between sounds run in one batch and alone.
    hears_all : bool
        Whether what comes after the first second of a sound has an effect.
    no_gradient : str
        Why no gradient reaches the sound; "" if one does.
    """

    spread: float
    together: float
    hears_all: bool
    no_gradient: str

    @property
    def gradient(self) -> bool:
        """Whether a gradient reaches the sound."""
        return not self.no_gradient

    def remarks(self) -> dict[str, str]:
        """Return in words what a reader of explanations has to know; nothing of a model that behaves."""
        notes = {}
        if self.spread > TOLERANCE:
            notes["spread"] = (
                f"the same sound twice gives probabilities that differ by up to {self.spread:.2g}: the model draws "
                "random numbers or keeps a hidden state, and every number here varies as much"
            )
        elif self.together > TOLERANCE:
            notes["together"] = (
                f"sounds in one batch have probabilities that differ by up to {self.together:.2g} from those alone: "
                "give one_by_one=True"
            )
        if not self.hears_all:
            notes["longest"] = f"hears {SHORT:g} s at most: what comes later has no effect"
        if self.no_gradient:
            notes["gradient"] = f"lets no gradient through ({self.no_gradient}): methods that need none are offered"
        return notes

    def to_dict(self) -> dict[str, Any]:
        """Return it as plain values."""
        return dataclasses.asdict(self)


def check_classifier(classifier: Classifier) -> ModelCheck:
    """Find out how a classifier behaves, with a few short sounds; what is worth knowing is added to its notes.

    Parameters
    ----------
    classifier : Classifier
        Frozen.

    Raises
    ------
    UserError
        If it cannot be run on short sounds, or gives a value that is not finite.
    """
    rate, device = classifier.frontend.settings.sample_rate, classifier.device
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        short, other = noise(2, round(SHORT * rate), device)
        # Another sound in between: a hidden state settles where one sound is heard again and again.
        first, second, again = (_answers(classifier, wav[None]) for wav in (short, other, short))
        alone = torch.cat([first, second])
        both = _answers(classifier, torch.stack([short, other]))
        # Two ends, a loud and a faint one, after a loud and after a faint start: where the highest of all frames
        # decides, an end is noticed only if it is higher than the start.
        ends = [end[: round((LONG - SHORT) * rate)] for end in (short, 0.01 * other)]
        long = torch.stack([torch.cat([start, end]) for start in (short, 0.01 * short) for end in ends])
        later = _answers(classifier, long)
        no_gradient = _no_gradient(classifier, short[None])
    check = ModelCheck(
        spread=float((first - again).abs().max()),
        together=float((alone - both).abs().max()),
        hears_all=float((later[0::2] - later[1::2]).abs().max()) > 0,
        no_gradient=no_gradient,
    )
    for key, text in check.remarks().items():
        classifier.remark(key, text)
    return check


def _answers(classifier: Classifier, wavs: Tensor) -> Tensor:
    """Return the probabilities of sounds [B, N], [B, C]."""
    return probabilities(classifier.analyse(wavs).output.logits.double(), classifier.task)


def _no_gradient(classifier: Classifier, wavs: Tensor) -> str:
    """Return why no gradient of an answer reaches the magnitude; "" if one does."""
    batch = classifier.analyse(wavs)
    magnitude = batch.spectrogram.magnitude.detach().requires_grad_()
    try:
        with torch.enable_grad(), gradient_errors(classifier.title):
            logits = classifier.logits_for_gradient(dataclasses.replace(batch.spectrogram, magnitude=magnitude))
            (gradient,) = torch.autograd.grad(log_odds(logits, batch.target, classifier.task).sum(), magnitude)
    except NoGradientError as error:
        return error.cause
    if not bool(torch.isfinite(gradient).all()):
        return "its gradient is not finite"
    return "" if bool(gradient.any()) else "its gradient is 0 everywhere"


def noise(n_sounds: int, n_samples: int, device: torch.device | str = "cpu") -> Tensor:
    """Return faint noise [n_sounds, n_samples], the same every time."""
    return 0.1 * torch.randn(n_sounds, n_samples, generator=torch.Generator().manual_seed(0)).to(device)


# ------------------------------------------------------------------------------------------------------ hidden state


def resets_of(module: nn.Module) -> list[Callable[[], Any]]:
    """Return what resets a model's hidden state: the outermost methods of a usual name that need no argument."""
    methods: dict[str, Callable[[], Any]] = {}
    for name, part in module.named_modules():
        if any(not outer or name.startswith(f"{outer}.") for outer in methods):
            continue
        for method in (getattr(part, reset, None) for reset in RESETS):
            if callable(method) and _needs_nothing(method):
                methods[name] = method
                break
    return list(methods.values())


def _needs_nothing(method: Callable) -> bool:
    try:
        parameters = inspect.signature(method).parameters.values()
    except (TypeError, ValueError):  # of TorchScript, or in C
        return True
    return all(p.default is not p.empty or p.kind in (p.VAR_POSITIONAL, p.VAR_KEYWORD) for p in parameters)


def reset_state(module: nn.Module) -> None:
    """Reset a model's hidden state."""
    for reset in resets_of(module):
        reset()


def resets_help(module: nn.Module, run: Callable[[], Tensor]) -> bool:
    """Return whether a model that answers differently each time answers the same after each reset.

    A reset that changes its weights is undone and is none.
    """
    before = copy.deepcopy(module.state_dict())
    answers = []
    for _ in range(2):
        reset_state(module)
        after = module.state_dict()
        if before.keys() != after.keys() or not all(torch.equal(before[name], after[name]) for name in before):
            module.load_state_dict(before)
            return False
        answers.append(run())
    return same(*answers)


def same(first: Tensor, second: Tensor) -> bool:
    """Return whether two answers, as probabilities, are the same."""
    return first.shape == second.shape and float((first - second).abs().max()) <= TOLERANCE
