"""From one sampling rate to another: the only resampling of the project, by one of two filters.

``accurate`` passes what lies below 0.9 of the lower Nyquist frequency at 70 dB or better, and 94 dB below 0.8 of it.
``published`` is the default of torchaudio, which the published SpeechBrain checkpoints were trained and are used with:
54 dB at half of the lower Nyquist frequency, 25 dB at 0.8 and 12 dB at 0.9 of it.
"""

import functools
import math
from collections.abc import Iterable, Iterator
from fractions import Fraction

import torch
import torchaudio.transforms
from torch import Tensor

#: Name of a filter -> periods of the lower rate that it reaches to either side of a sample.
FILTERS = {"accurate": 64, "published": 6}
DEFAULT_FILTER = "accurate"

# The resampler's kernel has (rate / gcd) x (rate / gcd) taps: 441 x 160 for 44100 -> 16000 Hz, but gigabytes for a rate
# such as 44101 Hz. Ratios that would need more taps than this are rounded to the nearest that does not.
_MOST_TAPS = 10_000_000


def resample(wav: Tensor, native_rate: int, sample_rate: int, kind: str = DEFAULT_FILTER) -> Tensor:
    """Resample from ``native_rate`` to ``sample_rate``.

    Parameters
    ----------
    wav : Tensor [..., N']
    native_rate, sample_rate : int
        In Hz.
    kind : {"accurate", "published"}

    Returns
    -------
    Tensor [..., N]
        N = ceil(N' * sample_rate / native_rate); ``wav`` itself at equal rates.
    """
    if native_rate == sample_rate:
        return wav
    native, new = _rate_terms(native_rate, sample_rate)
    n_samples = math.ceil(wav.shape[-1] * sample_rate / native_rate)
    return _resampler(native, new, kind, wav.dtype, wav.device)(wav)[..., :n_samples]


def resample_blocks(
    blocks: Iterable[Tensor], native_rate: int, sample_rate: int, kind: str = DEFAULT_FILTER
) -> Iterator[Tensor]:
    """Resample a sound that comes in blocks, in the memory of a few of them.

    Parameters
    ----------
    blocks : iterable of Tensor [n]
        The sound, in order; blocks may have any lengths.
    native_rate, sample_rate : int
        In Hz.
    kind : {"accurate", "published"}

    Yields
    ------
    Tensor [n]
        Put together they are what :func:`resample` gives of the whole sound, to the rounding of single precision.
    """
    if native_rate == sample_rate:
        yield from blocks
        return
    native, new = _rate_terms(native_rate, sample_rate)
    held, n_read, n_given, reach = None, 0, 0, 0
    for block in blocks:
        resampler = _resampler(native, new, kind, block.dtype, block.device)
        if held is None:
            # The filter starts in silence; whole periods of the two rates keep its phase.
            reach = native * math.ceil(resampler.width / native)
            held = block.new_zeros(reach)
        held, n_read = torch.cat([held, block]), n_read + len(block)
        periods = (len(held) - 2 * reach) // native
        if periods > 0:
            stop = reach + periods * native
            yield resampler(held[: stop + reach])[reach // native * new :][: periods * new]
            held, n_given = held[stop - reach :], n_given + periods * new
    if held is not None:
        n_samples = min(math.ceil(n_read * new / native), math.ceil(n_read * sample_rate / native_rate))
        if n_samples > n_given:
            resampler = _resampler(native, new, kind, held.dtype, held.device)
            yield resampler(held)[reach // native * new :][: n_samples - n_given]


@functools.lru_cache(maxsize=4)
def _resampler(
    native: int, new: int, kind: str, dtype: torch.dtype, device: torch.device
) -> torchaudio.transforms.Resample:
    # The function of torchaudio computes its kernel in the precision of the sound; this one in double precision.
    return torchaudio.transforms.Resample(native, new, lowpass_filter_width=FILTERS[kind]).to(device, dtype)


def samples_needed(seconds: float, native_rate: int, sample_rate: int, kind: str = DEFAULT_FILTER) -> int:
    """Return how many samples at ``native_rate`` decide the first ``seconds`` seconds of the result."""
    # Twice the filter's reach is on the safe side, and makes the last samples the same as if all had been resampled.
    reach = math.ceil(2 * FILTERS[kind] * max(1.0, native_rate / sample_rate)) + 1
    return math.ceil(seconds * native_rate) + reach


def _rate_terms(native_rate: int, sample_rate: int) -> tuple[int, int]:
    """Return two whole numbers in the ratio of the rates: exact for all usual rates, else to 2e-4 (0.3 cents).

    >>> _rate_terms(44100, 16000)
    (441, 160)
    >>> _rate_terms(44101, 16000)  # in lowest terms already
    (4694, 1703)
    """
    low, high = sorted((native_rate, sample_rate))
    ratio = Fraction(high, low)
    if ratio.numerator * ratio.denominator > _MOST_TAPS:
        ratio = ratio.limit_denominator(max(1, math.isqrt(_MOST_TAPS * low // high)))
    if native_rate == high:
        return ratio.numerator, ratio.denominator
    return ratio.denominator, ratio.numerator
