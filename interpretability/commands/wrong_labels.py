"""What ``tools/wrong_predictions.py`` does of clips with several labels: explain the missed ones and false alarms."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from speechbrain.dataio.dataset import DynamicItemDataset
from tqdm import tqdm

from interpretability.classifiers import Classifier
from interpretability.data.inputs import Origin, Sounds
from interpretability.errors import UserError
from interpretability.files import write_together
from interpretability.methods import Interpreter
from interpretability.names import join_labels, printable, safe_name
from interpretability.predictions import Predictions
from interpretability.reading import read_object
from interpretability.report.destination import DESCRIPTION
from interpretability.report.wrong_labels import (
    FIGURE,
    WrongLabel,
    wrong_labels_csv,
    wrong_labels_page,
)

#: Labels whose errors are counted on the screen.
MOST_ON_SCREEN = 5


@dataclass(frozen=True)
class Places:
    """What makes (``make``) the folder of the results, and the names of its ``table`` and its ``page``."""

    make: Callable[[], Path]
    table: str
    page: str


def wrong_labels(
    dataset: DynamicItemDataset,
    split: str,
    predictions: Predictions,
    make: Callable[[Sounds], Interpreter],
    classifier: Classifier,
    identity: dict[str, Any],
    n: int,
    places: Places,
) -> None:
    """Explain the most confident wrong answers about labels, and say where the result is.

    Parameters
    ----------
    dataset : DynamicItemDataset
        The clips of the split.
    split : str
    predictions : Predictions
        What is heard in them; they may have several labels.
    make : callable
        A sound -> the method that explains it.
    classifier : Classifier
    identity : dict
        What identifies classifier and method.
    n : int
        At most so many.
    places : Places
        Where the results go.

    Raises
    ------
    UserError
        If the folder holds the results of another classifier or method.
    """
    wrong = predictions.wrong_labels(classifier.thresholds.tolist())
    if not wrong:
        print(f"every label of the {len(predictions)} {split} clips is heard, and no other: nothing to explain")
        return
    out, answers = places.make(), []
    for k, label in tqdm(wrong[:n], desc="explaining", unit="label", disable=None):
        clip, name = predictions.ids[k], predictions.labels[label]
        folder = f"{safe_name(clip)}/{safe_name(name)}"
        known = _finished(out / folder, {**identity, "clip": clip, "label": name})
        if known is None:
            item = dataset[list(dataset.data_ids).index(clip)]
            sounds = Sounds(item["signal"][None], None, (Origin(label=clip),))
            explanation = make(sounds).explain(sounds, target=[label])
            true = [predictions.labels[index] for index in predictions.truth[k].nonzero()[0]]
            threshold = float(classifier.thresholds[label])
            place = {"clip": clip, "path": predictions.paths[k], "split": split, "folder": folder}
            known = WrongLabel.of(explanation.describe(), explanation.region(), true, threshold=threshold, **place)
            extra = {"identity": {**identity, "clip": clip, "label": name}, "wrong_label": asdict(known)}
            explanation.save(out / folder, true_label=join_labels(true), extra=extra)
        answers.append(known)
    counts = predictions.counts_of_labels()
    missed, alarms = sum(each.missed for each in counts), sum(each.false_alarms for each in counts)
    title = f"{missed} missed labels and {alarms} false alarms in {len(predictions)} {split} clips"
    rows = [[printable(each.label), *map(str, (each.clips, each.missed, each.false_alarms))] for each in counts]
    texts = {places.table: wrong_labels_csv(answers), places.page: wrong_labels_page(answers, title, rows)}
    write_together({out / name: text for name, text in texts.items()})
    print(f"{title}:")
    for label, clips, n_missed, n_alarms in rows[:MOST_ON_SCREEN]:
        print(f"   {label}: {n_missed} of {clips} missed, {n_alarms} false alarms")
    print(f"the {len(answers)} most confident:" if len(answers) < len(wrong) else "all of them:")
    for rank, answer in enumerate(answers, 1):
        print(f"\n{rank}. {printable(answer.clip)}", *answer.sentences(), sep="\n   ")
    print(f"\nfor each a folder with sounds and {FIGURE}, and a table of all ({places.page}, {places.table}), in {out}")


def _finished(folder: Path, identity: dict[str, Any]) -> WrongLabel | None:
    """Return what a folder says about its clip and label, None if there is none yet; errors as of the whole."""
    path = folder / DESCRIPTION
    if not path.is_file():
        return None
    content = read_object(path)
    if content.get("identity") != identity:
        raise UserError(
            f"{folder} holds an explanation by another classifier or method, or with other settings: name another --out"
        )
    return WrongLabel.of_saved(content.get("wrong_label"), path)
