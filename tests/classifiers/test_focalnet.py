"""The focal modulation network: the published pipeline, the size of its modulators, cells in place."""

import pytest
import tiny
import torch
from speechbrain.lobes.models.ECAPA_TDNN import Classifier as CosineHead
from tiny import LABELS, magnitudes
from transformers import FocalNetBackbone, FocalNetConfig

from interpretability.classifiers.focalnet import FocalNetClassifier
from interpretability.errors import UserError

CONFIG = {"image_size": [32, 16], "patch_size": 4, "embed_dim": 8, "depths": [1, 1, 2], "drop_path_rate": 0.0}
FRAMES = 64
CELLS = (2, 1)  # rows and columns of the last stage


def make(frozen=True, config=CONFIG):
    torch.manual_seed(0)
    classifier = FocalNetClassifier(LABELS, config=config, image_frames=FRAMES)
    with torch.no_grad():  # weights that tell more than the small ones they start with
        for parameter in classifier.embedding_model.parameters():
            parameter += 0.2 * torch.randn(parameter.shape)
    return classifier.freeze() if frozen else classifier


@pytest.fixture(scope="module")
def classifier():
    """Frozen: no test changes it."""
    return make()


def clips(classifier, lengths=(1.0, 0.6), seconds=0.9):
    """Analysed noise: more than an image, and less than one."""
    wavs = torch.randn(len(lengths), int(seconds * 16000), generator=torch.Generator().manual_seed(1))
    return classifier.frontend.analyse(wavs, torch.tensor(lengths))


def resized(magnitude):
    """Images by other means: one clip's frames, cut and padded by hand."""
    whole = torch.log1p(magnitude)
    whole = torch.cat([whole, whole.new_zeros(-len(whole) % FRAMES, whole.shape[1])])
    images = whole.view(-1, 1, FRAMES, whole.shape[1])
    images = torch.nn.functional.interpolate(images, size=(32, 16), mode="bilinear", antialias=True)
    return images.repeat(1, 3, 1, 1)


def hooks(classifier):
    return sum(len(module._forward_hooks) + len(module._backward_hooks) for module in classifier.modules())


def modulators(classifier, images, gradient=False):
    """The last map of images, and what ``projection_context`` gives in each layer of the last stage."""
    layers = classifier.embedding_model.focalnet.encoder.stages[-1].layers
    kept, handles = [], []
    for layer in layers:
        handles.append(layer.modulation.projection_context.register_forward_hook(lambda _m, _i, out: kept.append(out)))
    last = classifier.embedding_model(images).feature_maps[-1]
    for handle in handles:
        handle.remove()
    if gradient:
        for modulator in kept:
            modulator.retain_grad()
    return last, kept


def test_the_published_pipeline():
    """log1p, resize, three channels, FocalNetBackbone, mean of its last map, cosine head."""
    torch.manual_seed(0)
    # The published configuration names wrong widths, which nothing reads.
    network = FocalNetBackbone(FocalNetConfig(**CONFIG, hidden_sizes=[192, 384, 768, 768])).eval()
    head = CosineHead(32, lin_blocks=1, lin_neurons=192, out_neurons=3).eval()
    classifier = FocalNetClassifier(LABELS, config=CONFIG, image_frames=FRAMES)
    classifier.embedding_model.load_state_dict(network.state_dict())
    classifier.classifier.load_state_dict(head.state_dict())
    classifier.freeze()
    magnitude = magnitudes(2, FRAMES, 513)
    pixels = torch.cat([resized(clip) for clip in magnitude])
    with torch.no_grad():
        last = network(pixels).feature_maps[-1]
        states, size = network.focalnet.embeddings(pixels)
        before = []  # what each stage gives before it is downsampled
        for stage in network.focalnet.encoder.stages:
            states, fine, size = stage(states, size[-2:])
            before.append(fine)
        output = classifier(magnitude)
    torch.testing.assert_close(output.feature_maps[-1], last)
    torch.testing.assert_close(output.embedding, last.mean((2, 3)))
    torch.testing.assert_close(output.logits, 30 * head(last.mean((-1, -2)))[:, 0])
    sizes = [(8, 4), (4, 2), (2, 1)]
    assert [tuple(maps.shape[1:]) for maps in output.feature_maps] == [(8, 8, 4), (16, 4, 2), (32, 2, 1)]
    for maps, fine, size in zip(output.feature_maps, before, sizes, strict=True):
        torch.testing.assert_close(maps, fine.transpose(1, 2).reshape(2, -1, *size))
    assert classifier.feature_strides == (8.0, 16.0, 32.0)
    assert list(classifier.embedding_model.config.hidden_sizes) == [16, 32, 32]


def test_attention_is_the_size_of_the_modulators(classifier):
    magnitude = magnitudes(2, 100, 513)  # two images each
    attention = classifier(magnitude).attention
    rows = classifier.feature_rows(100)[-1]
    assert attention.shape == (2, 2, rows, 1)
    for clip, attended in zip(magnitude, attention, strict=True):
        with torch.no_grad():
            _, layers = modulators(classifier, resized(clip))
        for index, modulator in enumerate(layers):  # [2, 32, 2, 1]
            sizes = modulator.square().sum(1).sqrt().reshape(2 * CELLS[0], CELLS[1])
            torch.testing.assert_close(attended[index], sizes[:rows])
    assert attention.std() > 1e-3


def test_the_gradient_variant_weighs_the_modulator_cell_by_cell(classifier):
    spectrogram = clips(classifier)
    target = torch.tensor([2, 0])
    output = classifier.classify(spectrogram)
    attended = classifier.activation_map(tiny.batch_of(spectrogram, output, target), "gradient")
    values = []
    for index, count in enumerate(spectrogram.valid.sum(1).tolist()):
        images = resized(spectrogram.magnitude[index, :count]).requires_grad_()
        last, layers = modulators(classifier, images, gradient=True)
        shares = torch.tensor([min(FRAMES, count - start) / count for start in range(0, count, FRAMES)])
        embedding = (shares[:, None] * last.mean((2, 3))).sum(0, keepdim=True)
        classifier.logits(embedding)[0, target[index]].backward()
        products = (layers[-1].grad * layers[-1]).detach().sum(1).reshape(-1, 1)
        rows = classifier.feature_rows(count)[-1]
        values.append(products)
        torch.testing.assert_close(attended.values[index, :rows], products.clamp(min=0)[:rows], rtol=1e-3, atol=1e-6)
    values = torch.cat(values)
    assert values.max() > 1e-4  # some are kept,
    assert values.min() < -1e-4  # and some are cut: the comparison says something
    other = classifier.activation_map(tiny.batch_of(spectrogram, output, 2 - target), "gradient")
    assert not torch.allclose(other.values, attended.values, rtol=1e-2)


@pytest.mark.parametrize("variant", FocalNetClassifier.ACTIVATIONS)
def test_activation_maps_do_not_depend_on_batch_order_or_padding(classifier, variant):
    spectrogram = clips(classifier, (0.5, 1.0, 0.08))
    target = torch.tensor([0, 1, 2])

    def maps(index):
        part = spectrogram[index]
        return classifier.activation_map(tiny.batch_of(part, classifier.classify(part), target[index]), variant)

    together, turned = maps(torch.arange(3)), maps(torch.tensor([2, 1, 0]))
    torch.testing.assert_close(turned.values.flip(0), together.values, rtol=1e-3, atol=1e-6)
    assert together.values.shape[1:] == tuple(map(len, (together.grid.frames, together.grid.bins)))
    assert together.values.min() >= 0
    assert not together.values[~together.rows].any()
    for index in range(3):
        part = spectrogram[torch.tensor([index])]
        count = int(part.valid.sum())
        part.magnitude, part.valid = part.magnitude[:, :count], part.valid[:, :count]
        alone = classifier.activation_map(
            tiny.batch_of(part, classifier.classify(part), target[index : index + 1]), variant
        )
        rows = alone.values.shape[1]
        torch.testing.assert_close(together.values[index, :rows], alone.values[0], rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("variant", FocalNetClassifier.ACTIVATIONS)
def test_nothing_is_left_behind(variant, monkeypatch):
    classifier = make()
    spectrogram = clips(classifier)
    before = hooks(classifier)
    with torch.no_grad():  # as methods are called
        output = classifier.classify(spectrogram)
        attended = classifier.activation_map(tiny.batch_of(spectrogram, output, output.predicted), variant)
    assert not attended.values.requires_grad
    assert hooks(classifier) == before
    assert all(parameter.grad is None and not parameter.requires_grad for parameter in classifier.parameters())
    monkeypatch.setattr(classifier.embedding_model.focalnet.encoder.stages[-1].layers[-1], "mlp", None)
    with pytest.raises(TypeError):
        classifier.classify(spectrogram)
    if variant == "gradient":
        with pytest.raises(TypeError):
            classifier.activation_map(tiny.batch_of(spectrogram, output, output.predicted), variant)
    assert hooks(classifier) == before


def test_it_has_no_rollout(classifier):
    spectrogram = clips(classifier)
    with pytest.raises(UserError, match="no activation map 'rollout', expected one of last, mean, gradient"):
        classifier.activation_map(tiny.batch_of(spectrogram, None, torch.tensor([0, 0])), "rollout")


def alone(overlap):
    """A network whose cells see only their own part of the image: the modulation adds nothing."""
    classifier = make(frozen=False, config={**CONFIG, "use_conv_embed": overlap})
    with torch.no_grad():
        for stage in classifier.embedding_model.focalnet.encoder.stages:
            for layer in stage.layers:
                layer.modulation.projection_out.weight.zero_()
    return classifier.freeze()


@pytest.mark.parametrize("overlap", [False, True], ids=["patches", "convolutions"])
@pytest.mark.parametrize("level", range(3))
def test_cells_lie_where_the_grid_says(level, overlap):
    """In time and frequency, to a quarter of a pixel: an image is 64 frames of 32 rows, and 513 bins of 16 columns."""
    cellwise = alone(overlap)
    magnitude = magnitudes(1, 2 * FRAMES, 513, seed=1).requires_grad_()
    maps, grid = cellwise(magnitude).feature_maps[level], cellwise.feature_grids(2 * FRAMES)[level]
    rows = cellwise.levels[level].rows
    middle = rows // 2 if rows > 2 else 1
    column = maps.shape[3] // 2 if maps.shape[3] > 2 else 0
    (gradient,) = torch.autograd.grad(maps[0, :, middle, column].square().sum(), magnitude)
    reached = gradient[0].abs() > 0
    for axis, centres, place, pixel, size in (
        (1, grid.frames, middle, 2.0, FRAMES),
        (0, grid.bins, column, 513 / 16, 513),
    ):
        inside = reached.any(axis).nonzero()[:, 0]
        lowest, highest = int(inside.min()), int(inside.max())
        if lowest == 0 or highest == size - 1:  # cut at the edge of the image
            assert lowest - pixel <= float(centres[place]) <= highest + pixel
        else:
            assert abs((lowest + highest) / 2 - float(centres[place])) <= pixel / 4


def test_an_event_moved_by_whole_strides_moves_the_cells():
    cellwise = alone(overlap=False)
    strides = cellwise.feature_strides
    assert strides == (8.0, 16.0, 32.0)
    event = torch.zeros(1, 2 * FRAMES, 513)
    event[:, 10:22, 100:200] = magnitudes(12, 100) * 10
    first = cellwise(event).feature_maps
    for k in (1, 2):
        moved = cellwise(event.roll(32 * k, dims=1)).feature_maps
        for here, there, stride in zip(first, moved, strides, strict=True):
            assert here.std(dim=2).max() > 0.1
            torch.testing.assert_close(here.roll(k * 32 // int(stride), dims=2), there, rtol=1e-4, atol=1e-5)
