"""The folder of results of many sounds: whose it may be, and what it holds of all of them together."""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from interpretability.commands.work import PER_CLASS, PER_METHOD, Work
from interpretability.data.audio import audio_header
from interpretability.errors import UserError
from interpretability.events import Event
from interpretability.files import (
    added_file,
    claim,
    is_whole,
    place_errors,
    place_in,
    write_json_if_changed,
    write_text,
)
from interpretability.names import printable, safe_name
from interpretability.reading import read_object
from interpretability.report.clips import Clip
from interpretability.report.destination import DESCRIPTION, REQUEST
from interpretability.report.event_files import SUFFIXES, write_events_of_many
from interpretability.report.explained import RECORD, REPORT, SUMMARY, row_of, summary_csv
from interpretability.report.html_report import MOST_BYTES, write_report
from interpretability.report.recordings import Recording

#: Most explanations on a page: more are not looked at, and would not fit.
MOST_ON_PAGE = 300


@dataclass(frozen=True)
class Shown:
    """An explanation among many: its ``row`` (:mod:`.report.explained`) and ``folder``.

    ``place`` is what the sound is called among all; ``path`` is its file.
    """

    row: dict[str, Any]
    place: str
    path: Path
    folder: Path

    @property
    def seconds(self) -> float:
        """Length of the file, in s; if it is gone, the end of the part that is explained, as far as that is known."""
        with contextlib.suppress(UserError):
            return audio_header(self.path).duration
        start = self.row["start"] or 0.0
        return max([self.row["end"] or 0.0, *(start + event["end"] for event in self.row["events"])])


def names_of_all(work: Work) -> list[str]:
    """Return the names of the files of all sounds together, which no sound's results may have."""
    names = [SUMMARY, RECORD, *([REPORT] if work.report else [])]
    return names + [f"{_events_name(work, each.name)}{end}" for each in work.explainers for end in SUFFIXES.values()]


def _events_name(work: Work, method: str) -> str:
    return f"events-{safe_name(method)}" if len(work.explainers) > 1 else "events"


def check_folder(work: Work) -> None:
    """Refuse a folder that holds results of another model, results laid out in another way, or of one sound."""
    out = work.out
    if (out / DESCRIPTION).exists():
        raise UserError(f"{out} holds the explanation of one sound: name another folder for many")
    if out.exists() and not out.is_dir():
        raise UserError(f"{out} is a file, expected a folder or a new name: name another one")
    if (out / RECORD).exists():
        _check_record(work, out / RECORD)
    if out.exists():
        claim(out, names_of_all(work))


def _check_record(work: Work, path: Path) -> None:
    """Refuse the record of another model, or of results that are laid out in another way."""
    out, record = work.out, work.record()
    known = read_object(path)
    methods = known.get("methods")
    if not isinstance(methods, dict):
        raise UserError(f"{path}: has no methods, expected what this program wrote: name another folder")
    by = f"{out} holds explanations by {', '.join(methods)} of {known.get('source')}"
    advice = "name another folder, one for each model"
    if known.get("classifier") != record["classifier"]:
        raise UserError(f"{by}, which is another model than {record['source']}: {advice}")
    if any(methods.get(name, digest) != digest for name, digest in record["methods"].items()):
        raise UserError(f"{by}, which was trained otherwise than that of {record['source']}: {advice}")
    per_method, per_class = record[PER_METHOD], record[PER_CLASS]
    if known.get(PER_METHOD) != per_method or (not per_method and methods.keys() != record["methods"].keys()):
        raise UserError(f"{by}, and these are by {', '.join(record['methods'])}: name another folder for these methods")
    if known.get(PER_CLASS) != per_class:
        kinds = ("of one class of each sound", "of several classes of each sound")
        raise UserError(f"{by}, {kinds[not per_class]}, and these are {kinds[per_class]}: name another folder")


def begin(work: Work) -> None:
    """Make the folder of all results, if that was not done yet, and note what they are made with."""
    with place_errors(work.out):
        work.out.mkdir(parents=True, exist_ok=True)
    claim(work.out, names_of_all(work))
    record = work.record()
    if (work.out / RECORD).exists():
        record["methods"] = read_object(work.out / RECORD)["methods"] | record["methods"]
    write_json_if_changed(work.out / RECORD, record)


def write_all(work: Work, rows: Sequence[dict[str, Any]], shown: Sequence[Shown]) -> list[Shown]:
    """Write what there is of all sounds together: the table, the events of each method and, if asked for, the page.

    They are of everything that the folder holds: what earlier calls have explained comes behind the rest.

    Parameters
    ----------
    work : Work
    rows : sequence of dict
        Also of sounds that could not be explained.
    shown : sequence of Shown
        The explanations.

    Returns
    -------
    list of Shown
        The explanations of earlier calls.
    """
    begin(work)
    earlier = _earlier(work, {each.folder for each in shown})
    rows, shown = [*rows, *(each.row for each in earlier)], [*shown, *earlier]
    write_text(work.out / SUMMARY, summary_csv(rows, work.out))
    seconds: dict[str, float] = {}
    for each in shown:
        path = printable(str(each.path))
        seconds[path] = max(seconds.get(path, 0.0), each.seconds)
    for explainer in work.explainers:
        events = []
        for each in shown:
            if each.row["method"] == explainer.name:
                start = each.row["start"] or 0.0
                events += [(_event(event).shifted(start), printable(str(each.path))) for event in each.row["events"]]
        write_events_of_many(work.out, events, seconds, _events_name(work, explainer.name))
    if work.report:
        write_page(work, shown)
    return earlier


def _earlier(work: Work, known: Collection[Path]) -> list[Shown]:
    """Return the explanations that the folder holds beside the known ones, by their folders."""
    others, deeper = [], (len(work.explainers) > 1) + work.choice.several
    for path in sorted(work.out.rglob(DESCRIPTION)):
        folder = path.parent
        if folder in known or folder == work.out or not is_whole(folder):
            continue
        try:
            description = read_object(path)
        except UserError:  # damaged: it is made again when its sound is asked for
            continue
        if description.get("source") is None or REQUEST not in description:
            continue
        source = Path(description["source"])
        sound = Path(place_in(source, Path.cwd()))
        place = folder.relative_to(work.out).parents[deeper - 1] if deeper else folder.relative_to(work.out)
        others.append(Shown(row_of(description, sound, folder), place.as_posix(), sound, folder))
    return others


def _event(described: dict[str, Any]) -> Event:
    return Event(**{each.name: described[each.name] for each in fields(Event)})


def write_page(work: Work, shown: Sequence[Shown]) -> None:
    """Write the page of all explanations, wrong predictions first; into a folder of one explanation, among its files.

    Raises
    ------
    UserError
        If there is a file of that name that this program is not known to have written; if it cannot be written.
    """
    wrong_first = sorted(shown, key=lambda each: each.row["true"] in (None, each.row["predicted"]))[:MOST_ON_PAGE]
    recordings = sum(_in_windows(each) for each in wrong_first)
    clips = (_on_page(each, MOST_BYTES // 2 // max(recordings, 1)) for each in wrong_first)
    classifier = work.model.classifier.base
    classes = "classes" if classifier.has_classes else "values of an embedding"
    methods, source = ", ".join(each.name for each in work.explainers), printable(work.model.source)
    about = {
        "Model": source,
        "Classifier": f"{classifier.NAME}, {len(classifier.labels)} {classes}",
        "Methods" if len(work.explainers) > 1 else "Method": methods,
        "Sounds": str(len({each.place for each in shown})),
        **{f"Settings of {each.name}": _settings(each.identity["settings"]) for each in work.explainers},
    }
    title = f"{'/'.join(source.split('/')[-2:])}, explained by {methods}"
    if (work.out / DESCRIPTION).exists():
        with added_file(work.out, REPORT) as path:
            write_report(path, clips, title, about)
        return
    claim(work.out, [REPORT])
    write_report(work.out / REPORT, clips, title, about, clips_in_all=len({each.place for each in shown}))


def _in_windows(shown: Shown) -> bool:
    """Return whether a sound was heard window by window: there is no one mask of it."""
    return shown.row["kept_area"] is None


def _on_page(shown: Shown, most_bytes: int) -> Clip | Recording:
    """Return what the page has of an explanation; of a recording ``most_bytes`` of pictures and sounds at most."""
    row, name = shown.row, shown.place or None
    if _in_windows(shown):
        return Recording.of_folder(shown.folder, name, row["true"], row["method"], most_bytes=most_bytes)
    return Clip.of_folder(shown.folder, name, row["true"], start=row["start"] or 0.0)


def _settings(settings: dict[str, Any]) -> str:
    short = {name: value for name, value in settings.items() if not isinstance(value, dict)}
    return ", ".join(f"{name} {value}" for name, value in short.items())
