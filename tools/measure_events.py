"""Measure events where the source of each class is known alone: are the boxes where it is, and what are they worth?

    python tools/measure_events.py CLASSIFIER_RUN [NAME=INTERPRETER_RUN ...] --out FOLDER
    python tools/measure_events.py CLASSIFIER_RUN [NAME=INTERPRETER_RUN ...] --out FOLDER --choose

CLASSIFIER_RUN is the output folder of a ``train_classifier.py`` on Synthetic, INTERPRETER_RUN that of a method that was
trained for this classifier. Beside these, methods that need no training explain (``--methods``), NMF with components of
the clip itself, and the loudest and random bins do as if they did. Each test clip is explained: its most probable
class, or each class that is heard where clips have several labels. What is measured: docs/protocol.md.

With ``--choose`` the settings of events are chosen instead, on the validation split: from START, each setting takes the
value of GRID with the highest mean of box IoU and time IoU over all methods and the loudest bins, if it is better by
more than LEAST_GAIN, again and again until none is. The effect is not asked for there.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from interpretability.classifiers.base import AnalysedBatch, Classifier
from interpretability.classifiers.folder import load_classifier
from interpretability.command_line import guarded
from interpretability.data.inputs import Origin, Sounds
from interpretability.errors import UserError
from interpretability.events import EventSettings, find_regions, measured_events
from interpretability.explaining import OWN_COMPONENTS, own_dictionary, untrained_method
from interpretability.explanation import Interpretation
from interpretability.files import claim, json_text, write_json, write_text, write_together
from interpretability.frontend import FrontendSettings, MaskedPair
from interpretability.methods import Interpreter, load_interpreter
from interpretability.methods.attributions import ATTRIBUTIONS, GRADIENT_ALONE
from interpretability.methods.baselines import EnergyMask, RandomMask
from interpretability.methods.nmf import NMF
from interpretability.metrics.localisation import box_mask
from interpretability.metrics.regions import Bounds, box_iou, frame_f1, time_iou
from interpretability.metrics.statistics import Interval, paired_difference, summarise
from interpretability.names import named
from interpretability.probabilities import class_probability
from interpretability.report.tables import markdown_table
from interpretability.report.words import locate
from interpretability.training.provenance import commit
from interpretability.training.run_data import RunData, read_run_data

#: Share of a source's energy that its true interval, and its true band, hold.
TRUE_SHARE = 0.99
#: Rows that every method is compared with, and those that explain nothing.
REFERENCE, ENERGY, RANDOM = "integrated gradients, top 10 %", "loudest bins, 10 %", "random bins, 10 %"
TRUTH = "the true box"
#: Value of a clip -> its head and decimals.
COLUMNS = {
    "box_iou": ("box IoU ↑", 3),
    "time_iou": ("time IoU ↑", 3),
    "frame_f1": ("frame F1 ↑", 3),
    "effect": ("effect ↑", 3),
    "area": ("area of the boxes", 3),
    "n_events": ("events", 2),
    "first_box_iou": ("first event: box IoU ↑", 3),
    "first_time_iou": ("time IoU ↑", 3),
}
COMPARED = ("box_iou", "time_iou", "frame_f1", "effect", "first_box_iou", "first_time_iou")

START = EventSettings(0.02, 160.0, held_share=0.6, gap_seconds=0.3, gap_hertz=150.0, core=0.99, least_share=0.1, most=5)
#: Not of ``most``: every clip of Synthetic has one source, and would have one event at most.
GRID: dict[str, tuple[float, ...]] = {
    "held_share": (0.5, 0.6, 0.7, 0.8),
    "smooth_seconds": (0.01, 0.02, 0.03, 0.045),
    "smooth_hertz": (120.0, 160.0, 200.0),
    "gap_seconds": (0.1, 0.2, 0.3, 0.4),
    "gap_hertz": (0.0, 150.0, 300.0),
    "core": (0.98, 0.99, 0.995, 1.0),
    "least_share": (0.05, 0.1, 0.2),
}
LEAST_GAIN = 0.002


@dataclass(frozen=True)
class Explained:
    """One clip, one of its classes, and what every method keeps of it.

    Attributes
    ----------
    clip : str
    batch : AnalysedBatch
        Of this clip alone.
    truth : Bounds or None
        Where the source of the class is; None: the clip has none of this class.
    interpretations : dict of str to Interpretation
        Row -> what the method gives.
    domains : dict of str to str
        Row -> the domain of its masks.
    """

    clip: str
    batch: AnalysedBatch
    truth: Bounds | None
    interpretations: dict[str, Interpretation]
    domains: dict[str, str]

    def kept(self, name: str) -> np.ndarray | None:
        """Return the magnitude [T, F] that a method keeps; None if it has no explanation."""
        interpretation = self.interpretations[name]
        if interpretation.undefined is not None and bool(interpretation.undefined[0]):
            return None
        return MaskedPair.of(self.batch.clips, interpretation.mask, self.domains[name]).inside[0].numpy()


def methods_of(
    classifier: Classifier, trained: Mapping[str, Interpreter], names: Sequence[str]
) -> dict[str, Interpreter]:
    """Return the methods of the table by row; NMF, which learns from each clip anew, comes on top.

    Parameters
    ----------
    classifier : Classifier
    trained : mapping of str to Interpreter
    names : sequence of str
        Of methods that need no training; those of attributions keep the top 10 %.

    Raises
    ------
    UserError
        For a method that there is not, has to be trained or cannot explain this classifier.
    """
    methods = {row_of(name): untrained_method(classifier, name, {}) for name in names}
    return {**trained, **methods, ENERGY: EnergyMask(classifier, area=0.1), RANDOM: RandomMask(classifier, area=0.1)}


def row_of(method: str) -> str:
    """Return what the table calls a method that needs no training."""
    return f"{method.replace('_', ' ')}, top 10 %" if method in ATTRIBUTIONS else method.replace("_", " ")


def explain_all(
    classifier: Classifier, methods: Mapping[str, Interpreter], clips: Iterable[Mapping[str, Any]]
) -> Iterator[Explained]:
    """Explain every clip with every method, each of its classes by itself.

    Parameters
    ----------
    classifier : Classifier
    methods : mapping of str to Interpreter
        Row -> method; NMF with components of the clip itself comes on top.
    clips : iterable of mappings
        With ``id``, ``signal`` [N], and the source alone: ``target_signal`` [N], or ``target_signals``, label -> [N].
    """
    for clip in clips:
        with torch.no_grad():
            batch = classifier.analyse(clip["signal"][None])
            heard = batch.target.tolist()
            if classifier.task == "multi":
                heard = classifier.active(batch.output.logits)[0].nonzero()[:, 0].tolist()
            gain, frontend = classifier.frontend.clips(clip["signal"][None]).gain, classifier.frontend
            dictionary = own_dictionary(classifier, Sounds(batch.clips.wavs, None, (Origin(),)), OWN_COMPONENTS)
            every = {**methods, "NMF, components of the clip": NMF(classifier, dictionary)}
            for target in heard:
                explained = replace(batch, target=torch.tensor([target]))
                source = clip.get("target_signal")
                if "target_signals" in clip:
                    source = clip["target_signals"].get(classifier.labels[target])
                truth = None
                if source is not None:
                    truth = true_box(frontend.analyse(source[None] / gain).magnitude[0].numpy(), frontend.settings)
                masks = {name: method.interpret(explained) for name, method in every.items()}
                domains = {name: method.settings.apply for name, method in every.items()}
                yield Explained(clip["id"], explained, truth, masks, domains)


def true_box(magnitude: np.ndarray, frontend: FrontendSettings) -> Bounds | None:
    """Return the shortest interval and the narrowest band that each hold 99 % of the energy of a source [T, F]."""
    hop = frontend.hop_length / frontend.sample_rate
    region = locate(magnitude, hop, frontend.sample_rate / frontend.n_fft, (len(magnitude) - 1) * hop, TRUE_SHARE)
    return None if region is None else (region.start, region.stop, region.low, region.high)


def events_of(kept: np.ndarray, frontend: FrontendSettings, settings: EventSettings) -> list[Bounds]:
    """Return the boxes of what a mask keeps [T, F]."""
    seconds = (len(kept) - 1) * frontend.hop_length / frontend.sample_rate
    bounds = [region.bounds(frontend, seconds) for region in find_regions(kept, frontend, settings)]
    return [(box["start"], box["end"], box["low"], box["high"]) for box in bounds]


def axes_of(kept: np.ndarray, frontend: FrontendSettings) -> tuple[Tensor, Tensor]:
    """Return the centres of frames, in s, and of bins, in Hz."""
    times, bins = (torch.arange(n, dtype=torch.float64) for n in kept.shape)
    return times * frontend.hop_length / frontend.sample_rate, bins * frontend.sample_rate / frontend.n_fft


@torch.no_grad()
def measure(classifier: Classifier, explained: Explained, settings: EventSettings) -> list[dict[str, Any]]:
    """Measure the events of one clip and class: a row for each method, and one for the true box."""
    frontend, batch = classifier.frontend.settings, explained.batch
    kept = {name: explained.kept(name) for name in explained.interpretations}
    regions = [[] if part is None else find_regions(part, frontend, settings) for part in kept.values()]
    # As :meth:`.Explanation.events` does, of all methods at once; where R is 0 or 1, both domains are the same.
    lists = measured_events(classifier, classifier.labels, batch[[0] * len(kept)], "log", regions)
    boxes = {
        name: None if kept[name] is None else [(event.start, event.end, event.low, event.high) for event in events]
        for name, events in zip(kept, lists, strict=True)
    }
    boxes[TRUTH] = None if explained.truth is None else [explained.truth]
    times, hertz = axes_of(batch.spectrogram.magnitude[0], frontend)
    held = [
        box_mask([dict(zip(("start", "end", "low", "high"), box, strict=True)) for box in part or []], times, hertz)
        for part in boxes.values()
    ]
    masks, same = torch.stack(held).float(), [0] * len(boxes)
    heard = classifier.classify_pair(MaskedPair.of(batch.clips[same], masks), "waveform")
    whole = class_probability(batch.output.logits, batch.target, classifier.task).p
    without = class_probability(heard.outside, batch.target[same], classifier.task).p
    rows = []
    for (name, part), mask, left in zip(boxes.items(), masks, without.tolist(), strict=True):
        row: dict[str, Any] = {"clip": explained.clip, "method": name, "class": classifier.labels[int(batch.target)]}
        row |= dict.fromkeys(COLUMNS)
        if part is not None:
            row |= {"effect": float(whole) - left, "area": float(mask.mean()), "n_events": float(len(part))}
            if explained.truth is not None:
                values = fits(part, explained.truth, times.numpy())
                row |= {key: None if math.isnan(value) else value for key, value in values.items()}
        rows.append(row)
    return rows


def fits(boxes: Sequence[Bounds], truth: Bounds, times: np.ndarray) -> dict[str, float]:
    """Return how well boxes fit the true one."""
    return {
        "box_iou": box_iou(boxes, [truth]),
        "time_iou": time_iou(boxes, [truth]),
        "frame_f1": frame_f1(boxes, [truth], times),
        "first_box_iou": box_iou(boxes[:1], [truth]),
        "first_time_iou": time_iou(boxes[:1], [truth]),
    }


def choose(kept: Mapping[str, Sequence[np.ndarray]], truth: Sequence[Bounds], frontend: FrontendSettings) -> dict:
    """Choose the settings of events; return them, and every trial.

    Parameters
    ----------
    kept : mapping of str to sequence of array [T, F]
        Row -> what the method keeps of each clip.
    truth : sequence of Bounds
        Of each clip.
    frontend : FrontendSettings
    """
    trials = []

    def score(settings: EventSettings) -> float:
        values = {}
        for name, clips in kept.items():
            pairs = [
                (events_of(one.astype(np.float32), frontend, settings), [box])
                for one, box in zip(clips, truth, strict=True)
            ]
            values[name] = float(np.mean([(box_iou(*pair) + time_iou(*pair)) / 2 for pair in pairs]))
        trials.append({"settings": settings.to_dict(), "mean": float(np.mean(list(values.values()))), "rows": values})
        print(f"{trials[-1]['mean']:.4f}", trials[-1]["settings"], flush=True)
        return trials[-1]["mean"]

    best, highest, improved = START, score(START), True
    while improved:
        improved = False
        for name, values in GRID.items():
            others = [replace(best, **{name: value}) for value in values if value != getattr(best, name)]
            scores = [score(settings) for settings in others]
            if max(scores) > highest + LEAST_GAIN:
                best, highest, improved = others[scores.index(max(scores))], max(scores), True
    return {"chosen": best.to_dict(), "mean": highest, "trials": trials}


def document(rows: Sequence[Mapping[str, Any]], facts: Mapping[str, Any]) -> str:
    """Return the tables as Markdown."""
    by_method: dict[str, list[Mapping[str, Any]]] = {}
    for row in rows:
        by_method.setdefault(row["method"], []).append(row)
    clips = [row["clip"] for row in by_method[TRUTH]]
    table, differences = [], []
    for name, members in by_method.items():
        means = summarise(members, COLUMNS, clips=clips)
        table.append([name, *(_cell(means[key], digits) for key, (_, digits) in COLUMNS.items())])
        for other in (REFERENCE, ENERGY):
            if name not in (other, TRUTH, RANDOM) and other in by_method:
                pairs = (
                    paired_difference([m[key] for m in members], [o[key] for o in by_method[other]], clips=clips)
                    for key in COMPARED
                )
                cells = (_cell(value, COLUMNS[key][1], "+") for key, value in zip(COMPARED, pairs, strict=True))
                differences.append([f"{name} − {other}", *cells])
    differences.sort(key=lambda line: line[0].endswith(ENERGY))
    heads = {key: head for key, (head, _) in COLUMNS.items()}
    caption = (
        f"{facts['data']}, {facts['split']} split; n: {facts['n']} explanations of {facts['clips']} clips; seed: "
        f"{facts['seed']}; classifier: {facts['classifier'][:12]}; commit: {facts['commit'][:12]}. Means over "
        "explanations with 95 % bootstrap intervals over clips; the effect as heard."
    )
    undefined = {name: sum(row["n_events"] is None for row in members) for name, members in by_method.items()}
    notes = [f"{name}: {n} without an explanation or a source." for name, n in undefined.items() if n]
    tables = (
        markdown_table(["boxes of", *heads.values()], table),
        markdown_table(["difference, paired", *(heads[key] for key in COMPARED)], differences),
    )
    return "\n\n".join([caption, *tables, *notes]) + "\n"


def _cell(value: Interval, digits: int, sign: str = "") -> str:
    if value.mean is None:
        return "–"
    middle, low, high = (f"{number + 0.0:{sign}.{digits}f}" for number in (value.mean, value.low, value.high))
    return f"{middle} [{low}, {high}]"


def clips_of(run: RunData, classifier: Classifier, split: str, most: int | None) -> Any:
    """Return the clips of a split, with the sources alone."""
    if not run.prepared.has_targets(split):
        raise UserError(
            f"{run.folder}: its clips come without the sound of each source alone, expected a classifier's run on "
            "Synthetic: nothing is known of where the classes are"
        )
    dataset = run.dataset(split, classifier, with_targets=True)
    return dataset if most is None else dataset.filtered_sorted(select_n=most)


def same_weights(first: Classifier, other: Classifier) -> bool:
    """Return whether two classifiers are the same one."""
    weights, others = first.state_dict(), other.state_dict()
    return weights.keys() == others.keys() and all(torch.equal(weights[name], others[name]) for name in weights)


def run_all(options: argparse.Namespace) -> None:
    """Measure, or choose; write the results and print them."""
    run = read_run_data(options.run, options.data_folder)
    classifier = load_classifier(run.folder)
    trained = {}
    for pair in options.interpreters:
        name, folder = named(pair)
        if not name or not folder:
            raise UserError(f"got {pair!r}, expected NAME=INTERPRETER_RUN")
        trained[name] = load_interpreter(folder)
        if not same_weights(trained[name].classifier, classifier):
            raise UserError(
                f"{folder} explains another classifier than {run.folder} holds: name the run of the classifier that it "
                "was trained for"
            )
    split = "valid" if options.choose else options.split
    clips, methods = clips_of(run, classifier, split, options.clips), methods_of(classifier, trained, options.methods)
    options.out.mkdir(parents=True, exist_ok=True)
    claim(options.out, ["choice.json"] if options.choose else ["clips.jsonl", "summary.json", "table.md"])
    explained = explain_all(classifier, methods, tqdm(clips, desc="explaining", unit="clip", disable=None))
    facts = {
        "data": run.record["data"]["name"],
        "split": split,
        "clips": len(clips),
        "seed": run.record["seed"],
        "classifier": classifier.description["sha256"],
        "interpreters": {name: one.description.get("sha256") for name, one in trained.items()},
        "commit": commit(),
    }
    if options.choose:
        kept: dict[str, list[np.ndarray]] = {}
        truth = []
        for one in explained:
            parts = {name: one.kept(name) for name in one.interpretations if name != RANDOM}
            if one.truth is not None and all(part is not None for part in parts.values()):
                truth.append(one.truth)
                for name, part in parts.items():
                    kept.setdefault(name, []).append(part.astype(np.float16))
        result = choose(kept, truth, classifier.frontend.settings)
        write_json(options.out / "choice.json", {**facts, "n": len(truth), **result})
        print(f"chosen on {len(truth)} explanations: {result['chosen']}")
        return
    rows = [row for one in explained for row in measure(classifier, one, EventSettings())]
    facts |= {"n": sum(row["method"] == TRUTH for row in rows), "event_settings": EventSettings().to_dict()}
    text = document(rows, facts)
    lines = "".join(f"{json.dumps(row)}\n" for row in rows)
    write_together({options.out / "clips.jsonl": lines, options.out / "summary.json": json_text(facts)})
    write_text(options.out / "table.md", text)
    print(text)


def main(arguments: list[str] | None = None) -> int:
    """Command line; the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, metavar="CLASSIFIER_RUN")
    parser.add_argument("interpreters", nargs="*", metavar="NAME=INTERPRETER_RUN")
    parser.add_argument("--out", type=Path, required=True, help="folder for the results")
    parser.add_argument("--data_folder", type=Path, help="where the data are now; where the run had them if not given")
    parser.add_argument("--choose", action="store_true", help="choose the settings of events on the validation split")
    parser.add_argument("--split", default="test", help="whose clips are measured: test, if not given")
    parser.add_argument("--clips", type=int, help="so many clips of the split, the first ones; all if not given")
    parser.add_argument(
        "--methods",
        nargs="+",
        default=list(GRADIENT_ALONE),
        metavar="NAME",
        help=f"methods without training that are measured, too (default: {' '.join(GRADIENT_ALONE)})",
    )
    options = parser.parse_args(arguments)
    return guarded(lambda: run_all(options))


if __name__ == "__main__":
    sys.exit(main())
