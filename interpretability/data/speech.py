"""Made-up words: a small formant synthesiser, for a data set of speech without recordings.

A voiced sound is the sum of the harmonics of a gliding pitch, each as strong as the resonances of the vocal tract
(formants) make it; a word glides from one vowel to another. Speakers differ in pitch and in the length of the tract.
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch

from interpretability.data.audio import write_wav
from interpretability.errors import UserError
from interpretability.files import new_folder

#: The first three formants of vowels, Hz, of a tract of average length (Peterson & Barney, 1952, men).
VOWELS = {"a": (730.0, 1090.0, 2440.0), "i": (270.0, 2290.0, 3010.0), "u": (300.0, 870.0, 2240.0)}
#: Word -> the vowels that it glides through.
WORDS = {"aye": "ai", "ya": "ia", "wa": "ua", "we": "ui"}
#: Speaker -> pitch in Hz, and formants relative to those above.
SPEAKERS = {"anna": (210.0, 1.17), "ben": (120.0, 1.0), "carla": (185.0, 1.12), "dora": (230.0, 1.2)}
_WIDTHS = (70.0, 100.0, 140.0)  # of the formants, Hz


def make_speech(
    folder: str | Path,
    takes: int = 8,
    seed: int = 0,
    sample_rate: int = 8000,
    seconds: float = 0.5,
    words: Mapping[str, str] = WORDS,
) -> Path:
    """Write each word by each speaker: ``WORD/SPEAKER-TAKE.wav``.

    Parameters
    ----------
    folder : path
        New or empty.
    takes : int
        Of each word by each speaker, >= 1; no two are the same.
    seed : int
    sample_rate : int
        Hz.
    seconds : float
        Length of each.
    words : mapping of str to str
        Word -> the two of :data:`VOWELS` that it glides through.

    Returns
    -------
    Path
        The folder.

    Raises
    ------
    UserError
        If the folder holds anything, or a word is none of two vowels.
    """
    folder = new_folder(folder, "words")
    bad = [word for word, vowels in words.items() if len(vowels) != 2 or set(vowels) - set(VOWELS)]
    if bad:
        raise UserError(
            f"the word {bad[0]!r} is {words[bad[0]]!r}, expected two of the vowels {', '.join(VOWELS)}: 'ai'"
        )
    for word, vowels in words.items():
        for speaker in SPEAKERS:
            for take in range(takes):
                # Of each clip, so that it does not depend on how many there are.
                seeds = (seed, list(words).index(word), list(SPEAKERS).index(speaker), take)
                wav = say(vowels, speaker, np.random.default_rng(seeds), sample_rate, seconds)
                write_wav(folder / word / f"{speaker}-{take}.wav", torch.from_numpy(wav), sample_rate)
    return folder


def say(
    vowels: str, speaker: str, rng: np.random.Generator, sample_rate: int = 8000, seconds: float = 0.5
) -> np.ndarray:
    """Return one take of a word of two vowels, [N] float32 with a peak of 0.5, in a faint noise."""
    n_samples = round(seconds * sample_rate)
    place = np.linspace(0, 1, n_samples)
    pitch, tract = SPEAKERS[speaker]
    pitch = pitch * rng.uniform(0.94, 1.06) * (1.1 - 0.25 * place)  # falls, [N]
    glide = 1 / (1 + np.exp(-(place - rng.uniform(0.4, 0.6)) * rng.uniform(10, 20)))  # [N], 0 to 1
    first, second = (np.array(VOWELS[vowel]) * tract * rng.uniform(0.97, 1.03, 3) for vowel in vowels)
    formants = first[:, None] * (1 - glide) + second[:, None] * glide  # [3, N]
    phase = 2 * np.pi * np.cumsum(pitch) / sample_rate
    wav = np.zeros(n_samples)
    for number in range(1, int(sample_rate / 2 / pitch.min()) + 1):
        hertz = number * pitch
        resonance = np.ones(n_samples)
        for formant, width in zip(formants, _WIDTHS, strict=True):
            resonance /= np.abs(1 - (hertz / formant) ** 2 + 1j * hertz * width / formant**2)
        audible = hertz < 0.48 * sample_rate
        wav += audible * resonance * np.sin(number * phase) / number  # the source falls by 6 dB per octave
    loudness = np.clip(place * rng.uniform(8, 15), 0, 1) * np.clip((1 - place) * rng.uniform(4, 8), 0, 1)
    wav = wav * loudness
    wav = 0.5 * wav / np.abs(wav).max() + 0.002 * rng.standard_normal(n_samples)
    return wav.astype(np.float32)
