"""Folders laid out like those that SpeechBrain published for ESC-50, with random weights of its own classes.

Keys, classes, arguments and names of files are those of the published ``hyperparams.yaml`` of PIQ-ESC50 and of
cnn14-esc50, references those of the recipes that made them. Of the networks of images SpeechBrain published weights.
"""

from pathlib import Path

import torch
from speechbrain.dataio.encoder import CategoricalEncoder
from speechbrain.lobes.models.Cnn14 import Cnn14
from speechbrain.lobes.models.ECAPA_TDNN import Classifier as CosineHead
from speechbrain.lobes.models.PIQ import Conv2dEncoder_v2, VectorQuantizedPSI_Audio
from transformers import FocalNetBackbone, FocalNetConfig, ViTConfig, ViTModel

LABELS = ["rain", "dog", "cat"]  # not in alphabetical order: the encoder's order counts

STFT = """
spec_mag_power: 0.5
n_fft: 1024
hop_length: 11.6099
win_length: 23.2199
compute_stft: !new:speechbrain.processing.features.STFT
    n_fft: !ref <n_fft>
    hop_length: !ref <hop_length>
    win_length: !ref <win_length>
    sample_rate: !ref <sample_rate>
"""
TOP = """
pretrained_path: speechbrain/NAME
sample_rate: RATE
"""
HEAD = """
out_n_neurons: 3
classifier: !new:speechbrain.lobes.models.ECAPA_TDNN.Classifier
    input_size: WIDTH
    out_neurons: !ref <out_n_neurons>
    lin_blocks: 1
"""
TAIL = """
label_encoder: !new:speechbrain.dataio.encoder.CategoricalEncoder
pretrainer: !new:speechbrain.utils.parameter_transfer.Pretrainer
    loadables:
        embedding_model: !ref <embedding_model>
        classifier: !ref <classifier>
        EXTRA
        label_encoder: !ref <label_encoder>
    paths:
        embedding_model: !ref <pretrained_path>/ENCODER.ckpt
        classifier: !ref <pretrained_path>/classifier.ckpt
        label_encoder: !ref <pretrained_path>/label_encoder.txt
"""
MODULES = """
modules:
    compute_stft: !ref <compute_stft>
    embedding_model: !ref <embedding_model>
    classifier: !ref <classifier>
"""
PIQ = """
use_vq: true
rec_loss_coef: 1
use_mask_output: true
mask_th: 0.35
device: cpu
n_mels: 80
K: 300
compute_istft: !new:speechbrain.processing.features.ISTFT
    sample_rate: !ref <sample_rate>
    hop_length: !ref <hop_length>
    win_length: !ref <win_length>
embedding_model: !new:speechbrain.lobes.models.PIQ.Conv2dEncoder_v2
    dim: 4
psi_model: !new:speechbrain.lobes.models.PIQ.VectorQuantizedPSI_Audio
    dim: 4
    K: !ref <K>
    numclasses: !ref <out_n_neurons>
    shared_keys: 0
    activate_class_partitioning: True
    use_adapter: True
    adapter_reduce_dim: True
"""
CNN14 = """
use_melspectra: True
compute_fbank: !new:speechbrain.processing.features.Filterbank
    n_mels: 80
    n_fft: 1024
    sample_rate: !ref <sample_rate>
    log_mel: True
embedding_model: !new:speechbrain.lobes.models.Cnn14.Cnn14
    mel_bins: 80
    emb_dim: 4
mean_var_norm: !new:speechbrain.processing.features.InputNormalization
    norm_type: sentence
    std_norm: False
"""
IMAGES = """
use_melspectra: False
embedding_model: !apply:transformers.KIND.from_pretrained [ORIGIN]
"""
WIDTHS = {"piq": 4, "cnn14": 4, "vit": 16, "focalnet": 32}
NAMES = {
    "piq": "PIQ-ESC50",
    "cnn14": "cnn14-esc50",
    "vit": "vit-base-esc50",
    "focalnet": "focalnet-base-esc50",
}


def yaml_of(kind: str) -> str:
    """Return the hyperparams.yaml of a kind."""
    middle = {
        "piq": PIQ,
        "cnn14": CNN14,
        "vit": IMAGES.replace("KIND", "ViTModel").replace("ORIGIN", "google/vit-base-patch16-224"),
        "focalnet": IMAGES.replace("KIND", "FocalNetBackbone").replace("ORIGIN", "microsoft/focalnet-base"),
    }[kind]
    more = {
        "piq": ("    compute_istft: !ref <compute_istft>\n    psi: !ref <psi_model>\n", "psi: !ref <psi_model>"),
        "cnn14": ("    compute_fbank: !ref <compute_fbank>\n    mean_var_norm: !ref <mean_var_norm>\n", ""),
    }.get(kind, ("", ""))
    rate = "44100" if kind == "cnn14" else "16000"
    text = (
        TOP.replace("NAME", NAMES[kind]).replace("RATE", rate)
        + STFT
        + middle
        + HEAD.replace("WIDTH", str(WIDTHS[kind]))
        + MODULES
    )
    text += more[0] + TAIL.replace("EXTRA", more[1])
    text = text.replace("ENCODER", "embedding_modelft" if kind == "piq" else "embedding_model")
    path = "        psi: !ref <pretrained_path>/psi_model.ckpt\n"
    return text + path if kind == "piq" else text


def modules_of(kind: str) -> dict[str, torch.nn.Module]:
    """Return the networks of a kind, small ones of images."""
    torch.manual_seed(0)
    modules: dict[str, torch.nn.Module] = {"classifier": CosineHead(WIDTHS[kind], lin_blocks=1, out_neurons=3)}
    if kind == "piq":
        modules |= {"embedding_model": Conv2dEncoder_v2(dim=4), "psi": VectorQuantizedPSI_Audio(4, 300, 3)}
        modules["psi"].codebook.embedding.weight.data.normal_(std=3.0)
        modules["psi"].decoder[-1].weight.data.mul_(100)
    elif kind == "cnn14":
        modules["embedding_model"] = Cnn14(80, 4, return_reps=True)
    elif kind == "vit":
        sizes = {"image_size": 32, "patch_size": 8, "hidden_size": 16, "num_hidden_layers": 2}
        modules["embedding_model"] = ViTModel(ViTConfig(**sizes, num_attention_heads=2, intermediate_size=24))
    else:
        sizes = {"image_size": 32, "embed_dim": 4, "depths": [1, 1, 2, 2], "hidden_sizes": [192, 384, 768, 768]}
        modules["embedding_model"] = FocalNetBackbone(FocalNetConfig(**sizes))
    return modules


def make(folder: Path, kind: str) -> Path:
    """Write a folder as it was published, with its paths leading to the hub."""
    folder.mkdir(parents=True)
    modules = modules_of(kind)
    names = {"psi": "psi_model", "embedding_model": "embedding_modelft"} if kind == "piq" else {}
    for name, module in modules.items():
        torch.save(module.state_dict(), folder / f"{names.get(name, name)}.ckpt")
    if kind in ("vit", "focalnet"):
        modules["embedding_model"].config.save_pretrained(folder)
    encoder = CategoricalEncoder()
    encoder.update_from_iterable(LABELS, sequence_input=False)
    encoder.save(folder / "label_encoder.txt")
    (folder / "hyperparams.yaml").write_text(yaml_of(kind), "utf-8")
    return folder
