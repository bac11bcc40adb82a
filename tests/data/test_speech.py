"""Made-up words: formants and pitch lie where they were asked for, and no two takes are the same."""

import numpy as np
import pytest
import soundfile

from interpretability.data.speech import SPEAKERS, VOWELS, WORDS, make_speech, say
from interpretability.errors import UserError

RATE = 16000


def envelope(wav, pitch):
    """Level in dB at 0, 10, 20 … Hz, smoothed over a harmonic."""
    power = np.abs(np.fft.rfft(wav * np.hanning(len(wav)), RATE)) ** 2
    width = int(1.2 * pitch)
    return 10 * np.log10(np.convolve(power, np.ones(width) / width, "same")[::10])


@pytest.mark.parametrize("speaker", SPEAKERS)
def test_words_glide_from_vowel_to_vowel_at_the_pitch_of_the_speaker(speaker):
    pitch, tract = SPEAKERS[speaker]
    wav = say("ai", speaker, np.random.default_rng(0), RATE, 1.0)
    assert wav.dtype == np.float32
    assert wav.shape == (RATE,)
    assert np.abs(wav).max() == pytest.approx(0.5, abs=0.02)
    begin, end = (envelope(part, pitch) for part in (wav[1000:5000], wav[11000:15000]))
    # Between 1 and 2 kHz lies the second formant of a; that of i is above it.
    low, high = slice(70, 150), slice(int(VOWELS["i"][1] * tract / 10) - 20, int(VOWELS["i"][1] * tract / 10) + 20)
    assert begin[low].mean() - begin[high].mean() > end[low].mean() - end[high].mean() + 15
    spectrum = np.abs(np.fft.rfft(wav[2000:4000], 8 * RATE))[: 8 * 400]
    assert np.argmax(spectrum) / 8 == pytest.approx(pitch, rel=0.15)


def test_a_folder_of_words(tmp_path):
    folder = make_speech(tmp_path / "speech", takes=2)
    paths = sorted(folder.rglob("*.wav"))
    assert len(paths) == len(WORDS) * len(SPEAKERS) * 2
    assert {path.parent.name for path in paths} == set(WORDS)
    assert {path.name.split("-")[0] for path in paths} == set(SPEAKERS)
    sounds = [soundfile.read(path) for path in paths]
    assert {(len(wav), rate) for wav, rate in sounds} == {(4000, 8000)}
    assert len({wav.tobytes() for wav, _ in sounds}) == len(paths)
    again = make_speech(tmp_path / "again", takes=1)
    assert (again / "ya" / "ben-0.wav").read_bytes() == (folder / "ya" / "ben-0.wav").read_bytes()
    with pytest.raises(UserError, match="expected a new folder"):
        make_speech(folder)


def test_other_words(tmp_path):
    folder = make_speech(tmp_path / "words", takes=1, words={"ow": "au", "you": "iu"})
    assert sorted(path.name for path in folder.iterdir()) == ["ow", "you"]
    for word in ("ae", "aia", ""):
        with pytest.raises(UserError, match=f"the word 'x' is '{word}', expected two of the vowels a, i, u"):
            make_speech(tmp_path / "bad", words={"x": word})
    assert not (tmp_path / "bad").exists()
