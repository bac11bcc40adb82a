"""The model that a command line names, whatever it is, in the one way or in the older one."""

import argparse
from pathlib import Path

import pytest
import tiny

from interpretability.classifiers import save_classifier
from interpretability.commands.models import named_model, open_model, parse_settings
from interpretability.errors import UserError


def arguments(*paths, **given):
    chosen = {"classifier": None, "revision": None, "classifier_settings": [], "trust_remote_code": False}
    return argparse.Namespace(**{**chosen, "device": "cpu", "paths": list(map(Path, paths)), **given})


@pytest.mark.parametrize(
    ("given", "source", "sounds"),
    [
        (arguments("run", "a.wav", "b.wav"), "run", ["a.wav", "b.wav"]),
        (arguments("a.wav", classifier="hf:x"), "hf:x", ["a.wav"]),
        (arguments("hf:some/where", "a.wav"), "hf:some/where", ["a.wav"]),
        (arguments("torch:package.module:Class"), "torch:package.module:Class", []),
        (arguments("user/name", "a.wav", revision="v1"), "user/name@v1", ["a.wav"]),
    ],
    ids=range(5),
)
def test_the_first_path_is_the_model(given, source, sounds):
    named = named_model(given)
    assert (named.source, list(map(str, named.paths))) == (source, sounds)


@pytest.mark.parametrize(
    ("given", "words"),
    [(arguments(), "no model: name it first"), (arguments("run", revision="v1"), "--revision is 'v1'")],
    ids=range(2),
)
def test_no_model(given, words):
    with pytest.raises(UserError, match=words):
        named_model(given)


def test_a_run_a_folder_and_a_source_are_opened(tiny_piq_run, tmp_path):
    save_classifier(tiny.listening_classifier(tiny.LABELS), tmp_path / "run" / "classifier")
    for source, trained in (
        (tiny_piq_run, "piq"),
        (tiny_piq_run / "interpreter" / "classifier", None),
        (tmp_path / "run", None),
        (tmp_path / "run" / "classifier", None),
    ):
        model = open_model(str(source), arguments())
        assert model.source == str(source)
        assert (None if model.interpreter is None else model.interpreter.NAME) == trained
        assert model.classifier.frozen


def test_a_source_of_another_library_is_opened_with_its_settings(tmp_path, monkeypatch):
    (tmp_path / "net_of_anybody.py").write_text(tiny.NETWORK, "utf-8")
    monkeypatch.syspath_prepend(str(tmp_path))
    settings = ["labels=['a', 'b', 'c']", "sample_rate=8000", "weights=none", "output=logits"]
    model = open_model("torch:net_of_anybody:Net", arguments(classifier_settings=settings))
    assert (model.classifier.labels, model.interpreter) == (["a", "b", "c"], None)


@pytest.mark.parametrize(
    ("source", "given", "words"),
    [
        ("none", arguments(), "no run folder at none"),
        ("none", arguments(classifier="none"), "no classifier in none"),
    ],
    ids=range(2),
)
def test_what_is_not_there(source, given, words, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=words):
        open_model(source, given)


def test_settings_are_read_by_their_kind():
    got = parse_settings(["a=1", "b=[1, 2]", "c=text", "d=true", "saliency.form=soft"])
    assert got == {"a": 1, "b": [1, 2], "c": "text", "d": True, "saliency.form": "soft"}
    for wrong in ("a", "=1", "a..b=1", "a-b=1"):
        with pytest.raises(UserError, match="expected KEY=VALUE"):
            parse_settings([wrong])
