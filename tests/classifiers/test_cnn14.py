"""The published CNN14: names that load, SpeechBrain's answers, its mel bands, cells where the grids say."""

import math

import pytest
import torch
from speechbrain.lobes.models.Cnn14 import Cnn14
from speechbrain.processing.features import STFT, Filterbank, spectral_magnitude
from tiny import LABELS, magnitudes

from interpretability.classifiers import load_classifier, save_classifier
from interpretability.classifiers.cnn14 import Cnn14Classifier
from interpretability.errors import UserError
from interpretability.frontend import MaskedPair
from interpretability.methods.piq import PIQ
from interpretability.weights import load_weights

pytestmark = pytest.mark.slow  # published networks and folders; others of their kind are quick

N_MELS, EMB_DIM = 80, 8


def filterbank(n_mels=N_MELS, **settings):
    return Filterbank(n_mels=n_mels, n_fft=1024, sample_rate=16000, log_mel=False, **settings)


@pytest.fixture(scope="module")
def lobe():
    """SpeechBrain's own modules, in eval mode, with batch statistics that are not the initial ones."""
    torch.manual_seed(0)
    encoder, head = Cnn14(N_MELS, EMB_DIM, return_reps=True), torch.nn.Linear(EMB_DIM, len(LABELS))
    for seed in range(3):
        encoder(torch.log1p(filterbank()(magnitudes(4, 64, 513, seed=seed))))
    return encoder.eval(), head.eval()


@pytest.fixture(scope="module")
def files(lobe, tmp_path_factory):
    """The two files of a published checkpoint, as SpeechBrain's checkpointer writes them."""
    folder = tmp_path_factory.mktemp("published")
    for name, module in zip(("embedding_model", "classifier"), lobe, strict=True):
        torch.save(module.state_dict(), folder / f"{name}.ckpt")
    return folder


@pytest.fixture(scope="module")
def classifier(files):
    """The package's classifier, loaded strictly from the published files, frozen."""
    torch.manual_seed(1)
    classifier = Cnn14Classifier(LABELS, n_mels=N_MELS, emb_dim=EMB_DIM)
    for name in ("embedding_model", "classifier"):
        load_weights(getattr(classifier, name), files / f"{name}.ckpt")
    return classifier.freeze()


@pytest.mark.parametrize("frames", [32, 33, 100, 431])
def test_the_answers_are_the_lobes_own(lobe, classifier, frames):
    encoder, head = lobe
    magnitude = magnitudes(2, frames, 513)
    with torch.no_grad():
        embedding, representations = encoder(torch.log1p(filterbank()(magnitude)))
        output = classifier(magnitude)
    torch.testing.assert_close(output.embedding, embedding[:, 0])
    torch.testing.assert_close(output.logits, head(embedding)[:, 0])
    assert len(representations) == 4
    for ours, theirs in zip(output.feature_maps[:1:-1], representations, strict=True):
        torch.testing.assert_close(ours, theirs)
    assert output.logits.std() > 1e-3  # or the comparison would say nothing


def test_the_finer_maps_are_the_outputs_of_the_first_blocks(lobe, classifier):
    encoder, _ = lobe
    magnitude = magnitudes(2, 70, 513)
    outputs = {}
    blocks = {name: module for name, module in encoder.named_children() if name.startswith("conv_block")}
    hooks = [
        module.register_forward_hook(lambda _, __, output, name=name: outputs.__setitem__(name, output))
        for name, module in blocks.items()
    ]
    with torch.no_grad():
        encoder(torch.log1p(filterbank()(magnitude)))
        maps = classifier(magnitude).feature_maps
    for hook in hooks:
        hook.remove()
    assert len(outputs) == len(maps) == 6
    for level, feature_map in enumerate(maps):
        torch.testing.assert_close(feature_map, outputs[f"conv_block{level + 1}"])


def test_dropout_in_training_is_the_lobes(files):
    """The same draws: the same seed gives the same embedding, and no dropout another one."""
    encoder = Cnn14(N_MELS, EMB_DIM, return_reps=True)
    ours = Cnn14Classifier(LABELS, n_mels=N_MELS, emb_dim=EMB_DIM)
    for module in (encoder, ours.embedding_model):
        load_weights(module, files / "embedding_model.ckpt")
    magnitude = magnitudes(2, 64, 513)
    torch.manual_seed(5)
    embedding, representations = encoder(torch.log1p(filterbank()(magnitude)))
    torch.manual_seed(5)
    output = ours(magnitude)
    torch.testing.assert_close(output.embedding, embedding[:, 0])
    for feature_map, wanted in zip(output.feature_maps[:1:-1], representations, strict=True):
        torch.testing.assert_close(feature_map, wanted)
    torch.manual_seed(6)
    assert not torch.allclose(ours(magnitude).embedding, embedding[:, 0], atol=1e-3)


def test_the_features_are_the_published_ones_from_the_waveform_on(classifier):
    """STFT, square root of the power, mel bands, log1p, as the published model computes them."""
    wav = torch.randn(1, 16000, generator=torch.Generator().manual_seed(0))
    stft = STFT(sample_rate=16000, n_fft=1024, win_length=23.2199, hop_length=11.6099)
    wanted = torch.log1p(filterbank()(spectral_magnitude(stft(wav), power=0.5)))
    features = classifier.log_mel(classifier.frontend.analyse(wav).magnitude)
    torch.testing.assert_close(features, wanted, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("rate", "n_fft", "n_mels"), [(16000, 1024, 80), (16000, 1024, 64), (44100, 1024, 128)])
def test_mel_bands_are_those_of_the_filterbank(rate, n_fft, n_mels):
    frontend = {"sample_rate": rate, "n_fft": n_fft, "win_length_ms": 20.0, "hop_length_ms": 10.0}
    classifier = Cnn14Classifier(LABELS, frontend, n_mels=n_mels, emb_dim=2)
    filters = Filterbank(n_mels=n_mels, n_fft=n_fft, sample_rate=rate, f_max=rate // 2, log_mel=False)
    magnitude = magnitudes(2, 5, n_fft // 2 + 1)
    torch.testing.assert_close(magnitude @ classifier.mel_weights, filters(magnitude))
    assert torch.equal(classifier.log_mel(torch.zeros(1, 3, n_fft // 2 + 1)), torch.zeros(1, 3, n_mels))


def test_the_saved_state_is_the_published_one_alone(lobe, classifier):
    encoder, head = lobe
    wanted = {f"embedding_model.{name}" for name in encoder.state_dict()}
    wanted |= {f"classifier.{name}" for name in head.state_dict()}
    assert set(classifier.state_dict()) == wanted
    assert classifier.mel_weights.device == next(classifier.parameters()).device
    assert "mel_weights" in dict(classifier.named_buffers())  # so .to(device) takes it along


def test_mel_centres_ascend_even_where_bands_are_narrower_than_a_bin():
    frontend = {"sample_rate": 44100, "n_fft": 512, "win_length_ms": 10.0, "hop_length_ms": 5.0}
    classifier = Cnn14Classifier(LABELS, frontend, n_mels=128, emb_dim=2)
    assert (classifier.mel_weights.sum(0) == 0).any()  # bands without a bin
    for grid in (classifier.input_grid(64), *classifier.feature_grids(64)):
        assert (grid.bins.diff() > 0).all()
        assert grid.bins[0] > 0
        assert grid.bins[-1] < 257
    classifier(magnitudes(2, 64, 257))  # their batch statistics: a variance of 0
    output = classifier.eval()(magnitudes(2, 64, 257))
    assert output.logits.isfinite().all()


def test_mel_centres_are_where_a_tone_excites_the_band(classifier):
    centres = classifier.mel_centres()
    hertz = 700 * (10 ** (torch.arange(1, 81) * math.log10(1 + 8000 / 700) / 81) - 1)  # the definition of the scale
    torch.testing.assert_close(centres, hertz.double() * 1024 / 16000, rtol=1e-4, atol=1e-4)
    for band in (3, 15, 40, 79):
        tone = torch.zeros(1, 1, 513)
        tone[0, 0, round(float(centres[band]))] = 1
        assert int(classifier.log_mel(tone).argmax()) == band


@pytest.fixture(scope="module")
def pooling_only():
    """A classifier whose convolutions see only their own cell, so that its receptive fields are those of pooling."""
    torch.manual_seed(0)
    classifier = Cnn14Classifier(LABELS, n_mels=96, emb_dim=4)
    for module in classifier.modules():
        if isinstance(module, torch.nn.Conv2d):
            torch.nn.init.zeros_(module.weight)
            module.weight.data[:, :, 1, 1] = 1 / module.in_channels
    return classifier.freeze()


@pytest.mark.parametrize("level", range(6))
def test_a_cell_sees_exactly_the_window_that_its_grid_is_centred_on(pooling_only, level):
    magnitude = magnitudes(1, 100, 513).requires_grad_()
    mel = pooling_only.log_mel(magnitude)
    mel.retain_grad()
    pooling_only.log_mel = lambda _: mel  # to see the gradient in bands
    maps = pooling_only(magnitude).feature_maps[level]
    del pooling_only.log_mel
    stride, grid = pooling_only.feature_strides[level], pooling_only.feature_grids(100)[level]
    row, column = maps.shape[2] - 1, maps.shape[3] - 1
    maps[0, :, row, column].sum().backward()
    reached = mel.grad[0] != 0
    frames, bands = reached.any(1).nonzero()[:, 0], reached.any(0).nonzero()[:, 0]
    assert frames.tolist() == list(range(stride * row, stride * (row + 1)))
    assert bands.tolist() == list(range(stride * column, stride * (column + 1)))
    assert frames.double().mean() == grid.frames[row]
    lower, upper = pooling_only.mel_centres()[bands][stride // 2 - 1 : stride // 2 + 1]
    assert float(grid.bins[column]) == pytest.approx(float(lower + upper) / 2)


def test_silence_is_finite(classifier):
    for frames in (1, 64):
        magnitude = torch.zeros(1, frames, 513, requires_grad=True)
        output = classifier(magnitude)
        assert output.logits.isfinite().all()
        output.logits.sum().backward()
        assert magnitude.grad.isfinite().all()


def test_scaled_logits(classifier):
    scaled = Cnn14Classifier(LABELS, n_mels=N_MELS, emb_dim=EMB_DIM, logit_scale=30.0)
    scaled.load_state_dict(classifier.state_dict())
    magnitude = magnitudes(1, 40, 513)
    torch.testing.assert_close(scaled.freeze()(magnitude).logits, 30 * classifier(magnitude).logits)


def test_its_folder_brings_it_back(classifier, tmp_path):
    save_classifier(classifier, tmp_path / "saved")
    loaded = load_classifier(tmp_path / "saved")
    sizes = {"n_mels": N_MELS, "emb_dim": EMB_DIM, "base_channels": 64}
    assert loaded.architecture() == {**sizes, "features": "log1p", "f_max": None, "head": "linear", "logit_scale": 1.0}
    magnitude = magnitudes(1, 50, 513)
    assert torch.equal(loaded(magnitude).logits, classifier(magnitude).logits)


def test_too_few_bands_for_five_halvings():
    with pytest.raises(UserError, match="n_mels is 31, expected a whole number >= 32"):
        Cnn14Classifier(LABELS, n_mels=31)


@pytest.mark.parametrize("lengths", [[1.0, 1.0], [1.0, 0.3]])
def test_piqs_compact_network_trains_a_step_on_it(classifier, lengths):
    """Its six maps, the last two on one grid, are merged; every weight of the interpreter gets a gradient."""
    torch.manual_seed(0)
    piq = PIQ(classifier, codebook_size=12, channels=8, decoder_channels=(4, 4), faithfulness_weight=1.0)
    piq.train()
    assert not classifier.training
    before = {name: value.clone() for name, value in classifier.state_dict().items()}
    optimizer = torch.optim.Adam(piq.psi.parameters(), lr=1e-3)
    wavs = torch.randn(2, 16000, generator=torch.Generator().manual_seed(0))
    relative = torch.tensor(lengths)
    batch = classifier.analyse(wavs, relative)
    prediction = piq(batch)
    assert prediction.mask.shape == batch.spectrogram.magnitude.shape
    masked = classifier.classify_pair(MaskedPair.of(batch.clips, prediction.mask))
    loss = piq.objective(batch, prediction, masked)["loss"].mean()
    loss.backward()
    gradients = {name: parameter.grad for name, parameter in piq.psi.named_parameters()}
    assert all(gradient is not None and gradient.isfinite().all() for gradient in gradients.values())
    lateral = [gradient.abs().sum() for name, gradient in gradients.items() if "lateral" in name and "weight" in name]
    assert len(lateral) == 5  # of every map from stride 4 on
    assert all(size > 0 for size in lateral)
    weights = {name: value.clone() for name, value in piq.psi.named_parameters()}
    optimizer.step()
    assert any(not torch.equal(value, weights[name]) for name, value in piq.psi.named_parameters())
    assert all(torch.equal(value, before[name]) for name, value in classifier.state_dict().items())


def test_piqs_mask_of_a_padded_clip_is_that_of_the_clip_alone(classifier):
    torch.manual_seed(0)
    piq = PIQ(classifier, codebook_size=12, channels=8, decoder_channels=(4, 4)).eval()
    wavs = torch.randn(2, 16000, generator=torch.Generator().manual_seed(0))
    lengths, short = torch.tensor([1.0, 0.25]), 4000
    wavs[1, short:] = 0
    wavs = wavs / wavs.abs().amax(1, keepdim=True)

    def mask(wavs, lengths):
        batch = classifier.analyse(wavs, lengths, target=0)
        with torch.no_grad():
            return piq.mask(batch), batch.spectrogram.valid

    together, valid = mask(wavs, lengths)
    alone, _ = mask(wavs[1:, :short], torch.ones(1))
    frames = int(valid[1].sum())
    assert alone.shape[1] == frames
    torch.testing.assert_close(together[1:, :frames], alone, rtol=1e-4, atol=1e-4)
    assert not together[1, frames:].any()


def test_narrower_blocks_are_the_lobes_of_other_widths():
    narrow = Cnn14Classifier(LABELS, n_mels=32, emb_dim=64, base_channels=2).freeze()
    assert narrow.feature_channels == (2, 4, 8, 16, 32, 64)
    output = narrow(magnitudes(1, 100, 513))
    assert tuple(maps.shape[1] for maps in output.feature_maps) == narrow.feature_channels
    with torch.no_grad():
        wanted, maps = narrow.embedding_model(narrow.log_mel(magnitudes(1, 100, 513)))
    torch.testing.assert_close(output.embedding, wanted[:, 0])
    for feature_map, published in zip(output.feature_maps[:-5:-1], maps, strict=True):
        torch.testing.assert_close(feature_map, published)
