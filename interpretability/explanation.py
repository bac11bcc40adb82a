"""The one result of every method: a mask, probabilities, and sounds to listen to."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from interpretability.classifiers.base import AnalysedBatch, ClassifierOutput
from interpretability.data.audio import write_wav
from interpretability.dictionary import Components
from interpretability.files import write_json
from interpretability.frontend import FrontendSettings, MaskedPair, Spectrogram, apply_mask
from interpretability.probabilities import MaskedLogits, probabilities
from interpretability.report.words import Findings, locate, sentences

COMPONENTS = "components"


@dataclass
class Interpretation:
    """A method's answer to a batch of analysed clips.

    Attributes
    ----------
    mask : Tensor [B, T, F]
        Values in [0, 1].
    components : Components, optional
        From a method that explains by components of a dictionary.
    scores : dict of str to Tensor [B]
        The method's own measures, one value per clip, such as top-k fidelity. Results list them beside the metrics.
    undefined : Tensor [B], bool, optional
        Clips for which the method has no explanation, which is not the same as one that keeps nothing. Their mask is 0
        everywhere; results count them and do not measure them. None if there are none.
    """

    mask: Tensor
    components: Components | None = None
    scores: dict[str, Tensor] = field(default_factory=dict)
    undefined: Tensor | None = None

    def clip(self, index: int, n_frames: int) -> Interpretation:
        """Return the interpretation of one clip, as a batch of one, cut to its frames."""
        one = slice(index, index + 1)
        components = None if self.components is None else self.components.clip(index, n_frames)
        undefined = None if self.undefined is None else self.undefined[one]
        scores = {name: score[one] for name, score in self.scores.items()}
        return Interpretation(self.mask[one, :n_frames], components, scores, undefined)


@dataclass
class Explanation:
    """Explanations of a batch of clips; index it for one clip at its own length.

    Attributes
    ----------
    method : str
        Name of the method.
    title : str
        What figures call the method: its name and variant.
    notes : tuple of str
        What a reader of the method's explanations has to know.
    labels : list of str
        The classifier's class names.
    task : {"single", "multi"}
        One label per clip, or several.
    apply : {"log", "linear"}
        Domain of the mask.
    batch : AnalysedBatch
        The levelled clips, the classifier's answer to them, and the explained classes.
    interpretation : Interpretation
        The mask, and what else the method gives.
    pair : MaskedPair
        What the mask keeps and what it removes.
    heard : MaskedLogits
        The classifier's answer to these two, as sounds.
    """

    method: str
    title: str
    notes: tuple[str, ...]
    labels: list[str]
    task: str
    apply: str
    batch: AnalysedBatch
    interpretation: Interpretation
    pair: MaskedPair
    heard: MaskedLogits

    @property
    def frontend(self) -> FrontendSettings:
        """Settings of the front end."""
        return self.batch.clips.frontend.settings

    @property
    def spectrogram(self) -> Spectrogram:
        """Spectrogram of the levelled input."""
        return self.batch.spectrogram

    @property
    def output(self) -> ClassifierOutput:
        """The classifier's answer to the unmasked input."""
        return self.batch.output

    @property
    def target(self) -> Tensor:
        """Explained classes [B]."""
        return self.batch.target

    @property
    def mask(self) -> Tensor:
        """Masks [B, T, F], values in [0, 1]."""
        return self.interpretation.mask

    @property
    def components(self) -> Components | None:
        """From a method that explains by components of a dictionary."""
        return self.interpretation.components

    @property
    def undefined(self) -> Tensor | None:
        """Clips [B] without an explanation: the mask is 0 and means nothing. None: there are none."""
        return self.interpretation.undefined

    @property
    def probabilities(self) -> Tensor:
        """Probability of each class for the unmasked input, [B, C]."""
        return probabilities(self.output.logits.float(), self.task)

    @property
    def sound(self) -> Tensor:
        """The levelled input [B, N]."""
        return self.batch.clips.wavs

    @property
    def listenable(self) -> Tensor:
        """What the mask keeps, as sound [B, N]: ``istft(In e^{j phase})``."""
        return self.pair.listenable

    @property
    def residual(self) -> Tensor:
        """What the mask removes, as sound [B, N]."""
        return self.pair.residual

    def __len__(self) -> int:
        return len(self.batch)

    def __getitem__(self, index: int) -> Explanation:
        """Return clip ``index`` alone, cut to its own length."""
        index = range(len(self))[index]
        batch, one = self.batch.clip(index), slice(index, index + 1)
        interpretation = self.interpretation.clip(index, batch.spectrogram.magnitude.shape[1])
        heard = MaskedLogits(self.heard.inside[one], self.heard.outside[one])
        return replace(self, batch=batch, interpretation=interpretation, pair=self.pair.clip(index), heard=heard)

    def describe(self, index: int = 0) -> dict:
        """Return a clip's description as plain values: classes, probabilities, kept area, length in seconds.

        ``undefined`` says whether there is no explanation (the mask is then empty and means nothing), ``notes`` what a
        reader has to know.
        """
        clip = self[index]
        predicted = int(clip.output.predicted[0])
        target = int(clip.target[0])
        return {
            "method": self.method,
            "title": self.title or self.method,
            "predicted": self.labels[predicted],
            "predicted_probability": float(clip.probabilities[0, predicted]),
            "explained": self.labels[target],
            "explained_probability": float(clip.probabilities[0, target]),
            "kept_area": float(clip.mask.double().mean()),
            "undefined": clip.undefined is not None and bool(clip.undefined[0]),
            "seconds": clip.sound.shape[1] / self.frontend.sample_rate,
            "sample_rate": self.frontend.sample_rate,
            "notes": list(self.notes),
            "sentences": clip.sentences(),
        }

    def sentences(self, index: int = 0) -> list[str]:
        """Say in words what a clip and its explanation are heard as, and where most of it lies.

        See :mod:`interpretability.report.words`.
        """
        clip, frontend = self[index], self.frontend
        magnitude, rate = _array(clip.pair.inside), frontend.sample_rate
        seconds = clip.sound.shape[1] / rate
        whole, inside, outside = (
            probabilities(logits.float(), self.task)[0].tolist()
            for logits in (clip.output.logits, clip.heard.inside, clip.heard.outside)
        )
        region = locate(magnitude, frontend.hop_length / rate, rate / frontend.n_fft, seconds)
        silent, undefined = not bool(clip.sound.any()), clip.undefined is not None and bool(clip.undefined[0])
        target = int(clip.target[0])
        findings = Findings(self.labels, target, whole, inside, outside, self.task, region, silent, undefined)
        return sentences(findings)

    def save(
        self,
        folder: str | Path,
        index: int = 0,
        true_label: str | None = None,
        extra: dict | None = None,
        max_components: int | None = None,
    ) -> dict[str, Path]:
        """Save one clip's explanation: three wavs, a figure and a JSON description; components where there are any.

        Parameters
        ----------
        folder : path
            Made if absent; gets ``input.wav``, ``explanation.wav``, ``residual.wav`` (32-bit float, all at the input's
            levelled scale, so that their loudness can be compared), ``figure.png`` and ``explanation.json``. Of a
            method that explains by components also ``components.png``, and each selected one as a sound,
            ``components/01_component_37.wav`` and so on, the most relevant first, at the same scale. Components of an
            earlier explanation are removed.
        index : int
            Which clip of the batch.
        true_label : str, optional
            For the figure's title.
        extra : dict, optional
            Added to the JSON description, such as metrics.
        max_components : int, optional
            Draw and save at most this many; all selected ones if not given. The JSON description lists them all.

        Returns
        -------
        dict of str to Path
            What was written: ``input``, ``explanation``, ``residual``, ``figure`` and ``description``; with components
            ``components`` (the figure of them) and ``component_37`` and so on.
        """
        from interpretability.report import figures  # matplotlib is slow to import

        folder = Path(folder)
        clip = self[index]
        paths = {name: folder / f"{name}.wav" for name in ("input", "explanation", "residual")}
        for path, wav in zip(paths.values(), (clip.sound, clip.listenable, clip.residual), strict=True):
            write_wav(path, wav[0].detach().cpu(), self.frontend.sample_rate)
        description = {**self.describe(index), "true": true_label}
        title, seconds = figures.headline(description, true_label), description["seconds"]
        drawn = (clip.spectrogram.magnitude, clip.pair.inside, clip.mask)
        figure = figures.plot_explanation(
            *map(_array, drawn), self.frontend, seconds, title, description["undefined"], self.notes
        )
        paths["figure"] = figures.save_figure(figure, folder / "figure.png")
        for path in [folder / f"{COMPONENTS}.png", *(folder / COMPONENTS).glob("*_component_*.wav")]:
            path.unlink(missing_ok=True)
        if clip.components is not None:
            ranked, relevance = clip.components.ranked(), _array(clip.components.relevance)
            matrix, activations = clip.components.matrix.detach().cpu().numpy(), _array(clip.components.activations)
            figure = figures.plot_components(
                relevance, ranked, matrix, activations, self.frontend, seconds, title, max_components
            )
            paths[COMPONENTS] = figures.save_figure(figure, folder / f"{COMPONENTS}.png")
            listed = [{"component": k, "relevance": float(relevance[k]), "sound": None} for k in ranked]
            description[COMPONENTS] = listed
            for rank, (k, wav) in enumerate(clip.component_sounds(max_components).items(), 1):
                name = f"{COMPONENTS}/{rank:02}_component_{k}.wav"
                write_wav(folder / name, wav.detach().cpu(), self.frontend.sample_rate)
                paths[f"component_{k}"] = folder / name
                listed[rank - 1]["sound"] = name
        paths["description"] = folder / "explanation.json"
        write_json(paths["description"], {**description, **(extra or {})})
        return paths

    @torch.no_grad()
    def component_sounds(self, limit: int | None = None, index: int = 0) -> dict[int, Tensor]:
        """Return the sounds of a clip's selected components, the most relevant first.

        Parameters
        ----------
        limit : int, optional
            At most this many; all if not given.
        index : int
            Which clip of the batch.

        Returns
        -------
        dict of int to Tensor [N]
            Number of the component (from 0) -> ``istft(apply(M_k) e^{j phase})``, with M_k the mask of this component
            alone; at the scale of the input and of the clip's length. With masks in the linear domain the sounds of all
            selected components add up to ``listenable``. Empty where there are none.
        """
        clip = self[index]
        if clip.components is None:
            return {}
        frontend, spectrogram = clip.batch.clips.frontend, clip.spectrogram
        sounds = {}
        for k in clip.components.ranked()[:limit]:
            kept = apply_mask(spectrogram.magnitude, clip.components.mask_of(k), self.apply)
            sounds[k] = frontend.resynthesise(spectrogram, kept)[0]
        return sounds


def _array(values: Tensor) -> np.ndarray:
    """Return the values of a batch of one clip, as an array."""
    return values[0].detach().cpu().numpy()
