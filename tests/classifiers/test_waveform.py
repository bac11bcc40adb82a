"""Any model that takes waveforms, as it is: layers found and measured, one length at a time, nothing left behind."""

import pytest
import torch
import torchaudio
from torch import nn

from interpretability.classifiers.module import ModuleClassifier
from interpretability.classifiers.waveform import (
    FeatureLayer,
    evenly_spaced,
    frontend_for,
    mel,
    tensor_of,
)
from interpretability.errors import UserError
from interpretability.frontend import Frontend
from interpretability.methods.lmac import LMAC
from interpretability.methods.piq import PIQ

LABELS = ["a", "b", "c"]
RATE = 8000


class MelCnn(nn.Module):
    """A model with features of its own: log-mel, three strided convolutions."""

    def __init__(self, classes=3, width=4):
        super().__init__()
        self.mel = torchaudio.transforms.MelSpectrogram(RATE, n_fft=256, hop_length=80, n_mels=16)
        self.stem = nn.Conv2d(1, width, 3, padding=1)
        self.blocks = nn.Sequential(
            *(nn.Sequential(nn.Conv2d(width, width, 3, stride=2, padding=1), nn.BatchNorm2d(width)) for _ in range(3))
        )
        self.head = nn.Linear(width, classes)

    def forward(self, wavs):
        maps = torch.log(self.mel(wavs) + 1e-4)[:, None]
        return self.head(self.blocks(self.stem(maps)).mean((2, 3)))


class Chain(nn.Module):
    """Convolutions on the waveform, without padding: the size of every window is known by hand."""

    def __init__(self, sizes=((8, 4), (5, 5)), channels_first=True, classes=3):
        super().__init__()
        self.channels_first = channels_first
        widths = (1, *[6] * len(sizes))
        self.convs = nn.ModuleList(nn.Conv1d(a, 6, k, s) for a, (k, s) in zip(widths, sizes, strict=False))
        self.tokens = nn.Identity()
        self.head = nn.Linear(6, classes)

    def forward(self, wavs):
        maps = wavs[:, None]
        for conv in self.convs:
            maps = torch.relu(conv(maps))
        tokens = self.tokens(maps.transpose(1, 2))
        return {"logits": self.head(tokens.mean(1))}["logits"]


class Blocks(nn.Module):
    """A stack of equal blocks on frames, as a transformer has them; each returns a tuple."""

    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.linear = nn.Linear(5, 5)

        def forward(self, tokens):
            return tokens + torch.tanh(self.linear(tokens)), None

    def __init__(self, n=6):
        super().__init__()
        self.front = nn.Conv1d(1, 5, 40, 40)
        self.layers = nn.ModuleList(self.Block() for _ in range(n))
        self.head = nn.Linear(5, 3)

    def forward(self, wavs):
        tokens = self.front(wavs[:, None]).transpose(1, 2)
        for layer in self.layers:
            tokens, _ = layer(tokens)
        return self.head(tokens.mean(1))


class Recurrent(nn.Module):
    """Time first, clips second; features that are channels-last."""

    def __init__(self):
        super().__init__()
        self.last = nn.Linear(3, 4)  # on [B, T, F, C]
        self.rnn = nn.GRU(10 * 4, 6)
        self.head = nn.Linear(6, 3)

    def forward(self, wavs):
        frames = wavs.unfold(1, 30, 30).unflatten(2, (10, 3))  # [B, T, 10, 3]
        maps = self.last(frames)
        rows, _ = self.rnn(maps.flatten(2).transpose(0, 1))  # [T, B, 6]
        return self.head(rows.mean(0))


class Fixed(nn.Module):
    """A model that takes one length alone."""

    def __init__(self):
        super().__init__()
        self.head = nn.Linear(1234, 3)

    def forward(self, wavs):
        return self.head(wavs)


@pytest.fixture(scope="module")
def cnn():
    torch.manual_seed(0)
    module = MelCnn()
    module(torch.randn(4, 4000))  # batch statistics that are not the initial ones
    return ModuleClassifier(LABELS, frontend_for(RATE), module=module, arguments={}).freeze()


def noise(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def hooks(module):
    return sum(len(part._forward_hooks) for part in module.modules())


def make(module, **settings):
    torch.manual_seed(0)
    return ModuleClassifier(LABELS, frontend_for(RATE), module=module, **settings).freeze()


# ------------------------------------------------------------------------------------------------------- front end


@pytest.mark.parametrize(("rate", "n_fft"), [(8000, 512), (16000, 1024), (22050, 1024), (44100, 2048), (48000, 4096)])
def test_the_front_end_keeps_window_and_hop_in_time(rate, n_fft):
    settings = frontend_for(rate)
    assert (settings.sample_rate, settings.n_fft, settings.level) == (rate, n_fft, "none")
    assert settings.hop_length == round(0.0116099 * rate)
    assert settings.win_length == round(0.0232199 * rate)
    assert frontend_for(rate, "peak").level == "peak"
    x = noise(1, rate // 2)
    spectrogram = Frontend(settings).analyse(x)
    assert torch.allclose(Frontend(settings).resynthesise(spectrogram, spectrogram.magnitude), x, atol=1e-5)


def test_a_rate_that_is_none():
    with pytest.raises(UserError, match="at least 1000 Hz"):
        frontend_for(16)


# ---------------------------------------------------------------------------------------- what the model itself says


def test_it_hears_what_the_model_hears(cnn):
    wavs = noise(2, 6001)
    output = cnn.classify(cnn.frontend.analyse(wavs))
    torch.testing.assert_close(output.logits, cnn.module(wavs), rtol=0, atol=1e-4)
    maps = cnn.module.blocks(cnn.module.stem(torch.log(cnn.module.mel(wavs) + 1e-4)[:, None]))  # [B, C, F, T]
    got = output.feature_maps[-1]
    torch.testing.assert_close(got, maps.transpose(2, 3)[:, :, : got.shape[2]], rtol=0, atol=1e-3)
    torch.testing.assert_close(output.embedding, got.mean((2, 3)))


def test_the_level_rule_is_the_front_ends(cnn):
    """None: the model hears a faint sound as faint."""
    wavs = noise(1, 4000)
    for factor in (1.0, 0.01):
        spectrogram = cnn.frontend.analyse(cnn.frontend.level(factor * wavs))
        torch.testing.assert_close(cnn.classify(spectrogram).logits, cnn.module(factor * wavs), rtol=0, atol=1e-4)


def test_padding_batch_and_order_change_nothing(cnn):
    wavs, counts = noise(4, 9000), [9000, 4321, 4321, 900]
    spectrogram = cnn.frontend.analyse(wavs, torch.tensor(counts, dtype=torch.float64) / 9000)
    together, flipped = cnn.classify(spectrogram), cnn.classify(spectrogram[torch.tensor([3, 2, 1, 0])])
    rows = cnn.valid_rows(spectrogram.valid)[1:]
    for i, n in enumerate(counts):
        alone = cnn.classify(cnn.frontend.analyse(wavs[i : i + 1, :n]))
        torch.testing.assert_close(together.logits[i], alone.logits[0], rtol=0, atol=1e-5)
        torch.testing.assert_close(flipped.logits[3 - i], alone.logits[0], rtol=0, atol=1e-5)
        torch.testing.assert_close(together.embedding[i], alone.embedding[0], rtol=0, atol=1e-5)
        for level, maps in enumerate(together.feature_maps):
            own = alone.feature_maps[level][0]
            assert own.shape[1] == int(rows[level][i].sum())
            torch.testing.assert_close(maps[i, :, : own.shape[1]], own, rtol=0, atol=1e-4)
            assert not maps[i, :, own.shape[1] :].any()


def test_a_batch_padded_beyond_its_longest_clip(cnn):
    """As a selection of clips is."""
    wavs = noise(2, 9000)
    part = cnn.frontend.analyse(wavs, torch.tensor([1.0, 0.4]))[torch.tensor([1])]
    output = cnn.classify(part)
    alone = cnn.classify(cnn.frontend.analyse(wavs[1:, :3600]))
    torch.testing.assert_close(output.logits, alone.logits, rtol=0, atol=1e-5)
    for maps, grid in zip(output.feature_maps, cnn.feature_grids(part.magnitude.shape[1]), strict=True):
        assert maps.shape[2:] == (len(grid.frames), len(grid.bins))


@pytest.mark.parametrize("n", [200, 800, 801, 7999, 20011])
def test_grids_have_the_shape_of_the_maps(cnn, n):
    spectrogram = cnn.frontend.analyse(noise(1, n))
    n_frames = spectrogram.magnitude.shape[1]
    output = cnn.classify(spectrogram)
    sizes = cnn.feature_rows(n_frames)
    assert [int(count) for count in cnn.feature_rows(torch.tensor(n_frames))] == list(sizes)
    for maps, grid, size in zip(output.feature_maps, cnn.feature_grids(n_frames), sizes[1:], strict=True):
        assert maps.shape[2:] == (len(grid.frames), len(grid.bins))
        assert maps.shape[2] == size
    for grid in (*cnn.feature_grids(n_frames), cnn.input_grid(n_frames)):
        assert grid.frames.dtype == grid.bins.dtype == torch.float64
        assert (grid.frames.diff() > 0).all()
        assert (grid.bins.diff() > 0).all()
        assert grid.bins[0] >= 0
        assert grid.bins[-1] <= cnn.frontend.settings.n_bins - 1
    assert len(cnn.input_grid(n_frames).frames) == n_frames == sizes[0]


def test_strides_do_not_depend_on_the_length(cnn):
    for n_frames in (30, 200, 1500):
        for grid, stride in zip(cnn.feature_grids(n_frames), cnn.feature_strides, strict=True):
            torch.testing.assert_close(grid.frames.diff(), torch.full_like(grid.frames.diff(), stride))


def test_gradients_reach_the_mask_and_not_the_model(cnn):
    spectrogram = cnn.frontend.analyse(noise(2, 4000), torch.tensor([1.0, 0.5]))
    for place in ("spectrogram", "waveform"):
        mask = torch.full_like(spectrogram.magnitude, 0.5, requires_grad=True)
        masked = cnn.classify_masked(spectrogram, mask, place=place)
        (masked.inside[:, 0].sum() - masked.outside[:, 1].sum()).backward()
        assert torch.isfinite(mask.grad).all()
        assert mask.grad[0].abs().sum() > 0
        assert not mask.grad[1, ~spectrogram.valid[1]].any()
    assert all(parameter.grad is None for parameter in cnn.parameters())


def test_a_mask_of_ones_changes_no_probability(cnn):
    spectrogram = cnn.frontend.analyse(noise(2, 4000), torch.tensor([1.0, 0.5]))
    whole = cnn.classify(spectrogram).logits.softmax(1)
    for place in ("spectrogram", "waveform"):
        masked = cnn.classify_masked(spectrogram, torch.ones_like(spectrogram.magnitude), place=place)
        assert (masked.inside.softmax(1) - whole).abs().max() < 1e-6


def test_silence(cnn):
    spectrogram = cnn.frontend.analyse(torch.zeros(1, 4000))
    spectrogram.magnitude.requires_grad_()
    output = cnn.classify(spectrogram)
    torch.testing.assert_close(output.logits, cnn.module(torch.zeros(1, 4000)))
    output.logits.sum().backward()
    assert torch.isfinite(spectrogram.magnitude.grad).all()


def test_a_magnitude_alone_is_no_sound(cnn):
    with pytest.raises(UserError, match="takes waveforms"):
        cnn(torch.rand(1, 20, 257))


def test_in_training_the_batch_is_one_padded_whole():
    """Batch statistics move, gradients reach the parameters, and clips of other lengths do not run alone."""
    classifier = ModuleClassifier(LABELS, frontend_for(RATE), module=MelCnn())
    seen = []
    classifier.module.stem.register_forward_pre_hook(lambda module, inputs: seen.append(len(inputs[0])))
    before = classifier.module.blocks[0][1].running_mean.clone()
    spectrogram = classifier.frontend.analyse(noise(3, 4000), torch.tensor([1.0, 0.5, 0.7]))
    classifier(*classifier.inputs(spectrogram)).logits.sum().backward()
    assert seen == [3]
    assert not torch.equal(classifier.module.blocks[0][1].running_mean, before)
    assert classifier.module.head.weight.grad is not None


def test_it_moves_with_its_model(cnn):
    cnn.double()
    wavs = noise(1, 3000)
    output = cnn.classify(cnn.frontend.analyse(wavs))
    assert output.logits.dtype == torch.float64
    cnn.float()
    torch.testing.assert_close(output.logits.float(), cnn.module(wavs), rtol=0, atol=1e-4)


# ---------------------------------------------------------------------------------------------------------- layers


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
            maps = classifier.hear(wavs, torch.tensor([99 * hop]), 100).feature_maps[level]
            row = maps.shape[2] // 2
            (gradient,) = torch.autograd.grad(maps[0, :, row].square().sum(), wavs)
            seen = gradient[0].abs().nonzero()[:, 0]
            middle = (int(seen.min()) + int(seen.max())) / 2
            # Mel features see windows of 256 samples on both sides of a frame's centre, less its zeros at the ends.
            assert abs(middle - hop * float(grid.frames[row])) <= 2.0, (level, middle, float(grid.frames[row]) * hop)


def test_an_event_moved_by_k_strides_moves_the_maps_by_k_rows():
    classifier = make(Chain())
    event, stride = noise(1, 300), int(classifier.layers[-1].stride)
    wavs = torch.zeros(2, 8000)
    wavs[0, 2000:2300] = event
    wavs[1, 2000 + 7 * stride : 2300 + 7 * stride] = event
    maps = classifier.hear(wavs, torch.full((2,), 8000), 87).feature_maps[-1]
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
    wanted = torch.tensor([mel(float(f)) for f in bins])
    torch.testing.assert_close(wanted.diff(), torch.full((15,), mel(RATE / 2) / 16), rtol=1e-4, atol=0)
    linear = make(MelCnn(), scale="linear").feature_grids(20)[0].bins * hertz
    torch.testing.assert_close(linear, (torch.arange(16, dtype=torch.float64) + 0.5) * RATE / 32)
    one = make(Blocks()).feature_grids(20)[0].bins
    assert one.tolist() == [(cnn.frontend.settings.n_bins - 1) / 2]


def test_layers_are_described_as_they_are(cnn):
    found = {info.name: info for info in cnn.describe_layers()}
    assert [name for name, info in found.items() if info.default] == ["stem", "blocks.0", "blocks.1", "blocks"]
    assert found["mel"].kind == "MelSpectrogram"
    assert found["blocks.0.0"].shape == (1, 4, 8, 51)
    assert found["stem"].stride_ms == pytest.approx(10.0)
    assert "head" not in found  # no axis of time


def test_layers_that_are_not_there_or_of_no_use():
    with pytest.raises(UserError, match=r"no layer 'block\.1' in MelCnn: near it are .*blocks\.1"):
        make(MelCnn(), layers=["block.1"])
    with pytest.raises(UserError, match="'head' gives no feature map"):
        make(MelCnn(), layers=["stem", "head"])
    with pytest.raises(UserError, match="named twice"):
        make(MelCnn(), layers=["stem", "stem"])
    with pytest.raises(UserError, match="not what architecture"):
        make(MelCnn(), layers=[{"name": "stem"}])


def test_without_feature_maps_it_still_classifies():
    classifier = make(MelCnn(), layers=[])
    output = classifier.classify(classifier.frontend.analyse(noise(2, 3000)))
    assert output.feature_maps == ()
    assert classifier.feature_channels == classifier.feature_strides == ()
    assert torch.equal(output.embedding, output.logits)
    torch.testing.assert_close(output.logits, classifier.module(noise(2, 3000)), rtol=0, atol=1e-4)


def test_maps_of_another_size_than_was_found_are_refused(cnn):
    layer = cnn.layers[0]
    n_frames = 50
    wanted = layer.rows(n_frames, cnn.frontend.settings.hop_length)
    maps = noise(1, 4, wanted - 1, 16)
    fitted = cnn.fit_rows(layer, maps, n_frames)
    assert torch.equal(fitted[:, :, :-1], maps)
    assert torch.equal(fitted[:, :, -1], maps[:, :, -1])
    for rows in (wanted - 3, wanted + 5):
        with pytest.raises(UserError, match="stride is not constant"):
            cnn.fit_rows(layer, noise(1, 4, rows, 16), n_frames)


def test_a_layer_that_is_not_run_this_time():
    class Moody(Chain):
        def forward(self, wavs):
            if wavs.shape[1] == 5000:
                return super().forward(wavs) * 0 + self.head(wavs[:, :6])
            return self.head(self.convs[0](wavs[:, None]).mean(2))

    layers = [{"name": "convs.1", "axes": "BCT", "channels": 6, "columns": 1, "stride": 20, "start": 24, "centre": 12}]
    classifier = make(Moody(), layers=layers)
    assert classifier.classify(classifier.frontend.analyse(noise(1, 5000))).feature_maps[0].shape[2] > 0
    with pytest.raises(UserError, match="was not run"):
        classifier.classify(classifier.frontend.analyse(noise(1, 4000)))


# ---------------------------------------------------------------------------------- the caller's model stays as it is


def test_no_hook_is_left_behind(cnn):
    cnn.classify(cnn.frontend.analyse(noise(1, 3000)))
    cnn.describe_layers()
    assert hooks(cnn.module) == 0

    class Failing(MelCnn):
        fail = False

        def forward(self, wavs):
            logits = super().forward(wavs)
            if self.fail:
                raise RuntimeError("no")
            return logits

    classifier = make(Failing())
    classifier.module.fail = True
    with pytest.raises(RuntimeError, match="no"):
        classifier.classify(classifier.frontend.analyse(noise(1, 9000)))
    assert hooks(classifier.module) == 0


def test_a_sound_shorter_than_the_model_takes(cnn):
    with pytest.raises(UserError, match=r"MelCnn cannot be run on 0\.0125 s of sound .*: give a longer one"):
        cnn.classify(cnn.frontend.analyse(noise(1, 100)))
    assert hooks(cnn.module) == 0


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


# ----------------------------------------------------------------------------------------------------- bad models


def test_models_that_cannot_be_explained():
    with pytest.raises(UserError, match=r"Fixed cannot be run on 1 s of sound"):
        make(Fixed())
    with pytest.raises(UserError, match=r"gave \(1, 5\) for 1 sounds, expected logits \(1, 3\)"):
        make(MelCnn(classes=5))
    with pytest.raises(UserError, match="module is None, expected 'package"):
        make(None)
    with pytest.raises(UserError, match="scale is 'bark'"):
        make(MelCnn(), scale="bark")


def test_logits_in_a_result_object():
    class Wrapped(MelCnn):
        def forward(self, wavs):
            return type("Result", (), {"logits": super().forward(wavs)})()

    classifier = make(Wrapped())
    wavs = noise(2, 3000)
    torch.testing.assert_close(
        classifier.classify(classifier.frontend.analyse(wavs)).logits, classifier.module(wavs).logits, rtol=0, atol=1e-4
    )


def test_the_tensor_in_what_a_module_returns():
    one = torch.zeros(1)
    for output in (one, (one, 2), [one], {"x": one, "y": 3}):
        assert tensor_of(output) is one
    assert tensor_of(()) is None


@pytest.mark.parametrize("rate", [0, "fast", None, float("nan"), float("inf"), True])
def test_rates_that_are_none(rate):
    with pytest.raises(UserError, match="the sampling rate is"):
        frontend_for(rate)


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


# --------------------------------------------------------------------------------------------------- trained methods


@pytest.mark.parametrize("kind", ["piq", "lmac"])
def test_trained_methods_draw_masks_of_any_length(cnn, kind):
    torch.manual_seed(0)
    if kind == "piq":
        method = PIQ(cnn, codebook_size=6, channels=4, decoder_channels=(4,))
    else:
        method = LMAC(cnn, channels=4, decoder_channels=(4,))
    wavs = noise(2, 6000)
    explanation = method.eval().explain(wavs, torch.tensor([1.0, 0.5]))
    alone = method.explain(wavs[1:, :3000])
    torch.testing.assert_close(explanation[1].mask, alone[0].mask, rtol=0, atol=1e-4)
    spectrogram = explanation.spectrogram
    prediction = method.train()(spectrogram, explanation.output, explanation.target)
    masked = cnn.classify_masked(spectrogram, prediction.mask)
    method.objective(prediction, spectrogram, explanation.output, explanation.target, masked)["loss"].backward()
    assert any(parameter.grad is not None and parameter.grad.any() for parameter in method.parameters())
