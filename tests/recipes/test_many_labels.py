"""The many-label variant of Synthetic, from sounds to tables: each label of a clip is explained and measured."""

import json

import pytest
import tiny
import torch
from speechbrain.dataio.batch import PaddedBatch

from interpretability.data.batches import make_datasets
from interpretability.data.synthetic import prepare_synthetic
from interpretability.frontend import MaskedPair
from interpretability.matched import ANOTHER_LABEL
from interpretability.methods import load_interpreter
from interpretability.metrics.localisation import energy_precision
from interpretability.training.runner import main
from interpretability.truth import known_truth

pytestmark = pytest.mark.slow
RECIPE = tiny.REPOSITORY / "recipes" / "Synthetic"
SIZES = {"n_train": 20, "n_valid": 10, "n_test": 30}
TINY = {
    "classifier_compact": {
        "classifier.channels": [4, 4, 8, 8],
        "classifier.n_mels": 24,
        **{"frontend.n_fft": 256, "frontend.win_length_ms": 16.0, "frontend.hop_length_ms": 8.0},
    },
    "piq": {
        "method.codebook_size": 20,
        "method.channels": 8,
        "method.decoder_channels": [8, 4],
        "n_examples": 0,
        "report_clips": 0,
    },
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with the data, a classifier, PIQ, and its evaluation on the labels of the test clips."""
    folder = tmp_path_factory.mktemp("many_labels")
    settings = {"max_targets": 3, "prepare.seconds": 1.0, "clip_seconds": 1.0, "number_of_epochs": 1, **SIZES}
    settings |= {"data_folder": folder / "data", "cache_folder": folder / "cache", "device": "cpu"}
    known = {"classifier_folder": folder / "classifier_compact" / "classifier"}
    for job, script, yaml, more in (
        ("classifier", "train_classifier", "classifier_compact", {}),
        ("interpreter", "train_piq", "piq", known),
        ("evaluate", "evaluate", "piq", {**known, "explain": "labels"}),
    ):
        chosen = {**settings, **TINY[yaml], **more, "output_folder": folder / yaml}
        line = [str(RECIPE / "hparams" / f"{yaml}.yaml"), "--noprogressbar"]
        line += [text for name, value in chosen.items() for text in (f"--{name}", str(value))]
        outcome = tiny.call(main, job, str(RECIPE / f"{script}.py"), line)
        assert outcome.code == 0, outcome.err
    return folder


def test_every_label_has_its_rows_and_stands_beside_the_mask_of_another_one(folder):
    lines = (folder / "piq" / "evaluation" / "clips.jsonl").read_text().splitlines()
    rows = {(row["method"], row["place"], row["clip"], row["explained"]): row for row in map(json.loads, lines)}
    settings = {"seed": 1234, "max_targets": 3, "seconds": 1.0, **SIZES}
    prepared = prepare_synthetic(folder / "data", folder / "manifests", **settings)
    test = make_datasets(prepared, prepared.labels, 16000, splits=("test",), with_targets=True)["test"]
    items = {item["id"]: item for item in test}
    assert sum(len(item["labels"]) for item in items.values()) == 60
    piq = load_interpreter(folder / "piq")
    for clip in ("test-00004", "test-00015", "test-00026"):  # of one, two and three targets
        labels = items[clip]["labels"]
        batch = PaddedBatch([items[clip]] * len(labels))
        wavs = batch.signal.data
        with torch.no_grad():
            analysed = piq.classifier.analyse(wavs, target=labels)
            masks = piq.mask(analysed)
        truth = known_truth(piq.classifier.frontend, batch, wavs, analysed.spectrogram, labels)
        for name, mask in (("piq", masks), (ANOTHER_LABEL, masks.roll(-1, dims=0))):
            kept = MaskedPair.of(analysed.clips, mask, "log").inside
            for label, value in zip(labels, energy_precision(kept, truth.bins).tolist(), strict=True):
                measured = rows[name, "spectrogram", clip, label]["energy_precision"]
                alone = name == ANOTHER_LABEL and len(labels) == 1
                assert measured == (None if alone else pytest.approx(value, abs=1e-3)), (name, clip, label)


def test_the_tables_say_how_many_labels_and_compare_with_the_other_one(folder):
    summary = json.loads((folder / "piq" / "evaluation" / "summary.json").read_text())
    assert (summary["n"], summary["several"]["explanations"]) == (30, 60)
    difference = summary["paired"]["waveform"][f"piq - {ANOTHER_LABEL}"]["energy_precision"]
    assert (difference["n"], difference["undefined"]) == (50, 10)
    table = (folder / "piq" / "evaluation" / "table.md").read_text()
    assert "n: 30 clips, 60 explanations, one of each label" in table
    assert f"| {ANOTHER_LABEL} |" in table
