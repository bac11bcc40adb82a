"""Made-up nights: recordings of calls among insects and knocks, each with a label track of Raven or Audacity.

Every call has its box, so that what a track says is true, and where an explanation should lie is known. The insects are
louder than the calls and in every recording; knocks come at any time. Neither is in a box.
"""

from pathlib import Path

import numpy as np
import torch

from interpretability.data.audio import write_wav
from interpretability.files import new_folder

SAMPLE_RATE = 16000
#: Call -> the lowest and the highest frequency of its tone at its beginning and at its end, Hz, and its notes.
CALLS = {"hoot": ((380.0, 480.0), (320.0, 420.0), 2), "whistle": ((1500.0, 1900.0), (2300.0, 2900.0), 1),
         "trill": ((3400.0, 4000.0), (3400.0, 4000.0), 6)}  # fmt: skip
#: Length of a call, s; a call begins in each slot.
_LENGTHS, _SLOT = (0.4, 0.9), 2.0
#: Around its tone, the box of a call reaches so many Hz up and down.
_MARGIN = 150.0
_LIMITS = ("start", "end", "low", "high")


def make_nights(folder: str | Path, recordings: int = 24, seconds: float = 12.0, seed: int = 0) -> Path:
    """Write recordings at 16 kHz, ``NAME.wav``; beside half of them ``NAME.Table.1.selections.txt``, else ``NAME.txt``.

    Parameters
    ----------
    folder : path
        New or empty.
    recordings : int
    seconds : float
        Length of each; there is a call in every two seconds.
    seed : int

    Returns
    -------
    Path
        The folder.

    Raises
    ------
    UserError
        If the folder holds anything.
    """
    folder = new_folder(folder, "recordings")
    for number in range(recordings):
        # Of each recording, so that it does not depend on how many there are.
        wav, boxes = night(np.random.default_rng((seed, number)), seconds)
        name = f"night{number:02d}"
        write_wav(folder / f"{name}.wav", torch.from_numpy(wav), SAMPLE_RATE)
        if number % 2:
            (folder / f"{name}.txt").write_text(_label_track(boxes), "utf-8")
        else:
            (folder / f"{name}.Table.1.selections.txt").write_text(_selection_table(boxes), "utf-8")
    return folder


def night(rng: np.random.Generator, seconds: float) -> tuple[np.ndarray, list[dict]]:
    """Return a recording, [N] float32 with a peak of 0.5, and the boxes of its calls (:mod:`.boxes`)."""
    n_samples = round(seconds * SAMPLE_RATE)
    time = np.arange(n_samples) / SAMPLE_RATE
    insects = np.sin(2 * np.pi * rng.uniform(5600, 6400) * time) * (1 + 0.5 * np.sin(2 * np.pi * 30 * time))
    wav = 0.3 * insects + 0.02 * rng.standard_normal(n_samples)
    for begin in rng.uniform(0, seconds, round(seconds)):
        wav += 0.5 * np.exp(-np.maximum(time - begin, 0) / 0.01) * (time >= begin) * rng.standard_normal(n_samples)
    boxes = []
    for slot in range(int(seconds / _SLOT)):
        label, length = rng.choice(list(CALLS)), rng.uniform(*_LENGTHS)
        begin = _SLOT * slot + rng.uniform(0, _SLOT - length)
        first, last, n_notes = CALLS[label]
        first, last = rng.uniform(*first), rng.uniform(*last)
        place = np.clip((time - begin) / length, 0, 1)  # [N]
        hertz = first + (last - first) * place
        loudness = np.sin(np.pi * place) ** 0.5 * (np.sin(np.pi * n_notes * place) ** 2 if n_notes > 1 else 1.0)
        wav += rng.uniform(0.1, 0.2) * loudness * np.sin(2 * np.pi * np.cumsum(hertz) / SAMPLE_RATE)
        low, high = min(first, last) - _MARGIN, max(first, last) + _MARGIN
        boxes.append({"label": str(label), "start": begin, "end": begin + length, "low": low, "high": high})
    return (0.5 * wav / np.abs(wav).max()).astype(np.float32), boxes


def _selection_table(boxes: list[dict]) -> str:
    """Return boxes as Raven writes them: a row for the waveform, and one for the spectrogram."""
    head = "Selection\tView\tChannel\tBegin Time (s)\tEnd Time (s)\tLow Freq (Hz)\tHigh Freq (Hz)\tAnnotation"
    rows = [
        "\t".join([str(number), f"{view} 1", "1", *(f"{box[name]:.9f}" for name in _LIMITS), box["label"]])
        for number, box in enumerate(boxes, 1)
        for view in ("Waveform", "Spectrogram")
    ]
    return "".join(f"{line}\n" for line in (head, *rows))


def _label_track(boxes: list[dict]) -> str:
    """Return boxes as Audacity writes them: a line for the time and the label, and one for the band."""
    texts = [(*(f"{box[name]:.6f}" for name in _LIMITS), box["label"]) for box in boxes]
    return "".join(f"{start}\t{end}\t{label}\n\\\t{low}\t{high}\n" for start, end, low, high, label in texts)
