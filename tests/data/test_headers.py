"""Headers that lie about the length of the sound, and about its rate: the sound that is there is read, and no memory is
taken by what a header says."""

import contextlib
import struct
import tracemalloc

import numpy as np
import pytest
import soundfile
import torch

from interpretability.data.audio import ClipCache, audio_header, read_audio
from interpretability.data.headers import PatchedFile, correction, missing_share
from interpretability.errors import UserError

RATE, N_SAMPLES = 16000, 32000


def tone():
    """Two seconds; the end is as loud as the start, so that a missing part shows."""
    return 0.5 * np.sin(2 * np.pi * 440 * np.arange(N_SAMPLES) / RATE)


def written(path, **options):
    soundfile.write(path, tone(), RATE, **options)
    return bytearray(path.read_bytes())


def put(content, place, values):
    content[place : place + len(values)] = values
    return content


def wav(path, length, riff_too=False):
    content = written(path, subtype="PCM_16")
    place = content.find(b"data")
    put(content, place + 4, struct.pack("<I", length))
    return put(content, 4, struct.pack("<I", length)) if riff_too else content


def flac(path, total, tag=b""):
    content = written(path)
    content[21] = content[21] & 0xF0 | total >> 32
    return put(content, 22, struct.pack(">I", total & 0xFFFFFFFF)) + tag


def mp3(path, frames, before=b"", after=b""):
    content = written(path)
    put(content, content.find(b"Xing") + 8, struct.pack(">I", frames))
    return before + content + after


def aiff(path, chunk, shift, length):
    content = written(path, subtype="PCM_16")
    return put(content, content.find(chunk) + shift, struct.pack(">I", length))


def ogg(path, position):
    """Another position in the last page, with the checksum that a page has to have."""
    content = written(path, subtype="VORBIS")
    page = content.rfind(b"OggS")
    put(content, page + 6, struct.pack("<q", position))
    put(content, page + 22, bytes(4))
    crc = 0
    for byte in content[page:]:
        crc ^= byte << 24
        for _ in range(8):
            crc = (crc << 1 ^ 0x04C11DB7 if crc & 0x80000000 else crc << 1) & 0xFFFFFFFF
    return put(content, page + 22, struct.pack("<I", crc))


def au(path, length):
    return put(written(path, subtype="PCM_16"), 8, struct.pack(">I", length))


ID3V1 = b"TAG" + bytes(125)
ID3V2 = b"ID3\x04\x00\x00\x00\x00\x00\x0a" + bytes(10)
LIES = {
    "wav: 0 bytes": ("a.wav", wav, 0),
    "wav: 0 bytes, all of it": ("a.wav", wav, 0, True),
    "wav: as from a pipe": ("a.wav", wav, 0xFFFFFFFF, True),
    "wav: 2 GB": ("a.wav", wav, 0x7FFFFFF0),
    "wav: three times as long": ("a.wav", wav, 6 * N_SAMPLES),
    "flac: 0 samples": ("a.flac", flac, 0),
    "flac: 0 samples, with a tag behind it": ("a.flac", flac, 0, ID3V1),
    "flac: 2^36 - 1 samples": ("a.flac", flac, 2**36 - 1),
    "mp3: 2^31 - 1 frames": ("a.mp3", mp3, 0x7FFFFFFF),
    "mp3: 0 frames": ("a.mp3", mp3, 0),
    "mp3: three times as many": ("a.mp3", mp3, 174),
    "mp3: between tags": ("a.mp3", mp3, 0x7FFFFFFF, ID3V2, ID3V1),
    "aiff: 0 bytes": ("a.aiff", aiff, b"SSND", 4, 0),
    "aiff: 4 GB": ("a.aiff", aiff, b"SSND", 4, 0xFFFFFFFF),
    "aiff: 0 frames": ("a.aiff", aiff, b"COMM", 10, 0),
    "aiff: 2^32 - 1 frames": ("a.aiff", aiff, b"COMM", 10, 0xFFFFFFFF),
    "ogg: 2^60 samples": ("a.ogg", ogg, 2**60),
    "au: as from a pipe": ("a.au", au, 0xFFFFFFFF),
}


@pytest.mark.parametrize("lie", LIES)
def test_a_header_that_lies_about_the_length_changes_nothing(tmp_path, lie):
    name, make, *arguments = LIES[lie]
    path = tmp_path / name
    path.write_bytes(make(path, *arguments))
    tracemalloc.start()
    header, clip = audio_header(path), read_audio(path, RATE)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert (header.n_samples, header.duration, header.sample_rate) == (N_SAMPLES, 2.0, RATE)
    assert len(clip) == N_SAMPLES
    coded = name.endswith(("mp3", "ogg"))
    assert (clip - torch.from_numpy(tone())).norm() < (0.1 if coded else 1e-4) * np.linalg.norm(tone())
    assert peak < 16e6
    assert torch.equal(read_audio(path, RATE, max_seconds=0.5), clip[: RATE // 2])
    assert torch.equal(ClipCache(tmp_path / "cache", RATE).load(path), clip)


@pytest.mark.parametrize("name", ["a.wav", "a.flac", "a.mp3", "a.aiff", "a.ogg"])
def test_an_honest_header_is_left_alone_and_believed_without_decoding(tmp_path, name, monkeypatch):
    written(tmp_path / name)
    assert correction(tmp_path / name) is None
    monkeypatch.setattr(soundfile.SoundFile, "read", None)
    assert audio_header(tmp_path / name).n_samples == N_SAMPLES


def test_an_empty_sound_is_empty_whatever_follows_it(tmp_path):
    path = tmp_path / "a.wav"
    content = written(path, subtype="PCM_16")[:44]
    put(content, 40, bytes(4))
    for behind in (b"", b"LIST\x04\x00\x00\x00abcd", b"LIST\x03\x00\x00\x00abc\x00note\x00\x00\x00\x00"):
        path.write_bytes(content + behind)
        with pytest.raises(UserError, match="holds 0 samples"):
            audio_header(path)


def test_a_cut_mp3_is_as_long_as_what_is_left_of_it(tmp_path):
    path = tmp_path / "a.mp3"
    content = written(path)
    path.write_bytes(content[: len(content) // 2])
    assert audio_header(path).n_samples == len(read_audio(path, RATE)) < 0.6 * N_SAMPLES


def test_frames_behind_something_else_are_not_cut_off(tmp_path):
    path = tmp_path / "a.mp3"
    content = mp3(path, 58)
    place = content.find(b"\xff\xf3", len(content) // 2)
    path.write_bytes(content[:place] + b"something else" + content[place:])
    assert correction(path) is None


@pytest.mark.parametrize("cut", [1, 8, 20, 42, 60, 2000])
@pytest.mark.parametrize(("name", "make"), [("a.wav", wav), ("a.flac", flac), ("a.mp3", mp3)])
def test_what_is_left_of_a_file_is_read_or_refused_in_one_line(tmp_path, name, make, cut):
    path = tmp_path / name
    path.write_bytes(make(path, 0)[:cut])
    for read in (audio_header, lambda path: read_audio(path, RATE)):
        with contextlib.suppress(UserError):
            assert read(path) is not None


@pytest.mark.parametrize("rate", [1, 99, 10_000_001, 0xFFFFFFF0])
def test_a_rate_that_no_sound_has_is_refused(tmp_path, rate):
    path = tmp_path / "a.wav"
    path.write_bytes(put(written(path, subtype="PCM_16"), 24, struct.pack("<I", rate)))
    for read in (audio_header, lambda path: read_audio(path, RATE)):
        with pytest.raises(UserError, match=r"sampling rate|cannot be decoded"):
            read(path)


def test_a_file_with_other_bytes_at_one_place(tmp_path):
    (tmp_path / "a").write_bytes(bytes(range(20)))
    expected = bytes([*range(5), 99, 98, 97, *range(8, 20)])
    with PatchedFile(tmp_path / "a", 5, bytes([99, 98, 97])) as stream:
        for start in range(20):
            for count in (1, 2, 7, 30):
                stream.seek(start)
                assert stream.read(count) == expected[start : start + count]


@pytest.mark.parametrize("share", [0.0, 0.25, 0.9])
@pytest.mark.parametrize("name", ["x.wav", "x.mp3"])
def test_the_share_that_is_missing(tmp_path, name, share):
    wav = 0.1 * np.random.default_rng(0).standard_normal(4 * 16000)
    soundfile.write(tmp_path / name, wav, 16000)
    content = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(content[: round(len(content) * (1 - share))])
    # The encoder of MP3 uses some frames more at the start.
    assert missing_share(tmp_path / name) == pytest.approx(share, abs=0.02 if name == "x.wav" else 0.05)


@pytest.mark.parametrize("length", [0, 0x7FFFFFFF, 0xFFFFFFFF])
def test_nothing_is_missing_where_the_length_was_not_known(tmp_path, length):
    soundfile.write(tmp_path / "x.wav", np.zeros(800), 16000)
    content = bytearray((tmp_path / "x.wav").read_bytes())
    place = content.index(b"data") + 4
    content[place : place + 4] = length.to_bytes(4, "little")
    (tmp_path / "x.wav").write_bytes(content)
    assert missing_share(tmp_path / "x.wav") == 0
    (tmp_path / "x.flac").write_bytes(b"fLaC")
    assert missing_share(tmp_path / "x.flac") == 0
