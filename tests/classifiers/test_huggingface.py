"""Audio classifiers of Transformers: their own answer to the same sound, their features with a gradient, any length.

Models are tiny and random, saved to a folder and loaded through the real ``from_pretrained``. No network.
"""

import json
import logging
import shutil
import timeit
from dataclasses import replace
from pathlib import Path

import pytest
import safetensors.torch
import torch
from tiny import LABELS, noise
from transformers import AutoFeatureExtractor, AutoModelForAudioClassification
from transformers_models import (
    AST_CONFIG,
    CASES,
    KINDS,
    RATE,
    RAW,
    SOUNDS,
    clips_of,
    make_folder,
    pipeline,
    spectrogram_of,
)

from interpretability.classifiers import load_classifier, save_classifier
from interpretability.classifiers.huggingface import HuggingFaceClassifier
from interpretability.dictionary import Dictionary
from interpretability.errors import MissingError, UserError
from interpretability.files import LISTING
from interpretability.frontend import MaskedPair
from interpretability.methods.amt import AMT
from interpretability.methods.l2i import L2I
from interpretability.methods.lmac import LMAC
from interpretability.methods.nmf import NMF
from interpretability.methods.piq import PIQ

#: Name -> configuration, feature extractor, and what it is built with.


# ------------------------------------------------------------------------------------------- the model's own answer


@KINDS
@pytest.mark.parametrize("sound", ["noise", "tone", "half silence", "long"])
def test_it_says_what_transformers_says(folders, classifiers, kind, sound):
    classifier, wav = classifiers[kind], SOUNDS[sound]
    output = classifier.classify(spectrogram_of(classifier, wav[None]))
    torch.testing.assert_close(output.logits[0], pipeline(folders[kind], wav), rtol=0, atol=1e-4)


@KINDS
def test_what_the_folder_says_of_classes_rate_and_task(classifiers, kind):
    classifier = classifiers[kind]
    assert (classifier.labels, classifier.task) == (LABELS, "single")
    assert classifier.frontend.settings.sample_rate == RATE
    assert classifier.frontend.settings.level == "none"
    assert classifier.module.config._attn_implementation == "eager"


@KINDS
def test_padding_batch_and_order_change_nothing(classifiers, kind):
    classifier = classifiers[kind]
    wavs, counts = 0.3 * noise(4, 20000), [20000, 9001, 16000, 9001]
    spectrogram = spectrogram_of(classifier, wavs, counts)
    together, flipped = classifier.classify(spectrogram), classifier.classify(spectrogram[torch.arange(3, -1, -1)])
    rows = classifier.valid_rows(spectrogram.valid)[1:]
    for i, n in enumerate(counts):
        alone = classifier.classify(spectrogram_of(classifier, wavs[i : i + 1, :n]))
        for name in ("logits", "embedding"):
            torch.testing.assert_close(getattr(together, name)[i], getattr(alone, name)[0], rtol=0, atol=1e-4)
            torch.testing.assert_close(getattr(flipped, name)[3 - i], getattr(alone, name)[0], rtol=0, atol=1e-4)
        pairs = [*zip(together.feature_maps, alone.feature_maps, rows, strict=True)]
        if alone.attention is not None:
            pairs.append((together.attention, alone.attention, rows[-1]))
        for padded, single, inside in pairs:
            size = int(inside[i].sum())
            assert single.shape[2] == size
            torch.testing.assert_close(padded[i, :, :size], single[0], rtol=0, atol=1e-4)
            assert not padded[i, :, size:].any()


@KINDS
@pytest.mark.parametrize("n", [1600, 7001, 24000])
def test_grids_have_the_shape_of_the_maps(classifiers, kind, n):
    classifier = classifiers[kind]
    spectrogram = spectrogram_of(classifier, 0.3 * noise(1, n))
    n_frames = spectrogram.magnitude.shape[1]
    output, sizes = classifier.classify(spectrogram), classifier.feature_rows(n_frames)
    assert tuple(maps.shape[1] for maps in output.feature_maps) == classifier.feature_channels
    assert [int(size) for size in classifier.feature_rows(torch.tensor(n_frames))] == list(sizes)
    grids = (classifier.input_grid(n_frames), *classifier.feature_grids(n_frames))
    for grid, size in zip(grids, sizes, strict=True):
        assert len(grid.frames) == size
        assert (grid.frames.diff() > 0).all()
        assert (grid.bins.diff() > 0).all()
    for maps, grid in zip(output.feature_maps, grids[1:], strict=True):
        assert maps.shape[2:] == (len(grid.frames), len(grid.bins))


@KINDS
def test_gradients_reach_the_mask_and_not_the_model(classifiers, kind):
    classifier = classifiers[kind]
    clips = clips_of(classifier, 0.3 * noise(2, 9000), [9000, 5000])
    spectrogram = clips.spectrogram
    mask = torch.full_like(spectrogram.magnitude, 0.5, requires_grad=True)
    masked = classifier.classify_pair(MaskedPair.of(clips, mask))
    (masked.inside[:, 0].sum() - masked.outside[:, 1].sum()).backward()
    assert torch.isfinite(mask.grad).all()
    assert mask.grad.flatten(1).any(1).all()
    assert not mask.grad[1, ~spectrogram.valid[1]].any()
    assert all(parameter.grad is None for parameter in classifier.parameters())


@KINDS
@pytest.mark.parametrize("sound", ["noise", "faint noise", "tone", "half silence", "short"])
def test_a_mask_of_ones_changes_nothing_at_either_place(classifiers, kind, sound):
    classifier, wav = classifiers[kind], SOUNDS[sound]
    n = len(wav) - 777
    clips = clips_of(classifier, torch.stack([wav, wav]), [len(wav), n])
    whole = classifier.classify_sound(clips).logits.softmax(1)
    for place in ("spectrogram", "waveform"):
        for apply in ("log", "linear"):
            pair = MaskedPair.of(clips, torch.ones_like(clips.spectrogram.magnitude), apply)
            masked = classifier.classify_pair(pair, place)
            # Between the lines of a pure tone, logarithms of rounding errors are what AST sees.
            limit = 1e-5 if (kind, sound) == ("ast", "tone") else 1e-6
            assert (masked.inside.softmax(1) - whole).abs().max() < limit, (place, apply)


@pytest.mark.parametrize("kind", ["ast", "wav2vec2", "whisper"])
def test_features_stay_precise_when_the_model_is_halved(folders, classifiers, kind):
    classifier = HuggingFaceClassifier.from_pretrained(folders[kind]).freeze()
    spectrogram = spectrogram_of(classifier, 0.3 * noise(1, 9000))
    wanted = classifiers[kind].classify(spectrogram).logits
    for dtype, tolerance in ((torch.bfloat16, 0.2), (torch.float16, 0.05), (torch.float64, 1e-4)):
        logits = HuggingFaceClassifier.from_pretrained(folders[kind]).freeze().to(dtype).classify(spectrogram).logits
        assert logits.dtype == dtype
        torch.testing.assert_close(logits.float(), wanted, rtol=0, atol=tolerance)
    before = {name: value.clone() for name, value in classifier.extractor.named_buffers()}
    classifier.half()
    for name, value in classifier.extractor.named_buffers():
        assert torch.equal(value, before[name])


@KINDS
def test_silence(classifiers, kind):
    classifier = classifiers[kind]
    spectrogram = spectrogram_of(classifier, torch.zeros(1, 5000))
    spectrogram.magnitude.requires_grad_()
    logits = classifier.classify(spectrogram).logits
    logits.sum().backward()
    assert torch.isfinite(logits).all()
    assert torch.isfinite(spectrogram.magnitude.grad).all()


@KINDS
def test_saved_and_loaded_it_gives_the_same(classifiers, tmp_path, kind):
    classifier = classifiers[kind]
    save_classifier(classifier, tmp_path / "saved", {"source": "here"})
    assert sorted(path.name for path in (tmp_path / "saved").iterdir()) == ["classifier.json", LISTING, "weights.pt"]
    loaded = load_classifier(tmp_path / "saved")
    assert loaded.architecture() == classifier.architecture()
    assert loaded.layers == classifier.layers
    assert loaded.module.config._attn_implementation == "eager"
    spectrogram = spectrogram_of(loaded, 0.3 * noise(1, 9000))
    first, second = loaded.classify(spectrogram), classifier.classify(spectrogram)
    assert torch.equal(first.logits, second.logits)
    assert all(torch.equal(a, b) for a, b in zip(first.feature_maps, second.feature_maps, strict=True))


def test_several_labels_and_a_task_that_is_said(tmp_path):
    config = {**CASES["wav2vec2"][0], "problem_type": "multi_label_classification"}
    folder = make_folder(tmp_path / "model", config, "Wav2Vec2FeatureExtractor")
    assert HuggingFaceClassifier.from_pretrained(folder).task == "multi"
    assert HuggingFaceClassifier.from_pretrained(folder, task="single").task == "single"
    renamed = HuggingFaceClassifier.from_pretrained(folder, labels=["x", "y", "z"], level="peak")
    assert (renamed.labels, renamed.frontend.settings.level) == (["x", "y", "z"], "peak")
    wavs = 0.3 * noise(1, 8000)
    logits = renamed.freeze().classify(spectrogram_of(renamed, wavs)).logits[0]
    torch.testing.assert_close(logits, pipeline(folder, wavs[0]), rtol=0, atol=1e-4)


def test_no_hook_is_left_behind_and_nothing_is_told(folders, capfd):
    classifier = HuggingFaceClassifier.from_pretrained(folders["ast"]).freeze()
    batch = classifier.analyse(0.3 * noise(1, 9000))
    for variant in classifier.ACTIVATIONS:
        classifier.activation_map(batch, variant)
    assert sum(len(module._forward_hooks) for module in classifier.module.modules()) == 0
    assert capfd.readouterr().err == ""


# ----------------------------------------------------------------------------------------------------- AST, Whisper


@pytest.mark.parametrize(("kind", "seconds"), [("ast", 1.015), ("whisper", 2.0)])
def test_models_of_fixed_size_hear_the_first_part_of_a_long_clip(folders, kind, seconds, caplog):
    classifier = HuggingFaceClassifier.from_pretrained(folders[kind]).freeze()
    size = round(seconds * RATE)
    assert classifier.extractor.longest == size
    long, cut = 0.3 * noise(1, 3 * RATE), 0.3 * noise(1, 3 * RATE)
    cut[:, size:] = noise(1, 3 * RATE - size, seed=5)
    with caplog.at_level(logging.WARNING):
        first, second = (classifier.classify(spectrogram_of(classifier, wavs)) for wavs in (long, cut))
    hints = [record for record in caplog.records if "and nothing of the rest" in record.getMessage()]
    assert len(hints) == 1
    torch.testing.assert_close(first.logits, second.logits, rtol=0, atol=2e-3)  # but for what the cut itself changes
    torch.testing.assert_close(first.logits[0], pipeline(folders[kind], long[0]), rtol=0, atol=1e-4)
    maps, grid = first.feature_maps[-1], classifier.feature_grids(1 + 3 * RATE // 186)[-1]
    assert maps.shape[2] == len(grid.frames)
    beyond = grid.frames * 186 > size
    assert beyond.any()
    assert not maps[0, :, beyond].any()
    assert maps[0, :, grid.frames * 186 < size - 2000].any()


def test_ast_attention_is_the_models_own(folders, classifiers):
    classifier, wav = classifiers["ast"], SOUNDS["noise"][:16240]
    output = classifier.classify(spectrogram_of(classifier, wav[None]))
    model = AutoModelForAudioClassification.from_pretrained(folders["ast"], attn_implementation="eager").eval()
    features = AutoFeatureExtractor.from_pretrained(folders["ast"])(
        wav.numpy(), sampling_rate=RATE, return_tensors="pt"
    )
    with torch.no_grad():
        layers = model(**features, output_attentions=True).attentions
    bands, steps = classifier.layout.patches
    rows = output.attention.shape[2]
    for level, weights in enumerate(layers):
        expected = weights[0, :, :2].mean((0, 1))[2:].view(bands, steps).T  # frequency-major tokens
        expected = torch.cat([expected, expected[-1:]])  # the last half patch has the row of the last patch
        torch.testing.assert_close(output.attention[0, level], expected[:rows], rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("variant", ["last", "mean", "rollout", "gradient"])
def test_ast_activation_maps(classifiers, variant):
    classifier = classifiers["ast"]
    wavs, counts = 0.3 * noise(3, 16000), [16000, 9001, 12000]
    target = torch.tensor([0, 1, 2])
    batch = classifier.analyse(wavs, torch.tensor(counts) / 16000, target)
    attended = classifier.activation_map(batch, variant)
    assert attended.values.shape == (3, len(attended.grid.frames), len(attended.grid.bins))
    assert (attended.values >= 0).all()
    assert not attended.values[~attended.rows].any()
    for i, n in enumerate(counts):
        alone = classifier.activation_map(classifier.analyse(wavs[i : i + 1, :n], target=target[i : i + 1]), variant)
        size = alone.values.shape[1]
        torch.testing.assert_close(attended.values[i, :size], alone.values[0], rtol=1e-3, atol=1e-6)
        assert alone.values.std() > 0
    other = classifier.activation_map(replace(batch, target=torch.tensor([1, 2, 0])), variant)
    assert torch.allclose(other.values, attended.values) == (variant != "gradient")


def test_ast_rollout_is_the_product_of_the_models_layers(folders, classifiers):
    classifier, wav = classifiers["ast"], SOUNDS["noise"][:16240]
    attended = classifier.activation_map(classifier.analyse(wav[None]), "rollout").values[0]
    model = AutoModelForAudioClassification.from_pretrained(folders["ast"], attn_implementation="eager").eval()
    features = AutoFeatureExtractor.from_pretrained(folders["ast"])(
        wav.numpy(), sampling_rate=RATE, return_tensors="pt"
    )
    with torch.no_grad():
        layers = model(**features, output_attentions=True).attentions
    product = torch.eye(layers[0].shape[-1])
    for weights in layers:
        product = (0.5 * weights[0].mean(0) + 0.5 * torch.eye(len(product))) @ product
    bands, steps = classifier.layout.patches
    expected = product[:2, 2:].mean(0).view(bands, steps).T
    expected = torch.cat([expected, expected[-1:]])  # the last half patch has the row of the last patch
    torch.testing.assert_close(attended, expected[: len(attended)], rtol=1e-3, atol=1e-6)


def test_attention_that_gives_no_weights_is_refused(folders):
    classifier = HuggingFaceClassifier.from_pretrained(folders["ast"]).freeze()
    spectrogram = spectrogram_of(classifier, 0.3 * noise(1, 9000))
    classifier.module.set_attn_implementation("sdpa")
    with pytest.raises(UserError, match="attention is 'sdpa'"):
        classifier.classify(spectrogram)


def test_models_without_a_class_token_have_no_activation_maps(classifiers):
    for kind in ("wav2vec2", "whisper"):
        assert classifiers[kind].ACTIVATIONS == ()
        with pytest.raises(UserError, match="no activation maps"):
            classifiers[kind].check_activation("last")


# --------------------------------------------------------------------------------------------- built, and trained


def test_built_from_a_configuration_it_can_be_trained():
    torch.manual_seed(0)
    classifier = HuggingFaceClassifier(
        LABELS,
        {"sample_rate": 8000},
        config={**AST_CONFIG, "hidden_dropout_prob": 0.1},
        extractor={"mean": 0.0},
    )
    assert classifier.module.config.id2label == dict(enumerate(LABELS))
    settings = classifier.extractor.settings
    assert (settings["sampling_rate"], settings["num_mel_bins"], settings["max_length"]) == (8000, 32, 100)
    assert classifier.frontend.settings.level == "peak"  # the front end's own rule, where one is given
    classes = torch.tensor([0, 1, 2, 0, 1, 2])
    time = torch.arange(6000) / 8000
    wavs = torch.sin(2 * torch.pi * (300.0 * 3**classes)[:, None] * time) + 0.01 * noise(6, 6000)
    spectrogram = spectrogram_of(classifier, wavs, [6000, 3000, 4000, 6000, 5000, 6000])
    optimiser, losses = torch.optim.Adam(classifier.parameters(), 0.01), []
    for _ in range(15):
        loss = torch.nn.functional.cross_entropy(classifier(*classifier.inputs(spectrogram)).logits, classes)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < 0.5 * losses[0]


@pytest.mark.parametrize("kind", ["wav2vec2", "wavlm"])
def test_in_training_blocks_may_be_left_out(kind):
    torch.manual_seed(0)
    config, extractor, settings = CASES[kind]
    classifier = HuggingFaceClassifier(
        LABELS,
        config={**config, "layerdrop": 0.9},
        extractor={"feature_extractor_type": extractor, **settings},
    )
    spectrogram = spectrogram_of(classifier, 0.3 * noise(2, 20000), [20000, 12000])
    output = classifier(*classifier.inputs(spectrogram))
    output.logits.sum().backward()
    assert all(torch.isfinite(p.grad).all() for p in classifier.parameters() if p.grad is not None)


# ------------------------------------------------------------------------------------------------------- bad input


def test_settings_that_do_not_fit():
    for settings, message in (
        ({"config": None}, "huggingface: config is None, expected a mapping"),
        ({"config": {}}, "a dict with model_type"),
        ({"config": {"model_type": "bert"}}, "model_type is 'bert', expected one of audio-spectrogram-transformer"),
        ({"config": {**AST_CONFIG, "n_heads": 2}}, "no setting 'n_heads'"),
        ({"config": {**AST_CONFIG, "hidden_size": "wide"}}, "refuses its settings"),
        ({"config": AST_CONFIG, "extractor": {"max_length": 50}}, "gives 50 frames of 32 bands, the model takes 100"),
        (
            {"config": AST_CONFIG, "extractor": {"feature_extractor_type": "ClapFeatureExtractor"}},
            "'ClapFeatureExtractor' is not known, expected one of .*ASTFeatureExtractor",
        ),
        (
            {"config": AST_CONFIG, "extractor": {"feature_extractor_type": "Wav2Vec2FeatureExtractor"}},
            "takes features of ASTFeatureExtractor",
        ),
        (
            {"config": {"model_type": "wav2vec2-bert"}},
            r"wav2vec2-bert is not supported.*Wrap it in a module of PyTorch",
        ),
        ({"config": {**AST_CONFIG, "problem_type": "regression"}}, "it predicts a quantity, which is no probability"),
        ({"config": AST_CONFIG, "extractor": {"std": 0.0}}, "std is 0.0, expected a number above 0"),
        (
            {"config": AST_CONFIG, "extractor": {"sampling_rate": 8000}, "frontend": {"sample_rate": 16000}},
            "the front end is at 16000 Hz, the model's feature extractor at 8000 Hz",
        ),
    ):
        with pytest.raises(UserError, match=message):
            HuggingFaceClassifier(LABELS, **settings)


def test_folders_that_cannot_be_loaded(tmp_path, folders):
    with pytest.raises(MissingError, match=r"no folder .*nowhere: give one that save_pretrained wrote"):
        HuggingFaceClassifier.from_pretrained(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(MissingError, match=r"no config\.json in .*empty"):
        HuggingFaceClassifier.from_pretrained(tmp_path / "empty")
    lone = make_folder(tmp_path / "lone", CASES["wav2vec2"][0])
    with pytest.raises(MissingError, match=r"preprocessor_config\.json"):
        HuggingFaceClassifier.from_pretrained(lone)
    headless = tmp_path / "headless"
    model = AutoModelForAudioClassification.from_pretrained(folders["wav2vec2"])
    model.wav2vec2.save_pretrained(headless)
    AutoFeatureExtractor.from_pretrained(folders["wav2vec2"]).save_pretrained(headless)
    with pytest.raises(UserError, match=r"weights are missing.*with its head"):
        HuggingFaceClassifier.from_pretrained(headless)
    other = make_folder(tmp_path / "other", CASES["wav2vec2"][0], "ClapFeatureExtractor")
    with pytest.raises(UserError, match="'ClapFeatureExtractor' is not known"):
        HuggingFaceClassifier.from_pretrained(other)
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    (foreign / "config.json").write_text(json.dumps({"model_type": "bert"}))
    with pytest.raises(UserError, match="cannot be loaded by transformers"):
        HuggingFaceClassifier.from_pretrained(foreign)


def spoiled(folder, to, name="config.json", **settings):
    """Copy a folder with other settings in one of its JSON files."""
    shutil.copytree(folder, to)
    (to / name).write_text(json.dumps({**json.loads((to / name).read_text()), **settings}))
    return to


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("config.json", {"id2label": {"0": "a", "2": "b", "5": "c"}}, r"indices \[0, 2, 5\], expected 0 to 2"),
        ("config.json", {"hidden_size": "wide"}, "cannot be loaded by transformers .*'hidden_size'"),
        ("preprocessor_config.json", {"sampling_rate": "fast"}, "sampling rate is 'fast'"),
        ("preprocessor_config.json", {"num_mel_bins": None}, "num_mel_bins is None, expected a whole number"),
    ],
)
def test_odd_settings_in_a_folder_are_said_in_one_line(folders, tmp_path, name, settings, message):
    with pytest.raises(UserError, match=message):
        HuggingFaceClassifier.from_pretrained(spoiled(folders["ast"], tmp_path / "odd", name, **settings))


def test_labels_fill_the_gaps_of_a_class_list(folders, tmp_path):
    folder = spoiled(folders["ast"], tmp_path / "gap", id2label={"0": "a", "2": "b", "5": "c"})
    assert HuggingFaceClassifier.from_pretrained(folder, labels=LABELS).labels == LABELS


class Payload:
    def __reduce__(self):
        return (open, (str(self.path), "w"))


def test_damaged_weights_are_said_in_one_line_and_run_nothing(folders, tmp_path):
    folder = shutil.copytree(folders["wav2vec2"], tmp_path / "damaged")
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(UserError, match=r"model\.safetensors: .* damaged"):
        HuggingFaceClassifier.from_pretrained(folder)
    weights.unlink()
    payload = Payload()
    payload.path = tmp_path / "was_run"
    torch.save({"weight": payload}, folder / "pytorch_model.bin")
    with pytest.raises(UserError, match=r"not opened: it calls 'io\.open'"):
        HuggingFaceClassifier.from_pretrained(folder)
    assert not payload.path.exists()
    with pytest.raises(UserError, match=r"config\.json is a file: give the folder"):
        HuggingFaceClassifier.from_pretrained(folder / "config.json")


def leave_an_adapter(folder):
    """Leave what PEFT's save_pretrained writes: no configuration of the model is there."""
    (folder / "model.safetensors").rename(folder / "adapter_model.safetensors")
    (folder / "config.json").rename(folder / "adapter_config.json")
    (folder / "preprocessor_config.json").unlink()


class Running:
    """Would run a function when it is unpickled."""

    def __reduce__(self):
        return timeit.timeit, ("1", "raise SystemExit")


def name_a_pickle(folder, name="other.bin"):
    """Have the index of the weights name a file with code in it."""
    (folder / "model.safetensors").unlink()
    torch.save({"a": Running()}, folder / Path(name).name)
    (folder / "pytorch_model.bin.index.json").write_text(json.dumps({"weight_map": {"projector.weight": name}}))


#: What becomes of a folder, and what the line says: the files of people who copy models.
UNFIT = {
    "a Git LFS pointer": (
        lambda folder: (folder / "model.safetensors").write_text("version https://git-lfs.github.com/spec/v1\noid x\n"),
        r"model\.safetensors: a Git LFS pointer in place of the weights: run `git lfs pull`",
    ),
    "an adapter alone": (
        lambda folder: (folder / "model.safetensors").rename(folder / "adapter_model.safetensors"),
        r"holds an adapter alone \(LoRA\), not a model: merge it into its base model first",
    ),
    "an adapter alone, as PEFT saves it": (
        leave_an_adapter,
        r"holds an adapter alone \(LoRA\), not a model: merge it into its base model first",
    ),
    "another head": (
        lambda folder: edit(
            folder, id2label={str(i): str(i) for i in range(5)}, label2id={str(i): i for i in range(5)}
        ),
        r"'classifier\.weight' is \[3, 8\] in the file and \[5, 8\] here",
    ),
    "an index that names a pickle": (name_a_pickle, r"other\.bin: holds objects of 'timeit\.timeit' beside tensors"),
    "an index that leads elsewhere": (
        lambda folder: name_a_pickle(folder, "../unfit/other.bin"),
        r"index\.json: weight_map is .*, expected names of weights with files beside it",
    ),
    "an index of something else": (
        lambda folder: (folder / "model.safetensors.index.json").write_text('{"weight_map": [1]}'),
        r"index\.json: weight_map is \[1\]",
    ),
    "attention by code on the hub": (
        lambda folder: edit(folder, attn_implementation="a-user/kernel"),
        r"attn_implementation is 'a-user/kernel', code on the hub, which is not run",
    ),
    "attention by code, deeper": (
        lambda folder: edit(folder, encoder={"_attn_implementation": "a-user/kernel"}),
        "code on the hub, which is not run",
    ),
    "NaN": (lambda folder: spoil(folder, torch.nan), r"the weight 'classifier\.bias' holds NaN or infinite values"),
    "infinity": (lambda folder: spoil(folder, torch.inf), r"the weight 'classifier\.bias' holds NaN or infinite"),
    "many layers": (
        lambda folder: edit(folder, num_hidden_layers=10**9),
        "larger than the weights beside it",
    ),
    "wide layers": (lambda folder: edit(folder, hidden_size=10**9), "larger than the weights beside it"),
    "wide convolutions": (lambda folder: edit(folder, conv_dim=[10**6] * 7), "a network larger than the weights"),
    "long rows": (lambda folder: edit(folder, conv_stride=[10**9] * 7), "conv_stride .* samples for one row"),
    "a nested configuration": (lambda folder: (folder / "config.json").write_text("[" * 10**5), "nested deeper"),
    "a list": (lambda folder: (folder / "config.json").write_text("[]"), r"expected a JSON object, got \[\]"),
    "another encoding": (lambda folder: (folder / "config.json").write_bytes(b'{"a": "\xe9"}'), "not text in UTF-8"),
    "a rate": (
        lambda folder: edit(folder, "preprocessor_config.json", sampling_rate=10**12),
        "sampling_rate is 1000000000000|the sampling rate is|sample_rate is",
    ),
}


def edit(folder, name="config.json", **settings):
    (folder / name).write_text(json.dumps({**json.loads((folder / name).read_text()), **settings}))


def spoil(folder, value):
    state = safetensors.torch.load_file(folder / "model.safetensors")
    state["classifier.bias"][0] = value
    safetensors.torch.save_file(state, folder / "model.safetensors", metadata={"format": "pt"})


@pytest.mark.parametrize(("change", "words"), UNFIT.values(), ids=UNFIT)
def test_what_does_not_fit_in_a_folder_is_one_line_before_it_is_built(folders, tmp_path, change, words):
    folder = shutil.copytree(folders["wav2vec2"], tmp_path / "unfit")
    change(folder)
    with pytest.raises(UserError, match=words) as caught:
        HuggingFaceClassifier.from_pretrained(folder)
    assert str(folder) in str(caught.value)


def test_weights_in_a_file_of_torch(folders, tmp_path):
    folder = shutil.copytree(folders["wav2vec2"], tmp_path / "older")
    model = AutoModelForAudioClassification.from_pretrained(folder)
    (folder / "model.safetensors").unlink()
    torch.save(model.state_dict(), folder / "pytorch_model.bin")
    classifier = HuggingFaceClassifier.from_pretrained(folder).freeze()
    wav = SOUNDS["noise"]
    logits = classifier.classify(spectrogram_of(classifier, wav[None])).logits[0]
    torch.testing.assert_close(logits, pipeline(folders["wav2vec2"], wav), rtol=0, atol=1e-4)


def test_code_in_a_folder_is_not_run_and_nobody_is_asked(folders, tmp_path, monkeypatch):
    settings = {"model_type": "own", "auto_map": {"AutoConfig": "own.Config"}}
    folder = spoiled(folders["wav2vec2"], tmp_path / "own", **settings)
    (folder / "own.py").write_text(f"open({str(tmp_path / 'was_run')!r}, 'w')\nclass Config: pass\n")
    asked = []
    monkeypatch.setattr("builtins.input", lambda *text: asked.append(text) or "y")
    with pytest.raises(UserError, match="cannot be loaded by transformers"):
        HuggingFaceClassifier.from_pretrained(folder)
    assert not asked
    assert not (tmp_path / "was_run").exists()


# -------------------------------------------------------------------------------------------------------- methods


def words(frontend):
    bins = torch.arange(float(frontend.settings.n_bins))[:, None]
    matrix = torch.exp(-(((bins - torch.linspace(0, frontend.settings.n_bins, 4)) / 90) ** 2))
    return Dictionary(matrix / matrix.norm(dim=0), frontend.settings, LABELS, "euclidean")


METHODS = {
    "nmf": lambda c: NMF(c, words(c.frontend), n_iterations=3),
    "lmac": lambda c: LMAC(c, channels=4, decoder_channels=(4,)),
    "piq": lambda c: PIQ(c, codebook_size=6, channels=4, decoder_channels=(4,)),
    "l2i": lambda c: L2I(c, words(c.frontend), channels=4),
}


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("kind", ["ast", "wavlm", "whisper"])
def test_methods_explain_it(classifiers, kind, method):
    torch.manual_seed(0)
    interpreter = METHODS[method](classifiers[kind]).eval()
    wavs = 0.3 * noise(2, 9000)
    explanation = interpreter.explain(wavs, torch.tensor([1.0, 0.6]))
    assert explanation.mask.shape == (2, 1 + 9000 // 186, 513)
    alone = interpreter.explain(wavs[1:, :5400])
    torch.testing.assert_close(explanation[1].mask, alone[0].mask, rtol=0, atol=1e-3)


def test_ast_is_explained_by_what_it_attends_to(classifiers):
    for variant in ("last", "gradient"):
        explanation = AMT(classifiers["ast"], variant=variant).explain(0.3 * noise(2, 9000))
        assert explanation.mask.mean() == pytest.approx(0.2, abs=0.01)


@pytest.mark.parametrize(
    ("settings", "task", "words"),
    [
        ({"problem_type": "regression"}, None, "predicts a quantity, which is no probability and cannot be explained"),
        ({"problem_type": "regression"}, "single", "predicts a quantity"),
        ({"id2label": {0: "yes"}, "label2id": {"yes": 0}}, None, "a head of one output.*give task=multi.*'yes'"),
        ({"id2label": {0: "yes"}, "label2id": {"yes": 0}}, "single", "softmax is always 1: give task=multi"),
        ({"id2label": {0: "yes"}, "label2id": {"yes": 0}}, "multi", ""),
    ],
)
def test_heads_that_predict_a_quantity_or_one_event(tmp_path, settings, task, words):
    """A softmax over them would be a number that means nothing."""
    make_folder(tmp_path, {"model_type": "hubert", **RAW, **settings}, "Wav2Vec2FeatureExtractor")
    if words:
        with pytest.raises(UserError, match=words):
            HuggingFaceClassifier.from_pretrained(tmp_path, task=task)
        return
    classifier = HuggingFaceClassifier.from_pretrained(tmp_path, task=task).freeze()
    batch = classifier.analyse(0.3 * noise(1, 8000))
    assert (classifier.labels, classifier.task, batch.target.tolist()) == (["yes"], "multi", [0])


@pytest.mark.parametrize(
    ("absent", "words"),
    [
        (["wav2vec2.masked_spec_embed"], ""),  # of training alone
        (
            ["classifier.weight", "wav2vec2.masked_spec_embed"],
            r"1 missing \('classifier\.weight'\)",
        ),
        (["wav2vec2.encoder.layers.0.layer_norm.bias"], "1 missing"),
    ],
)
def test_only_weights_that_answers_depend_on_have_to_be_there(tmp_path, absent, words):
    make_folder(tmp_path, {"model_type": "wav2vec2", **RAW}, "Wav2Vec2FeatureExtractor")
    whole = HuggingFaceClassifier.from_pretrained(tmp_path).freeze()
    state = safetensors.torch.load_file(tmp_path / "model.safetensors")
    kept = {name: value for name, value in state.items() if name not in absent}
    assert len(kept) == len(state) - len(absent)
    safetensors.torch.save_file(kept, tmp_path / "model.safetensors", {"format": "pt"})
    if words:
        with pytest.raises(UserError, match=words):
            HuggingFaceClassifier.from_pretrained(tmp_path)
        return
    first, second = (HuggingFaceClassifier.from_pretrained(tmp_path).freeze() for _ in range(2))
    wavs = 0.3 * noise(1, 8000)
    assert torch.equal(first.analyse(wavs).output.logits, whole.analyse(wavs).output.logits)
    assert all(map(torch.equal, first.parameters(), second.parameters()))  # the hash of an import is always the same
