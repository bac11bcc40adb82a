"""Models given as they run, of which nothing but their answers is known: a Python function, a TorchScript file."""

from __future__ import annotations

import functools
import hashlib
import importlib
import inspect
import json
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from interpretability.classifiers.base import default_task
from interpretability.classifiers.calls import EXPLAINING_CALLS
from interpretability.classifiers.card import existing_file
from interpretability.classifiers.check import resets_of
from interpretability.classifiers.frames import POOLS, pooled, scores_as_logits
from interpretability.classifiers.module import ModuleClassifier, ModuleSettings, frontend_of
from interpretability.classifiers.outputs import entry_of
from interpretability.classifiers.waveform import Scores
from interpretability.errors import UserError, user_errors
from interpretability.files import sha256
from interpretability.frontend import FrontendSettings
from interpretability.settings import setting

logger = logging.getLogger(__name__)

#: Shapes of the sound that a model takes: a batch, with an axis of one channel before or after the samples, one alone.
LAYOUTS = ("batch", "channel", "last", "single")
#: Seconds of one call from which on it is said how long an explanation will take.
SLOW = 1.0
#: Calls of a model, about, when it is opened.
OPENING_CALLS = 20
#: Windows that are run at once.
AT_ONCE = 32


@dataclass(frozen=True, kw_only=True)
class BlackBoxSettings(ModuleSettings):
    """Settings of ``python``, ``jit``, ``onnx`` and ``tflite``."""

    input_layout: str = setting(
        "batch",
        "shape of the sound that the model takes: batch is [B, N], channel [B, 1, N], last [B, N, 1], single [N]",
        choices=LAYOUTS,
    )
    inputs: dict | None = setting(None, "further inputs of the model by their names, the same for all sounds")
    entry: str | int | None = setting(
        None, "name or number of the output that holds the classes; null: the one with a value for each class"
    )
    hop_length: int | None = setting(
        None, "step from one window of input_length to the next; null: half of it", unit="samples", least=1
    )
    windows: str = setting(
        "mean",
        "how the answers for windows of input_length become one: the mean of their probabilities, the highest, or a "
        "mean that the model weights (attention)",
        choices=POOLS,
    )


class BlackBoxClassifier(ModuleClassifier):
    """A model that is given as it runs. One that takes a fixed length is run over windows of the sound.

    Parameters
    ----------
    labels, frontend, task
        As in :class:`~interpretability.classifiers.waveform.WaveformClassifier`.
    module : torch.nn.Module
        From waveforms to what :func:`.answer_of` finds an answer in.
    source : str
        What it is called.
    **settings
        The other fields of :class:`BlackBoxSettings`.

    Notes
    -----
    Windows follow each other by ``hop_length``; the last one ends with the sound, and a sound that is shorter than a
    window is padded with zeros. A model with a hidden state, which is reset before each sound, hears the windows in
    their order, the last one padded with zeros. Answers are pooled as probabilities.
    """

    NAME = "black_box"
    Settings = BlackBoxSettings
    POOLED = ("pool", "windows")

    def __init__(
        self,
        labels: Sequence[str],
        frontend: FrontendSettings | dict | None = None,
        task: str = "single",
        *,
        module: nn.Module,
        source: str,
        **settings: Any,
    ):
        if not isinstance(module, nn.Module):
            raise UserError(f"{source}: the model is {type(module).__name__}, expected a module of PyTorch")
        self.source, self._timed = source, False
        super().__init__(labels, frontend, task, module=module, **settings)
        # In the state: of a model without tensors, whatever identifies a classifier by its state needs what it is.
        named = json.dumps([self.NAME, self.labels, task, settings], default=str, sort_keys=True).encode()
        digest = hashlib.sha256(named + _content(source, module)).digest()
        self.register_buffer("source_sha256", torch.tensor(list(digest), dtype=torch.uint8))

    @classmethod
    def load(
        cls, place: str, inputs: Mapping, states: Mapping, features: bool = False
    ) -> tuple[nn.Module, dict[str, Any]]:
        """Return the model that a place names, and the settings that it says by itself.

        ``features``: whether steps before it make what it takes.
        """
        raise NotImplementedError

    @classmethod
    def from_place(
        cls,
        place: str,
        labels: Sequence[str] | None = None,
        sample_rate: float | None = None,
        task: str | None = None,
        output: str | None = None,
        pool: str | None = None,
        attention: str | int | None = None,
        entry: str | int | None = None,
        thresholds: Sequence[float] | None = None,
        input_layout: str | None = None,
        inputs: Mapping[str, Any] | None = None,
        states: Mapping[str, str] | None = None,
        input_length: int | None = None,
        hop_length: int | None = None,
        windows: str | None = None,
        one_by_one: bool | None = None,
        reset_state: bool | None = None,
        features: Sequence[Mapping[str, Any]] | None = None,
        level: str = "none",
        resampling: str = FrontendSettings.resampling,
    ) -> BlackBoxClassifier:
        """Open what a source names.

        Parameters
        ----------
        place : str
            ``package.module:function``, or a file.
        labels : sequence of str
            Class names, in the order of the outputs.
        sample_rate : float, optional
            In Hz; a warning says which one is assumed if it is not given.
        task : {"single", "multi"}, optional
            By default one label per clip, or ``multi`` for a detector of one class.
        states : mapping of str to str, optional
            Of ONNX and TensorFlow Lite: input -> the output that it gets at the next window; zeros at the start of
            each sound.
        output, pool, attention, entry, thresholds, input_layout, inputs, input_length, hop_length, windows
        one_by_one, reset_state, features
            As in :class:`BlackBoxSettings`.
        level : {"none", "peak"}
            The front end's level rule.
        resampling : {"accurate", "published"}
            The filter for sounds of another rate.
        """
        source = f"{cls.NAME}:{place}"
        if states and features:
            raise UserError(f"{source}: states go with windows of the sound, not with features: leave one of them out")
        module, known = cls.load(place, inputs or {}, states or {}, bool(features))
        if labels is None:
            raise UserError(f"{source} does not say what its classes are: give labels, in the order of its outputs")
        given = {
            "output": output,
            "pool": pool,
            "attention": attention,
            "entry": entry,
            "thresholds": thresholds,
            "input_layout": input_layout,
            "inputs": None if inputs is None else dict(inputs),
            "input_length": input_length,
            "hop_length": hop_length,
            "windows": windows,
            "one_by_one": one_by_one,
            "reset_state": reset_state,
            "features": features,
        }
        settings = known | {name: value for name, value in given.items() if value is not None}
        frontend = frontend_of(source, sample_rate, level, resampling)
        return cls(labels, frontend, task or default_task(labels), module=module, source=source, **settings)

    @property
    def title(self) -> str:
        """See :attr:`Classifier.title`."""
        return self.source

    @property
    def fixed_length(self) -> None:
        """See :attr:`WaveformClassifier.fixed_length`: windows take the place of the one length."""

    def architecture(self) -> dict:
        """Refuse to be saved (:class:`UserError`): the file or the function is opened each time."""
        raise UserError(f"{self.title} cannot be saved as a folder: name it as the source each time, with its card")

    def is_settled(self) -> bool:
        """See :meth:`ModuleClassifier.is_settled`: it is run each time that it is opened."""
        return False

    def settle(self) -> None:
        """See :meth:`ModuleClassifier.settle`."""
        if self.settings.input_layout == "single":
            self._settle(one_by_one=True)
        if self.settings.reset_state is None and resets_of(self.module):
            self._settle(reset_state=True)
        size, hop = self.settings.input_length, self.settings.hop_length
        if hop is not None and (size is None or hop > size):
            raise UserError(f"{self.title}: hop_length is {hop}, expected at most input_length, which is {size}")
        super().settle()
        if size is not None:
            last = "the last one padded with zeros" if self._in_order else "the last one ends with the sound"
            of_windows = {
                "mean": "the mean of their probabilities",
                "max": "their highest",
                "attention": f"their mean, weighted by the model's output {self.settings.attention!r}",
            }[self.settings.windows]
            self.remark(
                "windows",
                f"takes {size} samples: it hears a sound in windows of that length, one each {self._hop} samples, "
                f"{last}; the probability of a class is {of_windows} (windows={self.settings.windows}); a sound "
                "that is shorter is padded with zeros",
            )

    def _settle(self, **settled: Any) -> None:
        self.settings = type(self.settings)(**(vars(self.settings) | settled))

    @property
    def _in_order(self) -> bool:
        """Whether windows have to be heard one after the other: what it heard before is kept."""
        return bool(self.settings.reset_state)

    @property
    def _hop(self) -> int:
        return self.settings.hop_length or max(1, self.settings.input_length // (1 if self._in_order else 2))

    def windows_of(self, wavs: Tensor) -> tuple[Tensor, Tensor]:
        """Cut sounds [b, N] into windows [b, W, input_length]; also returns where they start [W], in samples."""
        size, hop = self.settings.input_length, self._hop
        count = 1 + max(0, -(-(wavs.shape[1] - size) // hop))
        needed = size + (count - 1) * hop if self._in_order else size
        wavs = nn.functional.pad(wavs, (0, max(0, needed - wavs.shape[1])))
        starts = [min(hop * number, wavs.shape[1] - size) for number in range(count)]
        windows = torch.stack([wavs[:, start : start + size] for start in starts], dim=1)
        return windows, torch.tensor(starts, dtype=torch.float64)

    def scores_of(self, wavs: Tensor, lengths: Tensor) -> Scores:
        """See :meth:`WaveformClassifier.scores_of`."""
        if self.settings.input_length is None:
            return super().scores_of(wavs, lengths)
        windows, starts = self.windows_of(wavs)
        size, run = windows.shape[2], super().scores_of
        in_turn = self._in_order or self.settings.one_by_one
        parts = list(windows.unbind(1)) if in_turn else list(windows.flatten(0, 1).split(AT_ONCE))
        answers = [run(part.clone(), lengths.new_full((len(part),), size)) for part in parts]

        def joined(values: list[Tensor]) -> Tensor:  # [b, W, ...]
            return torch.stack(values, dim=1) if in_turn else torch.cat(values).unflatten(0, windows.shape[:2])

        pool, of_frames = self.settings.windows, [answer.frames for answer in answers]
        given = joined([answer.logits for answer in answers])
        if not self.has_classes:
            return Scores(given.mean(1))
        logits = scores_as_logits(given, self.task, probabilities=False)
        weights = None
        if pool == "attention":
            if of_frames[0] is not None:
                raise UserError(
                    f"{self.title}: windows=attention takes one weight for each window, and its output is for each "
                    "frame: give pool=attention, and windows=mean or max"
                )
            weights = joined([answer.weights for answer in answers])
        whole = given[:, 0] if len(starts) == 1 else pooled(logits, self.task, pool, weights)
        spans = torch.stack([starts, starts + size], 1)
        # Frames within windows are kept where pooling them at once is pooling them window by window.
        if of_frames[0] is not None and pool == self.settings.pool:
            logits = joined([frames.logits for frames in of_frames]).flatten(1, 2)
            rate = self.frontend.settings.sample_rate
            inner = torch.stack([of_frames[0].start[0], of_frames[0].end[0]], 1).cpu() * rate  # [T', 2]
            spans = (starts[:, None, None] + inner).flatten(0, 1)
        return Scores(whole, self.frames_of(logits, spans, lengths, pool, weights))

    def chosen(self, output: Any) -> Any:
        """See :meth:`WaveformClassifier.chosen`: what ``entry`` names; of one class it may be frames [B, T']."""
        if self.settings.entry is None:
            return output
        value = entry_of(output, self.settings.entry, self.title)
        is_frames = len(self.labels) == 1 and getattr(value, "ndim", 0) == 2 and value.shape[1] != 1
        return value[..., None] if is_frames else value

    def outputs_of(self, wavs: Tensor, lengths: Tensor) -> Any:
        """See :meth:`WaveformClassifier.outputs_of`. How long a slow model will take is said at its first call."""
        sound = shaped(wavs, self.settings.input_layout)
        begin = time.perf_counter()
        output = self.module(sound, **(self.settings.inputs or {}))
        seconds = time.perf_counter() - begin
        if not self._timed and seconds > SLOW:
            minutes = (seconds * calls / 60 for calls in (OPENING_CALLS, EXPLAINING_CALLS))
            logger.warning(
                "%s: one call took %.1f s for %.3g s of sound: opening the model makes about %d calls (%.1f min), an "
                "explanation without gradients about %d (%.1f min), or fewer with --settings calls=N",
                *(self.title, seconds, wavs.shape[1] / self.frontend.settings.sample_rate),
                *(OPENING_CALLS, next(minutes), EXPLAINING_CALLS, next(minutes)),
            )
        self._timed = True
        return output


def _content(source: str, module: nn.Module) -> bytes:
    """Return what tells a model from others: the hash of its file, or of a function its name and its file's hash."""
    place = source.partition(":")[2]
    if Path(place).is_file():
        return sha256(place).encode()
    code = inspect.getsourcefile(inspect.unwrap(module.function)) if isinstance(module, FunctionModule) else None
    return place.encode() + (sha256(code).encode() if code and Path(code).is_file() else b"")


def shaped(wavs: Tensor, layout: str) -> Tensor:
    """Return sounds [B, N] in the shape that a model takes (:data:`LAYOUTS`)."""
    return {"single": wavs[0], "channel": wavs[:, None], "last": wavs[..., None]}.get(layout, wavs)


# ---------------------------------------------------------------------------------------------------------- functions


class FunctionModule(nn.Module):
    """A function from waveforms [B, N], NumPy float32, to an answer of NumPy, as a module without a gradient.

    Parameters
    ----------
    function : callable

    Attributes
    ----------
    function : callable
    changes_input : bool
        Whether a call has written into the array that it was given.
    """

    def __init__(self, function: Callable[..., Any]):
        super().__init__()
        self.changes_input = False
        self.function = function

    def forward(self, sound: Tensor, **inputs: Any) -> Any:
        """Call the function with a copy of the sound."""
        array = np.array(sound.detach().cpu().numpy(), dtype=np.float32, order="C")
        before = array.copy()
        with torch.no_grad():
            output = self.function(array, **inputs)
        self.changes_input |= not np.array_equal(before, array, equal_nan=True)
        if isinstance(output, list):
            return _array_of(output, len(array))
        return output


def _array_of(output: list, n_clips: int) -> Any:
    """Return a list with one row of numbers for each clip as an array; a list of anything else as it is."""
    try:
        array = np.array(output, dtype=np.float32)
    except (TypeError, ValueError):  # rows of several lengths, or of something else
        return output
    return array if array.ndim in (1, 2) and len(array) == n_clips else output


class FunctionClassifier(BlackBoxClassifier):
    """``python``: a function that is the user's own code, named by ``package.module:function``."""

    NAME = "python"

    @classmethod
    def load(
        cls, place: str, inputs: Mapping, states: Mapping, features: bool = False
    ) -> tuple[nn.Module, dict[str, Any]]:
        """See :meth:`BlackBoxClassifier.load`."""
        refuse_states(f"python:{place}", states)
        return FunctionModule(imported_function(place)), {}

    @property
    def never_a_gradient(self) -> str:
        """See :attr:`Classifier.never_a_gradient`."""
        return "a function of NumPy gives answers alone"

    def obstacle(self) -> str:
        """See :meth:`WaveformClassifier.obstacle`."""
        return "it is a Python function, which has no layers to observe"

    def outputs_of(self, wavs: Tensor, lengths: Tensor) -> Any:
        """See :meth:`WaveformClassifier.outputs_of`."""
        output = super().outputs_of(wavs, lengths)
        if self._given.changes_input:
            self.remark("input", "changes the sound that it is given, and gets a copy each time", warn=True)
        return output


def imported_function(place: str) -> Callable[..., Any]:
    """Import ``package.module:function``.

    Raises
    ------
    UserError
        If it cannot be imported or called, or is a class of PyTorch.
    """
    module_name, _, name = place.partition(":")
    if not module_name or not name:
        raise UserError(f"python:{place}: expected python:package.module:function")
    advice = ": install its package, or put its folder on PYTHONPATH"
    with user_errors(f"python:{place} cannot be imported", advice=advice):  # its own code may raise anything
        function = functools.reduce(getattr, name.split("."), importlib.import_module(module_name))
    if isinstance(function, type) or not callable(function):
        what = "a class" if isinstance(function, type) else type(function).__name__
        raise UserError(
            f"python:{place} is {what}, expected a function from waveforms [B, N] to probabilities or logits [B, C]; a "
            "class of PyTorch is opened as torch:package.module:Class"
        )
    return function


def refuse_states(source: str, states: Mapping) -> None:
    """Refuse ``states`` (:class:`UserError`) for what has no inputs and outputs with names."""
    if states:
        raise UserError(f"{source}: states is {dict(states)}, which goes with onnx:FILE and tflite:FILE: leave it out")


# -------------------------------------------------------------------------------------------------------- TorchScript


class ScriptClassifier(BlackBoxClassifier):
    """``jit``: a file of TorchScript. It is a program, which PyTorch runs: open none that you would not run."""

    NAME = "jit"

    @classmethod
    def load(
        cls, place: str, inputs: Mapping, states: Mapping, features: bool = False
    ) -> tuple[nn.Module, dict[str, Any]]:
        """See :meth:`BlackBoxClassifier.load`."""
        refuse_states(f"jit:{place}", states)
        existing_file(place, "jit")
        advice = (
            ": expected what torch.jit.save wrote; a state_dict goes with torch:package.module:Class and weights=FILE"
        )
        with user_errors(f"jit:{place} is no TorchScript", RuntimeError, ValueError, advice=advice):
            model = torch.jit.load(place, map_location="cpu")
        for module in model.modules():
            if not hasattr(module, "training"):  # torch.jit.freeze takes it away
                vars(module)["training"] = False
        return model, {}
