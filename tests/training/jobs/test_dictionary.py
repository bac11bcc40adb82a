"""Dictionaries learned by a script of their own, once, with every algorithm."""

import pytest
import tiny
import torch

from interpretability.classifiers import load_classifier
from interpretability.dictionary import Dictionary
from interpretability.methods import load_interpreter

NMF = tiny.RECIPE / "hparams" / "nmf.yaml"


@pytest.mark.slow
def test_learned_once_and_explained_with(tiny_esc50, tiny_classifier_folder, tmp_path):
    run, settings = tmp_path / "run", {"classifier_folder": tiny_classifier_folder}
    line = tiny.run("evaluate", tiny_esc50, tmp_path / "absent", NMF, **settings).line
    assert "train_nmf.py" in line
    outcome = tiny.run("dictionary", tiny_esc50, run, **settings)
    assert outcome.code == 0, outcome.err
    assert "dictionary of 6 components (euclidean)" in outcome.out
    dictionary = Dictionary.load(run)
    assert dictionary.labels == ["low", "middle", "high"]
    assert dictionary.frontend == load_classifier(tiny_classifier_folder).frontend.settings
    assert dictionary.training["data"]["folds"]["train"] == [1]
    assert dictionary.training["n_frames"] == 60
    assert dictionary.training["seconds"] > 0
    assert len(dictionary.loss_curve) == 4
    assert sorted(path.name for path in run.iterdir()) == ["contents.json", "dictionary", "manifests"]
    assert {"run.json", "hyperparams.yaml", "train_nmf.py", "dictionary.pt"} <= {
        path.name for path in (run / "dictionary").iterdir()
    }
    assert not list(run.rglob("state.pt"))
    before = (run / "dictionary" / "dictionary.pt").read_bytes()
    assert "already learned" in tiny.run("dictionary", tiny_esc50, run, **settings).out
    assert (run / "dictionary" / "dictionary.pt").read_bytes() == before
    line = tiny.run("dictionary", tiny_esc50, run, **settings, dictionary__n_components=5).line
    assert "differs in settings" in line
    evaluated = tiny.run("evaluate", tiny_esc50, run, NMF, **settings)
    assert evaluated.code == 0, evaluated.err
    assert "\nnmf  " in evaluated.out
    assert next((run / "examples").glob("*/components.png")).stat().st_size > 5000
    saved = load_interpreter(run)
    assert saved.settings.dictionary == dictionary.describe()
    assert torch.equal(saved.dictionary, dictionary.matrix)
    assert saved.description["training"]["dictionary"] == dictionary.training
    # Results belong to the dictionary that they were made with.
    other = tmp_path / "other"
    assert tiny.run("dictionary", tiny_esc50, other, **settings, seed=7).code == 0
    line = tiny.run("evaluate", tiny_esc50, run, NMF, **settings, method__dictionary=other).line
    assert "differs in settings" in line


def test_settings_that_cannot_be_leave_no_record_that_is_in_the_way(tiny_esc50, tiny_classifier_folder, tmp_path):
    settings = {"classifier_folder": tiny_classifier_folder}
    line = tiny.run("dictionary", tiny_esc50, tmp_path / "run", **settings, dictionary__algorithm="KL").line
    assert "algorithm is 'KL'" in line
    assert tiny.run("dictionary", tiny_esc50, tmp_path / "run", **settings, dictionary__algorithm="kl").code == 0


@pytest.mark.slow
def test_the_algorithms(tiny_esc50, tiny_classifier_folder, tmp_path):
    for algorithm in ("kl", "minibatch", "amortised"):
        run = tmp_path / algorithm
        settings = {
            "classifier_folder": tiny_classifier_folder,
            "dictionary__algorithm": algorithm,
            "number_of_epochs": 2,
        }
        outcome = tiny.run("dictionary", tiny_esc50, run, **settings)
        assert outcome.code == 0, outcome.err
        learned = Dictionary.load(run)
        assert learned.algorithm == algorithm
        assert len(learned.loss_curve) == (2 if algorithm == "amortised" else 4)
        assert "already learned" in tiny.run("dictionary", tiny_esc50, run, **settings).out
    more = tiny.run("dictionary", tiny_esc50, run, **{**settings, "number_of_epochs": 3})
    assert more.code == 0, more.err
    assert Dictionary.load(run).training["epochs"] == 3


@pytest.mark.slow
@pytest.mark.parametrize("algorithm", ["euclidean", "minibatch", "amortised"])
def test_learning_starts_from_another_dictionary(algorithm, tiny_esc50, tiny_classifier_folder, tmp_path):
    settings = {"classifier_folder": tiny_classifier_folder, "number_of_epochs": 1}
    frontend = load_classifier(tiny_classifier_folder).frontend.settings
    # Components that no frame of these clips has: a quarter of the bins each.
    matrix = torch.eye(4).repeat_interleave(-(-frontend.n_bins // 4), 0)[: frontend.n_bins]
    Dictionary(matrix / matrix.norm(dim=0), frontend, ["wind", "rain"], "kl").save(tmp_path / "start.pt")
    settings |= {"dictionary__algorithm": algorithm, "dictionary__n_iterations": 1, "lr": 1e-9}
    run = tmp_path / "run"
    outcome = tiny.run("dictionary", tiny_esc50, run, **settings, finetune_from=tmp_path / "start.pt")
    assert outcome.code == 0, outcome.err
    assert "learned on 2 classes)\n  kept as a start: 4 of its 4 components; frames of the clips: 2\n" in outcome.out
    learned = Dictionary.load(run)
    assert learned.training["finetuned_from"] == Dictionary.load(tmp_path / "start.pt").describe()
    likeness = (matrix / matrix.norm(dim=0)).T @ learned.matrix
    assert likeness.diagonal().mean() > 0.8  # where it started
    if algorithm == "euclidean":
        assert tiny.run("dictionary", tiny_esc50, tmp_path / "plain", **settings).code == 0
        plain = (matrix / matrix.norm(dim=0)).T @ Dictionary.load(tmp_path / "plain").matrix
        assert plain.diagonal().mean() < 0.6
        line = tiny.run("dictionary", tiny_esc50, run, **settings).line
        assert "differs in finetuned_from" in line
        line = tiny.run("dictionary", tiny_esc50, run, **settings, finetune_from=run).line
        assert "output_folder of its own" in line
        line = tiny.run("dictionary", tiny_esc50, tmp_path / "x", **settings, finetune_from=tmp_path / "absent").line
        assert "no dictionary at" in line
