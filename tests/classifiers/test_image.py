"""Spectrograms as images: the resize, images side by side, pretrained folders, hooks that leave nothing behind."""

import pytest
import torch
from tiny import LABELS, magnitudes
from transformers import (
    AutoModel,
    FocalNetBackbone,
    FocalNetConfig,
    FocalNetForImageClassification,
    FocalNetModel,
    ViTConfig,
    ViTForImageClassification,
    ViTModel,
)

from interpretability.classifiers import load_classifier, save_classifier
from interpretability.classifiers.base import ClassifierOutput
from interpretability.classifiers.focalnet import FocalNetClassifier
from interpretability.classifiers.vit import ViTClassifier
from interpretability.errors import MissingError, UserError
from interpretability.grids import Grid

VIT = {
    "image_size": [32, 16],
    "patch_size": 8,
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 24,
}
FOCALNET = {"image_size": [32, 16], "patch_size": 4, "embed_dim": 8, "depths": [1, 2], "drop_path_rate": 0.0}
FRAMES = 64
KINDS = {
    "vit": lambda **settings: ViTClassifier(LABELS, **{"config": VIT, "image_frames": FRAMES, **settings}),
    "focalnet": lambda **settings: FocalNetClassifier(
        LABELS, **{"config": FOCALNET, "image_frames": FRAMES, **settings}
    ),
}
EACH = pytest.mark.parametrize("kind", KINDS)


def make(kind, **settings):
    torch.manual_seed(0)
    classifier = KINDS[kind](**settings)
    with torch.no_grad():  # weights that tell more than the small ones they start with
        for parameter in classifier.embedding_model.parameters():
            parameter += 0.1 * torch.randn(parameter.shape)
    return classifier.freeze()


def triangles(size, wanted):
    """The antialiased bilinear filter by its definition: triangles as wide as a pixel of the smaller image."""
    scale = max(size / wanted, 1.0)
    centres = (torch.arange(wanted, dtype=torch.float64) + 0.5) * size / wanted
    places = torch.arange(size, dtype=torch.float64) + 0.5
    weights = (1 - (places[None] - centres[:, None]).abs() / scale).clamp(min=0)
    return weights / weights.sum(1, keepdim=True)


# ------------------------------------------------------------------------------------------------------ the images


@pytest.mark.parametrize(("frames", "size"), [(431, (224, 224)), (173, (128, 128)), (100, (128, 64))])
def test_the_resize_is_the_antialiased_one(frames, size):
    classifier = make("focalnet", config={**FOCALNET, "image_size": list(size)}, image_frames=frames)
    magnitude = magnitudes(2, frames, 513)
    pixels = classifier.images(magnitude).pixels
    wanted = triangles(frames, size[0]) @ torch.log1p(magnitude.double()) @ triangles(513, size[1]).T
    assert pixels.shape == (2, 3, *size)
    for channel in range(3):
        torch.testing.assert_close(pixels[:, channel].double(), wanted, rtol=1e-5, atol=1e-5)


@EACH
def test_gain_and_norm_of_the_pixels(kind):
    magnitude, valid = magnitudes(2, 100, 513), torch.arange(100)[None] < torch.tensor([[100], [30]])
    loud = make(kind, gain=100.0)
    assert torch.equal(loud.images(magnitude, valid).pixels, make(kind).images(100 * magnitude, valid).pixels)
    torch.manual_seed(0)
    normed = KINDS[kind](input_norm=True).train()
    pixels = normed.images(magnitude[:1]).pixels  # of a batch in training: the whole of it has mean 0 and variance 1
    assert abs(float(pixels.detach().mean())) < 1e-4
    assert abs(float(pixels.detach().var()) - 1) < 1e-2
    normed.freeze()
    before = normed.input_norm.running_mean.clone()
    output = normed(magnitude, valid)
    torch.testing.assert_close(output.logits[1:], normed(magnitude[1:, :30]).logits, rtol=1e-4, atol=1e-4)
    assert torch.equal(normed.input_norm.running_mean, before)
    assert normed.architecture()["input_norm"] is True
    assert loud.architecture()["gain"] == 100.0
    with pytest.raises(UserError, match=r"gain is 0\.0, expected a number > 0"):
        make(kind, gain=0)


@EACH
def test_weights_that_start_at_random_keep_the_size_of_what_they_are_given(kind):
    torch.manual_seed(0)
    for module in KINDS[kind]().embedding_model.modules():
        if isinstance(module, (torch.nn.Linear, torch.nn.Conv2d)) and module.weight.numel() > 200:
            fan_in = module.weight[0].numel()
            assert 0.7 < float(module.weight.detach().std()) * fan_in**0.5 < 1.4


@EACH
def test_the_head_may_be_linear(kind):
    classifier = make(kind, head="linear")
    output = classifier(magnitudes(2, 100, 513))
    weight, bias = classifier.classifier.weight, classifier.classifier.bias
    torch.testing.assert_close(output.logits, output.embedding @ weight.T + bias)
    assert classifier.architecture()["head"] == "linear"
    assert make(kind).architecture()["head"] == "cosine"


def test_pixels_lie_where_the_input_grid_says():
    """A ramp over time and frequency, resized, has the value of the pixel's centre, to a tenth of a frame and a bin."""
    classifier = make("vit", image_frames=100, config={**VIT, "image_size": [64, 128]})
    grid = classifier.input_grid(250)
    assert [len(grid.frames), len(grid.bins)] == [160, 128]
    ramp = 10 * torch.arange(250.0)[:, None] + 10 * torch.arange(513.0)
    pixels = classifier.images(torch.expm1(ramp.double()[None] / 1000)).pixels[:, 0]  # [3, 64, 128]
    inside = slice(4, 60)
    for k, image in enumerate(pixels[:2]):
        image_pixels = 1000 * image[inside, 4:-4]
        wanted = 10 * grid.frames[64 * k : 64 * k + 64][inside, None] + 10 * grid.bins[4:-4]
        torch.testing.assert_close(image_pixels, wanted, rtol=0, atol=1.0)


@EACH
@pytest.mark.parametrize("frames", [1, 9, 40, 64, 65, 150])
def test_clips_shorter_and_longer_than_an_image(kind, frames):
    """By hand: each image alone, padded with zeros; embeddings by the frames they hold; maps side by side, then cut."""
    classifier = make(kind)
    magnitude = magnitudes(2, frames, 513)
    starts = range(0, frames, FRAMES)
    padded = torch.cat([magnitude, torch.zeros(2, len(starts) * FRAMES - frames, 513)], dim=1)
    with torch.no_grad():
        output = classifier(magnitude)
        parts = [classifier(padded[:, start : start + FRAMES]) for start in starts]
    shares = torch.tensor([min(FRAMES, frames - start) / frames for start in starts])
    embedding = sum(share * part.embedding for share, part in zip(shares, parts, strict=True))
    torch.testing.assert_close(output.embedding, embedding, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(output.logits, classifier.logits(embedding), rtol=1e-4, atol=1e-4)
    rows = classifier.feature_rows(frames)
    assert rows[0] == -(-frames * 32 // FRAMES)
    for level, maps in enumerate(output.feature_maps):
        joined = torch.cat([part.feature_maps[level] for part in parts], dim=2)[:, :, : rows[level + 1]]
        torch.testing.assert_close(maps, joined, rtol=1e-4, atol=1e-5)
    joined = torch.cat([part.attention for part in parts], dim=2)[:, :, : rows[-1]]
    torch.testing.assert_close(output.attention, joined, rtol=1e-4, atol=1e-6)
    assert output.attention.shape[2:] == output.feature_maps[-1].shape[2:]


@EACH
def test_images_beyond_a_clips_end_are_not_run(kind):
    classifier = make(kind)
    n_images = []
    handle = classifier.embedding_model.register_forward_pre_hook(lambda _, inputs: n_images.append(len(inputs[0])))
    counts = torch.tensor([150, 10, 65])
    valid = torch.arange(200)[None] < counts[:, None]
    output = classifier(magnitudes(3, 200, 513), valid)
    handle.remove()
    assert n_images == [3 + 1 + 2]
    for index, count in enumerate(counts.tolist()):
        assert not output.attention[index, :, classifier.feature_rows(count)[-1] :].any()


@EACH
def test_what_lies_in_padding_does_not_matter(kind):
    classifier = make(kind)
    magnitude, valid = magnitudes(2, 100, 513), torch.arange(100)[None] < torch.tensor([[100], [30]])
    clean = classifier(magnitude * valid[..., None], valid)
    dirty = classifier(magnitude, valid)
    torch.testing.assert_close(dirty.logits, clean.logits)
    alone = classifier(magnitude[1:, :30])
    torch.testing.assert_close(dirty.logits[1:], alone.logits, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(dirty.attention[1:, :, : alone.attention.shape[2]], alone.attention)


@EACH
def test_silence_and_a_clip_without_a_frame(kind):
    classifier = make(kind)
    valid = torch.arange(100)[None] < torch.tensor([[100], [0]])
    output = classifier(torch.zeros(2, 100, 513), valid)
    for value in (output.logits, output.embedding, output.attention, *output.feature_maps):
        assert value.isfinite().all()
    assert not output.attention[1].any()


@EACH
def test_an_event_moved_by_an_image_moves_everything_by_an_image(kind):
    classifier = make(kind)
    event = torch.zeros(1, 3 * FRAMES, 513)
    event[:, 5:20, 40:90] = 30.0
    moved = event.roll(FRAMES, dims=1)
    first, second = classifier(event), classifier(moved)
    torch.testing.assert_close(first.logits, second.logits, rtol=1e-4, atol=1e-4)
    for level, (here, there) in enumerate(zip(first.feature_maps, second.feature_maps, strict=True)):
        rows = classifier.levels[level].rows
        torch.testing.assert_close(here.roll(rows, dims=2), there, rtol=1e-4, atol=1e-5)


@EACH
def test_grids_have_one_stride_whatever_the_length(kind):
    classifier = make(kind)
    assert isinstance(classifier.input_grid(10), Grid)
    for frames in (10, 64, 200):
        grids = (classifier.input_grid(frames), *classifier.feature_grids(frames))
        strides = (2.0, *classifier.feature_strides)
        for grid, count, stride in zip(grids, classifier.feature_rows(frames), strides, strict=True):
            assert len(grid.frames) == count
            assert grid.frames.dtype == torch.float64
            wanted = (torch.arange(count, dtype=torch.float64) + 0.5) * stride - 0.5
            torch.testing.assert_close(grid.frames, wanted)
            width = 513 / len(grid.bins)
            middles = (torch.arange(len(grid.bins), dtype=torch.float64) + 0.5) * width - 0.5
            torch.testing.assert_close(grid.bins, middles)


@EACH
def test_every_parameter_that_is_trained_gets_a_gradient(kind):
    """Parallel training waits for all of them."""
    torch.manual_seed(0)
    classifier = KINDS[kind]()
    output = classifier(magnitudes(4, 80, 513))
    output.logits.square().sum().backward()
    without = [name for name, p in classifier.named_parameters() if p.requires_grad and p.grad is None]
    assert not without


# --------------------------------------------------------------------------------------------------------- folders


@pytest.mark.parametrize(
    "chosen", [{"lin_neurons": 11, "logit_scale": 5.0}, {"head": "linear", "gain": 10.0, "input_norm": True}], ids=str
)
@EACH
def test_the_very_same_classifier_comes_back_from_its_folder(kind, chosen, tmp_path):
    frontend = {"sample_rate": 8000}
    torch.manual_seed(0)
    settings = {"config": {**(VIT if kind == "vit" else FOCALNET), "hidden_act": "relu"}, "image_frames": 77, **chosen}
    original = type(make(kind))(LABELS, frontend, "multi", **settings).freeze()
    digest = save_classifier(original, tmp_path / "saved")
    loaded = load_classifier(tmp_path / "saved")
    assert loaded.description["sha256"] == digest
    assert loaded.architecture() == original.architecture()
    assert loaded.embedding_model.config.hidden_act == "relu"
    assert not loaded.embedding_model.training
    magnitude = magnitudes(2, 100, 513)
    assert torch.equal(loaded(magnitude).logits, original(magnitude).logits)


def saved(folder, network):
    network.save_pretrained(folder)
    return str(folder)


def vit_networks():
    config = ViTConfig(**VIT)
    return ViTModel(config), ViTModel(config, add_pooling_layer=False), ViTForImageClassification(config)


def focalnet_networks():
    config = FocalNetConfig(**FOCALNET, hidden_sizes=[192, 384, 768, 768])  # wrong, as in the published ones
    return FocalNetBackbone(config), FocalNetModel(config), FocalNetForImageClassification(config)


@pytest.mark.parametrize("which", range(3))
@EACH
def test_pretrained_weights_of_the_network_alone_and_of_an_image_classifier(kind, which, tmp_path, capsys):
    torch.manual_seed(3)
    network = (vit_networks if kind == "vit" else focalnet_networks)()[which]
    source = saved(tmp_path / "source", network)
    capsys.readouterr()
    classifier = type(make(kind)).from_pretrained(source, LABELS, image_frames=50, lin_neurons=8)
    assert capsys.readouterr() == ("", "")
    bare = getattr(network, kind, network)
    loaded_network = classifier.embedding_model.focalnet if kind == "focalnet" else classifier.embedding_model
    assert loaded_network.state_dict().keys() == {name for name in bare.state_dict() if not name.startswith("pooler.")}
    assert all(torch.equal(value, bare.state_dict()[name]) for name, value in loaded_network.state_dict().items())
    assert classifier.image_frames == 50
    assert classifier.image_size == (32, 16)
    assert classifier.task == "single"


def test_settings_in_place_of_the_sources(tmp_path):
    source = saved(tmp_path / "source", vit_networks()[0])
    classifier = ViTClassifier.from_pretrained(source, LABELS, config={"hidden_dropout_prob": 0.3}, image_frames=50)
    assert classifier.embedding_model.config.hidden_dropout_prob == 0.3
    assert classifier.embedding_model.config.hidden_size == 16
    with pytest.raises(UserError, match="weights do not fit ViTModel"):
        ViTClassifier.from_pretrained(source, LABELS, config={"image_size": 64})
    random = ViTClassifier.from_pretrained(None, LABELS, task="multi", config=VIT, image_frames=50)
    assert random.architecture() == ViTClassifier(LABELS, config=VIT, image_frames=50).architecture()
    assert random.task == "multi"


def test_sources_that_do_not_serve(tmp_path, monkeypatch):
    source = saved(tmp_path / "focalnet", focalnet_networks()[0])
    with pytest.raises(UserError, match="holds a 'focalnet' model, expected 'vit'"):
        ViTClassifier.from_pretrained(source, LABELS)
    with pytest.raises(MissingError, match=r"could not get .*absent.*: check the network, or download") as caught:
        ViTClassifier.from_pretrained(str(tmp_path / "absent"), LABELS)
    assert "\n" not in str(caught.value)
    network = vit_networks()[1]
    state = network.state_dict()
    del state["layers.1.mlp.fc2.weight"]
    network.save_pretrained(tmp_path / "part", state_dict=state)
    with pytest.raises(UserError, match=r"1 missing \('layers\.1\.mlp\.fc2\.weight'\)"):
        ViTClassifier.from_pretrained(str(tmp_path / "part"), LABELS)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(MissingError, match="could not get nowhere/nothing"):
        ViTClassifier.from_pretrained("nowhere/nothing", LABELS)


def test_weights_are_read_in_full_precision(tmp_path):
    source = saved(tmp_path / "source", vit_networks()[1].half())
    classifier = ViTClassifier.from_pretrained(source, LABELS, image_frames=50)
    assert {parameter.dtype for parameter in classifier.parameters()} == {torch.float32}
    assert isinstance(classifier(magnitudes(4, 50, 513)), ClassifierOutput)
    assert AutoModel.from_pretrained(source).dtype == torch.float16  # or the test would say nothing


@pytest.mark.parametrize(
    ("kind", "settings", "match"),
    [
        ("vit", {"config": {"hidden": 8}}, "config has hidden, which ViTConfig does not; it has hidden_size"),
        ("vit", {"config": {"_attn_implementation": "sdpa"}}, "config has _attn_implementation"),
        ("vit", {"config": {"hidden_size": "wide"}}, "ViTConfig refuses its settings .*hidden_size"),
        ("vit", {"config": {**VIT, "image_size": 30}}, r"image_size is \(30, 30\), expected whole patches of \(8, 8\)"),
        ("vit", {"config": {**VIT, "num_attention_heads": 3}}, "expected a multiple of num_attention_heads, 3"),
        ("vit", {"image_frames": 0}, "image_frames is 0"),
        ("vit", {"head": "bilinear"}, "head is 'bilinear', expected one of"),
        ("vit", {"pooling": "max"}, "pooling is 'max', expected one of"),
        ("focalnet", {"config": {**FOCALNET, "image_size": 36}}, "expected multiples of the last stage's cells"),
        ("focalnet", {"config": {**FOCALNET, "depths": [1, 0]}}, r"depths are \[1, 0\], expected at least 1 layer"),
        ("focalnet", {"config": {**FOCALNET, "focal_levels": [2]}}, r"focal_levels are \[2\], expected one for each"),
        ("focalnet", {"config": {"hidden_size": 8}}, "config has hidden_size, which FocalNetConfig does not"),
    ],
)
def test_settings_that_do_not_fit_together(kind, settings, match):
    with pytest.raises(UserError, match=match):
        KINDS[kind](**settings)
