"""What SpeechBrain loads of a published folder: its YAML, its checkpoints, its label encoder.

A PIQ with SpeechBrain's own networks is laid out for SpeechBrain's ``PIQAudioInterpreter``; all else for
``foreign_class``, with the interface in :mod:`interpretability.interface`.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from speechbrain.dataio.encoder import CategoricalEncoder

from interpretability.classifiers.base import Classifier
from interpretability.classifiers.conv2d import Conv2dClassifier
from interpretability.classifiers.speechbrain import labels_of, load_labels
from interpretability.errors import UserError
from interpretability.exported import HYPERPARAMS, LABELS, LABELS_OF_PRETRAINER
from interpretability.files import write_text
from interpretability.frontend import FrontendSettings
from interpretability.interface import save_model
from interpretability.methods.base import Interpreter
from interpretability.methods.piq import PIQ
from interpretability.networks.piq import key_classes
from interpretability.safe_yaml import Node, dump
from interpretability.weights import save_weights

CUSTOM = "custom.py"
#: The classes of SpeechBrain's that load a folder.
STOCK, FOREIGN = "PIQAudioInterpreter", "CustomInterface"

_CUSTOM = '''"""The interface of this model: speechbrain.inference.interfaces.foreign_class(source=FOLDER_OR_NAME)."""

from interpretability.interface import CustomInterface  # noqa: F401, of the package audio-interpretability
'''

_HEAD = "# For inference alone. Every file lies beside this one, whether on a disk or on a hub.\n"
_FOREIGN = """\
# foreign_class(source=FOLDER_OR_NAME) loads it; it needs the package audio-interpretability.
{rate}
label_encoder: !new:speechbrain.dataio.encoder.CategoricalEncoder
model: !new:interpretability.interface.Model
modules:
    model: !ref <model>
pretrainer: !new:speechbrain.utils.parameter_transfer.Pretrainer
    loadables:
        model: !ref <model>
        label_encoder: !ref <label_encoder>
"""
_STOCK = """\
# PIQAudioInterpreter.from_hparams(source=FOLDER_OR_NAME) loads it, with nothing but SpeechBrain.
{rate}
use_vq: True
use_mask_output: True
mask_th: 0.35
spec_mag_power: 0.5
compute_stft: !new:speechbrain.processing.features.STFT
    {stft}
compute_istft: !new:speechbrain.processing.features.ISTFT
    {stft}
embedding_model: !new:speechbrain.lobes.models.PIQ.Conv2dEncoder_v2
    {encoder}
classifier: !new:speechbrain.lobes.models.ECAPA_TDNN.Classifier
    {head}
psi: !new:speechbrain.lobes.models.PIQ.VectorQuantizedPSI_Audio
    {psi}
label_encoder: !new:speechbrain.dataio.encoder.CategoricalEncoder
modules:
    compute_stft: !ref <compute_stft>
    compute_istft: !ref <compute_istft>
    embedding_model: !ref <embedding_model>
    classifier: !ref <classifier>
    psi: !ref <psi>
pretrainer: !new:speechbrain.utils.parameter_transfer.Pretrainer
    loadables:
        embedding_model: !ref <embedding_model>
        classifier: !ref <classifier>
        psi: !ref <psi>
        label_encoder: !ref <label_encoder>
"""


def interface_of(interpreter: Interpreter | None) -> str:
    """Return the class of SpeechBrain's that loads the folder: :data:`STOCK` where it gives the same, else ours."""
    if not isinstance(interpreter, PIQ) or not isinstance(interpreter.classifier, Conv2dClassifier):
        return FOREIGN
    chosen, n_classes = interpreter.settings, len(interpreter.classifier.labels)
    if chosen.network != "published" or chosen.apply != "log" or interpreter.classifier.task != "single":
        return FOREIGN
    # SpeechBrain lets a class use keys that are shared in validation, and has a rounding of its own for the rest.
    keys = (key_classes(chosen.codebook_size, n_classes, 0, rule) for rule in (chosen.partition, "published"))
    same_keys = chosen.shared_keys == 0 and torch.equal(*keys)
    # Its decoder draws 513 bins, and its class takes all of them.
    return STOCK if same_keys and interpreter.frontend.settings.n_bins == 513 else FOREIGN


def write_stock(folder: Path, descriptions: Mapping[str, Any], classifier: Classifier, interpreter: Interpreter | None):
    """Write what SpeechBrain loads into a folder.

    Parameters
    ----------
    folder : Path
    descriptions : mapping
        Of ``classifier`` and ``interpreter``.
    classifier : Classifier
    interpreter : Interpreter or None

    Raises
    ------
    UserError
        If a class name cannot be written into a label encoder.
    """
    _write_labels(folder, classifier.labels)
    frontend = classifier.frontend.settings
    rate = _yaml({"sample_rate": frontend.sample_rate}).strip()
    if interface_of(interpreter) == FOREIGN:
        modules = {"classifier": classifier, **({} if interpreter is None else {"interpreter": interpreter})}
        save_model(folder / "model.ckpt", dict(descriptions), modules)
        write_text(folder / CUSTOM, _CUSTOM)
        write_text(folder / HYPERPARAMS, _HEAD + _FOREIGN.format(rate=rate))
        return
    for name, module in (
        ("embedding_model", classifier.embedding_model),
        ("classifier", classifier.classifier),
        ("psi", interpreter.psi),
    ):
        save_weights(module, folder / f"{name}.ckpt")
    chosen, n_classes = classifier.settings, len(classifier.labels)
    head = {"lin_blocks": chosen.lin_blocks, "lin_neurons": chosen.lin_neurons, "out_neurons": n_classes}
    keys = {"K": interpreter.settings.codebook_size, "numclasses": n_classes, "shared_keys": 0}
    settings = {
        "stft": _stft_of(frontend),
        "encoder": {"dim": chosen.dim},
        "head": {"input_size": chosen.dim, **head},
        "psi": {"dim": chosen.dim, **keys, "activate_class_partitioning": True},
    }
    parts = {name: _yaml(values).strip().replace("\n", "\n    ") for name, values in settings.items()}
    write_text(folder / HYPERPARAMS, _HEAD + _STOCK.format(rate=rate, **parts))


def _stft_of(frontend: FrontendSettings) -> dict[str, Any]:
    """Return the front end's STFT as settings of SpeechBrain's, which rounds milliseconds to samples by itself."""
    rate = frontend.sample_rate
    milliseconds = {"win_length": frontend.win_length, "hop_length": frontend.hop_length}
    lengths = {name: 1000.0 * count / rate for name, count in milliseconds.items()}
    return {"sample_rate": rate, "n_fft": frontend.n_fft, **lengths}


def _write_labels(folder: Path, labels: list[str]) -> None:
    """Write the label encoder under both names."""
    encoder = CategoricalEncoder()
    encoder.update_from_iterable(labels, sequence_input=False)
    for name in (LABELS, LABELS_OF_PRETRAINER):
        encoder.save(folder / name)
    again = CategoricalEncoder()
    load_labels(again, folder / LABELS)
    if labels_of(again, folder / LABELS) != labels:
        raise UserError("the class names cannot be written as SpeechBrain's label encoder: use letters and digits")


def _yaml(values: Mapping[str, Any]) -> str:
    return dump({name: Node(value) for name, value in values.items()})
