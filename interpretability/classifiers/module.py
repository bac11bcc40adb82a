"""``torch``: a PyTorch module from waveforms to logits, named by its class or given as an instance."""

import dataclasses
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from interpretability.classifiers.importing import build_module, imported_class
from interpretability.classifiers.layers import tensor_of
from interpretability.classifiers.waveform import WaveformClassifier, WaveformSettings, frontend_for
from interpretability.errors import UserError
from interpretability.frontend import FrontendSettings
from interpretability.settings import setting

logger = logging.getLogger(__name__)

#: Sampling rate of a module that does not say which one it takes; whoever gives none is told.
ASSUMED_RATE = 16000


@dataclass(frozen=True, kw_only=True)
class ModuleSettings(WaveformSettings):
    """Settings of ``torch``."""

    module: str = setting(dataclasses.MISSING, "class of the model: package.module:Class")
    arguments: dict | None = setting(None, "plain values that the class is called with")


class ModuleClassifier(WaveformClassifier):
    """A module of PyTorch from waveforms [B, N] to logits [B, C], or to an output with ``logits``.

    Parameters
    ----------
    labels, frontend, task
        As in :class:`~interpretability.classifiers.waveform.WaveformClassifier`.
    module : str or torch.nn.Module
        ``"package.module:Class"``, which is imported and called with ``arguments``; or the module itself, which can be
        saved only if ``arguments`` say what it was built with.
    sample_rate : float, optional
        Of the sounds that the module takes, in Hz, in place of ``frontend``. If neither is given, a warning says which
        rate is assumed.
    **settings
        The other fields of :class:`ModuleSettings`.

    Attributes
    ----------
    built_by_chance : bool
        Whether its class drew random numbers when it was built, as networks do that are not trained.
    """

    NAME = "torch"
    Settings = ModuleSettings

    def __init__(
        self,
        labels: Sequence[str],
        frontend: FrontendSettings | dict | None = None,
        task: str = "single",
        *,
        module: nn.Module | str,
        sample_rate: float | None = None,
        **settings: Any,
    ):
        before = torch.get_rng_state()
        if isinstance(module, nn.Module):
            model, place = module, f"{type(module).__module__}:{type(module).__qualname__}"
        else:
            settings["arguments"] = settings.get("arguments") or {}
            place, model = module, build_module(module, settings["arguments"])
        by_chance = not torch.equal(before, torch.get_rng_state())
        if frontend is None:
            frontend = frontend_of(place, sample_rate)
        elif sample_rate is not None:
            raise UserError(f"{place}: got a front end and a sampling rate: give one of them")
        super().__init__(labels, frontend, task, model=model, module=place, **settings)
        self.built_by_chance = by_chance

    def architecture(self) -> dict:
        """Return the settings as plain values.

        Raises
        ------
        UserError
            If the model was given as an instance without arguments, or its class cannot be imported.
        """
        place = self.settings.module
        if self.settings.arguments is None:
            raise UserError(
                f"{place} was given as an instance, and cannot be built again: pass arguments=, what its class was "
                "called with, to save it"
            )
        if imported_class(place) is not type(self.module):
            raise UserError(f"{place} is not the class of the model: define it at the top level of a module")
        return super().architecture()

    def logits_of(self, wavs: Tensor, lengths: Tensor) -> Tensor:
        output = self.module(wavs)
        return output.logits if hasattr(output, "logits") else tensor_of(output)


def frontend_of(place: str, sample_rate: float | None, level: str = "none") -> FrontendSettings:
    """Return the front end of a module of PyTorch; if its sampling rate is not given, say which one is assumed."""
    if sample_rate is None:
        logger.warning("%s: a sampling rate of %d Hz is assumed; give sample_rate", place, ASSUMED_RATE)
        sample_rate = ASSUMED_RATE
    return frontend_for(sample_rate, level)
