"""The contract of an explanation method: one verb, :meth:`Interpreter.explain`, and one result type."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from interpretability.classifiers.base import Classifier, ClassifierOutput, MaskedLogits
from interpretability.errors import UserError
from interpretability.explanation import Explanation, Interpretation
from interpretability.frontend import APPLY_DOMAINS, Spectrogram


class Interpreter(nn.Module):
    """Base class of every method.

    The classifier is an object of study, not a part: it is frozen, it is not among the parameters, and it is not in
    the state. It moves with the interpreter from device to device.

    Parameters
    ----------
    classifier : Classifier
        Frozen here if it is not yet.
    apply : {"log", "linear"}
        Domain in which masks are applied.
    settings : dict
        The method's own settings as plain values: saved with it, and recorded with every result.

    Attributes
    ----------
    NAME : str
        Name in the registry, in tables and in saved folders.
    trainable : bool
        Whether there is anything to train.
    uses_masked_logits : bool
        Whether the training objective needs the classifier's answer to In and Out.
    notes : tuple of str
        What has to be known to read its explanations; goes into every description, figure and table of them.
    fixed_metrics : tuple of str
        Metrics whose value its settings decide whatever it explains: tables do not rank it by them.
    """

    NAME = ""
    trainable = True
    uses_masked_logits = False

    def __init__(self, classifier: Classifier, apply: str = "log", **settings: Any):
        super().__init__()
        if apply not in APPLY_DOMAINS:
            raise UserError(f"apply is {apply!r}, expected one of {APPLY_DOMAINS}")
        # In a tuple, so that torch does not register it as a submodule.
        self._studied = (classifier.freeze(),)
        self.apply_domain = apply
        self.settings = {"apply": apply, **settings}

    @property
    def title(self) -> str:
        """What figures call it: its name, and which variant where there are several."""
        return self.NAME

    @property
    def notes(self) -> tuple[str, ...]:
        """What has to be known to read its explanations; nothing, unless a method says otherwise."""
        return ()

    @property
    def fixed_metrics(self) -> tuple[str, ...]:
        """Names of the metrics that its settings decide, whatever it explains; none, unless a method says otherwise."""
        return ()

    @property
    def classifier(self) -> Classifier:
        """The frozen classifier that is explained."""
        return self._studied[0]

    @property
    def frontend(self):
        """The classifier's front end."""
        return self.classifier.frontend

    def _apply(self, function, *args, **kwargs):
        self.classifier._apply(function, *args, **kwargs)
        return super()._apply(function, *args, **kwargs)

    def interpret(self, spectrogram: Spectrogram, output: ClassifierOutput, target: Tensor) -> Interpretation:
        """Explain classes of analysed clips, with whatever a method has to say beside its mask.

        Methods override this or, when there is nothing but a mask, :meth:`mask`.

        Parameters
        ----------
        spectrogram, output, target
            As in :meth:`mask`.

        Returns
        -------
        Interpretation
        """
        return Interpretation(self.mask(spectrogram, output, target))

    def mask(self, spectrogram: Spectrogram, output: ClassifierOutput, target: Tensor) -> Tensor:
        """Explain classes of analysed clips.

        Parameters
        ----------
        spectrogram : Spectrogram
        output : ClassifierOutput
            What the classifier says of the unmasked magnitude.
        target : Tensor [B]
            Explained class of each clip.

        Returns
        -------
        Tensor [B, T, F]
            Values in [0, 1]; 0 in frames that are not valid.
        """
        raise NotImplementedError

    def objective(
        self,
        prediction: Any,
        spectrogram: Spectrogram,
        output: ClassifierOutput,
        target: Tensor,
        masked: MaskedLogits | None,
        clean: Spectrogram | None = None,
    ) -> dict[str, Tensor]:
        """Return the training objective's terms as means over the batch, ``loss`` among them.

        Parameters
        ----------
        prediction
            What ``forward`` returned; it has ``mask`` [B, T, F]. No parameter of the interpreter is used here, so that
            training in parallel sees every one of them in ``forward``.
        spectrogram : Spectrogram
        output : ClassifierOutput
            What the classifier says of the unmasked magnitude.
        target : Tensor [B]
        masked : MaskedLogits or None
            Given if ``uses_masked_logits``.
        clean : Spectrogram, optional
            Where noise was mixed into the clips: the same clips without it, at the same gain.
        """
        raise NotImplementedError(f"{self.NAME} is not trained")

    @torch.no_grad()
    def explain(
        self,
        wavs: Tensor,
        lengths: Tensor | None = None,
        target: Tensor | int | str | None = None,
    ) -> Explanation:
        """Explain a batch of sounds: the same verb for every method.

        Parameters
        ----------
        wavs : Tensor [B, N]
            Mono, at the front end's sample rate, at any level (the level rule is applied here).
        lengths : Tensor [B] in (0, 1], optional
            Relative lengths.
        target : Tensor [B], int or str, optional
            Class to explain; the predicted one if not given.

        Returns
        -------
        Explanation
            Mask, probabilities, and the explanation and the residual as sound.
        """
        was_training = self.training
        self.eval()
        try:
            levelled = self.frontend.level(wavs, lengths)
            spectrogram = self.frontend.analyse(levelled, lengths)
            output = self.classifier.classify(spectrogram)
            target = self._targets(target, output)
            # Methods that look at gradients switch them on themselves.
            interpretation = self.interpret(spectrogram, output, target)
            return Explanation.make(self, levelled, spectrogram, output, interpretation, target)
        finally:
            self.train(was_training)

    def _targets(self, target: Tensor | int | str | None, output: ClassifierOutput) -> Tensor:
        if target is None:
            return output.predicted
        if not isinstance(target, Tensor):
            target = torch.full_like(output.predicted, self.classifier.target_index(target))
        if target.shape != output.predicted.shape:
            raise ValueError(f"target has shape {tuple(target.shape)}, expected [{len(output.logits)}]")
        n_classes = output.logits.shape[1]
        if bool(((target < 0) | (target >= n_classes)).any()):
            raise ValueError(f"target is {target.tolist()}, expected class indices from 0 to {n_classes - 1}")
        return target.to(output.predicted)


def hide_invalid(mask: Tensor, spectrogram: Spectrogram) -> Tensor:
    """Return the mask with zeros in frames that are not valid, whatever stands there: 0 times NaN would be NaN."""
    return mask.masked_fill(~spectrogram.valid[..., None], 0)
