"""What files of a graph share: which input is the sound, its layout, states, further inputs."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from interpretability.classifiers.graph_file import GraphModule, Port, guessed_ports
from interpretability.errors import UserError


def port(name, *shape, kind="float32", takes_samples=True):
    return Port(name, shape, kind, np.dtype(kind), takes_samples)


class Summing(GraphModule):
    """Adds up all that it is given, and what it gave before."""

    def run(self, feed):
        total = sum(float(value.sum()) for value in feed.values())
        return {"total": np.full((1, 1), total, np.float32), "next": np.full((1, 1), total, np.float32), "text": ["a"]}


OUTPUTS = [port("total", 1, 1), port("next", 1, 1), port("text", 1)]


@pytest.mark.parametrize(
    ("shape", "layout", "input_length", "alone"),
    [
        (("batch", "samples"), "batch", None, False),
        ((1, 16000), "batch", 16000, True),
        ((None, 1, None), "channel", None, False),
        ((None, None, None), "channel", None, False),
        ((None, 43844, 1), "last", 43844, False),
        ((1, None, 1), "last", None, True),
        ((None, 1, 1), "channel", 1, False),
        ((512,), "single", 512, True),
    ],
)
def test_the_layout_follows_from_the_shape(shape, layout, input_length, alone):
    module = Summing("a file", [port("sound", *shape)], OUTPUTS, {}, {})
    assert (module.layout, module.input_length, module.alone) == (layout, input_length, alone)


def test_states_go_round_and_further_inputs_are_given_each_time():
    inputs = [port("sound", 1, 3), port("memory", 1, "any"), port("rate", 1, kind="int64")]
    module = Summing("a file", inputs, OUTPUTS, {"rate": 8}, {"memory": "next"})
    outputs = module(torch.ones(1, 3), rate=8)
    assert sorted(outputs) == ["text", "total"]
    assert (float(outputs["total"]), outputs["text"]) == (11, ["a"])
    assert float(module(torch.ones(1, 3), rate=8)["total"]) == 22
    module.reset_states()
    assert float(module(torch.ones(1, 3), rate=8)["total"]) == 11


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ([], r"a file takes nothing: which is the sound\?"),
        ([port("sound", 1, 3), port("rate", 1)], r"takes sound \[1, 3\], rate \[1\]: which is the sound\?"),
        (
            [port("mel", None, 1, 96, 64)],
            r"takes mel \[\?, 1, 96, 64\], expected a waveform \[B, N\]",
        ),
        ([port("mel", 1, 64, 96)], "say in its card what is made of the sound before .features., export the model"),
        ([port("sound", 1, 3, kind="int32", takes_samples=False)], "takes sound of int32, expected samples of float32"),
        ([port("sound", 4, 3)], r"takes 4 sounds at once, neither more nor less, as sound \[4, 3\]"),
    ],
)
def test_what_takes_no_waveform(inputs, message):
    with pytest.raises(UserError, match=message):
        Summing("a file", inputs, OUTPUTS, {}, {})


@pytest.mark.parametrize(
    ("inputs", "outputs", "given", "states"),
    [
        ([port("audio", 1, "n"), port("sr", kind="int64")], [port("p", 1, 2)], {"sr": 8000}, {}),
        (
            [port("h", 2, "b", 4), port("input", "b", "n")],
            [port("p", "b", 1), port("hn", 2, None, 4)],
            {},
            {"h": "hn"},
        ),
        (
            [port("x", "b", "n"), port("h", 2, 4), port("c", 2, 4)],
            [port("p", "b", 1), port("h1", 2, 4), port("c1", 2, 4)],
            {},
            {"h": "h1", "c": "c1"},
        ),
        ([port("audio", 1, "n"), port("low")], [port("p", 1, 2)], {}, {}),
        ([port("audio", 1, "n"), port("speaker", 1, 64)], [port("p", 1, 64)], {}, {}),
    ],
)
def test_states_and_the_rate_are_guessed_by_their_shapes_and_names(inputs, outputs, given, states):
    assert guessed_ports(inputs, outputs, 8000) == (given, states)
