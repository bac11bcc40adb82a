"""SpeechBrain's run options: told from overrides, and refused before anything is written."""

import pytest

from interpretability.errors import UserError
from interpretability.training.options import parse_options, split_arguments


def test_both_forms_of_an_override():
    options, overrides = split_arguments(
        [
            "--device",
            "cpu",
            "--data_folder=/a=b",
            "--test_folds",
            "[1,",
            "2]",
            "--noprogressbar",
            "--clip_seconds",
            "-1",
        ]
    )
    assert options == ["--device", "cpu", "--noprogressbar"]
    assert overrides == {"data_folder": "/a=b", "test_folds": "[1, 2]", "clip_seconds": "-1"}


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("--precision fp16", "--precision is 'fp16', expected fp32 or bf16 on a CPU"),
        ("--eval_precision=fp16", "--eval_precision is 'fp16', expected fp32 or bf16 on a CPU"),
        ("--auto_mix_prec", "--auto_mix_prec asks for fp16, which a CPU does not have: give --precision bf16"),
        ("--precision fp8", "argument --precision: invalid choice: 'fp8'"),
        ("--data_parallel_backend", "--data_parallel_backend needs a GPU, and there is none"),
        ("--grad_accumulation_factor 0", "--grad_accumulation_factor is 0, expected a whole number >= 1"),
        ("--grad_accumulation_factor x", "argument --grad_accumulation_factor: invalid int value: 'x'"),
        ("--optimizer_step_limit 3.5", "--optimizer_step_limit is '3.5', expected a whole number >= 1"),
        ("--optimizer_step_limit ²", "--optimizer_step_limit is '²', expected a whole number >= 1"),
        ("--max_grad_norm nan", "--max_grad_norm is nan, expected a number > 0 (inf for no clipping)"),
        ("--max_grad_norm -1", "--max_grad_norm is -1.0, expected a number > 0 (inf for no clipping)"),
        ("--max_grad_norm 0", "--max_grad_norm is 0.0, expected a number > 0 (inf for no clipping)"),
        ("--jit", "--jit cannot compile the modules of this package"),
        ("--jit_module_keys method", "--jit cannot compile the modules of this package"),
        ("--compile_module_keys method", "--compile_module_keys names 'method', expected among classifier"),
        ("--compile_mode fast", "--compile_mode is 'fast', expected one of default, "),
        ("--distributed_backend smoke", "--distributed_backend is 'smoke', expected one of nccl, gloo, mpi"),
        ("--debug_batches 0", "--debug_batches is 0, expected a whole number >= 1"),
        ("--profile_steps 0", "--profile_steps is 0, expected a whole number >= 1"),
        ("--device meta", "device 'meta' cannot be used"),
        ("--device", "argument --device: expected one argument"),
        ("--noprogressbar True", "the command line has 'True', which belongs to no option"),
    ],
)
def test_what_would_fail_in_the_middle_of_a_run_is_refused_at_its_start(line, words):
    with pytest.raises(UserError) as caught:
        parse_options([*(() if "--device" in line else ("--device", "cpu")), *line.split()])
    assert words in str(caught.value)


def test_a_word_of_spaces_belongs_to_no_option():
    with pytest.raises(UserError, match="the command line has ' ', which belongs to no option"):
        split_arguments(["--noprogressbar", " "])


def test_what_speechbrain_leaves_a_text_is_a_number():
    assert parse_options(["--optimizer_step_limit", "7"]).optimizer_step_limit == 7
    assert parse_options(["--precision", "bf16"]).precision == "bf16"
