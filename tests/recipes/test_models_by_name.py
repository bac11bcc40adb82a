"""Published models by name, in every command and recipe, with the network cut off; results say which commit it was."""

import dataclasses
import json

import exported_folders
import pytest
import tiny
from exported_folders import CHOICES
from huggingface_hub import constants

from interpretability import explain, load_interpreter, open_classifier
from interpretability.commands import main
from interpretability.training import runner
from interpretability.training.recipe import ARCHIVE

COMMIT = f"{'0' * 39}7"


@pytest.fixture(scope="module")
def models(tiny_lmac_run, tiny_classifier_folder, tmp_path_factory):
    """A cache with the interpreter anna/lmac and the classifier anna/compact."""
    root = tmp_path_factory.mktemp("published")
    for name, source in (("lmac", tiny_lmac_run), ("compact", tiny_classifier_folder)):
        choices = dataclasses.replace(CHOICES, repo_id=f"anna/{name}")
        folder = exported_folders.publish(source, root / name, choices)
        exported_folders.put_in_cache(root / "cache", f"anna/{name}", folder, COMMIT)
    return root / "cache"


@pytest.fixture(autouse=True)
def cache(models, no_network, monkeypatch, tmp_path):
    """The cache, and a current folder in which there is nothing of these names; no request is made."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(models))
    monkeypatch.chdir(tmp_path)
    yield models
    assert no_network == []


@pytest.mark.slow
def test_from_python(tiny_lmac_run):
    wavs = tiny.noise(2, 4000)
    interpreter = load_interpreter("anna/lmac", revision=COMMIT)
    described = explain(interpreter, wavs).describe()
    origin = {"repo_id": "anna/lmac", "revision": COMMIT}
    assert described["hub"] == {"interpreter": origin, "classifier": origin}
    assert described["model"] == explain(load_interpreter(tiny_lmac_run), wavs).describe()["model"]
    assert "hub" not in explain(load_interpreter(tiny_lmac_run), wavs).describe()
    assert explain("anna/lmac", wavs).describe()["hub"] == described["hub"]
    classifier = open_classifier("anna/compact")
    assert classifier.description["hub"] == {"repo_id": "anna/compact", "revision": COMMIT}
    assert set(explain(classifier, wavs, method="saliency").describe()["hub"]) == {"classifier"}


@pytest.mark.slow
def test_from_the_command(tiny_esc50, tmp_path):
    sound = str(next((tiny_esc50 / "audio").glob("*.wav")))
    for place in (["anna/lmac"], ["anna/lmac", "--revision", COMMIT], [f"anna/lmac@{COMMIT}"]):
        done = tiny.call(main.interpret, [place[0], sound, *place[1:], "--out", str(tmp_path / "out")])
        assert done.code == 0, done.err
        described = json.loads((tmp_path / "out" / "explanation.json").read_text("utf-8"))
        assert described["hub"]["interpreter"]["revision"] == COMMIT
    for place in (["--classifier", "anna/compact"], ["--classifier", "anna/lmac", "--revision", COMMIT]):
        done = tiny.call(main.interpret, [*place, "--list_classes"])
        assert done.out.splitlines() == [f"{index}\t{label}" for index, label in enumerate(tiny.CLASSES)]
    done = tiny.call(main.import_classifier, ["anna/compact", "--out", str(tmp_path / "mine")])
    assert done.code == 0, done.err
    done = tiny.call(main.interpret, ["results/a/b", sound, "--revision", "v1", "--out", "x"])
    assert "--revision is 'v1', which goes with user/name on a hub" in done.line


@pytest.mark.slow
def test_from_a_recipe(tiny_esc50, tmp_path, cache):
    settings = {"classifier_folder": "anna/compact", "finetune_from": "anna/lmac", "number_of_epochs": 1}
    yaml = tiny.RECIPE / "hparams" / "lmac_finetune.yaml"
    done = tiny.run("interpreter", tiny_esc50, tmp_path / "run", yaml, **settings)
    assert done.code == 0, done.err
    archived = (tmp_path / "run" / ARCHIVE[0]).read_text("utf-8")
    assert str(cache / "models--anna--compact" / "snapshots" / COMMIT) in archived
    saved = tmp_path / "run" / "interpreter"
    training = json.loads((saved / "interpreter.json").read_text("utf-8"))["training"]
    assert training["finetuned_from"]["hub"] == {"repo_id": "anna/lmac", "revision": COMMIT}
    described = json.loads((saved / "classifier" / "classifier.json").read_text("utf-8"))
    assert described["hub"] == {"repo_id": "anna/compact", "revision": COMMIT}
    evaluated = tiny.call(runner.main, "evaluate", None, [str(tmp_path / "run"), "--device", "cpu"])
    assert evaluated.code == 0, evaluated.err
    summary = json.loads((tmp_path / "run" / "evaluation" / "summary.json").read_text("utf-8"))
    assert summary["provenance"]["hub"]["classifier"] == {"repo_id": "anna/compact", "revision": COMMIT}
    # Published again, its card says so by itself.
    folder = exported_folders.publish(tmp_path / "run", tmp_path / "again", CHOICES)
    assert "base_model: anna/compact" in (folder / "README.md").read_text("utf-8")


@pytest.mark.slow
def test_a_classifier_goes_on_from_a_published_one(tiny_esc50, tmp_path):
    done = tiny.run("classifier", tiny_esc50, tmp_path / "run", finetune_from="anna/compact")
    assert done.code == 0, done.err
    described = json.loads((tmp_path / "run" / "classifier" / "classifier.json").read_text("utf-8"))
    assert described["training"]["finetuned_from"]["hub"] == {"repo_id": "anna/compact", "revision": COMMIT}


@pytest.mark.slow
def test_a_method_with_a_dictionary_goes_on_with_that(tiny_esc50, tmp_path, cache):
    """L2I is trained, published and fine-tuned by its name; the dictionary comes with it."""
    yaml = tiny.RECIPE / "hparams" / "l2i.yaml"
    first = tiny.run("interpreter", tiny_esc50, tmp_path / "first", yaml, classifier_folder="anna/compact")
    assert first.code == 0, first.err
    choices = dataclasses.replace(CHOICES, repo_id="anna/l2i")
    folder = exported_folders.publish(tmp_path / "first", tmp_path / "published", choices)
    snapshot = exported_folders.put_in_cache(tmp_path / "cache", "anna/l2i", folder, COMMIT)
    start = {"classifier_folder": "anna/compact", "finetune_from": snapshot, "dictionary__n_iterations": 2}
    done = tiny.run("interpreter", tiny_esc50, tmp_path / "second", yaml, **start)
    assert done.code == 0, done.err
    saved = [json.loads((tmp_path / n / "interpreter" / "interpreter.json").read_text()) for n in ("first", "second")]
    assert saved[0]["settings"]["dictionary"] == saved[1]["settings"]["dictionary"]
    assert saved[1]["training"]["finetuned_from"]["sha256"] == saved[0]["sha256"]
    assert saved[1]["training"]["finetuned_from"]["hub"] == {"repo_id": "anna/l2i", "revision": COMMIT}
