"""Descriptions that hold anything else than what was written: one line that names file and member, at once.

The hashes are those of the changed contents: whoever makes such a file can make its hash.
"""

import json
import resource
import time
from functools import partial

import pytest
import torch

from interpretability.classifiers import folder as classifier_folder
from interpretability.classifiers import load_classifier, save_classifier
from interpretability.classifiers.compact import CompactClassifier
from interpretability.data.sounds import LABELS
from interpretability.data.synthetic import prepare_synthetic
from interpretability.dictionary import Dictionary
from interpretability.errors import UserError
from interpretability.files import sha256
from interpretability.frontend import FrontendSettings
from interpretability.methods import load_interpreter, save_interpreter
from interpretability.methods.piq import PIQ
from interpretability.training.record import read_record

FRONTEND = {"sample_rate": 8000, "n_fft": 64, "win_length_ms": 8.0, "hop_length_ms": 4.0}
SYNTHETIC = {"seed": 1, "n_train": 10, "n_valid": 10, "n_test": 10, "seconds": 1.0}
ABSENT = object()

NOT_TEXT = ([], 5, None, {})
NOT_NUMBER = ([], {}, "much", None, True)
NOT_MAPPING = ([], 5, "x", None)
SIZE = (*NOT_NUMBER, -1, 0, 1.5, 10**10)
LENGTH = (*NOT_NUMBER, -1.0, 0, 1e9)
#: File -> member -> what does not belong there.
WRONG = {
    "classifier.json": {
        "classifier": (*NOT_TEXT, "resnet", ABSENT),
        "labels": (5, "a", None, [1, 2], ["a", "a"], [], {}, ABSENT),
        "task": (*NOT_TEXT, "several", ABSENT),
        "frontend": (*NOT_MAPPING, {"size": 3}, ABSENT),
        "frontend.sample_rate": (*SIZE, 10**12),
        "frontend.n_fft": ([], "x", -1, 0, 1.5, 10**10, 32),
        "frontend.win_length_ms": LENGTH,
        "frontend.hop_length_ms": LENGTH,
        "frontend.level": (*NOT_TEXT, "loud"),
        "architecture": (*NOT_MAPPING, {"size": 3}, {"labels": ["x"]}, ABSENT),
        "architecture.n_mels": (*SIZE, 10**9),
        "architecture.channels": (5, "x", None, [], [-1], [10**9] * 4, ["4"] * 4),
        "architecture.dropout": (*NOT_NUMBER, -1, 2),
        "sha256": (*NOT_TEXT, ABSENT),
        "training": NOT_MAPPING,
    },
    "interpreter.json": {
        "method": (*NOT_TEXT, "magic", ABSENT),
        "settings": (*NOT_MAPPING, {"size": 8}, ABSENT),
        "settings.codebook_size": (*SIZE, 1),
        "settings.shared_keys": (*NOT_NUMBER, -1, 10**10),
        "settings.channels": (*SIZE, 10**9),
        "settings.decoder_channels": (5, "x", None, [0], [10**9, 4]),
        "settings.apply": (*NOT_TEXT, "loud"),
        "settings.rec_weight": (*NOT_NUMBER, -1),
        "sha256": (*NOT_TEXT, ABSENT),
        "classifier_sha256": (*NOT_TEXT, ABSENT),
        "training": NOT_MAPPING,
    },
    "run.json": {
        "job": (*NOT_TEXT, "cook", ABSENT),
        "labels": (5, "a", None, [1], {}, ABSENT),
        "frontend": (*NOT_MAPPING, ABSENT),
        "data": (*NOT_MAPPING, ABSENT),
        "seed": ([], {}, "x", None, 1.5, ABSENT),
        "settings": NOT_MAPPING,
    },
    "synthetic.json": {
        "settings": (*NOT_MAPPING, {}, ABSENT),
        "settings.seed": (2, None, [], ABSENT),
        "clips": (*NOT_MAPPING, {}, ABSENT),
        "clips.train": (*NOT_MAPPING, [{}], ABSENT),
        "clips.train.0": (*NOT_MAPPING, {}),
        "clips.train.0.id": (*NOT_TEXT, "../x", "train-00001", "/etc/x", ABSENT),
        "clips.train.0.label": (*NOT_TEXT, "cat", ABSENT),
    },
    "dictionary.pt": {
        "matrix": (5, None, [], torch.ones(33), torch.ones(2, 2), -torch.ones(33, 2), torch.ones(33, 2).long()),
        "description": (*NOT_MAPPING, ABSENT),
        "description.frontend": (*NOT_MAPPING, {"size": 3}, ABSENT),
        "description.frontend.n_fft": (10**10, "x"),
        "description.labels": (5, "a", [1], ABSENT),
        "description.loss_curve": (5, ["x"], [float("nan")], ABSENT),
        "description.training": NOT_MAPPING,
        "description.sha256": (*NOT_TEXT, "0" * 64, ABSENT),
        "description.n_components": SIZE,
    },
}
#: What a whole file may be instead.
DAMAGE = {
    "cut": lambda text: text[: len(text) // 2],
    "Latin-1": lambda text: text.replace(b'"', b'"\xe9', 1),
    "nested": lambda text: b'{"training": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "NaN": lambda text: text.replace(b"{", b'{"more": NaN,', 1),
    "infinite": lambda text: text.replace(b"{", b'{"more": 1e999,', 1),
    "a list": lambda text: b"[" + text + b"]",
    "empty": lambda text: b"",
    "zeros": lambda text: bytes(len(text)),
}


def changed(content, place, value):
    """Return the content with another value at a place."""
    name, *rest = place
    key = int(name) if isinstance(content, list) else name
    copy = list(content) if isinstance(content, list) else dict(content)
    if rest:
        copy[key] = changed(content[key], rest, value)
    elif value is ABSENT:
        del copy[key]
    else:
        copy[key] = value
    return copy


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Name of a description -> its file, and what reads it."""
    root = tmp_path_factory.mktemp("descriptions")
    torch.manual_seed(0)
    classifier = CompactClassifier(["a", "b"], FRONTEND, n_mels=8, channels=(2, 2, 4, 4))
    save_classifier(classifier, root / "classifier")
    piq = PIQ(load_classifier(root / "classifier"), codebook_size=4, channels=4, decoder_channels=(4, 4))
    saved = root / "interpreter"
    save_interpreter(piq, saved)
    record = {"job": "interpreter", "labels": ["a"], "frontend": FRONTEND, "data": {}, "seed": 1, "settings": {}}
    (root / "run.json").write_text(json.dumps(record))
    synthetic = partial(prepare_synthetic, root / "synthetic", root / "manifests", **SYNTHETIC)
    clips = {
        split: [{"id": f"{split}-{index:05d}", "label": LABELS[index % len(LABELS)]} for index in range(10)]
        for split in ("train", "valid", "test")
    }
    settings = {"version": 1, **SYNTHETIC, "sample_rate": 16000, "shortcut_class": None, "shortcut_fraction": None}
    settings["shortcut_in_test"] = False
    (root / "synthetic").mkdir()
    (root / "synthetic" / "synthetic.json").write_text(json.dumps({"settings": settings, "clips": clips}))
    Dictionary(torch.eye(33)[:, :2], FrontendSettings(**FRONTEND), ["a"], "kl", [1.0], {}).save(root / "dictionary.pt")
    return {
        "classifier.json": (root / "classifier" / "classifier.json", partial(load_classifier, root / "classifier")),
        "interpreter.json": (saved / "interpreter.json", partial(load_interpreter, saved)),
        "run.json": (root / "run.json", partial(read_record, root)),
        "synthetic.json": (root / "synthetic" / "synthetic.json", synthetic),
        "dictionary.pt": (root / "dictionary.pt", partial(Dictionary.load, root / "dictionary.pt")),
    }


def write(path, content):
    if path.suffix == ".pt":
        torch.save(content, path)
        return
    if path.name == "classifier.json" and isinstance(content.get("sha256"), str):
        identity = {key: content.get(key) for key in classifier_folder.IDENTITY}
        content["sha256"] = classifier_folder.digest_of(sha256(path.with_name("weights.pt")), identity)
    path.write_text(json.dumps(content))


def refused(path, read):
    """Read a file that is wrong; return the line."""
    began, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(UserError) as caught:
        read()
    assert time.perf_counter() - began < 10
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 600_000  # kB
    text = str(caught.value)
    assert str(path) in text or str(path.parent) in text
    assert len(text) < 2 * len(str(path)) + 500
    assert text.isprintable()
    return text


N_VALUES = sum(len(values) for members in WRONG.values() for values in members.values())


@pytest.mark.parametrize(("name", "place"), [(name, place) for name, members in WRONG.items() for place in members])
def test_a_member_that_is_something_else_is_one_line_that_names_it(files, name, place):
    path, read = files[name]
    whole = path.read_bytes()
    content = torch.load(path, weights_only=True) if path.suffix == ".pt" else json.loads(whole)
    try:
        for value in WRONG[name][place]:
            write(path, changed(content, place.split("."), value))
            text = refused(path, read)
            words = [part for part in place.split(".") if not part.isdigit()]
            words = (
                words[-1],
                words[0],
                "class names",
                "front end",
                "a dictionary of shape",
                "a dictionary with",
                "has no setting",
                "made with",
                "damaged",
            )
            assert any(word in text for word in words), text
    finally:
        path.write_bytes(whole)


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
@pytest.mark.parametrize("name", [name for name in WRONG if name.endswith(".json")])
def test_a_damaged_file_is_one_line_that_names_it(files, name, damage):
    path, read = files[name]
    whole = path.read_bytes()
    try:
        path.write_bytes(damage(whole))
        assert path.name in refused(path, read)
    finally:
        path.write_bytes(whole)


def test_networks_that_outgrow_the_weights_are_refused_before_they_are_made(files):
    path, read = files["interpreter.json"]
    whole = path.read_bytes()
    try:
        write(path, changed(json.loads(whole), ["settings", "channels"], 2**16))
        assert "asks for a network larger than the weights beside it" in refused(path, read)
    finally:
        path.write_bytes(whole)


def test_the_files_that_the_cases_start_from_are_right(files):
    for name in ("classifier.json", "interpreter.json", "run.json", "dictionary.pt"):
        files[name][1]()
    assert N_VALUES > 150
