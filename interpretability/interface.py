"""SpeechBrain's way into a published folder: ``foreign_class(source="user/name")``.

The folder's ``custom.py`` imports :class:`CustomInterface` from here, and its ``hyperparams.yaml`` names
:class:`Model`, which becomes what ``model.ckpt`` describes. As SpeechBrain's own interpreter it takes waveforms at the
rate of the model and gives sound and class; besides, :meth:`CustomInterface.explain` gives all there is.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from speechbrain.inference.interfaces import Pretrained
from speechbrain.utils.checkpoints import mark_as_transfer, register_checkpoint_hooks
from torch import Tensor, nn

from interpretability.classifiers.folder import build_classifier, check_exported_classifier
from interpretability.data.inputs import Sound
from interpretability.errors import UserError
from interpretability.explaining import explain
from interpretability.explanation import Explanation
from interpretability.files import write_errors
from interpretability.methods.base import Interpreter
from interpretability.methods.folder import InterpreterDescription, build_interpreter
from interpretability.probabilities import predicted_class, probabilities
from interpretability.reading import as_object, checked, parse_json
from interpretability.weight_files import file_size, read_tensors
from interpretability.weights import load_state


def save_model(path: str | Path, descriptions: dict[str, Any], modules: dict[str, nn.Module]) -> None:
    """Save descriptions and weights of a classifier, and of its interpreter if there is one, in one file.

    Parameters
    ----------
    path : path
    descriptions, modules : dict
        Both of ``classifier``, and of ``interpreter`` if there is one.
    """
    states = {
        name: {key: value.detach().cpu() for key, value in module.state_dict().items()}
        for name, module in modules.items()
    }
    with write_errors(path):
        torch.save({"description": json.dumps(descriptions), **states}, path)


@register_checkpoint_hooks
class Model(nn.Module):
    """A published classifier, and its interpreter; empty until a ``Pretrainer`` of SpeechBrain has loaded its file.

    Attributes
    ----------
    classifier : Classifier
    interpreter : Interpreter or None
    """

    def __init__(self):
        super().__init__()
        self.classifier = self.interpreter = None

    @mark_as_transfer
    def transfer(self, path: str | Path) -> None:
        """Become what a file of :func:`save_model` describes; a :class:`UserError` if it is none, or is damaged."""
        content, size = read_tensors(path), file_size(path)
        if not isinstance(content, dict) or not isinstance(content.get("description"), str):
            raise UserError(f"{path}: no model with its description, expected one that tools/publish.py wrote")
        known = as_object(parse_json(content["description"], path), path)
        description = check_exported_classifier(known.get("classifier"), f"{path}: classifier")
        classifier = build_classifier(description, str(path), size).keep_description(description)
        load_state(classifier, {"": _state(content, "classifier", path)}, path)
        self.classifier = classifier.freeze()
        if "interpreter" in known:
            checked(InterpreterDescription, known["interpreter"], f"{path}: interpreter")
            interpreter = build_interpreter(known["interpreter"], classifier, str(path), size)
            load_state(interpreter, {"": _state(content, "interpreter", path)}, path)
            self.interpreter = interpreter.keep_description(known["interpreter"]).eval()

    @property
    def explained(self) -> Interpreter | Any:
        """The interpreter, or the classifier if there is none: what :func:`~interpretability.explain` takes."""
        return self.classifier if self.interpreter is None else self.interpreter


def _state(content: dict[str, Any], name: str, path: str | Path) -> dict[str, Tensor]:
    state = content.get(name)
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise UserError(f"{path}: has no weights of the {name}: fetch or copy the folder again")
    return state


class CustomInterface(Pretrained):
    """What ``foreign_class`` makes of a published folder.

    Examples
    --------
    ``foreign_class(source="user/name").interpret_file("sound.wav")``
    """

    HPARAMS_NEEDED = ("sample_rate", "label_encoder")
    MODULES_NEEDED = ("model",)

    def __init__(self, *args: Any, **kwargs: Any):
        super().__init__(*args, **kwargs)
        self.hparams.label_encoder.ignore_len()

    def explain(self, sounds: Sound, **settings: Any) -> Explanation:
        """Explain sounds; arguments and result as of :func:`interpretability.explain`."""
        return explain(self.mods.model.explained, sounds, **settings)

    def interpret_batch(self, wavs: Tensor) -> tuple[Tensor, list]:
        """Explain the predicted class of sounds, as ``PIQAudioInterpreter.interpret_batch`` does.

        Parameters
        ----------
        wavs : Tensor [B, N]
            At the rate of the model, ``hparams.sample_rate``.

        Returns
        -------
        (Tensor [B, N], list)
            The explanations as sound, at the level of the front end; the names of the classes, in a list of one list.
        """
        explanation = self.explain(wavs.to(self.device))
        return explanation.listenable, self._names(explanation.target)

    def interpret_file(self, path: str | Path, savedir: str | Path | None = None) -> tuple[Tensor, list, int]:
        """Explain the predicted class of a file of any rate; ``savedir`` is not needed.

        Returns
        -------
        (Tensor [1, N], list, int)
            As :meth:`interpret_batch`, and the rate of the sound in Hz.
        """
        explanation = self.explain(str(path))
        return explanation.listenable, self._names(explanation.target), self.hparams.sample_rate

    @torch.no_grad()
    def classify_batch(self, wavs: Tensor, wav_lens: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor, list]:
        """Classify sounds.

        Parameters
        ----------
        wavs : Tensor [B, N]
            At the rate of the model.
        wav_lens : Tensor [B] in (0, 1], optional

        Returns
        -------
        (Tensor [B, C], Tensor [B], Tensor [B], list)
            Probabilities; the highest one, its class and the name of that, in a list of one list.
        """
        output = self.mods.model.classifier.analyse(wavs.to(self.device), wav_lens).output
        shares = probabilities(output.logits.float(), self.mods.model.classifier.task)
        index = predicted_class(output.logits)
        return shares, shares.gather(1, index[:, None])[:, 0], index, self._names(index)

    def forward(self, wavs: Tensor, wav_lens: Tensor | None = None) -> tuple[Tensor, Tensor, Tensor, list]:
        """See :meth:`classify_batch`."""
        return self.classify_batch(wavs, wav_lens)

    def _names(self, index: Tensor) -> list:
        return self.hparams.label_encoder.decode_torch(index[None])
