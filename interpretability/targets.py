"""What is asked of a classifier where that is not one class: a set of classes, or why one class and not another.

A target is text:

- ``a|b``: a set of classes, by the sum of their probabilities;
- ``a - b``: a contrast, the log odds of ``a`` less those of ``b``: what speaks for ``a`` and not for ``b``. Each side
  is a class or a set;
- ``like:FILE``: the likeness to a sound, by the cosine of the embeddings of both;
- ``a@1.2-1.8``: a class, a set or a contrast in the frames of a range of time, in seconds, of a classifier that has a
  score for each frame.

The name of a class is always that class, whatever characters it holds, also within a set or a contrast. Everything here
works on logits; :mod:`.classifiers.targeted` makes a classifier of it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid, normalize

from interpretability.errors import UserError, shown

SET, CONTRAST, LIKE, AT = "|", " - ", "like:", "@"
RANGE = re.compile(r"\s*(\d+\.?\d*|\.\d+)\s*-\s*(\d+\.?\d*|\.\d+)\s*")


@dataclass(frozen=True)
class Phrases:
    """How a target is spoken of.

    Attributes
    ----------
    asks : str
        Goes on after "Asked": "why dog and not cat".
    scale : str
        What its probabilities mean, in a few words.
    subject : str
        What falls or rises when something is taken away.
    holds, fails : str
        Of a sound whose probability reaches the threshold, or does not; "" where it is heard as a class is.
    """

    asks: str
    scale: str
    subject: str
    holds: str = ""
    fails: str = ""


@dataclass(frozen=True)
class Question:
    """What is asked of a classifier. Its answer is that of a head whose classes are :meth:`labels`.

    Attributes
    ----------
    label : str
        What results call it.
    classes : tuple of str
        Names of the classes that it is about.
    KIND : str
        What kind it is, in a word.
    """

    label: str
    classes: tuple[str, ...]
    KIND: ClassVar[str] = ""

    @property
    def index(self) -> int:
        """Its place among the classes of its head."""
        return 0

    @property
    def answers(self) -> tuple[str, ...]:
        """The classes whose sound it is about: those of a set, of a contrast the first side; () for any sound."""
        return self.classes

    @property
    def phrases(self) -> Phrases:
        """How it is spoken of."""
        raise NotImplementedError

    @property
    def note(self) -> str:
        """What a reader has to know of its probabilities."""
        raise NotImplementedError

    @property
    def span(self) -> tuple[float, float] | None:
        """Start and end, in s, of the frames that count; None: the classifier's answer for the whole sound does."""
        return None

    def identity(self) -> dict[str, Any]:
        """Return what identifies it, as plain values: results keep it."""
        return {"kind": self.KIND, "label": self.label, "classes": list(self.classes)}

    def labels(self, labels: Sequence[str]) -> list[str]:
        """Return the classes of its head, of a classifier with these."""
        return [self.label]

    def task(self, task: str) -> str:
        """Return the task of its head, "single" or "multi", of a classifier with this one."""
        return "multi"

    def thresholds(self, thresholds: Sequence[float]) -> list[float]:
        """Return from which probability on each class of its head is heard, of a classifier with these."""
        return [0.5]

    def logits(self, logits: Tensor, embedding: Tensor, task: str) -> Tensor:
        """Return the logits of its head [B, C'], from those [B, C] and the embedding [B, D] of a classifier."""
        raise NotImplementedError


@dataclass(frozen=True)
class ClassSet(Question):
    """Classes ``members`` as one, in the place of the first; the others stay as they are."""

    members: tuple[int, ...]
    multi: bool
    KIND: ClassVar[str] = "set"

    @property
    def index(self) -> int:
        return min(self.members)

    @property
    def phrases(self) -> Phrases:
        return Phrases(f"about {self.label}", "the sum of its classes", self.label)

    @property
    def note(self) -> str:
        limit = ", which may be heard together, at most 1" if self.multi else ""
        return f"{self.label} is the sum of the probabilities of its classes{limit}"

    def labels(self, labels: Sequence[str]) -> list[str]:
        return self._merged(labels, self.label)

    def task(self, task: str) -> str:
        return task

    def thresholds(self, thresholds: Sequence[float]) -> list[float]:
        # The set is heard wherever one of its classes is.
        return self._merged(thresholds, min(thresholds[k] for k in self.members))

    def logits(self, logits: Tensor, embedding: Tensor, task: str) -> Tensor:
        merge = logsumexp_of if task == "single" else summed
        return torch.stack(self._merged(logits.unbind(1), merge(logits, self.members)), 1)

    def _merged(self, values: Sequence, value: Any) -> list:
        return [value if k == self.index else other for k, other in enumerate(values) if k not in self.members[1:]]


@dataclass(frozen=True)
class Contrast(Question):
    """Why the classes ``first`` and not the classes ``second``: a head of one class, whose logit is the difference."""

    first: tuple[int, ...]
    second: tuple[int, ...]
    names: tuple[str, str]
    KIND: ClassVar[str] = "contrast"

    @property
    def answers(self) -> tuple[str, ...]:
        return self.classes[: len(self.first)]

    @property
    def phrases(self) -> Phrases:
        first, second = self.names
        asks, holds, fails = f"why {first} and not {second}", f"speaks for {first}", f"does not speak for {first}"
        return Phrases(asks, "0.5: neither", self.label, holds, fails)

    @property
    def note(self) -> str:
        return f"{self.label} is above 0.5 where {self.names[0]} is ahead, and below where {self.names[1]} is"

    def logits(self, logits: Tensor, embedding: Tensor, task: str) -> Tensor:
        first, second = (odds_of(logits, members, task) for members in (self.first, self.second))
        return (first - second)[:, None]


@dataclass(frozen=True, eq=False)
class Likeness(Question):
    """How like a sound is to another one: the embedding of that, ``reference`` [D], and the hash of its samples."""

    reference: Tensor
    sha256: str
    KIND: ClassVar[str] = "likeness"

    @property
    def phrases(self) -> Phrases:
        scale = "0.5: nothing in common, 1: the same"
        return Phrases(f"how {self.label}", scale, "the likeness", "keeps a likeness", "keeps a likeness")

    @property
    def note(self) -> str:
        return f"{self.label} is (1 + the cosine of the embeddings of both sounds) / 2"

    def identity(self) -> dict[str, Any]:
        return super().identity() | {"reference_sha256": self.sha256}

    def logits(self, logits: Tensor, embedding: Tensor, task: str) -> Tensor:
        return likeness(embedding, self.reference.to(embedding))[:, None]


@dataclass(frozen=True)
class Ranged(Question):
    """What is asked of the frames of a range of time alone."""

    asked: Question
    seconds: tuple[float, float]
    KIND: ClassVar[str] = "range"

    @property
    def span(self) -> tuple[float, float]:
        return self.seconds

    @property
    def answers(self) -> tuple[str, ...]:
        return self.asked.answers

    @property
    def index(self) -> int:
        return self.asked.index

    @property
    def phrases(self) -> Phrases:
        phrases = self.asked.phrases
        scale = phrases.scale if len(self.classes) > 1 else "of these frames alone"
        asks = f"{phrases.asks} at {self.span[0]:g}–{self.span[1]:g} s"
        return replace(phrases, asks=asks, scale=scale, subject=self.label)

    @property
    def note(self) -> str:
        frames = f"{self.label} is the answer for the frames from {self.span[0]:g} to {self.span[1]:g} s alone"
        return f"{frames}; {self.asked.note}" if len(self.classes) > 1 else frames

    def identity(self) -> dict[str, Any]:
        return super().identity() | {"seconds": list(self.span)}

    def labels(self, labels: Sequence[str]) -> list[str]:
        return [self.label if k == self.index else label for k, label in enumerate(self.asked.labels(labels))]

    def task(self, task: str) -> str:
        return self.asked.task(task)

    def thresholds(self, thresholds: Sequence[float]) -> list[float]:
        return self.asked.thresholds(thresholds)

    def logits(self, logits: Tensor, embedding: Tensor, task: str) -> Tensor:
        return self.asked.logits(logits, embedding, task)


def likeness(embedding: Tensor, reference: Tensor) -> Tensor:
    """Return the log odds [B] of ``(1 + cos) / 2``, from embeddings [B, D] and that of a reference [D].

    With unit vectors u and v they are ``ln |u + v|² - ln |u - v|²``, which is exact where u and v are close. An
    embedding of 0 has nothing in common with any other. Beyond a probability of 2.5e-13, or 1 less that, they are cut.

    Example
    -------
    >>> likeness(torch.tensor([[3.0, 0.0], [0.0, 2.0], [1.0, 1.0]]), torch.tensor([1.0, 0.0])).sigmoid()
    tensor([1.0000, 0.5000, 0.8536])
    """
    one, other = normalize(embedding, dim=1), normalize(reference, dim=0)
    both = torch.stack([(one + other).square().sum(1), (one - other).square().sum(1)])  # [2, B]
    return both.clamp(min=1e-12).log().diff(dim=0)[0].neg()


def logsumexp_of(logits: Tensor, members: Sequence[int]) -> Tensor:
    """Return the logit [B] of several classes of a softmax [B, C] as one, whose probability is the sum of all.

    Example
    -------
    >>> logits = torch.tensor([[1.0, 2.0, 3.0]])
    >>> float(logits.softmax(1)[0, :2].sum().log() - (logsumexp_of(logits, (0, 1)) - logits.logsumexp(1))) < 1e-6
    True
    """
    return logits[:, list(members)].logsumexp(1)


def summed(logits: Tensor, members: Sequence[int]) -> Tensor:
    """Return the log odds [B] of the sum of the probabilities of several sigmoids [B, C], where that is below 1.

    Classes that may be heard together do not exclude each other, so that their sum can exceed 1: it then counts as the
    probability nearest to 1 that single precision can hold.

    Example
    -------
    >>> summed(torch.tensor([0.25, 0.5, 0.9]).logit()[None], (0, 1)).sigmoid()
    tensor([0.7500])
    """
    if len(members) == 1:
        return logits[:, members[0]]
    chosen = logits[:, list(members)]
    rest = 1 - chosen.sigmoid().sum(1)
    return logsigmoid(chosen).logsumexp(1) - rest.clamp(min=torch.finfo(logits.dtype).eps / 4).log()


def odds_of(logits: Tensor, members: Sequence[int], task: str) -> Tensor:
    """Return the log odds [B] of the sum of the probabilities of several classes, from logits [B, C].

    Example
    -------
    >>> odds_of(torch.tensor([[1.0, 0.5, 0.25]]), (0,), "multi")
    tensor([1.])
    """
    if task == "multi":
        return summed(logits, members)
    others = [k for k in range(logits.shape[1]) if k not in members]
    return logsumexp_of(logits, members) - logsumexp_of(logits, others)


def read_target(text: str, labels: Sequence[str], task: str, index: Callable[[str], int]) -> Question | None:
    """Return what a text asks of a classifier with these classes; None if it names a class, or nothing else.

    Parameters
    ----------
    text : str
    labels : sequence of str
    task : {"single", "multi"}
    index : callable
        From the name of a class to its place; raises a :class:`UserError` if there is none.

    Raises
    ------
    UserError
        For a class that there is not, an empty side, a class named twice, or a target that is the same for every sound.
    """
    if text in labels:
        return None
    front, at, seconds = text.rpartition(AT)
    if at and (RANGE.fullmatch(seconds) or front.strip() in labels or SET in front or CONTRAST in front):
        return _ranged(text, front.strip(), seconds, labels, task, index)
    sides = _sides(text, labels)
    if sides is not None:
        return _contrast(text, [_members(text, side, labels, index) for side in sides], labels)
    if SET not in text:
        return None
    members = _members(text, text, labels, index)
    if task == "single" and len(members) == len(labels):
        raise UserError(
            f"target is {shown(text)}, which names all {len(labels)} classes: the sum of their probabilities is 1 "
            "whatever the sound; leave one out"
        )
    return ClassSet(_name(members, labels), tuple(labels[k] for k in members), members, task == "multi")


def _ranged(
    text: str, front: str, seconds: str, labels: Sequence[str], task: str, index: Callable[[str], int]
) -> Ranged:
    match = RANGE.fullmatch(seconds)
    if match is None or not float(match[1]) < float(match[2]):
        raise UserError(
            f"target is {shown(text)}, expected a range of time behind the {AT}, in seconds, as in 'dog@1.2-1.8'"
        )
    asked = read_target(front, labels, task, index)
    if asked is None:
        place = index(front)
        asked = ClassSet(labels[place], (labels[place],), (place,), task == "multi")
    span = (float(match[1]), float(match[2]))
    return Ranged(f"{asked.label}{AT}{span[0]:g}-{span[1]:g}", asked.classes, asked, span)


def _contrast(text: str, members: Sequence[tuple[int, ...]], labels: Sequence[str]) -> Contrast:
    first, second = members
    both = [labels[k] for k in first if k in second]
    if both:
        raise UserError(
            f"target is {shown(text)}, with {shown(both[0])} on both sides: nothing speaks for a class and not for "
            "itself; name different classes"
        )
    names = (_name(first, labels), _name(second, labels))
    return Contrast(CONTRAST.join(names), tuple(labels[k] for k in (*first, *second)), first, second, names)


def _name(members: Sequence[int], labels: Sequence[str]) -> str:
    return SET.join(labels[k] for k in members)


def _sides(text: str, labels: Sequence[str]) -> tuple[str, str] | None:
    """Return the two sides of a contrast, where names may hold its sign; None if the text is no contrast."""
    # At either end too, where a side is empty.
    padded, places = f" {text} ", []
    start = padded.find(CONTRAST)
    while start >= 0:
        places.append((padded[:start].strip(), padded[start + len(CONTRAST) :].strip()))
        start = padded.find(CONTRAST, start + 1)
    if not places or _parts(text, labels) is not None:  # a set of classes whose names hold the sign
        return None
    fitting = [sides for sides in places if all(_parts(side, labels) is not None for side in sides)]
    if len(places) > 1 and not fitting and all(all(sides) for sides in places):
        raise UserError(
            f"target is {shown(text)}, with {len(places)} signs {shown(CONTRAST)}: expected two sides, as in 'a - b', "
            "each a class or a set 'a|b'"
        )
    return (fitting or places)[0]


def _members(text: str, side: str, labels: Sequence[str], index: Callable[[str], int]) -> tuple[int, ...]:
    """Return the classes of a side of a target, in the order in which the classifier has them."""
    parts = _parts(side, labels)
    parts = [part.strip() for part in side.split(SET)] if parts is None else parts
    if not all(parts):
        raise UserError(
            f"target is {shown(text)}, with nothing on one side of a sign: expected a set of classes, as in 'a|b', or "
            "a contrast, as in 'a - b'"
        )
    members = [index(part) for part in parts]
    double = next((k for place, k in enumerate(members) if k in members[:place]), None)
    if double is not None:
        raise UserError(f"target is {shown(text)}, which names {shown(labels[double])} twice: name each class once")
    return tuple(sorted(members))


def _parts(text: str, labels: Sequence[str]) -> list[str] | None:
    """Return the names of classes that a text lists with ``|`` between them, where names may hold one, too.

    None if it cannot be read so.
    """
    known, pieces = {*labels}, text.split(SET)
    ends: list[list[str] | None] = [[]]  # how the pieces from each place on can be read, from the last place backwards
    for start in reversed(range(len(pieces))):
        ways: list[str] | None = None
        for stop in range(len(pieces), start, -1):
            name, rest = SET.join(pieces[start:stop]), ends[len(pieces) - stop]
            name = name if name in known else name.strip()
            if rest is not None and name in known:
                ways = [name, *rest]
                break
        ends.append(ways)
    return ends[-1]
