"""Clips for a page that come one by one, as long as there is room: those that are classified wrongly come first."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from interpretability import processes
from interpretability.journal import Journal
from interpretability.report.clips import Clip


class Collection:
    """The sounds of a page, of which there may be more than it shows; kept on disk until the page is written.

    Several processes may find clips, all of which are told to each: the main one writes.

    Parameters
    ----------
    journal : Journal
        Where they are kept.
    most : int
        Sounds that the page shows.
    """

    def __init__(self, journal: Journal, most: int):
        self.journal, self.most = journal, most
        self._correct: dict[str, bool | None] = {}

    def resume(self, known: Iterable[str]) -> None:
        """Go on with the sounds on disk that are known; put the file in order."""
        known = set(known)

        def in_order() -> dict[str, bool | None]:
            rows = [row for row in self.journal.read() if row["sound"] in known]
            if self.most:
                self.journal.write(rows)
            else:
                self.journal.remove()
            return {row["sound"]: row["clip"]["correct"] for row in rows}

        self._correct = processes.of_main(in_order)

    def chosen(self, sounds: Iterable[tuple[str, bool | None]]) -> set[str]:
        """Return which of further sounds are wanted, as (id, whether it is classified correctly)."""
        wanted: set[str] = set()
        wrong = sum(right is False for right in self._correct.values())
        others = len(self._correct) - wrong
        for sound, right in sounds:
            if sound in self._correct or sound in wanted:
                continue
            if wrong + (0 if right is False else others) < self.most:
                wanted.add(sound)
                wrong, others = wrong + (right is False), others + (right is not False)
        return wanted

    def add(self, clips: Sequence[tuple[str, Clip]]) -> None:
        """Take those that are wanted, as (id of the sound, clip); all of a sound come together."""
        wanted = self.chosen((sound, clip.correct) for sound, clip in clips)
        taken = [(sound, clip) for sound, clip in clips if sound in wanted]
        self._correct |= {sound: clip.correct for sound, clip in taken}
        if taken and processes.is_main():
            self.journal.append({"sound": sound, "clip": clip.to_dict()} for sound, clip in taken)

    def clips(self, order: Sequence[str]) -> list[Clip]:
        """Return the clips of the sounds that the page shows, those classified wrongly first, else in an order."""
        places = {sound: place for place, sound in enumerate(order)}
        ranked = sorted(self._correct, key=lambda sound: (self._correct[sound] is not False, places[sound]))
        of_sounds: dict[str, list[Clip]] = {sound: [] for sound in ranked[: self.most]}
        for row in self.journal.read():
            if row["sound"] in of_sounds:
                of_sounds[row["sound"]].append(Clip.of_saved(row["clip"]))
        return [clip for members in of_sounds.values() for clip in members]
