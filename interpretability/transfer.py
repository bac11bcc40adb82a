"""Weights of one model taken over by another: what has the same name and size, and rows of classes by their name."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

#: In place of a class: rows that every class may use.
SHARED = -1
#: Rows of new classes. built: as they were built; drawn: rows of the source, drawn at random; mean: their mean.
NEW_ROWS = ("built", "drawn", "mean")
#: Part of the state that is counted, not trained.
COUNTER = "num_batches_tracked"


@dataclass(frozen=True)
class ClassRows:
    """A parameter [R, …] whose rows belong to classes.

    Attributes
    ----------
    classes : Tensor [R], int64
        Index of each row's class; :data:`SHARED` for those of every class.
    new : {"built", "drawn", "mean"}
        What rows of a class start from that the source does not have (:data:`NEW_ROWS`).
    """

    classes: Tensor
    new: str = "built"


@dataclass
class Transfer:
    """What one model took over from another.

    Attributes
    ----------
    kept : list of str
        Names of the parameters and buffers that were taken as they are.
    by_class : list of str
        Names of those of which rows were taken, class by class.
    remade : list of str
        Names of those that stay as they were built: the source has none of that size.
    classes : list of str
        Classes that both models have.
    new_classes : list of str
        Classes that only this model has.
    """

    kept: list[str] = field(default_factory=list)
    by_class: list[str] = field(default_factory=list)
    remade: list[str] = field(default_factory=list)
    classes: list[str] = field(default_factory=list)
    new_classes: list[str] = field(default_factory=list)

    def parts(self, depth: int = 2) -> dict[str, str]:
        """Return what became of each part of the model, a part being so many components of a name.

        Returns
        -------
        dict of str to str
            Part -> "kept", "by class", "made new", or "kept in part".

        Example
        -------
        >>> Transfer(kept=["psi.merge.0.weight"], remade=["psi.merge.1.weight"]).parts()
        {'psi.merge': 'kept in part'}
        """
        fates: dict[str, set[str]] = {}
        for what, names in (("kept", self.kept), ("by class", self.by_class), ("made new", self.remade)):
            for name in names:
                if not name.endswith(COUNTER):
                    fates.setdefault(".".join(name.split(".")[:depth]), set()).add(what)
        return {part: kinds.pop() if len(kinds) == 1 else "kept in part" for part, kinds in fates.items()}


@torch.no_grad()
def take_over(
    target: nn.Module,
    source: nn.Module,
    labels: Sequence[str],
    source_labels: Sequence[str],
    rows: Mapping[str, ClassRows],
    source_rows: Mapping[str, ClassRows],
    seed: int = 0,
) -> Transfer:
    """Give a model the weights of another one, as far as they fit.

    Parameters
    ----------
    target, source : Module
    labels, source_labels : sequence of str
        Their classes.
    rows, source_rows : mapping of str to ClassRows
        Their parameters whose rows belong to classes, by the names of their states.
    seed : int
        Of what is drawn.

    Returns
    -------
    Transfer
    """
    state, theirs = target.state_dict(), source.state_dict()
    known = [label for label in labels if label in source_labels]
    result = Transfer(classes=known, new_classes=[label for label in labels if label not in known])
    generator = torch.Generator().manual_seed(seed)
    for name, value in state.items():
        given = theirs.get(name)
        if not isinstance(value, Tensor) or not isinstance(given, Tensor) or given.ndim != value.ndim:
            result.remade.append(name)
        elif name in rows and name in source_rows and given.shape[1:] == value.shape[1:]:
            chosen = _rows_of(rows[name], source_rows[name], labels, source_labels, generator)
            start = given.mean(dim=0, keepdim=True).to(value) if rows[name].new == "mean" else value
            taken = given[chosen.clamp(min=0).to(given.device)].to(value)
            value.copy_(torch.where(_column(chosen >= 0, value), taken, start))
            taken_any = bool((chosen >= 0).any()) or rows[name].new == "mean"
            (result.by_class if taken_any else result.remade).append(name)
        elif name not in rows and given.shape == value.shape:
            value.copy_(given)
            result.kept.append(name)
        else:
            result.remade.append(name)
    return result


def _rows_of(
    ours: ClassRows,
    theirs: ClassRows,
    labels: Sequence[str],
    source_labels: Sequence[str],
    generator: torch.Generator,
) -> Tensor:
    """Return which row of the source each row [R] starts from; -1 for none of them."""
    chosen = torch.full((len(ours.classes),), -1)
    fresh = torch.zeros(len(ours.classes), dtype=torch.bool)
    for index in sorted(set(ours.classes.tolist())):
        places = (ours.classes == index).nonzero()[:, 0]
        if index == SHARED:
            given = (theirs.classes == SHARED).nonzero()[:, 0]
        elif labels[index] in source_labels:
            given = (theirs.classes == list(source_labels).index(labels[index])).nonzero()[:, 0]
        else:
            given = places[:0]
        count = min(len(places), len(given))
        chosen[places[:count]] = given[:count]
        fresh[places[count:]] = True
    if ours.new == "drawn":
        n_fresh, n_rows = int(fresh.sum()), len(theirs.classes)
        order = [torch.randperm(n_rows, generator=generator) for _ in range(-(-n_fresh // n_rows))]
        chosen[fresh] = torch.cat([*order, chosen[:0]])[:n_fresh]
    return chosen


def _column(rows: Tensor, value: Tensor) -> Tensor:
    """Bring [R] to the axes of a parameter [R, …]."""
    return rows.view(-1, *(1,) * (value.ndim - 1)).to(value.device)
