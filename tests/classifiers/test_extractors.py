"""Feature extractors in PyTorch: what those of transformers give, padded or not, with a gradient."""

import pytest
import torch
import transformers
from tiny import noise
from transformers_models import RATE, SOUNDS

from interpretability.classifiers.extractors import EXTRACTORS, AstExtractor, RawExtractor, WhisperExtractor
from interpretability.errors import UserError


@pytest.mark.parametrize("sound", SOUNDS)
@pytest.mark.parametrize(
    ("kind", "settings"),
    [
        ("ASTFeatureExtractor", {}),
        ("ASTFeatureExtractor", {"num_mel_bins": 64, "max_length": 90, "mean": 0.0, "std": 1.0}),
        ("ASTFeatureExtractor", {"do_normalize": False, "max_length": 60, "num_mel_bins": 40}),
        ("Wav2Vec2FeatureExtractor", {}),
        ("Wav2Vec2FeatureExtractor", {"do_normalize": False}),
        ("WhisperFeatureExtractor", {"chunk_length": 2}),
        ("WhisperFeatureExtractor", {"chunk_length": 1, "feature_size": 128}),
    ],
)
def test_extractors_give_what_transformers_gives(kind, settings, sound):
    wav = SOUNDS[sound]
    theirs = getattr(transformers, kind)(**settings)(wav.numpy(), sampling_rate=RATE, return_tensors="pt")
    ours = EXTRACTORS[kind](settings)(wav[None], torch.tensor([len(wav)]))
    (name,) = ours
    torch.testing.assert_close(ours[name], theirs[name], rtol=0, atol=1e-4)
    # In a batch with a longer one, padded.
    batch = torch.stack([torch.nn.functional.pad(wav, (0, 45000 - len(wav))), 0.3 * noise(45000, seed=1)])
    padded = EXTRACTORS[kind](settings)(batch, torch.tensor([len(wav), 45000]))[name][0]
    size = len(wav) if kind == "Wav2Vec2FeatureExtractor" else padded.shape[0]
    torch.testing.assert_close(padded[:size], ours[name][0], rtol=0, atol=1e-5)


@pytest.mark.parametrize("kind", EXTRACTORS)
@pytest.mark.parametrize("sound", ["noise", "silence", "half silence", "short"])
def test_extractors_let_a_finite_gradient_through(kind, sound):
    wavs = SOUNDS[sound][None].clone().requires_grad_()
    settings = {"WhisperFeatureExtractor": {"chunk_length": 2}}.get(kind, {})
    (features,) = EXTRACTORS[kind](settings)(wavs, torch.tensor([wavs.shape[1]])).values()
    features.square().sum().backward()
    assert torch.isfinite(wavs.grad).all()
    # Log-mel energies below their floor have none.
    assert bool(wavs.grad.any()) == (sound != "silence")


def test_ast_hears_a_sound_shorter_than_a_frame():
    features = AstExtractor({"max_length": 4, "num_mel_bins": 8})
    short = 0.1 * noise(1, 100)
    padded = torch.nn.functional.pad(short, (0, 300))
    (got,), (wanted,) = (features(x, torch.tensor([x.shape[1]])).values() for x in (short, padded))
    assert torch.equal(got, wanted)


def test_ast_mel_centres_are_kaldis():
    features = AstExtractor({"num_mel_bins": 64})
    tips = features.mel_weights.argmax(0) * RATE / features.n_fft
    assert (features.mel_centres() - tips).abs().max() <= RATE / features.n_fft
    assert (features.mel_centres().diff() > 0).all()


def test_a_batch_has_an_attention_mask_if_the_model_was_made_for_it():
    wavs, lengths = 0.1 * noise(2, 100), torch.tensor([100, 60])
    assert "attention_mask" not in RawExtractor({})(wavs, lengths)
    features = RawExtractor({"return_attention_mask": True})
    assert features(wavs, lengths)["attention_mask"].sum(1).tolist() == [100, 60]
    assert "attention_mask" not in features(wavs, torch.tensor([100, 100]))


def test_extractor_settings():
    with pytest.raises(UserError, match="no setting 'n_mels'"):
        AstExtractor({"n_mels": 3})
    with pytest.raises(UserError, match="dither"):
        WhisperExtractor({"dither": 0.1})
