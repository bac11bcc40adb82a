"""What a model that is given as it runs says when it is asked: the facts of its card, found by a few short sounds."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from interpretability.classifiers import Classifier
from interpretability.classifiers.black_box import LAYOUTS, shaped
from interpretability.classifiers.check import check_classifier, noise, reset_state, resets_of
from interpretability.classifiers.outputs import SUM_TOLERANCE, tensors_of
from interpretability.errors import UserError, first_line
from interpretability.explaining import DEFAULT_BY_ANSWERS

#: Lengths in samples that models of one length take, beside whole seconds: 10 ms to 5 s.
USUAL = (
    *(160, 256, 320, 480, 512, 576, 640, 1024, 1280, 1536, 2048, 4096),
    *(15360, 15600, 16384, 48000, 80000, 144000, 160000),
)
#: Outputs that differ by less, relative to their largest value, are the same.
SAME = 1e-4
GRADIENT = "a gradient reaches the sound: all methods"
NO_GRADIENT = f"no gradient reaches the sound: methods that only ask for answers, such as {DEFAULT_BY_ANSWERS}"


@dataclass
class Probe:
    """What was found out.

    Attributes
    ----------
    lines : list of str
        In words.
    card : dict
        Settings that were found; null where the user has to say them.
    """

    lines: list[str] = field(default_factory=list)
    card: dict[str, Any] = field(default_factory=dict)


def probe_model(source: str, module: nn.Module, settings: Mapping[str, Any]) -> Probe:
    """Find out how a model has to be run, and what its outputs can be.

    Parameters
    ----------
    source : str
        What it is called.
    module : torch.nn.Module
        From a sound to any output.
    settings : mapping
        What is known: of :class:`~interpretability.classifiers.sources.SourceSettings`.

    Raises
    ------
    UserError
        If it runs on no sound that was tried.
    """
    probe = Probe(card={"labels": None, "sample_rate": None, **settings})
    rate = round(settings.get("sample_rate") or 16000)
    module.eval()

    def ask(wavs: Tensor, layout: str) -> list[tuple[str, Tensor]]:
        with torch.no_grad():
            return list(tensors_of(module(shaped(wavs, layout), **(settings.get("inputs") or {}))))

    if settings.get("states"):
        pairs = ", ".join(f"{name} gets {output}" for name, output in settings["states"].items())
        probe.lines.append(f"keeps a state from one window to the next: {pairs} (states)")
    if settings.get("inputs"):
        pairs = ", ".join(f"{name}={value}" for name, value in settings["inputs"].items())
        probe.lines.append(f"is given {pairs} with each sound (inputs)")
    layout, sizes = _working(source, ask, settings, rate)
    if not source.startswith("torch:"):
        probe.card["input_layout"] = layout
    elif layout != "batch":
        raise UserError(f"{source} takes a sound of another shape than [B, N] ({layout}): wrap it in one that takes it")
    size = sizes[0]
    wavs = noise(2, size)
    begin = time.perf_counter()
    _reset(module)
    first = ask(wavs[:1], layout)
    seconds = time.perf_counter() - begin
    shape = {"batch": "[B, N]", "channel": "[B, 1, N]", "last": "[B, N, 1]", "single": "[N]"}[layout]
    if rate in sizes and len(sizes) > 1:
        least = _shortest(ask, layout, min(sizes))
        probe.lines.append(f"takes {shape} of any length that was tried, from {least} to {max(sizes)} samples")
    elif len(sizes) > 1:
        probe.card["input_length"] = None
        probe.lines.append(f"takes {shape} of {', '.join(map(str, sizes))} samples, and not of a second (input_length)")
    else:
        probe.card["input_length"] = size
        probe.lines.append(f"takes {shape} of {size} samples alone: longer sounds are run in windows (input_length)")
    probe.lines.append(f"one call takes {seconds:.3g} s for {size / rate:.3g} s of sound at {rate} Hz")
    _state(probe, module, ask, layout, wavs, first)
    _batches(probe, module, ask, layout, wavs, first)
    _gradient(probe, module, layout, wavs, settings)
    _outputs(probe, first, ask(noise(1, sizes[-1]), layout) if len(sizes) > 1 else first)
    if source.startswith("torch:"):  # it looks for the entry by the number of classes
        probe.card.pop("entry", None)
    return probe


def _working(source: str, ask: Callable, settings: Mapping, rate: int) -> tuple[str, list[int]]:
    """Return the shape of the sound, and the lengths that run, a second first."""
    layouts = [settings["input_layout"]] if settings.get("input_layout") else LAYOUTS
    fixed = settings.get("input_length")
    error: Exception | None = None
    for sizes in ([fixed],) if fixed else ((rate, 2 * rate, rate // 2, rate // 10), USUAL):
        for layout in layouts:
            working = []
            for size in sizes:
                try:
                    answers = ask(noise(1, size), layout)
                except Exception as raised:  # whatever a model raises at input that it was not made for
                    error = error or raised
                    continue
                if answers:
                    working.append(size)
            if working:
                return layout, working
    reason = "it gave no numbers" if error is None else first_line(error)
    raise UserError(
        f"{source} runs on none of the sounds that were tried ({reason}): if it takes further inputs, give "
        "inputs={NAME: VALUE}; if it takes another length, give input_length, in samples"
    )


def _shortest(ask: Callable, layout: str, works: int) -> int:
    """Return the shortest sound that runs, in samples, by halving what is between."""
    fails = 0
    while works - fails > 1:
        size = (works + fails) // 2
        try:
            answered = bool(ask(noise(1, size), layout))
        except Exception:  # whatever a model raises at input that is too short
            answered = False
        works, fails = (size, fails) if answered else (works, size)
    return works


def probe_classifier(classifier: Classifier) -> Probe:
    """Say what a classifier of another library's folder, which is open, is like; it needs no card."""
    check = check_classifier(classifier)
    settings, count = classifier.frontend.settings, len(classifier.labels)
    lines = [
        f"takes sounds at {settings.sample_rate} Hz",
        f"has {count} class{'es' * (count != 1)} ({classifier.task}-label)",
        f"the same sound twice: probabilities that differ by up to {check.spread:.2g}",
        f"two sounds at once: probabilities that differ from those alone by up to {check.together:.2g}",
        f"hears {'all of a sound' if check.hears_all else 'no more than its beginning'}",
        NO_GRADIENT if check.no_gradient else GRADIENT,
    ]
    return Probe(lines + [f"note: {note}" for note in classifier.notes])


def _reset(module: nn.Module) -> None:
    if resets_of(module):
        reset_state(module)


def _differ(some: list[tuple[str, Tensor]], others: list[tuple[str, Tensor]]) -> bool:
    """Return whether two answers are not the same."""
    if len(some) != len(others):
        return True
    for (_, one), (_, other) in zip(some, others, strict=True):
        if one.shape != other.shape:
            return True
        scale = max(float(one.abs().max()), 1e-6) if one.numel() else 1.0
        if one.numel() and float((one - other).abs().max()) > SAME * scale:
            return True
    return False


def _state(probe: Probe, module: nn.Module, ask: Callable, layout: str, wavs: Tensor, first: list) -> None:
    ask(wavs[1:], layout)
    again = ask(wavs[:1], layout)
    if not _differ(first, again):
        probe.lines.append("the same sound twice: the same answer")
        return
    _reset(module)
    if resets_of(module) and not _differ(first, ask(wavs[:1], layout)):
        probe.card["reset_state"] = True
        probe.lines.append("the same sound twice: another answer, until its state is reset (reset_state)")
    else:
        probe.lines.append("the same sound twice: another answer: it draws random numbers, or keeps a state")


def _batches(probe: Probe, module: nn.Module, ask: Callable, layout: str, wavs: Tensor, first: list) -> None:
    if layout == "single":
        return
    try:
        _reset(module)
        both = [(name, value[:1]) for name, value in ask(wavs, layout)]
        together = not _differ(first, both)
    except Exception as error:  # whatever a model raises that takes one sound
        probe.lines.append(f"two sounds at once: it does not take them ({first_line(error)})")
        probe.card["one_by_one"] = True
        return
    probe.lines.append(f"two sounds at once: {'as each alone' if together else 'another answer than alone'}")
    if not together:
        probe.card["one_by_one"] = True


def _gradient(probe: Probe, module: nn.Module, layout: str, wavs: Tensor, settings: Mapping) -> None:
    sound = wavs[:1].clone().requires_grad_()
    try:
        with torch.enable_grad():
            _reset(module)
            output = module(shaped(sound, layout), **(settings.get("inputs") or {}))
            flowing = [value for _, value in tensors_of(output) if value.requires_grad]
            reaches = bool(flowing) and torch.autograd.grad(flowing[0].sum(), sound, allow_unused=True)[0] is not None
    except RuntimeError:  # what PyTorch raises where a gradient stops
        reaches = False
    probe.lines.append(GRADIENT if reaches else NO_GRADIENT)


def _outputs(probe: Probe, short: list[tuple[str, Tensor]], long: list[tuple[str, Tensor]]) -> None:
    """Say what each output can be, and take the one that fits the labels, or the only one."""
    labels = probe.card.get("labels")
    fitting = []
    for number, (name, value) in enumerate(short):
        grown = number < len(long) and long[number][1].shape != value.shape
        count = value.shape[-1] if value.ndim else 1
        low, high = (float(bound) for bound in value.aminmax()) if value.numel() else (0.0, 0.0)
        sums = value.double().sum(-1) if value.ndim else value
        finite = bool(torch.isfinite(value).all())
        if not finite:
            kind = "NaN or infinity: it is no answer"
        elif low < 0 or high > 1:
            kind = "logits, or an embedding"
        elif count > 1 and bool(((sums - 1).abs() < SUM_TOLERANCE).all()):
            kind = "probabilities of one label (they sum to 1)"
        else:
            kind = "probabilities, of several labels (task=multi), or logits"
        frames = ", one for each frame" if grown or value.ndim > 2 else ""
        probe.lines.append(
            f"output {name or number}: {list(value.shape)}, {count} value{'s' * (count != 1)}{frames}, "
            f"from {low:.3g} to {high:.3g}: {kind}"
        )
        if finite and (labels is None or isinstance(labels, str) or count == len(labels)):
            fitting.append((name, kind))
    if len(fitting) == 1 or (labels is not None and fitting):
        name, kind = fitting[0]
        if len(short) > 1:
            probe.card.setdefault("entry", name)
        sure = {"probabilities of": "probabilities", "logits,": "logits"}
        probe.card.setdefault("output", next((value for start, value in sure.items() if kind.startswith(start)), None))
    else:
        probe.card.setdefault("entry", None)
        probe.card.setdefault("output", None)
