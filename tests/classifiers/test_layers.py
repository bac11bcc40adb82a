"""Layers of models that take waveforms: listed, measured, and their cells where the grids say."""

import pytest
import torch
from tiny import noise
from waveform_models import LABELS, RATE, Blocks, Chain, MelCnn, Recurrent, hooks, make

from interpretability.classifiers.layers import FeatureLayer, evenly_spaced, tensor_of
from interpretability.classifiers.module import ModuleClassifier
from interpretability.classifiers.waveform import frontend_for
from interpretability.errors import UserError
from interpretability.grids import mel_from_hertz


def test_a_pyramid_has_the_last_module_at_each_resolution(cnn):
    assert [layer.name for layer in cnn.layers] == ["stem", "blocks.0", "blocks.1", "blocks"]
    assert [(layer.stride, layer.start, layer.columns) for layer in cnn.layers] == [
        (80.0, 0.0, 16),
        (160.0, 0.0, 8),
        (320.0, 0.0, 4),
        (640.0, 0.0, 2),
    ]


def test_a_stack_of_equal_blocks_has_four_evenly_spaced_ones():
    assert [layer.name for layer in make(Blocks(6)).layers] == ["layers.1", "layers.2", "layers.3", "layers.5"]
    assert [layer.name for layer in make(Blocks(3)).layers] == ["layers.0", "layers.1", "layers.2"]


def test_windows_known_by_hand():
    """A window of 8 every 4 samples, then of 5 every 5 rows: 24 samples every 20, the first in their middle."""
    classifier = make(Chain(), layers=["convs.1", "convs.0"])
    first, second = classifier.layers
    assert (first.name, first.axes, first.stride, first.start, first.centre) == ("convs.0", "BCT", 4.0, 8.0, 4.0)
    assert (second.stride, second.start, second.centre) == (20.0, 24.0, 12.0)
    assert classifier.feature_strides == (4 / 93, 20 / 93)
    hop = classifier.frontend.settings.hop_length
    assert second.rows(11, hop) == (10 * hop - 24) // 20 + 1
    assert float(classifier.feature_grids(11)[1].frames[3]) == pytest.approx((12 + 3 * 20) / hop)


def test_cells_lie_where_the_grid_says():
    """A row's receptive field on the waveform, measured by its gradient, is centred on the grid's centre."""
    for module, layers in ((MelCnn(), ["stem", "blocks.1"]), (Chain(), ["convs.0", "convs.1"]), (Blocks(), None)):
        classifier = make(module, layers=layers)
        hop = classifier.frontend.settings.hop_length
        for level, grid in enumerate(classifier.feature_grids(100)):
            wavs = noise(1, 99 * hop).requires_grad_()
            maps = classifier.classify_samples(wavs, torch.tensor([99 * hop]), 100).feature_maps[level]
            row = maps.shape[2] // 2
            (gradient,) = torch.autograd.grad(maps[0, :, row].square().sum(), wavs)
            reached = gradient[0].abs().nonzero()[:, 0]
            middle = (int(reached.min()) + int(reached.max())) / 2
            # Mel features see windows of 256 samples on both sides of a frame's centre, less its zeros at the ends.
            assert abs(middle - hop * float(grid.frames[row])) <= 2.0, (level, middle, float(grid.frames[row]) * hop)


def test_an_event_moved_by_k_strides_moves_the_maps_by_k_rows():
    classifier = make(Chain())
    event, stride = noise(1, 300), int(classifier.layers[-1].stride)
    wavs = torch.zeros(2, 8000)
    wavs[0, 2000:2300] = event
    wavs[1, 2000 + 7 * stride : 2300 + 7 * stride] = event
    maps = classifier.classify_samples(wavs, torch.full((2,), 8000), 87).feature_maps[-1]
    torch.testing.assert_close(maps[1, :, 57:200], maps[0, :, 50:193], rtol=0, atol=1e-6)
    assert maps[0, :, 50:193].std() > 1e-3


def test_axes_of_every_order():
    classifier = make(Recurrent(), layers=["last", "rnn"])
    by_name = {layer.name: layer for layer in classifier.layers}
    assert (by_name["last"].axes, by_name["last"].channels, by_name["last"].columns) == ("BTFC", 4, 10)
    assert (by_name["rnn"].axes, by_name["rnn"].channels, by_name["rnn"].columns) == ("TBC", 6, 1)
    wavs = noise(2, 3000)
    maps = dict(zip(by_name, classifier.classify(classifier.frontend.analyse(wavs)).feature_maps, strict=True))
    expected = classifier.module.last(wavs.unfold(1, 30, 30).unflatten(2, (10, 3)))  # [B, T, F, C]
    got = maps["last"]
    torch.testing.assert_close(got, expected.permute(0, 3, 1, 2)[:, :, : got.shape[2]], rtol=0, atol=1e-4)
    rows = classifier.module.rnn(expected.flatten(2).transpose(0, 1))[0].permute(1, 2, 0)[..., None]
    torch.testing.assert_close(maps["rnn"], rows[:, :, : maps["rnn"].shape[2]], rtol=0, atol=1e-4)


def test_columns_lie_on_the_scale_that_is_asked_for(cnn):
    hertz = RATE / cnn.frontend.settings.n_fft
    bins = cnn.feature_grids(20)[0].bins * hertz
    wanted = torch.tensor([mel_from_hertz(float(f)) for f in bins])
    torch.testing.assert_close(wanted.diff(), torch.full((15,), mel_from_hertz(RATE / 2) / 16), rtol=1e-4, atol=0)
    linear = make(MelCnn(), scale="linear").feature_grids(20)[0].bins * hertz
    torch.testing.assert_close(linear, (torch.arange(16, dtype=torch.float64) + 0.5) * RATE / 32)
    one = make(Blocks()).feature_grids(20)[0].bins
    assert one.tolist() == [(cnn.frontend.settings.n_bins - 1) / 2]


def test_layers_are_described_as_they_are(cnn):
    infos = {info.name: info for info in cnn.describe_layers()}
    assert [name for name, info in infos.items() if info.default] == ["stem", "blocks.0", "blocks.1", "blocks"]
    assert infos["mel"].kind == "MelSpectrogram"
    assert infos["blocks.0.0"].shape == (1, 4, 8, 51)
    assert infos["stem"].stride_ms == pytest.approx(10.0)
    assert "head" not in infos  # no axis of time


def test_layers_that_are_not_there_or_of_no_use():
    with pytest.raises(UserError, match=r"no layer 'block\.1' in MelCnn: near it are .*blocks\.1"):
        make(MelCnn(), layers=["block.1"])
    with pytest.raises(UserError, match="'head' gives no feature map"):
        make(MelCnn(), layers=["stem", "head"])
    with pytest.raises(UserError, match="named twice"):
        make(MelCnn(), layers=["stem", "stem"])
    with pytest.raises(UserError, match="not what architecture"):
        make(MelCnn(), layers=[{"name": "stem"}])


def test_maps_of_another_size_than_was_measured_are_refused(cnn):
    layer = cnn.layers[0]
    n_frames = 50
    wanted = layer.rows(n_frames, cnn.frontend.settings.hop_length)
    maps = noise(1, 4, wanted - 1, 16)
    fitted = cnn.layout.fit_rows(layer, maps, n_frames)
    assert torch.equal(fitted[:, :, :-1], maps)
    assert torch.equal(fitted[:, :, -1], maps[:, :, -1])
    for rows in (wanted - 3, wanted + 5):
        with pytest.raises(UserError, match="stride is not constant"):
            cnn.layout.fit_rows(layer, noise(1, 4, rows, 16), n_frames)


def test_finding_layers_changes_nothing():
    module = MelCnn()
    module.blocks[1].eval()
    modes = [part.training for part in module.modules()]
    before = {name: value.clone() for name, value in module.state_dict().items()}
    state = torch.get_rng_state()
    ModuleClassifier(LABELS, frontend_for(RATE), module=module)
    assert torch.equal(torch.get_rng_state(), state)
    assert [part.training for part in module.modules()] == modes
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())
    assert hooks(module) == 0


def test_the_tensor_in_what_a_module_returns():
    one = torch.zeros(1)
    for output in (one, (one, 2), [one], {"x": one, "y": 3}):
        assert tensor_of(output) is one
    assert tensor_of(()) is None


def test_evenly_spaced_ends_with_the_last():
    for n in range(1, 25):
        names = [str(i) for i in range(n)]
        chosen = evenly_spaced(names, 4)
        assert len(chosen) == len(set(chosen)) == min(4, n)
        assert chosen[-1] == names[-1]


def test_rows_of_numbers_and_of_tensors_agree():
    layer = FeatureLayer("x", "BCT", 1, 1, 37.5, 20.0, 10.0)
    frames = torch.arange(1, 400)
    assert layer.rows(frames, 93).tolist() == [layer.rows(int(n), 93) for n in frames]
    assert layer.rows(1, 93) == 1
