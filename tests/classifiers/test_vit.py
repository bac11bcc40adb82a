"""The vision transformer: the published pipeline, the model's own attention, rollout, gradient-weighted attention,
tokens in place."""

import pytest
import tiny
import torch
from speechbrain.lobes.models.ECAPA_TDNN import Classifier as CosineHead
from tiny import LABELS, magnitudes
from transformers import ViTConfig, ViTModel

from interpretability.classifiers.vit import ViTClassifier
from interpretability.errors import UserError

CONFIG = {
    "image_size": [32, 16],
    "patch_size": 8,
    "hidden_size": 16,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "intermediate_size": 24,
}
FRAMES = 64
TOKENS = (4, 2)  # rows and columns of patches


def make(pooling="mean", frozen=True, **settings):
    torch.manual_seed(0)
    classifier = ViTClassifier(LABELS, config=CONFIG, image_frames=FRAMES, pooling=pooling, **settings)
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


def resized(classifier, magnitude):
    """Images by other means: one clip's frames, cut and padded by hand."""
    whole = torch.log1p(magnitude)
    missing = -len(whole) % FRAMES
    whole = torch.cat([whole, whole.new_zeros(missing, whole.shape[1])])
    images = whole.view(-1, 1, FRAMES, whole.shape[1])
    size = tuple(CONFIG["image_size"])
    images = torch.nn.functional.interpolate(images, size=size, mode="bilinear", antialias=True)
    return images.repeat(1, 3, 1, 1)


def hooks(classifier):
    return sum(len(module._forward_hooks) + len(module._backward_hooks) for module in classifier.modules())


# -------------------------------------------------------------------------------------------------- the published way


@pytest.mark.parametrize("pooling", ["mean", "cls"])
def test_the_published_pipeline(pooling):
    """log1p, resize, three channels, ViTModel, mean over all tokens, cosine head; maps without the class token."""
    torch.manual_seed(0)
    network = ViTModel(ViTConfig(**CONFIG)).eval()
    head = CosineHead(16, lin_blocks=1, lin_neurons=12, out_neurons=3).eval()
    classifier = ViTClassifier(LABELS, config=CONFIG, image_frames=FRAMES, pooling=pooling, lin_neurons=12)
    weights = {name: value for name, value in network.state_dict().items() if not name.startswith("pooler.")}
    classifier.embedding_model.load_state_dict(weights)
    classifier.classifier.load_state_dict(head.state_dict())
    classifier.freeze()
    magnitude = magnitudes(2, FRAMES, 513)
    pixels = torch.cat([resized(classifier, clip) for clip in magnitude])
    with torch.no_grad():
        theirs = network(pixels, output_hidden_states=True)
        tokens = theirs.last_hidden_state
        embedding = tokens.mean(1) if pooling == "mean" else tokens[:, 0]
        output = classifier(magnitude)
    torch.testing.assert_close(output.embedding, embedding)
    torch.testing.assert_close(output.logits, 30 * head(embedding)[:, 0])
    wanted = [*theirs.hidden_states[1:-1], tokens]  # the states behind layers 1 and 2, then the normalised last one
    assert len(output.feature_maps) == 3
    for maps, states in zip(output.feature_maps, wanted, strict=True):
        torch.testing.assert_close(maps, states[:, 1:].reshape(2, *TOKENS, 16).permute(0, 3, 1, 2))


@pytest.mark.parametrize(
    ("layers", "wanted"),
    [(1, [1]), (2, [1, 2]), (3, [1, 2, 3]), (4, [1, 2, 3, 4]), (6, [2, 3, 5, 6]), (12, [3, 6, 9, 12])],
)
def test_maps_come_from_evenly_spaced_layers_up_to_the_last(layers, wanted):
    classifier = ViTClassifier(LABELS, config={**CONFIG, "num_hidden_layers": layers})
    assert classifier.map_layers == wanted
    assert classifier.feature_channels == (16,) * len(wanted)


def test_the_pooler_is_left_out(classifier):
    assert not [name for name in classifier.state_dict() if "pooler" in name]


# --------------------------------------------------------------------------------------------------------- attention


def test_attention_is_the_models_own(classifier):
    magnitude = magnitudes(2, 100, 513)  # two images each
    attention = classifier(magnitude).attention  # [2, 3, 7, 2]
    rows = classifier.feature_rows(100)[-1]
    assert attention.shape == (2, 3, rows, 2)
    for clip, attended in zip(magnitude, attention, strict=True):
        with torch.no_grad():
            layers = classifier.embedding_model(resized(classifier, clip), output_attentions=True).attentions
        for index, weights in enumerate(layers):
            wanted = weights[:, :, 0, 1:].mean(1).reshape(2 * TOKENS[0], TOKENS[1])  # both images, one below the other
            torch.testing.assert_close(attended[index], wanted[:rows])
    assert attention.std() > 1e-3


def test_attention_has_to_be_eager(classifier):
    model = make()
    model.embedding_model.set_attn_implementation("sdpa")
    with pytest.raises(UserError, match="attention is 'sdpa', which gives no weights, expected 'eager'"):
        model(magnitudes(1, 20, 513))
    with pytest.raises(UserError, match="'sdpa'"):
        model.activation_map(tiny.batch_of(clips(model), None, torch.tensor([0, 1])), "rollout")
    model.embedding_model.set_attn_implementation("eager")
    assert torch.equal(model(magnitudes(1, 20, 513)).logits, classifier(magnitudes(1, 20, 513)).logits)


def test_rollout_of_the_classifier(classifier):
    spectrogram = clips(classifier)
    output = classifier.classify(spectrogram)
    attended = classifier.activation_map(tiny.batch_of(spectrogram, output, output.predicted), "rollout")
    for index, count in enumerate(spectrogram.valid.sum(1).tolist()):
        with torch.no_grad():
            images = resized(classifier, spectrogram.magnitude[index, :count])
            layers = classifier.embedding_model(images, output_attentions=True).attentions
        joined = []
        for image in range(len(images)):
            product = torch.eye(9, dtype=torch.float64)
            for weights in layers:
                product = (0.5 * weights[image].double().mean(0) + 0.5 * torch.eye(9)) @ product
            assert product.sum(1).allclose(torch.ones(9, dtype=torch.float64))
            joined.append(product[0, 1:].reshape(TOKENS))
        rows = classifier.feature_rows(count)[-1]
        torch.testing.assert_close(
            attended.values[index, :rows].double(), torch.cat(joined)[:rows], rtol=1e-4, atol=1e-6
        )
        assert attended.rows[index].sum() == rows


@pytest.mark.parametrize("pooling", ["mean", "cls"])
def test_gradient_weighted_attention_of_the_classifier(pooling):
    """Against the rule written out for one clip, with the attention and the gradients that Transformers gives."""
    classifier = make(pooling)
    spectrogram = clips(classifier)
    target = torch.tensor([2, 0])
    attended = classifier.activation_map(
        tiny.batch_of(spectrogram, classifier.classify(spectrogram), target), "gradient"
    )
    for index, count in enumerate(spectrogram.valid.sum(1).tolist()):
        images = resized(classifier, spectrogram.magnitude[index, :count]).requires_grad_()
        theirs = classifier.embedding_model(images, output_attentions=True)
        for weights in theirs.attentions:
            weights.retain_grad()
        tokens = theirs.last_hidden_state
        shares = torch.tensor([min(FRAMES, count - start) / count for start in range(0, count, FRAMES)])
        embedding = (shares[:, None] * (tokens.mean(1) if pooling == "mean" else tokens[:, 0])).sum(0, keepdim=True)
        classifier.logits(embedding)[0, target[index]].backward()
        joined = []
        for image in range(len(images)):
            total = torch.eye(9, dtype=torch.float64)
            for weights in theirs.attentions:
                products = [(w * g).clamp(min=0) for w, g in zip(weights[image], weights.grad[image], strict=True)]
                total = total + torch.stack(products).detach().double().mean(0) @ total
            total = total - torch.eye(9)
            joined.append((total.mean(0) if pooling == "mean" else total[0])[1:].reshape(TOKENS))
        rows = classifier.feature_rows(count)[-1]
        wanted = torch.cat(joined)[:rows]
        assert wanted.max() > 1e-4
        torch.testing.assert_close(attended.values[index, :rows].double(), wanted, rtol=1e-3, atol=1e-6)


def test_only_the_gradient_variant_looks_at_the_class(classifier):
    spectrogram = clips(classifier)
    output = classifier.classify(spectrogram)

    def values(variant, target):
        return classifier.activation_map(tiny.batch_of(spectrogram, output, torch.tensor([target] * 2)), variant).values

    for variant in ("last", "mean", "rollout"):
        assert torch.equal(values(variant, 0), values(variant, 1))
    assert not torch.allclose(values("gradient", 0), values("gradient", 1), rtol=1e-2, atol=1e-5)
    with pytest.raises(UserError, match="no activation map 'first', expected one of last, mean, rollout, gradient"):
        values("first", 0)


@pytest.mark.parametrize("variant", ViTClassifier.ACTIVATIONS)
def test_activation_maps_do_not_depend_on_batch_order_or_padding(classifier, variant):
    spectrogram = clips(classifier, (0.5, 1.0, 0.08))
    target = torch.tensor([0, 1, 2])

    def maps(index):
        part = spectrogram[index]
        return classifier.activation_map(tiny.batch_of(part, classifier.classify(part), target[index]), variant)

    together, turned = maps(torch.arange(3)), maps(torch.tensor([2, 1, 0]))
    torch.testing.assert_close(turned.values.flip(0), together.values, rtol=1e-3, atol=1e-7)
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
        assert together.rows[index].sum() == rows
        torch.testing.assert_close(together.values[index, :rows], alone.values[0], rtol=1e-3, atol=1e-7)


@pytest.mark.parametrize("variant", ViTClassifier.ACTIVATIONS)
def test_nothing_is_left_behind(variant, monkeypatch):
    classifier = make()
    spectrogram = clips(classifier)
    before, state = hooks(classifier), {name: value.clone() for name, value in classifier.state_dict().items()}
    with torch.no_grad():  # as methods are called
        output = classifier.classify(spectrogram)
        attended = classifier.activation_map(tiny.batch_of(spectrogram, output, output.predicted), variant)
    assert not attended.values.requires_grad
    assert hooks(classifier) == before
    assert all(parameter.grad is None and not parameter.requires_grad for parameter in classifier.parameters())
    assert all(torch.equal(value, state[name]) for name, value in classifier.state_dict().items())
    monkeypatch.setattr(classifier.embedding_model.layers[2], "mlp", None)
    with pytest.raises(TypeError):
        classifier.classify(spectrogram)
    if variant in ("rollout", "gradient"):
        with pytest.raises(TypeError):
            classifier.activation_map(tiny.batch_of(spectrogram, output, output.predicted), variant)
    assert hooks(classifier) == before


# ------------------------------------------------------------------------------------------------------------ places


@pytest.fixture(scope="module")
def patchwise():
    """Tokens that see one patch only: nothing comes in through attention, and all positions are alike."""
    classifier = make(frozen=False)
    with torch.no_grad():
        classifier.embedding_model.embeddings.position_embeddings.zero_()
        for layer in classifier.embedding_model.layers:
            layer.attention.o_proj.weight.zero_()
    return classifier.freeze()


@pytest.mark.parametrize("level", range(3))
@pytest.mark.parametrize(("row", "column"), [(1, 0), (3, 1), (6, 1)])
def test_tokens_lie_where_the_grid_says(patchwise, level, row, column):
    magnitude = magnitudes(1, 2 * FRAMES, 513, seed=1).requires_grad_()
    maps, grid = patchwise(magnitude).feature_maps[level], patchwise.feature_grids(2 * FRAMES)[level]
    (gradient,) = torch.autograd.grad(maps[0, :, row, column].square().sum(), magnitude)
    strength = gradient[0].abs()
    for axis, centres, place in ((1, grid.frames, row), (0, grid.bins, column)):
        reach = strength.amax(axis)
        inside = (reach > 0).nonzero()[:, 0]
        stride = float(centres[1] - centres[0])
        middle = (int(inside.min()) + int(inside.max())) / 2
        # Where the filter of the resize goes over the edge of an image, the field is cut there.
        assert abs(middle - float(centres[place])) <= stride / 8
        assert len(inside) < 1.5 * stride


def test_an_event_moved_by_whole_strides_moves_the_tokens(patchwise):
    stride = int(patchwise.feature_strides[-1])
    assert stride == patchwise.feature_strides[-1] == 16
    event = torch.zeros(1, 2 * FRAMES, 513)
    event[:, 20:28, 100:200] = magnitudes(8, 100) * 10
    first = patchwise(event).feature_maps
    for k in (1, 2):
        moved = patchwise(event.roll(k * stride, dims=1)).feature_maps
        for here, there in zip(first, moved, strict=True):
            assert here.std(dim=2).max() > 0.1
            torch.testing.assert_close(here.roll(k, dims=2), there, rtol=1e-4, atol=1e-5)
