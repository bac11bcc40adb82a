"""An interpreter's folder: with its classifier inside, and picky about what it loads."""

import json

import pytest
import torch

from interpretability.classifiers import save_classifier
from interpretability.classifiers.compact import CompactClassifier
from interpretability.errors import MissingError, UserError
from interpretability.files import LISTING
from interpretability.methods import load_interpreter, save_interpreter
from interpretability.methods.piq import PIQ


@pytest.fixture
def folder(tmp_path):
    torch.manual_seed(0)
    classifier = CompactClassifier(["a", "b"], n_mels=16, channels=(2, 2, 4, 4))
    interpreter = PIQ(classifier, codebook_size=6, channels=4, decoder_channels=(4, 2))
    save_interpreter(interpreter, tmp_path / "run" / "interpreter", {"seed": 3})
    return tmp_path / "run" / "interpreter"


def change(folder, **entries):
    path = folder / "interpreter.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **entries}))


def test_what_is_inside(folder):
    names = sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())
    names = [name for name in names if not name.endswith(LISTING)]
    assert names == ["classifier/classifier.json", "classifier/weights.pt", "interpreter.json", "weights.pt"]
    description = json.loads((folder / "interpreter.json").read_text())
    assert description["method"] == "piq"
    assert description["training"] == {"seed": 3}
    assert description["classifier_sha256"] == json.loads((folder / "classifier/classifier.json").read_text())["sha256"]
    settings = load_interpreter(folder).settings
    assert settings == load_interpreter(folder.parent).settings
    assert settings.to_dict() == description["settings"]


def test_it_can_be_moved(folder, tmp_path):
    moved = folder.rename(tmp_path / "elsewhere")
    assert load_interpreter(moved).NAME == "piq"


def test_another_classifier_inside_is_noticed(folder):
    torch.manual_seed(1)
    save_classifier(CompactClassifier(["a", "b"], n_mels=16, channels=(2, 2, 4, 4)), folder / "classifier")
    with pytest.raises(UserError, match="not the classifier"):
        load_interpreter(folder)


def test_bad_folders(folder, tmp_path):
    with pytest.raises(MissingError, match="no run folder"):
        load_interpreter(tmp_path / "absent")
    (tmp_path / "empty").mkdir()
    with pytest.raises(MissingError, match="finish training"):
        load_interpreter(tmp_path / "empty")
    weights = folder / "weights.pt"
    whole = weights.read_bytes()
    weights.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UserError, match="damaged"):
        load_interpreter(folder)
    weights.write_bytes(whole)
    settings = load_interpreter(folder).settings.to_dict()
    change(folder, settings={**settings, "codebook_size": 8})
    with pytest.raises(UserError, match="do not fit"):
        load_interpreter(folder)
    change(folder, settings={"size": 8})
    with pytest.raises(UserError, match="piq has no setting 'size'"):
        load_interpreter(folder)
    change(folder, settings=None)
    with pytest.raises(UserError, match="settings is None, expected a mapping"):
        load_interpreter(folder)
    change(folder, method="magic")
    with pytest.raises(UserError, match="expected one of"):
        load_interpreter(folder)
