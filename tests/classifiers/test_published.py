"""Folders laid out like SpeechBrain's published ones open as they are, and are what importing makes of them."""

import os
import shutil

import published_layouts
import pytest
import torch
from payloads import HELPERS, RUNNING
from published_layouts import LABELS
from tiny import noise

from interpretability import explain, load_interpreter, open_classifier
from interpretability.classifiers import load_classifier, save_classifier
from interpretability.classifiers.published import PUBLISHED, read_layout
from interpretability.errors import MissingError, UserError
from interpretability.methods import is_interpreter_folder
from interpretability.published import import_published

pytestmark = pytest.mark.slow  # published networks and folders; others of their kind are quick

#: Sizes that importing has to be told where a folder's YAML is not asked.
SIZES = {
    "cnn14": {"emb_dim": 4},
    "vit": {},
    "focalnet": {},
}


@pytest.mark.parametrize("kind", ["cnn14", "vit", "focalnet"])
def test_it_opens_as_importing_makes_it(kind, tmp_path):
    folder = published_layouts.make(tmp_path / "published", kind)
    config = {"config": folder} if kind != "cnn14" else {}
    imported = import_published(kind, tmp_path / "imported", source=folder, **SIZES[kind], **config)
    opened, wavs = open_classifier(folder), noise(2, 16000)
    assert opened.labels == imported.labels == LABELS
    assert opened.frozen
    assert torch.equal(opened.analyse(wavs).output.logits, imported.analyse(wavs).output.logits)
    assert opened.description["sha256"] == load_classifier(tmp_path / "imported").description["sha256"]
    assert not is_interpreter_folder(folder)
    assert len(explain(str(folder), wavs, method="saliency")) == 2
    save_classifier(opened, tmp_path / "saved")
    assert load_classifier(tmp_path / "saved").description["sha256"] == opened.description["sha256"]


@pytest.fixture(scope="module")
def cnn14(tmp_path_factory):
    return published_layouts.make(tmp_path_factory.mktemp("cnn14") / "published", "cnn14")


@pytest.fixture
def folder(cnn14, tmp_path):
    """A CNN14, which is large: its files are those of another folder, and only the YAML may be changed."""
    return shutil.copytree(cnn14, tmp_path / "published", copy_function=os.link)


def change(folder, old, new):
    text = (folder / "hyperparams.yaml").read_text("utf-8")
    assert old in text
    (folder / "hyperparams.yaml").unlink()
    (folder / "hyperparams.yaml").write_text(text.replace(old, new), "utf-8")


def test_the_published_sizes_are_those_without_a_description(tmp_path):
    for kind in ("vit", "focalnet"):
        folder = published_layouts.make(tmp_path / kind, kind)
        (folder / "config.json").write_text('{"speechbrain_interface": "AudioClassifier"}')
        assert read_layout(folder).settings["config"] == PUBLISHED[kind].settings["config"]
        with pytest.raises(UserError):
            load_classifier(folder)  # the files are smaller


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("spec_mag_power: 0.5", "spec_mag_power: 1.0", "spec_mag_power is 1.0, expected 0.5"),
        ("log_mel: True", "log_mel: False", "log_mel is False and use_log1p_mel is False"),
        ("label_encoder: !new:speechbrain.dataio.encoder.CategoricalEncoder", "other: 1", "has no label_encoder"),
        ("        classifier: !ref <classifier>\n        \n", "\n", "its pretrainer loads no file into classifier"),
        ("emb_dim: 4", "emb_dim: 1000000000", "emb_dim"),
        ("emb_dim: 4", "emb_dim: [4]", "emb_dim"),
        ("mel_bins: 80", "mel_bins: 2000", "weights do not fit|larger than the weights"),
    ],
)
def test_what_cannot_be_followed_is_one_line(old, new, words, folder):
    change(folder, old, new)
    with pytest.raises(UserError, match=words) as caught:
        load_classifier(folder)
    assert str(caught.value).isprintable()


def test_files_outside_of_the_folder_are_not_read(folder, tmp_path):
    """Whatever path stands in the YAML, the file is the one of that name in the folder, and no link out of it."""
    change(folder, "pretrained_path: speechbrain/cnn14-esc50", "pretrained_path: ../elsewhere")
    load_classifier(folder)
    (tmp_path / "elsewhere").mkdir()
    (folder / "classifier.ckpt").rename(tmp_path / "elsewhere" / "classifier.ckpt")
    with pytest.raises(MissingError, match=r"no classifier\.ckpt in .*copy it there"):
        load_classifier(folder)
    (folder / "classifier.ckpt").symlink_to(tmp_path / "elsewhere" / "classifier.ckpt")
    with pytest.raises(UserError, match="leads out of its folder"):
        load_classifier(folder)


def test_a_yaml_that_would_run_code_runs_nothing(folder, tmp_path):
    """What is refused is refused when it is read, and what is left is never built."""
    mark = tmp_path / "mark"
    (folder / "hyperparams.yaml").unlink()
    (folder / "hyperparams.yaml").write_text(published_layouts.yaml_of("cnn14"), "utf-8")
    whole, refused = (folder / "hyperparams.yaml").read_text("utf-8"), 0
    for line in RUNNING.values():
        (folder / "hyperparams.yaml").write_text(f"{whole}{HELPERS}evil: {line}\n".replace("MARK", str(mark)), "utf-8")
        try:
            read_layout(folder)
        except UserError:
            refused += 1
        assert not mark.exists(), line
    assert refused > len(RUNNING) / 2
    change(folder, whole, whole.replace("emb_dim: 4", "emb_dim: !apply:torch.hub.load [x]"))
    with pytest.raises(UserError):
        load_classifier(folder)


class Bomb:
    """Runs a command when it is unpickled."""

    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return os.system, (f"touch {self.mark}",)


@pytest.mark.parametrize("kind", published_layouts.NAMES)
def test_a_pickle_that_runs_code_is_not_opened(kind, tmp_path):
    """In each file of weights, and as label encoder."""
    folder, mark = published_layouts.make(tmp_path / "published", kind), tmp_path / "mark"
    for path in [*folder.glob("*.ckpt"), folder / "label_encoder.txt"]:
        whole = path.read_bytes()
        for content in (Bomb(mark), {"weight": Bomb(mark)}):
            torch.save(content, path)
            with pytest.raises(UserError, match=path.name) as caught:
                load_interpreter(folder) if kind == "piq" else load_classifier(folder)
            assert str(caught.value).isprintable()
        path.write_bytes(whole)
    assert not mark.exists()


def test_a_run_and_other_folders_are_none(tmp_path, tiny_piq_run):
    assert read_layout(tiny_piq_run) is None
    assert read_layout(tmp_path) is None
    (tmp_path / "hyperparams.yaml").write_text("modules:\n    a: 1\npretrainer: 3\n")
    assert read_layout(tmp_path) is None
    with pytest.raises(MissingError, match="no classifier in"):
        load_classifier(tmp_path)
