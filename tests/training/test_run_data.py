"""The clips of a run, from its folder alone: as the run heard them, wherever their sounds lie now."""

import json
import shutil

import pytest
import torch

from interpretability.classifiers import load_classifier
from interpretability.data.audio import ClipCache
from interpretability.errors import MissingError, UserError
from interpretability.training.run_data import read_run_data


@pytest.fixture
def run(tiny_classifier_folder, tmp_path):
    return shutil.copytree(tiny_classifier_folder.parent, tmp_path / "run")


def test_a_clip_is_found_by_its_id_and_is_what_the_run_heard(tiny_classifier_folder, tiny_esc50):
    classifier = load_classifier(tiny_classifier_folder)
    for folder in (tiny_classifier_folder.parent, tiny_classifier_folder):
        data = read_run_data(folder)
        assert data.prepared.data_root == tiny_esc50
        assert data.prepared.labels == classifier.labels
        clip = data.clip("middle-2", classifier)
        assert (clip.split, clip.label) == ("test", "middle")
        assert clip.path == tiny_esc50 / "audio" / "middle-2.wav"
        rate = classifier.frontend.settings.sample_rate
        assert torch.equal(clip.sounds.wavs[0], ClipCache(None, rate).load(str(clip.path)))
    with pytest.raises(MissingError, match=r"has no clip 'middle-9' among its 18: did you mean middle-"):
        data.split_of("middle-9")
    with pytest.raises(MissingError, match=r"has no clip 'x' among its 18, such as "):
        data.split_of("x")
    with pytest.raises(UserError, match=r"has no split 'dev', expected one of train, valid, test"):
        data.dataset("dev", classifier)


def test_its_length_is_that_of_the_run(run):
    record = json.loads((run / "run.json").read_text("utf-8"))
    (run / "run.json").write_text(json.dumps({**record, "clip_seconds": 0.25, "fixed_length": True}), "utf-8")
    clip = read_run_data(run).clip("middle-2", load_classifier(run))
    assert clip.sounds.wavs.shape == (1, 2000)


def test_moved_data_are_found_by_one_option(run, tiny_esc50, tmp_path):
    yaml = run / "hyperparams.yaml"
    yaml.write_text(yaml.read_text("utf-8").replace(str(tiny_esc50), str(tmp_path / "before")), "utf-8")
    with pytest.raises(MissingError, match=r"were in .*before, which is not there: if they were moved, give --data_fo"):
        read_run_data(run)
    assert read_run_data(run, tiny_esc50).clip("low-2", load_classifier(run)).label == "low"
    with pytest.raises(MissingError, match=r"elsewhere: no such data folder"):
        read_run_data(run, tmp_path / "elsewhere")


def test_a_folder_that_lacks_a_part(run, tmp_path):
    for name, words in (("manifests/labels.json", "labels.json"), ("manifests", "no manifests"), ("run.json", "run")):
        path = run / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()
        with pytest.raises(MissingError, match=words):
            read_run_data(run)
