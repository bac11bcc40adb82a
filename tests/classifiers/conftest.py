"""Models that several test files of classifiers share; tests that change one load their own."""

import sys

import pytest
import tiny
import torch
from transformers_models import CASES, make_folder
from waveform_models import LABELS, RATE, MelCnn

from interpretability.classifiers.huggingface import HuggingFaceClassifier
from interpretability.classifiers.module import ModuleClassifier
from interpretability.classifiers.waveform import frontend_for


@pytest.fixture(scope="session")
def cnn():
    """A frozen toy model that computes its own features."""
    torch.manual_seed(0)
    module = MelCnn()
    module(torch.randn(4, 4000))  # batch statistics that are not the initial ones
    return ModuleClassifier(LABELS, frontend_for(RATE), module=module, arguments={}).freeze()


@pytest.fixture(scope="session")
def folders(tmp_path_factory):
    """Kind -> folder of a tiny model of transformers."""
    return {
        kind: make_folder(tmp_path_factory.mktemp(kind) / "model", config, extractor, **settings)
        for kind, (config, extractor, settings) in CASES.items()
    }


@pytest.fixture(scope="session")
def classifiers(folders):
    """Kind -> frozen classifier of that folder."""
    return {kind: HuggingFaceClassifier.from_pretrained(folder).freeze() for kind, folder in folders.items()}


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A user's package with a model, ``Net``, and a function."""
    (tmp_path / "someones_models.py").write_text(tiny.NETWORK)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield "someones_models"
    sys.modules.pop("someones_models", None)
