"""A classifier's folder: self-contained, whole or not at all, and picky about what it loads."""

import json
import shutil

import pytest
import torch

from interpretability.classifiers import load_classifier, save_classifier
from interpretability.classifiers.compact import CompactClassifier
from interpretability.errors import MissingError, UserError
from interpretability.files import LISTING, sha256


@pytest.fixture
def classifier():
    torch.manual_seed(0)
    frontend = {"sample_rate": 8000, "level": "none"}
    return CompactClassifier(["a", "b", "c"], frontend, "multi", n_mels=16, channels=(2, 4, 4, 8), gain=7.0)


def change(folder, **entries):
    path = folder / "classifier.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **entries}))


def test_all_of_it_comes_back(classifier, tmp_path):
    digest = save_classifier(classifier, tmp_path / "saved", {"test_accuracy": 0.9})
    loaded = load_classifier(tmp_path / "saved")
    assert sorted(path.name for path in (tmp_path / "saved").iterdir()) == ["classifier.json", LISTING, "weights.pt"]
    assert (loaded.labels, loaded.task) == (["a", "b", "c"], "multi")
    assert loaded.frontend.settings == classifier.frontend.settings
    assert loaded.architecture() == classifier.architecture()
    assert loaded.frozen
    assert loaded.description["training"] == {"test_accuracy": 0.9}
    assert loaded.description["sha256"] == digest
    magnitude = torch.rand(2, 30, 513)
    assert torch.equal(loaded(magnitude).logits, classifier.eval()(magnitude).logits)
    assert not load_classifier(tmp_path / "saved", freeze=False).frozen


def test_the_same_weights_have_the_same_hash_wherever_they_are_saved(classifier, tmp_path):
    first = save_classifier(classifier, tmp_path / "one")
    assert save_classifier(load_classifier(tmp_path / "one"), tmp_path / "elsewhere" / "two") == first
    other = CompactClassifier(["a", "b", "d"], classifier.frontend.settings, "multi", **classifier.architecture())
    other.load_state_dict(classifier.state_dict())
    assert save_classifier(other, tmp_path / "three") != first  # other classes: another classifier
    with torch.no_grad():
        classifier.head.bias += 1
    assert save_classifier(classifier, tmp_path / "four") != first


def test_a_failed_save_leaves_the_old_folder(classifier, tmp_path, monkeypatch):
    save_classifier(classifier, tmp_path / "saved")
    before = sha256(tmp_path / "saved" / "weights.pt")
    monkeypatch.setattr(torch, "save", lambda *args: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with pytest.raises(UserError, match="No space"):
        save_classifier(classifier, tmp_path / "saved")
    assert sha256(tmp_path / "saved" / "weights.pt") == before
    assert [path.name for path in tmp_path.iterdir()] == ["saved"]


def test_bad_folders(classifier, tmp_path):
    with pytest.raises(MissingError, match=r"train_classifier\.py"):
        load_classifier(tmp_path / "absent")
    folder = tmp_path / "saved"
    save_classifier(classifier, folder)
    frontend = load_classifier(folder).description["frontend"]
    for entries in ({"labels": ["b", "a", "c"]}, {"frontend": {**frontend, "hop_length_ms": 5.0}}, {"task": "single"}):
        shutil.rmtree(folder)
        save_classifier(classifier, folder)
        change(folder, **entries)
        with pytest.raises(UserError, match="damaged or changed"):
            load_classifier(folder)
    whole = (folder / "classifier.json").read_text()
    change(folder, classifier="resnet")
    with pytest.raises(UserError, match="expected one of"):
        load_classifier(folder)
    (folder / "classifier.json").write_text(whole.replace('"labels"', '"classes"'))
    with pytest.raises(UserError, match="lacks 'labels', expected a list of texts"):
        load_classifier(folder)
    (folder / "classifier.json").write_text("{")
    with pytest.raises(UserError, match="not valid JSON"):
        load_classifier(folder)
    (folder / "classifier.json").write_text(whole)
    (folder / "weights.pt").unlink()
    with pytest.raises(MissingError, match="no weights"):
        load_classifier(folder)


def test_thresholds_come_back_and_make_another_classifier(classifier, tmp_path):
    plain = save_classifier(classifier, tmp_path / "plain")
    assert "thresholds" not in json.loads((tmp_path / "plain" / "classifier.json").read_text())
    digest = save_classifier(classifier.use_thresholds([0.2, 0.5, 1 / 3]), tmp_path / "saved")
    assert digest != plain
    loaded = load_classifier(tmp_path / "saved")
    assert loaded.thresholds.tolist() == [0.2, 0.5, 1 / 3]
    assert save_classifier(loaded, tmp_path / "again") == digest
    change(tmp_path / "saved", thresholds=[0.2, 0.5, 0.3])
    with pytest.raises(UserError, match="damaged or changed"):
        load_classifier(tmp_path / "saved")
    change(tmp_path / "saved", thresholds=[0.2, 0.5, 1.5])
    with pytest.raises(UserError, match="thresholds"):
        load_classifier(tmp_path / "saved")


def test_thresholds_that_do_not_fit_are_refused(classifier):
    with pytest.raises(UserError, match="got 2 thresholds and task 'multi', expected none, or one for each of the 3"):
        classifier.use_thresholds([0.5, 0.5])
    with pytest.raises(UserError, match="a threshold is 1, expected probabilities between 0 and 1"):
        classifier.use_thresholds([0.5, 1.0, 0.5])
    single = CompactClassifier(["a", "b"], n_mels=16, channels=(2, 4, 4, 8))
    with pytest.raises(UserError, match="got 2 thresholds and task 'single'"):
        single.use_thresholds([0.5, 0.5])


def test_what_is_heard_and_what_is_explained(classifier):
    logits = torch.tensor([[2.0, -2.0, 0.0], [-1.0, -3.0, -2.0], [5.0, 5.0, 5.0]])
    assert classifier.heard(logits).int().tolist() == [[1, 0, 1], [0, 0, 0], [1, 1, 1]]
    assert classifier.active(logits).int().tolist() == [[1, 0, 1], [1, 0, 0], [1, 1, 1]]  # the highest where none is
    classifier.use_thresholds([0.9, 0.1, 0.5])
    assert classifier.heard(logits).int().tolist() == [[0, 1, 1], [0, 0, 0], [1, 1, 1]]
    single = CompactClassifier(["a", "b", "c"], n_mels=16, channels=(2, 4, 4, 8))
    assert single.heard(logits).int().tolist() == [[1, 0, 0], [1, 0, 0], [1, 0, 0]]
    assert single.active(logits).int().tolist() == [[1, 0, 0], [1, 0, 0], [1, 0, 0]]
