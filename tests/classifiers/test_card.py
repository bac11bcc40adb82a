"""Cards: what stands in the file beside a model's weights."""

from __future__ import annotations

import pytest

from interpretability.classifiers.sources import open_classifier
from interpretability.errors import MissingError, UserError

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
import onnx_files

LABELS = ["a", "b", "c"]


def test_a_card_beside_the_weights_says_what_they_do_not(tmp_path):
    path = onnx_files.save_counter(tmp_path / "counter.onnx")
    (tmp_path / "labels.txt").write_text("event\n")
    (tmp_path / "model.yaml").write_text(
        "labels: '@labels.txt'\nsample_rate: 8000\noutput: probabilities\nwindows: max\nstates: {memory: next}\n"
        "thresholds: null\n"
    )
    classifier = open_classifier(f"onnx:{path}")
    assert (classifier.labels, classifier.task) == (["event"], "multi")
    assert (classifier.settings.windows, classifier.settings.output) == ("max", "probabilities")
    assert classifier.frontend.settings.sample_rate == 8000
    given = open_classifier(f"onnx:{path}", labels=["call"], windows="mean")
    assert (given.labels, given.settings.windows) == (["call"], "mean")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("labels: [a, b, c]\nsamplerate: 8000\n", "has no setting 'samplerate': did you mean sample_rate"),
        ("labels: [a, b, c]\nsample_rate: fast\n", "model.yaml: sample_rate is 'fast', expected a number"),
        ("labels: 3\n", "model.yaml: labels is 3, expected a list of texts"),
        ("- a\n", "expected keys and values"),
        ("labels: !!python/object/apply:os.system [ls]\n", "model.yaml: .*tag"),
        ("labels: [a\n", "model.yaml: "),
        ("card: other.yaml\n", "has no setting 'card'"),
    ],
)
def test_cards_that_do_not_fit(tmp_path, text, message):
    path = onnx_files.save_power(tmp_path / "power.onnx")
    (tmp_path / "model.yaml").write_text(text)
    with pytest.raises(UserError, match=message):
        open_classifier(f"onnx:{path}")


def test_a_card_elsewhere_is_named(tmp_path):
    path = onnx_files.save_power(tmp_path / "power.onnx")
    (tmp_path / "function.yaml").write_text("labels: [a, b, c]\nsample_rate: 8000\n")
    assert open_classifier(f"onnx:{path}", card=tmp_path / "function.yaml").labels == LABELS
    with pytest.raises(MissingError, match=r"card is 'nowhere.yaml': no such file"):
        open_classifier(f"onnx:{path}", card="nowhere.yaml")
