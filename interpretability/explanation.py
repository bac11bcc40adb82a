"""The one result of every method: a mask, probabilities, and sounds to listen to."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from interpretability.classifiers.base import AnalysedBatch, Classifier, ClassifierOutput
from interpretability.data.audio import write_wav
from interpretability.data.inputs import Origin
from interpretability.dictionary import Components
from interpretability.errors import UserError
from interpretability.events import Cells, Event, EventSettings, find_regions, measured_events
from interpretability.files import atomic_folder, expanded, write_json
from interpretability.frontend import PLACES, FrontendSettings, MaskedPair, Spectrogram, apply_mask
from interpretability.matched import MatchedBaseline
from interpretability.metrics.suite import MetricSuite, clip_values
from interpretability.names import printable, safe_name
from interpretability.probabilities import MaskedLogits, predicted_class, probabilities
from interpretability.report.destination import DESCRIPTION, check_destination, check_same
from interpretability.report.event_files import write_events
from interpretability.report.formats import FigureSettings, check_format
from interpretability.report.words import Asked, Findings, Heard, Region, Remainder, locate, percent, sentences

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COMPONENTS = "components"
#: What the descriptions of all clips have in common.
_COMMON = ("method", "title", "sample_rate", "event_settings", "model", "hub")
#: Masks that explain nothing, which an explanation is shown beside: the loudest bins, and random ones.
BASELINES = ("energy", "random")


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


@dataclass(frozen=True)
class Baseline:
    """A mask that explains nothing, of the explanation's own area, and what it gives.

    Attributes
    ----------
    mask : Tensor [B, T, F]
    heard : MaskedLogits
        The classifier's answer to what the mask keeps and to what it removes, as sounds.
    """

    mask: Tensor
    heard: MaskedLogits


@dataclass(repr=False)
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
    model : dict
        What identifies classifier and method, as plain values: hashes and names.
    classifier : Classifier
        The classifier that is explained.
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
    origins : tuple of Origin
        Where each clip came from.
    hub : dict
        "interpreter" and "classifier" -> the model and the commit of a hub that it was read from, if it was.
    every_label : bool
        Whether several classes of a sound are explained (each one that is heard, or the most probable ones), so that
        several clips here may be of one sound.
    event_lists : dict
        Settings -> the events of each clip, once they were asked for (:meth:`events`).
    """

    method: str
    title: str
    notes: tuple[str, ...]
    model: dict[str, Any]
    classifier: Classifier
    apply: str
    batch: AnalysedBatch
    interpretation: Interpretation
    pair: MaskedPair
    heard: MaskedLogits
    origins: tuple[Origin, ...]
    hub: dict[str, dict[str, str]] = field(default_factory=dict)
    every_label: bool = False
    event_lists: dict[EventSettings, list[list[Event]]] = field(default_factory=dict)

    @property
    def labels(self) -> list[str]:
        """The classifier's class names."""
        return self.classifier.labels

    @property
    def task(self) -> str:
        """Whether there is one label per clip ("single"), or several ("multi")."""
        return self.classifier.task

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

    @property
    def _heard_by(self) -> Classifier:
        """The classifier whose classes a sound is heard as: the one that is asked, if it has any."""
        return self.classifier.base if self.classifier.base.has_classes else self.classifier

    @cached_property
    @torch.no_grad()
    def of_classes(self) -> dict[str, Tensor]:
        """Logits of the classifier's own classes for "input", "explanation" and "residual", each [B, C].

        Where the target is none of them (:mod:`interpretability.targets`), the classifier is asked again for that.
        """
        base, heard = self._heard_by, self.heard
        if base is self.classifier:
            return {"input": self.output.logits, "explanation": heard.inside, "residual": heard.outside}
        heard = base.classify_pair(self.pair, "waveform")
        whole = base.classify_sound(self.batch.clips).logits
        return {"input": whole, "explanation": heard.inside, "residual": heard.outside}

    @cached_property
    @torch.no_grad()
    def baselines(self) -> dict[str, Baseline]:
        """The masks of :data:`BASELINES` by name, at the area of the explanation, clip by clip.

        Classified when first asked for.
        """
        results = {}
        for kind in BASELINES:
            mask = MatchedBaseline(kind)(self.spectrogram, self.mask)
            pair = MaskedPair.of(self.batch.clips, mask, self.apply)
            results[kind] = Baseline(mask, self.classifier.classify_pair(pair, "waveform"))
        return results

    def __len__(self) -> int:
        return len(self.batch)

    def __repr__(self) -> str:
        longest = self.sound.shape[1] / self.frontend.sample_rate
        return (
            f"Explanation of {len(self)} clip{'s' * (len(self) != 1)} (up to {longest:.3g} s) by {self.title}: "
            f"mask {list(self.mask.shape)}\n"
            f"{self.summary()}; explanation[i].sentences() says more, explanation.save(folder) writes all"
        )

    def _repr_html_(self) -> str:
        """Return what a notebook shows: picture, sounds, sentences and events (:mod:`.report.notebook`)."""
        from interpretability.report.notebook import notebook_html  # matplotlib is slow to import

        return notebook_html(self)

    def summary(self, most: int = 3) -> str:
        """Return the explained classes and kept areas of the first clips, in a few words."""
        clips = [self[index] for index in range(min(most, len(self)))]
        texts = [
            f"{printable(clip.labels[int(clip.target)])[:30]} ({percent(float(clip.mask.double().mean()))} kept)"
            for clip in clips
        ]
        return ", ".join(texts) + (", …" if len(self) > most else "")

    def __getitem__(self, index: int) -> Explanation:
        """Return clip ``index`` alone, cut to its own length."""
        index = range(len(self))[index]
        if len(self) == 1 and int(self.batch.clips.lengths) == self.sound.shape[1]:
            return self
        batch, one = self.batch.clip(index), slice(index, index + 1)
        interpretation = self.interpretation.clip(index, batch.spectrogram.magnitude.shape[1])
        heard = MaskedLogits(self.heard.inside[one], self.heard.outside[one])
        return replace(
            self,
            batch=batch,
            interpretation=interpretation,
            pair=self.pair.clip(index),
            heard=heard,
            origins=self.origins[one],
            event_lists={settings: lists[one] for settings, lists in self.event_lists.items()},
        )

    def describe(self, index: int = 0) -> dict[str, Any]:
        """Return a clip's description as plain values.

        Among them: ``probabilities`` of every class for the input, for the explanation alone and for the residual;
        ``baselines``, the same of the explained class for the masks of :data:`BASELINES`; ``kept_area``; ``undefined``
        (whether there is no explanation: the mask is then empty and means nothing); ``scores``, the method's own
        measures, such as the completeness gap of integrated gradients; ``notes``, what a reader has to know;
        ``events``, the regions of :meth:`events`, and ``event_settings``, how they were made; ``sentences``, all of it
        in words; ``sound_sha256`` (of the levelled samples) and ``model``, which identify
        sound, classifier and method.
        """
        clip = self[index]
        origin, parts, question = clip.origins[0], clip._probabilities(), self.classifier.question
        target, classes = int(clip.target[0]), _probabilities(clip.of_classes, self._heard_by.task)
        labels, predicted = self._heard_by.labels, int(predicted_class(clip.of_classes["input"])[0])
        described = {
            "name": None if origin.name is None else printable(origin.name),
            "source": None if origin.path is None else printable(str(origin.path)),
            "method": self.method,
            "title": self.title or self.method,
            "predicted": labels[predicted],
            "predicted_probability": classes["input"][predicted],
            "explained": self.labels[target],
            "explained_probability": parts["input"][target],
            "kept_area": float(clip.mask.double().mean()),
            "undefined": clip._is_undefined(0),
            "scores": clip_values(clip.interpretation.scores, 0),
            "seconds": clip.sound.shape[1] / self.frontend.sample_rate,
            "sample_rate": self.frontend.sample_rate,
            "notes": [*self.notes, *origin.notes],
            "sentences": clip.sentences(),
        }
        baselines = {kind: {"alone": x.alone, "without": x.without} for kind, x in clip._remainders().items()}
        shown = {label: {part: values[k] for part, values in classes.items()} for k, label in enumerate(labels)}
        if question is not None:
            described["question"] = question.identity()
            shown = {self.labels[target]: {part: values[target] for part, values in parts.items()}} | shown
        digest = hashlib.sha256(np.ascontiguousarray(_array(clip.sound), np.float32).tobytes()).hexdigest()
        return described | {
            "probabilities": shown,
            "baselines": baselines,
            "events": [event.to_dict() for event in clip.events()],
            "event_settings": EventSettings().to_dict(),
            "sound_sha256": digest,
            "model": self.model,
            **({"hub": self.hub} if self.hub else {}),
        }

    def to_dict(self) -> dict[str, Any]:
        """Return all but arrays as plain values, for JSON.

        Returns
        -------
        dict
            What all clips have in common (method, model, sampling rate, how events were made), and ``clips``, a list
            with the rest of the description of each (:meth:`describe`).
        """
        self.events()  # of all clips in one pass; each clip then has its own
        clips = [self.describe(index) for index in range(len(self))]
        common = {name: clips[0][name] for name in _COMMON if name in clips[0]}
        rest = [{name: value for name, value in clip.items() if name not in common} for clip in clips]
        return {**common, "clips": rest}

    def sentences(self, index: int = 0) -> list[str]:
        """Say in words what a clip and its explanation are heard as, beside what, and where most of it lies.

        See :mod:`interpretability.report.words`.
        """
        clip = self[index]
        region = clip.region()
        findings = Findings(
            self.labels,
            int(clip.target[0]),
            *clip._probabilities().values(),
            task=self.task,
            asked=clip._asked(),
            region=region,
            silent=not bool(clip.sound.any()),
            undefined=clip._is_undefined(0),
            area=float(clip.mask.double().mean()),
            thresholds=self.classifier.thresholds.tolist(),
            baselines=clip._remainders() if region is not None else {},
            events=clip.events(),
        )
        return sentences(findings)

    def _asked(self) -> Asked | None:
        """Return what is asked of one clip in words, where that is not a class."""
        base, question = self.classifier.base, self.classifier.question
        if question is None:
            return None
        if not base.has_classes:
            return Asked(question.phrases, None)
        heard = _probabilities(self.of_classes, base.task)["input"]
        return Asked(question.phrases, Heard(base.labels, heard, base.task, base.thresholds.tolist()))

    def region(self, index: int = 0) -> Region | None:
        """Return when and in which band most of what the mask of a clip keeps lies; None if that is nothing."""
        clip, frontend = self[index], self.frontend
        rate = frontend.sample_rate
        seconds = clip.sound.shape[1] / rate
        return locate(_array(clip.pair.inside), frontend.hop_length / rate, rate / frontend.n_fft, seconds)

    def events(self, index: int = 0, settings: EventSettings | Mapping[str, Any] | None = None) -> list[Event]:
        """Return the few regions that a clip's explanation points to, and what each is worth to the classifier.

        Asked for the first time, the classifier hears all regions of all clips in one batched pass: each region alone,
        and each clip without it. See :mod:`interpretability.events`.

        Parameters
        ----------
        index : int
            Which clip of the batch.
        settings : EventSettings, or a mapping of some of its values, optional
            How the mask becomes regions.

        Returns
        -------
        list of Event
            The one whose removal costs the class most first. Empty where the explanation keeps nothing of the sound,
            and where there is none (:attr:`undefined`).

        Raises
        ------
        UserError
            If a setting is unknown or out of range; if the classifier gives a value that is not finite.
        """
        if not isinstance(settings, EventSettings):
            settings = EventSettings.make("events", settings or {})
        index = range(len(self))[index]
        if settings not in self.event_lists:
            regions = [[] if self._is_undefined(k) else self._regions(k, settings) for k in range(len(self))]
            events = measured_events(self.classifier, self.labels, self.batch, self.apply, regions)
            self.event_lists[settings] = events
        return list(self.event_lists[settings][index])

    def _regions(self, index: int, settings: EventSettings) -> list[Cells]:
        n_frames = int(self.spectrogram.valid[index].sum())
        return find_regions(self.pair.inside[index, :n_frames].detach().cpu().numpy(), self.frontend, settings)

    def _is_undefined(self, index: int) -> bool:
        return self.undefined is not None and bool(self.undefined[index])

    def measure(self, index: int = 0) -> dict[str, dict[str, dict[str, float | None]]]:
        """Measure a clip's explanation, and beside it the masks of :data:`BASELINES`.

        Returns
        -------
        dict
            "explanation", "energy" and "random" -> place of measurement ("spectrogram", "waveform") -> metric ->
            value, None where undefined. See :class:`~interpretability.metrics.suite.MetricSuite`.
        """
        clip, suite = self[index], MetricSuite(self.classifier, self.apply)
        masks = {"explanation": Baseline(clip.mask, clip.heard), **clip.baselines}
        return {
            name: {
                place: clip_values(values, 0)
                for place, values in suite(
                    clip.batch,
                    shown.mask,
                    PLACES,
                    pair=clip.pair if name == "explanation" else None,
                    masked={"waveform": shown.heard},
                    undefined=clip.undefined,
                ).items()
            }
            for name, shown in masks.items()
        }

    def save(
        self,
        folder: str | Path,
        index: int | None = None,
        true_label: str | None = None,
        extra: dict | None = None,
        max_components: int | None = None,
        format: str = "png",
        scale: str = "auto",
        column: bool = False,
    ) -> dict[str, Path]:
        """Save explanations: for each clip three wavs, the mask, a figure and a JSON description; and components.

        A folder is written whole and then put in its place. It may exist if it is empty, or holds an earlier
        explanation of the same sound by the same method and model, unchanged: that is replaced. Nothing else ever is.

        Parameters
        ----------
        folder : path
            Made if absent. Of one clip it gets ``input.wav``, ``explanation.wav``, ``residual.wav`` (32-bit float, all
            at the input's levelled scale, so that their loudness can be compared), ``mask.npz`` (``mask`` [T, F],
            float32; ``times`` [T] in s and ``frequencies`` [F] in Hz, the centres of its bins), ``figure.png``,
            ``explanation.json`` (:meth:`describe`), and its events as ``events.json``, ``events.csv``,
            ``events.selections.txt`` (for Raven) and ``events.labels.txt`` (for Audacity; see
            :mod:`.report.event_files`). Of a method that explains by components also ``components.png``, and each
            selected one as a sound, ``components/01_component_37.wav`` and so on, the most relevant first, at the same
            scale. Of several clips each gets a folder of its own in it, named after its file, or ``clip-0``
            and so on.
        index : int, optional
            Save this clip of the batch alone, directly in the folder.
        true_label : str, optional
            For the figure's title.
        extra : dict, optional
            Added to the JSON description, such as metrics.
        max_components : int, optional
            Draw and save at most this many; all selected ones if not given. The JSON description lists them all.
        format : {"png", "svg", "pdf"}
            Of the figures, and their suffix.
        scale : {"auto", "linear", "mel"}
            Of the axis of frequency in the figure; mel for sounds that are low throughout if not given.
        column : bool
            Draw the figure as wide as a column of a paper, with letters of 7 pt and more.

        Returns
        -------
        dict of str to Path
            What was written: ``input``, ``explanation``, ``residual``, ``mask``, ``figure``, ``events``,
            ``events_csv``, ``selections``, ``label_track`` and ``description``; with components ``components`` (the
            figure of them) and ``component_37`` and so on. Of several clips each name has that of the clip's folder in
            front, as in ``clip-0/input``.

        Raises
        ------
        UserError
            If a folder holds the explained sound, the explanation of another sound or by another model, or anything
            else; if a format or scale is unknown. Nothing is written then.
        """
        folder, format = expanded(folder), check_format(format)
        drawn_as = FigureSettings.make("save", {"scale": scale, "column": column})
        chosen = {"": index or 0}
        if index is None and len(self) > 1:
            if (folder / DESCRIPTION).exists():
                raise UserError(
                    f"{folder} holds the explanation of one sound, these are {len(self)}: name another folder"
                )
            chosen = {name: position for position, name in enumerate(self.clip_names())}
        sources = [origin.path for origin in self.origins if origin.path is not None]
        descriptions = {}
        self.events(index or 0)  # those of all clips, which the clips then have
        clips = {name: self[position] for name, position in chosen.items()}
        for name, clip in clips.items():
            check_destination(folder / name, sources)
            descriptions[name] = clip.describe()
            check_same(folder / name, descriptions[name])
        written = {}
        for name, clip in clips.items():
            described = {**descriptions[name], "true": true_label}
            with atomic_folder(folder / name) as temporary:
                files = clip._write(temporary, described, extra or {}, max_components, format, drawn_as)
            prefix = f"{name}/" if name else ""
            written |= {f"{prefix}{key}": folder / name / file for key, file in files.items()}
        return written

    def clip_names(self) -> list[str]:
        """Return a name for each clip's folder: the name of its file without suffix, or ``clip-0``; all different.

        With ``every_label`` the explained class follows.
        """
        names: list[str] = []
        for position, origin in enumerate(self.origins):
            stem = "" if origin.path is None else origin.path.stem.lstrip(".")
            name = safe_name(stem) if stem else f"clip-{position}"
            if self.every_label:
                name = f"{name}-{safe_name(self.labels[int(self.target[position])])}"
            # Also where the file system does not distinguish upper and lower case.
            while name.casefold() in map(str.casefold, names):
                name = f"{name}-{position}"
            names.append(name)
        return names

    def _write(
        self,
        folder: Path,
        description: dict,
        extra: dict,
        max_components: int | None,
        format: str,
        drawn_as: FigureSettings,
    ) -> dict[str, str]:
        """Write one clip's files into a folder; return their names in it."""
        from interpretability.report import figures  # matplotlib is slow to import

        rate = self.frontend.sample_rate
        files = {name: f"{name}.wav" for name in ("input", "explanation", "residual")}
        for file, wav in zip(files.values(), (self.sound, self.listenable, self.residual), strict=True):
            write_wav(folder / file, wav[0].detach().cpu(), rate)
        files |= {"mask": "mask.npz", "figure": f"figure.{format}"}
        mask = _array(self.mask).astype(np.float32)
        times, bins = np.arange(mask.shape[0]), np.arange(mask.shape[1])
        np.savez_compressed(
            folder / files["mask"],
            mask=mask,
            times=times * self.frontend.hop_length / rate,
            frequencies=bins * rate / self.frontend.n_fft,
        )
        title, seconds = figures.headline(description, description["true"]), description["seconds"]
        events, origin = self.events(), self.origins[0]
        figures.save_figure(self._drawn(description, drawn_as), folder / files["figure"])
        sound = origin.path.name if origin.path is not None else origin.name or files["input"]
        files |= {name: path.name for name, path in write_events(folder, [(e, sound) for e in events]).items()}
        if self.components is not None:
            files[COMPONENTS] = f"{COMPONENTS}.{format}"
            ranked, relevance = self.components.ranked(), _array(self.components.relevance)
            matrix, activations = self.components.matrix.detach().cpu().numpy(), _array(self.components.activations)
            figure = figures.plot_components(
                relevance, ranked, matrix, activations, self.frontend, seconds, title, max_components
            )
            figures.save_figure(figure, folder / files[COMPONENTS])
            listed = [{"component": k, "relevance": float(relevance[k]), "sound": None} for k in ranked]
            description = {**description, COMPONENTS: listed}
            for rank, (k, wav) in enumerate(self.component_sounds(max_components).items(), 1):
                files[f"component_{k}"] = f"{COMPONENTS}/{rank:02}_component_{k}.wav"
                write_wav(folder / files[f"component_{k}"], wav.detach().cpu(), rate)
                listed[rank - 1]["sound"] = files[f"component_{k}"]
        write_json(folder / DESCRIPTION, {**description, **extra})
        return {**files, "description": DESCRIPTION}

    def figure(
        self, index: int = 0, true_label: str | None = None, scale: str = "auto", column: bool = False
    ) -> Figure:
        """Draw a clip's explanation, as :meth:`save` does: see :func:`.figures.plot_explanation`.

        Parameters
        ----------
        index : int
            Which clip of the batch.
        true_label : str, optional
            For the title.
        scale, column
            As in :meth:`save`.

        Returns
        -------
        matplotlib Figure

        Raises
        ------
        UserError
            If a setting is unknown.
        """
        settings, clip = FigureSettings.make("figure", {"scale": scale, "column": column}), self[index]
        return clip._drawn({**clip.describe(), "true": true_label}, settings)

    def _drawn(self, description: Mapping[str, Any], settings: FigureSettings) -> Figure:
        """Draw the explanation of one clip with this description."""
        from interpretability.report import figures  # matplotlib is slow to import

        return figures.plot_explanation(
            *(_array(part) for part in (self.spectrogram.magnitude, self.pair.inside, self.pair.outside, self.mask)),
            self.frontend,
            description["seconds"],
            figures.headline(description, description["true"]),
            description["undefined"],
            description["notes"],
            self.events(),
            settings,
        )

    def _probabilities(self) -> dict[str, list[float]]:
        """Return the probabilities [C] of one clip's classes for the input, the explanation alone and the residual."""
        parts = {"input": self.output.logits, "explanation": self.heard.inside, "residual": self.heard.outside}
        return _probabilities(parts, self.task)

    def _remainders(self) -> dict[str, Remainder]:
        """Return what the masks of :data:`BASELINES` leave of one clip's explained class."""
        target = int(self.target[0])

        def probability(logits: Tensor) -> float:
            return float(probabilities(logits.float(), self.task)[0, target])

        return {
            kind: Remainder(probability(x.heard.inside), probability(x.heard.outside))
            for kind, x in self.baselines.items()
        }

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


def _probabilities(parts: Mapping[str, Tensor], task: str) -> dict[str, list[float]]:
    """Return the probabilities of one clip's classes from its logits [1, C], part by part."""
    return {part: probabilities(logits.float(), task)[0].tolist() for part, logits in parts.items()}


def _array(values: Tensor) -> np.ndarray:
    """Return the values of a batch of one clip, as an array."""
    return values[0].detach().cpu().numpy()
