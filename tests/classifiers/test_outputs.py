"""What models answer with: any entry, frames, arrays and probabilities give the probabilities that the model means."""

import numpy as np
import pytest
import torch

from interpretability.classifiers.outputs import Answer, answer_of
from interpretability.errors import UserError
from interpretability.probabilities import probabilities

LOGITS = torch.tensor([[0.3, -2.0, 1.5], [4.0, 0.0, -1.0]])
FRAMES = torch.randn(2, 5, 3, generator=torch.Generator().manual_seed(0)) * 2
NAMED = type("Result", (), {"logits": LOGITS})()

OUTPUTS = {
    "tensor": (LOGITS, ""),
    "array": (LOGITS.numpy(), ""),
    "array in double precision": (LOGITS.double().numpy(), ""),
    "object with logits": (NAMED, "logits"),
    "the embedding first": ({"embedding": torch.rand(2, 128), "logits": LOGITS}, "logits"),
    "an embedding as wide as there are classes": ({"embedding": torch.rand(2, 3), "logits": LOGITS}, "logits"),
    "another name": ({"embedding": torch.rand(2, 8), "scores": LOGITS.numpy()}, "scores"),
    "a tuple whose second member it is": ((torch.rand(2, 8), LOGITS), "1"),
    "inside of a member": ([{"x": torch.rand(2, 4), "y": LOGITS}], "0.y"),
    "beside the same for each frame": ({"framewise": FRAMES, "clipwise": LOGITS}, "clipwise"),
    "with values that are no numbers": ({"text": ["a", "b"], "mask": torch.ones(2, 3) > 0, "logits": LOGITS}, "logits"),
}


@pytest.mark.parametrize("kind", OUTPUTS)
def test_the_entry_whose_last_axis_is_the_classes_is_taken(kind):
    output, entry = OUTPUTS[kind]
    answer = answer_of(output, "Net", 2, 3)
    assert answer.entry == entry
    assert not answer.framewise
    torch.testing.assert_close(answer.values.float(), LOGITS)


@pytest.mark.parametrize(
    ("output", "n_clips", "n_classes", "shape"),
    [
        (torch.rand(3), 1, 3, (1, 3)),  # of one sound, without an axis of clips
        (torch.rand(7, 3), 1, 3, (1, 7, 3)),
        (torch.rand(2), 2, 1, (2, 1)),  # one output, without an axis of classes
        (torch.tensor(0.5), 1, 1, (1, 1)),
        (torch.rand(2, 7, 1), 2, 1, (2, 7, 1)),
        ({"frames": np.zeros((2, 7, 3))}, 2, 3, (2, 7, 3)),
        (torch.tensor([[1, 2, 3]]), 1, 3, (1, 3)),  # whole numbers
    ],
)
def test_axes_that_are_left_out_and_frames(output, n_clips, n_classes, shape):
    answer = answer_of(output, "Net", n_clips, n_classes)
    assert tuple(answer.values.shape) == shape
    assert answer.values.is_floating_point()
    assert answer.framewise == (len(shape) == 3)


@pytest.mark.parametrize(
    ("output", "words"),
    [
        (torch.rand(2, 5), r"Net gave \(2, 5\) for 2 sounds, expected logits \(2, 3\)"),
        ({"embedding": torch.rand(2, 8), "x": torch.rand(4, 3)}, r"gave embedding \(2, 8\), x \(4, 3\) for 2"),
        ([torch.rand(2, 9)] * 40, "and 34 more for 2"),
        ("yes", "gave str"),
        (None, "gave NoneType"),
        (torch.rand(2, 0, 3), r"gave \(2, 0, 3\)"),
    ],
)
def test_without_such_an_entry_all_are_named_on_one_line(output, words):
    with pytest.raises(UserError, match=words):
        answer_of(output, "Net", 2, 3)


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        (LOGITS.softmax(1), "softmax"),
        (FRAMES.softmax(2), "softmax"),
        (LOGITS.softmax(1).half(), "softmax"),
        (LOGITS.sigmoid(), "sigmoid"),
        (torch.tensor([[0.3], [1.0]]), "sigmoid"),  # one output sums to 1 by chance alone
        (LOGITS, "logits"),
        (LOGITS.log_softmax(1), "logits"),
        (torch.tensor([[float("nan"), 0.5, 0.5]]), "logits"),
    ],
)
def test_what_an_answer_can_be(values, kind):
    assert Answer(values).kind() == kind


@pytest.mark.parametrize("task", ["single", "multi"])
@pytest.mark.parametrize("pool", ["mean", "max"])
@pytest.mark.parametrize("given", ["logits", "probabilities"])
def test_probabilities_of_the_model_are_kept_and_pooled(task, pool, given):
    """Against the formula on probabilities: of clips unchanged, of frames their mean, or their highest."""
    for raw in (LOGITS, FRAMES):
        meant = raw.softmax(-1) if task == "single" else raw.sigmoid()
        answer = Answer(meant if given == "probabilities" else raw)
        got = probabilities(answer.logits(task, given == "probabilities", pool), task)
        wanted = meant
        if raw is FRAMES:
            wanted = meant.mean(1) if pool == "mean" else meant.amax(1)
            wanted = wanted / wanted.sum(1, keepdim=True) if task == "single" else wanted
        torch.testing.assert_close(got, wanted, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("task", ["single", "multi"])
@pytest.mark.parametrize("shape", [(1, 3), (1, 4, 3)])
def test_probabilities_of_0_and_1_stay_finite_with_their_gradient(task, shape):
    values = torch.tensor([0.0, 1.0, 0.0]).expand(shape).clone().requires_grad_()
    logits = Answer(values).logits(task, True, "mean")
    got = probabilities(logits, task)
    torch.testing.assert_close(got, torch.tensor([[0.0, 1.0, 0.0]]), rtol=0, atol=1e-6)
    logits.sum().backward()
    assert torch.isfinite(values.grad).all()
