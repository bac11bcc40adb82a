"""Many sounds: each is explained in a folder of its own, bad ones are reported, what is done is not done again."""

from __future__ import annotations

import errno
import logging
import os
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tqdm import tqdm

from interpretability.command_line import DISK_FULL
from interpretability.commands.one_sound import Result, explain_sound, write_explanation
from interpretability.commands.output import Output
from interpretability.commands.recording import explain_long, is_recording, request_of_recording
from interpretability.commands.results_folder import Shown, begin, check_folder, names_of_all, write_all
from interpretability.commands.work import Work, listed_sound
from interpretability.data.inputs import Sounds
from interpretability.data.sound_list import ListedSound, SoundList
from interpretability.errors import UserError
from interpretability.names import printable
from interpretability.report.destination import finished
from interpretability.report.explained import RECORD, failed_row, row_of

logger = logging.getLogger(__name__)

#: Classes that are named in the words about all sounds.
MOST_CLASSES = 5


@dataclass
class Done:
    """What has come of the sounds.

    Attributes
    ----------
    rows : list of dict
        Of all explanations, and of what could not be explained.
    shown : list of Shown
        The explanations.
    earlier : list of Shown
        Explanations of other sounds that the folder held before.
    explained, new, bad
        Names of the sounds that are explained, of those of them that were not before, and of those that are not, or
        not by every method.
    """

    rows: list[dict[str, Any]] = field(default_factory=list)
    shown: list[Shown] = field(default_factory=list)
    explained: set[str] = field(default_factory=set)
    new: set[str] = field(default_factory=set)
    bad: list[str] = field(default_factory=list)
    earlier: list[Shown] = field(default_factory=list)


def explain_many(work: Work, listing: SoundList, output: Output) -> Done:
    """Explain sounds, each in a folder of its own, and write what there is of all together (:func:`.write_all`).

    What is there already, of the same sounds, methods and settings, is kept. A sound that cannot be explained is
    reported at once, and the others are explained. They are explained one by one: on a CPU a batch takes as long as its
    sounds alone, and changes the last digits.

    Raises
    ------
    UserError
        If the folder holds results of another model, or of one sound. Sounds that cannot be explained raise nothing.
    OSError
        If nothing can be written any more: what was written before is whole.
    """
    check_folder(work)
    done = Done()
    for name, reason in listing.faults:
        done.rows.append(_fault(done, name, reason))
        output.emit(done.rows[-1])
    for listed in tqdm(listing.sounds, desc="explaining", unit="sound", disable=None):
        rows = _explain(work, listed, done)
        for row in rows:
            output.emit(row)
        done.rows.extend(rows)
    if done.explained:
        done.earlier.extend(write_all(work, done.rows, done.shown))
    return done


def _explain(work: Work, listed: ListedSound, done: Done) -> list[dict[str, Any]]:
    """Explain one sound by each method by which it is not explained yet; return the rows of all."""
    classifier, several = work.model.classifier, work.choice.several
    sound, rows = listed_sound(listed, classifier, work.channel), []
    taken: Sounds | None = None
    try:
        is_long = is_recording(work, sound)
    except UserError as error:
        return [_fault(done, listed.name, str(error))]
    for explainer in work.explainers:
        folder = work.folder(listed.place, explainer)
        try:
            request = (request_of_recording if is_long else Work.request)(work, sound, explainer)
        except UserError as error:
            return [*rows, _fault(done, listed.name, str(error))]
        results = [Result(*pair) for pair in finished(folder, request, several).items()]
        if not results:
            try:
                taken = taken or (None if is_long else sound.read())
            except UserError as error:
                return [*rows, _fault(done, listed.name, str(error))]
            try:
                if is_long:
                    begin(work)
                    results = explain_long(work, sound, explainer, folder, request)
                else:
                    explained = explain_sound(sound, taken, explainer, work.choice, folder)
                    begin(work)
                    results = write_explanation(explained, folder, request, work.model, listed.label)
            except (UserError, OSError) as error:
                if _disk_is_full(error):  # whatever the sound
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(folder)) from error
                if not isinstance(error, UserError):
                    raise
                rows.append(_fault(done, listed.name, str(error), explainer.name))
                continue
            done.new.add(listed.name)
        done.explained.add(listed.name)
        for result in results:
            if result.description["undefined"]:
                logger.warning("%s: %s has no explanation of it", listed.name, explainer.name)
            rows.append(row_of(result.description, listed.path, result.folder))
            done.shown.append(Shown(rows[-1], listed.place, listed.path, result.folder))
    return rows


def _disk_is_full(error: Exception) -> bool:
    return any(getattr(each, "errno", None) in DISK_FULL for each in (error, error.__cause__))


def _fault(done: Done, name: str, reason: str, method: str | None = None) -> dict[str, Any]:
    """Report that a sound cannot be explained, or not by one method, in one line; return its row."""
    front = "" if reason.startswith(name) else f"{name}: "
    logger.warning("%s%s", front, f"{method}: {reason}" if method and front else reason)
    if name not in done.bad:
        done.bad.append(name)
    return failed_row(name, reason, method)


def words_of_many(done: Done, work: Work) -> str:
    """Return in words what has come of many sounds."""
    heard = Counter({each.place: each.row["predicted"] for each in done.shown}.values())
    classes = [f"{printable(label)} in {count}" for label, count in heard.most_common(MOST_CLASSES)]
    more = len(heard) - len(classes)
    undefined = sum(bool(row.get("undefined")) for row in done.rows)
    count, by = len(done.explained), _joined([each.name for each in work.explainers])
    kept, verb = count - len(done.new), "Heard" if work.model.classifier.base.task == "single" else "Most probable"
    lines = [
        f"{verb}: {', '.join(classes)}{f', and {more} more classes' if more else ''}.",
        f"{count} sound{' is' if count == 1 else 's are'} explained by {by}"
        + (f"; {kept} of them {'was' if kept == 1 else 'were'} already." if kept else "."),
    ]
    if undefined:
        lines.append(f"Undefined, as the method has no explanation there: {undefined}.")
    if done.earlier:
        others = len(done.earlier)
        lines.append(f"The folder holds {others} more explanation{'s' * (others != 1)}, listed with them.")
    of_all = ", ".join(name for name in names_of_all(work) if name != RECORD)
    lines.append(f"written to {printable(str(work.out))}: a folder for each sound; of all of them {of_all}")
    return "\n".join(lines)


def refuse_faults(done: Done, out: Path) -> None:
    """Raise a :class:`UserError` if there were sounds that could not be explained."""
    if not done.bad:
        return
    total = len({*done.bad, *done.explained})
    others = f"the others are in {out}" if done.explained else "nothing was written"
    raise UserError(
        f"{len(done.bad)} of {total} sounds could not be explained, or not by every method: the lines above say why; "
        f"{others}"
    )


def _joined(names: list[str]) -> str:
    return " and ".join(filter(None, [", ".join(names[:-1]), names[-1]]))
