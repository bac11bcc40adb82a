"""Pages of HTML that are one file each: pictures, sounds and style are inside, and nothing is asked of any other place.

A page is a template of ``templates/`` that extends ``page.html``. Whatever is put in is taken literally (autoescape),
and names are shown as on any screen (:func:`.names.printable`).
"""

from __future__ import annotations

import base64
import functools
import hashlib
import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import torch
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from matplotlib import colormaps
from matplotlib.image import imsave

from interpretability.frontend import Frontend, FrontendSettings
from interpretability.names import printable
from interpretability.report.figures import FLOOR_DB, FrequencyAxis, decibels, pooled
from interpretability.resampling import resample

TEMPLATES = Path(__file__).parent / "templates"
#: Most columns and rows of a small picture.
COLUMNS, ROWS = 480, 160
#: Of a large one, around which a page draws axes.
LARGE = (640, 320)
#: Steps between 0 and 1 that the picture of a mask has.
STEPS = 15
#: How much is saved at the cost of quality, from 0 to 1: a sound of 16 kHz has some 30 kbit/s.
MP3_COMPRESSION = 0.6
#: Sampling rates that MP3 has, Hz.
MP3_RATES = (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000)


def render(template: str, **values: Any) -> str:
    """Return a page.

    Parameters
    ----------
    template : str
        Name of a file in ``templates/``.
    values
        What its expressions name; one that is missing is an error.
    """
    return _environment().get_template(template).render(**values)


@functools.cache
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=lambda value: printable(value) if type(value) is str else value,
    )
    environment.globals["file"] = _file
    environment.globals["digest"] = lambda name: (
        base64.b64encode(hashlib.sha256(_file(name).encode("utf-8")).digest()).decode("ascii")
    )
    return environment


def _file(name: str) -> str:
    return (TEMPLATES / name).read_text(encoding="utf-8")


def data_uri(content: bytes, kind: str) -> str:
    """Return the address of a file that is inside the page; ``kind`` is its MIME type, such as ``image/png``."""
    return f"data:{kind};base64,{base64.b64encode(content).decode('ascii')}"


def sound_uri(wav: np.ndarray, sample_rate: int) -> str:
    """Return a mono sound [N] for a player, as MP3: ten times smaller than WAV or more, and any browser plays it.

    The level stays; samples beyond full scale are cut. The rate becomes the next one that MP3 has, 48 kHz at most.
    """
    rate = next((rate for rate in MP3_RATES if rate >= sample_rate), MP3_RATES[-1])
    samples = resample(torch.as_tensor(wav, dtype=torch.float32), sample_rate, rate).numpy()
    stream = io.BytesIO()
    how = {"format": "MP3", "bitrate_mode": "VARIABLE", "compression_level": MP3_COMPRESSION}
    soundfile.write(stream, np.clip(samples, -1.0, 1.0), rate, **how)
    return data_uri(stream.getvalue(), "audio/mpeg")


@dataclass(frozen=True)
class Picture:
    """A spectrogram for a page.

    Attributes
    ----------
    uri : str
        Of the image: time to the right, frequency upwards.
    top : str
        Frequency at its upper edge: "8 kHz".
    """

    uri: str
    top: str


def spectrogram_picture(wav: np.ndarray, sample_rate: int) -> Picture:
    """Draw the spectrogram of a mono sound [N], in dB below its loudest bin, on the mel scale.

    It has no axes, which a page writes.
    """
    settings = FrontendSettings(sample_rate=sample_rate, level="none")
    magnitude = Frontend(settings).analyse(torch.as_tensor(wav, dtype=torch.float32)[None]).magnitude[0].numpy()
    axis = FrequencyAxis(True, sample_rate, settings.n_fft)
    picture = _joined(axis.rows(magnitude, np.maximum), (COLUMNS, ROWS), np.maximum)  # [T, rows]
    levels = decibels(picture, float(magnitude.max()) or 1.0)  # [rows, T]
    stream = io.BytesIO()
    imsave(stream, levels, cmap="magma", vmin=FLOOR_DB, vmax=0, origin="lower", format="png")
    return Picture(data_uri(stream.getvalue(), "image/png"), f"{sample_rate / 2000:g} kHz")


def levels_uri(magnitude: np.ndarray) -> str:
    """Return the picture of a magnitude [T, F], linear in frequency, which goes up; in dB below its loudest bin.

    It covers whole cells of all frames and bins. What is too fine for it shows the loudest of its bins. WebP.
    """
    levels = decibels(_joined(magnitude, LARGE, np.maximum), float(magnitude.max()) or 1.0)  # [rows, columns]
    coloured = colormaps["magma"]((levels[::-1] - FLOOR_DB) / -FLOOR_DB, bytes=True)[..., :3]
    return _webp(coloured, quality=40)


def mask_uri(mask: np.ndarray) -> str:
    """Return the picture of a mask [T, F], as of :func:`levels_uri`: opaque where it keeps nothing, else clear. WebP.

    What is too fine for it shows the mean of the mask.
    """
    kept = np.round(_joined(mask, LARGE, np.add).T[::-1].astype(np.float64) * STEPS) / STEPS
    picture = np.zeros((*kept.shape, 4), np.uint8)
    picture[..., 3] = np.round(255 * (1 - kept))
    return _webp(picture, quality=0)


def _joined(picture: np.ndarray, most: tuple[int, int], reduce: np.ufunc) -> np.ndarray:
    """Join neighbours of a picture [T, F] where it has more columns and rows than that."""
    for dimension, count in enumerate(most):
        size = picture.shape[dimension]
        starts = np.arange(0, size, max(1.0, size / count)).astype(int)
        picture = pooled(picture, starts, dimension, reduce)
    return picture


def _webp(picture: np.ndarray, quality: int) -> str:
    stream = io.BytesIO()
    imsave(stream, picture, format="webp", pil_kwargs={"quality": quality})
    return data_uri(stream.getvalue(), "image/webp")
