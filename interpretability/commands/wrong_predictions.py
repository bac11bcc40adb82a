"""What ``tools/wrong_predictions.py`` does: explain the clips of a run that are heard as another class."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from speechbrain.dataio.dataset import DynamicItemDataset
from tqdm import tqdm

from interpretability.classifiers import Classifier, load_classifier
from interpretability.classifiers.check import check_classifier
from interpretability.command_line import check_device
from interpretability.commands.models import parse_settings
from interpretability.commands.wrong_labels import Places, wrong_labels
from interpretability.data.audio import write_wav
from interpretability.data.inputs import Origin, Sounds
from interpretability.errors import UserError
from interpretability.explaining import default_method, interpreter_for, method_class
from interpretability.explanation import Explanation
from interpretability.files import atomic_folder, check_replaceable, claim, write_json, write_together
from interpretability.methods import Interpreter, is_interpreter_folder, load_interpreter
from interpretability.names import printable, safe_name
from interpretability.predictions import PREDICTIONS, Predictions, predict, read_predictions
from interpretability.reading import read_object
from interpretability.report.classification import NUMBERS
from interpretability.report.figures import save_figure
from interpretability.report.mistakes import Mistake, Support, mistakes_csv, mistakes_page
from interpretability.report.side_by_side import View, plot_side_by_side
from interpretability.training.run_data import RunData, read_run_data
from interpretability.training.workspace import REPORT

#: In the folder of the run, where no other is named.
FOLDER = "wrong_predictions"
TABLE, PAGE, CLIP, FIGURE = "table.csv", "table.md", "clip.json", "figure.png"
#: Rows of a batch of explanations.
_PREDICTED, _TRUE = 0, 1


def wrong_predictions(arguments: argparse.Namespace) -> None:
    """Explain the wrongly classified clips of a split, the most confident first, and say where the result is.

    Raises
    ------
    UserError
        For a run, a method or data that cannot be used; if the folder holds the results of another one.
    """
    if arguments.n < 1:
        raise UserError(f"--n is {arguments.n}, expected a number of clips >= 1")
    check_device(arguments.device)
    data = read_run_data(arguments.run, arguments.data_folder, arguments.trust_remote_code)
    explainer = _explainer(arguments, data.folder)
    classifier = explainer.classifier
    dataset = data.dataset(arguments.split, classifier)
    identity = {"classifier": classifier.description["sha256"], **explainer.method}

    def destination() -> Path:
        if arguments.out is None:
            claim(data.folder, [FOLDER])
        out = data.folder / FOLDER if arguments.out is None else arguments.out
        out.mkdir(parents=True, exist_ok=True)
        claim(out, [TABLE, PAGE])
        return out

    if data.prepared.task == "multi":
        predictions = predict(classifier, dataset, data.prepared.data_root, device=arguments.device)
        places = Places(destination, TABLE, PAGE)
        wrong_labels(dataset, arguments.split, predictions, explainer.make, classifier, identity, arguments.n, places)
        return
    predictions = _predictions(data, classifier, dataset, arguments)
    wrong = predictions.wrong()
    if not wrong:
        print(f"every one of the {len(predictions)} {arguments.split} clips is heard as its class: nothing to explain")
        return
    chosen, out, mistakes = wrong[: arguments.n], destination(), []
    for k in tqdm(chosen, desc="explaining", unit="clip", disable=None):
        folder = out / safe_name(predictions.ids[k])
        mistake = _finished(folder, {**identity, "clip": predictions.ids[k]})
        if mistake is None:
            item = dataset[list(dataset.data_ids).index(predictions.ids[k])]
            mistake = _explain(folder, item, predictions, k, arguments.split, explainer.make, identity)
        mistakes.append(mistake)
    title = f"{len(wrong)} of {len(predictions)} {arguments.split} clips {'is' if len(wrong) == 1 else 'are'} "
    title += "heard as another class"
    if len(chosen) < len(wrong):
        title += "; the most confident one" if len(chosen) == 1 else f"; the {len(chosen)} most confident"
    write_together({out / TABLE: mistakes_csv(mistakes), out / PAGE: mistakes_page(mistakes, title)})
    print(f"{title}:")
    for rank, mistake in enumerate(mistakes, 1):
        print(f"\n{rank}. {printable(mistake.clip)}", *mistake.sentences(), sep="\n   ")
    print(f"\nfor each clip a folder with sounds and {FIGURE}, and a table of all ({PAGE}, {TABLE}), in {out}")


@dataclass(frozen=True)
class _Explainer:
    """A ``classifier``, what makes (``make``) a method for a sound of it, and what identifies that ``method``."""

    classifier: Classifier
    make: Callable[[Sounds], Interpreter]
    method: dict[str, Any]


def _explainer(arguments: argparse.Namespace, run: Path) -> _Explainer:
    """Return the classifier of a run and the method that was asked for."""
    if arguments.interpreter is not None and is_interpreter_folder(run):
        raise UserError(f"--interpreter goes with the run of a classifier, and {run} has a method of its own")
    source = arguments.interpreter or (run if is_interpreter_folder(run) else None)
    if source is not None:
        if arguments.method or arguments.settings:
            raise UserError("--method and --settings go with the run of a classifier: a trained method has its own")
        interpreter = load_interpreter(source, arguments.trust_remote_code).to(arguments.device)
        if arguments.interpreter is not None:
            known = load_classifier(run, trust_remote_code=arguments.trust_remote_code).description["sha256"]
            if interpreter.description["classifier_sha256"] != known:
                raise UserError(f"{source} explains another classifier than that of {run}: give a run that explains it")
        method = {"method": interpreter.NAME, "interpreter": interpreter.description["sha256"]}
        return _Explainer(interpreter.classifier, lambda sounds: interpreter, method)
    classifier = load_classifier(run, trust_remote_code=arguments.trust_remote_code).to(arguments.device)
    check, settings = check_classifier(classifier), parse_settings(arguments.settings)
    name = arguments.method or default_method(check)
    method_class(name)

    def make(sounds: Sounds) -> Interpreter:
        return interpreter_for(classifier, sounds, name, settings, check)

    return _Explainer(classifier, make, {"method": name, "settings": json.loads(json.dumps(settings))})


def _predictions(
    data: RunData, classifier: Classifier, dataset: DynamicItemDataset, arguments: argparse.Namespace
) -> Predictions:
    """Return what is heard in the clips: from the table of the run if it is of this classifier and split."""
    known, split = data.folder / REPORT / arguments.split / NUMBERS, arguments.split
    if known.is_file() and read_object(known).get("classifier") == classifier.description["sha256"]:
        table = read_predictions(data.folder / PREDICTIONS, classifier.labels)
        if split in table and set(table[split].ids) <= set(dataset.data_ids):
            return table[split]
    return predict(classifier, dataset, data.prepared.data_root, device=arguments.device)


def _explain(
    folder: Path,
    item: dict[str, Any],
    predictions: Predictions,
    k: int,
    split: str,
    make: Callable[[Sounds], Interpreter],
    identity: dict[str, Any],
) -> Mistake:
    """Explain both classes of a clip, and write its folder."""
    check_replaceable(folder)
    origin, signal = Origin(label=item["id"]), item["signal"]
    interpreter = make(Sounds(signal[None], None, (origin,)))
    both = Sounds(torch.stack([signal, signal]), None, (origin, origin))
    explanation = interpreter.explain(both, target=[int(predictions.predicted[k]), int(predictions.truth[k])])
    described = [explanation.describe(row) for row in (_PREDICTED, _TRUE)]
    supports = [Support.of(described[row], explanation.region(row)) for row in (_PREDICTED, _TRUE)]
    smaller, larger = (choose(*explanation.mask.double()).sum() for choose in (torch.minimum, torch.maximum))
    mistake = Mistake(
        clip=item["id"],
        path=predictions.paths[k],
        split=split,
        predicted=supports[_PREDICTED],
        true=supports[_TRUE],
        common=float(smaller / larger) if larger else 0.0,
        folder=folder.name,
    )
    with atomic_folder(folder) as temporary:
        _write_sounds(temporary, explanation)
        save_figure(_figure(explanation, mistake, described), temporary / FIGURE)
        content = {
            "identity": {**identity, "clip": item["id"]},
            "mistake": asdict(mistake),
            "sentences": mistake.sentences(),
            "explanations": {"predicted": described[_PREDICTED], "true": described[_TRUE]},
        }
        write_json(temporary / CLIP, content)
    return mistake


def _write_sounds(folder: Path, explanation: Explanation) -> None:
    """Write the clip, what speaks for each class, and the clip without what speaks for the predicted one."""
    rate = explanation.frontend.sample_rate
    for name, wavs, row in (
        ("input", explanation.sound, _PREDICTED),
        ("predicted", explanation.listenable, _PREDICTED),
        ("true", explanation.listenable, _TRUE),
        ("without_predicted", explanation.residual, _PREDICTED),
    ):
        write_wav(folder / f"{name}.wav", wavs[row].detach().cpu(), rate)


def _figure(explanation: Explanation, mistake: Mistake, described: list[dict[str, Any]]):
    mask, kept, whole = (
        part.detach().cpu().numpy()
        for part in (explanation.mask, explanation.pair.inside, explanation.spectrogram.magnitude[0])
    )
    views = (View(part.label, mask[row], kept[row]) for row, part in enumerate((mistake.predicted, mistake.true)))
    classes = described[_PREDICTED]["probabilities"]
    probabilities = {label: (parts["input"], parts["residual"]) for label, parts in classes.items()}
    title = f"{printable(mistake.clip)}   [{described[_PREDICTED]['title']}]\n{' '.join(mistake.sentences()[:2])}"
    return plot_side_by_side(
        whole, *views, probabilities, explanation.frontend, described[_PREDICTED]["seconds"], title
    )


def _finished(folder: Path, identity: dict[str, Any]) -> Mistake | None:
    """Return what a folder says about its clip; None if there is none yet.

    Raises
    ------
    UserError
        If it was made by another classifier or method, or is damaged.
    """
    if not (folder / CLIP).is_file():
        return None
    content = read_object(folder / CLIP)
    if content.get("identity") != identity:
        raise UserError(
            f"{folder} holds explanations by another classifier or method, or with other settings: name another --out"
        )
    return Mistake.of_saved(content.get("mistake"), folder / CLIP)
