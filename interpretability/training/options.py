"""SpeechBrain's run options on the command line of a recipe: told from overrides, parsed, checked first."""

import contextlib
import io
from dataclasses import replace
from typing import Any

import speechbrain as sb
import torch
from speechbrain.utils.run_opts import HELP_TEXTS

from interpretability import processes
from interpretability.command_line import check_device
from interpretability.errors import UserError, shown

#: SpeechBrain's options of the command line.
RUN_OPTIONS = {*HELP_TEXTS, "jit_module_keys", "compile_module_keys"}
_CHOICES = {
    "compile_mode": ("default", "reduce-overhead", "max-autotune"),
    "distributed_backend": ("nccl", "gloo", "mpi"),
}
_LEAST = {
    "debug_batches": 1,
    "grad_accumulation_factor": 1,
    "nonfinite_patience": 0,
    "optimizer_step_limit": 1,
    "profile_steps": 1,
    "profile_warmup": 0,
}
#: What Brains train or hold: the modules that may be compiled.
_MODULES = ("classifier", "interpreter", "dictionary")


def split_arguments(argv: list[str]) -> tuple[list[str], dict[str, str]]:
    """Return SpeechBrain's run options, as they were typed, and the overrides: dotted name -> text of a YAML.

    Raises
    ------
    UserError
        For an override without a value, or a value without a name.

    Example
    -------
    >>> split_arguments(["--device", "cpu", "--lr=0.1", "--method.channels", "8"])
    (['--device', 'cpu'], {'lr': '0.1', 'method.channels': '8'})
    """
    run_options: list[str] = []
    overrides: dict[str, list[str]] = {}
    values = run_options
    for argument in argv:
        name, equals, value = argument.removeprefix("--").partition("=")
        if not argument.startswith("--"):
            if values is run_options and not argument.strip():
                raise _stray(argument)
            values.append(argument)
        elif name in RUN_OPTIONS:
            values = run_options
            values.append(argument)
        elif equals:
            values, overrides[name] = run_options, [value]
        else:
            values = overrides[name] = []
    empty = [name for name, values in overrides.items() if not values]
    if empty:
        raise UserError(f"--{empty[0]} has no value: give --{empty[0]} VALUE (null for none)")
    return run_options, {name: " ".join(values) for name, values in overrides.items()}


def parse_options(run_options: list[str]) -> Any:
    """Return SpeechBrain's ``RunOptions``, checked.

    Raises
    ------
    UserError
        For a value that SpeechBrain does not take, or takes and refuses only later, in the middle of a run; for a
        device that cannot be used; for words that belong to no option.
    """
    printed = io.StringIO()
    try:
        with contextlib.redirect_stderr(printed), contextlib.redirect_stdout(printed):
            _, options, stray = sb.parse_arguments(["yaml", *run_options])
    except SystemExit:
        problem = printed.getvalue().strip().splitlines()[-1].partition("error: ")[2]
        raise UserError(f"{problem}: correct the command line (--help lists the options)") from None
    if stray:
        raise _stray(stray)
    if options.optimizer_step_limit is not None:  # SpeechBrain leaves it a text
        limit = str(options.optimizer_step_limit)
        options = replace(options, optimizer_step_limit=int(limit) if limit.isdecimal() else limit)
    for name, choices in _CHOICES.items():
        if getattr(options, name) not in choices:
            raise _unfit(options, name, f"one of {', '.join(choices)}")
    for name, least in _LEAST.items():
        value = getattr(options, name)
        if value is not None and (not isinstance(value, int) or value < least):
            raise _unfit(options, name, f"a whole number >= {least}")
    # SpeechBrain says that a negative one disables clipping; it reverses the gradient instead.
    if not options.max_grad_norm > 0:
        raise _unfit(options, "max_grad_norm", "a number > 0 (inf for no clipping)")
    if options.jit or options.jit_module_keys:
        raise UserError("--jit cannot compile the modules of this package: leave it out, or give --compile")
    if unknown := sorted(set(options.compile_module_keys or ()) - set(_MODULES)):
        raise UserError(f"--compile_module_keys names {unknown[0]!r}, expected among {', '.join(_MODULES)}")
    if processes.count() > 1:
        options = _of_one_process(options)
    check_device(options.device)
    _check_hardware(options)
    return options


def _of_one_process(options: Any) -> Any:
    """Return the options of one process of several: a GPU of its own, or on CPUs the one way in which they can talk."""
    if options.device == "cuda":
        options = replace(options, device=f"cuda:{sb.utils.distributed.get_local_rank()}")
    if _on_cpu(options) and "distributed_backend" not in options.overridden_args:
        options = replace(options, distributed_backend="gloo")
    return replace(options, overridden_args={*options.overridden_args, "device", "distributed_backend"})


def _on_cpu(options: Any) -> bool:
    return torch.device(options.device or sb.utils.distributed.infer_device()).type == "cpu"


def _check_hardware(options: Any) -> None:
    """Refuse what the machine cannot do."""
    on_cpu = _on_cpu(options)
    for name in ("precision", "eval_precision"):
        if on_cpu and getattr(options, name) == "fp16":
            raise _unfit(options, name, "fp32 or bf16 on a CPU")
    if on_cpu and options.auto_mix_prec:
        raise UserError("--auto_mix_prec asks for fp16, which a CPU does not have: give --precision bf16, or a GPU")
    if options.data_parallel_backend and not torch.cuda.device_count():
        raise UserError("--data_parallel_backend needs a GPU, and there is none: leave it out")
    if options.data_parallel_backend and options.distributed_launch:
        raise UserError("--data_parallel_backend goes without torchrun, which runs in parallel by itself: leave it out")


def _unfit(options: Any, name: str, expected: str) -> UserError:
    return UserError(f"--{name} is {shown(getattr(options, name))}, expected {expected}")


def _stray(words: str) -> UserError:
    return UserError(f"the command line has {shown(words)}, which belongs to no option: give --key value")
