"""Labels that may be one label, written in two ways."""

import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Mapping

#: Labels that are longer are not compared letter by letter.
LONGEST = 60
#: The share of the other's clips up to which a label one letter away from it is taken for a typing error.
RARE = 0.2


def same_words(labels: Iterable[str]) -> list[list[str]]:
    """Return groups of labels that differ only by case, spaces, punctuation or how Unicode writes a letter.

    Examples
    --------
    >>> same_words(["dog", "Dog", "cat", "sea_waves", "sea waves"])
    [['Dog', 'dog'], ['sea waves', 'sea_waves']]
    """
    groups = defaultdict(set)
    for label in labels:
        folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", label).casefold())
        groups[re.sub(r"[\W_]+", "", folded) or label].add(label)
    return sorted(sorted(members) for members in groups.values() if len(members) > 1)


def one_letter_apart(counts: Mapping[str, int]) -> list[tuple[str, str]]:
    """Return pairs of labels, the rare one first, that look as if the rare one were a typing error.

    Parameters
    ----------
    counts : mapping
        Label -> number of its clips.

    Returns
    -------
    list of (str, str)
        The two differ by one letter that is another one, is missing, is too many or has changed places with its
        neighbour; a digit is no letter. The first has one clip, or at most :data:`RARE` of those of the second, and
        fewer than it. The case of letters does not count: of labels that differ by nothing else, one is compared.

    Examples
    --------
    >>> one_letter_apart({"dog": 20, "dgo": 1, "cat": 20, "bat": 20, "take 1": 9, "take 2": 1})
    [('dgo', 'dog')]
    """
    # Of labels that differ by case alone, the most frequent one.
    common = sorted((label for label in counts if 1 < len(label) <= LONGEST), key=lambda label: (counts[label], label))
    folded = {label: word for word, label in {label.casefold(): label for label in common}.items()}
    by_rest = defaultdict(set)
    for label, word in folded.items():
        by_rest[word].add(label)
        for place in range(len(word)):
            by_rest[word[:place] + word[place + 1 :]].add(label)
    pairs = set()
    for members in by_rest.values():
        ranked = sorted(members, key=lambda label: (-counts[label], label))
        for rank, frequent in enumerate(ranked[:-1]):
            for rare in ranked[rank + 1 :]:
                n, most = counts[rare], counts[frequent]
                if n < most and n <= max(1, RARE * most) and _is_slip(folded[rare], folded[frequent]):
                    pairs.add((rare, frequent))
    return sorted(pairs)


def _is_slip(word: str, other: str) -> bool:
    """Return whether two words differ by one letter, or by two neighbours that have changed places."""
    start = 0
    while start < min(len(word), len(other)) and word[start] == other[start]:
        start += 1
    end = 0
    while end < min(len(word), len(other)) - start and word[-1 - end] == other[-1 - end]:
        end += 1
    first, second = word[start : len(word) - end], other[start : len(other) - end]
    if any(map(str.isdigit, first + second)):
        return False
    swapped = len(first) == len(second) == 2 and first == second[::-1]
    return swapped or (max(len(first), len(second)) == 1)
