"""Choose the method that explains without training: what is heard of it, on the validation clips of classifiers.

    python tools/choose_default.py RUN=DATA_FOLDER [RUN=DATA_FOLDER ...] --out FOLDER [--answers_only] [--clips N]

RUN is the output folder of a ``train_classifier.py``, DATA_FOLDER where its data are. Every candidate explains every
clip of the run's validation split, the clips that chose the classifier's epoch (``--clips``: so many of them, evenly
spaced); the test split is not touched. All is measured on the masked sound, analysed again: what is heard. A run
that was measured is not measured again. ``--answers_only`` chooses what explains models that let no gradient through:
among methods that ask for answers only, each with its own budget of calls, and NMF.

The criterion: a candidate has to keep at most a quarter of the bins, to sound at most 12 dB quieter than the clip, and
to lose no more of the class's probability (AD) than the loudest bins of the same area do, on average over the clips of
every data set. Of those the one with the highest Fid-In is chosen, as the mean over the data sets, rounded to two
decimals; of equals that with the lowest AD.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import mean
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from interpretability.classifiers.base import AnalysedBatch, Classifier
from interpretability.classifiers.calls import counted
from interpretability.classifiers.folder import load_classifier
from interpretability.command_line import guarded
from interpretability.data.batches import make_datasets
from interpretability.data.inputs import Origin, Sounds
from interpretability.data.manifest import PreparedData
from interpretability.errors import UserError
from interpretability.explaining import OWN_COMPONENTS, own_dictionary
from interpretability.explanation import Interpretation
from interpretability.files import claim, write_json, write_text
from interpretability.frontend import MaskedPair
from interpretability.methods import METHODS
from interpretability.methods.attributions import GRADIENT_ALONE
from interpretability.methods.baselines import EnergyMask, RandomMask
from interpretability.methods.forms import FORMS
from interpretability.methods.gradients import Gradients
from interpretability.methods.nmf import NMF
from interpretability.methods.perturbation import Perturbation
from interpretability.metrics.suite import MetricSuite, clip_values, summarise_clips
from interpretability.reading import read_object
from interpretability.report.tables import markdown_table
from interpretability.training.provenance import commit
from interpretability.training.record import read_record

MOST_AREA, LEAST_LEVEL = 0.25, -12.0  # dB
#: Form of a gradient method -> the baseline of the same area.
SAME_AREA = {"top10": "loudest bins, 10%", "top20": "loudest bins, 20%"}
#: What is quieter is silence to a listener, dB.
SILENCE = -60.0
#: Column -> its head and decimals.
COLUMNS = {
    "fid_in": ("Fid-In ↑", 2),
    "ad": ("AD (%) ↓", 1),
    "ai": ("AI (%) ↑", 1),
    "ff": ("FF ↑", 2),
    "kept_area": ("kept area", 3),
    "level": ("level (dB)", 1),
}
#: Methods that ask for answers only.
BY_ANSWERS = {kind.NAME: kind for kind in METHODS.values() if issubclass(kind, Perturbation)}


#: What is chosen among: each attribution in each form, and NMF; with a gradient, and by answers alone.
CANDIDATES = (*(f"{attribution}, {form}" for attribution in GRADIENT_ALONE for form in FORMS), "nmf")
ANSWERS_ONLY = (*(f"{name}, {form}" for name in BY_ANSWERS for form in FORMS), "nmf")


def explain(
    classifier: Classifier, batch: AnalysedBatch, answers_only: bool = False
) -> Iterator[tuple[str, Interpretation, int]]:
    """Explain one clip with every candidate and with the baselines; also the calls that each took."""
    for name in BY_ANSWERS if answers_only else GRADIENT_ALONE:
        method = BY_ANSWERS[name](classifier) if answers_only else Gradients(classifier, attribution=name)
        with counted(classifier) as calls:
            values = method.attribute(batch)  # once for all forms
        for form in FORMS:
            yield f"{name}, {form}", Interpretation(method.masks_of(values, batch, form)), calls.count
    dictionary = own_dictionary(classifier, Sounds(batch.clips.wavs, None, (Origin(),)), OWN_COMPONENTS)
    with counted(classifier) as calls:
        interpretation = NMF(classifier, dictionary).interpret(batch)
    yield "nmf", interpretation, calls.count
    for area in (0.1, 0.2):
        yield f"loudest bins, {area:.0%}", EnergyMask(classifier, area=area).interpret(batch), 0
        yield f"random bins, {area:.0%}", RandomMask(classifier, area=area).interpret(batch), 0


def level_of(pair: MaskedPair) -> Tensor:
    """Return how loud what is kept is, relative to the clip, in dB; one clip, [1]."""
    kept, whole = (wavs.double().square().mean(1) for wavs in (pair.listenable, pair.whole.wavs))
    return (10 * torch.log10(kept / whole)).clamp(min=SILENCE)


def measure(
    run: Path, data_folder: Path, progress: bool = True, answers_only: bool = False, n_clips: int | None = None
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Measure all candidates on validation clips of a classifier's run: ``n_clips`` of them, evenly spaced, or all.

    Returns
    -------
    result : dict
        ``data``, ``classifier``, ``accuracy``, ``n`` and what else results record, and ``methods``: name -> summary.
    rows : list of dict
        Of every clip and method.

    Raises
    ------
    UserError
        If the folders do not hold what they should.
    """
    record, classifier = read_record(run), load_classifier(run / "classifier")
    data = PreparedData({"valid": run / "manifests" / "valid.json"}, data_folder, classifier.labels, record["data"])
    clips = make_datasets(
        data,
        classifier.labels,
        classifier.frontend.settings.sample_rate,
        clip_seconds=record.get("clip_seconds"),
        fixed_length=bool(record.get("fixed_length")),
        splits=("valid",),
        resampling=classifier.frontend.settings.resampling,
        channel=record.get("channel", "mean"),
    )["valid"]
    suite, rows, correct = MetricSuite(classifier), {}, 0
    count = min(n_clips or len(clips), len(clips))
    clips = [clips[len(clips) * number // count] for number in range(count)]
    for clip in tqdm(clips, desc=f"measuring on {record['data']['name']}", unit="clip", disable=not progress or None):
        with torch.no_grad():
            batch = classifier.analyse(clip["signal"][None])
            correct += classifier.labels[int(batch.output.predicted[0])] == clip["label"]
            for name, interpretation, calls in explain(classifier, batch, answers_only):
                pair = MaskedPair.of(batch.clips, interpretation.mask)
                values = suite(batch, interpretation.mask, ("waveform",), pair=pair)["waveform"]
                counts = {"calls": torch.tensor([calls])} if answers_only else {}
                row = clip_values({**values, "level": level_of(pair), **counts}, 0)
                rows.setdefault(name, []).append({"clip": clip["id"], **row})
    result = {
        "data": record["data"],
        "split": "valid",
        "classifier": classifier.description.get("sha256"),
        "seed": record["seed"],
        "commit": commit(),
        "accuracy": correct / len(clips),
        "n": len(clips),
        "asked": n_clips,
        "methods": {name: summarise_clips(some, names=_columns(answers_only)) for name, some in rows.items()},
    }
    return result, [{"method": name, **row} for name, some in rows.items() for row in some]


def _columns(answers_only: bool) -> dict[str, tuple[str, int]]:
    return COLUMNS | ({"calls": ("calls", 0)} if answers_only else {})


def choose(results: Sequence[dict[str, Any]], answers_only: bool = False) -> str | None:
    """Return the candidate that the criterion chooses; None if there is none."""

    def means(name: str, metric: str) -> list[float]:
        return [result["methods"][name][metric]["mean"] for result in results]

    def fits(name: str) -> bool:
        if max(means(name, "kept_area")) > MOST_AREA or min(means(name, "level")) < LEAST_LEVEL:
            return False
        baseline = SAME_AREA.get(name.rpartition(", ")[2])
        pairs = [] if baseline is None else zip(means(name, "ad"), means(baseline, "ad"), strict=True)
        return all(lost <= lost_by_baseline for lost, lost_by_baseline in pairs)

    def order(name: str) -> tuple[float, float]:
        return -round(mean(means(name, "fid_in")), 2), mean(means(name, "ad"))

    return min(filter(fits, ANSWERS_ONLY if answers_only else CANDIDATES), key=order, default=None)


def document(results: Sequence[dict[str, Any]], answers_only: bool = False) -> str:
    """Return the results as Markdown."""
    parts, columns = [], _columns(answers_only)
    for result in results:
        folds = result["data"].get("folds", {}).get("valid")
        where = f"{result['data']['name']}, validation {'split' if folds is None else f'fold {folds[0]}'}"
        rows = [
            [name, *(_cell(summary[metric], decimals) for metric, (_, decimals) in columns.items())]
            for name, summary in result["methods"].items()
        ]
        parts.append(
            f"{where}; n: {result['n']}; seed: {result['seed']}; classifier: {result['classifier'][:12]}; its "
            f"accuracy on these clips: {result['accuracy']:.3f}; commit: {result['commit'][:12]}. Means over "
            "clips with 95 % bootstrap intervals, as heard.\n"
        )
        parts.append(markdown_table(["method", *(head for head, _ in columns.values())], rows) + "\n")
    parts.append(f"Chosen: **{choose(results, answers_only) or 'none, as none meets the criterion'}**.\n")
    return "\n".join(parts)


def _cell(value: dict[str, Any], decimals: int) -> str:
    if value["mean"] is None:
        return "–"
    middle, low, high = (f"{value[key] + 0.0:.{decimals}f}" for key in ("mean", "low", "high"))
    return f"{middle} [{low}, {high}]"


def run_all(pairs: Sequence[str], out: Path, answers_only: bool = False, n_clips: int | None = None) -> None:
    """Measure what was not measured yet, write the tables and print them."""
    results = []
    out.mkdir(parents=True, exist_ok=True)
    claim(out, ["table.md"])
    for pair in pairs:
        run, equals, data_folder = pair.rpartition("=")
        if not equals or not run or not data_folder:
            raise UserError(f"got {pair!r}, expected RUN=DATA_FOLDER")
        folder = Path(run).expanduser()
        path = out / f"{folder.absolute().name}{'.answers_only' * answers_only}.json"
        if not path.is_file():
            place = Path(data_folder).expanduser().absolute()
            result, rows = measure(folder, place, answers_only=answers_only, n_clips=n_clips)
            write_text(path.with_suffix(".clips.jsonl"), "".join(f"{json.dumps(row)}\n" for row in rows))
            write_json(path, result)
        results.append(read_object(path))
        if results[-1].get("classifier") != load_classifier(folder / "classifier").description.get("sha256"):
            raise UserError(
                f"{path} was measured on another classifier than {folder} holds: delete it to measure again"
            )
        if "asked" not in results[-1] or results[-1]["asked"] != n_clips:
            raise UserError(f"{path} was measured with another --clips: delete it to measure again")
    text = document(results, answers_only)
    write_text(out / "table.md", text)
    print(text)


def main(arguments: list[str] | None = None) -> int:
    """Command line; the exit status."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", metavar="RUN=DATA_FOLDER")
    parser.add_argument("--out", type=Path, required=True, help="folder for the results")
    parser.add_argument("--answers_only", action="store_true", help="choose among methods that need no gradient")
    parser.add_argument("--clips", type=int, help="so many validation clips of each run, evenly spaced (default: all)")
    options = parser.parse_args(arguments)
    if options.clips is not None and options.clips < 1:
        parser.error(f"argument --clips: got {options.clips}, expected at least 1")
    return guarded(lambda: run_all(options.runs, options.out, options.answers_only, options.clips))


if __name__ == "__main__":
    sys.exit(main())
