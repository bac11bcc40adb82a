"""What is usual in a data set: the sampling rate and the length that suit its clips, each with its reason."""

import math
from collections import Counter
from dataclasses import dataclass
from typing import Any

from interpretability.data.manifest import PreparedData, read_manifest

#: The highest rate that is chosen, Hz: what lies above 24 kHz is seldom meant to be heard.
HIGHEST_RATE = 48_000
#: The longest clip that is chosen, s.
LONGEST = 30.0
#: The share of the clips that are not cut.
UNCUT = 0.95


@dataclass(frozen=True)
class Choice:
    """A value that was chosen.

    Attributes
    ----------
    value : float or int
    reason : str
    """

    value: Any
    reason: str


def usual_rate(prepared: PreparedData) -> Choice:
    """Return the most common sampling rate of the clips, in Hz: of equally common ones the lowest, at most 48 kHz."""
    rates = Counter(clip["sample_rate"] for clip in _clips(prepared))
    rate = min(rates, key=lambda each: (-rates[each], each))
    reason = f"{rates[rate]} of {rates.total()} clips have {rate} Hz"
    if rate > HIGHEST_RATE:
        return Choice(HIGHEST_RATE, f"{reason}, and this is the highest rate that is chosen")
    return Choice(rate, f"{reason}, the others are resampled" if len(rates) > 1 else reason)


def usual_seconds(prepared: PreparedData) -> Choice:
    """Return the length in seconds that 95 % of the clips do not exceed, rounded up to 10 ms, and 30 s at most."""
    durations = sorted(clip["duration"] for clip in _clips(prepared))
    # Rounding of the floats must not make 0.5 s to 0.51 s.
    seconds = math.ceil(durations[math.ceil(UNCUT * len(durations)) - 1] * 100 - 1e-6) / 100
    seconds = max(0.01, min(seconds, LONGEST))
    n_cut = sum(duration > seconds + 1e-6 for duration in durations)
    reason = f"the clips have {durations[0]:g} to {durations[-1]:g} s"
    return Choice(seconds, f"{reason}, {n_cut} of {len(durations)} are cut" if n_cut else reason)


def _clips(prepared: PreparedData) -> list[dict[str, Any]]:
    manifests = (read_manifest(path, prepared.data_root, check_audio=False) for path in prepared.manifests.values())
    return [clip for manifest in manifests for clip in manifest.entries.values()]
