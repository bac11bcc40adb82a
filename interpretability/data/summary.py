"""A data set in one line: what it holds, and what looks wrong, as far as headers and names say it."""

from collections import Counter
from collections.abc import Sequence

from interpretability.data.manifest import PreparedData, labels_of, read_manifest
from interpretability.data.spelling import one_letter_apart, same_words
from interpretability.errors import shown

#: Times by which the largest class of the training clips may be larger than the smallest.
UNEVEN = 10


def summary_line(prepared: PreparedData) -> str:
    """Return what a data set holds: classes, clips, lengths and rates; then what to look at, if there is anything."""
    splits = {
        split: list(read_manifest(path, prepared.data_root, check_audio=False).entries.values())
        for split, path in prepared.manifests.items()
    }
    clips = [clip for members in splits.values() for clip in members]
    counts = ", ".join(f"{split} {len(members)}" for split, members in splits.items())
    parts = [
        f"{prepared.description.get('name', 'data')}, {len(prepared.labels)} classes, {len(clips)} clips ({counts})",
        f"{time_words(sum(clip['duration'] for clip in clips))} in all",
        spread([clip["duration"] for clip in clips], "s"),
        spread([clip["sample_rate"] for clip in clips], "Hz"),
    ]
    trained = Counter(label for clip in splits.get("train", ()) for label in labels_of(clip))
    doubts = [
        *([f"{len(prepared.skipped)} bad clips left out"] if prepared.skipped else []),
        *label_doubts(Counter(label for clip in clips for label in labels_of(clip))),
        *([doubt] if (doubt := imbalance(trained)) else []),
    ]
    if prepared.shared:
        first, second = prepared.shared[0]
        doubts.append(
            f"{len(prepared.shared)} clips have the same file as one of another split, such as {shown(first, 60)} and "
            f"{shown(second, 60)}"
        )
    more = f"; look at: {'; '.join(doubts)} (tools/inspect_data.py says more)" if doubts else ""
    return f"{', '.join(parts)}{more}"


def label_doubts(counts: Counter[str], most: int = 3) -> list[str]:
    """Return in words which labels may be one, each with the number of its clips; at most so many of a kind."""
    doubts = []
    for alike, words in (
        (same_words(counts), "differ only by case, spaces or punctuation"),
        (one_letter_apart(counts), "differ by one letter"),
    ):
        for labels in alike[:most]:
            names = " and ".join(f"{shown(label, 40)} ({counts[label]})" for label in labels)
            doubts.append(f"the labels {names} {words}")
        if len(alike) > most:
            doubts.append(f"{len(alike) - most} more that {words}")
    return doubts


def imbalance(counts: Counter[str]) -> str | None:
    """Return in words how uneven the classes are; None if less than :data:`UNEVEN` times."""
    if len(counts) < 2:
        return None
    (large, most), (small, fewest) = counts.most_common()[0], counts.most_common()[-1]
    if most < UNEVEN * fewest:
        return None
    return f"the class {shown(large, 40)} has {most} training clips and {shown(small, 40)} {fewest}"


def spread(values: Sequence[float], unit: str) -> str:
    """Return the values in words: one, or from the smallest to the largest.

    Examples
    --------
    >>> spread([5, 5.0], "s"), spread([0.5, 4, 1], "s")
    ('5 s each', '0.5 to 4 s')
    """
    low, high = min(values), max(values)
    texts = [f"{value:.3g}" if unit == "s" else f"{value:g}" for value in (low, high)]
    return f"{texts[0]} {unit} each" if texts[0] == texts[1] else f"{texts[0]} to {texts[1]} {unit}"


def time_words(seconds: float) -> str:
    """Return a time in its usual unit.

    Examples
    --------
    >>> time_words(64), time_words(2000), time_words(8000)
    ('64 s', '33 min', '2.2 h')
    """
    if seconds < 120:
        return f"{seconds:.3g} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
