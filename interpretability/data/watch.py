"""Made-up recordings of any length: sounds of Synthetic one after the other, and one class at known times alone."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from interpretability.data.sounds import LABELS, check_label, make_clip
from interpretability.data.streaming import WavFile
from interpretability.errors import UserError
from interpretability.files import atomic_path

SAMPLE_RATE = 16000
#: In each slot of so many seconds lies one sound of Synthetic, of a test clip that no classifier was trained on.
SLOT = 2.0
#: Peak of each slot, and the time over which one passes into the next, in s.
PEAK, _FADE = 0.3, 0.02


def make_watch(
    path: str | Path, seconds: float = 600.0, label: str = "siren", times: Sequence[float] = (312.0,), seed: int = 0
) -> list[tuple[float, float]]:
    """Write a recording at 16 kHz in which one class is heard at known times, and the others all the time.

    Parameters
    ----------
    path : path
        A wav file; a file that is there is replaced.
    seconds : float
        Its length, at least 2: whole slots of 2 s.
    label : str
        The class; one of :data:`~interpretability.data.sounds.LABELS`.
    times : sequence of float
        In s: each slot that one of them falls into has a sound of the class, somewhere in it.
    seed : int
        Of all sounds, >= 0.

    Returns
    -------
    list of (float, float)
        Start and end of each sound of the class, in s.

    Raises
    ------
    UserError
        If a time lies outside the recording; for an unknown class, or a seed below 0.
    """
    check_label(label, "label")
    slots, size = int(seconds / SLOT), round(SLOT * SAMPLE_RATE)
    outside = [time for time in times if not 0 <= time < slots * SLOT]
    if slots < 1 or outside:
        what = f"time is {outside[0]:g} s" if outside else f"seconds is {seconds:g}"
        raise UserError(f"{what}, expected times inside a recording of at least {SLOT:g} s")
    wanted, others = {int(time / SLOT) for time in times}, [each for each in LABELS if each != label]
    drawn = np.random.default_rng(seed).integers(0, len(others), slots)
    ramp = np.linspace(0, 1, round(_FADE * SAMPLE_RATE), dtype=np.float32)
    heard = []
    with atomic_path(path) as temporary, WavFile(temporary, slots * size, SAMPLE_RATE) as file:
        for slot in range(slots):
            clip = make_clip(seed, "test", slot, label if slot in wanted else others[drawn[slot]], seconds=SLOT)
            wav = clip.mixture * np.float32(PEAK / np.abs(clip.mixture).max())
            wav[: len(ramp)] *= ramp
            wav[-len(ramp) :] *= ramp[::-1]
            file.write(torch.from_numpy(wav))
            if slot in wanted:
                heard.append(tuple(slot * SLOT + clip.parameters[name] for name in ("event_start", "event_stop")))
    return heard
