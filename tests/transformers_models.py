"""Tiny random audio classifiers of transformers, one or more of each family, and sounds for them."""

from __future__ import annotations

import pytest
import torch
import transformers
from tiny import LABELS, noise
from transformers import AutoConfig, AutoFeatureExtractor, AutoModelForAudioClassification

RATE = 16000
RAW = {
    "hidden_size": 16,
    "num_hidden_layers": 5,
    "num_attention_heads": 2,
    "intermediate_size": 24,
    "conv_dim": [8] * 7,
    "num_conv_pos_embeddings": 16,
    "num_conv_pos_embedding_groups": 2,
    "classifier_proj_size": 8,
}
AST_CONFIG = {
    "model_type": "audio-spectrogram-transformer",
    "hidden_size": 16,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "intermediate_size": 24,
    "num_mel_bins": 32,
    "max_length": 100,
    "patch_size": 8,
    "time_stride": 4,
    "frequency_stride": 6,
}
WHISPER_CONFIG = {
    "model_type": "whisper",
    "d_model": 16,
    "encoder_layers": 2,
    "encoder_attention_heads": 2,
    "encoder_ffn_dim": 24,
    "decoder_layers": 1,
    "decoder_attention_heads": 2,
    "vocab_size": 20,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "decoder_start_token_id": 1,
    "max_source_positions": 100,
    "num_mel_bins": 20,
    "classifier_proj_size": 8,
}
CASES = {
    "ast": (AST_CONFIG, "ASTFeatureExtractor", {"num_mel_bins": 32, "max_length": 100, "mean": -3.0, "std": 3.5}),
    "wav2vec2": ({"model_type": "wav2vec2", **RAW}, "Wav2Vec2FeatureExtractor", {"do_normalize": True}),
    "hubert": ({"model_type": "hubert", **RAW}, "Wav2Vec2FeatureExtractor", {"do_normalize": False}),
    "wavlm": (
        {"model_type": "wavlm", **RAW, "feat_extract_norm": "layer", "do_stable_layer_norm": True},
        "Wav2Vec2FeatureExtractor",
        {"return_attention_mask": True},
    ),
    "whisper": (WHISPER_CONFIG, "WhisperFeatureExtractor", {"feature_size": 20, "chunk_length": 2}),
}
KINDS = pytest.mark.parametrize("kind", CASES)


def make_folder(folder, config, extractor=None, **extractor_settings):
    """Save a random model whose logits distinguish sounds, as Transformers saves it."""
    torch.manual_seed(0)
    names = {"id2label": dict(enumerate(LABELS)), "label2id": {name: i for i, name in enumerate(LABELS)}}
    config = dict(config)
    full = AutoConfig.for_model(config.pop("model_type"), **{**names, **config})
    model = AutoModelForAudioClassification.from_config(full)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.normal_(std=0.3)
    model.save_pretrained(folder)
    if extractor is not None:
        getattr(transformers, extractor)(**extractor_settings).save_pretrained(folder)
    return folder


def pipeline(folder, wav):
    """Return Transformers' own answer to one sound [N]: its extractor, then its model."""
    model = AutoModelForAudioClassification.from_pretrained(folder).eval()
    features = AutoFeatureExtractor.from_pretrained(folder)(wav.numpy(), sampling_rate=RATE, return_tensors="pt")
    with torch.no_grad():
        return model(**features).logits[0]


def clips_of(classifier, wavs, counts=None):
    lengths = None if counts is None else torch.tensor(counts, dtype=torch.float64) / wavs.shape[1]
    return classifier.frontend.clips(wavs, lengths)


def spectrogram_of(classifier, wavs, counts=None):
    return clips_of(classifier, wavs, counts).spectrogram


SOUNDS = {
    "noise": 0.3 * noise(20000),
    "faint noise": 1e-3 * noise(20000),
    "tone": 0.5 * torch.sin(2 * torch.pi * 440 * torch.arange(16000) / RATE),
    "high tone, offset": 0.2 + 0.9 * torch.sin(2 * torch.pi * 6000 * torch.arange(12345) / RATE),
    "silence": torch.zeros(9000),
    "half silence": torch.cat([torch.zeros(8000), 0.3 * noise(8000)]),
    "short": 0.3 * noise(1600),
    "long": 0.3 * noise(40000),
}
