"""A folder laid out like ``speechbrain/PIQ-ESC50`` explains as SpeechBrain's own class does, without being imported."""

import exported_folders
import published_layouts
import pytest
import torch
from published_layouts import LABELS
from speechbrain.inference.interpretability import PIQAudioInterpreter

from interpretability import explain, load_interpreter
from interpretability.classifiers import load_classifier
from interpretability.errors import UserError
from interpretability.methods import is_interpreter_folder, save_interpreter
from interpretability.published import import_published


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return published_layouts.make(tmp_path_factory.mktemp("layout") / "published", "piq")


def test_it_explains_as_speechbrains_class(folder, tmp_path):
    here = {"pretrained_path": str(folder)}
    theirs = PIQAudioInterpreter.from_hparams(str(folder), savedir=str(tmp_path / "savedir"), overrides=here)
    wavs = exported_folders.sounds().repeat(1, 2)
    explanation = load_interpreter(folder).explain(wavs)
    sound, labels = theirs.interpret_batch(wavs)
    assert labels == [[LABELS[index] for index in explanation.target]]
    count = sound.shape[1] - 372  # a window from its end
    wanted, got = explanation.listenable[:, :count], sound[:, :count]
    assert 10 * torch.log10(wanted.square().sum() / (wanted - got).square().sum()) >= 60
    assert explanation.mask.std() > 0.1
    assert is_interpreter_folder(folder)
    assert torch.equal(explain(str(folder), wavs).mask, explanation.mask)


def test_it_is_what_importing_makes_of_it(folder, tmp_path):
    import_published("piq", tmp_path / "imported", source=folder, dim=4, codebook_size=300)
    imported, opened = load_interpreter(tmp_path / "imported"), load_interpreter(folder)
    assert opened.settings == imported.settings
    for name in ("sha256", "classifier_sha256"):
        assert opened.description[name] == imported.description[name]
    assert load_classifier(folder).description["sha256"] == imported.description["classifier_sha256"]
    save_interpreter(opened, tmp_path / "saved", opened.description["training"])
    assert load_interpreter(tmp_path / "saved").description["sha256"] == opened.description["sha256"]


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("use_vq: true", "use_vq: False", "use_vq is False, expected True"),
        ("use_mask_output: true", "use_mask_output: False", "use_mask_output is False, expected True"),
        ("use_adapter: True", "use_adapter: False", "use_adapter is False, expected True"),
        ("    numclasses: !ref <out_n_neurons>\n", "", "psi has keys for 50 classes, and the label encoder has 3"),
        ("K: 300", "K: 1000000000", "codebook_size"),
        ("K: 300", "K: 2", "every class needs one"),
        ("VectorQuantizedPSI_Audio", "ResBlockAudio", "psi is .*ResBlockAudio"),
        ("n_fft: 1024", "n_fft: 100", "front end"),
    ],
)
def test_another_model_is_one_line(old, new, words, tmp_path):
    folder = published_layouts.make(tmp_path / "published", "piq")
    text = (folder / "hyperparams.yaml").read_text("utf-8")
    assert old in text
    (folder / "hyperparams.yaml").write_text(text.replace(old, new), "utf-8")
    with pytest.raises(UserError, match=words) as caught:
        load_interpreter(folder).explain(exported_folders.sounds())
    assert str(caught.value).isprintable()
