"""A table of runs: each model once, with a name of its own."""

import shutil

import pytest

from interpretability.errors import MissingError
from interpretability.publishing.collection import members


@pytest.fixture(scope="module")
def results(tiny_piq_run, tiny_lmac_run, tiny_classifier_folder, tmp_path_factory):
    """Two interpreters, and the run that trained the classifier of both."""
    top = tmp_path_factory.mktemp("results")
    for name, run, part in (
        ("piq/1234", tiny_piq_run, "interpreter"),
        ("lmac/1234", tiny_lmac_run, "interpreter"),
        ("compact", tiny_classifier_folder.parent, "classifier"),
    ):
        shutil.copytree(run / part, top / name / part)
    return top


def test_a_classifier_of_several_runs_is_there_once(results):
    models = members(results, "anna/tiny")
    assert [model.repo_id for model in models] == ["anna/tiny-compact", "anna/tiny-lmac-1234", "anna/tiny-piq-1234"]
    assert [model.about for model in models][1:] == ["the interpreter lmac", "the interpreter piq"]
    assert len({model.classifier for model in models}) == 1
    assert members(results, "anna")[0].repo_id == "anna/compact"


def test_a_classifier_without_a_run_is_taken_from_what_explains_it(results):
    models = members(results / "piq", "anna/tiny")
    assert [model.repo_id for model in models] == ["anna/tiny-1234-classifier", "anna/tiny-1234"]
    assert members(results / "piq" / "1234", "anna")[1].repo_id == "anna/1234"


def test_names_are_apart_and_such_as_a_hub_takes(results, tmp_path):
    for name in ("a b", "a-b", "a?b"):
        shutil.copytree(results / "piq" / "1234", tmp_path / name)
    models = [model for model in members(tmp_path, "anna") if not model.is_classifier]
    assert sorted(model.repo_id for model in models) == ["anna/a-b", "anna/a-b-2", "anna/a-b-3"]


def test_no_runs_are_one_line(tmp_path):
    with pytest.raises(MissingError, match="no runs below"):
        members(tmp_path, "anna")
