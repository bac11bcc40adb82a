"""What needs attention in a data set, the most serious first: from the measured clips to sentences."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from interpretability.data.inspection import SILENT_DB, ClipFacts
from interpretability.data.spelling import one_letter_apart, same_words
from interpretability.data.summary import imbalance
from interpretability.errors import shown

#: How serious a finding is: it makes results wrong or stops a training; it may harm; it is good to know.
SERIOUS, DOUBTFUL, NOTED = "serious", "doubtful", "noted"
#: A clip with at least this share of its samples at full scale is clipped.
CLIPPED = 0.001
#: A clip is cut off if at least this share of it is missing.
CUT = 0.01
#: A clip is mostly digital silence if more than this share of its samples are zero.
MOSTLY_ZEROS = 0.5
#: Fewer clips than these make a small class.
SMALL = 10
#: A property gives a class away if at least the first share of its clips have it, and at most the second of all others.
TELLING, ELSEWHERE = 0.9, 0.1
#: A clip is far quieter than others, dB below their median.
QUIETER_DB = 30.0


@dataclass(frozen=True)
class Finding:
    """One thing that needs attention.

    Attributes
    ----------
    level : {"serious", "doubtful", "noted"}
    kind : str
        A short name, the same for the same thing.
    text : str
        What it is and what to do, in a sentence or two.
    clips : tuple of str
        Ids of the clips that it is about; those that belong together beside each other.
    """

    level: str
    kind: str
    text: str
    clips: tuple[str, ...] = ()


#: Findings about single clips: how serious, their kind, whether a usable clip is one, and what it has.
_RULES: tuple[tuple[str, str, Callable[[ClipFacts], bool], str], ...] = (
    (SERIOUS, "not finite", lambda clip: clip.not_finite > 0, "samples that are NaN or infinite: export again"),
    (SERIOUS, "silent", lambda clip: clip.silent, f"no sound above {SILENT_DB:g} dB: there is nothing to learn from"),
    (
        DOUBTFUL,
        "cut",
        lambda clip: clip.missing >= CUT,
        "a file that ends before its header says, as after an interrupted copy: copy again",
    ),
    (
        DOUBTFUL,
        "clipped",
        lambda clip: clip.clipped >= CLIPPED,
        f"{100 * CLIPPED:g} % or more of the samples cut off at full scale: record at a lower level, if you can",
    ),
    (
        DOUBTFUL,
        "cancels",
        lambda clip: clip.cancels is not None,
        "channels that cancel each other in their mean, which is what is heard: --channel left takes one",
    ),
    (
        NOTED,
        "zeros",
        lambda clip: not clip.silent and clip.zeros > MOSTLY_ZEROS,
        "digital silence for more than half of the length: a classifier may learn where sounds were padded",
    ),
)


def findings(
    clips: Sequence[ClipFacts], unusable: Sequence[tuple[str, str]], no_splits: str | None = None
) -> list[Finding]:
    """Return what needs attention, the most serious first.

    Parameters
    ----------
    clips : sequence of ClipFacts
    unusable : sequence of (str, str)
        Clips that could not even be listed, as (id, reason).
    no_splits : str, optional
        Why there are no splits.
    """
    good = [clip for clip in clips if clip.usable]
    result: list[Finding] = []
    if no_splits is not None:
        result.append(Finding(SERIOUS, "no splits", f"There are no splits: {no_splits}."))
    bad = [*(clip.id for clip in clips if clip.fault is not None), *(name for name, _ in unusable)]
    if bad:
        result.append(
            Finding(
                SERIOUS,
                "unusable",
                f"{_clips(bad)} cannot be used; each is listed below with its reason. Correct or remove them, or have "
                "them left out: --skip_bad_clips True.",
                tuple(bad),
            )
        )
    result += _same_sounds(good)
    result += _overlaps(good)
    for level, kind, holds, what in _RULES:
        members = [clip for clip in clips if (clip.usable or kind == "not finite") and holds(clip)]
        if members:
            text = f"{_clips(members)} {'have' if len(members) > 1 else 'has'} {what}{_where(members)}."
            result.append(Finding(level, kind, text, tuple(clip.id for clip in members)))
    result += _quiet(good)
    result += _classes(good)
    result += _telling(good)
    order = (SERIOUS, DOUBTFUL, NOTED)
    return sorted(result, key=lambda finding: order.index(finding.level))


def _clips(names: Sequence[object]) -> str:
    return f"{len(names)} clip{'s' if len(names) > 1 else ''}"


def _where(clips: Sequence[ClipFacts]) -> str:
    """Return in which classes the clips are, if they are several: the most frequent first."""
    counts = Counter(label for clip in clips for label in clip.labels)
    listed = _few(f"{shown(label, 40)} {n}" for label, n in counts.most_common(6))
    return f" ({listed})" if len(clips) > 1 and counts else ""


def _same_sounds(clips: Sequence[ClipFacts]) -> list[Finding]:
    """Return findings about clips of the same samples: in two splits, with two labels, or just twice."""
    groups = defaultdict(list)
    for clip in clips:
        if not clip.silent:
            groups[clip.content].append(clip)
    repeated = [members for members in groups.values() if len(members) > 1]
    leaks = [members for members in repeated if len({clip.split for clip in members}) > 1]
    disputed = [members for members in repeated if len({frozenset(clip.labels) for clip in members}) > 1]
    plain = [members for members in repeated if members not in leaks and members not in disputed]
    result = []
    for level, kind, sets, what in (
        (
            SERIOUS,
            "leak",
            leaks,
            "in more than one split: what is measured was trained on. Remove one of each, or keep them in one group "
            "(--group_by, --group_pattern).",
        ),
        (SERIOUS, "two labels", disputed, "under different labels: one of them is wrong, or the clip has both."),
        (DOUBTFUL, "twice", plain, "listed more than once in one split, and counts more than others there."),
    ):
        if sets:
            names = tuple(clip.id for members in sets for clip in members)
            sounds = f"{len(sets)} sounds are" if len(sets) > 1 else "One sound is"
            result.append(Finding(level, kind, f"{sounds} {what} ({_clips(names)})", names))
    return result


def _overlaps(clips: Sequence[ClipFacts]) -> list[Finding]:
    """Return the finding about parts of one recording that overlap and lie in different splits."""
    files = defaultdict(list)
    for clip in clips:
        if clip.start is not None:
            files[clip.path].append(clip)
    pairs = []
    for members in files.values():
        reach: ClipFacts | None = None
        for clip in sorted(members, key=lambda clip: clip.start):
            if reach is not None and clip.start < reach.start + reach.seconds - 1e-3 and clip.split != reach.split:
                pairs.append((reach, clip))
            if reach is None or clip.start + clip.seconds > reach.start + reach.seconds:
                reach = clip
    if not pairs:
        return []
    names = tuple(clip.id for pair in pairs for clip in pair)
    text = (
        f"{len(pairs)} pair{'s' if len(pairs) > 1 else ''} of clips overlap in their recording and lie in different "
        "splits: what is measured was partly trained on. Keep the clips of a recording in one group."
    )
    return [Finding(SERIOUS, "overlap", text, names)]


def _quiet(clips: Sequence[ClipFacts]) -> list[Finding]:
    heard = [clip for clip in clips if not clip.silent and clip.level_db is not None]
    if len(heard) < SMALL:
        return []
    median = sorted(clip.level_db for clip in heard)[len(heard) // 2]
    quiet = [clip.id for clip in heard if clip.level_db < median - QUIETER_DB]
    if not quiet:
        return []
    lie = "lies" if len(quiet) == 1 else "lie"
    text = f"{_clips(quiet)} {lie} more than {QUIETER_DB:g} dB below the median level of {median:.0f} dB."
    return [Finding(NOTED, "quiet", text, tuple(quiet))]


def _classes(clips: Sequence[ClipFacts]) -> list[Finding]:
    """Return findings about the classes: names that look alike, sizes, absence from a split."""
    counts = Counter(label for clip in clips for label in clip.labels)
    result = []
    for level, pairs, words in (
        (SERIOUS, same_words(counts), "only by case, spaces or punctuation: if they mean the same, rename one"),
        (DOUBTFUL, one_letter_apart(counts), "by one letter: if it is a typing error, correct it"),
    ):
        for labels in pairs:
            names = " and ".join(f"{shown(label, 40)} ({counts[label]})" for label in labels)
            example = tuple(next(clip.id for clip in clips if label in clip.labels) for label in labels)
            result.append(Finding(level, "alike", f"The classes {names} differ {words}.", example))
    splits = {clip.split for clip in clips} - {None}
    trained = Counter(label for clip in clips if not splits or clip.split == "train" for label in clip.labels)
    if doubt := imbalance(trained):
        text = (
            f"The classes are uneven: {doubt}. Accuracy is mostly that of the large ones: look at the recall of each."
        )
        result.append(Finding(DOUBTFUL, "imbalance", text))
    small = sorted((label for label in counts if trained[label] < SMALL), key=lambda label: (trained[label], label))
    if small:
        text = (
            f"{_of(small, counts)} fewer than {SMALL} {'training ' if splits else ''}clips: "
            f"{_few(f'{shown(label, 40)} ({trained[label]})' for label in small)}. They are hardly learned."
        )
        result.append(Finding(DOUBTFUL, "small", text))
    for split in sorted(splits - {"train"}):
        measured = {label for clip in clips if clip.split == split for label in clip.labels}
        absent = sorted(set(counts) - measured)
        if absent:
            text = f"{_of(absent, counts)} no clip in {split}: {_few(shown(label, 40) for label in absent)}."
            result.append(Finding(DOUBTFUL, "absent", text))
    return result


def _of(labels: Sequence[str], counts: Counter[str]) -> str:
    return f"{len(labels)} of {len(counts)} classes {'have' if len(labels) > 1 else 'has'}"


def _few(names: Iterable[str]) -> str:
    names = list(names)
    return ", ".join(names[:5]) + (", …" if len(names) > 5 else "")


def _telling(clips: Sequence[ClipFacts]) -> list[Finding]:
    """Return findings about what gives a class away without any listening: rate, channels, format, length."""
    result = []
    for name, value_of in (
        ("sampling rate", lambda clip: f"{clip.sample_rate} Hz"),
        ("number of channels", lambda clip: str(clip.channels)),
        ("file format", lambda clip: clip.path.rpartition(".")[2].lower()),
    ):
        values = [value_of(clip) for clip in clips]
        total = Counter(values)
        if len(total) < 2:
            continue
        by_class: dict[str, Counter[str]] = defaultdict(Counter)
        for clip, value in zip(clips, values, strict=True):
            for label in clip.labels:
                by_class[label][value] += 1
        telling = []
        for label, numbers in sorted(by_class.items()):
            value, n = numbers.most_common(1)[0]
            others = len(clips) - numbers.total()
            if numbers.total() >= 3 and n >= TELLING * numbers.total() and total[value] - n <= ELSEWHERE * others:
                telling.append(f"{shown(label, 40)} ({value})")
        mixed = ", ".join(f"{value}: {n}" for value, n in total.most_common(5))
        if telling:
            text = (
                f"The {name} alone gives classes away: {_few(telling)}. A classifier may learn it instead of the sound."
            )
            result.append(Finding(DOUBTFUL, "gives away", text))
        elif name == "sampling rate":
            text = f"The clips have several sampling rates ({mixed}); all are resampled to one."
            result.append(Finding(NOTED, "rates", text))
    return result
