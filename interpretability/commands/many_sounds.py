"""Many sounds: each is explained in a folder of its own, bad ones are reported, what is done is not done again."""

from __future__ import annotations

import logging
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tqdm import tqdm

from interpretability.classifiers import Classifier
from interpretability.command_line import DISK_FULL
from interpretability.commands.explainers import Explainer
from interpretability.commands.models import Model
from interpretability.commands.one_sound import Choice, Result, Sound, explain_sound, request_of, write_explanation
from interpretability.commands.output import Output
from interpretability.data.inputs import Sounds, read_part
from interpretability.data.sound_list import ListedSound, SoundList
from interpretability.errors import UserError
from interpretability.files import claim, place_errors, sha256, write_json_if_changed, write_text
from interpretability.names import printable, safe_name
from interpretability.reading import read_object
from interpretability.report.destination import DESCRIPTION, finished
from interpretability.report.explained import RECORD, SUMMARY, failed_row, row_of, summary_csv

logger = logging.getLogger(__name__)

#: Whether the folder of a sound has one for each method, and for each class.
LEVELS = ("folder_per_method", "folder_per_class")
#: Classes that are named in the words about all sounds.
MOST_CLASSES = 5


@dataclass(frozen=True)
class Work:
    """What is done with each sound: by which ``model``, ``explainers`` and ``choice`` of classes, and where (``out``).

    Each of several explainers has a folder of its own in that of a sound.
    """

    model: Model
    explainers: list[Explainer]
    choice: Choice
    out: Path
    channel: str = "mean"

    def folder(self, place: str, explainer: Explainer) -> Path:
        """Return where a method's explanations of a sound go."""
        return self.out / place / safe_name(explainer.name) if len(self.explainers) > 1 else self.out / place

    def record(self) -> dict[str, Any]:
        """Return what identifies the model among folders of results, and how such a folder is laid out."""
        identities = {explainer.name: explainer.identity for explainer in self.explainers}
        known = next(iter(identities.values()))
        return {
            "source": self.model.source,
            "classifier": {name: known[name] for name in ("classifier", "classifier_sha256")},
            "methods": {name: identity["sha256"] for name, identity in identities.items()},
            LEVELS[0]: len(self.explainers) > 1,
            LEVELS[1]: self.choice.several,
        }


@dataclass
class Done:
    """What has come of the sounds: the ``rows`` of all, and the names of those that are explained, kept and bad."""

    rows: list[dict[str, Any]] = field(default_factory=list)
    explained: set[str] = field(default_factory=set)
    kept: set[str] = field(default_factory=set)
    bad: list[str] = field(default_factory=list)


def explain_many(work: Work, listing: SoundList, output: Output) -> Done:
    """Explain sounds, each in a folder of its own, and write a table of all (:data:`.explained.SUMMARY`).

    What is there already, of the same sounds, methods and settings, is kept. A sound that cannot be explained is
    reported at once, and the others are explained.

    Raises
    ------
    UserError
        If the folder holds results of another model, or of one sound. Sounds that cannot be explained raise nothing.
    OSError
        If nothing can be written any more: what was written before is whole.
    """
    _check_folder(work)
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
        _begin(work)
        write_text(work.out / SUMMARY, summary_csv(done.rows, work.out))
    return done


def _explain(work: Work, listed: ListedSound, done: Done) -> list[dict[str, Any]]:
    """Explain one sound by each method by which it is not explained yet; return the rows of all."""
    classifier, several = work.model.classifier, work.choice.several
    sound, rows = listed_sound(listed, classifier, work.channel), []
    taken: Sounds | None = None
    for explainer in work.explainers:
        folder = work.folder(listed.place, explainer)
        request = request_of(sound, explainer, work.choice, classifier)
        results = [Result(*pair) for pair in finished(folder, request, several).items()]
        if results:
            done.kept.add(listed.name)
        else:
            try:
                taken = taken or sound.read()
            except UserError as error:
                return [*rows, _fault(done, listed.name, str(error))]
            try:
                explained = explain_sound(sound, taken, explainer, work.choice, folder)
                _begin(work)
                results = write_explanation(explained, folder, request, work.model, listed.label)
            except UserError as error:
                if getattr(error.__cause__, "errno", None) in DISK_FULL:  # whatever the sound
                    raise error.__cause__ from error
                rows.append(_fault(done, listed.name, str(error), explainer.name))
                continue
        done.explained.add(listed.name)
        for result in results:
            if result.description["undefined"]:
                logger.warning("%s: %s has no explanation of it", listed.name, explainer.name)
            rows.append(row_of(result.description, listed.path, result.folder))
    return rows


def listed_sound(listed: ListedSound, classifier: Classifier, channel: str) -> Sound:
    """Return a sound of a list as one that is asked for."""

    def read() -> Sounds:
        return read_part(listed.path, classifier.frontend.settings, channel, listed.start, listed.end)

    content = {"start": listed.start, "end": listed.end, "channel": channel}
    if listed.path.is_file():  # that it is none is said when it is read
        content["sha256"] = sha256(listed.path)
    return Sound(listed.name, listed.path, read, content, listed.label)


def _fault(done: Done, name: str, reason: str, method: str | None = None) -> dict[str, Any]:
    """Report that a sound cannot be explained, or not by one method, in one line; return its row."""
    front = "" if reason.startswith(name) else f"{name}: "
    logger.warning("%s%s", front, f"{method}: {reason}" if method and front else reason)
    if name not in done.bad:
        done.bad.append(name)
    return failed_row(name, reason, method)


def _check_folder(work: Work) -> None:
    """Refuse a folder that holds results of another model, results laid out in another way, or of one sound."""
    out, record = work.out, work.record()
    if (out / DESCRIPTION).exists():
        raise UserError(f"{out} holds the explanation of one sound: name another folder for many")
    if out.exists() and not out.is_dir():
        raise UserError(f"{out} is a file, expected a folder or a new name: name another one")
    if out.exists():
        claim(out, [SUMMARY, RECORD])
    if not (out / RECORD).exists():
        return
    known = read_object(out / RECORD)
    methods = known.get("methods")
    if not isinstance(methods, dict):
        raise UserError(f"{out / RECORD}: has no methods, expected what this program wrote: name another folder")
    by = f"{out} holds explanations by {', '.join(methods)} of {known.get('source')}"
    advice = "name another folder, one for each model"
    if known.get("classifier") != record["classifier"]:
        raise UserError(f"{by}, which is another model than {record['source']}: {advice}")
    if any(methods.get(name, digest) != digest for name, digest in record["methods"].items()):
        raise UserError(f"{by}, which was trained otherwise than that of {record['source']}: {advice}")
    per_method, per_class = (record[name] for name in LEVELS)
    if known.get(LEVELS[0]) != per_method or (not per_method and methods.keys() != record["methods"].keys()):
        raise UserError(f"{by}, and these are by {', '.join(record['methods'])}: name another folder for these methods")
    if known.get(LEVELS[1]) != per_class:
        kinds = ("of one class of each sound", "of several classes of each sound")
        raise UserError(f"{by}, {kinds[not per_class]}, and these are {kinds[per_class]}: name another folder")


def _begin(work: Work) -> None:
    """Make the folder of all results, if that was not done yet, and note what they are made with."""
    with place_errors(work.out):
        work.out.mkdir(parents=True, exist_ok=True)
    claim(work.out, [SUMMARY, RECORD])
    record = work.record()
    if (work.out / RECORD).exists():
        record["methods"] = read_object(work.out / RECORD)["methods"] | record["methods"]
    write_json_if_changed(work.out / RECORD, record)


def words_of_many(done: Done, work: Work) -> str:
    """Return in words what has come of many sounds."""
    heard = Counter({row["sound"]: row["predicted"] for row in done.rows if "predicted" in row}.values())
    classes = [f"{printable(label)} in {count}" for label, count in heard.most_common(MOST_CLASSES)]
    more = len(heard) - len(classes)
    undefined = sum(bool(row.get("undefined")) for row in done.rows)
    count, by = len(done.explained), _joined([each.name for each in work.explainers])
    lines = [
        f"Heard: {', '.join(classes)}{f', and {more} more classes' if more else ''}.",
        f"{count} sound{' is' if count == 1 else 's are'} explained by {by}"
        + (f"; {len(done.kept)} of them {'was' if len(done.kept) == 1 else 'were'} already." if done.kept else "."),
    ]
    if undefined:
        lines.append(f"Undefined, as the method has no explanation there: {undefined}.")
    lines.append(f"written to {printable(str(work.out))}: a folder for each sound, and a table of all, {SUMMARY}")
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
