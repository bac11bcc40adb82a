"""Sources of files of a graph: what is the same for ONNX and for TensorFlow Lite."""

from __future__ import annotations

import pytest
import torch

from interpretability.classifiers.check import check_classifier, noise
from interpretability.classifiers.sources import open_classifier
from interpretability.errors import UserError

KNOWN = {"labels": ["a", "b", "c"], "sample_rate": 8000}


@pytest.fixture(params=["onnx", "tflite"])
def saved(request, tmp_path):
    """Return a source that hears the energy of a sound, with what its logits mean."""
    if request.param == "onnx":
        pytest.importorskip("onnx")
        pytest.importorskip("onnxruntime")
        import onnx_files as files
    else:
        pytest.importorskip("ai_edge_litert")
        import tflite_files as files
    return f"{request.param}:{files.save_power(tmp_path / f'power.{request.param}')}", files.meant


def test_answers_alone(saved):
    source, _ = saved
    classifier = open_classifier(source, **KNOWN)
    assert "gives answers alone" in classifier.never_a_gradient
    assert check_classifier(classifier).no_gradient
    assert "no feature maps: it is a file of" in "; ".join(classifier.notes)


def test_steps_before_a_file_of_either_kind(saved):
    source, meant = saved
    features = [{"scale": {"factor": 3}}, {"frames": {"size": 1000, "hop": 500}}]
    classifier = open_classifier(source, features=features, output="logits", task="multi", pool="max", **KNOWN)
    wavs = noise(2, 3000)
    expected = torch.stack([meant(3 * wavs[:, start : start + 1000]) for start in range(0, 2001, 500)], 1).amax(1)
    answer = classifier.checked_logits(wavs, torch.full((2,), 3000))
    torch.testing.assert_close(answer, expected, rtol=1e-4, atol=1e-5)
    with pytest.raises(UserError, match="features, step 1, frames has no setting 'length'"):
        open_classifier(source, features=[{"frames": {"length": 1}}], **KNOWN)
