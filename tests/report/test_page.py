"""Pages in one file: what is inside is what was put in, literally; sounds and pictures can be decoded again."""

import base64
import io

import numpy as np
import pytest
import soundfile
from jinja2 import UndefinedError
from matplotlib.image import imread

from interpretability.report.page import COLUMNS, MP3_RATES, ROWS, TEMPLATES, render, sound_uri, spectrogram_picture


def content(uri, kind):
    head, _, text = uri.partition(",")
    assert head == f"data:{kind};base64"
    return io.BytesIO(base64.b64decode(text, validate=True))


@pytest.mark.parametrize("rate", [100, 8000, 22050, 250_000])
def test_a_sound_of_any_rate_can_be_played(rate):
    t = np.arange(rate) / rate
    wav = 0.5 * np.sin(2 * np.pi * rate / 50 * t) * np.hanning(rate)
    heard, heard_rate = soundfile.read(content(sound_uri(wav, rate), "audio/mpeg"))
    assert heard_rate in MP3_RATES
    assert heard_rate >= min(rate, 48000)
    assert abs(len(heard) / heard_rate - 1.0) < 0.06
    assert np.abs(heard).max() == pytest.approx(0.5, abs=0.06)


def test_a_sound_beyond_full_scale_is_cut_there():
    heard, _ = soundfile.read(content(sound_uri(np.full(8000, 7.0), 8000), "audio/mpeg"))
    assert 0.5 < np.abs(heard).max() < 1.6


@pytest.mark.parametrize(("rate", "samples"), [(100, 1), (8000, 1), (8000, 400), (16000, 160_000), (250_000, 250_000)])
def test_a_picture_shows_where_the_tone_is(rate, samples):
    wav = 0.5 * np.sin(2 * np.pi * 0.25 * np.arange(samples))  # half of the Nyquist frequency
    wav[: samples // 2] = 0
    picture = spectrogram_picture(wav.astype(np.float32), rate)
    image = imread(content(picture.uri, "image/png"), format="png")[..., :3].sum(-1)
    assert image.shape[0] <= ROWS + 1
    assert image.shape[1] <= COLUMNS + 1
    assert picture.top == f"{rate / 2000:g} kHz"
    if samples >= 160_000:
        later = image[:, -20:].mean(1)
        row = int(later.argmax())
        mel = np.log10(1 + rate / 4 / 700) / np.log10(1 + rate / 2 / 700)
        assert abs(1 - row / len(later) - mel) < 0.03
        assert image[row, :20].mean() < 0.2 * image[row, -20:].mean()


def test_silence_has_a_picture():
    assert (
        imread(content(spectrogram_picture(np.zeros(800, np.float32), 8000).uri, "image/png"), format="png").ndim == 3
    )


def test_a_page_asks_for_nothing_and_a_missing_value_is_an_error():
    for path in TEMPLATES.iterdir():
        text = path.read_text(encoding="utf-8")
        for word in ("http:", "https:", "//cdn", "@import", "<script src", "<link", "url(", "fetch(", "import("):
            assert word not in text, f"{path.name} has {word}"
    with pytest.raises(UndefinedError):
        render("data.html")
