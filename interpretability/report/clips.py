"""Explanations for a page: of one sound by one method each, with its pictures, its sounds and what is known of it.

They are made from explanations in memory, or from the folders that :meth:`.Explanation.save` has written.
"""

from __future__ import annotations

import dataclasses
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import soundfile
import torch
from torch import Tensor

from interpretability.errors import UserError, user_errors
from interpretability.files import expanded
from interpretability.frontend import Frontend, FrontendSettings
from interpretability.names import printable
from interpretability.reading import read_bytes, read_object
from interpretability.report.destination import DESCRIPTION
from interpretability.report.page import levels_uri, mask_uri, sound_uri

#: Classes whose probabilities are shown: the most probable ones of the input, beside the explained and the true one.
MOST_CLASSES = 5
#: What a page plays of a clip, in its order.
SOUNDS = ("input", "explanation", "residual")
#: What the description of an explanation must hold.
_NEEDED = ("title", "predicted", "explained", "probabilities", "seconds", "sample_rate", "sentences", "kept_area")


class Explained(Protocol):
    """What is needed of an :class:`~interpretability.explanation.Explanation`."""

    def __getitem__(self, index: int) -> Any: ...

    def describe(self, index: int = 0) -> dict[str, Any]: ...


@dataclass(frozen=True)
class Clip:
    """The explanation of one sound by one method, ready for a page.

    Attributes
    ----------
    name : str
        Of the sound.
    sound : str
        Hash of its samples: explanations with the same name and hash are shown beside each other.
    method : str
        What the page calls the method.
    true : tuple of str
        The labels of the sound; empty if they are not known.
    predicted : str
        The most probable class.
    explained : str
        The explained class.
    correct : bool, optional
        Whether the classifier is right about the sound; None if that is not known.
    seconds : float
        Length of the sound.
    start : float
        Where it begins in its recording, in s, by which the times that are shown are later; 0 for a whole file.
    sample_rate : int
        Hz.
    extent : tuple of float
        What the pictures cover: left and right in s, bottom and top in Hz. They reach a little beyond the sound.
    classes : tuple of dict
        Of the most probable classes: ``label``, and its probability for the ``input``, for the ``explanation`` alone
        and for the ``residual``, the sound without it.
    kept_area : float
        Share of the bins that the mask keeps.
    undefined : bool
        The method has no explanation: the mask is empty and means nothing.
    sentences, notes : tuple of str
        What there is to say in words.
    events : tuple of dict
        Regions that matter most: ``label``, ``start`` and ``end`` (s), ``low`` and ``high`` (Hz), ``share`` of the
        explanation, and ``probability`` of the explained class, ``alone`` and ``without`` it, as of
        ``Event.to_dict()``.
    spectrogram, mask : str
        Addresses of the pictures, ``data:`` URIs (:func:`.page.levels_uri`, :func:`.page.mask_uri`).
    input, explanation, residual : str
        Addresses of the sounds, ``data:`` URIs of MP3s.
    """

    name: str
    sound: str
    method: str
    true: tuple[str, ...]
    predicted: str
    explained: str
    correct: bool | None
    seconds: float
    start: float
    sample_rate: int
    extent: tuple[float, ...]
    classes: tuple[dict[str, Any], ...]
    kept_area: float
    undefined: bool
    sentences: tuple[str, ...]
    notes: tuple[str, ...]
    events: tuple[dict[str, Any], ...]
    spectrogram: str
    mask: str
    input: str
    explanation: str
    residual: str

    @classmethod
    def of(
        cls,
        explanation: Explained,
        index: int = 0,
        name: str | None = None,
        true: str | Sequence[str] | None = None,
        correct: bool | None = None,
        described: Mapping[str, Any] | None = None,
        start: float = 0.0,
    ) -> Clip:
        """Make it of a clip of an explanation in memory.

        Parameters
        ----------
        explanation : Explanation
        index : int
            Which clip of the batch.
        name : str, optional
            That of the sound, if not given.
        true : str or sequence of str, optional
            The labels of the sound, if they are known.
        correct : bool, optional
            Whether the classifier is right about it. If not given, whether its most probable class is the one true
            label; None where there is not one.
        described : mapping, optional
            What ``explanation.describe(index)`` returns, if it has been called.
        start : float
            Where the sound begins in its recording, in s.
        """
        clip = explanation[index]
        described = clip.describe() if described is None else described
        frontend = clip.frontend
        sounds = {"input": clip.sound, "explanation": clip.listenable, "residual": clip.residual}
        return cls._of_parts(
            described,
            name or described["name"] or f"clip {index}",
            true,
            correct,
            start,
            magnitude=_array(clip.spectrogram.magnitude),
            mask=_array(clip.mask),
            hop=frontend.hop_length / frontend.sample_rate,
            step=frontend.sample_rate / frontend.n_fft,
            sounds={part: _array(wav) for part, wav in sounds.items()},
        )

    @classmethod
    def of_folder(
        cls,
        folder: str | Path,
        name: str | None = None,
        true: str | Sequence[str] | None = None,
        correct: bool | None = None,
        start: float = 0.0,
    ) -> Clip:
        """Make it of a folder that :meth:`.Explanation.save` has written, of one sound.

        Parameters
        ----------
        folder : path
        name, true, correct, start
            As in :meth:`of`; ``true`` is the label that the explanation was saved with, if not given.

        Raises
        ------
        MissingError
            If a file is missing.
        UserError
            If one is damaged.
        """
        folder = expanded(folder)
        described = read_described(folder, _NEEDED, "sound")
        # Whatever is wrong with a file that was changed: of NumPy, of libsndfile, or a value of another type.
        with user_errors(f"{folder}: is no whole explanation", advice=": explain the sound again"):
            rate = int(described["sample_rate"])
            with np.load(io.BytesIO(read_bytes(folder / "mask.npz")), allow_pickle=False) as saved:
                mask, times, frequencies = (saved[part] for part in ("mask", "times", "frequencies"))
            sounds = {part: read_wav(folder / f"{part}.wav") for part in SOUNDS}
            hop = round(times[1] * rate) if len(times) > 1 else len(sounds["input"]) + 1
            magnitude = _magnitude(sounds["input"], rate, 2 * (len(frequencies) - 1), hop, len(times))
            return cls._of_parts(
                described,
                name or described.get("name") or folder.name,
                described.get("true") if true is None else true,
                correct,
                start,
                magnitude=magnitude,
                mask=mask,
                hop=hop / rate,
                step=float(frequencies[1]),
                sounds=sounds,
            )

    @classmethod
    def of_saved(cls, content: Mapping[str, Any]) -> Clip:
        """Make it of what :meth:`to_dict` gave, read back from JSON."""
        lists = {key: tuple(value) for key, value in content.items() if isinstance(value, list)}
        return cls(**{**content, **lists})

    def to_dict(self) -> dict[str, Any]:
        """Return all of it as plain values, for JSON."""
        return dataclasses.asdict(self)

    @classmethod
    def _of_parts(
        cls,
        described: Mapping[str, Any],
        name: str,
        true: str | Sequence[str] | None,
        correct: bool | None,
        start: float,
        magnitude: np.ndarray,
        mask: np.ndarray,
        hop: float,
        step: float,
        sounds: Mapping[str, np.ndarray],
    ) -> Clip:
        rate, predicted = int(described["sample_rate"]), str(described["predicted"])
        labels = (true,) if isinstance(true, str) else tuple(true or ())
        asked = (described.get("question") or {}).get("classes", ())  # where what is explained is none of them
        if correct is None and len(labels) == 1:
            correct = labels[0] == predicted
        return cls(
            name=printable(str(name)),
            sound=str(described.get("sound_sha256", "")),
            method=printable(str(described["title"])),
            true=tuple(map(printable, labels)),
            predicted=printable(predicted),
            explained=printable(str(described["explained"])),
            correct=correct,
            seconds=float(described["seconds"]),
            start=start,
            sample_rate=rate,
            extent=extent_of(magnitude, hop, step),
            classes=_most_probable(described["probabilities"], {*labels, str(described["explained"]), *asked}),
            kept_area=float(described["kept_area"]),
            undefined=bool(described.get("undefined")),
            sentences=tuple(map(str, described["sentences"])),
            notes=tuple(map(str, described.get("notes", ()))),
            events=tuple({**event, "label": printable(str(event["label"]))} for event in described.get("events", ())),
            spectrogram=levels_uri(magnitude),
            mask=mask_uri(mask),
            **{part: sound_uri(wav, rate) for part, wav in sounds.items()},
        )


def _most_probable(probabilities: Mapping[str, Mapping[str, float]], also: set[str]) -> tuple[dict[str, Any], ...]:
    ranked = sorted(probabilities, key=lambda label: -probabilities[label]["input"])
    shown = [*ranked[:MOST_CLASSES], *(label for label in ranked[MOST_CLASSES:] if label in also)]
    return tuple(
        {"label": printable(label), **{part: float(probabilities[label][part]) for part in SOUNDS}} for label in shown
    )


def _array(values: Tensor) -> np.ndarray:
    """Return the values of a batch of one clip."""
    return values[0].detach().float().cpu().numpy()


def extent_of(magnitude: np.ndarray, hop: float, step: float) -> tuple[float, ...]:
    """Return what the cells of a magnitude [T, F] cover: left and right in s, bottom and top in Hz."""
    frames, bins = magnitude.shape
    # Frame i is centred on i hops and bin k on k steps: cells reach half of one to both sides.
    return -hop / 2, (frames - 0.5) * hop, -step / 2, (bins - 0.5) * step


def read_described(folder: Path, needed: Sequence[str], what: str) -> dict[str, Any]:
    """Read the description of a folder of results; a :class:`UserError` if it lacks one of these members."""
    described = read_object(folder / DESCRIPTION)
    missing = [member for member in needed if member not in described]
    if missing:
        raise UserError(f"{folder / DESCRIPTION}: lacks {', '.join(missing)}: explain the {what} again")
    return described


def read_wav(path: Path) -> np.ndarray:
    """Read a sound [N] of a folder of results, float32."""
    return soundfile.read(io.BytesIO(read_bytes(path, limit=2**31)), dtype="float32")[0]


def _magnitude(wav: np.ndarray, rate: int, n_fft: int, hop: int, frames: int) -> np.ndarray:
    """Return the magnitude [T, F] of a saved sound, in the bins of its mask."""
    hop = min(hop, n_fft // 2)
    window = min(max(round(rate * FrontendSettings().win_length_ms / 1000), 2 * hop), n_fft)
    settings = FrontendSettings(rate, n_fft, 1000 * window / rate, 1000 * hop / rate, level="none")
    return magnitude_of(Frontend(settings), wav)[:frames]


def magnitude_of(frontend: Frontend, wav: np.ndarray) -> np.ndarray:
    """Return the magnitude [T, F] of a sound [N]."""
    return frontend.analyse(torch.from_numpy(wav)[None]).magnitude[0].numpy()
