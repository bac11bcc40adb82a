"""Sounds that ffmpeg decodes: as good as any other, and nothing else that a file may ask the program for."""

import os
import shutil
import socket
import subprocess
import time

import numpy as np
import pytest
import soundfile
import torch

from interpretability.data import ffmpeg
from interpretability.data.audio import Stretch, audio_header, find_sounds, read_audio
from interpretability.data.custom import prepare_custom
from interpretability.data.inputs import read_sounds
from interpretability.data.manifest import read_manifest
from interpretability.errors import UserError
from interpretability.frontend import FrontendSettings

RATE = 16000
#: What the program makes here: name -> (tolerance of the sound, rates that it may have).
MADE = {
    "a.m4a": (0.05, {RATE}),
    "a.aac": (0.05, {RATE}),
    "a.webm": (0.05, {48000}),  # Opus, which has one rate
    "a.opus": (0.05, {RATE}),  # in Ogg, which libsndfile reads
    "a.mka": (0.1, {RATE}),
    "a.wv": (1e-3, {RATE}),
}


def encode(source, *targets):
    """Make files of a sound with the program, or skip the test where it is absent."""
    if shutil.which("ffmpeg") is None:
        pytest.skip("ffmpeg is not installed")
    command = ["ffmpeg", "-nostdin", "-loglevel", "error", "-y", "-i", str(source)]
    subprocess.run([*command, *(f"file:{target}" for target in targets)], check=True, timeout=60)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A chirp of 0.5 s in two channels, in every format of :data:`MADE`."""
    folder = tmp_path_factory.mktemp("encoded")
    t = np.arange(RATE // 2) / RATE
    wav = 0.4 * np.sin(2 * np.pi * (300 + 1500 * t) * t) * np.hanning(len(t))
    soundfile.write(folder / "a.wav", np.stack([wav, 0.5 * wav], 1), RATE)
    encode(folder / "a.wav", *(folder / name for name in MADE))
    return folder


def reason(path):
    """Return why a file cannot be read, which is one line that names it."""
    with pytest.raises(UserError) as caught:
        read_audio(path, RATE)
    message = str(caught.value)
    assert "\n" not in message
    assert "cannot be decoded (" in message
    return message


@pytest.mark.parametrize("name", MADE)
def test_every_format_gives_the_same_sound(folder, name):
    tolerance, rates = MADE[name]
    expected, got = read_audio(folder / "a.wav", RATE), read_audio(folder / name, RATE)
    header = audio_header(folder / name)
    assert header.channels == 2
    assert header.sample_rate in rates
    assert abs(len(got) - header.duration * RATE) <= 1
    assert 0.49 < header.duration < 0.65
    # Encoders put some silence in front.
    spectra = [torch.fft.rfft(wav, 2 * RATE) for wav in (expected, got)]
    lag = int(torch.fft.irfft(spectra[1] * spectra[0].conj())[:4000].argmax())
    part = got[lag : lag + len(expected)]
    assert float((part - expected[: len(part)]).norm() / expected.norm()) < tolerance


def test_a_part_is_what_the_whole_has_there(folder):
    whole, rate = read_audio(folder / "a.webm", 48000), 48000
    assert torch.equal(read_audio(folder / "a.webm", rate, stretch=Stretch(0.1, 0.2)), whole[4800:14400])
    assert torch.equal(read_audio(folder / "a.webm", rate, max_seconds=0.1), whole[:4800])
    with pytest.raises(UserError, match="ends before the clip in it, which starts at 7 s"):
        read_audio(folder / "a.webm", rate, stretch=Stretch(7.0, 1.0))


def test_folders_tables_and_single_sounds_have_them(folder, tmp_path):
    for place, name in enumerate(("a.m4a", "a.webm", "a.aac", "a.mka", "a.wv", "a.wav")):
        target = tmp_path / "data" / "xy"[place % 2] / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(folder / name, target)
    assert len(find_sounds(tmp_path / "data")) == 6
    table = tmp_path / "t.csv"
    table.write_text(
        "path,label\n" + "".join(f"{path},{path.parent.name}\n" for path in find_sounds(tmp_path)), "utf-8"
    )
    for name, options in (("folder", {}), ("table", {"table": table})):
        prepared = prepare_custom(tmp_path / "data", tmp_path / name, **options)
        clips = [
            clip
            for path in prepared.manifests.values()
            for clip in read_manifest(path, prepared.data_root).entries.values()
        ]
        assert sorted(clip["sample_rate"] for clip in clips) == [RATE] * 5 + [48000]
    sounds = read_sounds(folder / "a.m4a", FrontendSettings(sample_rate=RATE))
    assert sounds.wavs.shape[1] == len(read_audio(folder / "a.m4a", RATE))


@pytest.mark.parametrize("name", ["-i.m4a", "a:b|c.m4a", "http:x.m4a", "%d.m4a", "line\nend.m4a", b"ch\xe8vre.m4a"])
def test_names_of_any_characters(folder, tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    name = os.fsdecode(name)
    shutil.copy(folder / "a.m4a", name)
    assert torch.equal(read_audio(name, RATE), read_audio(folder / "a.m4a", RATE))


def test_a_playlist_is_no_sound_and_nothing_is_asked_for(tmp_path):
    """Neither of the network nor of other files, whatever stands in front of it."""
    if shutil.which("ffmpeg") is None:
        pytest.skip("ffmpeg is not installed")
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0)
        address = f"http://127.0.0.1:{server.getsockname()[1]}/a.m4a"
        lists = [f"#EXTM3U\n#EXTINF:1,\n{address}\n", f"ffconcat version 1.0\nfile '{address}'\n"]
        heads = [b"", b"\0\0\0\x18ftypM4A ", b"\xff\xf1\x50\x40\x21\x3f\xfc", b"\x1aE\xdf\xa3"]
        for place, text in enumerate(lists):
            for head in heads[place:]:
                (tmp_path / "list.m4a").write_bytes(head + text.encode())
                reason(tmp_path / "list.m4a")
        with pytest.raises(BlockingIOError):
            server.accept()


def test_damaged_files(folder, tmp_path):
    encode(folder / "a.wav", tmp_path / "long.aac")
    content = (tmp_path / "long.aac").read_bytes()
    flipped = bytearray((folder / "a.m4a").read_bytes())
    place = flipped.index(b"mdat") + 300
    flipped[place : place + 200] = bytes(byte ^ 0x5A for byte in flipped[place : place + 200])
    (tmp_path / "flipped.m4a").write_bytes(flipped)
    (tmp_path / "cut.m4a").write_bytes((folder / "a.m4a").read_bytes()[:1500])
    (tmp_path / "head.aac").write_bytes(content[:7])
    for name in ("flipped.m4a", "cut.m4a", "head.aac"):
        assert "ffmpeg: " in reason(tmp_path / name)


def test_a_video_without_sound(tmp_path):
    picture = np.zeros((16, 16, 3), np.uint8).tobytes()
    if shutil.which("ffmpeg") is None:
        pytest.skip("ffmpeg is not installed")
    raw = ["-f", "rawvideo", "-pix_fmt", "rgb24", "-s", "16x16", "-i", "pipe:0"]
    command = ["ffmpeg", "-loglevel", "error", *raw, "-c:v", "mpeg4", str(tmp_path / "v.mp4")]
    subprocess.run(command, input=picture, check=True, timeout=60)
    assert "it has no sound" in reason(tmp_path / "v.mp4")


# ---- Where the program is absent, or is not what it should be ----

M4A = b"\0\0\0\x18ftypM4A \0\0\2\0"


def stand_in(folder, monkeypatch, script):
    """Put a shell script, or nothing, in the place of the program."""
    (folder / "bin").mkdir()
    if script is not None:
        (folder / "bin" / "ffmpeg").write_text(f"#!/bin/sh\n{script}\n", "utf-8")
        (folder / "bin" / "ffmpeg").chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder / 'bin'}:/bin:/usr/bin" if script else str(folder / "bin"))


def test_where_it_is_not_installed_one_line_says_so(tmp_path, monkeypatch, caplog):
    stand_in(tmp_path, monkeypatch, None)
    (tmp_path / "x.m4a").write_bytes(M4A)
    soundfile.write(tmp_path / "x.wav", np.zeros(800), RATE)
    assert "it needs ffmpeg, which is not installed: install it" in reason(tmp_path / "x.m4a")
    assert find_sounds(tmp_path) == [tmp_path / "x.wav"]
    assert (
        "1 files such as x.m4a left out, as they need ffmpeg, which is not installed: install ffmpeg, or" in caplog.text
    )
    (tmp_path / "x.wav").unlink()
    with pytest.raises(UserError, match=r"holds no sounds .*\.m4a.*: install ffmpeg, or convert them"):
        prepare_custom(tmp_path, tmp_path / "m")


def test_a_program_that_hangs_is_stopped(tmp_path, monkeypatch):
    stand_in(tmp_path, monkeypatch, "exec sleep 60")
    monkeypatch.setattr(ffmpeg, "_SECONDS", 0.2)
    (tmp_path / "x.m4a").write_bytes(M4A)
    started = time.monotonic()
    assert "ffmpeg takes too long" in reason(tmp_path / "x.m4a")
    assert time.monotonic() - started < 10


def test_a_program_that_never_ends_is_stopped(tmp_path, monkeypatch):
    """As a file of a few bytes could have it decode silence for hours."""
    head = r"\056snd\0\0\0\030\377\377\377\377\0\0\0\006\0\0\076\200\0\0\0\001"
    stand_in(tmp_path, monkeypatch, f"printf '{head}'\nexec cat /dev/zero")
    (tmp_path / "x.m4a").write_bytes(M4A)
    assert "more samples than a file of its size can" in reason(tmp_path / "x.m4a")


@pytest.mark.parametrize("script", ["echo something else entirely, of some length", "exit 0", "echo no >&2; exit 1"])
def test_a_program_that_gives_something_else(tmp_path, monkeypatch, script):
    stand_in(tmp_path, monkeypatch, script)
    (tmp_path / "x.m4a").write_bytes(M4A)
    assert "ffmpeg" in reason(tmp_path / "x.m4a")
