"""Any source of a classifier: each kind is opened in its own way, and what does not fit is reported in one line."""

import inspect

import pytest
import tiny
import torch
from safetensors.torch import save_file
from tiny import LABELS

from interpretability.classifiers import load_classifier, open_classifier, save_classifier
from interpretability.classifiers.compact import CompactClassifier
from interpretability.classifiers.sources import OPENERS, SourceSettings, read_labels
from interpretability.dictionary import Dictionary
from interpretability.errors import MissingError, UserError
from interpretability.methods import load_interpreter
from interpretability.methods.gradients import Gradients

#: A model whose class draws nothing: it has weights of its own.
FIXED = """
import torch
from someones_models import Net

class Fixed(Net):
    def __init__(self):
        with torch.random.fork_rng():
            super().__init__()
"""


@pytest.fixture(scope="module")
def hugging_face_folder(tmp_path_factory):
    return tiny.save_transformers_model(tmp_path_factory.mktemp("hf") / "model", LABELS, kind="hubert")


def test_a_folder_of_ours(tmp_path):
    save_classifier(CompactClassifier(LABELS, n_mels=16, channels=(2, 2, 4, 4)), tmp_path / "saved")
    classifier = open_classifier(tmp_path / "saved")
    assert (classifier.NAME, classifier.labels, classifier.frozen) == ("compact", LABELS, True)
    assert open_classifier(str(tmp_path / "saved"), task=None).labels == LABELS  # None counts as not given
    with pytest.raises(UserError, match="takes no task, a saved classifier's folder has all settings"):
        open_classifier(tmp_path / "saved", task="multi")
    with pytest.raises(MissingError, match="no classifier in"):
        open_classifier(tmp_path / "nowhere")


@pytest.mark.parametrize("place", ["classifier", "interpreter/classifier"])
def test_the_folder_of_a_run(tmp_path, place):
    save_classifier(CompactClassifier(LABELS, n_mels=16, channels=(2, 2, 4, 4)), tmp_path / place)
    assert open_classifier(tmp_path).labels == LABELS
    assert open_classifier((tmp_path / place).parent).labels == LABELS


def test_a_folder_with_a_colon_in_its_name(tmp_path):
    folder = tmp_path / "12:30" / "saved"
    save_classifier(CompactClassifier(LABELS, n_mels=16, channels=(2, 2, 4, 4)), folder)
    assert open_classifier(folder).labels == LABELS


def test_a_model_of_transformers(hugging_face_folder):
    classifier = open_classifier(f"hf:{hugging_face_folder}", level="peak", layers=["hubert.encoder.layers.0"])
    assert (classifier.NAME, classifier.labels, classifier.frozen) == ("huggingface", LABELS, True)
    assert classifier.frontend.settings.level == "peak"
    assert [layer.name for layer in classifier.layers] == ["hubert.encoder.layers.0"]


def test_a_module_of_torch(package, tmp_path):
    classifier = open_classifier(
        f"torch:{package}:Net", labels=LABELS, sample_rate=8000, arguments={"width": 5}, task="multi"
    )
    assert (classifier.NAME, classifier.task, classifier.frontend.settings.sample_rate) == ("torch", "multi", 8000)
    assert classifier.frozen
    state = {name: value + 1 for name, value in classifier.module.state_dict().items()}
    torch.save(state, tmp_path / "net.pt")
    again = open_classifier(f"torch:{package}:Net", labels=LABELS, arguments={"width": 5}, weights=tmp_path / "net.pt")
    assert all(torch.equal(value, state[name]) for name, value in again.module.state_dict().items())
    assert again.frontend.settings.sample_rate == 16000
    save_classifier(again, tmp_path / "saved")
    reopened = open_classifier(tmp_path / "saved", trust_remote_code=True)
    assert torch.equal(reopened.module.conv.weight, again.module.conv.weight)


def test_weights_that_are_only_those_of_chance_are_not_passed_over_in_silence(package, tmp_path, caplog):
    """Untrained networks are explained in sanity checks, on purpose: then nothing is warned of, and it stays known."""
    source = f"torch:{package}:Net"
    unsaid = open_classifier(source, labels=LABELS, sample_rate=8000)
    assert "no weights given: the model has the weights that its class makes: random ones" in caplog.text
    caplog.clear()
    meant = open_classifier(source, labels=LABELS, sample_rate=8000, weights="none")
    torch.save(meant.module.state_dict(), tmp_path / "net.pt")
    trained = open_classifier(source, labels=LABELS, sample_rate=8000, weights=tmp_path / "net.pt")
    (tmp_path / "fixed.py").write_text(FIXED)
    fixed = open_classifier("torch:fixed:Fixed", labels=LABELS, sample_rate=8000)
    assert not caplog.records
    assert trained.notes == fixed.notes == ()
    explanation = Gradients(unsaid, n_steps=2).explain(tiny.noise(1, 4000))
    assert unsaid.notes == meant.notes == explanation.notes
    assert "random ones" in explanation.describe()["notes"][0]
    save_classifier(meant, tmp_path / "saved")
    assert open_classifier(tmp_path / "saved", trust_remote_code=True).notes == meant.notes


def test_the_home_folder_is_meant_by_a_tilde(hugging_face_folder, package, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    save_classifier(CompactClassifier(LABELS, n_mels=16, channels=(2, 2, 4, 4)), tmp_path / "saved")
    assert open_classifier("~/saved").labels == LABELS
    assert load_classifier("~/saved").labels == LABELS
    (tmp_path / "model").symlink_to(hugging_face_folder)
    assert open_classifier("hf:~/model").labels == LABELS
    torch.save(torch.nn.Linear(2, 3).state_dict(), tmp_path / "other.pt")
    with pytest.raises(UserError, match=rf"{tmp_path}/other.pt: weights do not fit"):
        open_classifier(f"torch:{package}:Net", labels=LABELS, weights="~/other.pt")
    (tmp_path / "empty").mkdir()
    for opened in ("speechbrain:~/empty", "hf:~/empty", "~/empty"):
        with pytest.raises(MissingError, match=rf"in {tmp_path}/empty"):
            open_classifier(opened)
    for load in (load_interpreter, Dictionary.load):
        with pytest.raises(MissingError, match=f"{tmp_path}/(empty|absent)"):
            load("~/absent")


def test_weights_that_do_not_fit(package, tmp_path):
    torch.save(torch.nn.Linear(2, 3).state_dict(), tmp_path / "other.pt")
    with pytest.raises(UserError, match="weights do not fit Net"):
        open_classifier(f"torch:{package}:Net", labels=LABELS, weights=tmp_path / "other.pt")


@pytest.mark.parametrize(
    ("name", "wrap"),
    [
        ("net.safetensors", lambda state: state),
        (
            "best.ckpt",
            lambda state: {"state_dict": {f"model.{name}": value for name, value in state.items()}, "epoch": 3},
        ),
        ("last.pt", lambda state: {"model": {f"module.{name}": value for name, value in state.items()}}),
    ],
)
def test_files_of_weights_as_people_have_them(package, tmp_path, name, wrap):
    torch.manual_seed(7)
    state = open_classifier(f"torch:{package}:Net", labels=LABELS, weights="none").module.state_dict()
    save = save_file if name.endswith("safetensors") else torch.save
    save(wrap(state), tmp_path / name)
    again = open_classifier(f"torch:{package}:Net", labels=LABELS, weights=tmp_path / name)
    assert all(torch.equal(value, state[name]) for name, value in again.module.state_dict().items())


def test_sources_that_are_none(package):
    for source, message in (
        ("keras:model.h5", "unknown kind of source 'keras', expected hf:, speechbrain:, torch:, python:, onnx:"),
        ("hf:", "hf: names no model: write hf:FOLDER"),
        ("torch:", "write torch:package.module:Class"),
        ("python:", "write python:package.module:function"),
        ("onnx:", "write onnx:FILE"),
        (f"torch:{package}:Net", "give labels, in the order of the logits"),
    ):
        with pytest.raises(UserError, match=message):
            open_classifier(source)
    with pytest.raises(UserError, match="takes no weights, expected among labels, task, layers, level, scale"):
        open_classifier("hf:nowhere", weights="x.pt")
    with pytest.raises(MissingError, match="nowhere"):
        open_classifier("speechbrain:nowhere")
    assert sorted(OPENERS) == ["hf", "jit", "onnx", "python", "speechbrain", "tflite", "torch"]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"labels": "yes,no"}, "labels: not valid JSON .*give @FILE .one class name per line. or a JSON list"),
        ({"labels": "@nowhere.txt"}, "no class names at nowhere.txt: give a text file with one name per line"),
        ({"labels": "[" * 100000}, "nested deeper.*give @FILE .one class name per line. or a JSON list of names"),
        ({"labels": 3}, "labels is 3, expected a list of texts"),
        ({"layers": "conv"}, "layers is 'conv', expected a list of texts"),
        ({"layers": 2}, "layers is 2, expected a list of texts"),
        ({"sample_rate": "16k"}, "sample_rate is '16k', expected a number"),
        ({"arguments": 4}, "arguments is 4, expected a mapping"),
        ({"weights": 1}, "weights is 1, expected text"),
        ({"task": ["multi"]}, "task is .'multi'., expected one of null, single, multi"),
    ],
)
def test_settings_of_the_wrong_kind(package, settings, message):
    with pytest.raises(UserError, match=message):
        open_classifier(f"torch:{package}:Net", **{"labels": LABELS, **settings})


def test_every_setting_is_declared():
    taken = {name for opener in OPENERS.values() for name in list(inspect.signature(opener).parameters)[1:]}
    assert taken | {"card"} == {info.name for info in SourceSettings.infos()}


def test_class_names_of_every_form_are_the_same(tmp_path):
    plain, listed = tmp_path / "labels.txt", tmp_path / "labels.json"
    plain.write_text("\ufeffsea\n\n rain \nthé\n", "utf-8")
    listed.write_text('["sea", "rain", "thé"]', "utf-8")
    for given in (f"@{plain}", plain, f"@{listed}", listed, '["sea", "rain", "thé"]'):
        assert read_labels(given) == ["sea", "rain", "thé"], given
    listed.write_text('{"sea": 0}', "utf-8")
    with pytest.raises(UserError, match=r"labels.json: got .*expected a list of texts; give @FILE"):
        read_labels(listed)


def test_class_names_from_a_table(tmp_path):
    (tmp_path / "map.csv").write_text('index,mid,display_name\n0,/m/1,Speech\n1,/m/2,"Child speech, kid"\n', "utf-8")
    assert read_labels(f"@{tmp_path / 'map.csv'}") == ["Speech", "Child speech, kid"]
    (tmp_path / "other.csv").write_text("index,mid\n0,/m/1\n", "utf-8")
    with pytest.raises(UserError, match=r"other.csv: its columns are 'index', 'mid', expected display_name or label"):
        read_labels(tmp_path / "other.csv")
    (tmp_path / "empty.csv").write_text("", "utf-8")
    assert read_labels(tmp_path / "empty.csv") == []
    (tmp_path / "lines.csv").write_text("dog\ncat\n", "utf-8")
    assert read_labels(tmp_path / "lines.csv") == ["dog", "cat"]
    (tmp_path / "sorted.csv").write_text("index,name\n1,cat\n0,dog\n", "utf-8")
    assert read_labels(tmp_path / "sorted.csv") == ["dog", "cat"]
    (tmp_path / "short.csv").write_text("index,name\n0,dog\n1\n", "utf-8")
    with pytest.raises(UserError, match=r"short.csv: row 3 has no name: give each class a name"):
        read_labels(tmp_path / "short.csv")
