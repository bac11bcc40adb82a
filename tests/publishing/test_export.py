"""What is published is whole and portable, and gives the same again."""

import dataclasses
import json
import re
from pathlib import Path

import exported_folders
import pytest
import torch
from exported_folders import CHOICES, LABELS, publish
from tiny import noise

from interpretability import explain
from interpretability.classifiers import load_classifier, open_classifier, save_classifier
from interpretability.dictionary import Dictionary
from interpretability.errors import UserError
from interpretability.exported import CONFIG
from interpretability.frontend import FrontendSettings
from interpretability.methods import is_interpreter_folder, load_interpreter, save_interpreter
from interpretability.methods.nmf import NMF
from interpretability.publishing.export import _portable
from interpretability.reading import read_object


@pytest.fixture(scope="module")
def published(tiny_piq_run, tmp_path_factory):
    """The folder of a run, published; the run is one of ESC-50, whose licence is known."""
    choices = dataclasses.replace(CHOICES, repo_id="anna/tiny", licence=None)
    return publish(tiny_piq_run, tmp_path_factory.mktemp("published") / "anna" / "tiny", choices, figure=True)


def test_the_folder_holds_all_there_is(published):
    names = {path.relative_to(published).as_posix() for path in published.rglob("*")}
    assert {"README.md", "config.json", "hyperparams.yaml", "label_encoder.txt", "custom.py", "model.ckpt"} <= names
    assert {"interpreter.safetensors", "classifier.safetensors"} <= names
    assert {f"example/{name}" for name in ("input.wav", "explanation.wav", "figure.png", "explanation.json")} <= names
    assert (published / "example" / "figure.png").stat().st_size > 10_000
    config = read_object(published / CONFIG)
    assert config["speechbrain_interface"] == "CustomInterface"
    assert config["interpreter"]["method"] == "piq"
    assert config["classifier"]["frontend"]["sample_rate"] == 8000
    assert set(config["files"]) <= names


def test_it_is_the_same_interpreter_and_the_same_classifier(published, tiny_piq_run, tiny_classifier_folder):
    before, after = load_interpreter(tiny_piq_run), load_interpreter(published)
    wavs = noise(2, 5000)
    first, second = before.explain(wavs), after.explain(wavs)
    assert torch.equal(first.mask, second.mask)
    assert torch.equal(first.listenable, second.listenable)
    assert first.model == second.model
    for name in ("sha256", "classifier_sha256"):
        assert before.description[name] == after.description[name]
    assert before.description["training"] == after.description["training"]
    assert (
        open_classifier(published).description["sha256"]
        == load_classifier(tiny_classifier_folder).description["sha256"]
    )
    assert is_interpreter_folder(published)
    assert torch.equal(explain(published, wavs).mask, second.mask)


def test_nothing_in_it_names_a_place_on_this_machine(published, tiny_piq_run):
    for path in published.rglob("*"):
        if path.suffix in (".json", ".md", ".yaml", ".py", ".txt"):
            text = path.read_text("utf-8")
            assert str(tiny_piq_run) not in text, path
            assert not re.search(r'[" ]/(?:home|root|tmp|usr|work)/', text), path


def test_names_of_files_stand_in_place_of_their_paths(tmp_path):
    given = {"a": ["hf:/data/models/ast", "~/x/net.pt", "cc-by/4", str(tmp_path / "absent")], "n": 3}
    assert _portable(given) == {"a": ["hf:ast", "net.pt", "cc-by/4", "absent"], "n": 3}


def test_a_published_interpreter_goes_on_as_a_run_of_recipes(published, tmp_path):
    """What is loaded is saved again as a run's folder has it, and is the same interpreter there."""
    interpreter = load_interpreter(published)
    save_interpreter(interpreter, tmp_path / "again", interpreter.description["training"])
    again = load_interpreter(tmp_path / "again")
    assert again.description["sha256"] == interpreter.description["sha256"]
    assert again.description["classifier_sha256"] == interpreter.description["classifier_sha256"]


def test_the_dictionary_is_published_with_its_method(tmp_path):
    matrix = torch.rand(513, 4)
    dictionary = Dictionary(matrix / matrix.norm(dim=0), FrontendSettings(), LABELS, "kl", [1.0], {"seed": 3})
    save_classifier(exported_folders.settled_conv2d(), tmp_path / "classifier")
    nmf = NMF(load_classifier(tmp_path / "classifier"), dictionary, n_iterations=3)
    save_interpreter(nmf, tmp_path / "run" / "interpreter", {"dictionary": {"seed": 3}})
    folder = publish(tmp_path / "run", tmp_path / "published")
    again = Dictionary.load(folder)
    assert torch.equal(again.matrix, dictionary.matrix)
    assert again.describe() == dictionary.describe()
    assert again.training == {"seed": 3}
    assert torch.equal(load_interpreter(folder).dictionary, nmf.dictionary)


def test_what_cannot_be_published_is_one_line(published, tiny_piq_run, tmp_path):
    for repo_id in ("birds", "a/b/c", "anna/bi rds", "../anna", ""):
        with pytest.raises(UserError, match="expected user/name"):
            publish(tiny_piq_run, tmp_path / "no", dataclasses.replace(CHOICES, repo_id=repo_id))
    for wrong in ({"base_model": "evil](x)/y"}, {"licence": "`x`"}):
        with pytest.raises(UserError, match=r"--base_model is|--license is"):
            publish(tiny_piq_run, tmp_path / "no", dataclasses.replace(CHOICES, **wrong))
    with pytest.raises(UserError, match="is a published folder already"):
        publish(published, tmp_path / "no")
    save_classifier(exported_folders.settled_conv2d(["a\x1b[31m", "b", "c"]), tmp_path / "classifier")
    with pytest.raises(UserError, match="with control characters: it cannot be published"):
        publish(tmp_path / "classifier", tmp_path / "no")
    save_classifier(exported_folders.settled_conv2d(), tmp_path / "classifier")
    with pytest.raises(UserError, match="the licence of the data is not known here: give --license"):
        publish(tmp_path / "classifier", tmp_path / "no", dataclasses.replace(CHOICES, licence=None))
    with pytest.raises(FileNotFoundError, match="no classifier in"):
        publish(tmp_path / "absent", tmp_path / "no")
    assert not (tmp_path / "no").exists()


def test_a_sound_of_the_publisher_is_explained_and_named_by_nothing(tmp_path, stock_folder):
    choices = dataclasses.replace(CHOICES, example=stock_folder / "example" / "input.wav")
    save_classifier(exported_folders.settled_conv2d(), tmp_path / "classifier")
    folder = publish(tmp_path / "classifier", tmp_path / "published", choices)
    assert json.loads((folder / "example" / "explanation.json").read_text("utf-8"))["source"] is None
    assert "A sound that the publisher of this model has chosen" in (folder / "README.md").read_text("utf-8")
    assert (folder / "example" / "input.wav").read_bytes() == (stock_folder / "example" / "input.wav").read_bytes()


def test_an_older_folder_is_replaced_only_if_it_holds_nothing_else(published, tiny_piq_run, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("mine")
    with pytest.raises(UserError, match=r"holds 'notes\.txt'"):
        publish(tiny_piq_run, tmp_path / "mine")
    assert Path(tmp_path / "mine" / "notes.txt").read_text() == "mine"
