"""``torch``: a PyTorch module from waveforms to logits, named by its class or given as an instance."""

import dataclasses
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from interpretability.classifiers.check import LONG, SHORT, noise, resets_help, resets_of, same
from interpretability.classifiers.features import FeatureModule
from interpretability.classifiers.hooks import in_evaluation
from interpretability.classifiers.importing import build_module, imported_class
from interpretability.classifiers.waveform import WaveformClassifier, WaveformSettings, frontend_for
from interpretability.errors import UserError, user_errors
from interpretability.files import expanded
from interpretability.frontend import FrontendSettings
from interpretability.probabilities import probabilities
from interpretability.settings import setting
from interpretability.weights import load_weights

logger = logging.getLogger(__name__)

#: Sampling rate of a module that does not say which one it takes; whoever gives none is told.
ASSUMED_RATE = 16000


@dataclass(frozen=True, kw_only=True)
class ModuleSettings(WaveformSettings):
    """Settings of ``torch``."""

    module: str = setting(dataclasses.MISSING, "class of the model: package.module:Class")
    arguments: dict | None = setting(None, "plain values that the class is called with")
    features: tuple[dict, ...] | None = setting(
        None,
        "steps that make what the model takes of a waveform, each a name with its settings: pad, scale, mel, frames, "
        "shape, model; null: it takes the waveform",
    )


class ModuleClassifier(WaveformClassifier):
    """A module of PyTorch from waveforms [B, N] to logits [B, C], or to an output that holds them (:func:`.answer_of`).

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
    weights : path, optional
        A file with the module's ``state_dict``, which is loaded into it.
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
        weights: str | Path | None = None,
        **settings: Any,
    ):
        before = torch.get_rng_state()
        if isinstance(module, nn.Module):
            model, place = module, f"{type(module).__module__}:{type(module).__qualname__}"
        else:
            settings["arguments"] = settings.get("arguments") or {}
            place, model = module, build_module(module, settings["arguments"])
        by_chance = weights is None and not torch.equal(before, torch.get_rng_state())
        if weights is not None:
            load_weights(model, expanded(weights))
        if frontend is None:
            frontend = frontend_of(place, sample_rate)
        elif sample_rate is not None:
            raise UserError(f"{place}: got a front end and a sampling rate: give one of them")
        checked = self.Settings.checked({name: settings.get(name) for name in ("features", "one_by_one")})
        if checked["features"]:
            rate = FrontendSettings(**frontend).sample_rate if isinstance(frontend, dict) else frontend.sample_rate
            model = self.behind_steps(model, checked["features"], rate, bool(checked["one_by_one"]))
        super().__init__(labels, frontend, task, model=model, module=place, **settings)
        self.built_by_chance = by_chance

    def behind_steps(self, model: nn.Module, steps: Sequence[dict], sample_rate: int, alone: bool) -> FeatureModule:
        """Return the model with the steps before it (``features``); ``alone``: it takes one item at a time."""
        return FeatureModule(model, steps, sample_rate, title=type(model).__name__, alone=alone)

    def frame_times(self, count: int, n_samples: int) -> Tensor:
        """See :meth:`WaveformClassifier.frame_times`: of windows that steps make, where these lie."""
        if isinstance(self.module, FeatureModule) and self.module.has_windows:
            return self.module.times(count)
        return super().frame_times(count, n_samples)

    def obstacle(self) -> str:
        """See :meth:`WaveformClassifier.obstacle`."""
        return "it is run on what is made of the sound (features)" if self.settings.features else super().obstacle()

    @property
    def title(self) -> str:
        """See :attr:`Classifier.title`."""
        return type(self._given).__name__

    @property
    def _given(self) -> nn.Module:
        """The model itself, without the steps before it."""
        return self.module.model if isinstance(self.module, FeatureModule) else self.module

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
        if imported_class(place) is not type(self._given):
            raise UserError(f"{place} is not the class of the model: define it at the top level of a module")
        return super().architecture()

    def outputs_of(self, wavs: Tensor, lengths: Tensor) -> Any:
        """See :meth:`WaveformClassifier.outputs_of`."""
        return self.module(wavs)

    def settle(self) -> None:
        """See :meth:`WaveformClassifier.settle`: whether the model has a hidden state, takes batches and any length.

        Raises
        ------
        UserError
            If it cannot be run on a second of sound, or takes sounds of one length alone and ``input_length`` is not
            given.
        """
        if self.is_settled():
            return
        rate, fixed = self.frontend.settings.sample_rate, self.settings.input_length
        device = next((parameter.device for parameter in self.module.parameters()), "cpu")
        n_samples = fixed or round(SHORT * rate)
        wavs = noise(2, n_samples, device)

        counts: dict[int, int] = {}  # samples -> frames

        def run(sounds: Tensor) -> Tensor:
            lengths = torch.full((len(sounds),), sounds.shape[1], device=sounds.device)
            scores = self.checked_scores(sounds, lengths)
            if scores.frames is not None:
                counts[sounds.shape[1]] = scores.frames.logits.shape[1]
            return probabilities(scores.logits.double(), self.task)

        length = f"input_length={fixed}" if fixed else f"{n_samples / rate:.3g} s of sound"
        advice = (
            ": expected a model from waveforms [B, N] to logits [B, C]; if it takes sounds of one length alone, give "
            "input_length, in samples"
        )
        with in_evaluation(self.module):
            # The model may raise anything at input that it was not made for.
            with user_errors(f"{self.title} cannot be run on {length}", advice=advice):
                first, _, again = run(wavs[:1]), run(wavs[1:]), run(wavs[:1])
            stable, resets, alone = same(first, again), self.settings.reset_state, self.settings.one_by_one
            if resets is None:
                resets = not stable and bool(resets_of(self.module)) and resets_help(self.module, lambda: run(wavs[:1]))
                self.settings = dataclasses.replace(self.settings, reset_state=resets)
                stable = stable or resets
                if resets:
                    self.remark("state", "keeps a hidden state, which is reset before each run", warn=True)
            if alone is None:
                alone = not self._takes_two(run, wavs, stable)
                self.settings = dataclasses.replace(self.settings, one_by_one=alone)
                if alone:
                    self.remark("one_by_one", "takes one sound at a time: sounds are run one by one", warn=True)
            if fixed is None:
                longer = f"{self.title} runs on {length}, but not on {LONG:g} s"
                with user_errors(longer, advice=f": give the length that it takes, such as input_length={n_samples}"):
                    run(torch.cat([wavs[:1]] * round(LONG / SHORT), dim=1))
        if len(counts) == 2:
            (short, few), (long, many) = sorted(counts.items())
            self._frame_hop = (long - short) / (many - few) if many > few else None

    def is_settled(self) -> bool:
        """Return whether it is known how the model has to be run: it was saved, with what was found out then."""
        layers, known = self.settings.layers, (self.settings.one_by_one, self.settings.reset_state)
        return None not in known or bool(layers and isinstance(layers[0], dict))

    @staticmethod
    def _takes_two(run: Callable[[Tensor], Tensor], wavs: Tensor, stable: bool) -> bool:
        """Return whether a batch of two sounds [2, N] gives what each gives alone, if answers are stable."""
        try:
            both = run(wavs)
        except Exception:  # whatever a model raises that takes one sound
            return False
        return not stable or same(both, torch.cat([run(wavs[:1]), run(wavs[1:])]))


def frontend_of(
    place: str, sample_rate: float | None, level: str = "none", resampling: str = FrontendSettings.resampling
) -> FrontendSettings:
    """Return the front end of a module of PyTorch; if its sampling rate is not given, say which one is assumed."""
    if sample_rate is None:
        logger.warning("%s: a sampling rate of %d Hz is assumed; give sample_rate", place, ASSUMED_RATE)
        sample_rate = ASSUMED_RATE
    return frontend_for(sample_rate, level, resampling)
