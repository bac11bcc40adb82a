"""Noise to train with: from a folder of sounds, or, where there is none, the other clips of the batch.

A folder in WHAM!'s layout (``tr`` and ``tt``) keeps its own split. In any other one every fifth file, by a checksum
of its name, is kept apart for testing: no noise serves in both.
"""

import os
import zlib
from pathlib import Path

import torch
from torch import Tensor

from interpretability.data.audio import SUFFIXES, ClipCache, audio_header, find_sounds
from interpretability.errors import MissingError, UserError
from interpretability.frontend import sample_counts
from interpretability.resampling import DEFAULT_FILTER

#: Part -> its folder in WHAM!'s layout.
PARTS = {"train": "tr", "test": "tt"}
TEST_SHARE = 5  # one file in this many
LONGEST = 60.0  # seconds of a file that are used


def noise_files(folder: str | Path, part: str = "train") -> list[Path]:
    """Return the sounds of a noise folder that belong to a part, sorted by name.

    Parameters
    ----------
    folder : path
        WHAM!'s layout, or any folder of sounds, searched with all folders in it; hidden files are ignored.
    part : {"train", "test"}
        No file is in both.

    Raises
    ------
    MissingError
        If there is no such folder.
    UserError
        If the part is unknown, or has no sounds; if one of its files is not audio.
    """
    folder = Path(folder)
    if part not in PARTS:
        raise UserError(f"noise: part is {part!r}, expected one of {', '.join(PARTS)}")
    if not folder.is_dir():
        raise MissingError(f"no noise folder at {folder}: pass a folder of sounds, or null to mix with other clips")
    wham = all((folder / name).is_dir() for name in PARTS.values())
    root = folder / PARTS[part] if wham else folder
    files = find_sounds(root)
    if not wham:
        files = [path for path in files if _is_for_testing(path.relative_to(root)) == (part == "test")]
    if not files:
        raise UserError(
            f"noise: no sounds ({', '.join(SUFFIXES)}) for the {part} part in {root}"
            + ("" if wham else ", where one in five files is kept for testing")
            + ": pass another folder, or null to mix with other clips"
        )
    for path in files:
        audio_header(path)  # a bad file is reported now, and not in the middle of an epoch
    return files


def _is_for_testing(name: Path) -> bool:
    return zlib.crc32(os.fsencode(name.as_posix())) % TEST_SHARE == 0


class NoiseMixer:
    """Mix noise into a batch of clips at a signal-to-noise ratio.

    Everything random comes from torch's generator, so that a seeded step repeats its draws.

    Parameters
    ----------
    sample_rate : int
        Hz.
    folder : path, optional
        Of noise, see :func:`noise_files`; without one each clip gets another clip of its batch.
    snr_db : float
        Level of the clip over the noise, both as RMS over the clip's length, in dB.
    probability : float
        Share of the clips that get noise.
    part : {"train", "test"}
    cache_folder : path, optional
        Where decoded noise is kept.
    resampling : {"accurate", "published"}
        The filter, see :mod:`interpretability.resampling`.

    Raises
    ------
    MissingError, UserError
        As :func:`noise_files`; if a setting is out of range.
    """

    def __init__(
        self,
        sample_rate: int,
        folder: str | Path | None = None,
        snr_db: float = 0.0,
        probability: float = 1.0,
        part: str = "train",
        cache_folder: str | Path | None = None,
        resampling: str = DEFAULT_FILTER,
    ):
        if not 0 <= float(probability) <= 1:
            raise UserError(f"noise: probability is {probability}, expected a number in [0, 1]")
        self.snr_db, self.probability = float(snr_db), float(probability)
        self.files = [] if folder is None else noise_files(folder, part)
        self._cache = ClipCache(cache_folder, sample_rate, LONGEST, resampling)
        self._root = None if folder is None else Path(folder)

    def describe(self) -> dict:
        """Return plain values for a run's record, which names the files of the noise and not their folder."""
        settings = {"snr_db": self.snr_db, "probability": self.probability}
        if not self.files:
            return {"source": "other clips", **settings}
        names = "\n".join(path.relative_to(self._root).as_posix() for path in self.files)
        sizes = "\n".join(str(path.stat().st_size) for path in self.files)
        known_by = {name: zlib.crc32(os.fsencode(text)) for name, text in (("names", names), ("sizes", sizes))}
        return {"source": "folder", "n_files": len(self.files), **known_by, **settings}

    def __call__(self, wavs: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Return the clips with noise.

        Parameters
        ----------
        wavs : Tensor [B, N]
        lengths : Tensor [B] in (0, 1], optional

        Returns
        -------
        Tensor [B, N]
            The clip plus noise, at any level; zero beyond each clip's length. A clip stays as it is if it or its noise
            is silent, or if it is alone in its batch and there is no folder.
        """
        counts = sample_counts(wavs, lengths)
        chosen = torch.rand(len(wavs)) < self.probability
        mixed = wavs.clone()
        for clip in chosen.nonzero()[:, 0].tolist():
            noise = self._noise_for(clip, wavs, counts)
            if noise is None:
                continue
            sound = wavs[clip, : int(counts[clip])]
            noise = _fit(noise, len(sound)).to(sound)
            level, noise_level = sound.square().mean().sqrt(), noise.square().mean().sqrt()
            if level > 0 and noise_level > 0:
                mixed[clip, : len(sound)] += noise * (level / noise_level) * 10 ** (-self.snr_db / 20)
        return mixed

    def _noise_for(self, clip: int, wavs: Tensor, counts: Tensor) -> Tensor | None:
        if self.files:
            return self._cache.load(self.files[int(torch.randint(len(self.files), ()))])
        if len(wavs) == 1:
            return None
        other = (clip + 1 + int(torch.randint(len(wavs) - 1, ()))) % len(wavs)
        return wavs[other, : int(counts[other])]


def _fit(noise: Tensor, count: int) -> Tensor:
    """Cut a random stretch of ``count`` samples, or repeat a shorter noise from a random place."""
    if len(noise) >= count:
        start = int(torch.randint(len(noise) - count + 1, ()))
        return noise[start : start + count]
    start = int(torch.randint(len(noise), ()))
    return noise.roll(-start).repeat(-(-count // len(noise)))[:count]
