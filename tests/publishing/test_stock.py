"""What SpeechBrain itself loads of a published folder, and that it gives the same."""

import exported_folders
import pytest
import torch
from exported_folders import LABELS
from hyperpyyaml import load_hyperpyyaml
from speechbrain.inference.interpretability import PIQAudioInterpreter

from interpretability.classifiers import load_classifier
from interpretability.errors import UserError
from interpretability.exported import BUILT, CONFIG
from interpretability.methods import load_interpreter
from interpretability.methods.lmac import LMAC
from interpretability.methods.piq import PIQ
from interpretability.publishing.stock import _FOREIGN, _STOCK, FOREIGN, STOCK, interface_of, write_stock
from interpretability.reading import read_object
from interpretability.safe_yaml import parse


def snr(wanted, got):
    """Signal-to-noise ratio in dB."""
    return float(10 * torch.log10(wanted.square().sum() / (wanted - got).square().sum()))


@pytest.mark.slow
def test_speechbrains_own_class_gives_the_same_sound(stock_folder):
    assert read_object(stock_folder / CONFIG)["speechbrain_interface"] == STOCK
    theirs, ours = PIQAudioInterpreter.from_hparams(source=str(stock_folder)), load_interpreter(stock_folder)
    wavs = exported_folders.sounds().repeat(1, 5)
    explanation = ours.explain(wavs)
    sound, labels = theirs.interpret_batch(wavs)
    assert labels == [[LABELS[index] for index in explanation.target]]
    assert len(set(labels[0])) > 1  # each takes the keys of its class
    # Its decoder draws fewer frames than there are, and it makes a sound of those.
    assert 0 <= wavs.shape[1] - sound.shape[1] < 15 * ours.frontend.settings.hop_length
    window = ours.frontend.settings.win_length
    count = sound.shape[1] - window
    for wanted, got in zip(explanation.listenable[:, :count], sound[:, :count], strict=True):
        assert snr(wanted, got) >= 60
    assert (explanation.mask.std((1, 2)) > 0.1).all()


def test_the_keys_that_its_authors_had_are_all_there(stock_folder):
    """The keys of the published ``hyperparams.yaml`` of speechbrain/PIQ-ESC50; no path and no name of a hub."""
    text = (stock_folder / "hyperparams.yaml").read_text("utf-8")
    keys = "sample_rate use_vq use_mask_output mask_th spec_mag_power label_encoder modules pretrainer"
    loaded = load_hyperpyyaml(text)
    assert set(keys.split()) <= loaded.keys()
    assert loaded["pretrainer"].paths == {}
    assert "anna" not in text
    for name in loaded["pretrainer"].loadables:
        assert (stock_folder / f"{name}.ckpt").is_file()


@pytest.mark.parametrize(
    ("settings", "interface"),
    [
        ({}, STOCK),
        ({"codebook_size": 40}, STOCK),
        ({"shared_keys": 3}, FOREIGN),  # which it lets a class use in validation alone
        ({"codebook_size": 300}, FOREIGN),  # it would round the classes' shares in another way: 101, 99, 100
        ({"codebook_size": 300, "partition": "published"}, STOCK),
        ({"apply": "linear"}, FOREIGN),
        ({"network": "compact", "channels": 4, "decoder_channels": (4, 4)}, FOREIGN),
    ],
)
def test_only_what_it_gives_the_same_for_is_laid_out_for_it(settings, interface):
    settings = {"network": "published", "codebook_size": 30, **settings}
    assert interface_of(PIQ(exported_folders.settled_conv2d(), **settings)) == interface


def test_other_methods_and_classifiers_are_for_our_interface():
    assert interface_of(None) == FOREIGN
    assert interface_of(LMAC(exported_folders.settled_conv2d(), channels=4, decoder_channels=(4, 4))) == FOREIGN


def test_what_the_yamls_build_is_what_loading_lets_pass():
    for text in (_STOCK, _FOREIGN):
        filled = text.format(rate="sample_rate: 8000", stft="a: 1", encoder="a: 1", head="a: 1", psi="a: 1")
        tags = {node.tag.removeprefix("!new:") for node in parse(filled, "x", BUILT).whole().walk() if node.tag}
        assert tags <= {*BUILT}


def test_class_names_that_yaml_takes_for_something_else_come_back(stock_folder):
    assert load_interpreter(stock_folder).classifier.labels == LABELS
    assert load_classifier(stock_folder).labels == LABELS


def test_a_class_name_that_no_label_encoder_can_hold_is_one_line(tmp_path):
    classifier = exported_folders.settled_conv2d(["a", "b' => 1", "c"])
    with pytest.raises(UserError) as caught:
        write_stock(tmp_path, {}, classifier, None)
    assert "\n" not in str(caught.value)
