"""What a second classifier hears in the masks of a first one: its own metrics, where both hear the class."""

import json

import pytest
import tiny
import torch
from test_evaluation import PROVENANCE, dataset, lines, methods
from tiny import LABELS, noise

from interpretability.evaluation import evaluate
from interpretability.metrics.suite import MetricSuite, metric_info
from interpretability.second_opinion import SecondOpinion

PLACES = ("spectrogram", "waveform")


@pytest.fixture(scope="module")
def classifier():
    return tiny.listening_classifier(LABELS)


def test_a_second_classifier_that_is_the_first_measures_the_same(classifier):
    batch = classifier.analyse(noise(3, 4000), torch.tensor([1.0, 0.5, 0.8]))
    mask = tiny.uniform(*batch.spectrogram.magnitude.shape) * batch.spectrogram.valid[..., None]
    wanted = MetricSuite(classifier, "linear")(batch, mask, PLACES)
    opinion = SecondOpinion.of(classifier, classifier, batch)
    undefined = torch.tensor([False, False, True])
    for place, values in opinion.measure(mask, "linear", PLACES, undefined).items():
        assert list(values) == ["transfer_fid_in", "transfer_ad", "transfer_ff"]
        for name, value in values.items():
            torch.testing.assert_close(value[:2], wanted[place][name.removeprefix("transfer_")][:2])
            assert value[2].isnan()


def test_only_clips_in_which_both_hear_the_class_count(classifier):
    wavs = noise(2, 4000)
    predicted = classifier.analyse(wavs).output.predicted.tolist()
    batch = classifier.analyse(wavs, target=[predicted[0], (predicted[1] + 1) % len(LABELS)])
    opinion = SecondOpinion.of(classifier, classifier, batch)
    assert opinion.agreed.tolist() == [True, False]
    values = opinion.measure(torch.ones_like(batch.spectrogram.magnitude), "log", PLACES, None)["waveform"]
    assert values["transfer_fid_in"][0] == 1
    assert values["transfer_ad"][1].isnan()


def test_every_row_of_an_evaluation_carries_it(classifier, tmp_path):
    provenance = {**PROVENANCE, "transfer_to": "c0ffee" * 4}
    rows = {name: method for name, method in methods(classifier).items() if name in ("M = 1", "energy")}
    result = evaluate(
        classifier,
        rows,
        dataset(3),
        tmp_path,
        provenance,
        progress=False,
        transfer_to=tiny.listening_classifier(LABELS),
    )
    measured = lines(tmp_path)
    assert all(row["transfer_to"] == "c0ffee" * 4 for row in measured)
    assert all(row["transfer_fid_in"] in (0.0, 1.0) for row in measured if row["place"] == "waveform")
    whole = json.loads((tmp_path / "summary.json").read_text("utf-8"))["places"]["waveform"]["M = 1"]
    assert (whole["transfer_fid_in"]["mean"], whole["transfer_ad"]["n"]) == (1.0, 3)
    assert whole["transfer_ad"]["mean"] == pytest.approx(0, abs=1e-3)
    assert "second classifier: c0ffeec0ffee" in result.table
    assert "| transfer Fid-In ↑ | transfer AD (%) ↓ | transfer FF ↑ |" in result.table
    assert metric_info("transfer_sps").better == "none"  # that is no metric of a second classifier
