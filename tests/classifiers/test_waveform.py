"""Any model that takes waveforms, as it is: layers listed and measured, one length at a time, nothing left behind."""

import pytest
import torch
from tiny import noise
from torch import nn
from waveform_models import LABELS, RATE, Chain, MelCnn, hooks, make

from interpretability.classifiers.module import ModuleClassifier
from interpretability.classifiers.waveform import frontend_for
from interpretability.errors import UserError
from interpretability.frontend import PLACES, Frontend, MaskedPair
from interpretability.methods.lmac import LMAC
from interpretability.methods.piq import PIQ


class Fixed(nn.Module):
    """A model that takes one length alone."""

    def __init__(self):
        super().__init__()
        self.head = nn.Linear(1234, 3)

    def forward(self, wavs):
        return self.head(wavs)


# ------------------------------------------------------------------------------------------------------- front end


@pytest.mark.parametrize(
    ("rate", "n_fft"),
    [
        (8000, 512),
        (16000, 1024),
        (22050, 1024),
        (24000, 2048),
        (32000, 2048),
        (44100, 2048),
        (48000, 4096),
        (96000, 8192),
    ],
)
def test_the_front_end_keeps_window_and_hop_in_time(rate, n_fft):
    settings = frontend_for(rate)
    assert (settings.sample_rate, settings.n_fft, settings.level) == (rate, n_fft, "none")
    assert abs(settings.hop_length - 0.0116099 * rate) <= 1
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
        output = cnn.analyse(factor * wavs).output
        torch.testing.assert_close(output.logits, cnn.module(factor * wavs), rtol=0, atol=1e-4)


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
            single = alone.feature_maps[level][0]
            assert single.shape[1] == int(rows[level][i].sum())
            torch.testing.assert_close(maps[i, :, : single.shape[1]], single, rtol=0, atol=1e-4)
            assert not maps[i, :, single.shape[1] :].any()


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
    clips = cnn.frontend.clips(noise(2, 4000), torch.tensor([1.0, 0.5]))
    spectrogram = clips.spectrogram
    for place in ("spectrogram", "waveform"):
        mask = torch.full_like(spectrogram.magnitude, 0.5, requires_grad=True)
        masked = cnn.classify_pair(MaskedPair.of(clips, mask), place)
        (masked.inside[:, 0].sum() - masked.outside[:, 1].sum()).backward()
        assert torch.isfinite(mask.grad).all()
        assert mask.grad[0].abs().sum() > 0
        assert not mask.grad[1, ~spectrogram.valid[1]].any()
    assert all(parameter.grad is None for parameter in cnn.parameters())


def test_a_mask_of_ones_changes_no_probability(cnn):
    batch = cnn.analyse(noise(2, 4000), torch.tensor([1.0, 0.5]))
    whole = batch.output.logits.softmax(1)
    for place in ("spectrogram", "waveform"):
        pair = MaskedPair.of(batch.clips, torch.ones_like(batch.spectrogram.magnitude))
        masked = cnn.classify_pair(pair, place)
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
    counts = []
    classifier.module.stem.register_forward_pre_hook(lambda module, inputs: counts.append(len(inputs[0])))
    before = classifier.module.blocks[0][1].running_mean.clone()
    spectrogram = classifier.frontend.analyse(noise(3, 4000), torch.tensor([1.0, 0.5, 0.7]))
    classifier(*classifier.inputs(spectrogram)).logits.sum().backward()
    assert counts == [3]
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


def test_without_feature_maps_it_still_classifies():
    classifier = make(MelCnn(), layers=[])
    output = classifier.classify(classifier.frontend.analyse(noise(2, 3000)))
    assert output.feature_maps == ()
    assert classifier.feature_channels == classifier.feature_strides == ()
    assert torch.equal(output.embedding, output.logits)
    torch.testing.assert_close(output.logits, classifier.module(noise(2, 3000)), rtol=0, atol=1e-4)


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
    with pytest.raises(UserError, match=r"Failing cannot be run on 1\.12 s of sound \(no\)"):
        classifier.classify(classifier.frontend.analyse(noise(1, 9000)))
    assert hooks(classifier.module) == 0


def test_a_sound_shorter_than_the_model_takes(cnn):
    with pytest.raises(UserError, match=r"MelCnn cannot be run on 0\.0125 s of sound .*: give a longer one"):
        cnn.classify(cnn.frontend.analyse(noise(1, 100)))
    assert hooks(cnn.module) == 0


# ----------------------------------------------------------------------------------------------------- bad models


def test_models_that_cannot_be_explained():
    with pytest.raises(UserError, match=r"Fixed cannot be run on 1 s of sound"):
        make(Fixed())
    with pytest.raises(UserError, match=r"gave \(1, 5\) for 1 sound, expected logits \(1, 3\)"):
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


@pytest.mark.parametrize("rate", [0, "fast", None, float("nan"), float("inf"), True])
def test_rates_that_are_none(rate):
    with pytest.raises(UserError, match="the sampling rate is"):
        frontend_for(rate)


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
    batch = explanation.batch
    prediction = method.train()(batch)
    masked = cnn.classify_pair(MaskedPair.of(batch.clips, prediction.mask))
    method.objective(batch, prediction, masked)["loss"].backward()
    assert any(parameter.grad is not None and parameter.grad.any() for parameter in method.parameters())


@torch.no_grad()
def test_a_masked_spectrogram_is_heard_as_its_sound_is():
    """Both places of measurement are the same for a model that takes waveforms."""
    classifier = make(Chain())
    batch = classifier.analyse(noise(2, 8000), torch.tensor([1.0, 0.6]))
    mask = torch.rand(batch.spectrogram.magnitude.shape, generator=torch.Generator().manual_seed(0))
    places = [classifier.classify_pair(MaskedPair.of(batch.clips, mask), place) for place in PLACES]
    assert len(places) == 2
    for one, other in zip(*(vars(place).values() for place in places), strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=0)
