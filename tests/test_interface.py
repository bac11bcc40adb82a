"""The interface that SpeechBrain's ``foreign_class`` loads: as its own classes are called, and the same answers."""

import os

import exported_folders
import pytest
import torch
from exported_folders import LABELS
from speechbrain.inference.interfaces import foreign_class
from tiny import noise

from interpretability.classifiers import load_classifier, save_classifier
from interpretability.errors import UserError
from interpretability.interface import Model
from interpretability.methods import load_interpreter, save_interpreter
from interpretability.methods.lmac import LMAC


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """L-MAC on conv2d, published."""
    root = tmp_path_factory.mktemp("lmac")
    save_classifier(exported_folders.settled_conv2d(), root / "classifier")
    torch.manual_seed(0)
    lmac = LMAC(load_classifier(root / "classifier"), channels=4, decoder_channels=(4, 4))
    save_interpreter(lmac.eval(), root / "run" / "interpreter")
    return exported_folders.publish(root / "run", root / "published")


@pytest.fixture(scope="module")
def model(folder):
    return foreign_class(source=str(folder))


def test_it_explains_as_the_package_does(model, folder):
    wavs = noise(3, 16000)
    wanted = load_interpreter(folder).explain(wavs)
    sound, labels = model.interpret_batch(wavs)
    assert torch.equal(sound, wanted.listenable)
    assert labels == [[LABELS[index] for index in wanted.target]]
    assert torch.equal(model.explain(wavs, target="yes").mask, load_interpreter(folder).explain(wavs, target=1).mask)


def test_it_takes_a_file_of_any_rate(model, folder):
    sound, labels, rate = model.interpret_file(folder / "example" / "input.wav")
    assert rate == 16000
    assert sound.shape[0] == 1
    assert labels[0][0] in LABELS


def test_it_classifies(model, folder):
    wavs = noise(3, 16000)
    shares, highest, index, labels = model.classify_batch(wavs, torch.tensor([1.0, 0.5, 0.7]))
    wanted = load_classifier(folder).analyse(wavs, torch.tensor([1.0, 0.5, 0.7])).output.logits.softmax(1)
    torch.testing.assert_close(shares, wanted)
    assert torch.equal(highest, shares.amax(1))
    assert labels == [[LABELS[one] for one in index]]


class Bomb:
    """Runs a command when it is unpickled."""

    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return os.system, (f"touch {self.mark}",)


def test_a_pickle_that_runs_code_is_not_opened(folder, tmp_path):
    whole = torch.load(folder / "model.ckpt", weights_only=True)
    torch.save({**whole, "more": Bomb(tmp_path / "mark")}, tmp_path / "model.ckpt")
    with pytest.raises(UserError, match="not opened: it calls"):
        Model().transfer(tmp_path / "model.ckpt")
    assert not (tmp_path / "mark").exists()


def test_a_file_that_is_no_model_is_one_line(folder, tmp_path):
    for content, words in (
        ({"weight": torch.zeros(2)}, "no model with its description"),
        ({"description": "[1]"}, "expected a JSON object"),
        ({"description": '{"classifier": {"labels": 3}}'}, "lacks 'classifier'"),
    ):
        torch.save(content, tmp_path / "model.ckpt")
        with pytest.raises(UserError, match=words):
            Model().transfer(tmp_path / "model.ckpt")
    whole = torch.load(folder / "model.ckpt", weights_only=True)
    for name in ("classifier", "interpreter"):
        torch.save({**whole, name: {}}, tmp_path / "model.ckpt")
        with pytest.raises(UserError, match="weights do not fit"):
            Model().transfer(tmp_path / "model.ckpt")
        torch.save({**whole, name: [1]}, tmp_path / "model.ckpt")
        with pytest.raises(UserError, match=f"has no weights of the {name}"):
            Model().transfer(tmp_path / "model.ckpt")
