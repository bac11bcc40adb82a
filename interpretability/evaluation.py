"""The protocol: one pass over the test clips, every method and baseline measured in both places, intervals, tables."""

import hashlib
import json
import logging
import math
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from speechbrain.dataio.batch import PaddedBatch
from speechbrain.dataio.dataset import DynamicItemDataset
from torch import Tensor
from tqdm import tqdm

from interpretability import processes
from interpretability.cases import Case, Cases, choose_cases
from interpretability.classifiers.base import Classifier
from interpretability.classifiers.calls import counted
from interpretability.data.batches import labels_at, seconds_of
from interpretability.data.inputs import Origin
from interpretability.explanation import Explanation, Interpretation
from interpretability.files import json_text, without_negative_zeros, write_together
from interpretability.frontend import PLACES
from interpretability.journal import Journal
from interpretability.matched import ANOTHER_LABEL, MatchedBaseline, of_another_label
from interpretability.methods.base import Interpreter
from interpretability.metrics.statistics import paired_difference
from interpretability.metrics.suite import (
    DIAGNOSTICS,
    LOCALISATION,
    METRICS,
    MetricSuite,
    clip_values,
    metric_info,
    summarise_clips,
)
from interpretability.report.clips import Clip
from interpretability.report.collection import Collection
from interpretability.report.html_report import write_report
from interpretability.report.tables import evaluation_document
from interpretability.second_opinion import SecondOpinion
from interpretability.targets import Question
from interpretability.truth import SOURCES, known_truth

logger = logging.getLogger(__name__)

#: What an evaluation leaves: a line per row, the summary, and the tables.
RESULTS = ("clips.jsonl", "summary.json", "table.md")
#: What is written beside them, if it is asked for.
PAGE = "report.html"
#: Keys of a row, beside the values of its clip.
ROW_KEYS = ("clip", "method", "place", "apply", "true", "predicted", "explained")


@dataclass
class Evaluation:
    """Where an evaluation was written, and its tables.

    Attributes
    ----------
    folder : Path
        Holds ``clips.jsonl`` (one line per clip, explained class, method and place), ``summary.json`` and
        ``table.md``.
    summary : dict
        Provenance; means with intervals by place and method, those that the method's settings decide named under
        ``fixed``; ``companions``: the names of the rows made from the first method's masks; ``paired``: differences
        between the first method and each other one over the same clips, with intervals; ``notes``: by row, what a
        reader has to know; ``truth``: "boxes", where those were the truth. Where several classes of a clip may be
        explained also ``several``, what was explained and how well the classifier hears it, and ``classes``, the means
        of each class by place.
    table : str
        Markdown.
    page : Path, optional
        ``report.html``, if it was asked for.
    """

    folder: Path
    summary: dict
    table: str
    page: Path | None = None


@torch.no_grad()
def evaluate(
    classifier: Classifier,
    methods: dict[str, Interpreter],
    dataset: DynamicItemDataset,
    folder: str | Path,
    provenance: dict[str, Any],
    batch_size: int = 16,
    places: Iterable[str] = PLACES,
    device: str = "cpu",
    progress: bool = True,
    companions: Mapping[str, MatchedBaseline] | None = None,
    explain: str | None = None,
    batch_seconds: float | None = None,
    report_clips: int = 0,
    beside: Sequence[str] = (),
    compared: Sequence[str] = (),
    transfer_to: Classifier | None = None,
    target: str | None = None,
) -> Evaluation | None:
    """Measure methods on every clip of a data set, in one pass.

    Of a clip that may have several labels, each active one is explained and measured by itself
    (:mod:`interpretability.cases`). Means are then over these explanations, and intervals over clips: a clip's
    explanations are drawn together. One more row says what the first method's mask of *another* label of the same clip
    is worth: a label's own mask has to beat it. It is undefined for clips of which one class is explained.

    Each batch is analysed and classified once; each method and place then costs one batched pass over In and Out.
    A clip for which a method has no explanation is undefined in every metric: counted, not dropped, and not 0. Where
    the clips come with the sound of the labelled source alone, the masks are also compared with the bins in which it
    dominates, and where they come with boxes, with the bins in those of the explained label
    (:mod:`interpretability.metrics.localisation`); a clip without such a box is undefined there. Results are on disk
    after every batch: an interrupted evaluation, called again with the same provenance, continues where it stopped.

    Several processes (torchrun) share the batches, and the main one writes: what is measured is the same to the bit.

    Parameters
    ----------
    classifier : Classifier
        Frozen.
    methods : dict of str to Interpreter
        Row name -> method.
    dataset : DynamicItemDataset
        With ``id``, ``signal`` and ``label``, or ``labels``; with ``target_signal``, ``target_signals`` or ``boxes``
        too, the truth is known.
    folder : path
    provenance : dict
        What each result row carries: commit, seed, classifier hash, data and fold, suite, method settings.
    batch_size : int
        Most clips of a batch.
    places : iterable of {"spectrogram", "waveform"}
    device : str
    progress : bool
        Show a progress bar.
    companions : dict of str to MatchedBaseline, optional
        Row name -> what makes a mask from the first method's mask of the same clips. Their rows follow that method's.
    explain : {"top", "predicted", "labels"}, optional
        Which classes of each clip are explained: see :func:`.cases.choose_cases`.
    batch_seconds : float, optional
        Most seconds of a batch, as of :class:`~interpretability.data.batches.LengthBatches`.
    report_clips : int
        Most clips whose explanations by the first method are shown on a page, ``report.html``: those that are
        classified wrongly first. 0: there is no page.
    beside : sequence of str
        Rows whose explanations are shown there beside those of the first method, in their order in the tables.
    compared : sequence of str
        Rows that are no baselines, but methods that the first one is compared with: the summary names them.
    transfer_to : Classifier, optional
        A second classifier, which hears the same masks (:mod:`.second_opinion`); one of :func:`.open_second`.
    target : str, optional
        The class that is explained of every clip, in place of ``explain``: of a classifier that answers a question
        (:mod:`.classifiers.targeted`), that.

    Returns
    -------
    Evaluation
        None in all processes but the main one.

    Raises
    ------
    UserError
        If there are no clips, or no labels to explain; if a clip and its target differ in length.
    ValueError
        If there is no method, or two rows have one name.
    """
    folder, places = Path(folder), tuple(places)
    classifier.to(device)
    if transfer_to is not None:
        transfer_to.to(device)
    chosen = choose_cases(classifier, dataset, explain, batch_size, device, progress, target)
    ids, cases = list(dataset.data_ids), chosen.cases
    companions = dict(companions or {})
    derived = [*companions, *([ANOTHER_LABEL] if chosen.share_clips else [])]
    if not methods or methods.keys() & {*derived}:
        raise ValueError(f"methods {list(methods)}, companions {derived}: expected a method, and distinct names")
    first, *others = methods
    if {*beside} - {*methods, *companions}:
        raise ValueError(f"beside is {list(beside)}, expected rows among {[*methods, *companions]}")
    settings = {name: {"method": m.NAME, **m.recorded_settings()} for name, m in methods.items()}
    # The first method decides what they keep, and in which domain.
    shared = {"apply": methods[first].settings.apply, "same_as": first}
    settings |= {name: {**companion.settings, **shared} for name, companion in companions.items()}
    settings |= {ANOTHER_LABEL: {"method": "another label", **shared}} if chosen.share_clips else {}
    known = set(dataset[0])
    header = {
        "provenance": provenance,
        "methods": [first, *derived, *others],
        "companions": derived,
        "settings": settings,
        "places": list(places),
        "notes": {name: notes for name, interpreter in methods.items() if (notes := _notes(interpreter))},
        "fixed": {name: fixed for name, m in methods.items() if (fixed := list(m.fixed_metrics))},
        "truth": bool(known & {*SOURCES, "boxes"}),
        "n": len(ids),
    }
    header |= {name: list(rows) for name, rows in (("beside", beside), ("compared", compared)) if rows}
    if "boxes" in known and not known & {*SOURCES}:
        header["boxes"] = True
    if chosen.several:
        header["several"] = chosen.as_dict()
    models = [method.identity() for method in methods.values()]
    identity = hashlib.sha256(json.dumps([header, models, cases if chosen.several else ids]).encode()).hexdigest()
    partial = Journal(folder / "clips.partial.jsonl", identity)
    pictured = Collection(Journal(folder / "report.partial.jsonl", identity), report_clips)
    # A batch is measured as a whole: in other company, the numbers of a clip differ in their last digits.
    batches = chosen.batches(batch_size, dict(zip(ids, seconds_of(dataset), strict=True)), batch_seconds)
    rows = processes.of_main(lambda: _resume(partial, header, batches))
    done = {_case(row, cases) for row in rows}
    pictured.resume(clip for clip, _ in done)
    waiting = [members for members in batches if members[0] not in done]
    if done:
        logger.info("evaluation: %d of %d explanations were measured before", len(done), len(cases))
    for interpreter in methods.values():
        interpreter.show_progress(progress).to(device).eval()
    spent = {name: Spent() for name in header["methods"]}
    index = {clip: position for position, clip in enumerate(ids)}
    silent = None if progress else True  # None: on anything but a terminal
    with tqdm(total=len(cases), initial=len(done), desc="evaluating", unit="clip", disable=silent) as bar:
        # In each round every process measures a batch, as long as there are any.
        for start in range(0, len(waiting), processes.count()):
            around, new = waiting[start : start + processes.count()], Measured()
            for members in around[processes.rank() :][:1]:
                batch = PaddedBatch([dataset[index[clip]] for clip, _ in members])
                new = _measure(
                    classifier, methods, companions, batch, members, chosen, places, device, spent, pictured, beside,
                    transfer_to,
                )  # fmt: skip
            for measured in processes.gathered(new):
                pictured.add(measured.clips)  # first: what counts as measured has its picture
                if processes.is_main():
                    partial.append(measured.rows)
                rows += measured.rows
            bar.update(sum(map(len, around)))
    for notes in processes.gathered(classifier.notes):
        classifier.add_notes(*notes)
    of_processes = processes.gathered(spent)
    if not processes.is_main():
        return None
    spent = {name: sum((one[name] for one in of_processes), Spent()) for name in spent}
    done = _finish(folder, header, rows, cases, classifier.labels, spent, sum(map(len, waiting)))
    if report_clips:
        data = (provenance.get("data") or {}).get("name")
        title = f"{methods[first].title} on {data}" if data else methods[first].title
        page = write_report(folder / PAGE, pictured.clips(ids), title, None, done.summary, rows, len(ids))
        done = replace(done, page=page)
    else:
        (folder / PAGE).unlink(missing_ok=True)  # of an earlier evaluation
    for journal in (pictured.journal, partial):
        journal.remove()
    return done


@dataclass
class Spent:
    """What explaining clips took: seconds, and sounds that the classifier was asked about beside the clips."""

    seconds: float = 0.0
    calls: int = 0

    def add(self, seconds: float, calls: int) -> None:
        """Add what a batch took."""
        self.seconds += seconds
        self.calls += calls

    def __add__(self, other: "Spent") -> "Spent":
        """Return both together."""
        return Spent(self.seconds + other.seconds, self.calls + other.calls)


@dataclass
class Measured:
    """What was measured in one batch: a row for each method, place and clip, and what a page shows of which clips."""

    rows: list[dict] = field(default_factory=list)
    clips: list[tuple[str, Clip]] = field(default_factory=list)


def _measure(
    classifier: Classifier,
    methods: dict[str, Interpreter],
    companions: dict[str, MatchedBaseline],
    batch: PaddedBatch,
    members: list[Case],
    chosen: Cases,
    places: tuple[str, ...],
    device: str,
    spent: dict[str, Spent],
    pictured: Collection,
    beside: Sequence[str],
    transfer_to: Classifier | None = None,
) -> Measured:
    """Measure one batch of clips: a row for each method, place and clip, of the class that is explained."""
    wavs, lengths = batch.signal.data.to(device).float(), batch.signal.lengths.to(device)
    named = [label for _, label in members if label is not None]
    target = [classifier.label_index(label) for label in named] or None
    analysed = classifier.analyse(wavs, lengths, target)
    explained = [classifier.labels[int(index)] for index in analysed.target]
    sources = explained if classifier.question is None else _answers(classifier.question, batch)
    truth = known_truth(classifier.frontend, batch, wavs, analysed.spectrogram, sources)
    opinion = None if transfer_to is None else SecondOpinion.of(transfer_to, classifier, analysed)
    first = next(iter(methods))
    asked = classifier.base  # which is heard to say its own classes, where the explained one is none of them
    output = analysed.output if asked is classifier else asked.classify_sound(analysed.clips)
    predicted = [asked.labels[int(index)] for index in output.predicted]
    judged = [_judged(batch, position, chosen, label) for position, label in enumerate(predicted)]
    shown = pictured.chosen(zip(batch.id, (each.correct for each in judged), strict=True))
    rows: list[dict] = []
    clips: list[tuple[str, Clip]] = []

    def add(
        row_name: str,
        mask: Tensor,
        apply: str,
        scores: dict[str, Tensor],
        undefined: Tensor | None,
        explanation: Explanation | None = None,
    ) -> None:
        suite = MetricSuite(classifier, apply)
        bins = None if truth is None else truth.bins
        known = {} if explanation is None else {"pair": explanation.pair, "masked": {"waveform": explanation.heard}}
        measured = suite(analysed, mask, places, truth=bins, undefined=undefined, **known)
        carried = {} if opinion is None else opinion.measure(mask, apply, places, undefined)
        for place, values in measured.items():
            values |= carried.get(place, {})
            if truth is not None:
                values |= {name: values[name].masked_fill(~truth.known, math.nan) for name in LOCALISATION}
            taken = scores.keys() & {*values, *ROW_KEYS}
            if taken:
                raise ValueError(f"{row_name} gives scores named {', '.join(sorted(taken))}: these names are taken")
            for position, name in enumerate(batch.id):
                true, predicted = judged[position].true, judged[position].predicted
                keys = (name, row_name, place, apply, true, predicted, explained[position])
                row = dict(zip(ROW_KEYS, keys, strict=True)) | clip_values(values | scores, position)
                rows.append(without_negative_zeros(row))

    def picture(row_name: str, maker: Interpreter, interpretation: Interpretation) -> Explanation | None:
        """Keep what the page shows of a row, if it shows it; return the explanation that this takes."""
        if not shown or row_name not in (first, *beside):
            return None
        explanation = maker.explanation_of(analysed, interpretation, [Origin(label=name) for name in batch.id])
        for position, name in enumerate(batch.id):
            if name in shown:
                true, correct = labels_at(batch, position), judged[position].correct
                clip = Clip.of(explanation, position, name, true, correct)
                clips.append((name, clip if row_name == first else replace(clip, method=row_name)))
        return explanation

    for row_name, interpreter in methods.items():
        with _clock(spent[row_name], device, classifier):
            interpretation = interpreter.interpret(analysed)
        apply, undefined = interpreter.settings.apply, interpretation.undefined
        explanation = picture(row_name, interpreter, interpretation)
        add(row_name, interpretation.mask, apply, interpretation.scores, undefined, explanation)
        if row_name != first:
            continue
        for companion_name, companion in companions.items():
            with _clock(spent[companion_name], device, classifier):
                mask = companion(analysed.spectrogram, interpretation.mask)
            # Without a mask there is no area to match.
            explanation = picture(companion_name, interpreter, Interpretation(mask, undefined=undefined))
            add(companion_name, mask, apply, {}, undefined, explanation)
        if chosen.share_clips:
            other = of_another_label(batch.id).to(device)
            absent = other == torch.arange(len(other), device=device)
            absent = absent if undefined is None else absent | undefined[other]
            add(ANOTHER_LABEL, interpretation.mask[other], apply, {}, absent)
    return Measured(rows, clips)


def _answers(question: Question, batch: PaddedBatch) -> list[str]:
    """Return the one label of each clip that a question is about, whose source it should find; "" if there is none."""
    fitting = [[x for x in labels_at(batch, k) if x in question.answers] for k in range(len(batch.id))]
    return [labels[0] if len(labels) == 1 else "" for labels in fitting]


@dataclass(frozen=True)
class _Judged:
    """The labels of a clip, what is heard in it, and whether the two are the same: one label each, or lists."""

    true: str | list[str]
    predicted: str | list[str]

    @property
    def correct(self) -> bool:
        if isinstance(self.true, str):
            return self.true == self.predicted
        return {*self.true} == {*self.predicted}


def _judged(batch: PaddedBatch, position: int, chosen: Cases, predicted: str) -> _Judged:
    true, several = labels_at(batch, position), chosen.heard.get(batch.id[position])
    return _Judged(*true, predicted) if several is None else _Judged(true, several)


@contextmanager
def _clock(spent: Spent, device: str, classifier: Classifier) -> Iterator[None]:
    """Add the time that the block takes, and how often it asks the classifier, to what was spent."""
    _wait(device)
    began = time.perf_counter()
    with counted(classifier) as calls:
        yield
    _wait(device)
    spent.add(time.perf_counter() - began, calls.count)


def _wait(device: str) -> None:
    """Wait for a GPU to finish, so that the clock can be read."""
    if torch.device(device).type == "cuda":
        torch.cuda.synchronize(device)


def _case(row: dict, cases: list[Case]) -> Case:
    """Return which of the cases a row is of; whether cases name their class is the same for all."""
    return row["clip"], None if cases[0][1] is None else row["explained"]


def _finish(
    folder: Path,
    header: dict,
    rows: list[dict],
    cases: list[Case],
    labels: list[str],
    spent: dict[str, Spent],
    n_timed: int,
) -> Evaluation:
    order = {case: place for place, case in enumerate(cases)}
    method_order = {name: place for place, name in enumerate(header["methods"])}
    rows.sort(key=lambda row: (method_order[row["method"]], row["place"], order[_case(row, cases)]))
    # Whether a clip's one label is heard; of several there is no such question.
    correct = {row["clip"]: row["true"] == row["predicted"] for row in rows if isinstance(row["true"], str)}
    summary = {
        "provenance": header["provenance"],
        "n": header["n"],
        "companions": header["companions"],
        "notes": header["notes"],
        "accuracy": sum(correct.values()) / len(correct) if correct else None,
        "seconds_per_clip": {name: total.seconds / n_timed if n_timed else None for name, total in spent.items()},
        "calls_per_clip": {name: total.calls / n_timed if n_timed else None for name, total in spent.items()},
        "places": {},
        "paired": {},
    }
    if "compared" in header:
        summary["compared"] = header["compared"]
    if "several" in header:
        summary |= {"several": header["several"], "classes": {}}
    for place in header["places"]:
        here = [row for row in rows if row["place"] == place]
        summary["places"][place] = _means(here, header, header["methods"])
        summary["paired"][place] = _paired(rows, header, place)
        if "several" in header:
            shown = header["methods"][: 1 + len(header["companions"])]
            of = {label: [row for row in here if row["explained"] == label] for label in labels}
            summary["classes"][place] = {label: _means(those, header, shown) for label, those in of.items() if those}
    if header.get("boxes"):
        summary["truth"] = "boxes"
    summary = without_negative_zeros(summary)
    table = evaluation_document(summary)
    lines = [json.dumps({**row, **_row_provenance(header, row["method"])}) + "\n" for row in rows]
    texts = ("".join(lines), json_text(summary), table)
    write_together({folder / name: text for name, text in zip(RESULTS, texts, strict=True)})
    return Evaluation(folder, summary, table)


def _means(rows: list[dict], header: dict, methods: list[str]) -> dict[str, dict]:
    """Return the means of each of these methods over the rows of one place, with intervals over clips."""
    results, seed = {}, header["provenance"].get("seed", 0)
    for name in methods:
        measured = [row for row in rows if row["method"] == name]
        results[name] = summarise_clips(measured, seed=seed, names=_names(header, measured), by_clip=True)
        if name in header["fixed"]:
            results[name]["fixed"] = header["fixed"][name]
    return results


def _names(header: dict, rows: list[dict]) -> list[str]:
    """Return the metrics that rows of one method have, and its own scores."""
    metrics = [*METRICS, *(LOCALISATION if header["truth"] else ())]
    return metrics + [key for key in rows[0] if key not in (*ROW_KEYS, *DIAGNOSTICS, *METRICS, *LOCALISATION)]


def _paired(rows: list[dict], header: dict, place: str) -> dict[str, dict]:
    """Return, for the first method against each other one, the mean difference of each metric over the same clips.

    A score that only one of the two has is left out, and so is a metric that the settings of one of them decide.
    """
    first, *others = header["methods"]
    seed = header["provenance"].get("seed", 0)
    of = {method: [row for row in rows if row["method"] == method] for method in header["methods"]}
    fixed = header["fixed"]
    names = {m: [name for name in _names(header, of[m]) if name not in fixed.get(m, ())] for m in of}

    def column(method: str, name: str) -> list:
        return [row[name] for row in of[method] if row["place"] == place and not row["silent"]]

    def values(method: str, name: str) -> np.ndarray:
        return np.array(column(method, name), dtype=float)

    clips = column(first, "clip")
    return {
        f"{first} - {other}": {
            name: paired_difference(values(first, name), values(other, name), seed=seed, clips=clips).as_dict()
            for name in names[first]
            if name in names[other]
        }
        for other in others
    }


def _notes(interpreter: Interpreter) -> list[str]:
    """Return what a reader of a method's row has to know."""
    fixed = [metric_info(name).label for name in interpreter.fixed_metrics]
    if not fixed:
        return list(interpreter.notes)
    verb, them = ("is", "it") if len(fixed) == 1 else ("are", "them")
    note = f"{', '.join(fixed)} {verb} decided by its settings, whatever it explains: do not rank it by {them}"
    return [*interpreter.notes, note]


def _row_provenance(header: dict, method: str) -> dict:
    """Return the origin that a line of ``clips.jsonl`` carries, so that it can be read without the summary."""
    provenance = header["provenance"]
    data, split = provenance.get("data", {}), provenance.get("split", "test")
    return {
        **{
            key: provenance[key]
            for key in ("commit", "seed", "classifier", "split", "suite", "transfer_to")
            if key in provenance
        },
        "data": data.get("name"),
        f"{split}_folds": data.get("folds", {}).get(split),
        "settings": header["settings"][method],
        "n": header["n"],
    }


def _resume(partial: Journal, header: dict, batches: list[list[Case]]) -> list[dict]:
    """Return the rows of the batches that were measured whole by an interrupted evaluation; put its file in order.

    A line that is cut off, damaged, or of another evaluation does not count: its batch is measured again.
    """
    known = {(_case(row, batches[0]), row["method"], row["place"]): row for row in partial.read()}
    rows = []
    for members in batches:
        keys = [(case, method, place) for case in members for method in header["methods"] for place in header["places"]]
        if known.keys() >= set(keys):
            rows += [known[key] for key in keys]
    partial.write(rows)
    return rows
