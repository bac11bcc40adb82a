"""Paths in a recipe's YAML: any name as it is, ``~`` for the home folder, the same meaning wherever a YAML lies."""

import os
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from interpretability.errors import UserError
from interpretability.training.composition import compose
from interpretability.training.paths import anchored, fill_references
from interpretability.training.recipe import load

TEXT = """seed: 1234
output_folder: !ref results/<seed>
data_folder: !PLACEHOLDER
cache_folder: null
noise:
  folder: null
  cache_folder: !ref <cache_folder>
prepare:
  manifest_folder: !ref <output_folder>/manifests/<seed>
  data_folder: !ref <data_folder>
  twice: !ref <output_folder>/<prepare[data_folder]>
rate: !ref <seed> * 2
"""
#: Names of folders that mean something to YAML, to HyperPyYAML or to Python.
ODD = (
    "<seed>", "<nothing>", "a: b", "a\tb", "a\nb", " a ", "a  b", "a #b", "#a", "- a", "*a", "&a",
    "!a b", "%a", "@a", "`a", "[a", "{a: 1}", "(a)", "(!!python/object/apply:os.getcwd [])", "5",
    "1e3", "1/2", "3 - 1", "2**2", "true", "no", "2026-01-01", "a'b", 'a"b', "a\\nb", "a\u2028b",
    "ch\udce8vre", "\xe9",
    "a" * 200 + " " + "b" * 200,
)  # fmt: skip


@pytest.fixture
def yaml(tmp_path):
    path = tmp_path / "main.yaml"
    path.write_text(TEXT, "utf-8")
    return path


@pytest.mark.parametrize("name", ODD, ids=range(len(ODD)))
def test_a_folder_of_any_name_is_taken_as_it_is(yaml, name):
    output, data = Path(name), Path(f"/x/{name}/y")
    text = compose(yaml, {"output_folder": output, "data_folder": str(data), "noise.folder": f"./{name}"})
    loaded = load(text, yaml)
    assert Path(loaded["output_folder"]) == Path(loaded["noise"]["folder"]) == output
    assert Path(loaded["data_folder"]) == Path(loaded["prepare"]["data_folder"]) == data
    assert Path(loaded["prepare"]["manifest_folder"]) == output / "manifests" / "1234"
    assert Path(loaded["prepare"]["twice"]) == Path(f"{output}/{data}")
    assert loaded["rate"] == 2468
    # What the run archives says the same.
    assert Path(YAML().load(anchored(text, Path("/from")))["output_folder"]) == "/from" / output


def test_tags_quotes_and_nothing_are_yaml_after_all(yaml):
    given = {"output_folder": "!ref runs/<seed>", "data_folder": "'a b'", "cache_folder": "null", "noise.folder": ""}
    loaded = load(compose(yaml, given), yaml)
    assert (loaded["output_folder"], loaded["data_folder"]) == ("runs/1234", "a b")
    assert loaded["cache_folder"] is loaded["noise"]["folder"] is loaded["noise"]["cache_folder"] is None
    assert load(compose(yaml, {"data_folder": Path("'a b'")}), yaml)["data_folder"] == "'a b'"


def test_the_home_folder_is_expanded_wherever_a_path_stands(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", "/users/me")
    path = tmp_path / "main.yaml"
    path.write_text(
        TEXT.replace("results/", "~/results/").replace("cache_folder: null", "cache_folder: ~/cache"), "utf-8"
    )
    loaded = load(compose(path, {"data_folder": "~/x", "noise": "{folder: ~/noise}"}), path)
    assert loaded["output_folder"] == "/users/me/results/1234"
    assert loaded["cache_folder"] == loaded["noise"]["cache_folder"] == "/users/me/cache"
    assert loaded["data_folder"] == loaded["prepare"]["data_folder"] == "/users/me/x"
    assert loaded["noise"]["folder"] == "/users/me/noise"
    assert loaded["prepare"]["manifest_folder"] == "/users/me/results/1234/manifests/1234"


@pytest.mark.parametrize("given", ["a\0b", "!ref a\0b", "a\x85b"])
def test_what_no_path_can_hold(yaml, given):
    with pytest.raises(UserError, match=r"main\.yaml: data_folder is 'a\\x..b', expected a path|not valid YAML"):
        compose(yaml, {"data_folder": given})


@pytest.mark.parametrize("given", [["a"], True])
def test_a_path_is_a_text(yaml, given):
    with pytest.raises(UserError, match=r"data_folder is .*expected a path"):
        compose(yaml, {"data_folder": given})


def test_relative_paths_become_absolute_and_references_stay(yaml):
    text = anchored(compose(yaml, {"data_folder": "data", "cache_folder": "/cache"}), Path("/from"))
    tree = YAML().load(text)
    assert tree["output_folder"].value == "/from/results/<seed>"
    assert tree["prepare"]["manifest_folder"].value == "<output_folder>/manifests/<seed>"
    assert (tree["data_folder"], tree["cache_folder"]) == ("/from/data", "/cache")


def test_references_to_anything_but_texts_are_left(yaml):
    text = fill_references(
        "a: [1]\nb: !ref <a>\nc: !ref <c>\nd: !ref <none>/x\ne: 0.5\nf: !ref <e> * 2\ng: !ref x<e>\n"
    )
    assert text == 'a: [1]\nb: !ref <a>\nc: !ref <c>\nd: !ref <none>/x\ne: 0.5\nf: !ref <e> * 2\ng: "x0.5"\n'
    assert os.sep == "/"


@pytest.mark.parametrize(
    "pattern", ["[^-]+", "^([^-]+)-", "(a|b)", "(?P<speaker>.+)-", "#", "*", "a: b", "5", "!x", "{1}", "<seed>"]
)
def test_a_pattern_is_taken_as_it_is(yaml, pattern):
    """No character of a regular expression means anything to YAML; what it matches stays the same."""
    yaml.write_text(TEXT + "group_pattern: null\nagain: !ref <group_pattern>\n", "utf-8")
    text = compose(yaml, {"group_pattern": pattern, "data_folder": "x"})
    loaded = load(anchored(text, Path.cwd()), yaml)
    assert loaded["again"] == loaded["group_pattern"]
    assert loaded["group_pattern"].removeprefix(".{0}") == pattern
    assert load(compose(yaml, {"group_pattern": "null", "data_folder": "x"}), yaml)["again"] is None


def test_models_of_a_hub_become_their_folders_in_the_cache(tmp_path, monkeypatch, no_network):
    """Whose paths say which commit they are; all else is a path, whatever it looks like."""
    commit = "7" * 40
    snapshot = tmp_path / "cache" / "models--anna--birds" / "snapshots" / commit
    snapshot.mkdir(parents=True)
    (snapshot / "classifier.safetensors").touch()
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    yaml = tmp_path / "main.yaml"
    keys = "classifier_folder: null\nfinetune_from: null\nmethod:\n  dictionary: null\ndata_folder: null\n"
    yaml.write_text(keys + "same: !ref <classifier_folder>\n", "utf-8")
    name = f"anna/birds@{commit}"
    given = {"classifier_folder": name, "finetune_from": name, "method.dictionary": name, "data_folder": "anna/birds"}
    loaded = load(compose(yaml, given), yaml)
    assert loaded["classifier_folder"] == loaded["finetune_from"] == loaded["same"] == str(snapshot)
    assert loaded["method"]["dictionary"] == str(snapshot)
    assert loaded["data_folder"] == "anna/birds"
    assert no_network == []
