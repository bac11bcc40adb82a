"""What is asked in place of a class: which texts, with which answers, against answers that are known."""

import pytest
import torch

from interpretability.errors import UserError
from interpretability.probabilities import log_odds, probabilities
from interpretability.targets import (
    ClassSet,
    Contrast,
    Likeness,
    Ranged,
    likeness,
    logsumexp_of,
    odds_of,
    read_target,
    summed,
)

LABELS = ["cat", "dog", "rain", "a|b", "b", "owl - call", "like:x"]
AT = [*LABELS, "cat@1-2", "dog@home"]
LOGITS = torch.tensor([[1.0, -2.0, 0.5, 3.0, 0.0, -1.0, 2.0], [-30.0, 40.0, 0.1, 0.2, 20.0, 5.0, -5.0]])


def index(name):
    if name in LABELS:
        return LABELS.index(name)
    if name.isdigit():
        return int(name)
    raise UserError(f"no class {name!r}")


def read(text, task="single"):
    return read_target(text, LABELS, task, index)


@pytest.mark.parametrize(
    ("text", "members"),
    [
        ("cat|dog", (0, 1)),
        ("rain | cat", (0, 2)),
        ("0|dog", (0, 1)),
        ("a|b|b", (3, 4)),
        ("b|a|b", (3, 4)),
        ("dog|owl - call", (1, 5)),
        ("like:x|b", (4, 6)),
    ],
)
def test_sets(text, members):
    question = read(text)
    assert isinstance(question, ClassSet)
    assert (question.members, question.index) == (members, members[0])
    assert question.label == "|".join(LABELS[k] for k in members)


@pytest.mark.parametrize(
    ("text", "first", "second"),
    [
        ("cat - dog", (0,), (1,)),
        ("dog - cat", (1,), (0,)),
        ("dog|cat - rain", (0, 1), (2,)),
        ("a|b - b", (3,), (4,)),
        ("owl - call - cat", (5,), (0,)),
        ("cat - owl - call", (0,), (5,)),
        ("1 - 0", (1,), (0,)),
    ],
)
def test_contrasts(text, first, second):
    question = read(text)
    assert isinstance(question, Contrast)
    assert (question.first, question.second, question.index) == (first, second, 0)
    assert question.labels(LABELS) == [question.label]


@pytest.mark.parametrize("text", [*LABELS, "3", "wolf", "cat-dog", "cat -dog", ""])
def test_a_class_and_what_is_no_target_at_all_are_nothing_else(text):
    assert read(text) is None


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("cat|", "'cat|', with nothing on one side"),
        ("|", "with nothing on one side"),
        ("cat -", "with nothing on one side"),
        ("- cat", "with nothing on one side"),
        ("cat| - dog", "with nothing on one side"),
        ("cat|cat", "names 'cat' twice"),
        ("cat|0", "names 'cat' twice"),
        ("cat - cat", "'cat' on both sides"),
        ("cat|dog - rain|dog", "'dog' on both sides"),
        ("cat|wolf", "no class 'wolf'"),
        ("wolf - cat", "no class 'wolf'"),
        ("cat - dog - rain", "with 2 signs ' - '"),
        ("|".join(LABELS), "names all 7 classes"),
    ],
)
def test_what_cannot_be_asked(text, words):
    with pytest.raises(UserError) as caught:
        read(text)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_set_has_the_sum_of_the_probabilities_and_leaves_the_others_alone():
    question = read("rain|cat")
    answer = probabilities(question.logits(LOGITS.double(), LOGITS, "single"))
    of_classes = probabilities(LOGITS.double())
    assert question.labels(LABELS) == ["cat|rain", "dog", "a|b", "b", "owl - call", "like:x"]
    torch.testing.assert_close(answer[:, 0], of_classes[:, 0] + of_classes[:, 2], rtol=1e-12, atol=0)
    torch.testing.assert_close(answer[:, 1:], of_classes[:, [1, 3, 4, 5, 6]], rtol=1e-12, atol=0)


def test_known_sets():
    assert torch.equal(logsumexp_of(LOGITS, (1,)), LOGITS[:, 1])
    assert torch.equal(summed(LOGITS, (1,)), LOGITS[:, 1])
    every = logsumexp_of(LOGITS, range(7)) - LOGITS.logsumexp(1)
    assert torch.equal(every.exp(), torch.ones(2))
    for k in range(7):
        wanted = log_odds(LOGITS, torch.tensor([k, k]), "single")
        torch.testing.assert_close(odds_of(LOGITS, (k,), "single"), wanted, rtol=1e-6, atol=1e-6)


def test_of_a_multi_label_head_the_sum_is_below_1_or_next_to_it():
    logits = torch.tensor([[0.1, 0.2, 0.9], [0.6, 0.5, 0.1], [1e-6, 1e-9, 0.5]]).logit().requires_grad_()
    answer = summed(logits, (0, 1))
    torch.testing.assert_close(answer.sigmoid(), torch.tensor([0.3, 1.0, 1.001e-6]), rtol=1e-5, atol=1e-6)
    (gradient,) = torch.autograd.grad(answer.sum(), logits)
    assert torch.isfinite(gradient).all()
    assert (gradient[:, :2] > 0).all()  # also beyond 1
    question = read("cat|dog", "multi")
    assert "may be heard together" in question.note
    assert question.thresholds([0.4, 0.2, 0.9, 0.5, 0.5, 0.5, 0.5]) == [0.2, 0.9, 0.5, 0.5, 0.5, 0.5]


@pytest.mark.parametrize("task", ["single", "multi"])
def test_a_contrast_is_the_difference_of_log_odds_and_turns_its_sign(task):
    one, other = read("cat - dog", task), read("dog - cat", task)
    answer = one.logits(LOGITS, LOGITS, task)
    wanted = log_odds(LOGITS, torch.tensor([0, 0]), task) - log_odds(LOGITS, torch.tensor([1, 1]), task)
    assert answer.shape == (2, 1)
    torch.testing.assert_close(answer[:, 0], wanted, rtol=1e-6, atol=1e-6)
    assert torch.equal(answer, -other.logits(LOGITS, LOGITS, task))


def test_of_two_classes_a_contrast_is_twice_the_log_odds():
    logits = LOGITS[:, :2]
    answer = read_target("cat - dog", LABELS[:2], "single", index).logits(logits, logits, "single")
    torch.testing.assert_close(answer[:, 0], 2 * log_odds(logits, torch.tensor([0, 0]), "single"))


def test_each_is_spoken_of_and_identified_in_its_own_way():
    texts = ["cat|dog", "cat|rain", "cat - dog", "dog - cat", "cat|dog - rain"]
    questions = [read(text) for text in texts]
    assert len({str(question.identity()) for question in questions}) == len(texts)
    assert [question.phrases.asks for question in questions[::2]] == [
        "about cat|dog", "why cat and not dog", "why cat|dog and not rain"
    ]  # fmt: skip
    assert all(question.label in question.note for question in questions)


@pytest.mark.parametrize("factor", [1.0, 1e-3, 1e3])
def test_likeness_is_half_of_1_and_the_cosine(factor):
    embeddings = torch.randn(50, 8, generator=torch.Generator().manual_seed(0))
    reference = embeddings[0] * factor
    cosines = torch.cosine_similarity(embeddings.double(), reference.double()[None])
    torch.testing.assert_close(likeness(embeddings, reference).sigmoid().double(), (1 + cosines) / 2, atol=1e-6, rtol=0)
    same, opposite, nothing = likeness(torch.stack([reference, -reference, 0 * reference]), 2 * reference).sigmoid()
    assert (same, nothing) == (1, 0.5)
    assert 0 < opposite < 1e-12


def test_likeness_tells_apart_what_is_nearly_the_same_and_has_a_gradient_everywhere():
    reference = torch.tensor([1.0, 0.0])
    near = torch.tensor([[1.0, 1e-4], [1.0, 1e-3], [1.0, 0.0], [0.0, 0.0]], requires_grad=True)
    answer = likeness(near, reference)
    # 1 - p = (1 - cos) / 2 is about a quarter of the squared angle, which single precision cannot take from 1.
    torch.testing.assert_close(torch.sigmoid(-answer[:2].double()), torch.tensor([1e-8, 1e-6]).double() / 4, rtol=1e-3,
                               atol=0)  # fmt: skip
    (gradient,) = torch.autograd.grad(answer.sum(), near)
    assert torch.isfinite(gradient).all()


def test_likeness_is_identified_by_its_reference():
    one, other = (Likeness("like a.wav", (), torch.ones(2), digest) for digest in ("1", "2"))
    assert one.identity() != other.identity()
    assert torch.equal(
        one.logits(torch.zeros(1, 3), torch.ones(1, 2), "single"), likeness(torch.ones(1, 2), one.reference)[None]
    )
    assert one.phrases.asks == "how like a.wav"


@pytest.mark.parametrize(
    ("text", "label", "seconds"),
    [
        ("dog@1.2-1.8", "dog@1.2-1.8", (1.2, 1.8)),
        ("dog @ .5 - 1.", "dog@0.5-1", (0.5, 1.0)),
        ("1@0-2", "dog@0-2", (0.0, 2.0)),
        ("cat@1-2@3-4", "cat@1-2@3-4", (3.0, 4.0)),
        ("dog@home@3-4", "dog@home@3-4", (3.0, 4.0)),
        ("cat|dog@0-1", "cat|dog@0-1", (0.0, 1.0)),
        ("cat - dog|rain@0-1", "cat - dog|rain@0-1", (0.0, 1.0)),
    ],
)
def test_ranges(text, label, seconds):
    names = [*AT]
    question = read_target(text, names, "single", lambda name: int(name) if name.isdigit() else names.index(name))
    assert isinstance(question, Ranged)
    assert (question.label, question.span) == (label, seconds)
    assert question.identity()["seconds"] == list(seconds)
    assert question.labels(names)[question.index] == label


def test_a_range_asks_its_frames_what_is_asked_of_the_whole():
    for text in ("dog", "cat|dog", "cat - dog"):
        ranged, whole = read(f"{text}@1-2"), read(text)
        answer = LOGITS if whole is None else whole.logits(LOGITS, LOGITS, "single")
        assert torch.equal(ranged.logits(LOGITS, LOGITS, "single"), answer)
    assert [read(f"{text}@1-2.5").phrases.asks for text in ("dog", "cat - dog")] == [
        "about dog at 1–2.5 s", "why cat and not dog at 1–2.5 s"
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("dog@", "expected a range of time behind the @"),
        ("dog@1", "expected a range of time behind the @"),
        ("dog@2-1", "expected a range of time behind the @"),
        ("dog@1-1", "expected a range of time behind the @"),
        ("dog@-1-2", "expected a range of time behind the @"),
        ("cat|dog@now", "expected a range of time behind the @"),
        ("wolf@1-2", "no class 'wolf'"),
        ("cat|wolf@1-2", "no class 'wolf'"),
        ("@1-2", "no class ''"),
    ],
)
def test_ranges_that_are_none(text, words):
    with pytest.raises(UserError) as caught:
        read(text)
    assert words in str(caught.value)
