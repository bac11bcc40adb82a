"""Fine-tuning of classifiers: the head's rows by name, the frozen encoder, both stages, resuming, every kind."""

import re
import shutil

import pytest
import tiny
import torch
import transformers_models
from tiny import LABELS, SMALL

from interpretability.classifiers import load_classifier, open_classifier, save_classifier
from interpretability.classifiers.cnn14 import Cnn14Classifier
from interpretability.classifiers.compact import CompactClassifier
from interpretability.classifiers.conv2d import Conv2dClassifier
from interpretability.classifiers.focalnet import FocalNetClassifier
from interpretability.classifiers.vit import ViTClassifier
from interpretability.frontend import FrontendSettings
from interpretability.training import brain as brains
from interpretability.training.finetuning import Stage, Stages
from interpretability.transfer import take_over

#: Of the tiny data set ``low`` and ``high``, and another one.
OTHERS = {"shrill": 3500.0, "high": 2500.0, "low": 300.0}


@pytest.fixture(scope="module")
def other_data(tmp_path_factory):
    """A data set of the tiny one's layout, one of whose classes the tiny classifier does not know."""
    return tiny.make_data(tmp_path_factory.mktemp("other") / "data", OTHERS)


def tune(data, folder, source, yaml=None, **settings):
    return tiny.run("classifier", data, folder, yaml, finetune_from=source, **settings)


def state_of(folder):
    return load_classifier(folder).state_dict()


# ------------------------------------------------------------------------------------------------------- the stages


def test_each_stage_has_a_cycle_of_its_own():
    stages = Stages(freeze_epochs=2, lr_factor=0.1)
    assert [stages.freezes(epoch) for epoch in (1, 2, 3)] == [True, True, False]
    assert stages.of(2, 10) == Stage(0, 2, 1.0)
    assert stages.of(3, 10) == Stage(2, 8, 0.1)
    assert stages.of(1, 1) == Stage(0, 1, 1.0)
    assert Stages(0, 0.5).of(1, 4) == Stage(0, 4, 0.5)
    words = "epochs 1 to 2 train the head alone, lr 0.01; epochs 3 to 10 all of it, lr 0.001"
    assert stages.in_words(0.01, 10) == words
    assert "never trained, as freeze_epochs is 2" in stages.in_words(0.01, 2)
    assert Stages(0, 0.5).in_words(0.01, 3) == "all epochs train all of it, lr 0.005"


@pytest.mark.slow
def test_a_training_from_another_classifier(tiny_classifier_folder, other_data, tmp_path, monkeypatch):
    """The encoder stays as it is in the first stage, to the bit, and is trained in the second; rates are as said."""
    start, steps = state_of(tiny_classifier_folder), []

    def watch(self, batch, fit_batch=brains.ResumableBrain.fit_batch):
        loss = fit_batch(self, batch)
        classifier = self.bare("classifier")
        same = {
            name: torch.equal(value, start[name])
            for name, value in classifier.state_dict().items()
            if not name.startswith("head.")
        }
        steps.append((self.epoch, self.step, self.optimizer.param_groups[0]["lr"], classifier.training, same))
        return loss

    monkeypatch.setattr(brains.ResumableBrain, "fit_batch", watch)
    settings = {"number_of_epochs": 3, "freeze_epochs": 2, "lr": 0.01, "finetune_lr_factor": 0.5}
    outcome = tune(other_data, tmp_path / "run", tiny_classifier_folder.parent, **settings)
    assert outcome.code == 0, outcome.err
    for epoch, step, lr, training, same in steps:
        assert training == (epoch == 3)
        if epoch < 3:
            assert all(same.values()), [name for name in same if not same[name]]
            assert lr == pytest.approx(0.01 * brains.one_cycle((3 * (epoch - 1) + step - 1) / 6))
        else:
            assert not any(same.values()), [name for name in same if same[name]]
            assert lr == pytest.approx(0.005 * brains.one_cycle((step - 1) / 3))
    assert [place[:2] for place in steps] == [(epoch, step) for epoch in (1, 2, 3) for step in (1, 2, 3)]
    assert "kept: the encoder, and the head rows of high, low\n  made new: the head's rows of shrill\n" in outcome.out
    assert "epochs 1 to 2 train the head alone, lr 0.01; epochs 3 to 3 all of it, lr 0.005" in outcome.out
    saved = load_classifier(tmp_path / "run")
    assert saved.labels == ["shrill", "high", "low"]
    origin = saved.description["training"]["finetuned_from"]
    assert origin["sha256"] == load_classifier(tiny_classifier_folder).description["sha256"]
    assert origin["source"] == str(tiny_classifier_folder.parent)
    assert (origin["kept_classes"], origin["new_classes"]) == (["high", "low"], ["shrill"])
    assert (origin["freeze_epochs"], origin["lr_factor"]) == (2, 0.5)
    # The same command again: it is done. Another source, or none: another run.
    assert "already trained" in tune(other_data, tmp_path / "run", tiny_classifier_folder, **settings).out
    line = tune(other_data, tmp_path / "run", tiny_classifier_folder, **{**settings, "freeze_epochs": 1}).line
    assert "differs in finetuned_from (" in line
    assert "differs in finetuned_from" in tiny.run("classifier", other_data, tmp_path / "run", **settings).line


@pytest.mark.slow
def test_interrupted_in_either_stage_it_ends_as_if_it_had_not_been(
    tiny_classifier_folder, other_data, tmp_path, monkeypatch
):
    settings = {"number_of_epochs": 4, "freeze_epochs": 2, "lr": 0.01, "finetune_lr_factor": 0.5}
    whole = tune(other_data, tmp_path / "whole", tiny_classifier_folder, **settings)
    assert whole.code == 0, whole.err
    places = [(2, 2), (4, 2)]

    def interrupt(self, batch, fit_batch=brains.ResumableBrain.fit_batch):
        loss = fit_batch(self, batch)
        if places and (self.epoch, self.step) == places[0]:
            places.pop(0)
            raise KeyboardInterrupt
        return loss

    monkeypatch.setattr(brains.ResumableBrain, "fit_batch", interrupt)
    codes = [tune(other_data, tmp_path / "hit", tiny_classifier_folder, **settings).code for _ in range(3)]
    assert codes == [130, 130, 0]
    tiny.assert_same_run(tmp_path / "hit", tmp_path / "whole")


# ------------------------------------------------------------------------------------------------------ every kind

IMAGE = {"image_size": 32, "num_channels": 1}
VIT = {**IMAGE, "patch_size": 8, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
KINDS = {
    "compact": lambda: CompactClassifier(LABELS, SMALL, n_mels=16, channels=(4, 4, 8, 8)),
    "conv2d": lambda: Conv2dClassifier(LABELS, FrontendSettings(), dim=4, lin_neurons=6),
    "cnn14": lambda: Cnn14Classifier(LABELS, FrontendSettings(), emb_dim=16, base_channels=2),
    "cnn14, cosines": lambda: Cnn14Classifier(LABELS, FrontendSettings(), emb_dim=16, base_channels=2, head="cosine"),
    "vit": lambda: ViTClassifier(LABELS, SMALL, config={**VIT, "intermediate_size": 16}, image_frames=40),
    "focalnet": lambda: FocalNetClassifier(
        LABELS, SMALL, config={**IMAGE, "embed_dim": 8, "depths": [1, 1]}, image_frames=40, head="linear"
    ),
    "compact, several labels": lambda: CompactClassifier(LABELS, SMALL, "multi", n_mels=16, channels=(4, 4, 8, 8)),
}


def check_kind(source, n_samples):
    """Check that a source gives a classifier of other classes, whose head alone is trained, and then all of it."""
    labels = ["wind", "dog", "cat", "bell"]
    ours = type(source)(labels, source.frontend.settings, source.task, **source.architecture_for(len(labels)))
    rows = ours.class_rows()
    assert rows, "no rows of classes"
    transfer = take_over(ours, source, labels, source.labels, rows, source.class_rows())
    assert transfer.by_class == list(rows)
    assert transfer.remade == []
    state, theirs = ours.state_dict(), source.state_dict()
    for name in rows:
        assert state[name].shape[0] == 4
        assert torch.equal(state[name][1], theirs[name][source.labels.index("dog")])
        assert torch.equal(state[name][2], theirs[name][source.labels.index("cat")])
        if state[name].ndim > 1:
            assert not any(torch.equal(state[name][place], row) for place in (0, 3) for row in theirs[name])
    before = {name: value.clone() for name, value in state.items()}
    optimizer = torch.optim.AdamW(ours.parameters(), lr=0.01, weight_decay=0.1)
    changes = []
    for frozen in (True, False):
        ours.freeze_encoder(frozen).train()
        spectrogram = ours.frontend.clips(0.3 * tiny.noise(4, n_samples)).spectrogram
        logits = ours(*ours.inputs(spectrogram)).logits
        torch.nn.functional.cross_entropy(logits, torch.arange(4)).backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        changes.append({name for name, value in ours.state_dict().items() if not torch.equal(value, before[name])})
    assert changes[0]
    assert all(map(ours.in_head, changes[0])), changes[0]
    assert set(rows) & changes[0]
    assert any(not ours.in_head(name) for name in changes[1])
    return ours


@pytest.mark.parametrize("kind", KINDS)
def test_kinds_of_our_own(kind):
    torch.manual_seed(0)
    source = KINDS[kind]()
    check_kind(source.train(), 4 * source.frontend.settings.n_fft + 2000)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["ast", "wav2vec2", "wavlm", "whisper"])
def test_kinds_of_transformers(kind, tmp_path):
    config, extractor, settings = transformers_models.CASES[kind]
    folder = transformers_models.make_folder(tmp_path / "source", config, extractor, **settings)
    torch.manual_seed(0)
    source = open_classifier(f"hf:{folder}")
    ours = check_kind(source, 8000)
    # What was trained opens again in both forms, with the same answer.
    ours.freeze_encoder(False).eval()
    save_classifier(ours, tmp_path / "classifier")
    ours.save_pretrained(tmp_path / "hf")
    assert (tmp_path / "hf" / "model.safetensors").is_file()
    wavs = 0.3 * tiny.noise(2, 8000)
    expected = ours.analyse(wavs).output.logits
    for again in (load_classifier(tmp_path / "classifier"), open_classifier(f"hf:{tmp_path / 'hf'}")):
        assert again.labels == ours.labels
        torch.testing.assert_close(again.analyse(wavs).output.logits, expected)


@pytest.mark.slow
def test_a_model_of_transformers_is_trained_by_the_recipe(other_data, tmp_path):
    folder = tiny.save_transformers_model(tmp_path / "source", ["low", "other"])
    yaml = tiny.RECIPE / "hparams" / "classifier_huggingface.yaml"
    outcome = tune(other_data, tmp_path / "run", f"hf:{folder}", yaml, freeze_epochs=1, number_of_epochs=2)
    assert outcome.code == 0, outcome.err
    assert "front end of the classifier that training starts from: level none (the YAML: peak)" in outcome.out
    assert "and the head rows of low" in outcome.out
    trained, exported = load_classifier(tmp_path / "run"), open_classifier(f"hf:{tmp_path / 'run' / 'huggingface'}")
    assert trained.labels == exported.labels == ["shrill", "high", "low"]
    wavs = 0.3 * tiny.noise(1, 8000)
    torch.testing.assert_close(trained.analyse(wavs).output.logits, exported.analyse(wavs).output.logits)
    assert not trained.module.config.apply_spec_augment


# ------------------------------------------------------------------------------------------------------- bad inputs


def test_what_training_cannot_start_from(tiny_esc50, tiny_classifier_folder, other_data, tmp_path):
    run = tmp_path / "run"
    assert "no classifier" in tune(other_data, run, tmp_path / "absent").line
    conv2d = tmp_path / "conv2d"
    save_classifier(KINDS["conv2d"](), conv2d)
    line = tune(other_data, run, conv2d).line
    assert "a classifier of the kind 'conv2d'; this YAML trains 'compact': give hparams/classifier_conv2d.yaml" in line
    copy = shutil.copytree(tiny_classifier_folder.parent, tmp_path / "same")
    for folder in (copy, copy / "classifier"):
        assert "output_folder of its own" in tune(tiny_esc50, copy, folder).line
    assert "names no model" in tune(other_data, run, "hf:").line
    assert "unknown kind of source 'ftp'" in tune(other_data, run, "ftp:somewhere").line
    line = tune(tiny_esc50, run, tiny_classifier_folder, train_folds=3, test_folds=1).line
    assert "was trained on folds [1] of ESC-50, which are validation or test folds here" in line
    assert "freeze_epochs is -1" in tune(other_data, run, tiny_classifier_folder, freeze_epochs=-1).line
    yaml = tiny.RECIPE / "hparams" / "classifier_huggingface.yaml"
    assert "name it, with --finetune_from SOURCE" in tiny.run("classifier", other_data, run, yaml).line
    assert not (run / "run.json").exists()


@pytest.mark.slow
def test_what_differs_from_the_yaml_is_said(tiny_classifier_folder, tiny_piq_run, other_data, tmp_path):
    """The source decides on rate, STFT and sizes; of an interpreter's folder it is the classifier inside."""
    settings = {"classifier__channels": [8, 8, 8, 8], "frontend__sample_rate": 16000, "freeze_epochs": 1}
    outcome = tune(other_data, tmp_path / "run", tiny_piq_run, **settings)
    assert outcome.code == 0, outcome.err
    assert "front end of the classifier that training starts from: sample_rate 8000 (the YAML: 16000)" in outcome.out
    assert "classifier.channels: [4, 4, 8, 8], as there (the YAML: [8, 8, 8, 8])" in outcome.out
    assert re.search(rf"starts from {tiny_piq_run} \(compact, 3 classes, [0-9a-f]{{12}}\)", outcome.out)
    assert load_classifier(tmp_path / "run").frontend.settings.sample_rate == 8000


@pytest.mark.slow
def test_a_head_of_another_task_is_made_new(tiny_esc50, tiny_classifier_folder, tmp_path):
    source = load_classifier(tiny_classifier_folder)
    torch.manual_seed(0)
    several = CompactClassifier(source.labels, source.frontend.settings, "multi", **source.architecture())
    save_classifier(several, tmp_path / "several")
    outcome = tune(tiny_esc50, tmp_path / "run", tmp_path / "several", lr=0.0)
    assert outcome.code == 0, outcome.err
    assert (
        "kept: the encoder\n  made new: the head, which is for another task than here: low, middle, high" in outcome.out
    )
    trained = load_classifier(tmp_path / "run")
    assert trained.task == "single"
    assert not torch.equal(trained.head.weight, several.head.weight)
    assert torch.equal(trained.stages[0][0].conv.weight, several.stages[0][0].conv.weight)
