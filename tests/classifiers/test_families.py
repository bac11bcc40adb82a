"""Families of Transformers' models: their layers, and where their tokens lie, against what is measured."""

import pytest
import torch
from tiny import noise
from transformers_models import KINDS, RATE, RAW, SOUNDS, make_folder, pipeline, spectrogram_of

from interpretability.classifiers.huggingface import HuggingFaceClassifier
from interpretability.errors import UserError

AST_BLOCKS = [f"audio_spectrogram_transformer.layers.{i}" for i in range(3)]


def test_default_layers_are_blocks_evenly_spaced(classifiers):
    names = [layer.name for layer in classifiers["wav2vec2"].layers]
    assert names == [f"wav2vec2.encoder.layers.{i}" for i in (0, 1, 3, 4)]
    assert [layer.name for layer in classifiers["whisper"].layers] == ["encoder.layers.0", "encoder.layers.1"]


def test_known_blocks_lie_where_a_measurement_says(folders):
    """The rows known without running the model are those counted in a run."""
    classifier = HuggingFaceClassifier.from_pretrained(folders["hubert"])
    survey = classifier.layout.survey(classifier.checked_logits)
    by_name = {layer.name: layer for layer in survey.layers}
    layer = classifier.layers[-1]
    assert classifier.layout.measure([by_name[layer.name]], classifier.checked_logits) == [layer]
    assert (layer.stride, layer.start) == (320.0, 400.0)


def test_other_layers_by_name(folders):
    classifier = HuggingFaceClassifier.from_pretrained(
        folders["hubert"], layers=["hubert.encoder.layers.2", "hubert.feature_extractor.conv_layers.4"]
    ).freeze()
    assert [(layer.axes, layer.stride) for layer in classifier.layers] == [("BCT", 80.0), ("BTC", 320.0)]
    output = classifier.classify(spectrogram_of(classifier, 0.3 * noise(1, 9000)))
    assert [maps.shape[1] for maps in output.feature_maps] == [8, 16]
    ast = HuggingFaceClassifier.from_pretrained(
        folders["ast"],
        layers=["audio_spectrogram_transformer.embeddings.patch_embeddings.projection", *AST_BLOCKS[:1]],
    ).freeze()
    assert {layer.axes for layer in ast.layers} == {"BCFT", "tokens"}
    with pytest.raises(UserError, match=r"no layer 'encoder\.layer\.1'.*near it are .*encoder\.layers\.1"):
        HuggingFaceClassifier.from_pretrained(folders["whisper"], layers=["encoder.layer.1"])


@KINDS
def test_layers_are_described(classifiers, kind):
    classifier = classifiers[kind]
    infos = classifier.describe_layers()
    assert [info.name for info in infos if info.default] == [layer.name for layer in classifier.layers]
    assert all(info.stride_ms > 0 for info in infos)


def test_a_type_without_known_blocks_is_run_to_find_out(tmp_path):
    """SEW squeezes time: its blocks have half the rows of its convolutions."""
    config = {"model_type": "sew", **RAW, "num_hidden_layers": 2, "conv_dim": [8] * 13, "squeeze_factor": 2}
    folder = make_folder(tmp_path / "model", config, "Wav2Vec2FeatureExtractor")
    classifier = HuggingFaceClassifier.from_pretrained(folder).freeze()
    assert [layer.name for layer in classifier.layers] == ["sew.encoder.layers.0", "sew.encoder.layers.1"]
    assert classifier.layers[-1].stride == 640.0
    wav = SOUNDS["noise"]
    logits = classifier.classify(spectrogram_of(classifier, wav[None])).logits[0]
    torch.testing.assert_close(logits, pipeline(folder, wav), rtol=0, atol=1e-4)


def test_a_stack_of_convolutions_for_positions_is_no_transformer(tmp_path):
    config = {"model_type": "data2vec-audio", **RAW, "num_hidden_layers": 3, "num_conv_pos_embeddings": 5}
    folder = make_folder(tmp_path / "model", config, "Wav2Vec2FeatureExtractor")
    classifier = HuggingFaceClassifier.from_pretrained(folder).freeze()
    assert [layer.name for layer in classifier.layers] == [f"data2vec_audio.encoder.layers.{k}" for k in range(3)]
    wav = SOUNDS["noise"]
    output = classifier.classify(spectrogram_of(classifier, wav[None]))
    torch.testing.assert_close(output.logits[0], pipeline(folder, wav), rtol=0, atol=1e-4)


def test_ast_tokens_lie_where_their_patches_are(folders):
    """With one patch's pixels changed, the patch embedding changes in that cell of the map alone."""
    classifier = HuggingFaceClassifier.from_pretrained(
        folders["ast"], layers=["audio_spectrogram_transformer.embeddings.patch_embeddings"]
    ).freeze()
    model = classifier.module.audio_spectrogram_transformer
    bands, steps = classifier.layout.patches
    assert (bands, steps) == (5, 24)
    layer = classifier.layers[0]
    values = torch.zeros(1, 100, 32)
    bias = model.embeddings.patch_embeddings(values)
    values[0, 4 * 7 + 3, 6 * 3 + 7] = 1.0  # frame and band inside patch (7, 3) alone, where patches overlap least
    maps = classifier.layout.to_map(layer, model.embeddings.patch_embeddings(values) - bias)
    assert maps.shape == (1, 16, steps, bands)
    changed = maps[0].abs().amax(0) > 0
    rows, columns = (int(changed.any(axis).nonzero().min()) for axis in (1, 0))
    assert changed[7, 3]
    assert (rows, columns) == (6, 3)  # frame 31 lies in the windows that begin at frames 24 and 28


def test_ast_cells_lie_where_the_grid_says(folders):
    """A tone of a given time and pitch changes most the cell whose centre is next to it."""
    classifier = HuggingFaceClassifier.from_pretrained(
        folders["ast"], layers=["audio_spectrogram_transformer.embeddings.patch_embeddings"]
    ).freeze()
    hop, settings = classifier.frontend.settings.hop_length, classifier.frontend.settings
    n_frames = 1 + 15000 // hop
    grid = classifier.feature_grids(n_frames)[0]
    base = classifier.classify(spectrogram_of(classifier, torch.zeros(1, 15000))).feature_maps[0]
    for row, column in ((4, 1), (12, 2), (17, 3)):
        centre = float(grid.frames[row]) * hop
        time = torch.arange(15000)
        pitch = float(grid.bins[column]) * settings.sample_rate / settings.n_fft
        tone = torch.sin(2 * torch.pi * pitch * time / RATE) * torch.exp(-(((time - centre) / 300) ** 2))
        maps = classifier.classify(spectrogram_of(classifier, 1e-3 * tone[None])).feature_maps[0]
        change = (maps - base).square().sum(1)[0]  # [T', F']
        place = change.sum(1) @ torch.arange(change.shape[0]).float() / change.sum()
        assert abs(float(place) - row) < 0.75
        assert abs(int(change.sum(0).argmax()) - column) <= 1


def test_whisper_rows_lie_where_the_grid_says(classifiers):
    """The convolutions in front of the blocks: two mel frames per row, 20 ms, the first one on sample 0."""
    layer = classifiers["whisper"].layers[-1]
    assert (layer.stride, layer.centre) == (320.0, 0.0)
    infos = {info.name: info for info in classifiers["whisper"].describe_layers()}
    assert infos["encoder.conv1"].stride_ms == pytest.approx(10.0)
    assert infos["encoder.conv2"].stride_ms == pytest.approx(20.0)


def test_ast_grids_lie_in_the_middle_of_what_a_patch_sees(classifiers):
    """Which features a patch is made of, by its gradient; where those lie, by the grid of the features."""
    classifier = classifiers["ast"]
    n_frames = 86
    hop = classifier.frontend.settings.hop_length
    features = torch.zeros(1, 100, 32, requires_grad=True)
    bands, steps = classifier.layout.patches
    patches = classifier.module.audio_spectrogram_transformer.embeddings.patch_embeddings(features)
    patches = patches.unflatten(1, (bands, steps))  # [1, bands, steps, D]
    grid, fine = classifier.feature_grids(n_frames)[-1], classifier.input_grid(n_frames)
    for band, step in ((0, 0), (2, 5), (bands - 1, 3)):
        (gradient,) = torch.autograd.grad(patches[0, band, step].sum(), features, retain_graph=True)
        rows, columns = gradient[0].nonzero(as_tuple=True)
        # Feature frame i is of the 400 samples from 160 i on.
        middle = (160 * int(rows.min()) + 160 * int(rows.max()) + 399) / 2
        assert float(grid.frames[step]) * hop == pytest.approx(middle)
        low, high = int(columns.min()), int(columns.max())
        between = fine.bins[[(low + high) // 2, (low + high + 1) // 2]].mean()
        assert float(grid.bins[band]) == pytest.approx(float(between))


@pytest.mark.parametrize("kind", ["wav2vec2", "hubert", "wavlm"])
def test_known_grids_are_what_is_measured(classifiers, kind):
    classifier = classifiers[kind]
    by_name = {layer.name: layer for layer in classifier.layout.survey(classifier.checked_logits).layers}
    measured = classifier.layout.measure(
        [by_name[layer.name] for layer in classifier.layers], classifier.checked_logits
    )
    assert set(measured) == set(classifier.layers)
